"""The SQLite store: what it keeps, and what no disk may do to the telephones."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time

import pytest

from sbc.events import Alarm
from sbc.store import sqlite
from sbc.store.interface import BindingRow, RegistrationRow, RemovalRow
from sbc.store.sqlite import TRIED_AGAIN_EVERY, SqliteStore, StateUnreadable
from tests.helpers.clock import FakeClock


def binding(token: str = "t1", **changes) -> BindingRow:
    row = BindingRow(
        token, "office", "sip:alice@example.com", "<sip:alice@203.0.113.7>;q=1", "alice", "call", 7,
        "udp", "203.0.113.7", 5062, "198.51.100.1", 5060, 3600.0, 1.7e9,
    )  # fmt: skip
    return row._replace(**changes)


def registration(
    token: str = "t1", server: str = "primary", state: str = "registered", **changes
) -> RegistrationRow:
    return RegistrationRow(token, server, state, "", 1.7e9)._replace(**changes)


def removal(token: str = "t1", server: str = "primary", **changes) -> RemovalRow:
    row = RemovalRow(
        token, server, "office", "sip:alice@example.com", "<sip:alice@203.0.113.7>;q=1", "alice", "udp", "203.0.113.7",
        5062, "198.51.100.1", 5060, None, 1.7e9,
    )  # fmt: skip
    return row._replace(**changes)


@pytest.fixture
def events() -> list[Alarm]:
    return []


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(tmp_path, events, clock):
    store = SqliteStore(tmp_path, events.append, monotonic=clock.seconds)
    yield store
    store.close()


def reopened(tmp_path, events=None) -> SqliteStore:
    return SqliteStore(tmp_path, (events if events is not None else []).append)


def test_starts_empty(store, events):
    assert ([], []) == store.load_registrations()
    assert {} == store.load_counters()
    assert {} == store.dns_memory.load()
    assert [] == events


def test_rows_come_back_as_they_were(store, tmp_path):
    store.save_registrations([binding()], [registration(), registration(server="fallback", state="failed")])
    rows, registrations = reopened(tmp_path).load_registrations()
    assert [binding()] == rows
    assert {registration(), registration(server="fallback", state="failed")} == set(registrations)


def test_what_was_learned_of_a_phone_and_its_passwords_comes_back(store, tmp_path):
    row = binding(method="serial", method_reason="it does not refresh early")
    of_servers = [
        registration(nonce='q"\udcff', candidate="198.51.100.7:5060;udp"),
        registration(server="fallback", state="failed", reason="403 Ung\udcfcltig", retry_at=1.8e9, failures=3),
    ]
    store.save_registrations([row], of_servers)
    rows, registrations = reopened(tmp_path).load_registrations()
    assert ([row], set(of_servers)) == (rows, set(registrations))


def test_removals_come_back_until_they_are_heard_of(store, tmp_path):
    """D13: by token and server, whatever becomes of the binding."""
    missed = [removal(), removal(server="fallback", contact="<sip:\udcff@h>"), removal("b", agent="Snom")]
    store.save_registrations([binding()], [registration()])
    store.save_registrations([], [], ["t1"], missed)
    assert set(missed) == set(reopened(tmp_path).load_removals())
    store.save_registrations([], [], [], [], [("t1", "primary"), ("t1", "unknown")])
    assert set(missed[1:]) == set(reopened(tmp_path).load_removals())


def test_removals_while_the_disk_is_full(store, tmp_path, clock):
    """What could not be written is written in the order of what happened."""
    store.save_registrations([], [], [], [removal("a"), removal("b")])
    writable = store._database
    store._database = sqlite3.connect(":memory:", isolation_level=None)
    store.save_registrations([], [], [], [], [("a", "primary")])
    store.save_registrations([], [], [], [removal("a", until=2e9), removal("c")])
    store.save_registrations([], [], [], [], [("b", "primary"), ("c", "primary")])
    store._database = writable
    clock.advance(TRIED_AGAIN_EVERY)
    store.save_counters({"a": 1})
    assert [removal("a", until=2e9)] == reopened(tmp_path).load_removals()


def test_later_rows_replace_earlier_ones(store, tmp_path):
    store.save_registrations([binding(port=1)], [registration()])
    store.save_registrations([binding(port=2)], [registration(state="failed")])
    rows, registrations = reopened(tmp_path).load_registrations()
    assert [2] == [row.port for row in rows]
    assert ["failed"] == [row.state for row in registrations]


def test_removed_token_takes_its_registrations_along(store, tmp_path):
    store.save_registrations([binding("a"), binding("b")], [registration("a"), registration("b")])
    store.save_registrations([], [], ["a"])
    rows, registrations = reopened(tmp_path).load_registrations()
    assert (["b"], ["b"]) == ([row.token for row in rows], [row.token for row in registrations])


def test_bytes_that_are_not_utf_8(store, tmp_path):
    row = binding(contact='"\udcff" <sip:ä@203.0.113.7>')
    store.save_registrations([row], [])
    assert [row] == reopened(tmp_path).load_registrations()[0]


def test_counters_and_dns_answers(store, tmp_path):
    store.save_counters({"a": 1, "b": 2.5})
    store.save_counters({"a": 3})
    store.dns_memory.save({"SRV _sip._udp.example.com": "[...]"})
    again = reopened(tmp_path)
    assert {"a": 3, "b": 2.5} == again.load_counters()
    assert {"SRV _sip._udp.example.com": "[...]"} == again.dns_memory.load()


def test_dns_answers_that_are_needed_no_more(store, tmp_path):
    store.dns_memory.save({"A a.example": "[1]", "A b.example": "[2]"})
    store.dns_memory.forget(["A a.example", "A never.example"])
    assert {"A b.example": "[2]"} == reopened(tmp_path).dns_memory.load()
    store.dns_memory.save({"A a.example": "[3]"})
    assert {"A a.example": "[3]", "A b.example": "[2]"} == reopened(tmp_path).dns_memory.load()


def test_a_dns_answer_that_is_forgotten_and_learnt_again_while_the_disk_is_full(store, tmp_path, clock):
    """What could not be written is written in the order of what happened."""
    store.dns_memory.save({"A a.example": "[1]", "A b.example": "[1]"})
    writable = store._database
    store._database = sqlite3.connect(":memory:", isolation_level=None)
    store.dns_memory.forget(["A a.example"])
    store.dns_memory.save({"A a.example": "[2]", "A b.example": "[2]"})
    store.dns_memory.forget(["A b.example"])
    store._database = writable
    clock.advance(TRIED_AGAIN_EVERY)
    store.save_counters({"a": 1})
    assert {"A a.example": "[2]"} == reopened(tmp_path).dns_memory.load()


def test_state_directory_is_made(tmp_path):
    SqliteStore(tmp_path / "not" / "yet", print).close()
    assert (tmp_path / "not" / "yet" / "sbc.sqlite3").exists()


def test_file_is_for_its_owner_only(store, tmp_path):
    assert 0o600 == stat.S_IMODE((tmp_path / "sbc.sqlite3").stat().st_mode)


# The secret


def test_secret_is_made_once_and_for_its_owner_only(store, tmp_path):
    secret = store.secret()
    assert 32 == len(secret)
    assert secret == store.secret() == reopened(tmp_path).secret()
    assert 0o600 == stat.S_IMODE((tmp_path / "secret.key").stat().st_mode)
    assert ["sbc.sqlite3", "secret.key"] == sorted(p.name for p in tmp_path.iterdir() if "-" not in p.name)


def test_secret_that_was_cut_short_is_replaced(store, tmp_path):
    (tmp_path / "secret.key").write_bytes(b"short")
    assert 32 == len(store.secret())


def test_secret_that_cannot_be_written_lasts_until_the_end(tmp_path, events):
    """No key on disk is an alarm, not a reason to stand still."""
    (tmp_path / "file").write_text("")
    store = SqliteStore(tmp_path / "file" / "dir", events.append)
    assert 32 == len(store.secret())
    assert "secret" in [event.subject for event in events]


# Trouble


def test_kill_9_loses_nothing(tmp_path):
    """What was saved before the 200 left is there after SIGKILL."""
    code = (
        "import sys, time\n"
        "from tests.store.test_sqlite import *\n"
        f"store = SqliteStore({str(tmp_path)!r}, print)\n"
        "store.save_registrations([binding()], [registration()])\n"
        "print('saved', flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and "saved\n" == process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert [binding()] == reopened(tmp_path).load_registrations()[0]


@pytest.mark.parametrize("damage", [b"this is no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_corrupt_file_is_moved_aside(tmp_path, events, damage):
    (tmp_path / "sbc.sqlite3").write_bytes(damage)
    store = SqliteStore(tmp_path, events.append, wall_clock=lambda: 1234.5)
    store.save_registrations([binding()], [])
    assert ["store"] == [event.subject for event in events]
    assert "sbc.sqlite3.corrupt-1234" in events[0].text
    assert damage == (tmp_path / "sbc.sqlite3.corrupt-1234").read_bytes()
    assert [binding()] == reopened(tmp_path).load_registrations()[0]


def test_damage_inside_the_file_is_found_at_the_start(store, tmp_path, events):
    store.save_registrations([binding(f"token-{n}") for n in range(500)], [])
    store.close()
    path = tmp_path / "sbc.sqlite3"
    sqlite3.connect(path).execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(path.read_bytes())
    content[8192:12288] = os.urandom(4096)
    path.write_bytes(content)
    SqliteStore(tmp_path, events.append)
    assert 1 == len(events) and "corrupt" in events[0].text


def test_file_of_a_newer_version_is_kept(tmp_path, events):
    SqliteStore(tmp_path, events.append).close()
    with sqlite3.connect(tmp_path / "sbc.sqlite3") as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    SqliteStore(tmp_path, events.append, wall_clock=lambda: 5.0)
    assert "newer version" in events[0].text
    assert (tmp_path / "sbc.sqlite3.corrupt-5").exists()


# A file of a former version

OF_VERSION_1 = """
CREATE TABLE bindings (
    token TEXT PRIMARY KEY, grp TEXT NOT NULL, aor TEXT NOT NULL, contact TEXT NOT NULL, username TEXT NOT NULL,
    call_id TEXT NOT NULL, cseq INTEGER NOT NULL, transport TEXT NOT NULL, host TEXT NOT NULL, port INTEGER NOT NULL,
    local_host TEXT NOT NULL, local_port INTEGER NOT NULL, granted REAL NOT NULL, expires_at REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE registrations (
    token TEXT NOT NULL, server TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL, expires_at REAL NOT NULL,
    PRIMARY KEY (token, server)
) WITHOUT ROWID;
CREATE TABLE counters (name TEXT PRIMARY KEY, value REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE dns_answers (question TEXT PRIMARY KEY, answer TEXT NOT NULL) WITHOUT ROWID;
PRAGMA user_version = 1;
"""


@pytest.fixture(params=[1, 2])
def old_file(tmp_path, request):
    """With a binding of which some values are text, and one of which they are blobs."""
    with sqlite3.connect(tmp_path / "sbc.sqlite3") as database:
        database.executescript(OF_VERSION_1)
        rows = [binding("a")[:14], sqlite.schema.storable(binding("b", contact="<sip:\udcff@h>"))[:14]]
        database.executemany(f"INSERT INTO bindings VALUES ({','.join('?' * 14)})", rows)
        database.execute("INSERT INTO registrations VALUES ('a', 'primary', 'registered', '', 1.7e9)")
        database.execute("INSERT INTO counters VALUES ('calls', 7.0)")
        if request.param == 2:
            database.execute("ALTER TABLE bindings ADD COLUMN agent TEXT")
            database.execute("PRAGMA user_version = 2")
    database.close()
    return tmp_path


def test_file_of_a_former_version_is_brought_up_to_date(old_file, events):
    """All that is in it stays; of its phones no User-Agent is known. The second time there is nothing to do."""
    for _ in range(2):
        store = SqliteStore(old_file, events.append)
        rows, registrations = store.load_registrations()
        assert [] == store.load_removals()
        assert [binding("a"), binding("b", contact="<sip:\udcff@h>")] == rows
        assert [None, None] == [row.agent for row in rows]
        assert ([registration("a")], {"calls": 7.0}) == (registrations, store.load_counters())
        assert sqlite.schema.SCHEMA_VERSION == sqlite.schema.version_of(store._database)
        store.close()
    store = SqliteStore(old_file, events.append)
    learned = binding("a", agent="Yealink T46", method="serial", method_reason="because")
    store.save_registrations([learned], [registration("a", nonce="n", retry_at=9.0, failures=2)], [], [removal("z")])
    again = reopened(old_file)
    assert ([learned], [registration("a", nonce="n", retry_at=9.0, failures=2)], [removal("z")]) == (
        [row for row in again.load_registrations()[0] if row.token == "a"],
        again.load_registrations()[1],
        again.load_removals(),
    )
    assert ["Yealink T46", None] == [row.agent for row in reopened(old_file).load_registrations()[0]]
    assert [] == events


def test_two_processes_may_find_the_old_file_at_once(old_file, events, monkeypatch):
    """The one that comes second sees what the first has done, not what it has read before."""
    others = []
    brought = sqlite.schema.bring_up_to_date

    def first_let_the_other_one(database):
        database.execute("ROLLBACK")
        monkeypatch.setattr(sqlite.schema, "bring_up_to_date", brought)
        others.append(SqliteStore(old_file, events.append))
        database.execute("BEGIN IMMEDIATE")
        brought(database)

    monkeypatch.setattr(sqlite.schema, "bring_up_to_date", first_let_the_other_one)
    store = SqliteStore(old_file, events.append)
    assert [2, 2] == [len(each.load_registrations()[0]) for each in (store, *others)]
    assert [] == events


def test_old_file_that_cannot_be_written(old_file, events, monkeypatch):
    """What it holds is read, and all goes on in memory."""

    def cannot(database):
        raise sqlite3.OperationalError("attempt to write a readonly database")

    store = SqliteStore.__new__(SqliteStore)
    monkeypatch.setattr(SqliteStore, "_open_file", cannot)
    store.__init__(old_file, events.append)
    assert ["a", "b"] == [row.token for row in store.load_registrations()[0]]
    store.save_registrations([binding("c", agent="Yealink T46")], [])
    assert [None, None, "Yealink T46"] == [row.agent for row in store.load_registrations()[0]]
    assert 1 == len(events) and "nothing will survive a restart" in events[0].text


def test_a_user_agent_of_whatever_bytes(store, tmp_path):
    rows = [binding("a", agent="Telefon \udcff"), binding("b", agent=""), binding("c", contact="<sip:\udcff@h>")]
    store.save_registrations(rows, [])
    assert rows == reopened(tmp_path).load_registrations()[0]


def test_full_disk(store, tmp_path, events, clock):
    """Said once; what was not written is kept, and written when there is room again, without anything new."""
    store.save_registrations([binding("before")], [])
    store._database.execute("PRAGMA max_page_count = 1")
    for number in range(200):
        store.save_registrations([binding(f"t{number}")], [registration(f"t{number}")])
    assert 1 == len(events) and "full" in events[0].text
    assert not store.up_to_date
    store.save_registrations([], [], ["before"])
    store._database.execute("PRAGMA max_page_count = 100000")
    store.save_registrations([binding("after")], [])
    assert 1 == len(events), "the disk refuses each try, and each costs more than the one before"
    clock.advance(TRIED_AGAIN_EVERY)
    assert store.check()
    assert store.up_to_date
    assert "can be written again" in events[1].text
    rows, registrations = reopened(tmp_path).load_registrations()
    assert {"after", *(f"t{number}" for number in range(200))} == {row.token for row in rows}
    assert 200 == len(registrations)


def test_no_state_directory_at_all(tmp_path, events):
    """In memory, with an alarm."""
    (tmp_path / "file").write_text("")
    store = SqliteStore(tmp_path / "file" / "dir", events.append)
    store.save_registrations([binding()], [])
    assert [binding()] == store.load_registrations()[0]
    assert 1 == len(events) and "cannot create" in events[0].text


@pytest.fixture
def as_somebody_else(tmp_path):
    """Root may write everywhere; file permissions mean something to others only."""
    if os.geteuid() != 0:
        yield
        return
    tmp_path.chmod(0o777)
    for parent in tmp_path.parents:
        if parent.stat().st_mode & 0o005 != 0o005 and parent.owner() == "root":
            parent.chmod(parent.stat().st_mode | 0o055)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_read_only_directory(as_somebody_else, tmp_path, events):
    """What is there is read and kept in memory; and it is said that nothing will be written."""
    state = tmp_path / "state"
    first = SqliteStore(state, events.append)
    first.save_registrations([binding()], [registration()])
    first.close()
    for path in state.iterdir():
        path.chmod(0o444)
    state.chmod(0o555)
    store = SqliteStore(state, events.append)
    assert [binding()] == store.load_registrations()[0]
    store.save_registrations([binding("t2")], [])
    assert {"t1", "t2"} == {row.token for row in store.load_registrations()[0]}
    assert 1 == len(events) and "nothing will survive" in events[0].text
    state.chmod(0o755)


def test_unreadable_file_stops_the_start(as_somebody_else, tmp_path, events):
    """Exit status 1: state unreadable. Going on without what is there would be no service."""
    state = tmp_path / "state"
    SqliteStore(state, events.append).close()
    (state / "sbc.sqlite3").chmod(0o000)
    with pytest.raises(StateUnreadable, match="cannot be read"):
        SqliteStore(state, events.append)


def test_checkpoint_keeps_the_log_small(store, tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite, "_CHECKPOINT_EVERY", 50)
    for number in range(500):
        store.save_registrations([binding(port=number)], [])
        if store._checkpointing is not None:
            store._checkpointing.join()  # as if the registrations came at their usual pace
    assert (tmp_path / "sbc.sqlite3-wal").stat().st_size < 500_000
    assert [499] == [row.port for row in reopened(tmp_path).load_registrations()[0]]


@pytest.mark.parametrize("largest, expected", [(10**9, ["PASSIVE"]), (1, ["PASSIVE", "RESTART"])])
def test_log_that_never_gets_a_pause_is_given_one(store, monkeypatch, largest, expected):
    """Only then is the writer made to wait."""
    store.save_registrations([binding()], [])
    monkeypatch.setattr(sqlite, "_LARGEST_LOG", largest)
    connect, statements = sqlite._connect, []

    def recording(name):
        database = connect(name)
        database.set_trace_callback(statements.append)
        return database

    monkeypatch.setattr(sqlite, "_connect", recording)
    sqlite._checkpoint(store.path)
    assert [f"PRAGMA wal_checkpoint({mode})" for mode in expected] == statements


def test_two_processes_share_the_file(store, tmp_path):
    """`workers` above 1."""
    other = reopened(tmp_path)
    other.save_registrations([binding("b")], [])
    store.save_registrations([binding("a")], [])
    assert {"a", "b"} == {row.token for row in other.load_registrations()[0]}


def test_ten_thousand_load_in_well_under_a_second(store, tmp_path):
    rows = [binding(f"token-{number:05}") for number in range(10_000)]
    store.save_registrations(rows, [registration(row.token, server) for row in rows for server in ("p", "f")])
    again = reopened(tmp_path)
    started = time.process_time()
    bindings, registrations = again.load_registrations()
    assert time.process_time() - started < 0.8
    assert (10_000, 20_000) == (len(bindings), len(registrations))
