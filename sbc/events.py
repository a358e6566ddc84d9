"""Facts for operators: what happened, said once, by the object that decided it.

Domain code reports these; `sbc.observe` counts and logs them. No other place touches a counter or writes a log line about
them. Times are monotonic seconds unless a name says otherwise; `candidate` is `address:port;transport`.

Compiled when installed (Cython's pure Python mode), because some are made for every call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cython

Report = Callable[[object], None]
"""Where facts go. Must not raise and must not block."""


@cython.cclass
@dataclass(frozen=True)
class ServerStateChanged:
    """A candidate's operational state changed."""

    group: str
    server: str
    candidate: str
    old: str
    """unknown | up | down | frozen"""
    new: str
    reason: str
    """For people: "no answer to 4 sends of INVITE", "answered OPTIONS with 200"."""


@cython.cclass
@dataclass(frozen=True)
class FailedOver:
    """A request, or a whole group's new requests, went to a lower candidate because a higher one failed."""

    group: str
    method: str
    from_candidate: str
    to_candidate: str
    cause: str
    """timeout | icmp | refused | reset | tls | status_5xx | ..."""


@cython.cclass
@dataclass(frozen=True)
class FailedBack:
    """New requests of a group return to a better candidate."""

    group: str
    from_candidate: str
    to_candidate: str
    cause: str
    """probe | new-requests | duration | registration | manual | ..."""


@cython.cclass
@dataclass(frozen=True)
class AttemptEnded:
    """One candidate was tried for one request."""

    group: str
    server: str
    candidate: str
    method: str
    outcome: str
    """The label of the outcome: status_2xx, timeout, icmp, cancelled, ..."""
    duration: float


@cython.cclass
@dataclass(frozen=True)
class ProbeEnded:
    """An OPTIONS of ours was answered or given up."""

    group: str
    server: str
    candidate: str
    outcome: str
    duration: float


@cython.cclass
@dataclass(frozen=True)
class CallSetUp:
    """First 18x or 2xx to an INVITE left towards the caller, so many seconds after the INVITE came in."""

    group: str
    seconds: float


@cython.cclass
@dataclass(frozen=True)
class RegistrationChanged:
    """The registration of one contact at one server changed its state."""

    group: str
    server: str
    aor: str
    old: str
    new: str
    """unregistered | registering | registered | failed"""
    reason: str


@cython.cclass
@dataclass(frozen=True)
class LateResponse:
    """An answer came from a branch that had been given up."""

    method: str
    action: str
    """forwarded | acked_and_byed | dropped"""


@cython.cclass
@dataclass(frozen=True)
class MalformedReceived:
    """Something that is not acceptable SIP came in."""

    transport: str
    reason: str
    """A short fixed word: start_line | header | length | too_large | ..."""


@cython.cclass
@dataclass(frozen=True)
class DnsLookup:
    """One DNS question was answered, from the network or from the cache."""

    rrtype: str
    result: str
    """ok | stale | negative | timeout | servfail"""


@cython.cclass
@dataclass(frozen=True)
class Alarm:
    """Something an administrator must mend: a full disk, a corrupt store, a refused reload."""

    subject: str
    text: str
