"""Random words: as many digits as asked for, never the same, not even in a forked process."""

from __future__ import annotations

import os

from sbc.sip.unguessable import hex_word


def test_length_and_digits():
    for digits in (1, 16, 24):
        word = hex_word(digits)
        assert digits == len(word)
        int(word, 16)


def test_no_word_comes_twice():
    assert 5000 == len({hex_word(24) for _ in range(5000)})


def test_forked_process_has_words_of_its_own():
    hex_word(2)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, hex_word(24).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 100).decode() != hex_word(24)
