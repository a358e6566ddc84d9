"""BLAKE2b with a key, as hashlib has it: contacts keep their tokens."""

from __future__ import annotations

import hashlib
import random

import pytest

from sbc.registration.contacts import TokenMaker
from sbc.registration.keyed_hash import KeyedHash


@pytest.mark.parametrize("length", [1, 2, 127, 128, 129, 255, 256, 257, 1000])
@pytest.mark.parametrize(("key", "size", "person"), [(b"k", 1, b""), (bytes(range(32)), 13, b"contact"), (b"x" * 64, 64, b"p" * 16)])
def test_it_is_what_hashlib_says(length, key, size, person):
    data = random.Random(length).randbytes(length)
    expected = hashlib.blake2b(data, key=key, digest_size=size, person=person).hexdigest()
    keyed = KeyedHash(key, size, person)
    assert [expected, expected] == [keyed.hexadecimal(data), keyed.hexadecimal(data)]


@pytest.mark.parametrize(("key", "size", "person"), [(b"", 13, b""), (b"k" * 65, 13, b""), (b"k", 0, b""), (b"k", 65, b""), (b"k", 1, b"p" * 17)])
def test_what_it_cannot_do(key, size, person):
    with pytest.raises(ValueError):
        KeyedHash(key, size, person)


def test_there_must_be_data():
    with pytest.raises(ValueError):
        KeyedHash(b"k", 13, b"").hexadecimal(b"")


def test_token_of_a_contact_is_the_same_in_every_version():
    """Else the servers would have each phone twice after an update."""
    token = TokenMaker(b"s" * 32).token("sip:100@example.test", "sip:100@192.0.2.7:5060", "")
    data = b"sip:100@example.test\nsip:100@192.0.2.7:5060\n"
    assert hashlib.blake2b(data, key=b"s" * 32, digest_size=13, person=b"contact").hexdigest() == token
