"""Path and GRUU with real registrars and phones (RFC 3327, 5627; D25)."""

from __future__ import annotations

import re

import pytest

from tests.e2e.peers import Peers, site
from tests.e2e.peers.accounts import Line
from tests.e2e.peers.appliance import RARE_PROBES
from tests.e2e.peers.process import wait_until

MODES = {"save": 0, "lazy": 1, "strict": 2, "off": None}
"""What Kamailio calls its path_mode, and without `use_path`."""


def test_every_kind_of_server_finds_the_phone_by_path(peers: Peers) -> None:
    """`path = true`: whether the server keeps the Path, wants its tag first, or has never heard of it."""
    servers = [peers.kamailio(name, paths=paths, challenge_calls=False, forgetful=True) for name, paths in MODES.items()]
    sbc = peers.sbc(servers, accounts=("bob",), group=RARE_PROBES, server="path = true")
    bob = peers.sipp_phone("bob", sbc.proxy())
    bob.register()
    for server in servers:
        wait_until(lambda server=server: server.contacts("bob"), f"bob is registered at {server.name}")
    assert [bool(re.search(r"Path: <sip:127", server.ask("ul.dump"))) for server in servers] == [True, True, True, False]
    assert [len(server.received("REGISTER")) for server in servers][1:] == [2, 2, 2], "challenged once, refused never"

    callee = bob.take_calls(len(servers))
    for server in servers:
        assert len(peers.sipp_phone("carol", f"127.0.0.1:{server.port}").call("bob")) == 1
    callee.finish()


def test_phone_with_a_gruu_is_found_inside_a_call(peers: Peers) -> None:
    """linphone asks for one, gets Kamailio's, and has it in the Contact of its calls: the server knows what it is for."""
    if "linphone" not in site.kinds():
        pytest.skip("linphone is not installed (tests/run installs it where it can)")
    servers = [peers.kamailio(name, paths=2, challenge_calls=False, forgetful=True) for name in ("primary", "fallback")]
    sbc = peers.sbc(servers, accounts=("alice", "bob"), group=RARE_PROBES, server="path = true")
    line = Line("alice", sbc.proxy())
    (alice,) = site.PHONES["linphone"]("linphone", peers.folder, [line])
    peers.started(alice)
    wait_until(lambda: alice.shows_registered(line), "linphone is registered")
    for server in servers:
        wait_until(lambda server=server: server.contacts("alice"), f"alice is registered at {server.name}")

    # Called: the caller hangs up, at what the phone has said is its address.
    for server in servers:
        assert len(peers.sipp_phone("carol", f"127.0.0.1:{server.port}").call("alice")) == 1
        (bye,) = server.received("BYE")
        assert ";gr=urn:uuid:" in bye

    # Calling.
    bob = peers.sipp_phone("bob", sbc.proxy())
    bob.register()
    callee = bob.take_calls()
    alice.dial("bob")
    alice.hang_up()
    callee.finish()
