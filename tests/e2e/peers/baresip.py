"""baresip, a real phone, without a sound card; its files are templates in ../baresip."""

from __future__ import annotations

import contextlib
import json
import random
import re
import socket
import string
from collections.abc import Sequence
from pathlib import Path

from tests.e2e.peers.accounts import DOMAIN, Line
from tests.e2e.peers.process import Program, free_port, wait_until

TEMPLATES = Path(__file__).parent.parent / "baresip"


def _account(line: Line) -> str:
    return line.written(TEMPLATES / "accounts")


class Baresip(Program):
    """A real phone without sound card, driven through baresip's control connection (netstrings of JSON).

    One line of its own name, at `proxy`, unless `lines` says which ones.
    """

    def __init__(
        self, name: str, folder: Path, proxy: str = "", *, address: str = "127.0.0.1", expires: int = 60,
        ca: Path | None = None, lines: Sequence[Line] = (),
    ) -> None:  # fmt: skip
        home = folder / f"{name}.baresip"
        home.mkdir()
        self.address = address
        self.port = free_port(address)
        self._control_port = free_port()
        self._socket: socket.socket | None = None
        self._unread = b""
        self._seen: list[dict[str, object]] = []
        values = {
            "address": f"[{address}]" if ":" in address else address, "port": self.port, "control": self._control_port,
            "tls": f"sip_cafile {ca}\nsip_verify_server yes" if ca is not None else "",
        }
        for part in ("config", "contacts"):
            (home / part).write_text(string.Template((TEMPLATES / part).read_text()).substitute(values))
        accounts = [_account(line) for line in lines or [Line(name, proxy, expires=expires)]]
        (home / "accounts").write_text("".join(accounts))
        super().__init__(name, ["baresip", "-v", "-f", str(home)], folder)

    def start(self) -> None:
        super().start()
        self._socket = wait_until(self._connect, f"baresip {self.name} opens its control port")

    def stop(self) -> None:
        if self._socket is not None:
            self._socket.close()
        super().stop()

    def wait_event(self, kind: str, timeout: float = 10.0, *, line: Line | None = None) -> dict[str, object]:
        """The next event of this type (REGISTER_OK, CALL_ESTABLISHED, CALL_CLOSED ...), also one that came before; of
        any line, or of that one."""
        def take() -> dict[str, object] | None:
            self._read()
            for message in self._seen:
                of_line = line is None or message.get("accountaor") == line.address_of_record
                if message.get("event") and message.get("type") == kind and of_line:
                    self._seen.remove(message)
                    return message
            return None
        return wait_until(take, f"baresip {self.name}: {kind}", timeout)

    def forget_events(self) -> None:
        """Events so far are none of the following steps' business."""
        self._read()
        self._seen.clear()

    def command(self, command: str, parameters: str = "") -> dict[str, object]:
        """Type a command at the phone; returns its response."""
        assert self._socket is not None
        token = random.randbytes(4).hex()
        data = json.dumps({"command": command, "params": parameters, "token": token}).encode()
        self._socket.sendall(b"%d:%s," % (len(data), data))
        def response() -> dict[str, object] | None:
            self._read()
            return next((message for message in self._seen if message.get("token") == token), None)
        return wait_until(response, f"baresip {self.name} answers {command!r}")

    def wait_registered(self, timeout: float = 20.0) -> None:
        """Wait for the registration that the phone makes by itself when it starts.

        By its log: the event may come before the control connection exists.
        """
        registered = re.compile(r"} 200 OK .*\[1 binding\]")
        wait_until(lambda: registered.search(self.text()), f"baresip {self.name} is registered", timeout)

    def wait_line_registered(self, line: Line, timeout: float = 20.0) -> None:
        """Wait until this line is registered, once, by its transport and in the phone's address family; by its log."""
        way = f"{line.transport.upper()}/v{6 if ':' in self.address else 4}"
        registered = re.compile(rf"{re.escape(line.name)}@.*{{0/{way}}} 200 OK .*\[1 binding\]")
        wait_until(lambda: registered.search(self.text()), f"baresip {self.name}: {line.name} is registered", timeout)

    def shows_registered(self, line: Line) -> bool:
        """By its events; the first one may have come before the control connection existed, and stands in the log only."""
        told = self._registrations(line)
        if told:
            return told[-1] == "REGISTER_OK"
        return re.search(rf"(?m)^{re.escape(line.name)}@.*}} 200 OK .*\[1 binding\]", self.text()) is not None

    def refusals(self, line: Line) -> list[str]:
        """What the phone has said so far of registrations that failed; by its log, as the first may come before the
        control connection exists."""
        return re.findall(rf"reg: {re.escape(line.address_of_record)}: (.+)", self.text())

    def add_line(self, line: Line) -> None:
        """One more, while the phone runs; wait until it is registered."""
        self.command("uanew", _account(line).strip())
        self.wait_line_registered(line)

    def use_line(self, line: Line) -> None:
        """What is dialled and hung up from now on is this line's."""
        self.command("uafind", line.address_of_record)

    def dial(self, name: str, timeout: float = 10.0, domain: str = DOMAIN) -> None:
        """Call an extension and wait until it has answered."""
        self.forget_events()
        self.command("dial", f"sip:{name}@{domain}")
        self.wait_event("CALL_ESTABLISHED", timeout)

    def hang_up(self, timeout: float = 40.0) -> None:
        """End the call and wait until the phone thinks so too."""
        self.command("hangup")
        self.wait_event("CALL_CLOSED", timeout)

    def _registrations(self, line: Line) -> list[str]:
        self._read()
        of_line = (message for message in self._seen if message.get("accountaor") == line.address_of_record)
        return [str(event["type"]) for event in of_line if event.get("type") in ("REGISTER_OK", "REGISTER_FAIL")]

    def _connect(self) -> socket.socket | None:
        assert self.running, f"baresip {self.name} ended; see {self.log}"
        with contextlib.suppress(OSError):
            return socket.create_connection(("127.0.0.1", self._control_port))
        return None

    def _read(self) -> None:
        assert self._socket is not None
        self._socket.settimeout(0.02)
        with contextlib.suppress(TimeoutError):
            while data := self._socket.recv(65535):
                self._unread += data
        while (match := re.match(rb"(\d+):", self._unread)) and len(self._unread) > match.end() + int(match[1]):
            end = match.end() + int(match[1])
            self._seen.append(json.loads(self._unread[match.end():end]))
            self._unread = self._unread[end + 1:]
