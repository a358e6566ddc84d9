"""The store of one appliance: `sbc.sqlite3` in the state directory.

A registration is answered only after it was written, and it must survive `kill -9`. With a write-ahead log and
`synchronous = NORMAL` a committed transaction is in the kernel's hands when `commit` returns, without waiting for the
disk: it survives the end of the process, however violent. A power cut may take the last transactions, never the file.
What does wait for the disk, moving the log into the database, happens in a thread of its own.

Nothing here stops the telephones:

* Where the disk is full or cannot be written, what could not be written is kept in memory and tried again, but not with
  every write, because that would cost more and more.
* Where there is no file to begin with, or it is taken away, a new one is made as soon as that can be done.
* A corrupt file is moved aside and a new one begun, with all rows that could still be read.

What is lost on the way is in the memory of those who saved it; `check` asks them for it. Each such trouble is an `Alarm`, said
once, and so is its end.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from sbc.events import Alarm, Report
from sbc.store import schema
from sbc.store.interface import BindingRow, NoNotes, RegistrationRow, RemovalRow
from sbc.store.secret import SECRET_NAME, SecretFile
from sbc.store.unwritten import Unwritten

FILE_NAME = "sbc.sqlite3"

TRIED_AGAIN_EVERY = 5.0
"""Seconds between two tries to write while the disk refuses. One of ten thousand contacts takes a tenth of a second."""

_CHECKPOINT_EVERY = 1000
"""Writes between two checkpoints: the log is used again from its start and stays at some megabytes."""

_LARGEST_LOG = 16_000_000
"""Bytes. Writes that never pause keep the log from starting anew; at this size they are made to pause."""

_BUSY_SECONDS = 0.5
"""How long a writer waits for another process of ours; the telephones wait with it."""

_OF_A_CORRUPT_FILE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_SUFFIXES = ("", "-wal", "-shm")


class StateUnreadable(Exception):  # noqa: N818 (told to an operator under this name)
    """The state directory holds a file that this user may not read; it was probably made by another user."""


class SqliteStore(NoNotes):
    """Implements all protocols of `sbc.store.interface`; `dns_memory` is the one for DNS answers."""

    def __init__(
        self,
        state_dir: str | Path,
        report: Report,
        wall_clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open or create. Raises StateUnreadable; any other trouble is reported, and memory takes the file's place."""
        self.path = Path(state_dir) / FILE_NAME
        self._report = report
        self._wall_clock = wall_clock
        self._monotonic = monotonic
        self._trouble: str | None = None
        """Why it cannot be written, as it was reported; None while it can."""
        self._try_again_at = 0.0
        self._writes = 0
        self._checkpointing: threading.Thread | None = None
        self._unwritten = Unwritten()
        self._in_memory = False
        self._identity: tuple[int, int] | None = None
        """Of the file that has, or had, what was written."""
        self._lost = False
        self._secret = SecretFile(self.path.with_name(SECRET_NAME), report)
        self.dns_memory = _DnsMemory(self)
        self._database = self._open()

    # Opening

    def _open(self) -> sqlite3.Connection:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            return self._memory(f"cannot create {self.path.parent}: {error.strerror}")
        if self.path.exists() and not os.access(self.path, os.R_OK, effective_ids=True):
            raise StateUnreadable(f"{self.path} cannot be read by this user")
        try:
            return self._open_file()
        except (OSError, sqlite3.OperationalError) as error:
            return self._memory(f"cannot write {self.path}: {error}", self._read_only())
        except sqlite3.DatabaseError as error:
            return self._begin_anew(str(error))

    def _open_file(self) -> sqlite3.Connection:
        if not self.path.exists():
            # A log that is left of another file would be taken for one of this.
            for suffix in ("-wal", "-shm"):
                self.path.with_name(FILE_NAME + suffix).unlink(missing_ok=True)
            # The file tells who telephones from where.
            with contextlib.suppress(OSError):
                os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
        database = _connect(str(self.path))
        try:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute("PRAGMA wal_autocheckpoint = 0")
            version = schema.version_of(database)
            if version > schema.SCHEMA_VERSION:
                raise sqlite3.DatabaseError(f"written by a newer version of this program (schema {version})")
            problem = database.execute("PRAGMA quick_check(1)").fetchone()[0]
            if problem != "ok":
                raise sqlite3.DatabaseError(problem)
            database.execute("BEGIN IMMEDIATE")  # fails here rather than at the first registration
            schema.bring_up_to_date(database)
            database.execute("COMMIT")
            found = os.stat(self.path)
        except (OSError, sqlite3.Error):
            database.close()
            raise
        self._identity = (found.st_dev, found.st_ino)
        return database

    def _begin_anew(self, problem: str) -> sqlite3.Connection:
        aside = self.path.with_name(f"{FILE_NAME}.corrupt-{int(self._wall_clock())}")
        rows = _salvaged(self.path)
        try:
            for suffix in _SUFFIXES:
                old = self.path.with_name(FILE_NAME + suffix)
                if old.exists():
                    old.rename(aside.with_name(aside.name + suffix))
            database = self._open_file()
        except (OSError, sqlite3.Error) as error:
            return self._memory(f"{self.path} is corrupt ({problem}) and cannot be replaced: {error}", rows=rows)
        with contextlib.suppress(sqlite3.Error):  # the next write meets the same trouble, and tells
            _put(database, rows)
        kept = f", with {len(rows['bindings'])} contacts that could be read" if rows["bindings"] else ""
        self._report(Alarm("store", f"{self.path} is corrupt ({problem}); moved to {aside.name} and begun anew{kept}"))
        return database

    def _memory(
        self, problem: str, content: sqlite3.Connection | None = None, rows: dict[str, list[tuple]] | None = None
    ) -> sqlite3.Connection:
        """A database without a file, filled with what could be read."""
        self._in_memory = True
        if self._trouble is None:
            self._report(Alarm("store", f"{problem}; nothing will survive a restart"))
        self._trouble = problem
        self._try_again_at = self._monotonic() + TRIED_AGAIN_EVERY
        database = _connect(":memory:")
        if content is not None:
            with contextlib.suppress(sqlite3.Error), contextlib.closing(content):
                content.backup(database)
        if not 0 < schema.version_of(database) <= schema.SCHEMA_VERSION:
            database.close()
            database = _connect(":memory:")
        schema.bring_up_to_date(database)
        if rows is not None:
            _put(database, rows)
        return database

    def _read_only(self) -> sqlite3.Connection | None:
        # Where the log cannot be opened either (`mode=ro` wants its index), the database is read without it.
        for option in ("mode=ro", "immutable=1"):
            try:
                database = _connect(f"{self.path.absolute().as_uri()}?{option}")
                database.execute("SELECT count(*) FROM bindings").fetchone()
                found = os.stat(self.path)
            except (OSError, sqlite3.Error):
                continue
            self._identity = (found.st_dev, found.st_ino)
            return database
        return None

    @property
    def up_to_date(self) -> bool:
        """False while something that was saved could not be written."""
        return self._trouble is None

    def close(self) -> None:
        if self._checkpointing is not None:
            self._checkpointing.join()
        if self._trouble is not None:
            self._try_again_at = 0.0
            self._write()
        self._database.close()

    # Looking after it

    def check(self) -> bool:
        if self._trouble is not None:
            self._write()
        elif not self._is_in_place():
            self._open_again()
            self._write()
        if self._trouble is None:
            self._secret.keep()
        lost, self._lost = self._lost, False
        return not lost

    def _is_in_place(self) -> bool:
        try:
            found = os.stat(self.path)
        except OSError:
            return False
        return self._identity == (found.st_dev, found.st_ino)

    def _open_again(self) -> None:
        """There is no file of ours, or another one where it was. What was written is in the memory of those who saved it."""
        if self._checkpointing is not None:
            self._checkpointing.join()
        # Where the file is gone the next one may have its number.
        before = self._identity if self._is_in_place() else None
        self._identity = None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            database = self._open_file()
        except (OSError, sqlite3.OperationalError) as error:
            self._identity = before
            if not self._in_memory:
                self._exchange(self._memory(f"cannot write {self.path}: {error}"))
            return
        except sqlite3.DatabaseError as error:
            self._in_memory = False
            self._exchange(self._begin_anew(str(error)))
        else:
            self._in_memory = False
            self._exchange(database)
            if self._trouble is None:
                self._report(Alarm("store", f"{self.path} is no longer what it was; it is written anew"))
        self._lost = self._lost or before is None or self._identity != before

    def _exchange(self, database: sqlite3.Connection) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._database.close()
        self._database = database

    # Writing

    def _write(self) -> None:
        """Bring everything unwritten into the database in one transaction; what fails stays for the next time."""
        if self._trouble is not None:
            now = self._monotonic()
            if now < self._try_again_at:
                return
            self._try_again_at = now + TRIED_AGAIN_EVERY
            if self._in_memory or not self._is_in_place():
                self._open_again()
        if self._in_memory:
            return
        try:
            self._write_all()
        except sqlite3.Error as error:
            self._not_written(str(error))
            return
        if self._in_memory:  # a corrupt file, which cannot be replaced
            return
        self._unwritten.clear()
        if self._trouble is not None:
            self._trouble = None
            self._report(Alarm("store", f"{self.path} can be written again; nothing was lost"))
        self._writes += 1
        if self._writes >= _CHECKPOINT_EVERY:
            self._writes = 0
            self._start_checkpoint()

    def _write_all(self) -> None:
        try:
            self._write_once()
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _OF_A_CORRUPT_FILE:
                raise
            # It turns out so while we work with it. What it had is saved once more by those who know it.
            if self._checkpointing is not None:
                self._checkpointing.join()
            self._database.close()
            self._database = self._begin_anew(str(error))
            self._lost = True
            if not self._in_memory:
                self._write_once()

    def _write_once(self) -> None:
        try:
            self._database.execute("BEGIN IMMEDIATE")
            for statement, rows in self._unwritten.statements():
                self._database.executemany(statement, rows)
            self._database.execute("COMMIT")
        except sqlite3.Error:
            if self._database.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    self._database.execute("ROLLBACK")
            raise

    def _not_written(self, problem: str) -> None:
        if self._trouble is None:
            self._report(Alarm("store", f"cannot write {self.path}: {problem}; kept in memory, will be tried again"))
            self._try_again_at = self._monotonic() + TRIED_AGAIN_EVERY
            self._start_checkpoint()  # then the log is used again from its start, and need not grow
        self._trouble = problem

    def _start_checkpoint(self) -> None:
        if self._checkpointing is None or not self._checkpointing.is_alive():
            self._checkpointing = threading.Thread(target=_checkpoint, args=(self.path,), daemon=True)
            self._checkpointing.start()

    # Bindings, registrations and removals

    def load_registrations(self) -> tuple[list[BindingRow], list[RegistrationRow]]:
        bindings = self._rows(BindingRow, "bindings")
        return self._unwritten.over(bindings, self._rows(RegistrationRow, "registrations"))

    def load_removals(self) -> list[RemovalRow]:
        return self._unwritten.over_removals(self._rows(RemovalRow, "removals"))

    def _rows(self, kind: type[schema.Row], table: str) -> list[schema.Row]:
        rows, wrong = schema.read_rows(kind, self._fetched(table))
        if wrong:
            self._report(Alarm("store", f"{self.path}: {wrong} rows of {table} cannot be understood"))
        return rows

    def _pairs(self, table: str, kind: type) -> dict[str, Any]:
        return {name: value for name, value in self._fetched(table) if isinstance(name, str) and isinstance(value, kind)}

    def _fetched(self, table: str) -> list[tuple]:
        try:
            return self._database.execute(f"SELECT * FROM {table}").fetchall()
        except sqlite3.Error as error:
            found = schema.salvaged(self._database, table)
            self._report(Alarm("store", f"cannot read {self.path}: {error}; {len(found)} {table} can be read"))
            return found

    def save_registrations(
        self,
        bindings: Sequence[BindingRow],
        registrations: Sequence[RegistrationRow],
        removed: Sequence[str] = (),
        removals: Sequence[RemovalRow] = (),
        heard: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._unwritten.add(bindings, registrations, removed, removals, heard)
        self._write()

    # Counters, DNS answers, secret

    def load_counters(self) -> dict[str, float]:
        return self._pairs("counters", float) | self._unwritten.counters

    def save_counters(self, counters: Mapping[str, float]) -> None:
        self._unwritten.counters.update(counters)
        self._write()

    def secret(self) -> bytes:
        return self._secret.secret()


class _DnsMemory:
    """The last good DNS answers, as the locator wants them: load all, save some."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store

    def load(self) -> dict[str, str]:
        unwritten = self._store._unwritten
        answers = self._store._pairs("dns_answers", str) | unwritten.answers
        return {question: answer for question, answer in answers.items() if question not in unwritten.forgotten}

    def save(self, answers: Mapping[str, str]) -> None:
        self._store._unwritten.forgotten -= answers.keys()
        self._store._unwritten.answers.update(answers)
        self._store._write()

    def forget(self, questions: Collection[str]) -> None:
        for question in questions:
            self._store._unwritten.answers.pop(question, None)
        self._store._unwritten.forgotten.update(questions)
        self._store._write()


def _connect(name: str) -> sqlite3.Connection:
    return sqlite3.connect(name, timeout=_BUSY_SECONDS, isolation_level=None, uri=name.startswith("file:"))


def _salvaged(path: Path) -> dict[str, list[tuple]]:
    """What of a corrupt file can be read, as rows that can be put into another one."""
    found: dict[str, list[tuple]] = {table: [] for table in schema.TABLES}
    for option in ("mode=ro", "immutable=1"):
        with (
            contextlib.suppress(sqlite3.Error),
            contextlib.closing(_connect(f"{path.absolute().as_uri()}?{option}")) as database,
        ):
            if schema.version_of(database) <= schema.SCHEMA_VERSION:
                found = {table: schema.salvaged(database, table) for table in schema.TABLES}
                if any(found.values()):
                    break
    for table, kind in (("bindings", BindingRow), ("registrations", RegistrationRow), ("removals", RemovalRow)):
        rows, _ = schema.read_rows(kind, found[table])
        found[table] = [tuple(schema.storable(row)) for row in rows]
    for table in ("counters", "dns_answers"):
        found[table] = [row for row in found[table] if isinstance(row[0], str) and isinstance(row[1], (str, float))]
    return found


def _put(database: sqlite3.Connection, rows: dict[str, list[tuple]]) -> None:
    statements = [
        ("bindings", schema.PUT_BINDING), ("registrations", schema.PUT_REGISTRATION), ("removals", schema.PUT_REMOVAL),
        ("counters", schema.PUT_COUNTER), ("dns_answers", schema.PUT_ANSWER),
    ]  # fmt: skip
    database.execute("BEGIN IMMEDIATE")
    try:
        for table, statement in statements:
            database.executemany(statement, rows[table])
        database.execute("COMMIT")
    except sqlite3.Error:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def _checkpoint(path: Path) -> None:
    """Move the log into the database. Waits for the disk; the writer goes on meanwhile."""
    with contextlib.suppress(sqlite3.Error, OSError), contextlib.closing(_connect(str(path))) as database:
        database.execute("PRAGMA wal_checkpoint(PASSIVE)")
        if path.with_name(f"{FILE_NAME}-wal").stat().st_size > _LARGEST_LOG:
            database.execute("PRAGMA wal_checkpoint(RESTART)")
