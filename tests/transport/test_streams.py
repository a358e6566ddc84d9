"""What one connection may cost us, and when it is given up: with a fake clock and a stream that only remembers."""

from __future__ import annotations

import pytest

from sbc.flow import Flow
from sbc.sip.limits import MAX_MESSAGE
from sbc.transport import streams
from sbc.transport.streams import Connection, Connections
from tests.helpers.clock import FakeClock
from tests.helpers.streams import FakeStream
from tests.transport.surroundings import Recorder, answer, options


class PlainFlow(Flow):
    """Remembers what its connection tells it."""

    def __init__(self, host: str = "192.0.2.50", side: str = "both") -> None:
        super().__init__("tcp", side, "192.0.2.1:5060", ("192.0.2.1", 5060), (host, 40000))
        self.told: list[object] = []

    def connection_ready(self, connection) -> None:
        self.told.append("ready")

    def connection_lost(self, connection, cause, why) -> None:
        self.told.append((cause, why))

    def heard(self) -> None:
        pass


class Line:
    """A connection of ours, the stream below it, and all around them."""

    def __init__(self, *, accepted: bool = True) -> None:
        self.clock = FakeClock()
        self.receiver = Recorder()
        self.connections = Connections(self.clock, self.receiver, lambda event: None)
        self.flow = PlainFlow()
        self.stream = FakeStream()
        self.connection = Connection(self.connections, self.flow, accepted=accepted, secure=False)
        self.stream.connect(self.connection)

    def receive(self, data: bytes) -> None:
        self.connection.dataReceived(data)

    def another(self, host: str) -> tuple[Connection, FakeStream]:
        """One more, from that host."""
        connection, stream = Connection(self.connections, PlainFlow(host), accepted=True, secure=False), FakeStream()
        stream.connect(connection)
        return connection, stream


def response(status: int, method: str) -> bytes:
    """As we send it."""
    return answer().replace(b"200 OK", b"%d Something" % status).replace(b"1 OPTIONS", b"1 " + method.encode())


@pytest.fixture
def line():
    made = Line()
    yield made
    made.connections.stop()
    made.clock.advance(5)
    assert made.clock.pending == 0


@pytest.fixture
def to_server(monkeypatch):
    """One that we have made; it pings as late as it may."""
    assert streams.PING_AFTER == (95.0, 120.0)
    monkeypatch.setattr(streams, "PING_AFTER", (120.0, 120.0))
    made = Line(accepted=False)
    yield made
    made.connections.stop()
    made.clock.advance(5)
    assert made.clock.pending == 0


def test_message_that_never_ends(line):
    """However slowly the octets drip: a message must be complete in time, or its sender is hung up on."""
    line.receive(options("a"))
    started = line.clock.seconds()
    for octet in options("b")[:200]:
        line.clock.advance(0.5)
        if line.stream.ended:
            break
        line.receive(bytes([octet]))
    assert line.stream.ended == "aborted"
    assert line.clock.seconds() - started < streams.MESSAGE_TIME + 3
    assert [message.call_id for message, _ in line.receiver.messages] == ["a"]


def test_message_that_is_too_large(line):
    """No more than the largest message is kept of what has not ended."""
    line.receive(b"OPTIONS sip:a SIP/2.0\r\n")
    line.receive(b"X: " + b"x" * (MAX_MESSAGE + 1))
    assert line.stream.ended == "closed"
    (malformed,) = line.receiver.malformed
    assert malformed[0].status_hint == 513


def test_whoever_says_nothing(line):
    """Phones connect in order to send something. Pings are no messages."""
    line.receive(b"\r\n\r\n")
    line.clock.advance(streams.FIRST_MESSAGE_TIME - 1)
    assert not line.stream.ended
    line.clock.advance(2)
    assert line.stream.ended == "aborted"


def test_idle_phone_is_kept_for_longer_than_a_registration(line):
    """It registers at least every two hours; then the connection is closed in peace."""
    line.receive(options())
    line.connection.send(response(200, "REGISTER"))
    line.clock.advance(7200)
    assert not line.stream.ended
    line.clock.advance(streams.QUIET_TIME - 7200 + 2)
    assert line.stream.ended == "closed"
    assert line.flow.told[-1] == ("closed", "it is idle")


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (response(200, "REGISTER"), True),
        (response(180, "INVITE"), True),
        (response(200, "INVITE"), True),
        (options(), True),  # we ask only whom we know
        (response(200, "OPTIONS"), False),
        (response(100, "INVITE"), False),
        (response(401, "REGISTER"), False),
        (response(403, "INVITE"), False),
        (response(200, "OPTIONS").replace(b"tag=1", b"tag=1;x=INVITE"), False),
    ],
)
def test_strangers_are_not_kept_for_long(line, sent, kept):
    """Whoever only asks whether we are there does not hold a connection for two hours."""
    line.receive(options())
    line.connection.send(sent)
    line.clock.advance(streams.QUIET_STRANGER_TIME - 1)
    assert not line.stream.ended
    line.clock.advance(3)
    assert (not line.stream.ended) is kept


def test_server_is_no_stranger(line):
    """Its own connection to us carries its calls; the proxy knows it by its address."""
    line.receive(options())
    line.flow.origin = "a server"
    line.clock.advance(streams.QUIET_STRANGER_TIME + 3)
    assert not line.stream.ended


def test_stranger_on_a_socket_for_servers(line):
    """He has got his refusal, and that was all."""
    flow, stream = PlainFlow(side="servers"), FakeStream()
    connection = Connection(line.connections, flow, accepted=True, secure=False)
    stream.connect(connection)
    connection.dataReceived(options())
    line.clock.advance(streams.QUIET_INTRUDER_TIME + 2)
    assert stream.ended == "closed"


def test_longest_idle_stranger_makes_room(line):
    """When all places are taken; a phone that is registered, or a server, never does."""
    line.receive(options())
    line.connection.send(response(200, "REGISTER"))
    server, at_server = line.another("192.0.2.60")
    server.flow.origin = "a server"
    first, at_first = line.another("192.0.2.61")
    _, at_second = line.another("192.0.2.62")
    first.dataReceived(options())
    line.connections.most = len(line.connections)
    assert line.connections.admits("192.0.2.63")
    assert at_second.ended == "aborted"
    assert not at_first.ended
    line.another("192.0.2.63")
    assert line.connections.admits("192.0.2.64")
    assert at_first.ended == "aborted"
    assert not line.stream.ended and not at_server.ended


def test_ipv6_network_is_one_host(line, monkeypatch):
    """Whoever has one address of a /64 has all of them."""
    monkeypatch.setattr(streams, "MOST_OF_ONE_HOST", 2)
    line.another("2001:db8:1:2::1")
    line.another("2001:db8:1:2:ffff::9")
    assert not line.connections.admits("2001:db8:1:2::77")
    assert line.connections.admits("2001:db8:1:3::77")


def test_peer_that_does_not_fetch(line):
    """More than so many octets are not kept for anyone."""
    line.receive(options())
    line.stream.stop_fetching()
    for _ in range(streams.MOST_UNSENT // 1000):
        line.connection.send(b"x" * 1000)
    assert not line.stream.ended
    line.connection.send(b"x" * 1000)
    assert line.stream.ended == "aborted"
    assert line.flow.told[-1][0] == "reset"


def test_peer_that_fetches_slowly(line):
    """As long as it fetches, it is waited for; when it stops altogether, not for long."""
    line.receive(options())
    for _ in range(10):
        line.stream.stop_fetching()
        line.connection.send(b"x" * (streams.MOST_UNSENT - 1))
        line.clock.advance(streams.FETCH_TIME - 1)
        line.stream.fetch()
    assert not line.stream.ended
    line.stream.stop_fetching()
    line.clock.advance(streams.FETCH_TIME + 2)
    assert line.stream.ended == "aborted"


def test_servers_are_pinged(to_server):
    """RFC 5626 4.4.1, D26: over an idle connection, after 95 to 120 s; one that does not know pings is left in peace."""
    to_server.clock.advance(119)
    assert to_server.stream.take() == b""
    to_server.clock.advance(3)
    assert to_server.stream.take() == b"\r\n\r\n"
    to_server.clock.advance(streams.PONG_TIME + 2)
    assert not to_server.stream.ended


def test_missing_pong(to_server):
    """From a server that has answered a ping before it means that the connection has failed."""
    to_server.clock.advance(122)
    to_server.receive(b"\r\n")
    to_server.stream.take()
    to_server.clock.advance(121)
    assert to_server.stream.take() == b"\r\n\r\n"
    to_server.clock.advance(streams.PONG_TIME + 2)
    assert to_server.stream.ended == "aborted"
    assert to_server.flow.told[-1][0] == "timeout"


def test_any_word_is_as_good_as_a_pong(to_server):
    """It lives, and that was the question."""
    to_server.receive(b"\r\n")
    to_server.clock.advance(122)
    assert to_server.stream.take() == b"\r\n\r\n"
    to_server.receive(options())
    to_server.clock.advance(streams.PONG_TIME + 2)
    assert not to_server.stream.ended


def test_busy_connection_is_not_pinged(to_server):
    """Only silence makes doubts."""
    for number in range(10):
        to_server.clock.advance(60)
        to_server.receive(options(f"c{number}"))
    assert to_server.stream.take() == b""


def test_phones_are_not_pinged(line):
    """RFC 5626 4.4: that is the client's part."""
    line.receive(options())
    line.connection.send(response(200, "REGISTER"))
    line.stream.take()
    line.clock.advance(1000)
    assert line.stream.take() == b""


def test_room(line, monkeypatch):
    """So many connections in all, and so many of one host; when one ends there is room again."""
    monkeypatch.setattr(streams, "MOST_OF_ONE_HOST", 2)
    assert line.connections.admits("192.0.2.50")
    second = Connection(line.connections, PlainFlow(), accepted=True, secure=False)
    FakeStream().connect(second)
    assert not line.connections.admits("192.0.2.50")
    assert line.connections.admits("192.0.2.51")
    line.connections.most = 2
    for connection in (line.connection, second):
        connection.send(response(200, "REGISTER"))
    assert not line.connections.admits("192.0.2.51")
    second.close("over")
    assert line.connections.admits("192.0.2.50")
    assert line.connections.refused == 2


def test_what_comes_after_the_end_is_not_heard(line):
    """We have hung up: octets that were on their way say nothing."""
    line.receive(b"\r\n\r\n" + b"rubbish\r\n\r\n")
    assert line.stream.ended == "closed"
    line.receive(options())
    assert not line.receiver.messages
