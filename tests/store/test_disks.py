"""Disks as they are when they are not well: cut, flipped, full, taken away. Nothing is lost but what could not be written."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3

import pytest

from sbc.events import Alarm
from sbc.store.journal import PREFIX, RegistrationJournal
from sbc.store.sqlite import TRIED_AGAIN_EVERY, SqliteStore
from tests.helpers.clock import FakeClock
from tests.store.test_journal import Recorder, line
from tests.store.test_sqlite import binding, registration, removal

SEED = 20_260_705
WAL = "sbc.sqlite3-wal"


class Kept:
    """What a process would find in a folder, with what it would say about that."""

    def __init__(self, folder) -> None:
        self.alarms: list[Alarm] = []
        database = SqliteStore(folder, self.alarms.append)
        journal = RegistrationJournal(folder, database, self.alarms.append)
        self.bindings, self.registrations = journal.load_registrations()
        self.removals = journal.load_removals()
        database.dns_memory.load()
        # And it works with it.
        journal.save_registrations([binding("new")], [registration("new")], [], [removal("new")])
        journal.note(line([binding("noted")]))
        assert database.up_to_date
        assert {"new", "noted"} <= {row.token for row in journal.load_registrations()[0]}
        journal.close()
        database.close()

    @property
    def tokens(self) -> set[str]:
        return {row.token for row in self.bindings}


# A journal


def written_journal(folder, lines) -> bytes:
    """As a process leaves it that is killed."""
    database = Recorder()
    store = RegistrationJournal(folder, database)
    for each in lines:
        assert store.note(each)
    (path,) = folder.glob(f"{PREFIX}*")
    store._file, file = -1, store._file
    os.close(file)
    content = path.read_bytes()
    path.unlink()
    return content


NOTES = [
    line([binding(f"t{number}", contact='"\udcff" <sip:ä@203.0.113.7>')], [registration(f"t{number}", nonce="n")])
    for number in range(5)
] + [line(removed=["t0"], removals=[removal("t0")]), line(renewals=[["t1", 60, 1.8e9, "primary", 1.8e9]])]


def test_a_journal_that_ends_anywhere(tmp_path):
    """Cut at each offset: the lines before that are there, and nothing else."""
    content = written_journal(tmp_path, NOTES)
    ends = [offset + 1 for offset, octet in enumerate(content) if octet == 10]
    assert len(NOTES) == len(ends)
    for cut in range(len(content) + 1):
        (tmp_path / f"{PREFIX}1").write_bytes(content[:cut])
        database, alarms = Recorder(), []
        RegistrationJournal(tmp_path, database, alarms.append).close()
        whole = sum(end <= cut for end in ends)
        ((bindings, _, removed),) = database.saved or [([], [], [])]
        expected = {f"t{number}" for number in range(min(whole, 5))} - ({"t0"} if whole > 5 else set())
        assert expected == {row.token for row in bindings}, cut
        assert (["t0"] if whole > 5 else []) == removed
        assert [] == alarms, "a process that was killed while it wrote is nothing to tell anybody"


def test_a_journal_with_any_byte_changed(tmp_path):
    """The line is not believed, whatever it says now; all others are. It is said."""
    rng = random.Random(SEED)
    notes = [line([binding(f"t{number}")], [registration(f"t{number}")]) for number in range(20)]
    content = written_journal(tmp_path, notes)
    rows = {binding(f"t{number}") for number in range(20)}
    for _ in range(400):
        offset, octet = rng.randrange(len(content)), rng.randrange(256)
        if content[offset] == octet:
            continue
        (tmp_path / f"{PREFIX}1").write_bytes(content[:offset] + bytes([octet]) + content[offset + 1 :])
        database, alarms = Recorder(), []
        RegistrationJournal(tmp_path, database, alarms.append).close()
        found = {row for bindings, _, _ in database.saved for row in bindings}
        assert found <= rows
        lost = 2 if content[offset] == 10 and offset < len(content) - 1 else 1
        assert 20 - lost <= len(found), (offset, octet)
        assert (offset == len(content) - 1) or (["store"] == [alarm.subject for alarm in alarms]), (offset, octet)


@pytest.mark.parametrize(
    "damaged",
    [
        b"[" * 100_000,
        b'[[["t1"]],[],[],[]]',
        b'[[],[],[["list"]],[]]',
        b'[[],[],[],[[["list"],1,2]]]',
        b'[[],[],[],[["t1",1,"x"]]]',
        b'[[],[],[],[["t1",1,2,"primary"]]]',
        b'[[],[],[],[["t1",1,2,3,4]]]',
        b'[[],[],[],[],[],[["t1"]]]',
        b'[[],[],[],[],[],[["t1",[]]]]',
        b'[[],[],[],[],[["t1","primary"]],[]]',
        b'{"a":1}',
        b"[1,2,3]",
        b"null",
        b"",
        b"\xff\xfe",
        line([binding(port=70_000)]),
        line([binding(cseq=2**80)]),
        line([binding(cseq=True)]),
        line([binding(expires_at=float("nan"))]),
        line([binding(expires_at=float("inf"))]),
        line([binding(), [*binding(), "one", "too", "many"]]),
        line([], [registration(failures=2**40)]),
    ],
)
def test_a_line_of_a_former_version_that_is_none(tmp_path, damaged):
    """Those have no checksum; so each value must be of its kind."""
    (tmp_path / f"{PREFIX}1").write_bytes(damaged + b"\n" + line([binding("good")]) + b"\n")
    database, alarms = Recorder(), []
    RegistrationJournal(tmp_path, database, alarms.append).close()
    assert [([binding("good")], [], [])] == database.saved
    assert [f"{tmp_path / PREFIX}1 is damaged; 1 of 2 notes are lost"] == [alarm.text for alarm in alarms]


# A database

PHONES = 200
LEAF = 10
"""The first byte of a page of rows (sqlite.org/fileformat2.html, 1.6)."""


@pytest.fixture(scope="module")
def full_folder(tmp_path_factory):
    """Of a process that was killed: part of it is in the database, part of it in the log."""
    folder = tmp_path_factory.mktemp("full")
    store = SqliteStore(folder, print)
    tokens = [f"token-{number:04}" for number in range(PHONES)]
    for part in (tokens[: PHONES // 2], tokens[PHONES // 2 :]):
        rows = [registration(token, server) for token in part for server in ("primary", "fallback")]
        store.save_registrations([binding(token) for token in part], rows, [], [removal(f"gone-{part[0]}")])
        if part[0] == "token-0000":
            sqlite3.connect(folder / "sbc.sqlite3").execute("PRAGMA wal_checkpoint(TRUNCATE)").connection.close()
    assert (folder / WAL).stat().st_size > 0
    killed = tmp_path_factory.mktemp("killed")
    for path in folder.iterdir():
        shutil.copy(path, killed)
    store.close()
    return killed


def damaged_copy(folder, tmp_path, name, change) -> Kept:
    copy = tmp_path / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)
    path = copy / name
    path.write_bytes(change(path.read_bytes()))
    return Kept(copy)


def test_what_was_killed_is_all_there(full_folder, tmp_path):
    """The other tests are about what is missing of this."""
    kept = damaged_copy(full_folder, tmp_path, "sbc.sqlite3", lambda content: content)
    assert (PHONES, 2 * PHONES, 2, []) == (
        len(kept.tokens), len(kept.registrations), len(kept.removals), kept.alarms
    )  # fmt: skip


@pytest.mark.parametrize("name", ["sbc.sqlite3", WAL])
@pytest.mark.parametrize("bytes_changed", [1, 40])
def test_a_database_with_random_bytes_changed(full_folder, tmp_path, name, bytes_changed):
    """It opens, takes what is new, and has kept most of what was there."""
    rng = random.Random(f"{SEED} {name} {bytes_changed}")
    found = []

    def change(content: bytes) -> bytes:
        octets = bytearray(content)
        for _ in range(bytes_changed):
            octets[rng.randrange(len(octets))] = rng.randrange(256)
        return bytes(octets)

    for _ in range(15):
        kept = damaged_copy(full_folder, tmp_path, name, change)
        assert {alarm.subject for alarm in kept.alarms} <= {"store"}
        found.append(len(kept.tokens))
    print(f"{name}, {bytes_changed} bytes changed: {sorted(found)} of {PHONES} contacts")
    assert sorted(found)[len(found) // 2] >= PHONES // 2


@pytest.mark.parametrize("name", ["sbc.sqlite3", WAL, "sbc.sqlite3-shm"])
def test_a_database_that_ends_anywhere(full_folder, tmp_path, name):
    rng = random.Random(f"{SEED} {name}")
    size = (full_folder / name).stat().st_size
    for cut in [0, 1, 99, 100, size - 1, *(rng.randrange(size) for _ in range(8))]:
        damaged_copy(full_folder, tmp_path, name, lambda content, cut=cut: content[:cut])


def test_a_damaged_page_costs_only_its_own_rows(full_folder, tmp_path):
    """The contacts on all other pages go on, in a new file; and it is said."""
    whole = tmp_path / "whole"
    shutil.copytree(full_folder, whole)
    SqliteStore(whole, print).close()  # all of the log is in the database then

    def change(content: bytes) -> bytes:
        pages = [content[offset : offset + 4096] for offset in range(0, len(content), 4096)]
        place = next(place for place, page in enumerate(pages) if page[0] == LEAF and b"call" in page and place > 5)
        pages[place] = b"\xaa" * 4096
        return b"".join(pages)

    kept = damaged_copy(whole, tmp_path, "sbc.sqlite3", change)
    assert PHONES - 30 <= len(kept.tokens) < PHONES
    assert "corrupt" in kept.alarms[0].text and "that could be read" in kept.alarms[0].text


def test_rows_that_are_none_are_left_out(tmp_path):
    """A changed bit may well leave a sound database with a row that is not."""
    alarms: list[Alarm] = []
    store = SqliteStore(tmp_path, alarms.append)
    store.save_registrations([binding("good"), binding("odd")], [registration("good"), registration("odd")])
    store._database.execute("UPDATE bindings SET port = 'x' WHERE token = 'odd'")
    store._database.execute("UPDATE registrations SET expires_at = x'00' WHERE token = 'odd'")
    store._database.execute("INSERT INTO dns_answers VALUES ('A a.example', x'00'), ('A b.example', '[1]')")
    assert ([binding("good")], [registration("good")]) == store.load_registrations()
    assert {"A b.example": "[1]"} == store.dns_memory.load()
    assert 2 == len(alarms) and all("cannot be understood" in alarm.text for alarm in alarms)
    store.close()


def test_a_text_that_is_none(tmp_path):
    """SQLite does not look at the bytes of a text; Python does, and would give none of the rows."""
    alarms: list[Alarm] = []
    store = SqliteStore(tmp_path, alarms.append)
    store.save_registrations([binding("good"), binding("odd", host="192.0.2.33")], [])
    store.close()
    path = tmp_path / "sbc.sqlite3"
    path.write_bytes(path.read_bytes().replace(b"192.0.2.33", b"192.0\xff2.33"))
    store = SqliteStore(tmp_path, alarms.append)
    assert {"203.0.113.7", "192.0\udcff2.33"} == {row.host for row in store.load_registrations()[0]}
    store.close()


# While it is running


class Running:
    """A store with its journal, as a process has it, and the rows that its registrar knows."""

    def __init__(self, folder) -> None:
        self.folder = folder
        self.alarms: list[Alarm] = []
        self.clock = FakeClock()
        self.database = SqliteStore(folder, self.alarms.append, monotonic=self.clock.seconds)
        self.store = RegistrationJournal(folder, self.database, self.alarms.append)
        self.secret = self.store.secret()

    def later(self) -> bool:
        self.clock.advance(TRIED_AGAIN_EVERY)
        return self.store.check()

    def said(self) -> list[str]:
        return [alarm.text.replace(f"{self.folder}/", "") for alarm in self.alarms]

    def close(self) -> None:
        self.store.close()
        self.database.close()


@pytest.fixture
def running(tmp_path):
    process = Running(tmp_path / "state")
    yield process
    process.close()


def test_a_state_directory_that_is_taken_away(running):
    """It is made anew, and who knows what was in it is asked to save it anew; the secret is the same."""
    running.database.save_registrations([binding("a")], [])
    assert running.store.check()
    shutil.rmtree(running.folder)
    assert running.store.note(line([binding("b")])), "nobody has looked yet"
    assert not running.store.check()
    assert running.store.check(), "it is said once"
    running.store.save_registrations([binding("a")], [])
    assert running.store.note(line([binding("b")]))
    again = SqliteStore(running.folder, print)
    assert ["a"] == [row.token for row in again.load_registrations()[0]]
    assert running.secret == again.secret()
    again.close()
    assert {"a", "b"} == {row.token for row in running.store.load_registrations()[0]}
    assert [
        "sbc.sqlite3 is no longer what it was; it is written anew",
        "secret.key was missing and is written again",
    ] == running.said()


@pytest.mark.parametrize("name", ["sbc.sqlite3", "journal", "secret.key"])
def test_one_file_that_is_taken_away(running, name):
    (path,) = running.folder.glob(f"{PREFIX}*" if name == "journal" else name)
    path.unlink()
    assert (name == "secret.key") == running.store.check()
    running.store.note(line([binding("b")]))
    running.store.save_registrations([binding("a")], [])
    assert path.exists()
    assert {"a", "b"} == {row.token for row in running.store.load_registrations()[0]}
    assert running.secret == SqliteStore(running.folder, print).secret()


def test_a_file_that_was_put_in_its_place(running, tmp_path):
    """From a backup, say: what we know is newer."""
    backup = SqliteStore(tmp_path / "backup", print)
    backup.save_registrations([binding("a", port=1), binding("old")], [])
    backup.close()
    running.store.save_registrations([binding("a", port=2)], [])
    for suffix in ("-wal", "-shm"):
        (running.folder / f"sbc.sqlite3{suffix}").unlink()
    (tmp_path / "backup" / "sbc.sqlite3").replace(running.folder / "sbc.sqlite3")
    assert not running.store.check()
    running.store.save_registrations([binding("a", port=2)], [])
    again = SqliteStore(running.folder, print)
    assert {("a", 2), ("old", 5062)} == {(row.token, row.port) for row in again.load_registrations()[0]}
    again.close()


def test_a_state_directory_that_cannot_be_made_anew_for_a_while(running):
    """In memory until then. Tried again, and all that was saved meanwhile is there in the end."""
    shutil.rmtree(running.folder)
    running.folder.write_text("in its way")
    running.store.check()
    assert not running.database.up_to_date
    assert not running.store.note(line([binding("a")]))
    running.store.save_registrations([binding("a")], [])
    assert ["a"] == [row.token for row in running.store.load_registrations()[0]]
    running.later()
    assert 1 == len(running.alarms) and "nothing will survive a restart" in running.alarms[0].text
    running.folder.unlink()
    assert not running.later()
    assert running.database.up_to_date
    assert running.store.note(line([binding("b")]))
    assert "sbc.sqlite3 can be written again; nothing was lost" in running.said()
    assert {"a", "b"} == {row.token for row in running.store.load_registrations()[0]}
    again = SqliteStore(running.folder, print)
    assert ["a"] == [row.token for row in again.load_registrations()[0]]
    again.close()


def test_no_state_directory_at_the_start_but_later(tmp_path):
    """A file system that is mounted late."""
    (tmp_path / "state").write_text("in its way")
    running = Running(tmp_path / "state")
    running.store.save_registrations([binding("a")], [registration("a")], [], [removal("z")])
    assert not running.database.up_to_date
    (tmp_path / "state").unlink()
    running.later()
    running.close()
    kept = SqliteStore(tmp_path / "state", print)
    assert ([binding("a")], [registration("a")]) == kept.load_registrations()
    assert [removal("z")] == kept.load_removals()
    assert running.secret == kept.secret()
    kept.close()


def test_a_database_that_turns_out_to_be_corrupt(running):
    """While it is in use. It is moved aside and begun anew; those who know what was in it save it anew."""
    rows = [binding(f"token-{number:04}") for number in range(PHONES)]
    running.store.save_registrations(rows, [registration(row.token) for row in rows])
    running.database._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path = running.folder / "sbc.sqlite3"
    content = path.read_bytes()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xaa" * (len(content) - 4096))
    running.database._database.execute("PRAGMA cache_size = 0")
    running.store.save_registrations([binding("new")], [])
    assert not running.store.check()
    running.store.save_registrations(rows, [])
    assert running.database.up_to_date
    assert {"new", *(row.token for row in rows)} == {row.token for row in running.store.load_registrations()[0]}
    assert 1 == len([path for path in running.folder.glob("sbc.sqlite3.corrupt-*") if path.name[-1].isdigit()])
    assert any("corrupt" in text for text in running.said())
