"""How a server that has come back gets its registrations again, without being killed by them (pitfall D18): `Resync`.

Told `now`, it sends nothing. `resyncs` asks it who may go when.

*What is counted* are REGISTER requests, as the server sees them: a phone that it asks for a password costs two. Each takes
what is known that it will cost before it begins; what it costs more is paid afterwards, and those behind it wait longer.

*Order.* First what phones had removed while the server was away. Then, when it has been up for `resync_hold`, one phone: the
first of the most important class of those that the appliance can register itself, or where there is none the first that comes
by. When it is not accepted, another one follows later; only when one is, all others come, class by class, at the pace. Phones
whose password only they know are told to come again when their turn will be (`appoint`), and are let through, when they do, to the
same bucket of tokens; each of both sorts has its share of it. Phones that nobody here knows have theirs (`guests`).

*The pace* begins at the rate that the administrator has set, or at one that has all phones back in five minutes. Every half
minute it is doubled if the server has answered quickly, up to that rate or, where none is set, four times the first one; it is
halved when the server is slow, says 503, or does not answer.
"""

from __future__ import annotations

import enum
import heapq
import math
from collections import deque
from math import inf
from typing import Any

from sbc.redundancy.outcome import Answered, Outcome, TimedOut
from sbc.registration.guests import SHARE, Guests
from sbc.registration.token_bucket import TokenBucket

LEAST_RATE = 5.0
"""REGISTERs in a second, where no rate is configured ..."""

ALL_WITHIN = 300.0
"""... and so many seconds for all phones, if that is faster."""

FASTEST = 4.0
"""Times the first rate, where none is configured."""

SLOWEST = 1 / 64
"""Of the first rate: it never stands still."""

LOOK_EVERY = 30.0
"""Seconds after which the server's answer times of that while decide."""

SLOW = 1.0
"""Seconds. A server of whose answers more than one in twenty take longer is slow (the 95th percentile)."""

SOON = 120.0
"""Seconds (D18 (5)): the longest that a phone is granted which must come by itself, of which 50 to 100 % by lot."""

RESERVED = 32.0
"""Seconds, 64*T1, in which a phone that was let through may send the answer to a challenge."""

LONG_AWAY = 60.0
"""Seconds: after a shorter time nothing has lapsed, and phones that nobody knows are as many as on any day."""

OPEN_FOR = (300.0, 1800.0)
"""Seconds in which phones that nobody knows are let through at the pace only to a server that has come back; and the most, when there
are always some for which there is no place, or others wait."""

_HALVED_ONCE_IN = 1.0  # seconds: what is on the way together fails together
_COMES_AFTER = 70.0  # seconds between two refreshes of a phone that is granted SOON: most come after 85 to 90 % of their time
_INVITED = 3.0  # times the phones that the server takes in that time: there is always one that comes by
_LEAST_SHARE, _USUAL_SHARE = 0.3, 0.9  # of its time, after which a phone refreshes


class Pace:
    """By how much the first rate is multiplied, as the server's answers let it."""

    __slots__ = ("factor", "highest", "_looked_at", "_halved_at", "_answers", "_slow")

    def __init__(self, highest: float, now: float) -> None:
        self.factor = 1.0
        self.highest = highest
        self._looked_at = now
        self._halved_at = -inf
        self._answers = 0
        self._slow = 0

    def answered(self, seconds: float) -> None:
        """A REGISTER, after so many seconds."""
        self._answers += 1
        if seconds >= SLOW:
            self._slow += 1

    def failed(self, now: float) -> None:
        """A REGISTER: 503, or no answer."""
        if now - self._halved_at >= _HALVED_ONCE_IN:
            self._halve(now)

    def advance(self, now: float) -> None:
        """To be called before `factor` is read."""
        if now - self._looked_at < LOOK_EVERY:
            return
        if self._answers and self._slow * 20 > self._answers:
            self._halve(now)
        elif self._answers:
            self.factor = min(self.highest, self.factor * 2.0)
        self._begin_anew(now)

    def _halve(self, now: float) -> None:
        self.factor = max(SLOWEST, self.factor / 2.0)
        self._halved_at = now
        self._begin_anew(now)

    def _begin_anew(self, now: float) -> None:
        self._looked_at = now
        self._answers = self._slow = 0


class Phase(enum.Enum):
    HOLDING = "holding"
    """The server has not been up for long enough."""
    CANARY = "canary"
    """One phone at a time, until one is accepted."""
    PACED = "paced"


class _Waiting:
    """A phone that is to be registered there."""

    __slots__ = ("place", "is_phones", "let_go_until", "back_at", "free", "appointed_at", "told_at", "told", "share")

    def __init__(self, place: int, is_phones: bool) -> None:
        self.place = place
        """Of its class in the order of importance, 0 first."""
        self.is_phones = is_phones
        """Only its own REGISTER can do it."""
        self.let_go_until = -inf
        """It is on its way."""
        self.back_at = inf
        """Then its turn may come again."""
        self.free = 0
        """REGISTERs of it that are paid for."""
        self.appointed_at = -inf
        """When it should come by itself."""
        self.told_at, self.told = 0.0, inf
        """When it was told so many seconds for that."""
        self.share = _USUAL_SHARE
        """After which part of its time it comes, as was seen."""


class Resync:
    """One server of a group. Phones are called by the token of their contact.

    `holds_until`: before that only removals go. `rate`: the administrator's, 0 without one; `share`: of the server's rate and
    phones, which of several processes this one has. `returned`: False when the phones only move there, from a server that died;
    else after `away` seconds.
    `commanded`: an administrator wants it, and nobody has seen the server away.
    """

    def __init__(
        self,
        now: float,
        *,
        holds_until: float = -inf,
        rate: float = 0.0,
        share: float = 1.0,
        returned: bool = True,
        away: float = 0.0,
        commanded: bool = False,
    ) -> None:
        self.began = now
        self.holds_until = holds_until
        self.returned = returned
        self.commanded = commanded
        self._guests_pace_until = now + OPEN_FOR[1] if returned and away >= LONG_AWAY else now
        self.done = 0
        self.is_told = False
        """The operators know that all were done."""
        self.is_done = False
        """Nobody waits, as far as was seen; it is open for phones that nobody knows only."""
        self.cost = 1
        """REGISTERs that each phone takes."""
        self._configured = rate
        self._share = share
        self._waiting: dict[str, _Waiting] = {}
        self._phones: dict[int, int] = {}  # of them, by class, how many only their own REGISTER can register
        self._ready: dict[int, deque[str]] = {}  # by class, those that we can register
        self._invitable: dict[int, deque[str]] = {}  # by class, those of the others that were not told to come
        self.invited: set[str] = set()
        self._later: list[tuple[float, str]] = []
        self._removals: deque[Any] = deque()
        self._removals_under_way: set[Any] = set()
        self._has_heard = False  # of a removal
        self._canary: str | None = None
        self._canary_until = inf
        self._next_canary = -inf
        self._canaries = 0  # that were not accepted, in a row
        self._is_accepted = False
        self._pace = Pace(1.0 if rate else FASTEST, now)
        self._bucket = TokenBucket(self._base_rate(0), now)
        self._guests = Guests(self._bucket.rate, now, RESERVED)
        self._spent_on_ours = self._spent_on_phones = 0.0
        self._appointed_until = -inf

    # Who waits

    def expect(self, token: str, place: int, is_phones: bool, now: float) -> None:
        """That phone is to be registered there."""
        known = self._waiting.get(token)
        if known is not None:
            if known.is_phones == is_phones:
                return
            self.forgotten(token)
        self._waiting[token] = _Waiting(place, is_phones)
        if is_phones:
            self._phones[place] = self._phones.get(place, 0) + 1
        queue = self._invitable if is_phones else self._ready
        queue.setdefault(place, deque()).append(token)
        self._set_rate(now)

    def expect_removal(self, key: Any) -> None:
        self._removals.append(key)

    def is_waiting(self, token: str) -> bool:
        return token in self._waiting

    def is_phones(self, token: str) -> bool:
        """Does it wait for its own REGISTER?"""
        waiting = self._waiting.get(token)
        return waiting is not None and waiting.is_phones

    def holds_back(self, token: str, now: float) -> bool:
        """It waits for its turn."""
        waiting = self._waiting.get(token)
        return waiting is not None and waiting.let_go_until <= now

    @property
    def left(self) -> int:
        return len(self._waiting)

    @property
    def left_to_phones(self) -> int:
        """Of them, those that only the phone itself can register."""
        return sum(self._phones.values())

    @property
    def removals(self) -> int:
        """Those that wait or are under way."""
        return len(self._removals) + len(self._removals_under_way)

    @property
    def is_over(self) -> bool:
        """Nobody waits. Phones may still come that nobody knows (`open_until`)."""
        return not self._waiting and not self.removals

    @property
    def open_until(self) -> float:
        """Until then it stays for phones that nobody knows, when all others are done."""
        wanted = max(self.began + OPEN_FOR[0], self._guests.sent_away_at + SOON)
        return min(self._guests_pace_until, wanted)

    def paces_guests(self, now: float) -> bool:
        """Do phones that nobody knows have to keep the pace? Whoever waits, not for ever."""
        return now < self._guests_pace_until

    # What became of it

    def registered(self, token: str) -> None:
        """The server has accepted it."""
        if token not in self._waiting:
            return
        self._leave(token)
        self.done += 1
        if not self._is_accepted:
            self._is_accepted = True
            self._canary = None

    def forgotten(self, token: str) -> None:
        """It is gone, or nothing is to be done for it here any more."""
        if token in self._waiting:
            self._leave(token)
            if token == self._canary:
                self._canary = None

    def failed(self, token: str, now: float, again: float, wait: float) -> None:
        """The server did not accept it. It is tried again at `again`, at inf not in the course of this; as long as none has been
        accepted, another one follows after `wait` seconds."""
        waiting = self._waiting.get(token)
        if waiting is None:
            return
        if again == inf:
            self.forgotten(token)
        else:
            waiting.let_go_until, waiting.back_at, waiting.free = -inf, again, 0
            heapq.heappush(self._later, (again, token))
        if not self._is_accepted:
            self._canary = None
            self._canaries += 1
            self._next_canary = now + wait

    @property
    def canaries_failed(self) -> int:
        """In a row."""
        return self._canaries

    def removal_over(self, key: Any) -> None:
        """It is heard of, or will be tried again by itself."""
        if key in self._removals_under_way:
            self._removals_under_way.remove(key)
            self._has_heard = True
        elif key in self._removals:
            self._removals.remove(key)

    def observe(self, outcome: Outcome, seconds: float, now: float) -> None:
        """What became of any REGISTER at that server."""
        if isinstance(outcome, TimedOut) or (isinstance(outcome, Answered) and outcome.status == 503):
            self._pace.failed(now)
            self._set_rate(now)
        elif isinstance(outcome, Answered) and outcome.status < 500:
            self._pace.answered(seconds)

    def spend(self, number: int, now: float) -> None:
        """REGISTERs that were sent without being asked for here, or that somebody took more of than were thought; below 0 less."""
        self._bucket.spend(number, now)

    # Who may go

    def phase(self, now: float) -> Phase:
        if self._is_accepted:
            return Phase.PACED
        return Phase.HOLDING if now < self.holds_until else Phase.CANARY

    def rate(self, now: float) -> float:
        """REGISTERs in a second, at present."""
        self._set_rate(now)
        return self._bucket.rate

    def rate_for(self, phones: int) -> float:
        """The first rate, when so many are to be registered."""
        return self._base_rate(phones)

    def next_removal(self, now: float) -> Any:
        """One that is to be sent now; None when none is. Until the first is over, it is alone."""
        if not self._removals or (self._removals_under_way and not self._has_heard):
            return None
        self._set_rate(now)
        if not self._bucket.take(now):
            return None
        key = self._removals.popleft()
        self._removals_under_way.add(key)
        return key

    def next_token(self, now: float, lasts: float) -> str | None:
        """A phone that is to be registered now by us; None when none is. It has `lasts` seconds for it."""
        self._put_back(now)
        if self.removals or not self._has_turn(now):
            return None
        self._set_rate(now)
        token = self._first_ready()
        if token is None or self._ours_may_go_at(token, now) > now:
            return None
        if not self._bucket.take(now):
            return None
        self._ready[self._waiting[token].place].popleft()
        self._spent_on_ours += self.cost
        self._let_go(token, now, lasts)
        return token

    def admits(self, token: str, now: float, *, can_wait: bool = False) -> bool:
        """May that phone's own REGISTER go there now? One that does not wait for its turn may, unless it `can_wait` for a token."""
        waiting = self._waiting.get(token)
        if waiting is None and self.is_done:
            return True
        if waiting is None:  # one more, of a phone that is well there, or is new
            self._set_rate(now)
            if self._bucket.take(now):
                return True
            if not can_wait:
                self._bucket.spend(self.cost, now)
            return not can_wait
        if waiting.free > 0 and now < waiting.let_go_until:
            waiting.free -= 1
            return True
        self._put_back(now)
        if not waiting.is_phones and now < waiting.let_go_until:
            # We are trying it at this moment; its own REGISTER ends that (P12).
            self._bucket.spend(self.cost, now)
            return True
        if not self._may_come(waiting, now):
            return False
        self._set_rate(now)
        return self._takes_place(waiting, token, now)

    def would_admit(self, token: str, now: float) -> bool:
        """Is it one of those whose turn it is, and would it be let through? One that has been answers a challenge."""
        waiting = self._waiting.get(token)
        if waiting is None or not waiting.is_phones:
            return False
        if waiting.let_go_until > now:
            return True
        if token not in self.invited:
            return False
        self._put_back(now)
        self._set_rate(now)
        return self._may_come(waiting, now) and self._bucket.next_at(now) <= now

    def has_place(self, token: str, now: float) -> bool:
        """Would it be let through at once, because it is in service nowhere else?"""
        waiting = self._waiting.get(token)
        self._set_rate(now)
        return waiting is None or waiting.let_go_until > now or self._bucket.next_at(now) <= now

    def admits_at_once(self, token: str, now: float, *, at_any_price: bool) -> bool:
        """The same of one that waits, but is in service nowhere else: as soon as there is a token, or without one."""
        waiting = self._waiting[token]
        if waiting.free > 0 and now < waiting.let_go_until:
            waiting.free -= 1
            return True
        self._set_rate(now)
        if at_any_price:
            self._bucket.spend(1, now)
            return True
        return self._takes_place(waiting, token, now)

    def has_place_for_guest(self, token: str, host: str, now: float) -> bool:
        """Would a phone that nobody knows be let through?"""
        self._set_rate(now)
        guests = self._guests
        if guests.may_answer(token, host, now):
            return True
        if not guests.is_welcome(host, now):
            return False
        # What is left over: a known phone that comes at any time finds a place half of the time.
        is_idle = self._bucket.full_at(now) + self.cost / self._bucket.rate <= now
        if is_idle or (guests.has_place(now) and self._bucket.next_at(now) <= now):
            return True
        guests.sent_away_at = now
        return False

    def admits_guest(self, token: str, host: str, now: float) -> bool:
        """May that REGISTER of it go there now?"""
        if not self.has_place_for_guest(token, host, now):
            return False
        if self._guests.may_answer(token, host, now):
            self._guests.answers(token)
            if self.cost == 1:  # nobody knew that this server challenges
                self._bucket.spend(1, now)
        else:
            self._bucket.take(now)
            self._guests.let_in(token, host, now)
        return True

    def guest_accepted(self, token: str) -> None:
        """Some server has accepted it: it is known from now on."""
        self._guests.become_known(token)

    def _takes_place(self, waiting: _Waiting, token: str, now: float) -> bool:
        """If there is one, for the phone's REGISTER and those that it has to send behind it."""
        if not self._bucket.take(now):
            return False
        self._spent_on_phones += self.cost
        self._let_go(token, now, RESERVED)
        waiting.free = self.cost - 1
        return True

    def invite(self, number: int) -> list[str]:
        """The next phones that should come by themselves, by importance, so that `number` of them are on their way."""
        found: list[str] = []
        wanted = number - len(self.invited)
        for place in sorted(self._invitable):
            queue = self._invitable[place]
            while queue and len(found) < wanted:
                token = queue.popleft()
                waiting = self._waiting.get(token)
                if waiting is not None and waiting.is_phones:
                    self.invited.add(token)
                    found.append(token)
        return found

    def wakes_at(self, now: float) -> float:
        """When `next_removal` or `next_token` may give one; inf without one."""
        if self._removals_under_way and (not self._removals or not self._has_heard):
            return inf
        if self._removals:
            return self._bucket.next_at(now)
        if not self._waiting:
            return inf
        later = self._later[0][0] if self._later else inf
        token = self._first_ready()
        if token is None:
            return max(later, self.holds_until)
        if not self._is_accepted:
            if self._canary is not None:
                return max(now, self._canary_until)
            return max(self._bucket.next_at(now), self.holds_until, self._next_canary)
        return self._ours_may_go_at(token, now)

    def number_invited(self, now: float) -> int:
        """So many phones that come by themselves may be on their way together."""
        return math.ceil(_INVITED * _COMES_AFTER * self.rate(now) / self.cost)

    def appoint(self, token: str, now: float, least: float) -> float:
        """Seconds to be granted to a phone that must come by itself and has no place now, `least` at least, so that it comes when
        there is one: all that have an appointment come one after the other, as fast as the server takes them. As long as more of
        them come by than it takes they need none, and inf is returned."""
        waiting = self._waiting[token]
        phones = self.left_to_phones
        if now > waiting.told_at and waiting.told < inf:
            waiting.share = min(1.0, max(_LEAST_SHARE, (now - waiting.told_at) / waiting.told))
        waiting.told = inf
        if phones > self.number_invited(now) and token not in self.invited:
            return inf
        if waiting.appointed_at <= now:
            each = self.cost / self.rate(now) * len(self._waiting) / phones
            first = max(now + least * waiting.share, self.holds_until)
            waiting.appointed_at = min(max(first, self._appointed_until), first + phones * each) + each
            self._appointed_until = waiting.appointed_at
        seconds = max(least, (waiting.appointed_at - now) / waiting.share)
        waiting.told_at, waiting.told = now, seconds
        return seconds

    def seconds_left(self, now: float) -> float:
        """That all who wait will take at the present rate."""
        return len(self._waiting) * self.cost / self.rate(now)

    def describe(self, now: float) -> dict[str, Any]:
        return {
            "phase": self.phase(now).value,
            "returned": self.returned,
            "commanded": self.commanded,
            "starts_in": math.ceil(self.holds_until - now) if self.holds_until > now else 0,
            "seconds": round(now - self.began, 1),
            "seconds_left": round(self.seconds_left(now)),
            "done": self.done,
            "left": self.left,
            "left_to_phones": self.left_to_phones,
            "removals": self.removals,
            "rate": round(self.rate(now), 2),
        }

    # Inside

    def _base_rate(self, phones: int) -> float:
        if self._configured:
            return self._configured * self._share
        return max(LEAST_RATE * self._share, phones * self.cost / ALL_WITHIN)

    def _set_rate(self, now: float) -> None:
        self._pace.advance(now)
        rate = self._base_rate(self.done + len(self._waiting) + self._guests.accepted) * self._pace.factor
        self._bucket.set_rate(rate, now, self.cost)
        self._guests.set_pace(rate * SHARE if self._waiting else rate, now, self.cost)

    def _has_turn(self, now: float) -> bool:
        """Is it time for a phone, or for the next canary?"""
        if self._is_accepted:
            return True
        if self._canary is not None and now >= self._canary_until:
            self._canary = None
        return self._canary is None and now >= max(self.holds_until, self._next_canary)

    def _may_come(self, waiting: _Waiting, now: float) -> bool:
        """Is it time for a phone that comes by itself, and none of ours goes before it?"""
        if self.removals or not self._has_turn(now):
            return False
        ours = self._first_ready()
        return ours is None or (self._is_accepted and self._waiting[ours].place >= waiting.place)

    def _gives_way(self, token: str) -> bool:
        """Is this one of ours no more important than some that come by themselves, and they have not had their share?"""
        if not self._phones or self._waiting[token].place < min(self._phones):
            return False
        phones = self.left_to_phones
        return self._spent_on_ours * phones > self._spent_on_phones * (len(self._waiting) - phones)

    def _ours_may_go_at(self, token: str, now: float) -> float:
        """As soon as there are tokens for it. When it gives way they are left for a phone that comes by: until no more are kept and,
        where not even two phones' are, for another while, if it is likely that one comes in it. It gives way to guests as long as
        they have not had their part."""
        bucket = self._bucket
        are_knocking = self._guests.are_knocking(now)
        if not are_knocking and not self._gives_way(token):
            return bucket.next_at(now)
        full_at = bucket.full_at(now)
        lacking = (2.0 * self.cost - bucket.depth) / bucket.rate
        if lacking > 0.0 and (are_knocking or self.left_to_phones * self.cost / bucket.rate > 0.5 * _COMES_AFTER):
            return full_at + lacking
        return full_at

    def _first_ready(self) -> str | None:
        for place in sorted(self._ready):
            queue = self._ready[place]
            while queue:
                waiting = self._waiting.get(queue[0])
                if waiting is not None and not waiting.is_phones and waiting.let_go_until == -inf:
                    return queue[0]
                queue.popleft()
            del self._ready[place]
        return None

    def _let_go(self, token: str, now: float, lasts: float) -> None:
        waiting = self._waiting[token]
        waiting.let_go_until = waiting.back_at = now + lasts
        heapq.heappush(self._later, (now + lasts, token))
        if not self._is_accepted:
            self._canary, self._canary_until = token, now + lasts

    def _put_back(self, now: float) -> None:
        """Those whose time is over, or has come again."""
        while self._later and self._later[0][0] <= now:
            due, token = heapq.heappop(self._later)
            waiting = self._waiting.get(token)
            if waiting is None or waiting.back_at != due:
                continue
            waiting.let_go_until, waiting.back_at, waiting.free = -inf, inf, 0
            if not waiting.is_phones:
                self._ready.setdefault(waiting.place, deque()).append(token)

    def _leave(self, token: str) -> None:
        waiting = self._waiting.pop(token)
        if waiting.is_phones:
            self._phones[waiting.place] -= 1
            if not self._phones[waiting.place]:
                del self._phones[waiting.place]
        self.invited.discard(token)
