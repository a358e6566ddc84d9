"""Header lines and the parts that everyone asks for: what the quick ways must not overlook, what compiled callers use."""

import pytest

from sbc.sip.errors import MalformedMessage
from sbc.sip.head import OTHER_SCHEME, SIP_SCHEME, SIPS_SCHEME, TEL_SCHEME, URN_SCHEME
from sbc.sip.lines import new_line
from sbc.sip.message import ok_to, parse, trying_to
from sbc.sip.names import SPELLINGS
from sbc.sip.scanner import CONTACT, EXPIRES, INVITE, OTHER, RECORD_ROUTE, ROUTE, VIA

LINES = [
    b"Via: SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bKa;rport",
    b"From: <sip:a@example.com>;tag=1",
    b"To: <sip:b@example.com>",
    b"Call-ID: c@d",
    b"CSeq: 7 INVITE",
    b"Max-Forwards: 70",
]


def message(*more, lines=LINES, uri=b"sip:b@example.com", end=b"\r\n\r\n"):
    return parse(b"\r\n".join([b"INVITE " + uri + b" SIP/2.0", *lines, *more]) + end)


@pytest.mark.parametrize("name", [*SPELLINGS.values()])
def test_names_in_any_case(name):
    """As everybody spells it, in capitals, and with white space at its colon or none: the same header."""
    if name in ("Via", "From", "To", "Call-ID", "CSeq", "Max-Forwards", "Content-Length"):
        return
    for spelled in (f"{name}: ", name.upper() + ":", f"{name.lower()} :\t", f"{name}:\r\n  "):
        assert "5" == message(spelled.encode() + b"5").get(name)


@pytest.mark.parametrize(
    "line", [b"Call\rID: x", b"Call\nID: x", b"Max\r\nForwards: 1", b"Content-Length 0", b"Via", b": x", b" \t: x"]
)
def test_what_is_no_header_line(line):
    """A hyphen and a carriage return differ by the bit that makes small letters."""
    with pytest.raises(MalformedMessage):
        message(line)


def test_values_of_blanks():
    request = message(b"Subject: ", b"Supported:   \t ", b"Event: \r\n x  \r\n\t ", b"User-Agent:")
    assert ("", "", "x", "") == tuple(request.get(name) for name in ("Subject", "Supported", "Event", "User-Agent"))


@pytest.mark.parametrize("count", [1, 2, 40, 300])
def test_repeated_parameters(count):
    """However many there are, a name that comes twice makes them invalid (s.7.3.1), in any case."""
    parameters = b"".join(b";p%d=%d" % (number, number) for number in range(count))
    via = LINES[0] + parameters
    assert str(count - 1) == message(lines=[via, *LINES[1:]]).top_via.parameters[f"p{count - 1}"]
    with pytest.raises(MalformedMessage):
        message(lines=[via + b";P0", *LINES[1:]])
    with pytest.raises(MalformedMessage):
        message(lines=[LINES[0], LINES[1] + parameters + b";P0", *LINES[2:]])


@pytest.mark.parametrize(
    ("uri", "scheme"),
    [
        (b"sip:a", SIP_SCHEME),
        (b"SIPS:a", SIPS_SCHEME),
        (b"Tel:1", TEL_SCHEME),
        (b"urn:service:sos", URN_SCHEME),
        (b"sipx:a", OTHER_SCHEME),
        (b"a:b", OTHER_SCHEME),
    ],
)
def test_schemes(uri, scheme):
    assert scheme == message(uri=uri).scheme


def test_parts():
    request = message(b"Expires: 60", b"Route: <sip:p;lr>,<sip:q>", b"Contact: *")
    assert (INVITE, b"z9hG4bKa", b"c@d", b"1", b"", 7, 70) == (
        request.method_code,
        request.branch_bytes(),
        request.call_id_bytes(),
        request.from_tag_bytes(),
        request.to_tag_bytes(),
        request.cseq_number(),
        request.hops_left(),
    )
    assert not request.has_to_tag()
    assert b"sip:b@example.com" == request.request_uri_bytes()
    assert (60, b"<sip:p;lr>", "<sip:p;lr>", "*") == (
        request.number_of(EXPIRES, 2**32),
        request.first_bytes(ROUTE),
        request.first_of(ROUTE),
        request.value_of(CONTACT),
    )
    assert (False, True) == (request.has_one(ROUTE), request.has_one(VIA))
    other = parse(request.to_bytes().replace(b"INVITE", b"INVITES"))
    assert (OTHER, "INVITES", "INVITES") == (other.method_code, other.method, other.cseq_method)


def test_transaction_key():
    """s.17.2.3: branch, sent-by and method; the host in any case. Without the magic cookie there is none."""
    key = message().transaction_key("INVITE")
    assert key != message().transaction_key("CANCEL")
    for old, new in ((b"5062", b"5063"), (b":5062", b""), (b"192.0.2.1", b"192.0.2.2"), (b"z9hG4bKa", b"z9hG4bKb")):
        assert key != message(lines=[LINES[0].replace(old, new), *LINES[1:]]).transaction_key("INVITE")
    host = [LINES[0].replace(b"192.0.2.1", spelled) for spelled in (b"Example.Com", b"example.com")]
    assert 1 == len({message(lines=[via, *LINES[1:]]).transaction_key("INVITE") for via in host})
    assert message(lines=[LINES[0].replace(b"z9hG4bKa", b"z9hG4bK"), *LINES[1:]]).transaction_key("INVITE") is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"sip:b@example.com SIP", b"sip:c@example.com SIP"),
        (b"c@d", b"c@e"),
        (b"tag=1", b"tag=2"),
        (b"To: <sip:b@example.com>", b"To: <sip:b@example.com>;tag=1"),
        (b"7 INVITE", b"8 INVITE"),
        (b"Route: <sip:p>", b"Route: <sip:q>"),
        (b"c@d", b"c" * 300),
    ],
)
def test_way_hash(old, new):
    """What decides the way of a request changes it, and nothing else."""
    data = message(b"Route: <sip:p>").to_bytes()
    assert old in data
    assert parse(data).way_hash() != parse(data.replace(old, new)).way_hash()
    assert parse(data).way_hash() == parse(data.replace(b"70", b"69").replace(b"z9hG4bKa", b"z9hG4bKb")).way_hash()


def test_forwarded():
    """Our Via on top, a hop less, our Record-Route below the Vias; the copy leaves the original alone."""
    request = message(b"max-forwards: 9", lines=LINES[:-1])
    before = request.to_bytes()
    forwarded = request.copy()
    forwarded.allow_hops(8)
    forwarded.put_first(new_line("Record-Route", "<sip:p;lr>"))
    forwarded.put_via(b"Via: SIP/2.0/UDP us;rport;branch=", "z9hG4bKus")
    expected = before.replace(b"max-forwards: 9", b"max-forwards: 8").replace(
        LINES[0],
        b"Via: SIP/2.0/UDP us;rport;branch=z9hG4bKus\r\n" + LINES[0] + b"\r\nRecord-Route: <sip:p;lr>",
    )
    assert expected == forwarded.to_bytes()
    assert ("z9hG4bKus", "us", 8) == (forwarded.branch_text(), forwarded.top_via.host, forwarded.hops_left())
    forwarded.drop_first(VIA)
    forwarded.drop_all(RECORD_ROUTE)
    assert before.replace(b"max-forwards: 9", b"max-forwards: 8") == forwarded.to_bytes()
    assert ("z9hG4bKa", before) == (forwarded.branch_text(), request.to_bytes())


def test_many_edits():
    """More lines than there was room for at first, from other messages, which may be gone before."""
    request = message()
    for number in range(100):
        request.prepend("X-Line", f"value {number}")
    for number in reversed(range(100)):
        assert f"value {number}" == request.pop_first("X-Line")
    assert message().to_bytes() == request.to_bytes()


def test_noted_source_leaves_the_parts_where_they_are():
    """The offsets of the Via after `rport` was filled are those of the new line."""
    request = message(
        lines=[b"v:  SIP/2.0/TCP  [2001:db8::1]:5 ; x=1;rport;y;branch=z9hG4bKb;z ,SIP/2.0/UDP h", *LINES[1:]]
    )
    request.note_source("192.0.2.7", 65535)
    again = parse(request.to_bytes())
    assert again.top_via == request.top_via
    assert (again.branch_text(), again.transaction_key("X")) == (request.branch_text(), request.transaction_key("X"))
    assert ("192.0.2.7", 65535, "z9hG4bKb") == (again.top_via.received, again.top_via.rport, request.branch_text())


def test_answers_for_the_wire():
    request = message()
    assert trying_to(request).startswith(b"SIP/2.0 100 Trying\r\nVia: ")
    assert "ours" == parse(ok_to(request, "ours", b"Content-Length: 0\r\n\r\n")).to_tag
