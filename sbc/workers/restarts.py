"""When a worker that died is started again: at once, unless it dies again and again."""

from __future__ import annotations

_FIRST_WAIT = 0.5
_LONGEST_WAIT = 30.0
_GOOD_RUN = 60.0
"""Seconds after which a death is a new story."""


class Restarts:
    """The starts of one worker. Told `now`, it says how long to wait."""

    def __init__(self) -> None:
        self.number = 0
        """Of all times."""
        self._started = 0.0
        self._wait = 0.0

    def started(self, now: float) -> None:
        self._started = now

    def died(self, now: float) -> float:
        """Seconds until the next start: 0, then 0.5, doubling up to 30."""
        if now - self._started >= _GOOD_RUN:
            self._wait = 0.0
        wait = self._wait
        self._wait = min(max(2 * wait, _FIRST_WAIT), _LONGEST_WAIT)
        self.number += 1
        return wait
