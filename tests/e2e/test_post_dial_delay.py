"""How long a caller waits for the first ringing when the primary is dead.

Measured at the phone, from its INVITE to the first 180 or 200, against the same phone's calls while the primary lived.
"""

from __future__ import annotations

import time

import pytest

from tests.e2e.peers import Peers
from tests.e2e.peers.appliance import RARE_PROBES

pytestmark = pytest.mark.alone

CALLS = 20


def test_silent_primary_delays_the_first_call_only(peers: Peers) -> None:
    """retry_counts 3: given up after 7.5 s, once; later calls do not wait for it."""
    primary = peers.call_server("primary")
    fallback = peers.call_server("fallback")
    sbc = peers.sbc([primary, fallback], group=RARE_PROBES)
    phone = peers.sipp_phone("alice", sbc.proxy())
    slowest_before = max(phone.call("bob", calls=CALLS))

    primary.freeze()
    [first] = phone.call("bob")
    later = phone.call("bob", calls=CALLS)
    assert 7.4 < first <= 7.6
    assert max(later) < slowest_before + 0.050


def test_refusing_primary_delays_nobody(peers: Peers) -> None:
    """A dead process on a living machine: ICMP says so at once (D16)."""
    primary = peers.call_server("primary")
    fallback = peers.call_server("fallback")
    sbc = peers.sbc([primary, fallback], group=RARE_PROBES)
    phone = peers.sipp_phone("alice", sbc.proxy())
    slowest_before = max(phone.call("bob", calls=CALLS))

    primary.kill()
    [first] = phone.call("bob")
    later = phone.call("bob", calls=CALLS)
    assert first < slowest_before + 0.200
    assert max(later) < slowest_before + 0.050


@pytest.mark.parametrize("retry_counts, seconds", [(0, 0.5), (1, 1.5), (2, 3.5)])
def test_retry_counts_say_how_long(peers: Peers, retry_counts: int, seconds: float) -> None:
    """First send and N retransmissions; given up when the next one would have been due."""
    primary = peers.call_server("primary")
    fallback = peers.call_server("fallback")
    sbc = peers.sbc([primary, fallback], group=RARE_PROBES, server=f"retry_counts = {retry_counts}")
    phone = peers.sipp_phone("alice", sbc.proxy())
    phone.call("bob")

    primary.freeze()
    started = time.monotonic()
    [delay] = phone.call("bob")
    assert seconds - 0.1 < delay <= seconds + 0.1, f"after {time.monotonic() - started:.1f} s"
