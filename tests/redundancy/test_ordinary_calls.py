"""What the ordinary call may leave out: nothing that another call needs, and no work for the garbage collector."""

import gc
import importlib.machinery
import os
import random
import tracemalloc
import weakref

import pytest

import sbc.events
from sbc.redundancy import group, health, order, outcome, plan
from sbc.redundancy.outcome import Answered, TimedOut, TransportFailed

from .site import P1, P2, P3, Site, settings

compiled = pytest.mark.skipif(os.environ.get("SBC_PURE_PYTHON") == "1", reason="the sources are run on purpose")


@pytest.fixture
def site():
    site = Site(settings("primary", "fallback"))
    site.answers.update({P1: 200, P2: 200})
    site.probe(P1, P2)
    return site


class Caller:
    """A request that waits for its server."""

    def __init__(self, group):
        self.group = group

    def found_down(self, cause):
        raise AssertionError(cause)

    def ask(self, now, method, first=None):
        self.plan = self.group.plan(method, now, first=first, in_dialog=first is not None)
        self.attempt = self.plan.next(now)
        self.group.waiting(self.attempt.candidate, self.found_down)
        self.group.done(self.attempt.candidate, self.found_down)
        self.group.observe(self.attempt.candidate, Answered(200), now, method)
        self.plan.record(self.attempt, Answered(200), now)


def call(site):
    Caller(site.group).ask(site.now, "INVITE")
    Caller(site.group).ask(site.now, "BYE", first=P1)


@pytest.mark.parametrize("mode", ["new-requests", "dns-ttl", "registration", "duration", "never"])
@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_overlooked(mode, seed):
    """Whatever happened, a second look at everything finds the working server and the orders as they are."""
    rng = random.Random(seed)
    server = {"failback_mode": mode, "failback_timeout": 60}
    site = Site(settings(*({"name": name, **server} for name in "abc"), failback_hold=rng.choice((0, 5))))
    group = site.group
    outcomes = (
        Answered(200), Answered(200), Answered(100), Answered(408), Answered(500), Answered(503),
        Answered(503, retry_after=rng.randint(1, 90)), TimedOut(1), TimedOut(4), TransportFailed("icmp"),
        TransportFailed("unreachable"),
    )  # fmt: skip
    link = True
    for _ in range(300):
        what = rng.random()
        if what < 0.2:
            site.let_pass(rng.choice((0.1, 1, 10, 60)))
        elif what < 0.22:
            link = rng.random() < 0.8
            group.set_link(link, site.now)
        elif what < 0.25:
            group.update_candidates("a", rng.choice(([P1], [], [P2, P1])), site.now, ttl=rng.choice((None, 20)))
        else:
            method = rng.choice(("INVITE", "REGISTER", "OPTIONS"))
            group.observe(rng.choice((P1, P2, P3)), rng.choice(outcomes), site.now, method)
        pinned = rng.choice((None, P2))
        begun = group.plan("INVITE", site.now, first=pinned)
        working, told = group.working(site.now), len(site.events)
        group.set_link(link, site.now)  # it is what it was, but everything is looked at
        assert (working, told) == (group.working(site.now), len(site.events))
        again = group.plan("INVITE", site.now, first=pinned)
        attempts = [each.next(site.now) for each in (begun, again)]
        assert attempts[0] == attempts[1]


def test_ordinary_requests_share_their_first_attempt(site):
    """It is made once, for INVITE and for all others, and anew after a change."""
    group = site.group
    first = group.plan("INVITE", site.now).next(site.now)
    assert first is group.plan("INVITE", site.now).next(site.now)
    assert first is not group.plan("BYE", site.now).next(site.now)
    for later in (0.1, 1 / 3, 7.7):
        attempt = group.plan("BYE", site.now + later).next(site.now + later)
        assert attempt is group.plan("SUBSCRIBE", site.now).next(site.now)
    group.observe(P1, TransportFailed("icmp"), site.now, "INVITE")
    assert P2 == group.plan("INVITE", site.now).next(site.now).candidate


def test_what_is_cut_short_by_the_deadline_is_not_shared_with_those_who_have_less_time(site):
    """The last server of a list gets what is left (D1)."""
    site.group.update_candidates("fallback", [], site.now)
    now = site.now
    timeouts = [site.group.plan("BYE", now, deadline=now + left).next(now).timeout for left in (31.0, 20.0, 31.0, 20.5)]
    assert [31.0, 20.0, 31.0, 20.5] == pytest.approx(timeouts)


def test_a_shorter_retry_after_counts_at_once(site):
    """A second 503 changes no state, but when the server comes back."""
    site.group.observe(P1, Answered(503, retry_after=600), site.now, "INVITE")
    site.group.observe(P1, Answered(503, retry_after=5), site.now, "INVITE")
    site.let_pass(5)
    assert health.State.UNKNOWN is site.group.health(P1).state


def test_a_registration_brings_back_at_once():
    """Failback mode registration: an accepted REGISTER at a server that is up changes no state, but the working server."""
    server = {"failback_mode": "registration"}
    site = Site(settings(*({"name": name, **server} for name in "ab"), failback_hold=0))
    site.answers.update({P1: "icmp", P2: 200})
    site.request("INVITE")
    site.answers[P1] = 200
    site.probe(*[P1] * site.group.settings.rise)
    assert P2 == site.group.working(site.now)
    site.group.observe(P1, Answered(200), site.now, "REGISTER")
    assert P1 == site.group.working(site.now)


def test_a_plan_sees_what_happens_after_it_began(site):
    """A kept order is not an old order: the next candidate is chosen by the health of that moment."""
    site = Site(settings("a", "b", "c"))
    first = site.group.plan("INVITE", site.now)
    second = site.group.plan("INVITE", site.now)
    assert P1 == first.next(site.now).candidate
    site.group.observe(P2, TransportFailed("icmp"), site.now, "INVITE")
    site.group.observe(P1, TransportFailed("icmp"), site.now, "INVITE")
    assert P3 == second.next(site.now).candidate


def test_an_ordinary_call_leaves_no_cycle(site):
    """All that a call needs is freed by counting references: nothing is left for the collector."""
    call(site)
    gc.collect()
    gc.disable()
    try:
        site.events.clear()
        caller = Caller(site.group)
        caller.ask(site.now, "INVITE")
        gone = weakref.ref(caller)
        del caller
        assert gone() is None
        for _ in range(100):
            call(site)
        assert 0 == gc.collect()
    finally:
        gc.enable()


def test_a_failed_over_call_leaves_no_cycle(site):
    """Nor does the request that finds a server dead."""
    gc.collect()
    gc.disable()
    try:
        site.answers[P1] = "icmp"
        assert [P1, P2] == site.request("INVITE").servers
        assert 0 == gc.collect()
    finally:
        gc.enable()


@compiled
def test_memory_of_a_plan(site):
    """A call that rings for a minute holds its plan: less than 600 bytes with the attempt under way."""
    begun = []
    for _ in range(100):
        begun.append(site.group.plan("INVITE", site.now))  # the kept order and the list are there already
    begun.clear()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(100):
            each = site.group.plan("INVITE", site.now)
            begun.append((each, each.next(site.now)))
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert used / 100 < 600


@compiled
@pytest.mark.parametrize("module", [sbc.events, group, health, order, outcome, plan])
def test_module_is_compiled(module):
    assert module.__file__.endswith(tuple(importlib.machinery.EXTENSION_SUFFIXES))


@compiled
@pytest.mark.parametrize(
    "kind",
    [
        sbc.events.AttemptEnded, sbc.events.Reports, group.ServerGroup, health.CandidateHealth, order.Orders,
        outcome.Answered, plan.Attempt, plan.AttemptPlan, plan.Option, plan.Order, plan.Tried,
    ],
)  # fmt: skip
def test_class_is_compiled(kind):
    """Its objects have no dictionary, and the type cannot be changed."""
    assert not hasattr(kind, "__dict__") or "__dict__" not in dir(kind)
    with pytest.raises(TypeError):
        kind.not_there = 1
