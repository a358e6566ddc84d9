"""The main job: phones that know one proxy stay in service when their call server dies.

A baresip phone and a SIPp phone, both registered with digest through the appliance at two Kamailio registrars at once.
"""

from __future__ import annotations

import pytest

from tests.e2e.peers import Baresip, Kamailio, Peers, Sbc, SippPhone
from tests.e2e.peers.process import wait_until

ACCOUNTS = ("alice", "bob")


def registered_phones(peers: Peers, sbc: Sbc, servers: list[Kamailio]) -> tuple[Baresip, SippPhone]:
    """alice (baresip) and bob (SIPp), known to every server."""
    bob = peers.sipp_phone("bob", sbc.proxy())
    bob.register()
    alice = peers.baresip("alice", sbc.proxy())
    alice.wait_registered()
    for server in servers:
        for name in ACCOUNTS:
            wait_until(lambda server=server, name=name: server.contacts(name), f"{name} is registered at {server.name}")
    return alice, bob


@pytest.mark.parametrize("challenge_calls", [True, False], ids=["calls challenged", "calls not challenged"])
def test_calls_outlive_the_primary(peers: Peers, challenge_calls: bool) -> None:
    """Registered at both; the primary dies during a call; the BYE ends it; calls go on, and go home when it is back."""
    primary = peers.kamailio("primary", challenge_calls=challenge_calls)
    # Primary and backup share their dialogs: what a BYE at the backup presumes (Fanvil, F1, F8).
    twin = (primary.address, primary.port)
    fallback = peers.kamailio("fallback", challenge_calls=challenge_calls, shares_dialogs_of=twin)
    sbc = peers.sbc([primary, fallback], accounts=ACCOUNTS)
    alice, bob = registered_phones(peers, sbc, [primary, fallback])
    for server in (primary, fallback):
        for name in ACCOUNTS:
            [contact] = server.contacts(name)
            assert f"@{sbc.proxy()}" in contact
    assert sbc.metric("sbc_bindings") == 2

    callee = bob.take_calls()
    alice.dial("bob")
    assert primary.received("INVITE")
    assert not fallback.received("INVITE")
    assert sbc.working_server() == "primary"

    primary.kill()
    alice.hang_up()
    callee.finish()

    wait_until(lambda: sbc.working_server() == "fallback", "the fallback is the working server")
    assert sbc.metric("sbc_server_up", server="primary") == 0
    callee = bob.take_calls()
    alice.dial("bob", timeout=3)
    assert fallback.received("INVITE")
    alice.hang_up()
    callee.finish()
    assert sbc.metric("sbc_failovers_total") >= 1
    assert sbc.metric("sbc_failbacks_total") == 0

    calls_at_fallback = len(fallback.received("INVITE"))
    calls_at_primary = len(primary.received("INVITE"))
    primary.start()
    wait_until(lambda: sbc.working_server() == "primary", "the primary is the working server again", 20)
    callee = bob.take_calls()
    alice.dial("bob")
    alice.hang_up()
    callee.finish()
    assert len(primary.received("INVITE")) > calls_at_primary
    assert len(fallback.received("INVITE")) == calls_at_fallback
    assert sbc.metric("sbc_server_up", server="primary") == 1
    assert sbc.metric("sbc_failbacks_total") == 1
    assert "Traceback" not in sbc.text()


def test_bye_reaches_our_other_phone_when_no_server_knows_the_call(peers: Peers) -> None:
    """The fallback knows nothing of the primary's calls; where both ends are phones of ours, both are told (D22)."""
    primary = peers.kamailio("primary")
    fallback = peers.kamailio("fallback")
    sbc = peers.sbc([primary, fallback], accounts=ACCOUNTS)
    alice, bob = registered_phones(peers, sbc, [primary, fallback])
    callee = bob.take_calls(timeout=15)
    alice.dial("bob")
    primary.kill()
    alice.hang_up()
    callee.finish()


@pytest.mark.parametrize("through", ["primary", "fallback"])
def test_calls_from_any_server_ring(peers: Peers, through: str) -> None:
    """A call that comes in through either server reaches the phone, whichever is the working one (Polycom, P22)."""
    servers = {name: peers.kamailio(name) for name in ("primary", "fallback")}
    sbc = peers.sbc(list(servers.values()), accounts=ACCOUNTS)
    registered_phones(peers, sbc, list(servers.values()))

    # Somebody who lives at that server and has never heard of the appliance.
    carol = peers.sipp_phone("carol", f"127.0.0.1:{servers[through].port}")
    assert len(carol.call("alice")) == 1


def test_phone_without_our_credentials_registers_at_the_primary(peers: Peers) -> None:
    """Nobody told the appliance the password: the phone itself answers the primary, and is registered there."""
    primary = peers.kamailio("primary")
    fallback = peers.kamailio("fallback")
    sbc = peers.sbc([primary, fallback])
    peers.sipp_phone("bob", sbc.proxy()).register()
    assert len(primary.contacts("bob")) == 1


def test_each_server_is_answered_in_its_own_digest_algorithm(peers: Peers) -> None:
    """The phone knows MD5 only; the fallback asks for SHA-256, and we answer it."""
    primary = peers.kamailio("primary")
    fallback = peers.kamailio("fallback", algorithm="SHA-256")
    sbc = peers.sbc([primary, fallback], accounts=ACCOUNTS)
    registered_phones(peers, sbc, [primary, fallback])


def test_wrong_password_registers_nowhere(peers: Peers) -> None:
    """The credentials file is for answering servers, not for letting anybody in."""
    servers = [peers.kamailio("primary"), peers.kamailio("fallback")]
    sbc = peers.sbc(servers, accounts=ACCOUNTS)
    bob = peers.sipp_phone("bob", sbc.proxy(), password="wrong")
    with pytest.raises(AssertionError, match="SIPp"):
        bob.register()
    assert [server.contacts("bob") for server in servers] == [[], []]


def test_deregistration_reaches_both_servers(peers: Peers) -> None:
    """Expires 0 removes the contact everywhere (D13)."""
    servers = [peers.kamailio("primary"), peers.kamailio("fallback")]
    sbc = peers.sbc(servers, accounts=ACCOUNTS)
    bob = peers.sipp_phone("bob", sbc.proxy())
    bob.register()
    for server in servers:
        wait_until(lambda server=server: server.contacts("bob"), f"bob is registered at {server.name}")
    bob.register(expires=0)
    for server in servers:
        wait_until(lambda server=server: not server.contacts("bob"), f"bob is gone from {server.name}")
    assert sbc.metric("sbc_bindings") == 0
