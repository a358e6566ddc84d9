"""UDP (RFC 3261 18, RFC 3581): one socket per `[[listen]]`, batched, with its ICMP errors.

A Twisted reader over `Datagrams` (recvmmsg, sendmmsg): what arrives together is handled together, and what that produced is
sent together. ICMP errors do not reach an unconnected UDP socket by themselves; IP_RECVERR queues them beside the
data, with the start of the datagram that caused them, so that the transaction layer can find whose it was (pitfall D16).

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1.
"""

from __future__ import annotations

import errno
import socket
import struct

import cython
from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from zope.interface import classImplements

from sbc.sip.errors import MalformedMessage
from sbc.transport.addresses import forget_own_addresses, host_and_port, raw_address, written
from sbc.transport.place import Place

if cython.compiled:
    from cython.cimports.sbc.flow import Flow, Receiver
    from cython.cimports.sbc.sip.message import Message, Request, parse
    from cython.cimports.sbc.transport._datagrams import Datagrams
else:
    from sbc.flow import Flow, Receiver
    from sbc.sip.message import Message, Request, parse
    from sbc.transport._datagrams import Datagrams

log = Logger()

COMPILED = bool(cython.compiled)

# <linux/in.h>, <linux/in6.h>, <linux/errqueue.h>; the socket module lacks them in Python 3.11
_IP_RECVERR = 11
_IPV6_RECVERR = 25
_IP_MTU_DISCOVER = 10
_IPV6_MTU_DISCOVER = 23
_PMTUDISC_DONT = 0
_MSG_ERRQUEUE = 0x2000
_EXTENDED_ERROR = struct.Struct("=IBBBBII")
_ORIGIN_ICMP = 2
_ORIGIN_ICMP6 = 3

_BUFFER = 4 * 1024 * 1024  # bytes asked of the kernel for each direction: half a second of 10,000 messages/s
_ADDRESSES_GOOD_FOR = 30.0  # seconds that a socket on all addresses writes the one that it found; a look takes 20 us
_MOST_FLOWS = 65536  # addresses remembered; a flow has no state of its own, so forgetting one costs nothing


@cython.cclass
class UdpFlow(Flow):
    """One remote address seen through one of our sockets."""

    _transport: UdpTransport
    raw: bytes
    _host: str
    _port: cython.int

    def __init__(self, transport: UdpTransport, raw: bytes) -> None:
        remote = host_and_port(raw)
        super().__init__("udp", transport.side, transport.sent_by(remote[0]), transport.local, remote)
        self._transport = transport
        self.raw = raw
        self._host, self._port = remote

    @cython.ccall
    def send(self, data: bytes) -> object:
        """Send or queue one datagram; never raises."""
        self._transport.send(self.raw, data)

    def __repr__(self) -> str:
        return f"<udp {written(*self.local)} to {written(*self.remote)}>"


@cython.cclass
class UdpTransport:
    """The socket. `address` is an IP literal (wildcards allowed), `advertise` what we write instead of it, `host:port`.

    `bound` is a socket that somebody else has opened by `bound_socket`.

    Raises OSError when the address cannot be bound. `start` begins reading, `stop` closes.
    """

    name: str
    side: str
    family: cython.int
    local: tuple
    internal_errors: cython.long
    own_addresses_forgotten: object  # called when what `answers_to` says of a wildcard socket may have changed
    _reactor: object
    _receiver: Receiver
    _place: object
    _socket: object
    _flows: dict
    _flows_to: dict  # the same by host and port, for those that we send to
    _datagrams: Datagrams
    _in_batch: cython.bint
    _look_again: object

    def __init__(
        self, reactor, receiver: Receiver, address: str, port: int, *, side: str = "both", advertise: str | None = None,
        bound: socket.socket | None = None,
    ) -> None:  # fmt: skip
        self.name = "udp"
        self._reactor = reactor
        self._receiver = receiver
        self.side = side
        self._socket = bound if bound is not None else bound_socket(address, port)
        name = self._socket.getsockname()
        self.local: tuple[str, int] = (name[0], name[1])
        self._place = Place(self.local, advertise)
        self.family = self._place.family
        self._flows: dict[bytes, UdpFlow] = {}
        self._flows_to: dict[tuple[str, int], UdpFlow] = {}
        self._datagrams = Datagrams(self._socket.fileno(), self._flows, self._new_flow)
        self._in_batch = False
        self._look_again = None
        self.own_addresses_forgotten = None
        self.internal_errors = 0

    @property
    def received(self) -> int:
        """Datagrams so far."""
        return self._datagrams.received

    # -- what we write ---------------------------------------------------------------------------------------------------

    @property
    def is_wildcard(self) -> bool:
        """Bound to all addresses."""
        return self._place.is_wildcard

    def sent_by(self, remote_host: str) -> str:
        """`host:port` of ours as the given remote host should see it."""
        return self._place.sent_by(remote_host)

    def answers_to(self, host: str, port: int) -> bool:
        """True when `host:port` in a URI is this socket."""
        return self._place.answers_to(host, port)

    def leads_to(self, host: str) -> bool:
        """True when the kernel would send from this socket's address to that host."""
        return self._place.leads_to(host)

    def flow_to(self, host: str, port: int) -> UdpFlow:
        """The flow to an IP literal of this socket's family."""
        flow = self._flows_to.get((host, port))
        if flow is None:
            raw = raw_address(host, port)
            flow = self._flows_to[host, port] = self._flows.get(raw) or self._new_flow(raw)
        return flow

    def flow_of(self, raw: bytes) -> UdpFlow:
        """The flow to an address as the kernel writes it."""
        return self._flows.get(raw) or self._new_flow(raw)

    def _new_flow(self, raw: bytes) -> UdpFlow:
        if len(self._flows) >= _MOST_FLOWS:
            self._forget_flows()
        flow = self._flows[raw] = UdpFlow(self, raw)
        return flow

    def _forget_flows(self) -> None:
        flow: UdpFlow
        for flow in self._flows.values():
            # What is remembered of a flow leads back to it; so it would wait for a full garbage collection.
            flow.phone_address = None
            flow.origin = None
            flow.origin_epoch = 0
        self._flows.clear()
        self._flows_to.clear()
        self._datagrams.forget()

    # -- out -------------------------------------------------------------------------------------------------------------

    @cython.cfunc
    def send(self, raw: bytes, data: bytes):
        """Queue while a batch of received datagrams is being worked on, else send at once."""
        refused: list = self._datagrams.queue(raw, data)
        if refused is None and not self._in_batch:
            refused = self._datagrams.flush()
        if refused is not None:
            self._failed(refused)

    def _failed(self, refused: list[tuple[bytes, int]]) -> None:
        # Not from inside send(): the caller is in the middle of its own transition.
        for data, code in refused:
            self._reactor.callLater(0, self._datagram_failed, data, _cause_of_errno(code))

    def _datagram_failed(self, quoted: bytes, cause: str) -> None:
        try:
            self._receiver.datagram_failed(quoted, cause)
        except Exception:
            # A bug of ours; raised into the reactor it would make the socket deaf.
            self.internal_errors += 1
            log.failure("internal error while handling a datagram that could not be delivered")

    # -- in --------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._reactor.addReader(self)
        serve = getattr(self._reactor, "serve", None)
        if serve is not None:
            serve(self)
        if self._place.is_wildcard:
            self._look_again = self._reactor.callLater(_ADDRESSES_GOOD_FOR, self._forget_own_addresses)

    def _forget_own_addresses(self) -> None:
        forget_own_addresses()
        self._forget_flows()
        if self.own_addresses_forgotten is not None:
            self.own_addresses_forgotten()
        self._look_again = self._reactor.callLater(_ADDRESSES_GOOD_FOR, self._forget_own_addresses)

    def stop(self) -> None:
        if self._look_again is not None:
            self._look_again.cancel()
            self._look_again = None
        unserve = getattr(self._reactor, "unserve", None)
        if unserve is not None:
            unserve(self)
        self._reactor.removeReader(self)
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:  # noqa: N802 (Twisted's name)
        return "udp"

    @cython.ccall
    def doRead(self):  # noqa: N802 (Twisted's name)
        """Readable: data, or an error in the queue."""
        self._in_batch = True
        try:
            number: cython.int = self._datagrams.receive()
            if number == 0:
                self._read_errors()
            i: cython.int
            for i in range(number):
                self._received(self._datagrams.data(i), self._datagrams.peer(i))
        finally:
            self._in_batch = False
            refused: list = self._datagrams.flush()
            if refused is not None:
                self._failed(refused)

    def connectionLost(self, reason) -> None:  # noqa: N802 (Twisted's name)
        """The reactor saw the error flag without data: not a loss, but ICMP errors that wait to be read.

        Twisted takes EPOLLERR without EPOLLIN for the end of a connection and forgets the descriptor; a UDP socket
        has no end, so we read the queue and come back.
        """
        if self._socket.fileno() >= 0:
            self._read_errors()
            self._reactor.addReader(self)

    @cython.cfunc
    def _received(self, data: bytes, flow: UdpFlow):
        # Keep-alives of phones: CRLFs (RFC 5626 4.4.1 over streams, widely sent over UDP too), or a zero byte.
        if len(data) <= 4 and not data.strip(b"\r\n\0"):
            return
        message: Message
        try:
            if self._receiver.answered_unread(data, flow):
                return
            try:
                message = parse(data)
            except MalformedMessage as error:
                if error.request is not None:
                    error.request.note_source(flow._host, flow._port)
                self._receiver.malformed_received(error, flow)
                return
            if isinstance(message, Request):
                message.note_source(flow._host, flow._port)
            self._receiver.message_received(message, flow)
        except Exception:
            # A bug of ours. One message is lost and the log has the trace; the other calls go on.
            self.internal_errors += 1
            log.failure("internal error while handling a datagram from {remote}", remote=written(*flow.remote))

    def _read_errors(self) -> None:
        """Empty the error queue (ip(7), IP_RECVERR)."""
        while True:
            try:
                quoted, ancillary, _flags, _address = self._socket.recvmsg(2048, 512, _MSG_ERRQUEUE)
            except OSError as error:
                if error.errno in (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EINTR):
                    continue  # the pending error itself, reported once more and cleared by this
                return  # EAGAIN: empty; anything else would come again and again
            for level, kind, value in ancillary:
                if (level, kind) in ((socket.IPPROTO_IP, _IP_RECVERR), (socket.IPPROTO_IPV6, _IPV6_RECVERR)):
                    cause = _cause_of_extended_error(value)
                    if cause:
                        self._datagram_failed(quoted, cause)


classImplements(UdpTransport, IReadDescriptor)


def bound_socket(address: str, port: int, *, share: bool = False) -> socket.socket:
    """A socket for a `UdpTransport`; `share` lets others of the same user bind the port too. OSError when it is taken."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            bound.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
        if share:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            bound.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
            bound.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_DONT)
        else:
            bound.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
            # Large requests are fragmented rather than refused: legacy phones have no TCP to change to (D27).
            bound.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_DONT)
        bound.bind((address, port))
    except OSError:
        bound.close()
        raise
    return bound


def _cause_of_errno(code: int) -> str:
    return "icmp" if code == errno.ECONNREFUSED else "unreachable"


def _cause_of_extended_error(value: bytes) -> str | None:
    """`icmp` for a refused port, `unreachable` for a host or network that cannot be reached, None for the rest."""
    if len(value) < _EXTENDED_ERROR.size:
        return None
    code, origin, kind, subcode = _EXTENDED_ERROR.unpack_from(value)[:4]
    if (origin, kind, subcode) in ((_ORIGIN_ICMP, 3, 3), (_ORIGIN_ICMP6, 1, 4)):
        return "icmp"
    if code in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EACCES, errno.ECONNREFUSED):
        return "unreachable"
    return None
