"""What the proxy asks of the sockets: the ways to servers and phones, and which addresses are our own.

The answers are needed for every message and change hardly ever. So each is kept where it is used, in a slot of the phone's
address or of the flow, with the epoch in which it was found; a slot of another epoch is looked up again.

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Protocol

import cython

if cython.compiled:
    from cython.cimports.sbc.flow import Flow
    from cython.cimports.sbc.location.candidate import Candidate
else:
    from sbc.flow import Flow
    from sbc.location.candidate import Candidate

COMPILED = bool(cython.compiled)

GOOD_FOR = 10.0
"""Seconds until sockets and routing are asked again: DHCP and the administrator change them, not the traffic."""

_LOOK_AGAIN_AFTER = cython.declare(cython.double, GOOD_FOR)
_epochs = count(1)


@cython.ccall
def new_epoch() -> cython.long:
    """A number that no slot has. They are the process's own: who shares a flow does not share what was found out."""
    return next(_epochs)


class FlowFinder(Protocol):
    """What this needs of the listeners."""

    def flow_to_server(self, candidate: Candidate) -> Flow | None: ...

    def flow_to_phone(self, transport_name: str, host: str, port: int, local_port: int) -> Flow | None: ...

    def flow_to_contact(self, transport_name: str, host: str, contact: str) -> Flow | None: ...


@cython.cclass
class PhoneAddress:
    """Where a phone was when it sent or answered the dialog's first request; immutable.

    `local_port` is the port of ours that the phone talks to. `written` is a slot for `own_routes`.
    """

    transport: str
    host: str
    port: cython.int
    local_port: cython.int
    written: object
    _candidate: Candidate
    _flow: Flow
    _flow_epoch: cython.long

    def __init__(self, transport: str, host: str, port: int, local_port: int) -> None:
        self.transport = transport
        self.host = host
        self.port = port
        self.local_port = local_port
        self.written = None
        self._candidate = None
        self._flow = None
        self._flow_epoch = 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def same_as(self, other: PhoneAddress) -> cython.bint:
        """`==`, for those that are compiled."""
        return self is other or (
            other is not None
            and self.port == other.port
            and self.local_port == other.local_port
            and self.host == other.host
            and self.transport == other.transport
        )

    @cython.cfunc
    def candidate(self) -> Candidate:
        """The phone as the next hop of a request."""
        if self._candidate is None:
            self._candidate = Candidate(self.host, self.port, self.transport)
        return self._candidate

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PhoneAddress) and self.same_as(other)

    def __hash__(self) -> int:
        return hash((self.transport, self.host, self.port, self.local_port))

    def __repr__(self) -> str:
        return f"PhoneAddress({self.transport!r}, {self.host!r}, {self.port}, {self.local_port})"


@cython.cclass
class Network:
    """The sockets, as the proxy sees them. `look(now)` when something comes in keeps the answers fresh."""

    epoch: cython.long
    _flows: object
    _is_ours: object
    _to_servers: dict
    _latest_server: Candidate
    _latest_flow: Flow
    _look_again: cython.double

    def __init__(self, flows: FlowFinder, is_ours: Callable[[str, int | None], bool]) -> None:
        self._flows = flows
        self._is_ours = is_ours
        self._to_servers: dict[Candidate, Flow | None] = {}
        self._latest_server = None
        self._latest_flow = None
        self._look_again = 0.0
        self.epoch = new_epoch()

    @cython.cfunc
    def look(self, now: cython.double):
        """What was found out long ago is not true any more."""
        if now >= self._look_again:
            self._look_again = now + _LOOK_AGAIN_AFTER
            self._to_servers.clear()
            self._latest_server = self._latest_flow = None
            self.epoch = new_epoch()

    @cython.cfunc
    def is_ours(self, uri: object) -> cython.bint:  # (uri: SipUri)
        """Does this URI name the appliance? Not remembered here."""
        return self._is_ours(uri.host, uri.port)

    @cython.cfunc
    def to_server(self, candidate: Candidate) -> Flow:
        """None when we have no socket that reaches it."""
        if candidate is self._latest_server and (self._latest_flow is None or not self._latest_flow.gone):
            return self._latest_flow
        flow: Flow = self._to_servers.get(candidate)
        if flow is None or flow.gone:
            flow = self._to_servers[candidate] = self._flows.flow_to_server(candidate)
        self._latest_server = candidate  # nearly all requests go to the same one
        self._latest_flow = flow
        return flow

    @cython.cfunc
    def to_phone(self, phone: PhoneAddress) -> Flow:
        """None when we have no socket that reaches it, or its connection is closed."""
        flow: Flow = phone._flow
        if phone._flow_epoch != self.epoch or (flow is not None and flow.gone):
            phone._flow = self._flows.flow_to_phone(phone.transport, phone.host, phone.port, phone.local_port)
            phone._flow_epoch = self.epoch
        return phone._flow

    @cython.cfunc
    def to_contact(self, phone: PhoneAddress, contact: str) -> Flow:
        """A new connection to a phone whose own is closed, to the URI of its Contact; None when that cannot lead to it."""
        return self._flows.flow_to_contact(phone.transport, phone.host, contact)


@cython.cfunc
def phone_behind(flow: Flow) -> PhoneAddress:
    """The address behind a flow, as the route cookies keep it."""
    if flow.phone_address is None:
        flow.phone_address = PhoneAddress(flow.transport, flow.remote[0], flow.remote[1], flow.local[1])
    return flow.phone_address
