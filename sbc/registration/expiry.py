"""One queue for everything that expires, behind one pending call of the clock.

A binding is in the queue once, for the earliest time at which something about it may lapse. A refresh moves that time
without touching the queue: when the old time comes, the binding is found alive and put back.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

from sbc.clock import Clock, Delayed
from sbc.registration.bindings import Binding

_SWEEP_ABOVE = 1000  # entries; below this a sweep costs more than it frees


class ExpiryQueue:
    """Calls `lapsed(binding)` no earlier than its `next_lapse()`; the binding stays in the queue until `forget`."""

    def __init__(self, clock: Clock, lapsed: Callable[[Binding], None]) -> None:
        self._clock = clock
        self._lapsed = lapsed
        self._heap: list[tuple[float, str, Binding]] = []
        self._timer: Delayed | None = None
        self._timer_due = 0.0
        self._sweep_above = _SWEEP_ABOVE

    def __len__(self) -> int:
        """Entries, those that no longer count included."""
        return len(self._heap)

    def watch(self, binding: Binding) -> None:
        """Its times have changed, or it is new."""
        due = binding.next_lapse()
        if binding.queued_for and binding.queued_for <= due:
            return
        binding.queued_for = due
        heapq.heappush(self._heap, (due, binding.token, binding))
        if len(self._heap) > self._sweep_above:
            self._sweep()
        self._arm()

    def _sweep(self) -> None:
        """Drop the entries that no longer count. They would go when their time comes, but phones that come and go can
        make more of them than the memory holds."""
        self._heap = [entry for entry in self._heap if entry[2].queued_for == entry[0]]
        heapq.heapify(self._heap)
        self._sweep_above = max(_SWEEP_ABOVE, 2 * len(self._heap))

    def forget(self, binding: Binding) -> None:
        """It is gone."""
        binding.queued_for = 0.0
        if len(self._heap) == 1 and self._heap[0][2] is binding:
            self._heap.clear()
        self._arm()

    def _arm(self) -> None:
        """One call, at the time of the first entry that still counts."""
        while self._heap and self._heap[0][2].queued_for != self._heap[0][0]:
            heapq.heappop(self._heap)
        due = self._heap[0][0] if self._heap else None
        if self._timer is not None:
            if self._timer_due == due:
                return
            self._timer.cancel()
            self._timer = None
        if due is not None:
            self._timer_due = due
            self._timer = self._clock.callLater(max(0.0, due - self._clock.seconds()), self._run)

    def _run(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        while self._heap and self._heap[0][0] <= now:
            due, _, binding = heapq.heappop(self._heap)
            if binding.queued_for != due:
                continue  # forgotten, or queued for an earlier time that has passed
            binding.queued_for = 0.0
            if binding.next_lapse() <= now:
                self._lapsed(binding)
            else:
                self.watch(binding)
        self._arm()
