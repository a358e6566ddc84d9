"""When Python's garbage collector may stop the world.

Nearly everything here is freed by reference counting as soon as it is not needed; the collector only finds cycles. A full
collection walks every object that is alive, a third of a second for a busy site, in which no call is set up. So the two
young generations are collected as always, in 1 and 3 ms, and the old one only while there is little to do.

What counts is how much the number of objects grows: once as many calls end as begin, even the young ones are hardly ever
looked at.
"""

from __future__ import annotations

import gc
from collections.abc import Callable

from sbc.clock import Clock, Delayed

YOUNG = 5_000
"""Allocations (less deallocations) between two collections of the youngest generation."""

MIDDLE = 1
"""Collections of the youngest generation between two that take in the next one: it walks (MIDDLE + 2) * YOUNG objects at
most, each in some 0.2 microseconds, so that nobody waits for 5 ms."""

_NEVER = 1_000_000_000

LOOK_EVERY = 15.0
"""Seconds between two looks at whether there is little to do."""

QUIET_BELOW = 20.0
"""Messages per second. At that rate the chance that one of them has to wait for a full collection is small, and it waits for
less than T1: nobody retransmits."""


class GarbagePolicy:
    """Keeps full collections out of the way of calls. `messages()` is the number received so far."""

    def __init__(self, clock: Clock, messages: Callable[[], int]) -> None:
        self._clock = clock
        self._messages = messages
        self._seen = 0
        self._timer: Delayed | None = None
        self.full_collections = 0

    def start(self) -> None:
        """What is alive now (modules, configuration) is never looked at again."""
        gc.collect()
        gc.freeze()
        gc.set_threshold(YOUNG, MIDDLE, _NEVER)
        self._seen = self._messages()
        self._timer = self._clock.callLater(LOOK_EVERY, self._look)

    def stop(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _look(self) -> None:
        received = self._messages()
        if received - self._seen < QUIET_BELOW * LOOK_EVERY:
            gc.collect()
            self.full_collections += 1
        self._seen = received
        self._timer = self._clock.callLater(LOOK_EVERY, self._look)
