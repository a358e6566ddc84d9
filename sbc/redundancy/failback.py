"""When may new requests return to a better candidate that had failed? The failback modes of the bulletins.

The bulletins' phones find out by sending a request and waiting; we know from health, and so every mode has the same
first condition: the better candidate is up, and has been for `failback_hold` seconds (D18; 0 in the vendor profiles).
With no hold, *new-requests*, *duration* and *dns-ttl* also trust a candidate of which nothing bad is known (unknown).
Then:

new-requests   at once: "all requests are sent to the primary server first" (Y25)
probe          at once, but only after it answered; the name says that OPTIONS is what found out (V22, V26)
registration   when it has accepted a REGISTER since the failover (Y27, P12)
duration       `failback_timeout` seconds after the failover; 0 = never (Y28, Y29)
dns-ttl        when the TTL of the records in use has passed since the failover (Y26)
never          only when the server in use fails (V4)

Only new requests move. Dialogs stay where they are (D20).
"""

from __future__ import annotations

from sbc.redundancy.health import CandidateHealth, State

TRUSTS_UNKNOWN = ("new-requests", "duration", "dns-ttl")


def returns_at(
    mode: str, failback_timeout: float, hold: float, ttl: float | None, health: CandidateHealth, failed_over_at: float
) -> float | None:
    """The time from which requests may return to the candidate with this health; None = not by the passing of time."""
    stable_at = _stable_at(mode, hold, health)
    if stable_at is None or mode == "never":
        return None
    if mode == "registration":
        registered = health.registered_at is not None and health.registered_at >= failed_over_at
        return stable_at if registered else None
    if mode == "duration":
        return max(stable_at, failed_over_at + failback_timeout) if failback_timeout > 0 else None
    if mode == "dns-ttl":
        return None if ttl is None else max(stable_at, failed_over_at + ttl)
    return stable_at


def _stable_at(mode: str, hold: float, health: CandidateHealth) -> float | None:
    if health.state is State.UP:
        return health.since + hold
    if health.state is State.UNKNOWN and hold == 0 and mode in TRUSTS_UNKNOWN:
        return health.since
    return None
