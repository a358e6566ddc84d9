"""SIPp as phone and as call server; its scenarios are in ../sipp."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.e2e.peers.accounts import DOMAIN, Line, password_of
from tests.e2e.peers.process import Program, free_port

if TYPE_CHECKING:
    from tests.e2e.peers import Peers

SCENARIOS = Path(__file__).parent.parent / "sipp"


class Sipp(Program):
    """A SIPp phone or server. Every run is told how many calls to make or take, and fails when one goes wrong."""

    def __init__(
        self,
        name: str,
        folder: Path,
        scenario: Path,
        *,
        address: str = "127.0.0.1",
        port: int = 0,
        target: str = "",
        calls: int = 1,
        timeout: float = 30.0,
        options: tuple[str, ...] = (),
    ) -> None:
        self.address = address
        self.port = port or free_port(address)
        arguments = ["sipp", *([target] if target else []), "-sf", str(scenario)]
        arguments += ["-i", address, "-p", str(self.port), "-m", str(calls), "-nostdin", "-trace_err", "-error_file",
                      str(folder / f"{name}.errors"), "-timeout", f"{timeout:g}s", "-timeout_error", *options]
        super().__init__(name, arguments, folder)
        self._timeout = timeout

    def finish(self) -> None:
        """Wait until all calls are over; fail unless each went by the scenario."""
        code = self.wait(self._timeout + 5)
        assert code == 0, f"SIPp {self.name} says {code}: {self.errors() or self.text()[-2000:]}"

    def errors(self) -> str:
        """What it could not make sense of."""
        errors = self.folder / f"{self.name}.errors"
        return errors.read_text(errors="replace") if errors.exists() else ""


class SippPhone:
    """The scenarios of one SIPp phone: always the same account, address and port."""

    def __init__(
        self, peers: Peers, name: str, proxy: str, address: str, password: str, transport: str = "udp"
    ) -> None:
        self._peers = peers
        self._transport = ("-t", {"udp": "u1", "tcp": "t1"}[transport])
        self._proxy = proxy
        self._account = ("-key", "domain", DOMAIN, "-au", name, "-ap", password, "-auth_uri", DOMAIN)
        self.name = name
        self.address = address
        self.port = free_port(address)

    def register(self, expires: int = 600) -> None:
        """Register (0: de-register), with digest."""
        options = ("-s", self.name, "-key", "expires", str(expires), *self._account)
        self._run("register", options=options, timeout=20).finish()

    def take_calls(self, calls: int = 1, timeout: float = 60.0) -> Sipp:
        """From now on, ring and answer so many calls, until the caller hangs up; `finish()` waits for the last."""
        return self._run("callee", calls=calls, timeout=timeout, target="")

    def call(self, callee: str, *, calls: int = 1, talk: float = 0.1, timeout: float = 30.0) -> list[float]:
        """Call an extension so many times, one after the other; returns the post-dial delays in seconds."""
        run = self.start_call(callee, calls=calls, talk=talk, timeout=timeout)
        run.finish()
        # After a line of titles: date;milliseconds;which timer.
        lines = (run.folder / f"caller_{run.pid}_rtt.csv").read_text().split()[1:]
        return [float(line.split(";")[1]) / 1000 for line in lines]

    def start_call(self, callee: str, *, calls: int = 1, talk: float = 0.1, timeout: float = 30.0) -> Sipp:
        """The same, without waiting for the end: `finish()` does."""
        options = ("-s", callee, "-key", "caller", self.name, "-d", str(round(talk * 1000)), "-l", "1", "-r", "100",
                   "-trace_rtt", "-rtt_freq", "1", *self._account)
        return self._run("caller", calls=calls, timeout=timeout, options=options)

    def _run(
        self, scenario: str, *, options: tuple[str, ...] = (), calls: int = 1, timeout: float, target: str | None = None
    ) -> Sipp:
        return self._peers.sipp(
            f"{self.name}-{scenario}", SCENARIOS / f"{scenario}.xml", address=self.address, port=self.port, calls=calls,
            timeout=timeout, target=self._proxy if target is None else target, options=(*options, *self._transport),
        )


class SippDeskPhone(Sipp):
    """A phone of one line that stays registered and takes every call; it answers the first challenge of several.

    `scenario`: phone; phone_showing, which shows the last nonce again at each renewal, as linphone and sofia do; or
    stubborn, which has a wrong password, is never registered, and tries for ever. It calls out by another port.
    """

    def __init__(self, name: str, folder: Path, line: Line, scenario: str = "phone") -> None:
        self._line = line
        self._call: Sipp | None = None
        self._told = folder / f"{name}.registrations"
        super().__init__(
            name, folder, SCENARIOS / f"{scenario}.xml", target=line.proxy, timeout=3600,
            options=("-s", line.name, "-key", "domain", line.domain, "-key", "expires", str(line.expires), "-au", line.name,
                     "-ap", line.password or password_of(line.name), "-auth_uri", line.domain, "-trace_logs", "-log_file",
                     str(self._told), "-oocsf", str(SCENARIOS / "callee.xml")),
        )  # fmt: skip

    def shows_registered(self, line: Line) -> bool:
        return self.running and "registered" in self._results()

    def refusals(self, line: Line) -> list[str]:
        """What the phone has said so far of registrations that failed."""
        unexpected = [line for line in self.errors().splitlines() if "unexpected" in line]
        return [result for result in self._results() if result != "registered"] + unexpected

    def _results(self) -> list[str]:
        return self._told.read_text().split() if self._told.exists() else []

    def dial(self, name: str, timeout: float = 10.0, domain: str = DOMAIN) -> None:
        """Call an extension and wait until it has answered."""
        self._call = Sipp(
            f"{self.name}-caller", self.folder, SCENARIOS / "caller.xml", target=self._line.proxy, timeout=timeout,
            options=("-s", name, "-key", "caller", self._line.name, "-key", "domain", domain, "-au", self._line.name, "-ap",
                     self._line.password or password_of(self._line.name), "-auth_uri", domain, "-d", "100"),
        )  # fmt: skip
        self._call.start()
        self._call.finish()

    def hang_up(self, timeout: float = 40.0) -> None:
        """The caller has done so by itself."""

    def stop(self) -> None:
        if self._call is not None:
            self._call.stop()
        super().stop()
