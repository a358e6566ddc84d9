"""The transaction layer: every message in and every request out passes here (RFC 3261 section 17, the door to it).

It owns the live transactions, finds the one a message belongs to by one look-up, and makes those of new requests. It
answers by itself only what is hop by hop: CANCEL, and the 100 that is due when its user stays silent.
"""

from __future__ import annotations

from collections.abc import Callable

from sbc.clock import Clock
from sbc.sip.errors import LocalError, MalformedMessage
from sbc.sip.message import Request, Response
from sbc.transaction.client import ClientTransaction, InviteClientTransaction, NonInviteClientTransaction
from sbc.transaction.hop_by_hop import cancel_for
from sbc.transaction.interface import ClientTransactionUser, Flow, TransactionUser
from sbc.transaction.matching import ClientKey, ServerKey, new_branch, quoted_client_key, server_key
from sbc.transaction.server import InviteServerTransaction, NonInviteServerTransaction, ServerTransaction
from sbc.transaction.timers import Timers

__all__ = [
    "ClientTransaction",
    "ClientTransactionUser",
    "Flow",
    "ServerTransaction",
    "TransactionLayer",
    "TransactionUser",
]


_MOST_COUNTERS = 64
"""Pairs of side and method that are counted by themselves: twice the methods there are."""


class _Unheard:
    """The user of our own CANCELs: what becomes of them shows in the INVITE (RFC 3261 s.9.1)."""

    def response_received(self, transaction: ClientTransaction, response: Response) -> None:
        pass

    def timed_out(self, transaction: ClientTransaction) -> None:
        pass

    def transport_failed(self, transaction: ClientTransaction, cause: str) -> None:
        pass


class TransactionLayer:
    """All transactions of one process. Give it a `TimerQueue` for a clock: most of its timers never fire."""

    def __init__(
        self,
        clock: Clock,
        timers: Timers,
        user: TransactionUser | None = None,
        new_branch: Callable[[], str] = new_branch,
    ) -> None:
        self.clock = clock
        self.timers = timers
        self.user: TransactionUser = user  # type: ignore[assignment]  # set by the composition root before traffic
        self.new_branch = new_branch
        self._clients: dict[ClientKey, ClientTransaction] = {}
        self._servers: dict[ServerKey, ServerTransaction] = {}
        self.side_of: Callable[[Flow], str] = lambda flow: flow.side
        """Who is behind a flow, phones or servers; set where one socket has both on it."""
        self.retransmissions: dict[tuple[str, str], int] = {}
        """Messages sent once more, by a timer or because the peer repeated its request: {(side, method): number}."""
        self.transactions: dict[tuple[str, str], int] = {
            machine.KIND: 0
            for machine in (
                InviteClientTransaction,
                NonInviteClientTransaction,
                InviteServerTransaction,
                NonInviteServerTransaction,
            )
        }
        """Live ones: {("client" | "server", "invite" | "non-invite"): number}."""

    # From the transport.

    def request_received(self, request: Request, flow: Flow) -> None:
        """A request came in. Raises MalformedMessage when it has no usable Via; what the user raises passes through."""
        method = request.method
        if method == "ACK":
            self._ack_received(request, flow)
            return
        key = server_key(request, method)
        transaction = self._servers.get(key)
        if transaction is not None:
            transaction.request_repeated()
        elif method == "INVITE":
            self._pass_up(InviteServerTransaction(self, key, request, flow), self.timers.invite_trying)
        elif method == "CANCEL":
            self._cancel_received(key, request, flow)
        else:
            self._pass_up(NonInviteServerTransaction(self, key, request, flow), self.timers.non_invite_trying)

    def response_received(self, response: Response, flow: Flow) -> None:
        """A response came in. Raises MalformedMessage when it has no usable Via."""
        # s.17.1.3: the branch of the top Via and the method of the CSeq; a CANCEL shares the branch of its INVITE.
        transaction = self._clients.get((response.top_via.branch, response.cseq_method))
        if transaction is not None:
            transaction.response_received(response)
        else:
            self.user.stray_response_received(response, flow)

    def quoted_datagram_failed(self, quoted: bytes, cause: str) -> bool:
        """An ICMP error quotes the start of a datagram. True when it is one of a live client transaction, which fails.

        Anybody can send an ICMP error; only who saw our request, or has been on its way, knows the branch.
        """
        key = quoted_client_key(quoted)
        transaction = self._clients.get(key) if key is not None else None
        if transaction is None:
            return False
        transaction.transport_failed(cause)
        return True

    def flow_failed(self, flow: Flow, cause: str) -> int:
        """A connection could not be made, or broke: its client transactions fail. Returns how many were on it."""
        concerned = [transaction for transaction in self._clients.values() if transaction.flow is flow]
        for transaction in concerned:
            transaction.transport_failed(cause)
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
        branch = branch or self.new_branch()
        request = _with_via(request, flow, branch)
        if timeout is None:
            timeout = self.timers.b if request.method == "INVITE" else self.timers.f
        if request.method == "INVITE":
            invite = InviteClientTransaction(self, request, flow, user, branch, timeout, interval)
            self._client_started(invite)
            invite.start()
            return invite
        transaction = NonInviteClientTransaction(self, request, flow, user, branch, timeout, interval)
        self._client_started(transaction)
        transaction.start(proceeding_timeout)
        return transaction

    def send_stateless(self, request: Request, flow: Flow, branch: str) -> None:
        """Send a copy of `request` with our Via on top and forget it: the ACK to a 2xx."""
        flow.send(_with_via(request, flow, branch).to_bytes(flow.reliable))

    def cancel(self, invite: InviteClientTransaction) -> None:
        """Cancel an INVITE of ours (s.9.1).

        At once when a provisional has come, else as soon as one comes. Without effect after a final response. When
        there is no final response 64*T1 after the CANCEL, the INVITE times out.
        """
        invite.cancel()

    def client_for(self, branch: str, method: str) -> ClientTransaction | None:
        """The live client transaction with this branch, or None."""
        return self._clients.get((branch, method))

    # From the transactions.

    def client_ended(self, transaction: ClientTransaction) -> None:
        """Terminated: forget it."""
        del self._clients[transaction.branch, transaction.method]
        self.transactions[transaction.KIND] -= 1

    def server_ended(self, transaction: ServerTransaction) -> None:
        """Terminated: forget it and tell the user, who has never heard of the CANCELs."""
        del self._servers[transaction.key]
        self.transactions[transaction.KIND] -= 1
        if transaction.request.method != "CANCEL":
            self.user.server_transaction_ended(transaction)

    def send_cancel(self, invite: InviteClientTransaction) -> None:
        """A CANCEL on the flow and with the branch of its INVITE, in a transaction of its own (s.9.1)."""
        request = cancel_for(invite.request)
        cancel = NonInviteClientTransaction(self, request, invite.flow, _Unheard(), invite.branch, self.timers.f, 0.0)
        self._client_started(cancel)
        cancel.start()

    def stray_response(self, response: Response, flow: Flow) -> None:
        """A response to an INVITE that its user has given up."""
        self.user.stray_response_received(response, flow)

    def ack_for_user(self, ack: Request, flow: Flow) -> None:
        """An ACK to a 2xx that kept the branch of the INVITE (RFC 6026 s.7.1)."""
        self.user.ack_received(ack, flow)

    def count_retransmission(self, flow: Flow, method: str) -> None:
        """One message was sent once more."""
        key = (self.side_of(flow), method)
        if key not in self.retransmissions and len(self.retransmissions) >= _MOST_COUNTERS:
            key = (key[0], "other")  # a sender may invent as many methods as he likes
        self.retransmissions[key] = self.retransmissions.get(key, 0) + 1

    # Our own part.

    def _client_started(self, transaction: ClientTransaction) -> None:
        key = (transaction.branch, transaction.method)
        if key in self._clients:
            raise LocalError(f"branch {transaction.branch} is in use by another {transaction.method}")
        self._clients[key] = transaction
        self.transactions[transaction.KIND] += 1

    def _server_started(self, transaction: ServerTransaction) -> None:
        self._servers[transaction.key] = transaction
        self.transactions[transaction.KIND] += 1

    def _pass_up(self, transaction: ServerTransaction, trying_after: float) -> None:
        self._server_started(transaction)
        request = transaction.request
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

    def _ack_received(self, ack: Request, flow: Flow) -> None:
        invite = self._servers.get(server_key(ack, "INVITE"))
        if isinstance(invite, InviteServerTransaction) and invite.is_ack_of(ack):
            invite.ack_received(ack, flow)
        else:
            self.user.ack_received(ack, flow)

    def _cancel_received(self, key: ServerKey, request: Request, flow: Flow) -> None:
        cancel = NonInviteServerTransaction(self, key, request, flow)
        self._server_started(cancel)
        invite = self._servers.get(server_key(request, "INVITE"))
        if not isinstance(invite, InviteServerTransaction):
            cancel.respond(Response.for_request(request, 481))
            return
        # s.9.2: 200 whatever the state of the INVITE, and an effect only before its final response.
        cancel.respond(Response.for_request(request, 200))
        if invite.final_status is None:
            self.user.cancel_received(invite, request)


def _with_via(request: Request, flow: Flow, branch: str) -> Request:
    """A copy with our Via on top (s.16.6 step 8); rport wants the answer where it was sent from (RFC 3581 s.3)."""
    sent = request.copy()
    sent.prepend("Via", f"{flow.via};branch={branch};rport")
    return sent
