"""The signed cookie of our Record-Route (D21)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sbc.location.candidate import Candidate
from sbc.proxy.network import PhoneAddress
from sbc.proxy.route_cookie import RouteCookie

KEY = b"s" * 32
addresses = st.ip_addresses().map(str)
ports = st.integers(1, 65535)
transports = st.sampled_from(["udp", "tcp", "tls"])


@given(addresses, ports, transports, addresses, ports, transports, ports)
def test_there_and_back(server, server_port, server_transport, phone, phone_port, phone_transport, local_port):
    """Any two ends, IPv4 and IPv6 mixed, survive the way through both user agents."""
    cookie = RouteCookie(
        Candidate(server, server_port, server_transport), PhoneAddress(phone_transport, phone, phone_port, local_port)
    )
    assert RouteCookie.verify(cookie.sign(KEY), KEY) == cookie


@given(st.text(max_size=120))
def test_nothing_else_is_accepted(text):
    """Whatever somebody writes there: no cookie, and no exception."""
    assert RouteCookie.verify(text, KEY) is None


@pytest.fixture
def cookie():
    return RouteCookie(Candidate("198.51.100.10", 5060, "udp"), PhoneAddress("udp", "192.0.2.50", 5062, 5060))


def test_every_changed_character_is_noticed(cookie):
    signed = cookie.sign(KEY)
    for place in range(len(signed)):
        other = "A" if signed[place] != "A" else "B"
        changed = signed[:place] + other + signed[place + 1 :]
        assert RouteCookie.verify(changed, KEY) is None, place


def test_another_key_is_another_appliance(cookie):
    assert RouteCookie.verify(cookie.sign(KEY), b"t" * 32) is None


def test_is_short(cookie):
    """D27: added bytes count against the 1300 of a UDP request."""
    assert len(cookie.sign(KEY)) <= 40


def test_is_a_legal_parameter_value(cookie):
    """RFC 3261 25.1: token characters only, or strict user agents would have to escape it."""
    assert all(character.isalnum() or character in "-_" for character in cookie.sign(KEY))
