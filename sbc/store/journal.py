"""Notes of what happened to registrations, until the database has it: `RegistrationJournal`.

A registration is answered only after it was written. A transaction of its own costs more than all the rest of a
REGISTER, because contacts come in no order and each touches other pages of the database. So what is new is appended
to a file as one line of JSON, which is in the kernel's hands when `write` returns and survives `kill -9` as a
committed transaction does. When the file has grown large, the registrar brings into the database what the notes are
about, and the file begins anew.

Each process has a journal of its own, `sbc-journal-PID`, locked as long as it lives. Who starts brings the journals of
the dead into the database, and reads those of the living along.

A line is `[bindings, registrations, removed, renewals, removals, heard]`: rows as in `sbc.store.interface`, the tokens of
bindings that are gone, for each renewal `[token, granted, expires_at, server, expires_at, server, expires_at ...]`, rows
of removals that a server has yet to hear of, and `[token, server]` for those that need no more telling. A line may end
before any of the last three, and a row before its last fields: those of former versions do. Behind it, after a tab, stands
the CRC-32 of the line, in hexadecimal: what a damaged disk gives back is not believed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sbc.events import Alarm, Report
from sbc.store import schema
from sbc.store.interface import BindingRow, RegistrarStore, RegistrationRow, RemovalRow
from sbc.store.notes import Notes

PREFIX = "sbc-journal-"

_LARGE = 16_000_000
"""Bytes: some forty thousand new contacts, or a hundred and fifty thousand renewals. Who starts after a kill reads them in
about half a second."""


class Entry(NamedTuple):
    """One line."""

    bindings: list[BindingRow]
    registrations: list[RegistrationRow]
    removed: list[str]
    renewals: list[list[Any]]
    removals: list[RemovalRow]
    heard: list[tuple[str, str]]



class RegistrationJournal(Notes):
    """A `RegistrarStore` before another one. Call `close` before that is closed."""

    def __init__(self, state_dir: str | Path, database: RegistrarStore, report: Report | None = None) -> None:
        self._folder = Path(state_dir)
        self._database = database
        self._report = report
        self._path = self._folder / f"{PREFIX}{os.getpid()}"
        self._file = -1  # no journal: the database takes everything at once
        self._size = 0
        self._take_over_the_dead()
        self._open()

    def secret(self) -> bytes:
        return self._database.secret()

    def load_registrations(self) -> tuple[list[BindingRow], list[RegistrationRow]]:
        known = self._known()
        return list(known.bindings.values()), list(known.registrations.values())

    def load_removals(self) -> list[RemovalRow]:
        return list(self._known().removals.values())

    def _known(self) -> _Registrations:
        known = _Registrations(self._database)
        for path in self._journals():
            for entry in self._entries(path):
                known.apply(entry)
        return known

    def save_registrations(
        self,
        bindings: Sequence[BindingRow],
        registrations: Sequence[RegistrationRow],
        removed: Sequence[str] = (),
        removals: Sequence[RemovalRow] = (),
        heard: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._database.save_registrations(bindings, registrations, removed, removals, heard)

    def check(self) -> bool:
        """For the journal, too: in a folder that was taken away a file takes all that it is given."""
        is_there = self._database.check()
        if self._file >= 0 and not self._is_in_place():
            os.close(self._file)
            self._file = -1
            is_there = False
        if self._file < 0:
            self._open()
        return is_there

    def _open(self) -> None:
        with contextlib.suppress(OSError):
            self._file = _opened_and_locked(self._path, os.O_CREAT)
            self._size = os.fstat(self._file).st_size  # not empty when the database could not take it over

    def _is_in_place(self) -> bool:
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(self._file))
        except OSError:
            return False

    @property
    def notes_are_many(self) -> bool:
        return self._size > _LARGE

    def notes_saved(self) -> bool:
        if self._size:
            if not self._database.up_to_date:
                return False
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, 0)
                self._size = 0
        return True

    @property
    def up_to_date(self) -> bool:
        return self._database.up_to_date

    def close(self) -> None:
        """Leave no file, unless something is in it that was not saved."""
        if self._file >= 0:
            if self._size == 0:
                with contextlib.suppress(OSError):
                    self._path.unlink()
            os.close(self._file)
            self._file = -1

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
            entries = self._entries(path)
            if entries:
                self._save(entries)
            if self._database.up_to_date:
                with contextlib.suppress(OSError):
                    path.unlink()
            os.close(file)

    def _entries(self, path: Path) -> list[Entry]:
        """What stands in a journal. A last line that its process did not end tells nothing."""
        try:
            lines = path.read_bytes().split(b"\n")[:-1]
        except OSError as error:
            self._tell(f"cannot read {path}: {error.strerror}")
            return []
        entries = [_entry(line) for line in lines]
        good = [entry for entry in entries if entry is not None]
        if len(good) < len(entries):
            self._tell(f"{path} is damaged; {len(entries) - len(good)} of {len(entries)} notes are lost")
        return good

    def _tell(self, text: str) -> None:
        if self._report is not None:
            self._report(Alarm("store", text))

    def _save(self, entries: list[Entry]) -> None:
        """Bring them into the database."""
        known = _Registrations(self._database)
        for entry in entries:
            known.apply(entry)
        tokens = known.touched & known.bindings.keys()
        self._database.save_registrations(
            [known.bindings[token] for token in tokens],
            [row for row in known.registrations.values() if row.token in tokens],
            sorted(known.touched - tokens),
            [row for key, row in known.removals.items() if key in known.touched_removals],
            sorted(known.touched_removals - known.removals.keys()),
        )


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


def _entry(line: bytes) -> Entry | None:
    """What stands in a line; None when it cannot be believed."""
    text, tab, checksum = line.rpartition(b"\t")
    if tab and checksum != b"%08x" % zlib.crc32(text):
        return None
    try:
        bindings, registrations, removed, *more = json.loads(text if tab else line)
        renewals, removals, heard = (*more, [], [], [])[:3]
        entry = Entry(
            [schema.read_row(BindingRow, row) for row in bindings],
            [schema.read_row(RegistrationRow, row) for row in registrations],
            [*removed],
            [[*renewal] for renewal in renewals],
            [schema.read_row(RemovalRow, row) for row in removals],
            [(token, server) for token, server in heard],
        )
    except (ValueError, TypeError, RecursionError):
        return None
    texts = [*entry.removed, *(text for key in entry.heard for text in key)]
    is_good = (
        None not in (*entry.bindings, *entry.registrations, *entry.removals)
        and all(isinstance(text, str) for text in texts)
        and all(map(_is_renewal, entry.renewals))
    )
    return entry if is_good else None


def _is_renewal(renewal: list[Any]) -> bool:
    if len(renewal) < 3 or len(renewal) % 2 == 0:
        return False
    token, granted, expires_at, *times = renewal
    return (
        isinstance(token, str)
        and all(isinstance(server, str) for server in times[::2])
        and all(type(seconds) in (int, float) and abs(seconds) < 1e11 for seconds in (granted, expires_at, *times[1::2]))
    )


class _Registrations:
    """What the database has, and what entries make of it; `touched` are the tokens of bindings that they are about."""

    def __init__(self, database: RegistrarStore) -> None:
        bindings, registrations = database.load_registrations()
        self.bindings = {row.token: row for row in bindings}
        self.registrations: dict[tuple[str, str], RegistrationRow] = {}
        self.removals = {(row.token, row.server): row for row in database.load_removals()}
        self.touched: set[str] = set()
        self.touched_removals: set[tuple[str, str]] = set()
        self._servers: dict[str, list[str]] = {}
        for row in registrations:
            self._put(row)

    def apply(self, entry: Entry) -> None:
        """In an order in which a token that is removed and bound again ends up bound."""
        for token in entry.removed:
            self.touched.add(token)
            self.bindings.pop(token, None)
            for server in self._servers.pop(token, ()):
                del self.registrations[token, server]
        for binding in entry.bindings:
            self.touched.add(binding.token)
            self.bindings[binding.token] = binding
        for registration in entry.registrations:
            self._put(registration)
        for token, granted, expires_at, *times in entry.renewals:
            if token in self.bindings:
                self.touched.add(token)
                self.bindings[token] = self.bindings[token]._replace(granted=granted, expires_at=expires_at)
                for server, until in zip(times[::2], times[1::2], strict=False):
                    if (token, server) in self.registrations:
                        self._put(self.registrations[token, server]._replace(expires_at=until))
        for key in entry.heard:
            self.touched_removals.add(key)
            self.removals.pop(key, None)
        for removal in entry.removals:
            self.touched_removals.add((removal.token, removal.server))
            self.removals[removal.token, removal.server] = removal

    def _put(self, row: RegistrationRow) -> None:
        if (row.token, row.server) not in self.registrations:
            self._servers.setdefault(row.token, []).append(row.server)
        self.registrations[row.token, row.server] = row
