"""Between the sockets and the transactions: counts what comes in, answers what cannot be parsed, passes on the rest.

The `Receiver` of all transports and, for the metrics, `Traffic`. Numbers are plain integers, because this is on the way
of every message.

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1.
"""

from __future__ import annotations

from collections.abc import Callable

import cython

from sbc.events import MalformedReceived, Report
from sbc.sip.errors import MalformedMessage

if cython.compiled:
    from cython.cimports.sbc.flow import Flow, Receiver
    from cython.cimports.sbc.sip.message import Request, Response
    from cython.cimports.sbc.transaction.layer import TransactionLayer
else:
    from sbc.flow import Flow, Receiver
    from sbc.sip.message import Request, Response
    from sbc.transaction.layer import TransactionLayer

COMPILED = bool(cython.compiled)

METHODS = frozenset(
    ["INVITE", "ACK", "CANCEL", "BYE", "REGISTER", "OPTIONS", "SUBSCRIBE", "NOTIFY", "PUBLISH", "REFER", "INFO", "MESSAGE", "UPDATE", "PRACK"]
)
"""Those that are counted under their own name; all others are `other`, so that no sender can make a label."""


_CLASSES = cython.declare(tuple, tuple([f"{first}xx" for first in range(10)]))


@cython.cclass
class Edge(Receiver):
    """The only receiver of all transports. `side_of(flow)` says who is behind it, phones or servers."""

    _layer: TransactionLayer
    _side_of: object
    _report: object
    requests = cython.declare(dict, visibility="readonly")
    responses = cython.declare(dict, visibility="readonly")

    def __init__(self, layer: TransactionLayer, side_of: Callable[[Flow], str], report: Report) -> None:
        self._layer = layer
        self._side_of = side_of
        self._report = report
        self.requests: dict[tuple[str, str], int] = {}
        """Received: {(method, side): number}, side phones | servers."""
        self.responses: dict[tuple[str, str, str], int] = {}
        """Received: {(method, class, side): number}, class 1xx to 6xx."""

    @property
    def retransmissions(self) -> dict[tuple[str, str], int]:
        """{(side, method): messages sent once more}."""
        return self._layer.retransmissions

    def transactions(self) -> dict[tuple[str, str], int]:
        """{(side, kind): transactions alive}."""
        return self._layer.transactions

    @cython.ccall
    def message_received(self, message: object, flow: Flow) -> object:  # (message: Request | Response, flow: Flow)
        """A well-formed message. MalformedMessage of what shows only later has been answered by the layer."""
        side = self._side_of(flow)
        request: Request
        response: Response
        method: str
        key: tuple
        try:
            if isinstance(message, Request):
                request = message
                method = request.method if request.method in METHODS else "other"
                key = (method, side)
                self.requests[key] = self.requests.get(key, 0) + 1
                self._layer.request_received(request, flow)
            else:
                response = message
                method = response.cseq_method
                if method not in METHODS:
                    method = "other"
                key = (method, _CLASSES[response._status // 100], side)
                self.responses[key] = self.responses.get(key, 0) + 1
                self._layer.response_received(response, flow)
        except MalformedMessage as error:
            self._report(MalformedReceived(flow.transport, error.header or "message"))

    @cython.ccall
    def malformed_received(self, error: object, flow: Flow) -> object:  # (error: MalformedMessage, flow: Flow)
        """Not acceptable. A request that shows whom to answer gets its answer, without a transaction; an ACK never does."""
        self._report(MalformedReceived(flow.transport, error.header or "message"))
        request = error.request
        if request is None or request.method == "ACK":
            return
        try:
            response = Response.for_request(request, error.status_hint, error.reason, to_tag="malformed")
        except MalformedMessage:
            return
        flow.send(response.to_bytes())

    @cython.ccall
    def datagram_failed(self, quoted: bytes, cause: str) -> object:
        """An ICMP error for something we sent."""
        self._layer.quoted_datagram_failed(quoted, cause)
