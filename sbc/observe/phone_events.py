"""The last facts about each phone, for `sbc explain`: `PhoneEvents`. The list of recent events has them too, but there those of
many phones become one line.

Compiled when installed (Cython's pure Python mode), because every new registration comes by here.
"""

from __future__ import annotations

from collections import deque
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
    _kept: object

    def __init__(self, wall_clock: Callable[[], float], names: ServerNames = NO_NAMES, *, kept: int = KEPT) -> None:
        self._wall_clock = wall_clock
        self._names = names
        self._kept: deque[tuple[float, Any]] = deque(maxlen=kept)

    @cython.ccall
    def hear(self, event: object):
        if isinstance(event, RegistrationChanged) or hasattr(event, "aor"):
            self._kept.append((self._wall_clock(), event))

    def of(self, aor: str) -> list[dict[str, Any]]:
        """The last ones about that address-of-record, the newest first; `at` in seconds since 1970."""
        found = []
        for at, event in reversed(self._kept):
            if event.aor == aor:
                story = tell(event, self._names)
                if story is not None:
                    found.append({"at": at, "text": story.text})
                    if len(found) == SHOWN:
                        break
        return found
