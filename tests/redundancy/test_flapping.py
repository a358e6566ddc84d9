"""A server that keeps coming back and failing (D19)."""

import pytest

from sbc.events import ServerFlapped
from sbc.redundancy.flapping import FlapDamping

from .site import P1, P2, Site, settings


@pytest.mark.parametrize(("hold", "holds"), [(60, [120, 240, 480, 960, 1920, 3600, 3600]), (0, [60, 120]), (7200, [7200])])
def test_each_short_return_doubles_the_hold(hold, holds):
    """D19: 60 s to 1 h; what is configured longer stays."""
    damping, now = FlapDamping(hold, True), 0.0
    for expected in holds:
        damping.returned(P1, now)
        now += 299.9
        assert expected == damping.failed(P1, now)
        assert expected == damping.hold_for(P1)
    assert hold == damping.hold_for(P2)


def test_a_return_of_five_minutes_is_none():
    damping = FlapDamping(60, True)
    damping.returned(P1, 0.0)
    assert damping.failed(P1, 300.0) is None
    assert 60 == damping.hold_for(P1)


def test_a_stable_hour_is_forgiven():
    """In between it stays as it is."""
    damping = FlapDamping(60, True)
    damping.returned(P1, 0.0)
    damping.failed(P1, 10.0)
    damping.returned(P1, 1000.0)
    assert damping.failed(P1, 1000.0 + 3599) is None
    assert 120 == damping.hold_for(P1)
    damping.returned(P1, 10000.0)
    damping.failed(P1, 10000.0 + 3600)
    assert 60 == damping.hold_for(P1)


def test_a_failure_without_a_return_before_it_is_no_flap():
    assert FlapDamping(60, True).failed(P1, 0.0) is None


def test_switched_off():
    """The vendors' exact profiles."""
    damping = FlapDamping(0, False)
    damping.returned(P1, 0.0)
    assert damping.failed(P1, 1.0) is None
    damping.told(P1, 120)
    assert 0 == damping.hold_for(P1)


def flapping_site(**group):
    site = Site(settings("primary", "fallback", rise=1, failback_hold=60, **{"flap_damping": True, **group}))
    site.answers.update({P1: "icmp", P2: 200})
    site.request("INVITE")
    return site


def come_back_and_fail(site):
    """How long the group waited for it; it fails at once."""
    site.answers[P1] = 200
    site.probe(P1)
    came_back = site.now
    while P2 == site.group.working(site.now):
        site.let_pass(10)
    site.answers[P1] = "icmp"
    site.request("INVITE")
    return site.now - came_back


def test_the_group_waits_longer_each_time_and_says_so():
    site = flapping_site()
    assert [60, 120, 240] == [come_back_and_fail(site) for _ in range(3)]
    flaps = [event for event in site.events if isinstance(event, ServerFlapped)]
    assert [("primary", 120), ("primary", 240), ("primary", 480)] == [(flap.server, flap.hold) for flap in flaps]


def test_without_damping_it_is_the_same_each_time():
    site = flapping_site(flap_damping=False)
    assert [60, 60, 60] == [come_back_and_fail(site) for _ in range(3)]
    assert [] == [event for event in site.events if isinstance(event, ServerFlapped)]


def test_another_process_is_told_the_hold():
    site = flapping_site()
    site.group.told_hold(P1, 240)
    assert 240 == come_back_and_fail(site)


def test_a_reload_forgets_no_flap():
    site = flapping_site()
    come_back_and_fail(site)
    after = Site(settings("primary", "fallback", rise=1, failback_hold=60, flap_damping=True, probe_interval=60))
    after.now = site.now
    after.answers.update({P1: "icmp", P2: 200})
    after.group.go_on_from(site.group, site.now)
    assert 120 == come_back_and_fail(after)
