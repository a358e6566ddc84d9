"""Phones that send REGISTERs in a loop, and are answered from here for a while: `Quarantine`.

Some phones answer a repeated challenge without limit, 25 times within milliseconds; some send the same again as soon as it was
refused. A phone of which more than ten REGISTERs in a row were challenged or refused within ten seconds, twenty at most, loops:
one that is well has been accepted after two or three. For `quarantine` seconds it then gets a 500 with Retry-After from here, and
no server hears of it. A 500 because any answer but a challenge ends an attempt; because there are phones that give up at a 403 for
good; and because a phone with servers of its own may take a 503 to mean that this one is dead (D7). The times in Retry-After
differ, so that phones which went mad at the same moment do not come back at the same moment.

A phone is its host and its Contact's token: after a power cut a thousand phones of one address are a thousand.

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1: it counts every REGISTER.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

import cython

MOST_IN_A_ROW = 10
"""REGISTERs not accepted within `WITHIN` seconds that are no loop yet."""

WITHIN = 10.0
"""Seconds; twice that at most, because two of these lengths are counted together."""

_MOST_COUNTED = 20_000  # phones, in `WITHIN`; those that come after them are not counted
_MOST_KEPT = 5_000  # phones in quarantine; the first to come leaves first

_MOST_IN_A_ROW = cython.declare(cython.int, MOST_IN_A_ROW)


class Kept(NamedTuple):
    """A phone in quarantine."""

    until: float
    aor: str
    contact: str
    group: str
    reason: str


@cython.cclass
class Quarantine:
    """Told `now`."""

    _counts: dict
    _counts_before: dict
    _counted_until: cython.double
    _kept: dict
    _rng: object

    def __init__(self, rng: random.Random | None = None) -> None:
        # (host, token) -> REGISTERs that were not accepted; in this length of time, and in the one before
        self._counts: dict[tuple[str, str], int] = {}
        self._counts_before: dict[tuple[str, str], int] = {}
        self._counted_until = 0.0
        self._kept: dict[tuple[str, str], Kept] = {}
        self._rng = rng or random.Random()

    def __len__(self) -> int:
        return len(self._kept)

    @cython.cfunc
    def is_any(self) -> cython.bint:
        """Is any phone in quarantine?"""
        return len(self._kept) > 0

    @cython.ccall
    def is_loop(self, host: str, token: str, now: cython.double) -> cython.bint:
        """One more REGISTER of that phone was not accepted. Was it one too many?"""
        if now >= self._counted_until:
            self._counts_before = self._counts if now < self._counted_until + WITHIN else {}
            self._counts = {}
            self._counted_until = now + WITHIN
        key: tuple = (host, token)
        number: cython.int = self._counts.get(key, 0) + 1
        if number > 1 or len(self._counts) < _MOST_COUNTED:
            self._counts[key] = number
        return number + self._counts_before.get(key, 0) > _MOST_IN_A_ROW

    @cython.ccall
    def accepted(self, host: str, token: str):
        """A REGISTER of that phone was accepted: it does not loop."""
        if self._counts:
            self._counts.pop((host, token), None)
        if self._counts_before:
            self._counts_before.pop((host, token), None)

    def keep(self, host: str, token: str, kept: Kept) -> None:
        """Into quarantine with it."""
        self.accepted(host, token)  # it begins to count again afterwards
        self._kept.pop((host, token), None)
        while len(self._kept) >= _MOST_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[host, token] = kept

    @cython.ccall
    def left(self, host: str, token: str, now: cython.double) -> cython.double:
        """Seconds for which the phone is still in quarantine; 0 when it is not."""
        kept = self._kept.get((host, token))
        if kept is None:
            return 0.0
        if now >= kept.until:
            del self._kept[host, token]
            return 0.0
        return kept.until - now

    def retry_after(self, left: float) -> int:
        """Seconds to be told to a phone that has so many left: by lot up to a fifth more."""
        return int(left * self._rng.uniform(1.0, 1.2)) + 1

    def numbers(self, now: float) -> dict[str, int]:
        """Phones in quarantine, by group."""
        found: dict[str, int] = {}
        for _, _, kept in self.entries(now):
            found[kept.group] = found.get(kept.group, 0) + 1
        return found

    def entries(self, now: float) -> Iterator[tuple[str, str, Kept]]:
        """(host, token, about it) of all that are in quarantine."""
        for (host, token), kept in list(self._kept.items()):
            if self.left(host, token, now) > 0.0:
                yield host, token, kept
