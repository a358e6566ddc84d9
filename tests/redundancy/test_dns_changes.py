"""What a new list from DNS does to the working server: V28, V29, S11, S13."""

import pytest

from sbc.location.candidate import Candidate
from sbc.redundancy.outcome import Answered
from tests.redundancy.site import P1, P2, P3, Site, settings

LATE = {"dns_removed": "at-renewal", "failback_hold": 0, "rise": 1}


def site_with(found, alive=(P1, P2, P3), server=None, **group):
    """One server whose name leads to these; all of them have answered once."""
    entry = {"name": "office", "failback_mode": "probe", **(server or {})}
    site = Site(settings(entry, **{**LATE, **group}), {"office": list(found)})
    for candidate in alive:
        site.answers[candidate] = 200
    for candidate, _ in [(candidate, None) for _, candidate in site.group.candidates()]:
        site.group.observe(candidate, Answered(200), site.now, "OPTIONS")
    return site


def found(site, *candidates):
    site.group.update_candidates("office", list(candidates), site.now)


def listed(site):
    return [candidate for _, candidate in site.group.candidates()]


def test_new_order_moves_nobody():
    """V28: "although the active server may move to a different position on the list ..."."""
    site = site_with([P1, P2, P3])
    found(site, P3, P2, P1)
    assert P1 == site.group.working(site.now)
    assert [] == site.moves()


def test_new_servers_appear_and_removed_ones_vanish():
    """V28."""
    site = site_with([P1, P2])
    found(site, P1, P3)
    assert [P1, P3] == listed(site)
    assert P1 == site.group.working(site.now)


def renews(site, candidate, status=200, after=0.0):
    """A phone's REGISTER reaches that server."""
    site.let_pass(after)
    site.group.observe(candidate, Answered(status), site.now, "REGISTER")


INTERVAL = 30.0
"""The `probe_interval` of these groups."""


def test_removed_working_server_stays_until_a_registration_is_renewed():
    """V29: "does not register to a different server until the active server fails to respond"; GAP: then not preferred."""
    site = site_with([P1, P2], probe_interval=INTERVAL)
    found(site, P2, P3)
    assert [P2, P3, P1] == listed(site)
    assert P1 == site.group.working(site.now)
    assert [P1] == site.request("INVITE").servers
    assert [] == site.moves()
    found(site, P3, P2)  # and again
    assert P1 == site.group.working(site.now)

    site.let_pass(INTERVAL)
    [(_, plan)] = site.group.register_plans(site.now)[:1]
    assert plan.next(site.now).candidate == P1, "the renewal goes where the phone is registered"
    renews(site, P1, 100)
    renews(site, P1, 401)
    renews(site, P1, 403)
    assert P1 == site.group.working(site.now), "anybody can send a REGISTER that nobody accepts"
    renews(site, P1)
    assert [P2, P3] == listed(site)
    assert ["* P1>P2 dns"] == site.moves()
    [(_, plan)] = site.group.register_plans(site.now)[:1]
    assert plan.next(site.now).candidate == P2


def test_removed_working_server_is_not_left_with_the_first_of_many_renewals():
    """V29: among a thousand phones one renews at any moment; that would be at once. A minute of DNS is no hurry."""
    site = site_with([P1, P2], probe_interval=INTERVAL)
    found(site, P2)
    renews(site, P1, after=INTERVAL - 1)
    assert P1 == site.group.working(site.now)
    renews(site, P1, after=1)
    assert P2 == site.group.working(site.now)


def test_removed_working_server_outlives_probes_and_registrations_elsewhere():
    """V29: neither is a renewal there."""
    entries = [{"name": name, "failback_mode": "probe"} for name in ("office", "other")]
    site = Site(settings(*entries, probe_interval=INTERVAL, **LATE), {"office": [P1], "other": [P3]})
    found(site, P2)
    site.let_pass(INTERVAL)
    site.group.probe_ended(P1, Answered(200), site.now, "REGISTER")
    renews(site, P3)
    assert P1 == site.group.working(site.now)
    renews(site, P1)
    assert P2 == site.group.working(site.now)


def test_removed_working_server_is_left_when_it_fails():
    """V29; and then it is gone."""
    site = site_with([P1, P2])
    found(site, P2)
    site.answers[P1] = "icmp"
    assert [P1, P2] == site.request("INVITE").servers
    assert P2 == site.group.working(site.now)
    assert [P2] == listed(site)


def test_removed_working_server_that_is_named_again_is_as_before():
    """A DNS server that left one out once."""
    site = site_with([P1, P2])
    found(site, P2)
    found(site, P1, P2)
    renews(site, P1, after=3600)
    assert P1 == site.group.working(site.now)
    assert [] == site.moves()


def test_others_leave_it_at_once():
    """The default: who takes a server out of DNS wants no more calls there."""
    site = site_with([P1, P2], dns_removed="at-once")
    found(site, P2)
    assert P2 == site.group.working(site.now)
    assert ["* P1>P2 dns"] == site.moves()


def test_no_failback_to_an_equal_that_was_added():
    """V4, V14: among equals nothing is better."""
    site = site_with([P1, P2], server={"failback_mode": "never"})
    found(site, P3, P1, P2)
    assert P1 == site.group.working(site.now)
    assert [] == site.moves()


TCP = [Candidate(candidate.address, 5060, "tcp") for candidate in (P1, P2)]


def test_tcp_preferred_returns_from_udp_to_tcp():
    """S11: TCP is preferred; over UDP one only waits until it works again."""
    both = [TCP[0], P1, TCP[1], P2]
    site = site_with(both, alive=both, server={"transport": "tcp-preferred"})
    site.answers[TCP[0]] = "refused"
    assert [TCP[0], P1] == site.request("INVITE").servers
    assert P1 == site.group.working(site.now)
    site.answers[TCP[0]] = 200
    site.group.observe(TCP[0], Answered(200), site.now, "OPTIONS")
    assert TCP[0] == site.group.working(site.now)


def test_rotating_answers_move_nobody_with_tcp_preferred_either():
    """S11, V14."""
    both = [TCP[0], P1, TCP[1], P2]
    site = site_with(both, alive=both, server={"transport": "tcp-preferred"})
    found(site, TCP[1], P2, TCP[0], P1)
    assert both == listed(site)


@pytest.mark.parametrize("priority", [0, 1, 20])
def test_first_address_of_a_list_is_better_whatever_srv_says_of_the_second(priority):
    """S13: the order of the field comes before the priorities that DNS gives."""
    second = Candidate("192.0.2.2", 5060, "udp", priority, 0, 1)
    site = site_with([P1, second], alive=(P1, second))
    site.answers[P1] = "icmp"
    site.request("INVITE")
    assert second == site.group.working(site.now)
    site.group.observe(P1, Answered(200), site.now, "OPTIONS")
    assert P1 == site.group.working(site.now)
