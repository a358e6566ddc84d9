"""Facts in words."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest

from sbc import events
from sbc.observe.log import EventLog
from sbc.observe.recent import KEPT, MERGE_WITHIN, MOST_TOLD_APART, RecentEvents
from sbc.observe.story import ServerNames, line_of, tell

A, B = "192.0.2.1:5060;udp", "192.0.2.2:5060;udp"
NAMES = ServerNames(
    [
        SimpleNamespace(
            name="office",
            candidates=lambda: [(SimpleNamespace(name="primary"), A), (SimpleNamespace(name="fallback"), B)],
        )
    ]
)


class Lines:
    """A logger that keeps (level, line)."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def __getattr__(self, level: str):
        return lambda format, **values: self.lines.append((level, format.format(**values)))


def registered(number: int, state: str = "registered", reason: str = "") -> events.RegistrationChanged:
    return events.RegistrationChanged("office", "primary", f"sip:{number}@x", "registering", state, reason)


def test_a_failover_names_both_servers_and_the_cause() -> None:
    story = tell(events.FailedOver("office", "INVITE", A, B, "timeout"), NAMES)
    assert story is not None
    assert story.text == (
        f"office: failover from primary ({A}) to fallback ({B}), INVITE: no answer came in time"
    )


def test_a_candidate_of_no_known_server_stays_an_address() -> None:
    story = tell(events.FailedBack("office", "203.0.113.9:5060;udp", A, "probe"), NAMES)
    assert story is not None
    assert "from 203.0.113.9:5060;udp to primary" in story.text


@pytest.mark.parametrize("event", [e for e in vars(events).values() if dataclasses.is_dataclass(e)])
def test_every_fact_is_told_in_one_line_or_is_a_number_only(event: type) -> None:
    """A new fact in sbc.events needs its story; only call set-up times are mere numbers."""
    fields = dataclasses.fields(event)
    story = tell(event(*({"float": 1.0, "int": 1}.get(field.type, "line\r\nnext\x1b[2J") for field in fields)))
    if event is events.CallSetUp:
        assert story is None
    else:
        assert story is not None
        assert story.text.isprintable()


@pytest.mark.parametrize(
    ("event", "level"),
    [
        (events.ServerStateChanged("office", "primary", A, "up", "down", "no answer"), "warn"),
        (events.ServerStateChanged("office", "primary", A, "down", "up", "answered OPTIONS with 200"), "info"),
        (events.FailedOver("office", "INVITE", A, B, "icmp"), "warn"),
        (events.FailedBack("office", B, A, "probe"), "info"),
        (events.AttemptEnded("office", "primary", A, "INVITE", "status_2xx", 0.1), "debug"),
        (events.AttemptEnded("office", "primary", A, "INVITE", "timeout", 7.5), "info"),
        (events.ProbeEnded("office", "primary", A, "timeout", 4.0), "debug"),
        (events.MalformedReceived("udp", "header"), "debug"),
        (registered(2001), "info"),
        (registered(2001, "registering"), "debug"),
        (registered(2001, "failed", "403"), "warn"),
        (events.ExtensionRefused("office", "primary", A, "path"), "info"),
        (events.Alarm("store", "the disk is full"), "error"),
    ],
)
def test_level_in_the_log(event: object, level: str) -> None:
    """State changes at info or above; what anyone can trigger at will, at debug."""
    logger = Lines()
    EventLog(logger, NAMES)(event)
    assert [found for found, _ in logger.lines] == [level]


def test_braces_in_a_sip_uri_do_not_break_the_log() -> None:
    """`{` is legal in what phones send, and has a meaning in log formats."""
    logger = Lines()
    EventLog(logger)(events.RegistrationChanged("office", "primary", "sip:{0}{x}@x", "registering", "registered", ""))
    assert "sip:{0}{x}@x" in logger.lines[0][1]


def test_recent_events_are_newest_first() -> None:
    times = iter((100.0, 200.0))
    recent = RecentEvents(lambda: next(times))
    recent(events.Alarm("store", "first"))
    recent(events.Alarm("store", "second"))
    assert [(entry["at"], entry["text"]) for entry in recent.describe()] == [
        (200.0, "store: second"),
        (100.0, "store: first"),
    ]


def test_at_most_fifty_events_are_kept() -> None:
    recent = RecentEvents(lambda: 0.0)
    for number in range(KEPT + 10):
        recent(events.Alarm("store", str(number)))
    texts = [entry["text"] for entry in recent.describe()]
    assert (len(texts), texts[0], texts[-1]) == (KEPT, f"store: {KEPT + 9}", "store: 10")


def test_a_thousand_phones_are_one_entry() -> None:
    """The failover before a registration storm must still be in the list after it."""
    recent = RecentEvents(lambda: 0.0)
    recent(events.FailedOver("office", "INVITE", A, B, "timeout"))
    for number in range(1000):
        recent(registered(number))
    entries = recent.describe()
    assert len(entries) == 2
    assert entries[0]["count"] == 1000
    assert entries[0]["text"] == "office: 1000 phones were registered at server primary, the last was sip:999@x"
    assert "failover" in entries[1]["text"]


def test_a_phone_that_does_it_ten_times_is_one() -> None:
    """Where a summary says phones it counts phones; who tried again is told as one, as he is told alone."""
    recent = RecentEvents(lambda: 0.0)
    for _ in range(10):
        recent(registered(1, "failed", "403 Forbidden"))
    assert [(1, "office: phone sip:1@x could not register at server primary: 403 Forbidden")] == [
        (entry["count"], entry["text"]) for entry in recent.describe()
    ]
    for number in (2, 1, 2, 3):
        recent(registered(number, "failed", "403 Forbidden"))
    (entry,) = recent.describe()
    assert entry["count"] == 3 and "office: 3 phones could not register at server primary" in entry["text"]
    for _ in range(3):
        recent(events.PhoneQuarantined("office", "sip:a@d", "sip:a@h:5062", "203.0.113.7", 300.0, "so"))
    recent(events.PhoneQuarantined("office", "sip:a@d", "sip:a@h:5063", "203.0.113.7", 300.0, "so"))
    assert "office: 2 phones registered in a loop" in recent.describe()[0]["text"]


def test_who_makes_up_names_does_not_take_memory_without_end() -> None:
    now = [0.0]
    recent = RecentEvents(lambda: now[0])
    for number in range(MOST_TOLD_APART + 50):
        recent(registered(number, "failed"))
    (entry,) = recent.describe()
    assert f"office: {MOST_TOLD_APART} or more phones could not register" in entry["text"]
    now[0] = MERGE_WITHIN + 1
    recent(registered(1, "failed"))
    assert [1, MOST_TOLD_APART] == [entry["count"] for entry in recent.describe()]


def test_who_was_never_registered_is_not_no_longer_registered() -> None:
    """A server has challenged or refused the first REGISTER of a phone: it is not news that it has lost it."""
    recent = RecentEvents(lambda: 0.0)
    for number in (1, 2, 2):
        recent(registered(number, "unregistered", "asks for a password"))
    recent(events.RegistrationChanged("office", "primary", "sip:3@x", "registered", "unregistered", "expired"))
    assert {
        "office: 2 phones are not registered at server primary, the last was sip:2@x: asks for a password",
        "office: phone sip:3@x is no longer registered at server primary: expired",
    } == {entry["text"] for entry in recent.describe()}
    told = tell(registered(1, "unregistered", "asks for a password"))
    assert told is not None
    assert told.text == "office: phone sip:1@x is not registered at server primary: asks for a password"


def test_a_late_phone_begins_a_new_entry() -> None:
    """One entry covers five minutes, so that its time means something."""
    now = [0.0]
    recent = RecentEvents(lambda: now[0])
    recent(registered(1))
    now[0] = MERGE_WITHIN + 1
    recent(registered(2))
    assert [entry["count"] for entry in recent.describe()] == [1, 1]


def test_every_server_state_change_is_an_entry_of_its_own() -> None:
    """A flapping server shows as flapping."""
    recent = RecentEvents(lambda: 0.0)
    for old, new in (("up", "down"), ("down", "up"), ("up", "down")):
        recent(events.ServerStateChanged("office", "primary", A, old, new, "reason"))
    assert len(recent.describe()) == 3


def test_the_last_switch_of_a_group_is_remembered() -> None:
    recent = RecentEvents(lambda: 42.0, NAMES)
    assert recent.switch("office") is None
    recent(events.FailedOver("office", "INVITE", B, A, "timeout"))
    assert recent.switch("office") is None, "one request that went on is no switch of the group"
    recent(events.FailedOver("office", "*", A, B, "icmp"))
    switch = recent.switch("office")
    assert switch is not None
    assert (switch.at, switch.to_candidate) == (42.0, B)
    assert switch.because == f"primary ({A}) failed: its host or port is unreachable (ICMP)"


EVERY_FACT = [
    kind(*({"float": 1.0, "int": 1}.get(field.type, "1.0") for field in dataclasses.fields(kind)))
    for kind in vars(events).values()
    if dataclasses.is_dataclass(kind)
]
LABELS = ("status_1xx", "status_2xx", "status_3xx", "status_4xx", "status_5xx", "status_6xx", "timeout", "cancelled")


@pytest.mark.parametrize(
    "event",
    [
        *EVERY_FACT,
        *(events.AttemptEnded("office", "primary", A, "INVITE", label, 0.1) for label in LABELS),
        *(registered(1, state) for state in ("registering", "registered", "failed")),
        *(events.DnsLookup("A", result) for result in ("ok", "timeout")),
    ],
)
def test_the_short_cuts_agree_with_the_story(event: object) -> None:
    """A log without debug lines and the list of recent events leave out facts before their story is made."""
    story = tell(event)
    debug, no_debug, recent = Lines(), Lines(), RecentEvents(lambda: 0.0)
    EventLog(debug)(event)
    EventLog(no_debug, debug=False)(event)
    recent(event)
    assert [line for line in debug.lines if line[0] != "debug"] == no_debug.lines
    assert len(recent.describe()) == (story is not None and story.notable)


def test_a_flap_and_the_network_are_told() -> None:
    level, text = line_of(events.ServerFlapped("office", "primary", "192.0.2.1:5060;udp", 120.0))
    assert ("warning", True) == (level, text.endswith("must be well for 120 s before they do again"))
    for state, level in (("up", "info"), ("link_down", "warning"), ("uplink_down", "error"), ("dns_down", "warning")):
        told = line_of(events.NetworkStateChanged("up", state, "why"))
        assert (level, True) == (told[0], told[1].startswith("network: ") and told[1].endswith("(why)"))


def test_phone_that_loops():
    level, text = line_of(
        events.PhoneQuarantined("office", "sip:a@d", "sip:a@h:5062", "203.0.113.7", 300.0, "11 REGISTERs in a row were refused")
    )
    assert "warning" == level
    assert "phone sip:a@d at 203.0.113.7 (sip:a@h:5062) registers in a loop, and is left alone for 300 s: 11 REGISTERs" in text
