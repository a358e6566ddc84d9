"""When a worker that died is started again."""

from __future__ import annotations

from sbc.workers.restarts import Restarts


def lives(restarts: Restarts, *lengths: float) -> list[float]:
    """How long each start waits after lives of these lengths."""
    now, waits = 1000.0, []
    for length in lengths:
        restarts.started(now)
        now += length
        waits.append(restarts.died(now))
        now += waits[-1]
    return waits


def test_the_first_death_costs_no_wait():
    assert [0.0] == lives(Restarts(), 3.0)


def test_who_dies_again_and_again_waits_longer_and_longer():
    assert [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0] == lives(Restarts(), *[1.0] * 9)


def test_a_good_run_makes_it_good():
    """What killed it an hour ago is another story."""
    assert [0.0, 0.5, 0.0, 0.5] == lives(Restarts(), 1.0, 1.0, 3600.0, 1.0)


def test_starts_are_counted():
    restarts = Restarts()
    lives(restarts, 1.0, 2.0, 3.0)
    assert restarts.number == 3
