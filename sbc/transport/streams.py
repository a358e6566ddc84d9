"""What all connections share, over TCP and TLS: messages out of the stream and into it, keep-alives, and limits.

A `Connection` belongs to one flow, which made it or was made with it (`tcp`, `dialled`); the flow says what is to become of
what waits when it ends. `Connections` counts them all and looks at each once a second. Nobody can make us keep more than the
constants below say: octets of a message that never ends, octets that a peer does not fetch, connections that say nothing.
"""

from __future__ import annotations

import random
import re
import resource
import socket
from ipaddress import ip_address
from typing import Any, Protocol

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHandshakeListener, IPushProducer
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from zope.interface import implementer

from sbc.events import Report
from sbc.flow import Flow, Receiver
from sbc.sip.errors import MalformedMessage
from sbc.sip.framing import StreamFramer
from sbc.sip.message import Request, parse
from sbc.transport.addresses import written
from sbc.transport.causes import BROKEN, cause_of

log = Logger()

MOST_CONNECTIONS = 20_000
"""Of one process, in both directions; fewer where the system allows fewer descriptors. A phone is one."""

MOST_OF_ONE_HOST = 2_000
"""Accepted from one address: a branch office behind one NAT. One attacker shall not use up all there are. Of IPv6 a /64 counts
as one: whoever has an address has all of those (RFC 7421)."""

MOST_UNSENT = 262_144
"""Octets that wait because a peer does not fetch them, besides the kernel's own: four of the largest messages."""

FETCH_TIME = 20.0
"""Seconds in which a peer that has let messages pile up must fetch some: longer than any attempt waits for an answer."""

MESSAGE_TIME = 10.0
"""Seconds from the first octet of a message to its last: 64 kilobytes at 64 kbit/s take 8."""

FIRST_MESSAGE_TIME = 30.0
"""Seconds in which whoever connects must have sent a whole message. Phones connect in order to send one."""

QUIET_TIME = 7_500.0
"""Seconds without a message after which an accepted connection is closed: a phone registers at least every two hours
(RFC 3261 10.2.1.1 knows only 3600 s), and one that has vanished is found by the kernel's own keep-alives long before."""

QUIET_STRANGER_TIME = 90.0
"""The same until the connection has carried a registration that was accepted, or a call: longer than a phone needs to answer
a challenge, and than a server ever leaves it without one. When there is no more room, the longest idle ones of these go."""

QUIET_INTRUDER_TIME = 10.0
"""The same for whoever is no server of ours, on a socket that is there for servers only: until his refusal is with him."""

QUIET_SERVER_TIME = 1_800.0
"""The same for connections that we have made; the next request makes a new one. Probes keep them busy."""

PING_AFTER = (95.0, 120.0)
"""Seconds between two messages to a server until it gets a ping: a random time (RFC 5626 4.4.1, pitfall D26), shorter than
firewalls remember a connection."""

PONG_TIME = 10.0
"""Seconds in which the pong must come (RFC 5626 4.4.1), from peers that have ever sent one: others do not know pings."""

_LOOK_EVERY = 1.0
_RESERVED_DESCRIPTORS = 100  # for sockets, files and the web server
_USER_TIMEOUT = 10_000  # ms until the kernel gives up on a peer that acknowledges nothing: an attempt waits 7.5 s
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 120), (socket.TCP_KEEPINTVL, 20), (socket.TCP_KEEPCNT, 3))
_OF_OURS = re.compile(rb"SIP/2\.0 (?:1(?!00)|2).*?\r\nCSeq[ \t]*:[ \t]*\d+[ \t]+(?:REGISTER|INVITE|SUBSCRIBE)\s", re.S | re.I)
"""A response that makes the one who asked more than a stranger: a server has let him in."""

_PING, _PONG = b"\r\n\r\n", b"\r\n"


class StreamFlow(Protocol):
    """What a connection tells its flow. The flow is a `sbc.flow.Flow` besides."""

    remote: tuple[str, int]

    def connection_ready(self, connection: Connection) -> None:
        """Messages can be sent."""

    def connection_lost(self, connection: Connection, cause: str, why: str) -> None:
        """It has ended, or never became ready: a word of `sbc.transport.causes` or "closed", and a sentence."""

    def heard(self) -> None:
        """Something has come over it."""


class Connections:
    """All connections of the process. `report` hears what an administrator must know."""

    def __init__(self, reactor: Any, receiver: Receiver, report: Report, most: int = MOST_CONNECTIONS) -> None:
        self.reactor = reactor
        self.receiver = receiver
        self.report = report
        self.most = most
        self.messages = 0
        """Received so far."""
        self.refused = 0
        """Not accepted for want of room."""
        self.internal_errors = 0
        self._alive: set[Connection] = set()
        self._strangers: dict[Connection, None] = {}
        """Accepted, and neither a phone's of ours nor a server's so far: the longest idle one first."""
        self._of_host: dict[str, int] = {}
        self._look: Any = None

    def __len__(self) -> int:
        return len(self._alive)

    def admits(self, host: str) -> bool:
        """Is there room for one more from that host, or can some be made? Counted when there is not."""
        own = self._of_host.get(_counted_as(host), 0)
        if own < MOST_OF_ONE_HOST and (len(self._alive) < self.most or self._make_room()):
            return True
        self.refused += 1
        if self.refused & (self.refused - 1) == 0:  # the first, the second, the fourth ... it is one story
            text = "no more connections from {host}: {own} are its own, {all} are open ({refused} refused so far)"
            log.warn(text, host=host, own=own, all=len(self._alive), refused=self.refused)
        return False

    def _make_room(self) -> bool:
        """Hang up on the stranger who has been idle for longest; False when all are ours."""
        while self._strangers:
            connection = next(iter(self._strangers))
            del self._strangers[connection]
            if connection.flow.origin is None:
                connection.fail(BROKEN, "its place is needed")
                return True
            connection.known = True
        return False

    def add(self, connection: Connection) -> None:
        self._alive.add(connection)
        if connection.accepted:
            self._strangers[connection] = None
            host = _counted_as(connection.flow.remote[0])
            self._of_host[host] = self._of_host.get(host, 0) + 1
        if self._look is None:
            self._look = self.reactor.callLater(_LOOK_EVERY, self._look_at_all)

    def spoke(self, connection: Connection) -> None:
        """A stranger: he is the last to go now."""
        if connection in self._strangers:
            del self._strangers[connection]
            self._strangers[connection] = None

    def no_stranger(self, connection: Connection) -> None:
        """A phone's or a server's of ours."""
        self._strangers.pop(connection, None)

    def remove(self, connection: Connection) -> None:
        if connection not in self._alive:
            return
        self._alive.remove(connection)
        self._strangers.pop(connection, None)
        if connection.accepted:
            host = _counted_as(connection.flow.remote[0])
            self._of_host[host] -= 1
            if not self._of_host[host]:
                del self._of_host[host]

    def stop(self) -> None:
        """Close all of them."""
        if self._look is not None:
            self._look.cancel()
            self._look = None
        for connection in list(self._alive):
            connection.close("the appliance stops")

    def _look_at_all(self) -> None:
        self._look = self.reactor.callLater(_LOOK_EVERY, self._look_at_all) if self._alive else None
        now = self.reactor.seconds()
        for connection in list(self._alive):
            connection.look(now)


@implementer(IHandshakeListener, IPushProducer)
class Connection(TwistedProtocol):
    """One connection. `accepted`: the peer has made it. `secure`: it is ready only after its TLS handshake.

    `judge` looks at the peer's certificate and returns what is wrong with it, or None.
    """

    def __init__(
        self, connections: Connections, flow: Any, *, accepted: bool, secure: bool, judge: Any = None, receiver: Any = None
    ) -> None:  # fmt: skip
        self.flow = flow
        self.accepted = accepted
        self.ready = False
        self.known = not accepted
        """It is a phone's that is registered or has a call, or a server's."""
        self.tls_fault: str | None = None
        """What OpenSSL found wrong with the peer's certificate; set by `tls`."""
        self._connections = connections
        self._receiver: Receiver = receiver or connections.receiver
        self._secure = secure
        self._judge = judge
        self._framer = StreamFramer()
        self._opened_at = self._message_at = connections.reactor.seconds()
        self._begun_at = 0.0  # since when a message is incomplete; 0 = none is
        self._heard_message = False
        self._ping_at = 0.0
        self._pong_by = 0.0
        self._answers_pings = False
        self._unsent = 0
        self._stuck_since = 0.0  # since when the peer has fetched nothing; 0 = it fetches
        self._closing_since = 0.0
        self._handle: Any = None  # OpenSSL's part
        self._fault: tuple[str, str] | None = None
        self._lost = False

    # -- out -------------------------------------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """One message. What cannot be sent any more is lost with the connection; never calls back from inside."""
        now = self._connections.reactor.seconds()
        self._message_at = now
        self._plan_ping(now)
        if not self.known and (not data.startswith(b"SIP/2.0 ") or _OF_OURS.match(data)):
            self._become_known()  # also whoever we ask: we know him from his registration, or from his call
        self._write(data)

    def _become_known(self) -> None:
        self.known = True
        self._connections.no_stranger(self)

    def _write(self, data: bytes) -> None:
        if self._stuck_since:
            self._unsent += len(data)
            if self._unsent > MOST_UNSENT:
                self.fail(BROKEN, f"it does not fetch what we send: {self._unsent} octets wait")
                return
        if self.transport is not None and not self._lost:
            self.transport.write(data)

    def pauseProducing(self) -> None:  # noqa: N802 (Twisted's name)
        """Twisted's buffer is full: from here on we count."""
        if not self._stuck_since:
            self._stuck_since = self._connections.reactor.seconds()

    def resumeProducing(self) -> None:  # noqa: N802 (Twisted's name)
        self._stuck_since = 0.0
        self._unsent = 0

    def stopProducing(self) -> None:  # noqa: N802 (Twisted's name)
        """`connectionLost` follows."""

    # -- its life --------------------------------------------------------------------------------------------------------

    def connectionMade(self) -> None:  # noqa: N802 (Twisted's name)
        self._connections.add(self)
        _set_options(self.transport)
        self.transport.registerProducer(self, True)
        if self._secure:
            self._handle = self.transport.getHandle()
        else:
            self._become_ready()

    def handshakeCompleted(self) -> None:  # noqa: N802 (Twisted's name)
        """TLS: the peer has a key that fits its certificate, from an authority that we believe. Is it the one we want?"""
        wrong = self._judge(self.transport.getPeerCertificate()) if self._judge is not None else None
        if wrong is not None:
            self.fail("tls", wrong)
        else:
            self._become_ready()

    def _become_ready(self) -> None:
        self.ready = True
        now = self._connections.reactor.seconds()
        self._message_at = now
        self._plan_ping(now)
        self.flow.connection_ready(self)

    def close(self, why: str) -> None:
        """In peace: what has been sent still gets there."""
        log.debug("connection with {remote} closed: {why}", remote=written(*self.flow.remote), why=why)
        if self.transport is not None and not self._lost:
            self._fault = self._fault or ("closed", why)
            self.ready = False
            self._closing_since = self._connections.reactor.seconds()
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def fail(self, cause: str, why: str) -> None:
        """At once. `connectionLost` follows."""
        if self.transport is not None and not self._lost:
            self._fault = self._fault or (cause, why)
            self.transport.unregisterProducer()
            self.transport.abortConnection()

    def connectionLost(self, reason=connectionDone) -> None:  # noqa: N802 (Twisted's name)
        if self._lost:
            return
        self._lost = True
        self._connections.remove(self)
        cause, why = self._fault or cause_of(reason.value, in_handshake=self._secure and not self.ready)
        if self.tls_fault is not None:
            why = self.tls_fault
        was_ready, self.ready = self.ready, False
        peaceful = cause == "closed" or (was_ready and isinstance(reason.value, ConnectionDone))
        tell = log.debug if peaceful or self.accepted else log.info
        tell("connection with {remote} lost: {why}", remote=written(*self.flow.remote), why=why)
        self._guarded(self.flow.connection_lost, self, cause, why)
        # OpenSSL, Twisted's TLS and we hold each other; so all would wait for a full garbage collection.
        self.transport.unregisterProducer()
        if self._handle is not None:
            self._handle.set_app_data(None)
        self._handle = self.transport = None

    # -- in --------------------------------------------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 (Twisted's name)
        if self._fault is not None:
            return  # we have hung up
        self._pong_by = 0.0
        self.flow.heard()
        try:
            messages = self._framer.feed(data)
        except MalformedMessage as error:
            self._guarded(self._receiver.malformed_received, error, self.flow)
            why = f"its stream cannot be followed: {error}"
            if self.accepted:
                self.close(why)  # what was wrong still gets there
            else:
                self.fail(BROKEN, why)
            return
        now = self._connections.reactor.seconds()
        if messages:
            self._heard_message = True
            self._message_at = now
            self._begun_at = 0.0
            self._plan_ping(now)
            if not self.known:
                self._connections.spoke(self)
        pings, pongs = self._framer.take_keepalives()
        for message in messages:
            self._connections.messages += 1
            self._guarded(self._received, message)
        if not self._framer.pending:
            self._begun_at = 0.0
        elif not self._begun_at:
            self._begun_at = now
        if pings:
            self._write(_PONG * pings)
        if pongs:
            self._answers_pings = True

    def _received(self, data: bytes) -> None:
        flow: Flow = self.flow
        receiver = self._receiver
        if receiver.answered_unread(data, flow):
            return
        try:
            message = parse(data)
        except MalformedMessage as error:
            if error.request is not None:
                error.request.note_source(*flow.remote)
            receiver.malformed_received(error, flow)
            return
        if isinstance(message, Request):
            message.note_source(*flow.remote)
        receiver.message_received(message, flow)

    def _guarded(self, call: Any, *arguments: Any) -> None:
        try:
            call(*arguments)
        except Exception:
            # A bug of ours. One message is lost and the log has the trace; the other calls go on.
            self._connections.internal_errors += 1
            log.failure("internal error while handling a connection with {remote}", remote=written(*self.flow.remote))

    # -- once a second ---------------------------------------------------------------------------------------------------

    def look(self, now: float) -> None:
        """What takes too long?"""
        if self._fault is not None:
            if self._closing_since and now - self._closing_since > FETCH_TIME:
                self._closing_since = 0.0
                self.transport.abortConnection()
        elif self._stuck_since and now - self._stuck_since > FETCH_TIME:
            self.fail(BROKEN, f"it has fetched nothing for {FETCH_TIME:g} s")
        elif self._begun_at and now - self._begun_at > MESSAGE_TIME:
            self.fail(BROKEN, f"a message that it began is not complete after {MESSAGE_TIME:g} s")
        elif self.accepted and not self._heard_message and now - self._opened_at > FIRST_MESSAGE_TIME:
            self.fail(BROKEN, f"not one message in {FIRST_MESSAGE_TIME:g} s")
        elif self._pong_by and now > self._pong_by:
            self.fail("timeout", f"no pong in {PONG_TIME:g} s")
        elif self.ready and now - self._message_at > QUIET_INTRUDER_TIME and now - self._message_at > self._may_be_quiet():
            self.close("it is idle")
        elif self.ready and self._ping_at and now > self._ping_at:
            self._plan_ping(now)
            if self._answers_pings:
                self._pong_by = now + PONG_TIME
            self._write(_PING)

    def _may_be_quiet(self) -> float:
        if not self.accepted:
            return QUIET_SERVER_TIME
        if not self.known and self.flow.origin is not None:
            self._become_known()
        if self.known:
            return QUIET_TIME
        if self._heard_message and self.flow.side == "servers":
            return QUIET_INTRUDER_TIME
        return QUIET_STRANGER_TIME

    def _plan_ping(self, now: float) -> None:
        """Clients ping (RFC 5626 4.4): we those that we have connected to."""
        if not self.accepted:
            self._ping_at = now + random.uniform(*PING_AFTER)  # noqa: S311 (spread, not secrecy)


def _counted_as(host: str) -> str:
    """What counts as one host."""
    if ":" not in host:
        return host
    return ip_address(host.partition("%")[0]).packed[:8].hex()


def _set_options(transport: Any) -> None:
    """Requests are small and wanted at once; a peer that is gone shall be noticed."""
    while (inner := getattr(transport, "transport", None)) is not None:  # TLS stands upon TCP
        transport = inner
    handle = transport.getHandle() if hasattr(transport, "getHandle") else None
    if not isinstance(handle, socket.socket):
        return
    try:
        handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT)
        for option, value in _KEEPALIVE:
            handle.setsockopt(socket.IPPROTO_TCP, option, value)
    except OSError:
        pass  # it has ended already


def room_for_connections() -> int:
    """How many connections this process can have; asks the system for as many descriptors as that takes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS + _RESERVED_DESCRIPTORS
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(1, wanted - _RESERVED_DESCRIPTORS)
