"""Concurrent, successive and single registration on the wire: who is sent which REGISTER, in which order, and when."""

from __future__ import annotations

import pytest

from sbc.sip.digest import Credentials
from sbc.sip.headers import NameAddr
from tests.helpers.scripted_servers import DigestRegistrar, Phone, accept, refuse, silent

AOR = "sip:alice@example.com"
ACCOUNTS = ("alice", "example.com", "secret")


class Challenging(DigestRegistrar):
    """Each challenge has a nonce of its own, as real servers give them."""

    def __init__(self, name: str, granted: int | None = None, password: str = "secret") -> None:
        super().__init__("example.com", {"alice": password}, "", granted=granted)
        self.name = name
        self.counts_of: dict[str, list[int]] = {}

    def __call__(self, request):
        shown = request.get("Authorization")
        nonce = Credentials.parse(shown).nonce if shown else ""
        if nonce not in self.counts_of:
            nonce = f"{self.name}-{len(self.counts_of)}"
        self.nonce, self.counts = nonce, self.counts_of.setdefault(nonce, [])
        return super().__call__(request)


def with_passwords(site, granted=None) -> None:
    """Every server asks for the password."""
    for server in site.servers:
        server.reply = Challenging(server.name, granted)


def renew(phone, expires=3600) -> int:
    """The phone registers, and answers a challenge if it gets one."""
    phone.register(expires=expires)
    phone.site.clock.advance(0.1)
    if phone.answers[-1] == 401:
        phone.register(expires=expires, authorization=phone.answer_to(phone.last))
        phone.site.clock.advance(0.1)
    return phone.answers[-1]


def die(site, server) -> None:
    server.unreachable = True
    site.take_down(server)


def come_back(site, server) -> None:
    server.unreachable = False
    site.recover(server)


def story(site, since: float = 0.0) -> list[str]:
    """What all servers were sent, in order: `primary +` for a registration, `primary -` for a removal, with `?` when it was
    sent without credentials to a server that asks for them."""
    told = []
    for server in site.servers:
        for at, request in server.requests:
            contact = NameAddr.parse(request.get("Contact"))
            what = "-" if contact.parameters["expires"] == "0" else "+"
            asked = isinstance(server.reply, DigestRegistrar) and request.get("Authorization") is None
            if at >= since:
                told.append((at, f"{server.name} {what}{'?' if asked else ''}"))
    return [what for _, what in sorted(told, key=lambda entry: entry[0])]


def elapsed(site) -> float:
    return site.clock.seconds() - 1000.0


# Which servers are told


def test_concurrent_registers_at_all_at_once(make_site):
    """Y7, P4, P9."""
    site = make_site(servers=3, profile="polycom")
    assert 200 == renew(Phone(site))
    assert ["primary +", "fallback +", "third +"] == story(site)
    first, second, third = (server.requests[0][0] for server in site.servers)
    assert 0.0 == first and second == third <= 0.01


def test_register_false_is_never_registered_at(make_site):
    """P8: also not by the appliance itself, and not when everybody else is down."""
    site = make_site(profile="polycom", of_servers={"fallback": {"register": False}})
    assert 200 == renew(Phone(site))
    die(site, site.primary)
    site.clock.advance(200)
    renew(Phone(site))
    assert [] == site.fallback.requests


@pytest.mark.parametrize("registration", ["successive", "single"])
def test_server_2_sees_no_register_while_server_1_works(make_site, registration):
    """Y8, V11, S2: "one server at a time, working first"."""
    site = make_site(registration=registration)
    phone = Phone(site)
    for _ in range(3):
        assert 200 == renew(phone)
        site.clock.advance(1800)
    assert [] == site.fallback.requests
    assert ["primary +"] * 3 == story(site)


@pytest.mark.parametrize("registration", ["successive", "single"])
def test_y33_register_fallback(make_site, registration):
    """Y33, Y6, F6: REGISTER to working, retries (3), no response, REGISTER to fallback, 200."""
    site = make_site(registration=registration)
    site.primary.reply = silent
    phone = Phone(site)
    phone.register()
    site.clock.advance(8)
    assert [200] == phone.answers
    assert [0.0, 0.5, 1.5, 3.5] == site.primary.sends
    assert [7.5] == site.fallback.sends
    assert [None, "registered"] == [site.state("primary"), site.state("fallback")]


def test_y34_the_next_register_goes_back(make_site):
    """Y34: the working server answers again, so the phone's next REGISTER goes there."""
    site = make_site(profile="yealink", registration="successive")
    with_passwords(site)
    phone = Phone(site)
    renew(phone)
    die(site, site.primary)
    renew(phone)
    come_back(site, site.primary)
    start = elapsed(site)
    assert 200 == renew(phone)
    assert ["primary +?", "primary +"] == story(site, start)


def test_y37_every_register_tries_the_primary_first(make_site):
    """Y37, newRequests as the bulletin's phone does it, without our knowledge of who is down: primary x(1+3), then the
    secondary; the next REGISTER attempt the same."""
    site = make_site(profile="yealink", registration="successive", skip_down=False)
    site.primary.reply = silent
    phone = Phone(site)
    for _ in range(2):
        begin = elapsed(site)
        phone.register()
        site.clock.advance(20)
        assert [0.0, 0.5, 1.5, 3.5] == [at - begin for at in site.primary.sends[-4:]]
        assert 7.5 == site.fallback.sends[-1] - begin
    assert [200, 200] == phone.answers


def test_s1_s2_both_kinds_of_84_series(make_site):
    """S1: without DNS at both servers at once; S2: with DNS an array, one at a time. The parameters are those of Polycom."""
    both = make_site(profile="polycom", registration="concurrent")
    one = make_site(profile="polycom", registration="successive")
    renew(Phone(both))
    renew(Phone(one))
    assert (["primary +", "fallback +"], ["primary +"]) == (story(both), story(one))


# Failback: what becomes of the registration that is left


def test_v3_removed_at_the_old_server_then_registered_at_the_better(make_site, password_file):
    """V3, V2, X3, D20: the appliance has the password, so it moves the registration at once, in this order."""
    site = make_site(
        registration="single", max_expires=300, failback_hold=0, rise=1, credentials=password_file(ACCOUNTS)
    )
    with_passwords(site)
    phone = Phone(site)
    die(site, site.primary)
    assert 200 == renew(phone)
    start = elapsed(site)
    come_back(site, site.primary)
    site.clock.advance(5)
    # Of the fallback the appliance knows no nonce of its own, so it is asked first; so is the primary.
    assert ["fallback -?", "fallback -", "primary +?", "primary +"] == story(site, start)
    assert ["registered", "unregistered"] == [site.state("primary"), site.state("fallback")]


def test_v2_failover_moves_the_registration_at_once(make_site, password_file):
    """V2, Y33: to the highest available; the phone needs not renew for it. The dead one gets no removal."""
    site = make_site(registration="single", credentials=password_file(ACCOUNTS))
    with_passwords(site)
    phone = Phone(site)
    assert 200 == renew(phone)
    start = elapsed(site)
    die(site, site.primary)
    site.clock.advance(5)
    assert ["fallback +?", "fallback +"] == story(site, start)
    assert "registered" == site.state("fallback")
    call_ids = {request.call_id for _, request in site.fallback.requests}
    assert 1 == len(call_ids) and not call_ids & {phone.call_id, *(r.call_id for _, r in site.primary.requests)}


def test_a_failback_that_was_asked_for_moves_the_registrations(make_site, password_file):
    """V3: `sbc failback` is a failback as any other, whatever the mode."""
    site = make_site(
        registration="single",
        rise=1,
        of_servers={name: {"failback_mode": "manual"} for name in ("primary", "fallback")},
        credentials=password_file(ACCOUNTS),
    )
    with_passwords(site)
    phone = Phone(site)
    die(site, site.primary)
    assert 200 == renew(phone)
    come_back(site, site.primary)
    site.clock.advance(5)
    start = elapsed(site)
    assert site.group.fail_back(site.clock.seconds())[0]
    site.clock.advance(5)
    assert ["fallback -?", "fallback -", "primary +?", "primary +"] == story(site, start)
    assert ["registered", "unregistered"] == [site.state("primary"), site.state("fallback")]


@pytest.mark.parametrize("profile, registration", [("polycom", "successive"), ("yealink", "successive")])
def test_p23_the_registration_at_server_2_is_left_to_expire(make_site, password_file, profile, registration):
    """P23 (pre-2.1), and Yealink, whose bulletin names no removal."""
    site = make_site(profile=profile, registration=registration, credentials=password_file(ACCOUNTS))
    with_passwords(site, granted=600)
    phone = Phone(site)
    die(site, site.primary)
    renew(phone)
    start = elapsed(site)
    come_back(site, site.primary)
    if profile == "polycom":  # there it is the REGISTER that brings it back (P12)
        renew(phone)
    site.clock.advance(5)
    assert "fallback -" not in story(site, start)
    assert ["registered", "registered"] == [site.state("primary"), site.state("fallback")]
    site.clock.advance(300)
    renew(phone)
    site.clock.advance(297)
    assert ["registered", "unregistered"] == [site.state("primary"), site.state("fallback")]


def test_p13_concurrent_keeps_the_registration_at_server_2(make_site, password_file):
    """P13, and deregister_on_failback means nothing to concurrent registration."""
    site = make_site(profile="polycom", deregister_on_failback=True, credentials=password_file(ACCOUNTS))
    with_passwords(site)
    phone = Phone(site)
    die(site, site.primary)
    renew(phone)
    come_back(site, site.primary)
    renew(phone)
    site.clock.advance(100)
    assert not any("-" in what for what in story(site))
    assert ["registered", "registered"] == [site.state("primary"), site.state("fallback")]


def test_without_the_password_the_phone_s_next_refresh_moves(make_site):
    """V15: it comes within 300 s, because no more was granted. Then the old server is told, and as it wants a password that
    only the phone knows, the registration there is shown as what it is: not removed."""
    site = make_site(registration="single", max_expires=300, failback_hold=0, rise=1)
    with_passwords(site)
    phone = Phone(site)
    renew(phone)
    die(site, site.primary)
    assert 200 == renew(phone)
    assert "300" == NameAddr.parse(phone.last.get("Contact")).parameters["expires"]
    start = elapsed(site)
    come_back(site, site.primary)
    site.clock.advance(100)
    assert [] == story(site, start)
    assert 200 == renew(phone)
    site.clock.advance(1)
    assert ["primary +?", "primary +", "fallback -?"] == story(site, start)
    (binding,) = site.registrar.bindings_for_aor(AOR)
    left = binding.upstream("fallback")
    assert ("registered", "not removed: asks for a password that only the phone knows") == (left.state, left.reason)
    site.clock.advance(200)
    assert "unregistered" == site.state("fallback")


def test_without_the_password_but_trusted_the_appliance_moves_it(make_site):
    """D8, method 3: servers that do not ask. That the primary does not is known once it has taken somebody; nobody is
    removed at one server to be refused at the other."""
    site = make_site(registration="single", failback_hold=0, rise=1)
    die(site, site.primary)
    renew(Phone(site))
    renew(Phone(site, user="bob", port=5063))
    start = elapsed(site)
    come_back(site, site.primary)
    site.clock.advance(5)
    assert ["primary +", "fallback -", "fallback -", "primary +"] == story(site, start)


def test_nobody_is_moved_before_the_hold_is_over(make_site):
    """D18: the registrations follow the working server, which returns after `failback_hold`."""
    site = make_site(registration="single", failback_hold=60)
    die(site, site.primary)
    renew(Phone(site))
    come_back(site, site.primary)
    site.clock.advance(59)
    site.group.advance(site.clock.seconds())
    site.clock.advance(0.5)
    assert "registered" == site.state("fallback")
    site.clock.advance(1)
    site.group.advance(site.clock.seconds())
    site.clock.advance(1)
    assert ["registered", "unregistered"] == [site.state("primary"), site.state("fallback")]


def test_old_server_that_does_not_answer_the_removal_holds_nothing_up(make_site):
    """It gets its retries (table a.0), and is asked again later."""
    site = make_site(registration="single", failback_hold=0, rise=1)
    bob, phone = Phone(site, user="bob", port=5063), Phone(site)
    renew(bob)
    die(site, site.primary)
    renew(phone)
    come_back(site, site.primary)
    site.clock.advance(5)
    renew(bob, expires=0)
    die(site, site.primary)
    site.clock.advance(5)
    site.fallback.reply = silent
    start = elapsed(site)
    come_back(site, site.primary)
    site.clock.advance(8)
    assert ["fallback -", "primary +"] == story(site, start)
    assert 7.5 == round(site.primary.requests[-1][0] - start, 3)
    assert "registered" == site.state("primary")
    site.fallback.reply = accept()
    site.recover(site.fallback)
    site.clock.advance(5)
    assert ["fallback -", "primary +", "fallback -"] == story(site, start)
    assert "unregistered" == site.state("fallback")


def test_the_phone_s_own_removal_ends_what_is_under_way(make_site):
    site = make_site(registration="single", failback_hold=0, rise=1)
    die(site, site.primary)
    phone = Phone(site)
    renew(phone)
    site.primary.reply = silent
    come_back(site, site.primary)
    site.clock.advance(0.2)
    site.primary.reply = accept()
    assert 200 == renew(phone, expires=0)
    site.clock.advance(60)
    assert ["fallback +", "primary +", "primary -", "fallback -"] == story(site)
    assert {} == site.registrar.upkeep.duties == site.registrar.upkeep.missed.entries


def test_d13_a_removal_is_replayed_when_the_server_is_back(make_site):
    """D13: to every server that may hold it, before anything else; unless the phone has registered again."""
    site = make_site(servers=3)
    alice, bob = Phone(site), Phone(site, user="bob", port=5063)
    renew(alice)
    renew(bob)
    die(site, site.fallback)
    assert (200, 200) == (renew(alice, expires=0), renew(bob, expires=0))
    site.clock.advance(100)
    renew(bob)
    site.clock.advance(50)
    start = elapsed(site)
    come_back(site, site.fallback)
    site.clock.advance(2)
    told = [(request.get("To"), request.get("Expires")) for at, request in site.fallback.requests if at >= start]
    assert [("<sip:alice@example.com>", "0"), ("<sip:bob@example.com>", "3550")] == [
        (to, expires) for to, expires in told
    ]


def test_d13_a_removal_that_was_missed_is_forgotten_when_it_lapses(make_site):
    site = make_site()
    phone = Phone(site)
    renew(phone)
    die(site, site.fallback)
    renew(phone, expires=0)
    site.clock.advance(3599)
    assert 1 == len(site.registrar.upkeep.missed.entries)
    site.clock.advance(2)
    assert {} == site.registrar.upkeep.missed.entries
    assert {} == site.registrar.upkeep.duties


def test_many_phones_follow_one_by_one(make_site):
    """D18: one canary, and when it is accepted at most five a second."""
    site = make_site(registration="successive")
    phones = [Phone(site, user=f"u{number}", port=5100 + number) for number in range(20)]
    for phone in phones:
        renew(phone)
    start = elapsed(site)
    die(site, site.primary)
    site.clock.advance(10)
    times = [at - start for at, _ in site.fallback.requests]
    assert 20 == len(times)
    assert [0.0, 0.2, 0.4, 0.6] == [round(at, 3) for at in times[:4]]
    assert 3.8 == round(times[-1], 3)


# Accounts that a server does not want


@pytest.mark.parametrize("registration", ["concurrent", "successive", "single"])
@pytest.mark.parametrize("status", [403, 404])
def test_v16_a_refused_account_is_failed_apart_from_the_server(make_site, registration, status):
    """V16: per AOR; the server is up for all others; the independent fallback takes the phone."""
    site = make_site(registration=registration)
    site.primary.reply = lambda request: (
        refuse(status)(request) if "alice" in request.get("To") else accept()(request)
    )
    alice, bob = Phone(site), Phone(site, user="bob", port=5063)
    assert (200, 200) == (renew(alice), renew(bob))
    site.clock.advance(1)
    assert "registered" == site.state("fallback")
    assert "registered" == site.state("primary", user="bob")
    assert "up" == site.group.health(site.primary.candidate).state.value
    assert site.primary.candidate == site.group.working(site.clock.seconds())


def test_v16_is_shown_and_tried_again_with_back_off(make_site):
    """V16: *failed* in the status, tried again after 30 to 60 s and then ever later; back when the server takes it."""
    site = make_site(registration="successive", register_retry_base=30)
    site.primary.reply = refuse(403, "Not This One")
    phone = Phone(site)
    renew(phone)
    renew(phone)  # with the binding there is something to show it at
    described = site.registrar.describe(site.clock.seconds())["phones"][0]
    shown = {entry["server"]: (entry["state"], entry["reason"]) for entry in described["servers"]}
    assert {"primary": ("failed", "403 Not This One"), "fallback": ("registered", "")} == shown
    assert "fallback" == described["working"]
    before = [at for at, _ in site.primary.requests]
    site.clock.advance(400)
    tries = [at for at, _ in site.primary.requests][len(before) :]
    gaps = [later - earlier for earlier, later in zip([before[-1], *tries], tries, strict=False)]
    assert 30 <= gaps[0] <= 61 and 60 <= gaps[1] <= 121 and 120 <= gaps[2] <= 241
    assert [] == [at for at, _ in site.fallback.requests if at > before[-1] + 1]
    site.primary.reply = accept()
    site.clock.advance(1000)
    assert "registered" == site.state("primary")


def test_v16_wrong_password_of_ours(make_site, password_file):
    """V16: 401 after credentials. The password file is wrong, so the account is failed at that server."""
    site = make_site(credentials=password_file(ACCOUNTS))
    with_passwords(site)
    site.fallback.reply = Challenging("fallback", password="other")
    phone = Phone(site)
    renew(phone)
    site.clock.advance(1)
    assert ["registered", "failed"] == [site.state("primary"), site.state("fallback")]


# All down (F9)


def test_f9_each_server_n_times_and_the_last_as_long_as_the_phone_waits(make_site):
    """F9, D1: 7.5 s, and then what is left of the phone's 32 s; a clear answer before they are over."""
    site = make_site(registration="successive")
    for server in site.servers:
        server.reply = silent
    phone = Phone(site)
    phone.register()
    site.clock.advance(32)
    assert [0.0, 0.5, 1.5, 3.5] == site.primary.sends
    assert [7.5, 8.0, 9.0, 11.0, 15.0, 19.0, 23.0, 27.0] == site.fallback.sends
    assert [480] == phone.answers
    assert 31.0 == phone.flow.sent[-1][0] - 1000.0
    assert "No Registrar Answers" == phone.last.reason


# F5: what makes the next REGISTER go elsewhere


@pytest.mark.parametrize("method", ["REGISTER", "OPTIONS", "CANCEL"])
def test_f5_triggers_of_register_failover(make_site, method):
    """F5: registration timeout, OPTIONS or CANCEL timeout."""
    from sbc.redundancy.outcome import TimedOut

    site = make_site(registration="successive", fall=1)
    phone = Phone(site)
    renew(phone)
    site.group.observe(site.primary.candidate, TimedOut(4), site.clock.seconds(), method)
    start = elapsed(site)
    site.clock.advance(1)
    assert ["fallback +"] == story(site, start)
    assert 200 == renew(phone)
    assert "primary +" not in story(site, start)


# P7


@pytest.mark.parametrize("registration", ["concurrent", "successive"])
def test_p7_the_working_server_of_a_phone(make_site, registration):
    """P7, P12, V24: the best one where it is registered; shown in the status of each phone."""
    site = make_site(registration=registration, failback_hold=0, rise=1)
    phone = Phone(site)

    def working():
        return site.registrar.describe(site.clock.seconds())["phones"][0]["working"]

    renew(phone)
    assert "primary" == working()
    die(site, site.primary)
    (binding,) = site.registrar.bindings_for_aor(AOR)
    site.clock.advance(3000)
    renew(phone)
    site.clock.advance(1000)
    assert "fallback" == working()
    come_back(site, site.primary)
    site.clock.advance(5)
    assert "primary" == working()
    assert binding in site.registrar.bindings_for_aor(AOR)
