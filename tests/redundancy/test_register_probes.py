"""When a better server is asked by REGISTER (Y23, Y34, F10, F11, F17): the calendar, without the wire."""

from dataclasses import replace

import pytest

from sbc.redundancy.health import State
from sbc.redundancy.outcome import Answered, TimedOut
from sbc.redundancy.settings import GroupSettings, PhonesSettings, expectation

from .site import P1, P2, P3, Site, settings


def site_with(method="register", interval=120, registration="successive", **group):
    site = Site(
        settings(
            *({"name": name, "failback_mode": "registration"} for name in ("primary", "backup")),
            probe_method=method, register_probe_interval=interval, registration=registration,
            rise=1, failback_hold=0, **group,
        )
    )  # fmt: skip
    site.answers.update({P1: 200, P2: 200})
    return site


def fail_over(site):
    site.answers[P1] = "icmp"
    site.request("INVITE")
    assert P2 == site.group.working(site.now)
    return site.now


def register_probes(site, until, answers):
    """Seconds after the failover at which REGISTERs go to the primary; `answers` tells how long until each ends, and how."""
    began, asked, ends = site.now, [], []
    while site.now < began + until:
        for at, outcome in [end for end in ends if end[0] <= site.now]:
            ends.remove((at, outcome))
            site.group.probe_ended(P1, outcome, site.now, "REGISTER")
        for candidate in site.group.probe_due(site.now):
            if site.group.seeks_registration(candidate):
                asked.append(round(site.now - began, 1))
                seconds, outcome = answers(site.now - began)
                ends.append((site.now + seconds, outcome))
            else:
                site.group.probe_ended(candidate, Answered(200), site.now, "OPTIONS")
        site.now += 0.5
    return asked


def test_f11_an_unanswered_one_restarts_the_timer_after_64_t1():
    """F11: so the cycle is the interval and 32 s."""
    site = site_with(interval=1800)
    fail_over(site)
    assert [1800.0, 3632.0, 5464.0] == register_probes(site, 6000, lambda at: (32.0, TimedOut(1)))


def test_y23_an_answered_one_does_not():
    """Y23, F17: every interval."""
    site = site_with(interval=120)
    fail_over(site)
    assert [120.0, 240.0, 360.0, 480.0] == register_probes(site, 500, lambda at: (0.5, Answered(401)))


def test_y34_f10_the_first_200_brings_back():
    site = site_with(interval=120)
    fail_over(site)
    answers = lambda at: (0.5, Answered(200)) if at > 300 else (32.0, TimedOut(1))  # noqa: E731
    assert [120.0, 272.0, 424.0] == register_probes(site, 1000, answers)
    assert P1 == site.group.working(site.now)
    assert "back P2>P1 registration" == site.moves()[-1]


def test_no_register_while_the_best_server_is_in_use():
    site = site_with()
    assert [] == register_probes(site, 1000, lambda at: (0.0, Answered(200)))
    assert State.UP is site.group.health(P1).state


def test_the_others_are_asked_by_options_as_ever():
    """Also the one in use."""
    site = site_with(interval=300)
    fail_over(site)
    assert not site.group.seeks_registration(P2)
    site.let_pass(20)
    assert [P2] == site.group.probe_due(site.now)


@pytest.mark.parametrize(
    ("method", "registration", "seeks"),
    [
        ("register", "successive", True),
        ("register", "concurrent", True),
        ("options", "successive", False),
        ("register-when-successive", "successive", True),
        ("register-when-successive", "single", True),
        ("register-when-successive", "concurrent", False),  # Y23: "only for successive"
    ],
)
def test_y23_which_groups_ask_so(method, registration, seeks):
    site = site_with(method, registration=registration)
    fail_over(site)
    assert seeks is site.group.seeks_registration(P1)


def test_no_register_where_phones_are_not_registered():
    """P8: a server with register = false is never better in this sense."""
    site = Site(settings({"name": "gateway", "register": False}, "b", "c", probe_method="register"))
    site.answers.update({P1: 200, P2: "icmp", P3: 200})
    site.request("REGISTER")
    site.group.observe(P2, TimedOut(4), site.now, "INVITE")
    assert P3 == site.group.working(site.now)
    assert [False, True, False] == [site.group.seeks_registration(each) for each in (P1, P2, P3)]


def test_f17_y23_the_range_of_the_interval():
    values = (9, 10, 120, 1800, 2147483647, 2147483648)
    good = [value for value in values if expectation(GroupSettings, "register_probe_interval", value) is None]
    assert [10, 120, 1800, 2147483647] == good


@pytest.mark.parametrize("status", [500, 502, 504, 408])
def test_an_answer_that_is_no_sign_of_life(status):
    """V18: a 408 to a probe of ours is as bad as none, though to a call it says nothing about the server."""
    site = site_with(fall=2)
    site.probe(P1)
    for _ in range(2):
        site.group.probe_ended(P1, Answered(status), site.now, "REGISTER")
    assert State.DOWN is site.group.health(P1).state


@pytest.mark.parametrize(("status", "state"), [
    (200, "up"), (302, "up"), (404, "up"), (405, "up"), (480, "up"), (486, "up"), (499, "up"), (501, "up"), (505, "up"),
    (513, "up"), (603, "up"), (408, "down"), (500, "down"), (502, "down"), (503, "down"), (504, "down"),
])  # fmt: skip
def test_v17_v18_what_an_options_is_answered_with(status, state):
    """V17: below 500 is up; V18: 408 and 503 are down; D6: 500, 502 and 504 too, and who answers anything else is there."""
    site = site_with(fall=1)
    site.group.probe_ended(P1, Answered(status), site.now, "OPTIONS")
    assert state == site.group.health(P1).state.value


def test_an_options_of_a_phone_is_none_of_ours():
    """A phone that asks a callee who is not there must not bring the server down."""
    site = site_with(fall=1)
    site.group.observe(P1, Answered(408), site.now, "OPTIONS")
    assert State.UNKNOWN is site.group.health(P1).state


def test_f6_a_renewal_does_not_wait_for_a_server_that_our_own_registers_ask():
    """F6, F10: phones register at the backup at once; as soon as the primary has answered, be it by a challenge, they try it."""
    site = site_with()
    fail_over(site)
    assert [P2] == site.register()["primary"].servers
    site.group.probe_ended(P1, Answered(401), site.now, "REGISTER")
    site.answers[P1] = 200
    assert [P1] == site.register()["primary"].servers
    assert P1 == site.group.working(site.now)


def test_y27_where_we_do_not_ask_the_renewal_does():
    site = site_with("options")
    fail_over(site)
    assert [P1, P2] == site.register()["primary"].servers


def test_kinds_of_phones_of_which_one_needs_to_know_sooner():
    """All share what is known of the servers: a REGISTER every half an hour is not enough for those that return at once."""
    slow = settings("primary", "backup", probe_method="register")
    quick = settings("primary", "backup", profile="yealink")
    alone = Site(replace(slow, phones=(PhonesSettings(slow, user_agent=("Fanvil*",)),)))
    mixed = Site(replace(slow, phones=(PhonesSettings(quick, user_agent=("Yealink*",)),)))
    for site, seeks in ((alone, True), (mixed, False)):
        site.answers.update({P1: "icmp", P2: 200})
        site.request("INVITE")
        assert seeks is site.group.seeks_registration(P1)
