"""What the supervisor opens, and what a worker finds."""

from __future__ import annotations

import os
import socket

import pytest

from sbc.config import Listen
from sbc.workers.sockets import CannotBind, Inherited, Sockets


def listen(port: int = 0, side: str = "both", worker_port: int = 0, address: str = "127.0.0.1") -> Listen:
    return Listen("udp", address, port, side, "", None, None, worker_port)


@pytest.fixture
def opened():
    """Opens `Sockets`, and closes them."""
    made: list[Sockets] = []

    def open_(*listens: Listen, workers: int = 2) -> Sockets:
        made.append(Sockets(listens, workers))
        return made[-1]

    yield open_
    for sockets in made:
        sockets.close()


def ports(sockets: Sockets, worker: int) -> list[int]:
    return [port for pair in sockets._pairs[worker] for each in pair if each for port in [each.getsockname()[1]]]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_workers_share_the_phones_port_and_have_one_each(opened, address):
    sockets = opened(listen(address=address))
    (shared, own), (other_shared, other_own) = ports(sockets, 0), ports(sockets, 1)
    assert shared == other_shared == sockets.addresses[0][1]
    assert len({shared, own, other_own}) == 3
    assert [[own, other_own]] == sockets.own_ports()


def test_ports_towards_servers_follow_each_other(opened):
    """Where the configuration says, and a firewall knows."""
    free = opened(listen()).own_ports()[0]
    base = min(free) + 2000 if min(free) < 50000 else min(free) - 2000
    assert [[base, base + 1, base + 2]] == opened(listen(worker_port=base), workers=3).own_ports()


def test_phones_only_needs_no_more(opened):
    sockets = opened(listen(side="phones"), listen(side="servers"))
    assert [1, 2] == [1 if not own else 2 for own in sockets.own_ports()]


def test_who_shares_a_port_still_wants_it_alone(opened):
    """SO_REUSEPORT would let a second appliance in, and half of the calls would go there."""
    port = opened(listen()).addresses[0][1]
    with pytest.raises(CannotBind, match=f"cannot listen on udp 127.0.0.1:{port}: Address already in use"):
        opened(listen(port))


def test_a_taken_port_of_a_worker_is_named(opened):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        taken = other.getsockname()[1]
        with pytest.raises(CannotBind, match=f"cannot listen on udp 127.0.0.1:{taken} for worker 0"):
            opened(listen(worker_port=taken))


def test_a_worker_finds_its_own(opened):
    """By the order of the descriptors; nothing else is said about them."""
    listens = [listen(side="phones"), listen()]
    sockets = opened(*listens)
    copies = []
    numbers = sockets.descriptors_for(1)
    first = 700  # above everything that is open
    for place, number in enumerate(numbers):
        copies.append(os.dup2(number, first + place))
    config = type("Config", (), {"listens": listens})
    inherited = Inherited(config, 2, first)
    assert ports(sockets, 1) == [each.getsockname()[1] for pair in inherited.pairs for each in pair if each]
    assert [None, True] == [pair.own and True for pair in inherited.pairs]
    inherited.outlets[1].send(b"to myself")
    assert b"to myself" == inherited.inbox.recv(100)
    for each in [inherited.inbox, *inherited.outlets, *(each for pair in inherited.pairs for each in pair if each)]:
        each.close()
