"""A reactor of the test's own, and what a transport tells those above it."""

from __future__ import annotations

import time

from sbc.flow import Receiver


class Recorder(Receiver):
    """A transport's `Receiver` that remembers."""

    def __init__(self) -> None:
        self.messages = []
        self.at_hand = {}
        self.malformed = []
        self.failed = []
        self.flows_failed = []

    def answered_unread(self, data, flow) -> bool:
        if data not in self.at_hand:
            return False
        flow.send(self.at_hand[data])
        return True

    def message_received(self, message, flow) -> None:
        self.messages.append((message, flow))

    def malformed_received(self, error, flow) -> None:
        self.malformed.append((error, flow))

    def datagram_failed(self, quoted, cause) -> None:
        self.failed.append((quoted, cause))

    def flow_failed(self, flow, cause) -> None:
        self.flows_failed.append((flow, cause))


def turn(reactor, until, seconds: float = 5.0) -> None:
    """Let the reactor work until it is so."""
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "it never became so"
        reactor.iterate(0.01)


def options(call_id: str = "c", body: bytes = b"", transport: str = "TCP") -> bytes:
    """A request as a peer sends it."""
    return (
        f"OPTIONS sip:example.com SIP/2.0\r\nVia: SIP/2.0/{transport} 192.0.2.7:5099;branch=z9hG4bK{call_id};rport\r\n"
        f"From: <sip:a@example.com>;tag=1\r\nTo: <sip:example.com>\r\nCall-ID: {call_id}\r\nCSeq: 1 OPTIONS\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def answer(call_id: str = "c") -> bytes:
    """A response as a peer sends it."""
    return (
        f"SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP 192.0.2.7:5099;branch=z9hG4bK{call_id}\r\n"
        f"From: <sip:a@example.com>;tag=1\r\nTo: <sip:example.com>;tag=2\r\nCall-ID: {call_id}\r\nCSeq: 1 OPTIONS\r\n"
        "Content-Length: 0\r\n\r\n"
    ).encode()
