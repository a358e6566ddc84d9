"""Removals that a server has not heard of (pitfall D13): `MissedRemovals`.

A phone that de-registers while a server is dead stays registered there until that lapses, and calls would come in for it. So
it is removed there as soon as the server is back, unless it has registered again. They are on disk before the phone is told.

A server that lives may want an answer that only the phone can give. While the phone is still there, it is given that server's
challenge, once (`put_to_phone`); what it answers is told by its nonce, for its contact is forgotten here already.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from sbc.clock import Clock
from sbc.events import RemovalLeftOut, Report
from sbc.registration.bindings import REGISTERED
from sbc.registration.errand import Errand
from sbc.registration.leg import Ending
from sbc.registration.rota import FIRST_ONLY
from sbc.registration.served import ATTEMPT, ONLY_THE_PHONE, Books, Served
from sbc.store.interface import RemovalRow

if TYPE_CHECKING:
    from sbc.registration.bindings import Binding
    from sbc.registration.restored import Removal
    from sbc.registration.resyncs import Resyncs
    from sbc.registration.targets import Target

_MOST_SHOWN = 100


class _Missed:
    """One contact at one server."""

    __slots__ = ("binding", "served", "target", "until", "times", "timer", "errand", "asked", "left_out")

    def __init__(self, binding: Binding, served: Served | None, target: Target | None, until: float) -> None:
        self.binding = binding
        self.served = served
        self.target = target
        """None: left from before the start, and not seen since that the server lives."""
        self.until = until
        """When it lapses there by itself."""
        self.times = 0
        self.timer: Any = None
        self.errand: Errand | None = None
        self.asked = False
        """The phone has been given that server's challenge."""
        self.left_out = False
        """The server asks for a password that only the phone knows: it is left to lapse there."""


class MissedRemovals:
    """`entries` by token and server. Each ends with the server's answer, or when the registration lapses there."""

    def __init__(self, clock: Clock, books: Books, report: Report, resyncs: Resyncs) -> None:
        self._clock = clock
        self._books = books
        self._report = report
        self._resyncs = resyncs
        self.entries: dict[tuple[str, str], _Missed] = {}

    def removed(self, binding: Binding, served: Served) -> None:
        """The phone has removed it, and is about to be forgotten: every server that has it should hear of that."""
        now = self._clock.seconds()
        for upstream in binding.upstreams:
            target = served.named.get(upstream.server)
            if target is not None and upstream.state == REGISTERED and upstream.expires_at > now:
                key = (binding.token, upstream.server)
                self.entries[key] = _Missed(binding, served, target, upstream.expires_at)

    def rows(self, token: str, wall_offset: float) -> list[RemovalRow]:
        """Those of one contact, as they are stored. `wall_offset`: wall clock less monotonic clock."""
        found = []
        for (of_token, server), missed in self.entries.items():
            if of_token == token:
                binding = missed.binding
                found.append(RemovalRow(
                    token, server, binding.group, binding.aor, binding.contact, binding.username, binding.transport,
                    binding.host, binding.port, binding.local_host, binding.local_port, binding.agent,
                    missed.until + wall_offset,
                ))  # fmt: skip
        return found

    def restored(self, removals: Iterable[Removal]) -> None:
        """At the start: these are left from before. They wait until it is seen that their server lives (`returned`)."""
        for removal in removals:
            key = (removal.binding.token, removal.server)
            missed = self.entries[key] = _Missed(removal.binding, None, None, removal.until)
            missed.timer = self._clock.callLater(max(0.0, removal.until - self._clock.seconds()), self._drop, key)

    def put_to_phone(self, tokens: list[str], server: str, method: str) -> bool:
        """The phone has removed these contacts, and that server, which challenges, may have them still. Is the phone to be given
        its challenge as well? Once for each server, and not a phone that bears only one (`method` is the configured one)."""
        asked = False
        for token in tokens:
            missed = self.entries.get((token, server))
            if missed is not None and not missed.asked and FIRST_ONLY not in (method, missed.binding.method):
                asked = missed.asked = True
        return asked

    def servers_of(self, tokens: list[str]) -> dict[str, bool]:
        """The servers that have not heard that these contacts are removed -> has the phone been given its challenge?"""
        found: dict[str, bool] = {}
        for (token, server), missed in self.entries.items():
            if token in tokens:
                found[server] = found.get(server, False) or missed.asked
        return found

    def contacts_of(self, aor: str) -> dict[str, str]:
        """Token -> Contact of all that a server has yet to hear of."""
        return {missed.binding.token: missed.binding.contact for missed in self.entries.values() if missed.binding.aor == aor}

    def removal_over(self, token: str, heard: list[str], challenged: list[str]) -> None:
        """The phone's own removal is over, accepted by somebody. Of the servers that have the contact the first have answered it,
        the second have challenged."""
        keys = [key for key in self.entries if key[0] == token]
        waits = any(self.entries[key].asked and not self.entries[key].left_out for key in keys if key[1] not in heard)
        for key in keys:
            missed = self.entries[key]
            if key[1] in heard:
                self._drop(key)
            elif key[1] in challenged:
                if waits and not missed.left_out:
                    self._wait_for_phone(key)
                elif not missed.left_out:
                    self._leave_out(key)
            elif missed.timer is None:
                self._remove_in(key, 0.0)

    def registered_again(self, token: str) -> None:
        """The phone has changed its mind."""
        for key in [key for key in self.entries if key[0] == token]:
            self._drop(key)

    def returned(self, served: Served, names: set[str]) -> None:
        """These servers are back: before anything else, and at the pace of what follows."""
        for key, missed in list(self.entries.items()):
            target = served.named.get(key[1])
            is_of_group = missed.binding.group == served.group.name
            if missed.errand is None and is_of_group and target is not None and target.name in names:
                missed.served, missed.target = served, target
                missed.left_out = False
                self._wait_to_lapse(key)
                if self._resyncs.of(served.group.name, target.name) is None:
                    self._resyncs.begin(served, target.name, self._clock.seconds())
                self._resyncs.expect_removal(served.group.name, target.name, key)

    def serve_only(self, served: Mapping[str, Served]) -> None:
        """The configuration has changed, and knows these: a server that is not among them is left alone. The others
        are asked as soon as it is seen that they live (`returned`)."""
        for key, missed in list(self.entries.items()):
            if missed.served is None:
                continue
            after = served.get(missed.served.group.key)
            target = after.named.get(key[1]) if after is not None else None
            if after is None or target is None:
                self._drop(key)
            else:
                missed.served, missed.target = after, target

    def _remove_in(self, key: tuple[str, str], delay: float) -> None:
        missed = self.entries[key]
        left = missed.until - self._clock.seconds()
        if delay < left and key[1] in missed.served.usable:
            self._cancel(missed)
            missed.timer = self._clock.callLater(max(0.0, delay), self.remove, key)
        else:  # until it is back, or too late
            self._wait_to_lapse(key)

    def _wait_to_lapse(self, key: tuple[str, str]) -> None:
        missed = self.entries[key]
        self._cancel(missed)
        missed.timer = self._clock.callLater(max(0.0, missed.until - self._clock.seconds()), self._drop, key)

    def _wait_for_phone(self, key: tuple[str, str]) -> None:
        """It may answer that server's challenge, or first another one's."""
        missed = self.entries[key]
        self._cancel(missed)
        if missed.until - self._clock.seconds() <= ATTEMPT:
            self._wait_to_lapse(key)
        else:
            missed.timer = self._clock.callLater(ATTEMPT, self._leave_out, key)

    @staticmethod
    def _cancel(missed: _Missed) -> None:
        if missed.timer is not None and missed.timer.active():
            missed.timer.cancel()

    def remove(self, key: tuple[str, str]) -> None:
        """Now."""
        missed = self.entries[key]
        self._cancel(missed)
        now = self._clock.seconds()
        plan = missed.served.group.register_plan_at(missed.target.name, now, now + ATTEMPT)
        missed.errand = self._books.errand(
            missed.served.targets, missed.target, missed.binding, 0, plan, lambda errand: self._over(key, errand)
        )
        missed.errand.start()

    def _over(self, key: tuple[str, str], errand: Errand) -> None:
        missed = self.entries[key]
        missed.errand = None
        if errand.ending is Ending.UNREACHABLE:
            missed.times += 1
            self._remove_in(key, missed.served.wait(missed.times))
        elif errand.ending is Ending.CHALLENGED:
            self._leave_out(key)
        else:
            self._drop(key)
        self._resyncs.removal_over(missed.binding.group, key, errand.sent)

    def _leave_out(self, key: tuple[str, str]) -> None:
        """Only the phone could answer, and it has not, or has gone: calls may come in for it from that server until it lapses there."""
        missed = self.entries[key]
        missed.left_out = True
        self._wait_to_lapse(key)
        left = missed.until - self._clock.seconds()
        self._report(RemovalLeftOut(missed.binding.group, key[1], missed.binding.aor, ONLY_THE_PHONE, left))

    def describe(self, now: float) -> list[dict[str, Any]]:
        """Those that their servers have not heard of, the oldest first, as plain data."""
        return [
            {
                "group": missed.binding.group, "server": server, "aor": missed.binding.aor,
                "lapses_in": round(missed.until - now), "reason": ONLY_THE_PHONE if missed.left_out else "",
            }
            for (_, server), missed in islice(self.entries.items(), _MOST_SHOWN)
        ]  # fmt: skip

    def _drop(self, key: tuple[str, str]) -> None:
        missed = self.entries.pop(key)
        self._books.removal_heard(*key)
        self._cancel(missed)
        self._resyncs.removal_over(missed.binding.group, key, 0)
        if missed.errand is not None:
            missed.errand.stop()
