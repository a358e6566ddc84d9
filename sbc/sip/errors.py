"""What can be wrong with a message, and with us."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sbc.sip.message import Request


class MalformedMessage(Exception):  # noqa: N818 (a fact about the message, named as such everywhere)
    """The other side sent something that is not SIP as RFC 3261 writes it.

    `reason` is fit for a reason phrase and for an operator; `header` names the header at fault, "" when it is none;
    `status_hint` is the status to answer with. `request` is the request as far as it could be read, when it can be
    answered: the start line names a method other than ACK, the top Via can be read, and From, To, Call-ID and CSeq are
    there to be copied. It is None for everything that must be dropped: responses, ACK, and what is not SIP at all.
    """

    def __init__(
        self, reason: str, *, header: str = "", status_hint: int = 400, request: Request | None = None
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.header = header
        self.status_hint = status_hint
        self.request = request


class LocalError(Exception):
    """We ourselves asked for something impossible, such as a header value with a line break in it. A bug of ours."""
