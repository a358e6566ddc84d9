"""Folders of state: the first worker has the appliance's own, each other one a folder `worker-I` in it.

So a single process finds its state where it always was, and with more workers nothing is copied: the first one has what the
single process had, until its phones register with their own workers. When there are fewer than before, what is in the
folders that nobody has any more goes to the first.

The secret is one for all, so that each knows the route cookies and contact tokens of the others.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from sbc.events import Report
from sbc.store.interface import BindingRow
from sbc.store.journal import PREFIX, RegistrationJournal, in_use
from sbc.store.secret import SECRET_NAME
from sbc.store.sqlite import SqliteStore

_NAME = re.compile(r"worker-([0-9]+)")


def folder_of(state_dir: Path, worker: int) -> Path:
    """Where that worker keeps its state."""
    return state_dir if worker == 0 else state_dir / f"worker-{worker}"


def prepare(state_dir: Path, workers: int, report: Report) -> None:
    """Before the workers start: give each its folder and the secret, and take over those of former workers."""
    store = SqliteStore(state_dir, report)
    secret = store.secret()
    store.close()
    adopt(state_dir, workers, report)
    for worker in range(1, workers):
        folder = folder_of(state_dir, worker)
        # Where the disk refuses, the worker's own store reports it.
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700, exist_ok=True)
            _write_secret(folder / SECRET_NAME, secret)


def adopt(state_dir: Path, workers: int, report: Report) -> None:
    """Bring what is in the folders of workers that there are no more into the first one's."""
    folders = [folder for folder in _folders_from(state_dir, workers) if not _is_in_use(folder)]
    if not folders:
        return
    store = SqliteStore(state_dir, report)
    try:
        # What the first worker noted before it was killed comes before what is moved now: it may have noted that a phone
        # went to another worker, and that must not be read after the phone has come back.
        RegistrationJournal(state_dir, store, report).close()
        for folder in folders:
            _move(folder, store, report)
            if store.up_to_date:
                _remove(folder)
    finally:
        store.close()


def _is_in_use(folder: Path) -> bool:
    """Another appliance lives in it."""
    return any(in_use(journal) for journal in folder.glob(f"{PREFIX}*"))


def _folders_from(state_dir: Path, workers: int) -> list[Path]:
    found = []
    with contextlib.suppress(OSError):
        for entry in state_dir.iterdir():
            match = _NAME.fullmatch(entry.name)
            if match and int(match[1]) >= max(workers, 1) and entry.is_dir():
                found.append(entry)
    return sorted(found)


def _move(folder: Path, store: SqliteStore, report: Report) -> None:
    source = SqliteStore(folder, report)
    journal = RegistrationJournal(folder, source, report)
    rows, registrations = journal.load_registrations()
    removals = journal.load_removals()
    journal.close()
    source.close()
    known = {row.token: row for row in store.load_registrations()[0]}
    newer = [row for row in rows if _is_newer(row, known.get(row.token))]
    tokens = {row.token for row in newer}
    bound = {row.token for row in rows} | known.keys()
    store.save_registrations(
        newer,
        [row for row in registrations if row.token in tokens],
        removals=[row for row in removals if row.token not in bound],
    )


def _is_newer(row: BindingRow, known: BindingRow | None) -> bool:
    """A phone that went from one worker to another may have left a row at both."""
    return known is None or row.expires_at > known.expires_at


def _remove(folder: Path) -> None:
    """Only what we have made: whatever else somebody put there stays."""
    with contextlib.suppress(OSError):
        for path in [*folder.glob("sbc.sqlite3*"), *folder.glob(f"{PREFIX}*"), *folder.glob(f"{SECRET_NAME}*")]:
            path.unlink()
        folder.rmdir()


def _write_secret(path: Path, secret: bytes) -> None:
    with contextlib.suppress(FileNotFoundError):
        if path.read_bytes() == secret:
            return
    draft = path.with_name(f"{path.name}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, secret)
    finally:
        os.close(descriptor)
    draft.replace(path)
