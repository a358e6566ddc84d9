"""The journal before the database: what was saved is there after whatever end of the process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from sbc.store import journal
from sbc.store.interface import BindingRow, RegistrationRow, RemovalRow
from sbc.store.journal import PREFIX, RegistrationJournal
from sbc.store.sqlite import SqliteStore
from tests.store.test_sqlite import binding, registration, removal


class Recorder:
    """A database that remembers what it was given."""

    def __init__(self, *rows) -> None:
        self.rows = [row for row in rows if isinstance(row, BindingRow)]
        self.registrations = [row for row in rows if isinstance(row, RegistrationRow)]
        self.removals = [row for row in rows if isinstance(row, RemovalRow)]
        self.saved: list[tuple[list, list, list]] = []
        self.saved_removals: list[tuple[list, list]] = []
        self.up_to_date = True

    def secret(self) -> bytes:
        return b"x" * 32

    def load_registrations(self):
        return self.rows, self.registrations

    def load_removals(self):
        return self.removals

    def save_registrations(self, bindings, registrations, removed=(), removals=(), heard=()) -> None:
        if bindings or registrations or removed:
            self.saved.append((list(bindings), list(registrations), list(removed)))
        if removals or heard:
            self.saved_removals.append((list(removals), list(heard)))


def line(bindings=(), registrations=(), removed=(), renewals=(), removals=(), heard=()) -> bytes:
    return json.dumps([bindings, registrations, removed, renewals, removals, heard]).encode()


@pytest.fixture
def database() -> Recorder:
    return Recorder()


def journals(folder) -> list:
    return list(folder.glob(f"{PREFIX}*"))


def test_notes_wait_for_the_database(tmp_path, database):
    store = RegistrationJournal(tmp_path, database)
    assert store.note(line([binding("a")], [registration("a")]))
    assert [] == database.saved
    assert not store.notes_are_many
    store.save_registrations([binding("a")], [registration("a")])
    store.notes_saved()
    assert [([binding("a")], [registration("a")], [])] == database.saved
    assert [0] == [path.stat().st_size for path in journals(tmp_path)]
    store.close()


def test_notes_can_be_too_many(tmp_path, database, monkeypatch):
    monkeypatch.setattr(journal, "_LARGE", 1000)
    store = RegistrationJournal(tmp_path, database)
    while not store.notes_are_many:
        store.note(line([binding()]))
    assert 1000 < journals(tmp_path)[0].stat().st_size < 2000
    store.notes_saved()
    assert not store.notes_are_many
    store.close()


def test_close_leaves_no_file(tmp_path, database):
    store = RegistrationJournal(tmp_path, database)
    store.note(line([binding()]))
    store.notes_saved()
    store.close()
    assert [] == journals(tmp_path)


def test_close_leaves_what_was_not_saved(tmp_path, database):
    store = RegistrationJournal(tmp_path, database)
    store.note(line([binding()]))
    store.close()
    RegistrationJournal(tmp_path, database).close()
    assert [([binding()], [], [])] == database.saved
    assert [] == journals(tmp_path)


def test_what_waits_is_read_too(tmp_path, database):
    store = RegistrationJournal(tmp_path, database)
    row = binding(contact='"\udcff" <sip:ä@203.0.113.7>')
    store.note(line([row], [registration()]))
    assert ([row], [registration()]) == store.load_registrations()
    store.close()


def test_removed_contact_does_not_come_back(tmp_path):
    database = Recorder(binding("a"), registration("a"))
    store = RegistrationJournal(tmp_path, database)
    store.note(line([binding("b")]))
    store.note(line(removed=["a"]))
    assert ([binding("b")], []) == store.load_registrations()
    store.close()
    RegistrationJournal(tmp_path, database).close()
    assert [([binding("b")], [], ["a"])] == database.saved


def test_bound_again_after_its_removal(tmp_path, database):
    store = RegistrationJournal(tmp_path, database)
    store.note(line([binding("a", port=1)]))
    store.note(line(removed=["a"]))
    store.note(line([binding("a", port=2)]))
    assert [2] == [row.port for row in store.load_registrations()[0]]
    store.close()


def test_renewal_moves_the_times(tmp_path):
    """Of what the database knows, too; a token that is known nowhere stays so."""
    database = Recorder(binding("a"), registration("a", "primary"), registration("a", "fallback"))
    store = RegistrationJournal(tmp_path, database)
    store.note(line([binding("b")], [registration("b", "primary")]))
    store.note(line(renewals=[["a", 60, 1e9, "primary", 1e9 + 1], ["b", 70, 2e9], ["c", 80, 3e9, "primary", 3e9]]))
    bindings, registrations = store.load_registrations()
    assert [("a", 60, 1e9), ("b", 70, 2e9)] == [(row.token, row.granted, row.expires_at) for row in bindings]
    before = registration().expires_at
    assert [1e9 + 1, before, before] == [row.expires_at for row in registrations]
    store.close()
    RegistrationJournal(tmp_path, database).close()
    assert [(set(bindings), set(registrations), [])] == [
        (set(saved), set(of_servers), removed) for saved, of_servers, removed in database.saved
    ]


def test_removals_are_kept_until_they_are_heard_of(tmp_path):
    """D13: those of the database and those of the notes; also when a killed process has left the notes."""
    database = Recorder(removal("a"), removal("b"))
    store = RegistrationJournal(tmp_path, database)
    store.note(line(removed=["c"], removals=[removal("c"), removal("c", "fallback")]))
    store.note(line(heard=[["b", "primary"], ["c", "fallback"]]))
    assert [removal("a"), removal("c")] == store.load_removals()
    store.close()
    RegistrationJournal(tmp_path, database).close()
    assert [([], [], ["c"])] == database.saved
    assert [([removal("c")], [("b", "primary"), ("c", "fallback")])] == database.saved_removals


def test_removed_once_more_after_a_server_has_heard_of_it(tmp_path, database):
    store = RegistrationJournal(tmp_path, database)
    store.note(line(removals=[removal("a", until=1.0)]))
    store.note(line(heard=[["a", "primary"]]))
    store.note(line(removals=[removal("a", until=2.0)]))
    assert [removal("a", until=2.0)] == store.load_removals()
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
        "store.note(line([binding('a'), binding('b')], [registration('a')]))\n"
        "store.note(line(removed=['b']))\n"
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
    first.note(line([binding("a")]))
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


def test_lines_of_former_versions_have_no_renewals(tmp_path, database):
    (tmp_path / f"{PREFIX}1").write_bytes(json.dumps([[binding()], [], []]).encode() + b"\n")
    RegistrationJournal(tmp_path, database).close()
    assert [([binding()], [], [])] == database.saved


def test_lines_of_former_versions_have_shorter_rows(tmp_path, database):
    """Neither a User-Agent nor what was learned of the phone and its passwords."""
    before = json.dumps([[binding()[:14], binding("b", agent="Snom")[:15]], [registration()[:5]], [], []])
    (tmp_path / f"{PREFIX}1").write_bytes(before.encode() + b"\n")
    RegistrationJournal(tmp_path, database).close()
    ((bindings, registrations, removed),) = database.saved
    assert {binding(agent=None), binding("b", agent="Snom")} == set(bindings)
    assert ([registration()], []) == (registrations, removed)


def test_database_that_cannot_be_written_does_not_empty_the_journal(tmp_path, database):
    database.up_to_date = False
    store = RegistrationJournal(tmp_path, database)
    store.note(line([binding()]))
    store.notes_saved()
    store.close()
    assert 1 == len(journals(tmp_path))
    later = Recorder()
    RegistrationJournal(tmp_path, later).close()
    assert [([binding()], [], [])] == later.saved


def test_full_disk(tmp_path, database, monkeypatch):
    """Who notes is told, and asks the database, which raises the alarm."""

    def full(file, data):
        raise OSError(28, "No space left on device")

    store = RegistrationJournal(tmp_path, database)
    monkeypatch.setattr(os, "write", full)
    assert not store.note(line([binding()]))
    store.close()


def test_half_a_line_is_taken_back(tmp_path, database, monkeypatch):
    write = os.write
    store = RegistrationJournal(tmp_path, database)
    assert store.note(line([binding("a")]))
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:9]))
    assert not store.note(line([binding("b")]))
    monkeypatch.undo()
    assert store.note(line([binding("c")]))
    assert ["a", "c"] == [row.token for row in store.load_registrations()[0]]
    store.close()


def test_no_state_directory_at_all(tmp_path, database):
    store = RegistrationJournal(tmp_path / "missing", database)
    assert not store.note(line([binding()]))
    store.close()
