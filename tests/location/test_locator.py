"""Locator: lists that are always at hand, and lookups that nobody waits for."""

from dataclasses import dataclass

import pytest

from sbc.events import DnsLookup
from sbc.location.locator import Locator
from sbc.location.records import Address, Failed, Found, Question, Srv
from tests.helpers.clock import FakeClock


@dataclass
class Server:
    address: str = "pbx.example"
    port: int = 5060
    transport: str = "udp"


class FakeDns:
    """Answers when the test says so."""

    def __init__(self, zone):
        self.zone = zone
        self.open = []
        self.asked = []

    def ask(self, question, answered):
        self.asked.append(str(question))
        self.open.append((question, answered))

    def answer_all(self):
        while self.open:
            question, answered = self.open.pop(0)
            answered(question, self.zone.get(str(question), Found((), 60)))


class Memory(dict):
    load = dict.copy
    save = dict.update


class Site:
    def __init__(self, zone=None, **arguments):
        self.clock = FakeClock()
        self.dns = FakeDns(zone if zone is not None else {"A pbx.example": Found((Address("192.0.2.1"),), 100)})
        self.events, self.changes = [], []
        self.locator = Locator(self.clock, self.dns.ask, self.events.append, families=("A",), **arguments)

    def watch(self, server, **arguments):
        self.locator.watch("primary", server, self.changed, **arguments)

    def changed(self, key, candidates, ttl):
        self.changes.append((key, [str(candidate) for candidate in candidates], ttl))

    def known(self):
        return [str(candidate) for candidate in self.locator.candidates("primary")]


@pytest.fixture
def site():
    site = Site()
    yield site
    site.locator.stop()
    assert 0 == site.clock.pending


def test_ip_address_is_known_at_once_and_never_asked(site):
    site.watch(Server("192.0.2.9"))
    assert ["192.0.2.9:5060;udp"] == site.known()
    assert [("primary", ["192.0.2.9:5060;udp"], None)] == site.changes
    site.clock.advance(100000)
    assert [] == site.dns.asked


def test_reading_never_asks_and_never_waits(site):
    """P21, D17: no call sees a lookup."""
    site.watch(Server())
    assert [] == site.known()
    assert ["A pbx.example"] == site.dns.asked
    site.dns.answer_all()
    assert ["192.0.2.1:5060;udp"] == site.known()
    assert [("primary", ["192.0.2.1:5060;udp"], 100)] == site.changes


def test_asked_again_in_the_background_before_it_expires(site):
    site.watch(Server())
    site.dns.answer_all()
    site.clock.advance(79.9)
    assert 1 == len(site.dns.asked)
    site.clock.advance(0.2)
    assert 2 == len(site.dns.asked)
    site.dns.answer_all()
    assert 1 == len(site.changes)


def test_one_question_at_a_time(site):
    """A DNS server that is slow is not asked again before it has failed."""
    site.watch(Server())
    site.clock.advance(1000)
    assert 1 == len(site.dns.asked)


def test_dns_that_dies_takes_no_server_away(site):
    """RFC 8767: without limit."""
    site.watch(Server())
    site.dns.answer_all()
    site.dns.zone["A pbx.example"] = Failed("timeout")
    for _ in range(100):
        site.clock.advance(100)
        site.dns.answer_all()
    assert ["192.0.2.1:5060;udp"] == site.known()
    assert DnsLookup("A", "stale") == site.events[-1]
    site.dns.zone["A pbx.example"] = Found((Address("192.0.2.2"),), 100)
    site.clock.advance(10)
    site.dns.answer_all()
    assert ["192.0.2.2:5060;udp"] == site.known()


def test_name_that_vanishes_takes_no_server_away(site):
    """An empty list helps nobody; a list with other servers in it is believed."""
    site.watch(Server())
    site.dns.answer_all()
    site.dns.zone["A pbx.example"] = Found((), 60)
    site.clock.advance(80)
    site.dns.answer_all()
    assert ["192.0.2.1:5060;udp"] == site.known()
    assert DnsLookup("A", "negative") == site.events[-1]


def test_list_changes_when_it_is_complete():
    """A new SRV target without its address does not shorten the list meanwhile."""
    zone = {
        "SRV _sip._udp.pbx.example": Found((Srv(1, 0, 5060, "a.example"),), 100),
        "A a.example": Found((Address("192.0.2.1"),), 1000),
        "A b.example": Found((Address("192.0.2.2"),), 1000),
    }
    site = Site(zone)
    site.watch(Server(port=0))
    site.dns.answer_all()
    zone["SRV _sip._udp.pbx.example"] = Found((Srv(1, 0, 5060, "b.example"), Srv(2, 0, 5060, "a.example")), 100)
    site.clock.advance(80)
    question, answered = site.dns.open.pop()
    answered(question, zone[str(question)])
    assert ["192.0.2.1:5060;udp"] == site.known()
    site.dns.answer_all()
    assert ["192.0.2.2:5060;udp", "192.0.2.1:5060;udp"] == site.known()
    site.locator.stop()


def test_change_of_priority_alone_is_a_change():
    zone = {"SRV _sip._udp.pbx.example": Found((Srv(1, 0, 5060, "192.0.2.1"),), 100)}
    site = Site(zone)
    site.watch(Server(port=0))
    site.dns.answer_all()
    zone["SRV _sip._udp.pbx.example"] = Found((Srv(7, 0, 5060, "192.0.2.1"),), 100)
    site.clock.advance(80)
    site.dns.answer_all()
    assert 7 == site.locator.candidates("primary")[0].priority
    assert 2 == len(site.changes)
    site.locator.stop()


def test_last_good_answers_outlive_the_process():
    """D17: after a restart without DNS the site goes on telephoning."""
    memory = Memory()
    site = Site(memory=memory)
    site.watch(Server())
    site.dns.answer_all()
    site.locator.stop()
    after = Site(zone={}, memory=memory)
    after.watch(Server())
    assert ["192.0.2.1:5060;udp"] == after.known()
    assert ["A pbx.example"] == after.dns.asked
    after.locator.stop()


def test_memory_of_somebody_else_is_ignored():
    site = Site(memory=Memory({"A pbx.example": "rubbish", "nonsense": "{}"}))
    site.watch(Server())
    assert [] == site.known()
    site.locator.stop()


def test_srv_weight_by_profile():
    """Y42 against RFC 2782."""
    zone = {"SRV _sip._udp.pbx.example": Found((Srv(0, 1, 5060, "192.0.2.1"), Srv(0, 2, 5060, "192.0.2.2")), 100)}
    site = Site(zone)
    site.watch(Server(port=0), srv_weight="descending")
    site.dns.answer_all()
    assert ["192.0.2.2:5060;udp", "192.0.2.1:5060;udp"] == site.known()
    site.locator.stop()


def test_results_are_reported(site):
    for result, word in [
        (Found((Address("192.0.2.1"),), 100), "ok"),
        (Failed("servfail"), "stale"),
        (Found((), 60), "negative"),
        (Failed("timeout"), "timeout"),
        (Failed("servfail"), "servfail"),
    ]:
        site.dns.zone["A pbx.example"] = result
        if not site.dns.asked:
            site.watch(Server())
        site.clock.advance(100)
        site.dns.answer_all()
        assert DnsLookup("A", word) == site.events[-1]


def test_stopped_locator_drops_late_answers():
    site = Site()
    site.watch(Server())
    site.locator.stop()
    site.dns.answer_all()
    assert ([], 0) == (site.known(), site.clock.pending)


def test_forgotten_server_is_asked_no_more(site):
    site.watch(Server())
    site.dns.answer_all()
    site.locator.forget("primary")
    site.clock.advance(1000)
    assert 1 == len(site.dns.asked)
    assert [] == site.known()


def test_explains_itself(site):
    site.watch(Server())
    assert "A pbx.example: not answered yet\ncandidates: none" == site.locator.explain("primary")
    site.dns.answer_all()
    assert (
        "A pbx.example: Address(address='192.0.2.1')\ncandidates: 192.0.2.1:5060;udp"
        == site.locator.explain("primary")
    )


def test_question_shared_by_two_servers_is_asked_once(site):
    site.watch(Server())
    site.locator.watch("other", Server(port=5070), site.changed)
    assert [str(Question("pbx.example", "A"))] == site.dns.asked
    site.dns.answer_all()
    assert ["primary", "other"] == [key for key, *_ in site.changes]
