"""The dashboard is valid, complete and explained; tests/e2e/test_dashboard.py runs its queries."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from sbc.observe.metrics import Metrics
from tests.observe.test_metrics import A, FakeGroup

DASHBOARD = Path(__file__).parents[2] / "deploy/grafana/sbc.json"


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    return json.loads(DASHBOARD.read_text())


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def test_rows(dashboard: dict[str, Any]) -> None:
    rows = [panel["title"] for panel in dashboard["panels"] if panel["type"] == "row"]
    assert rows == ["Health", "Calls", "Registrations", "Appliance"]


def test_variables(dashboard: dict[str, Any]) -> None:
    names = [variable["name"] for variable in dashboard["templating"]["list"]]
    assert names == ["datasource", "appliance", "instance", "group"]


def test_every_panel_is_described(dashboard: dict[str, Any]) -> None:
    """Whoever is called at night reads what a panel means, not only its title."""
    assert [panel["title"] for panel in panels(dashboard) if len(panel.get("description", "")) < 20] == []


def test_titles_and_ids_are_unique(dashboard: dict[str, Any]) -> None:
    identifiers = [panel["id"] for panel in dashboard["panels"]]
    titles = [panel["title"] for panel in dashboard["panels"]]
    assert len(set(identifiers)) == len(identifiers)
    assert len(set(titles)) == len(titles)


def test_panels_do_not_overlap(dashboard: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_every_query_obeys_the_variables(dashboard: dict[str, Any]) -> None:
    """A panel that ignores the chosen appliance shows somebody else's numbers."""
    for panel in panels(dashboard):
        for target in panel["targets"]:
            for selector in re.findall(r"(?:sbc|process)_\w+(\{[^}]*\})?", target["expr"]):
                assert "$instance" in selector, f"{panel['title']}: {target['expr']}"


def test_every_metric_of_ours_is_on_the_dashboard(dashboard: dict[str, Any]) -> None:
    """What is worth measuring is worth a look."""
    metrics = Metrics(CollectorRegistry())
    metrics.watch(groups=[FakeGroup("office", {A: "up"})])
    names = {family.name for family in metrics.collect()}
    text = DASHBOARD.read_text()
    # Probes are on it by their duration.
    assert {name for name in names if name not in text} <= {"sbc_probes"}
