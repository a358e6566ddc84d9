"""What is different when requests travel over connections: TCP and TLS, on either side."""

from __future__ import annotations

import pytest

from sbc.location.candidate import Candidate
from sbc.proxy.large import GOOD_FOR
from tests.helpers.network import request
from tests.proxy.conftest import FALLBACK, PHONE_SIDE, PRIMARY, SERVER_SIDE, Binding, Site

PRIMARY_BY_TCP = Candidate(PRIMARY.address, PRIMARY.port, "tcp")


@pytest.fixture
def by_tcp():
    """The first server is on TCP, the second on UDP."""
    site = Site()
    site.group.update_candidates("primary", [PRIMARY_BY_TCP], site.clock.seconds())
    site.proxy.candidates_changed()
    yield site
    site.clock.advance(400)
    assert site.layer.transactions == dict.fromkeys(site.layer.transactions, 0)
    assert site.clock.pending == 0


@pytest.fixture
def large():
    """Servers on UDP, and the first gets large requests by TCP."""
    site = Site()
    (primary, fallback) = site.settings.servers
    object.__setattr__(primary, "large_requests", "tcp")
    object.__setattr__(fallback, "large_requests", "tcp")
    yield site
    site.clock.advance(400)
    assert site.layer.transactions == dict.fromkeys(site.layer.transactions, 0)
    assert site.clock.pending == 0


def invite(number: int = 1, size: int = 0):
    return request("INVITE", call_id=f"call-{number}", branch=f"z9hG4bK{number}", body=b"v" * size)


def server_by_tcp(site):
    return site.flow_to_server(PRIMARY_BY_TCP)


# -- outcomes ------------------------------------------------------------------------------------------------------------


def test_broken_connection_moves_what_waits(by_tcp):
    """P17, F2: at once, not when the time is over."""
    by_tcp.receive(invite(), by_tcp.phone)
    by_tcp.edge.flow_failed(server_by_tcp(by_tcp), "reset")
    assert by_tcp.fallback.summary() == ["INVITE"]
    by_tcp.answer(by_tcp.fallback, by_tcp.last(by_tcp.fallback, "INVITE"), 486)
    assert by_tcp.last(by_tcp.phone, 486)


def test_replaced_connection_is_not_used_for_new_requests(by_tcp):
    """The very next call names the own end that its server can reach."""
    by_tcp.receive(invite(1), by_tcp.phone)
    old = server_by_tcp(by_tcp)
    by_tcp.answer(old, by_tcp.last(old, "INVITE"), 486)
    old.gone = True
    by_tcp.flows.clear()
    by_tcp.receive(invite(2), by_tcp.phone)
    new = server_by_tcp(by_tcp)
    assert new is not old
    assert new.summary() == ["INVITE"]
    by_tcp.answer(new, by_tcp.last(new, "INVITE"), 486)


def test_broken_connection_after_100(by_tcp):
    """Nobody has heard of the call: it goes on elsewhere, and the first server is told that it is over, if it hears it."""
    by_tcp.receive(invite(), by_tcp.phone)
    flow = server_by_tcp(by_tcp)
    by_tcp.answer(flow, by_tcp.last(flow, "INVITE"), 100, to_tag="")
    by_tcp.edge.flow_failed(flow, "reset")
    assert by_tcp.fallback.summary() == ["INVITE"]
    assert flow.summary() == ["INVITE", "CANCEL"]
    by_tcp.answer(by_tcp.fallback, by_tcp.last(by_tcp.fallback, "INVITE"), 486)


def test_broken_connection_after_ringing(by_tcp):
    """D5: it rings somewhere, so no second phone shall ring; the answer comes over another connection (18.2.2)."""
    by_tcp.receive(invite(), by_tcp.phone)
    flow = server_by_tcp(by_tcp)
    sent = by_tcp.last(flow, "INVITE")
    by_tcp.answer(flow, sent, 180)
    by_tcp.edge.flow_failed(flow, "reset")
    assert by_tcp.fallback.summary() == []
    another = by_tcp.flow(PRIMARY.address, 40000, "servers", "tcp")
    by_tcp.answer(another, sent, 200)
    assert by_tcp.last(by_tcp.phone, 200)


# -- Record-Route and the way inside a dialog ----------------------------------------------------------------------------


def test_double_record_route_between_transports(by_tcp):
    """D21, RFC 5658: each side sees the transport that it uses, and both lines are one pass."""
    by_tcp.receive(invite(), by_tcp.phone)
    flow = server_by_tcp(by_tcp)
    sent = by_tcp.last(flow, "INVITE")
    near, far = sent.get_all("Record-Route")
    assert near.startswith(f"<sip:{SERVER_SIDE[0]}:5060;transport=tcp;lr;gw=")
    assert far.startswith(f"<sip:{PHONE_SIDE[0]}:5060;lr;gw=")
    by_tcp.answer(flow, sent, 200)
    ok = by_tcp.last(by_tcp.phone, 200)
    bye = request("BYE", call_id="call-1", cseq=2, branch="z9hG4bKbye", to_tag=ok.to_tag, uri="sip:bob@198.51.100.10",
                  headers=[("Route", value) for value in ok.get_all("Record-Route")[::-1]])
    flow.take()
    by_tcp.receive(bye, by_tcp.phone)
    assert flow.summary() == ["BYE"]
    by_tcp.answer(flow, by_tcp.last(flow, "BYE"), 200)


def call_to_phone(site, binding) -> None:
    site.registrar.bindings[binding.token] = binding
    uri = f"sip:alice@{SERVER_SIDE[0]};gw-tok={binding.token}"
    site.receive(request("INVITE", uri=uri, sent_by=f"{PRIMARY.address}:5060"), site.primary)


def test_call_over_the_phones_connection(site):
    """RFC 5626 5.3, D26."""
    site.connected.add(("192.0.2.77", 40000))
    call_to_phone(site, Binding("t", "sip:alice@10.0.0.5:40000;transport=tcp", "192.0.2.77", 40000, "tcp"))
    flow = site.flow("192.0.2.77", 40000, "phones", "tcp")
    sent = site.last(flow, "INVITE")
    assert sent.request_uri == "sip:alice@10.0.0.5:40000;transport=tcp"
    site.answer(flow, sent, 486)


def test_phone_whose_connection_is_gone(site):
    """It cannot be reached, and the caller hears it at once: 480, as of a phone that is switched off."""
    call_to_phone(site, Binding("t", "sip:alice@10.0.0.5:40000;transport=tcp", "192.0.2.77", 40000, "tcp"))
    refusal = site.last(site.primary, 480)
    assert "its connection is closed" in refusal.get("Warning")


def test_phone_that_listens_is_connected_to(site):
    """RFC 3261 18.1.1: the Contact is where it listens."""
    contact = "sip:alice@192.0.2.77:5060;transport=tcp"
    site.listening[contact] = ("192.0.2.77", 5060)
    call_to_phone(site, Binding("t", contact, "192.0.2.77", 40000, "tcp"))
    flow = site.flow("192.0.2.77", 5060, "phones", "tcp")
    site.answer(flow, site.last(flow, "INVITE"), 486)


def test_phone_that_came_back_during_the_call(site):
    """Its connection broke, and it has registered over another one: the BYE of the other end finds it there."""
    contact = "sip:alice@192.0.2.77:40000;transport=tcp"
    site.connected.add(("192.0.2.77", 40000))
    call_to_phone(site, Binding("t", contact, "192.0.2.77", 40000, "tcp"))
    first = site.flow("192.0.2.77", 40000, "phones", "tcp")
    sent = site.last(first, "INVITE")
    site.answer(first, sent, 200)
    ok = site.last(site.primary, 200)
    first.gone = True
    site.connected = {("192.0.2.77", 41000)}
    site.registrar.bindings["t"] = Binding("t", contact, "192.0.2.77", 41000, "tcp")
    site.receive(
        request("BYE", uri=contact, cseq=2, branch="z9hG4bKbye", to_tag=ok.to_tag, sent_by=f"{PRIMARY.address}:5060",
                headers=[("Route", value) for value in ok.get_all("Record-Route")]),
        site.primary,
    )  # fmt: skip
    second = site.flow("192.0.2.77", 41000, "phones", "tcp")
    assert second.summary() == ["BYE"]
    site.answer(second, site.last(second, "BYE"), 200)


def test_sips(site):
    """RFC 3261 16.6 item 4: where TLS is used the Record-Route is sips, too; a server on UDP could not use that."""
    phone = site.flow("192.0.2.77", 40000, "phones", "tls")
    site.receive(request("INVITE", uri="sips:bob@example.com", transport="TLS"), phone)
    sent = site.last(site.primary, "INVITE")
    near, far = sent.get_all("Record-Route")
    assert near.startswith(f"<sip:{SERVER_SIDE[0]}:5060;lr;gw=")
    assert far.startswith(f"<sips:{PHONE_SIDE[0]}:5060;lr;gw=")
    site.answer(site.primary, sent, 200)
    ok = site.last(phone, 200)
    routes = [("Route", value) for value in ok.get_all("Record-Route")[::-1]]
    site.receive(request("BYE", cseq=2, branch="z9hG4bKbye", to_tag=ok.to_tag, headers=routes, transport="TLS"), phone)
    site.answer(site.primary, site.last(site.primary, "BYE"), 200)


# -- large requests (D27, RFC 3261 18.1.1) -------------------------------------------------------------------------------


def test_large_request_goes_by_tcp(large):
    """To a server on UDP, and what is small stays there."""
    large.receive(invite(1, size=1200), large.phone)
    flow = server_by_tcp(large)
    assert (flow.summary(), large.primary.summary()) == (["INVITE"], [])
    assert large.last(flow, "INVITE").get("Via").startswith("SIP/2.0/TCP ")
    large.answer(flow, large.last(flow, "INVITE"), 486)
    large.receive(invite(2), large.phone)
    assert large.primary.summary() == ["INVITE"]
    large.answer(large.primary, large.last(large.primary, "INVITE"), 486)


def test_server_without_tcp_gets_it_by_udp(large):
    """No failover, nobody is called dead; and for an hour nobody tries again."""
    large.receive(invite(1, size=1200), large.phone)
    large.edge.flow_failed(server_by_tcp(large), "refused")
    assert large.primary.summary() == ["INVITE"]
    assert large.fallback.summary() == []
    large.answer(large.primary, large.last(large.primary, "INVITE"), 486)
    assert large.group.working(large.clock.seconds()) == PRIMARY
    server_by_tcp(large).take()
    large.receive(invite(2, size=1200), large.phone)
    assert server_by_tcp(large).summary() == []
    large.answer(large.primary, large.last(large.primary, "INVITE"), 486)
    large.clock.advance(GOOD_FOR)
    large.receive(invite(3, size=1200), large.phone)
    assert server_by_tcp(large).summary() == ["INVITE"]
    large.answer(server_by_tcp(large), large.last(server_by_tcp(large), "INVITE"), 486)


def test_dead_server_is_dead_by_udp_too(large):
    """Refused on TCP, and then ICMP: the second one counts."""
    large.receive(invite(1, size=1200), large.phone)
    large.edge.flow_failed(server_by_tcp(large), "connect_timeout")
    large.edge.datagram_failed(large.primary.datagrams[-1], "icmp")
    large.answer(large.fallback, large.last(large.fallback, "INVITE"), 486)
    assert large.group.working(large.clock.seconds()) == FALLBACK


def test_large_request_stays_with_udp_by_default(site):
    """As servers and firewalls expect; ours."""
    site.receive(invite(1, size=3000), site.phone)
    assert site.primary.summary() == ["INVITE"]
    site.answer(site.primary, site.last(site.primary, "INVITE"), 486)


def test_large_request_to_a_phone_stays_with_udp(large):
    """A legacy phone has no TCP; its transport is never changed."""
    large.registrar.bindings["t"] = Binding("t", "sip:alice@192.0.2.50", "192.0.2.50", 5060)
    uri = f"sip:alice@{SERVER_SIDE[0]};gw-tok=t"
    large.receive(request("INVITE", uri=uri, sent_by=f"{PRIMARY.address}:5060", body=b"v" * 3000), large.primary)
    assert large.last(large.phone, "INVITE").get("Via").startswith("SIP/2.0/UDP ")
    large.answer(large.phone, large.last(large.phone, "INVITE"), 486)
