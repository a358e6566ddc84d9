"""New registrations, written down at once and brought into the database together: `RegistrationJournal`.

A registration is answered only after it was written. A transaction of its own costs more than all the rest of a
REGISTER, because contacts come in no order and each touches other pages of the database. So what is new is appended
to a file as one line of JSON, which is in the kernel's hands when `write` returns and survives `kill -9` as a
committed transaction does; and when the journal holds enough, it goes into the database in one transaction and the
file begins anew.

Each process has a journal of its own, `sbc-journal-PID`, locked as long as it lives. Who starts brings the journals of
the dead into the database, and reads those of the living along.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Sequence
from json.encoder import encode_basestring_ascii as _quoted
from pathlib import Path
from typing import Protocol

from sbc.store.interface import BindingRow, RegistrarStore, RegistrationRow

PREFIX = "sbc-journal-"

_MOST = 250
"""Contacts held: they go into the database in some milliseconds, in which the telephones wait."""

_LARGEST = 16_000_000
"""Bytes of a journal that the database does not take; beyond them only memory keeps what is new."""

Entry = tuple[list[BindingRow], list[RegistrationRow], list[str]]


class Database(RegistrarStore, Protocol):
    """Where everything goes in the end."""

    @property
    def up_to_date(self) -> bool:
        """False while something that was saved could not be written."""


class RegistrationJournal:
    """A `RegistrarStore` before another one. Call `close` before that is closed."""

    def __init__(self, state_dir: str | Path, database: Database) -> None:
        self._folder = Path(state_dir)
        self._database = database
        self._path = self._folder / f"{PREFIX}{os.getpid()}"
        self._file = -1  # no journal: the database takes everything at once
        self._size = 0
        self._bindings: dict[str, BindingRow] = {}
        self._registrations: dict[tuple[str, str], RegistrationRow] = {}
        self._take_over_the_dead()
        with contextlib.suppress(OSError):
            self._file = _opened_and_locked(self._path, os.O_CREAT)
            self._size = os.fstat(self._file).st_size  # not empty when the database could not take it over

    def secret(self) -> bytes:
        return self._database.secret()

    def load_registrations(self) -> tuple[list[BindingRow], list[RegistrationRow]]:
        rows, registration_rows = self._database.load_registrations()
        bindings = {row.token: row for row in rows}
        registrations = {(row.token, row.server): row for row in registration_rows}
        for path in self._journals():
            for entry in _entries(path):
                _apply(entry, bindings, registrations)
        return list(bindings.values()), list(registrations.values())

    def save_registrations(
        self, bindings: Sequence[BindingRow], registrations: Sequence[RegistrationRow], removed: Sequence[str] = ()
    ) -> None:
        if self._file < 0 or len(self._bindings) + len(bindings) >= _MOST:
            self._settle(bindings, registrations, removed)
            return
        if self._size > _LARGEST or not self._append(_line(bindings, registrations, removed)):
            self._settle(bindings, registrations, removed)
            return
        if removed:
            self._database.save_registrations((), (), removed)
        _apply((bindings, registrations, removed), self._bindings, self._registrations)

    def close(self) -> None:
        """Bring it into the database and leave no file."""
        self._settle((), (), ())
        if self._file >= 0:
            if self._database.up_to_date:
                with contextlib.suppress(OSError):
                    self._path.unlink()
            os.close(self._file)
            self._file = -1

    def _append(self, line: bytes) -> bool:
        try:
            written = os.write(self._file, line)
        except OSError:
            written = 0
        if written == len(line):
            self._size += written
            return True
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, self._size)  # half a line would spoil the next one
        return False

    def _settle(
        self, bindings: Sequence[BindingRow], registrations: Sequence[RegistrationRow], removed: Sequence[str]
    ) -> None:
        """Bring everything that is held, and this, into the database in one transaction."""
        _apply((bindings, registrations, removed), self._bindings, self._registrations)
        if self._bindings or self._registrations or removed:
            self._database.save_registrations(
                list(self._bindings.values()), list(self._registrations.values()), removed
            )
        self._bindings.clear()
        self._registrations.clear()
        if self._size and self._database.up_to_date:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, 0)
                self._size = 0

    # Journals of other processes

    def _journals(self) -> list[Path]:
        """The oldest first."""
        found = []
        for path in self._folder.glob(f"{PREFIX}*"):
            with contextlib.suppress(OSError):
                found.append((path.stat().st_mtime, path))
        return [path for _, path in sorted(found)]

    def _take_over_the_dead(self) -> None:
        for path in self._journals():
            try:
                file = _opened_and_locked(path)
            except OSError:
                continue  # its process lives, or we may not write here
            bindings: dict[str, BindingRow] = {}
            registrations: dict[tuple[str, str], RegistrationRow] = {}
            removed: set[str] = set()
            for entry in _entries(path):
                removed.update(entry[2])
                _apply(entry, bindings, registrations)
            if bindings or registrations or removed:
                gone = [token for token in removed if token not in bindings]
                self._database.save_registrations(list(bindings.values()), list(registrations.values()), gone)
            if self._database.up_to_date:
                with contextlib.suppress(OSError):
                    path.unlink()
            os.close(file)


def in_use(path: Path) -> bool:
    """True when the process that this journal belongs to lives."""
    try:
        os.close(_opened_and_locked(path))
    except OSError:
        return True
    return False


def _opened_and_locked(path: Path, create: int = 0) -> int:
    """The file's descriptor. OSError when it cannot be opened, or another process has it."""
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | create, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        raise
    return file


def _line(
    bindings: Sequence[BindingRow], registrations: Sequence[RegistrationRow], removed: Sequence[str]
) -> bytes:
    """As `json.dumps` would write it, in a quarter of the time: rows hold nothing but texts and numbers."""
    parts = ",".join([_row(row) for row in bindings]), ",".join([_row(row) for row in registrations]), _row(removed)
    return f"[[{parts[0]}],[{parts[1]}],{parts[2]}]\n".encode()


def _row(values: Iterable[object]) -> str:
    return f"[{','.join([_quoted(value) if isinstance(value, str) else repr(value) for value in values])}]"


def _entries(path: Path) -> Iterable[Entry]:
    """What stands in a journal. A last line that its process did not end tells nothing."""
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except OSError:
        return
    for line in lines:
        try:
            bindings, registrations, removed = json.loads(line)
            entry = [BindingRow(*row) for row in bindings], [RegistrationRow(*row) for row in registrations], removed
        except (ValueError, TypeError):
            continue
        yield entry


def _apply(
    entry: tuple[Sequence[BindingRow], Sequence[RegistrationRow], Sequence[str]],
    bindings: dict[str, BindingRow],
    registrations: dict[tuple[str, str], RegistrationRow],
) -> None:
    """What is new over what was known; in an order in which a token that is removed and bound again ends up bound."""
    for token in entry[2]:
        bindings.pop(token, None)
        for key in [key for key in registrations if key[0] == token]:
            del registrations[key]
    for binding in entry[0]:
        bindings[binding[0]] = binding
    for registration in entry[1]:
        registrations[registration[0], registration[1]] = registration
