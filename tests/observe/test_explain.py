"""`sbc explain`: its words, and what it says when there is nothing to explain."""

from __future__ import annotations

import copy
import io
import json
from typing import Any

import pytest

from sbc import events
from sbc.observe import explain
from sbc.observe.explain import print_explanation, render
from sbc.observe.phone_events import SHOWN, PhoneEvents
from tests.observe import samples

FOUND: dict[str, Any] = {
    "aor": "sip:2001@testdomain.local",
    "known": True,
    "groups": [{
        "name": "office", "profile": "yealink", "registration": "concurrent", "domains": ["testdomain.local"],
        "working": "172.29.102.139:5060;udp", "working_server": "fallback", "working_because": "primary failed: no answer",
        "servers": [],
    }],
    "contacts": [{
        "contact": "sip:2001@203.0.113.7:5062", "source": "203.0.113.7:5062;udp", "group": "office", "profile": "yealink",
        "working": "primary", "expires_in": 60, "granted": 3600, "method": "first-only", "method_learned": True,
        "method_reason": "alternating: the phone did not answer the challenge of fallback", "phone_type": "Test 1",
        "username": "2001", "quiet_for": 30, "quarantined_for": None, "not_told": ["third"],
        "new_requests_go_to": "fallback", "has_password": False,
        "next_of_ours": {"server": "fallback", "in": 240, "removal": False}, "resyncs": [],
        "servers": [
            {"server": "primary", "state": "registered", "expires_in": 3000, "reason": "", "method": "first-only",
             "candidate": "172.29.102.138:5060;udp", "due_in": 1500, "failures": 0, "retry_in": None},
            {"server": "fallback", "state": "failed", "expires_in": None, "reason": "wrong password", "method": "first-only",
             "candidate": None, "due_in": None, "failures": 3, "retry_in": 240},
        ],
    }],
    "rejected": [{"contact": "sip:2001@203.0.113.7:5062", "host": "203.0.113.7", "server": "fallback", "wrong_passwords": 3}],
    "quarantine": [], "removals": [], "similar": [],
    "events": [{"at": samples.WALL_NOW, "text": "office: phone sip:2001@testdomain.local could not register at fallback"}],
}  # fmt: skip


def test_in_plain_words() -> None:
    text = render(FOUND, samples.WALL_NOW)
    for said in (
        "sip:2001@testdomain.local\n  Group office (profile yealink, concurrent registration)\n",
        "New requests of the group go to fallback (172.29.102.139:5060;udp): primary failed: no answer",
        "primary (172.29.102.138:5060;udp): registered for 50 min more; the phone answers one server only (first-only)",
        "it hears of the phone again with a refresh in 25 min or later",
        "fallback: REFUSED 3 times in a row: wrong password; it may be tried again in 4 min",
        "learned: it gets its challenges by the method first-only, because alternating: the phone did not answer",
        "third: has not been told of it yet",
        "profile yealink, a Test 1; its account is 2001\n",
        "mend its account or password there, then restart the phone",
        "its next call goes to fallback",
        "next, the appliance registers it at fallback by itself, in 4 min",
        "has shown fallback 3 wrong passwords within the last hour, from 203.0.113.7",
        "could not register at fallback",
    ):
        assert said in text


def test_d18_phone_that_waits_for_its_turn() -> None:
    found = copy.deepcopy(FOUND)
    waits = {"by_phone": False, "under_way": False}
    found["contacts"][0] |= {"next_of_ours": None, "resyncs": [samples.resync("third", left=41) | waits]}
    text = render(found, samples.WALL_NOW)
    assert "  waits for its turn at third, which gets its phones again: 120 done, 41 phones to go; at most 12.5 REG" in text
    assert "the password" not in text and "can do nothing more" not in text
    found["contacts"][0]["resyncs"][0]["by_phone"] = True
    assert "only the phone knows the password: its first refresh after its turn" in render(found, samples.WALL_NOW)
    found["contacts"][0]["resyncs"][0]["under_way"] = True
    assert "  has its turn at third" in render(found, samples.WALL_NOW)


def test_phone_that_must_do_it_itself_and_one_that_loops() -> None:
    found = copy.deepcopy(FOUND)
    found["contacts"][0] |= {"next_of_ours": None, "username": "", "quarantined_for": 250}
    found["rejected"][0]["wrong_passwords"] = 1
    text = render(found, samples.WALL_NOW)
    for said in (
        "it has shown no password so far",
        "LEFT ALONE for 4 min 10 s: it registers in a loop, and gets 500 from here",
        "the appliance can do nothing more by itself: the phone's next REGISTER decides, at once if it is restarted",
        "has shown fallback 1 wrong password within the last hour",
    ):
        assert said in text


def test_what_phones_send_cannot_steer_the_terminal() -> None:
    found = copy.deepcopy(FOUND)
    found["contacts"][0]["contact"] = "sip:\x1b[2J\udcff@x"
    assert "\x1b" not in render(found, samples.WALL_NOW)


@pytest.fixture
def answer(monkeypatch):
    """Lets the appliance answer so, and collects what it was asked."""
    asked: list[str] = []

    def answer(found):
        def answered(config, path, errors):
            asked.append(path)
            return found

        monkeypatch.setattr(explain, "asked", answered)
        return asked

    return answer


def told(aor: str, **how: Any) -> tuple[int, str, str]:
    out, errors = io.StringIO(), io.StringIO()
    status = print_explanation(None, aor, out=out, errors=errors, **how)  # type: ignore[arg-type]
    return status, out.getvalue(), errors.getvalue()


def test_asks_for_that_number(answer) -> None:
    asked = answer(FOUND)
    status, out, errors = told("sip:2001@testdomain.local")
    assert (0, "") == (status, errors)
    assert ["/explain.json?aor=sip%3A2001%40testdomain.local"] == asked
    assert out.startswith("sip:2001@testdomain.local\n")
    assert FOUND == json.loads(told("2001@testdomain.local", as_json=True)[1])


def test_unknown_number_says_what_is_expected(answer) -> None:
    answer({**FOUND, "known": False, "contacts": [], "rejected": [], "similar": ["sip:2001@other"]})
    status, out, errors = told("2001@testdomain.local")
    assert (1, "") == (status, out)
    assert "sip:NUMBER@testdomain.local" in errors and "known are sip:2001@other" in errors


def test_not_running(answer) -> None:
    answer(None)
    assert (1, "") == told("2001")[:2]


def test_last_events_about_one_phone() -> None:
    times = iter(range(100))
    known = PhoneEvents(lambda: float(next(times)))
    for number in range(30):
        known(events.RegistrationChanged("office", "primary", f"sip:{number % 2}@d", "registered", "failed", f"reason {number}"))
        known(events.LateResponse("INVITE", "dropped"))
    found = known.of("sip:1@d")
    assert SHOWN == len(found)
    assert found[0]["text"].endswith("reason 29") and 29.0 == found[0]["at"]
    assert [] == known.of("sip:2@d")


def test_flood_of_phones_is_bounded() -> None:
    known = PhoneEvents(lambda: 0.0, kept=10)
    for number in range(100):
        known(events.RegistrationChanged("office", "primary", f"sip:{number}@d", "registered", "failed", ""))
    assert [] == known.of("sip:1@d") and 1 == len(known.of("sip:99@d"))
    times = iter(range(100))
    known = PhoneEvents(lambda: float(next(times)), kept=10)
    for _ in range(13):
        known(events.RegistrationChanged("office", "primary", "sip:1@d", "registered", "failed", ""))
    assert [12.0 - number for number in range(10)] == [found["at"] for found in known.of("sip:1@d")]
