"""Messages over a pipe, however the pipe cuts them."""

from __future__ import annotations

import os

import pytest

from sbc.config import load
from sbc.workers.link import Frames, Link, config_as_text, config_from_text, encoded, first_message
from tests.config.test_load import EXAMPLE

SEVERAL = encoded("ready", {}) + encoded("word", {"word": [["office", "x"], ["down", 1.5], 0, 1]}) + encoded("alive", {})


class User:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def ready_received(self) -> None:
        self.told.append("ready")

    def word_received(self, word) -> None:
        self.told.append(word)

    def alive_received(self) -> None:
        self.told.append("alive")


@pytest.mark.parametrize("size", [1, 3, 4, 5, 1000])
def test_messages_arrive_in_any_pieces(size):
    user = User()
    link = Link(user, lambda data: None)
    for place in range(0, len(SEVERAL), size):
        link.data_received(SEVERAL[place : place + size])
    assert ["ready", [["office", "x"], ["down", 1.5], 0, 1], "alive"] == user.told


class Faulty(User):
    """Has a bug in one of its methods."""

    def word_received(self, word) -> None:
        raise ValueError(word)


def test_a_bug_costs_one_message(monkeypatch):
    """Not the pipe, and with it the worker. The log has the trace."""
    logged: list[str] = []
    monkeypatch.setattr("sbc.workers.link.log.failure", lambda text, **values: logged.append(text.format(**values)))
    user = Faulty()
    link = Link(user, lambda data: None)
    link.data_received(SEVERAL + encoded("nonsense", {}) + encoded("ready", {"too": "much"}) + encoded("alive", {}))
    assert ["ready", "alive", "alive"] == user.told
    assert [f"internal error while handling {kind}" for kind in ("word", "nonsense", "ready")] == logged


def test_half_a_message_says_nothing():
    frames = Frames()
    assert [] == list(frames.feed(encoded("ready", {})[:-1]))


def test_tell_writes_what_the_other_end_reads():
    written: list[bytes] = []
    Link(User(), written.append).tell("word", word=1)
    assert [{"kind": "word", "word": 1}] == list(Frames().feed(b"".join(written)))


def test_bytes_that_are_no_utf8_survive():
    """A phone's name may hold any byte, which we carry as lone surrogates."""
    name = b"\xff".decode("utf-8", "surrogateescape")
    assert [{"kind": "answer", "answer": name}] == list(Frames().feed(encoded("answer", {"answer": name})))


def test_the_configuration_goes_through_whole():
    config = load(EXAMPLE)
    assert config == config_from_text(config_as_text(config))


def test_the_first_message_leaves_the_second_where_it_is():
    """It is read by hand, before there is a reactor; the rest is the reactor's."""
    reads, writes = os.pipe()
    os.write(writes, SEVERAL)
    os.close(writes)
    assert {"kind": "ready"} == first_message(reads)
    assert "word" == first_message(reads)["kind"]
    first_message(reads)
    with pytest.raises(EOFError):
        first_message(reads)
    os.close(reads)
