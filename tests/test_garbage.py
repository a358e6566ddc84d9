"""Full garbage collections happen only when there is little to do."""

from __future__ import annotations

import gc

import pytest

from sbc.garbage import LOOK_EVERY, QUIET_BELOW, GarbagePolicy
from tests.helpers.clock import FakeClock


@pytest.fixture
def clock():
    before = gc.get_threshold()
    yield FakeClock()
    gc.set_threshold(*before)
    gc.unfreeze()


def test_waits_for_a_quiet_moment(clock):
    received = 0
    policy = GarbagePolicy(clock, lambda: received)
    policy.start()
    for _ in range(5):
        received += int(QUIET_BELOW * LOOK_EVERY) + 1
        clock.advance(LOOK_EVERY)
    assert policy.full_collections == 0
    clock.advance(LOOK_EVERY)
    assert policy.full_collections == 1
    policy.stop()
    assert clock.pending == 0


def test_old_generation_is_left_alone(clock):
    policy = GarbagePolicy(clock, lambda: 0)
    policy.start()
    assert gc.get_threshold()[2] > 10**6
    policy.stop()
