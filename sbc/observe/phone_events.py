"""The last facts about each phone, for `sbc explain`: `PhoneEvents`. The list of recent events has them too, but there those of
many phones become one line.

Compiled when installed (Cython's pure Python mode), because every new registration comes by here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cython

from sbc.observe.story import NO_NAMES, ServerNames, tell

if cython.compiled:
    from cython.cimports.sbc.events import Listener, RegistrationChanged
else:
    from sbc.events import Listener, RegistrationChanged

COMPILED = bool(cython.compiled)

KEPT = 5_000
"""Facts about all phones together; a flood of phones washes out the older ones."""

SHOWN = 10


@cython.cclass
class PhoneEvents(Listener):
    """A `Report` that keeps what is about one phone."""

    _wall_clock: object
    _names: object
    _kept: cython.Py_ssize_t
    _events: list  # a ring: the oldest is overwritten first
    _times: list  # of the events
    _next: cython.Py_ssize_t  # where the next one goes

    def __init__(self, wall_clock: Callable[[], float], names: ServerNames = NO_NAMES, *, kept: int = KEPT) -> None:
        self._wall_clock = wall_clock
        self._names = names
        self._kept = kept
        self._events: list[Any] = []
        self._times: list[float] = []
        self._next = 0

    @cython.ccall
    def hear(self, event: object):
        if isinstance(event, RegistrationChanged) or hasattr(event, "aor"):
            if self._next < len(self._events):
                self._events[self._next] = event
                self._times[self._next] = self._wall_clock()
            else:
                self._events.append(event)
                self._times.append(self._wall_clock())
            self._next = self._next + 1 if self._next + 1 < self._kept else 0

    def of(self, aor: str) -> list[dict[str, Any]]:
        """The last ones about that address-of-record, the newest first; `at` in seconds since 1970."""
        found = []
        number = len(self._events)
        for place in range(self._next - 1, self._next - 1 - number, -1):
            event = self._events[place % number]
            if event.aor == aor:
                story = tell(event, self._names)
                if story is not None:
                    found.append({"at": self._times[place % number], "text": story.text})
                    if len(found) == SHOWN:
                        break
        return found
