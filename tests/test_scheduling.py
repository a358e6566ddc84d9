"""The policy that the kernel has for this process, in one of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="this system knows no SCHED_BATCH")

SAY = "import os; from sbc.scheduling import give_way; {}; print(give_way(), os.sched_getscheduler(0))"


def said(before: str) -> str:
    return subprocess.run([sys.executable, "-c", SAY.format(before)], capture_output=True, text=True, check=True).stdout.strip()


def test_interrupts_nobody():
    assert f"True {os.SCHED_BATCH}" == said("pass")


def test_the_administrator_s_choice_stands():
    before = "os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))"
    assert f"False {os.SCHED_IDLE}" == said(before)


def test_where_it_is_not_allowed_nothing_happens():
    assert "False 0" == said("os.sched_setscheduler = lambda *_: (_ for _ in ()).throw(PermissionError())")
