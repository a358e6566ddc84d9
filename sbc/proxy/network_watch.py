"""Looks at the network around us, and says when it has changed (V20, D33): `NetworkWatch`.

It looks every second, and at once when the system reports a change of links or routes. The reference is asked only when all
servers are silent: on a good day nothing is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from sbc.clock import Clock, Delayed
from sbc.redundancy.group import ServerGroup
from sbc.redundancy.network import Facts, Lookups, Network, judge

LOOK_EVERY = 1.0
ASK_EVERY = 5.0
"""Seconds between an answer of the reference and the next question."""


class Links(Protocol):
    """What we ask of the system."""

    def leads_to(self, address: str) -> bool:
        """True when there is a way to that address over a link that is up; loopback always is."""


class Reference(Protocol):
    """Somebody who answers as long as the uplink is there."""

    def ask(self, server_address: str, then: Callable[[bool | None], None]) -> None:
        """`then(True)`: there; `then(False)`: silent; `then(None)`: on the way to that server there is no reference."""


class NetworkWatch:
    """Tells `found` what it thinks of the network, each time that changes."""

    def __init__(
        self,
        clock: Clock,
        links: Links,
        reference: Reference,
        groups: Iterable[ServerGroup],
        found: Callable[[Network], None],
        known: Network,
    ) -> None:
        """`groups` is walked at each look; `known` is what was thought before."""
        self._clock = clock
        self._links = links
        self._reference = reference
        self._groups = groups
        self._found = found
        self._known = known
        self.lookups = Lookups()
        self._timer: Delayed | None = None
        self._stopped = False
        self._asking = False
        self._ask_at = 0.0
        self._reference_answers: bool | None = None

    def start(self) -> None:
        self._look_again()

    def stop(self) -> None:
        self._stopped = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def look(self) -> None:
        """Now, because something may have changed."""
        if self._stopped:
            return
        groups = [group for group in self._groups if group.candidates()]
        cut_off = frozenset(group.name for group in groups if not self._leads_to(group))
        all_silent = bool(groups) and not cut_off and all(group.is_silent() for group in groups)
        self._ask_reference(groups, all_silent)
        network = judge(Facts(cut_off, all_silent, self._reference_answers, self.lookups.failed))
        if (network.state, network.frozen) != (self._known.state, self._known.frozen):
            self._known = network
            self._found(network)

    def _look_again(self) -> None:
        self.look()
        if not self._stopped:
            self._timer = self._clock.callLater(LOOK_EVERY, self._look_again)

    def _leads_to(self, group: ServerGroup) -> bool:
        return any(self._links.leads_to(candidate.address) for _, candidate in group.candidates())

    def _ask_reference(self, groups: list[ServerGroup], all_silent: bool) -> None:
        if not all_silent:
            self._reference_answers = None
            self._ask_at = 0.0
        elif not self._asking and self._clock.seconds() >= self._ask_at:
            self._asking = True
            self._reference.ask(groups[0].candidates()[0][1].address, self._reference_answered)

    def _reference_answered(self, answers: bool | None) -> None:
        self._asking = False
        self._ask_at = self._clock.seconds() + ASK_EVERY
        self._reference_answers = answers
        self.look()
