"""Between the sockets and the transactions: counts what comes in, answers what need not be read and what cannot be, passes
on the rest.

The `Receiver` of all transports and, for the metrics, `Traffic`. Numbers are plain integers in lists, because this is on the
way of every message.

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1.
"""

from __future__ import annotations

import cython

from sbc.events import MalformedReceived, Report
from sbc.sip.errors import MalformedMessage
from sbc.sip.scanner import NUMBERED_METHODS

if cython.compiled:
    from cython.cimports.sbc.flow import AtHand, Flow, Receiver
    from cython.cimports.sbc.proxy.core import Proxy
    from cython.cimports.sbc.sip.message import Request, Response
    from cython.cimports.sbc.sip.scanner import REGISTER
    from cython.cimports.sbc.transaction.layer import TransactionLayer
else:
    from sbc.flow import AtHand, Flow, Receiver
    from sbc.proxy.core import Proxy
    from sbc.sip.message import Request, Response
    from sbc.sip.scanner import REGISTER
    from sbc.transaction.layer import TransactionLayer

COMPILED = bool(cython.compiled)

_SIDES = ("phones", "servers")
_METHODS = tuple([name or "other" for name in NUMBERED_METHODS])
"""Those that have a number are counted under their own name, so that no sender can make a label."""
_METHODS_NUMBER = cython.declare(cython.int, len(_METHODS))
_CLASSES = cython.declare(cython.int, 10)
"""Of statuses, by their first digit."""


@cython.cclass
class Edge(Receiver):
    """The only receiver of all transports, in front of the proxy's transaction layer."""

    _proxy: Proxy
    _layer: TransactionLayer
    _at_hand: AtHand
    _report: object
    _requests: cython.longlong[30]  # by side and method
    _responses: cython.longlong[300]  # by side, method and class

    def __init__(self, proxy: Proxy, report: Report, at_hand: AtHand | None = None) -> None:
        """`at_hand` may know the answer to a REGISTER of a phone before anybody has read it."""
        self._proxy = proxy
        self._layer = proxy.layer
        self._at_hand = AtHand() if at_hand is None else at_hand  # one that has nothing yet may count as false
        self._report = report
        places: cython.int = len(_SIDES) * _METHODS_NUMBER
        assert places == 30
        if not cython.compiled:  # compiled, they are arrays of zeros
            self._requests = [0] * places
            self._responses = [0] * (places * _CLASSES)

    @property
    def requests(self) -> dict[tuple[str, str], int]:
        """Received: {(method, side): number}, side phones | servers; without those that never came."""
        pairs = [(method, side) for side in _SIDES for method in _METHODS]
        return {pair: number for pair, number in zip(pairs, self._requests, strict=True) if number}

    @property
    def responses(self) -> dict[tuple[str, str, str], int]:
        """Received: {(method, class, side): number}, class 1xx to 6xx; without those that never came."""
        classes = [f"{first}xx" for first in range(_CLASSES)]
        keys = [(method, name, side) for side in _SIDES for method in _METHODS for name in classes]
        return {key: number for key, number in zip(keys, self._responses, strict=True) if number}

    @property
    def retransmissions(self) -> dict[tuple[str, str], int]:
        """{(side, method): messages sent once more}."""
        return self._layer.retransmissions

    def transactions(self) -> dict[tuple[str, str], int]:
        """{(side, kind): transactions alive}."""
        return self._layer.transactions

    @cython.ccall
    @cython.exceptval(-1, check=True)
    def answered_unread(self, data: bytes, flow: Flow) -> cython.bint:
        """A REGISTER that changes nothing. Under overload too, because anything else would take longer."""
        if not data.startswith(b"REGISTER ") or self._proxy.from_server(flow):
            return False
        answer: bytes = self._at_hand.answer_to(data, flow)
        if answer is None:
            return False
        self._requests[REGISTER] += 1
        flow.send(answer)
        return True

    @cython.ccall
    def message_received(self, message: object, flow: Flow) -> object:  # (message: Request | Response, flow: Flow)
        """A well-formed message. MalformedMessage of what shows only later has been answered by the layer."""
        request: Request
        response: Response
        place: cython.Py_ssize_t = _METHODS_NUMBER if self._proxy.from_server(flow) else 0
        try:
            if isinstance(message, Request):
                request = message
                place += request.method_code
                self._requests[place] += 1
                self._layer.request_received(request, flow)
            else:
                response = message
                place = (place + response.cseq_code()) * _CLASSES + response._status // 100
                self._responses[place] += 1
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

    @cython.ccall
    def flow_failed(self, flow: Flow, cause: str) -> object:
        """A connection could not be made, or broke."""
        self._layer.flow_failed(flow, cause)
