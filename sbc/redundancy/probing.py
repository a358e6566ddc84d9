"""When is the next probe due, and where? The calendar only; `proxy` sends them (D15).

One probe per candidate, staggered at the start, 10 % earlier or later each time so that a fleet of appliances does not
beat in step. An answer to live traffic counts as a probe: while a server is up, none is due within an interval of it.

Where a candidate better than the working one is asked by REGISTER (`probe_method`), an interval of its own holds, from the
failover on, and live traffic does not count: that one is also asked whether it would have the phones back. It is the
vendors' and exact: no jitter. Answered, the next is due an interval after it was sent (Y23, F17); unanswered, an interval
after it was given up (F11: "retransmit until 64*T1 (32 s), then restart the timer").
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from sbc.location.candidate import Candidate
from sbc.redundancy.health import LONGEST_WAIT, CandidateHealth, State
from sbc.redundancy.settings import GroupSettings

STAGGER = 0.1
"""Seconds between the first probes of a group's candidates."""
JITTER = 0.1
"""Share of the interval by which a probe comes earlier or later."""


class ProbeCalendar:
    """Due times of the probes of one group."""

    def __init__(self, settings: GroupSettings, rng: random.Random) -> None:
        self._interval_up = settings.probe_interval
        self._interval_down = settings.probe_interval_down
        self._timeout = settings.probe_timeout
        self._rng = rng
        self._first: dict[Candidate, float] = {}
        self._sent: dict[Candidate, tuple[float, float]] = {}
        """When the last probe went out, and this round's jitter factor."""
        self._unanswered: set[Candidate] = set()
        self._given_up: dict[Candidate, float] = {}
        """When the last probe was given up, where it was."""

    def keep(self, candidates: Sequence[Candidate], now: float) -> None:
        """These are the candidates now: forget others, plan the first probes of new ones."""
        listed = set(candidates)
        for candidate in [known for known in self._first if known not in listed]:
            del self._first[candidate]
            self._sent.pop(candidate, None)
            self._unanswered.discard(candidate)
            self._given_up.pop(candidate, None)
        for place, candidate in enumerate(candidates):
            self._first.setdefault(candidate, now + place * STAGGER)

    def begin_anew(self, now: float) -> None:
        """As at the start: probe all of them soon, because much may have changed meanwhile."""
        candidates = list(self._first)
        self._first.clear()
        self._sent.clear()
        self._unanswered.clear()
        self.keep(candidates, now)

    def due_at(
        self,
        candidate: Candidate,
        health: CandidateHealth,
        seeks_since: float | None = None,
        register_interval: float = 0.0,
    ) -> float:
        """When the next probe of this candidate is due. `seeks_since`: where it is to be a REGISTER, when new requests have
        left for a lesser one."""
        if seeks_since is not None:
            return self._register_due_at(candidate, seeks_since, register_interval)
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

    def ended(self, candidate: Candidate, given_up_at: float | None = None) -> None:
        """The probe was answered, or given up at that time."""
        self._unanswered.discard(candidate)
        if given_up_at is None:
            self._given_up.pop(candidate, None)
        else:
            self._given_up[candidate] = given_up_at

    def _register_due_at(self, candidate: Candidate, seeks_since: float, interval: float) -> float:
        sent, _ = self._sent.get(candidate, (seeks_since, 1))
        if candidate in self._unanswered and sent >= seeks_since:
            return sent + LONGEST_WAIT + interval
        return max(seeks_since, sent, self._given_up.get(candidate, 0.0)) + interval

    def _interval(self, health: CandidateHealth) -> float:
        well = health.state is State.UP and not health.in_doubt
        return self._interval_up if well else self._interval_down
