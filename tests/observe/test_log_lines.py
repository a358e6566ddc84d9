"""Quick log lines look like those that Twisted writes."""

from __future__ import annotations

import io

from twisted.logger import Logger, formatTime, textFileLogObserver

from sbc.observe.log_lines import Lines

NOW = 1_700_000_000.25


def written_by_twisted(level: str, format: str, **values: object) -> str:
    stream = io.StringIO()
    observer = textFileLogObserver(stream)
    logger = Logger(namespace="sbc", observer=lambda event: observer({**event, "log_time": NOW}))
    getattr(logger, level)(format, **values)
    return stream.getvalue()


def test_like_twisted():
    for level in ("info", "warn", "error"):
        stream = io.StringIO()
        lines = Lines(stream, "sbc", lambda: NOW, formatTime)
        getattr(lines, level)("{story}", story="office: phone sip:{x}@y\nis registered")
        assert written_by_twisted(level, "{story}", story="office: phone sip:{x}@y\nis registered") == stream.getvalue()


def test_time_stamp_goes_on():
    stream, times = io.StringIO(), [1.0, 1.9, 2.0]
    lines = Lines(stream, "sbc", lambda: times.pop(0), str)
    for _ in range(3):
        lines.info("x")
    assert ["1", "1", "2"] == [line.split()[0] for line in stream.getvalue().splitlines()]


def test_nothing_at_debug_level():
    stream = io.StringIO()
    Lines(stream, "sbc", lambda: NOW, formatTime).debug("x")
    assert "" == stream.getvalue()


def test_stream_that_cannot_be_written_stops_nothing():
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    Lines(Broken(), "sbc", lambda: NOW, formatTime).info("x")


class Stream(io.StringIO):
    """Counts how often it is written to."""

    writes = 0

    def write(self, text: str) -> int:
        self.writes += 1
        return super().write(text)


def test_lines_that_can_wait_are_written_together():
    """Hundreds of phones register in a second after a power cut; one write for each would take longer than the calls."""
    stream, calls = Stream(), []
    lines = Lines(stream, "sbc", lambda: 0.0, str, lambda seconds, function: calls.append(function))
    for number in range(3):
        lines.soon(f"phone {number}")
    assert (0, 1) == (stream.writes, len(calls))
    calls.pop()()
    assert ["phone 0", "phone 1", "phone 2"] == [line.split("] ")[1] for line in stream.getvalue().splitlines()]
    assert 1 == stream.writes
    lines.soon("phone 3")
    assert 1 == len(calls)


def test_no_line_overtakes_another():
    stream, calls = Stream(), []
    lines = Lines(stream, "sbc", lambda: 0.0, str, lambda seconds, function: calls.append(function))
    lines.soon("first")
    lines.warn("second")
    assert ["first", "second"] == [line.split("] ")[1] for line in stream.getvalue().splitlines()]
    calls.pop()()  # nothing is left for it
    assert 2 == len(stream.getvalue().splitlines())


def test_nothing_waits_without_a_clock():
    stream = io.StringIO()
    Lines(stream, "sbc", lambda: 0.0, str).soon("at once")
    assert stream.getvalue().endswith("at once\n")
