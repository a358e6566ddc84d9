"""An INVITE of ours: CANCEL, ACK, the Accepted state, and servers that answer after we gave up (RFC 3261 s.17.1.1,
RFC 6026).
"""

import pytest

from sbc.transaction.client import State
from tests.helpers.network import request, response_to

ROUTES = [("Route", "<sip:a.example.com;lr>, <sip:b.example.com;lr>"), ("Route", "<sip:c.example.com;lr>")]


@pytest.fixture
def invite(layer, user, flow):
    """An INVITE on its way, forwarded for a phone: the phone's Via is below ours."""
    others = [("Proxy-Require", "x"), ("Contact", "<sip:alice@192.0.2.50>")]
    forwarded = request("INVITE", cseq=7, headers=[*ROUTES, *others])
    return layer.send_request(forwarded, flow, user)


# ACK to a failure


def test_ack_is_shaped_by_the_invite(layer, flow, invite):
    """s.17.1.1.3: Request-URI, Call-ID, From, Route and the one Via of the INVITE, To of the response, CSeq number
    kept.
    """
    layer.response_received(response_to(invite.request, 486, to_tag="uas"), flow)
    sent_invite, ack = flow.take()
    assert ack.method == "ACK"
    assert ack.request_uri == sent_invite.request_uri
    assert ack.get_all("Via") == [sent_invite.get("Via")]
    assert ack.top_via.branch == invite.branch
    assert ack.get_all("Route") == ["<sip:a.example.com;lr>", "<sip:b.example.com;lr>", "<sip:c.example.com;lr>"]
    assert ack.get("From") == sent_invite.get("From")
    assert ack.get("To") == "<sip:bob@example.com>;tag=uas"
    assert ack.get("Call-ID") == sent_invite.get("Call-ID")
    assert ack.get("CSeq") == "7 ACK"
    assert ack.get("Max-Forwards") == "70"
    assert ack.get("Content-Length") == "0"
    assert not ack.has("Contact")
    assert not ack.has("Proxy-Require")


def test_repeated_failure_is_acknowledged_again_until_timer_d(layer, user, flow, clock, invite):
    """s.17.1.1.2: the ACK got lost, so it is sent again; the user hears the failure once."""
    failure = response_to(invite.request, 486)
    layer.response_received(failure, flow)
    clock.advance(31.9)
    layer.response_received(failure, flow)
    assert flow.times("ACK") == [0, 31.9]
    assert user.take() == [("response", 486)]
    clock.advance(0.1)
    assert invite.state == State.TERMINATED
    layer.response_received(failure, flow)
    assert user.take() == [("stray", 486)]
    assert len(flow.times("ACK")) == 2


def test_over_tcp_timer_d_is_zero(layer, user, connection):
    """s.17.1.1.2: nothing repeats a response over TCP. The user is told before nothing is left to ask about."""
    transaction = layer.send_request(request("INVITE", received=False), connection, user)
    layer.response_received(response_to(transaction.request, 486), connection)
    assert connection.summary() == ["INVITE", "ACK"]
    assert user.take() == [("response", 486)]
    assert transaction.state == State.TERMINATED


# RFC 6026


def test_accepted_passes_every_2xx(layer, user, flow, clock, invite):
    """RFC 6026 s.7.2: repeated 2xx and those of other forks all go up, and we send no ACK; for 64*T1."""
    sent = invite.request
    layer.response_received(response_to(sent, 200, to_tag="one"), flow)
    clock.advance(0.5)
    layer.response_received(response_to(sent, 200, to_tag="one"), flow)
    clock.advance(31.4)
    layer.response_received(response_to(sent, 200, to_tag="two"), flow)
    assert user.take() == [("response", 200)] * 3
    assert [response.to_tag for response in user.responses] == ["one", "one", "two"]
    assert flow.summary() == ["INVITE"]


def test_after_timer_m_a_2xx_is_stray(layer, user, flow, clock, invite):
    """RFC 6026 s.7.2: M runs from the first 2xx, 64*T1."""
    sent = invite.request
    layer.response_received(response_to(sent, 200), flow)
    clock.advance(31.999)
    assert invite.state == State.ACCEPTED
    clock.advance(0.001)
    assert invite.state == State.TERMINATED
    layer.response_received(response_to(sent, 200), flow)
    assert user.take() == [("response", 200), ("stray", 200)]


def test_accepted_lasts_over_tcp_too(layer, user, connection, clock):
    """RFC 6026: M does not depend on the transport, other forks may answer."""
    transaction = layer.send_request(request("INVITE", received=False), connection, user)
    layer.response_received(response_to(transaction.request, 200), connection)
    clock.advance(31.999)
    assert transaction.state == State.ACCEPTED


def test_each_provisional_is_reported(layer, user, flow, invite):
    for status in (100, 180, 183, 180):
        layer.response_received(response_to(invite.request, status), flow)
    assert user.take() == [("response", 100), ("response", 180), ("response", 183), ("response", 180)]


# CANCEL


def test_cancel_waits_for_the_first_provisional(layer, user, flow, clock, invite):
    """s.9.1: no CANCEL before a provisional; the INVITE is still repeated, for it may have been lost."""
    layer.cancel(invite)
    clock.advance(1.0)
    assert flow.summary() == ["INVITE", "INVITE"]
    layer.response_received(response_to(invite.request, 100), flow)
    assert flow.summary() == ["INVITE", "INVITE", "CANCEL"]
    assert user.take() == [("response", 100)]


def test_cancel_is_shaped_by_the_invite(layer, flow, invite):
    """s.9.1: Request-URI, Call-ID, To, From, the number of CSeq, Route and the one Via equal the INVITE's."""
    layer.response_received(response_to(invite.request, 180, to_tag="uas"), flow)
    layer.cancel(invite)
    sent_invite, cancel = flow.take()
    assert cancel.method == "CANCEL"
    assert cancel.request_uri == sent_invite.request_uri
    assert cancel.get_all("Via") == [sent_invite.get("Via")]
    assert cancel.get_all("Route") == sent_invite.get_all("Route")
    assert cancel.get("To") == "<sip:bob@example.com>"  # as in the INVITE, without the tag of the response
    for name in ("From", "Call-ID"):
        assert cancel.get(name) == sent_invite.get(name)
    assert cancel.get("CSeq") == "7 CANCEL"
    assert not cancel.has("Proxy-Require")


def test_cancel_has_a_transaction_of_its_own(layer, user, flow, clock, invite):
    """The CANCEL is repeated until it is answered; its 200 does not reach the user, the 487 of the INVITE does."""
    layer.response_received(response_to(invite.request, 180), flow)
    layer.cancel(invite)
    cancel = layer.client_for(invite.branch, "CANCEL")
    clock.advance(0.6)
    assert flow.times("CANCEL") == [0, 0.5]
    layer.response_received(response_to(cancel.request, 200), flow)
    layer.response_received(response_to(invite.request, 487), flow)
    clock.advance(10)
    assert flow.times("CANCEL") == [0, 0.5]
    assert user.take() == [("response", 180), ("response", 487)]
    assert flow.summary()[-1] == "ACK"


def test_cancel_twice_is_sent_once(layer, flow, invite):
    layer.cancel(invite)
    layer.cancel(invite)
    layer.response_received(response_to(invite.request, 100), flow)
    layer.response_received(response_to(invite.request, 180), flow)
    layer.cancel(invite)
    assert flow.summary() == ["INVITE", "CANCEL"]


@pytest.mark.parametrize("status", [200, 486])
def test_no_cancel_after_a_final_response(layer, flow, invite, status):
    """s.9.1: it would have no effect. The 2xx that crosses is the user's business (ACK and BYE)."""
    layer.response_received(response_to(invite.request, status), flow)
    layer.cancel(invite)
    assert "CANCEL" not in flow.summary()


@pytest.mark.parametrize("status", [200, 486])
def test_final_response_instead_of_a_provisional_makes_the_cancel_needless(layer, user, flow, clock, invite, status):
    layer.cancel(invite)
    layer.response_received(response_to(invite.request, status), flow)
    clock.advance(40)
    assert "CANCEL" not in flow.summary()
    assert user.take() == [("response", status)]


def test_cancelled_invite_without_final_response_times_out(layer, user, flow, clock, invite):
    """s.9.1: 64*T1 after the CANCEL the INVITE is considered cancelled."""
    layer.response_received(response_to(invite.request, 180), flow)
    clock.advance(10)
    layer.cancel(invite)
    clock.advance(31.999)
    assert user.take() == [("response", 180)]
    clock.advance(0.001)
    assert user.take() == [("timed_out", "INVITE")]
    assert invite.state == State.TERMINATED


def test_failed_cancel_leaves_the_invite_alone(layer, user, flow, invite):
    """An ICMP error about the CANCEL says nothing to the user; the INVITE has its own clock."""
    layer.response_received(response_to(invite.request, 180), flow)
    layer.cancel(invite)
    user.take()
    assert layer.quoted_datagram_failed(flow.datagrams[-1], "icmp")
    assert layer.client_for(invite.branch, "CANCEL") is None
    assert user.take() == []
    layer.response_received(response_to(invite.request, 487), flow)
    assert user.take() == [("response", 487)]


# Servers that were only slow


@pytest.fixture
def abandoned(layer, user, flow, clock):
    """An INVITE given up after 7.5 s because another server waits."""
    transaction = layer.send_request(request("INVITE", received=False), flow, user, timeout=7.5)
    clock.advance(7.5)
    assert user.take() == [("timed_out", "INVITE")]
    flow.take()
    return transaction


def test_late_ringing_is_cancelled_once(layer, user, flow, abandoned):
    """The phone rings elsewhere by now: the slow server gets its CANCEL, and the ACK for its 487."""
    layer.response_received(response_to(abandoned.request, 100), flow)
    layer.response_received(response_to(abandoned.request, 180), flow)
    cancel = layer.client_for(abandoned.branch, "CANCEL")
    layer.response_received(response_to(cancel.request, 200), flow)
    layer.response_received(response_to(abandoned.request, 487), flow)
    assert flow.summary() == ["CANCEL", "ACK"]
    assert user.take() == [("stray", 100), ("stray", 180), ("stray", 487)]


def test_late_failure_is_acknowledged(layer, user, flow, abandoned):
    """Else the server would repeat it for 32 s."""
    failure = response_to(abandoned.request, 503)
    layer.response_received(failure, flow)
    layer.response_received(failure, flow)
    assert flow.summary() == ["ACK", "ACK"]
    assert user.take() == [("stray", 503)]


def test_late_success_is_the_users_business(layer, user, flow, abandoned):
    """A dialog exists at the server: who decides about it needs every repetition of the 2xx."""
    layer.response_received(response_to(abandoned.request, 200), flow)
    layer.response_received(response_to(abandoned.request, 200), flow)
    assert flow.summary() == []
    assert user.take() == [("stray", 200), ("stray", 200)]


def test_abandoned_invite_is_kept_for_64_t1_after_its_last_event(layer, flow, clock, abandoned):
    clock.advance(31)
    assert abandoned.state == State.ABANDONED
    layer.response_received(response_to(abandoned.request, 180), flow)
    clock.advance(31.999)
    assert abandoned.state == State.ABANDONED
    clock.advance(0.001)
    assert abandoned.state == State.TERMINATED


def test_abandoned_invite_is_not_repeated(flow, clock, abandoned):
    clock.advance(100)
    assert flow.summary() == []


def test_giving_up_early_is_the_same_but_silent(layer, user, flow, clock, invite):
    """Another request found the server dead: the user knows that already, the server may still wake up."""
    clock.advance(0.7)
    invite.give_up()
    clock.advance(7)
    assert flow.times("INVITE") == [0, 0.5]
    layer.response_received(response_to(invite.request, 180), flow)
    layer.response_received(response_to(invite.request, 487), flow)
    assert flow.summary() == ["INVITE", "INVITE", "CANCEL", "ACK"]
    assert user.take() == [("stray", 180), ("stray", 487)]


# The user


def test_terminate_is_silent(layer, user, flow, clock, invite):
    invite.terminate()
    layer.response_received(response_to(invite.request, 486), flow)
    clock.advance(100)
    assert flow.summary() == ["INVITE"]
    assert user.take() == [("stray", 486)]
    assert clock.pending == 0


@pytest.mark.parametrize("status", [180, 200, 486])
def test_error_in_the_user_leaves_the_transaction_in_order(layer, user, flow, clock, invite, status):
    """The callback comes last: what the RFC asks for is done, and the end of the transaction is set."""

    def fail(transaction, response):
        raise ZeroDivisionError

    user.response_received = fail
    with pytest.raises(ZeroDivisionError):
        layer.response_received(response_to(invite.request, status), flow)
    expected = {180: State.PROCEEDING, 200: State.ACCEPTED, 486: State.COMPLETED}[status]
    assert invite.state == expected
    assert flow.summary() == (["INVITE", "ACK"] if status == 486 else ["INVITE"])
    assert clock.pending == (0 if status == 180 else 1)


def test_user_may_terminate_from_within_a_callback(layer, user, flow, invite):
    """The callback is the last thing an action does, so the transaction may be gone when it returns."""
    user.response_received = lambda transaction, response: transaction.terminate()
    layer.response_received(response_to(invite.request, 180), flow)
    assert invite.state == State.TERMINATED
    assert layer.client_for(invite.branch, "INVITE") is None


def test_user_may_send_the_next_request_from_within_a_callback(layer, user, flow, clock, invite):
    """A challenge is answered, or the next server tried, right where the outcome is told."""
    sent = []
    user.response_received = lambda transaction, response: sent.append(
        layer.send_request(request("INVITE", received=False, cseq=8), flow, user)
    )
    layer.response_received(response_to(invite.request, 407), flow)
    assert flow.summary() == ["INVITE", "ACK", "INVITE"]
    assert sent[0].branch != invite.branch
