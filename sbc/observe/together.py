"""What several workers say of themselves, as one: samples added up, status pages merged.

Samples travel as plain lists (`as_lists`), one for each family: name, type, text, samples.

How a family is added up. Counters and histograms: the sum, and what a worker had counted goes on counting after its death,
or Prometheus would see a counter fall and take its next rise for news. Gauges that count things: the sum. Gauges that are a
verdict about a server or a group: one worker's, because all have the same verdict. Of the process: CPU time, memory and
open files are sums over all processes (memory that they share counts in each), the limit of open files is the lowest, and
the start is that of the oldest, the supervisor. What has to be on disk is there when that is so for each worker.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

Labels = tuple[tuple[str, str], ...]
Key = tuple[str, Labels]

_ADDED = frozenset(
    (
        "sbc_bindings", "sbc_registrations", "sbc_quarantined_phones", "sbc_transactions",
        "process_virtual_memory_bytes", "process_resident_memory_bytes", "process_open_fds",
    )
)  # fmt: skip
_LOWEST = frozenset(("process_max_fds", "process_start_time_seconds", "sbc_store_up_to_date"))
_GROWING = frozenset(("counter", "histogram"))

EVENTS_SHOWN = 50


def as_lists(families: Iterable[Metric]) -> list[list[Any]]:
    """For a message to another process."""
    return [
        [family.name, family.type, family.documentation, [[s.name, s.labels, s.value] for s in family.samples]]
        for family in families
    ]


class Totals:
    """The samples of all workers, one set for each that has told any."""

    def __init__(self) -> None:
        self._last: dict[int, list[list[Any]]] = {}
        self._of_the_dead: dict[str, _Family] = {}

    def told(self, worker: int, families: list[list[Any]]) -> None:
        """A worker's samples of now."""
        self._last[worker] = families

    def gone(self, worker: int) -> None:
        """It has died; what it has counted by its last answer is kept."""
        for name, kind, text, samples in self._last.pop(worker, ()):
            if kind in _GROWING:
                self._of_the_dead.setdefault(name, _Family(name, kind, text)).add(samples)

    def families(self, own: Iterable[Metric], spokesman: int = 0) -> Iterator[Metric]:
        """All together with the supervisor's own. `spokesman` is the worker whose verdicts are shown."""
        order = sorted(self._last, key=lambda worker: worker != spokesman)
        sets = [self._last[worker] for worker in order] + [as_lists(own)]
        merged = {name: family.copy() for name, family in self._of_the_dead.items()}
        for families in sets:
            for name, kind, text, samples in families:
                family = merged.setdefault(name, _Family(name, kind, text))
                family.add(samples)
        for family in merged.values():
            yield family.metric()


class _Family:
    """Samples of one family from several processes."""

    def __init__(self, name: str, kind: str, text: str) -> None:
        self._name, self._kind, self._text = name, kind, text
        self._values: dict[Key, float] = {}

    def add(self, samples: Iterable[tuple[str, Mapping[str, str], float]]) -> None:
        values = self._values
        first = not values
        for name, labels, value in samples:
            key = (name, _key(labels))
            if self._kind in _GROWING or self._name in _ADDED:
                values[key] = values.get(key, 0.0) + value
            elif self._name in _LOWEST:
                values[key] = min(values.get(key, value), value)
            elif first:
                values[key] = value

    def copy(self) -> _Family:
        copy = _Family(self._name, self._kind, self._text)
        copy._values = dict(self._values)
        return copy

    def metric(self) -> Metric:
        metric = Metric(self._name, self._text, self._kind)
        for (name, labels), value in self._values.items():
            metric.add_sample(name, dict(labels), value)
        return metric


class HandedOver:
    """A worker's collector of what it has handed to others: a plain dictionary by kind."""

    def __init__(self, numbers: Mapping[str, int]) -> None:
        self._numbers = numbers

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(
            "sbc_handed_over_messages", "Messages that came to one worker and were for another.", labels=("kind",)
        )
        for kind, number in self._numbers.items():
            family.add_metric((kind,), number)
        yield family


class Worker(Protocol):
    """What we read of a worker."""

    ready: bool
    restarts: Any
    """`number`: times that it was started again."""


class WorkerSamples:
    """The supervisor's collector of what it knows about the workers."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        self._workers = workers

    def collect(self) -> Iterator[Metric]:
        ready = sum(worker.ready for worker in self._workers)
        yield GaugeMetricFamily("sbc_workers", "Workers that serve phones now.", value=ready)
        restarts = sum(worker.restarts.number for worker in self._workers)
        yield CounterMetricFamily("sbc_worker_restarts", "Times that a worker was started again.", value=restarts)


class Collected:
    """A registry for the encoders of prometheus_client: families that are there already."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterator[Metric]:
        return iter(self._families)


def merged_status(appliance: Mapping[str, Any], statuses: Mapping[int, Mapping[str, Any]], spokesman: int) -> dict[str, Any]:
    """status.json of all: the servers as the spokesman sees them, everybody's phones and events."""
    shown = statuses.get(spokesman) or next(iter(statuses.values()), {})
    registrations = [status["registrations"] for status in statuses.values() if "registrations" in status]
    # Each knows its own phones only.
    set_up = {
        group["name"] for status in statuses.values() for group in status.get("groups", ()) if group.get("redundancy_set_up")
    }
    groups = [
        {**group, "redundancy_set_up": group["name"] in set_up} if "redundancy_set_up" in group else group
        for group in shown.get("groups", [])
    ]
    merged: dict[str, Any] = {"appliance": dict(appliance), "groups": groups}
    if "network" in shown:
        merged["network"] = shown["network"]
    if registrations:
        merged["registrations"] = _added(registrations)
        if "resyncs" in merged["registrations"]:
            merged["registrations"]["resyncs"] = merged_resyncs(merged["registrations"]["resyncs"])
    merged["survival"] = shown.get("survival", {"active": False})
    merged["transactions"] = _added([status.get("transactions", {}) for status in statuses.values()])
    return merged


_PHASES = ("holding", "canary", "paced")


def merged_resyncs(resyncs: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One of each server: each worker registers its own phones again, at its share of the rate. The phase is that of the last."""
    merged: dict[tuple[str, str], dict[str, Any]] = {}
    for each in resyncs:
        key = (each["group"], each["server"])
        known = merged.get(key)
        if known is None:
            merged[key] = dict(each)
            continue
        known["phase"] = min(known["phase"], each["phase"], key=_PHASES.index)
        known["returned"] = known["returned"] or each["returned"]
        for name in ("done", "left", "left_to_phones", "removals", "rate"):
            known[name] = round(known[name] + each[name], 2)
        for name in ("seconds", "seconds_left", "starts_in"):
            known[name] = max(known[name], each[name])
    return list(merged.values())


_OF_ONE_PHONE = ("contacts", "removals", "rejected", "quarantine", "events")


def merged_explanation(explanations: Mapping[int, Mapping[str, Any]], spokesman: int) -> dict[str, Any]:
    """explain.json of all: the servers as the spokesman sees them, or who knows of the phone; everybody's contacts. Of a number
    without its domain each may know another phone."""
    found = list(explanations.values())
    several = list(dict.fromkeys(aor for each in found for aor in (each["several"] or [each["aor"]] * each["known"])))
    if len(several) > 1:
        found = [{**each, "known": False} | {name: [] for name in _OF_ONE_PHONE} for each in found]
    shown = explanations.get(spokesman) or (found[0] if found else {"aor": "", "groups": []})
    merged: dict[str, Any] = {"aor": shown["aor"], "known": any(each["known"] for each in found)}
    if len(several) == 1:
        merged["aor"] = several[0]
    merged["several"] = several if len(several) > 1 else []
    for name in _OF_ONE_PHONE[:-1]:
        merged[name] = [entry for each in found for entry in each[name]]
    groups = {group["name"]: group for each in [*found, shown] for group in each["groups"]}
    merged["groups"] = [groups[name] for name in sorted(groups)]
    merged["similar"] = [] if merged["known"] else list(dict.fromkeys(aor for each in found for aor in each["similar"]))
    merged["events"] = merged_events(*(each["events"] for each in found))
    return merged


def merged_events(*lists: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The newest first."""
    every = [event for events in lists for event in events]
    return sorted(every, key=lambda event: event["at"], reverse=True)[:EVENTS_SHOWN]


def _added(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Numbers are added, lists follow each other, tables are added in turn."""
    total: dict[str, Any] = {}
    for part in parts:
        for name, value in part.items():
            if name not in total:
                total[name] = value
            elif isinstance(value, Mapping):
                total[name] = _added([total[name], value])
            else:
                total[name] = total[name] + value
    return total


def _key(labels: Mapping[str, str]) -> Labels:
    return tuple(labels.items())
