"""One UDP address that speaks SIP: datagrams in, messages to a transaction layer, messages out.

The smallest transport that a phone or a lab server can live on. `Endpoint` itself knows no socket: `listen` gives it
one of Twisted's, the tests give it an imaginary network.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from twisted.internet.protocol import DatagramProtocol

from sbc.clock import Clock
from sbc.flow import Flow
from sbc.sip.errors import MalformedMessage
from sbc.sip.message import Response, parse
from sbc.sip.uri import SipUri, format_host_port
from sbc.transaction.layer import TransactionLayer
from sbc.transaction.timers import Timers

Address = tuple[str, int]

DEFAULT_PORT = 5060


def address_of(uri: SipUri) -> Address:
    """Where a URI points. The lab resolves no names: hosts are IP addresses."""
    return uri.host, uri.port or DEFAULT_PORT


class UdpFlow(Flow):
    """A remote address as seen from one endpoint: the `Flow` of the transaction layer."""

    def __init__(self, local: Address, remote: Address, write: Callable[[bytes, Address], None]) -> None:
        super().__init__("udp", "both", format_host_port(*local), local, remote)
        self._write = write

    def send(self, data: bytes) -> None:
        self._write(data, self.remote)


class Endpoint:
    """A local address with a transaction layer. Whoever uses it sets `layer.user`.

    `write(data, remote)` sends one datagram. `deaf` drops whatever comes in: a server that hangs with its port open.
    """

    def __init__(
        self, clock: Clock, local: Address, write: Callable[[bytes, Address], None], timers: Timers | None = None
    ) -> None:
        self.clock = clock
        self.local = local
        self.timers = timers or Timers()
        self.layer = TransactionLayer(clock, self.timers)
        self.deaf = False
        self.dropped = 0
        """Datagrams that were not acceptable SIP."""
        self._write = write

    def flow_to(self, remote: Address) -> UdpFlow:
        return UdpFlow(self.local, remote, self._write)

    def datagram_received(self, data: bytes, remote: Address) -> None:
        if self.deaf or not data.strip():  # an empty line is a keep-alive
            return
        flow = self.flow_to(remote)
        try:
            message = parse(data)
            if isinstance(message, Response):
                self.layer.response_received(message, flow)
            else:
                message.note_source(*remote)
                self.layer.request_received(message, flow)
        except MalformedMessage:
            self.dropped += 1  # the layer has answered it where an answer is due


class _Socket(DatagramProtocol):
    endpoint: Endpoint | None = None

    def datagramReceived(self, data: bytes, remote: Address) -> None:  # noqa: N802 (Twisted's name)
        if self.endpoint is not None:
            self.endpoint.datagram_received(data, (remote[0], remote[1]))


def listen(reactor, address: str, port: int = 0, timers: Timers | None = None) -> Endpoint:
    """Open a UDP socket, on any free port when `port` is 0. Raises CannotListenError when the port is taken."""
    protocol = _Socket()
    listening = reactor.listenUDP(port, protocol, interface=address, maxPacketSize=65535)

    def write(data: bytes, remote: Address) -> None:
        try:
            protocol.transport.write(data, remote)
        except OSError:
            pass  # lost, as datagrams may be; the timers above know what to do

    endpoint = Endpoint(reactor, (address, listening.getHost().port), write, timers)
    protocol.endpoint = endpoint
    return endpoint


def free_port(kind: socket.SocketKind, address: str = "127.0.0.1") -> int:
    """A port that nobody uses at this moment, for a process that is started next."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind) as probe:
        probe.bind((address, 0))
        return probe.getsockname()[1]
