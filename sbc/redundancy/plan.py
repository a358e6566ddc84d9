"""Which candidate next, for how long, for one request: `AttemptPlan`, the heart of the redundancy.

A caller asks `next(now)`, sends the request there, tells what became of it with `record(attempt, outcome, now)`, and
asks again while the verdict is NEXT. The plan ends in success, in an answer for the phone, or exhausted; then `tried`
and `explain()` say what was tried and why each candidate failed. It sends nothing, logs nothing and counts nothing.

Three rules make the times (all from the bulletins and RFC 4320):

- A server that is not the last one is given up after its own retry count or time: table a.0, see `schedule`.
- The last one gets 64*T1 (Polycom: "this is the last server then the signaling fails after the complete UDP timeout").
- Everything but INVITE must be over before the phone's own Timer F: no attempt outlives `deadline`, so that the last
  server gets what is left of 31 s (D1).

Which answers move a request is data: table D6, see `settings.DEFAULT_STATUS_FAILOVER`.

Nearly every request ends at its first attempt, and that is the same one for all requests of a kind until something
changes. So an `Order` keeps the first attempt for all plans that share it, and a plan begins as a few numbers.

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import floor

import cython

from sbc.redundancy.schedule import Timing, patience, sends_within

if cython.compiled:
    from cython.cimports.sbc.location.candidate import Candidate
    from cython.cimports.sbc.redundancy.outcome import Answered, Cancelled, FoundDown, Outcome
else:
    from sbc.location.candidate import Candidate
    from sbc.redundancy.outcome import Answered, Cancelled, FoundDown, Outcome

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


_SUCCESS = cython.declare(object, Verdict.SUCCESS)
_NEXT = cython.declare(object, Verdict.NEXT)

_NO_DEADLINE = cython.declare(cython.double, float("inf"))

_STEP = cython.declare(cython.double, 0.01)
_ROUNDING = cython.declare(cython.double, 1e-6)
"""Seconds. What a deadline cuts short lasts whole steps, so that all requests which have the same time left but for the
microseconds share it; a sum of floats may fall short of a step by so little."""


@cython.cclass
@dataclass(frozen=True)
class Option:
    """A candidate that may be tried, and the configured server that it belongs to."""

    server: object  # ServerSettings
    candidate: Candidate
    preference: tuple = ()
    """Rank and DNS preference, lower is better; equal for servers of equal standing."""


@cython.cclass
@dataclass(frozen=True)
class Attempt:
    """Send it there, wait so long. Plans may share one."""

    server: str
    """Name of the configured server."""
    candidate: Candidate
    timeout: cython.double
    """Seconds of silence after which it is given up; no retransmission at that instant."""
    interval: cython.double
    """Constant retransmission interval; 0 = RFC 3261 schedule."""
    last: cython.bint
    """No candidate is left after this one."""
    number: cython.int
    """1 for the first attempt of the request."""
    sends: cython.int
    """How often an unanswered request goes out over UDP in `timeout`: say TimedOut(attempt.sends)."""
    cut_short: cython.bint = False
    """The request's deadline comes before the end of the time that the server would have."""


@cython.final
@cython.freelist(64)
@cython.cclass
class Tried:
    """An attempt that is over, from `started` to `ended`. `before`: the one before it."""

    attempt: Attempt
    outcome: Outcome
    started: cython.double
    ended: cython.double
    before: Tried


@cython.cclass
class PlanWitness:
    """Who wants to know how the plans of a group fare: it reports that to operators. These methods do nothing."""

    @cython.ccall
    def attempt_ended(self, method: str, tried: Tried):
        """One candidate was tried."""

    @cython.ccall
    def request_moved(self, method: str, failed: Tried, following: Attempt):
        """The request goes on to another candidate because one failed."""


@cython.cclass
class Terms:
    """What all plans of a group have in common."""

    status_failover: object
    timing: object
    interval: cython.double
    witness: PlanWitness

    def __init__(
        self,
        status_failover: Mapping[str, Mapping[str, str]],
        timing: Timing = Timing(),  # noqa: B008 (immutable)
        interval: float = 0.0,
        witness: PlanWitness | None = None,
    ) -> None:
        self.status_failover = status_failover
        self.timing = timing
        self.interval = interval
        self.witness = PlanWitness() if witness is None else witness

    @cython.cfunc
    def attempt(
        self, option: Option, is_invite: cython.bint, last: cython.bint, number: cython.int, remaining: cython.double
    ) -> Attempt:
        """The attempt at this option, of a request that has so many seconds left."""
        # The schedule tells INVITE from all others, whose names are the phone's to choose.
        kind = "INVITE" if is_invite else "other"
        server = option.server
        retries = None if last else server.retry_counts
        timeout, sends = patience(retries, kind, self.timing, self.interval, server.retry_time)
        cut_short: cython.bint = remaining < timeout
        if cut_short:
            timeout = _STEP * floor((remaining + _ROUNDING) / _STEP) if remaining > _STEP else remaining
            sends = sends_within(timeout, kind, self.timing, self.interval)
        return Attempt(server.name, option.candidate, timeout, self.interval, last, number, sends, cut_short)


@cython.cclass
class Changes:
    """Counts them, so that what is kept is known to be old."""

    number: cython.longlong

    def __init__(self) -> None:
        self.number = 0


@cython.cclass
class Order:
    """What requests of one kind may try, best first: worked out for all of them once, and again after a change.

    A change is anything that `work_out` or the time given to an attempt depends on; whoever makes it says so in
    `changes`.
    """

    terms: Terms
    _work_out: object
    _changes: Changes
    _as_of: cython.longlong
    _options: list
    _first_of_invite: Attempt
    _first_of_other: Attempt

    def __init__(self, terms: Terms, work_out: Callable[[], list[Option]], changes: Changes) -> None:
        self.terms = terms
        self._work_out = work_out
        self._changes = changes
        self._as_of = -1
        self._options = []

    @cython.cfunc
    def options(self) -> list:
        """As they are at this moment."""
        if self._as_of != self._changes.number:
            self._options = self._work_out()
            self._first_of_invite = self._first_of_other = None
            self._as_of = self._changes.number
        return self._options

    @cython.cfunc
    def first_attempt(self, is_invite: cython.bint, remaining: cython.double) -> Attempt:
        """What a request with so many seconds left begins with, the same object for nearly all; None without options."""
        options: list = self.options()
        known: Attempt = self._first_of_invite if is_invite else self._first_of_other
        spare: cython.double
        if known is not None:
            spare = remaining - known.timeout
            if spare >= -_ROUNDING and (spare < _STEP - _ROUNDING or not known.cut_short):
                return known
        if not options:
            return None
        made: Attempt = self.terms.attempt(options[0], is_invite, len(options) == 1, 1, remaining)
        if is_invite:
            self._first_of_invite = made
        else:
            self._first_of_other = made
        return made


@cython.final
@cython.freelist(64)
@cython.cclass
class AttemptPlan:
    """The attempts of one request of that `method`. Made by `ServerGroup.plan`.

    Tell the group first (`group.observe`), then the plan: it asks for the options anew each time it chooses, so that a
    server found dead meanwhile is not tried. AttemptEnded and FailedOver are reported by the witness, not by callers.

    `deadline`: no attempt lasts longer; infinite without one. `exhausted`: no candidate (or no time) is left and none
    gave an answer that is final.
    """

    method: str
    deadline: cython.double
    exhausted: cython.bint
    _order: Order
    _is_invite: cython.bint
    _in_dialog: cython.bint
    _current: Attempt
    _started: cython.double
    _last: Tried
    _left_servers: tuple
    _over: cython.bint

    def __init__(
        self, method: str, order: Order, *, deadline: float | None = None, in_dialog: bool = False
    ) -> None:
        """`order` gives the candidates of each moment; those already tried may be among them."""
        self._begin(method, order, _NO_DEADLINE if deadline is None else deadline, in_dialog)

    @cython.cfunc
    def _begin(self, method: str, order: Order, deadline: cython.double, in_dialog: cython.bint):
        self.method = method
        self.deadline = deadline
        self.exhausted = False
        self._order = order
        self._is_invite = method == "INVITE"
        self._in_dialog = in_dialog
        self._current = None
        self._started = 0.0
        self._last = None
        self._left_servers = ()  # those that are done with, all their candidates included
        self._over = False

    @cython.ccall
    def next(self, now: cython.double) -> Attempt:
        """The next candidate and how long to wait for it; None when the plan is over.

        The attempt that it gave before must have been recorded.
        """
        if self._current is not None:
            raise ValueError(f"attempt {self._current.number} at {self._current.candidate} is still under way")
        if self._over:
            return None
        attempt: Attempt = None
        remaining: cython.double = self.deadline - now
        if remaining > 0:
            if self._last is None:
                attempt = self._order.first_attempt(self._is_invite, remaining)
            else:
                attempt = self._further_attempt(remaining)
        if attempt is None:
            self._over = self.exhausted = True
            return None
        self._current = attempt
        self._started = now
        if self._last is not None:
            self._order.terms.witness.request_moved(self.method, self._last, attempt)
        return attempt

    @cython.ccall
    def record(self, attempt: Attempt, outcome: Outcome, now: cython.double) -> object:  # Verdict
        """Tell what became of the attempt under way, with its final outcome. Returns what to do now."""
        if attempt is not self._current:
            raise ValueError(f"attempt {attempt.number} at {attempt.candidate} is not under way")
        verdict = self._verdict(attempt, outcome, now)
        tried: Tried = Tried.__new__(Tried)
        tried.attempt = attempt
        tried.outcome = outcome
        tried.started = self._started
        tried.ended = now
        tried.before = self._last
        self._last = tried
        self._current = None
        self._over = verdict is not _NEXT
        self._order.terms.witness.attempt_ended(self.method, tried)
        return verdict

    def stop(self) -> None:
        """No further attempt, whatever comes: a CANCEL arrived (D4). An attempt under way may still be recorded."""
        self._over = True

    @cython.cfunc
    def leave_out(self, server_name: str):
        """Do not move to that server any more. After the first attempt."""
        self._left_servers += (server_name,)

    @property
    def tried(self) -> list[Tried]:
        """The attempts that are over, the first one first."""
        found: list[Tried] = []
        tried: Tried = self._last
        while tried is not None:
            found.append(tried)
            tried = tried.before
        found.reverse()
        return found

    def explain(self) -> str:
        """What was tried and why each failed, one line per attempt: for the log and the status page."""
        if self._last is None:
            return f"{self.method}: no candidate"
        return "\n".join(
            f"{self.method} {tried.attempt.number}. {tried.attempt.server} {tried.attempt.candidate}: "
            f"{tried.outcome} ({tried.ended - tried.started:.3f} s)"
            for tried in self.tried
        )

    @cython.cfunc
    def _further_attempt(self, remaining: cython.double) -> Attempt:
        """Not the first one; None when no candidate is left."""
        left: list = [option for option in self._order.options() if self._may_try(option)]
        if not left:
            return None
        number: cython.int = self._last.attempt.number + 1
        return self._order.terms.attempt(left[0], self._is_invite, len(left) == 1, number, remaining)

    @cython.cfunc
    def _may_try(self, option: Option) -> cython.bint:
        if option.server.name in self._left_servers:
            return False
        tried: Tried = self._last
        while tried is not None:
            if tried.attempt.candidate.same_as(option.candidate):
                return False
            tried = tried.before
        return True

    @cython.cfunc
    def _verdict(self, attempt: Attempt, outcome: Outcome, now: cython.double) -> object:  # Verdict
        if isinstance(outcome, Answered):
            answer: Answered = outcome
            if 200 <= answer.status < 300:
                return _SUCCESS
            verdict = self._verdict_of_answer(attempt, answer, now)
        elif isinstance(outcome, Cancelled):
            return Verdict.STOPPED
        elif isinstance(outcome, FoundDown) or outcome.highest_provisional <= 100:
            verdict = Verdict.NEXT
        else:
            verdict = Verdict.RETURN  # it rang, so the server was alive: no second ringing elsewhere
        # After `stop` only a real success matters; it crossed the CANCEL (D3).
        return Verdict.STOPPED if self._over and verdict is Verdict.NEXT else verdict

    def _verdict_of_answer(self, attempt: Attempt, answer: Answered, now: float) -> Verdict:
        if answer.status < 200:
            raise ValueError(f"a {answer.status} does not end an attempt")
        action = self._action(answer.status)
        moves = (
            action == "next"
            or (action == "next-server" and self._another_server(attempt))
            or (action == "next-unless-ringing" and answer.highest_provisional <= 100)
            or (action == "next-if-early" and answer.highest_provisional == 0 and now - self._started < EARLY)
        )
        return Verdict.NEXT if moves else Verdict.RETURN

    def _action(self, status: int) -> str:
        """What table D6 says about this answer: one of `settings.STATUS_ACTIONS`."""
        table = self._order.terms.status_failover
        row = "in-dialog" if self._in_dialog or self.method == "BYE" else self.method
        return table.get(row, table.get("*", {})).get(str(status), "return")

    def _another_server(self, attempt: Attempt) -> bool:
        """Done with this server and all its candidates; is one of another server left?"""
        self._left_servers += (attempt.server,)
        return any(self._may_try(option) for option in self._order.options())


@cython.cfunc
def new_plan(method: str, order: Order, deadline: cython.double, in_dialog: cython.bint) -> AttemptPlan:
    """The same as `AttemptPlan(...)`, for those that are compiled; `deadline` may be infinite."""
    plan: AttemptPlan = AttemptPlan.__new__(AttemptPlan)
    plan._begin(method, order, deadline, in_dialog)
    return plan
