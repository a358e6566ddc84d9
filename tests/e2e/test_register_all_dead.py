"""A REGISTER that no server answers is answered by us, before the phone gives up at 64*T1 (RFC 4320; D1, D2)."""

from __future__ import annotations

from tests.e2e.peers import Peers
from tests.e2e.peers.accounts import DOMAIN
from tests.e2e.peers.appliance import RARE_PROBES, CallServer
from tests.e2e.peers.sockets import AbsentServer, SocketPhone


def register(phone: SocketPhone, name: str = "alice") -> bytes:
    return (
        f"REGISTER sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP {phone.here};branch=z9hG4bKall-dead;rport\r\n"
        f"From: <sip:{name}@{DOMAIN}>;tag=1\r\nTo: <sip:{name}@{DOMAIN}>\r\nCall-ID: all-dead\r\nCSeq: 1 REGISTER\r\n"
        f"Contact: <sip:{name}@{phone.here}>\r\nExpires: 3600\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    ).encode()


def ask(peers: Peers, servers: list[CallServer]) -> tuple[int, float]:
    sbc = peers.sbc(servers, group=RARE_PROBES)
    phone = peers.socket_phone(sbc)
    answer = phone.request(register(phone))
    assert "Traceback" not in sbc.text()
    return answer


def test_two_silent_servers(peers: Peers) -> None:
    """In time, and neither 408 (forbidden) nor 503 (the phone would give us up)."""
    status, seconds = ask(peers, [peers.silent_server("primary"), peers.silent_server("fallback")])
    assert status in (480, 500)
    assert seconds < 32


def test_two_refusing_servers(peers: Peers) -> None:
    """Where nobody is left to wait for, there is no wait."""
    status, seconds = ask(peers, [AbsentServer("primary"), AbsentServer("fallback")])
    assert status in (480, 500)
    assert seconds < 1
