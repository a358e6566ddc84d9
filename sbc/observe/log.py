"""Facts into the log: one line each, at the level its story names.

Compiled when installed (Cython's pure Python mode), because every new registration writes lines.
"""

from __future__ import annotations

from typing import Protocol

import cython

from sbc.observe.story import DEBUG, ERROR, INFO, NO_NAMES, WARNING, ServerNames, is_for_debug, line_of

if cython.compiled:
    from cython.cimports.sbc.events import Listener, RegistrationChanged
    from cython.cimports.sbc.observe.log_lines import Lines
    from cython.cimports.sbc.observe.story import level_of_registration, text_of_registration
else:
    from sbc.events import Listener, RegistrationChanged
    from sbc.observe.log_lines import Lines
    from sbc.observe.story import level_of_registration, text_of_registration


class Logger(Protocol):
    """What we need of a logger; twisted.logger.Logger fits, and `Lines`."""

    def debug(self, format: str, **values: object) -> None: ...
    def info(self, format: str, **values: object) -> None: ...
    def warn(self, format: str, **values: object) -> None: ...
    def error(self, format: str, **values: object) -> None: ...


@cython.cclass
class EventLog(Listener):
    """A `Report` that writes each fact as one line."""

    _names: object
    _debug: cython.bint
    _lines: Lines
    _write: dict

    def __init__(self, logger: Logger, names: ServerNames = NO_NAMES, *, debug: bool = True) -> None:
        """`debug=False` when the logger lets no debug line through: what comes with every call then costs nothing."""
        self._names = names
        self._debug = debug
        self._lines = logger if isinstance(logger, Lines) else None
        self._write = {DEBUG: logger.debug, INFO: logger.info, WARNING: logger.warn, ERROR: logger.error}

    @cython.ccall
    def hear(self, event: object):
        if isinstance(event, RegistrationChanged):
            self._hear_of_registration(event)
        elif self._debug or not is_for_debug(event):
            line = line_of(event, self._names)
            if line is not None:
                level, text = line
                # The text is a value, never the format: a SIP URI may contain braces.
                self._write[level]("{story}", story=text)

    @cython.cfunc
    def _hear_of_registration(self, event: RegistrationChanged):
        level: str = level_of_registration(event)
        if self._lines is not None and level == INFO:
            self._lines.soon(text_of_registration(event))
        elif self._debug or level != DEBUG:
            self._write[level]("{story}", story=text_of_registration(event))
