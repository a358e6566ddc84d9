"""One queue for everything that expires, behind one timer.

A binding is in the queue once, for the earliest time at which something about it may lapse. A refresh moves that time
without touching the queue: when the old time comes, the binding is found alive and put back.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

import cython

if cython.compiled:
    from cython.cimports.sbc.clock import Timer, TimerQueue
    from cython.cimports.sbc.registration.bindings import Binding
else:
    from sbc.clock import Timer, TimerQueue
    from sbc.registration.bindings import Binding

_push = cython.declare(object, heapq.heappush)
_SWEEP_ABOVE = 1000  # entries; below this a sweep costs more than it frees


@cython.cclass
class ExpiryQueue(Timer):
    """Calls `lapsed(binding)` no earlier than its `next_lapse()`; the binding stays in the queue until `forget`."""

    _queue: TimerQueue
    _lapsed: object
    _heap: list  # of (time, token, binding)
    _sweep_above: cython.Py_ssize_t

    def __init__(self, clock: TimerQueue, lapsed: Callable[[Binding], None]) -> None:
        self.unarmed()
        self._queue = clock
        self._lapsed = lapsed
        self._heap: list[tuple[float, str, Binding]] = []
        self._sweep_above = _SWEEP_ABOVE

    def __len__(self) -> int:
        """Entries, those that no longer count included."""
        return len(self._heap)

    @cython.ccall
    def watch(self, binding: Binding):
        """Its times have changed, or it is new."""
        due: cython.double = binding.lapses_at()
        if binding.queued_for != 0.0 and binding.queued_for <= due:
            return
        binding.queued_for = due
        _push(self._heap, (due, binding.token, binding))
        if len(self._heap) > self._sweep_above:
            self._sweep()
        self._arm()

    @cython.cfunc
    def _sweep(self):
        """Drop the entries that no longer count. They would go when their time comes, but phones that come and go can
        make more of them than the memory holds."""
        self._heap = [entry for entry in self._heap if entry[2].queued_for == entry[0]]
        heapq.heapify(self._heap)
        self._sweep_above = max(_SWEEP_ABOVE, 2 * len(self._heap))

    @cython.ccall
    def forget(self, binding: Binding):
        """It is gone."""
        binding.queued_for = 0.0
        if len(self._heap) == 1 and self._heap[0][2] is binding:
            self._heap.clear()
        self._arm()

    @cython.cfunc
    def _arm(self):
        """One timer, at the time of the first entry that still counts."""
        due: cython.double
        binding: Binding
        while self._heap:
            due = self._heap[0][0]
            binding = self._heap[0][2]
            if binding.queued_for == due:
                if self.waiting is None or self.due != due:
                    self._queue.arm_at(self, due)
                return
            heapq.heappop(self._heap)
        self.disarm()

    @cython.cfunc
    def fire(self):
        now: cython.double = self._queue.now()
        due: cython.double
        binding: Binding
        while self._heap and self._heap[0][0] <= now:
            due, _, binding = heapq.heappop(self._heap)
            if binding.queued_for != due:
                continue  # forgotten, or queued for an earlier time that has passed
            binding.queued_for = 0.0
            if binding.lapses_at() <= now:
                self._lapsed(binding)
            else:
                self.watch(binding)
        self._arm()
