"""Locator: lists that are always at hand, and lookups that nobody waits for."""

from dataclasses import dataclass

import pytest

from sbc.events import Alarm, DnsLookup
from sbc.location.cache import Freshness
from sbc.location.locator import Locator
from sbc.location.records import Address, Failed, Found, Naptr, Question, Srv
from tests.helpers.clock import FakeClock


@dataclass
class Server:
    address: str = "pbx.example"
    port: int = 5060
    transport: str = "udp"
    naptr_build: str = "udp"


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

    def forget(self, questions):
        for question in questions:
            self.pop(question, None)


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

    def lookups(self):
        return [event for event in self.events if isinstance(event, DnsLookup)]

    def alarms(self):
        return [event.text for event in self.events if isinstance(event, Alarm)]

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
    assert DnsLookup("A", "stale") == site.lookups()[-1]
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
        assert DnsLookup("A", word) == site.lookups()[-1]


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
        "A pbx.example: 192.0.2.1\ncandidates: 192.0.2.1:5060;udp"
        == site.locator.explain("primary")
    )


def test_question_shared_by_two_servers_is_asked_once(site):
    site.watch(Server())
    site.locator.watch("other", Server(port=5070), site.changed)
    assert [str(Question("pbx.example", "A"))] == site.dns.asked
    site.dns.answer_all()
    assert ["primary", "other"] == [key for key, *_ in site.changes]


def without_naptr():
    """A zone where SRV and A lead to two servers, and a DNS server that cannot serve NAPTR."""
    return {
        "NAPTR pbx.example": Failed("servfail"),
        "SRV _sip._udp.pbx.example": Found((Srv(1, 0, 5060, "a.example"), Srv(2, 0, 5070, "b.example")), 300),
        "A a.example": Found((Address("192.0.2.1"),), 300),
        "A b.example": Found((Address("192.0.2.2"),), 300),
    }


BOTH = ["192.0.2.1:5060;udp", "192.0.2.2:5070;udp"]


@pytest.mark.parametrize("naptr", [Failed("servfail"), Failed("timeout"), Found((), 60)])
def test_candidates_are_there_at_once_after_a_restart_without_dns(naptr):
    """D17, P21: the whole chain is remembered, also that there was no NAPTR. Nothing is waited for."""
    memory = Memory()
    site = Site({**without_naptr(), "NAPTR pbx.example": naptr}, memory=memory)
    site.watch(Server(port=0, transport="dns-naptr"))
    site.dns.answer_all()
    site.locator.stop()
    after = Site({}, memory=memory)
    after.watch(Server(port=0, transport="dns-naptr"))
    assert BOTH == after.known()
    after.dns.zone.update({question: Failed("timeout") for question in after.dns.asked})
    for _ in range(10):
        after.dns.answer_all()
        after.clock.advance(3600)
    assert BOTH == after.known()
    after.locator.stop()


def test_memory_is_what_led_to_candidates():
    """A name that vanishes does not vanish from the disk: after a restart it is still known where its server was."""
    memory = Memory()
    site = Site(memory=memory)
    site.watch(Server())
    site.dns.answer_all()
    site.dns.zone["A pbx.example"] = Found((), 60)
    site.clock.advance(80)
    site.dns.answer_all()
    site.locator.stop()
    after = Site({}, memory=memory)
    after.watch(Server())
    assert ["192.0.2.1:5060;udp"] == after.known()
    after.locator.stop()


def test_the_disk_is_written_when_answers_change_only():
    """TTL 0 means an answer every 4 s."""

    class Counting(Memory):
        writes = 0

        def save(self, answers):
            self.writes += 1
            self.update(answers)

    memory = Counting()
    site = Site({"A pbx.example": Found((Address("192.0.2.1"),), 0)}, memory=memory)
    site.watch(Server())
    for _ in range(20):
        site.dns.answer_all()
        site.clock.advance(4)
    assert (20, 1) == (len(site.lookups()), memory.writes)
    site.dns.zone["A pbx.example"] = Found((Address("192.0.2.2"),), 0)
    site.dns.answer_all()
    assert 2 == memory.writes
    site.locator.stop()


SRV = "SRV _sip._udp.pbx.example"


def rotate(site, number):
    """The SRV record leads to another name now, as it does with a provider that makes up names. TTL 30."""
    site.dns.zone[SRV] = Found((Srv(1, 1, 5060, f"ip-{number}.example"),), 30)
    site.dns.zone[f"A ip-{number}.example"] = Found((Address(f"192.0.2.{1 + number % 250}"),), 30)
    site.clock.advance(30)
    site.dns.answer_all()


def test_names_that_come_and_go_are_forgotten():
    """Cache and disk hold what leads to candidates, whatever led to them before."""
    memory = Memory({"A somewhere.example": '{"ttl": 300, "records": [{"address": "192.0.2.77"}]}'})
    site = Site({}, memory=memory)
    site.watch(Server(port=0))
    for number in range(1000):
        rotate(site, number)
    assert {SRV, "A ip-999.example"} == set(memory)
    assert 2 == len(site.locator._cache)
    site.locator.stop()
    after = Site({}, memory=memory)
    after.watch(Server(port=0))
    assert ["192.0.2.250:5060;udp"] == after.known()
    after.locator.stop()


def test_what_leads_to_the_list_in_use_is_kept_while_a_new_one_is_incomplete():
    """D17: the new name is not answered; after a restart the site goes on with the old one, without DNS."""
    memory = Memory()
    site = Site({}, memory=memory)
    site.watch(Server(port=0))
    rotate(site, 1)
    site.dns.zone[SRV] = Found((Srv(1, 1, 5060, "ip-2.example"),), 30)
    site.dns.zone["A ip-2.example"] = Failed("timeout")
    for _ in range(20):
        site.clock.advance(30)
        site.dns.answer_all()
    assert ["192.0.2.2:5060;udp"] == site.known()
    assert {SRV, "A ip-1.example"} == set(memory)
    site.locator.stop()
    after = Site({}, memory=memory)
    after.watch(Server(port=0))
    assert ["192.0.2.2:5060;udp"] == after.known()
    after.locator.stop()


def test_an_outage_of_a_name_that_is_needed_no_more_is_over():
    """Nobody asks for it again, so nobody would ever say that DNS answers."""
    site = Site({})
    site.watch(Server(port=0))
    rotate(site, 1)
    site.dns.zone["A ip-1.example"] = Failed("timeout")
    site.clock.advance(30)
    site.dns.answer_all()
    rotate(site, 2)
    rotate(site, 2)
    alarms = [event.text for event in site.events if isinstance(event, Alarm)]
    assert 2 == len(alarms)
    assert "DNS answers again" == alarms[-1]
    site.locator.stop()


def test_naptr_that_fails_is_asked_again_and_found_when_it_works():
    """S22."""
    site = Site(without_naptr())
    site.watch(Server(port=0, transport="dns-naptr"))
    site.dns.answer_all()
    assert BOTH == site.known()
    site.dns.zone["NAPTR pbx.example"] = Found((Naptr(1, 1, "s", "SIP+D2U", "_sip._udp.pbx.example"),), 300)
    site.clock.advance(10)
    assert "NAPTR pbx.example" == site.dns.asked[-1]
    site.dns.answer_all()
    assert BOTH == site.known()
    assert [] == site.alarms()
    site.locator.stop()


def test_requery_leaves_a_found_list_in_peace():
    """V28: about every 2 h, the negative answers on the way too."""
    site = Site(without_naptr() | {"NAPTR pbx.example": Found((), 60)})
    site.watch(Server(port=0, transport="dns-naptr"), freshness=Freshness(requery=7200))
    site.dns.answer_all()
    asked = len(site.dns.asked)
    site.clock.advance(7199)
    assert asked == len(site.dns.asked)
    site.clock.advance(1.5)
    assert 2 * asked == len(site.dns.asked)
    site.locator.stop()


def test_requery_does_not_keep_a_site_without_servers():
    """What is not there is asked for as often as ever."""
    site = Site({})
    site.watch(Server(), freshness=Freshness(requery=7200))
    site.dns.answer_all()
    site.clock.advance(61)
    assert 2 == len(site.dns.asked)
    site.locator.stop()


def test_each_group_has_its_own_freshness():
    """One answer, asked for again as soon as one of them wants it."""
    site = Site()
    site.watch(Server(), freshness=Freshness(requery=7200))
    site.locator.watch("other", Server(), site.changed, freshness=Freshness(ceiling=60))
    site.dns.answer_all()
    site.clock.advance(47)
    assert 1 == len(site.dns.asked)
    site.clock.advance(2)
    assert 2 == len(site.dns.asked)
    site.locator.stop()


def test_new_ttl_is_told():
    """Y26: failback by TTL goes by the records in use."""
    site = Site()
    site.watch(Server())
    site.dns.answer_all()
    site.dns.zone["A pbx.example"] = Found((Address("192.0.2.1"),), 30)
    site.clock.advance(80)
    site.dns.answer_all()
    assert [100, 30] == [ttl for *_, ttl in site.changes]
    site.locator.stop()


def test_nobody_becomes_first_because_its_answer_came_first():
    """V4: where there is no failback, what was first for a moment would stay it."""
    site = Site(without_naptr())
    site.watch(Server(port=0))
    question, answered = site.dns.open.pop()
    answered(question, site.dns.zone[str(question)])
    late, early = site.dns.open.pop(0), site.dns.open.pop(0)
    assert ["A a.example", "A b.example"] == [str(late[0]), str(early[0])]
    early[1](early[0], site.dns.zone["A b.example"])
    assert [] == site.known()
    late[1](late[0], site.dns.zone["A a.example"])
    assert BOTH == site.known()
    site.locator.stop()


def test_outage_is_told_once_and_its_end_too(site):
    site.watch(Server())
    site.dns.answer_all()
    good = site.dns.zone["A pbx.example"]
    site.dns.zone["A pbx.example"] = Failed("timeout")
    for _ in range(5):
        site.clock.advance(100)
        site.dns.answer_all()
    told = "no DNS server answers (A pbx.example); what was last known stays in use"
    assert [told] == site.alarms()
    site.dns.zone["A pbx.example"] = good
    site.clock.advance(10)
    site.dns.answer_all()
    assert [told, "DNS answers again"] == site.alarms()


def test_server_that_is_watched_anew_keeps_its_candidates(site):
    """A reload while DNS says nothing about the name."""
    site.watch(Server())
    site.dns.answer_all()
    site.dns.zone["A pbx.example"] = Found((), 60)
    site.clock.advance(80)
    site.dns.answer_all()
    site.watch(Server(), srv_weight="descending")
    assert ["192.0.2.1:5060;udp"] == site.known()
    site.watch(Server(address="other.example"))
    assert [] == site.known()


def test_transports_of_our_sockets():
    """A NAPTR for a transport without a socket is passed over."""
    naptr = (Naptr(1, 1, "s", "SIPS+D2T", "_sips._tcp.pbx.example"), Naptr(2, 1, "s", "SIP+D2U", "_sip._udp.pbx.example"))
    site = Site(without_naptr() | {"NAPTR pbx.example": Found(naptr, 60)}, transports=("udp",))
    site.watch(Server(port=0, transport="dns-naptr"))
    site.dns.answer_all()
    assert BOTH == site.known()
    site.locator.stop()
