"""What is to be done next for a contact, so that it is registered where it should be: `Steps`. Told `now`, it does nothing.

The rules are in `upkeep`.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, NamedTuple

from sbc.registration.accounts import waits
from sbc.registration.bindings import FAILED, REGISTERED, gives_up_realm
from sbc.registration.errand import account_of, may_vouch_for
from sbc.registration.rota import FIRST_ONLY
from sbc.registration.served import Books, Duty, Served

if TYPE_CHECKING:
    from sbc.location.candidate import Candidate
    from sbc.registration.bindings import Binding, Upstream
    from sbc.registration.resyncs import Resyncs
    from sbc.registration.targets import Target

OVERLAP = 60.0
"""Seconds before its end in which a registration is renewed; half of its time where that is shorter (Polycom guide:
overlap 60)."""

SLACK = 1.0
"""Seconds. A server's time that is no more shorter than this was not made shorter, only counted later."""


class Step(NamedTuple):
    """A REGISTER of ours, or with `is_removal` one that removes the contact."""

    due: float
    target: Target
    candidate: Candidate | None
    """Only there; None where the server may choose."""
    is_removal: bool


class Steps:
    """`books` says which passwords there are, and who asks for them; `resyncs` whose turn it is at a server that has come back.
    The step of one that waits for its turn is due at inf."""

    def __init__(self, books: Books, resyncs: Resyncs) -> None:
        self._books = books
        self._resyncs = resyncs

    def next_step(self, duty: Duty, served: Served, now: float) -> Step | None:
        if duty.binding.expires_at <= now:
            return None
        steps = self._concurrent_steps if served.is_concurrent else self._one_by_one_steps
        return min(steps(duty, served, now), key=lambda step: step.due, default=None)

    def _concurrent_steps(self, duty: Duty, served: Served, now: float) -> list[Step]:
        found = []
        for target in served.registrars:
            upstream = duty.binding.upstream(target.name)
            due = self._due(duty, served, target, upstream, now)
            if due is not None:
                found.append(Step(due, target, self._living_address(served, upstream), False))
        return found

    @staticmethod
    def _living_address(served: Served, upstream: Upstream | None) -> Candidate | None:
        """Where it is to move because its own address has died; not the list from its top, for nothing is being renewed."""
        if upstream is None or upstream.candidate is None or served.group.health(upstream.candidate).usable:
            return None
        others = (candidate for server, candidate in served.group.candidates() if server.name == upstream.server)
        return next((candidate for candidate in others if served.group.health(candidate).usable), None)

    def _one_by_one_steps(self, duty: Duty, served: Served, now: float) -> list[Step]:
        goals = self._goals(served, now)
        found = []
        for target, candidate in goals:
            may_register = self.may_register(duty, served, target)
            upstream = duty.binding.upstream(target.name)
            if upstream is not None and waits(upstream, now):
                # V16: this account is not wanted there; later once more, and the next server meanwhile.
                if may_register:
                    found.append(Step(upstream.retry_at, target, candidate, False))
                continue
            if not may_register and not _is_anywhere(duty.binding):
                continue
            return [*found, *self._steps_towards(duty, served, target, candidate, now)]
        return found

    def _goals(self, served: Served, now: float) -> list[tuple[Target, Candidate]]:
        """The working server, then the other registrars that are alive, by preference."""
        working = served.group.working(now)
        listed = [(server, candidate) for server, candidate in served.group.candidates() if server.register]
        first = [entry for entry in listed if entry[1] == working]
        others = [entry for entry in listed if entry[1] != working and served.group.health(entry[1]).usable]
        return [(served.named.get(server.name), candidate) for server, candidate in [*first, *others]]

    def _steps_towards(
        self, duty: Duty, served: Served, target: Target, candidate: Candidate, now: float
    ) -> list[Step]:
        upstream = duty.binding.upstream(target.name)
        there = upstream is not None and self._is_current(duty.binding, served, upstream)
        elsewhere = there and upstream.candidate is not None and upstream.candidate != candidate
        found: list[Step] = []
        if not there and self._resyncs.holds_back(served, target.name, duty.binding.token, now):
            return [Step(inf, target, candidate, False)]
        if (there and not elsewhere) or self._will_register(duty, served, target, now):
            # What is left behind is removed first (V3), but not by whom may fail at the other end: there it comes next.
            found = self._removals(duty, served, target, candidate if elsewhere else None, now)
            if any(step.due <= now for step in found):
                return found
        due = self._due(duty, served, target, None if elsewhere else upstream, now)
        if due is not None:
            found.append(Step(due, target, candidate, False))
        return found

    def _removals(
        self, duty: Duty, served: Served, target: Target, candidate: Candidate | None, now: float
    ) -> list[Step]:
        """`candidate`: the phone is to move there from another one of the same server."""
        if not served.settings.deregister_on_failback:
            return []
        found = []
        for upstream in duty.binding.upstreams:
            other = served.named.get(upstream.server)
            if other is None or upstream.state != REGISTERED:
                continue
            if other is target:
                if candidate is None or upstream.candidate == candidate:
                    continue
                is_better = self._is_better(served, candidate, upstream.candidate)
            else:
                is_better = target.rank < other.rank
            if not is_better and served.settings.registration != "single":
                continue  # a failover: what the dead server believes lapses there
            place = upstream.candidate if other is target else None
            usable = served.group.health(place).usable if place is not None else other.name in served.usable
            if usable:
                found.append(Step(max(now, duty.removals.get(other.name, 0.0)), other, place, True))
        return [step for step in found if step.due < inf]

    @staticmethod
    def _is_better(served: Served, one: Candidate, other: Candidate | None) -> bool:
        listed = [candidate for _, candidate in served.group.candidates()]
        return other in listed and one in listed and listed.index(one) < listed.index(other)

    def _due(self, duty: Duty, served: Served, target: Target, upstream: Upstream | None, now: float) -> float | None:
        """When it is to be registered (again) at that server; None when it is well there, or we cannot."""
        binding, name = duty.binding, target.name
        due = now
        if upstream is not None and self._is_current(binding, served, upstream):
            if upstream.expires_at + SLACK >= binding.expires_at:
                return None
            end, due = duty.renewals.get(name, (0.0, 0.0))
            if end != upstream.expires_at:
                left = upstream.expires_at - now
                due = now + max(left - OVERLAP, left / 2)
                duty.renewals[name] = (upstream.expires_at, due)
        if not self.may_register(duty, served, target):
            return None
        if due <= now and self._resyncs.holds_back(served, name, binding.token, now):
            return inf
        failure = duty.failures.get(name)
        if failure is not None:
            due = max(due, failure.not_before)
        if upstream is not None and waits(upstream, due):
            due = upstream.retry_at
        if name not in served.usable and name in served.tries:
            due = max(due, served.tries[name].not_before)
        return due

    def missing(self, duty: Duty, served: Served, now: float) -> list[tuple[Target, bool]]:
        """The servers that live, where it should be registered, is not, and may be tried now; of each, whether we can do it."""
        found = []
        for target in served.registrars:
            is_goal = served.is_concurrent or target.name == served.targets.goal
            if not is_goal or target.name not in served.usable:
                continue
            upstream = duty.binding.upstream(target.name)
            if upstream is not None and self._is_current(duty.binding, served, upstream):
                continue
            if upstream is not None and waits(upstream, now):
                continue
            is_ours = self.may_register(duty, served, target)
            if not is_ours and self._answers_others_only(duty.binding, served, target, now):
                continue
            failure = duty.failures.get(target.name)
            if failure is None or failure.not_before <= now:
                found.append((target, is_ours))
        return found

    def _answers_others_only(self, binding: Binding, served: Served, target: Target, now: float) -> bool:
        """Is it a phone that will not answer this server as long as it is registered where it is?"""
        upstream = binding.upstream(target.name)
        if upstream is not None and gives_up_realm(upstream) and upstream.retry_at > now:
            return served.is_concurrent and served.has_elsewhere(binding, target.name, now)
        return self.is_at_a_better_one(binding, served, target, now)

    @staticmethod
    def is_at_a_better_one(binding: Binding, served: Served, target: Target, now: float) -> bool:
        """first-only: is it registered at a better server, so that it is not asked to answer this one?"""
        upstream = binding.upstream(target.name)
        if upstream is None or not upstream.wants_phone or not served.is_concurrent:
            return False
        if FIRST_ONLY not in (binding.method, served.settings.challenge_method):
            return False
        return any(other.rank < target.rank and served.has(binding, other.name, now) for other in served.registrars)

    def _is_current(self, binding: Binding, served: Served, upstream: Upstream) -> bool:
        """Is it registered there, in all likelihood?"""
        if upstream.state != REGISTERED or upstream.registered_at < served.returned.get(upstream.server, 0.0):
            return False  # a server that was dead may have forgotten it (D18)
        if served.is_concurrent:
            # Not when that address of the server has died, and another one of it lives.
            candidate = upstream.candidate
            return candidate is None or upstream.server not in served.usable or served.group.health(candidate).usable
        return all(
            other.registered_at <= upstream.registered_at for other in binding.upstreams if other.state == REGISTERED
        )

    def may_register(self, duty: Duty, served: Served, target: Target) -> bool:
        """Could it succeed? Where a server asks for passwords, only with the phone's."""
        credentials = self._books.credentials
        if target.name in duty.helpless and duty.helpless[target.name] is credentials:
            return False
        return not self._books.asks_for_passwords(served.group, target.name) or self._has_password(duty, served, target)

    def _has_password(self, duty: Duty, served: Served, target: Target) -> bool:
        credentials = self._books.credentials
        if credentials is None or not credentials.knows(account_of(duty.binding)):
            return False
        return may_vouch_for(duty.binding, served.targets, target)

    def _will_register(self, duty: Duty, served: Served, target: Target, now: float) -> bool:
        """Is there every reason to believe that it will succeed?"""
        failure = duty.failures.get(target.name)
        upstream = duty.binding.upstream(target.name)
        if (failure is not None and failure.not_before > now) or (upstream is not None and upstream.state == FAILED):
            return False
        if not self.may_register(duty, served, target):
            return False
        return target.name in served.open or self._has_password(duty, served, target)


def _is_anywhere(binding: Binding) -> bool:
    """Is it registered at any server?"""
    return any(upstream.state == REGISTERED for upstream in binding.upstreams)
