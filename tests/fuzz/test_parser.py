"""Any bytes give a message or MalformedMessage, and nothing else.

And more of that kind: what is accepted is what a slow parser accepts too, and is written back as it came; the scanner
looks at no octet outside the part that it was given; edits and the cuts of a stream lose nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sbc.sip import scanner
from sbc.sip.digest import Challenge, Credentials
from sbc.sip.errors import MalformedMessage
from sbc.sip.framing import StreamFramer
from sbc.sip.headers import CSeq, NameAddr, Via, parse_contacts
from sbc.sip.message import Request, Response, ok_to, parse
from sbc.sip.stencil import stencil_of
from sbc.sip.uri import SipUri
from tests.fuzz import oracle

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "300"))
fuzzed = settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
thorough = settings(fuzzed, max_examples=2 * EXAMPLES)

TORTURE = [path.read_bytes() for path in sorted((Path(__file__).parent.parent / "data" / "torture").glob("*.dat"))]
PLAIN = (
    b"INVITE sip:bob@biloxi.example.com;lr SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1;rport,SIP/2.0/TCP [::1]\r\n"
    b'Max-Forwards: 70\r\nf: "A, B" <sip:a@b>;tag=1\r\nt: Bob <sip:b@c;x=y>\r\ni: c@d\r\nCSeq: 1 INVITE\r\n'
    b"Route: <sip:p;lr>\r\nl: 2\r\n\r\nhi"
)
# What changes the meaning of the bytes around it.
SPARKS = [
    b"\r\n", b"\r", b"\n", b"\r\n ", b"\r\n\t", b"\r\n\r\n", b" ", b"\t", b",", b";", b":", b"/", b"<", b">", b'"',
    b"\\", b"=", b"@", b"[", b"]", b"::1", b"%", b"%00", b"\0", b"\x7f", b"\xff", b"\xc3\xa9", b"?", b"&", b"tag=",
    b";tag=2", b";branch=", b"SIP/2.0", b"sip/2.0", b"SIP/2.0/UDP", b"0", b"99999999999999999999", b"-1", b"65535",
    b"65536", b"2147483648", b"Via: ", b"l: ", b"To: ", b"CSeq: ", b"a",
]  # fmt: skip


# Ways to write the lines of a message, most of them right.
STARTS = [
    b"INVITE sip:bob@biloxi.example.com;lr SIP/2.0", b"INVITE tel:1 sip/2.0", b"INVITE a:b SIP/2.0", b"SIP/2.0 200 OK",
    b"sip/2.0 486 ", b"SIP/2.0 100", b"INVITE sip:a@b SIP/2.00", b"SIP/2.0 699 \xd0\xbd", b"ACK sip:a SIP/2.0",
]  # fmt: skip
LINES = {
    "via": [
        b"Via: SIP/2.0/UDP h", b"v:SIP / 2.0 / tls h:1 ;rport;branch=z9 , x",
        b"VIA : sip/2.0/UDP [::1]:65535;received=::2", b'Via: SIP/2.0/UDP\r\n h : 7;a="q,\\";";b =c',
        b"Via: SIP/3.0/X-y a_b;x={1}==;y=", b"Via: SIP/2.0/UDP h:65536", b"Via: SIP/2.0/UDP h:000001",
        b"Via: SIP/2.0/UDP h;a;A", b"Via: SIP/2.0/UDP h;", b"Via: , SIP/2.0/UDP h", b"v: SIP/2.0/UDP [::1::2]",
        b"v: SIP/2.0/UDP -h", b'Via: SIP/2.0/UDP h;x="open', b"Via: SIP/2.0/UDP h;x=<a,b>",
        b'v: SIP/2.0/UDP h;x="a,b",y',
    ],
    "from": [
        b"From: <sip:a@b>;tag=1", b'f: "A, \\"B\\" <x>" <sip:a@b;tag=no>;x="y;z" ; Tag = 2', b"From: A B<tel:1>",
        b"FROM:sip:a@b;tag=b64==", b"From: <sip:a@b>\r\n\t;tag\r\n =3", b"From: < sip:a@b >", b"From: A, B <sip:a@b>",
        b"From: sip:a@b?x", b"From: <sip:a@b", b'From: "A <sip:a@b>', b"From: <sip:a@b>;tag=1;tag=2", b"From: a b",
        b"From: sip:a@b ;tag=4", b"From: A sip:a@b", b"From: <>", b"From: <sip:a b>", b"From: \xff <sip:a@b>",
        b"From: sip:a,b@c", b"From: <sip:a@b>x;tag=1", b"From: sip:a@b>",
    ],
    "to": [b"To: <sip:a@b>", b"t:sip:a@b;tag=9", b"To : <sip:a@b>;tag=9;lr", b"To:", b"To: x:"],
    "call-id": [b"Call-ID: a@b", b"i:\r\n <:>", b"Call-ID: a b", b"I: \xff"],
    "cseq": [
        b"CSeq: 1 INVITE", b"CSEQ:0002147483647\r\n  INVITE", b"CSeq: 2147483648 INVITE", b"CSeq: 1 ACK", b"CSeq: 1",
    ],
    "other": [
        b"Max-Forwards: 70", b"l: 2", b"Max-Forwards: 0255", b"Max-Forwards: 256", b"max-forwards:",
        b"Content-Length: 0",
        b"Content-Length: 5", b"Content-Length: 6", b"L:+1", b"Subject:", b"X-Y'`~: \0 \x7f", b"X: a\r\n b", b"X: a\rb",
        b"X: a\nb", b"X y: z", b": x", b"Route: <sip:a,b>, <sip:c>", b"Expires: x", b"noise",
    ],
}  # fmt: skip


@st.composite
def composed(draw):
    """A message of such lines in any order, in which one thing may be any of the ways and the rest are right."""
    odd = draw(st.sampled_from(["via", "from", "via", "from", "to", "call-id", "cseq", "other", "start", "end"]))
    lines = [draw(st.sampled_from(LINES[key] if key == odd else LINES[key][:2])) for key in LINES if key != "other"]
    lines += draw(
        st.lists(st.sampled_from(LINES["other"] if odd == "other" else LINES["other"][:2]), max_size=2, unique=True)
    )
    lines = draw(st.permutations(lines))
    start = draw(st.sampled_from(STARTS if odd == "start" else STARTS[:4]))
    end = draw(st.sampled_from([b"\r\n\r\n", b"\r\n\r\nhello", b"\r\n", b""] if odd == "end" else [b"\r\n\r\nhello"]))
    return b"\r\n".join([start, *lines]) + end


@st.composite
def mangled(draw):
    """A message with a few things done to it."""
    return mangle(draw, draw(st.one_of(st.just(PLAIN), composed(), st.sampled_from(TORTURE))), [0, 1, 1, 1, 2, 3])


def mangle(draw, message: bytes, times: list[int]) -> bytes:
    data = bytearray(message)
    for _ in range(draw(st.sampled_from(times))):
        start = draw(st.integers(0, 2**20)) % (len(data) + 1)
        end = min(len(data), start + draw(st.sampled_from([0, 0, 0, 1, 1, 2, 5, 40])))
        data[start:end] = draw(st.one_of(st.sampled_from(SPARKS), st.binary(max_size=3)))
    return bytes(data)


def parsed(data: bytes) -> Request | Response | None:
    try:
        return parse(data)
    except MalformedMessage as error:
        assert error.request is None or isinstance(error.request, Request)
        if error.request is not None:
            answer = Response.for_request(error.request, error.status_hint, error.reason).to_bytes()
            assert answer.startswith(b"SIP/2.0 %d " % error.status_hint)
        return None


def ask_everything(message: Request | Response) -> None:
    """What `parse` promises does not raise; what it does not promise raises MalformedMessage."""
    _ = message.call_id, message.cseq, message.cseq_method, message.from_tag, message.to_tag, message.top_via
    assert message.from_.tag == message.from_tag
    assert message.to.tag == message.to_tag
    assert str(message.top_via)
    for name, _ in message.items():
        assert message.has(name)
        assert message.get(name) is not None
        message.get_all(name)
    readings = [lambda: message.from_.uri, lambda: message.to.uri, lambda: parse_contacts(message)]
    if isinstance(message, Request):
        readings.append(lambda: message.uri)
    for read in readings:
        try:
            read()
        except MalformedMessage:
            pass


@fuzzed
@given(st.binary(max_size=200))
def test_any_bytes(data):
    """Noise."""
    message = parsed(data)
    assert message is None or ask_everything(message) is None


@fuzzed
@given(mangled())
def test_mangled_messages(data):
    """Almost SIP: parsed or refused; written back it is the same, as far as the body goes."""
    message = parsed(data)
    if message is None:
        return
    ask_everything(message)
    written = message.to_bytes()
    assert data.lstrip(b"\r\n").startswith(written)
    again = parse(written)
    assert message.items() == again.items()
    assert message.body == again.body


@thorough
@given(st.one_of(composed(), mangled()))
@example(PLAIN)
@example(PLAIN.replace(b"To", b"To ", 1))
@example(PLAIN.replace(b"z9hG4bK1;rport", b'"q,;\\"";rport='))
@example(PLAIN.replace(b"z9hG4bK1;rport", b'"never closed'))
def test_like_the_slow_parser(data):
    """The compiled parser and the grammar agree on what is a message, and on what it says."""
    fast = parsed(data)
    try:
        slow = oracle.parse(data)
    except oracle.Refused:
        assert fast is None
        return
    assert fast is not None
    if isinstance(fast, Request):
        assert slow.start == (fast.method.encode(), fast.request_uri.encode("utf-8", "surrogateescape"))
    else:
        assert slow.start == (b"", fast.status, fast.reason.encode("utf-8", "surrogateescape"))
    assert [(name.decode(), oracle.unfolded(value)) for name, value in slow.headers] == fast.items()
    assert oracle.unfolded(slow.call_id) == fast.call_id
    assert slow.cseq == (fast.cseq, fast.cseq_method.encode())
    assert oracle.unfolded(slow.from_tag) == fast.from_tag
    assert oracle.unfolded(slow.to_tag) == fast.to_tag
    transport, host, port, parameters = slow.via
    via = fast.top_via
    assert (transport.decode(), host.decode(), port) == (via.transport, via.host, via.port)
    assert list(via.parameters.items()) == [
        (name.decode(), None if value is None else oracle.unfolded(value)) for name, value in parameters.items()
    ]
    assert slow.body == fast.body


@pytest.mark.parametrize("data", TORTURE)
def test_torture_like_the_slow_parser(data):
    """The oracle itself stands the torture test."""
    test_like_the_slow_parser.hypothesis.inner_test(data)


OCTETS = st.one_of(
    st.binary(max_size=30),
    st.lists(st.sampled_from([*SPARKS, b"SIP", b"2.0", b"UDP", b"host", b"tag", b"sip:a@b"]), max_size=14).map(
        b"".join
    ),
)
SAYS = [
    scanner.find_comma,
    scanner.method_of,
    scanner.text_of,
    scanner.scan_parameters,
    scanner.scan_host_port,
    scanner.scan_via,
    scanner.scan_address,
    lambda data, start, end: scanner.scan_number(data, start, end, 2**31 - 1),
    scanner.scan_line,
]


@fuzzed
@given(OCTETS, OCTETS, OCTETS)
def test_scanner_stays_within_its_part(before, part, after):
    """Each function says the same of `part` alone and of `part` amid other bytes: it looks at nothing outside."""
    data = before + part + after
    start, end = len(before), len(before) + len(part)
    for function in SAYS:
        alone = function(part, 0, len(part))
        amid = function(data, start, end)
        if function is scanner.find_comma:
            assert start <= amid <= end
            amid -= start
        elif function in (scanner.scan_address, scanner.scan_line) and amid is not None:
            assert all(start <= position <= end for position in amid)
            amid = tuple(position - start for position in amid)
        assert alone == amid


@pytest.mark.parametrize(("start", "end"), [(-1, 2), (2, 1), (0, 4)])
def test_scanner_refuses_to_look_outside(start, end):
    for function in SAYS:
        with pytest.raises(IndexError):
            function(b"abc", start, end)


@fuzzed
@given(st.integers(-3, 2**40), st.integers(0, 2**40))
def test_numbers(number, limit):
    """Decimal digits up to the limit, and nothing else."""
    text = str(number).encode()
    expected = -1 if number < 0 else -2 if number > limit else number
    assert expected == scanner.scan_number(text, 0, len(text), limit)
    assert expected == scanner.scan_number(b"0000" + text, 0 if number >= 0 else 4, 4 + len(text), limit)


TEXT = st.one_of(st.text(max_size=30), OCTETS.map(lambda octets: octets.decode("utf-8", "surrogateescape")))


@fuzzed
@given(TEXT)
def test_values_are_read_or_refused(text):
    """Any text as any value: an object that comes back from its own spelling, or MalformedMessage."""
    for kind in (Via, NameAddr, SipUri, CSeq, Challenge, Credentials):
        try:
            value = kind.parse(text)
        except MalformedMessage:
            continue
        assert str(value) == str(kind.parse(str(value)))


HEADER = st.tuples(
    st.sampled_from(["Via", "v", "Route", "Record-Route", "X-Other", "Supported", "Max-Forwards"]),
    st.sampled_from(["SIP/2.0/UDP h;branch=z9hG4bK2", "<sip:a,b;lr>", "plain", '"a, b" <sip:c>', "7"]),
)
EDIT = st.one_of(
    st.tuples(st.sampled_from(["set", "prepend", "append", "replace_first"]), HEADER),
    st.tuples(st.sampled_from(["remove", "pop_first"]), HEADER.map(lambda header: header[:1])),
)


REGISTERS = [
    b"REGISTER sip:h SIP/2.0\r\nVia: SIP/2.0/UDP h:1;rport;branch=z9hG4bK1;x\r\nFrom: <sip:a@h>;tag=1;y\r\nTo: <sip:a@h>\r\n"
    b'Call-ID: c\r\nCSeq: 7 REGISTER\r\nAuthorization: Digest username="a", nc=1\r\nContact: <sip:a@1>\r\nl: 0\r\n\r\n',
    b"REGISTER sip:h SIP/2.0\r\nCSeq :7\t REGISTER\r\ni:c\r\nf: A <sip:a@h> ; tag = 1\r\n"
    b"v:SIP/2.0/UDP h ; branch = z9hG4bK1\r\nt: a <sip:a@h>;tag=ours\r\nProxy-Authorization: Digest\r\n  a=b\r\n"
    b"Authorization: x\r\n\r\n",
    b"REGISTER tel:1 SIP/2.0\r\nVia: SIP/2.0/TCP [::1]\r\nFrom: sip:a@h\r\nTo: sip:a@h;x=y\r\nCall-ID: c\r\n"
    b"CSeq: 0 REGISTER\r\n\r\n",
]


@st.composite
def mangled_register(draw):
    """One that is nearly always right."""
    return mangle(draw, draw(st.sampled_from(REGISTERS)), [0, 0, 1])


@thorough
@given(mangled_register(), st.data())
def test_stencil_like_the_parser(kept, draw):
    """What a stencil takes for the same, the parser takes for the same; and its answer is that of one who has read it."""
    first = parsed(kept)
    made = None if first is None or not isinstance(first, Request) else stencil_of(kept, noted(first, b""))
    if made is None:
        return
    made.end_answer_with(b"l: 0\r\n\r\n")
    for _ in range(8):
        data = mangle(draw.draw, kept, [1, 1, 2, 3])
        number = made.number_in(data)
        if number < 0:
            continue
        second = parse(data)
        assert number == second.cseq
        assert noted(second, b"l: 0\r\n\r\n") == made.answer_to(data)
        assert [name for name, _ in first.items()] == [name for name, _ in second.items()]
        free = ("via", "v", "from", "f", "cseq", "authorization", "proxy-authorization")
        for (name, one), (_, other) in zip(first.items(), second.items(), strict=True):
            assert one == other or name.lower() in free
        assert (first.request_uri, first.to_tag, first.body) == (second.request_uri, second.to_tag, second.body)
        assert first.from_.uri_text == second.from_.uri_text
        assert first.top_via.sent_by == second.top_via.sent_by


def noted(request: Request, rest: bytes) -> bytes:
    """The answer of one who has read it."""
    request.note_source("192.0.2.1", 5062)
    return ok_to(request, "x", rest)


@fuzzed
@given(st.sampled_from([PLAIN, *TORTURE]), st.lists(EDIT, max_size=8))
def test_edits(data, edits):
    """What an edited message says is what its bytes say; lines that no edit named, and the original, are untouched."""
    message = parsed(data)
    if message is None:
        return
    original = message.to_bytes()
    copy = message.copy()
    for name, arguments in edits:
        getattr(copy, name)(*arguments)
    written = copy.to_bytes()
    assert original == message.to_bytes()
    framed = StreamFramer().feed(copy.to_bytes(stream=True))
    assert [copy.to_bytes(stream=True)] == framed
    named = {scanner_key(arguments[0]) for _, arguments in edits}
    kept = [item for item in message.items() if scanner_key(item[0]) not in named]
    assert kept == [item for item in copy.items() if scanner_key(item[0]) not in named]
    again = parsed(written)
    if again is not None:
        assert copy.items() == again.items()
        assert copy.body == again.body


def scanner_key(name: str) -> str:
    return {"v": "via", "k": "supported"}.get(name.lower(), name.lower())


@fuzzed
@given(
    st.lists(st.sampled_from([b"\r\n\r\n", PLAIN, PLAIN.replace(b"l: 2\r\n\r\nhi", b"l: 0\r\n\r\n")]), max_size=5),
    st.data(),
)
def test_stream_cuts(pieces, data):
    """However a stream is cut, the same messages come out, and keep-alives do not disturb them."""
    stream = b"".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    framer = StreamFramer()
    messages = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        messages += framer.feed(stream[start:end])
    assert [piece for piece in pieces if piece != b"\r\n\r\n"] == messages
    assert (pieces.count(b"\r\n\r\n"), 0) == framer.take_keepalives()


@fuzzed
@given(mangled(), mangled())
def test_any_stream(first, second):
    """Any stream gives messages or MalformedMessage, and what comes out whole is parsed or refused."""
    framer = StreamFramer()
    try:
        messages = framer.feed(first) + framer.feed(second)
    except MalformedMessage:
        return
    for message in messages:
        parsed(message)
