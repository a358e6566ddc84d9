"""An INVITE that came to us (RFC 3261 s.17.2.1, RFC 6026)."""

import pytest

from sbc.sip.message import Response
from sbc.transaction.server import State
from tests.helpers.network import request


@pytest.fixture
def invite(layer, user, phone):
    layer.request_received(request("INVITE"), phone)
    return user.servers[0]


def answer(transaction, status, to_tag="here"):
    transaction.respond(Response.for_request(request("INVITE"), status, to_tag=to_tag))


def ack(to_tag="here", branch="z9hG4bKphone1"):
    return request("ACK", to_tag=to_tag, branch=branch)


def test_trying_after_200_ms_of_silence(phone, clock, invite):
    """s.17.2.1: 100 unless the user will answer within 200 ms."""
    clock.advance(0.199)
    assert phone.times() == []
    clock.advance(0.0011)
    assert phone.times() == [0.2]
    trying = phone.take()[0]
    assert (trying.status, trying.to_tag) == (100, "")
    assert trying.get("Via") == invite.request.get("Via")


@pytest.mark.parametrize("status", [100, 180, 200, 486])
def test_no_trying_of_ours_when_the_user_answered_in_time(phone, clock, invite, status):
    clock.advance(0.1)
    answer(invite, status)
    clock.advance(0.35)
    assert phone.summary() == [status]


def test_no_timer_at_all_when_the_user_answers_at_once(layer, user, phone, clock):
    """The proxy sends its 100 right away; nothing is armed just to be cancelled."""
    user.on_request = lambda transaction, received: answer(transaction, 100)
    layer.request_received(request("INVITE"), phone)
    assert clock.pending == 0


def test_repeated_invite_gets_the_last_response(layer, user, phone, invite):
    layer.request_received(request("INVITE"), phone)
    assert phone.summary() == []
    answer(invite, 100)
    layer.request_received(request("INVITE"), phone)
    answer(invite, 180)
    layer.request_received(request("INVITE"), phone)
    assert phone.summary() == [100, 100, 180, 180]
    assert user.take() == [("request", "INVITE")]
    assert layer.retransmissions == {("phones", "INVITE"): 2}


def test_failure_is_repeated_until_the_ack(layer, user, phone, clock, invite):
    """Timer G: 0.5 s, doubling up to T2."""
    answer(invite, 486)
    clock.advance(8)
    assert phone.times(486) == [0, 0.5, 1.5, 3.5, 7.5]
    layer.request_received(ack(), phone)
    clock.advance(60)
    assert phone.times(486) == [0, 0.5, 1.5, 3.5, 7.5]
    assert user.take() == [("request", "INVITE"), ("ended", "INVITE")]


def test_failure_without_ack_ends_with_timer_h(user, phone, clock, invite):
    """64*T1, G every 4 s on the way."""
    answer(invite, 486)
    clock.advance(31.999)
    assert invite.state == State.COMPLETED
    assert phone.times(486) == [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    clock.advance(0.001)
    assert invite.state == State.TERMINATED
    assert user.take()[-1] == ("ended", "INVITE")


def test_repeated_acks_are_absorbed_for_timer_i(layer, user, phone, clock, invite):
    """I = T4; afterwards an ACK belongs to nothing that we know and goes up."""
    answer(invite, 486)
    layer.request_received(ack(), phone)
    clock.advance(4.999)
    layer.request_received(ack(), phone)
    layer.request_received(request("INVITE"), phone)
    assert phone.summary() == [486]
    assert ("ack", 1) not in user.events
    clock.advance(0.001)
    assert invite.state == State.TERMINATED


def test_over_tcp_failure_is_sent_once(layer, user, phone_connection, clock):
    """G never runs, H does, I is zero."""
    layer.request_received(request("INVITE", transport="TCP"), phone_connection)
    invite = user.servers[0]
    answer(invite, 486)
    clock.advance(31.999)
    assert phone_connection.summary() == [486]
    assert invite.state == State.COMPLETED
    layer.request_received(ack(), phone_connection)
    assert invite.state == State.TERMINATED
    assert clock.pending == 0


def test_what_follows_a_failure_is_discarded(user, phone, invite):
    answer(invite, 486)
    answer(invite, 180)
    answer(invite, 200)
    answer(invite, 503)
    assert phone.summary() == [486]
    assert invite.final_status == 486


# RFC 6026


def test_accepted_absorbs_repeated_invites(layer, user, phone, clock, invite):
    """RFC 6026 s.7.1: the 2xx is repeated by whoever made it, not by us."""
    answer(invite, 200)
    clock.advance(31.9)
    layer.request_received(request("INVITE"), phone)
    assert phone.summary() == [200]
    assert user.take() == [("request", "INVITE")]


def test_accepted_sends_every_2xx_of_the_user(phone, clock, invite):
    """Repetitions by the far end, and those of other forks."""
    answer(invite, 200, "one")
    clock.advance(0.5)
    answer(invite, 200, "one")
    clock.advance(20)
    answer(invite, 200, "two")
    assert [message.to_tag for message in phone.take()] == ["one", "one", "two"]
    assert invite.final_status == 200


def test_accepted_ends_with_timer_l(layer, user, phone, clock, invite):
    """64*T1 after the first 2xx; an INVITE of the same branch is a new request then."""
    answer(invite, 200)
    clock.advance(31.999)
    assert invite.state == State.ACCEPTED
    clock.advance(0.001)
    assert invite.state == State.TERMINATED
    assert user.take() == [("request", "INVITE"), ("ended", "INVITE")]
    layer.request_received(request("INVITE"), phone)
    assert user.take() == [("request", "INVITE")]


def test_ack_to_2xx_has_its_own_branch_and_goes_up(layer, user, phone, invite):
    answer(invite, 200)
    layer.request_received(ack(branch="z9hG4bKother"), phone)
    assert user.take() == [("request", "INVITE"), ("ack", 1)]


def test_ack_to_2xx_with_the_branch_of_the_invite_goes_up_too(layer, user, phone, invite):
    """RFC 6026 s.7.1: an ACK in Accepted is passed to the user, however often."""
    answer(invite, 200)
    layer.request_received(ack(), phone)
    layer.request_received(ack(), phone)
    assert user.take() == [("request", "INVITE"), ("ack", 1), ("ack", 1)]


def test_ack_to_2xx_goes_up_with_the_flow_it_came_on(layer, user, phone, phone_connection, invite):
    """The phone may have connected anew since its INVITE."""
    flows = []
    user.layer_user.ack_received = lambda ack_request, flow: flows.append(flow)
    answer(invite, 200)
    layer.request_received(ack(), phone_connection)
    layer.request_received(ack(branch="z9hG4bKother"), phone_connection)
    assert flows == [phone_connection, phone_connection]


# CANCEL


def test_cancel_is_answered_and_reported(layer, user, phone, invite):
    """s.9.2: 200 to the CANCEL by the layer, what becomes of the INVITE is the user's decision."""
    layer.request_received(request("CANCEL"), phone)
    assert phone.summary() == [200]
    assert phone.take()[0].cseq_method == "CANCEL"
    assert user.take() == [("request", "INVITE"), ("cancel", 1)]


def test_repeated_cancel_is_answered_again_but_reported_once(layer, user, phone, clock, invite):
    layer.request_received(request("CANCEL"), phone)
    clock.advance(0.1)
    layer.request_received(request("CANCEL"), phone)
    assert phone.summary() == [200, 200]
    assert user.take() == [("request", "INVITE"), ("cancel", 1)]


@pytest.mark.parametrize("status", [200, 486])
def test_cancel_after_the_final_response_has_no_effect(layer, user, phone, invite, status):
    """s.9.2: answered 200 all the same."""
    answer(invite, status)
    layer.request_received(request("CANCEL"), phone)
    assert phone.summary() == [status, 200]
    assert user.take() == [("request", "INVITE")]


@pytest.mark.parametrize(
    "other", [{"branch": "z9hG4bKother"}, {"sent_by": "192.0.2.50:5062"}], ids=["other branch", "other sent-by"]
)
def test_cancel_of_nothing_gets_481(layer, user, phone, invite, other):
    layer.request_received(request("CANCEL", **other), phone)
    assert phone.summary() == [481]
    assert user.take() == [("request", "INVITE")]


def test_end_of_a_cancel_is_not_reported(layer, user, phone, clock):
    """The user never heard of its transaction."""
    layer.request_received(request("CANCEL"), phone)
    clock.advance(40)
    assert user.take() == []
    assert clock.pending == 0


def refuse(transaction, status=403):
    transaction.refuse(Response.for_request(request("INVITE"), status, to_tag="here"))


def test_refusal_is_not_repeated_and_leaves_nothing(layer, user, phone, clock):
    """s.8.2.7: who gives a false address cannot have us send to it what he did not pay for."""
    user.on_request = lambda transaction, received: refuse(transaction)
    layer.request_received(request("INVITE"), phone)
    assert set(layer.transactions.values()) == {0}
    assert clock.pending == 0
    clock.advance(64)
    assert phone.summary() == [403]
    assert user.servers[0].final_status == 403


def test_repeated_invite_is_refused_again(layer, user, phone):
    """The first refusal got lost; the ACK to the second is for the user to drop."""
    user.on_request = lambda transaction, received: refuse(transaction)
    for _ in range(2):
        layer.request_received(request("INVITE"), phone)
    assert phone.summary() == [403, 403]
    user.take()
    layer.request_received(ack(), phone)
    assert user.take() == [("ack", 1)]


@pytest.mark.parametrize(("before", "sent"), [(100, [100, 403, 403, 403]), (200, [200])])
def test_refusal_after_another_answer_is_an_answer_like_others(phone, clock, invite, before, sent):
    """Who has heard a 100 does not repeat its INVITE any more."""
    answer(invite, before)
    refuse(invite)
    clock.advance(1.6)
    assert phone.summary() == sent


def test_refusal_of_another_request_is_an_answer_like_others(layer, user, phone, clock):
    layer.request_received(request("OPTIONS"), phone)
    user.servers[0].refuse(Response.for_request(user.requests[0], 404))
    layer.request_received(request("OPTIONS"), phone)
    assert phone.summary() == [404, 404]
    assert len(user.servers) == 1
