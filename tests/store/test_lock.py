"""One appliance for one state directory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sbc.store.lock import NAME, StateLock, StateTaken

HOLDS = """
import sys, time
from pathlib import Path
from sbc.store.lock import StateLock
lock = StateLock(Path(sys.argv[1]), print)
print("held", flush=True)
time.sleep(60)
"""


def nothing(event: object) -> None:
    raise AssertionError(event)


@pytest.fixture
def holder(tmp_path: Path):
    """Another process that has it."""
    process = subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_one_is_told_who_has_it(tmp_path: Path, holder: subprocess.Popen) -> None:
    with pytest.raises(StateTaken) as refused:
        StateLock(tmp_path, nothing, patience=0.0)
    assert str(refused.value) == (
        f"{tmp_path} is in use by another appliance (process {holder.pid}): each needs its own state_dir"
    )


def test_one_that_was_killed_holds_nothing(tmp_path: Path, holder: subprocess.Popen) -> None:
    """At once, without waiting for the end of it; the file that it leaves stops nobody."""
    os.kill(holder.pid, signal.SIGKILL)
    lock = StateLock(tmp_path, nothing)
    assert (tmp_path / NAME).read_text() == f"{os.getpid()}\n"
    lock.release()


def test_released(tmp_path: Path) -> None:
    lock = StateLock(tmp_path / "made" / "here", nothing)
    with pytest.raises(StateTaken):
        StateLock(tmp_path / "made" / "here", nothing, patience=0.0)
    lock.release()
    lock.release()
    StateLock(tmp_path / "made" / "here", nothing, patience=0.0).release()


def test_children_do_not_inherit_it(tmp_path: Path) -> None:
    """A worker that outlives its supervisor for a moment keeps nobody from starting."""
    lock = StateLock(tmp_path, nothing)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
    try:
        lock.release()
        StateLock(tmp_path, nothing).release()
    finally:
        child.communicate(b"\n")


def test_where_nothing_can_be_written_it_is_an_alarm(tmp_path: Path) -> None:
    """Phones are served from memory then."""
    (tmp_path / "file").write_text("")
    told: list = []
    StateLock(tmp_path / "file" / "state", told.append).release()
    (alarm,) = told
    assert alarm.subject == "store"
    assert alarm.text.endswith("another appliance with this state_dir would not be noticed")
    assert "Not a directory" in alarm.text
