"""When is the next OPTIONS due, and where? The calendar only; `proxy` sends them (D15).

One probe per candidate, staggered at the start, 10 % earlier or later each time so that a fleet of appliances does not
beat in step. An answer to live traffic counts as a probe: while a server is up, none is due within an interval of it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from sbc.location.candidate import Candidate
from sbc.redundancy.health import CandidateHealth, State

STAGGER = 0.1
"""Seconds between the first probes of a group's candidates."""
JITTER = 0.1
"""Share of the interval by which a probe comes earlier or later."""


class ProbeCalendar:
    """Due times of the probes of one group."""

    def __init__(self, interval_up: float, interval_down: float, timeout: float, rng: random.Random) -> None:
        self._interval_up = interval_up
        self._interval_down = interval_down
        self._timeout = timeout
        self._rng = rng
        self._first: dict[Candidate, float] = {}
        self._sent: dict[Candidate, tuple[float, float]] = {}
        """When the last probe went out, and this round's jitter factor."""
        self._unanswered: set[Candidate] = set()

    def keep(self, candidates: Sequence[Candidate], now: float) -> None:
        """These are the candidates now: forget others, plan the first probes of new ones."""
        listed = set(candidates)
        for candidate in [known for known in self._first if known not in listed]:
            del self._first[candidate]
            self._sent.pop(candidate, None)
            self._unanswered.discard(candidate)
        for place, candidate in enumerate(candidates):
            self._first.setdefault(candidate, now + place * STAGGER)

    def due_at(self, candidate: Candidate, health: CandidateHealth) -> float:
        """When the next probe of this candidate is due."""
        if candidate not in self._sent:
            return self._first[candidate]
        sent, jitter = self._sent[candidate]
        if candidate in self._unanswered:
            # Never two at once. Nobody told us the end of the last one: twice its time, and it is forgotten.
            return sent + max(2 * self._timeout, self._interval(health) * jitter)
        if health.state is State.UP and health.last_answer is not None:
            sent = max(sent, health.last_answer)
        return sent + self._interval(health) * jitter

    def sent(self, candidate: Candidate, now: float) -> None:
        """A probe goes out now."""
        self._sent[candidate] = (now, 1 + self._rng.uniform(-JITTER, JITTER))
        self._unanswered.add(candidate)

    def ended(self, candidate: Candidate) -> None:
        """The probe was answered or given up."""
        self._unanswered.discard(candidate)

    def _interval(self, health: CandidateHealth) -> float:
        well = health.state is State.UP and not health.in_doubt
        return self._interval_up if well else self._interval_down
