"""Whether a message that came in at a shared port is for this worker, and what becomes of it if it is not.

`Door` stands between one shared socket and the edge. It asks something of requests of servers only: all others are led to
the right worker by the kernel. ICMP errors come to any socket of the port. `Deliveries` takes what other doors have handed
over, and hands over responses that turn out to be somebody else's.

The door is compiled when installed (Cython's pure Python mode), because it is on the way of every message.
"""

from __future__ import annotations

from typing import Any

import cython
from twisted.logger import Logger

from sbc.sip.errors import MalformedMessage
from sbc.sip.message import parse
from sbc.transaction.matching import quoted_client_key
from sbc.workers.handover import FAILED, MOVED, REQUEST, RESPONSE, SENT, Neighbours, Parcel
from sbc.workers.lent import Lender

if cython.compiled:
    from cython.cimports.sbc.flow import Flow, Receiver
    from cython.cimports.sbc.sip.message import Request
    from cython.cimports.sbc.sip.scanner import CANCEL
else:
    from sbc.flow import Flow, Receiver
    from sbc.sip.message import Request
    from sbc.sip.scanner import CANCEL

COMPILED = bool(cython.compiled)

log = Logger()


@cython.cclass
class Door(Receiver):
    """The receiver of one shared socket; `listen` is the place of its `[[listen]]`."""

    _edge: Receiver
    _proxy: object
    _layer: object
    _neighbours: object
    _lender: object
    _listen: cython.int

    def __init__(
        self, edge: Receiver, proxy: Any, layer: Any, neighbours: Neighbours, lender: Lender, listen: int
    ) -> None:
        self._edge = edge
        self._proxy = proxy
        self._layer = layer
        self._neighbours = neighbours
        self._lender = lender
        self._listen = listen

    @cython.ccall
    @cython.exceptval(-1, check=True)
    def answered_unread(self, data: bytes, flow: Flow) -> cython.bint:
        """The edge's to know: only phones are answered so, and they are with the right worker."""
        return self._edge.answered_unread(data, flow)

    @cython.ccall
    def message_received(self, message: object, flow: Flow) -> object:
        if isinstance(message, Request) and self._proxy.side_of(flow) == "servers":
            self.request_of_server(message, flow, 0)
        else:
            self._edge.message_received(message, flow)

    @cython.ccall
    def malformed_received(self, error: object, flow: Flow) -> object:
        self._edge.malformed_received(error, flow)

    @cython.ccall
    def datagram_failed(self, quoted: bytes, cause: str) -> object:
        key = quoted_client_key(quoted)
        owner = self._neighbours.owner_of(key[0]) if key is not None else None
        if owner is None:
            self._edge.datagram_failed(quoted, cause)
        else:
            self._neighbours.hand_to(owner, Parcel(FAILED, self._listen, 0, cause.encode("ascii"), quoted))

    @cython.ccall
    def flow_failed(self, flow: Flow, cause: str) -> object:
        self._edge.flow_failed(flow, cause)

    def request_of_server(self, request: Request, flow: Flow, seen: int) -> None:
        """Keep it, or hand it on when it is for a phone that we do not know and somebody is left who has not seen it."""
        neighbours = self._neighbours
        after = neighbours.next_for(seen)
        if after is not None and self._is_for_another(request, flow):
            source = self._lender.source_of(flow)
            parcel = Parcel(REQUEST, self._listen, seen | 1 << neighbours.me, source, request.to_bytes())
            neighbours.hand_to(after, parcel)
        else:
            self._edge.message_received(request, flow)

    def _is_for_another(self, request: Request, flow: Flow) -> bool:
        try:
            # The phone may have moved since its call came: what belongs to the call stays where the call is.
            asks_others = request.method_code == CANCEL or self._proxy.asks_for_unknown_phone(request, flow)
            return asks_others and not self._layer.knows(request)
        except MalformedMessage:
            return False  # the edge answers it


class Deliveries:
    """What neighbours hand over, and the responses that this worker hands to them."""

    def __init__(self, neighbours: Neighbours, lender: Lender, layer: Any, registrar: Any) -> None:
        self._neighbours = neighbours
        self._lender = lender
        self._layer = layer
        self._registrar = registrar
        self._doors: list[Door] = []
        self._transports: list[Any] = []
        self._places: dict[tuple[str, tuple[str, int]], int] = {}

    def add(self, door: Door, transport: Any) -> None:
        """One `[[listen]]`; `transport` is what finds a flow there."""
        self._places[transport.name, transport.local] = len(self._doors)
        self._doors.append(door)
        self._transports.append(transport)

    def response_elsewhere(self, response: Any, flow: Any) -> bool:
        """A response that belongs to no transaction here: hand it to the worker that made its branch. False without any."""
        owner = self._neighbours.owner_of(response.top_via.branch or "")
        place = self._places.get((flow.transport, flow.local))
        if owner is None or place is None:
            return False
        parcel = Parcel(RESPONSE, place, 0, self._lender.source_of(flow), response.to_bytes())
        self._neighbours.hand_to(owner, parcel)
        return True

    def delivered(self, parcel: Parcel) -> None:
        """A neighbour's parcel."""
        try:
            if parcel.kind == MOVED:
                self._registrar.moved_away(parcel.data.decode("ascii"))
            elif parcel.kind == SENT:
                self._lender.send(parcel.source, parcel.data)
            elif parcel.kind == FAILED:
                self._layer.quoted_datagram_failed(parcel.data, parcel.source.decode("ascii"))
            else:
                self._message_delivered(parcel)
        except MalformedMessage:
            pass
        except Exception:
            # A bug of ours. One message is lost and the log has the trace; the other calls go on.
            log.failure("internal error while handling what another worker handed over")

    def _message_delivered(self, parcel: Parcel) -> None:
        flow = self._transports[parcel.listen].flow_of(parcel.source)
        message = parse(parcel.data)
        if parcel.kind == REQUEST:
            message.note_source(*flow.remote)
            self._doors[parcel.listen].request_of_server(message, flow, parcel.seen)
        else:
            # The edge where it came in has counted it already.
            self._layer.response_received(message, flow)
