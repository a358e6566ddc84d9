"""Polycom, Technical Bulletin 5844, "SIP Server Fallback Enhancements": the rules of SIP 2.1 and later, on fake time.

Server 1 is the provider's, server 2 the on-site router with its gateway (P29). The profile is `polycom` throughout.
"""

from __future__ import annotations

import pytest

from sbc.redundancy.health import State
from sbc.redundancy.outcome import Answered
from sbc.redundancy.profile import load_profile
from tests.redundancy.site import P1, P2, P3, SILENT, Site, settings


def make_site(*servers, **group) -> Site:
    """Servers that all answer."""
    site = Site(settings(*(servers or ("provider", "router")), profile="polycom", **group))
    site.answers.update({P1: 200, P2: 200, P3: 200})
    return site


def recover(site, candidate):
    """It is back, and our OPTIONS has noticed."""
    site.answers[candidate] = 200
    site.probe(candidate)


# Terminology


def test_p5_the_list_holds_all_servers_from_dns_and_configuration():
    """P5: a flat list in order: what DNS found for server 1, then server 2."""
    site = Site(settings("provider", "router", profile="polycom"), {"router": [P3], "provider": [P1, P2]})
    assert [P1, P2, P3] == [candidate for _, candidate in site.group.candidates()]


@pytest.mark.parametrize("method", ["SUBSCRIBE", "PUBLISH"])
def test_p6_advanced_features_only_with_server_1(method):
    """P6: SUBSCRIBE/NOTIFY "will only be established with Server 1"; all addresses of it, no other server."""
    site = Site(settings("provider", "router", profile="polycom"), {"provider": [P1, P2], "router": [P3]})
    site.answers[P3] = 200
    assert [P1, P2] == site.request(method).servers


def test_p7_exactly_one_working_server_the_highest_that_is_registered():
    """P7: "At any time, there is only one working server recognized by the phone"; first tried for calls."""
    site = make_site()
    site.register()
    assert P1 == site.group.working(site.now)
    assert [P1] == site.request("INVITE").servers
    site.answers[P1] = SILENT
    site.register()
    assert P2 == site.group.working(site.now)
    described = [c["working"] for server in site.group.describe(site.now)["servers"] for c in server["candidates"]]
    assert [False, True] == described


def test_p8_a_server_without_registration_is_tried_but_never_works():
    """P8: register=0: never registered; the INVITE fails over to it when all higher ones are down."""
    site = make_site("provider", {"name": "gateway", "register": False})
    assert ["provider"] == list(site.register())
    site.answers[P1] = "icmp"
    assert [P1, P2] == site.request("INVITE").servers
    assert [P2] == site.request("INVITE").servers
    assert P1 == site.group.working(site.now)


# Phone Operation for Registration


def test_p9_all_servers_are_registered_at_the_start():
    """P9, P4, P10: every configured registrar server, concurrently; more than two are allowed."""
    site = make_site("one", "two", "three")
    walks = site.register()
    assert {"one": [P1], "two": [P2], "three": [P3]} == {name: walk.servers for name, walk in walks.items()}
    assert {0.0} == {walk.sent[0].at for walk in walks.values()}


def test_p12_the_primary_works_again_as_soon_as_its_registration_succeeds():
    """P12: not when it merely answers, and without any hold once it registers."""
    site = make_site()
    site.register()
    site.answers[P1] = SILENT
    site.register()
    assert P2 == site.group.working(site.now)
    recover(site, P1)
    assert (State.UP, P2) == (site.group.health(P1).state, site.group.working(site.now))
    site.register()
    assert P1 == site.group.working(site.now)
    assert "back P2>P1 registration" == site.moves()[-1]


def test_p13_the_registration_at_server_2_is_kept_after_failback():
    """P13: the next REGISTER of the phone still goes to both."""
    site = make_site()
    site.answers[P1] = SILENT
    site.register()
    site.answers[P1] = 200
    for _ in range(2):
        assert ["provider", "router"] == list(site.register())


# For Outgoing Calls


def test_p15_step_1_the_working_server():
    site = make_site()
    assert [P1] == site.request("INVITE").servers


@pytest.mark.parametrize("answer", [SILENT, "icmp", "refused", 503, 500])
def test_p15_step_2_the_next_server_even_without_a_registration(answer):
    """P15: "does not respond correctly" to the INVITE: the next in the list."""
    site = make_site("provider", {"name": "gateway", "register": False}, "third")
    site.answers[P1] = answer
    assert [P1, P2] == site.request("INVITE").servers


def test_p15_step_3_all_servers_until_the_list_is_exhausted():
    """P15: "all possible servers ... at which point the call will fail"."""
    site = make_site("one", "two", {"name": "three", "register": False})
    site.answers.update({P1: "icmp", P2: "icmp"})
    assert [P1, P2, P3] == site.request("INVITE").servers
    site = make_site("one", "two", {"name": "three", "register": False})
    site.answers.update(dict.fromkeys([P1, P2, P3], "icmp"))
    walk = site.request("INVITE")
    assert ([P1, P2, P3], None) == (walk.servers, walk.verdict)


def test_p16_a_valid_registration_does_not_hide_a_failure():
    """P16: availability is judged by the signalling of the call, though the registration has not expired."""
    site = make_site()
    site.register()
    site.answers[P1] = "icmp"
    assert [P1, P2] == site.request("INVITE").servers


@pytest.mark.parametrize("cause", ["refused", "reset", "connect_timeout"])
def test_p17_tcp_fails_when_the_connection_or_the_send_fails(cause):
    """P17: no timer in it."""
    site = make_site()
    site.answers[P1] = cause
    walk = site.request("INVITE")
    assert ([P1, P2], 0.0) == (walk.servers, walk.seconds)


@pytest.mark.parametrize(("answer", "seconds"), [("icmp", 0.0), (SILENT, 7.5)])
def test_p18_udp_fails_by_icmp_or_timeout(answer, seconds):
    site = make_site()
    site.answers[P1] = answer
    walk = site.request("INVITE")
    assert ([P1, P2], seconds) == (walk.servers, walk.seconds)


def test_p19_the_last_server_gets_the_complete_udp_timeout():
    """P19: 64*T1."""
    site = make_site()
    site.answers.update({P1: SILENT, P2: SILENT})
    walk = site.request("INVITE")
    assert [(0.0, 4), (7.5, 7)] == [(sent.at, sent.sends) for sent in walk.sent]
    assert 39.5 == walk.seconds


@pytest.mark.parametrize(("retries", "interval", "seconds"), [(3, 0, 7.5), (1, 0, 1.5), (3, 0.25, 1.0), (0, 2, 2.0)])
def test_p20_not_the_last_gets_the_configured_retries(retries, interval, seconds):
    """P20: retryMaxCount times, at the RFC's gaps or every retryTimeOut."""
    servers = [{"name": name, "retry_counts": retries} for name in ("provider", "router")]
    site = make_site(*servers, retry_timeout=interval)
    site.answers[P1] = SILENT
    walk = site.request("INVITE")
    assert (P2, seconds) == (walk.sent[1].to, walk.sent[1].at)
    assert retries + 1 == walk.sent[0].sends


def test_the_defaults_are_those_of_the_guide():
    """retryMaxCount 3, retryTimeOut 0, expires 3600, register 1, transport DNSnaptr."""
    profile = load_profile("polycom")
    assert (3, 3600, True, "dns-naptr") == tuple(
        profile.server[key] for key in ("retry_counts", "expires", "register", "transport")
    )
    assert (0, "concurrent") == (profile.group["retry_timeout"], profile.group["registration"])


# For Incoming Calls


def test_p22_every_server_of_the_list_is_known_as_ours():
    """P22: calls come in from any of them, also from one that is down in our eyes."""
    site = make_site()
    site.answers[P2] = "icmp"
    site.probe(P2)
    assert "router" == site.group.owner(P2).name
    site.group.observe(P2, Answered(200), site.now, "OPTIONS")
    assert State.UP is site.group.health(P2).state
