"""Facts into the log: one line each, at the level its story names."""

from __future__ import annotations

from typing import Protocol

from sbc.observe.story import DEBUG, ERROR, INFO, NO_NAMES, WARNING, ServerNames, is_for_debug, line_of


class Logger(Protocol):
    """What we need of a logger; twisted.logger.Logger fits."""

    def debug(self, format: str, **values: object) -> None: ...
    def info(self, format: str, **values: object) -> None: ...
    def warn(self, format: str, **values: object) -> None: ...
    def error(self, format: str, **values: object) -> None: ...


class EventLog:
    """A `Report` that writes each fact as one line."""

    def __init__(self, logger: Logger, names: ServerNames = NO_NAMES, *, debug: bool = True) -> None:
        """`debug=False` when the logger lets no debug line through: what comes with every call then costs nothing."""
        self._names = names
        self._debug = debug
        self._write = {DEBUG: logger.debug, INFO: logger.info, WARNING: logger.warn, ERROR: logger.error}

    def __call__(self, event: object) -> None:
        if not self._debug and is_for_debug(event):
            return
        line = line_of(event, self._names)
        if line is not None:
            level, text = line
            # The text is a value, never the format: a SIP URI may contain braces.
            self._write[level]("{story}", story=text)
