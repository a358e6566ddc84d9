"""The timer queue: order, cancelling, one call below for all, and what a timer may do while it runs."""

import pytest

from sbc.clock import TimerQueue
from tests.helpers.clock import FakeClock


class _Call:
    def __init__(self, due, function):
        self.due = due
        self.function = function

    def cancel(self):
        assert self.active(), "cancelled twice, or after it ran"
        self.function = None

    def active(self):
        return self.function is not None


class Reactor:
    """The clock below: like Twisted's, it minds a cancel too many, and calls each function in a turn of its own."""

    def __init__(self):
        self.now = 500.0
        self.calls = []

    def seconds(self):
        return self.now

    def callLater(self, delay, function, *args):  # noqa: N802
        assert delay >= 0
        call = _Call(self.now + delay, lambda: function(*args))
        self.calls.append(call)
        return call

    @property
    def pending(self):
        return [call for call in self.calls if call.active()]

    def advance(self, seconds):
        """One turn, at the end of the time: what a busy process sees."""
        self.now += seconds
        self.turn()

    def turn(self):
        due = sorted((call for call in self.pending if call.due <= self.now), key=lambda call: call.due)
        for call in due:
            if call.active():
                function, call.function = call.function, None
                function()


@pytest.fixture
def reactor():
    return Reactor()


@pytest.fixture
def queue(reactor):
    return TimerQueue(reactor)


@pytest.fixture
def ran():
    return []


def test_runs_in_the_order_of_due_times(reactor, queue, ran):
    for delay in (3.0, 1.0, 2.0):
        queue.callLater(delay, ran.append, delay)
    reactor.advance(5)
    assert ran == [1.0, 2.0, 3.0]


def test_same_instant_runs_in_the_order_of_setting(reactor, queue, ran):
    for number in range(50):
        queue.callLater(1.0, ran.append, number)
    reactor.advance(1)
    assert ran == list(range(50))


def test_nothing_runs_before_its_time(reactor, queue, ran):
    queue.callLater(1.0, ran.append, "late")
    reactor.advance(0.999)
    assert ran == []


def test_arguments_are_passed(reactor, queue, ran):
    queue.callLater(0, lambda *args: ran.append(args), 1, "two")
    reactor.advance(0)
    assert ran == [(1, "two")]


def test_zero_delay_waits_for_the_next_turn(reactor, queue, ran):
    """Who sets a timer has not finished what it is doing."""
    queue.callLater(0, ran.append, "x")
    assert ran == []


def test_seconds_are_those_of_the_clock_below(reactor, queue):
    reactor.now = 77.0
    assert queue.seconds() == 77.0


# Cancelling


def test_cancelled_timer_does_not_run(reactor, queue, ran):
    timer = queue.callLater(1.0, ran.append, "cancelled")
    queue.callLater(1.0, ran.append, "kept")
    assert timer.active()
    timer.cancel()
    assert not timer.active()
    reactor.advance(2)
    assert ran == ["kept"]


def test_timer_is_not_active_while_it_runs_and_after(reactor, queue, ran):
    """As with Twisted's DelayedCall: `stop` may ask it from within its own function."""
    timer = queue.callLater(1.0, lambda: ran.append(timer.active()))
    reactor.advance(1)
    assert ran == [False]
    assert not timer.active()


def test_timer_may_cancel_another_that_is_due_with_it(reactor, queue, ran):
    queue.callLater(1.0, lambda: second.cancel())
    second = queue.callLater(1.0, ran.append, "second")
    reactor.advance(1)
    assert ran == []


def test_cancelled_timer_lets_its_argument_go(queue):
    """A transaction must not live until the time of a timer that it has cancelled long ago."""
    import gc
    import weakref

    class Held:
        pass

    held = Held()
    gone = weakref.ref(held)
    queue.callLater(30.0, print, held).cancel()
    del held
    gc.collect()
    assert gone() is None


# One call below


def test_one_pending_call_below_whatever_the_number(reactor, queue, ran):
    for delay in (5.0, 1.0, 3.0, 0.5, 2.0):
        queue.callLater(delay, ran.append, delay)
        assert len(reactor.pending) == 1
    assert reactor.pending[0].due == reactor.now + 0.5
    reactor.advance(0.5)
    assert len(reactor.pending) == 1
    assert reactor.pending[0].due == reactor.now + 0.5
    reactor.advance(10)
    assert ran == [0.5, 1.0, 2.0, 3.0, 5.0]
    assert reactor.pending == []


def test_earlier_timer_moves_the_call_below(reactor, queue, ran):
    queue.callLater(10, ran.append, "late")
    queue.callLater(1, ran.append, "early")
    reactor.advance(1)
    assert ran == ["early"]


def test_wakeup_of_a_cancelled_timer_finds_the_next(reactor, queue, ran):
    queue.callLater(1, ran.append, "cancelled").cancel()
    queue.callLater(2, ran.append, "next")
    reactor.advance(1)
    assert ran == []
    reactor.advance(1)
    assert ran == ["next"]


def test_wakeup_that_comes_too_early_waits_again(reactor, queue, ran):
    """A clock below may round; nothing runs before its time and nothing is forgotten."""
    queue.callLater(1.0, ran.append, "x")
    reactor.pending[0].due -= 0.25
    reactor.advance(0.75)
    assert ran == []
    reactor.advance(0.25)
    assert ran == ["x"]


def test_driven_by_hand_it_still_keeps_one_call_below(reactor, queue, ran):
    """`run_due` is for a clock without turns of its own; beside one that has them it must not leave calls behind."""
    for delay in (1.0, 2.0, 3.0):
        queue.callLater(delay, ran.append, delay)
    reactor.now += 1.0
    queue.run_due()
    assert ran == [1.0]
    assert len(reactor.pending) == 1
    reactor.now += 1.0
    queue.run_due()
    assert len(reactor.pending) == 1
    reactor.advance(1.0)
    assert ran == [1.0, 2.0, 3.0]
    assert reactor.pending == []


# What a timer may do while it runs


def test_rearming_from_within(reactor, queue, ran):
    """A chain of retransmissions: each sets the next, counted from when it ran."""

    def again():
        ran.append(reactor.now)
        if len(ran) < 3:
            queue.callLater(2.0, again)

    queue.callLater(1.0, again)
    for _ in range(6):
        reactor.advance(1.0)
    assert ran == [501.0, 503.0, 505.0]
    assert reactor.pending == []


def test_rearming_from_within_keeps_one_call_below(reactor, queue):
    """Also when the new timer is due later, or earlier, than those that wait."""
    queue.callLater(1.0, queue.callLater, 50.0, print)
    queue.callLater(1.0, queue.callLater, 0.25, print)
    queue.callLater(10.0, print)
    reactor.advance(1.0)
    assert [call.due for call in reactor.pending] == [reactor.now + 0.25]


def test_error_in_a_timer_stops_no_other(reactor, queue, ran):
    """It goes up to the loop, which reports it; those due with it run in the next turn."""

    def fail():
        raise ZeroDivisionError

    queue.callLater(1.0, fail)
    queue.callLater(1.0, ran.append, "same instant")
    queue.callLater(2.0, ran.append, "later")
    with pytest.raises(ZeroDivisionError):
        reactor.advance(1.0)
    reactor.turn()
    assert ran == ["same instant"]
    reactor.advance(1.0)
    assert ran == ["same instant", "later"]
    assert reactor.pending == []


# Many


@pytest.mark.parametrize("delay", [32.0, 17.3], ids=["lane", "heap"])
def test_cancelled_timers_do_not_pile_up(queue, delay):
    """Most SIP timers are cancelled: memory follows the active ones, not those ever set."""
    import sys

    queue.lane(32.0)
    kept = [queue.callLater(delay, print) for _ in range(100)]
    nobody_holds_it = sys.getrefcount(object())
    for _ in range(1000):
        timer = queue.callLater(delay, print)
        timer.cancel()
        assert sys.getrefcount(timer) == nobody_holds_it + 1
    assert len(queue) == len(kept)


def test_cancelling_anywhere_keeps_the_order(reactor, queue, ran):
    """Of constant and odd delays, cancelled in no order, from within timers too."""
    for delay in (1.0, 5.0, 32.0):
        queue.lane(delay)
    delays = [(1.0, 5.0, 32.0, (7919 * n) % 5000 / 100)[n % 4] for n in range(5000)]
    timers = [queue.callLater(delay, ran.append, (delay, n)) for n, delay in enumerate(delays)]
    for timer in timers[::3]:
        timer.cancel()
    dropped = [n for n in range(5000) if n % 3 and n % 7 == 0 and delays[n] > 0.5]
    queue.callLater(0.5, lambda: [timers[n].cancel() for n in dropped])
    kept = sorted((delay, n) for n, delay in enumerate(delays) if n % 3 and n not in dropped)
    assert len(queue) == len(kept) + len(dropped) + 1
    for _ in range(60):
        reactor.advance(1)
    assert ran == kept
    assert len(queue) == 0


def test_burst_from_within_a_timer(reactor, queue, ran):
    """What is set and cancelled while the queue is being emptied disturbs nothing."""

    def burst():
        for delay in 2000 * (5.0, 7.7):
            queue.callLater(delay, print).cancel()
        ran.append("burst")

    queue.lane(5.0)
    queue.callLater(1.0, burst)
    queue.callLater(1.0, ran.append, "same instant")
    queue.callLater(2.0, ran.append, "later")
    reactor.advance(1.0)
    reactor.advance(1.0)
    assert ran == ["burst", "same instant", "later"]


def test_lanes_and_heap_share_one_order(reactor, queue, ran):
    """Due at the same instant, whichever way they wait: in the order of setting."""
    queue.lane(2.0)
    queue.lane(1.0)
    queue.callLater(2.0, ran.append, "lane 2")
    queue.callLater(0.5, lambda: queue.callLater(1.5, ran.append, "heap"))
    reactor.advance(0.5)
    reactor.advance(0.5)
    queue.callLater(1.0, ran.append, "lane 1")
    reactor.advance(1.0)
    assert ran == ["lane 2", "heap", "lane 1"]


def test_lane_survives_a_clock_that_goes_back(reactor, queue, ran):
    """Nobody promises it, and nothing is lost by it."""
    queue.lane(1.0)
    queue.callLater(1.0, ran.append, "first set")
    reactor.now -= 0.5
    queue.callLater(1.0, ran.append, "first due")
    assert queue.next_due() == reactor.now + 1.0
    reactor.advance(2.0)
    assert ran == ["first due", "first set"]


def test_number_of_lanes_is_bounded(reactor, queue, ran):
    """A caller that makes a lane of every delay gets timers that work all the same."""
    for n in range(1000, 0, -1):
        queue.lane(n / 100)
        queue.callLater(n / 100, ran.append, n)
    reactor.advance(10)
    assert ran == list(range(1, 1001))


def test_wakeups_of_many_are_shared(reactor, queue, ran):
    """A loop that turns for every single end of a transaction does little else; a few milliseconds late is on time."""
    for n in range(1000):
        queue.callLater(1.0 + n / 10_000, ran.append, n)
    wakeups = 0
    while reactor.pending:
        reactor.now = reactor.pending[0].due
        reactor.turn()
        wakeups += 1
        assert queue.next_due() is None or queue.next_due() > reactor.now
    assert ran == list(range(1000))
    assert 20 <= wakeups <= 30


def test_next_due_skips_cancelled_timers(queue, reactor):
    assert queue.next_due() is None
    first = queue.callLater(1.0, print)
    queue.callLater(2.0, print)
    assert queue.next_due() == reactor.now + 1.0
    first.cancel()
    assert queue.next_due() == reactor.now + 2.0
    assert len(queue) == 1


# The clock of the tests


def test_fake_clock_stops_at_every_due_time():
    """A chain is not collapsed by one long advance."""
    clock = FakeClock(start=0.0)
    seen = []

    def again():
        seen.append(clock.seconds())
        if len(seen) < 4:
            clock.callLater(clock.seconds(), again)

    clock.callLater(0.5, again)
    clock.advance(10)
    assert seen == [0.5, 1.0, 2.0, 4.0]
    assert clock.seconds() == 10
    assert clock.pending == 0


def test_fake_clock_counts_active_timers():
    clock = FakeClock()
    timer = clock.callLater(1, print)
    clock.callLater(2, print)
    assert clock.pending == 2
    timer.cancel()
    assert clock.pending == 1
