"""The working server: where new requests of a group go now (P7: "there is only one working server").

It is the best candidate until that fails; then the best one that is left; and it returns as `failback` allows. Only a
candidate of a registrar server can be it (P8), unless there is none. When all are down it stays where it was, so that
there is exactly one at any time and nothing is reported that means nothing.

With `load_balancing` there is no best one: it begins with the first of the list, goes on to the next one that is not down,
round and round, and never returns (V4, V14, V30).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sbc.location.candidate import Candidate
from sbc.redundancy import window
from sbc.redundancy.failback import Return, returns_at
from sbc.redundancy.flapping import FlapDamping
from sbc.redundancy.health import CandidateHealth
from sbc.redundancy.plan import Option
from sbc.redundancy.settings import GroupSettings, ServerSettings
from sbc.redundancy.window import TimeOfDay

WORKING_FAILED = "working-failed"
"""Cause of a failback that did not wait for its time because the server in use failed."""

MANUAL = "manual"
"""Cause of a failback that an administrator asked for."""

REMEMBERED = 16
"""Failovers in a row that can be undone: more than a group has candidates."""

LOOK_AT_THE_CLOCK = 60.0
"""Seconds after which the time of day is asked for again: somebody may have set the clock."""


@dataclass(frozen=True, slots=True)
class Moved:
    """The working server changed."""

    from_candidate: Candidate
    to_candidate: Candidate
    better: bool
    """True for a return to a better one, False for a failover to a lesser."""
    cause: str
    flap_hold: float | None = None
    """Seconds that the one left must be up from now on, where it had only just returned (D19)."""


class WorkingServer:
    """The choice for one group."""

    def __init__(
        self,
        settings: GroupSettings,
        health: Callable[[Candidate], CandidateHealth],
        ttl: Callable[[str], float | None],
        time_of_day: TimeOfDay,
    ) -> None:
        """`ttl(server_name)`: the time to live of the DNS answer behind that server's candidates."""
        self.current: Candidate | None = None
        self.since: float | None = None
        """When the current one became it."""
        self.damping = FlapDamping(settings.failback_hold, settings.flap_damping)
        self._load_balancing = settings.load_balancing
        self._health = health
        self._ttl = ttl
        self._time_of_day = time_of_day
        self._failovers: deque[tuple[float, Candidate, float]] = deque(maxlen=REMEMBERED)
        """The last ones since there was a failback: when, and what had been the working server since when."""

    def go_on_from(self, other: WorkingServer) -> None:
        """Take over the choice of the same group under other settings; `choose` looks whether it still stands."""
        self.current = other.current
        self.since = other.since
        self._failovers = other._failovers
        self.damping.go_on_from(other.damping)

    def told(self, options: Sequence[Option], candidate: Candidate, since: float) -> None:
        """Another process has moved there, for reasons that we may not know yet."""
        if candidate == self.current:
            return
        places = [option.candidate for option in options]
        if self.current in places and candidate in places and places.index(candidate) < places.index(self.current):
            self.damping.returned(candidate, since)
        elif self.current is not None and self.since is not None:
            self._failovers.append((since, self.current, self.since))
        self._move(candidate, since)

    def undo_failovers(self, options: Sequence[Option], since: float) -> bool:
        """Be again what it was before the failovers after `since`; False when nothing was undone."""
        places = [option.candidate for option in options]
        for at, candidate, candidate_since in self._failovers:
            if at >= since and candidate in places:
                self._failovers.clear()
                self._move(candidate, candidate_since)
                return True
        return False

    def found(self, server: ServerSettings, options: Sequence[Option], now: float) -> None:
        """A server is located for the first time. If it is better than the current one, new requests begin with it: no
        failback mode need allow that, because it never failed (at the start DNS answers a moment later than an address is
        read).
        """
        places = [option.candidate for option in self._eligible(options)]
        if self.current in places:
            better = places[: places.index(self.current)]
            mine = next((option.candidate for option in options if option.server is server), None)
            if mine in better:
                self._move(mine, now)

    def choose(self, options: Sequence[Option], now: float, cause: str) -> Moved | None:
        """Look again, because something happened (`cause`) or time has passed. Returns the move, if it was one.

        `options` are all candidates in order of preference.
        """
        listed = self._eligible(options)
        if not listed:
            self.current = self.since = None
            return None
        best = next((option for option in listed if self._health(option.candidate).usable), None)
        if self.current is None:
            self._move(best.candidate if best else listed[0].candidate, now)
            return None
        places = [option.candidate for option in listed]
        place = places.index(self.current) if self.current in places else None
        if best is None:
            # All down: stay. When even the place is gone from the list, its first entry stands in.
            return None if place is not None else self._report(listed[0].candidate, now, better=False, cause=cause)
        if place is None or not self._health(self.current).usable:
            return self._leave(best.candidate, place, places, now, cause)
        for option in self._better(listed, place):
            at = self._returns_at(option, listed[place].server, now)
            if at is not None and at <= now:
                return self._report(option.candidate, now, better=True, cause=option.server.failback_mode)
        return None

    def fail_back(self, options: Sequence[Option], now: float) -> Moved | None:
        """Return now, whatever the mode and the hold, to the best that is not known to be down. None without one."""
        listed = self._eligible(options)
        places = [option.candidate for option in listed]
        if self.current not in places or self._load_balancing:
            return None
        for option in listed[: places.index(self.current)]:
            if self._health(option.candidate).usable:
                return self._report(option.candidate, now, better=True, cause=MANUAL)
        return None

    def better(self, options: Sequence[Option]) -> list[Candidate]:
        """Those that new requests would rather go to than to the current one."""
        listed = self._eligible(options)
        places = [option.candidate for option in listed]
        if self.current not in places:
            return []
        return [option.candidate for option in self._better(listed, places.index(self.current))]

    def next_change(self, options: Sequence[Option], now: float) -> float | None:
        """When time alone will bring a failback, or is to be looked at; None when it will not."""
        listed = self._eligible(options)
        places = [option.candidate for option in listed]
        if self.current not in places:
            return None
        place = places.index(self.current)
        times = [self._looks_at(option, listed[place].server, now) for option in self._better(listed, place)]
        return min((at for at in times if at is not None), default=None)

    def _leave(
        self, to: Candidate, place: int | None, places: list[Candidate], now: float, cause: str
    ) -> Moved:
        """The current one failed or was taken from the list. The next may even be a better one, back but on hold."""
        assert self.current is not None
        if place is None:
            return self._report(to, now, better=False, cause=cause)
        cause = self._health(self.current).down_cause or cause
        if self._load_balancing:
            around = places[place:] + places[:place]
            to = next(candidate for candidate in around if self._health(candidate).usable)
        elif places.index(to) < place:
            return self._report(to, now, better=True, cause=WORKING_FAILED)
        return self._report(to, now, better=False, cause=cause)

    def _looks_at(self, option: Option, in_use: ServerSettings, now: float) -> float | None:
        at = self._returns_at(option, in_use, now)
        if at is None or option.server.failback_mode != "scheduled":
            return at
        return min(at, now + LOOK_AT_THE_CLOCK)

    def _returns_at(self, option: Option, in_use: ServerSettings, now: float) -> float | None:
        server = option.server
        window_opens_at = now
        if server.failback_mode == "scheduled":
            window_opens_at += window.opens_in(server.failback_window, self._time_of_day())
        # Y26: the TTL "on the registered server". One that is configured by address has none.
        ttl = self._ttl(in_use.name)
        terms = Return(
            server.failback_mode,
            server.failback_timeout,
            self.damping.hold_for(option.candidate),
            self._ttl(server.name) if ttl is None else ttl,
            self.since or 0.0,
            window_opens_at,
        )
        return returns_at(terms, self._health(option.candidate))

    def _better(self, listed: Sequence[Option], place: int) -> list[Option]:
        """What stands before the current one and deserves a return.

        Among equals (one name, one SRV priority) only new-requests insists on the first of the list; otherwise there
        is no reason to move (V14).
        """
        if self._load_balancing:
            return []
        mine = listed[place].preference
        return [
            option
            for option in listed[:place]
            if option.preference < mine or option.server.failback_mode == "new-requests"
        ]

    @staticmethod
    def _eligible(options: Sequence[Option]) -> Sequence[Option]:
        return [option for option in options if option.server.register] or options

    def _move(self, candidate: Candidate, now: float) -> None:
        self.current = candidate
        self.since = now

    def _report(self, candidate: Candidate, now: float, *, better: bool, cause: str) -> Moved:
        left, left_since = self.current, self.since
        assert left is not None and left_since is not None
        flap_hold = None
        if not self._health(left).usable:
            flap_hold = self.damping.failed(left, now)
        if better:
            self.damping.returned(candidate, now)
            self._failovers.clear()
        else:
            self._failovers.append((now, left, left_since))
        self._move(candidate, now)
        return Moved(left, candidate, better, cause, flap_hold)
