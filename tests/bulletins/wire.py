"""An imaginary network on fake time that writes down every datagram: `Wire`.

Nothing takes time on the way, so what a scenario shows are the appliance's own decisions. Whoever is reached has an
address and a name; a datagram to an address where nobody is, is lost. What was seen is told as lines:

    7.5 INVITE > fallback         the appliance has sent an INVITE to the fallback server, 7.5 s after `begin`
    7.5 200 INVITE < fallback     and got a 200 for it
    0 NAPTR yealink.pbx.com > dns it has asked for a name

A REGISTER that removes a contact is written `de-REGISTER`. `lines` makes the same of the text in a test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from twisted.internet.error import ConnectionDone, ConnectionRefusedError
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure

from sbc.flow import Flow
from sbc.sip.headers import parse_contacts
from sbc.sip.message import Request, Response, parse
from sbc.sip.uri import format_host_port
from tests.helpers.clock import FakeClock

Address = tuple[str, int]
Received = Callable[[bytes, Address], None]

_PRECISION = 2
"""Decimals of a second in a line."""


@dataclass(frozen=True)
class Seen:
    """One datagram, or one question to the name server."""

    at: float
    source: str
    target: str
    what: str
    method: str
    message: Request | Response | None = None

    def line(self, begin: float, us: str) -> str:
        arrow, peer = (">", self.target) if self.source == us else ("<", self.source)
        return f"{_seconds(self.at - begin)} {self.what} {arrow} {peer}"


class Wire:
    """The network. `us` is the name of the appliance."""

    us = "sbc"

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.names: dict[Address, str] = {}
        self.seen: list[Seen] = []
        self.began = clock.seconds()
        self._there: dict[Address, Received] = {}
        self._refusing: set[Address] = set()
        self.streams: list[WireStream] = []
        self.hanging: set[Address] = set()
        """Whose machine does not even accept connections."""
        self.refused: Callable[[bytes, str], None] = lambda quoted, cause: None
        """What the appliance does with an ICMP error for one of its datagrams."""

    def plug_in(self, name: str, address: Address, received: Received) -> None:
        """From now on datagrams to this address arrive there."""
        self.names[address] = name
        self._there[address] = received

    def unplug(self, address: Address) -> None:
        """Nobody is at this address any more."""
        self._there.pop(address, None)

    def refuse(self, address: Address, refuses: bool = True) -> None:
        """The port is closed: whoever sends there gets an ICMP error (port unreachable)."""
        (self._refusing.add if refuses else self._refusing.discard)(address)
        if refuses:
            self.break_connections(address)

    def break_connections(self, address: Address) -> None:
        """Whoever has a connection to this address loses it."""
        for stream in [stream for stream in self.streams if stream.remote == address]:
            stream.loseConnection()

    def is_refusing(self, address: Address) -> bool:
        return address in self._refusing

    def is_there(self, address: Address) -> bool:
        """Somebody accepts connections there."""
        return address in self._there and address not in self.hanging

    def send(self, data: bytes, source: Address, target: Address) -> None:
        message = parse(data)
        self.seen.append(
            Seen(
                self.clock.seconds(),
                self.names.get(source, format_host_port(*source)),
                self.names.get(target, format_host_port(*target)),
                _what(message),
                message.cseq_method if isinstance(message, Response) else message.method,
                message,
            )
        )
        self.clock.callLater(0.0, self._arrive, data, source, target)

    def _arrive(self, data: bytes, source: Address, target: Address) -> None:
        if target in self._refusing:
            self.refused(data[:500], "icmp")
        elif target in self._there:
            self._there[target](data, source)

    def note_connection(self, target: Address) -> None:
        """The appliance wants a connection."""
        self.seen.append(Seen(self.clock.seconds(), self.us, self.names.get(target, str(target)), "connect", "connect"))

    def note_question(self, question: str) -> None:
        """The appliance has asked the name server."""
        rrtype = question.partition(" ")[0]
        self.seen.append(Seen(self.clock.seconds(), self.us, "dns", question, rrtype))

    # -- what was seen ---------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Now is second 0, and nothing was seen before it."""
        self.began = self.clock.seconds()
        self.seen.clear()

    def between(self, *methods: str, peers: Callable[[str], bool]) -> list[Seen]:
        """What went to and fro between the appliance and those peers: requests of these methods and their answers."""
        return [
            seen
            for seen in self.seen
            if peers(seen.target if seen.source == self.us else seen.source) and (not methods or seen.method in methods)
        ]

    def told(self, seen: list[Seen]) -> list[str]:
        return [one.line(self.began, self.us) for one in seen]


class WireTransport:
    """One `[[listen]]` of the appliance on this network: what the listeners need of a socket."""

    own_addresses_forgotten = None
    is_wildcard = False

    def __init__(self, wire: Wire, receiver, name: str, address: str, port: int, side: str, family: int) -> None:
        self.name, self.side, self.family = name, side, family
        self.local = (address, port)
        self.received = 0
        self._wire = wire
        self._receiver = receiver
        self._flows: dict[Address, WireFlow] = {}

    def start(self) -> None:
        if self.name == "udp":
            self._wire.plug_in(self._wire.us, self.local, self._datagram_received)
        self._wire.refused = self._receiver.datagram_failed

    def stop(self) -> None:
        self._wire.unplug(self.local)

    def flow_to(self, host: str, port: int) -> WireFlow:
        if (host, port) not in self._flows:
            self._flows[host, port] = WireFlow(self, (host, port))
        return self._flows[host, port]

    def sent_by(self, remote_host: str) -> str:
        return format_host_port(*self.local)

    def answers_to(self, host: str, port: int) -> bool:
        return (host, port) == self.local

    def leads_to(self, host: str) -> bool:
        return True

    def send(self, data: bytes, target: Address) -> None:
        self._wire.send(data, self.local, target)

    def _datagram_received(self, data: bytes, source: Address) -> None:
        self.received += 1
        message = parse(data)
        if isinstance(message, Request):
            message.note_source(*source)
        self._receiver.message_received(message, self.flow_to(*source))


class WireReactor:
    """What connections need of a reactor. Over TCP the same messages go over the same wire, each in one piece; TLS is
    refused.
    """

    def __init__(self, wire: Wire, address: str) -> None:
        self.seconds = wire.clock.seconds
        self.callLater = wire.clock.callLater
        self._wire = wire
        self._address = address
        self._ports = count(40000)

    def connectTCP(self, host, port, factory, timeout=30, bindAddress=None):  # noqa: N802, N803 (Twisted's names)
        self.callLater(0, self._connect, (host, port), factory)
        return _Connector()

    def _connect(self, target: Address, factory) -> None:
        self._wire.note_connection(target)
        if isinstance(factory, TLSMemoryBIOFactory) or self._wire.is_refusing(target):
            factory.clientConnectionFailed(None, Failure(ConnectionRefusedError()))
        elif self._wire.is_there(target):
            protocol = factory.buildProtocol(None)
            protocol.makeConnection(WireStream(self._wire, (self._address, next(self._ports)), target, protocol))


class _Connector:
    def disconnect(self) -> None:
        pass


class WireStream:
    """A connection to a server: Twisted's transport, as far as it is used."""

    def __init__(self, wire: Wire, local: Address, remote: Address, protocol) -> None:
        self._wire, self._local, self.remote, self._protocol = wire, local, remote, protocol
        wire.plug_in(wire.us, local, lambda data, source: protocol.dataReceived(data))
        wire.streams.append(self)

    def write(self, data: bytes) -> None:
        if data.strip():  # not a keep-alive
            self._wire.send(data, self._local, self.remote)

    def registerProducer(self, producer, streaming) -> None:  # noqa: N802
        pass

    def unregisterProducer(self) -> None:  # noqa: N802
        pass

    def loseConnection(self) -> None:  # noqa: N802
        if self in self._wire.streams:
            self._wire.streams.remove(self)
            self._wire.unplug(self._local)
            self._protocol.connectionLost(Failure(ConnectionDone()))

    abortConnection = loseConnection  # noqa: N815


class WireFlow(Flow):
    """The way from that socket to one peer."""

    def __init__(self, transport: WireTransport, remote: Address) -> None:
        local = transport.local
        super().__init__(transport.name, transport.side, format_host_port(*local), local, remote)
        self._transport = transport

    def send(self, data: bytes) -> None:
        self._transport.send(data, self.remote)


def lines(text: str) -> list[str]:
    """The lines of a story as a test writes it: any white space between the words, empty lines and `# remarks` left out."""
    return [" ".join(line.split()) for line in (line.partition("#")[0] for line in text.splitlines()) if line.strip()]


def _seconds(value: float) -> str:
    return f"{value:.{_PRECISION}f}".rstrip("0").rstrip(".")


def _what(message: Request | Response) -> str:
    if isinstance(message, Response):
        return f"{message.status} {message.cseq_method}"
    return f"de-{message.method}" if message.method == "REGISTER" and _removes(message) else message.method


def _removes(register: Request) -> bool:
    contacts = parse_contacts(register)
    expires = register.get("Expires")
    return bool(contacts) and all(
        contact == "*" or contact.parameters.get("expires", expires) == "0" for contact in contacts
    )
