"""Connections on loopback, driven by a reactor of the test's own: those that are made to us, and those that we make."""

from __future__ import annotations

import socket

import pytest
from twisted.internet.epollreactor import EPollReactor

from sbc.location.candidate import Candidate
from sbc.transport.dialled import MOST_DOUBTFUL, Dialler
from sbc.transport.listeners import Listeners
from sbc.transport.reactor import Reactor
from sbc.transport.streams import Connections
from sbc.transport.tcp import StreamTransport
from sbc.transport.tls import Trust
from sbc.transport.udp import UdpTransport
from tests.transport.surroundings import Recorder, answer, options, turn


@pytest.fixture(params=[EPollReactor, Reactor])
def reactor(request):
    made = request.param()
    yield made
    made.removeAll()


@pytest.fixture
def receiver():
    return Recorder()


@pytest.fixture
def connections(reactor, receiver):
    made = Connections(reactor, receiver, lambda event: None)
    yield made
    made.stop()
    for _ in range(5):
        reactor.iterate(0.001)


@pytest.fixture(params=["127.0.0.1", "::1"])
def transport(request, reactor, connections):
    made = StreamTransport(connections, request.param, 0)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def phone(transport):
    with socket.create_connection(transport.local, timeout=2) as made:
        yield made


@pytest.fixture
def dialler(connections):
    made = Dialler(connections, Trust(), lambda candidate: [])
    yield made
    made.stop()


class Server:
    """A call server's listening socket, for tests that decide what it does."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.listening = socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
        self.candidate = Candidate(address, self.listening.getsockname()[1], "tcp")
        self.connections: list[socket.socket] = []

    def accept(self) -> socket.socket:
        self.listening.settimeout(2)
        made, _ = self.listening.accept()
        made.settimeout(2)
        self.connections.append(made)
        return made

    def close(self) -> None:
        for each in [self.listening, *self.connections]:
            each.close()


@pytest.fixture
def server():
    made = Server()
    yield made
    made.close()


def flow_to(dialler, server):
    return dialler.flow_to(server.candidate, "servers", "127.0.0.1:5060", ("127.0.0.1", 5060), "")


def test_one_octet_at_a_time(reactor, receiver, phone):
    """However the network cuts the stream: the same messages, in order."""
    data = options("a") + b"\r\n\r\n" + options("b", b"body") + options("c")
    for octet in data:
        phone.sendall(bytes([octet]))
        reactor.iterate(0)
    turn(reactor, lambda: len(receiver.messages) == 3)
    assert [message.call_id for message, _ in receiver.messages] == ["a", "b", "c"]
    assert receiver.messages[1][0].body == b"body"


def test_many_in_one_piece(reactor, receiver, phone):
    """None lost, none cut, and what has begun is waited for."""
    data = b"".join(options(f"c{number}") for number in range(500))
    phone.sendall(data + options("last")[:40])
    turn(reactor, lambda: len(receiver.messages) == 500)
    phone.sendall(options("last")[40:])
    turn(reactor, lambda: len(receiver.messages) == 501)


def test_flow_tells_where_it_came_from(reactor, receiver, transport, phone):
    """RFC 3261 18.2.1, RFC 3581; and what we write of ourselves names the transport."""
    phone.sendall(options())
    turn(reactor, lambda: receiver.messages)
    message, flow = receiver.messages[0]
    assert message.top_via.received == transport.local[0]
    assert message.top_via.rport == phone.getsockname()[1]
    assert (flow.transport, flow.reliable, flow.remote) == ("tcp", True, phone.getsockname()[:2])
    assert flow.via.startswith("SIP/2.0/TCP ") and flow.contact.endswith(f":{transport.local[1]};transport=tcp")
    assert transport.flow_to(*flow.remote) is flow


def test_answers_over_the_same_connection(reactor, receiver, phone):
    """RFC 3261 18.2.2."""
    phone.sendall(options())
    turn(reactor, lambda: receiver.messages)
    receiver.messages[0][1].send(answer())
    turn(reactor, lambda: phone_has(phone))
    assert phone.recv(2000) == answer()


def test_what_has_its_answer_at_hand_is_not_read(reactor, receiver, phone):
    """Also in the middle of a stream."""
    receiver.at_hand[options("known")] = b"the answer"
    phone.sendall(options("a") + options("known") + options("b"))
    turn(reactor, lambda: len(receiver.messages) == 2)
    assert ["a", "b"] == [message.call_id for message, _ in receiver.messages]
    turn(reactor, lambda: phone_has(phone))
    assert b"the answer" == phone.recv(100)


def test_pings_are_answered(reactor, receiver, phone):
    """RFC 5626 4.4.1: CRLF for CRLFCRLF, between messages and before the first."""
    phone.sendall(b"\r\n\r\n")
    turn(reactor, lambda: phone_has(phone))
    assert phone.recv(100) == b"\r\n"
    phone.sendall(options() + b"\r\n\r\n")
    turn(reactor, lambda: phone_has(phone))
    assert phone.recv(100) == b"\r\n"
    assert len(receiver.messages) == 1


def phone_has(phone: socket.socket) -> bool:
    phone.setblocking(False)
    try:
        return bool(phone.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False
    finally:
        phone.settimeout(2)


def test_stream_that_cannot_be_followed_is_closed(reactor, receiver, phone):
    """Without a Content-Length nobody knows where the next message begins; another peer is not disturbed."""
    phone.sendall(options().replace(b"Content-Length: 0\r\n", b""))
    turn(reactor, lambda: receiver.malformed)
    turn(reactor, lambda: ended(phone))
    assert not receiver.messages


def ended(peer: socket.socket) -> bool:
    peer.setblocking(False)
    try:
        return peer.recv(65536) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def test_rubbish_inside_a_message_disturbs_nothing(reactor, receiver, phone):
    """A message that is none is reported; the stream can still be followed."""
    phone.sendall(b"rubbish\r\nContent-Length: 3\r\n\r\nabc" + options())
    turn(reactor, lambda: receiver.messages)
    assert len(receiver.malformed) == 1


def test_connection_that_ends_is_gone(reactor, receiver, transport, phone):
    """Its flow says so, what is sent over it fails a little later, and nothing leads to it any more."""
    phone.sendall(options())
    turn(reactor, lambda: receiver.messages)
    flow = receiver.messages[0][1]
    phone.close()
    turn(reactor, lambda: flow.gone)
    assert transport.flow_to(*flow.remote) is None
    flow.send(options("late"))
    assert receiver.flows_failed == []
    turn(reactor, lambda: receiver.flows_failed)
    assert receiver.flows_failed == [(flow, "reset")]


def test_requests_on_a_connection_that_breaks_fail_at_once(reactor, receiver, phone):
    """What waits for an answer of the phone waits in vain."""
    phone.sendall(options())
    turn(reactor, lambda: receiver.messages)
    flow = receiver.messages[0][1]
    flow.send(options("mine"))
    assert not receiver.flows_failed
    phone.close()
    turn(reactor, lambda: receiver.flows_failed)
    assert receiver.flows_failed == [(flow, "reset")]


def test_handler_that_fails_loses_one_message_only(reactor, receiver, connections, phone):
    """A bug above must not close the connection."""
    works = receiver.message_received

    def fail_once(message, flow):
        receiver.message_received = works
        raise RuntimeError("a bug")

    receiver.message_received = fail_once
    phone.sendall(options("a") + options("b"))
    turn(reactor, lambda: receiver.messages)
    assert connections.internal_errors == 1
    assert receiver.messages[0][0].call_id == "b"


# -- connections that we make --------------------------------------------------------------------------------------------


def test_connects_when_there_is_something_to_send(reactor, receiver, dialler, server):
    """Messages wait for the connection, in order, and all others use it too (D26)."""
    flow = flow_to(dialler, server)
    for name in ("a", "b"):
        flow.send(options(name))
    reactor.iterate(0.01)
    peer = server.accept()
    turn(reactor, lambda: phone_has(peer))
    assert peer.recv(4000) == options("a") + options("b")
    flow.send(options("c"))
    turn(reactor, lambda: phone_has(peer))
    assert peer.recv(4000) == options("c")
    assert flow_to(dialler, server) is flow
    assert flow.via == "SIP/2.0/TCP 127.0.0.1:5060"


def test_requests_of_the_server_come_over_it(reactor, receiver, dialler, server):
    """RFC 5923: from the address that we have connected to, so it is known whose they are."""
    flow = flow_to(dialler, server)
    flow.send(options())
    reactor.iterate(0.01)
    server.accept().sendall(answer() + options("theirs"))
    turn(reactor, lambda: len(receiver.messages) == 2)
    assert [known for _, known in receiver.messages] == [flow, flow]
    assert flow.remote == (server.candidate.address, server.candidate.port)


def test_refused(reactor, receiver, dialler, server):
    """P17, F2: nobody listens. The cause is told later, not from inside send()."""
    server.close()
    flow = flow_to(dialler, server)
    flow.send(options())
    assert not receiver.flows_failed
    turn(reactor, lambda: receiver.flows_failed)
    assert receiver.flows_failed == [(flow, "refused")]


def test_reset(reactor, receiver, dialler, server):
    """It accepts, and breaks the connection instead of answering."""
    flow = flow_to(dialler, server)
    flow.send(options())
    reactor.iterate(0.01)
    peer = server.accept()
    turn(reactor, lambda: phone_has(peer))
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    peer.close()
    turn(reactor, lambda: receiver.flows_failed)
    assert receiver.flows_failed == [(flow, "reset")]


def test_connect_timeout(reactor, receiver, dialler, server, monkeypatch):
    """F2, D26: a server whose queue of connections is full does not even refuse."""
    monkeypatch.setattr("sbc.transport.dialled.CONNECT_TIME", 0.3)
    server.listening.listen(0)
    with socket.create_connection(server.listening.getsockname()):
        flow = flow_to(dialler, server)
        flow.send(options())
        turn(reactor, lambda: receiver.flows_failed)
    assert receiver.flows_failed == [(flow, "connect_timeout")]


def test_connects_again_after_a_failure(reactor, receiver, dialler, server):
    """The flow is the way to the server, however often a connection is lost."""
    flow = flow_to(dialler, server)
    flow.send(options("a"))
    reactor.iterate(0.01)
    server.accept().close()
    turn(reactor, lambda: receiver.flows_failed)
    flow.send(options("b"))
    reactor.iterate(0.01)
    peer = server.accept()
    turn(reactor, lambda: phone_has(peer))
    assert peer.recv(4000) == options("b")


def test_connection_that_the_server_closed_while_idle_is_made_again(reactor, receiver, dialler, server, monkeypatch):
    """A server may close what is idle at the moment when we use it; that is no reason to call it dead."""
    monkeypatch.setattr("sbc.transport.dialled.QUIET_BEFORE_DOUBT", 0.0)
    flow = flow_to(dialler, server)
    flow.send(options("a"))
    reactor.iterate(0.01)
    peer = server.accept()
    peer.sendall(answer("a"))
    turn(reactor, lambda: receiver.messages)
    peer.close()  # and nobody has told the reactor so far
    flow.send(options("b"))
    reactor.iterate(0.01)
    reactor.iterate(0.01)
    again = server.accept()
    turn(reactor, lambda: phone_has(again))
    assert again.recv(4000) == options("b")
    assert not receiver.flows_failed
    again.close()
    turn(reactor, lambda: receiver.flows_failed)
    assert receiver.flows_failed == [(flow, "reset")]


def test_silent_server_costs_no_memory(reactor, receiver, dialler, server, monkeypatch):
    """What was sent is not kept for ever in case that the connection was about to be closed."""
    monkeypatch.setattr("sbc.transport.dialled.QUIET_BEFORE_DOUBT", 0.0)
    flow = flow_to(dialler, server)
    flow.send(options("first"))
    reactor.iterate(0.01)
    peer = server.accept()
    turn(reactor, lambda: phone_has(peer))
    flow.send(options("after a silence"))
    monkeypatch.undo()
    for number in range(MOST_DOUBTFUL + 10):
        flow.send(options(f"c{number}"))
    turn(reactor, lambda: phone_has(peer))
    peer.close()
    turn(reactor, lambda: receiver.flows_failed)
    assert receiver.flows_failed == [(flow, "reset")]


def test_more_than_may_wait_for_a_connection(reactor, receiver, dialler, server, monkeypatch):
    """Nobody's slowness fills the memory."""
    monkeypatch.setattr("sbc.transport.dialled.MOST_UNSENT", 2000)
    flow = flow_to(dialler, server)
    for number in range(30):
        flow.send(options(f"c{number}"))
    turn(reactor, lambda: receiver.flows_failed)
    assert set(receiver.flows_failed) == {(flow, "reset")}


def test_same_address_with_both_transports(reactor, receiver, connections, dialler, server):
    """S11: one address can be a candidate for UDP and for TCP; each has its own way."""
    udp, tcp = UdpTransport(reactor, receiver, "127.0.0.1", 0), StreamTransport(connections, "127.0.0.1", 0)
    listeners = Listeners([udp, tcp], dialler)
    by_udp = listeners.flow_to_server(Candidate(server.candidate.address, server.candidate.port, "udp"))
    by_tcp = listeners.flow_to_server(server.candidate)
    assert (by_udp.transport, by_tcp.transport) == ("udp", "tcp")
    assert by_tcp.contact == f"127.0.0.1:{tcp.local[1]};transport=tcp"
    listeners.stop()


def test_an_own_address_that_is_not_there_leads_nowhere(dialler):
    """While our link is down its address cannot be bound: there is no way then, and no exception in whoever asks for one."""
    assert dialler.flow_without_listener(Candidate("127.0.0.1", 9, "tcp"), "192.0.2.1") is None
    assert not dialler.answers_to("192.0.2.1", 9)


def test_without_a_listening_socket_our_end_of_the_connection_is_named(reactor, receiver, dialler, server):
    """RFC 3261 18: what the server sends must come over the connection, so Via and Contact name that, at each of them."""
    udp = UdpTransport(reactor, receiver, "127.0.0.1", 0)
    listeners = Listeners([udp], dialler)
    flow = listeners.flow_to_server(server.candidate)
    host, port = flow.local
    assert flow.contact == f"127.0.0.1:{port};transport=tcp"
    assert listeners.is_ours(host, port)
    for name in ("a", "b"):
        flow.send(options(name))
        reactor.iterate(0.01)
        peer = server.accept()
        assert peer.getpeername() == flow.local
        peer.close()
        turn(reactor, lambda: receiver.flows_failed)
        receiver.flows_failed.clear()
    listeners.stop()


def test_connection_leaves_from_the_address_that_we_have_now(reactor, receiver, dialler, server):
    """DHCP or PPPoE gives us another address: the next connection leaves from it, and Via and Contact name it. A connection
    that is there is used as long as it lasts; and whoever still has the old address in his Route means us."""
    flow = dialler.flow_without_listener(server.candidate, "127.0.0.2")
    flow.send(options("a"))
    reactor.iterate(0.01)
    peer = server.accept()
    turn(reactor, lambda: phone_has(peer))
    assert dialler.flow_without_listener(server.candidate, "127.0.0.3") is flow
    peer.close()
    turn(reactor, lambda: flow.is_idle)
    after = dialler.flow_without_listener(server.candidate, "127.0.0.3")
    assert after.local[0] == "127.0.0.3"
    assert after.contact == f"127.0.0.3:{after.local[1]};transport=tcp"
    after.send(options("b"))
    reactor.iterate(0.01)
    assert server.accept().getpeername() == after.local
    assert dialler.answers_to(*flow.local)
    assert dialler.answers_to(*after.local)


def connected(reactor, dialler, server):
    """A flow bound to its port with its connection, over which a request waits for its answer."""
    flow = dialler.flow_without_listener(server.candidate, "127.0.0.1")
    flow.send(options("a"))
    reactor.iterate(0.01)
    peer = server.accept()
    turn(reactor, lambda: phone_has(peer))
    peer.recv(4000)
    return flow, peer


def test_server_whose_stream_cannot_be_followed(reactor, receiver, dialler, server):
    """Who waits is told at once, and the next request goes out at once, over a connection of its own."""
    _, peer = connected(reactor, dialler, server)
    peer.sendall(b"OPTIONS sip:x SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bKx\r\n\r\n")  # no Content-Length
    turn(reactor, lambda: receiver.flows_failed, 1.0)
    assert [cause for _, cause in receiver.flows_failed] == ["reset"]
    flow = dialler.flow_without_listener(server.candidate, "127.0.0.1")
    flow.send(options("b"))
    reactor.iterate(0.01)
    assert server.accept().getpeername() == flow.local
    assert len(receiver.flows_failed) == 1


def test_connection_that_we_closed_first(reactor, receiver, dialler, server, connections):
    """Its port cannot be used for a minute (TIME_WAIT): another is chosen, which Via and Contact name. Who waits is told."""
    flow, peer = connected(reactor, dialler, server)
    for connection in list(connections._alive):
        connection.close("a test")
    turn(reactor, lambda: flow.is_idle)
    assert receiver.flows_failed == [(flow, "reset")]
    assert flow.gone  # so that whoever keeps it asks again
    peer.close()
    after = dialler.flow_without_listener(server.candidate, "127.0.0.1")
    assert not after.gone
    assert after.contact == f"127.0.0.1:{after.local[1]};transport=tcp"
    assert after.local != flow.local
    after.send(options("b"))
    reactor.iterate(0.01)
    assert server.accept().getpeername() == after.local
    flow.send(options("c"))  # as a transaction does that has the old flow
    reactor.iterate(0.01)
    late = server.accept()
    turn(reactor, lambda: phone_has(late))
    assert late.recv(4000) == options("c")
    assert len(receiver.flows_failed) == 1


def test_port_that_somebody_else_took(reactor, receiver, dialler, server):
    """No server is called unreachable for that."""
    flow = dialler.flow_without_listener(server.candidate, "127.0.0.1")
    with socket.create_server(flow.local):
        flow.send(options("a"))
        reactor.iterate(0.01)
        turn(reactor, lambda: flow.gone)
        reactor.iterate(0.01)
        peer = server.accept()
        turn(reactor, lambda: phone_has(peer))
        assert peer.recv(4000) == options("a")
        assert dialler.flow_without_listener(server.candidate, "127.0.0.1").local[1] != flow.local[1]
    assert not receiver.flows_failed


def test_what_is_sent_while_we_close(reactor, receiver, dialler, server, connections):
    """It is not lost in the connection that ends: there is a new one for it."""
    flow = flow_to(dialler, server)
    flow.send(options("a"))
    reactor.iterate(0.01)
    first = server.accept()
    turn(reactor, lambda: phone_has(first))
    for connection in list(connections._alive):
        connection.close("a test")
    flow.send(options("b"))
    reactor.iterate(0.01)
    second = server.accept()
    turn(reactor, lambda: phone_has(second))
    assert second.recv(4000) == options("b")
    assert not receiver.flows_failed


def test_no_connection_from_loopback_to_elsewhere(reactor, receiver, dialler, monkeypatch):
    """After a power cut we are up before the network is: the kernel knows no way yet. That must not stay so for ever."""
    addresses = ["127.0.0.1", "192.0.2.99"]
    monkeypatch.setattr("sbc.transport.listeners.local_address_towards", lambda host: addresses.pop(0))
    monkeypatch.setattr("sbc.transport.dialled._free_port", lambda host: 40000)
    listeners = Listeners([UdpTransport(reactor, receiver, "0.0.0.0", 0)], dialler)
    candidate = Candidate("192.0.2.1", 5061, "tls")
    assert listeners.flow_to_server(candidate) is None
    assert listeners.flow_to_server(candidate).local == ("192.0.2.99", 40000)
    listeners.stop()


# -- to phones -----------------------------------------------------------------------------------------------------------


def test_phone_is_reached_over_its_own_connection(reactor, receiver, transport, phone, dialler):
    """RFC 5626 5.3, D26; when that is closed there is no other way to where it came from."""
    listeners = Listeners([transport], dialler)
    phone.sendall(options())
    turn(reactor, lambda: receiver.messages)
    flow = receiver.messages[0][1]
    where = ("tcp", *flow.remote, transport.local[1])
    assert listeners.flow_to_phone(*where) is flow
    phone.close()
    turn(reactor, lambda: flow.gone)
    assert listeners.flow_to_phone(*where) is None


@pytest.mark.parametrize(
    "contact",
    [
        "sip:alice@192.0.2.50:5060;transport=tcp",  # behind a NAT: not the address that it came from
        "sip:alice@127.0.0.1:40000;transport=tcp",  # the end of a connection, where nobody listens
        "sip:alice@127.0.0.1:5060;transport=udp",
        "sips:alice@127.0.0.1:5061",
        "tel:4711",
        "sip:alice@pbx.example.com",
    ],
)
def test_phone_that_cannot_be_connected_to(reactor, receiver, connections, dialler, contact):
    """RFC 5626 1: a Contact that cannot lead to the phone is not tried."""
    tcp = StreamTransport(connections, "127.0.0.1", 0)
    listeners = Listeners([tcp], dialler)
    assert listeners.flow_to_contact("tcp", "127.0.0.1", contact) is None
    assert listeners.flow_to_contact("tls", "127.0.0.1", "sip:alice@127.0.0.1:5060") is None
    tcp.stop()


def test_phone_that_listens_is_connected_to(reactor, receiver, connections, dialler):
    """RFC 3261 18.1.1: its Contact names a port of its own address where it listens."""
    tcp = StreamTransport(connections, "127.0.0.1", 0, side="phones")
    listeners = Listeners([tcp], dialler)
    for port in range(20000, 32000):
        try:
            listening = socket.create_server(("127.0.0.1", port))
            break
        except OSError:
            continue
    flow = listeners.flow_to_contact("tcp", "127.0.0.1", f"sip:alice@127.0.0.1:{port};transport=tcp")
    flow.send(options())
    reactor.iterate(0.01)
    peer, _ = listening.accept()
    turn(reactor, lambda: phone_has(peer))
    assert flow.side == "phones"
    assert listeners.flow_to_phone("tcp", "127.0.0.1", port, 5060) is flow
    peer.close()
    listening.close()
    tcp.stop()
