"""Answers to challenges go to the server that has challenged, and to no other: D8, D9, for every method."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sbc.location.candidate import Candidate
from sbc.nonces import Nonces
from sbc.proxy.pins import nonce_in
from sbc.redundancy.group import ServerGroup
from sbc.redundancy.outcome import Answered
from sbc.sip.message import Request, Response
from tests.helpers.network import request
from tests.proxy.conftest import FALLBACK, PRIMARY, Binding, Site
from tests.proxy.test_core import connect, hairpin

OUTSIDE = ("INVITE", "SUBSCRIBE", "PUBLISH", "MESSAGE", "REFER")
INSIDE = ("BYE", "INVITE", "SUBSCRIBE", "REFER", "INFO", "UPDATE")
ASKED_WITH = {401: ("WWW-Authenticate", "Authorization"), 407: ("Proxy-Authenticate", "Proxy-Authorization")}

each_status = pytest.mark.parametrize("status", [401, 407])
outside = pytest.mark.parametrize("method", OUTSIDE)
inside = pytest.mark.parametrize("method", INSIDE)


class QuickSite(Site):
    """Its servers come and go at once: failback mode is new-requests, and nothing holds it up."""

    def __init__(self, servers: dict[str, object] | None = None, **group_changes) -> None:
        super().__init__(fall=1, rise=1, failback_hold=0, **group_changes)
        if servers:
            self.settings = replace(
                self.settings, servers=tuple(replace(server, **servers) for server in self.settings.servers)
            )
            self.group = ServerGroup(self.settings, (0.5, 4.0), self.facts.append, self.clock.seconds())
            self.group.update_candidates("primary", [PRIMARY], self.clock.seconds())
            self.group.update_candidates("fallback", [FALLBACK], self.clock.seconds())
            self.proxy = self.new_proxy()
        assert {server.failback_mode for server in self.settings.servers} == {"new-requests"}

    def bring_back(self, candidate) -> None:
        self.group.observe(candidate, Answered(200), self.clock.seconds(), "OPTIONS")
        assert self.group.health(candidate).usable

    def kill(self, flow) -> None:
        """The host behind it answers with ICMP what it was sent last."""
        self.edge.datagram_failed(flow.datagrams[-1][:300], "icmp")

    def challenge(self, flow, method: str, status: int, nonce: str, *headers: tuple[str, str]) -> None:
        sent = self.last(flow, method)
        challenge = (ASKED_WITH[status][0], f'Digest realm="example.com", nonce="{nonce}"')
        self.answer(flow, sent, status, headers=[challenge, *headers], contact=False)

    def shown(self, flow, method: str) -> list[str | None]:
        """The nonces that the latest such request brought."""
        sent = self.last(flow, method)
        return [nonce_in(value) for name in ("Authorization", "Proxy-Authorization") for value in sent.get_all(name)]


@pytest.fixture
def make_site():
    sites = []

    def make(*args, **kwargs) -> QuickSite:
        sites.append(QuickSite(*args, **kwargs))
        return sites[-1]

    yield make
    for made in sites:
        made.clock.advance(400)
        assert made.layer.transactions == dict.fromkeys(made.layer.transactions, 0)
        assert made.clock.pending == 0


@pytest.fixture
def site(make_site) -> QuickSite:
    return make_site()


def answers(status: int, *nonces: str) -> list[tuple[str, str]]:
    text = 'Digest username="alice", realm="example.com", nonce="{}", uri="sip:bob@example.com", response="0"'
    return [(ASKED_WITH[status][1], text.format(nonce)) for nonce in nonces]


def send(site, method: str, cseq: int, headers=(), **changes) -> Request:
    made = request(method, cseq=cseq, branch=f"z9hG4bK{method}{cseq}", headers=list(headers), **changes)
    site.receive(made, site.phone)
    return made


def acknowledge(site, method: str, cseq: int) -> None:
    if method == "INVITE":
        site.receive(request("ACK", branch=f"z9hG4bKINVITE{cseq}", cseq=cseq, to_tag="callee"), site.phone)


def finish(site, flow, method: str, status: int = 480) -> None:
    site.answer(flow, site.last(flow, method), status)
    if method == "INVITE":
        cseq = site.last(flow, method).cseq
        site.receive(request("ACK", branch=f"z9hG4bKINVITE{cseq}", cseq=cseq, to_tag="callee"), site.phone)


def stale_in(response) -> bool:
    return all(
        value.endswith(", stale=true")
        for name in ("WWW-Authenticate", "Proxy-Authenticate")
        for value in response.get_all(name)
    )


def challenged_by_fallback(site, method: str, status: int, cseq: int = 1, **changes) -> None:
    """The primary is dead, and the fallback asks for a password."""
    send(site, method, cseq, **changes)
    site.kill(site.primary)
    site.challenge(site.fallback, method, status, "NF")
    acknowledge(site, method, cseq)
    site.primary.take(), site.fallback.take()


@each_status
@outside
def test_answer_goes_to_who_asked_even_if_a_failback_fires_in_between(site, method, status):
    """D9, failback mode new-requests."""
    challenged_by_fallback(site, method, status)
    site.bring_back(PRIMARY)
    assert site.group.working(site.clock.seconds()) == PRIMARY
    send(site, method, 2, answers(status, "NF"))
    assert site.primary.summary() == []
    assert site.shown(site.fallback, method) == ["NF"]
    finish(site, site.fallback, method)
    site.fallback.take()
    send(site, method, 3, call_id="another")
    assert site.primary.summary() == [method], "new requests have returned"
    finish(site, site.primary, method)


@each_status
@inside
def test_answer_inside_a_dialog_goes_to_who_asked(site, method, status):
    """D9, D22: the dialog's server was dead when the fallback asked, and is back."""
    _, routes = connect(site)
    inside = {"to_tag": "callee", "uri": "sip:bob@203.0.113.7:5060"}
    route = [("Route", value) for value in routes]
    challenged_by_fallback(site, method, status, 2, headers=route, **inside)
    site.bring_back(PRIMARY)
    send(site, method, 3, [*answers(status, "NF"), *route], **inside)
    assert site.primary.summary() == []
    assert site.shown(site.fallback, method) == ["NF"]
    finish(site, site.fallback, method)


@each_status
@inside
def test_dialog_stays_with_its_server_whatever_nonce_is_shown(site, method, status):
    """A phone may show what another server gave it for another call. The dialog's own server asks for itself, stale."""
    _, routes = connect(site)
    challenged = request("MESSAGE", call_id="other", branch="z9hG4bKother")
    site.receive(challenged, site.phone)
    site.kill(site.primary)
    site.challenge(site.fallback, "MESSAGE", status, "NF")
    site.bring_back(PRIMARY)
    site.primary.take(), site.fallback.take(), site.phone.take()
    route = [("Route", value) for value in routes]
    send(site, method, 2, [*answers(status, "NF"), *route], to_tag="callee", uri="sip:bob@203.0.113.7:5060")
    assert site.shown(site.primary, method) == []
    assert site.fallback.summary() == []
    site.challenge(site.primary, method, status, "NP")
    assert stale_in(site.last(site.phone, status))
    acknowledge(site, method, 2)


@outside
def test_retry_without_a_nonce_that_we_know_is_pinned_for_32_s(site, method):
    """D9: same Call-ID and From tag, a higher CSeq."""
    challenged_by_fallback(site, method, 407)
    site.bring_back(PRIMARY)
    site.clock.advance(31.9)
    send(site, method, 2, [("Proxy-Authorization", "Bearer what-do-we-know")])
    assert site.primary.summary() == []
    assert site.fallback.summary() == [method]
    finish(site, site.fallback, method)
    site.fallback.take()
    site.clock.advance(0.2)
    send(site, method, 3)
    assert site.primary.summary() == [method]
    finish(site, site.primary, method)


def test_another_request_of_the_same_call_is_no_retry(site):
    """A lower CSeq is older, and another method answers nothing."""
    challenged_by_fallback(site, "MESSAGE", 407, cseq=5)
    site.bring_back(PRIMARY)
    for method, cseq in (("MESSAGE", 5), ("PUBLISH", 6)):
        send(site, method, cseq, from_tag="f1", sent_by="192.0.2.50:5061")
        assert site.fallback.summary() == []
        finish(site, site.primary, method)


@each_status
@outside
def test_who_asked_is_dead(site, method, status):
    """D9: credentials stripped, on to the next, whose challenge is stale for the phone (digest.md I2: baresip and twinkle
    would give up without)."""
    send(site, method, 1)
    site.challenge(site.primary, method, status, "NP")
    acknowledge(site, method, 1)
    send(site, method, 2, answers(status, "NP"))
    assert site.shown(site.primary, method) == ["NP"]
    site.kill(site.primary)
    assert site.shown(site.fallback, method) == []
    site.challenge(site.fallback, method, status, "NF")
    assert stale_in(site.last(site.phone, status))
    acknowledge(site, method, 2)
    # And it is known to be dead now: the same again does not even try it.
    site.primary.take(), site.fallback.take()
    send(site, method, 3, answers(status, "NP"), call_id="another")
    assert site.primary.summary() == []
    assert site.shown(site.fallback, method) == []
    site.challenge(site.fallback, method, status, "NF")
    acknowledge(site, method, 3)
    send(site, method, 4, answers(status, "NP", "NF"), call_id="another")
    assert site.shown(site.fallback, method) == ["NF"]
    # A challenge in answer to its own nonce is the server's own business: the password may be wrong.
    site.challenge(site.fallback, method, status, "NF2")
    assert not stale_in(site.last(site.phone, status))
    acknowledge(site, method, 4)


@each_status
@inside
def test_dialogs_server_is_dead(site, method, status):
    """D22: what was made for it stays away from the next, here as well."""
    _, routes = connect(site)
    inside = {"to_tag": "callee", "uri": "sip:bob@203.0.113.7:5060"}
    route = [("Route", value) for value in routes]
    send(site, method, 2, route, **inside)
    site.challenge(site.primary, method, status, "NP")
    acknowledge(site, method, 2)
    send(site, method, 3, [*answers(status, "NP"), *route], **inside)
    assert site.shown(site.primary, method) == ["NP"]
    site.kill(site.primary)
    assert site.shown(site.fallback, method) == []
    site.challenge(site.fallback, method, status, "NF")
    assert stale_in(site.last(site.phone, status))
    acknowledge(site, method, 3)


def test_who_asked_is_known_to_be_dead(make_site):
    """D9: to who asked, if it is not down. Also where all others are tried in order, known-down ones too (V22)."""
    site = make_site(skip_down=False)
    challenged_by_fallback(site, "MESSAGE", 407)
    site.bring_back(PRIMARY)
    send(site, "MESSAGE", 7, answers(407, "NF"), call_id="another")
    site.kill(site.fallback)
    finish(site, site.primary, "MESSAGE")
    site.primary.take(), site.fallback.take()
    send(site, "MESSAGE", 2, answers(407, "NF"))
    assert site.fallback.summary() == []
    assert site.shown(site.primary, "MESSAGE") == []
    finish(site, site.primary, "MESSAGE")


@outside
def test_407_and_then_401_is_passed_as_it_is(site, method):
    """I3: baresip gives up, and yet nothing else would be true: its answer would be looked for in the other header."""
    send(site, method, 1)
    site.challenge(site.primary, method, 407, "NP")
    acknowledge(site, method, 1)
    send(site, method, 2, answers(407, "NP"))
    site.kill(site.primary)
    site.challenge(site.fallback, method, 401, "NF")
    assert stale_in(site.last(site.phone, 401))
    acknowledge(site, method, 2)


@each_status
def test_ack_shows_a_server_only_what_is_its_own(site, status):
    """RFC 3261 22.1: an ACK repeats the INVITE's credentials, those for the dead server too."""
    nonces = answers(status, "NP", "NF")
    send(site, "INVITE", 1)
    site.challenge(site.primary, "INVITE", status, "NP")
    acknowledge(site, "INVITE", 1)
    send(site, "INVITE", 2, answers(status, "NP"))
    site.kill(site.primary)
    site.challenge(site.fallback, "INVITE", status, "NF")
    acknowledge(site, "INVITE", 2)
    send(site, "INVITE", 3, [*nonces, ("Contact", "<sip:alice@192.0.2.50:5060>")])
    assert site.shown(site.fallback, "INVITE") == ["NF"]
    site.answer(site.fallback, site.last(site.fallback, "INVITE"), 200)
    routes = site.last(site.phone, 200).get_all("Record-Route")[::-1]
    send(site, "ACK", 3, [*nonces, *(("Route", route) for route in routes)], to_tag="callee", uri="sip:bob@203.0.113.7")
    assert site.shown(site.fallback, "ACK") == ["NF"]


@outside
def test_trusted_servers_never_see_credentials(make_site, method):
    """D8, method 3. And when one challenges all the same it is not made to look as if the phone should try again."""
    site = make_site(servers={"trusted": True})
    send(site, method, 1, [*answers(407, "NP"), ("Authorization", "Basic YWxpY2U6c2VjcmV0")])
    sent = site.last(site.primary, method)
    assert not sent.has("Authorization") and not sent.has("Proxy-Authorization")
    site.challenge(site.primary, method, 407, "NP")
    assert not stale_in(site.last(site.phone, 407))
    acknowledge(site, method, 1)
    send(site, method, 2, answers(407, "NP"))
    assert site.shown(site.primary, method) == []
    finish(site, site.primary, method)


def test_trusted_server_sees_none_in_an_ack(make_site):
    site = make_site(servers={"trusted": True})
    _, routes = connect(site)
    lines = [*answers(407, "NP"), *(("Route", route) for route in routes)]
    site.primary.take()
    send(site, "ACK", 1, lines, to_tag="callee", uri="sip:bob@203.0.113.7")
    assert site.shown(site.primary, "ACK") == []


@outside
def test_servers_that_share_nonces_get_all(make_site, method):
    """`shared_nonce`: the phone's answer is good everywhere, so nothing is stripped, nothing pinned, nothing stale."""
    site = make_site(shared_nonce=True)
    send(site, method, 1)
    site.challenge(site.primary, method, 407, "N")
    acknowledge(site, method, 1)
    send(site, method, 2, answers(407, "N"))
    site.kill(site.primary)
    assert site.shown(site.fallback, method) == ["N"]
    site.challenge(site.fallback, method, 407, "N2")
    assert not stale_in(site.last(site.phone, 407))
    acknowledge(site, method, 2)
    site.bring_back(PRIMARY)
    site.fallback.take()
    send(site, method, 3, answers(407, "N2"), call_id="another")
    assert site.shown(site.primary, method) == ["N2"]
    finish(site, site.primary, method)


@outside
def test_nonce_of_a_registration_does_not_lead_a_call_away(make_site, method):
    """The phone's latest nonce is the fallback's, for which it registered last. Its calls go to the primary, without it."""
    site = make_site()
    nonces = Nonces()
    nonces.remember("NF", FALLBACK, site.clock.seconds())
    site.proxy = site.new_proxy(nonces=nonces)
    send(site, method, 1, answers(401, "NF"))
    assert site.fallback.summary() == []
    assert site.shown(site.primary, method) == []
    site.challenge(site.primary, method, 407, "NP")
    assert stale_in(site.last(site.phone, 407))
    acknowledge(site, method, 1)


def test_nonce_of_another_groups_server_does_not_lead_there(make_site):
    """Two customers on one appliance: what the one's server has asked for takes no request of the other there."""
    site = make_site()
    nonces = Nonces()
    challenge = [("Proxy-Authenticate", 'Digest realm="example.com", nonce="NX"')]
    strange = Candidate("198.51.100.99", 5060, "udp")
    nonces.learn(Response.for_request(request("MESSAGE"), 407, headers=challenge), strange, site.clock.seconds())
    site.proxy = site.new_proxy(nonces=nonces)
    send(site, "MESSAGE", 1, answers(407, "NX"))
    assert site.shown(site.primary, "MESSAGE") == []
    assert site.flow_to_server(strange).summary() == []
    finish(site, site.primary, "MESSAGE")


def test_of_several_that_issued_a_nonce_the_working_one_is_asked(make_site):
    """One server, reached in two ways, or two that share a secret."""
    site = make_site()
    for number, flow in ((1, site.primary), (2, site.fallback)):
        send(site, "MESSAGE", number, call_id=f"call-{number}")
        site.challenge(flow, "MESSAGE", 407, "N")
        if flow is site.primary:
            send(site, "MESSAGE", 9, call_id="killer")
            site.kill(site.primary)
            finish(site, site.fallback, "MESSAGE")
    site.bring_back(PRIMARY)
    site.primary.take()
    send(site, "MESSAGE", 3, answers(407, "N"), call_id="call-3")
    assert site.shown(site.primary, "MESSAGE") == ["N"]
    site.kill(site.primary)
    assert site.shown(site.fallback, "MESSAGE") == ["N"]
    finish(site, site.fallback, "MESSAGE")


def test_phone_at_the_other_end_sees_no_credentials(site):
    """D22: the BYE goes straight to the peer when the servers are dead; the digest is for them."""
    routes = hairpin(site)
    lines = [*answers(407, "NP"), ("Authorization", "Basic YWxpY2U6c2VjcmV0"), *(("Route", route) for route in routes)]
    send(site, "BYE", 2, lines, to_tag="callee", uri="sip:bob@203.0.113.7:5060")
    site.kill(site.primary)
    site.answer(site.fallback, site.last(site.fallback, "BYE"), 481)
    other = site.flow("192.0.2.60", 5060, "phones")
    bye = site.last(other, "BYE")
    assert not bye.has("Proxy-Authorization") and not bye.has("Authorization")
    site.answer(other, bye, 200)


def test_call_that_comes_back_for_another_phone_brings_no_known_credentials(site):
    """A server that does not take its own off (16.6): the callee's phone has no use for them but a bad one."""
    site.registrar.bindings["T"] = Binding("T", "sip:bob@192.0.2.60", "192.0.2.60", 5060)
    send(site, "MESSAGE", 1)
    site.challenge(site.primary, "MESSAGE", 407, "NP")
    call = request(
        "MESSAGE", uri="sip:bob@198.51.100.1:5060;gw-tok=T", call_id="leg", branch="z9hG4bKleg",
        sent_by="198.51.100.10:5060", headers=answers(407, "NP", "of-the-phone"),
    )  # fmt: skip
    site.receive(call, site.primary)
    other = site.flow("192.0.2.60", 5060, "phones")
    assert site.shown(other, "MESSAGE") == ["of-the-phone"]
    site.answer(other, site.last(other, "MESSAGE"), 200)


def test_what_is_remembered_is_bounded(site, monkeypatch):
    """The oldest challenge goes first."""
    monkeypatch.setattr("sbc.proxy.pins._MOST_CHALLENGED", 2)
    send(site, "MESSAGE", 1, call_id="first")
    site.kill(site.primary)
    finish(site, site.fallback, "MESSAGE")
    for number in range(3):
        send(site, "MESSAGE", 1, call_id=f"call-{number}", sent_by=f"192.0.2.50:{6000 + number}")
        site.challenge(site.fallback, "MESSAGE", 407, f"N{number}")
    site.bring_back(PRIMARY)
    asked = []
    for number in range(3):
        site.primary.take(), site.fallback.take()
        send(site, "MESSAGE", 2, call_id=f"call-{number}", sent_by=f"192.0.2.50:{6000 + number}")
        asked.append([name for name in ("primary", "fallback") if getattr(site, name).summary()])
        finish(site, getattr(site, asked[-1][0]), "MESSAGE")
    assert asked == [["primary"], ["fallback"], ["fallback"]]


@pytest.mark.parametrize(
    ("value", "nonce"),
    [
        ('Digest username="a", nonce="n"', "n"),
        ('digest cnonce="c",nonce="n\\"x"', 'n"x'),
        ('Digest username="a, nonce=b", x-nonce="y", nonce=plain, realm="r"', "plain"),
        ('Digest username="a"', None),
        ("Basic nonce=x", None),
    ],
)
def test_nonce_in_credentials(value, nonce):
    assert nonce_in(value) == nonce


@pytest.mark.parametrize("blank", [" ", "  ", "\t", " \t "], ids=repr)
def test_digest_and_any_white_space(blank):
    """D9: RFC 3261 LWS is more than one blank; what is overlooked is shown to everybody."""
    assert "N" == nonce_in(f'Digest{blank}username="a", nonce="N", response="1"')
    assert "N" == nonce_in(f'DIGEST{blank}nonce="N"')
    assert nonce_in('Digestnonce="N"') is None


@pytest.mark.parametrize(
    "credentials", ["Basic YTpi", "Bearer abc", 'Digest username="a", response="1"', 'Digest\tnonce="NX"'], ids=repr
)
def test_what_cannot_be_read_is_shown_to_the_first_server_only(site, credentials):
    """D9: nobody knows who has asked for it."""
    send(site, "MESSAGE", 1, [("Authorization", credentials)])
    assert [credentials] == site.last(site.primary, "MESSAGE").get_all("Authorization")
    site.kill(site.primary)
    assert [] == site.last(site.fallback, "MESSAGE").get_all("Authorization")
    finish(site, site.fallback, "MESSAGE")
