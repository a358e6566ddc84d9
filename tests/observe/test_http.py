"""What the web server answers, byte by byte over a transport in memory."""

from __future__ import annotations

import copy
import json
import re
from email.parser import BytesParser
from typing import Any, NamedTuple

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from sbc import events
from sbc.observe.http import GatheredSite, StatusSite, content_security_policy, health_of
from sbc.observe.metrics import Metrics
from sbc.observe.recent import RecentEvents
from tests.observe import samples


class Answer(NamedTuple):
    status: int
    headers: Any
    body: bytes


class Browser:
    """Asks a site over one connection in memory."""

    def __init__(self) -> None:
        self.status = copy.deepcopy(samples.ALL_WELL)
        self.recent = RecentEvents(lambda: samples.WALL_NOW)
        self.metrics = Metrics(appliance="branch-42", version="1.2.3")
        self.site = StatusSite(self.metrics.registry, lambda **how: self.status, self.recent)

    def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        transport = StringTransport()
        channel = self.site.buildProtocol(None)
        channel.makeConnection(transport)
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        channel.dataReceived("\r\n".join([*lines, "", ""]).encode())
        channel.connectionLost(Failure(ConnectionDone()))
        head, _, body = transport.value().partition(b"\r\n\r\n")
        status_line, _, header_lines = head.partition(b"\r\n")
        return Answer(int(status_line.split()[1]), BytesParser().parsebytes(header_lines), body)


@pytest.fixture
def browser() -> Browser:
    return Browser()


def test_metrics_are_prometheus_text(browser: Browser) -> None:
    answer = browser.get("/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert "sbc_build_info" in {family.name for family in parse_text(answer.body.decode())}


def test_metrics_are_openmetrics_by_accept(browser: Browser) -> None:
    """The strict OpenMetrics parser accepts what we say, counters and histograms included."""
    browser.metrics(events.FailedOver("office", "INVITE", "a", "b", "timeout"))
    browser.metrics(events.CallSetUp("office", 0.2))
    answer = browser.get("/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    names = {family.name for family in parse_openmetrics(answer.body.decode())}
    assert {"sbc_failovers", "sbc_call_setup_seconds"} <= names


def test_status_has_the_recent_events(browser: Browser) -> None:
    browser.recent(events.Alarm("store", "the disk is full"))
    answer = browser.get("/status.json")
    status = json.loads(answer.body)
    assert answer.headers["content-type"] == "application/json"
    assert status["appliance"]["name"] == "branch-42"
    assert [entry["text"] for entry in status["events"]] == ["store: the disk is full"]


def test_status_says_why_a_group_works_where_it_works(browser: Browser) -> None:
    """The reason of the last switch, as long as the group still is where that switch took it."""
    working = browser.status["groups"][0]["working"]
    browser.recent(events.FailedOver("office", "*", "192.0.2.9:5060;udp", working, "timeout"))
    group = json.loads(browser.get("/status.json").body)["groups"][0]
    assert group["working_since"] == samples.WALL_NOW
    assert group["working_because"] == "192.0.2.9:5060;udp failed: no answer came in time"
    browser.status["groups"][0]["working"] = "192.0.2.77:5060;udp"
    assert "working_because" not in json.loads(browser.get("/status.json").body)["groups"][0]


def test_status_survives_bytes_that_are_no_utf8(browser: Browser) -> None:
    """A header value may hold any byte; as a lone surrogate it must not break the page."""
    browser.status["registrations"]["phones"][0]["contact"] = b"sip:\xff@x".decode("utf-8", "surrogateescape")
    assert browser.get("/status.json").status == 200


def test_health_is_200_while_phones_are_served(browser: Browser) -> None:
    answer = browser.get("/healthz")
    assert (answer.status, json.loads(answer.body)) == (200, {"healthy": True, "reason": "serving phones"})


def test_health_is_503_with_the_reason(browser: Browser) -> None:
    browser.status = copy.deepcopy(samples.NOTHING_ANSWERS)
    answer = browser.get("/healthz")
    assert answer.status == 503
    assert json.loads(answer.body) == {"healthy": False, "reason": "no server of any group answers (office)"}


def not_ready() -> dict[str, Any]:
    status = copy.deepcopy(samples.ALL_WELL)
    status["appliance"]["ready"] = False
    return status


def not_judged_yet() -> dict[str, Any]:
    return samples.status(samples.group("office", ("primary", [samples.candidate("192.0.2.1", "unknown")])))


def one_group_of_two_dead() -> dict[str, Any]:
    return samples.status(*copy.deepcopy(samples.ALL_WELL["groups"] + samples.NOTHING_ANSWERS["groups"]))


def surviving() -> dict[str, Any]:
    status = copy.deepcopy(samples.NOTHING_ANSWERS)
    status["groups"][0]["survival"] = True
    return status


@pytest.mark.parametrize(
    ("status", "healthy"),
    [(not_ready, False), (not_judged_yet, True), (one_group_of_two_dead, True), (surviving, True)],
)
def test_health_by_state(status: Any, healthy: bool) -> None:
    """Unhealthy is who serves nobody: a peer should then take over."""
    assert health_of(status())[0] is healthy


def test_the_page_loads_nothing_from_elsewhere(browser: Browser) -> None:
    """One file: no address of another host in it, and a policy that would refuse it."""
    answer = browser.get("/")
    page = answer.body.decode()
    addresses = set(re.findall(r"https?://[^'\"\s>]*", page)) - {"http://www.w3.org/2000/svg"}  # a name, never fetched
    assert addresses == set()
    assert not re.search(r"<(link|script|img)[^>]+(src|href)=\"(?!data:)", page)
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_the_policy_pins_script_and_style_by_hash() -> None:
    """Values computed with openssl dgst -sha256 -binary | base64."""
    policy = content_security_policy(b"<style>a{}</style><script>alert(1)</script>")
    assert "script-src 'sha256-bhHHL3z2vDgxUt0W3dWQOrprscmda2Y5pLsLg4GF+pI='" in policy
    assert "style-src 'sha256-" in policy


def test_the_page_builds_no_markup_from_strings(browser: Browser) -> None:
    """Names of phones come from the network: they are set as text."""
    page = browser.get("/").body.decode()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b", page)


@pytest.mark.parametrize("path", ["/", "/metrics", "/healthz", "/status.json"])
def test_answers_are_fresh_and_tell_no_software(browser: Browser, path: str) -> None:
    answer = browser.get(path)
    assert "server" not in answer.headers
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_head_has_no_body(browser: Browser) -> None:
    answer = browser.get("/healthz", method="HEAD")
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize(("method", "path", "status"), [("POST", "/status.json", 405), ("GET", "/etc/passwd", 404)])
def test_nothing_else_is_served(browser: Browser, method: str, path: str, status: int) -> None:
    answer = browser.get(path, method=method)
    assert answer.status == status
    assert "server" not in answer.headers


def test_status_is_as_it_is_described(browser: Browser) -> None:
    """How many phones are in it is for the registrar to say, who knows them."""
    assert browser.status["registrations"] == json.loads(browser.get("/status.json").body)["registrations"]


def all_phones(lots: list[list[dict[str, Any]]]) -> tuple[dict[str, Any], int]:
    """What is answered to who asks for all, and in how many turns of the reactor it was written."""
    browser = Browser()
    browser.status["registrations"] |= {"phones": [], "phones_left_out": 900}
    told: list[dict[str, Any]] = []
    turns = 0

    def describe(**how: Any) -> dict[str, Any]:
        told.append(how)
        return browser.status

    def later(continued: Any) -> None:
        nonlocal turns
        turns += 1
        continued()

    browser.site = StatusSite(
        browser.metrics.registry, describe, browser.recent, phones_in_lots=lambda: iter(lots), continue_later=later
    )
    answer = browser.get("/status.json?phones=all")
    assert 200 == answer.status and "application/json" == answer.headers["content-type"]
    assert [{"most": 0}] == told
    return json.loads(answer.body), turns


def test_all_phones_when_asked_for_and_never_many_at_once() -> None:
    """A lot is written, and before the next one the reactor has its turn: calls wait meanwhile."""
    lots = [[samples.phone(lot * 10 + number, primary="registered") for number in range(10)] for lot in range(90)]
    found, turns = all_phones(lots)
    assert [phone for lot in lots for phone in lot] == found["registrations"]["phones"]
    assert 0 == found["registrations"]["phones_left_out"]
    assert 90 == turns
    assert samples.ALL_WELL["groups"] == found["groups"]


@pytest.mark.parametrize("lots", [[], [[]], [[], [samples.phone(1)]]])
def test_all_phones_when_there_are_few(lots: list[list[dict[str, Any]]]) -> None:
    assert [phone for lot in lots for phone in lot] == all_phones(lots)[0]["registrations"]["phones"]


@pytest.mark.parametrize("question", ["", "?", "?aor=", "?aor", "?number=100"])
def test_an_explanation_of_nobody_is_a_bad_question(question: str) -> None:
    """Not 200 with a JSON that explains nothing. The same from an appliance of several workers, which are not asked."""

    def never(*_: Any) -> Any:
        raise AssertionError("somebody was asked")

    browser = Browser()
    alone = StatusSite(browser.metrics.registry, lambda **how: browser.status, browser.recent, explain=never)
    for browser.site in (alone, GatheredSite(never, never, never, never)):
        answer = browser.get("/explain.json" + question)
        assert (400, "text/plain") == (answer.status, answer.headers["content-type"])
        assert b"/explain.json?aor=sip:NUMBER@DOMAIN" in answer.body


def test_an_explanation_of_somebody() -> None:
    browser = Browser()
    browser.site = StatusSite(
        browser.metrics.registry, lambda **how: browser.status, browser.recent, explain=lambda aor: {"aor": aor}
    )
    answer = browser.get("/explain.json?aor=sip%3A100%40d")
    assert (200, {"aor": "sip:100@d"}) == (answer.status, json.loads(answer.body))


def test_health_asks_for_no_phones() -> None:
    """A load balancer asks every few seconds."""

    def describe() -> dict[str, Any]:
        raise AssertionError("the whole status was built")

    browser = Browser()
    browser.site = StatusSite(browser.metrics.registry, describe, browser.recent, lambda: browser.status)
    assert browser.get("/healthz").status == 200
