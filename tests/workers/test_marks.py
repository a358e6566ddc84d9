"""Whose branch is it?"""

from __future__ import annotations

import pytest

from sbc.config.model import MOST_WORKERS
from sbc.proxy.validation import Branches, boot_of
from sbc.workers import marks
from tests.helpers.network import request


@pytest.mark.parametrize("worker", [0, 1, 9, 10, 31])
def test_a_branch_shows_its_worker(worker):
    branches = Branches(marks.boot_word(worker))
    assert worker == marks.worker_of(branches.new(request("INVITE")))


def test_the_branch_of_an_ack_does_too():
    """It is made from the branch of the phone, so it is built in another way."""
    boot = marks.boot_word(3)
    assert boot == boot_of(f"z9hG4bK{7:010x}{boot}{9:016x}")


@pytest.mark.parametrize("branch", ["", "z9hG4bK", "z9hG4bK0123456789", "z9hG4bK0123456789~bcdef1"])
def test_a_foreign_branch_is_nobodys(branch):
    assert marks.worker_of(branch) is None


def test_two_runs_of_a_worker_differ():
    """What answers a branch of the run before must not find a transaction of this one."""
    assert len({marks.boot_word(2) for _ in range(50)}) == 50


def test_there_are_letters_for_all():
    assert MOST_WORKERS == marks.MOST_WORKERS
