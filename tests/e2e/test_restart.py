"""`kill -9` of the appliance itself: calls under way and registered phones survive it."""

from __future__ import annotations

from tests.e2e.peers import Peers
from tests.e2e.peers.process import wait_until


def test_kill_and_restart_lose_neither_call_nor_phone(peers: Peers) -> None:
    """The BYE of a call from before the crash goes through; a new call rings though nobody has registered again."""
    servers = [peers.kamailio("primary"), peers.kamailio("fallback")]
    sbc = peers.sbc(servers, accounts=("alice", "bob"))
    bob = peers.sipp_phone("bob", sbc.proxy())
    bob.register()
    # An hour: alice does not register again by herself within this test.
    alice = peers.baresip("alice", sbc.proxy(), expires=3600)
    alice.wait_registered()
    for server in servers:
        wait_until(lambda server=server: server.contacts("alice"), f"alice is registered at {server.name}")

    callee = bob.take_calls()
    alice.dial("bob")
    sbc.kill()
    sbc.start()
    alice.hang_up(timeout=5)
    callee.finish()
    assert len(servers[0].received("BYE")) == 1

    registers = [len(server.received("REGISTER")) for server in servers]
    for server in servers:
        carol = peers.sipp_phone("carol", f"127.0.0.1:{server.port}")
        carol.call("alice")
    assert sbc.metric("sbc_bindings") == 2
    assert registers == [len(server.received("REGISTER")) for server in servers]
    assert "Traceback" not in sbc.text()
