"""The servers of one group, seen as one thing: `ServerGroup`.

Signatures first; the decisions follow. Reported here and nowhere else: ServerStateChanged, FailedOver, FailedBack,
AttemptEnded.
"""

from __future__ import annotations

from collections.abc import Callable

from sbc.events import Report
from sbc.location.candidate import Candidate
from sbc.redundancy.outcome import Outcome
from sbc.redundancy.plan import AttemptPlan
from sbc.redundancy.settings import GroupSettings, ServerSettings


class ServerGroup:
    name: str
    settings: GroupSettings

    def __init__(self, settings: GroupSettings, timers_t1_t2: tuple[float, float], report: Report, now: float) -> None: ...

    def update_candidates(self, server_name: str, candidates: list[Candidate], now: float, *, ttl: float | None = None) -> None: ...

    def candidates(self) -> list[tuple[ServerSettings, Candidate]]: ...

    def owner(self, candidate: Candidate) -> ServerSettings | None: ...

    def plan(
        self, method: str, now: float, *, deadline: float | None = None, first: Candidate | None = None,
        in_dialog: bool = False,
    ) -> AttemptPlan: ...

    def register_plans(self, now: float, deadline: float | None = None) -> list[tuple[ServerSettings, AttemptPlan]]: ...

    def observe(self, candidate: Candidate, outcome: Outcome, now: float, method: str) -> None: ...

    def waiting(self, candidate: Candidate, callback: Callable[[str], None]) -> None:
        """callback(cause) once, when the candidate goes down. Record FoundDown(cause) and move on."""

    def done(self, candidate: Candidate, callback: Callable[[str], None]) -> None: ...

    def health(self, candidate: Candidate): ...

    def working(self, now: float) -> Candidate | None: ...

    def probe_due(self, now: float) -> list[Candidate]: ...

    def next_wakeup(self, now: float) -> float | None: ...

    def advance(self, now: float) -> None: ...

    def set_link(self, up: bool, now: float) -> None: ...

    def redundancy_ready(self) -> bool: ...

    def any_up(self) -> bool: ...

    def describe(self, now: float, wall_clock_now: float | None = None) -> dict: ...
