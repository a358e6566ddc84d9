"""Who has answered wrongly too often (pitfall D8).

Some phones answer a repeated challenge without end, 25 times within milliseconds, and a server may lock the account
at the third wrong password. So a contact that was challenged again and again in spite of its credentials has to wait
here. The host that showed them is part of it: nobody can lock out the phone of somebody else.
"""

from __future__ import annotations

import cython

LIMIT = 3
"""REGISTERs with credentials that were not accepted, in a row."""

PAUSE = 60.0
"""Seconds without any of them forwarded; also how long one counts."""

_SWEEP_ABOVE = 1000
_MOST = 20_000  # a flood must not fill the memory; the oldest goes first


@cython.cclass
class Rejections:
    """Counts per contact. Told `now`."""

    _entries: dict
    _sweep_above: cython.Py_ssize_t

    def __init__(self) -> None:
        self._entries: dict[tuple[str, str, str], tuple[int, float]] = {}  # -> times, and until when it counts
        self._sweep_above = _SWEEP_ABOVE

    def __len__(self) -> int:
        return len(self._entries)

    @cython.cfunc
    def are_any(self) -> cython.bint:
        """Has anybody answered wrongly of late?"""
        return len(self._entries) > 0

    def must_wait(self, host: str, aor: str, contact: str, now: float) -> bool:
        entry = self._entries.get((host, aor, contact)) if self._entries else None
        return entry is not None and entry[0] >= LIMIT and now < entry[1]

    def rejected(self, host: str, aor: str, contact: str, now: float) -> None:
        """Credentials were shown and not accepted."""
        if len(self._entries) > self._sweep_above:
            self._entries = {key: entry for key, entry in self._entries.items() if entry[1] > now}
            self._sweep_above = max(_SWEEP_ABOVE, 2 * len(self._entries))
        times, until = self._entries.pop((host, aor, contact), (0, 0.0))
        while len(self._entries) >= _MOST:
            del self._entries[next(iter(self._entries))]
        self._entries[host, aor, contact] = (times + 1 if now < until else 1, now + PAUSE)

    def accepted(self, host: str, aor: str, contact: str) -> None:
        if self._entries:
            self._entries.pop((host, aor, contact), None)
