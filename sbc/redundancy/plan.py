"""Which candidate next, for how long, for one request: `AttemptPlan`, the heart of the redundancy.

A caller asks `next(now)`, sends the request there, tells what became of it with `record(attempt, outcome, now)`, and
asks again while the verdict is NEXT. The plan ends in success, in an answer for the phone, or exhausted; then `tried`
and `explain()` say what was tried and why each candidate failed. It sends nothing, logs nothing and counts nothing.

Three rules make the times (all from the bulletins and RFC 4320):

- A server that is not the last one is given up after its own retry count: table a.0, see `schedule`.
- The last one gets 64*T1 (Polycom: "this is the last server then the signaling fails after the complete UDP timeout").
- Everything but INVITE must be over before the phone's own Timer F: no attempt outlives `deadline`, so that the last
  server gets what is left of 31 s (D1).

Which answers move a request is data: table D6, see `settings.DEFAULT_STATUS_FAILOVER`.

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1: a plan, an attempt and
its result are made for every request.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import cython

from sbc.location.candidate import Candidate
from sbc.redundancy.outcome import Answered, Cancelled, FoundDown, Outcome
from sbc.redundancy.schedule import Timing, patience, sends_within
from sbc.redundancy.settings import ServerSettings

PHONE_PATIENCE = 31.0
"""Seconds from arrival to the latest useful answer of a non-INVITE: the phone's Timer F, 32 s, less one on the way."""

EARLY = 5.0
"""Seconds: a 408 that comes sooner, with no 1xx before it, is the server's own and not a callee who does not answer."""


class Verdict(enum.Enum):
    """What a recorded outcome means for the request."""

    SUCCESS = "success"
    """A 2xx."""
    RETURN = "return"
    """A final answer that belongs to the phone."""
    NEXT = "next"
    """Ask `next(now)` again; None from there means that no candidate is left."""
    STOPPED = "stopped"
    """Cancelled: nobody waits any more."""


@cython.cclass
@dataclass(frozen=True)
class Option:
    """A candidate that may be tried, and the configured server that it belongs to."""

    server: ServerSettings
    candidate: Candidate
    preference: tuple[int, ...] = ()
    """Rank and DNS preference, lower is better; equal for servers of equal standing."""


@cython.cclass
@dataclass(frozen=True)
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


@cython.cclass
@dataclass(frozen=True)
class Tried:
    """An attempt that is over."""

    attempt: Attempt
    outcome: Outcome
    started: float
    ended: float


class PlanWitness(Protocol):
    """Who wants to know how the plan fares; the group, which reports it to operators."""

    def attempt_ended(self, method: str, tried: Tried) -> None:
        """One candidate was tried."""

    def request_moved(self, method: str, failed: Tried, following: Attempt) -> None:
        """The request goes on to another candidate because one failed."""


@cython.cclass
class AttemptPlan:
    """The attempts of one request. Made by `ServerGroup.plan`.

    Tell the group first (`group.observe`), then the plan: it asks for the options anew each time it chooses, so that a
    server found dead meanwhile is not tried. AttemptEnded and FailedOver are reported by the witness, not by callers.
    """

    method = cython.declare(str, visibility="readonly")
    deadline = cython.declare(object, visibility="readonly")
    tried = cython.declare(list, visibility="readonly")
    exhausted = cython.declare(cython.bint, visibility="readonly")
    _options: object
    _actions: object
    _timing: object
    _interval: cython.double
    _witness: object
    _current: Attempt
    _started: cython.double
    _left_servers: tuple
    _over: cython.bint

    def __init__(
        self,
        method: str,
        options: Callable[[float], Sequence[Option]],
        *,
        status_failover: Mapping[str, Mapping[str, str]],
        timing: Timing = Timing(),  # noqa: B008 (immutable)
        deadline: float | None = None,
        interval: float = 0.0,
        in_dialog: bool = False,
        witness: PlanWitness | None = None,
    ) -> None:
        """`options(now)` gives the candidates in the order of that moment; those already tried may be among them."""
        self.method = method
        self.deadline = deadline
        self.tried: list[Tried] = []
        self.exhausted = False
        """True once no candidate (or no time) is left and none gave an answer that is final."""
        self._options = options
        row = "in-dialog" if in_dialog or method == "BYE" else method
        self._actions = status_failover.get(row, status_failover.get("*", {}))
        self._timing = timing
        self._interval = interval
        self._witness = witness
        self._current: Attempt | None = None
        self._started = 0.0
        self._left_servers: tuple[str, ...] = ()
        """Servers that are done with, all their candidates included."""
        self._over = False

    def next(self, now: float) -> Attempt | None:
        """The next candidate and how long to wait for it; None when the plan is over.

        The attempt that it gave before must have been recorded.
        """
        if self._current is not None:
            raise ValueError(f"attempt {self._current.number} at {self._current.candidate} is still under way")
        if self._over:
            return None
        left = self._options(now)
        if self.tried:
            left = [option for option in left if self._may_try(option)]
        remaining = self._timing.full if self.deadline is None else self.deadline - now
        if not left or remaining <= 0:
            self._over = self.exhausted = True
            return None
        attempt = self._attempt_at(left[0], last=len(left) == 1, remaining=remaining)
        self._current, self._started = attempt, now
        if self.tried and self._witness is not None:
            self._witness.request_moved(self.method, self.tried[-1], attempt)
        return attempt

    def record(self, attempt: Attempt, outcome: Outcome, now: float) -> Verdict:
        """Tell what became of the attempt under way, with its final outcome. Returns what to do now."""
        if attempt is not self._current:
            raise ValueError(f"attempt {attempt.number} at {attempt.candidate} is not under way")
        verdict = self._verdict(attempt, outcome, now)
        self._current = None
        self._over = verdict is not Verdict.NEXT
        tried = Tried(attempt, outcome, self._started, now)
        self.tried.append(tried)
        if self._witness is not None:
            self._witness.attempt_ended(self.method, tried)
        return verdict

    def stop(self) -> None:
        """No further attempt, whatever comes: a CANCEL arrived (D4). An attempt under way may still be recorded."""
        self._over = True

    def explain(self) -> str:
        """What was tried and why each failed, one line per attempt: for the log and the status page."""
        if not self.tried:
            return f"{self.method}: no candidate"
        return "\n".join(
            f"{self.method} {tried.attempt.number}. {tried.attempt.server} {tried.attempt.candidate}: "
            f"{tried.outcome} ({tried.ended - tried.started:.3f} s)"
            for tried in self.tried
        )

    def _may_try(self, option: Option) -> bool:
        if option.server.name in self._left_servers:
            return False
        return all(tried.attempt.candidate != option.candidate for tried in self.tried)

    def _another_server(self, name: str, now: float) -> bool:
        """Done with this server and all its candidates; is one of another server left?"""
        self._left_servers += (name,)
        return any(self._may_try(option) for option in self._options(now))

    def _attempt_at(self, option: Option, last: bool, remaining: float) -> Attempt:
        # The schedule tells INVITE from all others, whose names are the phone's to choose.
        kind = "INVITE" if self.method == "INVITE" else "other"
        retry_counts = None if last else option.server.retry_counts
        timeout, sends = patience(retry_counts, kind, self._timing, self._interval)
        if remaining < timeout:
            timeout = remaining
            sends = sends_within(timeout, kind, self._timing, self._interval)
        number = len(self.tried) + 1
        return Attempt(option.server.name, option.candidate, timeout, self._interval, last, number, sends)

    def _verdict(self, attempt: Attempt, outcome: Outcome, now: float) -> Verdict:
        if isinstance(outcome, Cancelled):
            return Verdict.STOPPED
        if isinstance(outcome, Answered):
            if 200 <= outcome.status < 300:
                return Verdict.SUCCESS
            verdict = self._verdict_of_answer(attempt, outcome, now)
        elif isinstance(outcome, FoundDown) or outcome.highest_provisional <= 100:
            verdict = Verdict.NEXT
        else:
            verdict = Verdict.RETURN  # it rang, so the server was alive: no second ringing elsewhere
        # After `stop` only a real success matters; it crossed the CANCEL (D3).
        return Verdict.STOPPED if self._over and verdict is Verdict.NEXT else verdict

    def _verdict_of_answer(self, attempt: Attempt, answer: Answered, now: float) -> Verdict:
        if answer.status < 200:
            raise ValueError(f"a {answer.status} does not end an attempt")
        action = self._actions.get(str(answer.status), "return")
        moves = {
            "next": True,
            "next-server": action == "next-server" and self._another_server(attempt.server, now),
            "next-unless-ringing": answer.highest_provisional <= 100,
            "next-if-early": answer.highest_provisional == 0 and now - self._started < EARLY,
            "return": False,
        }
        return Verdict.NEXT if moves[action] else Verdict.RETURN
