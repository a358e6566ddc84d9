"""The proxy core with real transactions and a real group: what goes where, and when."""

from __future__ import annotations

import pytest

from sbc.events import LateResponse
from sbc.flow import AtHand
from sbc.sip.headers import NameAddr
from sbc.sip.message import Request, ok_to
from tests.helpers.network import request
from tests.proxy.conftest import Binding

SDP = b"v=0\r\n"


def invite(**changes) -> Request:
    changes.setdefault("headers", [("Contact", "<sip:alice@192.0.2.50:5060>"), ("X-Keep", "as  it is")])
    return request("INVITE", body=SDP, **changes)


def in_dialog(method: str, answered: Request, *, cseq=2, branch="z9hG4bKnext", routes: list[str], to_tag="callee") -> Request:
    """A request of the caller inside the dialog that its INVITE opened."""
    return request(
        method, cseq=cseq, branch=branch, to_tag=to_tag, uri="sip:bob@203.0.113.7:5060",
        headers=[("Route", route) for route in routes],
    )  # fmt: skip


def connect(site, flow=None) -> tuple[Request, list[str]]:
    """A call up to its ACK. Returns the INVITE as the server saw it, and the route set of the caller."""
    flow = flow or site.primary
    site.receive(invite(), site.phone)
    sent = site.last(flow, "INVITE")
    site.answer(flow, sent, 180)
    site.answer(flow, sent, 200)
    ok = site.last(site.phone, 200)
    routes = ok.get_all("Record-Route")[::-1]
    site.receive(in_dialog("ACK", sent, cseq=1, branch="z9hG4bKack", routes=routes), site.phone)
    return sent, routes


def test_invite_gets_100_at_once_and_goes_to_the_primary(site):
    """RFC 3261 16.2, D2: 100 before anything else; then Via, Max-Forwards and Record-Route of both sides."""
    site.receive(invite(), site.phone)
    assert site.phone.summary() == [100]
    sent = site.last(site.primary, "INVITE")
    assert len(sent.get_all("Via")) == 2
    assert sent.get("Max-Forwards") == "69"
    hosts = [NameAddr.parse(value).uri.host for value in sent.get_all("Record-Route")]
    assert hosts == ["198.51.100.1", "192.0.2.1"]
    assert sent.get("X-Keep") == "as  it is"
    assert sent.body == SDP
    site.answer(site.primary, sent, 486)
    assert site.phone.summary() == [100, 486]
    site.receive(request("ACK", to_tag="callee"), site.phone)


@pytest.mark.parametrize("site", [{"trying": 0.1}], indirect=True)
def test_invite_that_is_answered_soon_gets_no_100(site):
    """RFC 3261 17.2.1: what the phone hears within 200 ms ends its retransmissions as well."""
    site.receive(invite(), site.phone)
    site.clock.advance(0.09)
    assert site.phone.summary() == []
    site.answer(site.primary, site.last(site.primary, "INVITE"), 180)
    site.clock.advance(1)
    assert site.phone.summary() == [180]


@pytest.mark.parametrize("site", [{"trying": 0.1}], indirect=True)
def test_invite_that_waits_gets_100_before_the_phone_repeats_it(site):
    """Timer A is 500 ms, and the first server may be dead."""
    site.receive(invite(), site.phone)
    site.clock.advance(0.11)
    assert site.phone.summary() == [100]
    site.answer(site.primary, site.last(site.primary, "INVITE"), 100)
    site.clock.advance(1)
    assert site.phone.summary() == [100], "a server's 100 is for us alone"


def test_whole_call(site):
    """INVITE, 180, 200, ACK, BYE, 200: responses come back without our Via, in-dialog requests keep their way."""
    sent, routes = connect(site)
    ok = site.last(site.phone, 200)
    assert [via for via in ok.get_all("Via")] == ["SIP/2.0/UDP 192.0.2.50:5060;branch=z9hG4bKphone1"]
    ack = site.last(site.primary, "ACK")
    assert ack.request_uri == "sip:bob@203.0.113.7:5060"
    assert ack.get_all("Route") == []
    site.receive(in_dialog("BYE", sent, routes=routes), site.phone)
    bye = site.last(site.primary, "BYE")
    site.answer(site.primary, bye, 200)
    assert site.phone.summary()[-1] == 200
    assert site.fallback.sent == []


def test_bye_from_the_server_reaches_the_phone(site):
    """The route cookie leads the other way too, to the address that the INVITE came from."""
    sent, _ = connect(site)
    routes = sent.get_all("Record-Route")  # the callee's route set is in the order of the lines (12.1.1)
    bye = request("BYE", uri="sip:alice@192.0.2.50:5060", cseq=7, branch="z9hG4bKs", sent_by="198.51.100.10:5060",
                  headers=[("Route", route) for route in routes], to_tag="f1", from_tag="callee")  # fmt: skip
    site.receive(bye, site.primary)
    arrived = site.last(site.phone, "BYE")
    assert arrived.request_uri == "sip:alice@192.0.2.50:5060"
    assert arrived.get_all("Route") == []
    site.answer(site.phone, arrived, 200)
    assert site.last(site.primary, 200).cseq_method == "BYE"


def test_bye_after_a_restart(site):
    """D21: a process that has never heard of the call sends the BYE to the right server."""
    sent, routes = connect(site, site.primary)
    site.proxy = site.new_proxy()
    site.receive(in_dialog("BYE", sent, routes=routes), site.phone)
    site.answer(site.primary, site.last(site.primary, "BYE"), 200)
    assert site.phone.summary()[-1] == 200


def test_forged_route_cookie_is_refused(site):
    """A Route with our address and a cookie that we did not sign must not make us send anything anywhere."""
    _, routes = connect(site)
    forged = routes[0].replace("gw=", "gw=A")
    site.receive(in_dialog("BYE", None, routes=[forged]), site.phone)
    assert site.phone.summary()[-1] == 403
    assert "BYE" not in site.primary.summary()


def test_silent_primary(site):
    """Yealink INVITE failover, retry_counts 3: sends at 0, 0.5, 1.5, 3.5; the fallback at 7.5 s; the next call at once."""
    site.receive(invite(), site.phone)
    site.clock.advance(7.6)
    assert site.primary.times("INVITE") == [0, 0.5, 1.5, 3.5]
    assert site.fallback.times("INVITE") == [7.5]
    site.answer(site.fallback, site.last(site.fallback, "INVITE"), 200)
    assert site.phone.summary() == [100, 200]
    before = len(site.primary.sent)
    site.receive(invite(branch="z9hG4bKsecond", call_id="call-2"), site.phone)
    assert len(site.primary.sent) == before
    second = site.last(site.fallback, "INVITE")
    assert second.call_id == "call-2"
    site.answer(site.fallback, second, 486)
    site.receive(request("ACK", branch="z9hG4bKsecond", call_id="call-2", to_tag="callee"), site.phone)


def test_others_that_wait_move_with_the_first_to_notice(site):
    """Five calls wait at a dead server; the first to be sure of it takes the others along."""
    for number in range(5):
        site.clock.advance(0.4)
        site.receive(invite(branch=f"z9hG4bK{number}", call_id=f"call-{number}"), site.phone)
    site.clock.advance(7.51 - 4 * 0.4)
    assert site.fallback.summary().count("INVITE") == 5
    for _, message in list(site.fallback.sent):
        if message.method == "INVITE":
            site.answer(site.fallback, message, 486)
    for number in range(5):
        ack = request("ACK", branch=f"z9hG4bK{number}", call_id=f"call-{number}", to_tag="callee")
        site.receive(ack, site.phone)


def test_icmp_moves_at_once(site):
    """D16: a refused port costs no time; the quoted datagram names the transaction."""
    site.receive(invite(), site.phone)
    site.edge.datagram_failed(site.primary.datagrams[-1][:300], "icmp")
    assert site.fallback.times("INVITE") == [0]
    site.answer(site.fallback, site.last(site.fallback, "INVITE"), 200)
    assert site.phone.summary() == [100, 200]


def test_503_goes_to_the_next_and_never_to_the_phone(site):
    """D6 and D7."""
    site.receive(invite(), site.phone)
    site.answer(site.primary, site.last(site.primary, "INVITE"), 503)
    site.answer(site.fallback, site.last(site.fallback, "INVITE"), 503)
    assert site.phone.summary() == [100, 500]
    assert "503" in site.last(site.phone, 500).get("Warning")
    site.receive(request("ACK", to_tag=site.last(site.phone, 500).to_tag), site.phone)


@pytest.mark.parametrize("status", [480, 486, 487, 484, 488, 603, 404, 403])
def test_answers_of_the_callee_never_fail_over(site, status):
    """D6: what the callee says is final."""
    site.receive(invite(), site.phone)
    site.answer(site.primary, site.last(site.primary, "INVITE"), status)
    assert site.phone.summary() == [100, status]
    assert site.fallback.sent == []
    site.receive(request("ACK", to_tag="callee"), site.phone)


@pytest.mark.parametrize("status", [404, 480])
def test_d18_a_server_that_does_not_know_all_phones_yet_is_not_the_last_to_be_asked(site, status):
    """It is being resynchronised. Had it rung, it would know the callee; what another one says is final."""
    site.registrar.incomplete["office"] = frozenset({"primary"})
    site.receive(invite(), site.phone)
    site.answer(site.primary, site.last(site.primary, "INVITE"), status)
    assert ["INVITE"] == site.fallback.summary()
    site.answer(site.fallback, site.last(site.fallback, "INVITE"), status)
    assert [100, status] == site.phone.summary()
    site.receive(invite(branch="z9hG4bKagain", call_id="again"), site.phone)
    ringing = site.last(site.primary, "INVITE")
    site.answer(site.primary, ringing, 180)
    site.answer(site.primary, ringing, status)
    assert [100, status, 100, 180, status] == site.phone.summary()
    assert 1 == site.fallback.summary().count("INVITE")


def test_ringing_call_does_not_move(site):
    """D6: 500 after 18x goes to the phone; the server is alive."""
    site.receive(invite(), site.phone)
    sent = site.last(site.primary, "INVITE")
    site.answer(site.primary, sent, 180)
    site.answer(site.primary, sent, 500)
    assert site.phone.summary() == [100, 180, 500]
    assert site.fallback.sent == []
    site.receive(request("ACK", to_tag="callee"), site.phone)


def test_bye_survives_the_death_of_its_server(site):
    """Fanvil BYE failover, D22: the dialog's server first, then its peers, with Request-URI unchanged, within 32 s."""
    sent, routes = connect(site)
    site.receive(in_dialog("BYE", sent, routes=routes), site.phone)
    site.clock.advance(7.6)
    assert site.primary.summary().count("BYE") == 4
    bye = site.last(site.fallback, "BYE")
    assert bye.request_uri == "sip:bob@203.0.113.7:5060"
    site.answer(site.fallback, bye, 481)
    assert site.phone.summary()[-1] == 481


def test_bye_with_all_servers_dead_is_answered_in_time(site):
    """D1, D2, D22: 481 before the phone gives up at 32 s, and never 408."""
    sent, routes = connect(site)
    start = site.clock.seconds()
    site.phone.take()
    site.receive(in_dialog("BYE", sent, routes=routes), site.phone)
    while 481 not in site.phone.summary():
        site.clock.advance(0.1)
        assert site.clock.seconds() - start < 32
    assert set(site.phone.summary()) <= {100, 481}


def test_cancel_before_any_answer(site):
    """D4: CANCEL is held until the first 1xx; the phone gets its 487 after half a second all the same."""
    site.receive(invite(), site.phone)
    site.receive(request("CANCEL"), site.phone)
    assert site.last(site.phone, 200).cseq_method == "CANCEL"
    assert "CANCEL" not in site.primary.summary()
    site.clock.advance(0.5)
    assert site.phone.summary() == [100, 200, 487]
    site.receive(request("ACK", to_tag=site.last(site.phone, 487).to_tag), site.phone)
    site.clock.advance(10)
    assert site.fallback.sent == []  # no new branch after a CANCEL


def test_cancel_while_ringing(site):
    """9.1: CANCEL goes where the 1xx came from, and its 487 comes back."""
    site.receive(invite(), site.phone)
    sent = site.last(site.primary, "INVITE")
    site.answer(site.primary, sent, 180)
    site.receive(request("CANCEL"), site.phone)
    cancel = site.last(site.primary, "CANCEL")
    assert cancel.top_via.branch == sent.top_via.branch
    site.answer(site.primary, cancel, 200)
    site.answer(site.primary, sent, 487)
    assert site.phone.summary()[-1] == 487
    assert site.primary.summary()[-1] == "ACK"
    site.receive(request("ACK", to_tag="callee"), site.phone)


def test_late_200_connects_when_nobody_else_has(site):
    """D3: the slow primary answers while the fallback is still silent: the call is made."""
    site.receive(invite(), site.phone)
    slow = site.last(site.primary, "INVITE")
    site.clock.advance(8)
    site.answer(site.primary, slow, 200)
    assert site.phone.summary() == [100, 200]
    assert LateResponse("INVITE", "forwarded") in site.facts
    site.answer(site.fallback, site.last(site.fallback, "INVITE"), 180)
    site.clock.advance(1)
    assert "CANCEL" in site.fallback.summary()
    site.answer(site.fallback, site.last(site.fallback, "INVITE"), 487)


def test_late_200_after_the_call_was_made_elsewhere(site):
    """D3: ACK and BYE from us, in this order, and the ACK again for every repetition."""
    site.receive(invite(), site.phone)
    slow = site.last(site.primary, "INVITE")
    site.clock.advance(8)
    site.answer(site.fallback, site.last(site.fallback, "INVITE"), 200)
    site.primary.take()
    site.answer(site.primary, slow, 200, to_tag="slow")
    assert site.primary.summary() == ["ACK", "BYE"]
    ack, bye = (message for _, message in site.primary.sent)
    assert (ack.cseq, bye.cseq) == (1, 2)
    assert bye.to_tag == "slow"
    assert bye.request_uri == "sip:bob@198.51.100.10:5060"
    site.answer(site.primary, slow, 200, to_tag="slow")
    assert site.primary.summary() == ["ACK", "BYE", "ACK"]
    assert site.phone.summary() == [100, 200]
    assert LateResponse("INVITE", "acked_and_byed") in site.facts
    site.answer(site.primary, bye, 200)


def test_call_from_a_server_rings_the_phone_by_its_token(site):
    """D25: the Request-URI's token names the phone; it sees its own Contact as the Request-URI."""
    site.registrar.bindings["T1"] = Binding("T1", "sip:alice@192.0.2.50:5060;x=y", "192.0.2.50", 5060)
    call = request("INVITE", uri="sip:alice@198.51.100.1:5060;gw-tok=T1", sent_by="198.51.100.20:5060")
    site.receive(call, site.fallback)
    arrived = site.last(site.phone, "INVITE")
    assert arrived.request_uri == "sip:alice@192.0.2.50:5060;x=y"
    hosts = [NameAddr.parse(value).uri.host for value in arrived.get_all("Record-Route")]
    assert hosts == ["192.0.2.1", "198.51.100.1"]
    site.answer(site.phone, arrived, 180)
    site.answer(site.phone, arrived, 200)
    assert site.fallback.summary() == [100, 180, 200]
    # the phone hangs up: its BYE goes to the server that called
    routes = arrived.get_all("Record-Route")
    bye = request("BYE", uri="sip:carol@203.0.113.9", branch="z9hG4bKbye", cseq=9, to_tag="f1", from_tag="callee",
                  headers=[("Route", route) for route in routes])  # fmt: skip
    site.receive(bye, site.phone)
    site.answer(site.fallback, site.last(site.fallback, "BYE"), 200)
    assert site.phone.summary()[-1] == 200


def test_token_from_somebody_else_is_refused(site):
    """Only servers may use the Contact that we gave them."""
    site.registrar.bindings["T1"] = Binding("T1", "sip:alice@192.0.2.50", "192.0.2.50", 5060)
    site.receive(request("INVITE", uri="sip:alice@198.51.100.1:5060;gw-tok=T1"), site.flow("192.0.2.99", 5060, "phones"))
    assert site.flow("192.0.2.99", 5060, "phones").summary() == [403]
    assert site.phone.sent == []
    site.clock.advance(32)


def test_foreign_domain_is_not_relayed(site):
    """We are not an open relay."""
    foreign = request("INVITE", uri="sip:bob@elsewhere.example")
    foreign.set("To", "<sip:bob@elsewhere.example>")
    site.receive(foreign, site.phone)
    assert site.phone.summary() == [403]
    assert site.primary.sent == []


def test_options_of_a_phone_is_answered_here(site):
    """A keep-alive asks whether the phone's server is there; for the phone, that is the appliance."""
    site.receive(request("OPTIONS", uri="sip:example.com"), site.phone)
    assert site.phone.summary() == [200]
    assert site.primary.sent == []


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"uri": "http://example.com"}, 416),
        ({"headers": [("Proxy-Require", "gin")]}, 420),
    ],
)
def test_refusals(site, changes, status):
    """RFC 3261 16.3."""
    site.receive(request("MESSAGE", **changes), site.phone)
    assert site.phone.summary() == [status]


def test_max_forwards(site):
    """16.3 item 3: 483 at zero, but an OPTIONS is answered."""
    for number, (method, status) in enumerate((("MESSAGE", 483), ("OPTIONS", 200))):
        message = request(method, branch=f"z9hG4bK{number}")
        message.set("Max-Forwards", "0")
        site.receive(message, site.phone)
        assert site.phone.summary()[-1] == status


def test_refused_invite_is_answered_once(site):
    """RFC 3261 8.2.7: anybody may write anybody's address into it. The ACK, with hops of its own, goes nowhere."""
    invite = request("INVITE")
    invite.set("Max-Forwards", "0")
    site.receive(invite, site.phone)
    site.clock.advance(40)
    assert site.phone.summary() == [483]
    (refusal,) = site.phone.take()
    site.receive(request("ACK", to_tag=refusal.to_tag), site.phone)
    assert site.primary.summary() == site.phone.summary() == []
    site.receive(invite.copy(), site.phone)
    assert site.phone.take()[0].to_tag == refusal.to_tag


def test_loop_and_spiral(site):
    """16.3 item 4: the same request back from a server is a loop; with another Request-URI it passes."""
    site.receive(request("MESSAGE"), site.phone)
    looped = site.last(site.primary, "MESSAGE").copy()
    looped.prepend("Via", "SIP/2.0/UDP 198.51.100.10:5060;branch=z9hG4bKserver")
    site.receive(looped, site.primary)
    assert site.primary.summary()[-1] == 482
    spiral = site.last(site.primary, "MESSAGE").copy()
    spiral.prepend("Via", "SIP/2.0/UDP 198.51.100.10:5060;branch=z9hG4bKserver2")
    spiral.request_uri = "sip:bob@198.51.100.1:5060;gw-tok=T2"
    site.registrar.bindings["T2"] = Binding("T2", "sip:bob@192.0.2.60", "192.0.2.60", 5060)
    site.receive(spiral, site.primary)
    other = site.flow("192.0.2.60", 5060, "phones")
    site.answer(other, site.last(other, "MESSAGE"), 200)
    site.answer(site.primary, site.last(site.primary, "MESSAGE"), 200)
    assert site.phone.summary()[-1] == 200


def test_answered_challenge_goes_to_who_asked(site):
    """D9: the nonce names its server, even when another one is the working server by then."""
    site.receive(invite(), site.phone)
    challenge = ("Proxy-Authenticate", 'Digest realm="example.com", nonce="N1"')
    site.answer(site.primary, site.last(site.primary, "INVITE"), 407, headers=[challenge])
    site.receive(request("ACK", to_tag="callee"), site.phone)
    site.answer(site.primary, site.last(site.primary, "INVITE"), 407)  # a repetition changes nothing
    credentials = 'Digest username="alice", realm="example.com", nonce="N1", uri="sip:bob@example.com", response="0"'
    retry = invite(branch="z9hG4bKretry", cseq=2, headers=[("Proxy-Authorization", credentials)])
    site.primary.take()
    site.receive(retry, site.phone)
    sent = site.last(site.primary, "INVITE")
    assert sent.get("Proxy-Authorization") == credentials
    site.edge.datagram_failed(sent.to_bytes()[:200], "icmp")
    other = ("Proxy-Authenticate", 'Digest realm="example.com", nonce="N2"')
    site.answer(site.fallback, site.last(site.fallback, "INVITE"), 407, headers=[other])
    assert site.last(site.phone, 407).get("Proxy-Authenticate").endswith("stale=true")
    site.receive(request("ACK", branch="z9hG4bKretry", cseq=2, to_tag="callee"), site.phone)


def hairpin(site) -> list[str]:
    """The route set of a caller whose call leads through the primary back to us and to another phone of the site."""
    _, routes = connect(site)
    site.registrar.bindings["T"] = Binding("T", "sip:bob@192.0.2.60", "192.0.2.60", 5060)
    call = request("INVITE", uri="sip:bob@198.51.100.1:5060;gw-tok=T", call_id="second-leg", branch="z9hG4bKleg",
                   sent_by="198.51.100.10:5060")  # fmt: skip
    site.receive(call, site.primary)
    other = site.flow("192.0.2.60", 5060, "phones")
    arrived = site.last(other, "INVITE")
    site.answer(other, arrived, 200)
    return [*routes, "<sip:198.51.100.10:5060;lr>", *arrived.get_all("Record-Route")[::-1]]


def test_bye_of_a_call_inside_the_site_reaches_the_other_phone(site):
    """D22: its server is dead and the fallback has never heard of the call, so the BYE goes straight to the peer."""
    routes = hairpin(site)
    site.receive(in_dialog("BYE", None, routes=routes), site.phone)
    site.edge.datagram_failed(site.last(site.primary, "BYE").to_bytes()[:200], "icmp")
    site.answer(site.fallback, site.last(site.fallback, "BYE"), 481)
    other = site.flow("192.0.2.60", 5060, "phones")
    bye = site.last(other, "BYE")
    assert bye.get_all("Route") == []
    assert bye.request_uri == "sip:bob@203.0.113.7:5060"
    site.answer(other, bye, 200)
    assert site.phone.summary()[-1] == 200


def test_bye_that_its_own_server_does_not_know_is_over(site):
    """481 of the dialog's own server is the truth; nobody else is asked."""
    routes = hairpin(site)
    site.receive(in_dialog("BYE", None, routes=routes), site.phone)
    site.answer(site.primary, site.last(site.primary, "BYE"), 481)
    assert site.phone.summary()[-1] == 481
    assert "BYE" not in site.flow("192.0.2.60", 5060, "phones").summary()


@pytest.mark.parametrize("uri", ["sip:example.com", "sip:192.0.2.1:5060"], ids=["our domain", "our address"])
def test_options_to_us_leaves_nothing_behind(site, uri):
    """8.2.7: no transaction for a question that has the same answer however often it is asked."""
    for _ in range(2):
        site.receive(request("OPTIONS", uri=uri), site.phone)
    assert site.layer.transactions == dict.fromkeys(site.layer.transactions, 0)
    assert site.phone.summary() == [200, 200]
    assert site.phone.datagrams[0] == site.phone.datagrams[1]
    assert site.last(site.phone, 200).get("Allow")


def test_options_to_a_phone_is_forwarded(site):
    """It asks somebody else, so its repetitions belong to a transaction."""
    for _ in range(2):
        site.receive(request("OPTIONS", uri="sip:bob@example.com"), site.phone)
    assert site.primary.summary() == ["OPTIONS"]
    site.answer(site.primary, site.last(site.primary, "OPTIONS"), 200)
    assert site.phone.summary() == [200]


class NothingYet(AtHand):
    """Like the registrar's at the start: it is there, though it knows of nothing so far."""

    def __init__(self) -> None:
        self.answer: bytes | None = None
        self.asked: list[bytes] = []

    def __len__(self) -> int:
        return 0

    def answer_to(self, data, flow) -> bytes | None:
        self.asked.append(data)
        return self.answer


def ok(register: Request) -> bytes:
    return ok_to(register, "ours", b"Contact: <sip:alice@192.0.2.50:5060>;expires=60\r\nContent-Length: 0\r\n\r\n")


def test_refresh_whose_answer_is_at_hand_is_answered_and_counted_and_that_is_all(site):
    at_hand = NothingYet()
    site.new_proxy(at_hand=at_hand)
    register = request("REGISTER", uri="sip:example.com", headers=[("Contact", "<sip:alice@192.0.2.50:5060>")])
    at_hand.answer = ok(register)
    for _ in range(2):
        site.receive(register, site.phone)
    assert [at_hand.answer] * 2 == site.phone.datagrams
    assert {("REGISTER", "phones"): 2} == site.edge.requests
    assert site.registrar.registers == []
    assert site.layer.transactions["server", "non-invite"] == 0


def test_refresh_whose_answer_is_not_at_hand_is_read(site):
    at_hand = NothingYet()
    site.new_proxy(at_hand=at_hand)
    register = request("REGISTER", uri="sip:example.com", headers=[("Contact", "<sip:alice@192.0.2.50:5060>")])
    site.receive(register, site.phone)
    assert [register.to_bytes()] == at_hand.asked
    assert 1 == len(site.registrar.registers)


@pytest.mark.parametrize("method", ["OPTIONS", "INVITE", "REGISTERED"])
def test_only_a_register_may_have_its_answer_at_hand(site, method):
    at_hand = NothingYet()
    site.new_proxy(at_hand=at_hand)
    site.receive(request(method, uri="sip:bob@example.com"), site.phone)
    assert [] == at_hand.asked


def test_what_a_server_sends_is_never_answered_from_memory(site):
    at_hand = NothingYet()
    site.new_proxy(at_hand=at_hand)
    register = request("REGISTER", uri="sip:example.com")
    at_hand.answer = ok(register)
    site.receive(register, site.primary)
    assert [] == at_hand.asked
    assert 200 not in site.primary.summary()
