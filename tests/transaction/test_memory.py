"""What is left of a transaction: little while it only absorbs, nothing afterwards, and no work for the garbage collector."""

import gc

import pytest

from sbc.clock import Timer
from sbc.flow import Flow
from sbc.sip.errors import LocalError
from sbc.sip.message import Message, Response
from sbc.transaction import (
    ClientTransaction,
    ClientTransactionUser,
    ServerTransaction,
    Timers,
    TransactionLayer,
    TransactionUser,
)
from tests.helpers.clock import FakeClock
from tests.helpers.network import request, response_to


class Sink(Flow):
    """Keeps nothing."""

    def __init__(self):
        super().__init__("udp", "servers", "192.0.2.1:5060", ("192.0.2.1", 5060), ("192.0.2.9", 5060))

    def send(self, data):
        pass


class Forwarder(TransactionUser):
    """The user of the layer: one context for each request."""

    def __init__(self, flow):
        self.flow = flow
        self.layer = None

    def request_received(self, transaction, received):
        if received.method == "INVITE":
            transaction.respond(Response.for_request(received, 100))
        Context(transaction, received).send(self.layer, self.flow)

    def ack_received(self, received, flow):
        self.layer.send_stateless(received, self.flow, "z9hG4bKack")

    def cancel_received(self, invite, received):
        pass

    def stray_response_received(self, response, flow):
        pass

    def server_transaction_ended(self, transaction):
        pass


class Context(ClientTransactionUser):
    """Holds its transactions, which hold it: the ring that has to be opened."""

    def __init__(self, transaction, received):
        self.transaction = transaction
        self.request = received
        self.client = None
        self.outcome = None

    def send(self, layer, flow):
        self.client = layer.send_request(self.request, flow, self, timeout=7.5)

    def response_received(self, transaction, response):
        upward = response.copy()
        upward.pop_first("Via")
        self.transaction.respond(upward)

    def timed_out(self, transaction):
        self.outcome = "timed out"
        self.transaction.respond(Response.for_request(self.request, 408))

    def transport_failed(self, transaction, cause):
        self.outcome = cause
        self.transaction.respond(Response.for_request(self.request, 503))


def answered(layer, flow, method, *statuses):
    layer.request_received(request(method), flow)
    (client,) = layer.clients.live()
    sent = client.request
    for status in statuses:
        layer.response_received(response_to(sent, status), flow)
    if method == "INVITE":
        branch = "z9hG4bKphone1" if statuses[-1] >= 300 else "z9hG4bKother"
        layer.request_received(request("ACK", to_tag="server", branch=branch), flow)


STORIES = {
    "call": lambda layer, flow, clock: answered(layer, flow, "INVITE", 100, 180, 200),
    "call with the 2xx repeated": lambda layer, flow, clock: answered(layer, flow, "INVITE", 180, 200, 200),
    "refused call": lambda layer, flow, clock: answered(layer, flow, "INVITE", 100, 486),
    "request": lambda layer, flow, clock: answered(layer, flow, "BYE", 200),
    "slow request": lambda layer, flow, clock: answered(layer, flow, "BYE", 100, 404),
    "silence": lambda layer, flow, clock: layer.request_received(request("INVITE"), flow),
    "silent request": lambda layer, flow, clock: layer.request_received(request("BYE"), flow),
    "broken connection": lambda layer, flow, clock: (
        layer.request_received(request("INVITE"), flow), layer.flow_failed(flow, "reset"),
    ),
    "cancelled call": lambda layer, flow, clock: (
        layer.request_received(request("INVITE"), flow),
        layer.cancel(layer.clients.live()[0]),
        layer.response_received(response_to(layer.clients.live()[0].request, 180), flow),
    ),
}  # fmt: skip


@pytest.fixture
def no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def ours():
    return [thing for thing in gc.get_objects() if isinstance(thing, Timer | Message | Context)]


@pytest.mark.parametrize("story", STORIES)
def test_nothing_is_left_for_the_collector(no_collector, story):
    """Reference counting alone frees everything once the timers have run out."""
    before = len(ours())
    clock, flow = FakeClock(), Sink()
    user = Forwarder(flow)
    user.layer = layer = TransactionLayer(clock, Timers(), user)
    STORIES[story](layer, flow, clock)
    assert len(ours()) > before
    clock.advance(200)
    assert set(layer.transactions.values()) == {0}
    assert len(ours()) == before


def test_refused_call_is_freed_while_its_repetitions_are_absorbed(no_collector):
    """The transactions wait for half a minute more; the context and all messages need not."""
    before = len(ours())
    flow = Sink()
    user = Forwarder(flow)
    user.layer = layer = TransactionLayer(FakeClock(), Timers(), user)
    answered(layer, flow, "INVITE", 100, 486)
    left = ours()
    assert layer.transactions["client", "invite"] == layer.transactions["server", "invite"] == 1
    assert len(left) == before + 2
    assert not any(isinstance(thing, Message | Context) for thing in left)


def test_request_is_let_go_with_the_final_response(layer, user, flow, phone):
    """Who wants to see it afterwards keeps it: half a minute of requests is much memory."""
    layer.request_received(request("OPTIONS"), phone)
    server = user.servers[0]
    client = layer.send_request(server.request, flow, user)
    layer.response_received(response_to(client.request, 200), flow)
    server.respond(Response.for_request(server.request, 200))
    for transaction in (client, server):
        assert isinstance(transaction, ClientTransaction | ServerTransaction)
        with pytest.raises(LocalError, match="OPTIONS transaction: its request was let go"):
            transaction.request  # noqa: B018


def test_request_of_a_server_that_was_given_up_stays(layer, user, flow, clock):
    """Its late 2xx must be ACKed and its call ended, for which the INVITE is needed."""
    invite = layer.send_request(request("INVITE", received=False), flow, user, timeout=7.5)
    clock.advance(7.5)
    assert invite.request.method == "INVITE"
    other = layer.send_request(request("INVITE", received=False), flow, user)
    layer.response_received(response_to(other.request, 180), flow)
    layer.cancel(other)
    clock.advance(32)
    assert other.state.name == "TERMINATED"
    assert other.request.method == "INVITE"
