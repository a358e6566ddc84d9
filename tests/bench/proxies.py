"""The proxies under measurement, each in front of the same two call servers; and no proxy at all."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from tests.bench.cpu import Usage, usage
from tests.e2e.peers.appliance import configuration, sbc_command
from tests.e2e.peers.process import Program, at, free_port, wait_until
from tests.e2e.peers.sockets import answers_options

HERE = Path(__file__).parent
ADDRESS = "127.0.0.1"
AS_BATCH = ("chrt", "--batch", "0")
"""With the scheduling policy that `sbc` asks for itself: what is compared has the same."""


@dataclass(frozen=True, slots=True)
class Server:
    """One of the call servers that `load servers` plays."""

    name: str
    port: int
    address: str = ADDRESS


class Proxy(Program):
    """A proxy that can be asked what it has used."""

    jobs: tuple[str, ...] = ("calls", "register", "refresh", "options")
    """What it can do."""
    port: int

    def usage(self) -> Usage:
        return usage(self.pid)

    def start(self) -> None:
        """Start, and wait until it answers."""
        super().start()

        def answers() -> bool:
            assert self.running, f"{self.name} could not start:\n{self.text()[-3000:]}"
            return answers_options(ADDRESS, self.port)

        wait_until(answers, f"{self.name} starts", 20)


class KamailioProxy(Proxy):
    """Kamailio with kamailio.cfg of this folder. It forks every REGISTER."""

    jobs = (*Proxy.jobs, "answered")

    def __init__(self, folder: Path, servers: list[Server], *, bindings: bool = False) -> None:
        self.port = free_port()
        uris = [f"sip:{at(server.address, server.port)}" for server in servers]
        dispatcher = folder / "dispatcher.list"
        # Set, URI, flags, priority.
        dispatcher.write_text("".join(f"1 {uri} 0 {10 - rank}\n" for rank, uri in enumerate(uris)))
        # It costs nothing, and makes its p99 better.
        arguments = [*AS_BATCH, "kamailio", "-f", str(HERE / "kamailio.cfg"), "-DD", "-E", "-m", "2048", "-M", "16"]
        # Its default allocator, made for debugging, more than doubles what a call costs.
        arguments += ["-x", "fm", "-X", "fm"]
        arguments += ["-Y", str(folder), "-l", f"udp:{ADDRESS}:{self.port}"]
        for define in (f'SERVERS="{dispatcher}"', f'FIRST="{uris[0]}"', f'SECOND="{uris[1]}"'):
            arguments += ["-A", define]
        super().__init__("kamailio", [*arguments, *(["-A", "BINDINGS=1"] if bindings else [])], folder)


class SbcProxy(Proxy):
    """`sbc run` with its defaults: metrics, store and probes are on. It has a state folder of its own.

    `throttled`: phones refresh once a minute, and the servers hear of it once an hour.
    """

    def __init__(self, folder: Path, servers: list[Server], *, workers: int = 1, throttled: bool = False) -> None:
        if throttled:
            self.jobs = ("answered",)
        self.port = free_port()
        self._http_port = free_port()
        file = folder / "sbc.toml"
        file.write_text(configuration(
            folder=folder, listens={ADDRESS: self.port}, http_port=self._http_port, servers=servers,
            group="phone_expires = 60" if throttled else "", workers=workers,
        ))
        super().__init__("sbc", sbc_command(file), folder)
        self.startup_seconds = 0.0

    def start(self) -> None:
        """Start, and remember how long it took until it was ready for phones."""
        already = self.text().count("sbc ready:")
        started = time.monotonic()
        Program.start(self)
        while self.text().count("sbc ready:") == already:
            assert self.running, f"sbc could not start:\n{self.text()[-3000:]}"
            assert time.monotonic() < started + 60, "sbc did not become ready within 60 s"
            time.sleep(0.002)
        self.startup_seconds = time.monotonic() - started

    def refreshes_answered(self) -> int:
        """Those of which no server has heard."""
        with urllib.request.urlopen(f"http://{ADDRESS}:{self._http_port}/metrics", timeout=10) as page:
            found = re.search(r"^sbc_refreshes_answered_total\{.*\} (\S+)$", page.read().decode(), re.MULTILINE)
        assert found, "no such metric"
        return int(float(found[1]))


class SippyProxy(Proxy):
    """The B2BUA that comes with sippy. It knows one server: no second one for a REGISTER; it answers OPTIONS with 501."""

    jobs = ("calls", "register", "refresh")

    def __init__(self, folder: Path, servers: list[Server], python: str) -> None:
        self.port = free_port()
        program = "import sys; from sippy.b2bua_simple import main_func; sys.exit(main_func())"
        arguments = [python, "-c", program, "-f", "-l", ADDRESS, "-p", str(self.port)]
        arguments += ["-n", f"{ADDRESS}:{servers[0].port}", "-L", os.devnull]
        super().__init__("sippy", arguments, folder)
        # It logs each message, by default to a daemon of its own; this is how it is told not to.
        self._environment |= {"SIPLOG_LVL": "ERR", "SIPLOG_BEND": "none"}

    def start(self) -> None:
        Program.start(self)
        wait_until(lambda: not self.running or f":{self.port:04X} " in Path("/proc/net/udp").read_text(), "sippy starts")
        time.sleep(0.5)
        assert self.running, f"sippy could not start:\n{self.text()[-3000:]}"


class Forwarder(Proxy):
    """forwarder.c: what passing the datagrams on costs."""

    def __init__(self, folder: Path, servers: list[Server], program: Path) -> None:
        self.port = free_port()
        ports = [str(port) for port in (self.port, *(server.port for server in servers))]
        super().__init__("forwarder", [*AS_BATCH, str(program), *ports], folder)


class Direct(Proxy):
    """Nothing between phone and server: the latency that the load and the servers have by themselves."""

    jobs = ("calls",)

    def __init__(self, folder: Path, servers: list[Server]) -> None:
        self.port = servers[0].port
        super().__init__("direct", [], folder)

    @property
    def running(self) -> bool:
        return True

    def start(self) -> None:
        """There is nothing to start."""

    def stop(self) -> None:
        """Nor to stop."""

    def usage(self) -> Usage:
        return Usage(0.0, 0)


def sippy_python(venv: Path) -> str:
    """The Python of a venv with sippy, which is made when it is not there; empty when it cannot be made."""
    python = venv / "bin/python"
    if not (venv / "complete").exists():
        print(f"installing sippy from PyPI into {venv}", flush=True)
        # The system's pip, and a venv without its own: Debian's python3 comes without ensurepip.
        system = str(Path(sys.base_prefix) / "bin/python3")
        for arguments in (
            [system, "-m", "venv", "--without-pip", str(venv)],
            [system, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-input", "sippy"],
        ):
            done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=180)
            if done.returncode:
                print(f"sippy could not be installed: {done.stderr[-500:]}", flush=True)
                return ""
        (venv / "complete").touch()
    return str(python)


def compiled(source: Path, folder: Path) -> Path:
    """A program of one C file."""
    program = folder / source.stem
    subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-o", str(program), str(source)], check=True)
    return program
