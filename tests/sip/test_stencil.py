"""A request that comes again, recognised without reading it."""

from __future__ import annotations

import pytest

from sbc.sip.message import ok_to, parse
from sbc.sip.stencil import Stencil, call_id_in, stencil_of
from tests.helpers.network import request

REST = b"Contact: <sip:alice@192.0.2.50:5060>;expires=60\r\nContent-Length: 0\r\n\r\n"
PLAIN = (
    b"REGISTER sip:example.com SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 192.0.2.50:5060;rport;branch=z9hG4bKfirst\r\n"
    b"From: <sip:alice@example.com>;tag=one\r\n"
    b"To: <sip:alice@example.com>\r\n"
    b"Call-ID: abc@192.0.2.50\r\n"
    b"CSeq: 7 REGISTER\r\n"
    b"Contact: <sip:alice@192.0.2.50:5060>\r\n"
    b"Content-Length: 0\r\n\r\n"
)
AUTHORIZED = PLAIN.replace(b"Contact:", b'Authorization: Digest username="alice", response="1"\r\nContact:', 1)
FOLDED = AUTHORIZED.replace(b'"alice", ', b'"alice",\r\n ')
OTHER_ORDER = (
    b"REGISTER sip:example.com SIP/2.0\r\n"
    b"CSeq: 7 REGISTER\r\n"
    b"i: abc@192.0.2.50\r\n"
    b'Proxy-Authorization: Digest username="a"\r\n'
    b"f: Alice <sip:alice@example.com>;tag=one\r\n"
    b"v: SIP/2.0/UDP 192.0.2.50:5060;branch=z9hG4bKfirst\r\n"
    b't: "Alice" <sip:alice@example.com>\r\n'
    b'Authorization: Digest username="alice", response="1"\r\n'
    b"\r\n"
)


def answer_of_reader(data: bytes, rest: bytes = REST) -> bytes:
    """The answer as it is made for a request that has been read."""
    received = parse(data)
    received.note_source("203.0.113.7", 1024)
    return ok_to(received, "ours", rest)


def stencil(data: bytes) -> Stencil:
    made = stencil_of(data, answer_of_reader(data, b""))
    made.end_answer_with(REST)
    return made


def changed(data: bytes) -> bytes:
    """In every way in which a repetition may differ."""
    for old, new in (
        (b"z9hG4bKfirst", b"z9hG4bK.the-second~one"), (b"tag=one", b"tag=1=="), (b"CSeq: 7 ", b"CSeq: 1234567890 "),
        (b'response="1"', b'response="2", nc=00000003'), (b'username="a"\r', b'username="b", x\r'),
    ):  # fmt: skip
        data = data.replace(old, new)
    return data


@pytest.mark.parametrize("data", [PLAIN, AUTHORIZED, OTHER_ORDER], ids=["plain", "authorized", "other order"])
def test_repetition_has_the_answer_of_one_that_was_read(data):
    made = stencil(data)
    assert 7 == made.number_in(data)
    assert answer_of_reader(data) == made.answer_to(data)
    again = changed(data)
    assert 1234567890 == made.number_in(again)
    assert answer_of_reader(again) == made.answer_to(again)
    assert 7 == made.number_in(data)
    assert answer_of_reader(data) == made.answer_to(data)


def test_without_branch_and_tag():
    """RFC 2543: what is not there is no blank."""
    data = PLAIN.replace(b";branch=z9hG4bKfirst", b"").replace(b";tag=one", b"")
    made = stencil(data)
    again = data.replace(b"CSeq: 7", b"CSeq: 8")
    assert 8 == made.number_in(again)
    assert answer_of_reader(again) == made.answer_to(again)
    assert -1 == made.number_in(again.replace(b"example.com>\r\nTo", b"example.com>;tag=x\r\nTo"))


def test_of_folded_credentials_only_the_first_line_may_differ():
    made = stencil(FOLDED)
    assert 7 == made.number_in(FOLDED.replace(b'username="alice"', b'username="bob"'))
    assert -1 == made.number_in(FOLDED.replace(b'response="1"', b'response="2"'))


def test_every_octet_outside_of_the_blanks_counts():
    made = stencil(AUTHORIZED)
    free = [AUTHORIZED.index(text) + place for text in (b"z9hG4bKfirst", b"one\r") for place in range(len(text.strip()))]
    credentials = AUTHORIZED.index(b'Digest username="alice"')
    free += range(credentials, AUTHORIZED.index(b"\r\n", credentials))
    number = AUTHORIZED.index(b"7 REGISTER")
    for place in range(len(AUTHORIZED)):
        other = bytearray(AUTHORIZED)
        other[place] ^= 1
        found = made.number_in(bytes(other))
        if place == number:
            assert 6 == found
        else:
            assert (7 if place in free else -1) == found, bytes(other)


def test_whatever_it_takes_for_the_same_can_be_read():
    """No octet in a blank makes a message that the parser refuses, or reads as something else."""
    made = stencil(AUTHORIZED)
    blanks = [AUTHORIZED.index(text) + 2 for text in (b"z9hG4bKfirst", b"one\r", b"7 REGISTER", b'alice", response')]
    blanks[2] -= 2
    for place in blanks:
        for octet in range(256):
            other = AUTHORIZED[:place] + bytes([octet]) + AUTHORIZED[place + 1 :]
            for data in (other, AUTHORIZED[:place] + bytes([octet]) + AUTHORIZED[place:]):
                number = made.number_in(data)
                if number >= 0:
                    received = parse(data)
                    assert number == received.cseq
                    assert parse(AUTHORIZED).line_count() == received.line_count()
                    assert answer_of_reader(data) == made.answer_to(data)


def test_pieces_of_it_are_not_it():
    made = stencil(PLAIN)
    for length in range(len(PLAIN)):
        assert -1 == made.number_in(PLAIN[:length])
    assert -1 == made.number_in(PLAIN + b"x")
    assert -1 == made.number_in(PLAIN + PLAIN)
    assert -1 == made.number_in(PLAIN.replace(b"z9hG4bKfirst", b"z" * 5000))


@pytest.mark.parametrize(
    "data",
    [
        PLAIN.replace(b"Length: 0\r\n\r\n", b"Length: 1\r\n\r\nx"),
        PLAIN.replace(b"Via: ", b"Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx\r\nVia: "),
        PLAIN.replace(b"Via: ", b"Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx, "),
        PLAIN.replace(b"Contact:", b"Authorization: Digest a\r\n" * 3 + b"Contact:"),
        PLAIN.replace(b"Contact:", b"X: " + b"x" * 5000 + b"\r\nContact:"),
        b"\r\n" + PLAIN,
    ],
    ids=["body", "vias", "via-list", "many-credentials", "large", "empty line"],
)
def test_some_requests_have_to_be_read_each_time(data):
    assert stencil_of(data, ok_to(parse(data), "ours", b"")) is None


@pytest.mark.parametrize("data", [PLAIN.replace(b"SIP/2.0\r\nVia", b"SIP/3.0\r\nVia"), PLAIN[:-2], b""])
def test_what_cannot_be_read_makes_no_stencil(data):
    assert stencil_of(data, ok_to(parse(PLAIN), "ours", b"")) is None


def test_an_answer_that_is_not_its_own_makes_no_stencil():
    own = ok_to(parse(PLAIN), "ours", b"")
    assert stencil_of(PLAIN, own) is not None
    for other in (b"", own[:-9], own.replace(b"CSeq: 7", b"CSeq: 8"), own.replace(b"tag=one", b"tag=two"),
                  own.replace(b"z9hG4bKfirst", b"z9hG4bKother"), own + b"X: " + b"x" * 4096 + b"\r\n"):  # fmt: skip
        assert stencil_of(PLAIN, other) is None, other


def test_the_branch_is_told_by_a_hash():
    made = stencil(PLAIN)
    marks = set()
    for data in (PLAIN, PLAIN, PLAIN.replace(b"CSeq: 7", b"CSeq: 8"), changed(PLAIN), PLAIN.replace(b"first", b"firsu")):
        made.number_in(data)
        marks.add(made.branch_in(data))
    assert 3 == len(marks)
    assert 0 not in marks
    without = PLAIN.replace(b";branch=z9hG4bKfirst", b"")
    made = stencil(without)
    made.number_in(without)
    assert 0 != made.branch_in(without)


def test_only_of_the_message_that_was_looked_at_last():
    made = stencil(PLAIN)
    made.number_in(PLAIN)
    for ask in (made.answer_to, made.branch_in):
        with pytest.raises(ValueError):
            ask(b"")
    made.number_in(b"REGISTER")
    with pytest.raises(ValueError):
        made.answer_to(PLAIN)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (PLAIN, b"abc@192.0.2.50"),
        (OTHER_ORDER, b"abc@192.0.2.50"),
        (PLAIN.replace(b"Call-ID: ", b"CALL-id\t : "), b"abc@192.0.2.50"),
        (PLAIN.replace(b"Call-ID:", b"Call-IDs:"), None),
        (PLAIN.replace(b"Call-ID:", b"X-Call-ID:"), None),
        (PLAIN.replace(b"Via: ", b"X: y\r\n" * 12 + b"Via: "), None),
        (request("OPTIONS").to_bytes(), request("OPTIONS").call_id.encode()),
        (b"", None),
        (b"\n", None),
        (b"REGISTER x\r\nCall-ID", None),
        (b"REGISTER x\r\nCall-ID:", b""),
        (b"REGISTER x\r\nCall-ID: a", b"a"),
        (b"REGISTER x\r\ni", None),
        (b"REGISTER x\r\ni:", None),
    ],
)
def test_call_id_of_a_message_that_nobody_has_read(data, found):
    assert found == call_id_in(data)
