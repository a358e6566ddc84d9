"""What an end point remembers of a call: RFC 3261 section 12.

Made from the INVITE and its 2xx, on either side; writes the requests inside the dialog and tells which ones belong to
it.
"""

from __future__ import annotations

from sbc.lab.endpoint import Address, address_of
from sbc.sip.headers import NameAddr, parse_contacts
from sbc.sip.message import Request, Response
from sbc.sip.uri import SipUri

MAX_FORWARDS = ("Max-Forwards", "70")


class Dialog:
    """One side of a confirmed dialog."""

    def __init__(
        self, call_id: str, local: str, remote: str, target: str, route_set: list[str], local_cseq: int
    ) -> None:
        self.call_id = call_id
        self.local = local
        """Our From (or To) value, with our tag."""
        self.remote = remote
        self.target = target
        """The peer's Contact: the Request-URI of what we send."""
        self.route_set = route_set
        self.local_cseq = local_cseq
        self.local_tag = NameAddr.parse(local).tag
        self.remote_tag = NameAddr.parse(remote).tag

    @classmethod
    def of_caller(cls, invite: Request, answer: Response) -> Dialog:
        """Section 12.1.2: the route set is the Record-Route of the 2xx, reversed."""
        return cls(
            invite.call_id,
            local=invite.get("From"),
            remote=answer.get("To"),
            target=_contact(answer),
            route_set=answer.get_all("Record-Route")[::-1],
            local_cseq=invite.cseq,
        )

    @classmethod
    def of_callee(cls, invite: Request, answer: Response) -> Dialog:
        """Section 12.1.1: the route set is the Record-Route of the INVITE, in order."""
        return cls(
            invite.call_id,
            local=answer.get("To"),
            remote=invite.get("From"),
            target=_contact(invite),
            route_set=invite.get_all("Record-Route"),
            local_cseq=0,
        )

    def includes(self, request: Request) -> bool:
        return (
            request.call_id == self.call_id and request.to_tag == self.local_tag and request.from_tag == self.remote_tag
        )

    def request(self, method: str) -> Request:
        """The next request of our side (section 12.2.1.1)."""
        self.local_cseq += 1
        return self._write(method, self.local_cseq)

    def ack(self, invite: Request) -> Request:
        """The ACK to the 2xx of `invite`: the same sequence number (section 13.2.2.4)."""
        return self._write("ACK", invite.cseq)

    def next_hop(self) -> Address:
        """Where requests of this dialog are sent: the first Route, else the peer. All routers here route loosely."""
        return address_of(NameAddr.parse(self.route_set[0]).uri if self.route_set else SipUri.parse(self.target))

    def _write(self, method: str, cseq: int) -> Request:
        headers = [
            MAX_FORWARDS,
            *(("Route", route) for route in self.route_set),
            ("From", self.local),
            ("To", self.remote),
            ("Call-ID", self.call_id),
            ("CSeq", f"{cseq} {method}"),
        ]
        return Request.create(method, self.target, headers)


def _contact(message: Request | Response) -> str:
    return parse_contacts(message)[0].uri_text
