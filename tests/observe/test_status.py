"""`sbc status`: the four displays of the PIVOT bulletin (V12, V32), and what an administrator reads around them."""

from __future__ import annotations

import copy
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

from sbc.observe.status import asked, candidate_row, in_words, print_status, render
from tests.observe import samples
from tests.observe.samples import candidate


def rows(group: dict[str, Any]) -> list[str]:
    return [candidate_row(each) for server in group["servers"] for each in server["candidates"]]


def test_v32_ip_addresses() -> None:
    """SIP server: TestDomain.local; 172.29.102.138; 172.29.102.139. Both have priority 1, for want of SRV."""
    group = samples.group(
        "line",
        ("one", [candidate("172.29.102.138", working=True)]),
        ("two", [candidate("172.29.102.139", rank=2)]),
    )
    assert rows(group) == ["P1:1 172.29.102.138 up*", "P2:1 172.29.102.139 up"]


def test_v32_a_names() -> None:
    """SIP server: TestDomain.local; SIPServer1.TestDomain.local; SIPServer2.TestDomain.local shows the same."""
    group = samples.group(
        "line",
        ("SIPServer1.TestDomain.local", [candidate("172.29.102.138", working=True)]),
        ("SIPServer2.TestDomain.local", [candidate("172.29.102.139", rank=2)]),
    )
    assert rows(group) == ["P1:1 172.29.102.138 up*", "P2:1 172.29.102.139 up"]


def test_v32_srv_records() -> None:
    """SIP server: TestDomain.local. One rank; the SRV priority prefers; the order is that of the list."""
    group = samples.group(
        "line",
        (
            "TestDomain.local",
            [candidate("172.29.102.139", priority=2), candidate("172.29.102.138", priority=1, working=True)],
        ),
    )
    assert rows(group) == ["P1:2 172.29.102.139 up", "P1:1 172.29.102.138 up*"]


def test_v32_load_balancing() -> None:
    """SIP server: TestDomain.local; fourAnames.TestDomain.local: four rows P1:1."""
    addresses = ("172.29.102.140", "172.29.102.139", "172.29.102.138", "172.29.102.141")
    group = samples.group(
        "line", ("pool", [candidate(address, working=address.endswith("140")) for address in addresses])
    )
    assert rows(group) == [
        "P1:1 172.29.102.140 up*",
        "P1:1 172.29.102.139 up",
        "P1:1 172.29.102.138 up",
        "P1:1 172.29.102.141 up",
    ]


@pytest.mark.parametrize(
    ("candidate", "row"),
    [
        (candidate("192.0.2.1", "down"), "P1:1 192.0.2.1 down"),
        (candidate("192.0.2.1", "unknown"), "P1:1 192.0.2.1 unknown"),
        (candidate("192.0.2.1", "frozen", working=True), "P1:1 192.0.2.1 frozen*"),
        (candidate("127.0.0.1", port=5070), "P1:1 127.0.0.1:5070 up"),
        (candidate("192.0.2.1", port=5061, transport="tls"), "P1:1 192.0.2.1;tls up"),
        (candidate("192.0.2.1", port=5060, transport="tls"), "P1:1 192.0.2.1:5060;tls up"),
        (candidate("2001:db8::1"), "P1:1 2001:db8::1 up"),
        (candidate("2001:db8::1", port=5070, transport="tcp"), "P1:1 [2001:db8::1]:5070;tcp up"),
    ],
)
def test_port_and_transport_are_shown_where_unusual(candidate: dict[str, Any], row: str) -> None:
    """Two candidates on one address must be told apart; the usual ones look as on the phone."""
    assert candidate_row(candidate) == row


def test_the_whole_display(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the fallback: who works since when and why, who is down and why, which phones are registered where."""
    monkeypatch.setenv("TZ", "UTC")
    __import__("time").tzset()
    status = copy.deepcopy(samples.ON_THE_FALLBACK)
    status["events"] = [{"at": samples.WALL_NOW - 60, "text": "store: the disk is full"}]
    assert render(status, samples.WALL_NOW) == """\
branch-42: sbc 0.1.0, serving phones, running for 3 d 3 h

Group office (testdomain.local; profile recommended): NO REDUNDANCY: fewer than two candidates are up
  P1:1 172.29.102.138 down  primary since 14:08:08: no answer to 4 sends of INVITE
  P2:1 172.29.102.139 up*   fallback since 12:08:20: answered OPTIONS with 200
  New requests go to 172.29.102.139:5060;udp since 14:08:08: 172.29.102.138:5060;udp failed: no answer came in time

Phones: 3 contacts known
  sip:2002@testdomain.local  primary failed: 403 Forbidden, fallback registered for 50 min
  sip:2003@testdomain.local  primary unregistered, fallback unregistered
  sip:2001@testdomain.local  primary registered for 50 min, fallback registered for 50 min

Last events, newest first:
  14:12:20  store: the disk is full
"""


def test_a_server_without_addresses_is_shown() -> None:
    status = samples.status(samples.group("office", ("primary", [])))
    assert "P1  primary: no address known yet (DNS)" in render(status, samples.WALL_NOW)


def test_what_phones_send_cannot_steer_the_terminal() -> None:
    """An AOR may hold escape sequences and bytes that are no text."""
    status = copy.deepcopy(samples.ALL_WELL)
    status["registrations"]["phones"][0]["aor"] = "sip:\x1b[2J\udcff@x"
    assert "sip:\ufffd[2J\ufffd@x" in render(status, samples.WALL_NOW)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (3725, "1 h 2 min"), (7200, "2 h"), (90061, "1 d 1 h"), (-5, "0 s")],
)
def test_lengths_of_time(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


@pytest.fixture
def appliance() -> Iterator[Any]:
    """Something that answers /status.json on a free port."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802 (http.server's name)
            self.send_response(400 if self.path == "/bad" else 200)
            self.end_headers()
            if self.path == "/bad":
                self.wfile.write(b"Of which phone?\n")
                return
            self.wfile.write(json.dumps(samples.ALL_WELL).encode())

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def config(address: str, port: int) -> Any:
    return SimpleNamespace(http=SimpleNamespace(address=address, port=port))


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])  # noqa: S104
def test_asks_the_running_appliance(appliance: HTTPServer, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Straight, whatever proxy the environment names; one that listens everywhere is asked on loopback."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    out = io.StringIO()
    assert print_status(config(address, appliance.server_port), out=out) == 0
    assert "P1:1 172.29.102.138 up*" in out.getvalue()


def test_json_is_passed_on(appliance: HTTPServer) -> None:
    out = io.StringIO()
    assert print_status(config("127.0.0.1", appliance.server_port), as_json=True, out=out) == 0
    assert json.loads(out.getvalue()) == samples.ALL_WELL


def test_not_running_is_1(appliance: HTTPServer) -> None:
    errors = io.StringIO()
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as closed:
        port = closed.server_port
    assert print_status(config("127.0.0.1", port), errors=errors) == 1
    assert "not running" in errors.getvalue()


def test_an_error_of_a_running_appliance_is_told_as_it_says_it(appliance: HTTPServer) -> None:
    errors = io.StringIO()
    assert asked(config("127.0.0.1", appliance.server_port), "/bad", errors) is None
    assert errors.getvalue() == f"sbc: http://127.0.0.1:{appliance.server_port}/bad answers 400: Of which phone?\n"


def test_without_http_it_says_so() -> None:
    errors = io.StringIO()
    assert print_status(SimpleNamespace(http=None), errors=errors) == 1
    assert "[http]" in errors.getvalue()


def test_workers_are_counted() -> None:
    """Where there are several; one of them may be on its way back."""
    status = copy.deepcopy(samples.ALL_WELL)
    status["appliance"]["workers"] = [{"worker": 0, "ready": True}, {"worker": 1, "ready": False}]
    assert render(status, samples.WALL_NOW).splitlines()[0].endswith(", 1 of 2 workers")


def test_phones_of_several_kinds() -> None:
    """Which profile each phone has, and where the new requests of each kind go."""
    status = copy.deepcopy(samples.ALL_WELL)
    status["groups"][0]["phones"] = [{"kind": "pivot", "working": "172.29.102.139:5060;udp"}]
    status["registrations"] = {
        "bindings": 1, "phones": [{"aor": "sip:7001@example.com", "profile": "pivot", "servers": [{"server": "a", "state": "registered"}]}],
    }  # fmt: skip
    lines = render(status, samples.WALL_NOW).splitlines()
    assert "  Phones of profile pivot: new requests go to 172.29.102.139:5060;udp" in lines
    assert "  sip:7001@example.com  a registered  (pivot)" in lines


def test_many_phones_are_a_number_and_those_in_trouble() -> None:
    """Ten thousand of them must not scroll away what matters."""
    phones = [samples.phone(number, primary="registered") for number in range(10_000)]
    phones[9000] = samples.phone(9000, primary="failed")
    phones[9000]["servers"][0].update(reason="wrong password", retry_in=240)
    status = samples.status(phones=phones)
    status["registrations"].update(phones_everywhere=9999, phones_nowhere=1, phones_left_out=0)
    lines = render(status, samples.WALL_NOW).splitlines()
    place = lines.index("Phones: 10000 contacts known, 9999 registered everywhere, 1 nowhere")
    assert lines[place + 1].strip().startswith("sip:9000@testdomain.local  primary failed: wrong password, next try in 4 min")
    assert "  and 9900 more" in lines and len(lines) < 120


def test_d18_servers_that_get_their_phones_again() -> None:
    status = copy.deepcopy(samples.ALL_WELL)
    status["registrations"]["resyncs"] = [
        samples.resync("primary", phase="holding", starts_in=25, done=0),
        samples.resync("second", phase="canary", left=1, done=0),
        samples.resync("third", left_to_phones=290, removals=2),
        samples.resync("fourth", returned=False),
        samples.resync("fifth", commanded=True),
    ]
    text = render(status, samples.WALL_NOW)
    for said in (
        "\noffice: primary is back and gets its registrations again: begins in 25 s if it stays up, 380 phones to go\n",
        "\noffice: second is back and gets its registrations again: one phone is tried before all others, 1 phone to go\n",
        "\noffice: third is back and gets its registrations again: 120 done, 380 phones to go (290 of them with a REGISTER of"
        " their own), 2 removals before them; at most 12.5 REGISTERs a second, at least 30 s more\n",
        "\noffice: fourth gets the phones of a server that failed: 120 done, 380 phones to go; at most 12.5",
        "\noffice: fifth gets its registrations again, as commanded (sbc resync): 120 done, 380 phones to go; at most 12.5",
    ):
        assert said in text


def test_phone_with_a_learned_method_and_one_that_loops() -> None:
    status = copy.deepcopy(samples.ALL_WELL)
    status["registrations"]["phones"][0].update(method="first-only", method_reason="it did not answer", quarantined_for=120)
    status["registrations"]["quarantine"] = [{"aor": "sip:9@d", "host": "203.0.113.9", "for": 60, "reason": "it loops"}]
    text = render(status, samples.WALL_NOW)
    assert "[first-only: it did not answer]  LEFT ALONE for 2 min" in text
    assert "sip:9@d at 203.0.113.9  left alone for 1 min: it loops" in text
