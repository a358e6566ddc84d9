"""What the kernel makes of our program, on loopback."""

from __future__ import annotations

import socket

import pytest

from sbc.proxy.validation import Branches
from sbc.sip.message import Response
from sbc.transport.udp import bound_socket
from sbc.workers import marks
from sbc.workers.steering import steer, steering_program
from tests.helpers.network import request

WORKERS = 12
"""More than ten, so that there are letters among their marks."""
_KERNELS_LIMIT = 4096
"""Instructions of a classic BPF program (BPF_MAXINSNS)."""


class Port:
    """A port that so many share, and somebody who sends to it."""

    def __init__(self, address: str) -> None:
        self.sockets = [bound_socket(address, 0, share=True)]
        port = self.sockets[0].getsockname()[1]
        self.sockets += [bound_socket(address, port, share=True) for _ in range(WORKERS - 1)]
        steer(self.sockets[0])
        self.address = (address, port)
        self.peer = socket.socket(self.sockets[0].family, socket.SOCK_DGRAM)
        self.peer.bind((address, 0))

    def taker(self, data: bytes, peer: socket.socket | None = None) -> int:
        """Which socket gets it."""
        (peer or self.peer).sendto(data, self.address)
        takers = []
        for number, each in enumerate(self.sockets):
            try:
                assert data == each.recv(65535)
                takers.append(number)
            except BlockingIOError:
                pass
        (taker,) = takers
        return taker

    def close(self) -> None:
        for each in (*self.sockets, self.peer):
            each.close()


@pytest.fixture(params=["127.0.0.1", "::1"])
def port(request):
    made = Port(request.param)
    yield made
    made.close()


def response(branch: str, status: int = 200, sent_by: str = "192.0.2.1:5060", reason: str | None = None) -> bytes:
    """The answer to a request of ours with that branch."""
    ours = request("INVITE", branch=branch, sent_by=sent_by)
    return Response.for_request(ours, status, reason).to_bytes()


@pytest.mark.parametrize("worker", range(WORKERS))
def test_a_response_goes_to_the_worker_of_its_branch(port, worker):
    branch = Branches(marks.boot_word(worker)).new(request("INVITE"))
    assert worker == port.taker(response(branch))
    assert worker == port.taker(response(branch, 100))


def test_however_long_what_stands_before_it(port):
    branch = Branches(marks.boot_word(7)).new(request("INVITE"))
    short = f"SIP/2.0 200 \r\nv:SIP/2.0/UDP a;branch={branch}\r\n".encode()
    for data in (
        short + bytes(100),
        response(branch, 488, reason="Not Acceptable Here, Because Of Everything That Was Offered " * 4),
        response(branch, sent_by="[2001:db8:1111:2222:3333:4444:5555:6666]:65535"),
    ):
        assert 7 == port.taker(data)


def test_of_several_vias_the_top_one_counts(port):
    """The other is the phone's, or that of a worker through which the call has passed before."""
    boots = [Branches(marks.boot_word(worker)).new(request("INVITE")) for worker in (3, 9)]
    vias = "".join(f"Via: SIP/2.0/UDP 192.0.2.1:5060;branch={branch};rport=5060\r\n" for branch in boots)
    assert 3 == port.taker(f"SIP/2.0 180 Ringing\r\n{vias}\r\n".encode() + bytes(600))


def test_requests_stay_with_one_worker_for_each_address(port):
    """Whatever they carry: a branch of ours in a request is somebody's who calls through us twice."""
    invite = request("INVITE", branch=Branches(marks.boot_word(5)).new(request("INVITE"))).to_bytes()
    bye = request("BYE", branch="z9hG4bKphone").to_bytes()
    assert 1 == len({port.taker(data) for data in (invite, bye, invite * 3)})


def test_requests_of_many_phones_come_to_all(port):
    found = set()
    for _ in range(200):
        with socket.socket(port.sockets[0].family, socket.SOCK_DGRAM) as phone:
            phone.bind((port.address[0], 0))
            found.add(port.taker(request("INVITE").to_bytes(), phone))
    assert set(range(WORKERS)) == found


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n\r\n",
        b"\0",
        b"SIP/2.0 200 OK\r\n\r\n",
        b"SIP/2.0 200 OK\r\n" + b"x" * 3000,
        response("z9hG4bKofSomebodyElse"),
        response(f"z9hG4bK0123456789{marks.boot_word(31)}0"),
        response("z9hG4bK0123456789~~~~~~"),
    ],
)
def test_what_makes_no_sense_comes_to_somebody(port, data):
    """Keep-alives, foreign responses, and those of a worker that there is no more: nothing is lost on the way."""
    assert port.taker(data) in range(WORKERS)


def test_the_kernel_takes_programs_of_this_size():
    assert len(steering_program()) < _KERNELS_LIMIT
