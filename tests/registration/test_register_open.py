"""REGISTER where no server asks for a password: what servers are told, what the phone is told, and when."""

from __future__ import annotations

from sbc.events import RegistrationChanged
from sbc.redundancy.outcome import TimedOut
from sbc.sip.headers import NameAddr
from sbc.sip.message import Response
from tests.helpers.scripted_servers import Phone, ServerFlow, accept, refuse, silent


def test_all_registrar_servers_are_told(site):
    """P4, Y7: concurrent registration."""
    phone = Phone(site)
    phone.register()
    site.clock.advance(0.1)
    assert [1, 1] == [len(server.requests) for server in site.servers]
    assert ["registered", "registered"] == [site.state("primary"), site.state("fallback")]
    assert [200] == phone.answers


def test_contact_comes_back_byte_for_byte(site):
    """D11: the phone finds its own Contact, parameters and spelling included, with the time granted."""
    phone = Phone(site)
    phone.contact = '"A\\"l" <sip:alice@203.0.113.7:5062;Line=1;x-Y>;Q=0.50;+sip.instance="<urn;expires=1>"'
    phone.register()
    site.clock.advance(0.1)
    assert [phone.contact + ";expires=3600"] == phone.last.get_all("Contact")


def test_expires_parameter_of_the_phone_is_rewritten_in_place(site):
    site.fallback.reply = accept(900)
    phone = Phone(site)
    phone.register(contact="<sip:alice@203.0.113.7:5062>;expires=1800;q=1", expires=None)
    site.clock.advance(0.1)
    assert ["<sip:alice@203.0.113.7:5062>;expires=900;q=1"] == phone.last.get_all("Contact")


def test_shortest_grant_counts(site):
    """D11: expires = min(granted)."""
    site.primary.reply = accept(1200)
    site.fallback.reply = accept(300)
    phone = Phone(site)
    phone.register()
    site.clock.advance(0.1)
    assert "300" == NameAddr.parse(phone.last.get("Contact")).parameters["expires"]
    assert 300 == round(site.registrar.bindings_for_aor("sip:alice@example.com")[0].expires_at - site.clock.seconds())


def test_foreign_contacts_are_dropped(site):
    """D11: what else a server has registered for the number is no business of this phone."""

    def with_foreigner(request):
        response = accept()(request)
        response.prepend("Contact", "<sip:alice@192.0.2.200>;expires=77")
        return response

    site.primary.reply = with_foreigner
    phone = Phone(site)
    phone.register()
    site.clock.advance(0.1)
    assert [phone.contact + ";expires=3600"] == phone.last.get_all("Contact")


def test_register_is_made_anew(site):
    """D10, D28: Call-ID, CSeq and From tag are ours, the preloaded Route is gone, the rest is the phone's."""
    phone = Phone(site)
    phone.register("X-Unknown: kept  as it is")
    site.clock.advance(0.1)
    sent = site.primary.last
    assert sent.call_id != phone.call_id and sent.from_tag != "phone"
    assert "12" == sent.from_.parameters["epid"]  # P28: never strip unknown From parameters
    assert "sip:example.com" == sent.request_uri
    assert [None, "68"] == [sent.get("Route"), sent.get("Max-Forwards")]
    assert ["kept  as it is", "Test Phone 1.0"] == [sent.get("X-Unknown"), sent.get("User-Agent")]
    assert ["replaces"] == sent.get_all("Supported")  # a Path would be about the phone's Contact
    assert 1 == len(sent.get_all("Via"))
    assert site.primary.last.call_id != site.fallback.last.call_id


def test_our_contact_names_us_and_the_token(site):
    """D25: several phones may have the number; only the token says which."""
    phone = Phone(site)
    phone.register()
    site.clock.advance(0.1)
    contact = NameAddr.parse(site.primary.last.get("Contact"))
    token = contact.uri.parameters["gw-tok"]
    assert ("alice", "198.51.100.1", 5060) == (contact.uri.user, contact.uri.host, contact.uri.port)
    assert {"q": "0.5", "+sip.instance": '"<urn:uuid:5062>"', "expires": "3600"} == contact.parameters
    binding = site.registrar.binding_for_token(token)
    assert "sip:alice@203.0.113.7:5062;line=1" == binding.contact_uri
    assert ("203.0.113.7", 5062) == (binding.host, binding.port)
    assert ("udp", "198.51.100.1", 5060) == (binding.transport, binding.local_host, binding.local_port)


def test_call_id_stays_and_cseq_grows(site):
    """RFC 3261 10.2: one Call-ID for all registrations of a contact at a server."""
    phone = Phone(site)
    for _ in range(3):
        phone.register()
        site.clock.advance(60)
    for server in site.servers:
        assert 1 == len({request.call_id for _, request in server.requests})
        assert [1, 2, 3] == [request.cseq - server.requests[0][1].cseq + 1 for _, request in server.requests]


def test_headers_of_the_best_acceptor_are_returned(site):
    """D11: headers from the highest-priority server that accepted; what routes past us or is ours to say stays out."""
    site.primary.delay = 0.3
    headers = (("Date", "today"), ("Service-Route", "<sip:x;lr>"), ("Expires", "9"), ("P-Any", "1"))
    site.primary.reply = accept(None, *headers)
    site.fallback.reply = accept(None, ("Date", "tomorrow"))
    phone = Phone(site)
    phone.register()
    site.clock.advance(1)
    answer = phone.last
    assert ["today", "1", "3600"] == [answer.get("Date"), answer.get("P-Any"), answer.get("Expires")]
    assert not answer.has("Service-Route")


def test_answer_waits_for_the_slower_server(site):
    """D11: not the first 2xx; the time granted by the others is needed."""
    site.fallback.delay = 1.5
    phone = Phone(site)
    phone.register()
    site.clock.advance(1.4)
    assert [] == phone.answers
    site.clock.advance(0.2)
    assert [200] == phone.answers


def test_answer_waits_no_longer_than_register_wait(site):
    """D11: late results update the state only."""
    site.fallback.delay = 3.0
    site.fallback.reply = accept(120)
    phone = Phone(site)
    phone.register()
    site.clock.advance(2.1)
    assert [200] == phone.answers
    assert "3600" == NameAddr.parse(phone.last.get("Contact")).parameters["expires"]
    assert "registering" == site.state("fallback")
    site.clock.advance(1)
    assert "registered" == site.state("fallback")
    assert [200] == phone.answers


def test_known_down_server_is_told_without_making_the_phone_wait(site):
    site.take_down(site.fallback)
    site.fallback.reply = silent
    phone = Phone(site)
    phone.register()
    site.clock.advance(0.01)
    assert [200] == phone.answers
    assert 1 == len(site.fallback.requests)


def test_primary_known_down_is_not_waited_for(site):
    site.take_down(site.primary)
    site.primary.reply = silent
    phone = Phone(site)
    phone.register()
    site.clock.advance(0.01)
    assert [200] == phone.answers
    assert 1 == len(site.primary.requests)
    assert ["registering", "registered"] == [site.state("primary"), site.state("fallback")]


def test_silent_primary_fallback_is_asked_after_register_wait(site):
    site.primary.reply = silent
    phone = Phone(site)
    phone.register()
    site.clock.advance(5)
    assert 2.0 == round(site.fallback.requests[0][0], 3)
    assert [200] == phone.answers
    assert 2.0 == round(phone.flow.sent[-1][0] - 1000, 1)  # the primary has had its time
    site.clock.advance(30)
    assert ["unregistered", "registered"] == [site.state("primary"), site.state("fallback")]


def test_unreachable_primary_fallback_is_asked_at_once(site):
    """D16: ICMP is an answer too."""
    site.primary.unreachable = True
    phone = Phone(site)
    phone.register()
    site.clock.advance(0.1)
    assert [200] == phone.answers
    assert site.fallback.requests[0][0] < 0.01


def test_primary_found_down_by_another_request_is_not_waited_for(site):
    site.primary.reply = silent
    phone = Phone(site)
    phone.register()
    site.clock.advance(0.7)
    site.group.observe(site.primary.candidate, TimedOut(4), site.clock.seconds(), "INVITE")
    site.clock.advance(0.1)
    assert [200] == phone.answers


def test_retransmission_is_absorbed_while_we_wait(site):
    """The phone repeats itself at 0.5 and 1.5 s; no server notices."""
    site.fallback.delay = 1.8
    phone = Phone(site)
    branch = phone.register()
    site.clock.advance(0.5)
    phone.register(cseq=1, branch=branch)
    site.clock.advance(1.0)
    phone.register(cseq=1, branch=branch)
    site.clock.advance(1.0)
    assert [1, 1] == [len(server.requests) for server in site.servers]
    assert [200] == phone.answers
    phone.register(cseq=1, branch=branch)
    assert [200, 200] == phone.answers
    assert phone.flow.sent[-1][1].to_bytes() == phone.flow.sent[-2][1].to_bytes()


def test_one_acceptor_is_enough(site):
    """D11: 2xx if any registrar accepted."""
    site.primary.reply = refuse(403)
    phone = Phone(site)
    phone.register()
    site.clock.advance(3)
    assert [200] == phone.answers


def test_all_rejected_gives_the_primary_s_rejection(site):
    site.primary.reply = refuse(403, "Not You", ("X-Why", "because"))
    site.fallback.reply = refuse(404)
    phone = Phone(site)
    phone.register()
    site.clock.advance(3)
    assert [403] == phone.answers
    assert ["Not You", "because"] == [phone.last.reason, phone.last.get("X-Why")]
    assert [] == site.registrar.bindings_for_aor("sip:alice@example.com")


def test_refusal_waits_for_a_silent_fallback_only_so_long(site):
    site.primary.reply = refuse(403)
    site.fallback.reply = silent
    phone = Phone(site)
    phone.register()
    site.clock.advance(1.9)
    assert [] == phone.answers
    site.clock.advance(0.2)
    assert [403] == phone.answers


def test_failing_primary_counts_as_absent(site):
    """F2: 500 and 503 mean that the server is not available."""
    for status in (500, 503, 504, 408):
        site.primary.reply = refuse(status)
        phone = Phone(site, port=5000 + status)
        phone.register()
        site.clock.advance(1)
        assert [200] == phone.answers


def test_both_dead_is_answered_and_not_by_408_or_503(site):
    """D1, D2, D7: before the phone's Timer F at 32 s."""
    site.primary.reply = site.fallback.reply = silent
    phone = Phone(site)
    phone.register()
    site.clock.advance(30.9)
    assert [] == phone.answers
    site.clock.advance(0.2)
    assert [480] == phone.answers
    assert "primary" in phone.last.get("Warning") and "fallback" in phone.last.get("Warning")
    assert [100] == [response.status for _, response in phone.flow.sent if response.status < 200]  # D2, at 3.5 s


def test_both_unreachable_is_answered_at_once(site):
    site.primary.unreachable = site.fallback.unreachable = True
    phone = Phone(site)
    phone.register()
    site.clock.advance(0.1)
    assert [480] == phone.answers


def test_both_503_becomes_480(site):
    """D7: 503 would make the phone avoid us."""
    site.primary.reply = site.fallback.reply = refuse(503)
    phone = Phone(site)
    phone.register()
    site.clock.advance(0.1)
    assert [480] == phone.answers


def test_all_known_down_are_tried_and_the_phone_is_answered_soon(site):
    """Panic: in order anyway; one that has come back unnoticed answers at once."""
    for server in site.servers:
        site.take_down(server)
    site.primary.reply = silent
    site.fallback.reply = silent
    phone = Phone(site)
    phone.register()
    site.clock.advance(2.6)
    assert [1, 1] == [len(server.requests) for server in site.servers]
    assert [480] == phone.answers
    site.fallback.reply = accept()
    phone.register()
    site.clock.advance(2.1)
    assert [480, 200] == phone.answers


def test_no_address_known(make_site):
    """DNS has not answered yet."""
    site = make_site()
    for server in site.servers:
        site.group.update_candidates(server.name, [], site.clock.seconds())
    phone = Phone(site)
    phone.register()
    assert [480] == phone.answers


def test_no_socket_towards_the_servers(make_site):
    site = make_site()
    site._flows.clear()
    phone = Phone(site)
    phone.register()
    site.clock.advance(1)
    assert [480] == phone.answers


def test_successive_registration_uses_one_server(make_site):
    """Y8: server 2 must see no REGISTER while server 1 works."""
    site = make_site(registration="successive")
    phone = Phone(site)
    phone.register()
    site.clock.advance(10)
    assert [200] == phone.answers
    assert [1, 0] == [len(server.requests) for server in site.servers]


def test_successive_registration_moves_on(make_site):
    """Y6, Y33: as many times as configured, then the other server."""
    site = make_site(registration="successive")
    site.primary.reply = silent
    phone = Phone(site)
    phone.register()
    site.clock.advance(8)
    assert [0.0, 0.5, 1.5, 3.5] == [round(at, 3) for at in site.primary.sends]
    assert 7.5 == round(site.fallback.requests[0][0], 3)
    assert [200] == phone.answers
    assert "registered" == site.state("fallback")


def test_events_tell_the_story(site):
    site.fallback.reply = refuse(404)
    phone = Phone(site)
    phone.register()
    site.clock.advance(0.1)
    story = [(e.server, e.old, e.new) for e in site.events if isinstance(e, RegistrationChanged)]
    assert [
        ("primary", "unregistered", "registered"),
        ("fallback", "unregistered", "registering"),
        ("fallback", "registering", "failed"),
    ] == story


def test_refusal_for_good_ends_the_waiting(site):
    """A 400 of the primary is no other server's business: the fallback that was asked meanwhile is not waited for."""
    site.primary.reply = refuse(400)
    site.primary.delay = 2.5
    site.fallback.reply = silent
    phone = Phone(site)
    phone.register()
    site.clock.advance(2.6)
    assert [400] == phone.answers


def trying_then_accept(server, seconds):
    """100 at once, 200 later."""

    def reply(request):
        server.clock.callLater(seconds, server._answer, accept()(request), ServerFlow(server))
        return Response.for_request(request, 100)

    return reply


def test_server_that_said_100_has_all_the_time_there_is(make_site):
    """It is alive: no retry count applies to it any more."""
    site = make_site(registration="successive")
    site.primary.reply = trying_then_accept(site.primary, 12.0)
    phone = Phone(site)
    phone.register()
    site.clock.advance(0.1)
    assert "up" == site.group.health(site.primary.candidate).state.value
    site.clock.advance(12)
    assert [200] == phone.answers
    assert [] == site.fallback.requests
