"""Is there anybody at all? `Reference` asks somebody who answers as long as the uplink is there (D33), without privileges.

Configured hosts beyond the uplink are asked by a TCP connection: accepted or refused, they are there; silence and "no way"
say that they are not. Without any it is the gateway towards the servers: a datagram to its discard port makes the system look
for it on the link (ARP, neighbour discovery), and the system's table says whether it was found.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.protocol import ClientFactory, Protocol as Connection
from twisted.python.failure import Failure

from sbc.transport.own_links import Way

_WITHIN = 3.0
"""Seconds for a host to accept or refuse a connection."""

_LOOKS, _LOOK_EVERY = 12, 1.0
"""At the neighbour table: a gateway that was there a moment ago is given five seconds, and then asked three times."""

_DISCARD = 9  # RFC 863

Then = Callable[[bool | None], None]


class Links(Protocol):
    """What we ask of `own_links`."""

    def way_to(self, address: str) -> Way | None: ...

    def neighbour_is_there(self, way: Way) -> bool | None: ...


class Reference:
    """`hosts`: address and port of each; one that answers is enough."""

    def __init__(self, reactor: Any, links: Links, hosts: Sequence[tuple[str, int]]) -> None:
        self._reactor = reactor
        self._links = links
        self._hosts = hosts

    def ask(self, server_address: str, then: Then) -> None:
        """`then(True)`: somebody is there; `then(False)`: nobody; `then(None)`: there is nobody to ask."""
        if self._hosts:
            asked = _Asked(len(self._hosts), then)
            for host, port in self._hosts:
                self._reactor.connectTCP(host, port, asked, timeout=_WITHIN)
            return
        way = self._links.way_to(server_address)
        if way is None or not way.gateway:
            then(None)
            return
        self._send_to(way.gateway)
        self._reactor.callLater(_LOOK_EVERY, self._look, way, _LOOKS, then)

    def _send_to(self, gateway: str) -> None:
        family = socket.AF_INET6 if ":" in gateway else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            try:
                sender.sendto(b"", (gateway, _DISCARD))
            except OSError:
                return  # no way there: the table will say the same

    def _look(self, way: Way, looks_left: int, then: Then) -> None:
        is_there = self._links.neighbour_is_there(way)
        if is_there is None and looks_left > 0:
            self._reactor.callLater(_LOOK_EVERY, self._look, way, looks_left - 1, then)
        else:
            then(bool(is_there))


class _Asked(ClientFactory):
    """A connection to each host; says yes at the first that is there, no when none is left."""

    noisy = False

    def __init__(self, waiting: int, then: Then) -> None:
        self._waiting = waiting
        self._then: Then | None = then

    def buildProtocol(self, address: object) -> Connection:  # noqa: N802 (Twisted's name)
        return _Accepted(self)

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:  # noqa: N802 (Twisted's name)
        self.answered(reason.check(Refused) is not None)

    def answered(self, is_there: bool) -> None:
        self._waiting -= 1
        if self._then is not None and (is_there or not self._waiting):
            then, self._then = self._then, None
            then(is_there)


class _Accepted(Connection):
    def __init__(self, asked: _Asked) -> None:
        self._asked = asked

    def connectionMade(self) -> None:  # noqa: N802 (Twisted's name)
        self.transport.abortConnection()
        self._asked.answered(True)
