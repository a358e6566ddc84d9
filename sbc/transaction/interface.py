"""What a transaction and its user know of each other. (What is below, a flow, is in `sbc.flow`.)

Classes rather than protocols: a report up is then a call like any other of compiled code, and happens for every message.

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1.
"""

from __future__ import annotations

import cython

from sbc.sip.errors import LocalError

if cython.compiled:
    from cython.cimports.sbc.clock import Timer
    from cython.cimports.sbc.flow import Flow
    from cython.cimports.sbc.sip.message import Request, Response
else:
    from sbc.clock import Timer
    from sbc.flow import Flow
    from sbc.sip.message import Request, Response

COMPILED = bool(cython.compiled)


@cython.cclass
class Transaction(Timer):
    """One request on one flow: a `ClientTransaction` or a `ServerTransaction`.

    It never waits for two things at once: either for the next retransmission or for the end of its state, whichever comes
    first. So it is its own timer, and arming it makes no object.

    `context` is a slot for its user: what is to become of the request. Whoever fills it empties it.
    """

    flow: Flow
    method: str
    context: object
    _request: Request  # None when it will not be needed any more

    @property
    def request(self):  # -> Request
        """LocalError after the final response: what only absorbs repetitions for half a minute must be small."""
        if self._request is None:
            raise LocalError(f"{self.method} transaction: its request was let go with its final response")
        return self._request


@cython.cclass
class TransactionUser:
    """Who gets the requests, and the responses that nobody waits for."""

    @cython.ccall
    def answered_at_once(self, request: Request, flow: Flow) -> cython.bint:
        """Asked for each OPTIONS before anything is remembered of it. True when it has been answered without a transaction
        (RFC 3261 s.8.2.7): every repetition is asked about again, and must get the same answer."""
        return False

    @cython.ccall
    def request_received(self, transaction: Transaction, request: Request):
        """A new request, neither ACK nor CANCEL, in its `ServerTransaction`, which must have a final response some day."""
        raise NotImplementedError

    @cython.ccall
    def ack_received(self, request: Request, flow: Flow):
        """An ACK for a 2xx: of its own branch, or to be taken from a transaction that is Accepted (RFC 6026 s.7.1)."""
        raise NotImplementedError

    @cython.ccall
    def cancel_received(self, invite: Transaction, request: Request):
        """A CANCEL for an INVITE without a final response so far. The CANCEL itself has been answered already."""
        raise NotImplementedError

    @cython.ccall
    def stray_response_received(self, response: Response, flow: Flow):
        """A response to no transaction that still waits for one: late, or a 2xx repeated after the Accepted state."""
        raise NotImplementedError

    @cython.ccall
    def server_transaction_ended(self, transaction: Transaction):
        """Nothing more will be sent or absorbed for this request."""
        raise NotImplementedError

    @cython.ccall
    def side_of(self, flow: Flow) -> str:
        """Who is behind a flow, phones or servers, where one socket has both on it."""
        return flow.side


@cython.cclass
class ClientTransactionUser(Timer):
    """Who sent a request. While it waits for the answer it may wait for something of its own as well: it is a `Timer`."""

    @cython.ccall
    def response_received(self, transaction: Transaction, response: Response):
        """Each provisional, then the final response; for INVITE each 2xx that comes, repeated ones too (RFC 6026)."""
        raise NotImplementedError

    @cython.ccall
    def timed_out(self, transaction: Transaction):
        """No (final) response in time. What comes later is stray."""
        raise NotImplementedError

    @cython.ccall
    def transport_failed(self, transaction: Transaction, cause: str):
        """The request could not be delivered: icmp, refused, reset, tls, ..."""
        raise NotImplementedError

    @cython.ccall
    def connection_lost(self, transaction: Transaction, cause: str):
        """An INVITE that has had a provisional response, and now its connection is broken. The transaction goes on, for the
        final response may come over another connection (RFC 3261 s.18.2.2); who knows better cancels it."""


@cython.cclass
class Unheard(ClientTransactionUser):
    """For requests whose end changes nothing.

    Our CANCELs: what becomes of them shows in the INVITE (RFC 3261 s.9.1). The BYE of a call that no phone knows: there is
    nobody to tell.
    """

    @cython.ccall
    def response_received(self, transaction: Transaction, response: Response):
        pass

    @cython.ccall
    def timed_out(self, transaction: Transaction):
        pass

    @cython.ccall
    def transport_failed(self, transaction: Transaction, cause: str):
        pass
