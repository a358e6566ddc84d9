"""Answers that come after their branch was given up (RFC 3261 16.7, 13.2.2.4; pitfall D3).

A server that was silent for 7.5 s may have been slow, not dead. When it rings late it gets a CANCEL and when it refuses late
an ACK: that is the client transaction's work. Its 200 connects the call when nobody else has; otherwise somebody talks into
a line that the caller does not hear, and that call is ACKed and ended from here. Every branch is kept for 64*T1 after its
last event.
"""

from __future__ import annotations

from collections.abc import Callable

from sbc.clock import Clock
from sbc.events import LateResponse, Report
from sbc.proxy.response_context import Branch
from sbc.proxy.validation import MAX_FORWARDS
from sbc.sip.errors import MalformedMessage
from sbc.sip.headers import NameAddr
from sbc.sip.message import Request, Response
from sbc.transaction.interface import Unheard
from sbc.transaction.layer import TransactionLayer


class _Kept:
    __slots__ = ("branch", "ends", "acks")

    def __init__(self, branch: Branch, ends: float) -> None:
        self.branch = branch
        self.ends = ends
        self.acks: dict[str, bytes] = {}
        """To tag: our ACK to its 2xx, to be sent again for every repetition. Behind one server several may pick up."""


class LateAnswers:
    """The abandoned branches, by branch parameter. Entries end by themselves, 64*T1 after their last event."""

    def __init__(
        self, clock: Clock, layer: TransactionLayer, t1: float, new_branch: Callable[[Request], str], report: Report
    ) -> None:
        self._clock = clock
        self._layer = layer
        self._patience = 64 * t1
        self._new_branch = new_branch
        self._report = report
        self._kept: dict[str, _Kept] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, branch: Branch) -> None:
        """From now on its answers are late ones."""
        self._entry(branch)

    def _entry(self, branch: Branch) -> _Kept:
        name = branch.transaction.branch
        ends = self._clock.seconds() + self._patience
        kept = self._kept.get(name)
        if kept is None:
            kept = self._kept[name] = _Kept(branch, ends)
            self._clock.callLater(self._patience, self._expire, name)
        kept.ends = ends
        return kept

    def _expire(self, name: str) -> None:
        left = self._kept[name].ends - self._clock.seconds()
        if left > 0:
            self._clock.callLater(left, self._expire, name)
        else:
            del self._kept[name]

    def response_received(self, response: Response) -> None:
        """A response that no transaction waits for. One that is not for an abandoned branch is dropped (RFC 6026 8.9)."""
        kept = self._kept.get(response.top_via.branch)
        method = response.cseq_method
        if kept is None or kept.branch.transaction.method != method:
            return  # anybody can send these, as many as he likes: nothing that an operator should read
        branch = self._entry(kept.branch).branch
        # It speaks: good news about the server, whatever it says.
        branch.context.route.answered(branch.attempt, response, branch)
        if method != "INVITE" or not 200 <= response.status < 300:
            self._report(LateResponse(method, "dropped"))
        elif branch.context.success_received(branch, response):
            self._report(LateResponse(method, "forwarded"))

    def end_call(self, branch: Branch, response: Response) -> None:
        """ACK a 2xx that the caller cannot get, and BYE its dialog: in this order, on one flow."""
        kept = self._entry(branch)
        flow = branch.transaction.flow
        tag = response.to_tag
        if tag in kept.acks:
            flow.send(kept.acks[tag])
            return
        try:
            ack, bye = ack_and_bye(branch.transaction.request, response)
        except MalformedMessage:
            self._report(LateResponse("INVITE", "dropped"))
            return
        ack.prepend("Via", f"{flow.via};branch={self._new_branch(ack)};rport")
        kept.acks[tag] = ack.to_bytes(flow.reliable)
        flow.send(kept.acks[tag])
        self._layer.send_request(bye, flow, Unheard(), branch=self._new_branch(bye))
        self._report(LateResponse("INVITE", "acked_and_byed"))


def ack_and_bye(invite: Request, response: Response) -> tuple[Request, Request]:
    """The ACK and the BYE of a dialog that only we know (12.2.1.1, 13.2.2.4), as the INVITE's sender would make them.

    `invite` as it was sent. The route set is the response's Record-Route reversed, without what this box and those before
    it wrote: for this dialog the caller is here. Raises MalformedMessage when the 2xx has no usable Contact.
    """
    contact = response.get("Contact")
    if contact is None:
        raise MalformedMessage("2xx without Contact", header="Contact")
    target = NameAddr.parse(contact, "Contact").uri_text
    behind = len(response.get_all("Record-Route")) - len(invite.get_all("Record-Route"))
    routes = response.get_all("Record-Route")[: max(0, behind)][::-1]

    def request(method: str, number: int) -> Request:
        headers = [("Route", route) for route in routes]
        headers += [
            ("Max-Forwards", str(MAX_FORWARDS)),
            ("From", invite.get("From") or ""),
            ("To", response.get("To") or ""),
            ("Call-ID", invite.call_id),
            ("CSeq", f"{number} {method}"),
        ]
        headers += [(name, value) for name in ("Authorization", "Proxy-Authorization") for value in invite.get_all(name)]
        return Request.create(method, target, [*headers, ("Content-Length", "0")])

    return request("ACK", invite.cseq), request("BYE", invite.cseq + 1)
