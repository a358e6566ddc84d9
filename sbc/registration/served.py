"""A group of servers as `upkeep` sees it, and what is remembered of a contact with which something is to be done."""

from __future__ import annotations

import random
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Any, Protocol

from sbc.redundancy.phones import Importance
from sbc.registration.accounts import back_off
from sbc.registration.bindings import REGISTERED
from sbc.registration.errand import Errand

if TYPE_CHECKING:
    from sbc.redundancy.group import ServerGroup
    from sbc.registration.bindings import Binding, Bindings
    from sbc.registration.targets import Target, Targets

ATTEMPT = 32.0
"""Seconds: 64*T1, the longest that a REGISTER of ours is under way (F11)."""

ONLY_THE_PHONE = "asks for a password that only the phone knows"


class Books(Protocol):
    """What the registrar keeps, and does for us."""

    bindings: Bindings
    credentials: Any

    def bindings_for_aor(self, aor: str) -> list[Binding]: ...

    def errand(
        self, targets: Targets, target: Target, binding: Binding, seconds: int, plan: Any, done: Callable[[Errand], Any]
    ) -> Errand: ...

    def asks_for_passwords(self, group: ServerGroup, server: str) -> bool: ...

    def is_registering(self, token: str) -> bool: ...

    def doubt(self, binding: Binding, server: str, reason: str) -> None: ...

    def errand_registered(self, errand: Errand) -> None: ...

    def errand_failed(self, errand: Errand, state: str, reason: str) -> None: ...

    def removal_heard(self, token: str, server: str) -> None: ...


class Served:
    """One group and its registrar servers."""

    def __init__(self, targets: Targets, rng: random.Random) -> None:
        self.targets = targets
        self.group: ServerGroup = targets.group
        self.settings = targets.group.settings
        self.is_concurrent = self.settings.registration == "concurrent"
        self.registrars: list[Target] = [target for target in targets.servers if target.settings.register]
        self.named: dict[str, Target] = {target.name: target for target in targets.servers}
        self.open: set[str] = set()
        """Servers that have registered somebody for us without asking for a password."""
        self.known: set[str] = set()
        """Servers that were seen alive."""
        self.returned: dict[str, float] = {}
        """Server -> when it came back. What it had registered before may be lost."""
        self.usable: set[str] = set()
        """Servers that are not known to be down."""
        self.left: dict[str, float] = {}
        """Server -> when it was seen to be down, the last time."""
        self.tries: dict[str, Failure] = {}
        """Server that is known to be down -> the tries on behalf of all phones."""
        self.importance = Importance(self.settings.importance)
        self.look: Any = None
        """The call that will look at all phones."""
        self.looks = 0
        """Rounds of looking at them that are under way."""
        self.looked_for: set[str] = set()
        """The servers for whose return that is."""
        self._rng = rng

    def go_on_from(self, before: Served) -> None:
        """What was seen of the servers under a former configuration: one that was away is back when it comes, and may have
        lost what it had."""
        self.known = before.known & self.named.keys()
        self.usable = before.usable & self.named.keys()
        self.left = {name: at for name, at in before.left.items() if name in self.named}
        self.returned = {name: at for name, at in before.returned.items() if name in self.named}

    def has(self, binding: Binding, server: str, now: float) -> bool:
        """Is that contact registered at that server, which lives?"""
        upstream = binding.upstream(server)
        return (
            upstream is not None
            and upstream.state == REGISTERED
            and upstream.expires_at > now
            and server in self.usable
            and upstream.registered_at >= self.returned.get(server, -inf)
        )

    def has_elsewhere(self, binding: Binding, server: str, now: float) -> bool:
        """Is that contact registered at another server that lives?"""
        return any(upstream.server != server and self.has(binding, upstream.server, now) for upstream in binding.upstreams)

    def wait(self, times: int) -> float:
        """Seconds after so many failures in a row (RFC 5626 4.5)."""
        return back_off(self.settings.register_retry_base, self.settings.register_retry_max, times, self._rng)


class Failure:
    """Failures in a row: of one contact at one server, or of all at a server that is down. An account that is refused is none
    (`accounts`)."""

    __slots__ = ("times", "not_before")

    def __init__(self) -> None:
        self.times = 0
        self.not_before = 0.0

    def count(self, served: Served, now: float) -> None:
        """One more."""
        self.times += 1
        self.not_before = now + served.wait(self.times)


class Duty:
    """One contact: what is under way for it, and what was tried."""

    __slots__ = ("binding", "timer", "errand", "failures", "removals", "helpless", "renewals")

    def __init__(self, binding: Binding) -> None:
        self.binding = binding
        self.timer: Any = None
        self.errand: Errand | None = None
        self.failures: dict[str, Failure] = {}
        self.removals: dict[str, float] = {}
        """Server -> not to be removed there before then, because that failed."""
        self.helpless: dict[str, Any] = {}
        """Server -> the password file with which its challenge could not be answered."""
        self.renewals: dict[str, tuple[float, float]] = {}
        """Server -> end of the registration, and when it is to be renewed."""
