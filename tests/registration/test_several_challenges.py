"""D8: phones of which nobody told us the password, at servers that each want it: every method with every kind of phone.

The phones are those of `tests.helpers.stacks`: what each does was measured with the real one.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from sbc.registration.turns import DOES_NOT_COME
from sbc.sip.digest import Challenge
from sbc.sip.headers import NameAddr
from sbc.sip.message import Response
from tests.helpers.scripted_servers import MemoryStore, accept
from tests.helpers.stacks import BARESIP, LINPHONE, PJSUA, SOFIA, STACKS, TWINKLE, Keeper, Stack, StackPhone, bound

AOR = "sip:alice@example.com"
PERIODS = 20


@pytest.fixture
def live(make_site):
    """Make a site whose servers all want passwords, and one phone there; `live.phones` are switched off at the end."""

    class Living:
        phones: list[StackPhone] = []
        sites: list = []

        def site(self, servers: int = 2, of_keepers: dict[str, dict] | None = None, **settings):
            site = make_site(servers=servers, **settings)
            for server in site.servers:
                server.reply = Keeper(site, server.name, **(of_keepers or {}).get(server.name, {}))
            self.sites.append(site)
            return site

        def phone(self, site, stack, **more) -> StackPhone:
            phone = StackPhone(site, stack, **more)
            self.phones.append(phone)
            phone.switch_on()
            return phone

    living = Living()
    living.phones, living.sites = [], []
    yield living
    for phone in living.phones:
        phone.switch_off()
    for site in living.sites:
        for server in site.servers:
            if isinstance(server.reply, Keeper):
                # D8: what was made for one server is never shown to another one.
                assert [] == server.reply.foreign


def keepers(site) -> list[Keeper]:
    return [server.reply for server in site.servers]


def run_periods(site, phone, periods: int = PERIODS) -> None:
    """Until the phone has refreshed so often; each server must hold its contact at every second of it."""
    refreshes = len(phone.grants) + periods
    for _ in range(100_000):
        if len(phone.grants) >= refreshes:
            return
        site.clock.advance(1.0)
        for keeper in keepers(site):
            assert keeper.holds_one(), f"{keeper.name} lost it at {site.clock.seconds() - 1000:.0f} s; {phone.grants[-5:]}"
    raise AssertionError(f"only {len(phone.grants)} refreshes")


@pytest.mark.parametrize("granted", [None, 120, (60, 3600), (3600, 60)], ids=str)
@pytest.mark.parametrize("stack", STACKS, ids=lambda stack: stack.name)
def test_d8_alternating(live, stack, granted):
    """D8, method 2: at both after one short grant; for 20 refreshes no failure is shown and both hold the contact."""
    times = granted if isinstance(granted, tuple) else (granted, granted)
    site = live.site(of_keepers={name: {"granted": time} for name, time in zip(("primary", "fallback"), times, strict=True)})
    phone = live.phone(site, stack)
    site.clock.advance(12)
    assert [10] == [seconds for _, seconds in phone.grants[:1]]
    assert ["registered", "registered"] == [site.state("primary"), site.state("fallback")]
    run_periods(site, phone)
    assert [] == phone.failures
    assert [] == [gap for keeper in keepers(site) for gap in keeper.gaps]
    assert 1 == sum(seconds == 10 for _, seconds in phone.grants), phone.grants
    assert 0 == sum(keeper.wrong for keeper in keepers(site))


# How the servers challenge


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
@pytest.mark.parametrize("qop", [True, False], ids=["qop", "no qop"])
@pytest.mark.parametrize("stack", STACKS, ids=lambda stack: stack.name)
def test_d8_every_kind_of_digest(live, stack, algorithm, qop):
    """MD5 and SHA-256, with qop and without; each phone answers with what the server has asked for."""
    kinds = {"algorithm": algorithm, "qop": qop}
    site = live.site(of_keepers={"primary": kinds, "fallback": kinds})
    phone = live.phone(site, stack)
    site.clock.advance(12)
    run_periods(site, phone, 5)
    assert [] == phone.failures


@pytest.mark.parametrize(
    "nonces",
    [{"one_time": True}, {"lifetime": 300.0}, {"lifetime": 300.0, "stale": True}, {"announces": True}, {"announces": True, "one_time": True}],
    ids=["one time", "expire", "expire and say so", "next nonce", "next nonce, one time"],
)  # fmt: skip
@pytest.mark.parametrize("stack", STACKS, ids=lambda stack: stack.name)
def test_d8_every_kind_of_nonce(live, stack, nonces):
    """One-time nonces, nonces that expire without a word (Kamailio as it comes) or with stale=true, and RFC 7616 3.5.

    Phones that show the last nonce unasked are refused then; that is no wrong password.
    """
    site = live.site(of_keepers={"primary": nonces, "fallback": nonces})
    phone = live.phone(site, stack)
    site.clock.advance(12)
    run_periods(site, phone)
    assert [] == phone.failures
    assert [] == [event for event in site.events if getattr(event, "new", "") == "failed"]


def test_d8_second_challenge_says_stale_only_after_credentials(live):
    """A refresh that shows the other server's nonce is told that it is stale; one that shows none gets the server's own words."""
    for stack, stale in ((BARESIP, False), (LINPHONE, True)):
        site = live.site()
        phone = live.phone(site, stack)
        site.clock.advance(12)
        challenged = [Challenge.parse(answer.get("WWW-Authenticate")) for _, answer in phone.flow.sent if answer.status == 401]
        assert [("primary-1", False), ("fallback-2", stale)] == [(one.nonce, one.stale) for one in challenged]


def test_d8_first_server_is_not_asked_again_in_the_second_round(live):
    """It is well: the early refresh concerns the other one alone."""
    site = live.site()
    live.phone(site, BARESIP)
    site.clock.advance(12)
    assert [2, 3] == [keeper.requests for keeper in keepers(site)]
    assert [1, 1] == [keeper.accepted for keeper in keepers(site)]


def test_d8_a_phone_that_shows_the_last_nonce_renews_that_server_as_well(live):
    """At no cost to it: the answer that nobody asked for goes where it is good, while the other one has its turn."""
    site = live.site()
    phone = live.phone(site, LINPHONE)
    site.clock.advance(12)
    run_periods(site, phone, 4)
    primary, fallback = keepers(site)
    assert 5 <= min(primary.accepted, fallback.accepted)
    assert phone.messages == 2 * len(phone.grants)


# The other methods


@pytest.mark.parametrize("method", ["serial", "aggregate", "first-only"])
@pytest.mark.parametrize("stack", STACKS, ids=lambda stack: stack.name)
def test_d8_other_methods(live, stack, method):
    """Each method with each phone. Where they do not fit, the phone falls back to alternating, and that is written down; from
    then on no failure is shown and both hold the contact. Phones that show the last nonce unasked are challenged by one server
    only, as the other one renews them by that; so what K1 and B1 found of linphone and sofia does not come to pass."""
    site = live.site(challenge_method=method)
    phone = live.phone(site, stack)
    if method == "first-only":
        run_only_first(site, phone)
        return
    site.clock.advance(400)
    failures = len(phone.failures)
    run_periods(site, phone)
    assert failures == len(phone.failures) <= 1
    (binding,) = site.registrar.bindings_for_aor(AOR)
    fits = method == "serial" or stack.answers == "all" or stack.unasked
    assert ("" if fits else "alternating") == binding.method
    assert fits == (binding.method_reason == "")
    assert fits or binding.method_reason.startswith(f"{method}: the phone ")


@pytest.mark.parametrize("stack", [LINPHONE, TWINKLE, BARESIP], ids=lambda stack: stack.name)
def test_d8_a_phone_that_stops_at_the_second_challenge_falls_back(live, stack):
    """K1, K2: one failure is shown, then alternating goes on; a day later serial is tried once more."""
    site = live.site(challenge_method="serial")
    phone = live.phone(site, replace(stack, second="never", unasked=False))
    site.clock.advance(4000)
    (binding,) = site.registrar.bindings_for_aor(AOR)
    assert ("alternating", 1) == (binding.method, len(phone.failures))
    assert binding.method_reason in {
        f"serial: the phone {what} the challenge of {server}"
        for what in ("did not answer",)
        for server in ("primary", "fallback")
    }
    run_periods(site, phone, 40)
    assert 1 == len(phone.failures)
    site.clock.advance(86400 - (site.clock.seconds() - 1000))
    for _ in range(100):
        site.clock.advance(100)
        assert all(keeper.holds_one() for keeper in keepers(site))
    assert 2 == len(phone.failures)
    assert "alternating" == binding.method


def test_d8_short_grants_that_lead_nowhere_are_explained(live):
    """A phone behind another port with each attempt, as over a new connection, is nobody's whose turn could be told. It is granted
    a short time four times; then it is left where it is, and its row says why, and what to do, until it has settled."""
    site = live.site()
    phone = live.phone(site, BARESIP)
    attempt, ports = phone._attempt, iter(range(6000, 7000))

    def from_elsewhere() -> None:
        phone.flow.move(("203.0.113.7", next(ports)))
        attempt()

    site.clock.advance(1)
    phone._attempt = from_elsewhere
    phone.restart()
    site.clock.advance(200)
    (binding,) = site.registrar.bindings_for_aor(AOR)
    there = binding.upstream("fallback")
    assert [10] * 4 == [seconds for _, seconds in phone.grants[:-1]][-4:] and phone.grants[-1][1] > 3500
    assert ("unregistered", DOES_NOT_COME) == (there.state, there.reason)
    phone._attempt = attempt
    site.clock.advance(7200)
    assert ("registered", "") == (there.state, there.reason)
    assert [] == phone.failures


def run_only_first(site, phone) -> None:
    """At the first server alone, for as long as that grants; the other one is not asked any more."""
    while len(phone.grants) < PERIODS:
        site.clock.advance(10.0)
        assert keepers(site)[0].holds_one()
    assert [] == phone.failures
    assert (0, 1) == (keepers(site)[1].accepted, keepers(site)[1].requests)
    assert 3590 < phone.grants[-1][1]


def test_d8_first_only_goes_to_the_next_when_the_first_is_dead(live):
    site = live.site(challenge_method="first-only")
    phone = live.phone(site, BARESIP)
    site.clock.advance(12)
    site.primary.unreachable = True
    site.take_down(site.primary)
    site.clock.advance(3600)
    assert keepers(site)[1].holds_one()
    assert [] == phone.failures


def test_d8_serial_the_second_challenge_comes_at_once(live):
    """With stale=true; then both have it within the attempt, and the phone is granted what they grant."""
    site = live.site(challenge_method="serial")
    phone = live.phone(site, TWINKLE)
    site.clock.advance(12)
    run_periods(site, phone, 2)
    assert phone.grants[-1][1] > 3500
    assert phone.messages >= 3 * 2


def test_d8_shared_nonce(live):
    """The phone's one answer goes to all servers of the group, which take it."""
    site = live.site(shared_nonce=True)
    primary, fallback = keepers(site)
    fallback._issued = primary._issued
    accepts = Keeper._check
    primary._check = fallback._check = lambda credentials, request: (
        "good" if credentials.nonce in primary._issued else accepts(primary, credentials, request)
    )
    phone = live.phone(site, PJSUA)
    site.clock.advance(4)
    assert [200] == [status for status in phone.answers if status == 200]
    assert ["registered", "registered"] == [site.state("primary"), site.state("fallback")]
    assert 1 == len(set(phone.shown)) and phone.shown[0].startswith("primary")
    assert site.primary.authorizations[-1] == site.fallback.authorizations[-1] is not None
    run_periods(site, phone, 3)


@pytest.mark.parametrize("trusting", ["primary", "fallback"])
def test_d8_trusted(live, trusting):
    """D8, method 3: a trusted server is told as soon as another one has accepted the phone, and gets no credentials, also where
    it is the better one."""
    site = live.site(of_servers={trusting: {"trusted": True}})
    trusted = site.server(trusting)
    trusted.reply = accept()
    phone = live.phone(site, SOFIA)
    site.clock.advance(1)
    assert ["registered", "registered"] == [site.state("primary"), site.state("fallback")]
    assert [3600] == [seconds for _, seconds in phone.grants]
    site.clock.advance(20_000)
    assert {None} == set(trusted.authorizations)
    assert [] == phone.failures


def test_d8_nobody_is_registered_on_a_trusted_server_s_word_alone(live):
    """As long as another one lives that asks, however slow it is; when all of those are dead, its word has to do."""
    site = live.site(of_servers={"fallback": {"trusted": True}})
    site.fallback.reply = accept()
    site.primary.delay = 5.0
    stranger = live.phone(site, BARESIP, password="wrong")
    site.clock.advance(30)
    assert [] == site.fallback.requests
    stranger.switch_off()
    site.primary.unreachable = True
    site.take_down(site.primary)
    phone = live.phone(site, BARESIP, user="bob", port=5070)
    site.clock.advance(5)
    assert 200 == phone.answers[-1]


# Passwords


@pytest.mark.parametrize("method", ["alternating", "serial", "aggregate"])
@pytest.mark.parametrize("stack", STACKS, ids=lambda stack: stack.name)
def test_v16_a_wrong_password_for_the_second_server_costs_nothing_at_the_first(live, stack, method):
    """V16: failed there, and said so; the phone is told that it is registered, for so it is."""
    site = live.site(challenge_method=method, of_keepers={"fallback": {"password": "other"}})
    phone = live.phone(site, stack)
    site.clock.advance(400)
    before = len(phone.failures)
    primary, fallback = keepers(site)
    for _ in range(2000):
        site.clock.advance(10)
        assert primary.holds_one()
    assert before == len(phone.failures) <= 1
    (binding,) = site.registrar.bindings_for_aor(AOR)
    assert ("failed", "wrong password in the phone") == (site.state("fallback"), binding.upstream("fallback").reason)
    assert 1 <= fallback.wrong <= 15
    assert 0 == fallback.accepted


# Different realms


REALMS = {"primary": {"realm": "one"}, "fallback": {"realm": "two"}}


@pytest.mark.parametrize("stack", [BARESIP, PJSUA, TWINKLE], ids=lambda stack: stack.name)
def test_d8_different_realms(live, stack):
    """E4: phones that have the password for both answer one after the other."""
    site = live.site(of_keepers=REALMS)
    phone = live.phone(site, stack)
    site.clock.advance(12)
    run_periods(site, phone)
    assert [] == phone.failures


@pytest.mark.parametrize("stack", [LINPHONE, SOFIA], ids=lambda stack: stack.name)
def test_d8_a_phone_that_shows_its_last_answer_is_not_asked_for_another_realm(live, stack):
    """E4: linphone, challenged in another realm at a refresh, does not come again (a real one, seen for 80 s). It is known by the
    answer that it shows unasked; sofia shows it too, and shares its lot."""
    site = live.site(of_keepers=REALMS)
    phone = live.phone(site, stack)
    while len(phone.grants) < PERIODS:
        site.clock.advance(10)
        assert keepers(site)[0].holds_one()
    (binding,) = site.registrar.bindings_for_aor(AOR)
    assert "the phone seems to answer only realm one, not two" == binding.upstream("fallback").reason
    assert [] == phone.failures
    assert phone.grants[-1][1] > 3500


@pytest.mark.parametrize(
    ("method", "stack"),
    [(method, bound(stack, "one")) for method in ("alternating", "serial", "aggregate") for stack in (PJSUA, TWINKLE, BARESIP)]
    + [("serial", LINPHONE), ("aggregate", LINPHONE)],
    ids=lambda value: getattr(value, "name", value),
)
def test_d8_a_phone_for_one_realm_only_stays_at_that_server(live, stack, method):
    """E4, B2: it is challenged in vain once; then it stays registered at the primary, the reason is shown, and for a day nobody
    asks it again."""
    site = live.site(of_keepers=REALMS, challenge_method=method)
    phone = live.phone(site, stack)
    site.clock.advance(700)
    failures = len(phone.failures)
    primary, fallback = keepers(site)
    requests = fallback.requests
    while len(phone.grants) < PERIODS:
        site.clock.advance(10)
        assert primary.holds_one()
    (binding,) = site.registrar.bindings_for_aor(AOR)
    assert "the phone answers only realm one, not two" == binding.upstream("fallback").reason
    assert failures == len(phone.failures) <= 1
    assert requests == fallback.requests
    assert phone.grants[-1][1] > 3500
    assert binding.method in ("", "alternating" if method == "aggregate" else "")


# What phones do besides


def test_d8_a_restart_teaches_nothing(live):
    """A phone that is switched off between a challenge and its answer, or after a short grant, and begins anew."""
    site = live.site()
    phone = live.phone(site, BARESIP)
    for pause in (0.003, 2.0, 9.003, 300.0, 1500.0):
        site.clock.advance(pause)
        phone.switch_off()
        site.clock.advance(90.0)
        phone.restart()
    site.clock.advance(20)
    run_periods(site, phone, 5)
    (binding,) = site.registrar.bindings_for_aor(AOR)
    assert ("", "") == (binding.method, binding.method_reason)
    assert [] == phone.failures


def test_d8_a_phone_that_does_not_come_back_after_a_short_grant(live):
    """Twice too late with the same Call-ID: short grants are of no use, so it is registered at the first server only."""
    site = live.site()
    phone = live.phone(site, _Late("late"))
    site.clock.advance(12_000)
    (binding,) = site.registrar.bindings_for_aor(AOR)
    assert "first-only" == binding.method
    assert "alternating: the phone does not come back in the time that it is granted" == binding.method_reason
    for _ in range(2000):
        site.clock.advance(10)
        assert keepers(site)[0].holds_one()
    assert [] == phone.failures


class _Late(Stack):
    """Refreshes every 50 minutes, whatever it is granted."""

    def refresh_after(self, granted, rng):
        return 3000.0


@pytest.mark.parametrize("stack", STACKS, ids=lambda stack: stack.name)
def test_c6_a_server_that_never_has_enough_is_given_up(live, stack):
    """C5, C6, H1: challenges without end, whatever the phone answers. It is stopped, and stays registered where it is."""
    for stale in (True, False):
        site = live.site(of_keepers={"fallback": {"password": "other", "lifetime": -1.0 if stale else 1e9, "stale": stale}})
        phone = live.phone(site, stack)
        primary, fallback = keepers(site)
        site.clock.advance(400)
        for _ in range(1000):
            site.clock.advance(10)
            assert primary.holds_one()
        assert len(phone.failures) <= 1
        assert fallback.requests < 40
        phone.switch_off()


def test_d8_three_servers(live):
    """One after the other: two short grants, then each has its turn."""
    site = live.site(servers=3)
    phone = live.phone(site, PJSUA)
    site.clock.advance(30)
    run_periods(site, phone)
    assert [10, 10] == [seconds for _, seconds in phone.grants[:2]]
    assert 2 == sum(seconds == 10 for _, seconds in phone.grants)
    assert [] == phone.failures


@pytest.mark.parametrize("stack", STACKS, ids=lambda stack: stack.name)
@pytest.mark.parametrize("which", [0, 1])
def test_d8_a_server_dies_and_comes_back_empty(live, stack, which):
    """The phone goes on at the other one; back again, the dead one has its turn as soon as the phone comes by."""
    site = live.site()
    phone = live.phone(site, stack)
    site.clock.advance(30)
    server, other = site.servers[which], site.servers[1 - which]
    server.unreachable = True
    site.take_down(server)
    for _ in range(800):
        site.clock.advance(10)
        assert other.reply.holds_one()
    server.reply.held.clear()
    server.unreachable = False
    site.recover(server)
    for _ in range(400):
        site.clock.advance(10)
        assert other.reply.holds_one()
    assert server.reply.holds_one()
    assert [] == phone.failures


@pytest.mark.parametrize("wanted", [60, 90, 120])
@pytest.mark.parametrize("stack", STACKS, ids=lambda stack: stack.name)
def test_d8_short_registrations_are_back_at_a_server_that_returns(live, stack, wanted):
    """The living one is not always more urgent: the phone is granted so little meanwhile that it comes before that."""
    site = live.site()
    phones = [live.phone(site, stack, user=f"u{n}", port=6000 + n, wanted=wanted) for n in range(3)]
    site.clock.advance(100)
    site.primary.unreachable = True
    site.take_down(site.primary)
    site.clock.advance(300)
    site.primary.reply.held.clear()
    site.primary.unreachable = False
    site.recover(site.primary)
    site.clock.advance(600)
    now = site.clock.seconds()
    assert [3, 3] == [sum(until > now for until in keeper.held.values()) for keeper in keepers(site)]
    assert [[]] * 3 == [phone.failures for phone in phones]


def test_d18_phones_behind_other_ports_do_not_go_round_the_pace(live):
    """All phones are started again, behind a router that has lost its ports, while the primary gets them back."""
    site = live.site(resync_rate=5.0, resync_hold=5.0)
    phones = [live.phone(site, PJSUA, user=f"u{n}", port=6000 + n) for n in range(60)]
    site.clock.advance(60)
    primary, keeper = site.primary, site.primary.reply
    primary.unreachable = True
    site.take_down(primary)
    site.clock.advance(300)
    primary.unreachable = False
    start = site.clock.seconds()
    site.recover(primary)
    site.clock.advance(8)
    before = keeper.requests
    for n, phone in enumerate(phones):
        phone.flow.move(("203.0.113.7", 20000 + n))
        phone.restart()
    site.clock.advance(10)
    assert keeper.requests - before <= 5.0 * 10 * 1.2, site.clock.seconds() - start
    site.clock.advance(600)
    assert [60, 60] == [len(each.held) for each in keepers(site)]
    assert [[]] * 60 == [phone.failures for phone in phones]


def test_d12_phones_refresh_every_minute_and_servers_do_not(live):
    """phone_expires: the phone's rhythm is none of the servers'. Until one of them is due, no refresh concerns any."""
    site = live.site(phone_expires=60)
    phone = live.phone(site, BARESIP)
    site.clock.advance(70)
    (binding,) = site.registrar.bindings_for_aor(AOR)
    assert 60 == phone.grants[-1][1]
    dues = [binding.upstream(name).due_at - site.clock.seconds() for name in ("primary", "fallback")]
    assert all(2700 < due < 3500 for due in dues)
    assert min(dues) == pytest.approx(binding.quiet_until - site.clock.seconds())
    run_periods(site, phone, 100)
    assert [] == phone.failures


@pytest.mark.parametrize(
    ("stack", "keeper", "settings", "most"),
    [
        (PJSUA, {}, {"challenge_method": "first-only"}, 4),
        (LINPHONE, {"realm": "other"}, {}, 4),
        (bound(PJSUA, "example.com"), {"realm": "other"}, {}, 6),
        (PJSUA, {"password": "other"}, {}, 70),
    ],
    ids=["first-only", "two realms, linphone", "two realms, pjsua", "refused at the fallback"],
)
def test_d12_refreshes_of_a_phone_that_cannot_be_everywhere(live, stack, keeper, settings, most):
    """phone_expires: a server that the phone does not use, or is not to be tried at yet, is none that has to hear of it."""
    site = live.site(of_keepers={"fallback": keeper}, phone_expires=60, **settings)
    phone = live.phone(site, stack)
    site.clock.advance(300)
    before, refreshes = len(site.primary.requests), len(phone.grants)
    site.clock.advance(3600)
    assert len(phone.grants) - refreshes > 60
    assert 1 <= len(site.primary.requests) - before <= most
    assert site.primary.reply.holds_one()


def test_v16_a_refused_account_is_tried_when_its_time_has_come(live):
    """Though refreshes are answered from memory meanwhile."""
    site = live.site(of_keepers={"fallback": {"password": "other"}}, phone_expires=60)
    live.phone(site, PJSUA)
    site.clock.advance(300)
    (binding,) = site.registrar.bindings_for_aor(AOR)
    upstream = binding.upstream("fallback")
    assert "failed" == upstream.state and binding.quiet_until <= upstream.retry_at
    before = len(site.fallback.requests)
    for _ in range(120):  # how often a phone may show a wrong password at all is another rule (D8)
        site.clock.advance(60)
        if len(site.fallback.requests) > before:
            break
    assert len(site.fallback.requests) > before


@pytest.mark.parametrize("stack", STACKS, ids=lambda stack: stack.name)
def test_d8_turns_go_on_after_a_restart_of_the_appliance(live, stack):
    """What the servers want of the phone is known from the store, so the one whose turn it is not is left alone."""
    store = MemoryStore()
    site = live.site(store=store)
    phone = live.phone(site, stack)
    site.clock.advance(5000)
    again = live.site(store=store, clock=site.clock, wall=site.wall_clock())
    for server, keeper in zip(again.servers, keepers(site), strict=True):
        server.reply = keeper
    phone.site = again
    requests = [keeper.requests for keeper in keepers(again)]
    refreshes = len(phone.grants)
    while len(phone.grants) == refreshes:
        again.clock.advance(1.0)
    asked = [keeper.requests - before for keeper, before in zip(keepers(again), requests, strict=True)]
    assert stack.unasked >= min(asked)
    run_periods(again, phone)
    assert [] == phone.failures


def insists_on(keeper: Keeper, least: int):
    """That registrar, which says 423 to less than so many seconds, behind its digest check (as Asterisk's does)."""

    def reply(request):
        response = keeper(request)
        wanted = int(NameAddr.parse(request.get("Contact")).parameters["expires"])
        if response.status == 200 and 0 < wanted < least:
            keeper.held.clear()
            return Response.for_request(request, 423, to_tag="server", headers=[("Min-Expires", str(least))])
        return response

    return reply


@pytest.mark.parametrize("stack", STACKS, ids=lambda stack: stack.name)
def test_d8_a_423_behind_the_phone_s_answer_is_heeded_in_its_next_turn(live, stack):
    """The phone is told of what it has elsewhere, and never hears of the 423: the server is asked for more from then on."""
    site = live.site()
    keeper = site.fallback.reply
    site.fallback.reply = insists_on(keeper, 1800)
    phone = live.phone(site, stack, wanted=600)
    site.clock.advance(60)
    assert keeper.holds_one() and site.primary.reply.holds_one()
    asked = [int(NameAddr.parse(request.get("Contact")).parameters["expires"]) for _, request in site.fallback.requests]
    assert 600 == asked[0] and 1800 == asked[-1]
    assert [] == phone.failures


@pytest.mark.parametrize("stack", [LINPHONE, SOFIA], ids=lambda stack: stack.name)
def test_d8_aggregate_with_a_phone_that_shows_a_nonce_which_was_good_once(live, stack):
    """What it shows unasked is no answer: the new challenge goes to it together with the other server's."""
    of_keepers = {"primary": {"one_time": True, "stale": True}, "fallback": {"stale": True, "qop": False}}
    site = live.site(challenge_method="aggregate", of_keepers=of_keepers)
    phone = live.phone(site, stack, wanted=60)
    site.clock.advance(200)
    run_periods(site, phone)
    (binding,) = site.registrar.bindings_for_aor(AOR)
    assert "alternating" == binding.method and "only" in binding.method_reason


@pytest.mark.parametrize("stack", STACKS, ids=lambda stack: stack.name)
@pytest.mark.parametrize("granted", [3, 15])
@pytest.mark.parametrize("which", ["primary", "fallback"])
def test_d8_a_server_that_grants_very_little_is_not_worth_short_grants(live, stack, granted, which):
    site = live.site(of_keepers={which: {"granted": granted}})
    phone = live.phone(site, stack)
    site.clock.advance(3000)
    assert len(phone.grants) < 30 and [] == phone.failures
    assert min(seconds for _, seconds in phone.grants) >= 5
    (upstream,) = [one for one in site.registrar.bindings_for_aor(AOR)[0].upstreams if one.server == which]
    assert f"the server grants {granted} s only" in upstream.reason


def test_d8_with_no_other_server_its_few_seconds_are_told_but_not_less_than_five(live):
    site = live.site(of_keepers={"fallback": {"granted": 3}}, rise=1)
    phone = live.phone(site, BARESIP, wanted=60)
    site.clock.advance(30)
    site.primary.unreachable = True
    site.take_down(site.primary)
    start = site.clock.seconds()
    site.clock.advance(200)
    assert {5} == {seconds for at, seconds in phone.grants if at > start + 60}


# Phones that cannot answer the other realm: nobody loses service because we tried


SILENT = 1e9  # seconds: a phone that has failed once does not try again (twinkle, PJSIP)


def row_of(site) -> dict:
    [row] = site.registrar.describe(site.clock.seconds())["phones"]
    return row


def at_fallback(site) -> dict:
    return next(entry for entry in row_of(site)["servers"] if entry["server"] == "fallback")


@pytest.mark.parametrize("stack", [PJSUA, BARESIP], ids=lambda stack: stack.name)
def test_d8_a_trial_of_another_realm_costs_a_phone_of_one_realm_nothing(live, stack):
    """B2, B3: it gets both challenges in one answer, and answers its own: no failure is ever shown, though it would be silent for
    good behind one."""
    site = live.site(of_keepers=REALMS)
    phone = live.phone(site, replace(bound(stack, "one"), again=SILENT))
    primary, fallback = keepers(site)
    while len(phone.grants) < PERIODS:
        site.clock.advance(10)
        assert primary.holds_one()
    assert [] == phone.failures
    assert "the phone answers only realm one, not two" == at_fallback(site)["reason"]
    assert 3500 < phone.grants[-1][1]
    assert 2 == sum(seconds == 10 for _, seconds in phone.grants)
    assert fallback.requests <= 3


def failed_trial(live, **more):
    """A phone that looks at the last challenge only, with an account for realm one, and is silent behind the second trial."""
    site = live.site(of_keepers=REALMS, **more)
    phone = live.phone(site, replace(bound(TWINKLE, "one"), again=SILENT))
    site.clock.advance(60)
    assert 1 == len(phone.failures)
    return site, phone


def test_d8_a_phone_that_fails_is_reachable_as_long_as_the_primary_has_it(live):
    """Its short grant is over; calls from the primary find it, and its row says that it did not come."""
    site, _ = failed_trial(live)
    (binding,) = site.registrar.bindings_for_aor(AOR)
    for _ in range(340):
        assert binding is site.registrar.binding_for_token(binding.token)
        assert keepers(site)[0].holds_one()
        site.clock.advance(10)
    assert "registered" == site.state("primary")
    assert 3300 < row_of(site)["overdue_for"] < 3500
    assert "the phone so far answers only realm one, not two" == at_fallback(site)["reason"]
    site.clock.advance(300)
    assert [] == site.registrar.bindings_for_aor(AOR)


@pytest.mark.parametrize("pause", [60, 300])
@pytest.mark.parametrize("begins_anew", [True, False])
@pytest.mark.parametrize("killed", [True, False], ids=["appliance restarted", ""])
def test_d8_a_phone_that_comes_back_is_served_at_once(live, pause, begins_anew, killed):
    """Also when the appliance was restarted in between: it is not challenged in the other realm again, and has its full time."""
    store = MemoryStore()
    site, phone = failed_trial(live, store=store)
    if killed:
        again = live.site(store=store, clock=site.clock, wall=site.wall_clock())
        for server, keeper in zip(again.servers, keepers(site), strict=True):
            server.reply = keeper
        site = phone.site = again
    site.clock.advance(pause)
    assert 1 == len(site.registrar.bindings_for_aor(AOR))
    assert " only realm one, not two" in at_fallback(site)["reason"]
    fallback = keepers(site)[1]
    requests = fallback.requests
    if begins_anew:
        phone.restart()
    else:
        phone.switch_on()
    site.clock.advance(1)
    assert 200 == phone.answers[-1]
    assert killed or 3500 < phone.grants[-1][1]  # a server of which nothing is known since the start may want it back sooner
    while len(phone.grants) < PERIODS:
        site.clock.advance(10)
        assert keepers(site)[0].holds_one()
    assert fallback.requests == requests
    assert 1 == len(phone.failures)


def test_d8_what_was_learned_of_a_realm_counts_until_the_phone_begins_anew_a_day_later(live):
    """Then it may have been set up for the other realm."""
    site = live.site(of_keepers=REALMS)
    phone = live.phone(site, bound(PJSUA, "one"))
    site.clock.advance(2000)
    fallback = keepers(site)[1]
    phone.stack = PJSUA
    phone.restart()
    site.clock.advance(90_000)
    requests = fallback.requests
    assert 0 == fallback.accepted
    phone.restart()
    site.clock.advance(30)
    assert fallback.requests > requests
    assert "registered" == site.state("fallback")
    assert [] == phone.failures


def test_d8_a_server_that_changes_its_realm_is_asked_again(live):
    """It is seen by its challenge to another phone."""
    site = live.site(of_keepers=REALMS)
    phone = live.phone(site, bound(PJSUA, "one"))
    site.clock.advance(2000)
    keepers(site)[1].realm = "one"
    live.phone(site, BARESIP, user="bob", port=5070)
    site.clock.advance(30)
    phone.restart()
    site.clock.advance(30)
    assert "registered" == site.state("fallback")
    assert [] == phone.failures


def test_d8_a_dead_primary_does_not_bring_the_challenge_of_another_realm(live):
    """An answer of ours lets the phone try again; that challenge would silence it."""
    site = live.site(of_keepers=REALMS)
    phone = live.phone(site, bound(PJSUA, "one"))
    site.clock.advance(2000)
    fallback = keepers(site)[1]
    requests = fallback.requests
    site.primary.unreachable = True
    site.take_down(site.primary)
    phone.restart()
    site.clock.advance(40)
    assert 480 == phone.answers[-1]
    assert requests == fallback.requests


@pytest.mark.parametrize("agent", ["Linphone-Desktop/5.1 (belle-sip/5.2)", "LinphoneAndroid/4"])
def test_d8_one_realm_phones_are_never_asked_for_another(live, agent):
    """`one_realm`: by its User-Agent, before the first trial; its first grant is not short."""
    site = live.site(of_keepers=REALMS)
    phone = live.phone(site, replace(LINPHONE, unasked=False, again=SILENT, agent=agent))
    primary, fallback = keepers(site)
    while len(phone.grants) < PERIODS:
        site.clock.advance(10)
        assert primary.holds_one()
    assert [] == phone.failures
    assert 3590 < phone.grants[0][1]
    assert 1 == fallback.requests
    assert "the phone is of a kind that answers only realm one, not two" == at_fallback(site)["reason"]


def test_d8_one_realm_is_the_administrator_s(live):
    site = live.site(of_keepers=REALMS, one_realm=("Vendor*",))
    live.phone(site, replace(BARESIP, agent="linphone"))
    site.clock.advance(30)
    assert "registered" == site.state("fallback")
    one = live.site(of_keepers=REALMS, one_realm=("Vendor*",))
    live.phone(one, replace(BARESIP, agent="vendor 7"))
    one.clock.advance(30)
    assert "unregistered" == one.state("fallback")


def test_d8_another_realm_is_tried_only_when_the_phone_has_just_been_accepted(live):
    """The fallback appears in the middle of a long grant: the next refresh renews the primary, the one behind it is the trial."""
    site = live.site(of_keepers=REALMS)
    site.fallback.unreachable = True
    site.take_down(site.fallback)
    phone = live.phone(site, replace(bound(TWINKLE, "one"), again=SILENT))
    site.clock.advance(700)
    site.fallback.unreachable = False
    site.recover(site.fallback)
    primary, fallback = keepers(site)
    while not phone.failures and site.clock.seconds() < 20_000:
        site.clock.advance(1)
    assert primary.holds_one()
    assert max(primary.held.values()) - site.clock.seconds() > 3500
