"""Bytes put together from pieces."""

from __future__ import annotations

import json

import pytest

from sbc.sip.writer import Writer


def test_pieces_stand_one_after_the_other():
    writer = Writer()
    for piece in range(1000):
        writer.octets(b"<%d>" % piece)
        writer.text("é\udcff")
        writer.number(piece)
    assert b"".join(b"<%d>\xc3\xa9\xff%d" % (piece, piece) for piece in range(1000)) == writer.written()


def test_it_may_be_used_anew():
    writer = Writer()
    writer.text("x" * 5000)
    assert 5000 == len(writer.written())
    writer.begin()
    assert b"" == writer.written()
    writer.text("y")
    assert b"y" == writer.written()


@pytest.mark.parametrize("number", [0, 7, 10, 4294967295, 2**63 - 1, -1, -(2**63)])
def test_numbers(number):
    writer = Writer()
    writer.number(number)
    assert str(number).encode() == writer.written()


@pytest.mark.parametrize("text", ["", "plain ~text", 'with "quotes"', "back\\slash", "tab\t", "\x7f", "é", "\udcff"])
def test_texts_of_json(text):
    writer = Writer()
    writer.quoted(text)
    assert text == json.loads(writer.written())
    writer.field(text)
    assert [text, text] == json.loads(b"[%b]" % writer.written())


@pytest.mark.parametrize("code", range(0x80))
@pytest.mark.parametrize("place", [0, 7, 8, 10])
def test_each_character_in_each_place(code, place):
    """Eight characters are looked at together."""
    text = ("a" * place + chr(code)).ljust(11, "z")
    writer = Writer()
    writer.quoted(text)
    written = writer.written()
    assert text == json.loads(written)
    assert written.isascii() and written.decode().isprintable()


def test_fields():
    writer = Writer()
    writer.quoted("a")
    writer.field("b")
    writer.comma()
    writer.number(3)
    assert b'"a","b",3' == writer.written()
