"""The tables of the database, and their rows.

Columns stand in the order of the fields in `sbc.store.interface`. A file of a former version is brought up to date in place.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from sbc.store.interface import BindingRow, RegistrationRow, RemovalRow

SCHEMA_VERSION = 3

_REMOVALS = """
CREATE TABLE removals (
    token TEXT NOT NULL, server TEXT NOT NULL, grp TEXT NOT NULL, aor TEXT NOT NULL, contact TEXT NOT NULL,
    username TEXT NOT NULL, transport TEXT NOT NULL, host TEXT NOT NULL, port INTEGER NOT NULL, local_host TEXT NOT NULL,
    local_port INTEGER NOT NULL, agent TEXT, until REAL NOT NULL,
    PRIMARY KEY (token, server)
) WITHOUT ROWID"""
_SCHEMA = f"""
CREATE TABLE bindings (
    token TEXT PRIMARY KEY, grp TEXT NOT NULL, aor TEXT NOT NULL, contact TEXT NOT NULL, username TEXT NOT NULL,
    call_id TEXT NOT NULL, cseq INTEGER NOT NULL, transport TEXT NOT NULL, host TEXT NOT NULL, port INTEGER NOT NULL,
    local_host TEXT NOT NULL, local_port INTEGER NOT NULL, granted REAL NOT NULL, expires_at REAL NOT NULL,
    agent TEXT, method TEXT NOT NULL DEFAULT '', method_reason TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE TABLE registrations (
    token TEXT NOT NULL, server TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL, expires_at REAL NOT NULL,
    nonce TEXT NOT NULL DEFAULT '', candidate TEXT NOT NULL DEFAULT '', retry_at REAL NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (token, server)
) WITHOUT ROWID;
{_REMOVALS};
CREATE TABLE counters (name TEXT PRIMARY KEY, value REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE dns_answers (question TEXT PRIMARY KEY, answer TEXT NOT NULL) WITHOUT ROWID;
"""
_STEPS = {
    1: ["ALTER TABLE bindings ADD COLUMN agent TEXT"],
    2: [
        "ALTER TABLE bindings ADD COLUMN method TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE bindings ADD COLUMN method_reason TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE registrations ADD COLUMN nonce TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE registrations ADD COLUMN candidate TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE registrations ADD COLUMN retry_at REAL NOT NULL DEFAULT 0",
        "ALTER TABLE registrations ADD COLUMN failures INTEGER NOT NULL DEFAULT 0",
        _REMOVALS,
    ],
}
"""What makes of a file of that version one of the next."""

TABLES = {
    "bindings": ("token",),
    "registrations": ("token", "server"),
    "removals": ("token", "server"),
    "counters": ("name",),
    "dns_answers": ("question",),
}
"""Each with its key."""

PUT_BINDING = f"INSERT OR REPLACE INTO bindings VALUES ({','.join('?' * len(BindingRow._fields))})"
PUT_REGISTRATION = f"INSERT OR REPLACE INTO registrations VALUES ({','.join('?' * len(RegistrationRow._fields))})"
PUT_REMOVAL = f"INSERT OR REPLACE INTO removals VALUES ({','.join('?' * len(RemovalRow._fields))})"
PUT_COUNTER = "INSERT OR REPLACE INTO counters VALUES (?,?)"
PUT_ANSWER = "INSERT OR REPLACE INTO dns_answers VALUES (?,?)"
DROP_BINDING = "DELETE FROM bindings WHERE token = ?"
DROP_REGISTRATIONS = "DELETE FROM registrations WHERE token = ?"
DROP_REMOVAL = "DELETE FROM removals WHERE token = ? AND server = ?"
DROP_ANSWER = "DELETE FROM dns_answers WHERE question = ?"

Row = TypeVar("Row", BindingRow, RegistrationRow, RemovalRow)


def version_of(database: sqlite3.Connection) -> int:
    """0 when it is empty."""
    return database.execute("PRAGMA user_version").fetchone()[0]


def bring_up_to_date(database: sqlite3.Connection) -> None:
    """Make the tables of an empty database, or those of a former version ours. Within a transaction, because another process
    of ours may be about to do the same."""
    version = version_of(database)
    if version == SCHEMA_VERSION:
        return
    if version == 0:
        for statement in _SCHEMA.split(";"):
            database.execute(statement)
    else:
        for step in range(version, SCHEMA_VERSION):
            for statement in _STEPS[step]:
                database.execute(statement)
    database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def salvaged(database: sqlite3.Connection, table: str) -> list[tuple]:
    """Rows as far as they can be read: of a damaged table those before the damage and those behind it, whatever bytes are in
    their texts."""
    texts = database.text_factory
    database.text_factory = lambda octets: octets.decode("utf-8", "surrogateescape")
    rows: dict[tuple, None] = {}
    for direction in ("ASC", "DESC"):
        order = ", ".join(f"{column} {direction}" for column in TABLES[table])
        try:
            for row in database.execute(f"SELECT * FROM {table} ORDER BY {order}"):
                rows[row] = None
        except sqlite3.Error:
            continue
        break
    database.text_factory = texts
    return list(rows)


# Phones and servers write bytes that are not UTF-8, which we carry as surrogate escapes and SQLite refuses as text; such a
# value is stored as a blob.


def storable(row: Row) -> Row:
    """With values that SQLite takes."""
    for value in row:
        if isinstance(value, str) and not value.isascii():
            return row._make(
                value.encode("utf-8", "surrogateescape") if isinstance(value, str) and not value.isascii() else value
                for value in row
            )
    return row


_LARGEST = {"port": 65535, "local_port": 65535, "failures": 2**31 - 1}
_LATEST = 1e11  # seconds since 1970
_KINDS: dict[str, tuple[type, ...]] = {
    "str": (str, bytes),
    "str | None": (str, bytes, type(None)),
    "int": (int,),
    "float": (float, int),
}


class _Shape:
    """What a row has to look like."""

    def __init__(self, kind: Any) -> None:
        wanted = [kind.__annotations__[name].__forward_arg__ for name in kind._fields]
        self.fewest = len(wanted) - len(kind._field_defaults)
        self.kinds = [_KINDS[name] for name in wanted]
        self.ranges = [
            (place, 0, _LARGEST.get(kind._fields[place], 2**63 - 1)) if name == "int" else (place, -_LATEST, _LATEST)
            for place, name in enumerate(wanted)
            if name in ("int", "float")
        ]
        self.seen: set[tuple[type, ...]] = set()
        """Good types of whole rows: a few in all, and looked up ten thousand times."""

    def is_good(self, values: Sequence[Any]) -> bool:
        types = tuple(map(type, values))
        if types not in self.seen:
            if not self.fewest <= len(types) <= len(self.kinds):
                return False
            if not all(found in kinds for found, kinds in zip(types, self.kinds, strict=False)):
                return False
            self.seen.add(types)
        # What is not a number is in no range.
        return all(least <= values[place] <= most for place, least, most in self.ranges if place < len(values))


_SHAPES = {kind: _Shape(kind) for kind in (BindingRow, RegistrationRow, RemovalRow)}


def read_row(kind: type[Row], values: Sequence[Any]) -> Row | None:
    """A row from what was read; None when it is none. A disk may hold anything: what is believed here must not surprise
    anybody later."""
    if not _SHAPES[kind].is_good(values):
        return None
    if bytes in map(type, values):
        values = [value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value for value in values]
    return kind(*values)


def read_rows(kind: type[Row], all_values: Iterable[Sequence[Any]]) -> tuple[list[Row], int]:
    """The rows, and how many were none."""
    rows = [read_row(kind, values) for values in all_values]
    good = [row for row in rows if row is not None]
    return good, len(rows) - len(good)
