"""What the appliance does for the phones' registrations by itself, between their REGISTERs: `Upkeep`.

A phone renews a few times an hour; servers die and come back at any time. For every contact there is a goal, and as long
as it is not reached, and the appliance can do something about it, there is a `Duty`:

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

What is to be done next for a contact is for `steps` to say; here it is done. `held_requests` and `missed_removals` are two
more reasons for a REGISTER of our own.

Ordinary Python: a phone whose registrations are in order never comes here.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from math import inf
from typing import TYPE_CHECKING

from sbc.clock import Clock
from sbc.events import Report
from sbc.registration.bindings import FAILED, REGISTERED, UNREGISTERED
from sbc.registration.errand import Errand
from sbc.registration.held_requests import HeldRequests
from sbc.registration.leg import Ending
from sbc.registration.missed_removals import MissedRemovals
from sbc.registration.served import ATTEMPT, ONLY_THE_PHONE, Books, Duty, Failure, Served
from sbc.registration.steps import SLACK, Steps

if TYPE_CHECKING:
    from sbc.redundancy.group import ServerGroup
    from sbc.registration.steps import Step
    from sbc.registration.bindings import Binding
    from sbc.registration.targets import Targets

_FIRST_ALONE = 1.0  # seconds between the first registration that follows a change and the others
_ALL_WITHIN = 300.0  # seconds in which the registrations of all phones follow, but ...
_SLOWEST = 5.0  # ... at least so many in a second
_LOOKED_AT_ONCE = 500  # phones, in a few milliseconds
_PAUSE = 0.02  # seconds between two lots of them
_REQUEST_IS_OVER = 32.0  # seconds, 64*T1: no server is waited for longer by a request that was held
_BUSY_FOR = 1.0  # seconds until a contact is looked at again for which a REGISTER is under way


class Upkeep:
    """The duties of all contacts. At most one errand at a time is under way for each, those for requests apart."""

    def __init__(self, clock: Clock, books: Books, report: Report, rng: random.Random | None = None) -> None:
        self._clock = clock
        self._books = books
        self._rng = rng or random.Random()
        self._groups: dict[str, ServerGroup] = {}
        self._served: dict[str, Served] = {}
        """By key of the group, or of its kind of phones."""
        self.duties: dict[str, Duty] = {}
        """By token of the contact."""
        self.steps = Steps(books)
        self.held = HeldRequests(clock, books, report, self)
        self.missed = MissedRemovals(clock, books)

    # What happens around it

    def follow(self, targets: Targets) -> None:
        """Serve the phones of this group from now on."""
        before = self._served.get(targets.group.key)
        served = self._served[targets.group.key] = Served(targets, self._rng)
        if before is not None:  # a changed configuration
            served.go_on_from(before)
        if not targets.group.kind:
            self._groups[targets.group_name] = targets.group
        targets.group.followers.append(lambda: self._changed(served))
        self._changed(served)

    def serve_only(self, keys: set[str]) -> None:
        """The groups and kinds of phones with other keys are gone: nothing is sent to their servers any more. The rest of
        the configuration has been followed already."""
        for key in self._served.keys() - keys:
            del self._served[key]
        for name in self._groups.keys() - keys:
            del self._groups[name]
        for token, duty in list(self.duties.items()):
            served = self._served_of(duty.binding)
            if served is None:
                self._stop(duty)
                del self.duties[token]
            elif duty.errand is not None and duty.errand.target.name not in served.named:
                self._stop(duty)  # what is to be done instead is seen when all are looked at
        self.held.serve_only(self._served)
        self.missed.serve_only(self._served)

    def settled(self, binding: Binding, gone_on_from: Iterable[str] = ()) -> None:
        """A REGISTER of the phone is over, or a registration has lapsed. `gone_on_from`: the servers that it tried before the
        one where it ended, and that failed; those that refused its account are noted already (`accounts`).
        """
        served = self._served_of(binding)
        if served is None:
            return
        now = self._clock.seconds()
        duty = self.duty_of(binding)
        for target in served.registrars:
            upstream = binding.upstream(target.name)
            if upstream is not None and upstream.state == REGISTERED:
                self._succeeded(duty, target.name)
            elif served.is_concurrent and (upstream is None or upstream.state != FAILED):
                self._note_failure(duty, served, target.name, now)
        for name in gone_on_from:
            self._note_failure(duty, served, name, now)
        self._plan(duty, served, now)

    def interrupted(self, token: str, is_removal: bool) -> None:
        """A REGISTER of the phone is accepted: what was under way for it is stopped, and looked at again after that."""
        duty = self.duties.get(token)
        if duty is not None:
            self._stop(duty)
        if not is_removal and self.missed.entries:
            self.missed.registered_again(token)

    def forgotten(self, binding: Binding) -> None:
        """The contact is gone."""
        duty = self.duties.pop(binding.token, None)
        if duty is not None:
            self._stop(duty)
        self.held.forgotten(binding)

    def removed(self, binding: Binding) -> None:
        """The phone has removed it, and it is about to be forgotten."""
        served = self._served_of(binding)
        if served is not None:
            self.missed.removed(binding, served)

    def admits(self, binding: Binding, server: str, now: float) -> bool:
        """May a REGISTER of that phone, which is not registered at that server, go there now? A server that has come back gets
        them at a pace (D18); True takes one of the places. To be asked once for each REGISTER that is to be sent."""
        return True

    def longest_grant(self, binding: Binding, now: float) -> float:
        """Seconds: the phone is to be told no more, because a server of its group waits for it to come by; inf without one."""
        return inf

    def _changed(self, served: Served) -> None:
        """A server died or returned, or another one works. Not looked at from within what has brought the news."""
        if served.look is None:
            served.look = self._clock.callLater(0.0, self._look_around, served)

    def _look_around(self, served: Served) -> None:
        served.look = None
        if self._served.get(served.group.key) is not served:
            return  # a changed configuration
        now = self._clock.seconds()
        usable = {
            server.name for server, candidate in served.group.candidates() if served.group.health(candidate).usable
        }
        returned, served.usable = usable - served.usable, usable
        for name in returned:
            served.tries.pop(name, None)
            if name in served.known:
                served.returned[name] = now
        served.known |= usable
        working = served.group.working(now)
        owner = served.group.owner(working) if working is not None else None
        served.targets.goal = "" if owner is None or served.is_concurrent else owner.name
        tokens = [binding.token for binding in self._books.bindings if self._served_of(binding) is served]
        served.pace = 1.0 / max(_SLOWEST, len(tokens) / _ALL_WITHIN)
        if served.next_slot <= now:
            served.next_slot, served.first_is_due = now, True
        self.missed.returned(served, returned, now)
        self._look_at(served, tokens, returned)

    def _look_at(self, served: Served, tokens: list[str], returned: set[str]) -> None:
        """The phones of a group, some at a time, because calls wait meanwhile."""
        now = self._clock.seconds()
        for token in tokens[:_LOOKED_AT_ONCE]:
            binding = self._books.bindings.get(token)
            if binding is not None:
                self._look_at_one(served, binding, returned, now)
        left = tokens[_LOOKED_AT_ONCE:]
        if left and self._served.get(served.group.key) is served:
            self._clock.callLater(_PAUSE, self._look_at, served, left, returned)

    def _look_at_one(self, served: Served, binding: Binding, returned: set[str], now: float) -> None:
        duty = self.known(binding)
        for name in returned:
            failure = duty.failures.get(name)
            if failure is not None:
                failure.not_before = 0.0
            duty.removals.pop(name, None)
        step = self.steps.next_step(duty, served, now)
        if step is None or duty.errand is not None:
            return
        self.duties.setdefault(binding.token, duty)
        if step.due > now:
            self._arm(duty, step.due)
            return
        self._arm(duty, max(now, served.next_slot))
        served.next_slot = max(now, served.next_slot) + (_FIRST_ALONE if served.first_is_due else served.pace)
        served.first_is_due = False

    # Duties

    def served(self, key: str) -> Served | None:
        """The group, or the kind of phones, with that key, as it is configured now."""
        return self._served.get(key)

    def _served_of(self, binding: Binding) -> Served | None:
        """None also for a phone whose kind is not known: stored by a former version, or when the group had one kind only, it
        is left alone until it registers."""
        group = self._groups.get(binding.group)
        if group is not None and group.of_several_kinds:
            if binding.agent is None and any(entry.user_agent for entry in group.settings.phones):
                return None
            group = group.phones_of(binding.agent or "", binding.host, binding.aor)
        return self._served.get(group.key) if group is not None else None

    def next_step(self, binding: Binding, now: float) -> Step | None:
        """What is going to be done for that contact, and when; None when that is nothing."""
        served = self._served_of(binding)
        return self.steps.next_step(self.known(binding), served, now) if served is not None else None

    def known(self, binding: Binding) -> Duty:
        """What was tried for a contact; not kept."""
        return self.duties.get(binding.token) or Duty(binding)

    def duty_of(self, binding: Binding) -> Duty:
        """The same, and kept."""
        duty = self.duties.get(binding.token)
        if duty is None:
            duty = self.duties[binding.token] = Duty(binding)
        duty.binding = binding
        return duty

    def _plan(self, duty: Duty, served: Served, now: float) -> None:
        """When there is something to do next. Nothing to do and nothing to remember: no duty."""
        if duty.errand is not None:
            return
        step = self.steps.next_step(duty, served, now)
        if step is not None:
            self._arm(duty, max(step.due, now))
            return
        self._disarm(duty)
        if not duty.failures and not duty.helpless and not duty.removals:
            self.duties.pop(duty.binding.token, None)

    def look_after_request(self, duty: Duty, served: Served) -> None:
        """The contact was registered somewhere for one request. Single registration is never at two for long (V11)."""
        if served.settings.registration == "single" and duty.errand is None:
            self._arm(duty, self._clock.seconds() + _REQUEST_IS_OVER)

    def _arm(self, duty: Duty, due: float) -> None:
        self._disarm(duty)
        if due < duty.binding.expires_at:
            duty.timer = self._clock.callLater(max(0.0, due - self._clock.seconds()), self._act, duty)

    def _disarm(self, duty: Duty) -> None:
        if duty.timer is not None:
            if duty.timer.active():
                duty.timer.cancel()
            duty.timer = None

    def _stop(self, duty: Duty) -> None:
        self._disarm(duty)
        if duty.errand is not None:
            duty.errand.stop()
            duty.errand = None

    def _act(self, duty: Duty) -> None:
        """The time has come; the situation may be another one by now, and the configuration as well."""
        duty.timer = None
        served = self._served_of(duty.binding)
        if served is None:
            return
        now = self._clock.seconds()
        if self._books.is_registering(duty.binding.token) or self.held.is_registering(duty.binding.token):
            # It is on its way to where it should be, or will be looked at again when that is over.
            self._arm(duty, now + _BUSY_FOR)
            return
        step = self.steps.next_step(duty, served, now)
        if step is None or step.due > now + 1e-6:
            self._plan(duty, served, now)
            return
        name = step.target.name
        if name not in served.usable:
            served.tries.setdefault(name, Failure()).not_before = now + ATTEMPT
        seconds = 0 if step.is_removal else max(1, round(duty.binding.expires_at - now))
        # A removal is worth no more time than a server gets that is not the last one (table a.0).
        patience = served.group.patience(step.target.settings, "REGISTER") if step.is_removal else ATTEMPT
        plan = served.group.register_plan_at(name, now, now + patience, step.candidate)
        duty.errand = self._books.errand(
            served.targets, step.target, duty.binding, seconds, plan, lambda errand: self._over(duty, served, errand)
        )
        duty.errand.start()

    def _over(self, duty: Duty, served: Served, errand: Errand) -> None:
        """`served` is what it was begun for."""
        duty.errand = None
        after = self._served_of(duty.binding)  # another one since a changed configuration
        self.note(duty, after or served, errand)
        if after is not None:
            self._plan(duty, after, self._clock.seconds())

    # What came of it

    def note(self, duty: Duty, served: Served, errand: Errand) -> None:
        """An errand for that contact has ended."""
        now = self._clock.seconds()
        name = errand.target.name
        if errand.ending is not Ending.UNREACHABLE:
            served.tries.pop(name, None)
        elif name in served.tries:
            served.tries[name].count(served, now)
        if errand.is_removal:
            self._note_removal(duty, served, errand, now)
        elif errand.ending is Ending.ACCEPTED and errand.seconds > SLACK:
            if not errand.used_credentials:
                served.open.add(name)
            self._succeeded(duty, name)
            self._books.errand_registered(errand)
        elif errand.ending is Ending.CHALLENGED and not errand.own_password_refused:
            duty.helpless[name] = self._books.credentials
            self._books.errand_failed(errand, UNREGISTERED, ONLY_THE_PHONE)
        else:
            refused = errand.ending is Ending.CHALLENGED or (
                errand.ending is Ending.REFUSED and errand.status in (403, 404)
            )
            if not refused:
                self._note_failure(duty, served, name, now)
            reason = "wrong password" if errand.ending is Ending.CHALLENGED else errand.reason or "granted no time"
            self._books.errand_failed(errand, FAILED if refused else UNREGISTERED, reason)

    def _note_removal(self, duty: Duty, served: Served, errand: Errand, now: float) -> None:
        name = errand.target.name
        if errand.ending is Ending.ACCEPTED:
            duty.removals.pop(name, None)
            self._books.errand_failed(errand, UNREGISTERED, "removed for another server")
            return
        reason = ONLY_THE_PHONE if errand.ending is Ending.CHALLENGED else errand.reason
        duty.removals[name] = inf
        if errand.ending is Ending.UNREACHABLE:
            duty.removals[name] = now + served.wait(1)
        # It still stands there, and is shown so until it lapses.
        self._books.errand_failed(errand, REGISTERED, f"not removed: {reason}")

    def _succeeded(self, duty: Duty, name: str) -> None:
        duty.failures.pop(name, None)
        duty.helpless.pop(name, None)

    def _note_failure(self, duty: Duty, served: Served, name: str, now: float) -> None:
        failure = duty.failures.setdefault(name, Failure())
        if failure.not_before <= now:
            failure.count(served, now)
