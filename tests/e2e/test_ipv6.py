"""IPv6 on both sides, and the appliance between the two worlds."""

from __future__ import annotations

import pytest

from tests.e2e.peers import Peers
from tests.e2e.peers.process import wait_until

V4, V6 = "127.0.0.1", "::1"


@pytest.mark.parametrize(
    "alice_at, bob_at, primary_at, fallback_at",
    [(V6, V6, V6, V6), (V6, V6, V4, V4), (V4, V4, V6, V6), (V4, V6, V4, V6)],
    ids=["all IPv6", "IPv6 phones", "IPv6 servers", "mixed"],
)
def test_register_call_and_lose_the_primary(
    peers: Peers, alice_at: str, bob_at: str, primary_at: str, fallback_at: str
) -> None:
    """Registration at both servers, a call through each, in every combination of families."""
    primary = peers.kamailio("primary", address=primary_at)
    fallback = peers.kamailio("fallback", address=fallback_at)
    sbc = peers.sbc([primary, fallback], addresses=(V4, V6), accounts=("alice", "bob"))
    alice = peers.sipp_phone("alice", sbc.proxy(alice_at), alice_at)
    bob = peers.sipp_phone("bob", sbc.proxy(bob_at), bob_at)
    alice.register()
    bob.register()
    for server in (primary, fallback):
        wait_until(lambda server=server: server.contacts("bob"), f"bob is registered at {server.name}")

    callee = bob.take_calls(2)
    alice.call("bob")
    assert primary.received("INVITE")
    assert not fallback.received("INVITE")

    primary.kill()
    alice.call("bob")
    assert fallback.received("INVITE")
    callee.finish()


def test_real_phone_on_ipv6(peers: Peers) -> None:
    """baresip registers and is called over IPv6."""
    servers = [peers.kamailio("primary", address=V6), peers.kamailio("fallback", address=V6)]
    sbc = peers.sbc(servers, addresses=(V6,), accounts=("alice",))
    alice = peers.baresip("alice", sbc.proxy(V6), address=V6)
    alice.wait_registered()
    assert peers.sipp_phone("carol", f"[::1]:{servers[0].port}", V6).call("alice")
