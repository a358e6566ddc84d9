"""What the database does not have yet: `Unwritten`."""

from __future__ import annotations

from collections.abc import Iterable

from sbc.store import schema
from sbc.store.interface import BindingRow, RegistrationRow, RemovalRow


class Unwritten:
    """One row per key, usually just what is being saved; while the disk refuses, all that has come together."""

    __slots__ = ("bindings", "registrations", "removed", "removals", "heard", "counters", "answers", "forgotten")

    def __init__(self) -> None:
        self.bindings: dict[str, BindingRow] = {}
        self.registrations: dict[str, dict[str, RegistrationRow]] = {}
        """By token and server."""
        self.removed: set[str] = set()
        self.removals: dict[tuple[str, str], RemovalRow] = {}
        self.heard: set[tuple[str, str]] = set()
        self.counters: dict[str, float] = {}
        self.answers: dict[str, str] = {}
        self.forgotten: set[str] = set()

    def add(
        self,
        bindings: Iterable[BindingRow],
        registrations: Iterable[RegistrationRow],
        removed: Iterable[str],
        removals: Iterable[RemovalRow],
        heard: Iterable[tuple[str, str]],
    ) -> None:
        """As in `RegistrationStore.save_registrations`."""
        for token in removed:
            self.removed.add(token)
            self.bindings.pop(token, None)
            self.registrations.pop(token, None)
        for binding in bindings:
            self.bindings[binding.token] = binding
        for row in registrations:
            self.registrations.setdefault(row.token, {})[row.server] = row
        for key in heard:
            self.removals.pop(key, None)
            self.heard.add(key)
        for removal in removals:
            self.removals[removal.token, removal.server] = removal

    def statements(self) -> list[tuple[str, list]]:
        """In an order in which a token that was removed and then bound again ends up bound; so with the removals."""
        removed = [(token,) for token in self.removed]
        registrations = [row for rows in self.registrations.values() for row in rows.values()]
        all_of_them: list[tuple[str, list]] = [
            (schema.DROP_BINDING, removed),
            (schema.DROP_REGISTRATIONS, removed),
            (schema.PUT_BINDING, list(map(schema.storable, self.bindings.values()))),
            (schema.PUT_REGISTRATION, list(map(schema.storable, registrations))),
            (schema.DROP_REMOVAL, list(self.heard)),
            (schema.PUT_REMOVAL, list(map(schema.storable, self.removals.values()))),
            (schema.PUT_COUNTER, list(self.counters.items())),
            (schema.DROP_ANSWER, [(question,) for question in self.forgotten]),
            (schema.PUT_ANSWER, list(self.answers.items())),
        ]
        return [(statement, rows) for statement, rows in all_of_them if rows]

    def over(
        self, bindings: Iterable[BindingRow], registrations: Iterable[RegistrationRow]
    ) -> tuple[list[BindingRow], list[RegistrationRow]]:
        """What the database would have if it had been written."""
        if not self.bindings and not self.registrations and not self.removed:
            return list(bindings), list(registrations)
        by_token = {row.token: row for row in bindings if row.token not in self.removed}
        by_token.update(self.bindings)
        by_key = {(row.token, row.server): row for row in registrations if row.token not in self.removed}
        by_key.update(((row.token, row.server), row) for rows in self.registrations.values() for row in rows.values())
        return list(by_token.values()), list(by_key.values())

    def over_removals(self, removals: Iterable[RemovalRow]) -> list[RemovalRow]:
        by_key = {(row.token, row.server): row for row in removals if (row.token, row.server) not in self.heard}
        return list((by_key | self.removals).values())

    def clear(self) -> None:
        for name in self.__slots__:
            getattr(self, name).clear()
