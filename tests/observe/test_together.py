"""Several workers' numbers and pages as one."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from sbc import events
from sbc.observe.metrics import Metrics
from sbc.observe.together import Collected, Totals, as_lists, merged_events, merged_status
from tests.observe import samples


def counter(name: str, value: float, **labels: str) -> CounterMetricFamily:
    family = CounterMetricFamily(name, "text", labels=labels)
    family.add_metric(list(labels.values()), value)
    return family


def gauge(name: str, value: float, **labels: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, "text", labels=labels)
    family.add_metric(list(labels.values()), value)
    return family


def histogram(counts: list[int]) -> HistogramMetricFamily:
    family = HistogramMetricFamily("sbc_call_setup_seconds", "text", labels=("group",))
    family.add_metric(["office"], list(zip(("0.1", "1.0", "+Inf"), counts, strict=True)), float(sum(counts)))
    return family


@pytest.fixture
def totals() -> Totals:
    return Totals()


def values(totals: Totals, *own: Any, spokesman: int = 0) -> dict[str, float]:
    """Every sample as Prometheus would read it."""
    text = generate_latest(Collected(totals.families(own, spokesman))).decode()
    found = {}
    for family in parse_text(text):
        for sample in family.samples:
            found[f"{sample.name}{sorted(sample.labels.items()) if sample.labels else ''}"] = sample.value
    return found


def test_counters_are_added(totals):
    totals.told(0, as_lists([counter("sbc_requests", 3)]))
    totals.told(1, as_lists([counter("sbc_requests", 4)]))
    assert {"sbc_requests_total": 12} == values(totals, counter("sbc_requests", 5))


def test_series_are_added_by_their_labels(totals):
    totals.told(0, as_lists([counter("sbc_requests", 3, method="INVITE")]))
    totals.told(1, as_lists([counter("sbc_requests", 4, method="BYE")]))
    assert {3, 4} == set(values(totals).values())


def test_histograms_are_added(totals):
    totals.told(0, as_lists([histogram([1, 2, 3])]))
    totals.told(1, as_lists([histogram([0, 4, 5])]))
    found = values(totals)
    assert [1, 6, 8] == [value for name, value in found.items() if "_bucket" in name]
    assert 8 == found["sbc_call_setup_seconds_count[('group', 'office')]"]


def test_a_newer_answer_replaces_the_one_before(totals):
    for value in (3, 5):
        totals.told(0, as_lists([counter("sbc_requests", value)]))
    assert {"sbc_requests_total": 5} == values(totals)


def test_a_counter_never_falls(totals):
    """What a worker counted before it died goes on counting, and its successor begins at nothing."""
    totals.told(0, as_lists([counter("sbc_requests", 10)]))
    totals.told(1, as_lists([counter("sbc_requests", 7), histogram([1, 1, 1])]))
    totals.gone(1)
    assert 17 == values(totals)["sbc_requests_total"]
    totals.told(1, as_lists([counter("sbc_requests", 2)]))
    assert 19 == values(totals)["sbc_requests_total"]
    totals.gone(1)
    totals.told(1, as_lists([counter("sbc_requests", 1), histogram([1, 1, 1])]))
    found = values(totals)
    assert 20 == found["sbc_requests_total"]
    assert 2 == found["sbc_call_setup_seconds_count[('group', 'office')]"]


@pytest.mark.parametrize("name", ["sbc_bindings", "sbc_registrations", "sbc_quarantined_phones", "sbc_transactions"])
def test_gauges_that_count_are_added_and_die_with_their_worker(totals, name):
    for worker, value in enumerate((10, 7)):
        totals.told(worker, as_lists([gauge(name, value, group="office")]))
    assert [17] == list(values(totals).values())
    totals.gone(1)
    assert [10] == list(values(totals).values())


def test_what_must_be_on_disk_is_there_when_each_worker_says_so(totals):
    for worker, value in enumerate((1, 0, 1)):
        totals.told(worker, as_lists([gauge("sbc_store_up_to_date", value)]))
    assert [0] == list(values(totals).values())


def test_verdicts_are_one_workers(totals):
    """A server is not up twice. Who speaks for all is said by the supervisor."""
    totals.told(0, as_lists([gauge("sbc_server_up", 0, server="primary")]))
    totals.told(1, as_lists([gauge("sbc_server_up", 1, server="primary")]))
    assert [0] == list(values(totals, spokesman=0).values())
    assert [1] == list(values(totals, spokesman=1).values())


def test_of_the_process_what_makes_sense(totals):
    """CPU and memory of all together, the start of the oldest, the limit of the narrowest."""
    for worker in range(2):
        totals.told(
            worker,
            as_lists(
                [
                    counter("process_cpu_seconds", 2), gauge("process_resident_memory_bytes", 100),
                    gauge("process_start_time_seconds", 50 + worker), gauge("process_max_fds", 1000 - worker),
                ]
            ),
        )  # fmt: skip
    own = [gauge("process_start_time_seconds", 40), gauge("process_resident_memory_bytes", 1)]
    assert {
        "process_cpu_seconds_total": 4,
        "process_resident_memory_bytes": 201,
        "process_start_time_seconds": 40,
        "process_max_fds": 999,
    } == values(totals, *own)


def test_real_metrics_of_two_are_good_openmetrics(totals):
    """The strict parser accepts the sum, and it is the sum."""
    for worker in range(2):
        metrics = Metrics(appliance="branch-42", version="1.2.3")
        metrics(events.CallSetUp("office", 0.2))
        metrics(events.FailedOver("office", "INVITE", "a", "b", "timeout"))
        totals.told(worker, as_lists(metrics.registry.collect()))
    supervisor = Metrics(appliance="branch-42", version="1.2.3")
    text = generate_openmetrics(Collected(totals.families(supervisor.registry.collect())))
    families = {family.name: family for family in parse_openmetrics(text.decode())}
    (failovers,) = [s.value for s in families["sbc_failovers"].samples if s.labels["cause"] == "timeout" and s.value]
    assert 2 == failovers
    assert [1] == [sample.value for sample in families["sbc_build_info"].samples]


APPLIANCE = {"name": "branch-42", "ready": True}


def statuses() -> dict[int, dict]:
    made = {worker: copy.deepcopy(samples.ALL_WELL) for worker in range(2)}
    made[1]["groups"][0]["working"] = "another"
    return made


def test_status_has_everybodys_phones():
    parts = statuses()
    one = parts[0]["registrations"]
    merged = merged_status(APPLIANCE, parts, 0)
    assert 2 * one["bindings"] == merged["registrations"]["bindings"]
    assert one["phones"] * 2 == merged["registrations"]["phones"]
    for server, states in one["servers"].items():
        assert {state: 2 * number for state, number in states.items()} == merged["registrations"]["servers"][server]
    assert APPLIANCE == merged["appliance"]


def test_d18_resyncs_of_all_workers_are_one():
    """Each registers its own phones, at its share of the rate; the slowest says how far it is."""
    parts = statuses()
    parts[0]["registrations"]["resyncs"] = [samples.resync("primary"), samples.resync("third", left=1)]
    parts[1]["registrations"]["resyncs"] = [samples.resync("primary", phase="canary", done=0, left=20, seconds_left=90)]
    before = copy.deepcopy(parts)
    both = samples.resync("primary", phase="canary", done=120, left=400, rate=25.0, seconds_left=90)
    assert [both, samples.resync("third", left=1)] == merged_status(APPLIANCE, parts, 0)["registrations"]["resyncs"]
    assert before == parts


def test_status_shows_servers_as_one_worker_sees_them():
    parts = statuses()
    assert "another" == merged_status(APPLIANCE, parts, 1)["groups"][0]["working"]
    assert "another" != merged_status(APPLIANCE, parts, 0)["groups"][0]["working"]
    assert "another" == merged_status(APPLIANCE, {1: parts[1]}, 0)["groups"][0]["working"]


def test_status_without_workers():
    """All are being started; the page says so instead of failing."""
    assert [] == merged_status(APPLIANCE, {}, 0)["groups"]


def test_events_newest_first():
    assert [3, 2, 1] == [event["at"] for event in merged_events([{"at": 2}], [{"at": 3}, {"at": 1}])]
    assert 50 == len(merged_events([{"at": at} for at in range(200)]))


def test_v27_a_phone_registered_by_any_worker_counts():
    parts = statuses()
    for worker, set_up in ((0, False), (1, True)):
        parts[worker]["groups"][0]["redundancy_set_up"] = set_up
    assert merged_status(APPLIANCE, parts, 0)["groups"][0]["redundancy_set_up"] is True
    parts[1]["groups"][0]["redundancy_set_up"] = False
    assert merged_status(APPLIANCE, parts, 0)["groups"][0]["redundancy_set_up"] is False


def test_the_network_is_the_spokesmans():
    parts = statuses()
    parts[1]["network"] = {"state": "link_down", "reason": ""}
    assert "link_down" == merged_status(APPLIANCE, parts, 1)["network"]["state"]
