"""The transaction layer: every message that is read and every request out passes here (RFC 3261 section 17, the door to it).

It owns the live transactions, finds the one a message belongs to by one look-up, and makes those of new requests. It
answers by itself only what is hop by hop: CANCEL, and the 100 that is due when its user stays silent.

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1.
"""

from __future__ import annotations

from secrets import token_hex

import cython

from sbc.clock import Clock
from sbc.sip.errors import MalformedMessage
from sbc.transaction.client import State
from sbc.transaction.matching import quoted_client_key
from sbc.transaction.timers import Timers

if cython.compiled:
    from cython.cimports.sbc.flow import Flow
    from cython.cimports.sbc.sip.message import Request, Response
    from cython.cimports.sbc.sip.scanner import ACK, CANCEL, INVITE, OPTIONS, OTHER
    from cython.cimports.sbc.transaction.client import (
        ClientTransaction,
        InviteClientTransaction,
        start_invite,
        start_non_invite,
        start_ready,
    )
    from cython.cimports.sbc.transaction.interface import ClientTransactionUser, TransactionUser
    from cython.cimports.sbc.transaction.ledger import Ledger
    from cython.cimports.sbc.transaction.matching import server_key
    from cython.cimports.sbc.transaction.server import (
        InviteServerTransaction,
        ServerTransaction,
        start_invite_server,
        start_non_invite_server,
    )
else:
    from sbc.flow import Flow
    from sbc.sip.message import Request, Response
    from sbc.sip.scanner import ACK, CANCEL, INVITE, OPTIONS, OTHER
    from sbc.transaction.client import (
        ClientTransaction,
        InviteClientTransaction,
        start_invite,
        start_non_invite,
        start_ready,
    )
    from sbc.transaction.interface import ClientTransactionUser, TransactionUser
    from sbc.transaction.ledger import Ledger
    from sbc.transaction.matching import server_key
    from sbc.transaction.server import (
        InviteServerTransaction,
        ServerTransaction,
        start_invite_server,
        start_non_invite_server,
    )

COMPILED = bool(cython.compiled)


@cython.cclass
class TransactionLayer(Ledger):
    """All transactions of one process. Give it a `TimerQueue` for a clock: most of its timers never fire.

    `boot` stands in every branch made here (`ext/branches.pyx`); it is made up when not given.
    """

    def __init__(
        self,
        clock: Clock,
        timers: Timers,
        user: TransactionUser | None = None,  # set by the composition root before traffic
        boot: str | None = None,
    ) -> None:
        self.open(clock, timers, user, token_hex(3) if boot is None else boot)

    @property
    def transactions(self) -> dict[tuple[str, str], int]:
        """Live ones: {("client" | "server", "invite" | "non-invite"): number}."""
        return {
            ("client", "invite"): self.invite_clients,
            ("client", "non-invite"): len(self.clients) + len(self._cancels) - self.invite_clients,
            ("server", "invite"): self.invite_servers,
            ("server", "non-invite"): len(self._servers) - self.invite_servers,
        }

    # From the transport.

    @cython.ccall
    def request_received(self, request: Request, flow: Flow):
        """A request came in. Raises MalformedMessage when it has no usable Via; what the user raises passes through."""
        if request.method_code == ACK:
            self._ack_received(request, flow)
            return
        if request.method_code == OPTIONS and self.user.answered_at_once(request, flow):
            return
        key = server_key(request, request.method)
        transaction: ServerTransaction = self._servers.get(key)
        if transaction is not None:
            transaction.request_repeated()
        elif request.method_code == INVITE:
            self._pass_up(start_invite_server(self, key, request, flow), request, self.invite_trying)
        elif request.method_code == CANCEL:
            self._cancel_received(key, request, flow)
        else:
            self._pass_up(start_non_invite_server(self, key, request, flow), request, self.non_invite_trying)

    @cython.ccall
    def response_received(self, response: Response, flow: Flow):
        """A response came in. Raises MalformedMessage when it has no usable Via."""
        # s.17.1.3: the branch of the top Via and the method of the CSeq; a CANCEL shares the branch of its INVITE.
        method_code: cython.int = response.cseq_code()
        transaction: ClientTransaction
        if method_code == CANCEL:
            transaction = self._cancels.get(response.branch_text())
        else:
            transaction = self.clients.find_for(response)
        if transaction is None or not _answers(transaction, method_code, response):
            self.user.stray_response_received(response, flow)
        else:
            transaction.response_received(response)

    def quoted_datagram_failed(self, quoted: bytes, cause: str) -> bool:
        """An ICMP error quotes the start of a datagram. True when it is one of a live client transaction, which fails.

        Anybody can send an ICMP error; only who saw our request, or has been on its way, knows the branch.
        """
        key = quoted_client_key(quoted)
        transaction = self.client_for(key[0], key[1]) if key is not None else None
        if transaction is None:
            return False
        transaction.transport_failed(cause)
        return True

    def flow_failed(self, flow: Flow, cause: str) -> int:
        """A connection could not be made, or broke: its client transactions fail, or their users are told that it broke.

        Returns how many were on it.
        """
        concerned = list(self._on_connections.get(flow, ()))
        transaction: ClientTransaction
        for transaction in concerned:
            transaction.transport_failed(cause)
            if transaction.method_code == INVITE and transaction.state is State.PROCEEDING:
                transaction.user.connection_lost(transaction, cause)
        return len(concerned)

    # From the transaction user.

    def send_request(
        self,
        request: Request,
        flow: Flow,
        user: ClientTransactionUser,
        *,
        branch: str | None = None,
        timeout: float | None = None,
        interval: float = 0.0,
        proceeding_timeout: float | None = None,
    ) -> ClientTransaction:
        """Send a copy of `request` with our Via on top, in a client transaction that reports to `user`.

        `timeout` is the silence (s) after which it is given up, Timer B or F; 64*T1 when not given. A retransmission
        that would fall on that instant is not sent, so 7.5 means sends at 0, 0.5, 1.5 and 3.5. `interval` above 0
        replaces the doubling intervals by a constant one. `proceeding_timeout` is the `timeout` of a non-INVITE once
        a provisional came; an INVITE has none then (Timer C is the user's).
        """
        if not branch:
            branch = self.clients.new_branch(0)
        seconds: cython.double = self.timer_b if timeout is None else timeout  # F is the same
        proceeding: cython.double = -1.0 if proceeding_timeout is None else proceeding_timeout
        return self.send(request.copy(), flow, user, branch, seconds, interval, proceeding)

    @cython.cfunc
    def send(
        self,
        request: Request,
        flow: Flow,
        user: ClientTransactionUser,
        branch: str,
        timeout: cython.double,
        interval: cython.double,
        proceeding_timeout: cython.double,
    ) -> ClientTransaction:
        """`send_request` for a request that is the transaction's from now on; `proceeding_timeout` -1 for none.

        A branch of `clients.new_branch` that was made just before costs least.
        """
        request.put_via(flow.via_start, branch)  # s.16.6 step 8
        if request.method_code == INVITE:
            return start_invite(self, request, flow, user, branch, timeout, interval)
        return start_non_invite(self, request, flow, user, branch, timeout, interval, proceeding_timeout)

    @cython.cfunc
    def send_ready(
        self,
        method: str,
        method_code: cython.int,
        data: bytes,
        flow: Flow,
        user: ClientTransactionUser,
        branch: str,
        timeout: cython.double,
        interval: cython.double,
        proceeding_timeout: cython.double,
    ) -> ClientTransaction:
        """`send` for a request other than INVITE that its user has written, our Via with that branch on top included."""
        return start_ready(self, method, method_code, data, flow, user, branch, timeout, interval, proceeding_timeout)

    @cython.ccall
    def send_stateless(self, request: Request, flow: Flow, branch: str):
        """Put our Via on top of `request`, send it and forget it: the ACK to a 2xx."""
        request.put_via(flow.via_start, branch)  # s.16.6 step 8
        flow.send(request.to_bytes(flow.reliable))

    def cancel(self, invite: InviteClientTransaction) -> None:
        """Cancel an INVITE of ours (s.9.1).

        At once when a provisional has come, else as soon as one comes. Without effect after a final response. When
        there is no final response 64*T1 after the CANCEL, the INVITE times out.
        """
        invite.cancel()

    def client_for(self, branch: str, method: str) -> ClientTransaction | None:
        """The live client transaction with this branch, or None."""
        transaction: ClientTransaction = self._cancels.get(branch) if method == "CANCEL" else self.clients.find(branch)
        return transaction if transaction is not None and transaction.method == method else None

    def knows(self, request: Request) -> bool:
        """True when it belongs to a server transaction here: a repetition, or the CANCEL or the ACK of an INVITE.

        Raises MalformedMessage when it has no usable Via.
        """
        of_invite: cython.bint = request.method_code == ACK or request.method_code == CANCEL
        return server_key(request, "INVITE" if of_invite else request.method) in self._servers

    # Our own part.

    @cython.cfunc
    def _pass_up(self, transaction: ServerTransaction, request: Request, trying_after: cython.double):
        try:
            self.user.request_received(transaction, request)
        except MalformedMessage as fault:
            transaction.respond(Response.for_request(request, fault.status_hint, fault.reason))
            fault.request = None  # who catches it must not answer once more
            raise
        except Exception:
            # A bug above must not leave a transaction without an end, nor the peer without an answer.
            transaction.respond(Response.for_request(request, 500))
            raise
        transaction.await_response(trying_after)

    @cython.cfunc
    def _invite_of(self, request: Request) -> InviteServerTransaction:
        """The INVITE that an ACK or CANCEL is about; None when we know none. Only an INVITE has such a key."""
        return self._servers.get(server_key(request, "INVITE"))

    @cython.cfunc
    def _ack_received(self, ack: Request, flow: Flow):
        invite: InviteServerTransaction = self._invite_of(ack)
        if invite is not None and invite.is_ack_of(ack):
            invite.ack_received(ack, flow)
        else:
            self.user.ack_received(ack, flow)

    @cython.cfunc
    def _cancel_received(self, key: object, request: Request, flow: Flow):
        cancel: ServerTransaction = start_non_invite_server(self, key, request, flow)
        invite: InviteServerTransaction = self._invite_of(request)
        if invite is None:
            cancel.respond(Response.for_request(request, 481))
            return
        # s.9.2: 200 whatever the state of the INVITE, and an effect only before its final response.
        cancel.respond(Response.for_request(request, 200))
        if invite.final_status is None:
            self.user.cancel_received(invite, request)


@cython.cfunc
def _answers(transaction: ClientTransaction, method_code: cython.int, response: Response) -> cython.bint:
    """True when the CSeq of a response has the transaction's method."""
    if transaction.method_code != method_code:
        return False
    return method_code != OTHER or transaction.method == response.cseq_method_text()
