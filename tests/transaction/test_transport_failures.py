"""Errors from below: ICMP messages that quote what we sent, and connections that break (RFC 3261 s.17.1.4, s.18.4)."""

import pytest

from tests.helpers.network import FakeFlow, request, response_to


@pytest.fixture
def forwarded(layer, user, flow):
    """An INVITE of a phone on its way to a server, its own Via below ours."""
    trap = ("Subject", "Via: SIP/2.0/UDP x;branch=z9hG4bKfake;")
    return layer.send_request(request("INVITE", headers=[trap]), flow, user)


def test_icmp_error_fails_the_transaction_it_quotes(layer, user, flow, clock, forwarded):
    assert layer.quoted_datagram_failed(flow.datagrams[0], "icmp")
    assert user.take() == [("transport_failed", "icmp")]
    assert clock.pending == 0
    clock.advance(40)
    assert flow.times() == [0]


def test_icmp_error_about_a_retransmission(layer, user, flow, clock, forwarded):
    clock.advance(2)
    assert layer.quoted_datagram_failed(flow.datagrams[-1], "icmp")
    assert user.take() == [("transport_failed", "icmp")]


def test_truncated_quotes(layer, user, flow, forwarded):
    """Routers quote as much as they like. A quote that ends before the branch does is no evidence; the next byte
    decides.
    """
    datagram = flow.datagrams[0]
    end_of_branch = datagram.index(forwarded.branch.encode()) + len(forwarded.branch)
    for length in range(end_of_branch + 1):
        assert not layer.quoted_datagram_failed(datagram[:length], "icmp")
    assert user.take() == []
    assert layer.quoted_datagram_failed(datagram[: end_of_branch + 1], "icmp")
    assert user.take() == [("transport_failed", "icmp")]


@pytest.mark.parametrize(
    "forge",
    [
        lambda data, branch: data.replace(branch, b"z9hG4bK" + 24 * b"0"),
        lambda data, branch: data.replace(branch, branch[:-1]),
        lambda data, branch: data.replace(branch, branch + b"0"),
        lambda data, branch: data.replace(branch, branch.upper()),
        lambda data, branch: data.replace(b"INVITE sip", b"OPTIONS sip"),
        lambda data, branch: data.replace(b";branch=" + branch, b""),
        lambda data, branch: b"Via: SIP/2.0/UDP x;branch=" + branch + b";rport\r\n",
        lambda data, branch: data.replace(b"\r\nVia: ", b"\r\nX-Via: ", 1),
        lambda data, branch: b"",
        lambda data, branch: b"\r\n\r\n",
        lambda data, branch: b"\x00" * 64,
        lambda data, branch: b"\xff" * 512,
    ],
)
def test_forged_quotes_match_nothing(layer, user, flow, forwarded, forge):
    """Who has not seen the branch cannot stop a call; and any bytes are taken without an error."""
    assert not layer.quoted_datagram_failed(forge(flow.datagrams[0], forwarded.branch.encode()), "icmp")
    assert user.take() == []
    assert forwarded.state.name == "CALLING"


def test_quoted_response_of_ours_matches_nothing(layer, user, phone, flow, forwarded):
    """A phone that vanished: the top Via is its own, whatever branch it chose."""
    quoted = response_to(request("INVITE", branch=forwarded.branch), 200).to_bytes()
    assert not layer.quoted_datagram_failed(quoted, "icmp")


def test_quote_after_the_answer_changes_nothing(layer, user, flow, forwarded):
    """The server was alive: an error that crossed its answer is no news for the user."""
    layer.response_received(response_to(forwarded.request, 180), flow)
    assert layer.quoted_datagram_failed(flow.datagrams[0], "icmp")
    layer.response_received(response_to(forwarded.request, 486), flow)
    assert layer.quoted_datagram_failed(flow.datagrams[0], "icmp")
    assert user.take() == [("response", 180), ("response", 486)]


def test_quoted_request_line_without_end(layer, user, flow, forwarded):
    """Long garbage costs no long search."""
    assert not layer.quoted_datagram_failed(b"INVITE " + b"sip:x SIP/2.0 " * 5000, "icmp")
    assert not layer.quoted_datagram_failed(b"INVITE sip:x SIP/2.0\r\n" + b"Via: ;branch \r\n" * 5000, "icmp")


def test_via_that_is_not_on_top_of_the_headers(layer, user, flow):
    """Our Via stands above the first Via, wherever that is in the message."""
    received = request("OPTIONS")
    via = received.pop_first("Via")
    received.append("v", via)
    layer.send_request(received, flow, user)
    assert not flow.datagrams[0].split(b"\r\n")[1].startswith(b"Via")
    assert layer.quoted_datagram_failed(flow.datagrams[0], "icmp")


def test_broken_connection_fails_what_waits_on_it(layer, user, clock):
    """A connection that cannot be made or breaks: all its requests, and only those, at once."""
    broken, other = FakeFlow(clock, "tcp"), FakeFlow(clock, "tcp")
    layer.send_request(request("INVITE", received=False), broken, user)
    layer.send_request(request("OPTIONS", received=False), broken, user)
    remaining = layer.send_request(request("OPTIONS", received=False), other, user)
    assert layer.flow_failed(broken, "refused") == 2
    assert user.take() == [("transport_failed", "refused"), ("transport_failed", "refused")]
    assert remaining.state.name == "TRYING"


def test_a_lost_connection_looks_at_its_own_only(layer, user, clock):
    """When ten thousand are lost at once, each walk through all that wait would make it a hundred million looks."""
    flows = [FakeFlow(clock, "tcp") for _ in range(50)]
    for flow in flows:
        layer.send_request(request("OPTIONS", received=False), flow, user)
    over_udp = layer.send_request(request("OPTIONS", received=False), FakeFlow(clock), user)
    assert [1] * 50 == [len(waiting) for waiting in layer._on_connections.values()]
    for number, flow in enumerate(flows, 1):
        assert 1 == layer.flow_failed(flow, "reset")
        assert 0 == layer.flow_failed(flow, "reset")
        assert 50 - number == len(layer._on_connections)
    assert 50 == len(user.take())
    assert over_udp.state.name == "TRYING"


def test_a_cancel_on_a_lost_connection_fails_too(layer, user, clock):
    connection = FakeFlow(clock, "tcp")
    invite = layer.send_request(request("INVITE", received=False), connection, user)
    layer.response_received(response_to(invite.request, 180), connection)
    invite.cancel()
    assert 2 == layer.flow_failed(connection, "reset")
    assert 0 == layer.transactions["client", "non-invite"]


def test_connection_that_breaks_after_a_provisional(layer, user, clock):
    """The INVITE goes on, for its final response may come over another connection (18.2.2); its user decides. A request
    other than INVITE fails."""
    broken, another = FakeFlow(clock, "tcp"), FakeFlow(clock, "tcp")
    invite = layer.send_request(request("INVITE", received=False), broken, user)
    publish = layer.send_request(request("PUBLISH", received=False), broken, user)
    for sent in (invite, publish):
        layer.response_received(response_to(sent.request, 100), broken)
    user.take()
    layer.flow_failed(broken, "reset")
    assert sorted(user.take()) == [("connection_lost", "reset"), ("transport_failed", "reset")]
    layer.response_received(response_to(invite.request, 486), another)
    assert user.take() == [("response", 486)]


def test_user_that_tears_everything_down_at_the_first_failure(layer, user, clock):
    """What a callback does to the other transactions of the flow is respected."""
    broken = FakeFlow(clock, "tcp")
    transactions = [layer.send_request(request("OPTIONS", received=False), broken, user) for _ in range(3)]

    def tear_down(transaction, cause):
        user.events.append(("transport_failed", cause))
        for each in transactions:
            each.terminate()

    user.transport_failed = tear_down
    layer.flow_failed(broken, "reset")
    assert user.take() == [("transport_failed", "reset")]
