"""TCP and TLS sockets that listen: one for each such `[[listen]]` (RFC 3261 18.2.1).

Whoever connects gets a flow of his own, an `AcceptedFlow`, which ends with the connection. Requests for a phone go back over
the connection that it registered or called over, for a phone behind a NAT can be reached in no other way (RFC 5626 5.3,
pitfall D26). Connections that we make ourselves are in `dialled`.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.protocol import Factory
from twisted.protocols.tls import TLSMemoryBIOFactory

from sbc.flow import Flow
from sbc.transport.addresses import forget_own_addresses, written
from sbc.transport.causes import BROKEN
from sbc.transport.place import Place
from sbc.transport.streams import Connection, Connections
from sbc.transport.tls import OwnCertificate

_BACKLOG = 1024  # all phones of a site come at once after a power cut; the kernel may cap it
_ADDRESSES_GOOD_FOR = 30.0  # seconds, as of UDP


class AcceptedFlow(Flow):
    """One connection that somebody has made to us."""

    def __init__(self, transport: StreamTransport, remote: tuple[str, int]) -> None:
        super().__init__(transport.name, transport.side, transport.sent_by(remote[0]), transport.local, remote)
        self._transport = transport
        self._connection: Connection | None = None
        self._asked = False

    def send(self, data: bytes) -> None:
        """One message. When the connection is gone it fails, a little later."""
        is_request = not data.startswith(b"SIP/2.0 ")
        if self._connection is not None:
            self._asked = self._asked or is_request
            self._connection.send(data)
        elif is_request:
            self._transport.later_failed(self, BROKEN)

    def belongs_to(self, connection: Connection) -> None:
        self._connection = connection

    def connection_ready(self, connection: Connection) -> None:
        """TLS may come before it; for us it makes no difference."""

    def heard(self) -> None:
        """The connection keeps the time."""

    def connection_lost(self, connection: Connection, cause: str, why: str) -> None:
        self._connection = None
        self.gone = True
        # What is remembered of a flow leads back to it; so it would wait for a full garbage collection.
        self.phone_address = None
        self.origin = None
        self.origin_epoch = 0
        self._transport.closed(self)
        if self._asked:
            self._transport.receiver.flow_failed(self, cause if cause != "closed" else BROKEN)

    def __repr__(self) -> str:
        return f"<{self.transport} {written(*self.local)} from {written(*self.remote)}>"


class StreamTransport:
    """The listening socket. `certificate` makes it a TLS one.

    `bound` is a socket that somebody else has opened by `listening_socket`. Raises OSError when the address cannot be bound.
    `start` begins accepting, `stop` closes it and the connections it has accepted.
    """

    def __init__(
        self, connections: Connections, address: str, port: int, *, side: str = "both", advertise: str | None = None,
        certificate: OwnCertificate | None = None, bound: socket.socket | None = None, receiver: Any = None,
    ) -> None:  # fmt: skip
        self.name = "tls" if certificate is not None else "tcp"
        self.side = side
        self.receiver = receiver or connections.receiver
        self.certificate = certificate
        self.own_addresses_forgotten: Any = None
        self._connections = connections
        self._reactor = connections.reactor
        self._socket = bound if bound is not None else listening_socket(address, port)
        name = self._socket.getsockname()
        self.local: tuple[str, int] = (name[0], name[1])
        self._place = Place(self.local, advertise)
        self.family = self._place.family
        self._flows: dict[tuple[str, int], AcceptedFlow] = {}
        self._port: Any = None
        self._look_again: Any = None
        self.received = 0
        """Messages are counted by `Connections`, for all together."""

    @property
    def is_wildcard(self) -> bool:
        return self._place.is_wildcard

    def sent_by(self, remote_host: str) -> str:
        return self._place.sent_by(remote_host)

    def answers_to(self, host: str, port: int) -> bool:
        return self._place.answers_to(host, port)

    def leads_to(self, host: str) -> bool:
        return self._place.leads_to(host)

    def flow_to(self, host: str, port: int) -> AcceptedFlow | None:
        """The connection that came from there, if it is still open."""
        return self._flows.get((host, port))

    def start(self) -> None:
        factory: Any = _Accepting(self, self._connections)
        if self.certificate is not None:
            factory = _AcceptingTls(self.certificate, factory, self._reactor)
        self._port = self._reactor.adoptStreamPort(self._socket.fileno(), self.family, factory)
        self._socket.close()  # the reactor has a descriptor of its own
        if self.is_wildcard:
            self._look_again = self._reactor.callLater(_ADDRESSES_GOOD_FOR, self._forget_own_addresses)

    def _forget_own_addresses(self) -> None:
        forget_own_addresses()
        if self.own_addresses_forgotten is not None:
            self.own_addresses_forgotten()
        self._look_again = self._reactor.callLater(_ADDRESSES_GOOD_FOR, self._forget_own_addresses)

    def stop(self) -> None:
        if self._look_again is not None:
            self._look_again.cancel()
            self._look_again = None
        if self._port is not None:
            self._port.stopListening()
            self._port = None
        else:
            self._socket.close()
        for flow in list(self._flows.values()):
            if flow._connection is not None:
                flow._connection.close("the appliance stops")

    # -- from the flows --------------------------------------------------------------------------------------------------

    def opened(self, flow: AcceptedFlow) -> None:
        self._flows[flow.remote] = flow

    def closed(self, flow: AcceptedFlow) -> None:
        if self._flows.get(flow.remote) is flow:
            del self._flows[flow.remote]

    def later_failed(self, flow: AcceptedFlow, cause: str) -> None:
        """Not from inside send(): the caller is in the middle of its own transition."""
        self._reactor.callLater(0, self.receiver.flow_failed, flow, cause)


class _Accepting(Factory):
    """Makes a flow for everybody who connects, as long as there is room."""

    noisy = False

    def __init__(self, transport: StreamTransport, connections: Connections) -> None:
        self._transport = transport
        self._connections = connections

    def buildProtocol(self, addr: Any) -> Connection | None:  # noqa: N802 (Twisted's name)
        if not self._connections.admits(addr.host):
            return None
        flow = AcceptedFlow(self._transport, (addr.host, addr.port))
        secure = self._transport.certificate is not None
        connection = Connection(self._connections, flow, accepted=True, secure=secure, receiver=self._transport.receiver)
        flow.belongs_to(connection)
        self._transport.opened(flow)
        return connection


class _AcceptingTls(TLSMemoryBIOFactory):
    """The same with TLS. Without room there is no protocol to be wrapped."""

    def __init__(self, certificate: OwnCertificate, accepting: _Accepting, clock: Any) -> None:
        super().__init__(certificate, False, accepting, clock)

    def buildProtocol(self, addr: Any) -> Any:  # noqa: N802 (Twisted's name)
        inner = self.wrappedFactory.buildProtocol(addr)
        return None if inner is None else self.protocol(self, inner)


def listening_socket(address: str, port: int, *, share: bool = False) -> socket.socket:
    """A socket for a `StreamTransport`; `share` lets others of the same user bind the port too. OSError when it is taken."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        # Connections of the run before may still be in TIME_WAIT.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((address, port))
        made.listen(_BACKLOG)
    except OSError:
        made.close()
        raise
    return made
