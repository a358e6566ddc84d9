"""Phones that send REGISTERs in a loop: the bookkeeping."""

from __future__ import annotations

import random

from sbc.registration import quarantine
from sbc.registration.quarantine import MOST_IN_A_ROW, WITHIN, Kept, Quarantine

HOST, TOKEN = "203.0.113.7", "token"
KEPT = Kept(300.0, "sip:a@d", "sip:a@h", "office", "it loops")


def test_loop_is_seen():
    known = Quarantine()
    seen = [known.is_loop(HOST, TOKEN, number * 0.01) for number in range(MOST_IN_A_ROW + 1)]
    assert [*[False] * MOST_IN_A_ROW, True] == seen


def test_success_in_between_is_no_loop():
    """401, 200, 401, 200: however often it refreshes."""
    known = Quarantine()
    for number in range(100):
        assert not known.is_loop(HOST, TOKEN, number * 0.1)
        known.accepted(HOST, TOKEN)


def test_slow_repetition_is_no_loop():
    """A phone that is refused and asks every few seconds."""
    known = Quarantine()
    assert not any(known.is_loop(HOST, TOKEN, number * 2 * WITHIN / MOST_IN_A_ROW) for number in range(1000))


def test_site_after_a_power_cut_is_no_loop():
    """A thousand phones of one address, four REGISTERs each within a second."""
    known = Quarantine()
    assert not any(known.is_loop(HOST, f"token-{number % 1000}", number / 4000) for number in range(4000))


def test_quarantine_ends():
    known = Quarantine()
    known.keep(HOST, TOKEN, KEPT)
    assert [200.0, 0.0] == [known.left(HOST, TOKEN, now) for now in (100.0, 300.0)]
    assert 0.0 == known.left(HOST, "other", 100.0) == known.left("203.0.113.8", TOKEN, 100.0)
    assert 0 == len(known)


def test_count_begins_again_after_it():
    known = Quarantine()
    while not known.is_loop(HOST, TOKEN, 299.0):
        pass
    known.keep(HOST, TOKEN, KEPT)
    assert not known.is_loop(HOST, TOKEN, 300.0)


def test_phones_are_not_told_to_come_back_at_the_same_moment():
    known = Quarantine(random.Random(1))
    told = {known.retry_after(100.0) for _ in range(100)}
    assert len(told) > 10
    assert all(100 < seconds <= 121 for seconds in told)


def test_strangers_do_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(quarantine, "_MOST_COUNTED", 100)
    monkeypatch.setattr(quarantine, "_MOST_KEPT", 50)
    known = Quarantine()
    for number in range(1000):
        known.is_loop(HOST, str(number), 0.0)
        known.keep(HOST, str(number), KEPT)
    assert 50 == len(known) == len(list(known.entries(1.0)))
