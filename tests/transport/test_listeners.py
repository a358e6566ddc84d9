"""Which socket to use, and what names us."""

from __future__ import annotations

import sys

import pytest
from twisted.internet.epollreactor import EPollReactor

from sbc.flow import Receiver
from sbc.location.candidate import Candidate
from sbc.transport.listeners import Listeners
from sbc.transport.udp import UdpTransport


@pytest.fixture
def reactor():
    made = EPollReactor()
    yield made
    made.removeAll()


@pytest.fixture
def listen(reactor):
    """Opens sockets, closed again at the end."""
    opened = []

    def opener(address: str, port: int = 0, **options) -> UdpTransport:
        opened.append(UdpTransport(reactor, Receiver(), address, port, **options))
        opened[-1].start()
        return opened[-1]

    yield opener
    for transport in opened:
        transport.stop()


def test_socket_in_the_phones_own_network(listen):
    """Two networks of phones, the same port in both: what a phone gets comes from the address that it knows."""
    other = listen("127.0.0.3", side="phones")
    own = listen("127.0.0.1", other.local[1], side="phones")
    listeners = Listeners([other, own])
    assert listeners.flow_to_phone("udp", "127.0.0.1", 5060, own.local[1]).local == own.local
    assert listeners.flow_to_server(Candidate("127.0.0.1", 5060, "udp")) is None


def test_socket_with_the_phones_port_comes_first(listen):
    """RFC 3581: requests come from where the phone sent to, also when another socket is nearer."""
    near, known = listen("127.0.0.1"), listen("127.0.0.3")
    flow = Listeners([near, known]).flow_to_phone("udp", "127.0.0.1", 5060, known.local[1])
    assert flow.local == known.local


def test_socket_that_leads_to_the_server(listen):
    """Of two that may face servers, the one that the kernel would take; no socket, no flow."""
    far, near = listen("127.0.0.3", side="servers"), listen("127.0.0.1")
    listeners = Listeners([far, near])
    assert listeners.flow_to_server(Candidate("127.0.0.1", 5060, "udp")).local == near.local
    assert listeners.flow_to_server(Candidate("::1", 5060, "udp")) is None


@pytest.mark.parametrize(
    ("host", "port", "ours"),
    [
        ("127.0.0.1", 0, True), ("SBC.example.com", 5061, True), ("SBC.example.com", 0, False), ("::1", 0, False),
        ("localhost", 0, False), ("192.0.2.1", 0, False),
    ],
)  # fmt: skip
def test_names_us(listen, host, port, ours):
    """By its address and port, or by what it advertises."""
    transport = listen("0.0.0.0", advertise="sbc.example.com:5061")
    assert Listeners([transport]).is_ours(host, port or transport.local[1]) is ours


def test_every_spelling_of_an_ipv6_address_names_us(listen):
    """RFC 5118 4.1."""
    transport = listen("::1")
    assert Listeners([transport]).is_ours("0:0:0:0:0:0:0:1", transport.local[1])


def test_wildcard_looks_again_for_its_addresses(listen, reactor):
    """DHCP may change them, and a pair hands its address over: flows are made anew."""
    transport = listen("0.0.0.0")
    before = transport.flow_to("127.0.0.1", 9)
    assert transport.flow_to("127.0.0.1", 9) is before
    transport._forget_own_addresses()
    assert transport.flow_to("127.0.0.1", 9) is not before


def test_what_names_us_is_found_out_again_with_the_addresses(listen, monkeypatch):
    """What is remembered between two looks must not outlive an address that went to the other of a pair."""
    transport = listen("0.0.0.0")
    listeners = Listeners([transport])
    monkeypatch.setattr("sbc.transport.place.is_local_address", lambda host: host == "198.51.100.7")
    assert listeners.is_ours("198.51.100.7", transport.local[1])
    monkeypatch.setattr("sbc.transport.place.is_local_address", lambda host: False)
    transport._forget_own_addresses()
    assert not listeners.is_ours("198.51.100.7", transport.local[1])


def test_forgotten_flows_are_freed_at_once(listen):
    """What others remember in a flow leads back to it; it must not wait for the garbage collector, who hardly ever comes."""
    transport = listen("0.0.0.0")
    flow = transport.flow_to("127.0.0.1", 9)
    flow.phone_address = [flow]
    flow.origin = [flow]
    transport._forget_own_addresses()
    assert sys.getrefcount(flow) == 2  # ours, and the argument
