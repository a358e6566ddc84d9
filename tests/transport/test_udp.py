"""The UDP socket on loopback, driven by a reactor of the test's own."""

from __future__ import annotations

import socket

import pytest
from twisted.internet.epollreactor import EPollReactor

from sbc.transport import _datagrams
from sbc.transport.addresses import host_and_port, raw_address, written
from sbc.transport.reactor import Reactor
from sbc.transport.udp import UdpTransport
from tests.transport.surroundings import Recorder, turn

OPTIONS = (
    b"OPTIONS sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7:5099;branch=z9hG4bKa;rport\r\n"
    b"From: <sip:a@example.com>;tag=1\r\nTo: <sip:example.com>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\n"
    b"Content-Length: 0\r\n\r\n"
)


@pytest.fixture(params=[EPollReactor, Reactor])
def reactor(request):
    made = request.param()
    yield made
    made.removeAll()


@pytest.fixture
def receiver():
    return Recorder()


@pytest.fixture(params=["127.0.0.1", "::1"])
def transport(request, reactor, receiver):
    made = UdpTransport(reactor, receiver, request.param, 0)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def peer(transport):
    with socket.socket(transport.family, socket.SOCK_DGRAM) as made:
        made.bind((transport.local[0], 0))
        made.settimeout(2)
        yield made


def test_is_compiled():
    """The batched system calls cannot be anything else."""
    assert _datagrams.__file__.endswith(".so")


def test_receives_a_batch_in_order(reactor, receiver, transport, peer):
    """More datagrams than one system call takes, none lost, none cut."""
    numbers = range(150)
    for number in numbers:
        peer.sendto(OPTIONS.replace(b"Call-ID: c", b"Call-ID: c%d" % number), transport.local)
    turn(reactor, lambda: len(receiver.messages) == len(numbers))
    assert [message.call_id for message, _ in receiver.messages] == [f"c{number}" for number in numbers]


def test_notes_where_it_came_from(reactor, receiver, transport, peer):
    """RFC 3261 18.2.1, RFC 3581: received and rport, whatever the sent-by says."""
    peer.sendto(OPTIONS, transport.local)
    turn(reactor, lambda: receiver.messages)
    message, flow = receiver.messages[0]
    assert message.top_via.received == transport.local[0]
    assert message.top_via.rport == peer.getsockname()[1]
    assert flow.remote == peer.getsockname()[:2]


def test_what_has_its_answer_at_hand_is_not_read(reactor, receiver, transport, peer):
    """Whatever it is; and what follows is read again."""
    receiver.at_hand[b"known, and no SIP"] = b"the answer"
    for data in (b"known, and no SIP", OPTIONS) * 2:
        peer.sendto(data, transport.local)
    turn(reactor, lambda: len(receiver.messages) == 2)
    assert [b"the answer"] * 2 == [peer.recv(100) for _ in range(2)]
    assert [] == receiver.malformed


def test_answers_from_the_port_that_was_asked(reactor, receiver, transport, peer):
    """RFC 3581 4: the way back through a NAT."""
    peer.sendto(OPTIONS, transport.local)
    turn(reactor, lambda: receiver.messages)
    receiver.messages[0][1].send(b"hello")
    data, source = peer.recvfrom(100)
    assert (data, source[:2]) == (b"hello", transport.local)


def test_largest_datagram(reactor, receiver, transport, peer):
    """Nothing that UDP can carry is cut."""
    body = b"x" * 60000
    peer.sendto(OPTIONS.replace(b"Content-Length: 0", b"Content-Length: 60000") + body, transport.local)
    turn(reactor, lambda: receiver.messages)
    assert receiver.messages[0][0].body == body


def test_keep_alives_and_rubbish(reactor, receiver, transport, peer):
    """CRLFs and zero bytes are keep-alives; what is not SIP is reported as malformed; neither disturbs what follows."""
    for data in (b"\r\n\r\n", b"\r\n", b"\0", b"", b"rubbish", bytes(range(256)), OPTIONS):
        peer.sendto(data, transport.local)
    turn(reactor, lambda: receiver.messages)
    assert len(receiver.malformed) == 2


def test_icmp_port_unreachable_quotes_the_datagram(reactor, receiver, transport):
    """D16: the error of a closed port comes back with what we sent, and the socket lives on."""
    with socket.socket(transport.family, socket.SOCK_DGRAM) as gone:
        gone.bind((transport.local[0], 0))
        closed = gone.getsockname()[1]
    for _ in range(3):
        receiver.failed.clear()
        transport.flow_to(transport.local[0], closed).send(OPTIONS)
        turn(reactor, lambda: receiver.failed)
        quoted, cause = receiver.failed[0]
        assert cause == "icmp"
        assert OPTIONS.startswith(quoted[:100])
    transport.flow_to(*transport.local).send(OPTIONS)
    turn(reactor, lambda: receiver.messages)


def test_handler_that_fails_loses_one_message_only(reactor, receiver, transport, peer):
    """A bug above must not close the phones' port."""
    broken = receiver.message_received

    def fail_once(message, flow):
        receiver.message_received = broken
        raise RuntimeError("a bug")

    receiver.message_received = fail_once
    peer.sendto(OPTIONS, transport.local)
    peer.sendto(OPTIONS, transport.local)
    turn(reactor, lambda: receiver.messages)
    assert transport.internal_errors == 1


@pytest.mark.parametrize("host", ["192.0.2.7", "2001:db8::7"])
def test_raw_addresses(host):
    """As the kernel writes them, there and back."""
    assert host_and_port(raw_address(host, 5060)) == (host, 5060)


def test_written():
    """RFC 5118 4.10: an IPv6 reference has brackets."""
    assert written("2001:db8::7", 5060) == "[2001:db8::7]:5060"
    assert written("192.0.2.7", 5060) == "192.0.2.7:5060"
