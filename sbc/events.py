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

EVERYDAY_OUTCOMES = frozenset(("status_1xx", "status_2xx", "status_3xx", "status_4xx", "status_6xx", "cancelled"))
"""Of an attempt: the server did its work."""


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
    phones: str = ""
    """Which kind of the group's phones it concerns, "" for those that are of the group's own."""


@cython.cclass
@dataclass(frozen=True)
class FailedBack:
    """New requests of a group return to a better candidate."""

    group: str
    from_candidate: str
    to_candidate: str
    cause: str
    """new-requests | probe | registration | duration | dns-ttl | scheduled | manual | working-failed"""
    phones: str = ""
    """Which kind of the group's phones it concerns, "" for those that are of the group's own."""


@cython.cclass
@dataclass(frozen=True)
class ServerFlapped:
    """A server failed within 5 minutes after new requests had returned to it (D19)."""

    group: str
    server: str
    candidate: str
    hold: float
    """Seconds that it must be up before they return the next time."""


@cython.cclass
@dataclass(frozen=True)
class NetworkStateChanged:
    """What we think of the network between us and the servers (V20, D33)."""

    old: str
    """up | link_down | uplink_down | dns_down"""
    new: str
    reason: str


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
    """A probe of ours was answered or given up."""

    group: str
    server: str
    candidate: str
    outcome: str
    duration: float
    method: str = "OPTIONS"
    """OPTIONS or REGISTER."""


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
class RegistrationLeftOut:
    """A request goes to a server without the registration that should come before it."""

    group: str
    server: str
    aor: str
    method: str
    reason: str


@cython.cclass
@dataclass(frozen=True)
class RemovalLeftOut:
    """A phone has removed its contact, and a server cannot be told of it."""

    group: str
    server: str
    aor: str
    reason: str
    lapses_in: float
    """Seconds until it lapses there by itself."""


@cython.cclass
@dataclass(frozen=True)
class Resynchronised:
    """A server that had come back has the registrations of its phones again."""

    group: str
    server: str
    phones: int
    """That were registered there in the course of it."""
    seconds: float


@cython.cclass
@dataclass(frozen=True)
class PhoneQuarantined:
    """A phone sends REGISTERs in a loop: for a while they are answered here, and no server hears of them."""

    group: str
    aor: str
    contact: str
    """Its URI; "" of a phone whose REGISTERs have none."""
    host: str
    seconds: float
    reason: str


@cython.cclass
@dataclass(frozen=True)
class ExtensionRefused:
    """A server has said 420 to an extension that it was offered in a REGISTER; it is registered at without."""

    group: str
    server: str
    candidate: str
    extension: str
    """The option tag: path, gruu."""


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


@cython.cclass
class Everyday:
    """Counts the facts that come with every call and every registration, as bare numbers. These methods do nothing; the
    arguments are named as in the events."""

    @cython.ccall
    def attempt_ended(self, group: str, server: str, method: str, outcome: str, seconds: cython.double):
        """See AttemptEnded."""

    @cython.ccall
    def call_set_up(self, group: str, seconds: cython.double):
        """See CallSetUp."""

    @cython.ccall
    def registration_changed(self, group: str, server: str, new: str):
        """See RegistrationChanged."""


@cython.cclass
class Listener:
    """Who hears of facts. It is a `Report`, and compiled ones are told without going through Python."""

    @cython.ccall
    def hear(self, event: object):
        """One fact."""
        raise NotImplementedError

    def __call__(self, event: object) -> None:
        self.hear(event)


@cython.cclass
class _Told(Listener):
    """A plain function that hears of facts, of all or of one kind."""

    _function: object
    _about: object

    def __init__(self, function: Report, about: type | None) -> None:
        self._function = function
        self._about = about

    @cython.ccall
    def hear(self, event: object):
        if self._about is None or type(event) is self._about:
            self._function(event)


@cython.cclass
class Reports:
    """Where every part of the appliance reports its facts: a `Report` that hands them on to all who listen.

    What comes with every call has a method of its own. There the numbers are counted first, and an event is made only if
    somebody listens to it: an answered attempt, a call set up and the beginning of a registration are for the curious,
    those who listen to everyday facts too.
    """

    _count: object
    _everyday: Everyday
    _listeners: list
    _curious: list

    def __init__(self, count: Report | None = None, everyday: Everyday | None = None) -> None:
        """`count` counts the events; those of everyday facts it never sees, because `everyday` counts them."""
        self._count = count
        self._everyday = Everyday() if everyday is None else everyday
        self._listeners = []
        self._curious = []

    def tell(self, listener: Report, *, everyday: bool, about: type | None = None) -> None:
        """From now on tell this one too; `everyday` facts as well? A plain function may want to hear `about` one kind only."""
        told: Listener = listener if isinstance(listener, Listener) else _Told(listener, about)
        self._listeners.append(told)
        if everyday:
            self._curious.append(told)

    def __call__(self, event: object) -> None:
        if self._count is not None:
            self._count(event)
        _hand(event, self._listeners)

    @cython.ccall
    def attempt_ended(
        self, group: str, server: str, candidate: object, method: str, outcome: str, seconds: cython.double
    ):
        """AttemptEnded; `candidate` is anything whose `str` is the candidate."""
        self._everyday.attempt_ended(group, server, method, outcome, seconds)
        is_everyday: cython.bint = outcome == "status_2xx" or outcome in EVERYDAY_OUTCOMES
        listeners: list = self._curious if is_everyday else self._listeners
        if listeners:
            _hand(AttemptEnded(group, server, str(candidate), method, outcome, seconds), listeners)

    @cython.ccall
    def call_set_up(self, group: str, seconds: cython.double):
        """CallSetUp."""
        self._everyday.call_set_up(group, seconds)
        if self._curious:
            _hand(CallSetUp(group, seconds), self._curious)

    @cython.ccall
    def registration_changed(self, group: str, server: str, aor: str, old: str, new: str, reason: str):
        """RegistrationChanged."""
        self._everyday.registration_changed(group, server, new)
        listeners: list = self._curious if new == "registering" else self._listeners
        if listeners:
            _hand(RegistrationChanged(group, server, aor, old, new, reason), listeners)


@cython.cfunc
def _hand(event: object, listeners: list):
    listener: Listener
    for listener in listeners:
        listener.hear(event)


@cython.ccall
def as_reports(report: object) -> Reports:  # (report: Report | Reports) -> Reports
    """It, or, when it is a plain function, one that tells it everything."""
    if isinstance(report, Reports):
        return report
    reports: Reports = Reports()
    reports.tell(report, everyday=True)
    return reports
