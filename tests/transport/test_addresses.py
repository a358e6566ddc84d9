"""What is an address of ours, and which one we write."""

from __future__ import annotations

import socket

import pytest

from sbc.transport import addresses
from sbc.transport.addresses import canonical_host, is_local_address, local_address_towards


@pytest.fixture(autouse=True)
def fresh():
    addresses.forget_own_addresses()
    yield
    addresses.forget_own_addresses()


@pytest.mark.parametrize("host", ["localhost", "a" * 64 + ".example", "a..b", ""])
def test_names_are_not_looked_up(host):
    """Every Request-URI is asked about: a name must not make the reactor wait for DNS, nor raise."""
    assert not is_local_address(host)


def test_own_addresses():
    assert is_local_address("127.0.0.1")
    assert is_local_address("::1")
    assert not is_local_address("192.0.2.1")


def test_no_route_is_not_remembered(monkeypatch):
    """Started before the network was: once it is there, the right address is written."""

    class NoNetwork(socket.socket):
        def connect(self, address):
            raise OSError("Network is unreachable")

    with monkeypatch.context() as patched:
        patched.setattr(addresses.socket, "socket", NoNetwork)
        assert local_address_towards("127.0.0.2") == "127.0.0.1"
        assert local_address_towards("::1") == "::1"
    asked = []

    class Network(socket.socket):
        def connect(self, address):
            asked.append(address)
            super().connect(address)

    monkeypatch.setattr(addresses.socket, "socket", Network)
    for _ in range(2):
        assert local_address_towards("127.0.0.2") == "127.0.0.1"
    assert asked == [("127.0.0.2", 9)]


@pytest.mark.parametrize(
    ("host", "canonical"),
    [("SBC.Example.COM", "sbc.example.com"), ("2001:DB8:0:0::1", "2001:db8::1"), ("192.0.2.1", "192.0.2.1"), ("::g", "::g")],
)
def test_one_spelling(host, canonical):
    assert canonical_host(host) == canonical
