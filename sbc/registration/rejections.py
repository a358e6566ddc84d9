"""How often a phone may show a server a password that it does not accept (pitfall D8).

A server may lock the account at the third wrong password, and some phones answer a repeated challenge without end. So each server
hears at most `wrong_password_tries` REGISTERs in any hour with credentials of one phone that it did not accept; the others are
answered here. The host from which they came is part of what a phone is, with its address-of-record and Contact (together their
token): nobody can lock out the phone of somebody else, nor the other phones behind his own address.

A right password cannot be told from a wrong one before a server has seen it, so somebody who has mended it must get one through
soon. The first three tries are free; those that are left are then spread evenly over what is left of the hour, and every 7 minutes
one is allowed where there are ten. A phone that begins anew, with another Call-ID, as it does when it has been set up or started
again, need not wait for that until it has used half of them.

One that the server has not judged is none: no answer came, or its nonce was stale. One that a newer REGISTER has overtaken is,
because the server may have seen it. The first success clears all of that phone at that server. A restart forgets these; what a
server refuses to a phone that is registered elsewhere is kept (`accounts`).

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1.
"""

from __future__ import annotations

from collections.abc import Iterator

import cython

WINDOW = 3600.0
"""Seconds in which `wrong_password_tries` are counted."""

AT_ONCE = 3
"""Tries that need not wait for each other."""

_MOST = 20_000  # phones; a flood must not fill the memory, so the oldest goes first
_MOST_TRIES = 200_000  # of all of them
_SWEEP_ABOVE = 1000


@cython.cclass
class Tries:
    """Those of one phone at one server."""

    times: list  # when, the oldest first
    call_id: str  # of the last, "" for one of our own
    is_own: cython.bint  # the last was an answer of ours, from the password file
    aor: str
    contact: str

    def __init__(self, aor: str, contact: str) -> None:
        self.times: list[float] = []
        self.call_id = ""
        self.is_own = False
        self.aor = aor
        self.contact = contact

    def forget_old(self, now: float) -> None:
        while self.times and self.times[0] <= now - WINDOW:
            del self.times[0]

    def next_at(self, call_id: str, most: int) -> float:
        """When the next is allowed, below now: at once. What is older than the hour must have been forgotten."""
        times = self.times
        number = len(times)
        if number >= most:
            return times[number - most] + WINDOW
        begins_anew = call_id != self.call_id
        if number < min(AT_ONCE, most) or (begins_anew and number < (most + AT_ONCE) // 2):
            return 0.0
        return times[-1] + (times[0] + WINDOW - times[-1]) / (most - number + 1)


@cython.cclass
class Rejections:
    """The tries of all phones. Told `now`."""

    _entries: dict
    _number: cython.Py_ssize_t
    _sweep_above: cython.Py_ssize_t

    def __init__(self) -> None:
        self._entries: dict[tuple[str, str, str], Tries] = {}  # by host, token and server; the last that has tried at the end
        self._number = 0
        self._sweep_above = _SWEEP_ABOVE

    def __len__(self) -> int:
        return len(self._entries)

    @cython.cfunc
    def are_any(self) -> cython.bint:
        """Has anybody shown wrong credentials of late?"""
        return len(self._entries) > 0

    @cython.ccall
    def next_try(
        self, host: str, token: str, server: str, call_id: str, most: cython.long, now: cython.double
    ) -> cython.double:
        """Seconds until the phone at that host, with that Contact, may show its credentials to that server; 0 = now.

        `most`: `wrong_password_tries`; `call_id`: of the REGISTER that wants to.
        """
        entry: Tries = self._entries.get((host, token, server))
        if entry is None:
            return 0.0
        self._forget_old(entry, now)
        return max(0.0, entry.next_at(call_id, most) - now) if entry.times else 0.0

    def rejected(
        self,
        host: str,
        token: str,
        server: str,
        call_id: str,
        now: float,
        *,
        aor: str = "",
        contact: str = "",
        is_own: bool = False,
    ) -> None:
        """That server did not accept credentials of that phone. `aor` and `contact`, and `is_own`, which says that the password file
        had them, are for those who look."""
        key = (host, token, server)
        if len(self._entries) > self._sweep_above:
            self._sweep(now)
        entry = self._entries.pop(key, None) or Tries(aor, contact)
        self._forget_old(entry, now)
        entry.times.append(now)
        entry.call_id = call_id
        entry.is_own = is_own
        self._number += 1
        self._entries[key] = entry
        while len(self._entries) > _MOST or (self._number > _MOST_TRIES and len(self._entries) > 1):
            self._drop(next(iter(self._entries)))

    @cython.ccall
    def accepted(self, host: str, token: str, server: str):
        """They were right."""
        if self._entries and (host, token, server) in self._entries:
            self._drop((host, token, server))

    @cython.ccall
    def is_known(self, host: str, token: str, server: str) -> cython.bint:
        """Has that server rejected credentials of that phone since it last accepted any?"""
        return (host, token, server) in self._entries

    def entries(self, now: float) -> Iterator[tuple[str, str, str, Tries]]:
        """(host, token, server, tries) of all phones that have any in the last hour."""
        for (host, token, server), entry in self._entries.items():
            self._forget_old(entry, now)
            if entry.times:
                yield host, token, server, entry

    def _forget_old(self, entry: Tries, now: float) -> None:
        before = len(entry.times)
        entry.forget_old(now)
        self._number -= before - len(entry.times)

    def _sweep(self, now: float) -> None:
        for key, entry in list(self._entries.items()):
            self._forget_old(entry, now)
            if not entry.times:
                del self._entries[key]
        self._sweep_above = max(_SWEEP_ABOVE, 2 * len(self._entries))

    def _drop(self, key: tuple[str, str, str, str]) -> None:
        self._number -= len(self._entries.pop(key).times)
