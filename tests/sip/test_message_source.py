"""Where a request came from, written into its top Via (RFC 3261 18.2.1, RFC 3581 4)."""

from __future__ import annotations

import pytest

from sbc.sip.message import parse

REQUEST = (
    "OPTIONS sip:example.com SIP/2.0\r\n{via}\r\nFrom: <sip:a@example.com>;tag=1\r\nTo: <sip:example.com>\r\n"
    "Call-ID: c\r\nCSeq: 1 OPTIONS\r\n\r\n"
)


@pytest.mark.parametrize(
    ("via", "expected"),
    [
        ("Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bKa", "Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bKa"),
        (
            "Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKa",
            "Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKa;received=192.0.2.7",
        ),
        (
            "v:  SIP/2.0/UDP  10.0.0.1:5062;rport;branch=z9hG4bKa , SIP/2.0/UDP 10.9.9.9",
            "v:  SIP/2.0/UDP  10.0.0.1:5062;rport=40000;branch=z9hG4bKa;received=192.0.2.7, SIP/2.0/UDP 10.9.9.9",
        ),
        (
            "Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bKa;rport",
            "Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bKa;rport=40000;received=192.0.2.7",
        ),
        (
            "Via: SIP/2.0/UDP 10.0.0.1;rport=9;received=203.0.113.1;branch=z9hG4bKa",
            "Via: SIP/2.0/UDP 10.0.0.1;rport=40000;received=192.0.2.7;branch=z9hG4bKa",
        ),
        (
            "Via: SIP/2.0/UDP 10.0.0.1;rportx=1;RPORT;branch=z9hG4bKa",
            "Via: SIP/2.0/UDP 10.0.0.1;rportx=1;rport=40000;branch=z9hG4bKa;received=192.0.2.7",
        ),
    ],
)
def test_source(via, expected):
    """Only the first value changes, in its own spelling where that is possible; what the sender claimed does not count."""
    request = parse(REQUEST.format(via=via).encode())
    request.note_source("192.0.2.7", 40000)
    line = request.to_bytes().decode().split("\r\n")[1]
    assert line.replace(" ,", ",") == expected
    again = parse(request.to_bytes())
    assert again.top_via == request.top_via


def test_ipv6_source():
    request = parse(REQUEST.format(via="Via: SIP/2.0/UDP [2001:db8::1]:5060;branch=z9hG4bKa;rport").encode())
    request.note_source("2001:db8::7", 5060)
    assert parse(request.to_bytes()).top_via.received == "2001:db8::7"


def test_octets_that_are_no_text_survive():
    """Anybody may send them: they are no reason to lose the message, nor for a line in the log."""
    data = REQUEST.format(via="Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKX").encode().replace(b"X\r\n", b"\xff\r\n", 1)
    request = parse(data)
    request.note_source("192.0.2.7", 40000)
    assert b"Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK\xff;received=192.0.2.7\r\n" in request.to_bytes()
