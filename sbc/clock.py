"""Time for objects that wait.

`Clock` is what they need: Twisted's reactor fits, and so does the fake clock of the tests. `TimerQueue` is a clock built on
another clock: a heap of our own behind a single pending call, because most SIP timers are cancelled before they fire and a
reactor call for each of them costs more than the message it guards.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any, Protocol


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


class _Entry:
    __slots__ = ("due", "order", "function", "args")

    def __init__(self, due: float, order: int, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.due = due
        self.order = order
        self.function: Callable[..., Any] | None = function
        self.args = args

    def __lt__(self, other: _Entry) -> bool:
        return self.due < other.due or (self.due == other.due and self.order < other.order)

    def cancel(self) -> None:
        self.function = None
        self.args = ()

    def active(self) -> bool:
        return self.function is not None


class TimerQueue:
    """A `Clock` over another clock that keeps one pending call there, whatever the number of timers.

    A cancelled timer stays in the heap, empty, until its time comes or until the empty ones are the majority.
    Timers due at the same instant run in the order in which they were set.
    """

    _COMPACT_ABOVE = 1024  # entries; below this a sweep costs more than it frees

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[_Entry] = []
        self._order = 0
        self._wakeup: Delayed | None = None
        self._wakeup_due = 0.0
        self._running = False
        self._compact_at = self._COMPACT_ABOVE
        self.seconds = clock.seconds

    def __len__(self) -> int:
        """Timers that are still active."""
        return sum(entry.active() for entry in self._heap)

    def callLater(self, delay: float, function: Callable[..., Any], *args: Any) -> _Entry:  # noqa: N802
        self._order += 1
        entry = _Entry(self.seconds() + delay, self._order, function, args)
        heapq.heappush(self._heap, entry)
        if len(self._heap) > self._compact_at:
            self._compact()
        if not self._running and (self._wakeup is None or entry.due < self._wakeup_due):
            self._arm(entry.due)
        return entry

    def _compact(self) -> None:
        self._heap = [entry for entry in self._heap if entry.active()]
        heapq.heapify(self._heap)
        self._compact_at = max(self._COMPACT_ABOVE, 2 * len(self._heap))

    def _disarm(self) -> None:
        if self._wakeup is not None and self._wakeup.active():
            self._wakeup.cancel()
        self._wakeup = None

    def _arm(self, due: float) -> None:
        self._disarm()
        self._wakeup_due = due
        self._wakeup = self._clock.callLater(max(0.0, due - self.seconds()), self.run_due)

    def next_due(self) -> float | None:
        """When the next active timer falls due; None without timers."""
        while self._heap and not self._heap[0].active():
            heapq.heappop(self._heap)
        return self._heap[0].due if self._heap else None

    def run_due(self) -> None:
        """Run what is due now. For a clock that drives this queue by hand; otherwise it happens by itself."""
        self._disarm()
        self._running = True  # the call below is set once at the end, not for each timer that is set on the way
        now = self.seconds()
        try:
            while self._heap and self._heap[0].due <= now:
                entry = heapq.heappop(self._heap)
                function, args = entry.function, entry.args
                if function is not None:
                    entry.cancel()
                    function(*args)
        finally:
            self._running = False
            due = self.next_due()
            if due is not None:
                self._arm(due)
