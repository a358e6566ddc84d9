"""How long an attempt waits: "retry N times" turned into seconds (table a.0 of the bulletins' rules; RFC 3261 s.17.1).

N retransmissions follow the first send, and the server is given up at the instant when retransmission N+1 would have
been due. INVITE doubles its gaps without a cap (Timer A), other methods cap them at T2 (Timer E); nothing waits longer
than 64*T1 (Timers B and F). A server may be given a time instead of a count (F6); what falls due in it is sent.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

_REMEMBERED = 256
"""How many results are kept: nearly every request asks for the same ones."""


class Timing(NamedTuple):
    """T1 and T2 of RFC 3261; a plain `(t1, t2)` fits where it is asked for."""

    t1: float = 0.5
    t2: float = 4.0

    @property
    def full(self) -> float:
        """64*T1, what the last server of a list is given."""
        return 64 * self.t1


def gaps(method: str, timing: Timing, interval: float = 0.0) -> Iterator[float]:
    """The seconds between one send and the next, for ever. `interval` > 0: constant (Polycom retryTimeOut)."""
    if interval > 0:
        while True:
            yield interval
    gap = timing.t1
    while True:
        yield gap
        gap = 2 * gap if method == "INVITE" else min(2 * gap, timing.t2)


@lru_cache(_REMEMBERED)
def patience(
    retry_counts: int | None, method: str, timing: Timing, interval: float = 0.0, retry_time: float = 0.0
) -> tuple[float, int]:
    """Seconds until a server that never answers is left, and how often it has been asked by then. None: the last one."""
    if retry_counts is None:
        seconds = timing.full
    else:
        seconds = give_up(retry_counts, method, timing, interval, retry_time)
    return seconds, sends_within(seconds, method, timing, interval)


def give_up(
    retry_counts: int, method: str, timing: Timing, interval: float = 0.0, retry_time: float = 0.0
) -> float:
    """Seconds after the first send at which a server that never answers is left, when others are still to be tried.

    `retry_time` > 0: after so many seconds, however often it was asked by then (Fanvil V2, F6).
    """
    if retry_time > 0:
        return min(retry_time, timing.full)
    total = 0.0
    for _, gap in zip(range(retry_counts + 1), gaps(method, timing, interval), strict=False):
        total += gap
        if total >= timing.full:
            return timing.full
    return total


def sends_within(timeout: float, method: str, timing: Timing, interval: float = 0.0) -> int:
    """How often a request goes out over UDP in `timeout` seconds; what falls due at the last instant is not sent."""
    times = _send_times(max(timeout, timing.full), method, timing, interval)
    return bisect_left(times, timeout - _AN_INSTANT, lo=1)


@lru_cache(_REMEMBERED)
def _send_times(end: float, method: str, timing: Timing, interval: float) -> tuple[float, ...]:
    """Seconds after the first send at which it and all retransmissions before `end` go out."""
    times = [0.0]
    for gap in gaps(method, timing, interval):
        at = times[-1] + gap
        if at >= end:
            return tuple(times)
        times.append(at)
    raise AssertionError("gaps never end")


_AN_INSTANT = 1e-9
"""Sums of floats that should be equal may differ by less than this."""
