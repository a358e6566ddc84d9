"""When a request is sent, sent again and given up: exact times on a clock that stops at every timer."""

import pytest

from sbc.transaction import Timers, TransactionLayer
from tests.helpers.clock import FakeClock
from tests.helpers.network import FakeFlow, request, response_to

# RFC 3261 s.17.1.1.2: A doubles without cap. s.17.1.2.2: E doubles up to T2 = 4 s.
INVITE_SENDS = [0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
NON_INVITE_SENDS = [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]

# Table a.0: retry count -> given up after so many seconds. 10 and more: never later than 64*T1.
INVITE_GIVE_UP = [0.5, 1.5, 3.5, 7.5, 15.5, 31.5] + 15 * [32]
NON_INVITE_GIVE_UP = [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5] + 11 * [32]


def give_up_time(clock, user, advance):
    """Turn the clock by `advance` in small steps and return when `timed_out` was told, None when it was not."""
    start = clock.seconds()
    step = 0.25
    while clock.seconds() - start < advance:
        clock.advance(step)
        if any(event[0] == "timed_out" for event in user.events):
            return clock.seconds() - start
    return None


def test_invite_without_answer(layer, user, flow, clock):
    """Sends at 0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5; Timer B at 32 s."""
    layer.send_request(request("INVITE", received=False), flow, user)
    clock.advance(31.999)
    assert flow.times() == INVITE_SENDS
    assert user.take() == []
    clock.advance(0.001)
    assert user.take() == [("timed_out", "INVITE")]
    clock.advance(100)
    assert flow.times() == INVITE_SENDS


def test_non_invite_without_answer(layer, user, flow, clock):
    """Sends at 0, 0.5, 1.5, 3.5 and then every 4 s; Timer F at 32 s, and nothing remains."""
    layer.send_request(request("REGISTER", received=False), flow, user)
    clock.advance(31.999)
    assert flow.times() == NON_INVITE_SENDS
    assert user.take() == []
    clock.advance(0.001)
    assert user.take() == [("timed_out", "REGISTER")]
    assert clock.pending == 0


@pytest.mark.parametrize("method", ["INVITE", "REGISTER"])
def test_reliable_transport_sends_once(layer, user, connection, clock, method):
    """s.17.1.1.2, 17.1.2.2: no retransmission over TCP, but Timer B or F."""
    layer.send_request(request(method, received=False), connection, user)
    clock.advance(32)
    assert connection.times() == [0]
    assert user.take() == [("timed_out", method)]


@pytest.mark.parametrize("retries", range(21))
def test_retry_count_of_invite(layer, user, flow, clock, retries):
    """Table a.0, INVITE: first send and N retransmissions; given up when retransmission N+1 would have been due."""
    timeout = INVITE_GIVE_UP[retries]
    layer.send_request(request("INVITE", received=False), flow, user, timeout=timeout)
    assert give_up_time(clock, user, 40) == timeout
    clock.advance(40)
    assert flow.times() == INVITE_SENDS[: retries + 1]


@pytest.mark.parametrize("retries", range(21))
def test_retry_count_of_non_invite(layer, user, flow, clock, retries):
    """Table a.0, REGISTER and BYE."""
    timeout = NON_INVITE_GIVE_UP[retries]
    layer.send_request(request("BYE", received=False), flow, user, timeout=timeout)
    assert give_up_time(clock, user, 40) == timeout
    clock.advance(40)
    assert flow.times() == NON_INVITE_SENDS[: retries + 1]


@pytest.mark.parametrize("method", ["INVITE", "REGISTER"])
@pytest.mark.parametrize("start", [0.1, 12345.678, 987654.3210987, 4e8 + 1 / 3])
def test_no_send_at_the_give_up_however_the_clock_rounds(user, method, start):
    """The fourth retransmission and the give-up fall together at 7.5 s; rounding changes nothing."""
    clock = FakeClock(start)
    layer = TransactionLayer(clock, Timers(), user.layer_user)
    flow = FakeFlow(clock)
    layer.send_request(request(method, received=False), flow, user, timeout=7.5)
    clock.advance(100)
    assert [round(time, 2) for time in flow.times()] == [0, 0.5, 1.5, 3.5]


@pytest.mark.parametrize("method", ["INVITE", "REGISTER"])
@pytest.mark.parametrize(("interval", "retries"), [(0.3, 3), (1.0, 0), (2.0, 5)])
def test_constant_interval(layer, user, flow, clock, method, interval, retries):
    """Polycom's retryTimeOut R: sends at 0, R, 2R ..., given up at (N+1)*R."""
    timeout = (retries + 1) * interval
    layer.send_request(request(method, received=False), flow, user, timeout=timeout, interval=interval)
    clock.advance(timeout - 0.01)
    assert user.take() == []
    clock.advance(0.02)
    assert user.take() == [("timed_out", method)]
    assert flow.times() == [round(n * interval, 6) for n in range(retries + 1)]


def test_invite_stops_after_provisional(layer, user, flow, clock):
    """s.17.1.1.2: no retransmission and no Timer B once a provisional came; the ringing may last."""
    transaction = layer.send_request(request("INVITE", received=False), flow, user)
    clock.advance(1.0)
    layer.response_received(response_to(transaction.request, 100), flow)
    clock.advance(1000)
    assert flow.times() == [0, 0.5]
    assert user.take() == [("response", 100)]
    assert transaction.provisional_seen


def test_non_invite_slows_down_after_provisional(layer, user, flow, clock):
    """s.17.1.2.2: in Proceeding E is T2 from its next firing on, and F still runs."""
    transaction = layer.send_request(request("REGISTER", received=False), flow, user)
    clock.advance(0.6)
    layer.response_received(response_to(transaction.request, 100), flow)
    clock.advance(40)
    assert flow.times() == [0, 0.5, 1.5, 5.5, 9.5, 13.5, 17.5, 21.5, 25.5, 29.5]
    assert user.take() == [("response", 100), ("timed_out", "REGISTER")]


def test_provisional_allows_a_non_invite_more_time(layer, user, flow, clock):
    """A server that says 100 is alive: the short timeout of an attempt gives way to the longer one, counted from the
    start.
    """
    transaction = layer.send_request(
        request("REGISTER", received=False), flow, user, timeout=7.5, proceeding_timeout=31.0
    )
    clock.advance(3.6)
    layer.response_received(response_to(transaction.request, 100), flow)
    clock.advance(31.0 - 3.6 - 0.001)
    assert user.take() == [("response", 100)]
    # The retransmission at 7.5 s was left out because of the give-up; T2 after the provisional they go on.
    assert flow.times() == [0, 0.5, 1.5, 3.5, 7.6, 11.6, 15.6, 19.6, 23.6, 27.6]
    clock.advance(0.001)
    assert user.take() == [("timed_out", "REGISTER")]


def test_proceeding_timeout_that_is_over_already(layer, user, flow, clock):
    """A provisional after the longer time is no reason to wait, nor for an error."""
    transaction = layer.send_request(
        request("REGISTER", received=False), flow, user, timeout=7.5, proceeding_timeout=2.0
    )
    clock.advance(5.0)
    layer.response_received(response_to(transaction.request, 100), flow)
    clock.advance(0)
    assert user.take() == [("response", 100), ("timed_out", "REGISTER")]


@pytest.mark.parametrize(("method", "status"), [("INVITE", 200), ("INVITE", 486), ("OPTIONS", 200), ("OPTIONS", 404)])
def test_final_response_stops_retransmission(layer, user, flow, clock, method, status):
    transaction = layer.send_request(request(method, received=False), flow, user)
    clock.advance(0.7)
    layer.response_received(response_to(transaction.request, status), flow)
    clock.advance(100)
    assert flow.times(method) == [0, 0.5]
    assert user.take() == [("response", status)]
    assert not transaction.provisional_seen


def test_retransmissions_are_counted_by_side_and_method(layer, user, flow, clock):
    """Plain integers, read at scrape time; the first send is not one."""
    layer.send_request(request("INVITE", received=False), flow, user)
    layer.send_request(request("OPTIONS", received=False), flow, user)
    assert layer.retransmissions == {}
    clock.advance(1.0)
    assert layer.retransmissions == {("servers", "INVITE"): 1, ("servers", "OPTIONS"): 1}
    clock.advance(1.0)
    assert layer.retransmissions == {("servers", "INVITE"): 2, ("servers", "OPTIONS"): 2}


def test_started_is_the_time_of_the_first_send(layer, user, flow, clock):
    clock.advance(5)
    transaction = layer.send_request(request("OPTIONS", received=False), flow, user)
    assert transaction.started == clock.seconds()
