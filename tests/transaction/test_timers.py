"""The letters of RFC 3261 table 4 and RFC 6026."""

import dataclasses

import pytest

from sbc.transaction.timers import Timers


def test_default_values():
    """Table 4 with the usual T1, T2, T4, over UDP."""
    timers = Timers()
    values = {letter: getattr(timers, letter) for letter in "abdefghijklm"}
    assert values == {
        "a": 0.5, "b": 32.0, "d": 32.0, "e": 0.5, "f": 32.0, "g": 0.5,
        "h": 32.0, "i": 5.0, "j": 32.0, "k": 5.0, "l": 32.0, "m": 32.0,
    }  # fmt: skip


def test_c_is_longer_than_three_minutes():
    """RFC 3261 s.16.6 step 11: larger than 3 minutes."""
    assert Timers().c > 180


def test_scale_with_t1_and_t4():
    """Everything follows the three base values, but D never falls below 32 s (s.17.1.1.2)."""
    timers = Timers(t1=0.1, t2=1.0, t4=2.0)
    assert (timers.a, timers.b, timers.f, timers.h, timers.j) == (0.1, 6.4, 6.4, 6.4, 6.4)
    assert (timers.i, timers.k) == (2.0, 2.0)
    assert timers.d == 32.0


@pytest.mark.parametrize(
    ("t1", "t2", "expected"),
    [(0.5, 4.0, 3.5), (0.5, 8.0, 7.5), (1.0, 4.0, 3.0), (0.5, 0.5, 0.5), (0.5, 1.0, 0.5), (0.5, 3.0, 3.5)],
)
def test_trying_of_non_invite_is_due_when_timer_e_reaches_t2(t1, t2, expected):
    """RFC 4320 s.4.1: E fires after T1, 3*T1, 7*T1 ...; the first time it is reset to T2 is the one."""
    assert Timers(t1=t1, t2=t2).non_invite_trying == expected


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Timers().t1 = 1.0
