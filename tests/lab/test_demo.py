"""`sbc demo` as a viewer runs it, and the same story made impossible."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import pytest

pytestmark = pytest.mark.e2e

WITHIN = 60  # seconds that the whole story may take


def _hears_hangups() -> None:
    """Under nohup the tests do not, nor would what they start, and the demo respects that."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture
def start(tmp_path):
    """Start a Python program in a process group of its own, which ends with the test, whatever happens."""
    processes = []

    def start(*command: str, cwd: Path | None = None) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "TMPDIR": str(tmp_path)},
            process_group=0,
            preexec_fn=_hears_hangups,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        if group_lives(process):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


@pytest.fixture
def play(start):
    """Run to the end; returns the exit status, the output and the seconds it took."""

    def play(*command: str, cwd: Path | None = None) -> tuple[int, str, float]:
        began = time.monotonic()
        process = start(*command, cwd=cwd)
        output, _ = process.communicate(timeout=100)
        return process.returncode, output, time.monotonic() - began

    return play


def group_lives(process: subprocess.Popen) -> bool:
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def read_until(process: subprocess.Popen, mark: str) -> str:
    """The first line with `mark` in it. When the output ends before, the failure shows all of it."""
    told = []
    for line in process.stdout:
        told.append(line)
        if mark in line:
            return line
    raise AssertionError(f"it ended without {mark!r}:\n{''.join(told)}")


def delay_of(row: str, output: str) -> tuple[float, str]:
    """(milliseconds, call server) of one row of the table."""
    found = re.search(rf"^{re.escape(row)} +([\d.]+) ms .* (\w+)$", output, re.MULTILINE)
    assert found, f"no row {row!r} in:\n{output}"
    return float(found[1]), found[2]


@pytest.mark.alone
def test_the_story_comes_true(play, tmp_path):
    """Also beside a folder that is named like the program: a clone, seen from where it was cloned."""
    beside = tmp_path / "beside"
    (beside / "sbc").mkdir(parents=True)
    status, output, seconds = play("-P", "-m", "sbc", "demo", cwd=beside)
    assert 0 == status, output
    assert seconds < WITHIN
    assert "The story came true" in output
    assert "NOT SO" not in output and "Traceback" not in output
    assert "\033[" not in output, "colours without a terminal"
    usual, through = delay_of("on an ordinary day", output)
    assert "primary" == through
    for row, most in (
        ("first after kill -9", usual + 200),
        ("later ones", usual + 50),
        ("first, primary silent", 7600),
        ("later ones, still silent", usual + 50),
    ):
        delay, through = delay_of(row, output)
        assert "fallback" == through
        assert delay <= most + 0.2, row  # rounding
    for row in ("after its restart", "after it woke up"):
        assert "primary" == delay_of(row, output)[1]
    assert 2 == output.count("sbc | failover")
    assert 2 == output.count("sbc | new requests return")
    assert [beside] == list(tmp_path.iterdir()), "files left"


def test_without_a_fallback_the_story_fails(play):
    status, output, _ = play("-m", "sbc.lab.demo", "--without-fallback")
    assert 1 == status, output
    assert "The story did not come true" in output


def test_without_the_appliance_the_story_fails(play):
    """Something that is not sbc is run in its place, and ends at once."""
    script = "import sys; from sbc.lab.demo import main; sys.exit(main(sbc_command=['/bin/false']))"
    status, output, _ = play("-c", script)
    assert 1 == status, output
    assert "sbc ended (1) before it was ready" in output


@pytest.mark.alone
def test_a_promise_that_is_not_kept_fails_the_story(play):
    """With a tighter limit than retry_counts allow, everything else being well."""
    script = "import sys; from sbc.lab import demo; demo.SILENT_CALL = 5.0; sys.exit(demo.main())"
    status, output, _ = play("-c", script)
    assert 1 == status, output
    assert 2 == output.count("too late: at most 5000.0 ms")  # where it happened, and again at the end
    assert 1 == output.count("NOT SO: ")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_it_takes_its_processes_along(start, tmp_path, how):
    process = start("-m", "sbc", "demo")
    read_until(process, "The primary dies")
    process.send_signal(how)
    process.send_signal(how)  # once more, for impatience
    output, _ = process.communicate(timeout=15)
    assert 0 != process.returncode
    assert "Traceback" not in output
    assert not group_lives(process)
    assert [] == list(tmp_path.iterdir()), "files left"


def test_nobody_listens_any_more(start):
    """`sbc demo | head`: it stops, and leaves neither a traceback nor a process."""
    process = start("-m", "sbc", "demo")
    read_until(process, "Setting up")
    process.stdout.close()
    assert 1 == process.wait(timeout=15)
    assert not group_lives(process)


def test_keep_leaves_it_running_with_its_status_page(start, tmp_path):
    process = start("-m", "sbc", "demo", "--keep")
    page = re.search(r"http://\S+/", read_until(process, "It stays like this"))[0]
    with urlopen(page + "status.json", timeout=5) as answer:
        assert "demo" == json.load(answer)["appliance"]["name"]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=15)
    assert 0 == process.returncode
    assert not group_lives(process)
    assert [] == list(tmp_path.iterdir()), "files left"
