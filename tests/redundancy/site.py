"""A group of servers on paper: what each would answer, and requests that walk through their plans in no time."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from sbc.events import FailedBack, FailedOver
from sbc.location.candidate import Candidate
from sbc.redundancy.group import ServerGroup
from sbc.redundancy.outcome import Answered, Outcome, TimedOut, TransportFailed
from sbc.redundancy.plan import AttemptPlan, Verdict
from sbc.redundancy.profile import load_profile
from sbc.redundancy.settings import GroupSettings, ServerSettings

P1 = Candidate("192.0.2.1", 5060, "udp")
P2 = Candidate("192.0.2.2", 5060, "udp")
P3 = Candidate("192.0.2.3", 5060, "udp")
SILENT = "silent"


def settings(*servers: str | dict, profile: str = "", **group) -> GroupSettings:
    """A group of servers, each a name or a dict of ServerSettings fields."""
    of_group, of_server = {}, {}
    if profile:
        loaded = load_profile(profile)
        of_group, of_server = loaded.group, loaded.server
    entries = []
    for rank, server in enumerate(servers, 1):
        fields = {"name": server} if isinstance(server, str) else server
        entries.append(ServerSettings(**{**of_server, "address": f"192.0.2.{rank}", "rank": rank, **fields}))
    return GroupSettings(**{"name": "office", **of_group, "servers": tuple(entries), **group})


@dataclass
class Sent:
    """One attempt as the wire would show it."""

    to: Candidate
    at: float
    """Seconds after the request began."""
    sends: int


@dataclass
class Walk:
    """How one request fared."""

    verdict: Verdict | None
    """None when exhausted."""
    sent: list[Sent] = field(default_factory=list)
    seconds: float = 0.0
    outcome: Outcome | None = None

    @property
    def servers(self) -> list[Candidate]:
        return [sent.to for sent in self.sent]


class Site:
    """The group and its surroundings."""

    def __init__(
        self,
        group: GroupSettings,
        candidates: dict[str, list[Candidate]] | None = None,
        time_of_day: Callable[[], float] | None = None,
    ) -> None:
        self.now = 1000.0
        self.events: list[object] = []
        self.answers: dict[Candidate, int | str] = {}
        """What each candidate does: a status at once, SILENT, or the cause of a transport error. Silent by default."""
        self.time_of_day = time_of_day
        self.group = ServerGroup(group, (0.5, 4.0), self.events.append, self.now, random.Random(1), time_of_day)
        if candidates is None:
            candidates = {server.name: [Candidate(server.address, 5060, "udp")] for server in group.servers}
        for name, found in candidates.items():
            self.group.update_candidates(name, found, self.now)

    def request(self, method: str, **arguments) -> Walk:
        return self.follow(self.group.plan(method, self.now, **arguments))

    def register(self) -> dict[str, Walk]:
        """One REGISTER of a phone at all servers that its group wants; concurrent ones start together."""
        began, walks = self.now, {}
        ends = []
        for server, plan in self.group.register_plans(began):
            self.now = began
            walks[server.name] = self.follow(plan)
            ends.append(self.now)
        self.now = max(ends)
        return walks

    def probe(self, *candidates: Candidate) -> None:
        """One OPTIONS to each."""
        for candidate in candidates:
            outcome, seconds = self._fate(candidate, 4.0, 1)
            self.group.observe(candidate, outcome, self.now + seconds, "OPTIONS")

    def let_pass(self, seconds: float) -> None:
        self.now += seconds
        self.group.advance(self.now)

    def follow(self, plan: AttemptPlan) -> Walk:
        walk, began = Walk(None), self.now
        while (attempt := plan.next(self.now)) is not None:
            walk.sent.append(Sent(attempt.candidate, self.now - began, attempt.sends))
            walk.outcome, seconds = self._fate(attempt.candidate, attempt.timeout, attempt.sends)
            self.now += seconds
            self.group.observe(attempt.candidate, walk.outcome, self.now, plan.method)
            verdict = plan.record(attempt, walk.outcome, self.now)
            if verdict is not Verdict.NEXT:
                walk.verdict = verdict
                break
        walk.seconds = self.now - began
        return walk

    def _fate(self, candidate: Candidate, timeout: float, sends: int) -> tuple[Outcome, float]:
        answer = self.answers.get(candidate, SILENT)
        if isinstance(answer, int):
            return Answered(answer), 0.0
        if answer == SILENT:
            return TimedOut(sends), timeout
        return TransportFailed(answer), 0.0

    def moves(self) -> list[str]:
        """The failovers and failbacks so far, in short."""
        short = {str(candidate): name for name, candidate in (("P1", P1), ("P2", P2), ("P3", P3))}
        told = []
        for event in self.events:
            if isinstance(event, FailedOver | FailedBack):
                path = f"{short[event.from_candidate]}>{short[event.to_candidate]}"
                kind = event.method if isinstance(event, FailedOver) else "back"
                told.append(f"{kind} {path} {event.cause}")
        return told
