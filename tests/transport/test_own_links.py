"""What Linux says of links and ways, and the reference that tells a dead uplink from dead servers. Loopback only."""

from __future__ import annotations

import socket
import struct

import pytest
from twisted.internet.selectreactor import SelectReactor

from sbc.transport.own_links import OwnLinks, Way
from sbc.transport.reference import Reference

from tests.e2e.peers.process import free_port


@pytest.fixture
def links():
    made = OwnLinks(SelectReactor(), lambda: None)
    made.start()
    yield made
    made.stop()


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.8.7"])
def test_loopback_always_leads_to_us(links, address):
    """It never freezes (V20 is about the network)."""
    way = links.way_to(address)
    assert (socket.if_nametoindex("lo"), "") == way
    assert links.leads_to(address)


def test_an_interface_that_does_not_exist(links):
    assert not links.is_running(2**31 - 1)


def test_no_way(links):
    """An address of nobody's: IPv6 that is not routed, whatever the machine."""
    assert links.way_to("100::1") is None or not links.way_to("100::1").gateway == "100::1"
    assert not OwnLinks(SelectReactor(), lambda: None).leads_to("127.0.0.1"), "not started: nothing is known"


def test_a_neighbour_that_nobody_has_heard_of(links):
    way = Way(socket.if_nametoindex("lo"), "127.99.99.99")
    assert links.neighbour_is_there(way) is False


def asked(hosts) -> bool | None:
    reactor, answers = SelectReactor(), []

    def then(answer):
        answers.append(answer)
        reactor.callLater(0.1, reactor.stop)  # a second answer would be one too many

    class NoGateway:
        def way_to(self, address):
            return Way(1, "")

    reference = Reference(reactor, NoGateway(), hosts)
    reactor.callWhenRunning(reference.ask, "127.0.0.1", then)
    reactor.run(installSignalHandlers=False)
    (answer,) = answers
    return answer


def test_a_host_that_accepts_is_there():
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert asked([server.getsockname()[:2]]) is True


def test_a_host_that_refuses_is_there_too():
    """Somebody had to refuse."""
    assert asked([("127.0.0.1", free_port())]) is True


def silent_server() -> socket.socket:
    """Its queue is full, so it does not even accept."""
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen(0)
    return server


def test_a_host_that_is_silent_is_not():
    """And one that answers is enough."""
    with silent_server() as server:
        place = server.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(place)
        try:
            assert asked([place]) is False
            assert asked([place, ("127.0.0.1", free_port())]) is True
        finally:
            for filler in fillers:
                filler.close()


def test_without_hosts_and_gateway_there_is_nobody_to_ask():
    assert asked([]) is None


class Table:
    """A neighbour table that says one thing after the other."""

    def __init__(self, *states):
        self.states = list(states)

    def way_to(self, address):
        return Way(socket.if_nametoindex("lo"), "127.0.0.1")

    def neighbour_is_there(self, way):
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]


class Clock:
    """Time passes when nothing else is to do."""

    def __init__(self):
        self.waiting = []
        self.passed = 0.0

    def callLater(self, delay, function, *arguments):  # noqa: N802 (Twisted's name)
        self.waiting.append((delay, function, arguments))

    def run(self):
        while self.waiting:
            delay, function, arguments = self.waiting.pop(0)
            self.passed += delay
            function(*arguments)


@pytest.mark.parametrize(
    ("states", "answer", "seconds"),
    [
        ((True,), True, 1), ((False,), False, 1), ((None, None, True), True, 3), ((None, None, None, False), False, 4),
        ((None,), False, 13),  # asked all the time, and no answer
    ],
)  # fmt: skip
def test_the_gateway_is_looked_for_on_the_link(states, answer, seconds):
    """A neighbour that was there a moment ago is in doubt for a while."""
    clock, answers = Clock(), []
    Reference(clock, Table(*states), []).ask("192.0.2.1", answers.append)
    clock.run()
    assert ([answer], seconds) == (answers, clock.passed)


def test_a_change_is_reported(links):
    """A message of any kind on the events' socket; many at once are one change."""
    seen = []
    watched = OwnLinks(SelectReactor(), lambda: seen.append(1))
    watched.start()
    try:
        watched.doRead()
        assert [1] == seen
        assert watched.fileno() >= 0
    finally:
        watched.stop()
    assert -1 == watched.fileno()
    assert struct.calcsize("=IHHII") == 16
