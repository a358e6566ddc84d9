"""What the system knows of our own links and ways: `OwnLinks` asks Linux over netlink (rtnetlink(7)), without privileges.

A link is up when it is switched on and has what it needs to carry something: a carrier, an operator's word (IFF_UP and
IFF_RUNNING). Changes of links, addresses and routes are reported by the system as they happen.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_LINK = struct.Struct("=BxHiII")  # family, type, index, flags, change
_ROUTE = struct.Struct("=BBBBBBBBI")  # family, lengths of destination and source, tos, table, protocol, scope, type, flags
_NEIGHBOUR = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type

_ERROR, _DONE = 2, 3
_NEW_LINK, _GET_LINK = 16, 18
_NEW_ROUTE, _GET_ROUTE = 24, 26
_NEW_NEIGHBOUR, _GET_NEIGHBOUR = 28, 30
_REQUEST, _DUMP = 0x1, 0x300
_DESTINATION, _INTERFACE, _GATEWAY = 1, 4, 5  # attributes of a route; a neighbour's address is number 1 too
_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400  # links; addresses and routes of IPv4 and IPv6

_IS_UP, _IS_LOOPBACK, _IS_RUNNING = 0x1, 0x8, 0x40

_IS_THERE = 0x02 | 0x40 | 0x80  # reachable, needs no asking, permanent
_IS_NOT = 0x01 | 0x20  # incomplete: asked and not answered yet; failed

_ANSWER_WITHIN = 1.0
"""Seconds. The kernel answers while it is asked; this is for the case that it does not."""

_LARGEST = 65536


class Way(NamedTuple):
    """How a datagram would leave for an address."""

    interface: int
    gateway: str
    """Empty where the address is a neighbour's."""


class OwnLinks:
    """`changed` is called when anything has. Raises OSError from `start` when the system does not let us ask."""

    def __init__(self, reactor: Any, changed: Callable[[], object]) -> None:
        self._reactor = reactor
        self._changed = changed
        self._events: socket.socket | None = None
        self._questions: socket.socket | None = None
        self._sequence = 0

    def start(self) -> None:
        self._questions = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._questions.settimeout(_ANSWER_WITHIN)
        self._questions.bind((0, 0))
        self._events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._events.setblocking(False)
        self._events.bind((0, _GROUPS))
        self._reactor.addReader(self)

    def stop(self) -> None:
        if self._events is not None:
            self._reactor.removeReader(self)
        for each in (self._events, self._questions):
            if each is not None:
                each.close()
        self._events = self._questions = None

    def leads_to(self, address: str) -> bool:
        """True when there is a way to that address over a link that is up; loopback always is."""
        way = self.way_to(address)
        return way is not None and self.is_running(way.interface)

    def way_to(self, address: str) -> Way | None:
        """None when there is none."""
        packed = ipaddress.ip_address(address).packed
        family = socket.AF_INET6 if len(packed) == 16 else socket.AF_INET
        body = _ROUTE.pack(family, 8 * len(packed), 0, 0, 0, 0, 0, 0, 0) + _attribute(_DESTINATION, packed)
        for kind, answer in self._ask(_GET_ROUTE, _REQUEST, body):
            if kind == _NEW_ROUTE:
                found = dict(_attributes(answer[_ROUTE.size :]))
                gateway = found.get(_GATEWAY, b"")
                if _INTERFACE in found:
                    return Way(
                        struct.unpack("=i", found[_INTERFACE])[0],
                        str(ipaddress.ip_address(gateway)) if gateway else "",
                    )
        return None

    def is_running(self, interface: int) -> bool:
        """True for one that is up and can carry something."""
        for kind, answer in self._ask(_GET_LINK, _REQUEST, _LINK.pack(socket.AF_UNSPEC, 0, interface, 0, 0)):
            if kind == _NEW_LINK:
                flags = _LINK.unpack_from(answer)[3]
                return bool(flags & _IS_UP) and bool(flags & (_IS_RUNNING | _IS_LOOPBACK))
        return False

    def neighbour_is_there(self, way: Way) -> bool | None:
        """Whether the gateway of that way answers to its address on the link; None while that is being found out.

        The system asks by itself when something is sent there.
        """
        packed = ipaddress.ip_address(way.gateway).packed
        family = socket.AF_INET6 if len(packed) == 16 else socket.AF_INET
        state = None
        for kind, answer in self._ask(_GET_NEIGHBOUR, _REQUEST | _DUMP, _NEIGHBOUR.pack(family, 0, 0, 0, 0)):
            if kind == _NEW_NEIGHBOUR:
                _, interface, its_state, _, _ = _NEIGHBOUR.unpack_from(answer)
                its_address = dict(_attributes(answer[_NEIGHBOUR.size :])).get(_DESTINATION)
                if interface == way.interface and its_address == packed:
                    state = its_state
        if state is None or state & _IS_NOT:
            return False
        return True if state & _IS_THERE else None

    def _ask(self, kind: int, flags: int, body: bytes) -> Iterator[tuple[int, bytes]]:
        """Each message of the answer, its kind and its content. Nothing when the system says that there is none."""
        if self._questions is None:
            return
        self._sequence += 1
        length = _HEADER.size + len(body)
        answers = []
        with contextlib.suppress(OSError):
            self._questions.send(_HEADER.pack(length, kind, flags, self._sequence, 0) + body)
            while True:
                messages = list(_messages(self._questions.recv(_LARGEST)))
                answers += [message[:2] for message in messages if message[2] == self._sequence]
                if any(each in (_DONE, _ERROR) for each, _, _ in messages) or (not flags & _DUMP and answers):
                    break
        yield from answers

    # For the reactor

    def fileno(self) -> int:
        return self._events.fileno() if self._events is not None else -1

    def doRead(self) -> None:  # noqa: N802 (Twisted's name)
        assert self._events is not None
        # What has changed we ask anew; also when there was more than the buffer holds (ENOBUFS).
        with contextlib.suppress(BlockingIOError):
            for _ in range(64):
                with contextlib.suppress(_TooMuch):
                    _receive(self._events)
        self._changed()

    def connectionLost(self, reason: object) -> None:  # noqa: N802 (Twisted's name)
        """The reactor saw the error flag: some reports were lost, and it has forgotten us. Nothing ends a netlink socket."""
        if self._events is not None and not getattr(self._reactor, "_stopped", False):
            self.doRead()
            self._reactor.addReader(self)

    def logPrefix(self) -> str:  # noqa: N802 (Twisted's name)
        return "links"


class _TooMuch(Exception):
    """The system had more to say than we had room for."""


def _receive(events: socket.socket) -> None:
    try:
        events.recv(_LARGEST)
    except BlockingIOError:
        raise
    except OSError as error:
        raise _TooMuch(os.strerror(error.errno or 0)) from error


def _messages(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Kind, content and sequence number of each."""
    while len(data) >= _HEADER.size:
        length, kind, _, sequence, _ = _HEADER.unpack_from(data)
        if length < _HEADER.size:
            return
        yield kind, data[_HEADER.size : length], sequence
        data = data[(length + 3) & ~3 :]


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if length < _ATTRIBUTE.size:
            return
        yield kind & 0x3FFF, data[_ATTRIBUTE.size : length]
        data = data[(length + 3) & ~3 :]


def _attribute(kind: int, content: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(content), kind) + content
