"""Datagrams from worker to worker: SIP messages and ICMP errors that came to the wrong one, answers to them that must leave
over a connection of another (`lent`), and phones that have moved.

Over Unix datagram sockets, which the kernel neither loses nor reorders. When a neighbour is too slow to read, or dead for
long, its mailbox fills and what comes then is dropped: SIP over UDP sends again.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

from twisted.internet.interfaces import IReadDescriptor
from zope.interface import implementer

from sbc.workers import marks

REQUEST, RESPONSE, FAILED, MOVED, SENT = range(5)

_COUNTED = {REQUEST: "request", RESPONSE: "response", FAILED: "icmp"}
_HEAD = struct.Struct("!BBIB")
_LARGEST = 66_000
_AT_ONCE = 64


class Parcel(NamedTuple):
    """What one worker gives to another."""

    kind: int
    listen: int
    """Which `[[listen]]` it came in at, by its place."""
    seen: int
    """Which workers had it before: a bit for each."""
    source: bytes
    """Who sent it, as the kernel writes addresses, and of a connection whose that is (`lent`); of FAILED the cause."""
    data: bytes
    """The message; of FAILED what the ICMP error quotes of it, of MOVED the token."""

    def packed(self) -> bytes:
        return _HEAD.pack(self.kind, self.listen, self.seen, len(self.source)) + self.source + self.data

    @classmethod
    def unpacked(cls, data: bytes) -> Parcel:
        kind, listen, seen, length = _HEAD.unpack_from(data)
        end = _HEAD.size + length
        return cls(kind, listen, seen, data[_HEAD.size : end], data[end:])


class Neighbours:
    """All workers, as one of them sees the others."""

    def __init__(self, me: int, outlets: Sequence[socket.socket]) -> None:
        self.me = me
        self._outlets = outlets
        self.gone: frozenset[int] = frozenset()
        """Those that do not run, or are not ready yet."""
        self.handed_over = dict.fromkeys(_COUNTED.values(), 0)
        self.dropped = 0

    @property
    def number(self) -> int:
        """Of workers, this one included."""
        return len(self._outlets)

    def owner_of(self, branch: str) -> int | None:
        """The neighbour that made this branch; None when it was this worker, or nobody here."""
        worker = marks.worker_of(branch)
        return None if worker is None or worker == self.me or worker >= self.number else worker

    def next_for(self, seen: int) -> int | None:
        """Round the circle, until somebody keeps it: who comes next where those were before. None when all were.

        Who is gone comes last: what its phones are sent waits for its successor, and the others' phones do not.
        """
        circle = [(self.me + step) % self.number for step in range(1, self.number)]
        left = [worker for worker in circle if not seen >> worker & 1]
        return next((worker for worker in left if worker not in self.gone), left[0] if left else None)

    def hand_to(self, worker: int, parcel: Parcel) -> None:
        self._hand(worker, parcel)

    def tell_moved(self, token: str) -> None:
        """The phone with this contact is served here from now on."""
        parcel = Parcel(MOVED, 0, 0, b"", token.encode("ascii"))
        for worker in range(self.number):
            if worker != self.me:
                self._hand(worker, parcel)

    def _hand(self, worker: int, parcel: Parcel) -> None:
        try:
            self._outlets[worker].send(parcel.packed())
        except OSError:
            self.dropped += 1
            return
        if parcel.kind in _COUNTED:
            self.handed_over[_COUNTED[parcel.kind]] += 1


@implementer(IReadDescriptor)
class Inbox:
    """Reads this worker's mailbox; `delivered` gets each parcel and must not raise."""

    def __init__(self, reactor, inbox: socket.socket, delivered: Callable[[Parcel], object]) -> None:
        self._reactor = reactor
        self._inbox = inbox
        self._delivered = delivered

    def start(self) -> None:
        self._reactor.addReader(self)

    def stop(self) -> None:
        self._reactor.removeReader(self)

    def fileno(self) -> int:
        return self._inbox.fileno()

    def logPrefix(self) -> str:  # noqa: N802 (Twisted's name)
        return "workers"

    def doRead(self) -> None:  # noqa: N802 (Twisted's name)
        for _ in range(_AT_ONCE):
            try:
                data = self._inbox.recv(_LARGEST)
            except OSError:
                return
            self._delivered(Parcel.unpacked(data))

    def connectionLost(self, reason) -> None:  # noqa: N802 (Twisted's name)
        """A datagram socket has no end."""
