"""What Prometheus reads, through the exposition that it reads."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from sbc import events
from sbc.observe.metrics import DURATION_BUCKETS, MOST_SERIES, Metrics


class FakeGroup:
    """A group as the collector reads it."""

    def __init__(self, name: str, states: dict[str, str], working: str | None = None) -> None:
        self.name = name
        self.states = states
        self.in_use = working
        self.ready = True

    def candidates(self) -> list[tuple[Any, str]]:
        servers = [SimpleNamespace(name=f"server{rank}", register=True) for rank in range(1, len(self.states) + 1)]
        return list(zip(servers, self.states, strict=True))

    def health(self, candidate: str) -> Any:
        return SimpleNamespace(state=self.states[candidate])

    def working(self, now: float) -> str | None:
        return self.in_use

    def redundancy_ready(self) -> bool:
        return self.ready


A, B = "192.0.2.1:5060;udp", "192.0.2.2:5060;udp"


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def group() -> FakeGroup:
    return FakeGroup("office", {A: "up", B: "down"}, working=A)


@pytest.fixture
def metrics(registry: CollectorRegistry, group: FakeGroup) -> Metrics:
    metrics = Metrics(registry, appliance="branch-42", version="1.2.3")
    metrics.watch(groups=[group])
    return metrics


def fake_traffic(transactions: Any = (), **counts: Any) -> Any:
    """The counters of the message path."""
    nothing: dict[str, Any] = {"requests": {}, "responses": {}, "retransmissions": {}}
    return SimpleNamespace(**nothing | counts, transactions=lambda: dict(transactions))


def series(registry: CollectorRegistry, prefix: str) -> list[str]:
    """The sample names with labels that the exposition holds, without values."""
    text = generate_latest(registry).decode()
    return [line.rsplit(" ", 1)[0] for line in text.splitlines() if line.startswith(prefix)]


def test_build_info_names_version_and_appliance(registry: CollectorRegistry, metrics: Metrics) -> None:
    assert registry.get_sample_value("sbc_build_info", {"version": "1.2.3", "appliance": "branch-42"}) == 1


def test_store_that_is_not_up_to_date(registry: CollectorRegistry, metrics: Metrics) -> None:
    assert registry.get_sample_value("sbc_store_up_to_date") == 1
    metrics.watch(store_up_to_date=lambda: False)
    assert registry.get_sample_value("sbc_store_up_to_date") == 0


def test_each_candidate_has_exactly_one_state(registry: CollectorRegistry, metrics: Metrics) -> None:
    """sbc_server_state is 1 for the state it is in, and 0 for the three others."""
    labels = {"group": "office", "server": "server2", "candidate": B}
    values = {
        state: registry.get_sample_value("sbc_server_state", {**labels, "state": state})
        for state in ("unknown", "up", "down", "frozen")
    }
    assert values == {"unknown": 0, "up": 0, "down": 1, "frozen": 0}


def test_up_and_working_follow_the_live_group(
    registry: CollectorRegistry, metrics: Metrics, group: FakeGroup
) -> None:
    """Gauges are read at scrape time; no event is needed."""
    group.states[A], group.states[B], group.in_use = "down", "up", B
    labels_a = {"group": "office", "server": "server1", "candidate": A}
    labels_b = {"group": "office", "server": "server2", "candidate": B}
    assert registry.get_sample_value("sbc_server_up", labels_a) == 0
    assert registry.get_sample_value("sbc_server_up", labels_b) == 1
    assert registry.get_sample_value("sbc_working_server", labels_a) == 0
    assert registry.get_sample_value("sbc_working_server", labels_b) == 1


def test_a_candidate_that_left_the_list_is_gone(
    registry: CollectorRegistry, metrics: Metrics, group: FakeGroup
) -> None:
    """No series of an address that DNS no longer gives, in any family."""
    metrics(events.ServerStateChanged("office", "server2", B, "up", "down", "no answer"))
    assert any(B in line for line in series(registry, "sbc_"))
    del group.states[B]
    assert not any(B in line for line in series(registry, "sbc_"))


def test_redundancy_ready(registry: CollectorRegistry, metrics: Metrics, group: FakeGroup) -> None:
    assert registry.get_sample_value("sbc_redundancy_ready", {"group": "office"}) == 1
    group.ready = False
    assert registry.get_sample_value("sbc_redundancy_ready", {"group": "office"}) == 0


@pytest.mark.parametrize(
    ("event", "name", "labels"),
    [
        (
            events.FailedOver("office", "INVITE", A, B, "timeout"),
            "sbc_failovers_total",
            {"group": "office", "method": "INVITE", "cause": "timeout"},
        ),
        (
            events.FailedBack("office", B, A, "probe"),
            "sbc_failbacks_total",
            {"group": "office", "cause": "probe"},
        ),
        (
            events.AttemptEnded("office", "server1", A, "INVITE", "timeout", 7.5),
            "sbc_attempts_total",
            {"group": "office", "server": "server1", "method": "INVITE", "outcome": "timeout"},
        ),
        (
            events.AttemptEnded("office", "server1", A, "INVITE", "timeout", 7.5),
            "sbc_attempt_duration_seconds_count",
            {"group": "office", "server": "server1", "method": "INVITE"},
        ),
        (events.CallSetUp("office", 0.2), "sbc_call_setup_seconds_count", {"group": "office"}),
        (
            events.ProbeEnded("office", "server1", A, "status_2xx", 0.01),
            "sbc_probe_duration_seconds_count",
            {"group": "office", "server": "server1"},
        ),
        (
            events.LateResponse("INVITE", "acked_and_byed"),
            "sbc_late_responses_total",
            {"method": "INVITE", "action": "acked_and_byed"},
        ),
        (
            events.MalformedReceived("udp", "header"),
            "sbc_malformed_messages_total",
            {"transport": "udp", "reason": "header"},
        ),
        (events.DnsLookup("SRV", "stale"), "sbc_dns_lookups_total", {"rrtype": "SRV", "result": "stale"}),
        (events.Alarm("store", "disk full"), "sbc_alarms_total", {"subject": "store"}),
        (
            events.ServerStateChanged("office", "server1", A, "up", "down", "no answer"),
            "sbc_server_state_changes_total",
            {"group": "office", "server": "server1", "state": "down"},
        ),
        (
            events.RegistrationChanged("office", "server1", "sip:2001@x", "registering", "registered", ""),
            "sbc_registration_changes_total",
            {"group": "office", "server": "server1", "state": "registered"},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_one_fact_counts_once(
    registry: CollectorRegistry, metrics: Metrics, event: object, name: str, labels: dict[str, str]
) -> None:
    """Each fact moves its family from nothing or 0 to 1."""
    assert not registry.get_sample_value(name, labels)
    metrics(event)
    assert registry.get_sample_value(name, labels) == 1


def test_failover_counters_exist_before_the_first_failover(registry: CollectorRegistry, metrics: Metrics) -> None:
    """A counter that appears with the value 1 is no increase for Prometheus; the alert would miss the first one."""
    for method in ("*", "INVITE"):
        labels = {"group": "office", "method": method, "cause": "timeout"}
        assert registry.get_sample_value("sbc_failovers_total", labels) == 0
        metrics(events.FailedOver("office", method, A, B, "timeout"))
        assert registry.get_sample_value("sbc_failovers_total", labels) == 1


def test_histogram_buckets_are_cumulative(registry: CollectorRegistry, metrics: Metrics) -> None:
    """7.5 s, the give-up time of three retransmissions, is below 8 and above 4; the sum is exact."""
    for duration in (0.003, 7.5, 40.0):
        metrics(events.AttemptEnded("office", "server1", A, "INVITE", "timeout", duration))
    labels = {"group": "office", "server": "server1", "method": "INVITE"}
    found = {
        bound: registry.get_sample_value("sbc_attempt_duration_seconds_bucket", {**labels, "le": str(bound)})
        for bound in (DURATION_BUCKETS[0], 4.0, 8.0, 33.0, "+Inf")
    }
    assert found == {0.005: 1, 4.0: 1, 8.0: 2, 33.0: 2, "+Inf": 3}
    assert registry.get_sample_value("sbc_attempt_duration_seconds_sum", labels) == pytest.approx(47.503)


def test_a_value_on_the_bound_belongs_to_the_bucket(registry: CollectorRegistry, metrics: Metrics) -> None:
    """`le` means less or equal."""
    metrics(events.CallSetUp("office", 4.0))
    assert registry.get_sample_value("sbc_call_setup_seconds_bucket", {"group": "office", "le": "4.0"}) == 1


def test_bindings_and_registrations_come_from_the_registrar(registry: CollectorRegistry, metrics: Metrics) -> None:
    """Per server and state, with zeros for what nobody is in."""
    metrics.watch(
        registrar=SimpleNamespace(
            count=lambda group: 7,
            registration_counts=lambda: {("office", "server1", "registered"): 6},
            quarantined=lambda now: {},
            refused_here={},
        )
    )
    labels = {"group": "office", "server": "server1"}
    assert registry.get_sample_value("sbc_bindings", {"group": "office"}) == 7
    assert registry.get_sample_value("sbc_registrations", {**labels, "state": "registered"}) == 6
    assert registry.get_sample_value("sbc_registrations", {**labels, "state": "failed"}) == 0


def test_phones_that_are_refused_here(registry, metrics):
    """V16, D8: those in quarantine, and what was refused without asking a server; both from 0, by group."""
    alone: dict[str, int] = {}
    refused: dict[tuple[str, str], int] = {}
    metrics.watch(
        registrar=SimpleNamespace(
            count=lambda group: 0, registration_counts=dict, quarantined=lambda now: alone, refused_here=refused
        )
    )
    loop, wrong = ({"group": "office", "reason": reason} for reason in ("loop", "wrong_password"))
    assert registry.get_sample_value("sbc_quarantined_phones", {"group": "office"}) == 0
    assert registry.get_sample_value("sbc_registers_refused_here_total", loop) == 0
    assert registry.get_sample_value("sbc_registers_refused_here_total", wrong) == 0
    alone["office"], refused["office", "loop"], refused["office", "wrong_password"] = 2, 40, 7
    assert registry.get_sample_value("sbc_quarantined_phones", {"group": "office"}) == 2
    assert registry.get_sample_value("sbc_registers_refused_here_total", loop) == 40
    assert registry.get_sample_value("sbc_registers_refused_here_total", wrong) == 7


def test_refreshes_answered_here_are_counted_by_group(metrics, registry):
    """From 0, so that the first one shows as an increase."""
    assert registry.get_sample_value("sbc_refreshes_answered_total", {"group": "office"}) == 0
    metrics.watch(refreshes_answered=lambda: {"office": 12, "kiosk": 3})
    assert registry.get_sample_value("sbc_refreshes_answered_total", {"group": "office"}) == 12
    assert registry.get_sample_value("sbc_refreshes_answered_total", {"group": "kiosk"}) == 3


def test_traffic_is_read_from_plain_integers(registry: CollectorRegistry, metrics: Metrics) -> None:
    """The message path touches no prometheus_client object."""
    metrics.watch(
        traffic=fake_traffic(
            requests={("INVITE", "phones"): 3},
            responses={("INVITE", "2xx", "servers"): 2},
            retransmissions={("servers", "INVITE"): 4},
            transactions={("client", "invite"): 5},
        )
    )
    assert registry.get_sample_value("sbc_requests_total", {"method": "INVITE", "side": "phones"}) == 3
    response = {"method": "INVITE", "class": "2xx", "side": "servers"}
    assert registry.get_sample_value("sbc_responses_total", response) == 2
    assert registry.get_sample_value("sbc_retransmissions_total", {"side": "servers", "method": "INVITE"}) == 4
    assert registry.get_sample_value("sbc_transactions", {"side": "client", "kind": "invite"}) == 5


def test_survival(registry: CollectorRegistry, metrics: Metrics) -> None:
    assert registry.get_sample_value("sbc_survival_active", {"group": "office"}) == 0
    metrics.watch(survival_active=lambda group: group == "office")
    assert registry.get_sample_value("sbc_survival_active", {"group": "office"}) == 1


def test_no_label_grows_with_phones_or_calls(registry: CollectorRegistry, metrics: Metrics) -> None:
    """A thousand phones, each with a method of its own, make as many series as three do."""

    def traffic(numbers: range) -> None:
        for number in numbers:
            metrics(
                events.RegistrationChanged("office", "server1", f"sip:{number}@x", "registering", "registered", "")
            )
            metrics(events.AttemptEnded("office", "server1", A, f"METHOD{number}", "status_2xx", 0.1))
            metrics(events.LateResponse(f"METHOD{number}", "dropped"))
            metrics(events.FailedOver("office", f"METHOD{number}", A, B, "timeout"))
        metrics.watch(
            traffic=fake_traffic(
                requests={(f"METHOD{number}", "phones"): 1 for number in numbers},
                responses={(f"METHOD{number}", "2xx", "phones"): 1 for number in numbers},
                retransmissions={("phones", f"METHOD{number}"): 1 for number in numbers},
            )
        )

    traffic(range(3))
    few = series(registry, "sbc_")
    traffic(range(3, 1003))
    assert series(registry, "sbc_") == few
    assert registry.get_sample_value("sbc_requests_total", {"method": "other", "side": "phones"}) == 1000


def test_a_vocabulary_that_is_not_fixed_is_cut(registry: CollectorRegistry, metrics: Metrics) -> None:
    """Should a reason ever come from the network, memory stays bounded, and nothing goes uncounted."""
    for number in range(MOST_SERIES + 100):
        metrics(events.MalformedReceived("udp", f"reason{number}"))
    assert len(series(registry, "sbc_malformed_messages_total")) <= MOST_SERIES + 2
    other = {"transport": "other", "reason": "other"}
    assert registry.get_sample_value("sbc_malformed_messages_total", other) >= 100


def test_unknown_facts_are_welcome(metrics: Metrics) -> None:
    """A Report must not raise, whatever it is told."""
    metrics(object())
