"""D13: phones whose password only they know remove themselves, at servers that each want it.

The phones are those of `tests.helpers.stacks`: what each does was measured with the real one.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from sbc.events import RemovalLeftOut
from sbc.redundancy.group import ServerGroup
from sbc.registration.quarantine import MOST_IN_A_ROW
from sbc.sip.digest import Challenge
from tests.helpers.scripted_servers import MemoryStore, Phone, accept
from tests.helpers.stacks import BARESIP, LINPHONE, PJSUA, STACKS, Keeper, StackPhone

AOR = "sip:alice@example.com"


@pytest.fixture
def registered(make_site):
    """Make a site whose servers all want passwords, and a phone that is registered at each of them."""
    sites = []

    def make(stack, servers: int = 2, *, trusted: str = "", **settings) -> tuple:
        site = make_site(servers=servers, of_servers={trusted: {"trusted": True}} if trusted else {}, **settings)
        for server in site.servers:
            server.reply = accept() if server.name == trusted else Keeper(site, server.name)
        phone = StackPhone(site, stack)
        phone.switch_on()
        site.clock.advance(12.0 * (servers - 1))
        assert ["registered"] * servers == [site.state(server.name) for server in site.servers]
        sites.append(site)
        return site, phone

    yield make
    for site in sites:
        assert [] == [nonce for server in site.servers if isinstance(server.reply, Keeper) for nonce in server.reply.foreign]


def left_out(site) -> list[str]:
    return [event.server for event in site.events if isinstance(event, RemovalLeftOut)]


def where(site) -> list[str]:
    """The servers that have the contact, be it by our books or by theirs."""
    assert [] == site.registrar.bindings_for_aor(AOR)
    holding = [server.name for server in site.servers if server.reply.holds_one()]
    missed = [row["server"] for row in site.registrar.upkeep.missed.describe(site.clock.seconds())]
    assert holding == missed
    return holding


@pytest.mark.parametrize("servers", [2, 3])
@pytest.mark.parametrize("contact", ["", "*"], ids=["its own", "all"])
@pytest.mark.parametrize("stack", STACKS, ids=lambda stack: stack.name)
def test_d13_a_phone_is_gone_from_every_server(registered, stack, contact, servers):
    """K1: the other server's challenge comes in the same attempt, with stale=true. Each server challenges it once at most, and
    nothing of that is held against the phone."""
    site, phone = registered(stack, servers)
    seen = len(phone.flow.sent)
    before = [server.reply.accepted for server in site.servers]
    phone.unregister(contact)
    site.clock.advance(2)
    answers = [answer for _, answer in phone.flow.sent[seen:]]
    if (stack, servers) == (LINPHONE, 3):
        # Its last answer, shown unasked, is good at one, and it answers one challenge behind that; it bears no more.
        assert 1 == len(where(site))
        return
    assert phone.removed and [] == where(site)
    assert [server.reply.accepted - 1 for server in site.servers] == before
    assert [] == phone.failures and [] == left_out(site)
    assert {} == site.store.removals
    assert 0 == sum(server.reply.wrong for server in site.servers)
    assert 0 == len(site.registrar.rejections) == len(site.registrar._quarantine)
    assert [200] == [answer.status for answer in answers if answer.status < 300]
    challenges = [Challenge.parse(answer.get("WWW-Authenticate")) for answer in answers if answer.status == 401]
    assert len(challenges) == len({one.nonce.split("-")[0] for one in challenges}) <= servers
    assert all(one.stale for one in challenges[1:])


@pytest.mark.parametrize("first_dead", [False, True])
def test_d13_the_contact_is_removed_here_before_the_phone_has_answered(registered, first_dead):
    """A phone that does not answer has lost nothing: no call comes in for it through us, and the log says where it is left."""
    site, phone = registered(replace(BARESIP, second="never"), servers=3 if first_dead else 2)
    alive = site.servers[first_dead:]
    if first_dead:
        site.take_down(site.primary)
        site.primary.unreachable = True
    phone.unregister()
    site.clock.advance(2)
    assert not phone.removed and 1 == len(phone.failures)
    expected = [server.name for server in site.servers if server is not alive[0]]
    assert expected == where(site)
    assert [] == left_out(site)
    site.clock.advance(40)
    assert [alive[1].name] == left_out(site)
    assert 0 == len(site.registrar.rejections) == len(site.registrar._quarantine)
    assert sorted(expected) == sorted(server for _, server in site.store.removals)


def test_d13_one_challenge_for_each_server(registered):
    """A phone that does not answer and tries again is told by the first server's acceptance."""
    site, phone = registered(replace(BARESIP, second="never"))
    for _ in range(MOST_IN_A_ROW):
        phone.unregister()
        site.clock.advance(1)
    assert phone.removed
    challenges = [answer for _, answer in phone.flow.sent if "fallback" in (answer.get("WWW-Authenticate") or "")]
    assert 1 + 1 == len(challenges)  # at its registration, at its removal
    assert 0 == len(site.registrar._quarantine)


def test_d13_a_late_answer_is_good(registered):
    """linphone, of which it was seen: the next attempt, a minute later, shows the newest nonce at once."""
    site, phone = registered(replace(BARESIP, second="never", unasked=True))
    site.clock.advance(12)
    phone._last = None
    phone.unregister()
    site.clock.advance(60)
    assert ["fallback"] == left_out(site) == where(site)
    phone.unregister()
    site.clock.advance(2)
    assert phone.removed and [] == where(site)
    assert {} == site.store.removals


def test_d13_a_repeated_answer_is_answered_alike(registered):
    """The phone's retransmissions reach nobody."""
    site, phone = registered(BARESIP)
    phone.switch_off()
    phone.register(expires=0)
    site.clock.advance(0.1)
    phone.register(expires=0, authorization=phone.answer_to(phone.last))
    site.clock.advance(0.1)
    assert 401 == phone.last.status
    answer = phone.answer_to(phone.last)
    sent = [server.reply.requests for server in site.servers]
    for _ in range(3):
        phone.register(expires=0, authorization=answer, cseq=phone.cseq + (phone.last.status == 401), branch="z9hG4bK-again")
        site.clock.advance(0.5)
    assert [200] * 3 == phone.answers[-3:]
    assert [sent[0], sent[1] + 1] == [server.reply.requests for server in site.servers]
    assert [] == where(site)


@pytest.mark.parametrize("password", ["wrong", None])
def test_d13_only_who_convinces_that_server_may_answer(registered, password):
    """The contact is not there any more to say who it is. A server that believes us says nothing about a stranger."""
    site, phone = registered(replace(BARESIP, second="never"), servers=3, trusted="third")
    other = Phone(site, user="alice", port=5070)
    phone.unregister()
    site.clock.advance(1)
    challenge = phone.last
    third = len(site.servers[2].requests)
    stranger = Phone(site, port=7777)
    if password is None:
        stranger.register(contact=phone.contact, expires=0)
    else:
        stranger.register(contact=phone.contact, expires=0, authorization=stranger.answer_to(challenge, password))
    site.clock.advance(1)
    assert [401] == stranger.answers
    assert third == len(site.servers[2].requests)
    assert site.fallback.reply.holds_one()
    assert other.contact not in str(stranger.last.get_all("Contact"))
    site.clock.advance(40)
    assert ["fallback"] == left_out(site)


@pytest.mark.parametrize("learned", [False, True])
def test_d13_a_phone_for_one_challenge_only_is_not_asked(registered, learned):
    """first-only, configured since it registered, or learned."""
    site, phone = registered(PJSUA)
    (binding,) = site.registrar.bindings_for_aor(AOR)
    if learned:
        binding.method = "first-only"
    else:
        of_now = replace(site.group.settings, challenge_method="first-only")
        site.group = ServerGroup(of_now, (0.5, 4.0), site.events.append, site.clock.seconds())
        for server in site.servers:
            site.group.update_candidates(server.name, [server.candidate], site.clock.seconds())
        site.registrar.set_groups([site.group])
    phone.unregister()
    site.clock.advance(1)
    assert phone.removed and [] == phone.failures
    assert ["fallback"] == where(site) == left_out(site)


def test_d13_a_server_that_is_open_is_told_by_us(registered):
    site, phone = registered(BARESIP)
    site.fallback.reply = accept()
    messages = phone.messages
    phone.unregister()
    site.clock.advance(1)
    assert phone.removed and 2 == phone.messages - messages
    assert [] == site.registrar.upkeep.missed.describe(site.clock.seconds())


def test_d13_a_phone_that_registers_instead_is_registered(registered):
    """It has changed its mind between the challenge and its answer."""
    site, phone = registered(replace(BARESIP, second="never"))
    phone.unregister()
    site.clock.advance(1)
    phone.wanted, phone.stack = 3600, BARESIP
    phone.restart()
    site.clock.advance(12)
    assert ["registered", "registered"] == [site.state("primary"), site.state("fallback")]
    site.clock.advance(60)
    assert [] == left_out(site)
    assert {} == site.store.removals
    phone.switch_off()


def test_d13_an_answer_after_a_kill_is_good(registered, make_site):
    """On disk before the phone is challenged; the next process knows the nonce's server no more, so it is challenged again."""
    store = MemoryStore()
    site, phone = registered(replace(BARESIP, second="never"), store=store)
    phone.unregister()
    site.clock.advance(2)
    assert {"fallback"} == {server for _, server in store.removals}
    again = make_site(store=store, clock=site.clock, wall=site.wall_clock())
    for server, before in zip(again.servers, site.servers, strict=True):
        server.reply = before.reply
    phone.site, phone.stack = again, BARESIP
    phone.unregister()
    again.clock.advance(2)
    assert phone.removed and [] == where(again)
    assert {} == store.removals
