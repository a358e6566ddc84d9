"""Whether a message that came in at a shared port is for this worker, and what becomes of it if it is not.

`Door` stands between one shared socket and the edge. It asks something of requests of servers only: phones are led to the
right worker by the kernel. `Deliveries` takes what other doors have handed over.

The door is compiled when installed (Cython's pure Python mode), because it is on the way of every message.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cython
from twisted.logger import Logger

from sbc.sip.errors import MalformedMessage
from sbc.sip.message import parse
from sbc.workers import marks
from sbc.workers.handover import MOVED, REQUEST, RESPONSE, Neighbours, Parcel

if cython.compiled:
    from cython.cimports.sbc.flow import Flow, Receiver
    from cython.cimports.sbc.sip.message import Request
else:
    from sbc.flow import Flow, Receiver
    from sbc.sip.message import Request

COMPILED = bool(cython.compiled)

log = Logger()

_MOST_FLOWS = 4096


@cython.cclass
class _AtOwnPort(Flow):
    """A server that has sent a request to the shared port: it is answered from there, and led to our own port for the rest
    of the dialog."""

    _flow: Flow

    def __init__(self, flow: Flow, sent_by: str) -> None:
        super().__init__(flow.transport, flow.side, sent_by, flow.local, flow.remote)
        self._flow = flow

    @cython.ccall
    def send(self, data: bytes) -> object:
        self._flow.send(data)


@cython.cclass
class Door(Receiver):
    """The receiver of one shared socket."""

    _edge: Receiver
    _proxy: object
    _neighbours: object
    _listen: cython.int
    _own: object
    _flows: dict

    def __init__(self, edge: Receiver, proxy: Any, neighbours: Neighbours, listen: int, own: Any) -> None:
        """`listen` is the place of the `[[listen]]`, `own` the transport of this worker's port towards the servers."""
        self._edge = edge
        self._proxy = proxy
        self._neighbours = neighbours
        self._listen = listen
        self._own = own
        self._flows: dict[Flow, Flow] = {}

    @cython.ccall
    def message_received(self, message: object, flow: Flow) -> object:
        if self._own is not None and isinstance(message, Request) and self._proxy.side_of(flow) == "servers":
            self.request_of_server(message, flow, 0)
        else:
            self._edge.message_received(message, flow)

    @cython.ccall
    def malformed_received(self, error: object, flow: Flow) -> object:
        self._edge.malformed_received(error, flow)

    @cython.ccall
    def datagram_failed(self, quoted: bytes, cause: str) -> object:
        self._edge.datagram_failed(quoted, cause)

    def request_of_server(self, request: Request, flow: Flow, passed: int) -> None:
        """Keep it, or hand it on when it is for a phone that we do not know and somebody is left who has not seen it."""
        if passed + 1 < self._neighbours.number and self._is_for_another(request, flow):
            raw = flow.raw
            self._neighbours.hand_to_next(Parcel(REQUEST, self._listen, passed + 1, raw, request.to_bytes()))
            return
        self._edge.message_received(request, self._at_own_port(flow))

    def _is_for_another(self, request: Request, flow: Flow) -> bool:
        try:
            return self._proxy.asks_for_unknown_phone(request, flow)
        except MalformedMessage:
            return False  # the edge answers it

    def _at_own_port(self, flow: Flow) -> Flow:
        known = self._flows.get(flow)
        if known is None:
            if len(self._flows) >= _MOST_FLOWS:
                self._flows.clear()
            known = self._flows[flow] = _AtOwnPort(flow, self._own.sent_by(flow.remote[0]))
        return known


class Deliveries:
    """What neighbours hand over, and the responses that this worker hands to them."""

    def __init__(self, neighbours: Neighbours, layer: Any, registrar: Any) -> None:
        self._neighbours = neighbours
        self._layer = layer
        self._registrar = registrar
        self._doors: list[Door] = []
        self._shared: list[Any] = []
        self._places: dict[tuple[str, int], int] = {}

    def add(self, door: Door, shared: Any, own: Any) -> None:
        """One `[[listen]]`: its door and its transports."""
        for transport in (shared, own) if own is not None else (shared,):
            self._places[transport.local] = len(self._doors)
        self._doors.append(door)
        self._shared.append(shared)

    def response_elsewhere(self, response: Any, flow: Any) -> bool:
        """A response that belongs to no transaction here: hand it to the worker that made its branch. False without any."""
        worker = marks.worker_of(response.top_via.branch or "")
        if worker is None or worker == self._neighbours.me or worker >= self._neighbours.number:
            return False
        parcel = Parcel(RESPONSE, self._places[flow.local], 1, flow.raw, response.to_bytes())
        self._neighbours.hand_to(worker, parcel)
        return True

    def delivered(self, parcel: Parcel) -> None:
        """A neighbour's parcel."""
        try:
            if parcel.kind == MOVED:
                self._registrar.moved_away(parcel.data.decode("ascii"))
                return
            flow = self._shared[parcel.listen].flow_of(parcel.source)
            message = parse(parcel.data)
            if parcel.kind == REQUEST:
                message.note_source(*flow.remote)
                self._doors[parcel.listen].request_of_server(message, flow, parcel.passed)
            else:
                # Its edge has counted it already.
                self._layer.response_received(message, flow)
        except MalformedMessage:
            pass
        except Exception:
            # A bug of ours. One message is lost and the log has the trace; the other calls go on.
            log.failure("internal error while handling what another worker handed over")


__all__: Sequence[str] = ("Deliveries", "Door")
