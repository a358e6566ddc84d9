"""Registers the phones at servers that have come back, as `resync` lets them: `Resyncs`.

One `Resync` for each server of a group to which many registrations are to go: it has come back and may have lost them, new
requests have moved to it, or the administrator has said `sbc resync`. It is over when all phones are registered there, or when
the server dies again; then the next return begins another one. At a server that has come back it stays open for some minutes more:
phones may still come by that nobody here knows (`guests`).

*Phones whose password only they know* (D18 (5)). Nothing can be done without their own REGISTER. So while a server of theirs is
down they are granted two minutes at most, 50 to 100 % of it by lot, and come by so often that after its return all of them have
been here within that time. Where such a refresh costs no server anything (`refresh_check`) that is all; elsewhere they are told
so only once the server is back, and so long that their refreshes come at its rate. When it is the turn of some, and there is a place for a REGISTER at the moment in
which one of them comes by, it is not answered from memory (`wants`), and `admits` lets it through.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from math import inf
from typing import TYPE_CHECKING, Any

from sbc.clock import Clock
from sbc.events import Report, Resynchronised
from sbc.registration.bindings import FAILED, REGISTERED
from sbc.registration.errand import Errand
from sbc.registration.resync import SOON, Phase, Resync
from sbc.registration.served import ATTEMPT, Books, Served

if TYPE_CHECKING:
    from sbc.redundancy.outcome import Outcome
    from sbc.registration.bindings import Binding
    from sbc.registration.upkeep import Upkeep

_CANARIES_INVITED = 10
_LOOK_EVERY = 1.0  # seconds, while phones must be invited
_LEAST_GRANTS = 2.0  # times `short_grant`: some phones never settle when many short times follow each other
_AFTER_REFUSAL = (2.0, 60.0)
"""Seconds after which another phone is tried when the server has refused the first one's account: so many, doubled each time, up
to a maximum. It is alive; what is wrong may be one account or, where it has lost them, all."""

MAYBE_LOST = "the server was away and may have lost it"
AS_COMMANDED = "to be registered again, as an administrator has commanded (sbc resync)"

Key = tuple[str, str]


class Resyncs:
    """`entries` by names of group and server. `share`: which part of the appliance's phones this process has."""

    def __init__(self, clock: Clock, books: Books, report: Report, upkeep: Upkeep, rng: random.Random) -> None:
        self._clock = clock
        self._books = books
        self._report = report
        self._upkeep = upkeep
        self._rng = rng
        self.share = 1.0
        self.limits: set[object] = set()
        """Not empty while `longest_grant` has something to say: of any group."""
        self.entries: dict[Key, Resync] = {}
        self.incomplete: dict[str, frozenset[str]] = {}
        """Group -> its servers that have come back and do not know all its phones yet, those of other processes included."""
        self.incomplete_changed: Callable[[str, str, bool], None] | None = None
        """Called with group, server and whether it is one of those now, as far as the phones of this process go."""
        self._incomplete_elsewhere: dict[Key, set[int]] = {}
        self._timers: dict[Key, tuple[float, Any]] = {}
        """When it is due, and the call."""

    # Begin and end

    def begin(
        self,
        served: Served,
        server: str,
        now: float,
        *,
        hold: float = 0.0,
        rate: float | None = None,
        returned: bool = True,
        away: float = 0.0,
        commanded: bool = False,
    ) -> Resync:
        """That server is to get many registrations, from `hold` seconds after now on; if it has `returned`, after `away` seconds. One
        that has just begun is gone on with."""
        key = (served.group.name, server)
        known = self.entries.get(key)
        if known is not None and known.began == now:
            return known
        if rate is None:
            rate = served.settings.resync_rate
        entry = self.entries[key] = Resync(
            now, holds_until=now + hold, rate=rate, share=self.share, returned=returned, away=away, commanded=commanded
        )
        self._note_cost(entry, served, server)
        self.limits.add(key)
        self._upkeep.watch_registers(served.group.name, lambda name, outcome, seconds: self._observe(key[0], name, outcome, seconds))
        self._wake_in(key, 0.0)
        self._note_incomplete(key, returned)
        return entry

    def by_command(self, server: str, group: str | None, rate: float | None) -> dict[str, Any]:
        """`sbc resync`: as when that server of the group, or of all of them, has come back just now. What is to be told: of each
        group, how many phones are to be registered at which rate, and how many of these only by their own REGISTER."""
        every = [served for served in self._upkeep.all_served() if group in (None, served.group.name)]
        found = [served for served in every if server in served.named]
        if not found:
            names = dict.fromkeys(name for served in every for name in served.named)
            return {"ok": False, "text": [f"there is no server {server}, only {', '.join(names)}"]}
        now = self._clock.seconds()
        begun: dict[Key, list[Served]] = {}
        refused = []
        for served in found:
            reason = self._why_not(served, server)
            if reason:
                refused.append(f"{served.group.name}: {reason}")
                continue
            served.returned[server] = now
            self.begin(served, server, now, rate=rate, commanded=True)
            begun.setdefault((served.group.name, server), []).append(served)
        told = []
        for key, several in begun.items():
            missing = [is_ours for served in several for is_ours in self._upkeep.missing_at(served, server, now)]
            for served in several:
                self._upkeep.look_at_all(served)
            rate = self.entries[key].rate_for(len(missing))
            told.append(
                {"group": key[0], "server": server, "phones": len(missing), "by_phones": missing.count(False), "rate": rate}
            )
        return {"ok": bool(told), "text": refused, "resyncs": told}

    @staticmethod
    def _why_not(served: Served, server: str) -> str:
        if not served.named[server].settings.register:
            return f"nobody is registered at {server} (register = false)"
        if server not in served.usable:
            return f"{server} is down; its phones are registered there when it is back"
        if not served.is_concurrent and server != served.targets.goal:
            return f"nobody is to be registered at {server} now, but at {served.targets.goal}"
        return ""

    def seen(self, served: Served, usable: set[str]) -> None:
        """These of its servers are not known to be down; until now it was `served.usable`."""
        for server in served.usable - usable:
            self._end((served.group.name, server))
        if all(target.name in usable for target in served.registrars):
            self.limits.discard(served.group.key)
        else:
            self.limits.add(served.group.key)

    def serve_only(self, groups: Mapping[str, Served]) -> None:
        """The configuration has changed, and knows these, by key."""
        self.limits.intersection_update([*groups, *self.entries])
        for key in list(self.entries):
            served = groups.get(key[0])
            if served is None or key[1] not in served.named:
                self._end(key)

    def _end(self, key: Key) -> None:
        if self.entries.pop(key, None) is None:
            return
        self._note_incomplete(key, False)
        self.limits.discard(key)
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer[1].cancel()
        if not any(group == key[0] for group, _ in self.entries):
            self._upkeep.watch_registers(key[0], None)

    # Calls meanwhile

    def told_incomplete(self, process: int, group: str, server: str, is_incomplete: bool) -> None:
        """Another process has phones there that are still to be registered, or has no more."""
        elsewhere = self._incomplete_elsewhere.setdefault((group, server), set())
        if is_incomplete:
            elsewhere.add(process)
        else:
            elsewhere.discard(process)
        self._sum_up_incomplete(group)

    def _note_incomplete(self, key: Key, is_incomplete: bool) -> None:
        was = key[1] in self.incomplete.get(key[0], ())
        self._sum_up_incomplete(key[0])
        if self.incomplete_changed is not None and (is_incomplete or was):
            self.incomplete_changed(*key, is_incomplete)

    def _sum_up_incomplete(self, group: str) -> None:
        here = {key[1] for key, entry in self.entries.items() if key[0] == group and entry.returned and not entry.is_done}
        elsewhere = {server for (name, server), processes in self._incomplete_elsewhere.items() if name == group and processes}
        if here or elsewhere:
            self.incomplete[group] = frozenset(here | elsewhere)
        else:
            self.incomplete.pop(group, None)

    # Who waits

    def of(self, group: str, server: str) -> Resync | None:
        return self.entries.get((group, server))

    def expect(self, served: Served, server: str, binding: Binding, is_phones: bool, now: float) -> None:
        """That phone is to be registered there, which is being resynchronised."""
        key = (served.group.name, server)
        entry = self.entries[key]
        entry.expect(binding.token, served.importance.place(binding.aor), is_phones, now)
        self._books.doubt(binding, server, AS_COMMANDED if entry.commanded else MAYBE_LOST)
        if entry.is_done:
            entry.is_done = False
            self.limits.add(key)
            self._note_incomplete(key, entry.returned)
        self._wake_in(key, 0.0)

    def expect_removal(self, group: str, server: str, key: tuple[str, str]) -> None:
        self.entries[group, server].expect_removal(key)
        self._wake_in((group, server), 0.0)

    def removal_over(self, group: str, key: tuple[str, str], sent: int) -> None:
        """It is heard of, or was given up, or is tried again by itself. `sent`: REGISTERs that it took."""
        entry = self.entries.get((group, key[1]))
        if entry is not None:
            entry.removal_over(key)
            entry.spend(sent - entry.cost if sent else 0, self._clock.seconds())
            self._wake_in((group, key[1]), 0.0)

    def holds_back(self, served: Served, server: str, token: str, now: float) -> bool:
        """Does that contact wait for its turn there?"""
        entry = self.entries.get((served.group.name, server)) if self.entries else None
        return entry is not None and entry.holds_back(token, now)

    # What came of it

    def errand_over(self, served: Served, errand: Errand, *, is_phones: bool, again: float) -> None:
        """A registration of ours has ended at its server. `is_phones`: only the phone can answer its challenge; `again`: when it
        is tried again after a failure, inf where the account is refused."""
        key = (served.group.name, errand.target.name)
        entry = self.entries.get(key)
        if entry is None:
            return
        now = self._clock.seconds()
        token = errand.binding.token
        if not entry.is_waiting(token):
            entry.spend(errand.sent, now)
            return
        entry.spend(errand.sent - entry.cost, now)
        if again == 0.0 and not is_phones:
            entry.registered(token)
        elif is_phones and self._upkeep.steps.is_at_a_better_one(errand.binding, served, errand.target, now):
            entry.forgotten(token)
        elif is_phones:
            entry.cost = 2
            self.expect(served, errand.target.name, errand.binding, True, now)
        else:
            self._failed(entry, served, token, again, now)
        self._wake_in(key, 0.0)

    def settled(self, served: Served, binding: Binding, now: float) -> None:
        """A REGISTER of the phone is over."""
        for target in served.registrars:
            key = (served.group.name, target.name)
            entry = self.entries.get(key)
            upstream = binding.upstream(target.name) if entry is not None else None
            if entry is None or upstream is None or not entry.is_waiting(binding.token):
                continue
            if _is_registered_since(binding, target.name, entry.began):
                entry.registered(binding.token)
                self._wake_in(key, 0.0)
            elif upstream.state == FAILED:
                self._failed(entry, served, binding.token, inf, now)
                self._wake_in(key, 0.0)
            elif entry.is_phones(binding.token) and self._upkeep.steps.is_at_a_better_one(binding, served, target, now):
                entry.forgotten(binding.token)
                self._wake_in(key, 0.0)

    def forgotten(self, binding: Binding) -> None:
        """The contact is gone."""
        for key, entry in self.entries.items():
            if key[0] == binding.group:
                entry.forgotten(binding.token)
                self._wake_in(key, 0.0)

    def _failed(self, entry: Resync, served: Served, token: str, again: float, now: float) -> None:
        if again == inf:
            first, longest = _AFTER_REFUSAL
            wait = min(longest, first * 2.0 ** min(entry.canaries_failed, 10)) * self._rng.uniform(0.5, 1.0)
        else:
            wait = served.wait(entry.canaries_failed + 1)
        entry.failed(token, now, again, wait)

    def _observe(self, group: str, server: str, outcome: Outcome, seconds: float) -> None:
        entry = self.entries.get((group, server))
        if entry is not None:
            entry.observe(outcome, seconds, self._clock.seconds())

    # The phones' own REGISTERs

    def admits(self, served: Served | None, binding: Binding, server: str, now: float) -> bool:
        """See `Upkeep.admits`."""
        entry = self.entries.get((binding.group, server))
        if entry is None or served is None:
            return True
        if entry.is_waiting(binding.token) and not served.has_elsewhere(binding, server, now):
            # It is out of service: no hold and no canary for it, but the same pace, unless it is the server that died which
            # brings it here.
            return entry.admits_at_once(binding.token, now, at_any_price=not entry.returned)
        if not _is_registered_since(binding, server, entry.began) and self._upkeep.is_looking(binding.group):
            return False  # it is about to wait
        # What the server has had since its return we shall renew in time, if the phone's REGISTER does not.
        return entry.admits(binding.token, now, can_wait=_is_registered_since(binding, server, entry.began))

    def is_awaited(self, binding: Binding, server: str) -> bool:
        """Is that server being resynchronised, and the contact not registered there yet?"""
        entry = self.entries.get((binding.group, server))
        return entry is not None and entry.is_waiting(binding.token)

    def must_wait(self, served: Served, binding: Binding, now: float) -> bool:
        """Is the phone in service nowhere, and has no server that lives a place for it at this moment?"""
        if served.has_elsewhere(binding, "", now):
            return False
        alive = [target.name for target in served.registrars if target.name in served.usable]
        entries = [self.entries.get((binding.group, name)) for name in alive]
        return bool(entries) and all(
            entry is not None and entry.returned and not entry.has_place(binding.token, now) for entry in entries
        )

    # Phones that nobody here knows

    def guest_accepted(self, served: Served, token: str) -> None:
        """Some server has let it in: it is known from now on."""
        for target in served.registrars:
            entry = self.entries.get((served.group.name, target.name))
            if entry is not None:
                entry.guest_accepted(token)

    def must_guest_wait(self, served: Served, token: str, host: str, binding: Binding | None, now: float) -> bool:
        """Has no server that could let it in a place for a phone that nobody here knows, at this moment? One that comes from
        another place than that of its `binding` has to keep the pace of these where there is one, else that of known phones."""
        entries = self._entries_of_guest(served, now)
        if binding is not None and all(entry is None for entry in entries.values()):
            return self.must_wait(served, binding, now)
        is_out_of_service = binding is not None and not served.has_elsewhere(binding, "", now)
        without_place = []
        for name, entry in entries.items():
            if entry is not None:
                has_place = entry.has_place_for_guest(token, host, now)
            else:
                known = self.entries.get((served.group.name, name)) if is_out_of_service else None
                has_place = known is None or not known.returned or known.has_place(token, now)
            if not has_place:
                without_place.append(name)
        return len(without_place) > 0 and not self.may_leave_out(served, without_place)

    def admits_guest(self, served: Served, token: str, host: str, server: str, now: float) -> bool:
        """May the REGISTER of a phone that nobody here knows go to that server now?"""
        entry = self._entries_of_guest(served, now).get(server)
        if entry is None:
            return True
        self._note_cost(entry, served, server)
        return entry.admits_guest(token, host, now)

    def may_leave_out(self, served: Served, names: list[str]) -> bool:
        """May the other servers decide on who is not known, or not from there? Not those that believe everybody, in place of one
        that asks for passwords (D8)."""
        others = [target for target in served.registrars if target.name in served.usable and target.name not in names]
        if not served.is_concurrent or not others:
            return False
        may_ask = any(
            not served.named[name].settings.trusted
            and (name not in served.open or self._books.asks_for_passwords(served.group, name))
            for name in names
        )
        return not may_ask or any(
            not target.settings.trusted and self._books.asks_for_passwords(served.group, target.name) for target in others
        )

    def _entries_of_guest(self, served: Served, now: float) -> dict[str, Resync | None]:
        """Of the servers that live and would be asked; None where it need not keep a pace."""
        if not served.is_concurrent:
            names = [served.targets.goal] if served.targets.goal else []
        else:
            names = [target.name for target in served.registrars if target.name in served.usable]
        entries = {name: self.entries.get((served.group.name, name)) for name in names}
        return {name: entry if entry is not None and entry.paces_guests(now) else None for name, entry in entries.items()}

    def wants(self, binding: Binding, now: float) -> bool:
        """Is it that phone's turn at a server which has come back, and is there a place for it at this moment?"""
        return any(
            group == binding.group and entry.would_admit(binding.token, now) for (group, _), entry in self.entries.items()
        )

    def longest_grant(self, served: Served, binding: Binding, now: float) -> float:
        """See `Upkeep.longest_grant`."""
        is_free = served.settings.refresh_check == "source"
        longest = inf
        for target in served.registrars:
            entry = self.entries.get((served.group.name, target.name))
            if entry is not None:
                if entry.is_phones(binding.token) and not _is_registered_since(binding, target.name, entry.began):
                    longest = min(longest, self._time_to_come(served, entry, binding.token, now))
            elif is_free and target.name not in served.usable and self._waits_for(served, binding, target.name):
                longest = min(longest, self._soon())
        return longest

    def _time_to_come(self, served: Served, entry: Resync, token: str, now: float) -> float:
        """Until its appointment; but so long that it matters only where the refresh meanwhile costs no server anything."""
        if served.settings.refresh_check != "source":
            seconds = entry.appoint(token, now, self._soon())
            return seconds if seconds < inf else max(SOON, entry.seconds_left(now)) * self._rng.uniform(0.5, 1.0)
        return min(entry.appoint(token, now, _LEAST_GRANTS * served.settings.short_grant), self._soon())

    def _soon(self) -> float:
        return SOON * self._rng.uniform(0.5, 1.0)

    def _waits_for(self, served: Served, binding: Binding, server: str) -> bool:
        """Will the phone itself be wanted there when that server, which is down, is back? With successive and single registration
        not before new requests go there again; then its next REGISTER, whenever that comes, is soon enough (V15)."""
        return served.is_concurrent and not self._upkeep.steps.may_register(self._upkeep.known(binding), served, served.named[server])

    # One after the other

    def _wake_in(self, key: Key, delay: float) -> None:
        if key not in self.entries:
            return
        due = self._clock.seconds() + delay
        known = self._timers.get(key)
        if known is not None:
            if known[0] <= due:
                return
            known[1].cancel()
        self._timers[key] = (due, self._clock.callLater(delay, self._wake, key))

    def _wake(self, key: Key) -> None:
        self._timers.pop(key, None)
        entry = self.entries.get(key)
        served = self._upkeep.served(key[0])
        if entry is None or served is None:
            return
        now = self._clock.seconds()
        while (removal := entry.next_removal(now)) is not None:
            self._upkeep.missed.remove(removal)
        while (token := entry.next_token(now, 2 * ATTEMPT)) is not None:
            if not self._upkeep.let_go(token):
                entry.forgotten(token)
        if entry.is_over and not self._upkeep.is_looking(key[0]):
            self._over(key, entry, now)
            return
        due = entry.wakes_at(now)
        if entry.left_to_phones:
            self._invite(entry, served, now)
            due = min(due, now + _LOOK_EVERY)
        elif entry.is_over:
            due = min(due, now + _LOOK_EVERY)
        if due < inf:
            self._wake_in(key, max(due - now, 1e-4))

    def _over(self, key: Key, entry: Resync, now: float) -> None:
        """Nobody waits."""
        if not entry.is_told and entry.done and entry.returned:
            entry.is_told = True
            self._report(Resynchronised(key[0], key[1], entry.done, now - entry.began))
        if now >= entry.open_until:
            self._end(key)
            return
        if not entry.is_done:
            entry.is_done = True
            self.limits.discard(key)
            self._note_incomplete(key, False)
        self._wake_in(key, entry.open_until - now)

    def _invite(self, entry: Resync, served: Served, now: float) -> None:
        phase = entry.phase(now)
        if phase is Phase.HOLDING and entry.returned:
            return
        number = _CANARIES_INVITED
        if phase is Phase.PACED:
            number = max(number, entry.number_invited(now))
        entry.invite(number)

    def _note_cost(self, entry: Resync, served: Served, server: str) -> None:
        """A server that asks for passwords gets two REGISTERs of each phone."""
        asks = self._books.asks_for_passwords(served.group, server)
        entry.cost = 2 if asks and not served.named[server].settings.trusted else 1

    def describe(self, now: float) -> list[dict[str, Any]]:
        """Those under way, as plain data."""
        return [
            {"group": group, "server": server, **entry.describe(now)}
            for (group, server), entry in self.entries.items()
            if not entry.is_done
        ]

    def waited_for(self, binding: Binding, now: float) -> list[dict[str, Any]]:
        """Those in which that contact waits for its place, and of what: `by_phone`, where only its own REGISTER can take it;
        `under_way`, when it has its place."""
        return [
            {
                "server": server,
                "by_phone": entry.is_phones(binding.token),
                "under_way": not entry.holds_back(binding.token, now),
                **entry.describe(now),
            }
            for (group, server), entry in self.entries.items()
            if group == binding.group and entry.is_waiting(binding.token)
        ]


def _is_registered_since(binding: Binding, server: str, since: float) -> bool:
    upstream = binding.upstream(server)
    return upstream is not None and upstream.state == REGISTERED and upstream.registered_at >= since
