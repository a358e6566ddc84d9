"""More than we can carry: which new work to refuse (pitfall D29).

The measure is how late the event loop runs: when a call that was due now runs a second later, everything else is late by
as much, and phones begin to retransmit, which makes it worse. Shed in this order: OPTIONS, SUBSCRIBE, REGISTER, new INVITE.

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1.
"""

from __future__ import annotations

import cython

COMPILED = bool(cython.compiled)

SHED_ABOVE = {"OPTIONS": 0.25, "SUBSCRIBE": 0.5, "REGISTER": 1.0, "INVITE": 2.0}
"""Seconds of lateness above which new requests of that method get a 503. T1 is 0.5: beyond it phones retransmit."""

LEAST_SHED = min(SHED_ABOVE.values())
"""Seconds of lateness up to which nothing is refused."""

INTERVAL = 0.25
"""Seconds between two looks at the clock."""

_SMOOTHING = 0.5  # of each new look; a single hiccup of the machine sheds nothing but OPTIONS


@cython.cclass
class Overload:
    """Fed with the lateness of the event loop by who owns the clock.

    `lateness` is in seconds, smoothed; `shed` counts the requests refused so far, by method.
    """

    lateness: cython.double
    shed: dict

    def __init__(self) -> None:
        self.lateness = 0.0
        self.shed: dict[str, int] = {}

    def note(self, lateness: float) -> None:
        """One look: a call ran so many seconds after it was due."""
        self.lateness += _SMOOTHING * (max(0.0, lateness) - self.lateness)

    def sheds(self, method: str) -> bool:
        """True when new requests of this method are to be refused now; counts it."""
        if self.lateness <= SHED_ABOVE.get(method, float("inf")):
            return False
        self.shed[method] = self.shed.get(method, 0) + 1
        return True
