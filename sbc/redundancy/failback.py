"""When may new requests return to a better candidate that had failed? The failback modes of the bulletins.

The bulletins' phones find out by sending a request and waiting; we know from health, and so every mode has the same
first condition: the better candidate is up, and has been for its hold (D18: `failback_hold`, 0 in the vendor profiles;
longer for one that flaps, see `flapping`). With no hold, *new-requests*, *duration* and *dns-ttl* also trust a candidate
of which nothing bad is known (unknown). Then:

new-requests   at once: "all requests are sent to the primary server first" (Y25)
probe          at once, but only after it answered; the name says that OPTIONS is what found out (V22, V26)
registration   when it has accepted a REGISTER since the failover (Y27, P12, F10)
duration       `failback_timeout` seconds after the failover; 0 = never (Y28, Y29)
dns-ttl        when the TTL of the records in use has passed since the failover (Y26)
scheduled      while `failback_window` is open
manual         when an administrator says so (`sbc failback`), which is possible in every mode
never          not at all (F16: `Enable Failback` off)

Whatever the mode, a server in use that fails is left at once, for a better one as well as for a lesser (Y29: "until a
failover event occurs"). Only new requests move. Dialogs stay where they are (D20, Y31).
"""

from __future__ import annotations

from typing import NamedTuple

from sbc.redundancy.health import CandidateHealth, State

TRUSTS_UNKNOWN = ("new-requests", "duration", "dns-ttl")


class Return(NamedTuple):
    """What the modes depend on, beside the health of the candidate to return to."""

    mode: str
    failback_timeout: float
    hold: float
    """Seconds that it must have been up."""
    ttl: float | None
    """Seconds that the DNS answer of the server in use is good for; None = it has none."""
    failed_over_at: float
    window_opens_at: float
    """The time from which `failback_window` is open; in the past while it is."""


def returns_at(terms: Return, health: CandidateHealth) -> float | None:
    """The time from which requests may return to the candidate with this health; None = not by the passing of time."""
    mode = terms.mode
    stable_at = _stable_at(mode, terms.hold, health)
    if stable_at is None or mode in ("never", "manual"):
        return None
    if mode == "registration":
        registered = health.registered_at is not None and health.registered_at >= terms.failed_over_at
        return stable_at if registered else None
    if mode == "duration":
        timeout = terms.failback_timeout
        return max(stable_at, terms.failed_over_at + timeout) if timeout > 0 else None
    if mode == "dns-ttl":
        return None if terms.ttl is None else max(stable_at, terms.failed_over_at + terms.ttl)
    if mode == "scheduled":
        return max(stable_at, terms.window_opens_at)
    return stable_at


def _stable_at(mode: str, hold: float, health: CandidateHealth) -> float | None:
    if health.state is State.UP:
        return health.stable_since + hold
    if health.state is State.UNKNOWN and hold == 0 and mode in TRUSTS_UNKNOWN:
        return health.since
    return None
