"""In which order a request tries the candidates of its group: `Orders`.

Nearly every request finds the candidates as the one before it did. So an order is worked out once for all requests of
a kind, and again only after something has changed.

Compiled when installed, as `plan` is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import cython

from sbc.redundancy.settings import GroupSettings

if cython.compiled:
    from cython.cimports.sbc.location.candidate import Candidate
    from cython.cimports.sbc.redundancy.plan import Changes, Option, Order, Terms
else:
    from sbc.location.candidate import Candidate
    from sbc.redundancy.plan import Changes, Option, Order, Terms


@cython.cclass
class Orders:
    """The orders of one group, for each kind of request."""

    changes: Changes
    _settings: object
    _bye_failover: cython.bint
    _load_balancing: cython.bint
    _first_server_only: frozenset
    _terms: Terms
    _usable: object
    _well: object
    _options: list
    _working: Candidate
    _anywhere: dict
    _first_server: dict
    _pinned_only: dict
    _registration: dict

    def __init__(
        self,
        settings: GroupSettings,
        terms: Terms,
        usable: Callable[[Candidate], bool],
        well: Callable[[Candidate], bool],
    ) -> None:
        """`usable` says whether a candidate is not known to be down, `well` whether it is up and nothing speaks against it."""
        self.changes = Changes()
        self._settings = settings
        self._bye_failover = settings.bye_failover
        self._load_balancing = settings.load_balancing
        self._first_server_only = frozenset(
            method for method, servers in settings.method_servers.items() if servers == "first"
        )
        self._terms = terms
        self._usable = usable
        self._well = well
        self._options = []
        self._working = None
        # One for each kind, by the server of the request's dialog or nonce:
        self._anywhere: dict[Candidate | None, Order] = {}
        self._first_server: dict[Candidate | None, Order] = {}
        self._pinned_only: dict[Candidate | None, Order] = {}
        # ... and by the name of the registrar:
        self._registration: dict[str | None, Order] = {}

    def changed(self, options: list[Option], working: Candidate | None) -> None:
        """The candidates, the working server or the health of a candidate may not be what they were.

        A plan that has begun keeps the working server of its beginning, and learns all the rest.
        """
        self.changes.number += 1
        self._options = options
        self._working = working
        for kept in (self._anywhere, self._first_server, self._pinned_only, self._registration):
            kept.clear()

    @cython.cfunc
    def for_request(self, method: str, first: Candidate) -> Order:
        """`first` is the server of the request's dialog or nonce, None without one."""
        kept: dict = self._anywhere
        kind: str = "anywhere"
        if first is not None and not self._bye_failover and method == "BYE":
            kept, kind = self._pinned_only, "pinned"
        elif self._first_server_only and method in self._first_server_only:
            kept, kind = self._first_server, "first server"
        order: Order = kept.get(first)
        if order is None:
            order = kept[first] = self._order(self._options_of_request, kind, first)
        return order

    @cython.cfunc
    def for_registration(self, name: str) -> Order:
        """At the registrar of that name, whatever becomes of the others; None: at one after the other."""
        order: Order = self._registration.get(name)
        if order is None:
            order = self._registration[name] = self._order(self._options_of_registration, "registration", name)
        return order

    @cython.cfunc
    def for_registration_among(self, names: frozenset) -> Order:
        """At one after the other of the registrars of these names."""
        return self._order(self._options_of_some, "registration", names)

    def _order(self, work_out: Callable[..., Sequence[Option]], kind: str, detail: Any) -> Order:
        return Order(self._terms, partial(work_out, kind, detail, self._working), self.changes)

    # The rules

    def _options_of_request(self, kind: str, first: Candidate | None, working: Candidate | None) -> list[Option]:
        """What a request may try, in this order: its own server and that server's siblings, what was the working
        server when it came, then the list from its top (P15: "the next server in the list", not the next working one).
        With load balancing, from where it is: "the next available server in the list" (V30).
        Known-down ones come after all others, and are tried in order when nothing else is left.
        """
        if kind == "pinned" and first is not None:
            return [self._pinned(first)]
        allowed = self._options
        if kind == "first server":
            allowed = [option for option in allowed if option.server.rank == 1]
        if self._load_balancing:
            allowed = _going_round(allowed, working if first is None else first)
        if first is None and not self._settings.skip_down:
            return allowed
        # When all are down the working server has no claim to come first.
        front = [o for o in allowed if o.candidate == working and self._usable(o.candidate)]
        if first is not None:
            pinned = self._pinned(first)
            siblings = [option for option in allowed if option.server is pinned.server]
            front = [pinned, *siblings, *front]
        return self._usable_first(without_repetition([*front, *allowed]))

    def _options_of_registration(self, kind: str, name: str | None, working: Candidate | None) -> list[Option]:
        method_kind = "first server" if "REGISTER" in self._first_server_only else "anywhere"
        options = self._options_of_request(method_kind, None, working)
        if name is not None:
            return self._sought_first([option for option in options if option.server.name == name])
        return self._sought_first([option for option in options if option.server.register])

    def _options_of_some(self, kind: str, names: frozenset[str], working: Candidate | None) -> list[Option]:
        return [option for option in self._options_of_registration(kind, None, working) if option.server.name in names]

    def _sought_first(self, registrars: list[Option]) -> list[Option]:
        """The working server, then the other registrars by preference; one of several servers, its addresses likewise.

        With failback mode `registration` a renewal is what finds out whether the better one is back (Y27), so there the
        list is tried from its top; known-down ones too. Where a REGISTER of ours finds it out (F10), one that is well.
        """
        if not registrars:
            return registrars
        allowed = {option.candidate for option in registrars}
        seeking = [
            option
            for option in self._options
            if option.candidate in allowed
            and option.server.failback_mode == "registration"
            and option.preference < registrars[0].preference
            and (not self._settings.asks_by_register or self._well(option.candidate))
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


@cython.cfunc
def without_repetition(options: list) -> list:
    """Two servers may resolve to one candidate; it belongs to the one named first."""
    first: dict[Candidate, Option] = {}
    for option in options:
        first.setdefault(option.candidate, option)
    return list(first.values())


def _going_round(options: list[Option], begin: Candidate | None) -> list[Option]:
    """The list from there to its end, and then from its top."""
    for place, option in enumerate(options):
        if option.candidate == begin:
            return options[place:] + options[:place]
    return options
