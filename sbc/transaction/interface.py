"""What the transaction layer asks of those above it: transaction users. Below it are flows (`sbc.flow`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from sbc.flow import Flow
from sbc.sip.message import Request, Response

if TYPE_CHECKING:
    from sbc.transaction.client import ClientTransaction
    from sbc.transaction.server import InviteServerTransaction, ServerTransaction


class TransactionUser(Protocol):
    """Who gets the requests, and the responses that nobody waits for."""

    def request_received(self, transaction: ServerTransaction, request: Request) -> None:
        """A new request, neither ACK nor CANCEL. Sooner or later `respond()` must give it a final response."""

    def ack_received(self, request: Request, flow: Flow) -> None:
        """An ACK for a 2xx: of its own branch, or to be taken from a transaction that is Accepted (RFC 6026 s.7.1)."""

    def cancel_received(self, invite: InviteServerTransaction, request: Request) -> None:
        """A CANCEL for an INVITE without a final response so far. The CANCEL itself has been answered already."""

    def stray_response_received(self, response: Response, flow: Flow) -> None:
        """A response to no transaction that still waits for one: late, or a 2xx repeated after the Accepted state."""

    def server_transaction_ended(self, transaction: ServerTransaction) -> None:
        """Nothing more will be sent or absorbed for this request."""


class ClientTransactionUser(Protocol):
    """Who sent a request."""

    def response_received(self, transaction: ClientTransaction, response: Response) -> None:
        """Each provisional, then the final response; for INVITE each 2xx that comes, repeated ones too (RFC 6026)."""

    def timed_out(self, transaction: ClientTransaction) -> None:
        """No (final) response in time. What comes later is stray."""

    def transport_failed(self, transaction: ClientTransaction, cause: str) -> None:
        """The request could not be delivered: icmp, refused, reset, tls, ..."""


class Unheard:
    """A client transaction's user for requests whose end changes nothing.

    Our CANCELs: what becomes of them shows in the INVITE (RFC 3261 s.9.1). The BYE of a call that no phone knows: there is
    nobody to tell.
    """

    def response_received(self, transaction: ClientTransaction, response: Response) -> None:
        pass

    def timed_out(self, transaction: ClientTransaction) -> None:
        pass

    def transport_failed(self, transaction: ClientTransaction, cause: str) -> None:
        pass
