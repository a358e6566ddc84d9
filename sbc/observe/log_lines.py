"""Log lines as Twisted's log file has them, for little: each new registration writes two.

`Lines` has the methods of a twisted.logger.Logger that `EventLog` needs. What a Logger offers besides (namespaces,
observers, filters) is left out, because it takes twenty times as long; both may write to the same stream.

After a power cut hundreds of phones register in a second, and each write to a file costs as much as forwarding a message.
So lines that can wait (`soon`) are written together, a little later; all others at once, and those before them first.

Compiled when installed (Cython's pure Python mode).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TextIO

import cython

SOON = 0.1
"""Seconds that a line may wait."""

Later = Callable[[float, Callable[[], None]], Any]
"""The `callLater` of a clock."""


@cython.cclass
class Lines:
    """Writes to `stream`. `time_stamp` gives the text for seconds since 1970; it is asked once for each second.

    `call_later` writes what waits; without it nothing waits.
    """

    _stream: object
    _namespace: str
    _wall_clock: object
    _time_stamp: object
    _call_later: object
    _second: cython.longlong
    _stamp: str
    _info: str  # what a line at level info begins with in this second
    _waiting: list

    def __init__(
        self,
        stream: TextIO,
        namespace: str,
        wall_clock: Callable[[], float],
        time_stamp: Callable[[float], str],
        call_later: Later | None = None,
    ) -> None:
        self._stream = stream
        self._namespace = namespace
        self._wall_clock = wall_clock
        self._time_stamp = time_stamp
        self._call_later = call_later
        self._second = -1
        self._stamp = ""
        self._info = ""
        self._waiting = []

    def debug(self, format: str, **values: object) -> None:
        """Not written, as the level of the log is info."""

    def info(self, format: str, **values: object) -> None:
        self._write("info", format, values)

    def warn(self, format: str, **values: object) -> None:
        self._write("warn", format, values)

    def error(self, format: str, **values: object) -> None:
        self._write("error", format, values)

    @cython.ccall
    def soon(self, text: str):
        """A line at level info that may wait; `text` is one line."""
        self._look_at_clock()
        is_first: cython.bint = len(self._waiting) == 0
        self._waiting.append(self._info)
        self._waiting.append(text)
        self._waiting.append("\n")
        if self._call_later is None:
            self.write_waiting()
        elif is_first:
            self._call_later(SOON, self.write_waiting)

    def write_waiting(self) -> None:
        """Write what waits. Before the process ends, too."""
        text = "".join(self._waiting)
        self._waiting.clear()
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            pass  # a full disk or a broken pipe must not end a call

    def _write(self, level: str, format: str, values: dict[str, object]) -> None:
        self._look_at_clock()
        text = format.format_map(values).replace("\n", "\n\t")
        self._waiting.append(f"{self._stamp} [{self._namespace}#{level}] {text}\n")
        self.write_waiting()

    @cython.cfunc
    def _look_at_clock(self):
        now: cython.double = self._wall_clock()
        second: cython.longlong = cython.cast(cython.longlong, now)
        if second != self._second:
            self._second = second
            self._stamp = self._time_stamp(second)
            self._info = f"{self._stamp} [{self._namespace}#info] "
