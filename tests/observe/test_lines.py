"""Quick log lines look like those that Twisted writes."""

from __future__ import annotations

import io

from twisted.logger import Logger, formatTime, textFileLogObserver

from sbc.observe.lines import Lines

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
