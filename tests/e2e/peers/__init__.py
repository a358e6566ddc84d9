"""Real call servers and phones for the end-to-end tests: Kamailio, baresip, linphone, PJSIP, twinkle, SIPp, and sockets that
play dead.

Every peer is a process of its own, in a process group of its own, with its log in the test's folder. `Peers` starts
them and, when the test is over however it ended, stops each by its process id.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any, TypeVar

from tests.e2e.peers.accounts import password_of
from tests.e2e.peers.appliance import CallServer, Sbc, configuration
from tests.e2e.peers.baresip import Baresip
from tests.e2e.peers.capture import Capture
from tests.e2e.peers.dnsmasq import Dnsmasq
from tests.e2e.peers.kamailio import Kamailio
from tests.e2e.peers.line import LinePhone
from tests.e2e.peers.process import Program, free_port, wait_until
from tests.e2e.peers.sipp import SCENARIOS, Sipp, SippPhone
from tests.e2e.peers.sockets import SilentServer, SocketPhone, SocketServer

PROGRAMS = ("kamailio", "kamcmd", "sipp", "baresip", "dnsmasq", "setpriv")
Started = TypeVar("Started", bound=Program)
Kept = TypeVar("Kept", bound="Program | LinePhone | SilentServer | SocketPhone | SocketServer")


def missing_programs() -> list[str]:
    """The programs that these tests need and the machine does not have."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return [program for program in PROGRAMS if shutil.which(program, path=path) is None]


class Peers:
    """Starts peers in one folder, and stops every one of them in the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack = contextlib.ExitStack()
        self._runs = 0

    def kamailio(self, name: str, **options: Any) -> Kamailio:
        return self.started(Kamailio(name, self.folder, **options))

    def baresip(self, name: str, proxy: str = "", **options: Any) -> Baresip:
        return self.started(Baresip(name, self.folder, proxy, **options))

    def sipp_phone(
        self, name: str, proxy: str, address: str = "127.0.0.1", password: str = "", transport: str = "udp"
    ) -> SippPhone:
        return SippPhone(self, name, proxy, address, password or password_of(name), transport)

    def sipp(self, name: str, scenario: Path, **options: Any) -> Sipp:
        """A run of a scenario. One that takes calls is there when this returns."""
        self._runs += 1
        run = self.started(Sipp(f"{self._runs:02}-{name}", self.folder, scenario, **options))
        if not options.get("target"):
            wait_until(lambda: _is_bound(run.port), f"SIPp {name} listens")
        return run

    def call_server(self, name: str, address: str = "127.0.0.1", timeout: float = 600) -> Sipp:
        """A SIPp server that takes every call and registration; `name` is the server's in the configuration."""
        # No memory of finished calls: a registration is refreshed under the same Call-ID.
        server = self.sipp(
            name, SCENARIOS / "call_server.xml", address=address, calls=1_000_000_000, timeout=timeout,
            options=("-deadcall_wait", "0", "-buff_size", "4000000"),
        )
        server.name = name
        return server

    def silent_server(self, name: str = "silent", address: str = "127.0.0.1") -> SilentServer:
        return self._kept(SilentServer(name, address))

    def socket_server(self, name: str = "socket", address: str = "127.0.0.1") -> SocketServer:
        return self._kept(SocketServer(name, address))

    def socket_phone(self, proxy: CallServer, address: str = "127.0.0.1") -> SocketPhone:
        return self._kept(SocketPhone(proxy.address, proxy.port, address))

    def line_phone(self, name: str, proxy: tuple[str, int], transport: str, **options: Any) -> LinePhone:
        return self._kept(LinePhone(name, proxy, transport, **options))

    def sbc(self, servers: list[CallServer], *, addresses: tuple[str, ...] = ("127.0.0.1",), **options: Any) -> Sbc:
        """The appliance in front of these servers, listening on these addresses for phones and servers alike."""
        listens = {address: free_port(address) for address in addresses}
        http_port = free_port()
        text = configuration(folder=self.folder, listens=listens, http_port=http_port, servers=servers, **options)
        return self.started(Sbc(self.folder, text, listens, http_port))

    def name_server(self, *records: str) -> Dnsmasq:
        return self.started(Dnsmasq(self.folder, ("local-ttl=60", *records)))

    def capture(self, names: dict[int, str]) -> Capture:
        return self.started(Capture(self.folder, names))

    def appliance(self, port: int, group: str, *, dns: Dnsmasq | None = None, accounts: tuple[str, ...] = ()) -> Sbc:
        """The appliance at this port, with one group that is written out as an administrator would."""
        listens, http_port = {"127.0.0.1": port}, free_port()
        text = configuration(
            folder=self.folder, listens=listens, http_port=http_port, servers=[], accounts=accounts, group=group,
            registration="",
        )  # fmt: skip
        if dns is not None:
            text += f'[dns]\nservers = ["{dns}"]\n'
        return self.started(Sbc(self.folder, text, listens, http_port))

    def close(self) -> None:
        self._stack.close()

    def started(self, program: Started) -> Started:
        self._kept(program)
        program.start()
        return program

    def _kept(self, peer: Kept) -> Kept:
        self._stack.callback(peer.stop)
        return peer


def _is_bound(port: int) -> bool:
    """Whether some process has this port, by the kernel's tables."""
    wanted = f":{port:04X} "
    return any(wanted in Path(f"/proc/net/{table}").read_text() for table in ("udp", "udp6", "tcp", "tcp6"))
