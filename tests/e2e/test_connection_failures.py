"""How a connection to the first server can fail: each has its own cause, and the call goes by the second (P17, F2, D6)."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.peers import Peers
from tests.e2e.peers.accounts import DOMAIN
from tests.e2e.peers.appliance import RARE_PROBES, Sbc
from tests.e2e.peers.kamailio import Kamailio
from tests.e2e.peers.line import LinePhone
from tests.e2e.peers.process import free_port
from tests.helpers.certificates import Authority


class Door:
    """A listening socket where somebody decides what happens to each connection."""

    def __init__(self, opened: Callable[[socket.socket], None] | None) -> None:
        """`opened` None: nobody ever takes a connection, and the queue of them is full."""
        self.name = "primary"
        self.address = "127.0.0.1"
        self.port = free_port()
        self._listening = socket.create_server((self.address, self.port), backlog=16 if opened else 0)
        self._first: socket.socket | None = None
        if opened is None:
            self._first = socket.create_connection((self.address, self.port))
        else:
            threading.Thread(target=self._serve, args=(opened,), daemon=True).start()

    def _serve(self, opened: Callable[[socket.socket], None]) -> None:
        with contextlib.suppress(OSError):
            while True:
                opened(self._listening.accept()[0])

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        if self._first is not None:
            self._first.close()


def reset(connection: socket.socket) -> None:
    """Take a request, and break the connection in the rudest way."""
    connection.recv(100)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Peers, Authority]]:
    folder = tmp_path_factory.mktemp("failures")
    peers = Peers(folder)
    try:
        yield peers, Authority(folder)
    finally:
        peers.close()


@pytest.fixture(scope="module")
def fallback(made: tuple[Peers, Authority]) -> Kamailio:
    """The one that lives, for all of these tests."""
    peers, _ = made
    return peers.kamailio("fallback", challenge_calls=False)


def start(peers: Peers, primary: object, transport: str, fallback: Kamailio, authority: Authority, folder: Path) -> Sbc:
    """An appliance whose only socket is a UDP one: connections to servers work all the same."""
    port, http_port = free_port(), free_port()
    file = f"""
[appliance]
state_dir = "{folder}/state"
[[listen]]
transport = "udp"
address = "127.0.0.1"
port = {port}
[http]
port = {http_port}
[tls]
ca = "{authority.file}"
[[group]]
name = "office"
domains = ["{DOMAIN}"]
{RARE_PROBES}
  [[group.server]]
  name = "primary"
  address = "{primary.address}"
  port = {primary.port}
  transport = "{transport}"
  [[group.server]]
  name = "fallback"
  address = "127.0.0.1"
  port = {fallback.port}
  transport = "udp"
"""
    return peers.started(Sbc(folder, file, {"127.0.0.1": port}, http_port))


def call_moves_to_the_fallback(sbc: Sbc, fallback: Kamailio, cause: str) -> None:
    phone = LinePhone("alice", (sbc.address, sbc.port), "udp")
    try:
        before = len(fallback.received("INVITE"))
        response = phone.ask("INVITE", f"sip:nobody@{DOMAIN}", "nobody", [("Contact", phone.contact)], call_id=cause)
        assert response.status == 404  # the fallback's word on somebody who is not registered
        assert len(fallback.received("INVITE")) == before + 1
        # Of this call, or of the first probe, whichever found it out.
        assert sbc.metric("sbc_failovers_total", group="office", cause=cause) >= 1
        assert sbc.metric("sbc_failovers_total", group="office") == sbc.metric("sbc_failovers_total", cause=cause)
        assert "Traceback" not in sbc.text()
    finally:
        phone.stop()


@pytest.mark.parametrize("cause, opened", [("reset", reset), ("connect_timeout", None), ("refused", None)])
def test_tcp(
    made: tuple[Peers, Authority], fallback: Kamailio, tmp_path: Path, cause: str,
    opened: Callable[[socket.socket], None] | None,
) -> None:  # fmt: skip
    """Refused at once, reset instead of an answer, silent for three seconds: never the 7.5 s of a UDP server."""
    peers, authority = made
    door = Door(opened)
    if cause == "refused":
        door.stop()
    try:
        sbc = start(peers, door, "tcp", fallback, authority, tmp_path)
        call_moves_to_the_fallback(sbc, fallback, cause)
        sbc.stop()
    finally:
        door.stop()


def certificate(authority: Authority, fault: str, folder: Path) -> tuple[Path, Path]:
    if fault == "wrong name":
        return authority.certificate("wrong", ["pbx.example.net"])
    if fault == "expired":
        return authority.certificate("expired", ["127.0.0.1"], days=(-30, -1))
    return Authority(folder, "stranger").certificate("unknown", ["127.0.0.1"])


@pytest.mark.parametrize(
    "fault, words",
    [
        ("wrong name", "its certificate is for pbx.example.net, not for 127.0.0.1"),
        ("expired", "its certificate has expired"),
        ("unknown authority", "its certificate comes from an authority that is not in [tls] ca"),
    ],
)
def test_tls(made: tuple[Peers, Authority], fallback: Kamailio, tmp_path: Path, fault: str, words: str) -> None:
    """RFC 5922: a server that is not believed gets nothing, and the log says why."""
    peers, authority = made
    files = certificate(authority, fault, tmp_path)
    primary = Kamailio("primary", tmp_path, streams=True, certificate=files)
    try:
        primary.start()
        primary.port += 1  # where TLS is
        sbc = start(peers, primary, "tls", fallback, authority, tmp_path)
        call_moves_to_the_fallback(sbc, fallback, "tls")
        assert f"no tls connection to 127.0.0.1:{primary.port}: {words}" in sbc.text()
        assert not primary.received("INVITE")
        sbc.stop()
    finally:
        primary.stop()
