"""The hours of the day in which new requests may return to a server: `failback_window = "02:00-04:00"`.

Written as two times of day, the second of which does not belong to it. It may span midnight: "22:00-01:30". The time is
the machine's local time, so what daylight saving does to the night it does to the window.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

TimeOfDay = Callable[[], float]
"""Seconds since local midnight, by the wall clock."""

DAY = 86400

_FORM = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)", re.ASCII)


def expectation(text: object) -> str | None:
    """None when it can be used; otherwise what was expected, in words."""
    found = _FORM.fullmatch(text) if isinstance(text, str) else None
    if found is None or found[1] + found[2] == found[3] + found[4]:
        return 'two different times of day such as "02:00-04:00"'
    return None


def opens_in(text: str, time_of_day: float) -> float:
    """Seconds until the window is open; 0 while it is."""
    begin, end = _times(text)
    if (time_of_day - begin) % DAY < (end - begin) % DAY:
        return 0.0
    return (begin - time_of_day) % DAY


@lru_cache
def _times(text: str) -> tuple[int, int]:
    hours = _FORM.fullmatch(text)
    if hours is None:
        raise ValueError(f"{text!r} is no window: expected {expectation(text)}")
    from_hour, from_minute, to_hour, to_minute = map(int, hours.groups())
    return from_hour * 3600 + from_minute * 60, to_hour * 3600 + to_minute * 60
