"""How often a phone may show a server a wrong password: the bookkeeping."""

from __future__ import annotations

import pytest

from sbc.registration import rejections
from sbc.registration.rejections import AT_ONCE, WINDOW, Rejections

PHONE = ("203.0.113.7", "token")


def tries_in(seconds: float, most: int, every: float = 1.0, new_call_ids: bool = False) -> list[float]:
    """When a phone that tries so often, always wrongly, is let through."""
    known, passed = Rejections(), []
    for number in range(int(seconds / every)):
        now, call_id = number * every, f"call-{number}" if new_call_ids else "call"
        if known.next_try(*PHONE, "primary", call_id, most, now) == 0.0:
            passed.append(now)
            known.rejected(*PHONE, "primary", call_id, now)
    return passed


@pytest.mark.parametrize("most", [1, 2, 3, 4, 10, 60])
@pytest.mark.parametrize("new_call_ids", [False, True])
def test_never_more_than_the_configured_number_in_any_hour(most, new_call_ids):
    """D8, V16: `wrong_password_tries`, in a window that slides."""
    passed = tries_in(4 * WINDOW, most, every=5.0, new_call_ids=new_call_ids)
    for at in passed:
        assert sum(at <= other < at + WINDOW for other in passed) <= most
    assert len(passed) >= 3 * most  # and what is allowed is given


def test_mended_password_is_tried_within_minutes():
    """What is left after the first three is spread over the hour, so that a right one among them gets through soon."""
    passed = tries_in(WINDOW, 10)
    assert [0.0, 1.0, 2.0] == passed[:AT_ONCE]
    gaps = [after - before for before, after in zip(passed[AT_ONCE - 1 :], passed[AT_ONCE:], strict=False)]
    assert 7 == len(gaps)
    assert max(gaps) <= 451


def test_phone_that_begins_anew_need_not_wait():
    """Another Call-ID: it was set up again, perhaps with the right password."""
    known = Rejections()
    for _ in range(3):
        known.rejected(*PHONE, "primary", "one", 0.0)
    assert known.next_try(*PHONE, "primary", "one", 10, 1.0) > 400
    assert 0.0 == known.next_try(*PHONE, "primary", "two", 10, 1.0)
    for number in range(3):
        known.rejected(*PHONE, "primary", f"call-{number}", 1.0)
    assert known.next_try(*PHONE, "primary", "three", 10, 2.0) > 400  # one that always does has no more of it


def test_others_are_untouched():
    """Another phone of the same address, another address, another server."""
    known = Rejections()
    for _ in range(10):
        known.rejected(*PHONE, "primary", "one", 0.0)
    assert known.next_try(*PHONE, "primary", "one", 10, 1.0) > 0.0
    assert 0.0 == known.next_try("203.0.113.7", "other", "primary", "one", 10, 1.0)
    assert 0.0 == known.next_try("203.0.113.8", "token", "primary", "one", 10, 1.0)
    assert 0.0 == known.next_try(*PHONE, "fallback", "one", 10, 1.0)


def test_success_clears_the_count():
    known = Rejections()
    for _ in range(10):
        known.rejected(*PHONE, "primary", "one", 0.0)
    known.accepted(*PHONE, "primary")
    assert 0.0 == known.next_try(*PHONE, "primary", "one", 10, 1.0)
    assert 0 == len(known)


def test_counts_are_forgotten():
    known = Rejections()
    for number in range(10_000):
        known.rejected("203.0.113.7", str(number), "primary", "one", number * 5.0)
    assert len(known) <= 2 * 720 + 1


def test_flood_of_them_is_bounded(monkeypatch):
    monkeypatch.setattr(rejections, "_MOST", 100)
    monkeypatch.setattr(rejections, "_MOST_TRIES", 150)
    known = Rejections()
    for number in range(5000):
        known.rejected("203.0.113.7", str(number), "primary", "one", 0.0)
    assert 100 == len(known)
    for _ in range(1000):
        known.rejected(*PHONE, "primary", "one", 0.0)
    entries = list(known.entries(0.0))
    assert sum(len(tries.times) for *_, tries in entries) <= 1001
    assert [(*PHONE, "primary")] == [(host, token, server) for host, token, server, _ in entries]
