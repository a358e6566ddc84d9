"""`sbc demo` as a viewer runs it, and the same story made impossible."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.e2e

WITHIN = 60  # seconds that the whole story may take


def play(*command: str) -> tuple[int, str, float]:
    """Run to the end; its whole process group ends with it, whatever happens."""
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, process_group=0
    )
    try:
        output, _ = process.communicate(timeout=100)
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    return process.returncode, output, time.monotonic() - began


def delay_of(row: str, output: str) -> tuple[int, str]:
    """(milliseconds, call server) of one row of the table."""
    found = re.search(rf"^{re.escape(row)} +(\d+) ms +(\w+)$", output, re.MULTILINE)
    assert found, f"no row {row!r} in:\n{output}"
    return int(found[1]), found[2]


def test_the_story_comes_true():
    status, output, seconds = play("-m", "sbc", "demo")
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
        assert delay <= most + 1, row  # rounding
    for row in ("after the return", "after it woke up"):
        assert "primary" == delay_of(row, output)[1]


def test_without_a_fallback_the_story_fails():
    status, output, _ = play("-m", "sbc.lab.demo", "--without-fallback")
    assert 1 == status, output
    assert "The story did not come true" in output


def test_without_the_appliance_the_story_fails():
    """Something that is not sbc is run in its place, and ends at once."""
    script = "import sys; from sbc.lab.demo import main; sys.exit(main(sbc_command=['/bin/false']))"
    status, output, _ = play("-c", script)
    assert 1 == status, output
    assert "sbc ended before it was ready" in output


@pytest.mark.parametrize("keep", [True, False])
def test_no_process_is_left_behind(keep):
    """Interrupted in the middle, the demo takes its servers along."""
    process = subprocess.Popen(
        [sys.executable, "-m", "sbc.lab.demo", *(["--keep"] if keep else [])],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, process_group=0,
    )  # fmt: skip
    try:
        for line in process.stdout:
            if "know only" in line:
                break
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=15)
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    assert 1 == process.returncode
