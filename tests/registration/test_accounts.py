"""Accounts that a server refuses, apart from servers that fail (V16)."""

from __future__ import annotations

import random

from sbc.redundancy.settings import GroupSettings
from sbc.registration.accounts import LONGEST_AFTER_REFUSAL, Accounts, begins_anew, waits
from sbc.registration.bindings import FAILED, REGISTERED, Binding, Upstream

OFFICE = GroupSettings(name="office", servers=(), register_retry_base=30, register_retry_max=60)


def refused_upstream(times: int = 1, settings: GroupSettings = OFFICE, now: float = 100.0) -> tuple[Upstream, list[float]]:
    """An upstream whose account was tried so often, each time as soon as that was allowed; and the waits."""
    accounts, upstream = Accounts(random.Random(1)), Upstream("primary")
    upstream.state = FAILED
    waited = []
    for _ in range(times):
        accounts.refused(upstream, settings, 0.0, now)
        waited.append(upstream.retry_at - now)
        now = upstream.retry_at
    return upstream, waited


def test_account_waits_until_its_next_try_is_due():
    """V16"""
    upstream, (wait,) = refused_upstream()
    assert 30 <= wait <= 60
    assert [True, False] == [waits(upstream, 100.0 + wait - 1), waits(upstream, 100.0 + wait)]
    upstream.state = REGISTERED
    assert not waits(upstream, 100.0)


def test_wait_doubles_up_to_half_an_hour():
    """RFC 5626 4.5; also where what the appliance registers itself is tried more often."""
    _, waited = refused_upstream(12)
    for times, wait in enumerate(waited, start=1):
        bound = min(LONGEST_AFTER_REFUSAL, 30 * 2.0**times)
        assert bound / 2 <= wait <= bound
    assert len({round(wait) for wait in waited[6:]}) > 1  # by lot


def test_refusal_that_comes_while_it_waits_makes_the_wait_no_longer():
    """The phone has no other server, and asks every minute."""
    upstream, _ = refused_upstream()
    before = upstream.retry_at
    Accounts().refused(upstream, OFFICE, 0.0, 110.0)
    assert (before, 1) == (upstream.retry_at, upstream.failures)


def test_wait_is_no_shorter_than_the_allowed_tries_want():
    """`wrong_password_tries` counts what the appliance answers itself, too."""
    upstream = Upstream("primary")
    Accounts(random.Random(1)).refused(upstream, OFFICE, 450.0, 100.0)
    assert 550.0 == upstream.retry_at


def test_success_clears_it():
    upstream, _ = refused_upstream(3)
    Accounts().accepted(upstream)
    assert (0.0, 0) == (upstream.retry_at, upstream.failures)
    assert not waits(upstream, 100.0)


def test_phone_that_begins_anew():
    """Another Call-ID or another user name: somebody may have mended the account."""
    binding = Binding("t", "office", "sip:a@d", "<sip:a@h>", call_id="one", username="a")
    assert not begins_anew(binding, "one", "")
    assert not begins_anew(binding, "one", "a")
    assert begins_anew(binding, "one", "b")
    assert begins_anew(binding, "two", "")
