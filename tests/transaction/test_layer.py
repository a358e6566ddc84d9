"""The door: what is sent and passed up, and what happens when a user makes a mistake."""

import pytest

from sbc.sip.errors import LocalError, MalformedMessage
from sbc.sip.message import Response
from sbc.transaction import Timers, TransactionLayer
from tests.helpers.network import FakeFlow, request, response_to


def test_send_request_puts_our_via_on_top_of_a_copy(layer, user, flow):
    """s.16.6 step 8; rport for the way back (RFC 3581). The caller keeps its request for the next server."""
    received = request("INVITE")
    transaction = layer.send_request(received, flow, user, branch="z9hG4bKours")
    assert received.get_all("Via") == ["SIP/2.0/UDP 192.0.2.50:5060;branch=z9hG4bKphone1"]
    assert flow.take()[0].get_all("Via") == [
        "SIP/2.0/UDP 192.0.2.1:5060;rport;branch=z9hG4bKours",
        "SIP/2.0/UDP 192.0.2.50:5060;branch=z9hG4bKphone1",
    ]
    assert transaction.branch == "z9hG4bKours"
    assert transaction.request.top_via.branch == "z9hG4bKours"
    assert transaction.flow is flow
    assert layer.client_for("z9hG4bKours", "INVITE") is transaction
    assert layer.client_for("z9hG4bKours", "CANCEL") is None


def test_branch_is_made_when_none_is_given(clock, user):
    layer = TransactionLayer(clock, Timers(), user.layer_user, boot="abcdef")
    flow = FakeFlow(clock)
    branches = [layer.send_request(request("OPTIONS", received=False), flow, user).branch for _ in range(2)]
    assert [branch[:29] for branch in branches] == ["z9hG4bK0000000000abcdef000000", "z9hG4bK0000000000abcdef000001"]
    assert branches[0][29:] != branches[1][29:]


def test_branch_in_use_is_refused(layer, user, flow):
    """Two transactions under one key would answer for each other."""
    layer.send_request(request("OPTIONS", received=False), flow, user, branch="z9hG4bKsame")
    with pytest.raises(LocalError):
        layer.send_request(request("OPTIONS", received=False), flow, user, branch="z9hG4bKsame")


def test_stateless_request_is_sent_once(layer, user, flow, clock):
    """The ACK to a 2xx: our Via, and no transaction."""
    layer.send_stateless(request("ACK", branch="z9hG4bKack"), flow, "z9hG4bKours")
    clock.advance(40)
    assert flow.times() == [0]
    ack = flow.take()[0]
    assert [via.rpartition("branch=")[2] for via in ack.get_all("Via")] == ["z9hG4bKours", "z9hG4bKack"]
    assert set(layer.transactions.values()) == {0}


def test_stream_always_gets_a_content_length(layer, user, connection):
    """s.20.14: phones leave it out over UDP; over TCP nobody could find the end of the message."""
    received = request("REGISTER")
    received.remove("Content-Length")
    transaction = layer.send_request(received, connection, user)
    assert connection.take()[0].get("Content-Length") == "0"
    layer.send_stateless(received, connection, "z9hG4bKx")
    assert connection.take()[0].get("Content-Length") == "0"
    transaction.terminate()


def test_live_transactions_are_counted(layer, user, flow, phone, clock):
    layer.request_received(request("INVITE"), phone)
    layer.request_received(request("CANCEL"), phone)
    layer.send_request(request("INVITE", received=False), flow, user)
    layer.send_request(request("OPTIONS", received=False), flow, user)
    layer.send_request(request("OPTIONS", received=False), flow, user)
    assert layer.transactions == {
        ("server", "invite"): 1,
        ("server", "non-invite"): 1,
        ("client", "invite"): 1,
        ("client", "non-invite"): 2,
    }
    clock.advance(32)
    assert layer.transactions[("client", "non-invite")] == 0
    assert layer.transactions[("server", "non-invite")] == 0


def test_user_may_be_set_later(clock, user, phone):
    layer = TransactionLayer(clock, Timers())
    layer.user = user.layer_user
    layer.request_received(request("ACK"), phone)
    assert user.take() == [("ack", 1)]


@pytest.mark.parametrize("method", ["INVITE", "OPTIONS"])
def test_error_in_the_user_answers_500_and_leaks_nothing(layer, user, phone, method):
    """The peer gets an answer, the error goes on to whoever reports it, and the transaction will end."""

    def fail(transaction, received):
        raise ZeroDivisionError

    user.on_request = fail
    with pytest.raises(ZeroDivisionError):
        layer.request_received(request(method), phone)
    assert phone.summary() == [500]


def test_error_in_the_user_after_its_answer(layer, user, phone):
    """What was answered stays answered."""

    def answer_and_fail(transaction, received):
        transaction.respond(Response.for_request(received, 404))
        raise ZeroDivisionError

    user.on_request = answer_and_fail
    with pytest.raises(ZeroDivisionError):
        layer.request_received(request("OPTIONS"), phone)
    assert phone.summary() == [404]


def test_malformed_header_that_only_the_user_reads(layer, user, phone):
    """A header read late turns out to be broken: answered with its status, and not to be answered once more by the
    caller.
    """

    def read(transaction, received):
        raise MalformedMessage("Malformed Contact", header="Contact", status_hint=416, request=received)

    user.on_request = read
    with pytest.raises(MalformedMessage) as caught:
        layer.request_received(request("REGISTER"), phone)
    assert caught.value.request is None
    (response,) = phone.take()
    assert (response.status, response.reason) == (416, "Malformed Contact")


def test_repeated_request_during_the_users_callback_is_absorbed(layer, user, phone):
    """The transaction is known before its user is asked."""
    user.on_request = lambda transaction, received: layer.request_received(request("INVITE"), phone)
    layer.request_received(request("INVITE"), phone)
    assert len(user.servers) == 1


@pytest.mark.parametrize("method", ["INVITE", "OPTIONS"])
def test_a_request_through_the_layer_and_back(layer, user, phone, flow, clock, method):
    """A proxy in eight lines: the response goes back with our Via taken off, and nothing is left at the end."""
    layer.request_received(request(method), phone)
    transaction = user.servers[0]
    forwarded = layer.send_request(transaction.request, flow, user)
    answer = response_to(forwarded.request, 486)
    layer.response_received(answer, flow)
    answer.pop_first("Via")
    transaction.respond(answer)
    assert phone.take()[0].get_all("Via") == ["SIP/2.0/UDP 192.0.2.50:5060;branch=z9hG4bKphone1"]
    clock.advance(40)
    assert clock.pending == 0


def test_invented_methods_fill_no_memory(layer, user, phone):
    """Anybody may repeat requests with ever new methods; they are counted, together."""
    for number in range(100):
        invented = [request(f"M{number}", branch=f"z9hG4bK{number}") for _ in range(2)]
        layer.request_received(invented[0], phone)
        user.servers[-1].respond(Response.for_request(invented[0], 200))
        layer.request_received(invented[1], phone)
    assert layer.retransmissions == {("phones", "other"): 100}


def test_who_is_behind_a_flow_is_the_users_to_say(layer, user, clock):
    """One socket may have phones and servers on it."""
    user.layer_user.side_of = lambda flow: "servers"
    both = FakeFlow(clock, side="both")
    layer.send_request(request("OPTIONS", received=False), both, user)
    clock.advance(2)
    assert layer.retransmissions == {("servers", "OPTIONS"): 2}


def test_layer_knows_what_belongs_to_its_server_transactions(layer, user, flow):
    """A repetition, and of an INVITE the CANCEL and the ACK, which have its branch."""
    assert not layer.knows(request("INVITE"))
    layer.request_received(request("INVITE"), flow)
    layer.request_received(request("OPTIONS", branch="z9hG4bKphone2"), flow)
    assert all(layer.knows(request(method)) for method in ("INVITE", "CANCEL", "ACK"))
    assert layer.knows(request("OPTIONS", branch="z9hG4bKphone2"))
    assert not layer.knows(request("CANCEL", branch="z9hG4bKphone2"))
    assert not layer.knows(request("OPTIONS"))
