"""The working server: where new requests of a group go now (P7: "there is only one working server").

It is the best candidate until that fails; then the best one that is left; and it returns as `failback` allows. Only a
candidate of a registrar server can be it (P8), unless there is none. When all are down it stays where it was, so that
there is exactly one at any time and nothing is reported that means nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sbc.location.candidate import Candidate
from sbc.redundancy.failback import returns_at
from sbc.redundancy.health import CandidateHealth
from sbc.redundancy.plan import Option
from sbc.redundancy.settings import ServerSettings

WORKING_FAILED = "working-failed"
"""Cause of a failback that did not wait for its time because the server in use failed."""


@dataclass(frozen=True, slots=True)
class Moved:
    """The working server changed."""

    from_candidate: Candidate
    to_candidate: Candidate
    better: bool
    """True for a return to a better one, False for a failover to a lesser."""
    cause: str


class WorkingServer:
    """The choice for one group."""

    def __init__(
        self, health: Callable[[Candidate], CandidateHealth], hold: float, ttl: Callable[[str], float | None]
    ) -> None:
        """`ttl(server_name)`: the time to live of the DNS answer behind that server's candidates."""
        self.current: Candidate | None = None
        self.since: float | None = None
        """When the current one became it."""
        self._health = health
        self._hold = hold
        self._ttl = ttl

    def go_on_from(self, other: WorkingServer) -> None:
        """Take over the choice of the same group under other settings; `choose` looks whether it still stands."""
        self.current = other.current
        self.since = other.since

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
            at = self._returns_at(option)
            if at is not None and at <= now:
                return self._report(option.candidate, now, better=True, cause=option.server.failback_mode)
        return None

    def next_change(self, options: Sequence[Option]) -> float | None:
        """When time alone will bring a failback; None when it will not."""
        listed = self._eligible(options)
        places = [option.candidate for option in listed]
        if self.current not in places:
            return None
        better = self._better(listed, places.index(self.current))
        times = [self._returns_at(option) for option in better]
        return min((at for at in times if at is not None), default=None)

    def _leave(
        self, to: Candidate, place: int | None, places: list[Candidate], now: float, cause: str
    ) -> Moved:
        """The current one failed or was taken from the list. The next may even be a better one, back but on hold."""
        assert self.current is not None
        if place is None:
            return self._report(to, now, better=False, cause=cause)
        if places.index(to) < place:
            return self._report(to, now, better=True, cause=WORKING_FAILED)
        return self._report(to, now, better=False, cause=self._health(self.current).down_cause or cause)

    def _returns_at(self, option: Option) -> float | None:
        server = option.server
        return returns_at(
            server.failback_mode,
            server.failback_timeout,
            self._hold_for(option.candidate),
            self._ttl(server.name),
            self._health(option.candidate),
            self.since or 0.0,
        )

    def _hold_for(self, candidate: Candidate) -> float:
        """Seconds up before the return. One number for all; the place where a flapping candidate waits longer (D19)."""
        return self._hold

    @staticmethod
    def _better(listed: Sequence[Option], place: int) -> list[Option]:
        """What stands before the current one and deserves a return.

        Among equals (one name, one SRV priority) only new-requests insists on the first of the list; otherwise there
        is no reason to move (V14).
        """
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
        assert self.current is not None
        moved = Moved(self.current, candidate, better, cause)
        self._move(candidate, now)
        return moved
