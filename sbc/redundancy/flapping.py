"""A server that keeps coming back and failing: each time it must stay up for longer before anything returns (D19).

A return that lasts less than `SHORT` is a flap and doubles the hold of that candidate, from `failback_hold`, or from
`FIRST` where that is shorter, up to `LONGEST`. One that lasts `STABLE` makes it `failback_hold` again.
"""

from __future__ import annotations

from sbc.location.candidate import Candidate

SHORT = 300.0
"""Seconds (D19: "each failback that lasts < 5 min")."""
FIRST, LONGEST = 60.0, 3600.0
"""Seconds (D19: "doubles the hold-down (60 s to 1 h)"). A `failback_hold` that is longer stays as it is."""
STABLE = 3600.0
"""Seconds in use after which its past is forgotten."""


class FlapDamping:
    """The holds of one group's candidates."""

    def __init__(self, hold: float, enabled: bool) -> None:
        self._hold = hold
        self._enabled = enabled
        self._holds: dict[Candidate, float] = {}
        self._returned: tuple[Candidate, float] | None = None
        """Where requests are since the last failback, and since when."""

    def hold_for(self, candidate: Candidate) -> float:
        """Seconds that it must be up before requests return to it."""
        return self._holds.get(candidate, self._hold)

    def returned(self, candidate: Candidate, now: float) -> None:
        """Requests have returned to it."""
        self._returned = (candidate, now)

    def failed(self, candidate: Candidate, now: float) -> float | None:
        """Requests leave it because it failed. Returns its new hold when that was a flap."""
        stay, self._returned = self._returned, None
        if not self._enabled or stay is None or stay[0] != candidate:
            return None
        lasted = now - stay[1]
        if lasted >= STABLE:
            self._holds.pop(candidate, None)
        if lasted >= SHORT:
            return None
        longest = max(LONGEST, self._hold)
        self._holds[candidate] = min(longest, 2 * max(self.hold_for(candidate), FIRST / 2))
        return self._holds[candidate]

    def told(self, candidate: Candidate, hold: float) -> None:
        """Another process has seen it flap."""
        if self._enabled:
            self._holds[candidate] = hold

    def go_on_from(self, other: FlapDamping) -> None:
        """Take over what is known of the same group under other settings."""
        self._returned = other._returned
        if self._enabled:
            self._holds = {candidate: max(hold, self._hold) for candidate, hold in other._holds.items()}
