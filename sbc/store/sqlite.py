"""The store of one appliance: `sbc.sqlite3` in the state directory, and beside it the file `secret.key`.

A registration is answered only after it was written, and it must survive `kill -9`. With a write-ahead log and
`synchronous = NORMAL` a committed transaction is in the kernel's hands when `commit` returns, without waiting for the
disk: it survives the end of the process, however violent. A power cut may take the last transactions, never the file.
What does wait for the disk, moving the log into the database, happens in a thread of its own.

Nothing here stops the telephones. A corrupt file is moved aside and a new one begun; where the disk is full or cannot
be written, what could not be written is kept and tried again with the next write. Each such trouble is an `Alarm`,
said once.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from sbc.events import Alarm, Report
from sbc.store.interface import BindingRow, NoNotes, RegistrationRow, RemovalRow

SCHEMA_VERSION = 3
FILE_NAME = "sbc.sqlite3"
SECRET_NAME = "secret.key"
SECRET_BYTES = 32
_CONSEQUENCE = "calls will not survive a restart"

_CHECKPOINT_EVERY = 1000
"""Writes between two checkpoints: the log is used again from its start and stays at some megabytes."""

_LARGEST_LOG = 16_000_000
"""Bytes. Writes that never pause keep the log from starting anew; at this size they are made to pause."""

_BUSY_SECONDS = 0.5
"""How long a writer waits for another process of ours; the telephones wait with it."""

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
"""What makes of a file of that version one of the next. The new columns stand in the order of the rows' fields."""

_PUT_BINDING = f"INSERT OR REPLACE INTO bindings VALUES ({','.join('?' * len(BindingRow._fields))})"
_PUT_REGISTRATION = f"INSERT OR REPLACE INTO registrations VALUES ({','.join('?' * len(RegistrationRow._fields))})"
_PUT_REMOVAL = f"INSERT OR REPLACE INTO removals VALUES ({','.join('?' * len(RemovalRow._fields))})"
_DROP_REMOVAL = "DELETE FROM removals WHERE token = ? AND server = ?"
_DROP_BINDING = "DELETE FROM bindings WHERE token = ?"
_DROP_REGISTRATIONS = "DELETE FROM registrations WHERE token = ?"
_PUT_COUNTER = "INSERT OR REPLACE INTO counters VALUES (?,?)"
_PUT_ANSWER = "INSERT OR REPLACE INTO dns_answers VALUES (?,?)"
_DROP_ANSWER = "DELETE FROM dns_answers WHERE question = ?"


class StateUnreadable(Exception):  # noqa: N818 (told to an operator under this name)
    """The state directory holds a file that this user may not read; it was probably made by another user."""


class SqliteStore(NoNotes):
    """Implements all protocols of `sbc.store.interface`; `dns_memory` is the one for DNS answers."""

    def __init__(self, state_dir: str | Path, report: Report, wall_clock: Callable[[], float] = time.time) -> None:
        """Open or create. Raises StateUnreadable; any other trouble is reported, and memory takes the file's place."""
        self.path = Path(state_dir) / FILE_NAME
        self._report = report
        self._wall_clock = wall_clock
        self._alarmed = False
        self._writes = 0
        self._checkpointing: threading.Thread | None = None
        self._unwritten = _Unwritten()
        self._in_memory = False
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
        except sqlite3.OperationalError as error:
            return self._memory(f"cannot write {self.path}: {error}", self._read_only())
        except sqlite3.DatabaseError as error:
            return self._begin_anew(str(error))

    def _open_file(self) -> sqlite3.Connection:
        created = not self.path.exists()
        if created:
            # The file tells who telephones from where.
            with contextlib.suppress(OSError):
                os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
        database = _connect(str(self.path))
        try:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute("PRAGMA wal_autocheckpoint = 0")
            version = _version(database)
            if version > SCHEMA_VERSION:
                raise sqlite3.DatabaseError(f"written by a newer version of this program (schema {version})")
            problem = database.execute("PRAGMA quick_check(1)").fetchone()[0]
            if problem != "ok":
                raise sqlite3.DatabaseError(problem)
            database.execute("BEGIN IMMEDIATE")  # fails here rather than at the first registration
            _bring_up_to_date(database)
            database.execute("COMMIT")
        except sqlite3.Error:
            database.close()
            raise
        return database

    def _begin_anew(self, problem: str) -> sqlite3.Connection:
        aside = self.path.with_name(f"{FILE_NAME}.corrupt-{int(self._wall_clock())}")
        try:
            for suffix in ("", "-wal", "-shm"):
                old = self.path.with_name(FILE_NAME + suffix)
                if old.exists():
                    old.rename(aside.with_name(aside.name + suffix))
            database = self._open_file()
        except (OSError, sqlite3.Error) as error:
            return self._memory(f"{self.path} is corrupt ({problem}) and cannot be replaced: {error}")
        self._report(Alarm("store", f"{self.path} is corrupt ({problem}); moved to {aside.name} and begun anew"))
        return database

    def _memory(self, problem: str, content: sqlite3.Connection | None = None) -> sqlite3.Connection:
        """A database without a file, filled with what could be read."""
        self._in_memory = True
        self._report(Alarm("store", f"{problem}; nothing will survive a restart"))
        database = _connect(":memory:")
        if content is not None:
            with contextlib.suppress(sqlite3.Error), contextlib.closing(content):
                content.backup(database)
        if not 0 < _version(database) <= SCHEMA_VERSION:
            database.close()
            database = _connect(":memory:")
        _bring_up_to_date(database)
        return database

    def _read_only(self) -> sqlite3.Connection | None:
        # Where the log cannot be opened either (`mode=ro` wants its index), the database is read without it.
        for option in ("mode=ro", "immutable=1"):
            try:
                database = _connect(f"{self.path.absolute().as_uri()}?{option}")
                database.execute("SELECT count(*) FROM bindings").fetchone()
            except sqlite3.Error:
                continue
            return database
        return None

    @property
    def up_to_date(self) -> bool:
        """False while something that was saved could not be written."""
        return not self._alarmed

    def close(self) -> None:
        if self._checkpointing is not None:
            self._checkpointing.join()
        self._database.close()

    # Writing

    def _write(self) -> None:
        """Bring everything unwritten into the database in one transaction; what fails stays for the next time."""
        unwritten = self._unwritten
        try:
            self._database.execute("BEGIN IMMEDIATE")
            for statement, rows in unwritten.statements():
                self._database.executemany(statement, rows)
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            if self._database.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    self._database.execute("ROLLBACK")
            if not self._alarmed:
                self._alarmed = True
                self._report(Alarm("store", f"cannot write {self.path}: {error}; kept in memory, will be tried again"))
            return
        unwritten.clear()
        if self._alarmed:
            self._alarmed = False
            self._report(Alarm("store", f"{self.path} can be written again; nothing was lost"))
        self._writes += 1
        if self._writes >= _CHECKPOINT_EVERY and not self._in_memory:
            self._writes = 0
            self._start_checkpoint()

    def _start_checkpoint(self) -> None:
        if self._checkpointing is None or not self._checkpointing.is_alive():
            self._checkpointing = threading.Thread(target=_checkpoint, args=(self.path,), daemon=True)
            self._checkpointing.start()

    # Bindings and registrations

    def load_registrations(self) -> tuple[list[BindingRow], list[RegistrationRow]]:
        try:
            execute = self._database.execute
            bindings = [_as_text(BindingRow._make(row)) for row in execute("SELECT * FROM bindings")]
            registrations = [
                _as_text(RegistrationRow._make(row)) for row in execute("SELECT * FROM registrations")
            ]
        except sqlite3.Error as error:
            self._report(Alarm("store", f"cannot read {self.path}: {error}"))
            return [], []
        return bindings, registrations

    def load_removals(self) -> list[RemovalRow]:
        try:
            return [_as_text(RemovalRow._make(row)) for row in self._database.execute("SELECT * FROM removals")]
        except sqlite3.Error as error:
            self._report(Alarm("store", f"cannot read {self.path}: {error}"))
            return []

    def save_registrations(
        self,
        bindings: Sequence[BindingRow],
        registrations: Sequence[RegistrationRow],
        removed: Sequence[str] = (),
        removals: Sequence[RemovalRow] = (),
        heard: Sequence[tuple[str, str]] = (),
    ) -> None:
        unwritten = self._unwritten
        for token in removed:
            unwritten.remove(token)
        for binding in bindings:
            unwritten.bindings[binding.token] = _storable(binding)
        for row in registrations:
            unwritten.registrations[row.token, row.server] = _storable(row)
        for key in heard:
            unwritten.removals.pop(key, None)
            unwritten.heard.add(key)
        for removal in removals:
            unwritten.removals[removal.token, removal.server] = _storable(removal)
        self._write()

    # Counters, DNS answers, secret

    def load_counters(self) -> dict[str, float]:
        return self._pairs("SELECT name, value FROM counters")

    def save_counters(self, counters: Mapping[str, float]) -> None:
        self._unwritten.counters.update(counters)
        self._write()

    def _pairs(self, query: str) -> dict:
        try:
            return dict(self._database.execute(query).fetchall())
        except sqlite3.Error as error:
            self._report(Alarm("store", f"cannot read {self.path}: {error}"))
            return {}

    def secret(self) -> bytes:
        """Kept apart from the database, so that a corrupt database does not end the calls that hold our cookies."""
        path = self.path.with_name(SECRET_NAME)
        for _ in range(2):  # the second time reads what another process of ours made meanwhile
            try:
                secret = path.read_bytes()
                if len(secret) >= SECRET_BYTES:
                    return secret
                path.unlink()  # cut short by a full disk
            except FileNotFoundError:
                pass
            except OSError as error:
                self._report(Alarm("secret", f"cannot read {path}: {error.strerror}; {_CONSEQUENCE}"))
                return secrets.token_bytes(SECRET_BYTES)
            secret = secrets.token_bytes(SECRET_BYTES)
            try:
                # Under another name first: whoever reads `path` reads a whole secret.
                draft = path.with_name(f"{SECRET_NAME}.{secrets.token_hex(4)}")
                descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                try:
                    os.write(descriptor, secret)
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
                try:
                    os.link(draft, path)
                finally:
                    draft.unlink()
                return secret
            except FileExistsError:
                continue
            except OSError as error:
                self._report(Alarm("secret", f"cannot write {path}: {error.strerror}; {_CONSEQUENCE}"))
                return secret
        return secrets.token_bytes(SECRET_BYTES)


class _DnsMemory:
    """The last good DNS answers, as the locator wants them: load all, save some."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store

    def load(self) -> dict[str, str]:
        return self._store._pairs("SELECT question, answer FROM dns_answers")

    def save(self, answers: Mapping[str, str]) -> None:
        self._store._unwritten.forgotten -= answers.keys()
        self._store._unwritten.answers.update(answers)
        self._store._write()

    def forget(self, questions: Collection[str]) -> None:
        for question in questions:
            self._store._unwritten.answers.pop(question, None)
        self._store._unwritten.forgotten.update(questions)
        self._store._write()


class _Unwritten:
    """What the database does not have yet, one row per key: usually just what is being saved."""

    __slots__ = ("bindings", "registrations", "removed", "removals", "heard", "counters", "answers", "forgotten")

    def __init__(self) -> None:
        self.bindings: dict[str, BindingRow] = {}
        self.registrations: dict[tuple[str, str], RegistrationRow] = {}
        self.removed: set[str] = set()
        self.removals: dict[tuple[str, str], RemovalRow] = {}
        self.heard: set[tuple[str, str]] = set()
        self.counters: dict[str, float] = {}
        self.answers: dict[str, str] = {}
        self.forgotten: set[str] = set()

    def remove(self, token: str) -> None:
        self.removed.add(token)
        self.bindings.pop(token, None)
        for key in [key for key in self.registrations if key[0] == token]:
            del self.registrations[key]

    def statements(self) -> list[tuple[str, list]]:
        """In an order in which a token that was removed and then bound again ends up bound; so with the removals."""
        removed = [(token,) for token in self.removed]
        all_of_them: list[tuple[str, list]] = [
            (_DROP_BINDING, removed),
            (_DROP_REGISTRATIONS, removed),
            (_PUT_BINDING, list(self.bindings.values())),
            (_PUT_REGISTRATION, list(self.registrations.values())),
            (_DROP_REMOVAL, list(self.heard)),
            (_PUT_REMOVAL, list(self.removals.values())),
            (_PUT_COUNTER, list(self.counters.items())),
            (_PUT_ANSWER, list(self.answers.items())),
            (_DROP_ANSWER, [(question,) for question in self.forgotten]),
        ]
        return [(statement, rows) for statement, rows in all_of_them if rows]

    def clear(self) -> None:
        self.bindings.clear()
        self.registrations.clear()
        self.removed.clear()
        self.removals.clear()
        self.heard.clear()
        self.counters.clear()
        self.answers.clear()
        self.forgotten.clear()


def _connect(name: str) -> sqlite3.Connection:
    return sqlite3.connect(name, timeout=_BUSY_SECONDS, isolation_level=None, uri=name.startswith("file:"))


# What phones and servers wrote. It may hold bytes that are not UTF-8, which we carry as surrogate escapes and SQLite
# refuses as text; such a value is stored as a blob.
_Row = TypeVar("_Row", BindingRow, RegistrationRow, RemovalRow)


def _storable(row: _Row) -> _Row:
    for value in row:
        if isinstance(value, str) and not value.isascii():
            return row._make(
                value.encode("utf-8", "surrogateescape") if isinstance(value, str) and not value.isascii() else value
                for value in row
            )
    return row


def _as_text(row: _Row) -> _Row:
    for value in row:
        if isinstance(value, bytes):
            return row._make(
                value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value for value in row
            )
    return row


def _version(database: sqlite3.Connection) -> int:
    return database.execute("PRAGMA user_version").fetchone()[0]


def _bring_up_to_date(database: sqlite3.Connection) -> None:
    """Make the tables of an empty database, or those of a former version ours. Within a transaction, because another process
    of ours may be about to do the same."""
    version = _version(database)
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


def _checkpoint(path: Path) -> None:
    """Move the log into the database. Waits for the disk; the writer goes on meanwhile."""
    with contextlib.suppress(sqlite3.Error, OSError), contextlib.closing(_connect(str(path))) as database:
        database.execute("PRAGMA wal_checkpoint(PASSIVE)")
        if path.with_name(f"{FILE_NAME}-wal").stat().st_size > _LARGEST_LOG:
            database.execute("PRAGMA wal_checkpoint(RESTART)")
