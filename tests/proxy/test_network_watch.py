"""Looking at the network: what is asked when, and what is told (V20, D33)."""

from __future__ import annotations

import pytest

from sbc.proxy.network_watch import NetworkWatch
from sbc.redundancy.network import Network
from tests.helpers.clock import FakeClock
from tests.redundancy.site import P1, P2, SILENT, Site, settings


class System:
    """Links that lead everywhere, and a reference that answers when it is told to."""

    def __init__(self) -> None:
        self.cut: set[str] = set()
        self.asked: list[str] = []
        self.then = None

    def leads_to(self, address: str) -> bool:
        return address not in self.cut

    def ask(self, server_address: str, then) -> None:
        assert self.then is None, "asked again before the answer"
        self.asked.append(server_address)
        self.then = then

    def answer(self, answer: bool | None) -> None:
        then, self.then = self.then, None
        then(answer)


class Watched:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.system = System()
        self.site = Site(settings("primary", "fallback"))
        self.site.answers.update({P1: 200, P2: 200})
        self.site.probe(P1, P2)
        self.found: list[Network] = []
        self.watch = NetworkWatch(
            self.clock, self.system, self.system, [self.site.group], self.found.append, Network()
        )
        self.watch.start()

    @property
    def states(self) -> list[str]:
        return [network.state for network in self.found]

    def silence(self) -> None:
        self.site.answers.update({P1: SILENT, P2: SILENT})
        for _ in range(2):
            self.site.probe(P1, P2)


@pytest.fixture
def watched():
    made = Watched()
    yield made
    made.watch.stop()
    assert made.clock.pending == 0


def test_on_a_good_day_nothing_is_asked_and_nothing_told(watched):
    watched.clock.advance(100)
    assert ([], []) == (watched.found, watched.system.asked)


def test_v20_no_link_to_any_server_of_a_group(watched):
    """At once when the system says that something has changed, and at the next look anyway."""
    watched.system.cut = {P1.address, P2.address}
    watched.watch.look()
    assert [("link_down", {"office"})] == [(network.state, network.frozen) for network in watched.found]
    watched.system.cut.clear()
    watched.clock.advance(1)
    assert ["link_down", "up"] == watched.states


def test_a_link_to_one_of_the_servers_is_enough(watched):
    """The other one is dead then, and that is what failover is for."""
    watched.system.cut = {P1.address}
    watched.clock.advance(10)
    assert [] == watched.found


def test_d33_all_silent_and_the_reference_too(watched):
    watched.silence()
    watched.clock.advance(1)
    assert ([P1.address], []) == (watched.system.asked, watched.states)
    watched.system.answer(False)
    assert ["uplink_down"] == watched.states


def test_d33_all_silent_and_the_reference_answers(watched):
    """It is the servers; and the reference is asked again, because that may change."""
    watched.silence()
    watched.clock.advance(1)
    watched.system.answer(True)
    watched.clock.advance(4)
    assert 1 == len(watched.system.asked)
    watched.clock.advance(2)
    assert (2, []) == (len(watched.system.asked), watched.states)
    watched.system.answer(False)
    assert ["uplink_down"] == watched.states


def test_the_first_answer_of_a_server_ends_it(watched):
    watched.silence()
    watched.clock.advance(1)
    watched.system.answer(False)
    watched.site.answers[P2] = 200
    for _ in range(3):
        watched.site.probe(P2)
    watched.clock.advance(1)
    assert ["uplink_down", "up"] == watched.states


def test_nobody_to_ask_nothing_claimed(watched):
    """Servers on our own network have no gateway before them."""
    watched.silence()
    watched.clock.advance(1)
    watched.system.answer(None)
    assert [] == watched.states


def test_d33_only_lookups_fail(watched):
    for _ in range(3):
        watched.watch.lookups.note("timeout")
    watched.clock.advance(1)
    watched.watch.lookups.note("ok")
    watched.clock.advance(1)
    assert ["dns_down", "up"] == watched.states


def test_it_goes_on_from_what_was_known():
    """A worker takes over the watch in the middle of an outage, and finds it over."""
    clock, system, found = FakeClock(), System(), []
    watch = NetworkWatch(clock, system, system, [], found.append, Network("link_down", "", frozenset({"office"})))
    watch.start()
    assert ["up"] == [network.state for network in found]
    watch.stop()


def test_an_answer_after_the_end_is_ignored(watched):
    watched.silence()
    watched.clock.advance(1)
    watched.watch.stop()
    watched.system.answer(False)
    assert [] == watched.found
