"""Who is not the phone, and sends REGISTERs in its name: he gets in nowhere, and costs the phone nothing (D8, V16)."""

from __future__ import annotations

import pytest

from sbc.redundancy.outcome import Answered
from sbc.sip.message import Response
from tests.helpers.scripted_servers import Phone, PhoneFlow, accept, refuse, silent
from tests.helpers.stacks import LINPHONE, PJSUA, STACKS, Keeper, StackPhone

AOR = "sip:alice@example.com"
ELSEWHERE = ("198.51.100.66", 7777)
HIS_CONTACT = "<sip:alice@198.51.100.66:7777>"

each_refusal = pytest.mark.parametrize("status", [403, 404, 500, 503])


@pytest.fixture
def live(make_site):
    """Make a site whose servers all want passwords; its phones are switched off at the end."""
    phones: list[StackPhone] = []

    class Living:
        def site(self, of_keepers: dict[str, dict] | None = None, **settings):
            site = make_site(**settings)
            for server in site.servers:
                server.reply = Keeper(site, server.name, **(of_keepers or {}).get(server.name, {}))
            return site

        def phone(self, site, stack=PJSUA, **more) -> StackPhone:
            phone = StackPhone(site, stack, **more)
            phones.append(phone)
            phone.switch_on()
            return phone

    yield Living()
    for phone in phones:
        phone.switch_off()


class Stranger(Phone):
    """At another host, with the phone's address-of-record and a password that is wrong; `contact`: the phone's, or his own."""

    def __init__(self, site, contact: str = HIS_CONTACT) -> None:
        super().__init__(site, password="wrong")
        self.flow = PhoneFlow(ELSEWHERE, site.clock)
        self.contact = contact
        self.call_id = "the-stranger-s"

    def tries(self) -> list[int]:
        """Once, with his password where he is asked for one; what he was told."""
        before = len(self.answers)
        self.register()
        self.site.clock.advance(0.3)
        if self.last.status == 401:
            self.register(authorization=self.answer_to(self.last))
            self.site.clock.advance(5)
        return self.answers[before:]


def refuse_wrong_passwords(server, status: int) -> None:
    """With that status, where others challenge again."""
    keeper = server.reply

    def reply(request):
        response = keeper(request)
        shown = request.get("Authorization")
        return Response.for_request(request, status, to_tag="s") if response.status == 401 and shown else response

    server.reply = reply


def his_bindings(site) -> list:
    return [binding for binding in site.registrar.bindings_for_aor(AOR) if binding.host == ELSEWHERE[0]]


def standing(site) -> tuple:
    """How the phone stands at each server, and what was learned of it."""
    (binding,) = [binding for binding in site.registrar.bindings_for_aor(AOR) if binding.host != ELSEWHERE[0]]
    states = [(upstream.server, upstream.state, upstream.reason, upstream.retry_at) for upstream in binding.upstreams]
    return binding.method, binding.method_reason, sorted(states)


# Refused by a living server


@each_refusal
@pytest.mark.parametrize("is_known", [False, True], ids=["no phone", "a phone"])
def test_d8_whom_a_living_server_refuses_a_trusted_one_is_not_asked_about(live, status, is_known):
    site = live.site(of_servers={"fallback": {"trusted": True}})
    site.fallback.reply = accept()
    if is_known:
        live.phone(site)
        site.clock.advance(5)
    asked_before = len(site.fallback.requests)
    refuse_wrong_passwords(site.primary, status)
    stranger = Stranger(site)
    for _ in range(1 if status == 503 else 2):  # behind a 503 the server is known to be down
        assert [401, status if status < 500 else 480] == stranger.tries()
    assert asked_before == len(site.fallback.requests)
    assert [] == his_bindings(site)


@each_refusal
@pytest.mark.parametrize("registration", ["single", "successive"])
def test_d8_one_server_after_the_other_does_not_end_at_a_trusted_one(live, registration, status):
    site = live.site(of_servers={"fallback": {"trusted": True}}, registration=registration)
    site.fallback.reply = accept()
    refuse_wrong_passwords(site.primary, status)
    assert [401, status if status < 500 else 480] == Stranger(site).tries()
    assert [] == site.fallback.requests
    assert [] == his_bindings(site)


@pytest.mark.parametrize("registration", ["single", "successive"])
def test_d8_one_server_after_the_other_passes_over_a_trusted_one(live, registration):
    """The third asks for a password as well, and has let the phone in before the trusted one hears of it."""
    site = live.site(servers=3, of_servers={"fallback": {"trusted": True}}, registration=registration)
    site.fallback.reply = accept()
    site.primary.reply = refuse(404)
    phone = live.phone(site)
    site.clock.advance(5)
    assert [401, 200] == phone.answers
    third = site.server("third")
    assert third.reply.holds_one()
    (accepted_at,) = [at for at, request in third.requests if request.get("Authorization")]
    assert all(at > accepted_at for at, _ in site.fallback.requests)


@each_refusal
@pytest.mark.parametrize("registration", ["concurrent", "single", "successive"])
def test_d8_a_refused_password_is_not_got_round_by_an_open_server(live, registration, status):
    """One that is not called `trusted`, and asks nobody for a password."""
    site = live.site(registration=registration)
    site.fallback.reply = accept()
    refuse_wrong_passwords(site.primary, status)
    assert [401, status if status < 500 else 480] == Stranger(site).tries()
    assert [] == site.fallback.requests
    assert [] == his_bindings(site)


def test_d8_a_refused_password_may_be_right_at_the_next_server_that_asks_for_one(live):
    """Table D6: 403 is the word of one server only; the phone hears the next one's challenge."""
    site = live.site()
    live.phone(site, user="bob", port=5070)
    site.clock.advance(30)
    refuse_wrong_passwords(site.primary, 403)
    phone = live.phone(site, passwords={"example.com": "wrong"})
    site.clock.advance(2)
    assert 401 in phone.answers[1:]


@pytest.mark.parametrize("stack", [PJSUA, LINPHONE], ids=lambda stack: stack.name)
def test_d8_a_trusted_server_takes_over_from_one_that_fails_for_all(live, stack):
    """503 to everything: the phone that is registered there stays so, also one that shows its last answer."""
    site = live.site(of_servers={"fallback": {"trusted": True}})
    site.fallback.reply = accept(600)
    phone = live.phone(site, stack, wanted=600)
    site.clock.advance(5)
    site.primary.reply = refuse(503)
    site.clock.advance(3000)
    assert "registered" == site.state("fallback")
    assert {200} == set(phone.answers[2:])


@pytest.mark.parametrize("registration", ["concurrent", "successive", "single"])
@pytest.mark.parametrize("how", ["down", "held for its 503"])
def test_d8_a_trusted_server_lets_in_anybody_while_all_that_ask_for_passwords_count_as_down(live, registration, how):
    """As conf/sbc.toml says."""
    site = live.site(of_servers={"fallback": {"trusted": True}}, registration=registration)
    site.fallback.reply = accept(600)
    if how == "down":
        site.primary.unreachable = True
        site.take_down(site.primary)
    else:
        site.group.observe(site.primary.candidate, Answered(503, 120), site.clock.seconds(), "REGISTER")
    stranger = Stranger(site)
    stranger.register()
    site.clock.advance(5)
    assert [200] == stranger.answers
    assert "registered" == site.state("fallback")


@pytest.mark.parametrize("reply", [silent, refuse(503)], ids=["silent", "503"])
def test_d8_concurrent_a_trusted_server_waits_for_one_that_counts_as_alive(live, reply):
    """However badly that one answers: until it is known to be down, nobody is let in behind its back."""
    site = live.site(of_servers={"fallback": {"trusted": True}})
    site.primary.reply = reply
    stranger = Stranger(site)
    stranger.register()
    site.clock.advance(33)
    assert [480] == [status for status in stranger.answers if status >= 200]
    assert [] == site.fallback.requests


# What he does to the phone


def test_d8_a_stranger_teaches_nothing_of_the_phone(live):
    """He asks without a password, again and again: the phone goes on at both servers."""
    site = live.site()
    phone = live.phone(site)
    site.clock.advance(60)
    before = standing(site)
    stranger = Stranger(site, phone.contact)
    for _ in range(6):
        stranger.register()
        site.clock.advance(0.5)
    assert [401] * 6 == stranger.answers
    assert before == standing(site)
    for _ in range(4000):
        site.clock.advance(1)
        assert all(server.reply.holds_one() for server in site.servers)


@pytest.mark.parametrize("method", ["alternating", "serial", "aggregate"])
def test_d8_a_stranger_does_not_keep_the_phone_from_a_server_of_another_realm(live, method):
    site = live.site({"primary": {"realm": "one"}, "fallback": {"realm": "two"}}, challenge_method=method)
    phone = live.phone(site)
    site.clock.advance(60)
    before = standing(site)
    stranger = Stranger(site, phone.contact)
    unasked = 'Authorization: Digest username="alice", realm="one", nonce="none", uri="sip:example.com", response="0"'
    for _ in range(3):
        stranger.register()
        site.clock.advance(0.5)
        stranger.register(authorization=stranger.answer_to(stranger.last))
        site.clock.advance(0.5)
        stranger.register(authorization=unasked)
        site.clock.advance(0.5)
    assert before == standing(site)


def test_v16_a_stranger_s_wrong_password_is_not_the_phone_s(live):
    """Every 5 minutes, for two hours: the phone is registered at both servers all the time."""
    site = live.site()
    phone = live.phone(site, wanted=600)
    site.clock.advance(60)
    stranger = Stranger(site, phone.contact)
    for second in range(7200):
        if second % 300 == 0:
            before = standing(site)
            stranger.tries()
            assert before == standing(site)
        site.clock.advance(1)
        assert all(server.reply.holds_one() for server in site.servers)
    assert 200 not in stranger.answers
    assert [] == phone.failures


@pytest.mark.parametrize("registration", ["concurrent", "successive"])
@pytest.mark.parametrize("status", [403, 404])
def test_v16_a_refusal_of_a_stranger_is_not_the_phone_s(live, registration, status):
    site = live.site(registration=registration)
    phone = live.phone(site)
    site.clock.advance(60)
    before = standing(site)
    refuse_wrong_passwords(site.primary, status)
    stranger = Stranger(site, phone.contact)
    for _ in range(3):
        stranger.tries()
    assert before == standing(site)


@pytest.mark.parametrize("stack", STACKS, ids=lambda stack: stack.name)
def test_d8_a_phone_behind_nat_is_learned_of_from_another_port(live, stack):
    """Its host is the same: what it does, and what a server says to it, counts."""
    site = live.site()
    phone = live.phone(site, stack)
    site.clock.advance(60)
    phone.flow.move((phone.flow.remote[0], 40_000))
    phone.password = "wrong"
    refuse_wrong_passwords(site.primary, 403)
    phone.restart()
    site.clock.advance(5)
    states = {server: state for server, state, _, _ in standing(site)[2]}
    assert "failed" in states.values()


def test_d8_a_phone_behind_nat_that_passes_over_a_challenge_falls_back(live):
    """Two REGISTERs without an answer, under one Call-ID, and from another port each time."""
    site = live.site()
    phone = live.phone(site)
    site.clock.advance(60)
    phone.switch_off()
    for port in range(40_000, 40_003):
        phone.flow.move((phone.flow.remote[0], port))
        phone.register()
        site.clock.advance(0.5)
    method, reason, _ = standing(site)
    assert ("first-only", True) == (method, "did not answer the challenge" in reason)
