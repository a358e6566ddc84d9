"""In which order a request tries the candidates of its group: `Orders`.

Nearly every request finds the candidates as the one before it did. So an order is worked out once for all requests of
a kind, and again only after something has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from sbc.location.candidate import Candidate
from sbc.redundancy.plan import Option
from sbc.redundancy.settings import GroupSettings, ServerSettings


class Order:
    """What requests of one kind may try: the `options` of an `AttemptPlan`, shared by all plans of the kind."""

    __slots__ = ("_all", "_work_out", "_options", "_as_of")

    def __init__(self, orders: Orders, work_out: Callable[[], Sequence[Option]]) -> None:
        self._all = orders
        self._work_out = work_out
        self._options: Sequence[Option] = ()
        self._as_of = -1

    def __call__(self, now: float) -> Sequence[Option]:
        if self._as_of != self._all.changes:
            self._options = self._work_out()
            self._as_of = self._all.changes
        return self._options


class Orders:
    """The orders of one group, for each kind of request."""

    def __init__(self, settings: GroupSettings, usable: Callable[[Candidate], bool]) -> None:
        """`usable` says whether a candidate is not known to be down."""
        self.changes = 0
        """How often the orders in use have become out of date."""
        self._settings = settings
        self._usable = usable
        self._options: Sequence[Option] = ()
        self._working: Candidate | None = None
        self._known: dict[tuple[str, Any], Order] = {}
        """By kind and what else makes a difference."""

    def changed(self, options: Sequence[Option], working: Candidate | None) -> None:
        """The candidates, the working server or the health of a candidate may not be what they were.

        A plan that has begun keeps the working server of its beginning, and learns all the rest.
        """
        self.changes += 1
        self._options = options
        self._working = working
        self._known.clear()

    def for_request(self, method: str, first: Candidate | None) -> Order:
        """`first` is the server of the request's dialog or nonce."""
        kind = "anywhere"
        if first is not None and method == "BYE" and not self._settings.bye_failover:
            kind = "pinned"
        elif self._settings.method_servers.get(method) == "first":
            kind = "first server"
        order = self._known.get((kind, first))
        return order if order is not None else self._remember(kind, first, self._options_of_request)

    def for_registration(self, server: ServerSettings | None) -> Order:
        """At this registrar, whatever becomes of the others; None: at one after the other."""
        name = server.name if server is not None else None
        order = self._known.get(("registration", name))
        return order if order is not None else self._remember("registration", name, self._options_of_registration)

    def _remember(self, kind: str, detail: Any, work_out: Callable[..., Sequence[Option]]) -> Order:
        order = self._known[kind, detail] = Order(self, partial(work_out, kind, detail, self._working))
        return order

    # The rules

    def _options_of_request(self, kind: str, first: Candidate | None, working: Candidate | None) -> Sequence[Option]:
        """What a request may try, in this order: its own server and that server's siblings, what was the working
        server when it came, then the list from its top (P15: "the next server in the list", not the next working one).
        Known-down ones come after all others, and are tried in order when nothing else is left.
        """
        if kind == "pinned" and first is not None:
            return [self._pinned(first)]
        allowed = self._options
        if kind == "first server":
            allowed = [option for option in allowed if option.server.rank == 1]
        if first is None and not self._settings.skip_down:
            return allowed
        # When all are down the working server has no claim to come first.
        front = [o for o in allowed if o.candidate == working and self._usable(o.candidate)]
        if first is not None:
            pinned = self._pinned(first)
            siblings = [option for option in allowed if option.server is pinned.server]
            front = [pinned, *siblings, *front]
        return self._usable_first(without_repetition([*front, *allowed]))

    def _options_of_registration(self, kind: str, name: str | None, working: Candidate | None) -> Sequence[Option]:
        method_kind = "first server" if self._settings.method_servers.get("REGISTER") == "first" else "anywhere"
        options = self._options_of_request(method_kind, None, working)
        if name is not None:
            return [option for option in options if option.server.name == name]
        return self._one_by_one([option for option in options if option.server.register])

    def _one_by_one(self, registrars: list[Option]) -> list[Option]:
        """Successive and single registration: the working server, then the other registrars by preference.

        With failback mode `registration` a renewal is what finds out whether the better server is back (Y27), so
        there the list is tried from its top, known-down ones too.
        """
        if not registrars or registrars[0].server.rank == 1:
            return registrars
        seeking = [
            option
            for option in self._options
            if option.server.register
            and option.server.failback_mode == "registration"
            and option.preference < registrars[0].preference
        ]
        return without_repetition([*self._usable_first(seeking), *registrars])

    def _usable_first(self, options: list[Option]) -> list[Option]:
        if not self._settings.skip_down:
            return options
        return sorted(options, key=lambda option: not self._usable(option.candidate))

    def _pinned(self, candidate: Candidate) -> Option:
        """The option for a candidate that a dialog or a nonce names, even when DNS has dropped it from the list."""
        for option in self._options:
            if option.candidate == candidate:
                return option
        return Option(self._settings.servers[0], candidate)


def without_repetition(options: Iterable[Option]) -> list[Option]:
    """Two servers may resolve to one candidate; it belongs to the one named first."""
    first: dict[Candidate, Option] = {}
    for option in options:
        first.setdefault(option.candidate, option)
    return list(first.values())
