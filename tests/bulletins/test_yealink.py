"""Yealink, "Using Server Redundancy on Yealink IP Phones": the scenarios, step by step, on paper and on fake time.

Primary and secondary are candidates of one name (failover), working and fallback are configured servers (fallback);
see the glossary. The profile is `yealink` throughout.
"""

from __future__ import annotations

import pytest

from sbc.location.candidate import Candidate
from sbc.redundancy.profile import load_profile
from sbc.redundancy.settings import ServerSettings, expectation
from tests.redundancy.site import P1, P2, P3, SILENT, Site, settings


def failover_site(**group) -> Site:
    """SIP server 1 resolves to a primary and a secondary."""
    site = Site(settings("server1", profile="yealink", **group), {"server1": [P1, P2]})
    site.answers.update({P1: 200, P2: 200})
    return site


def fallback_site(registration: str) -> Site:
    """SIP servers 1 (working) and 2 (fallback), by IP address."""
    site = Site(settings("working", "fallback", profile="yealink", registration=registration))
    site.answers.update({P1: 200, P2: 200})
    return site


def attempts_at(walk):
    return [(sent.to, sent.at, sent.sends) for sent in walk.sent]


# Phone Registration


def test_y6_failover_registration_goes_to_the_primary_first():
    """Y6: "must always register to the primary server first", as often as configured; then the secondary serves."""
    site = failover_site()
    assert [P1] == site.register()["server1"].servers
    site.answers[P1] = SILENT
    walk = site.register()["server1"]
    assert [(P1, 0.0, 4), (P2, 7.5)] == [attempts_at(walk)[0], attempts_at(walk)[1][:2]]
    assert P2 == site.group.working(site.now)


def test_y7_concurrent_registration_is_the_default():
    """Y7: both servers at the same time."""
    site = fallback_site(load_profile("yealink").group["registration"])
    walks = site.register()
    assert {"working": [P1], "fallback": [P2]} == {name: walk.servers for name, walk in walks.items()}
    assert [0.0, 0.0] == [walk.sent[0].at for walk in walks.values()]


def test_y8_successive_registration_uses_one_server_at_a_time():
    """Y8: server 2 sees no REGISTER while server 1 works."""
    site = fallback_site("successive")
    for _ in range(3):
        assert [P1] == [to for walk in site.register().values() for to in walk.servers]
    site.answers[P1] = SILENT
    assert [P1, P2] == [to for walk in site.register().values() for to in walk.servers]


# Configuring Yealink IP Phones


@pytest.mark.parametrize("retries", [0, 1, 3, 20])
def test_y19_retry_counts(retries):
    """Y19: 0 to 20, default 3; each a retransmission after the first send."""
    assert expectation(ServerSettings, "retry_counts", retries) is None
    site = Site(settings({"name": "server1", "retry_counts": retries}, profile="yealink"), {"server1": [P1, P2]})
    site.answers[P2] = 200
    sends = {0: 1, 1: 2, 3: 4, 20: 7}[retries]
    assert (P1, 0.0, sends) == attempts_at(site.request("INVITE"))[0]


def test_y25_new_requests_go_to_the_primary_whatever_was_used_last():
    """Y25, mode 0: as soon as the primary answers anything at all, the next request of any method is its own."""
    site = failover_site()
    site.answers[P1] = SILENT
    site.request("INVITE")
    assert [P2] == site.request("SUBSCRIBE").servers
    site.answers[P1] = 200
    site.probe(P1)
    for method in ("INVITE", "REGISTER", "BYE"):
        assert [P1] == site.request(method).servers


def test_y26_dns_ttl():
    """Y26, mode 1: the primary is tried again when the TTL of the records in use has passed."""
    primary, secondary = Candidate(P1.address, 5060, "udp", priority=1), Candidate(P2.address, 5060, "udp", priority=2)
    site = Site(settings({"name": "server1", "failback_mode": "dns-ttl"}, profile="yealink"), {})
    site.group.update_candidates("server1", [primary, secondary], site.now, ttl=600)
    site.answers[P2] = 200
    site.request("INVITE")
    site.answers[P1] = 200
    site.probe(P1)
    site.let_pass(599)
    assert P2 == site.group.working(site.now)
    site.let_pass(1)
    assert P1 == site.group.working(site.now)


def test_y29_failback_timeout_range():
    """Y29: 0, or 60 to 65535 s."""
    values = (0, 1, 59, 60, 65535, 65536)
    assert [0, 60, 65535] == [value for value in values if not expectation(ServerSettings, "failback_timeout", value)]


@pytest.mark.parametrize(("timeout", "returns"), [(60, True), (0, False)])
def test_y29_failback_timeout(timeout, returns):
    """Y28, Y29, mode 3: back after so many seconds; 0 = "not until a failover event occurs" with the current server."""
    server1 = {"name": "server1", "failback_mode": "duration", "failback_timeout": timeout}
    site = Site(
        settings(server1, {"name": "server2"}, profile="yealink"),
        {"server1": [P1], "server2": [P2]},
    )
    site.answers[P2] = 200
    site.request("INVITE")
    site.answers[P1] = 200
    site.probe(P1)
    assert P2 == site.group.working(site.now)
    site.let_pass(60)
    assert (P1 if returns else P2) == site.group.working(site.now)
    site.answers[P2] = "icmp"
    site.request("INVITE")
    assert P1 == site.group.working(site.now)


# Fallback Scenario


def test_y33_register_fallback():
    """REGISTER Fallback, steps 1 to 4: working x(1+3), no response, fallback, 200."""
    site = fallback_site("successive")
    site.answers[P1] = SILENT
    walk = site.register()["working"]
    assert [(P1, 0.0, 4), (P2, 7.5)] == [attempts_at(walk)[0], attempts_at(walk)[1][:2]]
    assert 200 == walk.outcome.status


def test_y35_invite_fallback():
    """INVITE Fallback: INVITE to the working server, three retries, no response, INVITE to the fallback server, 200."""
    site = fallback_site("concurrent")
    site.register()
    site.answers[P1] = SILENT
    walk = site.request("INVITE")
    assert [(P1, 0.0, 4), (P2, 7.5)] == [attempts_at(walk)[0], attempts_at(walk)[1][:2]]
    assert 200 == walk.outcome.status


def test_y36_register_finds_the_working_server_back():
    """INVITE Fallback, end: REGISTER to the working server detects its recovery, then the INVITE fails back."""
    site = fallback_site("concurrent")
    site.answers[P1] = SILENT
    site.request("INVITE")
    site.register()
    assert [P2] == site.request("INVITE").servers
    site.answers[P1] = 200
    site.register()
    assert [P1] == site.request("INVITE").servers
    assert "back P2>P1 new-requests" == site.moves()[-1]


# Failover Scenario


def test_y37_register_failover():
    """REGISTER Failover, steps 1 to 4, then "the next REGISTER request to the primary server" when it is back."""
    site = failover_site()
    site.answers[P1] = SILENT
    walk = site.register()["server1"]
    assert [(P1, 0.0, 4), (P2, 7.5)] == [attempts_at(walk)[0], attempts_at(walk)[1][:2]]
    site.answers[P1] = 200
    site.probe(P1)
    assert [P1] == site.register()["server1"].servers


def test_y37_to_the_letter_without_skip_down():
    """The phone itself tries the dead primary anew each time; so do we when told not to use what we know."""
    site = failover_site(skip_down=False)
    site.answers[P1] = SILENT
    for _ in range(2):
        assert [P1, P2] == site.register()["server1"].servers


def test_y38_invite_failover():
    """INVITE Failover: primary x(1+3), then secondary; the next call "immediately" goes to a recovered primary."""
    site = failover_site()
    site.answers[P1] = SILENT
    first = site.request("INVITE")
    assert ([P1, P2], 7.5) == (first.servers, first.seconds)
    site.answers[P1] = 200
    site.probe(P1)
    again = site.request("INVITE")
    assert ([P1], 0.0) == (again.servers, again.seconds)


def test_y1_failover_and_fallback_combined():
    """Y1, Y39: primary, then secondary, then the fallback server."""
    site = Site(settings("server1", "server2", profile="yealink"), {"server1": [P1, P2], "server2": [P3]})
    site.answers[P3] = 200
    walk = site.request("INVITE")
    assert [(P1, 0.0), (P2, 7.5), (P3, 15.0)] == [(sent.to, sent.at) for sent in walk.sent]


def test_y3_subscriptions_stay_with_server_1():
    """Y3: the fallback server has no shared lines, no call recording, no MWI."""
    site = fallback_site("concurrent")
    site.answers[P1] = SILENT
    assert [P1] == site.request("SUBSCRIBE").servers
