"""Log lines as Twisted's log file has them, for little: each new registration writes two.

`Lines` has the methods of a twisted.logger.Logger that `EventLog` needs. What a Logger offers besides (namespaces,
observers, filters) is left out, because it takes twenty times as long; both may write to the same stream.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TextIO


class Lines:
    """Writes to `stream`. `time_stamp` gives the text for seconds since 1970; it is asked once for each second."""

    def __init__(
        self, stream: TextIO, namespace: str, wall_clock: Callable[[], float], time_stamp: Callable[[float], str]
    ) -> None:
        self._stream = stream
        self._namespace = namespace
        self._wall_clock = wall_clock
        self._time_stamp = time_stamp
        self._second = -1
        self._stamp = ""

    def debug(self, format: str, **values: object) -> None:
        """Not written, as the level of the log is info."""

    def info(self, format: str, **values: object) -> None:
        self._write("info", format, values)

    def warn(self, format: str, **values: object) -> None:
        self._write("warn", format, values)

    def error(self, format: str, **values: object) -> None:
        self._write("error", format, values)

    def _write(self, level: str, format: str, values: dict[str, object]) -> None:
        second = int(self._wall_clock())
        if second != self._second:
            self._second, self._stamp = second, self._time_stamp(second)
        text = format.format_map(values).replace("\n", "\n\t")
        try:
            self._stream.write(f"{self._stamp} [{self._namespace}#{level}] {text}\n")
            self._stream.flush()
        except OSError:
            pass  # a full disk or a broken pipe must not end a call
