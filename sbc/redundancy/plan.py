"""Which candidate next, for how long, for one request: `AttemptPlan`.

Signatures first; the decisions follow.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sbc.location.candidate import Candidate
from sbc.redundancy.outcome import Outcome


class Verdict(enum.Enum):
    SUCCESS = "success"
    RETURN = "return"
    NEXT = "next"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Attempt:
    """Send it there, wait so long."""

    server: str
    """Name of the configured server."""
    candidate: Candidate
    timeout: float
    """Seconds of silence after which it is given up; no retransmission at that instant."""
    interval: float
    """Constant retransmission interval; 0 = RFC 3261 schedule."""
    last: bool
    """No candidate is left after this one."""
    number: int
    """1 for the first attempt of the request."""
    sends: int
    """How often an unanswered request goes out over UDP in `timeout`: say TimedOut(attempt.sends)."""


@dataclass(frozen=True, slots=True)
class Tried:
    attempt: Attempt
    outcome: Outcome
    started: float
    ended: float


class AttemptPlan:
    """Ask `next(now)`, tell `record(attempt, outcome, now)`, ask again. Made by `ServerGroup.plan`.

    Tell the group first (`group.observe`), then the plan: the plan asks the group's health when it chooses.
    The plan lets the group report AttemptEnded and FailedOver; callers report neither.
    """

    method: str
    tried: list[Tried]
    exhausted: bool
    """True once no candidate is left (or no time) and none has given a final answer for the phone."""
    deadline: float | None

    def next(self, now: float) -> Attempt | None: ...

    def record(self, attempt: Attempt, outcome: Outcome, now: float) -> Verdict: ...

    def explain(self) -> str: ...
