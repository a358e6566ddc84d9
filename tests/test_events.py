"""Reports: everybody hears what happens, and what comes with every call costs nothing that nobody wants."""

import pytest

from sbc.events import Alarm, AttemptEnded, CallSetUp, Everyday, RegistrationChanged, Reports, as_reports
from sbc.location.candidate import Candidate

A = Candidate("192.0.2.1", 5060, "udp")


class Numbers(Everyday):
    """Notes what it is told to count."""

    def __init__(self):
        self.counted = []

    def attempt_ended(self, group, server, method, outcome, seconds):
        self.counted.append((group, server, method, outcome, seconds))

    def call_set_up(self, group, seconds):
        self.counted.append((group, seconds))

    def registration_changed(self, group, server, new):
        self.counted.append((group, server, new))


@pytest.fixture
def heard():
    return {"counting": [], "listener": [], "curious": []}


@pytest.fixture
def numbers():
    return Numbers()


@pytest.fixture
def reports(heard, numbers):
    reports = Reports(heard["counting"].append, numbers)
    reports.tell(heard["listener"].append, everyday=False)
    reports.tell(heard["curious"].append, everyday=True)
    return reports


def test_everybody_hears_an_event(reports, heard):
    reports(Alarm("store", "full"))
    assert all([Alarm("store", "full")] == events for events in heard.values())


@pytest.mark.parametrize(
    ("outcome", "is_everyday"), [("status_2xx", True), ("status_4xx", True), ("status_5xx", False), ("timeout", False)]
)
def test_an_attempt(reports, heard, numbers, outcome, is_everyday):
    """It is counted once; the event is for the curious, and for all when the server did not do its work."""
    reports.attempt_ended("office", "primary", A, "INVITE", outcome, 0.5)
    event = AttemptEnded("office", "primary", str(A), "INVITE", outcome, 0.5)
    assert {"counting": [], "listener": [] if is_everyday else [event], "curious": [event]} == heard
    assert [("office", "primary", "INVITE", outcome, 0.5)] == numbers.counted


def test_a_call(reports, heard, numbers):
    reports.call_set_up("office", 0.5)
    assert {"counting": [], "listener": [], "curious": [CallSetUp("office", 0.5)]} == heard
    assert [("office", 0.5)] == numbers.counted


@pytest.mark.parametrize(("new", "is_everyday"), [("registering", True), ("registered", False), ("failed", False)])
def test_a_registration(reports, heard, numbers, new, is_everyday):
    reports.registration_changed("office", "primary", "sip:1@x", "unregistered", new, "")
    event = RegistrationChanged("office", "primary", "sip:1@x", "unregistered", new, "")
    assert {"counting": [], "listener": [] if is_everyday else [event], "curious": [event]} == heard
    assert [("office", "primary", new)] == numbers.counted


def test_a_plain_function_hears_everything():
    """Tests and small tools give one."""
    heard = []
    reports = as_reports(heard.append)
    reports.call_set_up("office", 0.5)
    reports(Alarm("store", "full"))
    assert [CallSetUp("office", 0.5), Alarm("store", "full")] == heard
    assert reports is as_reports(reports)


def test_who_wants_to_hear_of_one_kind_only(reports):
    alarms = []
    reports.tell(alarms.append, everyday=False, about=Alarm)
    reports.registration_changed("demo", "primary", "sip:1@example.test", "registering", "registered", "")
    reports(Alarm("store", "the disk is full"))
    assert [Alarm("store", "the disk is full")] == alarms
