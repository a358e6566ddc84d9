"""A request other than INVITE that came to us (RFC 3261 s.17.2.2, RFC 4320)."""

import pytest

from sbc.sip.message import Response
from sbc.transaction.server import State
from tests.helpers.network import request
from tests.helpers.transaction_users import AnsweringUser


@pytest.fixture
def register(layer, user, phone):
    layer.request_received(request("REGISTER"), phone)
    return user.servers[0]


def answer(transaction, status):
    transaction.respond(Response.for_request(request("REGISTER"), status, to_tag="here"))


def test_repeated_request_without_answer_is_absorbed(layer, user, phone, register):
    layer.request_received(request("REGISTER"), phone)
    assert phone.summary() == []
    assert user.take() == [("request", "REGISTER")]


def test_trying_at_3_5_s_and_not_before(layer, phone, clock, register):
    """RFC 4320 s.4.1 (D2): 100 exactly when the phone's Timer E reaches T2, and its repetitions then get it again."""
    clock.advance(3.499)
    layer.request_received(request("REGISTER"), phone)
    assert phone.summary() == []
    clock.advance(0.001)
    assert phone.times() == [3.5]
    layer.request_received(request("REGISTER"), phone)
    clock.advance(20)
    assert phone.summary() == [100, 100]


def test_trying_over_tcp_at_the_same_time(layer, user, phone_connection, clock):
    """RFC 4320 s.4.1: "without regard to transport", and one that connects is in no hurry."""
    layer.request_received(request("REGISTER", transport="TCP"), phone_connection)
    clock.advance(10)
    assert phone_connection.times() == [3.5]


@pytest.mark.parametrize("status", [100, 180, 183])
def test_no_other_provisional_leaves(phone, clock, register, status):
    """RFC 4320 s.4.1: not the user's early 100, and never a 18x."""
    answer(register, status)
    clock.advance(4)
    answer(register, status)
    assert phone.times() == [3.5]
    assert phone.summary() == [100]


def test_no_trying_after_the_answer(phone, clock, register):
    clock.advance(3.4)
    answer(register, 200)
    clock.advance(20)
    assert phone.summary() == [200]


def test_answer_is_repeated_until_timer_j(layer, user, phone, clock, register):
    """J = 64*T1: repetitions get the same bytes."""
    answer(register, 401)
    clock.advance(31.9)
    layer.request_received(request("REGISTER"), phone)
    assert phone.summary() == [401, 401]
    assert phone.datagrams[0] == phone.datagrams[1]
    assert register.state == State.COMPLETED
    clock.advance(0.1)
    assert register.state == State.TERMINATED
    assert user.take() == [("request", "REGISTER"), ("ended", "REGISTER")]


def test_second_answer_is_discarded(phone, clock, register):
    """s.17.2.2: in Completed, and all the more afterwards."""
    answer(register, 500)
    answer(register, 200)
    assert register.final_status == 500
    clock.advance(32)
    answer(register, 200)
    assert phone.summary() == [500]


def test_over_tcp_timer_j_is_zero(layer, user, phone_connection, clock):
    layer.request_received(request("REGISTER", transport="TCP"), phone_connection)
    register = user.servers[0]
    answer(register, 200)
    assert register.state == State.TERMINATED
    assert user.take() == [("request", "REGISTER"), ("ended", "REGISTER")]
    assert clock.pending == 0


def test_answer_at_once_arms_only_timer_j(layer, phone, clock):
    """An OPTIONS or a refresh answered on the spot costs one timer."""
    layer.user = AnsweringUser(200).layer_user
    layer.request_received(request("OPTIONS"), phone)
    assert clock.pending == 1
