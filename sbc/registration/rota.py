"""Whose challenge a phone gets next, and for how long it is registered meanwhile: `Rota`. Told `now`, no I/O (D8, D12).

A phone that holds one registration can answer one challenge at a time, and only the phone knows its password. So of the
servers that want its answer each has its turn, one with each of its REGISTERs (the method *alternating*):

    phone     REGISTER             REGISTER + answer A       REGISTER (10 s later)    REGISTER + answer B
    server A            401 -> phone              200
    server B                                      (asked: 401)           401 -> phone               200
    phone is told                    401                200, 10 s                401                200, half an hour

While one of them is still missing, the phone is granted a short time, and comes by again soon; at most a few times in a row,
for some phones never settle when it goes on. From then on it is granted so much that each server is renewed in time with one
of them at each refresh: the j-th to lapse has to last for j refreshes. Which one is next is seen by what is left at each.

The other methods: *serial*, the next server's challenge at once; *aggregate*, all in one answer; *first-only*, one server, and
the next only when that one is dead. A phone that does not answer, or answers without end, goes on with the next method of
`FALLS_BACK_TO`, and after `BETTER_AGAIN` with the better one. One REGISTER too many is no reason: a phone that has been
restarted begins anew, and with another Call-ID.

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1.
"""

from __future__ import annotations

import cython

COMPILED = bool(cython.compiled)

ALTERNATING = "alternating"
SERIAL = "serial"
AGGREGATE = "aggregate"
FIRST_ONLY = "first-only"

FALLS_BACK_TO = {SERIAL: ALTERNATING, AGGREGATE: ALTERNATING, ALTERNATING: FIRST_ONLY}
"""What is left for a phone that a method does not work with."""

BETTER_AGAIN = 86400.0
"""Seconds after which the better method, or a server that the phone did not answer, is tried once more."""

MOST_SHORT_GRANTS = 4
"""In a row without another server reached by them; then the phone is granted as much as the servers that have it allow."""

_LATE = 60.0
"""Seconds behind the end of a grant: a phone that comes only then takes no heed of it."""

_LATE_ANSWER = 20.0
"""Seconds. Phones answer a challenge within milliseconds; one that has failed tries again after a minute (linphone)."""

_STRIKES = 2
"""A challenge that the phone passes over counts twice when it goes on with the same Call-ID: then it was not restarted."""

_MOST_ANSWERS = 3
"""In vain to one server, though it does not call the password wrong: what comes behind them leads nowhere (C5, H1)."""


@cython.cclass
class Standing:
    """How a phone stands at one of the servers that want its answer. `remaining`: seconds until it lapses there, 0 when it is
    not registered; `alive`: not known to be down; `waits`: it is not to be asked now, because it refused, or is not answered;
    `brief`: it grants so little that it would always be the next to lapse."""

    name: str
    rank: cython.long
    remaining: cython.double
    alive: cython.bint
    waits: cython.bint
    brief: cython.bint

    def __init__(
        self, name: str, rank: int, remaining: float, alive: bool = True, waits: bool = False, brief: bool = False
    ) -> None:
        self.name = name
        self.rank = rank
        self.remaining = remaining
        self.alive = alive
        self.waits = waits
        self.brief = brief

    def __repr__(self) -> str:
        return f"{self.name} ({self.remaining:.0f} s{'' if self.alive else ', down'}{', waits' if self.waits else ''})"


def order(standings: list[Standing], method: str, short_grant: float, passed_over: str = "") -> list[Standing]:
    """Those that may be asked, the one whose turn it is first.

    Missing ones come first, for nothing reaches the phone through them; but before them one that would lapse until the turn
    after this. Then whichever lapses first.
    """
    asked = [one for one in standings if one.alive and not one.waits]
    if method == FIRST_ONLY:
        return sorted(asked, key=_by_rank)
    left = [one for one in asked if one.name != passed_over] or asked
    soon = 2.0 * short_grant

    def urgency(one: Standing) -> tuple[int, float, int]:
        if 0.0 < one.remaining <= soon and not one.brief:
            return (0, one.remaining, one.rank)
        return (1, float(one.brief), one.rank) if one.remaining <= 0.0 else (2, one.remaining, one.rank)

    return sorted(left, key=urgency)


def missing(standings: list[Standing], method: str) -> list[Standing]:
    """Those that the phone should be registered at, and is not, though nothing but its answer is wanting."""
    if method == FIRST_ONLY and any(one.remaining > 0.0 and one.alive for one in standings):
        return []
    return [one for one in standings if one.alive and not one.waits and one.remaining <= 0.0]


def spread(standings: list[Standing], method: str) -> float:
    """Seconds: the longest time for the phone with which each of those that have it is renewed before it lapses; 0.0 when none
    has it. The dead count only where no other is left: nobody can renew there now."""
    held = [one for one in standings if one.remaining > 0.0]
    alive = [one.remaining for one in held if one.alive and not one.waits] or [one.remaining for one in held]
    if not alive:
        return 0.0
    if method == FIRST_ONLY:
        best = min((one for one in held if one.alive), key=_by_rank, default=min(held, key=_by_rank))
        return best.remaining
    if method != ALTERNATING:
        return min(alive)
    return min(remaining / place for place, remaining in enumerate(sorted(alive), start=1))


def _by_rank(one: Standing) -> int:
    return one.rank


@cython.cclass
class Rota:
    """The turns of one phone, and what was seen of how it takes them. Nothing of it outlives the process but what was learned."""

    method: str  # in force
    since: cython.double  # when it became that
    passed_over: str  # the server whose challenge the phone has not answered, until it has been accepted by another one
    together: tuple  # the servers whose challenges the phone was given in one answer
    spent: str  # the nonce with which the phone was refused the last time; "" = none
    trials: cython.int  # how often it was given the challenge of another realm together with that of the one that it answers
    reserved: str  # the server that is to have the next turn, and has a place for it
    _left_out: dict  # server that grants so little that no turn is for it -> until when; None = there was never one
    _pending: str  # the server whose challenge the phone has been given and not yet answered well; "" = none
    _pending_since: cython.double
    _pending_call_id: str
    _was_second: cython.bint  # it came within the attempt, after another server's
    _unheard_by: str  # the server that has challenged again behind the phone's last answer, though it may have been right ...
    _unheard: cython.int  # ... so often in a row
    _struck_at: str  # the server whose challenge it has passed over ...
    _strikes: cython.int  # ... and how that counts so far
    _short_grants: cython.int
    _until: cython.double  # when its grant ends; 0.0 = it has come since
    _until_call_id: str
    _lates: cython.int

    def __init__(self, method: str, now: float) -> None:
        self.passed_over = ""
        self.together = ()
        self.spent = ""
        self.reserved = ""
        self._left_out: dict[str, float] | None = None
        self.trials = 0
        self.begin(method, now)

    @cython.ccall
    def begin(self, method: str, now: cython.double):
        """From now on by that method."""
        self.method = method
        self.since = now
        self._pending = ""
        self._pending_since = 0.0
        self._pending_call_id = ""
        self._was_second = False
        self._unheard_by = ""
        self._unheard = 0
        self._struck_at = ""
        self._strikes = 0
        self._short_grants = 0
        self._until = 0.0
        self._until_call_id = ""
        self._lates = 0

    @property
    def pending(self) -> str:
        """The server whose challenge the phone has to answer next; "" when it has answered the last one."""
        return self._pending

    @cython.ccall
    def arrived(self, call_id: str, answers: str, now: cython.double) -> str:
        """A REGISTER of the phone, which answers the challenge of the server `answers`, "" for none.

        Returns what this says of the phone, for people: why the method in force does not work with it. "" when it may.
        """
        said: str = ""
        server: str = self._pending
        same: cython.bint = call_id == self._pending_call_id
        if server and answers != server:
            if server != self._struck_at:
                self._strikes = 0
            self._struck_at = server
            self._strikes += 2 if same else 1
            self.passed_over = server
            self._pending = ""
            if self._strikes >= _STRIKES:
                self._strikes = 0
                said = f"did not answer the challenge of {server}"
        elif server and self._was_second and now - self._pending_since > _LATE_ANSWER:
            said = f"answered the challenge of {server} too late"
        elif self._until > 0.0 and call_id == self._until_call_id and now > self._until + _LATE:
            self._lates += 1
            if self._lates >= _STRIKES:
                self._lates = 0
                said = "does not come back in the time that it is granted"
        elif self._until > 0.0 and now <= self._until + _LATE:
            self._lates = 0
        self._until = 0.0
        return said

    @cython.ccall
    def prolonged(self, until: cython.double):
        """It has been told so since, in an answer from memory."""
        if self._until > 0.0:
            self._until = max(self._until, until)

    @cython.ccall
    def challenged(self, server: str, call_id: str, second: cython.bint, now: cython.double):
        """The phone is given that server's challenge; `second`: as the next one in the same attempt."""
        self._pending = server
        self._pending_since = now
        self._pending_call_id = call_id
        self._was_second = second
        self.reserved = ""

    @cython.ccall
    def unheard(self, server: str) -> cython.bint:
        """That server challenges again behind the phone's answer, and does not say that the password is wrong. True when that
        was so often now that one more answer is of no use."""
        self._unheard = self._unheard + 1 if server == self._unheard_by else 1
        self._unheard_by = server
        return self._unheard >= _MOST_ANSWERS

    @cython.ccall
    def accepted(self, server: str, is_new: cython.bint):
        """That server has registered the phone; `is_new`: it was not registered there before."""
        if server != self.passed_over or server == self._pending:
            self.passed_over = ""
        if server == self._pending:
            self._pending = ""
        if server == self._struck_at:
            self._strikes = 0
        if server == self._unheard_by:
            self._unheard_by = ""
            self._unheard = 0
        if is_new:
            self._short_grants = 0
        if server == self.reserved:
            self.reserved = ""

    @cython.ccall
    def given_up(self, server: str):
        """The phone need not answer that server any more."""
        if server == self._pending:
            self._pending = ""

    @cython.ccall
    def leave_out(self, server: str, until: cython.double):
        """No turn is for that server before then; 0: it has its turns."""
        if self._left_out is None and until > 0.0:
            self._left_out = {}
        if self._left_out is not None:
            self._left_out[server] = until

    @cython.ccall
    def left_out_until(self, server: str) -> cython.double:
        """Before then no turn is for that server; 0: it has its turns."""
        return 0.0 if self._left_out is None else self._left_out.get(server, 0.0)

    @cython.ccall
    def may_be_short(self) -> cython.bint:
        """May it be granted a short time once more?"""
        return self._short_grants < MOST_SHORT_GRANTS

    @cython.ccall
    def granted(
        self, seconds: cython.double, is_short: cython.bint, is_complete: cython.bint, call_id: str, now: cython.double
    ):
        """The phone is told so much; `is_complete`: it is where it should be."""
        if is_complete:
            self._short_grants = 0
        if is_short:
            self._short_grants += 1
        self._until = now + seconds
        self._until_call_id = call_id

    @cython.ccall
    def is_to_begin_again(self, now: cython.double) -> cython.bint:
        """Is it time to try the better method again?"""
        return now - self.since >= BETTER_AGAIN
