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

*Many at once.* When a server dies or returns, the registrations of all phones follow one by one, at a pace that the server
stands (pitfall D18, `resyncs`). At a server that is known to be down one phone at a time is tried, on behalf of all.

What is to be done next for a contact is for `steps` to say; here it is done. `held_requests` and `missed_removals` are two
more reasons for a REGISTER of our own.

Ordinary Python: a phone whose registrations are in order never comes here.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable
from math import inf
from typing import TYPE_CHECKING

from sbc.clock import Clock
from sbc.events import Report
from sbc.registration.bindings import FAILED, REGISTERED, UNREGISTERED
from sbc.registration.errand import Errand
from sbc.registration.held_requests import HeldRequests
from sbc.registration.leg import Ending
from sbc.registration.missed_removals import MissedRemovals
from sbc.registration.resyncs import Resyncs
from sbc.registration.served import ATTEMPT, ONLY_THE_PHONE, Books, Duty, Failure, Served
from sbc.registration.steps import SLACK, Steps

if TYPE_CHECKING:
    from sbc.redundancy.group import ServerGroup
    from sbc.redundancy.outcome import Outcome
    from sbc.redundancy.settings import GroupSettings
    from sbc.registration.bindings import Binding
    from sbc.registration.steps import Step
    from sbc.registration.targets import Targets

_LOOKED_AT_ONCE = 500  # phones, in a few milliseconds
_PAUSE = 0.02  # seconds between two lots of them
_REQUEST_IS_OVER = 32.0  # seconds, 64*T1: no server is waited for longer by a request that was held
_RETRY_AFTER = (30.0, 90.0)  # seconds (D29)
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
        self.resyncs = Resyncs(clock, books, report, self, self._rng)
        self.steps = Steps(books, self.resyncs)
        self.held = HeldRequests(clock, books, report, self)
        self.missed = MissedRemovals(clock, books, report, self.resyncs)

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
        self.resyncs.serve_only(self._served)
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
        if self.resyncs.entries:
            self.resyncs.settled(served, binding, now)
        duty = self.duty_of(binding)
        for target in served.registrars:
            upstream = binding.upstream(target.name)
            if upstream is not None and upstream.state == REGISTERED:
                self._succeeded(duty, target.name)
            elif served.is_concurrent and (upstream is None or upstream.state != FAILED):
                if not self.resyncs.holds_back(served, target.name, binding.token, now):  # else it was not asked
                    self._note_failure(duty, served, target.name, now)
        for name in gone_on_from:
            self._note_failure(duty, served, name, now)
        self._plan(duty, served, now)

    def asked_nothing(self, binding: Binding, server: str) -> None:
        """That server has registered the phone without a password."""
        served = self._served_of(binding)
        if served is not None:
            served.open.add(server)

    def expect_new(self, binding: Binding) -> None:
        """A contact of which nobody here had heard until now is about to be told that it is registered. At the other servers that
        have come back it has its turn as all others have."""
        served = self._served_of(binding)
        if served is None:
            return
        now = self._clock.seconds()
        self.resyncs.guest_accepted(served, binding.token)
        for target, is_ours in self.steps.missing(self.known(binding), served, now):
            entry = self.resyncs.of(served.group.name, target.name)
            if entry is not None and entry.paces_guests(now) and binding.upstream(target.name) is None:
                self.resyncs.expect(served, target.name, binding, not is_ours, now)

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
        self.resyncs.forgotten(binding)

    def removed(self, binding: Binding) -> None:
        """The phone has removed it, and it is about to be forgotten."""
        served = self._served_of(binding)
        if served is not None:
            self.missed.removed(binding, served)

    def admits(self, binding: Binding, server: str, now: float) -> bool:
        """May a REGISTER of that phone go to that server now? One that has come back gets them at a pace (D18), from phones that
        are registered there already as well, for that may be forgotten. To be asked once for each REGISTER that is to be sent,
        with and without credentials: True takes one of the places."""
        return not self.resyncs.entries or self.resyncs.admits(self._served_of(binding), binding, server, now)

    def is_awaited(self, binding: Binding, server: str) -> bool:
        """Is that server being resynchronised (D18), and the contact not registered there yet? Then its turn comes."""
        return self.resyncs.is_awaited(binding, server)

    def retry_after(self, binding: Binding, now: float) -> int:
        """Seconds after which that phone may try again, because it is in service nowhere and no server has a place for its
        REGISTER now (D18 (6)), by lot; 0: it may go on."""
        served = self._served_of(binding)
        return self._by_lot() if served is not None and self.resyncs.must_wait(served, binding, now) else 0

    def retry_after_guest(self, group: str, token: str, host: str, binding: Binding | None, now: float) -> int:
        """The same for a contact that nobody here knows, or not from there, of the group with that key."""
        served = self._served.get(group)
        if served is None or not self.resyncs.must_guest_wait(served, token, host, binding, now):
            return 0
        return self._by_lot()

    def _by_lot(self) -> int:
        return round(self._rng.uniform(*_RETRY_AFTER))

    def admits_guest(self, group: str, token: str, host: str, server: str, now: float) -> bool:
        """`admits`, of a contact that nobody here knows."""
        served = self._served.get(group)
        return served is None or self.resyncs.admits_guest(served, token, host, server, now)

    def paces_guests(self, group: str, server: str, now: float) -> bool:
        """Of the group with that key: do phones that nobody here knows have to keep a pace at that server?"""
        served = self._served.get(group)
        entry = self.resyncs.of(served.group.name, server) if served is not None else None
        return entry is not None and entry.paces_guests(now)

    def may_leave_out(self, group: str, names: list[str]) -> bool:
        """Of the group with that key: may the other servers decide on a phone in the place of these?"""
        served = self._served.get(group)
        return served is not None and self.resyncs.may_leave_out(served, names)

    def look_ahead(self, binding: Binding) -> None:
        """Its group's phones are being looked at, for a server died or returned, but something is to happen to this one before it
        is its turn: look at it now."""
        served = self._served_of(binding)
        if served is not None and served.looks > 0:
            self._look_at_one(served, binding, served.looked_for, self._clock.seconds())

    def wants(self, binding: Binding, now: float) -> bool:
        """Should a refresh of that phone not be answered from memory, because it is the phone's turn at a server that has come
        back, and there is a place for it at this moment?"""
        return self.resyncs.wants(binding, now)

    def longest_grant(self, binding: Binding, now: float) -> float:
        """Seconds: the phone is to be told no more, because a server of its group waits for it to come by, or will when it is
        back (D18 (5)); inf without one. Drawn by lot: to be asked once for each answer."""
        served = self._served_of(binding)
        return inf if served is None else self.resyncs.longest_grant(served, binding, now)

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
        self.resyncs.seen(served, usable)
        returned = usable - served.usable
        served.left |= dict.fromkeys(served.usable - usable, now)
        served.usable = usable
        for name in returned:
            served.tries.pop(name, None)
            if name in served.known:
                served.returned[name] = now
                if served.named[name].settings.register:
                    away = now - served.left.get(name, now)
                    self.resyncs.begin(served, name, now, hold=served.settings.resync_hold, away=away)
        served.known |= usable
        working = served.group.working(now)
        owner = served.group.owner(working) if working is not None else None
        left, served.targets.goal = served.targets.goal, "" if owner is None or served.is_concurrent else owner.name
        if left and served.targets.goal and left != served.targets.goal:
            self._move_to(served, left, now)
        self.missed.returned(served, returned)
        self.look_at_all(served, returned)

    def _move_to(self, served: Served, left: str, now: float) -> None:
        """All phones are to be registered at another server, its goal. In no hurry when the one that they leave is alive."""
        name = served.targets.goal
        is_return = left in served.usable
        hold = away = 0.0
        if is_return and name in served.returned:
            hold = max(0.0, served.returned[name] + served.settings.resync_hold - now)
            away = served.returned[name] - served.left.get(name, served.returned[name])
        self.resyncs.begin(served, name, now, hold=hold, returned=is_return, away=away)

    def look_at_all(self, served: Served, returned: Collection[str] = ()) -> None:
        """See what is to be done for each of its phones. The servers in `returned` are back."""
        served.looked_for = {*returned, *(served.looked_for if served.looks else ())}
        served.looks += 1
        tokens = [binding.token for binding in self._books.bindings if self._served_of(binding) is served]
        self._look_at(served, tokens, returned)

    def missing_at(self, served: Served, server: str, now: float) -> list[bool]:
        """Of each of its phones that should be registered at that server, is not, and may be now: whether we can do it."""
        return [
            is_ours
            for binding in self._books.bindings
            if self._served_of(binding) is served
            for target, is_ours in self.steps.missing(self.known(binding), served, now)
            if target.name == server
        ]

    def _look_at(self, served: Served, tokens: list[str], returned: Collection[str]) -> None:
        """The phones of a group, some at a time, because calls wait meanwhile."""
        now = self._clock.seconds()
        for token in tokens[:_LOOKED_AT_ONCE]:
            binding = self._books.bindings.get(token)
            if binding is not None:
                self._look_at_one(served, binding, returned, now)
        left = tokens[_LOOKED_AT_ONCE:]
        if left and self._served.get(served.group.key) is served:
            self._clock.callLater(_PAUSE, self._look_at, served, left, returned)
        else:
            served.looks -= 1

    def _look_at_one(self, served: Served, binding: Binding, returned: Collection[str], now: float) -> None:
        duty = self.known(binding)
        for name in returned:
            failure = duty.failures.get(name)
            if failure is not None:
                failure.not_before = 0.0
            duty.removals.pop(name, None)
        for target, is_ours in self.steps.missing(duty, served, now):
            if self.resyncs.of(served.group.name, target.name) is None:
                if not is_ours:
                    continue
                self.resyncs.begin(served, target.name, now, returned=False)
            self.resyncs.expect(served, target.name, binding, not is_ours, now)
        step = self.steps.next_step(duty, served, now)
        if step is not None and duty.errand is None:
            self.duties.setdefault(binding.token, duty)
            self._arm(duty, max(step.due, now))

    # For the resyncs

    def look_at_everything(self) -> None:
        """Something has changed for the phones, not for the servers: see what is to be done."""
        for served in self._served.values():
            self._changed(served)

    def settings_of(self, binding: Binding) -> GroupSettings | None:
        """Those of its kind of phones; None when they are not known."""
        served = self._served_of(binding)
        return None if served is None else served.settings

    def targets_of(self, binding: Binding) -> Targets | None:
        """The servers of its kind of phones; None when they are not known."""
        served = self._served_of(binding)
        return None if served is None else served.targets

    def all_served(self) -> list[Served]:
        """All groups and kinds of phones."""
        return list(self._served.values())

    def is_looking(self, group: str) -> bool:
        """Are the phones of that group being looked at?"""
        return any(
            served.looks > 0 or served.look is not None for served in self._served.values() if served.group.name == group
        )

    def watch_registers(self, group: str, watcher: Callable[[str, Outcome, float], object] | None) -> None:
        """Tell this what becomes of the REGISTERs of that group's phones."""
        for served in self._served.values():
            if served.group.name == group:
                served.group.watch_registers(watcher)

    def let_go(self, token: str) -> bool:
        """It is that contact's turn. False when it is gone."""
        binding = self._books.bindings.get(token)
        if binding is None:
            return False
        duty = self.duty_of(binding)
        if duty.errand is None:  # else it is looked at when that is over
            self._arm(duty, self._clock.seconds())
        return True

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
        if duty.errand is not None:
            return  # what comes after it is seen when it is over
        self.look_ahead(duty.binding)
        self._disarm(duty)
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
            self.resyncs.errand_over(served, errand, is_phones=False, again=0.0)
        elif errand.ending is Ending.CHALLENGED and not errand.own_password_refused:
            duty.helpless[name] = self._books.credentials
            self._books.errand_failed(errand, UNREGISTERED, ONLY_THE_PHONE)
            self.resyncs.errand_over(served, errand, is_phones=True, again=0.0)
        else:
            refused = errand.ending is Ending.CHALLENGED or (
                errand.ending is Ending.REFUSED and errand.status in (403, 404)
            )
            if not refused:
                self._note_failure(duty, served, name, now)
            self._books.errand_failed(errand, FAILED if refused else UNREGISTERED, errand.reason or "granted no time")
            again = inf if refused else duty.failures[name].not_before
            self.resyncs.errand_over(served, errand, is_phones=False, again=again)

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
