"""Full garbage collections happen only when there is little to do."""

from __future__ import annotations

import gc

import pytest

from sbc.garbage import LOOK_EVERY, MIDDLE, QUIET_BELOW, YOUNG, GarbagePolicy
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


class Ring:
    """What only the collector can free."""

    alive = 0

    def __init__(self):
        self.itself = self
        Ring.alive += 1

    def __del__(self):
        Ring.alive -= 1


def test_young_garbage_does_not_pile_up(clock):
    """However busy it is, what has become garbage soon after it was made is freed soon."""
    policy = GarbagePolicy(clock, lambda: 0)
    policy.start()
    most = 0
    for _ in range(20 * YOUNG):
        Ring()
        most = max(most, Ring.alive)
    assert most <= YOUNG


def test_no_young_collection_walks_many_objects(clock):
    """Its length is that of a pause: nothing is received meanwhile. Here all objects stay, as when a thousand phones
    register."""
    policy = GarbagePolicy(clock, lambda: 0)
    policy.start()
    walked = []

    def note(phase, info):
        if phase == "start":
            walked.append(sum(len(gc.get_objects(generation)) for generation in range(info["generation"] + 1)))

    gc.callbacks.append(note)
    try:
        kept = [[] for _ in range(20 * YOUNG)]
    finally:
        gc.callbacks.remove(note)
    assert len(kept) == 20 * YOUNG
    assert YOUNG < max(walked) <= (MIDDLE + 2) * YOUNG * 1.1
