"""The dashboard and the alert rules against a real Prometheus that scrapes a real appliance: no panel without data.

One story for all tests of this file: phones register, call, the primary dies, calls go on, the primary comes back, a
stranger sends what is not SIP. Then Prometheus is asked every question of the dashboard.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.peers import Peers, Program, Sbc, free_port, wait_until

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus/alerts.yml"
DASHBOARD = json.loads((DEPLOY / "grafana/sbc.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]

THE_WHOLE_STORY = "5m"
"""A range that covers all that these tests do, in place of Grafana's $__rate_interval."""


class Prometheus(Program):
    """Prometheus with the configuration that we ship; only the address of the appliance and the rhythm are ours."""

    def __init__(self, folder: Path, target: str) -> None:
        assert shutil.which("prometheus"), "prometheus is not installed (Debian: apt install prometheus)"
        configuration = (DEPLOY / "prometheus/prometheus.yml").read_text()
        for ours, this in (("127.0.0.1:9464", target), ("_interval: 15s", "_interval: 1s"), ("alerts.yml", str(RULES))):
            assert ours in configuration
            configuration = configuration.replace(ours, this)
        file = folder / "prometheus.yml"
        file.write_text(configuration)
        self._http = f"http://127.0.0.1:{free_port()}"
        super().__init__(
            "prometheus",
            [
                "prometheus",
                f"--config.file={file}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address={self._http.removeprefix('http://')}",
            ],
            folder,
        )

    def start(self) -> None:
        super().start()
        wait_until(lambda: self._answers(), "prometheus starts", 30)

    def _answers(self) -> bool:
        assert self.running, f"prometheus could not start:\n{self.text()[-3000:]}"
        try:
            return bool(self.ask("query", query="1"))
        except OSError:
            return False

    def ask(self, path: str, **parameters: str) -> Any:
        url = f"{self._http}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> list[float]:
        """The values of an instant query that are numbers; `nothing observed` (NaN) is none."""
        values = [float(each["value"][1]) for each in self.ask("query", query=expression)["result"]]
        return [value for value in values if not math.isnan(value)]

    def rules(self) -> list[dict[str, Any]]:
        return [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Prometheus, Sbc]]:
    """The story, told; Prometheus has seen all of it."""
    peers = Peers(tmp_path_factory.mktemp("dashboard"))
    try:
        prometheus, sbc = _tell_the_story(peers)
        yield prometheus, sbc
    finally:
        peers.close()


def _tell_the_story(peers: Peers) -> tuple[Prometheus, Sbc]:
    primary = peers.kamailio("primary", challenge_calls=False)
    fallback = peers.kamailio("fallback", challenge_calls=False)
    sbc = peers.sbc([primary, fallback], accounts=("alice", "bob"))
    prometheus = peers.started(Prometheus(peers.folder, http_address(sbc)))
    wait_until(lambda: prometheus.query("sbc_build_info"), "prometheus has scraped the appliance", 30)

    alice = peers.sipp_phone("alice", sbc.proxy())
    bob = peers.sipp_phone("bob", sbc.proxy())
    for phone in (alice, bob):
        phone.register()
        for server in (primary, fallback):
            wait_until(lambda server=server, phone=phone: server.contacts(phone.name), f"{phone.name} at {server.name}")
    _call(alice, bob)

    primary.kill()
    wait_until(lambda: sbc.working_server() == "fallback", "the fallback is the working server")
    _call(alice, bob)
    wait_until(lambda: prometheus.query('sbc_server_up{server="primary"} == 0'), "prometheus has seen the failure", 20)

    primary.start()
    wait_until(lambda: sbc.working_server() == "primary", "the primary is the working server again", 20)
    _call(alice, bob)
    stranger = peers.socket_phone(sbc)
    for _ in range(3):
        stranger.send(b"this is not SIP\r\n\r\n")

    scrapes = prometheus.query('count_over_time(up{job="sbc"}[10m])')[0]
    wait_until(
        lambda: prometheus.query('count_over_time(up{job="sbc"}[10m])')[0] >= scrapes + 3, "three more scrapes", 20
    )
    return prometheus, sbc


def http_address(sbc: Sbc) -> str:
    """From the line that says what it listens on."""
    ready = re.search(r"sbc ready: .*\bhttp (\S+)", sbc.text())
    assert ready, sbc.text()
    return ready[1]


def _call(caller: Any, callee: Any) -> None:
    answering = callee.take_calls()
    caller.call(callee.name)
    answering.finish()


def with_variables(expression: str) -> str:
    """What Grafana asks when everything is chosen."""
    for variable, value in (("$__rate_interval", THE_WHOLE_STORY), ("$instance", ".*"), ("$group", ".*"),
                            ("$appliance", ".*")):  # fmt: skip
        expression = expression.replace(variable, value)
    assert "$" not in expression, expression
    return expression


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_panel_has_data(scraped: tuple[Prometheus, Sbc], panel: dict[str, Any]) -> None:
    """Each query of the panel gives at least one number."""
    prometheus, _ = scraped
    for target in panel["targets"]:
        assert prometheus.query(with_variables(target["expr"])), target["expr"]


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_legend_names_labels_that_exist(scraped: tuple[Prometheus, Sbc], panel: dict[str, Any]) -> None:
    """A legend with a label that the result does not have shows as a nameless line."""
    prometheus, _ = scraped
    for target in panel["targets"]:
        [first, *_] = prometheus.ask("query", query=with_variables(target["expr"]))["result"]
        assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= set(first["metric"]), target


@pytest.mark.parametrize(
    "variable",
    [each for each in DASHBOARD["templating"]["list"] if each["type"] == "query"],
    ids=lambda variable: variable["name"],
)
def test_variable_has_values(scraped: tuple[Prometheus, Sbc], variable: dict[str, Any]) -> None:
    prometheus, _ = scraped
    query = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["definition"])
    assert query
    selector, label = query.groups()
    series = prometheus.ask("query", query=with_variables(selector))["result"]
    assert series
    assert all(each["metric"].get(label) for each in series)


def test_annotations_mark_the_failover(scraped: tuple[Prometheus, Sbc]) -> None:
    prometheus, _ = scraped
    [annotation] = DASHBOARD["annotations"]["list"]
    assert prometheus.query(with_variables(annotation["expr"]).replace("[1m]", f"[{THE_WHOLE_STORY}]"))


def test_every_rule_evaluates_on_metrics_that_exist(scraped: tuple[Prometheus, Sbc]) -> None:
    """A rule over a misspelt metric is silent for ever, and looks healthy."""
    prometheus, _ = scraped
    rules = prometheus.rules()
    assert len(rules) >= 9
    for rule in rules:
        assert (rule["health"], rule.get("lastError", "")) == ("ok", ""), rule["name"]
        metrics = set(re.findall(r"\b(?:sbc|process)_\w+|\bup\b", re.sub(r'"[^"]*"', "", rule["query"])))
        assert metrics, rule["query"]
        for metric in metrics:
            assert prometheus.query(metric), f"{rule['name']}: {metric}"


def test_the_failover_raised_its_alert(scraped: tuple[Prometheus, Sbc]) -> None:
    """It was the first failover of this appliance's life."""
    prometheus, _ = scraped
    [rule] = [rule for rule in prometheus.rules() if rule["name"] == "SbcFailover"]
    assert [alert["labels"]["group"] for alert in rule["alerts"] if alert["state"] == "firing"] == ["office"]


def test_the_numbers_tell_the_story(scraped: tuple[Prometheus, Sbc]) -> None:
    """What was done is what Prometheus has: two phones, three calls, one failover and back."""
    prometheus, _ = scraped
    assert prometheus.query("sbc_bindings") == [2]
    assert prometheus.query('sbc_registrations{server="fallback",state="registered"}') == [2]
    # Each call passes the appliance twice: from the caller to the server, and from the server to the callee.
    assert prometheus.query("sum(sbc_call_setup_seconds_count)") == [6]
    assert prometheus.query("sum(sbc_failovers_total)")[0] >= 1
    assert prometheus.query("sum(sbc_failbacks_total)") == [1]
    assert prometheus.query("sum(sbc_malformed_messages_total)") == [3]
    assert prometheus.query("count(sbc_working_server == 1)") == [1]
    assert prometheus.query('sum by (group, server, candidate) (sbc_server_state) != 1') == []


def test_no_series_is_named_after_a_phone(scraped: tuple[Prometheus, Sbc]) -> None:
    """Neither an account nor a phone's address is a label."""
    prometheus, sbc = scraped
    labels = json.dumps(prometheus.ask("series", **{"match[]": '{__name__=~"sbc_.+"}'}))
    assert "alice" not in labels
    assert "bob" not in labels


def test_a_removed_appliance_is_noticed(scraped: tuple[Prometheus, Sbc]) -> None:
    """Last, because it ends the appliance: within a scrape or two Prometheus says that it is gone."""
    prometheus, sbc = scraped
    sbc.stop()
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        [rule] = [rule for rule in prometheus.rules() if rule["name"] == "SbcApplianceAbsent"]
        if [alert["state"] for alert in rule["alerts"]] == ["pending"]:
            return
        time.sleep(0.2)
    raise AssertionError(rule)
