"""What is on disk, and when: notes first, the database later."""

from __future__ import annotations

import shutil

import pytest

from sbc.registration import archive
from sbc.registration.archive import WRITE_BEHIND
from sbc.store import journal
from sbc.store.journal import RegistrationJournal
from sbc.store.sqlite import SqliteStore
from tests.helpers.scripted_servers import Phone, accept


class Disk:
    """A state directory, and what a process that starts would find in it now."""

    def __init__(self, folder) -> None:
        self._folder = folder
        self._copies = 0
        self.database = SqliteStore(folder / "state", print)
        self.store = RegistrationJournal(folder / "state", self.database)

    def found(self):
        """(bindings, registrations) after a kill."""
        self._copies += 1
        copy = self._folder / f"copy{self._copies}"
        shutil.copytree(self._folder / "state", copy)
        database = SqliteStore(copy, print)
        found = RegistrationJournal(copy, database).load_registrations()
        database.close()
        return found


@pytest.fixture
def disk(tmp_path) -> Disk:
    (tmp_path / "state").mkdir()
    return Disk(tmp_path)


@pytest.fixture
def site(make_site, disk):
    return make_site(store=disk.store)


def rows_of(site):
    offset = site.wall_clock() - site.clock.seconds()
    bindings, registrations = [], []
    for binding in site.registrar.bindings:
        row, of_servers = binding.rows(offset)
        bindings.append(row)
        registrations += of_servers
    return bindings, registrations


def rounded(rows):
    """Times on disk are milliseconds; the CSeq, which tells late REGISTERs from new ones, is that of the last change."""
    bindings, registrations = rows
    return (
        sorted(row._replace(expires_at=round(row.expires_at, 2), cseq=0) for row in bindings),
        sorted(row._replace(expires_at=round(row.expires_at, 2)) for row in registrations),
    )


@pytest.mark.parametrize(
    "contact", ["<sip:alice@203.0.113.7:5062>", '"A\\"l \udcff ä" <sip:alice@203.0.113.7:5062;line=1>;q=0.5']
)
def test_what_is_noted_is_what_is_known(site, disk, contact):
    """All fields, at once, and nothing of it in the database yet."""
    Phone(site).register(contact=contact)
    site.clock.advance(0.1)
    assert rounded(rows_of(site)) == rounded(disk.found())
    assert ([], []) == disk.database.load_registrations()


def test_renewal_is_noted_a_second_later(site, disk):
    phone = Phone(site)
    phone.register(expires=600)
    site.clock.advance(300)
    phone.register(expires=900)
    site.clock.advance(0.1)
    site.clock.advance(WRITE_BEHIND)
    assert rounded(rows_of(site)) == rounded(disk.found())
    assert ([], []) == disk.database.load_registrations()


def test_many_renewals_are_noted_in_parts(site, disk, monkeypatch):
    monkeypatch.setattr(archive, "_NOTED_AT_ONCE", 3)
    phones = [Phone(site, user=f"u{number}") for number in range(8)]
    for expires in (600, 900):
        for phone in phones:
            phone.register(expires=expires)
        site.clock.advance(0.1)
    site.clock.advance(WRITE_BEHIND + 0.1)
    assert rounded(rows_of(site)) == rounded(disk.found())


def test_removal_is_noted(site, disk):
    phone = Phone(site)
    phone.register()
    site.clock.advance(0.1)
    phone.register(expires=0)
    site.clock.advance(0.1)
    assert ([], []) == disk.found()


def test_many_notes_go_into_the_database(site, disk, monkeypatch):
    """Each contact once, in parts, and the journal begins anew."""
    monkeypatch.setattr(journal, "_LARGE", 3000)
    monkeypatch.setattr(archive, "_SAVED_AT_ONCE", 3)
    phones = [Phone(site, user=f"u{number}") for number in range(10)]
    for phone in phones:
        phone.register()
    site.clock.advance(0.1)
    phones[0].register(expires=0)
    assert disk.store.notes_are_many
    site.clock.advance(WRITE_BEHIND + 1)
    assert not disk.store.notes_are_many
    assert rounded(rows_of(site)) == rounded(disk.database.load_registrations()) == rounded(disk.found())


def test_closing_saves_everything(site, disk, tmp_path):
    site.fallback.reply = accept(120)
    phone = Phone(site)
    phone.register()
    site.clock.advance(5)
    phone.register(expires=900)
    site.clock.advance(0.1)
    site.registrar.close()
    disk.store.close()
    assert rounded(rows_of(site)) == rounded(disk.database.load_registrations())
    assert [] == list((tmp_path / "state").glob("sbc-journal-*"))


def test_full_disk_asks_the_database(site, disk, monkeypatch):
    monkeypatch.setattr(journal.os, "write", lambda file, data: 0)
    Phone(site).register()
    site.clock.advance(0.1)
    assert rounded(rows_of(site)) == rounded(disk.database.load_registrations())


@pytest.mark.parametrize("agent", ["", "Yealink T46", 'Tele"fon\\ \udcff'])
def test_the_user_agent_is_in_the_notes_and_in_the_database(site, disk, agent):
    """Where it tells the kind of a phone, after a kill and after an orderly end."""
    phone = Phone(site)
    phone.register()
    site.clock.advance(0.1)
    assert [None] == [row.agent for row in disk.found()[0]]
    (binding,) = site.registrar.bindings
    binding.agent, binding.unsaved = agent, True
    phone.register()
    site.clock.advance(0.1)
    assert [agent] == [row.agent for row in disk.found()[0]]
    site.registrar.close()
    assert [agent] == [row.agent for row in disk.database.load_registrations()[0]]
