"""A REGISTER, BYE or OPTIONS of ours after its answer (RFC 3261 s.17.1.2)."""

from sbc.transaction.client import State
from tests.helpers.network import request, response_to


def test_repeated_response_is_absorbed_until_timer_k(layer, user, flow, clock):
    """K = T4: the user hears one final response."""
    transaction = layer.send_request(request("REGISTER", received=False), flow, user)
    sent = transaction.request
    layer.response_received(response_to(sent, 200), flow)
    clock.advance(4.999)
    layer.response_received(response_to(sent, 200), flow)
    layer.response_received(response_to(sent, 100), flow)
    assert user.take() == [("response", 200)]
    assert transaction.state == State.COMPLETED
    clock.advance(0.001)
    assert transaction.state == State.TERMINATED
    layer.response_received(response_to(sent, 200), flow)
    assert user.take() == [("stray", 200)]


def test_over_tcp_timer_k_is_zero(layer, user, connection, clock):
    transaction = layer.send_request(request("REGISTER", received=False), connection, user)
    layer.response_received(response_to(transaction.request, 200), connection)
    assert transaction.state == State.TERMINATED
    assert user.take() == [("response", 200)]
    assert clock.pending == 0


def test_late_answer_is_stray(layer, user, flow, clock):
    """After Timer F; it still says that the server lives."""
    transaction = layer.send_request(request("REGISTER", received=False), flow, user, timeout=7.5)
    clock.advance(7.5)
    layer.response_received(response_to(transaction.request, 200), flow)
    assert user.take() == [("timed_out", "REGISTER"), ("stray", 200)]


def test_transport_failure_after_a_provisional(layer, user, flow, clock):
    """s.17.1.2.2: in Trying and in Proceeding alike."""
    transaction = layer.send_request(request("REGISTER", received=False), flow, user)
    layer.response_received(response_to(transaction.request, 100), flow)
    transaction.transport_failed("icmp")
    assert user.take() == [("response", 100), ("transport_failed", "icmp")]
    assert clock.pending == 0


def test_giving_up_early_is_silent(layer, user, flow, clock):
    """Another request found the server dead; the user turns to the next one by itself."""
    transaction = layer.send_request(request("REGISTER", received=False), flow, user)
    transaction.give_up()
    assert clock.pending == 0
    layer.response_received(response_to(transaction.request, 200), flow)
    assert user.take() == [("stray", 200)]


def test_terminate_is_silent(layer, user, flow, clock):
    transaction = layer.send_request(request("REGISTER", received=False), flow, user)
    transaction.terminate()
    transaction.terminate()
    clock.advance(100)
    assert user.take() == []
    assert flow.times() == [0]
    assert clock.pending == 0
