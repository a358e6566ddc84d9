"""Requests that go to a server only after the phone is registered there (Y30, F7, F8): `HeldRequests`.

REGISTER, its 200, then the request. Where only the phone knows the password, the request is sent all the same: the server
will ask for it again, and to that the phone can answer (D22).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from sbc.clock import Clock
from sbc.events import RegistrationLeftOut, Report
from sbc.registration.bindings import REGISTERED
from sbc.registration.errand import Errand
from sbc.registration.leg import Ending
from sbc.registration.served import ONLY_THE_PHONE, Books, Served

if TYPE_CHECKING:
    from sbc.location.candidate import Candidate
    from sbc.redundancy.group import ServerGroup
    from sbc.registration.bindings import Binding
    from sbc.registration.upkeep import Upkeep


class _Wait:
    """Those that wait for the same registration."""

    __slots__ = ("served", "server", "errand", "callbacks")

    def __init__(self, served: Served, server: str) -> None:
        self.served = served
        self.server = server
        self.errand: Errand | None = None
        self.callbacks: list[tuple[str, Callable[[bool], None]]] = []


class HeldRequests:
    """`waiting` by token of the contact, and where it is to be registered."""

    def __init__(self, clock: Clock, books: Books, report: Report, upkeep: Upkeep) -> None:
        self._clock = clock
        self._books = books
        self._report = report
        self._upkeep = upkeep
        self.waiting: dict[tuple[str, Candidate], _Wait] = {}

    def is_registering(self, token: str) -> bool:
        """A request waits for a registration of that contact."""
        return any(waiting == token for waiting, _ in self.waiting)

    def of_phone(
        self,
        group: ServerGroup,
        server: str,
        candidate: Candidate,
        phone: tuple[str, str, int],
        method: str,
        patience: float,
        done: Callable[[bool], None],
    ) -> bool:
        """`hold` for the phone with that From URI, host and port, if it is one of ours."""
        uri, host, port = phone
        bindings = [binding for binding in self._books.bindings_for_aor(uri) if binding.host == host]
        binding = next((binding for binding in bindings if binding.port == port), bindings[0] if bindings else None)
        return binding is not None and self.hold(group, server, candidate, binding, method, patience, done)

    def hold(
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
        served = self._upkeep.served(group.key)
        target = served.named.get(server) if served is not None else None
        if served is None or target is None or not target.settings.register:
            return False
        now = self._clock.seconds()
        upstream = binding.upstream(server)
        if upstream is not None and upstream.state == REGISTERED and upstream.candidate in (None, candidate):
            return False
        duty = self._upkeep.known(binding)
        if not self._upkeep.steps.may_register(duty, served, target):
            self._report(RegistrationLeftOut(group.name, server, binding.aor, method, ONLY_THE_PHONE))
            return False
        key = (binding.token, candidate)
        waiting = self.waiting.get(key)
        if waiting is not None:
            waiting.callbacks.append((method, done))
            return True
        waiting = self.waiting[key] = _Wait(served, server)
        waiting.callbacks.append((method, done))
        seconds = max(1, round(binding.expires_at - now))
        plan = group.register_plan_at(server, now, now + patience, candidate)
        waiting.errand = self._books.errand(
            served.targets, target, binding, seconds, plan, lambda errand: self._may_go(key, served, errand)
        )
        waiting.errand.start()
        return True

    def _may_go(self, key: tuple[str, Candidate], served: Served, errand: Errand) -> None:
        waiting = self.waiting.pop(key)
        binding = errand.binding
        duty = self._upkeep.duty_of(binding)
        # Where it is registered for this request only is looked at with the phone's next REGISTER, or when the request is
        # over, but not now.
        in_force = self._upkeep.served(served.group.key) or served
        self._upkeep.note(duty, in_force, errand)
        self._upkeep.look_after_request(duty, in_force)
        is_challenge = errand.ending is Ending.CHALLENGED and not errand.own_password_refused
        for method, done in waiting.callbacks:
            if is_challenge:
                self._report(RegistrationLeftOut(served.group.name, errand.target.name, binding.aor, method, ONLY_THE_PHONE))
            # D22: who is only asked for a password is asked again for the request itself, and the phone can answer that.
            done(errand.ending is Ending.ACCEPTED or is_challenge)

    def forgotten(self, binding: Binding) -> None:
        """The contact is gone: nothing to wait for."""
        for key in [key for key in self.waiting if key[0] == binding.token]:
            self._let_go(key)

    def serve_only(self, served: Mapping[str, Served]) -> None:
        """The configuration has changed, and knows these: who waits for a server that is not among them waits no longer."""
        for key, waiting in list(self.waiting.items()):
            after = served.get(waiting.served.group.key)
            if after is None or waiting.server not in after.named:
                self._let_go(key)

    def _let_go(self, key: tuple[str, Candidate]) -> None:
        waiting = self.waiting.pop(key)
        if waiting.errand is not None:
            waiting.errand.stop()
        for _, done in waiting.callbacks:
            done(True)
