"""Connections that we make: to servers, and to phones whose own connection is gone (RFC 3261 18.1.1, RFC 5923).

A `DialledFlow` is the way to one address, port and transport, whether a connection is there or not: the first message makes
one, and so does the first after it was lost. So whoever keeps the flow need not know; what waited on a connection that broke
fails at once, with the cause (P17, F2), and the next attempt may go another way. One that is `gone` still works, but names an
own end from which no connection can leave any more; there is another for new requests. What the peer sends over the connection is
taken as from that peer, its requests too (RFC 5923).
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectBindError
from twisted.internet.protocol import ClientFactory
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory

from sbc.flow import Flow, Receiver
from sbc.location.candidate import Candidate
from sbc.transport.addresses import is_loopback, written
from sbc.transport.causes import BROKEN, CONNECT_TIMEOUT, cause_of
from sbc.transport.streams import MOST_UNSENT, Connection, Connections
from sbc.transport.tls import Trust, sip_domain

log = Logger()

CONNECT_TIME = 3.0
"""Seconds until a connection must be there, its TLS handshake included (pitfall D26)."""

QUIET_BEFORE_DOUBT = 1.0
"""Seconds without a word in either direction after which a peer may be closing the connection while we send."""

MOST_DOUBTFUL = 64
"""Messages that are kept to be sent once more when it turns out that the peer was closing the connection."""

_SAME_FAULT_AGAIN = 3600.0  # seconds until the log repeats why a server cannot be reached

_MOST_ENDS = 1024
"""Own ends of connections remembered, so that requests inside of calls find their way after these have changed."""

Key = tuple[str, str, int]


class DialledFlow(Flow):
    """The way to one listening peer. Made by `Dialler`."""

    def __init__(
        self, dialler: Dialler, candidate: Candidate, side: str, sent_by: str, local: tuple[str, int],
        source: tuple[str, int], *, alias: bool,
    ) -> None:  # fmt: skip
        """`local` is the socket of ours that it stands for; `source` what the connection is bound to, port 0 for any."""
        remote = (candidate.address, candidate.port)
        super().__init__(candidate.transport, side, sent_by, local, remote, alias=alias)
        self.sent_by = sent_by
        self.identities: list[list[str]] = []
        """What the certificate must name before the connection is used: one of each list, which is one server's."""
        self._dialler = dialler
        self._source = source
        self._connection: Connection | None = None
        self._dialling: Any = None
        self._timeout: Any = None
        self._queue: list[bytes] = []
        self._queued = 0
        self._asked = False
        """A request has been sent since the last failure: somebody may be waiting."""
        self._doubtful: list[bytes] | None = None
        """Sent after a silence, while nothing has come since: perhaps the peer was closing the connection."""
        self._spoken_at = 0.0

    # -- out -------------------------------------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """One message, at once or when the connection is there. Failures are reported later."""
        if not data.startswith(b"SIP/2.0 "):
            self._asked = True
        connection = self._connection
        if connection is not None and not connection.ready and self._dialling is None:
            connection = self._connection = None  # we are closing it; nothing waits for an answer over it
            self.retire()
        if connection is None or not connection.ready:
            self._queued += len(data)
            if self._queued > MOST_UNSENT:
                self._dialler.later(self._overflowed)
                return
            self._queue.append(data)
            if connection is None and self._dialling is None:
                self._dial()
            return
        now = self._dialler.seconds()
        if self._doubtful is not None:
            self._doubtful.append(data)
            if len(self._doubtful) > MOST_DOUBTFUL:
                self._doubtful = None  # it has had time to close; now it is silent
        elif now - self._spoken_at > QUIET_BEFORE_DOUBT:
            self._doubtful = [data]
        self._spoken_at = now
        connection.send(data)

    def _overflowed(self) -> None:
        if self._queued > MOST_UNSENT:
            self._give_up(BROKEN, f"more than {MOST_UNSENT} octets wait for its connection")

    def _dial(self) -> None:
        self._dialling = self._dialler.dial(self, self._source)
        self._timeout = self._dialler.reactor.callLater(CONNECT_TIME, self._timed_out)

    # -- from the connection ---------------------------------------------------------------------------------------------

    def connected(self, connection: Connection) -> None:
        """TCP is there; with TLS there is more to come."""
        self._connection = connection

    def connection_ready(self, connection: Connection) -> None:
        self._stop_waiting()
        self._dialling = None
        self._dialler.went_well(self)
        self._spoken_at = self._dialler.seconds()
        queue, self._queue, self._queued = self._queue, [], 0
        for data in queue:
            connection.send(data)

    def heard(self) -> None:
        self._doubtful = None
        self._spoken_at = self._dialler.seconds()

    def connection_lost(self, connection: Connection, cause: str, why: str) -> None:
        if connection is not self._connection:
            return
        self._connection = None
        doubtful, self._doubtful = self._doubtful, None
        if self._dialling is None and doubtful:
            # It was idle, and the peer closed it when we were about to use it. No server is called dead for that: a
            # request with the same branch is the same request, however often it comes.
            self._queue = doubtful + self._queue
            self._queued = sum(map(len, self._queue))
            self._dial()
        elif self._dialling is not None or cause != "closed":
            self._give_up(cause if cause != "closed" else BROKEN, why)
        else:
            self.retire()
            self._dialler.forget(self)
            self._tell_who_waits(BROKEN)

    def dial_failed(self, exception: BaseException) -> None:
        """There is no connection."""
        if self._dialling is None:
            return
        if isinstance(exception, ConnectBindError) and self._source[1]:
            # Somebody has that port; the server is not to blame. What waits names it, and is answered over the connection.
            self.retire()
            self._dialling = self._dialler.dial(self, self._source)
            return
        self._give_up(*cause_of(exception))

    def _timed_out(self) -> None:
        self._timeout = None
        self._give_up(CONNECT_TIMEOUT, f"it did not accept the connection in {CONNECT_TIME:g} s")

    def _give_up(self, cause: str, why: str) -> None:
        self._stop_waiting()
        was_dialling, dialling, self._dialling = self._dialling is not None, self._dialling, None
        connection, self._connection = self._connection, None
        self._queue, self._queued, self._doubtful = [], 0, None
        if connection is not None:
            connection.fail(cause, why)
        elif dialling is not None:
            dialling.disconnect()
        if was_dialling:
            self._dialler.went_wrong(self, cause, why)
        self._dialler.forget(self)
        self._tell_who_waits(cause)

    def _tell_who_waits(self, cause: str) -> None:
        if self._asked:
            self._asked = False
            self._dialler.receiver.flow_failed(self, cause)

    def _stop_waiting(self) -> None:
        if self._timeout is not None:
            self._timeout.cancel()
            self._timeout = None

    # -- from the dialler ------------------------------------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """No connection, and none on its way."""
        return self._connection is None and self._dialling is None

    def retire(self) -> None:
        """No connection can leave from its port for now: new requests get another flow. What is under way over this one
        still comes through, from any port."""
        if self._source[1]:
            self._source = (self._source[0], 0)
            self.gone = True
            self._dialler.retired(self)

    def close(self, why: str) -> None:
        """Nobody will use it any more."""
        if self._connection is not None and self._connection.ready:
            self._connection.close(why)
        else:
            self._stop_waiting()
            dialling, self._dialling = self._dialling, None
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.fail("closed", why)
            elif dialling is not None:
                dialling.disconnect()

    def __repr__(self) -> str:
        return f"<{self.transport} to {written(*self.remote)}>"


class Dialler:
    """All flows that we connect. `trust` verifies servers, `names_of` says who is there: for each server of the
    configuration the names that it may be known by."""

    def __init__(
        self, connections: Connections, trust: Trust, names_of: Callable[[Candidate], list[list[str]]]
    ) -> None:
        self.reactor = connections.reactor
        self.receiver = connections.receiver
        self.receiver_of: Callable[[DialledFlow], Receiver] = lambda flow: self.receiver
        """Who gets what comes over a flow."""
        self.trust = trust
        self._connections = connections
        self._names_of = names_of
        self._flows: dict[Key, DialledFlow] = {}
        self._faults: dict[Key, tuple[str, float]] = {}
        self._ends: dict[str, None] = {}
        """Our ends of connections that Via and Contact have named, oldest first; calls go on when they change."""

    def flow_to(
        self, candidate: Candidate, side: str, sent_by: str, local: tuple[str, int], source: str
    ) -> DialledFlow:
        """The flow to a candidate on tcp or tls. `sent_by`: where we listen for what it sends by itself; `local` the same as
        a socket address. `source` is the address that we connect from, "" for the kernel's choice."""
        key = (candidate.transport, candidate.address, candidate.port)
        flow = self._flows.get(key)
        if flow is None or (flow.sent_by != sent_by and flow.is_idle) or not self._is_for(flow, candidate):
            alias = candidate.transport == "tls" and self.trust.has_own_certificate
            flow = DialledFlow(self, candidate, side, sent_by, local, (source, 0), alias=alias)
            self._flows[key] = flow
        return flow

    def flow_without_listener(self, candidate: Candidate, own_host: str) -> DialledFlow | None:
        """The same where we listen for nobody with that transport: what the server sends must come over our connection.

        So Via and Contact name its own end, as a phone's do, and it leaves from the same port each time (RFC 3261 18.1.1
        lets the server answer over the connection; RFC 5923 lets it send requests, if it knows the address for ours).
        `own_host` is the address that the kernel goes there from now: when it changes, the next connection gets another
        flow. None while that address is not one of this machine, or is loopback and the server is not: its link is down.
        """
        key = (candidate.transport, candidate.address, candidate.port)
        flow = self._flows.get(key)
        if flow is not None and not flow.is_idle and self._is_for(flow, candidate):
            return flow
        if is_loopback(own_host) and not is_loopback(candidate.address):
            return None
        if flow is not None and flow.local[0] == own_host and _free_port(*flow.local):
            return flow
        port = _free_port(own_host)
        if port is None:
            return None
        if flow is not None:
            flow.retire()
        local = (own_host, port)
        flow = DialledFlow(self, candidate, "servers", written(own_host, port), local, local, alias=True)
        self._flows[key] = flow
        self._remember(flow.sent_by)
        return flow

    def _is_for(self, flow: DialledFlow, candidate: Candidate) -> bool:
        """False when its certificate was not looked at for one of the servers that are at that address by now: a connection
        that was verified for one name is not used for another (RFC 5922 4). The old one ends when nobody uses it."""
        if flow.transport != "tls" or flow.is_idle:
            return True
        if all(identity in flow.identities for identity in self._identities(candidate)):
            return True
        flow.gone = True
        return False

    def _identities(self, candidate: Candidate) -> list[list[str]]:
        return [[sip_domain(name) for name in names] for names in self._names_of(candidate)]

    def existing(self, transport_name: str, host: str, port: int) -> DialledFlow | None:
        """The flow to that address, if there is one."""
        return self._flows.get((transport_name, host, port))

    def answers_to(self, host: str, port: int) -> bool:
        """Does `host:port` name our end of a connection, or has it done so?"""
        return written(host, port) in self._ends

    def _remember(self, end: str) -> None:
        self._ends[end] = None
        if len(self._ends) > _MOST_ENDS:
            in_use = {flow.sent_by for flow in self._flows.values()}
            for old in list(self._ends)[: _MOST_ENDS // 2]:
                if old not in in_use:
                    del self._ends[old]

    def stop(self) -> None:
        for flow in list(self._flows.values()):
            flow.close("the appliance stops")
        self._flows.clear()

    # -- from the flows --------------------------------------------------------------------------------------------------

    def seconds(self) -> float:
        return self.reactor.seconds()

    def later(self, call: Callable[[], object]) -> None:
        self.reactor.callLater(0, call)

    def dial(self, flow: DialledFlow, source: tuple[str, int]) -> Any:
        """Begin to connect; `flow` is told."""
        host, port = flow.remote
        secure = flow.transport == "tls"
        factory: Any = _Dialling(self._connections, flow, self.receiver_of(flow))
        if secure:
            flow.identities = self._identities(Candidate(host, port, "tls")) or [[host]]
            factory.judge = self.trust.judge_of(flow.identities)
            names = [name for identity in flow.identities for name in identity]
            factory = TLSMemoryBIOFactory(self.trust.creator(names), True, factory, self.reactor)
        bind = source if source[0] else None
        # Its own timeout is longer than ours, which also covers the handshake.
        return self.reactor.connectTCP(host, port, factory, timeout=2 * CONNECT_TIME, bindAddress=bind)

    def forget(self, flow: DialledFlow) -> None:
        """It has no connection. A phone's address is not kept for the next one; those of servers are few."""
        key = (flow.transport, *flow.remote)
        if flow.side == "phones" and self._flows.get(key) is flow:
            del self._flows[key]

    def retired(self, flow: DialledFlow) -> None:
        """Another flow takes its place."""
        key = (flow.transport, *flow.remote)
        if self._flows.get(key) is flow:
            del self._flows[key]

    def went_wrong(self, flow: DialledFlow, cause: str, why: str) -> None:
        """The log tells it once, and again after an hour. That a phone is not there is no news."""
        if flow.side == "phones":
            return
        key, now = (flow.transport, *flow.remote), self.seconds()
        told, at = self._faults.get(key, ("", 0.0))
        if told != why or now - at > _SAME_FAULT_AGAIN:
            self._faults[key] = (why, now)
            text = "no {transport} connection to {remote}: {why}"
            log.warn(text, transport=flow.transport, remote=written(*flow.remote), why=why)

    def went_well(self, flow: DialledFlow) -> None:
        self._faults.pop((flow.transport, *flow.remote), None)


class _Dialling(ClientFactory):
    """One attempt to connect."""

    noisy = False

    def __init__(self, connections: Connections, flow: DialledFlow, receiver: Receiver) -> None:
        self._connections = connections
        self._flow = flow
        self._receiver = receiver
        self.judge: Any = None

    def buildProtocol(self, addr: Any) -> Connection:  # noqa: N802 (Twisted's name)
        secure = self._flow.transport == "tls"
        connection = Connection(
            self._connections, self._flow, accepted=False, secure=secure, judge=self.judge, receiver=self._receiver
        )
        self._flow.connected(connection)
        return connection

    def clientConnectionFailed(self, connector: Any, reason: Any) -> None:  # noqa: N802 (Twisted's name)
        self._flow.dial_failed(reason.value)


def _free_port(host: str, port: int = 0) -> int | None:
    """A port of that own address from which a connection can leave, or just that port; None when there is none.

    For a minute none can from where one left that we have closed ourselves (TIME_WAIT, RFC 9293 3.6.1).
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((host, port))
            return probe.getsockname()[1]
    except OSError:
        return None
