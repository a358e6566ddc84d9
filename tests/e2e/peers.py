"""Real call servers and phones for the end-to-end tests: Kamailio, baresip, SIPp, and sockets that play dead.

Every peer is a process of its own, in a process group of its own, with its log in the test's folder. `Peers` starts
them and, when the test is over however it ended, stops each by its process id. Nothing here knows how `sbc` works
inside: it is one more program with a configuration file, a log and a metrics page.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import signal
import socket
import sqlite3
import string
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import prometheus_client.parser

HERE = Path(__file__).parent
DOMAIN = "testdomain.local"
KAMAILIO_TABLES = Path("/usr/share/kamailio/db_sqlite")
Started = TypeVar("Started", bound="Program")
Kept = TypeVar("Kept", bound="Program | SilentServer | SilentPhone")
PROGRAMS = ("kamailio", "kamcmd", "sipp", "baresip", "setpriv")


def missing_programs() -> list[str]:
    """The programs that these tests need and the machine does not have."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return [program for program in PROGRAMS if shutil.which(program, path=path) is None]


def password_of(name: str) -> str:
    """Every account's password follows from its name, here and in kamailio/registrar.cfg."""
    return f"secret-{name}"


def wait_until(condition: Callable[[], object], what: str, timeout: float = 10.0) -> object:
    """The first true value of `condition`, or an AssertionError that says what was waited for."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: did not happen within {timeout:g} s")
        time.sleep(0.02)


# Ports ------------------------------------------------------------------------------------------------------------

_given_ports: set[int] = set()


def free_port(address: str = "127.0.0.1") -> int:
    """A port that is free for UDP and TCP, and the one above it too (baresip opens TLS there).

    Below the range from which the system takes the ports of outgoing connections, so that a killed server finds its
    port free when it comes back.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    while True:
        port = random.randrange(20000, 32000, 2)
        if port in _given_ports:
            continue
        with contextlib.ExitStack() as stack:
            try:
                for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                    for number in (port, port + 1):
                        stack.enter_context(socket.socket(family, kind)).bind((address, number))
            except OSError:
                continue
        _given_ports.add(port)
        return port


def at(address: str, port: int) -> str:
    """`address:port` as SIP writes it, with brackets around IPv6."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


# Processes --------------------------------------------------------------------------------------------------------


class Program:
    """A process that we own. Its output goes to `<name>.log`; a second start continues the same file."""

    def __init__(self, name: str, arguments: list[str], folder: Path, environment: dict[str, str] | None = None) -> None:
        self.name = name
        self.arguments = arguments
        self.folder = folder
        self.log = folder / f"{name}.log"
        self._environment = {**os.environ, **(environment or {})}
        self._environment["PATH"] += ":/usr/sbin:/sbin"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process; it dies with us even if we are killed."""
        assert not self.running, f"{self.name} runs already"
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *self.arguments],
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """SIGKILL to the process and its children, all at once: what a power failure looks like."""
        self._signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait(5)

    def freeze(self) -> None:
        """SIGSTOP: its sockets stay open and nobody answers, as when a machine hangs."""
        self._signal(signal.SIGSTOP)

    def stop(self) -> None:
        """Ask it to end, then make it."""
        if self._process is None:
            return
        if self.running:
            self._signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(3)
        # Also when the leader is gone: children of a crashed server would keep its port.
        self._signal(signal.SIGKILL)
        self._process.wait(5)

    def wait(self, timeout: float) -> int:
        """The exit code."""
        assert self._process is not None
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} did not end within {timeout:g} s; see {self.log}") from None

    def text(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def _signal(self, number: int) -> None:
        assert self._process is not None
        # The process group's id is the leader's: start_new_session made it so.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


# Call servers -----------------------------------------------------------------------------------------------------


class Kamailio(Program):
    """A registrar and record-routing proxy of the ordinary kind (kamailio/registrar.cfg)."""

    def __init__(
        self,
        name: str,
        folder: Path,
        *,
        address: str = "127.0.0.1",
        algorithm: str = "MD5",
        challenge_calls: bool = True,
        shares_dialogs_of: tuple[str, int] | None = None,
    ) -> None:
        self.address = address
        self.port = free_port(address)
        self._control = f"unix:{folder / name}.control"
        memory = folder / f"{name}.sqlite3"
        with contextlib.closing(sqlite3.connect(memory)) as tables:
            for part in ("standard", "usrloc"):
                tables.executescript((KAMAILIO_TABLES / f"{part}-create.sql").read_text())
        options = ["-l", f"udp:{at(address, self.port)}"]
        for define in (
            f'REALM="{DOMAIN}"',
            f'ALGORITHM="{algorithm}"',
            f'CONTROL="{self._control}"',
            f'MEMORY="sqlite://{memory}"',
            *(["CHALLENGE_CALLS"] if challenge_calls else []),
        ):
            options += ["-A", define]
        if shares_dialogs_of is not None:
            options += ["--alias", f"udp:{at(*shares_dialogs_of)}"]
        super().__init__(
            name,
            ["kamailio", "-f", str(HERE / "kamailio/registrar.cfg"), "-DD", "-E", "-m", "32", "-M", "8", "-Y", str(folder)]
            + options,
            folder,
        )

    def start(self) -> None:
        super().start()
        wait_until(self._answers, f"{self.name} starts")

    def _answers(self) -> bool:
        assert self.running, f"{self.name} could not start; see {self.log}"
        return answers_options(self.address, self.port)

    def ask(self, *command: str) -> str:
        """The answer to a kamcmd command."""
        asked = subprocess.run(
            ["kamcmd", "-s", self._control, *command],
            env=self._environment, capture_output=True, text=True, timeout=5, check=True,
        )
        return asked.stdout

    def contacts(self, name: str) -> list[str]:
        """The contact addresses registered here for an account."""
        found = []
        owner = ""
        for line in self.ask("ul.dump").splitlines():
            key, _, value = line.strip().partition(": ")
            if key == "AoR":
                owner = value
            elif key == "Address" and owner == name:
                found.append(value)
        return found

    def received(self, method: str) -> list[str]:
        """The log lines of the requests of this method that have reached the server, over all its lives."""
        return re.findall(rf"request {method} .*", self.text())


def answers_options(address: str, port: int, timeout: float = 0.5) -> bool:
    """Whether whoever listens there answers an OPTIONS within the time."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as endpoint:
        endpoint.settimeout(timeout)
        endpoint.connect((address, port))
        here = at(*endpoint.getsockname()[:2])
        token = random.randbytes(8).hex()
        try:
            endpoint.send(
                f"OPTIONS sip:{at(address, port)} SIP/2.0\r\n"
                f"Via: SIP/2.0/UDP {here};branch=z9hG4bK{token};rport\r\n"
                f"From: <sip:test@{here}>;tag={token}\r\nTo: <sip:{at(address, port)}>\r\n"
                f"Call-ID: {token}\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n".encode()
            )
            return endpoint.recv(65535).startswith(b"SIP/2.0 ")
        except OSError:
            return False


class SilentServer:
    """A bound socket that never answers: a server whose machine hangs, or whose packets a firewall drops."""

    def __init__(self, name: str = "silent", address: str = "127.0.0.1") -> None:
        self.name = name
        self.address = address
        self.port = free_port(address)
        self._socket = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, self.port))
        self._socket.setblocking(False)

    def received(self, method: str) -> list[str]:
        """Request lines of what has arrived since the last time."""
        lines = []
        with contextlib.suppress(BlockingIOError):
            while True:
                line = self._socket.recv(65535).split(b"\r\n", 1)[0].decode(errors="replace")
                if line.startswith(method):
                    lines.append(line)
        return lines

    def stop(self) -> None:
        self._socket.close()


@dataclass
class AbsentServer:
    """A port that nobody listens on: the machine is up, the server is not, and the system says so by ICMP."""

    name: str = "absent"
    address: str = "127.0.0.1"

    def __post_init__(self) -> None:
        self.port = free_port(self.address)


# Phones -----------------------------------------------------------------------------------------------------------


class Baresip(Program):
    """A real phone without sound card, driven through baresip's control connection (netstrings of JSON)."""

    def __init__(self, name: str, folder: Path, proxy: str, *, address: str = "127.0.0.1", expires: int = 60) -> None:
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
            "name": name, "domain": DOMAIN, "password": password_of(name), "proxy": proxy, "expires": expires,
        }
        for part in ("config", "accounts", "contacts"):
            (home / part).write_text(string.Template((HERE / "baresip" / part).read_text()).substitute(values))
        super().__init__(name, ["baresip", "-v", "-f", str(home)], folder)

    def start(self) -> None:
        super().start()
        self._socket = wait_until(self._connect, f"baresip {self.name} opens its control port")

    def stop(self) -> None:
        if self._socket is not None:
            self._socket.close()
        super().stop()

    def wait_event(self, kind: str, timeout: float = 10.0) -> dict[str, object]:
        """The next event of this type (REGISTER_OK, CALL_ESTABLISHED, CALL_CLOSED ...), also one that came before."""
        def take() -> dict[str, object] | None:
            self._read()
            for message in self._seen:
                if message.get("event") and message.get("type") == kind:
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
        wait_until(lambda: re.search(r"} 200 OK .*\[1 binding\]", self.text()), f"baresip {self.name} is registered", timeout)

    def dial(self, name: str, timeout: float = 10.0) -> None:
        """Call an extension and wait until it has answered."""
        self.forget_events()
        self.command("dial", f"sip:{name}@{DOMAIN}")
        self.wait_event("CALL_ESTABLISHED", timeout)

    def hang_up(self, timeout: float = 40.0) -> None:
        """End the call and wait until the phone thinks so too."""
        self.command("hangup")
        self.wait_event("CALL_CLOSED", timeout)

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


class Sipp(Program):
    """A SIPp phone or server. Every run is told how many calls to make or take, and fails when one goes wrong."""

    def __init__(
        self,
        name: str,
        folder: Path,
        scenario: str,
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
        arguments = ["sipp", *([target] if target else []), "-sf", str(HERE / "sipp" / f"{scenario}.xml")]
        arguments += ["-i", address, "-p", str(self.port), "-m", str(calls), "-nostdin", "-trace_err", "-error_file",
                      str(folder / f"{name}.errors"), "-timeout", f"{timeout:g}s", "-timeout_error", *options]
        super().__init__(name, arguments, folder)
        self._timeout = timeout

    def finish(self) -> None:
        """Wait until all calls are over; fail unless each went by the scenario."""
        code = self.wait(self._timeout + 5)
        errors = self.folder / f"{self.name}.errors"
        said = errors.read_text(errors="replace") if errors.exists() else ""
        assert code == 0, f"SIPp {self.name} says {code}: {said or self.text()[-2000:]}"


class SippPhone:
    """The scenarios of one SIPp phone: always the same account, address and port."""

    def __init__(self, peers: Peers, name: str, proxy: str, address: str, password: str) -> None:
        self._peers = peers
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
        options = ("-s", callee, "-key", "caller", self.name, "-d", str(round(talk * 1000)), "-l", "1", "-r", "100",
                   "-trace_rtt", "-rtt_freq", "1", *self._account)
        run = self._run("caller", calls=calls, timeout=timeout, options=options)
        run.finish()
        # After a line of titles: date;milliseconds;which timer.
        lines = (run.folder / f"caller_{run.pid}_rtt.csv").read_text().split()[1:]
        return [float(line.split(";")[1]) / 1000 for line in lines]

    def _run(
        self, scenario: str, *, options: tuple[str, ...] = (), calls: int = 1, timeout: float, target: str | None = None
    ) -> Sipp:
        return self._peers.sipp(
            f"{self.name}-{scenario}", scenario, address=self.address, port=self.port, calls=calls,
            timeout=timeout, target=self._proxy if target is None else target, options=options,
        )


class SilentPhone:
    """A socket of our own that sends what a test gives it, retransmits as a phone does, and keeps what comes back."""

    def __init__(self, proxy_address: str, proxy_port: int, address: str = "127.0.0.1") -> None:
        self._socket = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, 0))
        self._proxy = (proxy_address, proxy_port)
        self.here = at(*self._socket.getsockname()[:2])

    def send(self, data: bytes) -> None:
        self._socket.sendto(data, self._proxy)

    def receive(self, timeout: float) -> bytes | None:
        """The next datagram, None when none comes in time."""
        self._socket.settimeout(max(timeout, 0.001))
        try:
            return self._socket.recv(65535)
        except (TimeoutError, ConnectionRefusedError):
            return None

    def request(self, data: bytes, timeout: float = 40.0) -> tuple[int, float]:
        """Send a non-INVITE request until a final response comes: (its status, seconds it took). RFC 3261 17.1.2.2."""
        started = time.monotonic()
        interval, send_at = 0.5, started
        while (now := time.monotonic()) < started + timeout:
            if now >= send_at and now < started + 32:
                self.send(data)
                send_at, interval = now + interval, min(2 * interval, 4.0)
            answer = self.receive(min(send_at, started + timeout) - now)
            if answer is not None and answer.startswith(b"SIP/2.0 ") and int(answer[8:11]) >= 200:
                return int(answer[8:11]), time.monotonic() - started
        raise AssertionError(f"no final response within {timeout:g} s")

    def stop(self) -> None:
        self._socket.close()


# The appliance ----------------------------------------------------------------------------------------------------


class Sbc(Program):
    """`sbc run` with a configuration of its own in the test's folder."""

    def __init__(self, folder: Path, configuration: str, listens: dict[str, int], http_port: int) -> None:
        self._listens = listens
        self.address, self.port = next(iter(listens.items()))
        file = folder / "sbc.toml"
        file.write_text(configuration)
        self._http = f"http://127.0.0.1:{http_port}"
        super().__init__("sbc", [sys.executable, "-m", "sbc", "run", "-c", str(file)], folder)

    def proxy(self, address: str = "127.0.0.1") -> str:
        """What a phone at this address gets as its outbound proxy."""
        return at(address, self._listens[address])

    def start(self) -> None:
        already = self.text().count("sbc ready:")
        super().start()
        def ready() -> bool:
            assert self.running, f"sbc could not start:\n{self.text()[-3000:]}"
            return self.text().count("sbc ready:") > already
        wait_until(ready, "sbc says that it is ready", 20)

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self._http + path, timeout=5) as answer:
            return answer.read().decode()

    def status(self) -> dict[str, object]:
        return json.loads(self.get("/status.json"))

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of this name that have these labels; 0 when there are none."""
        total = 0.0
        for family in prometheus_client.parser.text_string_to_metric_families(self.get("/metrics")):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    total += sample.value
        return total

    def working_server(self) -> str | None:
        """The name of the server that gets new requests now, by the metrics."""
        for family in prometheus_client.parser.text_string_to_metric_families(self.get("/metrics")):
            for sample in family.samples:
                if sample.name == "sbc_working_server" and sample.value == 1:
                    return sample.labels["server"]
        return None


QUICK_PROBES = """\
probe_interval = 1
probe_interval_down = 1
probe_timeout = 1
fall = 2
rise = 2
failback_hold = 1"""
"""So that no test waits long for a server to be believed in."""

RARE_PROBES = """\
probe_interval = 3600
probe_interval_down = 3600"""
"""So that calls find out for themselves."""


def configuration(
    *,
    folder: Path,
    listens: dict[str, int],
    http_port: int,
    servers: list[CallServer],
    accounts: tuple[str, ...] = (),
    algorithm: str = "MD5",
    group: str = QUICK_PROBES,
    server: str = "",
) -> str:
    """A configuration with one group; `group` and `server` are further lines of the group and of each server."""
    lines = ["[appliance]", 'name = "end-to-end"', f'state_dir = "{folder}/state"']
    for address, port in listens.items():
        lines += ["[[listen]]", 'transport = "udp"', f'address = "{address}"', f"port = {port}"]
    lines += ["[http]", 'address = "127.0.0.1"', f"port = {http_port}"]
    lines += ["[[group]]", 'name = "office"', f'domains = ["{DOMAIN}"]', 'registration = "concurrent"']
    lines += [group]
    for entry in servers:
        lines += ["[[group.server]]", f'name = "{entry.name}"', f'address = "{entry.address}"', f"port = {entry.port}",
                  'transport = "udp"', server]
    if accounts:
        digest = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}[algorithm]
        passwords = folder / "phones.htdigest"
        passwords.write_text("".join(
            f"{name}:{DOMAIN}:{digest(f'{name}:{DOMAIN}:{password_of(name)}'.encode()).hexdigest()}\n" for name in accounts
        ))
        lines += ["[credentials]", f'file = "{passwords}"']
    return "\n".join(lines) + "\n"


# All together -----------------------------------------------------------------------------------------------------


class CallServer(Protocol):
    """What a configuration needs to know of a server."""

    name: str
    address: str
    port: int


class Peers:
    """Starts peers in one folder, and stops every one of them in the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack = contextlib.ExitStack()
        self._runs = 0

    def kamailio(self, name: str, **options: Any) -> Kamailio:
        return self._started(Kamailio(name, self.folder, **options))

    def baresip(self, name: str, proxy: str, **options: Any) -> Baresip:
        return self._started(Baresip(name, self.folder, proxy, **options))

    def sipp_phone(self, name: str, proxy: str, address: str = "127.0.0.1", password: str = "") -> SippPhone:
        return SippPhone(self, name, proxy, address, password or password_of(name))

    def sipp(self, name: str, scenario: str, **options: Any) -> Sipp:
        """A run of a scenario. One that takes calls is there when this returns."""
        self._runs += 1
        run = self._started(Sipp(f"{self._runs:02}-{name}", self.folder, scenario, **options))
        if not options.get("target"):
            wait_until(lambda: _is_bound(run.port), f"SIPp {name} listens")
        return run

    def call_server(self, name: str, address: str = "127.0.0.1") -> Sipp:
        """A SIPp server that answers every call and OPTIONS itself; its name is the server's in the configuration."""
        server = self.sipp(name, "call_server", address=address, calls=1_000_000, timeout=600)
        server.name = name
        return server

    def silent_server(self, name: str = "silent", address: str = "127.0.0.1") -> SilentServer:
        return self._kept(SilentServer(name, address))

    def silent_phone(self, proxy: CallServer, address: str = "127.0.0.1") -> SilentPhone:
        return self._kept(SilentPhone(proxy.address, proxy.port, address))

    def sbc(self, servers: list[CallServer], *, addresses: tuple[str, ...] = ("127.0.0.1",), **options: Any) -> Sbc:
        """The appliance in front of these servers, listening on these addresses for phones and servers alike."""
        listens = {address: free_port(address) for address in addresses}
        http_port = free_port()
        text = configuration(folder=self.folder, listens=listens, http_port=http_port, servers=servers, **options)
        return self._started(Sbc(self.folder, text, listens, http_port))

    def close(self) -> None:
        self._stack.close()

    def _started(self, program: Started) -> Started:
        self._kept(program)
        program.start()
        return program

    def _kept(self, peer: Kept) -> Kept:
        self._stack.callback(peer.stop)
        return peer


def _is_bound(port: int) -> bool:
    """Whether some process has this UDP port, by the kernel's table."""
    wanted = f":{port:04X} "
    return any(wanted in Path(table).read_text() for table in ("/proc/net/udp", "/proc/net/udp6"))
