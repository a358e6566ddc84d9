"""Every (state, input) pair of the four machines: where it leads, what is sent, what the user hears.

The charts here are written from the figures of RFC 3261, RFC 6026 and RFC 4320, not from the tables they check. An
entry is "NEXT STATE: sent | told"; a pair that is not in a chart cannot happen: it must raise LocalError and change
nothing.
"""

import pytest

from sbc.sip.errors import LocalError
from sbc.sip.message import Response
from sbc.transaction import client, server
from tests.helpers.network import request, response_to

INVITE_CLIENT = {
    "CALLING": {
        "PROVISIONAL": "PROCEEDING: | response 180",
        "SUCCESS": "ACCEPTED: | response 200",
        "FAILURE": "COMPLETED: ACK | response 486",
        "CANCEL": "CALLING_CANCELLED: |",
        "GIVE_UP": "ABANDONED: |",
        "TERMINATE": "TERMINATED: |",
        "TRANSPORT_FAILED": "TERMINATED: | transport_failed icmp",
        "TIMER_A": "CALLING: INVITE |",
        "TIMER_B": "ABANDONED: | timed_out INVITE",
    },
    "CALLING_CANCELLED": {
        "PROVISIONAL": "PROCEEDING: CANCEL | response 180",
        "SUCCESS": "ACCEPTED: | response 200",
        "FAILURE": "COMPLETED: ACK | response 486",
        "CANCEL": "CALLING_CANCELLED: |",
        "GIVE_UP": "ABANDONED: |",
        "TERMINATE": "TERMINATED: |",
        "TRANSPORT_FAILED": "TERMINATED: | transport_failed icmp",
        "TIMER_A": "CALLING_CANCELLED: INVITE |",
        "TIMER_B": "ABANDONED: | timed_out INVITE",
    },
    "PROCEEDING": {
        "PROVISIONAL": "PROCEEDING: | response 180",
        "SUCCESS": "ACCEPTED: | response 200",
        "FAILURE": "COMPLETED: ACK | response 486",
        "CANCEL": "PROCEEDING: CANCEL |",
        "TERMINATE": "TERMINATED: |",
        "TRANSPORT_FAILED": "PROCEEDING: |",
        "TIMER_CANCELLED": "TERMINATED: | timed_out INVITE",
    },
    "ACCEPTED": {
        "PROVISIONAL": "ACCEPTED: |",
        "SUCCESS": "ACCEPTED: | response 200",
        "FAILURE": "ACCEPTED: |",
        "CANCEL": "ACCEPTED: |",
        "TERMINATE": "TERMINATED: |",
        "TRANSPORT_FAILED": "ACCEPTED: |",
        "TIMER_M": "TERMINATED: |",
    },
    "COMPLETED": {
        "PROVISIONAL": "COMPLETED: |",
        "SUCCESS": "COMPLETED: |",
        "FAILURE": "COMPLETED: ACK |",
        "CANCEL": "COMPLETED: |",
        "TERMINATE": "TERMINATED: |",
        "TRANSPORT_FAILED": "COMPLETED: |",
        "TIMER_D": "TERMINATED: |",
    },
    "ABANDONED": {
        "PROVISIONAL": "ABANDONED: CANCEL | stray 180",
        "SUCCESS": "ABANDONED: | stray 200",
        "FAILURE": "COMPLETED: ACK | stray 486",
        "CANCEL": "ABANDONED: |",
        "TERMINATE": "TERMINATED: |",
        "TRANSPORT_FAILED": "ABANDONED: |",
        "TIMER_ABANDONED": "TERMINATED: |",
    },
    "TERMINATED": {
        "CANCEL": "TERMINATED: |",
        "TERMINATE": "TERMINATED: |",
        "TRANSPORT_FAILED": "TERMINATED: |",
    },
}

NON_INVITE_CLIENT = {
    "TRYING": {
        "PROVISIONAL": "PROCEEDING: | response 180",
        "SUCCESS": "COMPLETED: | response 200",
        "FAILURE": "COMPLETED: | response 486",
        "GIVE_UP": "TERMINATED: |",
        "TERMINATE": "TERMINATED: |",
        "TRANSPORT_FAILED": "TERMINATED: | transport_failed icmp",
        "TIMER_E": "TRYING: OPTIONS |",
        "TIMER_F": "TERMINATED: | timed_out OPTIONS",
    },
    "PROCEEDING": {
        "PROVISIONAL": "PROCEEDING: | response 180",
        "SUCCESS": "COMPLETED: | response 200",
        "FAILURE": "COMPLETED: | response 486",
        "TERMINATE": "TERMINATED: |",
        "TRANSPORT_FAILED": "TERMINATED: | transport_failed icmp",
        "TIMER_E": "PROCEEDING: OPTIONS |",
        "TIMER_F": "TERMINATED: | timed_out OPTIONS",
    },
    "COMPLETED": {
        "PROVISIONAL": "COMPLETED: |",
        "SUCCESS": "COMPLETED: |",
        "FAILURE": "COMPLETED: |",
        "TERMINATE": "TERMINATED: |",
        "TRANSPORT_FAILED": "COMPLETED: |",
        "TIMER_K": "TERMINATED: |",
    },
    "TERMINATED": {
        "TERMINATE": "TERMINATED: |",
        "TRANSPORT_FAILED": "TERMINATED: |",
    },
}

INVITE_SERVER = {
    "PROCEEDING": {
        "REQUEST": "PROCEEDING: 180 |",
        "ACK": "PROCEEDING: |",
        "PROVISIONAL": "PROCEEDING: 183 |",
        "SUCCESS": "ACCEPTED: 200 |",
        "FAILURE": "COMPLETED: 486 |",
        "TIMER_TRYING": "PROCEEDING: 100 |",
        "REFUSAL": "TERMINATED: 403 | ended INVITE",
    },
    "ACCEPTED": {
        "REQUEST": "ACCEPTED: |",
        "ACK": "ACCEPTED: | ack 1",
        "PROVISIONAL": "ACCEPTED: |",
        "SUCCESS": "ACCEPTED: 200 |",
        "FAILURE": "ACCEPTED: |",
        "TIMER_L": "TERMINATED: | ended INVITE",
    },
    "COMPLETED": {
        "REQUEST": "COMPLETED: 404 |",
        "ACK": "CONFIRMED: |",
        "PROVISIONAL": "COMPLETED: |",
        "SUCCESS": "COMPLETED: |",
        "FAILURE": "COMPLETED: |",
        "TIMER_G": "COMPLETED: 404 |",
        "TIMER_H": "TERMINATED: | ended INVITE",
    },
    "CONFIRMED": {
        "REQUEST": "CONFIRMED: |",
        "ACK": "CONFIRMED: |",
        "PROVISIONAL": "CONFIRMED: |",
        "SUCCESS": "CONFIRMED: |",
        "FAILURE": "CONFIRMED: |",
        "TIMER_I": "TERMINATED: | ended INVITE",
    },
    "TERMINATED": {
        "PROVISIONAL": "TERMINATED: |",
        "SUCCESS": "TERMINATED: |",
        "FAILURE": "TERMINATED: |",
    },
}

NON_INVITE_SERVER = {
    "TRYING": {
        "REQUEST": "TRYING: |",
        "PROVISIONAL": "TRYING: |",
        "SUCCESS": "COMPLETED: 200 |",
        "FAILURE": "COMPLETED: 486 |",
        "TIMER_TRYING": "PROCEEDING: 100 |",
    },
    "PROCEEDING": {
        "REQUEST": "PROCEEDING: 100 |",
        "PROVISIONAL": "PROCEEDING: |",
        "SUCCESS": "COMPLETED: 200 |",
        "FAILURE": "COMPLETED: 486 |",
    },
    "COMPLETED": {
        "REQUEST": "COMPLETED: 404 |",
        "PROVISIONAL": "COMPLETED: |",
        "SUCCESS": "COMPLETED: |",
        "FAILURE": "COMPLETED: |",
        "TIMER_J": "TERMINATED: | ended OPTIONS",
    },
    "TERMINATED": {
        "PROVISIONAL": "TERMINATED: |",
        "SUCCESS": "TERMINATED: |",
        "FAILURE": "TERMINATED: |",
    },
}


def pairs(states, inputs):
    return [pytest.param(state, event, id=f"{state}-{event.name}") for state in states for event in inputs]


def told(user):
    return ", ".join(f"{what} {detail}" for what, detail in user.take())


FIRST_REPETITION = 0.5  # A, E and G start at T1; they arm themselves again, so the clock must bring them


def observe(transaction, event, what, flow, user, clock, chart):
    """Give `event` in the present state, and compare what happens with the chart."""
    state = transaction.state.name
    flow.take()
    user.take()
    expected = chart[state].get(event.name)
    if expected is None:
        with pytest.raises(LocalError, match=f"{event.name} while {state}"):
            transaction._take(event, what)
        assert transaction.state.name == state
    else:
        if event.name in ("TIMER_A", "TIMER_E", "TIMER_G"):
            clock.advance(FIRST_REPETITION)
        else:
            transaction._take(event, what)
        sent = ", ".join(str(message) for message in flow.summary())
        got = f"{transaction.state.name}: {sent} | {told(user)}"
        assert " ".join(got.split()) == expected


# Client machines


def client_in(state, method, layer, user, flow, clock):
    """A client transaction that got into `state` as it would in life, and what it sent."""
    transaction = layer.send_request(request(method, received=False), flow, user)
    sent = transaction.request
    match state:
        case "CALLING_CANCELLED":
            layer.cancel(transaction)
        case "PROCEEDING":
            layer.response_received(response_to(sent, 100), flow)
        case "ACCEPTED":
            layer.response_received(response_to(sent, 200), flow)
        case "COMPLETED":
            layer.response_received(response_to(sent, 404), flow)
        case "ABANDONED":
            clock.advance(32)
        case "TERMINATED":
            transaction.terminate()
    assert transaction.state.name == state
    return transaction, sent


def client_message(event, sent):
    statuses = {"PROVISIONAL": 180, "SUCCESS": 200, "FAILURE": 486}
    if event.name in statuses:
        return response_to(sent, statuses[event.name])
    return "icmp" if event.name == "TRANSPORT_FAILED" else None


@pytest.mark.parametrize(("state", "event"), pairs(INVITE_CLIENT, client.Input))
def test_invite_client(state, event, layer, user, flow, clock):
    transaction, sent = client_in(state, "INVITE", layer, user, flow, clock)
    observe(transaction, event, client_message(event, sent), flow, user, clock, INVITE_CLIENT)


@pytest.mark.parametrize(("state", "event"), pairs(NON_INVITE_CLIENT, client.Input))
def test_non_invite_client(state, event, layer, user, flow, clock):
    transaction, sent = client_in(state, "OPTIONS", layer, user, flow, clock)
    observe(transaction, event, client_message(event, sent), flow, user, clock, NON_INVITE_CLIENT)


# Server machines


def server_in(state, method, layer, user, phone, clock):
    """A server transaction that got into `state` as it would in life, and its request."""
    received = request(method)
    layer.request_received(received, phone)
    transaction = user.servers[0]
    match state:
        case "PROCEEDING" if method == "INVITE":
            transaction.respond(Response.for_request(received, 180, to_tag="here"))
        case "PROCEEDING":
            clock.advance(3.5)
        case "ACCEPTED":
            transaction.respond(Response.for_request(received, 200, to_tag="here"))
        case "COMPLETED":
            transaction.respond(Response.for_request(received, 404, to_tag="here"))
        case "CONFIRMED":
            transaction.respond(Response.for_request(received, 404, to_tag="here"))
            layer.request_received(request("ACK", to_tag="here"), phone)
        case "TERMINATED":
            transaction.respond(Response.for_request(received, 404, to_tag="here"))
            clock.advance(32)
    assert transaction.state.name == state
    return transaction, received


def server_message(event, received, flow):
    statuses = {"PROVISIONAL": 183, "SUCCESS": 200, "FAILURE": 486, "REFUSAL": 403}
    if event.name in statuses:
        return Response.for_request(received, statuses[event.name], to_tag="here")
    return (request("ACK", to_tag="here"), flow) if event.name == "ACK" else None


@pytest.mark.parametrize(("state", "event"), pairs(INVITE_SERVER, server.Input))
def test_invite_server(state, event, layer, user, phone, clock):
    transaction, received = server_in(state, "INVITE", layer, user, phone, clock)
    observe(transaction, event, server_message(event, received, phone), phone, user, clock, INVITE_SERVER)


@pytest.mark.parametrize(("state", "event"), pairs(NON_INVITE_SERVER, server.Input))
def test_non_invite_server(state, event, layer, user, phone, clock):
    transaction, received = server_in(state, "OPTIONS", layer, user, phone, clock)
    observe(transaction, event, server_message(event, received, phone), phone, user, clock, NON_INVITE_SERVER)


@pytest.mark.parametrize(
    ("table", "chart"),
    [
        (client.INVITE_TRANSITIONS, INVITE_CLIENT),
        (client.NON_INVITE_TRANSITIONS, NON_INVITE_CLIENT),
        (server.INVITE_TRANSITIONS, INVITE_SERVER),
        (server.NON_INVITE_TRANSITIONS, NON_INVITE_SERVER),
    ],
)
def test_charts_leave_no_row_out(table, chart):
    """A row in the code that no chart speaks of would never have been walked."""
    rows = {(state.name, event.name) for state, event in table}
    assert rows == {(state, event) for state, events in chart.items() for event in events}
