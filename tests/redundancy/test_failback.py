"""The failback modes, each with all that it does and all that it does not, step by step (Y24 to Y31, P12, F10, F16, V26)."""

from dataclasses import replace

import pytest

from sbc.location.candidate import Candidate
from sbc.redundancy.health import State
from sbc.redundancy.outcome import Answered, TransportFailed
from sbc.redundancy.profile import load_profile
from sbc.redundancy.settings import PhonesSettings

from .site import P1, P2, P3, SILENT, Site, settings


class Night:
    """A clock on the wall that goes with the site's."""

    def __init__(self, hour):
        self.offset = hour * 3600.0 - 1000.0
        self.site = None

    def __call__(self):
        return (self.site.now + self.offset) % 86400 if self.site else 0.0


def failed_over(mode, *, hour=12, hold=0, rise=1, **server):
    """A primary that has failed and is well again; the fallback is in use."""
    night = Night(hour)
    group = settings({"name": "primary", "failback_mode": mode, **server}, "fallback", rise=rise, failback_hold=hold)
    site = Site(group, time_of_day=night)
    night.site = site
    site.answers.update({P1: "icmp", P2: 200})
    site.request("INVITE")
    assert P2 == site.group.working(site.now)
    site.answers[P1] = 200
    return site


def when_it_returns(site, limit=200_000.0):
    """In how many seconds; None when not within the limit."""
    began = site.now
    while P2 == site.group.working(site.now):
        if site.now - began > limit:
            return None
        site.let_pass(1)
    return site.now - began


ALL = ("new-requests", "dns-ttl", "registration", "duration", "probe", "scheduled", "manual", "never")


@pytest.mark.parametrize(
    ("mode", "server", "seconds"),
    [
        ("new-requests", {}, 0),  # Y25
        ("probe", {}, 0),  # V26: it has answered an OPTIONS
        ("duration", {"failback_timeout": 60}, 60),  # Y28
        ("duration", {"failback_timeout": 0}, None),  # Y29
        ("registration", {}, None),  # Y27: no REGISTER was accepted
        ("dns-ttl", {}, None),  # Y26: by address, so there is no TTL
        ("manual", {}, None),
        ("never", {}, None),  # V4, F16
    ],
)
def test_when_a_primary_that_answers_options_gets_new_requests_again(mode, server, seconds):
    site = failed_over(mode, **server)
    site.probe(P1)
    assert State.UP is site.group.health(P1).state
    assert seconds == when_it_returns(site, 5000.0)


@pytest.mark.parametrize("mode", ALL)
def test_a_server_in_use_that_fails_is_left_at_once_in_every_mode(mode):
    """Y29: "until a failover event occurs"; also outside of the window, and during a hold."""
    site = failed_over(mode, hold=3600, failback_timeout=3600)
    site.probe(P1)
    site.answers[P2] = "icmp"
    site.request("INVITE")
    assert P1 == site.group.working(site.now)
    assert "back P2>P1 working-failed" in site.moves()


@pytest.mark.parametrize("mode", ALL)
def test_nothing_returns_to_a_server_that_is_down(mode):
    site = failed_over(mode, failback_timeout=60)
    site.answers[P1] = SILENT
    for _ in range(50):
        site.probe(P1)
        site.let_pass(100)
        assert P2 == site.group.working(site.now)


@pytest.mark.parametrize("mode", ALL)
def test_y31_d20_never_inside_a_call(mode):
    """Y31, D20: requests of a dialog go on to their server after the failback, in both directions of time."""
    site = failed_over(mode, failback_timeout=60)
    site.probe(P1)
    site.group.observe(P1, Answered(200), site.now, "REGISTER")
    site.let_pass(100)
    site.group.fail_back(site.now)
    assert P1 == site.group.working(site.now)
    for method in ("BYE", "INVITE", "INFO"):
        assert [P2] == site.request(method, first=P2, in_dialog=True).servers
    assert [P1] == site.request("INVITE").servers


def test_d9_the_answer_to_a_challenge_goes_to_who_challenged():
    """D9, Y25: though new requests return to the primary between the 401 and the request with the password."""
    site = failed_over("new-requests")
    site.answers[P2] = 401
    assert [P2] == site.request("INVITE").servers
    site.probe(P1)
    site.answers[P2] = 200
    assert [P2] == site.request("INVITE", first=P2).servers
    assert [P1] == site.request("INVITE").servers


def test_d9_unless_that_server_is_down_by_then():
    site = failed_over("new-requests")
    site.probe(P1)
    site.group.observe(P2, TransportFailed("icmp"), site.now, "OPTIONS")
    assert [P1] == site.request("INVITE", first=P2).servers


# Y26


def test_y26_the_ttl_is_that_of_the_server_in_use():
    """Y26: "the DNS TTL of the server the phone is registered to"."""
    site = failed_over("dns-ttl")
    site.group.update_candidates("primary", [P1], site.now, ttl=3600)
    site.group.update_candidates("fallback", [P2], site.now, ttl=90)
    site.probe(P1)
    assert 90 == when_it_returns(site)


def test_y26_one_that_is_given_by_address_has_none_and_the_other_counts():
    site = failed_over("dns-ttl")
    site.group.update_candidates("primary", [P1], site.now, ttl=120)
    site.probe(P1)
    assert 120 == when_it_returns(site)


# Y27, P12, F10


def test_f10_only_a_200_to_a_register_brings_back():
    """F10, P12, V23: a challenge says that the server is there, and is no registration."""
    site = failed_over("registration")
    for status in (401, 403, 404):
        site.group.probe_ended(P1, Answered(status), site.now, "REGISTER")
        assert (State.UP, P2) == (site.group.health(P1).state, site.group.working(site.now))
    site.group.probe_ended(P1, Answered(200), site.now, "REGISTER")
    assert P1 == site.group.working(site.now)
    assert "back P2>P1 registration" == site.moves()[-1]


def test_y27_a_registration_from_before_the_failover_does_not_count():
    site = Site(settings({"name": "primary", "failback_mode": "registration"}, "fallback", rise=1, failback_hold=0))
    site.answers.update({P1: 200, P2: 200})
    site.register()
    site.let_pass(1)
    site.group.observe(P1, TransportFailed("icmp"), site.now, "INVITE")
    site.probe(P1)
    assert when_it_returns(site, 4000) is None


def test_f16_failback_off():
    """F16: 0 is `never`: not by REGISTER, not by OPTIONS, not by time."""
    site = failed_over("never")
    site.probe(P1)
    site.group.observe(P1, Answered(200), site.now, "REGISTER")
    assert when_it_returns(site, 100_000) is None


def test_p13_the_registration_at_the_other_server_is_kept():
    """P13: both are told at each REGISTER, before the failback and after it."""
    site = failed_over("registration")
    for _ in range(2):
        assert ["primary", "fallback"] == list(site.register())
    assert P1 == site.group.working(site.now)


# V21, V26


def test_v26_failback_within_five_minutes():
    """V26 with V21: probes every 300 s, and one answer is enough."""
    group = settings(
        {"name": "preferred", "failback_mode": "probe"}, {"name": "redundant", "failback_mode": "probe"},
        probe_interval=300, probe_interval_down=300, rise=1, failback_hold=0,
    )  # fmt: skip
    site = Site(group)
    site.answers.update({P1: "icmp", P2: 200})
    site.request("INVITE")
    answered_from = site.now + 17
    while P1 != site.group.working(site.now):
        site.answers[P1] = 200 if site.now >= answered_from else "icmp"
        site.probe(*site.group.probe_due(site.now))
        site.let_pass(1)
    assert site.now - answered_from <= 330  # and 10 % of jitter (D15)


# scheduled


def test_scheduled_waits_for_the_window():
    """From noon to two in the night."""
    site = failed_over("scheduled", hour=12, failback_window="02:00-04:00")
    site.probe(P1)
    assert 14 * 3600 == when_it_returns(site)
    assert "back P2>P1 scheduled" == site.moves()[-1]


def test_scheduled_inside_the_window_is_at_once():
    site = failed_over("scheduled", hour=3, failback_window="02:00-04:00")
    site.probe(P1)
    assert 0 == when_it_returns(site)


def test_scheduled_needs_a_stable_server_too():
    """Up at 03:59:30 with a hold of a minute: the next night."""
    site = failed_over("scheduled", hour=3, hold=60, failback_window="02:00-04:00")
    site.let_pass(3570)
    site.probe(P1)
    assert 22 * 3600 + 30 == when_it_returns(site)


def test_scheduled_sees_that_the_clock_was_set():
    """Daylight saving, or an administrator: a minute later at most it knows."""
    site = failed_over("scheduled", hour=12, failback_window="02:00-04:00")
    site.probe(P1)
    site.let_pass(100)
    site.time_of_day.offset += 14 * 3600
    assert when_it_returns(site) <= 60


# manual


def test_manual_returns_when_told_to():
    site = failed_over("manual")
    site.probe(P1)
    done, text = site.group.fail_back(site.now)
    assert done
    assert [
        "office: new requests go to primary (192.0.2.1:5060;udp) from now on; calls under way stay at fallback"
        " (192.0.2.2:5060;udp) until they end"
    ] == text
    assert [P1] == site.request("INVITE").servers
    assert "back P2>P1 manual" == site.moves()[-1]


@pytest.mark.parametrize("mode", ALL)
def test_told_to_return_in_any_mode_and_in_spite_of_a_hold(mode):
    site = failed_over(mode, hold=3600)
    site.probe(P1)
    assert site.group.fail_back(site.now)[0]
    assert P1 == site.group.working(site.now)


def test_told_to_return_to_a_server_that_is_down():
    """It says why it stays."""
    site = failed_over("manual")
    site.now += 300
    done, (text,) = site.group.fail_back(site.now)
    assert not done
    assert (
        "office: new requests stay at fallback (192.0.2.2:5060;udp): primary (192.0.2.1:5060;udp) is down for 5 min: INVITE:"
        " transport failed: icmp; they can return as soon as it is up" == text
    )


def test_told_to_return_with_nothing_to_return_to():
    """It is as the administrator wants it, so a script that asks twice fails at neither."""
    site = Site(settings("primary", "fallback"))
    site.now += 9000
    assert (True, ["office: new requests go to the best server already, primary (192.0.2.1:5060;udp) for 2 h"]) == (
        site.group.fail_back(site.now)
    )
    equals = Site(settings("a", "b", load_balancing=True))
    assert equals.group.fail_back(equals.now)[0]
    assert (False, ["office: no address of a server is known"]) == Site(settings("a"), {}).group.fail_back(0.0)


def test_told_to_return_to_the_best_that_is_well():
    site = Site(settings("a", "b", "c"))
    site.answers.update({P1: "icmp", P2: "icmp", P3: 200})
    site.request("INVITE")
    site.answers[P2] = 200
    for _ in range(3):
        site.probe(P2)
    assert site.group.fail_back(site.now)[0]
    assert P2 == site.group.working(site.now)


def test_told_to_return_each_kind_of_phones_does():
    """Those that have returned already say so."""
    own = settings({"name": "primary", "failback_mode": "never"}, "fallback", rise=1, failback_hold=0)
    quick = settings("primary", "fallback", rise=1, failback_hold=0, profile="yealink")
    site = Site(replace(own, phones=(PhonesSettings(quick, user_agent=("Yealink*",)),)))
    site.answers.update({P1: "icmp", P2: 200})
    site.request("INVITE")
    site.answers[P1] = 200
    site.probe(P1)
    moved, (first, second) = site.group.fail_back(site.now)
    assert moved and first.startswith("office: new requests go to primary (192.0.2.1:5060;udp) from now on; calls")
    assert second.startswith("office/")
    assert ": new requests go to the best server already, primary (192.0.2.1:5060;udp) for " in second


def test_followers_hear_of_a_return_that_was_asked_for():
    """What moves the registrations is told of every move of the working server, whoever made it."""
    site = failed_over("manual")
    site.probe(P1)
    heard = []
    site.group.followers.append(lambda: heard.append(site.group.working(site.now)))
    site.group.fail_back(site.now)
    assert [P1] == heard
    site.let_pass(10_000)
    assert [P1] == heard, "once"


# load_balancing


FOUR = [Candidate(f"172.29.102.{last}", 5060, "udp") for last in (140, 139, 138, 141)]


def pool():
    """PIVOT: "fourAnames.TestDomain.local"."""
    site = Site(settings("pool", load_balancing=True, rise=1, failback_hold=0), {"pool": FOUR})
    site.answers.update(dict.fromkeys(FOUR, 200))
    return site


def test_v30_v14_the_first_of_the_answer_comes_first():
    """V14: in the order that DNS gave, not sorted."""
    site = pool()
    assert FOUR == [candidate for _, candidate in site.group.candidates()]
    assert FOUR[0] == site.group.working(site.now)
    assert [FOUR[0]] == site.request("REGISTER").servers


def test_v30_on_failure_the_next_available_in_the_list_round_and_round():
    site = pool()
    went = []
    for _ in range(6):
        current = site.group.working(site.now)
        site.answers[current] = "icmp"
        went += site.request("INVITE").servers[1:]
        site.answers[current] = 200
        site.probe(current)
    first, second, third, fourth = FOUR
    assert [second, third, fourth, first, second, third] == went


def test_v30_those_known_to_be_down_are_skipped():
    """V22: without spending a try on them."""
    site = pool()
    site.answers[FOUR[1]] = "icmp"
    site.probe(FOUR[1])
    site.answers[FOUR[0]] = "icmp"
    assert [FOUR[0], FOUR[2]] == site.request("INVITE").servers
    assert FOUR[2] == site.group.working(site.now)


def test_v4_no_failback():
    """V4: "does not failback"; a recovered server is used only when the one in use fails."""
    site = pool()
    site.answers[FOUR[0]] = "icmp"
    site.request("INVITE")
    site.answers[FOUR[0]] = 200
    site.probe(FOUR[0])
    site.group.observe(FOUR[0], Answered(200), site.now, "REGISTER")
    site.let_pass(1_000_000)
    assert FOUR[1] == site.group.working(site.now)
    assert (True, ["office: the servers are equals (load_balancing), there is nothing to return to"]) == (
        site.group.fail_back(site.now)
    )


def test_v28_a_new_order_moves_nobody():
    """V28, V32: what is in use "moves to a different position on the list" and stays in use."""
    site = pool()
    turned = [FOUR[2], FOUR[3], FOUR[0], FOUR[1]]
    site.group.update_candidates("pool", turned, site.now)
    assert turned == [candidate for _, candidate in site.group.candidates()]
    assert FOUR[0] == site.group.working(site.now)
    site.answers[FOUR[0]] = "icmp"
    assert [FOUR[0], FOUR[1]] == site.request("INVITE").servers


def test_v30_servers_of_several_entries_are_one_ring():
    site = Site(settings("a", "b", "c", load_balancing=True, rise=1, failback_hold=0))
    site.answers.update({P1: "icmp", P2: 200, P3: 200})
    site.request("INVITE")
    site.answers.update({P1: 200, P2: "icmp"})
    site.probe(P1)
    assert [P2, P3] == site.request("INVITE").servers
    site.answers[P3] = "icmp"
    assert [P3, P1] == site.request("INVITE").servers
    assert [move for move in site.moves() if move.startswith("back")] == []


# Where the vendors' profiles are exact


@pytest.mark.parametrize(
    ("profile", "damping", "probe_method"),
    [("yealink", False, "register-when-successive"), ("polycom", False, "options"), ("recommended", True, "options")],
)
def test_profiles(profile, damping, probe_method):
    """D19: damping only where no bulletin is to be obeyed."""
    group = load_profile(profile).group
    assert (damping, probe_method, False) == (group["flap_damping"], group["probe_method"], group["load_balancing"])
