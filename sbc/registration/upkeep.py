"""What the appliance does for the phones' registrations by itself, between their REGISTERs: `Upkeep`.

A phone renews a few times an hour; servers die and come back at any time. For every contact there is a goal, and as long
as it is not reached, and the appliance can do something about it, there is a `_Duty`:

concurrent   registered at every registrar server (Y7, P4), for as long as the phone was told
successive   registered at the working server (Y8, V2); what it leaves at a failback is removed there first or kept until
             it expires, by `deregister_on_failback` (V3, P23)
single       the same, and never at two (V11): also what a dead server still believes is removed when it is back

What it can do depends on the passwords. With the phone's in the password file it registers at once. Without, it still can
where the server does not ask; everywhere else the phone's own next REGISTER does it, and only the removal of what was left
behind is tried.

*Times.* A registration that would lapse before the phone's own is renewed a minute before, or after half its time if that
comes later. After a failure the wait is that of RFC 5626 4.5 (P11). A refused account (V16) is tried again by the same
rule, in successive and single registration at the next server meanwhile.

*Many at once.* When a server dies or returns, the registrations of all phones follow one by one, at a rate that moves all
of them in five minutes (pitfall D18), after a first one by itself. At a server that is known to be down one phone at a time
is tried, on behalf of all.

Two things besides. `before_request`: a request has to wait for a registration (Y30, F7, F8). `removed`: what a phone has
removed is removed also at the servers that did not hear of it, as soon as they are back (D13); a restart forgets these.

Ordinary Python: a phone whose registrations are in order never comes here.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from sbc.clock import Clock
from sbc.events import RegistrationLeftOut, Report
from sbc.registration.bindings import FAILED, REGISTERED, UNREGISTERED
from sbc.registration.errand import Errand, account_of, may_vouch_for
from sbc.registration.leg import Ending

if TYPE_CHECKING:
    from sbc.location.candidate import Candidate
    from sbc.redundancy.group import ServerGroup
    from sbc.registration.bindings import Binding, Bindings, Upstream
    from sbc.registration.targets import Target, Targets

OVERLAP = 60.0
"""Seconds before its end in which a registration is renewed; half of its time where that is shorter (Polycom guide:
overlap 60)."""

SLACK = 1.0
"""Seconds. A server's time that is no more shorter than this was not made shorter, only counted later."""

_FIRST_ALONE = 1.0  # seconds between the first registration that follows a change and the others
_ALL_WITHIN = 300.0  # seconds in which the registrations of all phones follow, but ...
_SLOWEST = 5.0  # ... at least so many in a second
_LOOKED_AT_ONCE = 500  # phones, in a few milliseconds
_PAUSE = 0.02  # seconds between two lots of them
_ATTEMPT = 32.0  # seconds: 64*T1, the longest that a REGISTER of ours is under way (F11)
_LONGEST_AFTER_REFUSAL = 1800.0  # seconds between tries of an account that is refused: a server may lock it

ONLY_THE_PHONE = "asks for a password that only the phone knows"


class Books(Protocol):
    """What the registrar keeps, and does for us."""

    bindings: Bindings
    credentials: Any

    def errand(
        self, targets: Targets, target: Target, binding: Binding, seconds: int, plan: Any, done: Callable[[Errand], Any]
    ) -> Errand: ...

    def asks_for_passwords(self, candidate: Candidate) -> bool: ...

    def errand_registered(self, errand: Errand) -> None: ...

    def errand_failed(self, errand: Errand, state: str, reason: str) -> None: ...


class _Failure:
    """Failures in a row of one contact at one server."""

    __slots__ = ("times", "not_before", "refused")

    def __init__(self) -> None:
        self.times = 0
        self.not_before = 0.0
        self.refused = False
        """The server refuses the account (V16)."""


class _Duty:
    """What is to be done for one contact, and what was tried."""

    __slots__ = ("binding", "timer", "errand", "failures", "removals", "helpless", "renewals")

    def __init__(self, binding: Binding) -> None:
        self.binding = binding
        self.timer: Any = None
        self.errand: Errand | None = None
        self.failures: dict[str, _Failure] = {}
        self.removals: dict[str, float] = {}
        """Server -> not to be removed there before then, because that failed."""
        self.helpless: dict[str, Any] = {}
        """Server -> the password file with which its challenge could not be answered."""
        self.renewals: dict[str, tuple[float, float]] = {}
        """Server -> end of the registration, and when it is to be renewed."""


class _Step(NamedTuple):
    due: float
    target: Target
    candidate: Candidate | None
    """Only there; None where the server may choose."""
    is_removal: bool


class _Site:
    """One group, as far as it matters here."""

    def __init__(self, targets: Targets) -> None:
        self.targets = targets
        self.group: ServerGroup = targets.group
        self.settings = targets.group.settings
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
        self.next_slot = 0.0
        """When the next of many may follow, and how long after it the one behind it."""
        self.pace = 0.0
        self.first_is_due = True
        self.tries: dict[str, _Failure] = {}
        """Server that is known to be down -> the tries on behalf of all phones."""
        self.look: Any = None


class _Wait:
    """Requests that wait for one registration."""

    __slots__ = ("errand", "callbacks")

    def __init__(self) -> None:
        self.errand: Errand | None = None
        self.callbacks: list[tuple[str, Callable[[bool], None]]] = []


class _Missed:
    """A removal that a server has not heard of (pitfall D13)."""

    __slots__ = ("binding", "site", "target", "until", "times", "timer", "errand")

    def __init__(self, binding: Binding, site: _Site, target: Target, until: float) -> None:
        self.binding = binding
        self.site = site
        self.target = target
        self.until = until
        """When it lapses there by itself."""
        self.times = 0
        self.timer: Any = None
        self.errand: Errand | None = None


class Upkeep:
    """The duties of all contacts. At most one errand at a time is under way for each, those for requests apart."""

    def __init__(self, clock: Clock, books: Books, report: Report, rng: random.Random | None = None) -> None:
        self._clock = clock
        self._books = books
        self._report = report
        self._rng = rng or random.Random()
        self._sites: dict[str, _Site] = {}
        self.duties: dict[str, _Duty] = {}
        """By token of the contact."""
        self.held_requests: dict[tuple[str, Candidate], _Wait] = {}
        """Those that wait for a registration, by token of the contact and where it is to be registered."""

        self.missed_removals: dict[tuple[str, str], _Missed] = {}
        """By token and server."""

    # What happens around it

    def follow(self, targets: Targets) -> None:
        """Serve the phones of this group from now on."""
        site = self._sites[targets.group_name] = _Site(targets)
        targets.group.followers.append(lambda: self._changed(site))
        self._changed(site)

    def settled(self, binding: Binding) -> None:
        """A REGISTER of the phone is over, or a registration has lapsed."""
        site = self._sites.get(binding.group)
        if site is None:
            return
        now = self._clock.seconds()
        duty = self._duty_of(binding)
        for target in site.registrars:
            upstream = binding.upstream(target.name)
            if upstream is not None and upstream.state == REGISTERED:
                self._succeeded(duty, target.name)
            elif upstream is not None and upstream.state == FAILED:
                self._note_failure(duty, site, target.name, now, refused=True)
            elif _is_concurrent(site):
                self._note_failure(duty, site, target.name, now)
        self._plan(duty, site, now)

    def interrupted(self, token: str, is_removal: bool) -> None:
        """A REGISTER of the phone is accepted: what was under way for it is stopped, and looked at again after that."""
        duty = self.duties.get(token)
        if duty is not None:
            self._stop(duty)
        if not is_removal:
            for key in [key for key in self.missed_removals if key[0] == token]:
                self._drop_missed(key)

    def forgotten(self, binding: Binding) -> None:
        """The contact is gone."""
        duty = self.duties.pop(binding.token, None)
        if duty is not None:
            self._stop(duty)
        for key in [key for key in self.held_requests if key[0] == binding.token]:
            waiting = self.held_requests.pop(key)
            if waiting.errand is not None:
                waiting.errand.stop()
            for _, done in waiting.callbacks:
                done(True)

    def removed(self, binding: Binding) -> None:
        """The phone has removed it, and is about to be forgotten: every server that has it should hear of that."""
        site = self._sites.get(binding.group)
        if site is None:
            return
        now = self._clock.seconds()
        for upstream in binding.upstreams:
            target = site.named.get(upstream.server)
            if target is not None and upstream.state == REGISTERED and upstream.expires_at > now:
                key = (binding.token, upstream.server)
                self.missed_removals[key] = _Missed(binding, site, target, upstream.expires_at)

    def removal_over(self, token: str, answered: list[str]) -> None:
        """The phone's own removal is over. Of the servers that have the contact these have answered it."""
        for key in [key for key in self.missed_removals if key[0] == token]:
            if key[1] in answered:
                self._drop_missed(key)
            elif self.missed_removals[key].timer is None:
                self._wait_to_remove(key, 0.0)

    def _changed(self, site: _Site) -> None:
        """A server died or returned, or another one works. Not looked at from within what has brought the news."""
        if site.look is None:
            site.look = self._clock.callLater(0.0, self._look_around, site)

    def _look_around(self, site: _Site) -> None:
        site.look = None
        if self._sites.get(site.group.name) is not site:
            return  # a changed configuration
        now = self._clock.seconds()
        usable = {
            server.name for server, candidate in site.group.candidates() if site.group.health(candidate).usable
        }
        returned, site.usable = usable - site.usable, usable
        for name in returned:
            site.tries.pop(name, None)
            if name in site.known:
                site.returned[name] = now
        site.known |= usable
        working = site.group.working(now)
        owner = site.group.owner(working) if working is not None else None
        site.targets.goal = "" if owner is None or _is_concurrent(site) else owner.name
        tokens = [binding.token for binding in self._books.bindings if binding.group == site.group.name]
        site.pace = 1.0 / max(_SLOWEST, len(tokens) / _ALL_WITHIN)
        if site.next_slot <= now:
            site.next_slot, site.first_is_due = now, True
        for key in [key for key, missed in self.missed_removals.items() if missed.target.name in returned]:
            self._wait_to_remove(key, site.next_slot - now)  # before anything else (D13)
            site.next_slot += site.pace
        self._look_at(site, tokens, returned)

    def _look_at(self, site: _Site, tokens: list[str], returned: set[str]) -> None:
        """The phones of a site, some at a time, because calls wait meanwhile."""
        now = self._clock.seconds()
        for token in tokens[:_LOOKED_AT_ONCE]:
            binding = self._books.bindings.get(token)
            if binding is not None:
                self._look_at_one(site, binding, returned, now)
        left = tokens[_LOOKED_AT_ONCE:]
        if left and self._sites.get(site.group.name) is site:
            self._clock.callLater(_PAUSE, self._look_at, site, left, returned)

    def _look_at_one(self, site: _Site, binding: Binding, returned: set[str], now: float) -> None:
        duty = self.duties.get(binding.token) or _Duty(binding)
        for name in returned:
            failure = duty.failures.get(name)
            if failure is not None and not failure.refused:
                failure.not_before = 0.0
            duty.removals.pop(name, None)
        step = self._next_step(duty, site, now)
        if step is None or duty.errand is not None:
            return
        self.duties.setdefault(binding.token, duty)
        if step.due > now:
            self._arm(duty, site, step.due)
            return
        self._arm(duty, site, max(now, site.next_slot))
        site.next_slot = max(now, site.next_slot) + (_FIRST_ALONE if site.first_is_due else site.pace)
        site.first_is_due = False

    # Duties

    def _duty_of(self, binding: Binding) -> _Duty:
        duty = self.duties.get(binding.token)
        if duty is None:
            duty = self.duties[binding.token] = _Duty(binding)
        duty.binding = binding
        return duty

    def _plan(self, duty: _Duty, site: _Site, now: float) -> None:
        """When there is something to do next. Nothing to do and nothing to remember: no duty."""
        if duty.errand is not None:
            return
        step = self._next_step(duty, site, now)
        if step is not None:
            self._arm(duty, site, max(step.due, now))
            return
        self._disarm(duty)
        if not duty.failures and not duty.helpless and not duty.removals:
            self.duties.pop(duty.binding.token, None)

    def _arm(self, duty: _Duty, site: _Site, due: float) -> None:
        self._disarm(duty)
        if due < duty.binding.expires_at:
            duty.timer = self._clock.callLater(max(0.0, due - self._clock.seconds()), self._act, duty, site)

    def _disarm(self, duty: _Duty) -> None:
        if duty.timer is not None:
            if duty.timer.active():
                duty.timer.cancel()
            duty.timer = None

    def _stop(self, duty: _Duty) -> None:
        self._disarm(duty)
        if duty.errand is not None:
            duty.errand.stop()
            duty.errand = None

    def _act(self, duty: _Duty, site: _Site) -> None:
        """The time has come; the situation may be another one by now."""
        duty.timer = None
        if self._sites.get(site.group.name) is not site:
            return
        now = self._clock.seconds()
        step = self._next_step(duty, site, now)
        if step is None or step.due > now + 1e-6:
            self._plan(duty, site, now)
            return
        name = step.target.name
        if name not in site.usable:
            site.tries.setdefault(name, _Failure()).not_before = now + _ATTEMPT
        seconds = 0 if step.is_removal else max(1, round(duty.binding.expires_at - now))
        patience = self._give_up(step.target, site) if step.is_removal else _ATTEMPT
        plan = site.group.register_plan_at(name, now, now + patience, step.candidate)
        duty.errand = self._books.errand(
            site.targets, step.target, duty.binding, seconds, plan, lambda errand: self._over(duty, site, errand)
        )
        duty.errand.start()

    def _give_up(self, target: Target, site: _Site) -> float:
        """A removal is worth no more time than a server that is not the last one gets (table a.0)."""
        return site.group.patience(target.settings, "REGISTER")

    def _over(self, duty: _Duty, site: _Site, errand: Errand) -> None:
        duty.errand = None
        self._note(duty, site, errand)
        self._plan(duty, site, self._clock.seconds())

    # What came of it

    def _note(self, duty: _Duty, site: _Site, errand: Errand) -> None:
        now = self._clock.seconds()
        name = errand.target.name
        if errand.ending is not Ending.UNREACHABLE:
            site.tries.pop(name, None)
        elif name in site.tries:
            self._count(site.tries[name], site, now)
        if errand.is_removal:
            self._note_removal(duty, site, errand, now)
        elif errand.ending is Ending.ACCEPTED and errand.seconds > SLACK:
            if not errand.used_credentials:
                site.open.add(name)
            self._succeeded(duty, name)
            self._books.errand_registered(errand)
        elif errand.ending is Ending.CHALLENGED and not errand.own_password_refused:
            duty.helpless[name] = self._books.credentials
            self._books.errand_failed(errand, UNREGISTERED, ONLY_THE_PHONE)
        else:
            refused = errand.ending is Ending.CHALLENGED or (
                errand.ending is Ending.REFUSED and errand.status in (403, 404)
            )
            self._note_failure(duty, site, name, now, refused=refused)
            reason = "wrong password" if errand.ending is Ending.CHALLENGED else errand.reason or "granted no time"
            self._books.errand_failed(errand, FAILED if refused else UNREGISTERED, reason)

    def _note_removal(self, duty: _Duty, site: _Site, errand: Errand, now: float) -> None:
        name = errand.target.name
        if errand.ending is Ending.ACCEPTED:
            duty.removals.pop(name, None)
            self._books.errand_failed(errand, UNREGISTERED, "removed for another server")
            return
        reason = ONLY_THE_PHONE if errand.ending is Ending.CHALLENGED else errand.reason
        duty.removals[name] = inf
        if errand.ending is Ending.UNREACHABLE:
            duty.removals[name] = now + self._wait(1, site, refused=False)
        # It still stands there, and is shown so until it lapses.
        self._books.errand_failed(errand, REGISTERED, f"not removed: {reason}")

    def _succeeded(self, duty: _Duty, name: str) -> None:
        duty.failures.pop(name, None)
        duty.helpless.pop(name, None)

    def _note_failure(self, duty: _Duty, site: _Site, name: str, now: float, *, refused: bool = False) -> None:
        failure = duty.failures.setdefault(name, _Failure())
        if failure.not_before <= now:
            failure.refused = refused
            self._count(failure, site, now)

    def _count(self, failure: _Failure, site: _Site, now: float) -> None:
        failure.times += 1
        failure.not_before = now + self._wait(failure.times, site, refused=failure.refused)

    def _wait(self, times: int, site: _Site, *, refused: bool) -> float:
        """RFC 5626 4.5: base * 2^failures up to a maximum, of which 50 to 100 % by lot."""
        longest = site.settings.register_retry_max
        if refused:
            longest = max(longest, _LONGEST_AFTER_REFUSAL)
        bound = min(longest, site.settings.register_retry_base * 2.0 ** min(times, 20))
        return bound * self._rng.uniform(0.5, 1.0)

    # What is to be done

    def _next_step(self, duty: _Duty, site: _Site, now: float) -> _Step | None:
        if duty.binding.expires_at <= now:
            return None
        steps = self._concurrent_steps if _is_concurrent(site) else self._one_by_one_steps
        return min(steps(duty, site, now), key=lambda step: step.due, default=None)

    def _concurrent_steps(self, duty: _Duty, site: _Site, now: float) -> list[_Step]:
        found = []
        for target in site.registrars:
            upstream = duty.binding.upstream(target.name)
            due = self._due(duty, site, target, upstream, now)
            if due is not None:
                found.append(_Step(due, target, None, False))
        return found

    def _one_by_one_steps(self, duty: _Duty, site: _Site, now: float) -> list[_Step]:
        goals = self._goals(site, now)
        found = []
        for target, candidate in goals:
            may_register = self._may_register(duty, site, target)
            failure = duty.failures.get(target.name)
            if failure is not None and failure.refused and failure.not_before > now:
                # V16: this account is not wanted there; later once more, and the next server meanwhile.
                if may_register:
                    found.append(_Step(failure.not_before, target, candidate, False))
                continue
            if not may_register and not _is_anywhere(duty.binding):
                continue
            return [*found, *self._steps_towards(duty, site, target, candidate, now)]
        return found

    def _goals(self, site: _Site, now: float) -> list[tuple[Target, Candidate]]:
        """The working server, then the other registrars that are alive, by preference."""
        working = site.group.working(now)
        listed = [(server, candidate) for server, candidate in site.group.candidates() if server.register]
        first = [entry for entry in listed if entry[1] == working]
        others = [entry for entry in listed if entry[1] != working and site.group.health(entry[1]).usable]
        return [(site.named.get(server.name), candidate) for server, candidate in [*first, *others]]

    def _steps_towards(
        self, duty: _Duty, site: _Site, target: Target, candidate: Candidate, now: float
    ) -> list[_Step]:
        upstream = duty.binding.upstream(target.name)
        there = upstream is not None and self._is_current(duty.binding, site, upstream)
        elsewhere = there and upstream.candidate is not None and upstream.candidate != candidate
        found: list[_Step] = []
        if (there and not elsewhere) or self._will_register(duty, site, target):
            # What is left behind is removed first (V3), but not by whom may fail at the other end: there it comes next.
            found = self._removals(duty, site, target, candidate if elsewhere else None, now)
            if any(step.due <= now for step in found):
                return found
        due = self._due(duty, site, target, None if elsewhere else upstream, now)
        if due is not None:
            found.append(_Step(due, target, candidate, False))
        return found

    def _removals(
        self, duty: _Duty, site: _Site, target: Target, candidate: Candidate | None, now: float
    ) -> list[_Step]:
        """`candidate`: the phone is to move there from another one of the same server."""
        if not site.settings.deregister_on_failback:
            return []
        found = []
        for upstream in duty.binding.upstreams:
            other = site.named.get(upstream.server)
            if other is None or upstream.state != REGISTERED:
                continue
            if other is target:
                if candidate is None or upstream.candidate == candidate:
                    continue
                is_better = self._is_better(site, candidate, upstream.candidate)
            else:
                is_better = target.rank < other.rank
            if not is_better and site.settings.registration != "single":
                continue  # a failover: what the dead server believes lapses there
            place = upstream.candidate if other is target else None
            usable = site.group.health(place).usable if place is not None else other.name in site.usable
            if usable:
                found.append(_Step(max(now, duty.removals.get(other.name, 0.0)), other, place, True))
        return [step for step in found if step.due < inf]

    @staticmethod
    def _is_better(site: _Site, one: Candidate, other: Candidate | None) -> bool:
        listed = [candidate for _, candidate in site.group.candidates()]
        return other in listed and one in listed and listed.index(one) < listed.index(other)

    def _due(self, duty: _Duty, site: _Site, target: Target, upstream: Upstream | None, now: float) -> float | None:
        """When it is to be registered (again) at that server; None when it is well there, or we cannot."""
        binding, name = duty.binding, target.name
        due = now
        if upstream is not None and self._is_current(binding, site, upstream):
            if upstream.expires_at + SLACK >= binding.expires_at:
                return None
            end, due = duty.renewals.get(name, (0.0, 0.0))
            if end != upstream.expires_at:
                left = upstream.expires_at - now
                due = now + max(left - OVERLAP, left / 2)
                duty.renewals[name] = (upstream.expires_at, due)
        if not self._may_register(duty, site, target):
            return None
        failure = duty.failures.get(name)
        if failure is not None:
            due = max(due, failure.not_before)
        if name not in site.usable and name in site.tries:
            due = max(due, site.tries[name].not_before)
        return due

    def _is_current(self, binding: Binding, site: _Site, upstream: Upstream) -> bool:
        """Is it registered there, in all likelihood?"""
        if upstream.state != REGISTERED or upstream.registered_at < site.returned.get(upstream.server, 0.0):
            return False  # a server that was dead may have forgotten it (D18)
        if _is_concurrent(site):
            # Not when that address of the server has died, and another one of it lives.
            candidate = upstream.candidate
            return candidate is None or upstream.server not in site.usable or site.group.health(candidate).usable
        return all(
            other.registered_at <= upstream.registered_at for other in binding.upstreams if other.state == REGISTERED
        )

    def _may_register(self, duty: _Duty, site: _Site, target: Target) -> bool:
        """Could it succeed? Where a server asks for passwords, only with the phone's."""
        credentials = self._books.credentials
        if target.name in duty.helpless and duty.helpless[target.name] is credentials:
            return False
        asks = any(
            self._books.asks_for_passwords(candidate)
            for server, candidate in site.group.candidates()
            if server.name == target.name
        )
        return not asks or self._has_password(duty, site, target)

    def _has_password(self, duty: _Duty, site: _Site, target: Target) -> bool:
        credentials = self._books.credentials
        if credentials is None or not credentials.knows(account_of(duty.binding)):
            return False
        return may_vouch_for(duty.binding, site.targets, target)

    def _will_register(self, duty: _Duty, site: _Site, target: Target) -> bool:
        """Is there every reason to believe that it will succeed?"""
        failure = duty.failures.get(target.name)
        if (failure is not None and failure.refused) or not self._may_register(duty, site, target):
            return False
        return target.name in site.open or self._has_password(duty, site, target)

    # Removals that a server has missed

    def _wait_to_remove(self, key: tuple[str, str], delay: float) -> None:
        missed = self.missed_removals[key]
        if missed.timer is not None and missed.timer.active():
            missed.timer.cancel()
        left = missed.until - self._clock.seconds()
        if delay < left and missed.target.name in missed.site.usable:
            missed.timer = self._clock.callLater(max(0.0, delay), self._remove_missed, key)
        else:  # until it is back, or too late
            missed.timer = self._clock.callLater(max(0.0, left), self._drop_missed, key)

    def _remove_missed(self, key: tuple[str, str]) -> None:
        missed = self.missed_removals[key]
        now = self._clock.seconds()
        plan = missed.site.group.register_plan_at(missed.target.name, now, now + _ATTEMPT)
        missed.errand = self._books.errand(
            missed.site.targets, missed.target, missed.binding, 0, plan, lambda errand: self._missed_over(key, errand)
        )
        missed.errand.start()

    def _missed_over(self, key: tuple[str, str], errand: Errand) -> None:
        missed = self.missed_removals[key]
        missed.errand = None
        if errand.ending is not Ending.UNREACHABLE:
            self._drop_missed(key)
            return
        missed.times += 1
        self._wait_to_remove(key, self._wait(missed.times, missed.site, refused=False))

    def _drop_missed(self, key: tuple[str, str]) -> None:
        missed = self.missed_removals.pop(key)
        if missed.timer is not None and missed.timer.active():
            missed.timer.cancel()
        if missed.errand is not None:
            missed.errand.stop()

    # Requests that need a registration first (Y30, F7, F8)

    def before_request(
        self,
        group: ServerGroup,
        server: str,
        candidate: Candidate,
        binding: Binding,
        method: str,
        patience: float,
        done: Callable[[bool], None],
    ) -> bool:
        """False: send the request at once; the phone is registered there, or cannot be. True: `done` will be called, with
        False when the server did not take the phone, after `patience` seconds at the latest.
        """
        site = self._sites.get(group.name)
        target = site.named.get(server) if site is not None else None
        if site is None or target is None or not target.settings.register:
            return False
        now = self._clock.seconds()
        upstream = binding.upstream(server)
        if upstream is not None and upstream.state == REGISTERED and upstream.candidate in (None, candidate):
            return False
        duty = self.duties.get(binding.token) or _Duty(binding)
        if not self._may_register(duty, site, target):
            self._report(RegistrationLeftOut(group.name, server, binding.aor, method, ONLY_THE_PHONE))
            return False
        key = (binding.token, candidate)
        waiting = self.held_requests.get(key)
        if waiting is not None:
            waiting.callbacks.append((method, done))
            return True
        waiting = self.held_requests[key] = _Wait()
        waiting.callbacks.append((method, done))
        seconds = max(1, round(binding.expires_at - now))
        plan = group.register_plan_at(server, now, now + patience, candidate)
        waiting.errand = self._books.errand(
            site.targets, target, binding, seconds, plan, lambda errand: self._may_go(key, site, errand)
        )
        waiting.errand.start()
        return True

    def _may_go(self, key: tuple[str, Candidate], site: _Site, errand: Errand) -> None:
        waiting = self.held_requests.pop(key)
        binding = errand.binding
        duty = self._duty_of(binding)
        # Where it is registered for this request only is looked at with the phone's next REGISTER, not now.
        self._note(duty, site, errand)
        is_challenge = errand.ending is Ending.CHALLENGED and not errand.own_password_refused
        for method, done in waiting.callbacks:
            if is_challenge:
                self._report(RegistrationLeftOut(site.group.name, errand.target.name, binding.aor, method, ONLY_THE_PHONE))
            # D22: who is only asked for a password is asked again for the request itself, and the phone can answer that.
            done(errand.ending is Ending.ACCEPTED or is_challenge)


def _is_anywhere(binding: Binding) -> bool:
    """Is it registered at any server?"""
    return any(upstream.state == REGISTERED for upstream in binding.upstreams)


def _is_concurrent(site: _Site) -> bool:
    return site.settings.registration == "concurrent"
