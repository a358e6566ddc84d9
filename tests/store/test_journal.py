"""The journal before the database: what was saved is there after whatever end of the process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from sbc.store import journal
from sbc.store.journal import PREFIX, RegistrationJournal
from sbc.store.sqlite import SqliteStore
from tests.store.test_sqlite import binding, registration


class Recorder:
    """A database that remembers what it was given."""

    def __init__(self) -> None:
        self.saved: list[tuple[list, list, list]] = []
        self.up_to_date = True

    def secret(self) -> bytes:
        return b"x" * 32

    def load_registrations(self):
        return [], []

    def save_registrations(self, bindings, registrations, removed=()) -> None:
        self.saved.append((list(bindings), list(registrations), list(removed)))


@pytest.fixture
def database() -> Recorder:
    return Recorder()


def journals(folder) -> list:
    return list(folder.glob(f"{PREFIX}*"))


def test_single_contacts_wait_and_then_go_together(tmp_path, database, monkeypatch):
    """One transaction for many."""
    monkeypatch.setattr(journal, "_MOST", 3)
    store = RegistrationJournal(tmp_path, database)
    store.save_registrations([binding("a")], [registration("a")])
    store.save_registrations([binding("b")], [])
    assert [] == database.saved
    store.save_registrations([binding("c")], [])
    assert [([binding("a"), binding("b"), binding("c")], [registration("a")], [])] == database.saved
    assert [0] == [path.stat().st_size for path in journals(tmp_path)]
    store.close()


def test_close_leaves_no_file(tmp_path, database):
    store = RegistrationJournal(tmp_path, database)
    store.save_registrations([binding()], [])
    store.close()
    assert [([binding()], [], [])] == database.saved
    assert [] == journals(tmp_path)


def test_what_waits_is_read_too(tmp_path, database):
    store = RegistrationJournal(tmp_path, database)
    row = binding(contact='"\udcff" <sip:ä@203.0.113.7>')
    store.save_registrations([row], [registration()])
    assert ([row], [registration()]) == store.load_registrations()
    store.close()


def test_removed_contact_does_not_come_back(tmp_path, database):
    store = RegistrationJournal(tmp_path, database)
    store.save_registrations([binding("a"), binding("b")], [registration("a")])
    store.save_registrations([], [], ["a"])
    assert ([binding("b")], []) == store.load_registrations()
    store.close()
    assert ([], [], ["a"]) == database.saved[0]
    assert [binding("b")] == database.saved[1][0]


def test_bound_again_after_its_removal(tmp_path, database):
    store = RegistrationJournal(tmp_path, database)
    store.save_registrations([binding("a", port=1)], [])
    store.save_registrations([], [], ["a"])
    store.save_registrations([binding("a", port=2)], [])
    assert [2] == [row.port for row in store.load_registrations()[0]]
    store.close()


def test_file_is_for_its_owner_only(tmp_path, database):
    store = RegistrationJournal(tmp_path, database)
    assert [0o600] == [path.stat().st_mode & 0o777 for path in journals(tmp_path)]
    store.close()


def test_kill_9_loses_nothing(tmp_path):
    code = (
        "import time\n"
        "from tests.store.test_journal import *\n"
        f"store = RegistrationJournal({str(tmp_path)!r}, SqliteStore({str(tmp_path)!r}, print))\n"
        "store.save_registrations([binding('a'), binding('b')], [registration('a')])\n"
        "store.save_registrations([], [], ['b'])\n"
        "print('saved', flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and "saved\n" == process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.wait()
    database = SqliteStore(tmp_path, print)
    store = RegistrationJournal(tmp_path, database)
    assert ([binding("a")], [registration("a")]) == store.load_registrations()
    assert ([binding("a")], [registration("a")]) == database.load_registrations()
    assert [f"{PREFIX}{os.getpid()}"] == [path.name for path in journals(tmp_path)]
    store.close()
    database.close()


def test_journal_of_a_living_process_is_left_alone(tmp_path, database, monkeypatch):
    """`workers` above 1."""
    first = RegistrationJournal(tmp_path, database)
    first.save_registrations([binding("a")], [])
    monkeypatch.setattr(os, "getpid", lambda: 1)
    second = RegistrationJournal(tmp_path, database)
    assert [] == database.saved
    assert [binding("a")] == second.load_registrations()[0]
    second.close()
    assert 1 == len(journals(tmp_path))
    first.close()


def test_half_a_line_at_the_end_is_ignored(tmp_path, database):
    (tmp_path / f"{PREFIX}1").write_bytes(b'[[],[],["gone"]]\nnonsense\n[[["half')
    RegistrationJournal(tmp_path, database).close()
    assert [([], [], ["gone"])] == database.saved


def test_database_that_cannot_be_written_does_not_empty_the_journal(tmp_path, database):
    database.up_to_date = False
    store = RegistrationJournal(tmp_path, database)
    store.save_registrations([binding()], [])
    store.close()
    assert 1 == len(journals(tmp_path))
    later = Recorder()
    RegistrationJournal(tmp_path, later).close()
    assert [([binding()], [], [])] == later.saved


def test_full_disk(tmp_path, database, monkeypatch):
    """The database is asked, and raises the alarm."""

    def full(file, data):
        raise OSError(28, "No space left on device")

    store = RegistrationJournal(tmp_path, database)
    monkeypatch.setattr(os, "write", full)
    store.save_registrations([binding()], [])
    assert [([binding()], [], [])] == database.saved
    store.close()


def test_no_state_directory_at_all(tmp_path, database):
    store = RegistrationJournal(tmp_path / "missing", database)
    store.save_registrations([binding()], [])
    assert [([binding()], [], [])] == database.saved
    store.close()
