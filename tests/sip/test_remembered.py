"""What is found by its octets is what was kept for exactly these octets, however many there are."""

import pytest

from sbc.sip.remembered import Remembered


def test_what_was_kept_is_found_by_equal_octets():
    """Short and long keys, with one octet of difference anywhere."""
    remembered = Remembered(10_000)
    keys = {length: bytes(65 + place % 26 for place in range(length)) for length in range(60)}
    for length, key in keys.items():
        remembered.keep(key, length)
    for length, key in keys.items():
        assert remembered.get(bytes(bytearray(key))) == length
        for place in range(length):
            other = key[:place] + bytes([key[place] ^ 0x80]) + key[place + 1 :]
            assert remembered.get(other) is None
            assert remembered.get(key) == length


def test_more_than_stand_near_are_all_found():
    """They push each other out of the near places, not out of memory."""
    remembered = Remembered(10_000)
    keys = [b"sip:%d@example.com;transport=udp" % number for number in range(5000)]
    for number, key in enumerate(keys):
        remembered.keep(key, number)
    assert [remembered.get(key) for key in keys] == list(range(5000))
    assert [remembered.get(key) for key in reversed(keys)] == list(reversed(range(5000)))


def test_one_more_than_fit_and_all_are_forgotten():
    """Also those that stand near."""
    remembered = Remembered(3)
    for key in (b"sip:alice@home", b"sip:bobby@home", b"sip:carol@home"):
        remembered.keep(key, key.decode())
    assert remembered.get(b"sip:alice@home") == "sip:alice@home"
    remembered.keep(b"sip:david@home", "one more")
    assert remembered.get(b"sip:alice@home") is None
    assert remembered.get(b"sip:david@home") == "one more"
    assert len(remembered) == 1


@pytest.mark.parametrize("key", [b"", b"sip:a", b"sip:alice@192.0.2.1:5060"])
def test_what_is_kept_anew_is_found(key):
    """The later one counts."""
    remembered = Remembered(3)
    remembered.keep(key, "before")
    assert remembered.get(key) == "before"
    remembered.keep(key, "after")
    assert remembered.get(key) == "after"
    assert len(remembered) == 1
