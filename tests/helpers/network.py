"""A network without sockets: flows that remember what was sent on them, and when."""

from __future__ import annotations

from sbc.flow import Flow
from sbc.sip.message import Request, Response, parse


class FakeFlow(Flow):
    """A `Flow` that only remembers. `sent` holds (seconds since the flow was made, message)."""

    def __init__(self, clock, transport="udp", side="servers", local=("192.0.2.1", 5060), remote=("192.0.2.9", 5060)):
        sent_by = f"[{local[0]}]:{local[1]}" if ":" in local[0] else f"{local[0]}:{local[1]}"
        super().__init__(transport, side, sent_by, local, remote)
        self._clock = clock
        self._start = clock.seconds()
        self.datagrams: list[bytes] = []
        self.sent: list[tuple[float, Request | Response]] = []

    def send(self, data: bytes) -> None:
        self.datagrams.append(data)
        self.sent.append((self._clock.seconds() - self._start, parse(data)))

    def take(self) -> list[Request | Response]:
        """The messages sent since the last `take`."""
        messages = [message for _, message in self.sent]
        self.sent.clear()
        return messages

    def times(self, what: str | int | None = None) -> list[float]:
        """When messages were sent: all, or those of one method or one status."""
        return [round(time, 6) for time, message in self.sent if what is None or what == _name(message)]

    def summary(self) -> list[str | int]:
        """Method or status of each message sent."""
        return [_name(message) for _, message in self.sent]


def _name(message: Request | Response) -> str | int:
    return message.method if isinstance(message, Request) else message.status


def request(
    method="OPTIONS",
    *,
    branch="z9hG4bKphone1",
    sent_by="192.0.2.50:5060",
    uri="sip:bob@example.com",
    cseq=1,
    from_tag="f1",
    to_tag="",
    call_id="call-1",
    headers=(),
    body=b"",
    transport="UDP",
    received=True,
) -> Request:
    """A request as a phone would send it, parsed from its bytes (`received`) or without a Via, as a user of ours
    makes it.
    """
    lines = [f"{method} {uri} SIP/2.0"]
    if received:
        parameter = f";branch={branch}" if branch else ""
        lines.append(f"Via: SIP/2.0/{transport} {sent_by}{parameter}")
    lines += [
        "Max-Forwards: 70",
        f"From: <sip:alice@example.com>;tag={from_tag}",
        "To: <sip:bob@example.com>" + (f";tag={to_tag}" if to_tag else ""),
        f"Call-ID: {call_id}",
        f"CSeq: {cseq} {method}",
    ]
    lines += [f"{name}: {value}" for name, value in headers]
    lines.append(f"Content-Length: {len(body)}")
    data = "\r\n".join([*lines, "", ""]).encode() + body
    if received:
        return parse(data)
    # parse() wants a Via: made with one, which is then taken away.
    lines.insert(1, "Via: SIP/2.0/UDP 192.0.2.99;branch=z9hG4bKnone")
    message = parse("\r\n".join([*lines, "", ""]).encode() + body)
    message.remove("Via")
    return message


def response_to(sent: Request, status: int, to_tag: str = "server") -> Response:
    """The peer's answer to a request of ours, as it comes off the wire."""
    return parse(Response.for_request(sent, status, to_tag=to_tag).to_bytes())
