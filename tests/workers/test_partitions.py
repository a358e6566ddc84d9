"""Folders of state, and nothing lost when there are more or fewer workers than before."""

from __future__ import annotations

import json

import pytest

from sbc.store.journal import PREFIX, RegistrationJournal
from sbc.store.secret import SECRET_NAME
from sbc.store.sqlite import SqliteStore
from sbc.workers.partitions import adopt, folder_of, prepare
from tests.store.test_sqlite import binding, registration, removal


@pytest.fixture
def facts() -> list:
    """What was reported; nothing, in these tests."""
    reported: list = []
    yield reported
    assert [] == reported


def save(folder, facts, *bindings, registrations=()) -> None:
    store = SqliteStore(folder, facts.append)
    store.save_registrations(bindings, registrations)
    store.close()


def tokens(folder, facts) -> list[str]:
    store = SqliteStore(folder, facts.append)
    found = sorted(row.token for row in store.load_registrations()[0])
    store.close()
    return found


def test_the_first_worker_has_the_appliances_own_folder(tmp_path):
    """So that one process and the first of several find the same."""
    assert tmp_path == folder_of(tmp_path, 0)
    assert tmp_path / "worker-2" == folder_of(tmp_path, 2)


def test_all_workers_have_one_secret(tmp_path, facts):
    """Each verifies the cookies of the others; also when one had another secret, from a restored backup say."""
    (tmp_path / "worker-2").mkdir()
    (tmp_path / "worker-2" / SECRET_NAME).write_bytes(b"y" * 32)
    prepare(tmp_path, 3, facts.append)
    stores = [SqliteStore(folder_of(tmp_path, worker), facts.append) for worker in range(3)]
    assert 1 == len({store.secret() for store in stores})
    for store in stores:
        store.close()


def test_secret_is_for_us_alone(tmp_path, facts):
    prepare(tmp_path, 2, facts.append)
    assert 0o600 == (tmp_path / "worker-1" / SECRET_NAME).stat().st_mode & 0o777
    assert 0o700 == (tmp_path / "worker-1").stat().st_mode & 0o777


def test_fewer_workers_leave_nothing_behind(tmp_path, facts):
    """From three to two: the first takes over what the third had, with its registrations, and the folder goes."""
    prepare(tmp_path, 3, facts.append)
    for worker, token in enumerate("abc"):
        save(folder_of(tmp_path, worker), facts, binding(token), registrations=[registration(token)])
    prepare(tmp_path, 2, facts.append)
    assert ["a", "c"] == tokens(tmp_path, facts)
    assert ["b"] == tokens(tmp_path / "worker-1", facts)
    assert not (tmp_path / "worker-2").exists()
    store = SqliteStore(tmp_path, facts.append)
    assert ["a", "c"] == sorted(row.token for row in store.load_registrations()[1])
    store.close()


def test_back_to_one_process(tmp_path, facts):
    prepare(tmp_path, 2, facts.append)
    save(tmp_path / "worker-1", facts, binding("b"))
    adopt(tmp_path, 1, facts.append)
    assert ["b"] == tokens(tmp_path, facts)


def test_of_a_phone_at_two_workers_the_newer_row_counts(tmp_path, facts):
    """It moved, and the worker before was killed before it heard of it."""
    prepare(tmp_path, 3, facts.append)
    save(tmp_path, facts, binding("a")._replace(expires_at=200.0, port=1), binding("b")._replace(expires_at=100.0, port=1))
    for worker in (1, 2):
        rows = [binding(token)._replace(expires_at=150.0 + worker, port=2) for token in "ab"]
        save(folder_of(tmp_path, worker), facts, *rows)
    adopt(tmp_path, 1, facts.append)
    store = SqliteStore(tmp_path, facts.append)
    assert {"a": (200.0, 1), "b": (152.0, 2)} == {
        row.token: (row.expires_at, row.port) for row in store.load_registrations()[0]
    }
    store.close()


def test_what_the_first_worker_noted_does_not_take_a_phone_away(tmp_path, facts):
    """The phone went from it to another worker, all were killed, and there are fewer now."""
    prepare(tmp_path, 2, facts.append)
    notes = [[[binding("a")], [registration("a")], [], []], [[], [], ["a"], []]]
    (tmp_path / f"{PREFIX}0").write_text("".join(json.dumps(note) + "\n" for note in notes))
    save(tmp_path / "worker-1", facts, binding("a"), registrations=[registration("a")])
    adopt(tmp_path, 1, facts.append)
    store = SqliteStore(tmp_path, facts.append)
    journal = RegistrationJournal(tmp_path, store)
    assert ["a"] == [row.token for row in journal.load_registrations()[0]]
    journal.close()
    store.close()


def test_a_folder_in_use_is_left_alone(tmp_path, facts):
    """Somebody has started a second appliance in the same folder. It will not get its ports; it must not take this."""
    prepare(tmp_path, 2, facts.append)
    store = SqliteStore(tmp_path / "worker-1", facts.append)
    journal = RegistrationJournal(tmp_path / "worker-1", store)
    journal.save_registrations([binding("b")], [])
    adopt(tmp_path, 1, facts.append)
    assert [] == tokens(tmp_path, facts)
    journal.close()
    store.close()
    assert ["b"] == tokens(tmp_path / "worker-1", facts)


def test_what_somebody_else_put_there_stays(tmp_path, facts):
    prepare(tmp_path, 2, facts.append)
    (tmp_path / "worker-1" / "notes.txt").write_text("mine")
    adopt(tmp_path, 1, facts.append)
    assert ["notes.txt"] == [path.name for path in (tmp_path / "worker-1").iterdir()]


def test_without_such_folders_nothing_is_touched(tmp_path, facts):
    """An appliance that never had workers."""
    (tmp_path / "worker-bees").mkdir()
    adopt(tmp_path, 1, facts.append)
    assert ["worker-bees"] == [path.name for path in tmp_path.iterdir()]


def test_d13_removals_of_a_worker_that_there_is_no_more_go_on(tmp_path, facts):
    """But not of a phone that is registered again, wherever: it would lose what it has."""
    prepare(tmp_path, 2, facts.append)
    store = SqliteStore(folder_of(tmp_path, 1), facts.append)
    store.save_registrations([binding("here")], [], [], [removal("a"), removal("here"), removal("there")])
    store.close()
    save(tmp_path, facts, binding("there"))
    adopt(tmp_path, 1, facts.append)
    store = SqliteStore(tmp_path, facts.append)
    assert [removal("a")] == store.load_removals()
    assert {"here", "there"} == {row.token for row in store.load_registrations()[0]}
    store.close()
