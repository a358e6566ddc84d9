"""Is one candidate alive? `CandidateHealth`, learning from probes and from live traffic alike.

States (glossary, section Health). *unknown*: nobody has tried it, so it may be tried. *up*: it answers. *down*: it
does not, or it said 503; requests pass it by. *frozen*: our own link is down, so nothing that happens says anything
about the server (PIVOT: "do not update states"); what was known before comes back with the link. For 64*T1 after that,
silence in answer to anything but a probe still says nothing: the request may have been sent while the link was down.

Counting. `fall` bad results in a row make a candidate down and `rise` good ones make a down candidate up again; one
good result is enough for an unknown one. Every unanswered send is a bad result of its own: a request given up after
four sends has asked four times, and with `fall` up to 4 the next request does not wait. Errors of the transport make
it down at once; the opinion of a router (host or net unreachable) is one bad result.

The bulletins differ about a 408: to a request of a phone it says that the callee is silent, to an OPTIONS of ours that
the server is as good as down (V18).

A 503 holds a candidate down for its Retry-After, whatever else it answers meanwhile; when the time is over, the results
counted during the hold decide, or it is unknown again.

A good answer of a server that is up and not held is what nearly every call brings. `answered_as_ever` notes it in a few
numbers, and neither a sentence nor a step of the table is made for it.

Compiled when installed, as `plan` is.

All state lives here; nothing here knows the time except by being told.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import cython

from sbc.redundancy.settings import STATUS_HEALTH

if cython.compiled:
    from cython.cimports.sbc.redundancy.outcome import (
        NONE_GIVEN,
        Answered,
        Cancelled,
        FoundDown,
        Outcome,
        TimedOut,
        TransportFailed,
    )
else:
    from sbc.redundancy.outcome import NONE_GIVEN, Answered, Cancelled, FoundDown, Outcome, TimedOut, TransportFailed

RETRY_AFTER_DEFAULT = 60
RETRY_AFTER_LIMITS = (1, 600)
"""Seconds (table D6): a 503 without Retry-After, and the range in which we believe it."""

LONGEST_WAIT = 32.0
"""Seconds that a request waits for its first answer at most, 64*T1 with the usual T1."""


class State(enum.Enum):
    UNKNOWN = "unknown"
    UP = "up"
    DOWN = "down"
    FROZEN = "frozen"


class Input(enum.Enum):
    GOOD = "good"
    """A good result, not yet `rise` of them."""
    RISEN = "risen"
    """A good result that completes `rise` in a row."""
    BAD = "bad"
    """A bad result, not yet `fall` of them."""
    FALLEN = "fallen"
    """A bad result that completes `fall` in a row."""
    FAILED = "failed"
    """The transport says that nobody is there."""
    REFUSED = "refused"
    """A 503: down until Retry-After."""
    RELEASED = "released"
    """Retry-After is over and nothing else is known."""
    LINK_LOST = "link_lost"
    LINK_BACK = "link_back"


STAY, ENTER, FREEZE, THAW = "_stay", "_enter", "_freeze", "_thaw"

TRANSITIONS: Mapping[tuple[State, Input], tuple[State, str]] = {
    (State.UNKNOWN, Input.GOOD): (State.UP, ENTER),
    (State.UNKNOWN, Input.RISEN): (State.UP, ENTER),
    (State.UNKNOWN, Input.BAD): (State.UNKNOWN, STAY),
    (State.UNKNOWN, Input.FALLEN): (State.DOWN, ENTER),
    (State.UNKNOWN, Input.FAILED): (State.DOWN, ENTER),
    (State.UNKNOWN, Input.REFUSED): (State.DOWN, ENTER),
    (State.UNKNOWN, Input.RELEASED): (State.UNKNOWN, STAY),
    (State.UNKNOWN, Input.LINK_LOST): (State.FROZEN, FREEZE),
    (State.UNKNOWN, Input.LINK_BACK): (State.UNKNOWN, STAY),
    (State.UP, Input.GOOD): (State.UP, STAY),
    (State.UP, Input.RISEN): (State.UP, STAY),
    (State.UP, Input.BAD): (State.UP, STAY),
    (State.UP, Input.FALLEN): (State.DOWN, ENTER),
    (State.UP, Input.FAILED): (State.DOWN, ENTER),
    (State.UP, Input.REFUSED): (State.DOWN, ENTER),
    (State.UP, Input.RELEASED): (State.UP, STAY),
    (State.UP, Input.LINK_LOST): (State.FROZEN, FREEZE),
    (State.UP, Input.LINK_BACK): (State.UP, STAY),
    (State.DOWN, Input.GOOD): (State.DOWN, STAY),
    (State.DOWN, Input.RISEN): (State.UP, ENTER),
    (State.DOWN, Input.BAD): (State.DOWN, STAY),
    (State.DOWN, Input.FALLEN): (State.DOWN, STAY),
    (State.DOWN, Input.FAILED): (State.DOWN, STAY),
    (State.DOWN, Input.REFUSED): (State.DOWN, STAY),
    (State.DOWN, Input.RELEASED): (State.UNKNOWN, ENTER),
    (State.DOWN, Input.LINK_LOST): (State.FROZEN, FREEZE),
    (State.DOWN, Input.LINK_BACK): (State.DOWN, STAY),
    # While frozen nothing is judged (V20); only the link ends it.
    (State.FROZEN, Input.GOOD): (State.FROZEN, STAY),
    (State.FROZEN, Input.RISEN): (State.FROZEN, STAY),
    (State.FROZEN, Input.BAD): (State.FROZEN, STAY),
    (State.FROZEN, Input.FALLEN): (State.FROZEN, STAY),
    (State.FROZEN, Input.FAILED): (State.FROZEN, STAY),
    (State.FROZEN, Input.REFUSED): (State.FROZEN, STAY),
    (State.FROZEN, Input.RELEASED): (State.FROZEN, STAY),
    (State.FROZEN, Input.LINK_LOST): (State.FROZEN, STAY),
    (State.FROZEN, Input.LINK_BACK): (State.FROZEN, THAW),
}


@cython.cclass
@dataclass(frozen=True)
class StateChange:
    """A candidate went from one state to another."""

    old: State
    new: State
    reason: str
    silent: bool
    """True when the server is dead to everybody who waits for it, not merely unwilling."""


class HealthWord(NamedTuple):
    """What one process of an appliance tells the others about a candidate. Times are those of the machine's clock."""

    state: str
    since: float
    reason: str
    held_until: float | None
    down_cause: str


_UP = cython.declare(object, State.UP)
_DOWN = cython.declare(object, State.DOWN)
_FROZEN = cython.declare(object, State.FROZEN)

_NEVER = cython.declare(cython.double, float("-inf"))
_NOT_HELD = cython.declare(cython.double, float("inf"))
_LONGEST_WAIT = cython.declare(cython.double, LONGEST_WAIT)

_MEANS_UP = cython.declare(cython.uchar, STATUS_HEALTH.index("up"))
_STATUSES = cython.declare(cython.int, 700)


@cython.cclass
class CandidateHealth:
    """What is known about one candidate: its `state`, `since` when and the `reason` why.

    `down_cause` is the cause of the last bad result, as metrics name it.
    """

    state: object
    since: cython.double
    reason: str
    down_cause: str
    _registered_at: cython.double
    _last_answer: cython.double
    _held_until: cython.double
    _fall: cython.int
    _rise: cython.int
    _meanings: bytes  # by status, places in STATUS_HEALTH
    _good: cython.longlong
    _bad: cython.longlong
    _before_freeze: object
    _since_before_freeze: cython.double
    _reason_before_freeze: str
    _frozen_for: cython.double  # seconds of the time since `since`
    _silence_says_nothing_until: cython.double

    def __init__(self, fall: int, rise: int, status_health: Mapping[str, str], now: float) -> None:
        self.state = State.UNKNOWN
        self.since = now
        self.reason = "not tried yet"
        self.down_cause = ""
        self._registered_at = _NEVER
        self._last_answer = _NEVER
        self._held_until = _NOT_HELD
        self._fall = fall
        self._rise = rise
        self._meanings = bytes(
            [STATUS_HEALTH.index(status_health.get(str(status), "up")) for status in range(_STATUSES)]
        )
        self._good = 0
        self._bad = 0
        self._before_freeze = State.UNKNOWN
        self._since_before_freeze = now
        self._reason_before_freeze = self.reason
        self._frozen_for = 0.0
        self._silence_says_nothing_until = _NEVER

    def go_on_from(self, known: CandidateHealth) -> None:
        """Take over what is known of the same candidate under other settings."""
        self.state, self.since, self.reason = known.state, known.since, known.reason
        self._registered_at, self._last_answer = known._registered_at, known._last_answer
        self._held_until, self.down_cause = known._held_until, known.down_cause
        self._good, self._bad = known._good, known._bad
        self._before_freeze = known._before_freeze
        self._since_before_freeze, self._reason_before_freeze = known._since_before_freeze, known._reason_before_freeze
        self._frozen_for = known._frozen_for
        self._silence_says_nothing_until = known._silence_says_nothing_until

    def word(self) -> HealthWord:
        """This for others to be told."""
        return HealthWord(self.believed.value, self.since, self.reason, self.held_until, self.down_cause)

    def told(self, word: HealthWord) -> None:
        """Believe what another process has found out. Counting results begins anew."""
        if self.state is State.FROZEN:
            self._before_freeze, self._since_before_freeze = State(word.state), word.since
            self._reason_before_freeze = word.reason
            self._frozen_for = 0.0
            return
        self._frozen_for = 0.0
        self.state, self.since, self.reason = State(word.state), word.since, word.reason
        self._held_until = _NOT_HELD if word.held_until is None else word.held_until
        self.down_cause = word.down_cause
        self._good = 0
        self._bad = self._fall if self.state is State.DOWN else 0

    @property
    def registered_at(self) -> float | None:
        """When it last accepted a REGISTER."""
        return self._registered_at if self._registered_at > _NEVER else None

    @property
    def last_answer(self) -> float | None:
        """When it last answered anything; a probe is not needed soon after."""
        return self._last_answer if self._last_answer > _NEVER else None

    @property
    def held_until(self) -> float | None:
        """End of a Retry-After."""
        return self._held_until if self._held_until < _NOT_HELD else None

    @property
    def usable(self) -> bool:
        """True when requests should go there: not known to be down."""
        return self.believed is not State.DOWN

    @property
    def believed(self) -> State:
        """The state; for a frozen candidate the one from before."""
        return self._before_freeze if self.state is State.FROZEN else self.state

    @property
    def in_doubt(self) -> bool:
        """True when the last result was bad: a probe soon would settle it."""
        return self._bad > 0

    @property
    def up_since(self) -> float | None:
        """Since when it has been up; None when it is not."""
        return self.since if self.state is State.UP else None

    @property
    def stable_since(self) -> float:
        """Since when it has been in its state, not counting the time in which it was frozen."""
        return self.since + self._frozen_for

    @property
    def is_silent(self) -> bool:
        """True when it is believed to be down because nothing comes from it: no refusal, no answer at all."""
        return self.believed is State.DOWN and not self.down_cause.startswith("status_")

    @cython.cfunc
    def answered_as_ever(self, status: cython.int, now: cython.double, is_register: cython.bint) -> cython.bint:
        """Note an answer of which nothing follows: a good one, of a server that is up and not held.

        False, and nothing is noted, when it is not of that kind: then `observe` is the one to ask.
        """
        if self.state is not _UP or self._held_until < _NOT_HELD:
            return False
        if status >= _STATUSES or self._meanings[status] != _MEANS_UP:
            return False
        self._note_answer(status, now, is_register)
        self._bad = 0
        self._good += 1
        return True

    @cython.ccall
    def observe(
        self, outcome: Outcome, now: cython.double, method: str, is_probe: cython.bint = False
    ) -> object:  # StateChange | None
        """Learn from what became of a request of that method, or of a probe. Returns the change of state, if it made one."""
        if self.state is _FROZEN or isinstance(outcome, (Cancelled, FoundDown)):
            return None
        if isinstance(outcome, Answered):
            return self._observe_answer(outcome, now, method, is_probe)
        if now < self._silence_says_nothing_until and not is_probe and isinstance(outcome, TimedOut):
            return None
        self.down_cause = outcome.cause
        reason = f"{method}: {outcome}"
        if isinstance(outcome, TransportFailed) and not outcome.is_soft:
            self._count_bad(self._fall)
            return self._step(Input.FAILED, reason, now, silent=True)
        if outcome.highest_provisional > 100:
            return None  # it rang and then nobody answered: the callee's silence, not the server's
        sends = outcome.sends if isinstance(outcome, TimedOut) and not outcome.highest_provisional else 1
        return self._step(self._count_bad(sends), reason, now, silent=True)

    def advance(self, now: float) -> StateChange | None:
        """End a Retry-After whose time is over."""
        if now < self._held_until or self.state is _FROZEN:
            return None
        self._held_until = _NOT_HELD
        if self._good >= self._rise:
            return self._step(Input.RISEN, "answered during Retry-After, which is over", now)
        if self._bad >= self._fall:
            return self._step(Input.FALLEN, "did not answer during Retry-After", now)
        return self._step(Input.RELEASED, "Retry-After is over", now)

    def set_link(self, up: bool, now: float) -> StateChange | None:
        """Our own link went down or came back."""
        return self._step(Input.LINK_BACK if up else Input.LINK_LOST, "our link is down", now)

    @cython.cfunc
    def _note_answer(self, status: cython.int, now: cython.double, is_register: cython.bint):
        self._last_answer = now
        if is_register and 200 <= status < 300:
            self._registered_at = now

    def _observe_answer(self, answer: Answered, now: float, method: str, is_probe: bool) -> StateChange | None:
        self._note_answer(answer.status, now, method == "REGISTER")
        meaning = self._meaning(answer, method, is_probe)
        if meaning == "none":
            return None
        if meaning == "up":
            self._bad = 0
            self._good += 1
            if self.state is State.UP or self.held_until is not None:
                return None
            return self._step(Input.RISEN if self._good >= self._rise else Input.GOOD, f"{method}: {answer}", now)
        self.down_cause = answer.cause
        if meaning == "suspect":
            return self._step(self._count_bad(1), f"{method}: {answer}", now)
        return self._hold(answer, f"{method}: {answer}", now)

    def _meaning(self, answer: Answered, method: str, is_probe: bool) -> str:
        """What the status says about the server: one of `settings.STATUS_HEALTH`."""
        meaning = STATUS_HEALTH[self._meanings[answer.status]] if answer.status < _STATUSES else "up"
        if meaning == "held" and method == "OPTIONS" and answer.retry_after == NONE_GIVEN:
            return "suspect"  # the next probe will tell, sooner than a minute that nobody asked for
        if meaning == "none" and is_probe:
            return "suspect"  # V18
        return meaning

    def _hold(self, answer: Answered, reason: str, now: float) -> StateChange | None:
        shortest, longest = RETRY_AFTER_LIMITS
        seconds = RETRY_AFTER_DEFAULT if answer.retry_after == NONE_GIVEN else answer.retry_after
        self._held_until = now + min(max(seconds, shortest), longest)
        self._good = self._bad = 0
        return self._step(Input.REFUSED, f"{reason}, held for {self._held_until - now:g} s", now)

    def _count_bad(self, results: int) -> Input:
        self._good = 0
        self._bad += results
        return Input.FALLEN if self._bad >= self._fall else Input.BAD

    def _step(self, event: Input, reason: str, now: float, *, silent: bool = False) -> StateChange | None:
        old = self.state
        self.state, action = TRANSITIONS[old, event]
        getattr(self, action)(old, reason, now)
        return None if self.state is old else StateChange(old, self.state, self.reason, silent)

    def _stay(self, old: State, reason: str, now: float) -> None:
        pass

    def _enter(self, old: State, reason: str, now: float) -> None:
        self.since = now
        self.reason = reason
        self._frozen_for = 0.0

    def _freeze(self, old: State, reason: str, now: float) -> None:
        self._before_freeze, self._since_before_freeze, self._reason_before_freeze = old, self.since, self.reason
        self.since, self.reason = now, reason

    def _thaw(self, old: State, reason: str, now: float) -> None:
        self.state = self._before_freeze
        self._frozen_for += now - self.since
        self._silence_says_nothing_until = now + _LONGEST_WAIT
        self.since, self.reason = self._since_before_freeze, self._reason_before_freeze
