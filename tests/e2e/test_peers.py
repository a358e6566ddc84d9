"""The peers among themselves, without the appliance: what fails here is not its fault."""

from __future__ import annotations

import os

import pytest

from tests.e2e.peers import Peers, site
from tests.e2e.peers.accounts import Line
from tests.e2e.peers.process import wait_until
from tests.e2e.peers.sockets import AbsentServer, answers_options


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_two_phones_call_through_a_call_server(peers: Peers, address: str) -> None:
    """baresip and SIPp register with digest at Kamailio and call each other; calls are challenged too."""
    server = peers.kamailio("primary", address=address)
    proxy = f"[{address}]:{server.port}" if ":" in address else f"{address}:{server.port}"
    bob = peers.sipp_phone("bob", proxy, address)
    bob.register()
    alice = peers.baresip("alice", proxy, address=address)
    alice.wait_registered()
    assert len(server.contacts("alice")) == 1
    assert len(server.contacts("bob")) == 1

    callee = bob.take_calls()
    alice.dial("bob")
    alice.hang_up()
    callee.finish()

    assert len(bob.call("alice")) == 1
    assert len(server.received("BYE")) == 2


@pytest.mark.parametrize("kind", site.WELL_BEHAVED)
def test_phone_registers_and_calls(peers: Peers, kind: str) -> None:
    """Every phone shows what becomes of a right and a wrong password, calls, and takes calls; calls are challenged."""
    if kind not in site.kinds():
        pytest.skip(f"{kind} is not installed (tests/run installs it where it can)")
    server = peers.kamailio("primary", forgetful=True)
    proxy = f"127.0.0.1:{server.port}"
    lines = [Line("alice", proxy), Line("dave", proxy, password="wrong")]
    alice, dave = phones = site.PHONES[kind](kind, peers.folder, lines)
    for phone in set(phones):
        peers.started(phone)
    wait_until(lambda: alice.shows_registered(lines[0]), f"{kind} is registered")
    wait_until(lambda: dave.refusals(lines[1]), f"{kind} says that its other password is wrong")
    assert not alice.refusals(lines[0])
    assert not dave.shows_registered(lines[1])
    assert len(server.contacts("alice")) == 1
    assert not server.contacts("dave")

    bob = peers.sipp_phone("bob", proxy)
    bob.register()
    callee = bob.take_calls()
    alice.dial("bob")
    alice.hang_up()
    callee.finish()
    assert len(bob.call("alice")) == 1


def test_call_server_remembers_registrations(peers: Peers) -> None:
    """SIGKILL loses no binding: the servers of the story come back as they were."""
    server = peers.kamailio("primary")
    peers.sipp_phone("bob", f"127.0.0.1:{server.port}").register()
    server.kill()
    assert not answers_options("127.0.0.1", server.port)
    server.start()
    assert len(server.contacts("bob")) == 1


def test_server_carries_on_a_dialog_of_its_twin(peers: Peers) -> None:
    """A BYE whose Route names the dead twin reaches the callee through the server that shares its dialogs."""
    primary = peers.kamailio("primary", challenge_calls=False)
    fallback = peers.kamailio("fallback", shares_dialogs_of=("127.0.0.1", primary.port))
    phone = peers.socket_phone(fallback)
    primary.kill()
    bye = (
        f"BYE sip:bob@{phone.here} SIP/2.0\r\nVia: SIP/2.0/UDP {phone.here};branch=z9hG4bKtwin;rport\r\n"
        f"Route: <sip:127.0.0.1:{primary.port};lr>\r\nMax-Forwards: 70\r\n"
        "From: <sip:alice@testdomain.local>;tag=a\r\nTo: <sip:bob@testdomain.local>;tag=b\r\n"
        "Call-ID: twin\r\nCSeq: 2 BYE\r\nContent-Length: 0\r\n\r\n"
    )
    phone.send(bye.encode())
    arrived = phone.receive(2) or b""
    assert arrived.startswith(b"BYE ")
    assert b"Route:" not in arrived


def test_sipp_call_server_answers_options_and_calls(peers: Peers) -> None:
    """The measuring server answers pings and calls in any order."""
    server = peers.call_server("live")
    assert answers_options("127.0.0.1", server.port)
    caller = peers.sipp_phone("carol", f"127.0.0.1:{server.port}")
    delays = caller.call("anyone", calls=5, talk=0.01)
    assert len(delays) == 5
    assert answers_options("127.0.0.1", server.port)


def test_dead_servers_are_dead(peers: Peers) -> None:
    """The silent one says nothing, the absent one is refused by the system."""
    silent = peers.silent_server()
    assert not answers_options("127.0.0.1", silent.port)
    assert len(silent.received("OPTIONS")) == 1
    assert not answers_options("127.0.0.1", AbsentServer().port)


def test_peers_leave_no_process(peers: Peers) -> None:
    """Stopping takes the children too."""
    server = peers.kamailio("primary")
    group = server.pid
    peers.close()

    def gone() -> bool:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        return False

    wait_until(gone, "the process group is empty", 2)
