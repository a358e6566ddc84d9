"""Numbers for Prometheus: facts are counted as they are reported, states are read when Prometheus asks.

`Metrics` is the sink of `sbc.events` (it is a `Report`) and a collector of prometheus_client at once. Everything it
keeps is a plain integer in a dictionary; the families are built at scrape time. What has a state of its own (server
groups, the registrar, the transaction layer) is handed in by `watch` and read live, so a candidate that left the list
is gone from the next scrape.

Compiled when installed (Cython's pure Python mode), because some facts come with every call.

No label grows with the number of phones or calls: methods and causes come from fixed vocabularies, and everything else
that a sender could choose becomes `other`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import cython
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from sbc import events
from sbc.observe.story import ALL_METHODS

if cython.compiled:
    from cython.cimports.sbc.events import Everyday
else:
    from sbc.events import Everyday

METHODS = frozenset(
    (
        "INVITE", "ACK", "CANCEL", "BYE", "REGISTER", "OPTIONS", "SUBSCRIBE",
        "NOTIFY", "PUBLISH", "REFER", "INFO", "MESSAGE", "UPDATE", "PRACK",
    )
)
OTHER = "other"

SERVER_STATES = ("unknown", "up", "down", "frozen")
REGISTRATION_STATES = ("unregistered", "registering", "registered", "failed")
FAILOVER_METHODS = (ALL_METHODS, "INVITE", "REGISTER", "BYE")
FAILOVER_CAUSES = ("timeout", "icmp", "refused", "reset", "connect_timeout", "tls", "status_5xx")
FAILBACK_CAUSES = (
    "new-requests", "probe", "registration", "duration", "dns-ttl", "scheduled", "manual", "working-failed",
)  # fmt: skip
NETWORK_STATES = ("up", "link_down", "uplink_down", "dns_down")
LATE_ACTIONS = ("forwarded", "acked_and_byed", "dropped")
REFUSED_HERE = ("loop", "wrong_password", "servers_coming_back")
DNS_RESULTS = ("ok", "stale", "negative", "timeout", "servfail")

MOST_SERIES = 1000
"""Per family; what comes after is counted as `other`. A vocabulary that is not as fixed as we believe must not eat the
memory of Prometheus."""

MOST_SEEN = 32
"""Combinations of strings, for each group."""

MOST_STATES = 256
"""The same, of servers and states of registration: more servers than a group has."""

# Seconds. The steps follow what an administrator looks for: the local network (up to 50 ms), a caller's patience (1 to
# 4 s) and the give-up times of retry_counts 3 (7.5 s) and of 64*T1 (32 s), each a little below a bucket's end.
DURATION_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 33.0)
CALL_SETUP_BUCKETS = (0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 33.0)
PROBE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.5)

Labels = tuple[str, ...]


class Group(Protocol):
    """What we read of a server group."""

    name: str

    def candidates(self) -> Sequence[tuple[Any, Any]]:
        """Pairs of server settings (`.name`, `.register`) and candidate (its `str` is the label), in order."""

    def health(self, candidate: Any) -> Any:
        """An object whose `.state` is unknown, up, down or frozen."""

    def working(self, now: float) -> Any | None:
        """The candidate that gets new requests now."""

    def redundancy_ready(self) -> bool:
        """True while at least two candidates are up."""


class Registrar(Protocol):
    """What we read of the registrar."""

    def count(self, group: str) -> int:
        """Contacts known in this group."""

    def registration_counts(self) -> Mapping[tuple[str, str, str], int]:
        """How many contacts are in each (group, server, state)."""

    def quarantined(self, now: float) -> Mapping[str, int]:
        """Phones that loop and are left alone, by group."""

    @property
    def refused_here(self) -> Mapping[tuple[str, str], int]:
        """REGISTERs that were refused without asking a server, by group and reason."""


class Traffic(Protocol):
    """The plain integers that the message path keeps."""

    requests: Mapping[tuple[str, str], int]
    """(method, side): requests received."""
    responses: Mapping[tuple[str, str, str], int]
    """(method, class, side), class 1xx to 6xx: responses received."""

    @property
    def retransmissions(self) -> Mapping[tuple[str, str], int]:
        """(side, method): messages that we sent again."""

    def transactions(self) -> Mapping[tuple[str, str], int]:
        """(side, kind): transactions alive now."""


@cython.cclass
class Row:
    """Durations counted in buckets, for one set of label values."""

    counts: list
    sum: cython.double
    _buckets: tuple

    def __init__(self, buckets: tuple[float, ...]) -> None:
        self.counts = [0] * (len(buckets) + 1)
        self.sum = 0.0
        self._buckets = buckets

    @cython.cfunc
    def observe(self, seconds: cython.double):
        # One by one: nearly all durations are in the first buckets.
        place: cython.Py_ssize_t = 0
        bound: cython.double
        for bound in self._buckets:
            if seconds <= bound:
                break
            place += 1
        self.counts[place] += 1
        self.sum += seconds


@cython.cclass
class Histogram:
    """A row of plain numbers for each set of label values."""

    _buckets: tuple
    _rows: dict

    def __init__(self, buckets: Sequence[float]) -> None:
        self._buckets = tuple(buckets)
        self._rows: dict[Labels, Row] = {}

    @cython.cfunc
    def row(self, labels: tuple) -> Row:
        """Where to count durations with these labels; those beyond `MOST_SERIES` share one row."""
        row: Row = self._rows.get(labels)
        if row is None and len(self._rows) >= MOST_SERIES:
            labels = (OTHER,) * len(labels)
            row = self._rows.get(labels)
        if row is None:
            row = self._rows[labels] = Row(self._buckets)
        return row

    def touch(self, labels: Labels) -> None:
        """Have a row of zeros, so that the first observation shows as an increase."""
        if labels not in self._rows:
            self._rows[labels] = Row(self._buckets)

    def family(self, name: str, text: str, label_names: Sequence[str]) -> HistogramMetricFamily:
        family = HistogramMetricFamily(name, text, labels=label_names)
        row: Row
        for labels, row in self._rows.items():
            total = 0
            cumulated = []
            for bound, count in zip((*map(str, self._buckets), "+Inf"), row.counts, strict=True):
                total += count
                cumulated.append((bound, total))
            family.add_metric(labels, cumulated, row.sum)
        return family


@cython.cclass
class Attempts:
    """How many attempts ended in one way, and how long each took (a row that all ways of ending share)."""

    number: cython.longlong
    durations: Row

    def __init__(self, durations: Row) -> None:
        self.number = 0
        self.durations = durations


@cython.cclass
class Seen:
    """The strings that an attempt was reported with, and where it was counted."""

    server: str
    method: str
    outcome: str
    attempts: Attempts

    def __init__(self, server: str, method: str, outcome: str, attempts: Attempts) -> None:
        self.server = server
        self.method = method
        self.outcome = outcome
        self.attempts = attempts


@cython.cclass
class StateEntered:
    """How often contacts entered that state of registration at that server."""

    server: str
    new: str
    number: cython.longlong

    def __init__(self, server: str, new: str) -> None:
        self.server = server
        self.new = new
        self.number = 0


@cython.cclass
class EverydayCounts(Everyday):
    """What comes with every call, counted without making an event of it. Part of `Metrics`, which reads it."""

    attempts: Histogram
    attempts_ended: dict
    call_setup: Histogram
    _entered: dict
    _seen: dict
    _call_setup_of: dict

    def __init__(self) -> None:
        self.attempts = Histogram(DURATION_BUCKETS)
        self.attempts_ended: dict[Labels, Attempts] = {}
        self.call_setup = Histogram(CALL_SETUP_BUCKETS)
        self._entered: dict[str, list[StateEntered]] = {}
        self._seen: dict[str, list[Seen]] = {}
        self._call_setup_of: dict[str, Row] = {}

    @cython.ccall
    def attempt_ended(self, group: str, server: str, method: str, outcome: str, seconds: cython.double):
        attempts: Attempts = None
        seen: Seen
        known: list = self._seen.get(group)
        if known is not None:
            # Nearly always these very strings: to look at a few is less work than to make a key of them.
            for seen in known:
                if seen.method is method and seen.outcome is outcome and seen.server is server:
                    attempts = seen.attempts
                    break
        if attempts is None:
            attempts = self._attempts_of(group, server, method, outcome)
        attempts.number += 1
        attempts.durations.observe(seconds)

    def _attempts_of(self, group: str, server: str, method: str, outcome: str) -> Attempts:
        """By value, and remembered by identity where the strings are those of a fixed vocabulary."""
        attempts: Attempts = self._attempts_by((group, server, bounded_method(method), outcome))
        known = self._seen.setdefault(group, [])
        if method in METHODS and len(known) < MOST_SEEN:
            known.append(Seen(server, method, outcome, attempts))
        return attempts

    def _attempts_by(self, labels: Labels) -> Attempts:
        if labels not in self.attempts_ended and len(self.attempts_ended) >= MOST_SERIES:
            labels = (OTHER,) * len(labels)
        attempts: Attempts = self.attempts_ended.get(labels)
        if attempts is None:
            attempts = self.attempts_ended[labels] = Attempts(self.attempts.row(labels[:3]))
        return attempts

    def attempts_by_outcome(self) -> dict[Labels, int]:
        attempts: Attempts
        numbers: dict = {}
        for labels, attempts in self.attempts_ended.items():
            numbers[labels] = attempts.number
        return numbers

    @cython.ccall
    def call_set_up(self, group: str, seconds: cython.double):
        row: Row = self._call_setup_of.get(group)
        if row is None:
            row = self._call_setup_of[group] = self.call_setup.row((group,))
        row.observe(seconds)

    @cython.ccall
    def registration_changed(self, group: str, server: str, new: str):
        entered: StateEntered
        known: list = self._entered.get(group)
        if known is None:
            known = self._entered[group] = []
        for entered in known:
            if entered.new == new and entered.server == server:
                break
        else:
            entered = self._another_state(known, server, new)
        entered.number += 1

    def _another_state(self, known: list[StateEntered], server: str, new: str) -> StateEntered:
        """One more of the few that there are in a group."""
        if len(known) >= MOST_STATES:
            return known[-1]
        if len(known) == MOST_STATES - 1:
            server = new = OTHER
        known.append(StateEntered(server, new))
        return known[-1]

    def registration_changes(self) -> dict[Labels, int]:
        entered: StateEntered
        numbers: dict = {}
        for group, known in self._entered.items():
            for entered in known:
                numbers[group, entered.server, entered.new] = entered.number
        return numbers


@cython.cfunc
def count_one(counts: dict, labels: tuple):
    """Those beyond `MOST_SERIES` are counted together."""
    if labels not in counts and len(counts) >= MOST_SERIES:
        labels = (OTHER,) * len(labels)
    counts[labels] = counts.get(labels, 0) + 1


class Metrics:
    """Counts what is reported to it and describes what it watches: `registry` is ready to be served."""

    def __init__(
        self, registry: CollectorRegistry | None = None, *, appliance: str = "", version: str = ""
    ) -> None:
        self.registry = registry if registry is not None else CollectorRegistry()
        self._appliance = appliance
        self._version = version

        self._groups: Iterable[Group] = ()
        self._registrar: Registrar | None = None
        self._traffic: Traffic | None = None
        self._refreshes_answered: Callable[[], Mapping[str, int]] = dict
        self._survival_active: Callable[[str], bool] = lambda group: False
        self._network_state: Callable[[], str] = lambda: "up"
        self._store_up_to_date: Callable[[], bool] = lambda: True
        self._seconds: Callable[[], float] = lambda: 0.0

        everyday: EverydayCounts = EverydayCounts()
        self.everyday = everyday
        """Counts what comes with every call; for `Reports`."""
        self._counts: dict[str, dict[Labels, int]] = {name: {} for name in _COUNTERS}
        self._probes = Histogram(PROBE_BUCKETS)

        self.registry.register(self)  # type: ignore[arg-type]
        ProcessCollector(registry=self.registry)  # CPU, memory, open files, start time of the appliance

    def watch(
        self,
        *,
        seconds: Callable[[], float] | None = None,
        groups: Iterable[Group] | None = None,
        registrar: Registrar | None = None,
        traffic: Traffic | None = None,
        refreshes_answered: Callable[[], Mapping[str, int]] | None = None,
        survival_active: Callable[[str], bool] | None = None,
        network_state: Callable[[], str] | None = None,
        store_up_to_date: Callable[[], bool] | None = None,
    ) -> None:
        """Hand in what has a state of its own; each may come later than the others, or anew after a reload.

        `groups` is walked at each scrape, so a live view of the owner's collection stays true by itself.
        `refreshes_answered` gives a number for each group.
        """
        if seconds is not None:
            self._seconds = seconds
        if groups is not None:
            self._groups = groups
        if registrar is not None:
            self._registrar = registrar
        if traffic is not None:
            self._traffic = traffic
        if refreshes_answered is not None:
            self._refreshes_answered = refreshes_answered
        if survival_active is not None:
            self._survival_active = survival_active
        if network_state is not None:
            self._network_state = network_state
        if store_up_to_date is not None:
            self._store_up_to_date = store_up_to_date

    # Facts come in.

    def __call__(self, event: object) -> None:
        """Count one fact. Facts that nobody counts are welcome."""
        count = _COUNT_FACT.get(type(event))
        if count is not None:
            count(self, event)

    def _add(self, name: str, *labels: str) -> None:
        count_one(self._counts[name], labels)

    def _count_attempt(self, event: events.AttemptEnded) -> None:
        self.everyday.attempt_ended(event.group, event.server, event.method, event.outcome, event.duration)

    def _count_probe(self, event: events.ProbeEnded) -> None:
        self._add("sbc_probes", event.group, event.server, event.outcome)
        probes: Histogram = self._probes
        probes.row((event.group, event.server)).observe(event.duration)

    def _count_state(self, event: events.ServerStateChanged) -> None:
        self._add("sbc_server_state_changes", event.group, event.server, event.new)

    def _count_failover(self, event: events.FailedOver) -> None:
        self._add("sbc_failovers", event.group, bounded_method(event.method), event.cause)

    def _count_failback(self, event: events.FailedBack) -> None:
        self._add("sbc_failbacks", event.group, event.cause)

    def _count_flap(self, event: events.ServerFlapped) -> None:
        self._add("sbc_flaps", event.group, event.server)

    def _count_network(self, event: events.NetworkStateChanged) -> None:
        self._add("sbc_network_state_changes", event.new)

    def _count_call(self, event: events.CallSetUp) -> None:
        self.everyday.call_set_up(event.group, event.seconds)

    def _count_registration(self, event: events.RegistrationChanged) -> None:
        self.everyday.registration_changed(event.group, event.server, event.new)

    def _count_late(self, event: events.LateResponse) -> None:
        self._add("sbc_late_responses", bounded_method(event.method), event.action)

    def _count_malformed(self, event: events.MalformedReceived) -> None:
        self._add("sbc_malformed_messages", event.transport, event.reason)

    def _count_dns(self, event: events.DnsLookup) -> None:
        self._add("sbc_dns_lookups", event.rrtype, event.result)

    def _count_alarm(self, event: events.Alarm) -> None:
        self._add("sbc_alarms", event.subject)

    # Prometheus asks.

    def collect(self) -> Iterator[Metric]:
        """All families, built now from plain integers and from the live objects."""
        groups = list(self._groups)
        everyday: EverydayCounts = self.everyday
        self._have_zeros(groups)
        yield from self._describe_appliance()
        yield from self._describe_groups(groups)
        yield from self._describe_registrations(groups)
        yield from self._describe_traffic()
        self._counts["sbc_registration_changes"] = everyday.registration_changes()
        for name, (text, label_names) in _COUNTERS.items():
            yield _counter(name, text, label_names, self._counts[name])
        yield _counter(
            "sbc_attempts",
            "Candidates tried for requests.",
            ("group", "server", "method", "outcome"),
            everyday.attempts_by_outcome(),
        )
        yield everyday.attempts.family(
            "sbc_attempt_duration_seconds",
            "How long one candidate was tried for one request, until it answered or was given up.",
            ("group", "server", "method"),
        )
        yield everyday.call_setup.family(
            "sbc_call_setup_seconds",
            "From an INVITE coming in to the first 18x or 2xx going out: what the caller waits in silence.",
            ("group",),
        )
        yield self._probes.family(
            "sbc_probe_duration_seconds", "How long our probes waited for an answer.", ("group", "server")
        )

    def describe(self) -> Iterator[Metric]:
        """Nothing: families are known at scrape time only (prometheus_client asks at registration)."""
        return iter(())

    def _have_zeros(self, groups: Sequence[Group]) -> None:
        """Start the series that alerts depend on at 0.

        A counter that appears with the value 1 has not increased, says Prometheus; so the first failover of all, the
        one that matters most, would raise no alert.
        """
        everyday: EverydayCounts = self.everyday
        failovers, failbacks = self._counts["sbc_failovers"], self._counts["sbc_failbacks"]
        for group in groups:
            for method in FAILOVER_METHODS:
                for cause in FAILOVER_CAUSES:
                    failovers.setdefault((group.name, method, cause), 0)
            for cause in FAILBACK_CAUSES:
                failbacks.setdefault((group.name, cause), 0)
            everyday.call_setup.touch((group.name,))
            for server in {settings.name for settings, _ in group.candidates()}:
                for state in SERVER_STATES:
                    self._counts["sbc_server_state_changes"].setdefault((group.name, server, state), 0)
                self._counts["sbc_flaps"].setdefault((group.name, server), 0)
                self._probes.touch((group.name, server))
        for action in LATE_ACTIONS:
            self._counts["sbc_late_responses"].setdefault(("INVITE", action), 0)
        self._counts["sbc_malformed_messages"].setdefault(("udp", "message"), 0)
        self._counts["sbc_alarms"].setdefault(("store",), 0)
        for network_state in NETWORK_STATES:
            self._counts["sbc_network_state_changes"].setdefault((network_state,), 0)
        for result in DNS_RESULTS:
            self._counts["sbc_dns_lookups"].setdefault(("A", result), 0)

    def _describe_appliance(self) -> Iterator[Metric]:
        family = GaugeMetricFamily("sbc_build_info", "Which program runs here.", labels=("version", "appliance"))
        family.add_metric((self._version, self._appliance), 1)
        yield family
        network = GaugeMetricFamily(
            "sbc_network_state", "1 for what the network between us and the servers is in.", labels=("state",)
        )
        for each in NETWORK_STATES:
            network.add_metric((each,), float(self._network_state() == each))
        yield network
        store = GaugeMetricFamily(
            "sbc_store_up_to_date", "1 while all that has to survive a restart is on disk, 0 while it is in memory only."
        )
        store.add_metric((), float(self._store_up_to_date()))
        yield store

    def _describe_groups(self, groups: Sequence[Group]) -> Iterator[Metric]:
        of_candidate = ("group", "server", "candidate")
        up = GaugeMetricFamily("sbc_server_up", "1 while this candidate answers.", labels=of_candidate)
        state = GaugeMetricFamily(
            "sbc_server_state", "1 for the state that the candidate is in.", labels=(*of_candidate, "state")
        )
        working = GaugeMetricFamily(
            "sbc_working_server", "1 for the candidate that gets new requests now.", labels=of_candidate
        )
        ready = GaugeMetricFamily(
            "sbc_redundancy_ready", "1 while at least two candidates are up.", labels=("group",)
        )
        survival = GaugeMetricFamily(
            "sbc_survival_active", "1 while the site telephones on its own.", labels=("group",)
        )
        now = self._seconds()
        for group in groups:
            in_use = group.working(now)
            for settings, candidate in group.candidates():
                labels = (group.name, settings.name, str(candidate))
                current = _word(group.health(candidate).state)
                up.add_metric(labels, float(current == "up"))
                working.add_metric(labels, float(candidate == in_use))
                for each in SERVER_STATES:
                    state.add_metric((*labels, each), float(current == each))
            ready.add_metric((group.name,), float(group.redundancy_ready()))
            survival.add_metric((group.name,), float(self._survival_active(group.name)))
        yield from (up, state, working, ready, survival)

    def _describe_registrations(self, groups: Sequence[Group]) -> Iterator[Metric]:
        bindings = GaugeMetricFamily("sbc_bindings", "Contacts of phones that we know.", labels=("group",))
        registrations = GaugeMetricFamily(
            "sbc_registrations",
            "Contacts in each state of registration at each server.",
            labels=("group", "server", "state"),
        )
        quarantined = GaugeMetricFamily(
            "sbc_quarantined_phones",
            "Phones that sent REGISTERs in a loop and are answered here for a while, so that no server hears of them.",
            labels=("group",),
        )
        refused: dict[Labels, int] = {(group.name, reason): 0 for group in groups for reason in REFUSED_HERE}
        if self._registrar is not None:
            alone = self._registrar.quarantined(self._seconds())
            refused |= self._registrar.refused_here
            for group in groups:
                quarantined.add_metric((group.name,), alone.get(group.name, 0))
                bindings.add_metric((group.name,), self._registrar.count(group.name))
            counts = self._registrar.registration_counts()
            # Zeros too: the last phone that leaves must show as 0, and not as a series that ended.
            zeros = {
                (group.name, settings.name, state): 0
                for group in groups
                for settings, _ in group.candidates()
                if settings.register
                for state in REGISTRATION_STATES
            }
            for labels, number in {**zeros, **counts}.items():
                registrations.add_metric(labels, number)
        yield from (bindings, registrations, quarantined)
        yield _counter(
            "sbc_registers_refused_here",
            "REGISTERs that were refused here, without asking a server: the phone loops, has shown too many wrong passwords, or"
            " has to wait for its place at servers that are coming back.",
            ("group", "reason"),
            refused,
        )
        answered = {(group.name,): 0 for group in groups}
        answered |= {(group,): number for group, number in self._refreshes_answered().items()}
        yield _counter(
            "sbc_refreshes_answered",
            "Refreshes of phones that were answered here, because they changed nothing and no server had to hear of them.",
            ("group",),
            answered,
        )

    def _describe_traffic(self) -> Iterator[Metric]:
        traffic = self._traffic
        if traffic is None:
            return
        yield _counter(
            "sbc_requests",
            "Requests received.",
            ("method", "side"),
            _merged((bounded_method(method), side, count) for (method, side), count in traffic.requests.items()),
        )
        yield _counter(
            "sbc_responses",
            "Responses received.",
            ("method", "class", "side"),
            _merged((bounded_method(m), status, side, count) for (m, status, side), count in traffic.responses.items()),
        )
        yield _counter(
            "sbc_retransmissions",
            "Messages sent again because no answer came in time.",
            ("side", "method"),
            {("phones", "INVITE"): 0, ("servers", "INVITE"): 0}
            | _merged((side, bounded_method(m), count) for (side, m), count in traffic.retransmissions.items()),
        )
        alive = GaugeMetricFamily("sbc_transactions", "Transactions alive now.", labels=("side", "kind"))
        for labels, number in traffic.transactions().items():
            alive.add_metric(labels, number)
        yield alive


def bounded_method(method: str) -> str:
    """The method as a label: a sender may invent methods, our labels may not."""
    return method if method in METHODS or method == ALL_METHODS else OTHER


def _word(state: Any) -> str:
    """The state as the word of the glossary, whether it is kept as a string or as an enum."""
    return str(getattr(state, "value", state))


def _merged(rows: Iterable[tuple[Any, ...]]) -> Counter[Labels]:
    """Add up rows (label, ..., count) whose labels became the same."""
    sums: Counter[Labels] = Counter()
    for *labels, count in rows:
        sums[tuple(labels)] += count
    return sums


def _counter(name: str, text: str, label_names: Sequence[str], counts: Mapping[Labels, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=label_names)
    for labels, number in counts.items():
        family.add_metric(labels, number)
    return family


# Counters fed by facts: name without its `_total`, what it says, its labels.
_COUNTERS: dict[str, tuple[str, Labels]] = {
    "sbc_failovers": (
        "Times that a lower candidate was used because a higher one failed.",
        ("group", "method", "cause"),
    ),
    "sbc_failbacks": ("Times that new requests returned to a better candidate.", ("group", "cause")),
    "sbc_flaps": ("Times that a server failed within 5 minutes after requests had returned to it.", ("group", "server")),
    "sbc_network_state_changes": ("Times that the network to the servers entered this state.", ("state",)),
    "sbc_probes": ("Probes of ours that ended.", ("group", "server", "outcome")),
    "sbc_server_state_changes": ("Times that a server entered this state.", ("group", "server", "state")),
    "sbc_registration_changes": (
        "Times that a contact's registration at a server entered this state.",
        ("group", "server", "state"),
    ),
    "sbc_late_responses": ("Answers from branches that had been given up.", ("method", "action")),
    "sbc_malformed_messages": ("Messages refused because they are not acceptable SIP.", ("transport", "reason")),
    "sbc_dns_lookups": ("DNS questions answered, from the network or from the cache.", ("rrtype", "result")),
    "sbc_alarms": ("Things reported that an administrator must mend.", ("subject",)),
}

_COUNT_FACT: dict[type, Callable[[Metrics, Any], None]] = {
    events.AttemptEnded: Metrics._count_attempt,
    events.ProbeEnded: Metrics._count_probe,
    events.ServerStateChanged: Metrics._count_state,
    events.FailedOver: Metrics._count_failover,
    events.FailedBack: Metrics._count_failback,
    events.ServerFlapped: Metrics._count_flap,
    events.NetworkStateChanged: Metrics._count_network,
    events.CallSetUp: Metrics._count_call,
    events.RegistrationChanged: Metrics._count_registration,
    events.LateResponse: Metrics._count_late,
    events.MalformedReceived: Metrics._count_malformed,
    events.DnsLookup: Metrics._count_dns,
    events.Alarm: Metrics._count_alarm,
}
