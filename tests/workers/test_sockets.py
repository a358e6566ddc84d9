"""What the supervisor opens, and what a worker finds."""

from __future__ import annotations

import os
import socket

import pytest

from sbc.config import Listen
from sbc.workers.sockets import CannotBind, Inherited, Sockets


def listen(port: int = 0, side: str = "both", address: str = "127.0.0.1") -> Listen:
    return Listen("udp", address, port, side, "", None, None)


@pytest.fixture
def opened():
    """Opens `Sockets`, and closes them."""
    made: list[Sockets] = []

    def open_(*listens: Listen, workers: int = 2) -> Sockets:
        unsteered: list[str] = []
        made.append(Sockets(listens, workers, unsteered.append))
        assert [] == unsteered
        return made[-1]

    yield open_
    for sockets in made:
        sockets.close()


def ports(sockets: Sockets) -> list[list[int]]:
    """Of each `[[listen]]`, for each worker."""
    return [[each.getsockname()[1] for each in of_listen] for of_listen in sockets._shared]


def test_tcp_beside_udp(opened):
    """RFC 3261 18.2.1: on the same port, for all workers, without a line in the configuration."""
    made = Sockets([listen(), listen(side="phones")], 2, lambda reason: None, beside=[0])
    udp, phones, tcp = ports(made)
    assert udp == tcp != phones
    assert made.beside == [0]
    assert made.transports == ["udp", "udp", "tcp"]
    assert made.addresses[0] == made.addresses[2]
    with socket.create_connection(made.addresses[2], timeout=2):
        pass  # it listens
    made.close()


def test_tcp_beside_udp_is_not_forced(opened):
    """Somebody else has that port: servers reach us by the connections that we make."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        made = Sockets([listen(port)], 2, lambda reason: None, beside=[0])
        assert (made.beside, made.transports) == ([], ["udp"])
        made.close()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_workers_share_every_port(opened, address):
    sockets = opened(listen(address=address), listen(address=address), workers=3)
    first, second = ports(sockets)
    assert [sockets.addresses[0][1]] * 3 == first
    assert [sockets.addresses[1][1]] * 3 == second
    assert first != second


def test_who_shares_a_port_still_wants_it_alone(opened):
    """SO_REUSEPORT would let a second appliance in, and half of the calls would go there."""
    port = opened(listen()).addresses[0][1]
    with pytest.raises(CannotBind, match=f"cannot listen on udp 127.0.0.1:{port}: Address already in use"):
        opened(listen(port))


def test_a_kernel_that_does_not_steer_is_told_of(monkeypatch):
    """Everything works as before, with more hand-overs."""

    def refuse(shared) -> None:
        raise OSError(92, "Protocol not available")

    monkeypatch.setattr("sbc.workers.sockets.steer", refuse)
    reasons: list[str] = []
    sockets = Sockets([listen(5099)], 2, reasons.append)
    assert ["udp 127.0.0.1:5099: Protocol not available"] == reasons
    assert [[5099, 5099]] == ports(sockets)
    sockets.close()


def test_a_worker_finds_its_own(opened):
    """By the order of the descriptors; nothing else is said about them."""
    sockets = opened(listen(), listen(), workers=2)
    first = 700  # above everything that is open
    for place, number in enumerate(sockets.descriptors_for(1)):
        os.dup2(number, first + place)
    inherited = Inherited(2, 2, first)
    assert [address[1] for address in sockets.addresses] == [each.getsockname()[1] for each in inherited.shared]
    inherited.outlets[1].send(b"to myself")
    assert b"to myself" == inherited.inbox.recv(100)
    for each in [inherited.inbox, *inherited.outlets, *inherited.shared]:
        each.close()
