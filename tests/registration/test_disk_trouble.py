"""A registrar on a real disk that fills up, gets space again, becomes read-only, or is taken away: phones stay in service.

The disk is a tmpfs of 200 kB in a mount namespace of its own, with a process in it that does what `sbc` does. So nothing of
this machine is filled, and it works as root and, where users may have namespaces, as anybody.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sbc.events import Alarm
from sbc.registration.archive import WRITE_BEHIND
from sbc.store.journal import PREFIX, RegistrationJournal
from sbc.store.sqlite import TRIED_AGAIN_EVERY, SqliteStore
from tests.helpers.clock import FakeClock
from tests.helpers.scripted_servers import Phone, Site

UNSHARE = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
_MOUNT = "mount -t tmpfs -o size=200k none {folder} && "


def _cannot_mount() -> str:
    if shutil.which("unshare") is None:
        return "no unshare here"
    made = subprocess.run(
        [*UNSHARE, "sh", "-c", "mount -t tmpfs -o size=200k none /mnt"], capture_output=True, text=True, check=False
    )
    return made.stderr.strip() if made.returncode else ""


CANNOT_MOUNT = _cannot_mount()
needs_a_disk = pytest.mark.skipif(bool(CANNOT_MOUNT), reason=f"no file system can be mounted: {CANNOT_MOUNT}")


class Appliance:
    """A site with its state in a folder. Time is a fake clock's."""

    def __init__(self, folder: Path, wall: float = 1.7e9) -> None:
        self.clock = FakeClock()
        self.clock.callLater(0.0, lambda: None)  # an idle clock is none to `Site`
        self.alarms: list[Alarm] = []
        self.database = SqliteStore(folder, self.alarms.append, monotonic=self.clock.seconds)
        self.store = RegistrationJournal(folder, self.database, self.alarms.append)
        self.site = Site(clock=self.clock, store=self.store, wall=wall)
        self.phones: dict[str, Phone] = {}

    def register(self, name: str, expires: int = 3600) -> None:
        """As phones do; and it must be told that it is registered, whatever the disk says."""
        phone = self.phones.get(name) or self.phones.setdefault(name, Phone(self.site, user=name))
        phone.register(expires=expires)
        self.clock.advance(0.1)
        assert 200 == phone.answers[-1]

    def pause(self, seconds: float = WRITE_BEHIND + 0.5) -> None:
        self.clock.advance(seconds)

    def known(self) -> list[str]:
        return sorted(binding.aor.partition("@")[0].removeprefix("sip:") for binding in self.site.registrar.bindings)

    def said(self, word: str) -> int:
        """How many alarms have that word."""
        return sum(word in alarm.text for alarm in self.alarms)


def found_in(folder: Path) -> list[str]:
    """The phones that a process finds that starts after a kill now. It looks at a copy, elsewhere."""
    copy = folder.parent / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)
    for suffix in ("-shm",):  # of a living process; whoever starts makes it anew
        (copy / f"sbc.sqlite3{suffix}").unlink(missing_ok=True)
    restarted = Appliance(copy, wall=1.7e9 + 100)
    return restarted.known()


def names(first: int, behind: int) -> list[str]:
    return [f"u{number:03}" for number in range(first, behind)]


def fill(ballast: Path) -> None:
    """Until not one more octet fits."""
    file = os.open(ballast, os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while True:
            os.write(file, b"x" * 512)
    os.close(file)


# What runs in the namespace; each prints what the test then looks at.


def disk_fills_up(folder: Path) -> dict:
    ballast = folder / "ballast"
    appliance = Appliance(folder / "state")
    for name in names(0, 10):
        appliance.register(name)
    appliance.pause()
    before = found_in(folder / "state")
    fill(ballast)
    for name in names(10, 200):
        appliance.register(name)
    appliance.register("u003", expires=0)
    appliance.pause(TRIED_AGAIN_EVERY + 1)
    appliance.register("u150")
    appliance.pause()
    full = {"known": appliance.known(), "up_to_date": appliance.database.up_to_date, "said": len(appliance.alarms)}
    ballast.unlink()
    # The tmpfs is too small for all of them: so it grows, as a disk does on which somebody has made room.
    subprocess.run(["mount", "-o", "remount,size=4m", str(folder)], check=True)
    appliance.pause(TRIED_AGAIN_EVERY + 1)
    appliance.site.registrar.check_store()
    appliance.pause()
    return {
        "before": before,
        "full": full,
        "up_to_date": appliance.database.up_to_date,
        "after": found_in(folder / "state"),
        "alarms": [alarm.text for alarm in appliance.alarms],
    }


def disk_is_full_at_the_start(folder: Path) -> dict:
    fill(folder / "ballast")
    appliance = Appliance(folder / "state")
    secret = appliance.store.secret()
    for name in names(0, 20):
        appliance.register(name)
    appliance.pause()
    full = {"known": appliance.known(), "up_to_date": appliance.database.up_to_date}
    (folder / "ballast").unlink()
    subprocess.run(["mount", "-o", "remount,size=4m", str(folder)], check=True)
    appliance.pause(TRIED_AGAIN_EVERY + 1)
    appliance.site.registrar.check_store()
    appliance.pause()
    return {
        "full": full,
        "up_to_date": appliance.database.up_to_date,
        "after": found_in(folder / "state"),
        "alarms": [alarm.text for alarm in appliance.alarms],
        "same_secret": secret == (folder / "state" / "secret.key").read_bytes(),
    }


def disk_becomes_read_only(folder: Path) -> dict:
    subprocess.run(["mount", "-o", "remount,size=4m", str(folder)], check=True)
    appliance = Appliance(folder / "state")
    for name in names(0, 10):
        appliance.register(name)
    appliance.pause()
    # A file that is open for writing keeps the kernel from this; a disk that has failed asks nobody.
    appliance.store.close()
    appliance.database.close()
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    second = Appliance(folder / "state", wall=1.7e9 + 100)
    started_with = second.known()
    for name in names(10, 20):
        second.register(name)
    second.pause(TRIED_AGAIN_EVERY + 1)
    read_only = {"known": second.known(), "up_to_date": second.database.up_to_date}
    subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
    second.pause(TRIED_AGAIN_EVERY + 1)
    second.site.registrar.check_store()
    second.pause()
    return {
        "started_with": started_with,
        "read_only": read_only,
        "up_to_date": second.database.up_to_date,
        "after": found_in(folder / "state"),
        "alarms": [alarm.text for alarm in second.alarms],
    }


def on_a_small_disk(what, tmp_path) -> dict:
    folder = tmp_path / "disk"
    folder.mkdir()
    code = (
        "import json, pathlib\n"
        f"from tests.registration.test_disk_trouble import {what.__name__} as what\n"
        f"print(json.dumps(what(pathlib.Path({str(folder)!r}))))\n"
    )
    shell = f"mount -t tmpfs -o size=200k none {folder} && exec {sys.executable} -c \"$CODE\""
    done = subprocess.run(
        [*UNSHARE, "sh", "-c", shell], env={**os.environ, "CODE": code}, capture_output=True, text=True, check=False
    )
    assert 0 == done.returncode, done.stderr
    assert "" == done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@needs_a_disk
def test_a_disk_that_fills_up_and_gets_space_again(tmp_path):
    """Alarms at its beginning and its end, each once; 200 phones are served from memory, and on disk afterwards."""
    seen = on_a_small_disk(disk_fills_up, tmp_path)
    print(seen["alarms"])
    everybody = [name for name in names(0, 200) if name != "u003"]
    assert names(0, 10) == seen["before"]
    assert {"known": everybody, "up_to_date": False, "said": 1} == seen["full"]
    assert seen["up_to_date"]
    assert everybody == seen["after"]
    first, last = seen["alarms"]
    assert "cannot write" in first and "full" in first
    assert "can be written again; nothing was lost" in last


@needs_a_disk
def test_a_disk_that_is_full_at_the_start(tmp_path):
    """With nothing on it: all in memory, and on disk with the same secret as soon as there is space."""
    seen = on_a_small_disk(disk_is_full_at_the_start, tmp_path)
    print(seen["alarms"])
    assert {"known": names(0, 20), "up_to_date": False} == seen["full"]
    assert seen["up_to_date"] and seen["same_secret"]
    assert names(0, 20) == seen["after"]


@needs_a_disk
def test_a_disk_that_is_read_only_for_a_while(tmp_path):
    """What is on it is read, phones register in memory; once it can be written, it has all of them."""
    seen = on_a_small_disk(disk_becomes_read_only, tmp_path)
    print(seen["alarms"])
    assert names(0, 10) == seen["started_with"]
    assert {"known": names(0, 20), "up_to_date": False} == seen["read_only"]
    assert seen["up_to_date"]
    assert names(0, 20) == seen["after"]


# Without a disk of their own


def test_a_state_directory_that_is_taken_away_while_running(tmp_path):
    """The next change makes it anew, with all phones and removals, not only with those that changed."""
    appliance = Appliance(tmp_path / "state")
    for name in names(0, 120):
        appliance.register(name)
    appliance.pause()
    shutil.rmtree(tmp_path / "state")
    appliance.register("u007")
    appliance.pause(3)
    assert names(0, 120) == appliance.known() == found_in(tmp_path / "state")
    assert 1 == appliance.said("written anew")


def test_it_is_seen_without_a_change(tmp_path):
    """By who looks now and then."""
    appliance = Appliance(tmp_path / "state")
    for name in names(0, 5):
        appliance.register(name)
    appliance.pause()
    shutil.rmtree(tmp_path / "state")
    appliance.site.registrar.check_store()
    appliance.pause()
    assert names(0, 5) == found_in(tmp_path / "state")


def test_a_database_that_turns_out_to_be_corrupt_is_begun_anew_with_all_phones(tmp_path, monkeypatch):
    appliance = Appliance(tmp_path / "state")
    monkeypatch.setattr("sbc.store.journal._LARGE", 0)
    for name in names(0, 100):
        appliance.register(name)
    appliance.pause(3)
    appliance.database._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path = tmp_path / "state" / "sbc.sqlite3"
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xaa" * (size - 4096))
    appliance.database._database.execute("PRAGMA cache_size = 0")
    appliance.register("u100")
    appliance.pause(5)
    assert names(0, 101) == appliance.known() == found_in(tmp_path / "state")
    assert 1 == appliance.said("corrupt")


# What it costs


def test_refreshes_cost_one_write_a_second_however_many_they_are(tmp_path, monkeypatch):
    """And a new contact, or one that is removed, one at once. No transaction of the database for any of them."""
    appliance = Appliance(tmp_path / "state")
    writes: list[int] = []
    transactions: list[str] = []
    really = os.write
    monkeypatch.setattr(os, "write", lambda file, data: writes.append(len(data)) or really(file, data))
    appliance.database._database.set_trace_callback(transactions.append)
    for name in names(0, 50):
        appliance.register(name)
    assert 50 == len(writes)
    appliance.pause(60)
    assert 50 == len(writes)
    writes.clear()
    for name in names(0, 50):
        phone = appliance.phones[name]
        phone.register(expires=3600)
    appliance.pause()
    assert 1 == len(writes)
    writes.clear()
    appliance.register("u000", expires=0)
    appliance.pause()
    assert 2 == len(writes), "that it is removed, at once; that the servers have heard of it, later"
    assert [] == transactions
    (journal,) = (tmp_path / "state").glob(f"{PREFIX}*")
    assert journal.stat().st_size < 40_000
