"""One forwarded request until its answer: the ends that a call server or a caller can take it to."""

from __future__ import annotations

import pytest

from sbc.proxy.core import warn_agent
from sbc.proxy.response_context import TIMER_C
from sbc.sip.message import Request, Response
from tests.helpers.network import request
from tests.proxy.conftest import Binding
from tests.proxy.test_core import connect, in_dialog, invite


def test_100_alone_does_not_hold_a_call_for_ever(site):
    """RFC 3261 16.6 item 11: Timer C runs for every INVITE; a server that dies after its 100 leaves no call behind."""
    site.receive(invite(), site.phone)
    site.answer(site.primary, site.last(site.primary, "INVITE"), 100)
    site.clock.advance(TIMER_C + 0.2)
    assert site.phone.summary() == [100, 408]
    assert "CANCEL" in site.primary.summary()
    site.receive(request("ACK", to_tag=site.last(site.phone, 408).to_tag), site.phone)


def test_timer_c_starts_again_with_each_ringing_but_not_with_100(site):
    """16.7 item 2."""
    site.receive(invite(), site.phone)
    sent = site.last(site.primary, "INVITE")
    site.answer(site.primary, sent, 180)
    site.clock.advance(TIMER_C - 1)
    site.answer(site.primary, sent, 100)
    site.clock.advance(0.5)
    site.answer(site.primary, sent, 183)
    site.clock.advance(TIMER_C - 1)
    assert site.phone.summary() == [100, 180, 183]
    site.clock.advance(1.2)
    assert site.phone.summary() == [100, 180, 183, 408]
    site.receive(request("ACK", to_tag=site.last(site.phone, 408).to_tag), site.phone)


def test_a_server_is_answered_before_it_gives_up_on_a_phone(site):
    """D1, RFC 4320 4.1: also what a server sends has its sender's Timer F behind it, 32 s."""
    site.registrar.bindings["T1"] = Binding("T1", "sip:alice@192.0.2.50:5060", "192.0.2.50", 5060)
    site.receive(request("MESSAGE", uri="sip:alice@198.51.100.1:5060;gw-tok=T1", sent_by="198.51.100.10:5060"), site.primary)
    site.clock.advance(31.5)
    assert site.primary.summary() == [100, 480]


def test_408_to_anything_but_invite_is_not_passed_on(site):
    """RFC 4320 4.2: nobody sends 408 to a non-INVITE; for a call it would be the end (D2, D23)."""
    site.receive(request("MESSAGE"), site.phone)
    site.answer(site.primary, site.last(site.primary, "MESSAGE"), 408)
    site.clock.advance(5.5)
    site.answer(site.fallback, site.last(site.fallback, "MESSAGE"), 408)
    assert site.phone.summary() == [100, 480]
    sent, routes = connect(site)
    site.receive(in_dialog("BYE", sent, routes=routes), site.phone)
    site.answer(site.primary, site.last(site.primary, "BYE"), 408)
    assert site.phone.summary()[-1] == 481


def test_a_stranger_to_the_dialog_does_not_end_it(site):
    """D23: the fallback's 481 to a re-INVITE says only that it is not the dialog's server."""
    sent, routes = connect(site)
    site.phone.take()
    site.receive(in_dialog("INVITE", sent, routes=routes), site.phone)
    site.edge.datagram_failed(site.primary.datagrams[-1][:300], "icmp")
    site.answer(site.fallback, site.last(site.fallback, "INVITE"), 481)
    assert site.phone.summary() == [100, 500]
    site.receive(in_dialog("ACK", sent, branch="z9hG4bKnext", routes=routes), site.phone)


def test_481_of_the_dialogs_own_server_ends_it(site):
    """D6: the call is over."""
    sent, routes = connect(site)
    site.phone.take()
    site.receive(in_dialog("INVITE", sent, routes=routes), site.phone)
    site.answer(site.primary, site.last(site.primary, "INVITE"), 481)
    assert site.phone.summary() == [100, 481]
    site.receive(in_dialog("ACK", sent, branch="z9hG4bKnext", routes=routes), site.phone)


def credentials(nonce: str) -> tuple[str, str]:
    return (
        "Proxy-Authorization",
        f'Digest username="alice", realm="example.com", nonce="{nonce}", uri="sip:bob@example.com", response="0"',
    )


def test_credentials_go_to_nobody_but_who_asked_for_them(site):
    """D8, D9: made for another server they can only fail there, and may lock the account. Those that nobody is known to have
    asked for get one try."""
    site.receive(request("MESSAGE"), site.phone)
    challenge = ("Proxy-Authenticate", 'Digest realm="example.com", nonce="N1"')
    site.answer(site.primary, site.last(site.primary, "MESSAGE"), 407, headers=[challenge])
    retry = request("MESSAGE", branch="z9hG4bKretry", cseq=2, headers=[credentials("N1"), credentials("of-nobody")])
    site.receive(retry, site.phone)
    sent = site.last(site.primary, "MESSAGE")
    assert len(sent.get_all("Proxy-Authorization")) == 2
    site.edge.datagram_failed(sent.to_bytes()[:300], "icmp")
    moved = site.last(site.fallback, "MESSAGE")
    assert [] == moved.get_all("Proxy-Authorization")
    site.answer(site.fallback, moved, 200)


def test_notify_that_opens_a_dialog_is_record_routed(site):
    """RFC 6665 4.3: the NOTIFY may come before the 200 to SUBSCRIBE, and then it is what makes the route set."""
    site.receive(request("SUBSCRIBE"), site.phone)
    sent = site.last(site.primary, "SUBSCRIBE")
    notify = request("NOTIFY", uri="sip:alice@192.0.2.50:5060", branch="z9hG4bKn", sent_by="198.51.100.10:5060",
                     headers=[("Route", route) for route in sent.get_all("Record-Route")], to_tag="f1", from_tag="s")  # fmt: skip
    site.receive(notify, site.primary)
    arrived = site.last(site.phone, "NOTIFY")
    assert len(arrived.get_all("Record-Route")) == 2
    site.answer(site.phone, arrived, 200)
    site.answer(site.primary, sent, 200)


def test_each_dialog_of_a_late_forked_call_is_ended(site):
    """D3: two phones behind the slow server picked up; both hear the BYE."""
    site.receive(invite(), site.phone)
    slow = site.last(site.primary, "INVITE")
    site.clock.advance(8)
    site.answer(site.fallback, site.last(site.fallback, "INVITE"), 200)
    site.primary.take()
    for tag in ("one", "two", "one"):
        site.answer(site.primary, slow, 200, to_tag=tag)
    assert site.primary.summary() == ["ACK", "BYE", "ACK", "BYE", "ACK"]
    assert ["one", "one", "two", "two", "one"] == [message.to_tag for _, message in site.primary.sent]
    for _, message in list(site.primary.sent):
        if isinstance(message, Request) and message.method == "BYE":
            site.answer(site.primary, message, 200)


def test_answers_to_nothing_of_ours_are_no_late_answers(site):
    """Anybody can send responses; one that no abandoned branch waits for must not fill the log and the page of events."""
    stray = Response.for_request(request("FOO", branch="z9hG4bKnobodys"), 200)
    site.receive(stray, site.primary)
    assert site.facts == []


def test_emergency_number_as_a_service_urn(site):
    """RFC 5031, D35: who presses the emergency key is not told 416."""
    site.receive(invite(uri="urn:service:sos"), site.phone)
    sent = site.last(site.primary, "INVITE")
    assert sent.request_uri == "urn:service:sos"
    site.answer(site.primary, sent, 200)
    assert site.phone.summary() == [100, 200]


def test_warning_of_an_appliance_with_any_name(site):
    """20.43: the warn-agent is a host or a token, whatever the operator calls the box."""
    assert warn_agent("Büro 42 \"West\"") == "B-ro-42--West-"
    assert warn_agent("") == "sbc"
    site.receive(request("MESSAGE"), site.phone)
    for flow in (site.primary, site.fallback):
        site.edge.datagram_failed(site.last(flow, "MESSAGE").to_bytes()[:300], "icmp")
    assert site.last(site.phone, 480).get("Warning").startswith('399 branch-42 "no call server answers')


def test_ack_follows_the_re_invite_that_moved(site):
    """13.2.2.4: the fallback has taken the call over; an ACK to the dead server would make it hang up after 32 s."""
    sent, routes = connect(site)
    site.receive(in_dialog("INVITE", sent, routes=routes), site.phone)
    site.edge.datagram_failed(site.primary.datagrams[-1][:300], "icmp")
    site.answer(site.fallback, site.last(site.fallback, "INVITE"), 200)
    site.primary.take()
    ack = in_dialog("ACK", sent, branch="z9hG4bKack2", routes=routes)
    site.receive(ack, site.phone)
    assert site.primary.summary() == []
    assert site.fallback.summary() == ["INVITE", "ACK"]


@pytest.mark.parametrize(("method", "status"), [("INVITE", 500), ("UPDATE", 500), ("BYE", 481), ("INFO", 480)])
def test_no_server_left_inside_a_call(site, method, status):
    """D22, D23: the call may still be heard by both; only its BYE ends it."""
    sent, routes = connect(site)
    site.receive(in_dialog(method, sent, routes=routes), site.phone)
    for flow in (site.primary, site.fallback):
        site.edge.datagram_failed(flow.datagrams[-1][:300], "icmp")
    assert site.phone.summary()[-1] == status
    if method == "INVITE":
        site.receive(in_dialog("ACK", sent, branch="z9hG4bKnext", routes=routes), site.phone)
