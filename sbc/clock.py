# cython: boundscheck=False, wraparound=False
# (The heap is indexed below its length only, and never from its end.)
"""Time for objects that wait.

`Clock` is what they need: Twisted's reactor fits, and so does the fake clock of the tests. `TimerQueue` is a clock built on
another clock: queues of our own behind a single pending call, because most SIP timers are cancelled before they fire and a
reactor call for each of them costs more than the message it guards.

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import cython


class Delayed(Protocol):
    """A call that waits for its time."""

    def cancel(self) -> None:
        """Take it back. Only while `active()`."""

    def active(self) -> bool:
        """True until it was called or cancelled."""


class Clock(Protocol):
    """Seconds that never jump, and calls at a later time."""

    def seconds(self) -> float:
        """Monotonic seconds; only differences mean anything (wall clock steps must not move a timer)."""

    def callLater(self, delay: float, function: Callable[..., Any], *args: Any) -> Delayed:  # noqa: N802 (Twisted's name)
        """Call `function(*args)` after `delay` seconds, 0 or more."""


COMPILED = bool(cython.compiled)

_NEVER = cython.declare(cython.double, float("inf"))

_MAX_LANES = 32
"""Every lane is looked at when the next timer is sought."""

_PLACES = cython.declare(cython.int, 64)
"""Where a lane is looked for first: its delay in sixteenths of a second, folded into this. A power of two, the sixth."""

_BREATH = cython.declare(cython.double, 0.004)
"""Seconds between two wake-ups: under load the ends of many transactions share one turn of the loop. No timer runs
before its time, nor later than this."""


@cython.cclass
class Timer:
    """What waits in a `TimerQueue`, once at a time. A subclass says in `fire` what happens then.

    An object that waits for one thing at a time is best its own timer: arming and cancelling make nothing.
    """

    due: cython.double
    order: cython.longlong  # among those of the same instant
    waiting: Waiting  # where; None when it does not run
    before: Timer  # its neighbours in a lane
    behind: Timer
    place: cython.Py_ssize_t  # in the heap

    @cython.cfunc
    def unarmed(self):
        """For a new one."""
        self.due = 0.0
        self.order = 0
        self.waiting = None
        self.before = None
        self.behind = None
        self.place = 0

    @cython.cfunc
    def disarm(self):
        """Stop it, if it runs."""
        if self.waiting is not None:
            self.waiting.remove(self)

    @cython.cfunc
    def fire(self):
        """Its time has come. It runs no more, and may be armed again."""
        raise NotImplementedError


@cython.cclass
class Call(Timer):
    """What `callLater` returns: a function and its arguments, let go at once when it is cancelled."""

    _function: object
    _args: tuple

    def active(self) -> bool:
        return self.waiting is not None

    def cancel(self) -> None:
        self.disarm()
        self._function = None
        self._args = ()

    @cython.cfunc
    def fire(self):
        function = self._function
        args: tuple = self._args
        self._function = None
        self._args = ()
        function(*args)


@cython.cclass
class Waiting:
    """Active timers, the next one first. Only those: who cancels takes out, so nothing has to be swept."""

    first: Timer
    number: cython.Py_ssize_t

    def __init__(self) -> None:
        self.first = None
        self.number = 0

    @cython.cfunc
    def add(self, timer: Timer):
        raise NotImplementedError

    @cython.cfunc
    def remove(self, timer: Timer):
        raise NotImplementedError


@cython.cclass
class Lane(Waiting):
    """Timers of one and the same delay: who comes later is due later, so a list linked both ways is sorted by itself."""

    delay: cython.double
    last: Timer

    def __init__(self, delay: cython.double) -> None:
        self.first = None
        self.number = 0
        self.delay = delay
        self.last = None

    @cython.cfunc
    def add(self, timer: Timer):
        timer.waiting = self
        timer.before = self.last
        if self.last is None:
            self.first = timer
        else:
            self.last.behind = timer
        self.last = timer
        self.number += 1

    @cython.cfunc
    def remove(self, timer: Timer):
        before: Timer = timer.before
        behind: Timer = timer.behind
        if before is None:
            self.first = behind
        else:
            before.behind = behind
        if behind is None:
            self.last = before
        else:
            behind.before = before
        timer.before = None
        timer.behind = None
        timer.waiting = None
        self.number -= 1


@cython.cfunc
@cython.exceptval(check=False)
def _sooner(one: Timer, other: Timer) -> cython.bint:
    return one.due < other.due or (one.due == other.due and one.order < other.order)


@cython.cclass
class Heap(Waiting):
    """Timers of any delay: a binary heap in which everyone knows its place, so that the cancelled ones can leave."""

    _timers: list

    def __init__(self) -> None:
        self.first = None
        self.number = 0
        self._timers = []

    @cython.cfunc
    def add(self, timer: Timer):
        timer.waiting = self
        self._timers.append(timer)
        self.number += 1
        self._rise(timer, self.number - 1)
        self.first = self._timers[0]

    @cython.cfunc
    def remove(self, timer: Timer):
        last: Timer = self._timers.pop()
        self.number -= 1
        if last is not timer:  # it takes the free place, and goes from there up or down
            self._rise(last, timer.place)
            self._sink(last, last.place)
        timer.waiting = None
        self.first = self._timers[0] if self.number else None

    @cython.cfunc
    def _put(self, timer: Timer, place: cython.Py_ssize_t):
        self._timers[place] = timer
        timer.place = place

    @cython.cfunc
    def _rise(self, timer: Timer, place: cython.Py_ssize_t):
        above: Timer
        while place > 0:
            above = self._timers[(place - 1) >> 1]
            if not _sooner(timer, above):
                break
            self._put(above, place)
            place = (place - 1) >> 1
        self._put(timer, place)

    @cython.cfunc
    def _sink(self, timer: Timer, place: cython.Py_ssize_t):
        below: Timer
        right: Timer
        child: cython.Py_ssize_t = 2 * place + 1
        while child < self.number:
            below = self._timers[child]
            if child + 1 < self.number:
                right = self._timers[child + 1]
                if _sooner(right, below):
                    below = right
                    child += 1
            if not _sooner(below, timer):
                break
            self._put(below, place)
            place = child
            child = 2 * place + 1
        self._put(timer, place)


@cython.cclass
class TimerQueue:
    """A `Clock` over another clock that keeps one pending call there, whatever the number of timers.

    A clock with a method `drive` is given the queue instead: it calls `begin_turn` and `end_turn` around everything that it
    does, and again at `wake_at`.

    Nearly all delays of a SIP element are a handful of constants. Each that `lane` was told of has a queue of its own,
    where arming and cancelling cost no comparison; the others share a heap. Timers due at the same instant run in the
    order in which they were set.
    """

    def __init__(self, clock: Clock) -> None:
        self.seconds = clock.seconds
        self.wake_at = _NEVER
        self._stands_at = -_NEVER
        self._driven = hasattr(clock, "drive")
        if self._driven:
            clock.drive(self)
        self._clock = clock
        self._lanes = []
        self._nearest = [None] * _PLACES
        self._heap = Heap()
        self._order = 0
        self._wakeup = None
        self._last_run = -_NEVER
        self._running = False

    def __len__(self) -> int:
        """Timers that are active."""
        number: cython.Py_ssize_t = self._heap.number
        lane: Lane
        for lane in self._lanes:
            number += lane.number
        return number

    def lane(self, delay: cython.double) -> None:
        """This delay will be used often."""
        lane: Lane
        for lane in self._lanes:
            if lane.delay == delay:
                return
        if len(self._lanes) < _MAX_LANES:
            lane = Lane(delay)
            self._lanes.append(lane)
            self._nearest[_place_of(delay)] = lane

    def callLater(self, delay: cython.double, function: Callable[..., Any], *args: Any) -> Call:  # noqa: N802
        call: Call = Call.__new__(Call)
        call.unarmed()
        call._function = function
        call._args = args
        self.arm(call, self.now(), delay)
        return call

    @cython.ccall
    def now(self) -> cython.double:
        """`seconds()`, for those that are compiled; in a turn of the loop that drives this queue, when the turn began."""
        return self._stands_at if self._stands_at > -_NEVER else self.seconds()

    def begin_turn(self, now: cython.double) -> None:
        """For the loop that drives this queue: what is done until `end_turn` all happens now."""
        self._stands_at = now

    def end_turn(self) -> float:
        """Run what is due, and return when to come back at the latest: `wake_at`."""
        return self.finish_turn()

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def finish_turn(self) -> cython.double:
        """`end_turn`, for those that are compiled."""
        try:
            if self.wake_at <= self._stands_at:
                self.run_due()
        finally:
            self._stands_at = -_NEVER
        return self.wake_at

    @cython.cfunc
    def arm(self, timer: Timer, now: cython.double, delay: cython.double):
        """Let it fire `delay` seconds after `now`, which is the present. What it waited for before is forgotten."""
        if timer.waiting is not None:
            timer.waiting.remove(timer)
        timer.due = now + delay
        lane: Lane = self._nearest[_place_of(delay)]
        if lane is None or lane.delay != delay:
            lane = self._lane_of(delay)
        # Only a clock that went backwards would make a lane disorderly.
        if lane is not None and (lane.last is None or lane.last.due <= timer.due):
            self._add(timer, lane)
        else:
            self._add(timer, self._heap)

    @cython.cfunc
    def _lane_of(self, delay: cython.double) -> Lane:
        lane: Lane
        for lane in self._lanes:
            if lane.delay == delay:
                return lane
        return None

    @cython.cfunc
    def arm_at(self, timer: Timer, due: cython.double):
        """The same for a point in time."""
        timer.disarm()
        timer.due = due
        self._add(timer, self._heap)

    @cython.cfunc
    def _add(self, timer: Timer, home: Waiting):
        self._order += 1
        timer.order = self._order
        home.add(timer)
        if timer.due < self.wake_at and not self._running:
            self._wake_for(timer.due)

    @cython.cfunc
    def _first(self) -> Timer:
        first: Timer = self._heap.first
        timer: Timer
        place: cython.Py_ssize_t
        lanes: list = self._lanes
        for place in range(len(lanes)):
            timer = cython.cast(Lane, lanes[place]).first
            if timer is not None and (first is None or _sooner(timer, first)):
                first = timer
        return first

    @cython.cfunc
    def _disarm(self):
        if self._wakeup is not None and self._wakeup.active():
            self._wakeup.cancel()
        self._wakeup = None
        self.wake_at = _NEVER

    @cython.cfunc
    def _wake_for(self, due: cython.double):
        now: cython.double = self.now()
        if due > now:
            due = max(due, self._last_run + _BREATH)
            if due >= self.wake_at:
                return
        self._disarm()
        self.wake_at = due
        if not self._driven:
            self._wakeup = self._clock.callLater(max(0.0, due - now), self.run_due)

    def next_due(self) -> float | None:
        """When the next active timer falls due; None without timers."""
        first: Timer = self._first()
        return None if first is None else first.due

    @cython.ccall
    def run_due(self):
        """Run what is due now. For a clock that drives this queue by hand; otherwise it happens by itself."""
        self._disarm()
        self._running = True  # the call below is set once at the end, not for each timer that is set on the way
        now: cython.double = self.now()
        self._last_run = now
        timer: Timer = self._first()
        try:
            while timer is not None and timer.due <= now:
                timer.waiting.remove(timer)
                timer.fire()
                timer = self._first()
        except BaseException:
            timer = self._first()
            raise
        finally:
            self._running = False
            if timer is not None:
                self._wake_for(timer.due)


@cython.cfunc
@cython.exceptval(check=False)
def _place_of(delay: cython.double) -> cython.int:
    """Of a lane in `_nearest`. A delay that is none of ours may be any number."""
    sixteenths: cython.int = cython.cast(cython.int, delay * 16.0) if 0.0 <= delay < 1e6 else 0
    # Also what is above the modulus: 4, 32 and 180 seconds would all have the place of 0.
    return (sixteenths ^ (sixteenths >> 6)) & (_PLACES - 1)
