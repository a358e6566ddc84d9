"""How fast a server that has come back gets its registrations (D18): every sentence of `sbc.registration.resync`."""

from __future__ import annotations

from math import inf

import pytest

from sbc.redundancy.outcome import Answered, TimedOut
from sbc.registration.resync import Pace, Phase, Resync
from sbc.registration.token_bucket import TokenBucket

LASTS = 64.0


def resync(number: int = 0, *, place=lambda n: 0, is_phones=lambda n: False, now: float = 0.0, **settings) -> Resync:
    """With so many phones, `p0` ...; their class and sort as the functions say."""
    made = Resync(now, **settings)
    for n in range(number):
        made.expect(f"p{n}", place(n), is_phones(n), now)
    return made


def run(made: Resync, until: float, *, answers_after: float = 0.01, now: float = 0.0) -> list[tuple[float, str]]:
    """Do as `resyncs` does, and let the server accept each after a moment; returns who went when."""
    gone: list[tuple[float, str]] = []
    accepted: list[tuple[float, str]] = []
    while now < until:
        while accepted and accepted[0][0] <= now:
            made.registered(accepted.pop(0)[1])
        while (token := made.next_token(now, LASTS)) is not None:
            gone.append((now, token))
            accepted.append((now + answers_after, token))
        now = min([made.wakes_at(now), until, *(at for at, _ in accepted[:1])])
    return gone


def most_in_a_second(times: list[float]) -> int:
    """Of any second."""
    first = most = 0
    for last, at in enumerate(times):
        while times[first] <= at - 1.0:
            first += 1
        most = max(most, last - first + 1)
    return most


# The bucket


@pytest.mark.parametrize("rate", [1.0, 5.0, 16.7, 100.0])
@pytest.mark.parametrize("cost", [1, 2])
def test_no_second_sees_a_fifth_too_many(rate, cost):
    """Also after a long time without any, and when each costs two; where the rate is small, one phone more."""
    bucket = TokenBucket(rate, 0.0, cost)
    now, times = 1000.0, []
    while now < 1060.0:
        if bucket.take(now):
            times += [now] * cost
        else:
            now = max(bucket.next_at(now), now + 1e-6)
    assert most_in_a_second(times) <= max(1.2 * rate, rate + cost) + 1e-9
    assert len(times) == pytest.approx(60.0 * rate, rel=0.1, abs=2)


def test_what_was_spent_beyond_it_is_waited_for():
    bucket = TokenBucket(10.0, 0.0)
    bucket.spend(6, 0.0)
    assert not bucket.take(0.5)
    assert 0.6 == pytest.approx(bucket.next_at(0.5))
    assert bucket.take(0.6)
    bucket.spend(-1, 0.6)
    assert bucket.take(0.6), "what was not needed is given back"


# The pace


def test_d18_3_doubled_every_30_s_while_the_server_is_quick():
    """D18 (3): while the 95th percentile of its answer times is below a second; and not without any answer."""
    pace = Pace(4.0, 0.0)
    pace.advance(30.0)
    assert 1.0 == pace.factor
    for end, factor in [(60.0, 2.0), (90.0, 4.0), (120.0, 4.0)]:
        for _ in range(100):
            pace.answered(0.05)
        for _ in range(5):
            pace.answered(3.0)
        pace.advance(end - 0.1)
        before = pace.factor
        pace.advance(end)
        assert (factor, True) == (pace.factor, before <= factor)


def test_d18_3_halved_when_it_is_slow():
    pace = Pace(4.0, 0.0)
    for _ in range(90):
        pace.answered(0.05)
    for _ in range(10):
        pace.answered(1.5)
    pace.advance(30.0)
    assert 0.5 == pace.factor


def test_d18_3_halved_by_what_fails_once_a_second_and_never_to_nothing():
    pace = Pace(1.0, 0.0)
    for _ in range(50):  # what is on the way together fails together
        pace.failed(1.0)
    assert 0.5 == pace.factor
    for second in range(2, 100):
        pace.failed(float(second))
    assert 1 / 64 == pace.factor
    pace.answered(0.1)
    pace.advance(129.0)
    assert 1 / 32 == pace.factor


def test_a_configured_rate_is_never_exceeded():
    """`resync_rate`: halved and risen again, but not above it."""
    made = resync(1000, rate=10.0)
    for second in range(200):
        made.observe(Answered(200), 0.01, float(second))
        assert made.rate(float(second)) <= 10.0
    made.observe(Answered(503), 0.01, 200.0)
    assert 5.0 == made.rate(200.0)
    made.observe(TimedOut(4), 7.5, 202.0)
    assert 2.5 == made.rate(202.0)
    made.observe(Answered(200), 0.01, 210.0)
    assert 5.0 == made.rate(232.0)


@pytest.mark.parametrize("phones, cost, rate", [(10, 1, 5.0), (3000, 1, 10.0), (3000, 2, 20.0)])
def test_d18_3_without_one_all_phones_in_five_minutes_but_at_least_five_a_second(phones, cost, rate):
    """max(5/s, phones/300 s); a server that asks for passwords gets two REGISTERs of each."""
    made = Resync(0.0)
    made.cost = cost
    for n in range(phones):
        made.expect(f"p{n}", 0, False, 0.0)
    assert rate == pytest.approx(made.rate(0.0))


def test_one_of_several_processes_has_its_share_of_the_rate():
    assert 5.0 == resync(10, rate=20.0, share=0.25).rate(0.0)
    assert 1.25 == resync(10, share=0.25).rate(0.0)


# Hold and canary


def test_d18_1_nobody_goes_before_the_hold_is_over():
    made = resync(3, holds_until=30.0)
    assert Phase.HOLDING is made.phase(29.9)
    assert None is made.next_token(29.9, LASTS)
    assert 30.0 == made.wakes_at(0.0)
    assert not made.admits("p0", 29.9)
    assert "p0" == made.next_token(30.0, LASTS)


def test_d18_2_one_canary_must_be_accepted():
    made = resync(3)
    assert "p0" == made.next_token(0.0, LASTS)
    assert Phase.CANARY is made.phase(5.0)
    assert None is made.next_token(5.0, LASTS)
    made.registered("p0")
    assert Phase.PACED is made.phase(6.0)
    assert "p1" == made.next_token(6.0, LASTS)


def test_d18_2_when_it_fails_another_one_follows_later_and_no_storm():
    made = resync(3)
    assert "p0" == made.next_token(0.0, LASTS)
    made.failed("p0", 1.0, again=100.0, wait=40.0)
    assert None is made.next_token(40.9, LASTS)
    assert 41.0 == made.wakes_at(1.0)
    assert "p1" == made.next_token(41.0, LASTS)
    assert None is made.next_token(41.0, LASTS)
    made.failed("p1", 42.0, again=inf, wait=40.0)
    assert (2, 2) == (made.canaries_failed, made.left), "p1 is refused, and no business of this any more"
    assert "p2" == made.next_token(82.0, LASTS)
    made.registered("p2")
    assert None is made.next_token(99.0, LASTS)
    assert "p0" == made.next_token(100.0, LASTS)


def test_a_canary_that_is_never_heard_of_again_is_replaced():
    made = resync(2)
    assert "p0" == made.next_token(0.0, LASTS)
    assert LASTS == made.wakes_at(1.0)
    assert None is made.next_token(LASTS - 0.1, LASTS)
    assert "p1" == made.next_token(LASTS, LASTS)


def test_a_canary_that_is_gone_is_replaced():
    made = resync(2)
    assert "p0" == made.next_token(0.0, LASTS)
    made.forgotten("p0")
    assert "p1" == made.next_token(1.0, LASTS)


def test_without_a_phone_of_ours_the_first_that_comes_by_is_the_canary():
    made = resync(3, is_phones=lambda n: True)
    assert made.admits("p2", 0.0)
    assert not made.admits("p0", 1.0)
    made.registered("p2")
    assert made.admits("p0", 1.5)


def test_while_the_canary_is_one_of_ours_no_other_comes():
    made = resync(3, is_phones=lambda n: n > 0)
    assert not made.admits("p1", 0.0)
    assert "p0" == made.next_token(0.0, LASTS)
    made.registered("p0")
    assert made.admits("p1", 0.5)


# Order


def test_d18_4_by_importance():
    """D18 (4): the classes one after the other, then the rest; the canary is of the first."""
    made = resync(6, place=lambda n: 2 - n % 3)
    assert ["p2", "p5", "p1", "p4", "p0", "p3"] == [token for _, token in run(made, 10.0)]


def test_d18_4_phones_that_come_by_themselves_are_called_by_importance():
    made = resync(6, place=lambda n: 2 - n % 3, is_phones=lambda n: True)
    assert ["p2", "p5", "p1"] == made.invite(3)
    assert [] == made.invite(3)
    made.admits("p2", 0.0)
    made.registered("p2")
    assert ["p4"] == made.invite(3)


def test_d18_4_a_phone_that_comes_by_itself_waits_for_more_important_ones_of_ours():
    made = resync(3, place=lambda n: n, is_phones=lambda n: n == 2)
    made.next_token(0.0, LASTS)
    made.registered("p0")
    assert not made.admits("p2", 1.0)
    assert "p1" == made.next_token(1.0, LASTS)
    assert made.admits("p2", 1.5)


def test_d13_removals_come_before_anything_else():
    """D13: also before the hold is over; the first one alone."""
    made = resync(1, holds_until=30.0)
    for key in ("r0", "r1", "r2"):
        made.expect_removal(key)
    assert "r0" == made.next_removal(0.0)
    assert (None, inf) == (made.next_removal(5.0), made.wakes_at(5.0))
    made.removal_over("r0")
    assert None is made.next_token(31.0, LASTS)
    assert ("r1", None, "r2") == (made.next_removal(31.0), made.next_removal(31.0), made.next_removal(31.2))
    made.removal_over("r1")
    assert None is made.next_token(31.5, LASTS)
    assert not made.admits("p0", 31.5)
    made.removal_over("r2")
    assert "p0" == made.next_token(32.0, LASTS)


# All of them


@pytest.mark.parametrize("rate", [10.0, 50.0])
def test_all_are_registered_in_the_time_that_the_rate_allows(rate):
    gone = run(resync(2000, rate=rate), 1000.0)
    assert 2000 == len(gone) == len({token for _, token in gone})
    assert gone[-1][0] == pytest.approx(2000 / rate, rel=0.02)
    assert most_in_a_second([at for at, _ in gone]) <= 1.2 * rate


def test_both_sorts_have_their_share():
    """Phones that come by themselves at any time find a place, though we could take all."""
    made = resync(1000, rate=20.0, is_phones=lambda n: n % 2 == 1)
    made.next_token(0.0, LASTS)
    made.registered("p0")
    now, ours, theirs = 0.0, 0, 0
    coming = [f"p{n}" for n in range(1, 1000, 2)]
    while now < 20.0:
        now += 0.01
        while (token := made.next_token(now, LASTS)) is not None:
            made.registered(token)
            ours += 1
        if round(now * 100) % 7 == 0 and made.admits(coming[0], now):
            made.registered(coming.pop(0))
            theirs += 1
    assert ours + theirs == pytest.approx(400, abs=10)
    assert theirs > 150


def test_ours_take_all_when_nobody_comes():
    made = resync(1000, rate=20.0, is_phones=lambda n: n % 2 == 1)
    assert len(run(made, 20.0)) > 350


def test_a_phone_that_comes_by_itself_has_paid_for_its_answer_to_the_challenge():
    made = Resync(0.0, rate=2.0)
    made.cost = 2
    for n in range(3):
        made.expect(f"p{n}", 0, True, 0.0)
    assert made.admits("p0", 0.0)
    assert made.admits("p0", 0.05)
    made.registered("p0")
    assert not made.admits("p1", 0.5)
    assert made.admits("p1", 1.0)


def test_phones_that_are_well_there_take_places_too():
    """Their REGISTERs are passed on, and counted."""
    made = resync(2, rate=1.0)
    made.next_token(0.0, LASTS)
    made.registered("p0")
    assert made.admits("p0", 1.0)
    assert None is made.next_token(1.0, LASTS)
    assert "p1" == made.next_token(2.0, LASTS)


def test_a_phone_out_of_service_waits_for_no_canary_but_for_a_place():
    made = resync(3, is_phones=lambda n: True, holds_until=30.0, rate=1.0)
    assert made.admits_at_once("p0", 0.0, at_any_price=False)
    assert not made.admits_at_once("p1", 0.5, at_any_price=False)
    assert made.admits_at_once("p1", 0.5, at_any_price=True)
    assert not made.admits_at_once("p2", 1.0, at_any_price=False)
    assert made.admits_at_once("p2", 2.0, at_any_price=False)


def test_a_phone_may_turn_out_to_be_the_only_one_that_can():
    """Its server asks for a password that we do not have."""
    made = resync(2)
    assert "p0" == made.next_token(0.0, LASTS)
    made.expect("p0", 0, True, 0.1)
    assert (2, 1) == (made.left, made.left_to_phones)
    assert "p1" == made.next_token(0.2, LASTS)


def test_it_is_over_when_nobody_waits():
    made = resync(2)
    assert not made.is_over
    run(made, 2.0)
    assert made.is_over and 2 == made.done
    assert {
        "phase": "paced", "returned": True, "commanded": False, "starts_in": 0, "seconds": 3.0, "seconds_left": 0,
        "done": 2, "left": 0, "left_to_phones": 0, "removals": 0, "rate": 5.0,
    } == made.describe(3.0)  # fmt: skip
    assert inf == made.wakes_at(3.0)
