"""Our own link or uplink is down: nothing is judged, nothing moves, and afterwards nothing is held against anybody (V20, D33)."""

import pytest

from sbc.events import FailedBack, FailedOver
from sbc.redundancy.health import LONGEST_WAIT, State
from sbc.redundancy.outcome import Answered, TimedOut, TransportFailed

from .site import P1, P2, SILENT, Site, settings


@pytest.fixture
def site():
    """Both up, the primary in use."""
    site = Site(settings("primary", "fallback"))
    site.answers.update({P1: 200, P2: 200})
    for _ in range(3):
        site.probe(P1, P2)
    return site


def moves(site):
    return [event for event in site.events if isinstance(event, FailedOver | FailedBack) and getattr(event, "method", "*") == "*"]


def states(site):
    return [site.group.health(candidate).state for candidate in (P1, P2)]


# The link


def test_v20_frozen_on_the_server_in_use(site):
    """V20, X11: "the phone will remain frozen on the current call server"."""
    site.group.set_link(False, site.now)
    site.answers.update({P1: "unreachable", P2: "unreachable"})
    for _ in range(10):
        site.request("INVITE")
        site.probe(P1, P2)
        site.let_pass(100)
    assert ([State.FROZEN] * 2, P1) == (states(site), site.group.working(site.now))
    assert [] == moves(site)
    site.answers.update({P1: 200, P2: 200})
    site.group.set_link(True, site.now)
    assert [State.UP] * 2 == states(site)
    assert [P1] == site.request("INVITE").servers


def test_v20_nothing_is_probed_and_all_are_soon_afterwards(site):
    """Much may have changed: whatever the interval, everyone is asked within a moment."""
    site.group.probe_due(site.now)
    site.probe(P1, P2)
    site.group.set_link(False, site.now)
    assert ([], None) == (site.group.probe_due(site.now + 1000), site.group.next_wakeup(site.now))
    site.let_pass(1)
    site.group.set_link(True, site.now)
    site.let_pass(0.5)
    assert {P1, P2} == set(site.group.probe_due(site.now))


def test_v20_no_failback_while_frozen(site):
    """The hold of the primary ends in the freeze: it moves nobody."""
    site.answers[P1] = "icmp"
    site.request("INVITE")
    site.answers[P1] = 200
    for _ in range(3):
        site.probe(P1)
    site.group.set_link(False, site.now)
    site.let_pass(1000)
    assert P2 == site.group.working(site.now)
    assert not site.group.fail_back(site.now)[0]


def test_the_time_of_the_freeze_is_no_part_of_the_hold(site):
    """D18 wants a minute in which it was seen to be stable."""
    site.answers[P1] = "icmp"
    site.request("INVITE")
    site.answers[P1] = 200
    for _ in range(3):
        site.probe(P1)
    site.let_pass(40)
    site.group.set_link(False, site.now)
    site.let_pass(1000)
    site.group.set_link(True, site.now)
    site.let_pass(19)
    assert P2 == site.group.working(site.now)
    site.let_pass(1)
    assert P1 == site.group.working(site.now)


def test_two_freezes_are_both_left_out(site):
    site.answers[P1] = "icmp"
    site.request("INVITE")
    site.answers[P1] = 200
    for _ in range(3):
        site.probe(P1)
    for _ in range(2):
        site.let_pass(20)
        site.group.set_link(False, site.now)
        site.let_pass(500)
        site.group.set_link(True, site.now)
    site.let_pass(19)
    assert P2 == site.group.working(site.now)
    site.let_pass(1)
    assert P1 == site.group.working(site.now)


def test_what_was_sent_into_the_dead_link_is_not_held_against_a_server(site):
    """An INVITE that waited through the freeze times out after it: four sends, and nobody's fault but ours."""
    site.group.set_link(False, site.now)
    site.let_pass(3)
    site.group.set_link(True, site.now)
    site.let_pass(4)
    site.group.observe(P1, TimedOut(4), site.now, "INVITE")
    assert (State.UP, False) == (site.group.health(P1).state, site.group.health(P1).in_doubt)
    site.let_pass(LONGEST_WAIT - 4)
    site.group.observe(P1, TimedOut(4), site.now, "INVITE")
    assert State.DOWN is site.group.health(P1).state


def test_a_probe_sent_since_then_finds_a_server_that_has_died_meanwhile(site):
    site.group.set_link(False, site.now)
    site.group.set_link(True, site.now)
    for _ in range(site.group.settings.fall):
        site.group.probe_ended(P1, TimedOut(1), site.now, "OPTIONS")
    assert P2 == site.group.working(site.now)


def test_hard_errors_after_the_freeze_count_at_once(site):
    """Nobody sends an ICMP error for what never left."""
    site.group.set_link(False, site.now)
    site.group.set_link(True, site.now)
    site.group.observe(P1, TransportFailed("icmp"), site.now, "INVITE")
    assert State.DOWN is site.group.health(P1).state


def test_a_retry_after_that_ends_in_the_freeze_ends_with_it(site):
    site.group.observe(P1, Answered(503, retry_after=10), site.now, "INVITE")
    site.group.set_link(False, site.now)
    site.let_pass(100)
    assert State.FROZEN is site.group.health(P1).state
    site.group.set_link(True, site.now)
    site.let_pass(0)
    assert State.UNKNOWN is site.group.health(P1).state


def test_a_scheduled_window_that_passes_in_the_freeze_is_missed():
    day = {"seconds": 2 * 3600.0}
    site = Site(
        settings({"name": "primary", "failback_mode": "scheduled"}, "fallback", rise=1, failback_hold=0),
        time_of_day=lambda: day["seconds"],
    )
    site.answers.update({P1: "icmp", P2: 200})
    site.request("INVITE")
    site.group.set_link(False, site.now)
    site.answers[P1] = 200
    day["seconds"] = 5 * 3600.0
    site.let_pass(3 * 3600)
    site.group.set_link(True, site.now)
    site.probe(P1)
    site.let_pass(60)
    assert P2 == site.group.working(site.now)


# The uplink


def lose_uplink(site):
    """The primary is found silent ten seconds before the fallback."""
    site.answers.update({P1: SILENT, P2: SILENT})
    for candidate in (P1, P2):
        for _ in range(site.group.settings.fall):
            site.probe(candidate)
        site.let_pass(10)


def test_d33_the_order_in_which_they_were_found_silent_is_no_preference(site):
    """D33: "do not touch preference state"; they are down all the same, so that no request waits."""
    lose_uplink(site)
    assert P2 == site.group.working(site.now)
    assert site.group.is_silent()
    site.group.set_uplink(False, site.now)
    assert P1 == site.group.working(site.now)
    assert [State.DOWN] * 2 == states(site)


def test_d33_followers_hear_that_a_failover_was_undone(site):
    """Registrations are to follow the working server back."""
    lose_uplink(site)
    heard = []
    site.group.followers.append(lambda: heard.append(site.group.working(site.now)))
    site.group.set_uplink(False, site.now)
    assert [P1] == heard


def test_d33_when_it_is_over_the_first_to_answer_has_not_won(site):
    """The fallback is up ten seconds before the primary: requests go there meanwhile, and then to the primary, unmoved."""
    lose_uplink(site)
    site.group.set_uplink(False, site.now)
    site.let_pass(500)
    count = len(moves(site))
    site.group.set_uplink(True, site.now)
    site.answers[P2] = 200
    for _ in range(3):
        site.probe(P2)
    assert P1 == site.group.working(site.now)
    assert [P2] == site.request("INVITE").servers
    site.let_pass(10)
    site.answers[P1] = 200
    for _ in range(3):
        site.probe(P1)
    assert [P1] == site.request("INVITE").servers
    assert count == len(moves(site))


def test_d33_but_it_is_not_waited_for_forever(site):
    """One that does not come back with the uplink has failed."""
    lose_uplink(site)
    site.group.set_uplink(False, site.now)
    site.group.set_uplink(True, site.now)
    site.answers[P2] = 200
    for _ in range(3):
        site.probe(P2)
    site.let_pass(3 * (10 * 1.1 + 4))
    assert P2 == site.group.working(site.now)


def test_a_failover_from_long_before_is_not_undone(site):
    """The primary died an hour before the uplink did."""
    site.answers[P1] = "icmp"
    site.request("INVITE")
    site.let_pass(3600)
    lose_uplink(site)
    site.group.set_uplink(False, site.now)
    assert P2 == site.group.working(site.now)


def test_a_server_that_refuses_is_not_silent(site):
    """503 comes from the other side of the uplink."""
    lose_uplink(site)
    site.group.observe(P2, Answered(503), site.now, "INVITE")
    assert not site.group.is_silent()
    assert not Site(settings("a"), {}).group.is_silent()


def test_a_reload_in_an_outage_keeps_it(site):
    lose_uplink(site)
    site.group.set_uplink(False, site.now)
    after = Site(settings("primary", "fallback", probe_interval=60))
    after.now = site.now
    after.group.go_on_from(site.group, site.now)
    assert (P1, [State.DOWN] * 2) == (after.group.working(after.now), states(after))
