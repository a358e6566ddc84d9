"""A server that comes back, or comes back empty, gets its registrations again (D13, D18, D20), on the wire."""

from __future__ import annotations

import pytest

from sbc.events import RemovalLeftOut, Resynchronised
from sbc.sip.headers import NameAddr
from tests.helpers.scripted_servers import Phone, accept, refuse, silent
from tests.registration.test_modes import ACCOUNTS, Challenging, come_back, die, elapsed, renew, story, with_passwords
from tests.registration.test_upkeep import reload, times

ONLY_THE_PHONE = "asks for a password that only the phone knows"


def registered(site, number: int, **phone) -> list[Phone]:
    """So many phones, `u0` ..."""
    phones = [Phone(site, user=f"u{n}", port=5100 + n, **phone) for n in range(number)]
    for each in phones:
        assert 200 == renew(each)
    return phones


def told(server, since: float) -> list[str]:
    """The phones that this server was told of, with `-` where they were removed."""
    found = []
    for at, request in server.requests:
        if at >= since:
            gone = NameAddr.parse(request.get("Contact")).parameters["expires"] == "0"
            found.append(request.to.uri.user + ("-" if gone else ""))
    return found


def under_way(site) -> list[dict]:
    return site.registrar.upkeep.resyncs.describe(site.clock.seconds())


def command(site, server="fallback", group=None, rate=None) -> dict:
    return site.registrar.upkeep.resyncs.by_command(server, group, rate)


# Hold, canary, pace


def test_d18_1_held_down_before_anybody_is_registered_again(make_site):
    """`resync_hold` seconds after it is called up; one that dies in between begins anew."""
    site = make_site(rise=1, resync_hold=30)
    registered(site, 3)
    die(site, site.fallback)
    site.clock.advance(100)
    start = elapsed(site)
    come_back(site, site.fallback)
    site.clock.advance(20)
    assert ["holding"] == [each["phase"] for each in under_way(site)]
    die(site, site.fallback)
    site.clock.advance(5)
    assert [] == under_way(site)
    come_back(site, site.fallback)
    site.clock.advance(29.9)
    assert [] == times(site.fallback, start)
    site.clock.advance(0.2)
    assert ["u0"] == told(site.fallback, start)
    site.clock.advance(1)
    assert ["u0", "u1", "u2"] == told(site.fallback, start)
    assert [] == under_way(site)
    assert [("fallback", 3)] == [(e.server, e.phones) for e in site.events if isinstance(e, Resynchronised)]


def test_d18_2_a_canary_that_fails_is_followed_by_another_one_later(make_site):
    """A server that is up and registers nobody is not stormed."""
    site = make_site(rise=1, register_retry_base=30)
    registered(site, 20)
    die(site, site.fallback)
    site.clock.advance(100)
    site.fallback.reply = refuse(500)
    site.fallback.unreachable = False
    start = elapsed(site)
    for _ in range(60):
        site.recover(site.fallback)  # OPTIONS go on well
        site.clock.advance(10)
    seen = told(site.fallback, start)
    assert 3 <= len(set(seen)) and len(seen) <= 12
    site.fallback.reply = accept()
    site.clock.advance(2000)
    assert {f"u{n}" for n in range(20)} <= set(told(site.fallback, start))


@pytest.mark.parametrize("status", [403, 404])
def test_d18_2_a_server_without_accounts_is_asked_a_few_times_only(make_site, status):
    """It has come back with an empty database: each phone's refusal is the account's (V16), and the others wait."""
    site = make_site(rise=1)
    registered(site, 50)
    die(site, site.fallback)
    site.clock.advance(100)
    site.fallback.reply = refuse(status)
    start = elapsed(site)
    come_back(site, site.fallback)
    site.clock.advance(120)
    assert 3 <= len(set(told(site.fallback, start))) <= 10
    assert len(told(site.fallback, start)) <= 20
    site.fallback.reply = accept()
    site.clock.advance(120)
    assert 40 <= len(set(told(site.fallback, start)))


def test_d18_3_halved_by_503_and_risen_again(make_site):
    site = make_site(rise=1, resync_rate=4, status_health={"503": "none"})
    registered(site, 300)
    die(site, site.fallback)
    site.clock.advance(100)
    start = elapsed(site)
    come_back(site, site.fallback)
    site.clock.advance(5)
    assert 4.0 == under_way(site)[0]["rate"]
    site.fallback.reply = refuse(503)
    site.clock.advance(2)
    assert under_way(site)[0]["rate"] <= 2
    site.fallback.reply = accept()
    site.clock.advance(65)
    assert 4.0 == under_way(site)[0]["rate"]
    site.clock.advance(200)
    assert {f"u{n}" for n in range(300)} <= set(told(site.fallback, start))
    assert [] == under_way(site)


def test_d18_4_the_important_ones_first(make_site):
    site = make_site(rise=1, importance={"emergency": ("u7", "u3@example.com"), "reception": ("u1?",)})
    registered(site, 12)
    die(site, site.fallback)
    site.clock.advance(100)
    start = elapsed(site)
    come_back(site, site.fallback)
    site.clock.advance(5)
    assert ["u3", "u7", "u10", "u11", "u0", "u1", "u2"] == told(site.fallback, start)[:7]


def test_requests_are_counted_where_the_server_challenges(make_site, password_file):
    """Two for each phone: with 4 in a second, two phones."""
    users = [(f"u{n}", "example.com", "secret") for n in range(20)]
    site = make_site(rise=1, resync_rate=4, credentials=password_file(*users))
    for server in site.servers:
        server.reply = Challenging(server.name)
        server.reply.passwords.update((user, password) for user, _, password in users)
    registered(site, 20)
    die(site, site.fallback)
    site.clock.advance(100)
    site.fallback.reply = Challenging("again")
    site.fallback.reply.passwords.update((user, password) for user, _, password in users)
    start = elapsed(site)
    come_back(site, site.fallback)
    site.clock.advance(10.4)
    assert len(times(site.fallback, start)) == pytest.approx(41, abs=3)
    site.clock.advance(1)
    assert all("registered" == site.state("fallback", f"u{n}") for n in range(20))


@pytest.mark.parametrize("registration", ["successive", "single"])
def test_d20_a_failback_follows_the_same_rules(make_site, registration):
    """The registrations move to the better server when new requests do; hold and canary are for them too."""
    site = make_site(registration=registration, rise=1, failback_hold=0, resync_hold=20)
    site.clock.advance(1)
    die(site, site.primary)
    registered(site, 5)
    start = elapsed(site)
    come_back(site, site.primary)
    site.clock.advance(19)
    assert [] == story(site, start)
    site.clock.advance(1.05)
    assert ["u0"] == told(site.primary, start)
    site.clock.advance(5)
    assert [f"u{n}" for n in range(5)] == told(site.primary, start)
    assert 5 == len([what for what in story(site, start) if what == "fallback -"])


def test_d18_what_may_be_lost_is_shown_and_outlives_a_restart(make_site):
    """A kill in the middle: the next process goes on with those that were left."""
    site = make_site(rise=1, resync_rate=1)
    registered(site, 5)
    die(site, site.fallback)
    site.clock.advance(100)
    come_back(site, site.fallback)
    site.clock.advance(2.5)
    left = [f"u{n}" for n in range(5) if site.state("fallback", f"u{n}") != "registered"]
    assert ["u3", "u4"] == left
    (binding,) = site.registrar.bindings_for_aor("sip:u4@example.com")
    assert "the server was away and may have lost it" == binding.upstream("fallback").reason
    site.registrar.close()
    again = make_site(rise=1, resync_rate=1, store=site.store)
    again.clock.advance(5)
    assert ["u3", "u4"] == told(again.fallback, 0)


def test_a_server_that_dies_again_is_left_in_peace(make_site):
    site = make_site(rise=1, resync_rate=2)
    registered(site, 30)
    die(site, site.fallback)
    site.clock.advance(100)
    come_back(site, site.fallback)
    site.clock.advance(3)
    die(site, site.fallback)
    assert under_way(site)
    site.clock.advance(0.1)
    assert [] == under_way(site)
    start = elapsed(site)
    site.clock.advance(300)
    assert len(times(site.fallback, start)) < 10
    come_back(site, site.fallback)
    site.clock.advance(20)
    assert all("registered" == site.state("fallback", f"u{n}") for n in range(30))


def test_a_changed_configuration_goes_on_with_it(make_site):
    site = make_site(rise=1, resync_rate=1)
    registered(site, 5)
    die(site, site.fallback)
    site.clock.advance(100)
    start = elapsed(site)
    come_back(site, site.fallback)
    site.clock.advance(1.5)
    reload(site, register_wait=1.5)
    site.clock.advance(10)
    assert [f"u{n}" for n in range(5)] == told(site.fallback, start)
    site.registrar.set_groups([])
    assert [] == under_way(site)


def test_phones_that_leave_meanwhile_are_not_waited_for(make_site):
    site = make_site(rise=1, resync_rate=1)
    phones = registered(site, 5)
    die(site, site.fallback)
    site.clock.advance(100)
    come_back(site, site.fallback)
    site.clock.advance(0.5)
    for phone in phones:
        renew(phone, expires=0)
    site.clock.advance(5)
    assert [] == under_way(site)


# Removals


def test_d13_removals_are_replayed_before_the_hold_is_over(make_site):
    """D13: before anything else: calls would come in for a phone that is gone."""
    site = make_site(rise=1, resync_hold=30)
    phones = registered(site, 4)
    die(site, site.fallback)
    for phone in phones[:2]:
        renew(phone, expires=0)
    site.clock.advance(100)
    start = elapsed(site)
    come_back(site, site.fallback)
    site.clock.advance(5)
    assert ["u0-", "u1-"] == told(site.fallback, start)
    site.clock.advance(30)
    assert ["u0-", "u1-", "u2", "u3"] == told(site.fallback, start)


def test_d13_a_contact_star_is_replayed_as_well(make_site):
    """D13: rewritten to the contacts that we manage, at the server that was down too."""
    site = make_site(rise=1)
    one, other = Phone(site, port=5101), Phone(site, port=5102)
    renew(one)
    renew(other)
    die(site, site.fallback)
    one.register(contact="*", expires=0)
    site.clock.advance(1)
    assert 200 == one.answers[-1]
    start = elapsed(site)
    come_back(site, site.fallback)
    site.clock.advance(5)
    assert ["alice-", "alice-"] == told(site.fallback, start)
    contacts = {request.get("Contact") for at, request in site.fallback.requests if at >= start}
    assert 2 == len(contacts) and "*" not in contacts


@pytest.mark.parametrize("is_back", [False, True])
def test_d13_removals_survive_a_kill(make_site, is_back):
    """On disk before the phone has its 200; replayed by the next process, whether the server is back when it starts or later."""
    site = make_site(rise=1)
    (phone,) = registered(site, 1)
    die(site, site.fallback)
    renew(phone, expires=0)  # and no `close`: killed
    again = make_site(rise=1, store=site.store)
    if not is_back:
        again.take_down(again.fallback)
        again.clock.advance(60)
        assert [] == told(again.fallback, 0)
        come_back(again, again.fallback)
    again.clock.advance(5)
    assert ["u0-"] == told(again.fallback, 0)
    again.registrar.close()
    third = make_site(rise=1, store=site.store)
    third.clock.advance(60)
    assert [] == told(third.fallback, 0)


def test_d13_a_server_that_asks_for_a_password_cannot_be_told(make_site):
    """Only the phone knows it, and the phone has gone: it lapses there. Said once, and shown."""
    site = make_site(rise=1)
    with_passwords(site)
    site.fallback.reply = accept()
    phone = Phone(site)
    renew(phone)
    die(site, site.fallback)
    renew(phone, expires=0)
    site.clock.advance(100)
    site.fallback.reply = Challenging("fallback")
    start = elapsed(site)
    come_back(site, site.fallback)
    site.clock.advance(1000)
    assert ["alice-"] == told(site.fallback, start)
    (left_out,) = [event for event in site.events if isinstance(event, RemovalLeftOut)]
    assert ("fallback", "sip:alice@example.com", ONLY_THE_PHONE) == (left_out.server, left_out.aor, left_out.reason)
    (shown,) = site.registrar.upkeep.missed.describe(site.clock.seconds())
    assert (ONLY_THE_PHONE, "fallback") == (shown["reason"], shown["server"])
    assert 2400 < shown["lapses_in"] < 2600
    site.clock.advance(2600)
    assert [] == site.registrar.upkeep.missed.describe(site.clock.seconds())


def test_d13_removals_come_at_the_pace(make_site):
    """An office that has closed while a server was down."""
    site = make_site(rise=1, resync_rate=10)
    phones = registered(site, 60)
    die(site, site.fallback)
    for phone in phones:
        renew(phone, expires=0)
    start = elapsed(site)
    come_back(site, site.fallback)
    site.clock.advance(30)
    at = times(site.fallback, start - 1e-6)
    assert 60 == len(at)
    assert at[-1] - at[0] == pytest.approx(5.9, abs=0.3)


def test_a_server_that_fails_to_remove_is_asked_again(make_site):
    site = make_site(rise=1, register_retry_base=10)
    phones = registered(site, 2)
    die(site, site.fallback)
    renew(phones[0], expires=0)
    site.fallback.reply = silent
    start = elapsed(site)
    come_back(site, site.fallback)
    site.clock.advance(35)
    site.fallback.reply = accept()
    site.recover(site.fallback)
    site.clock.advance(60)
    assert "u0-" in told(site.fallback, start) and "u1" in told(site.fallback, start)
    assert {} == site.registrar.upkeep.missed.entries


# Phones whose password only they know


def asking_site(make_site, **settings):
    """The fallback trusts our address, the primary asks: of the primary only the phones can be registered."""
    site = make_site(rise=1, **settings)
    site.primary.reply = Challenging("primary")
    return site


def grants(site, user="alice", number=200) -> list[float]:
    (binding,) = site.registrar.bindings_for_aor(f"sip:{user}@example.com")
    return [site.registrar.upkeep.longest_grant(binding, site.clock.seconds()) for _ in range(number)]


def test_d18_5_while_a_server_is_down_phones_are_to_come_by_within_two_minutes(make_site):
    """D18 (5): 120 s, of which 50 to 100 % by lot; not longer than that, and no limit once all is well."""
    site = asking_site(make_site)
    phone = Phone(site)
    renew(phone)
    assert {float("inf")} == set(grants(site))
    die(site, site.primary)
    site.clock.advance(1)
    found = grants(site)
    assert 60 <= min(found) < 70 and 110 < max(found) <= 120
    come_back(site, site.primary)
    site.clock.advance(1)
    assert 20 <= min(grants(site)) and max(grants(site)) <= 120, "when its turn will be"
    renew(phone)
    site.clock.advance(1)
    assert "registered" == site.state("primary") and {float("inf")} == set(grants(site))


def test_d18_5_not_where_the_refreshes_would_go_to_the_fallback(make_site):
    """Without `refresh_check` each of them costs the fallback a REGISTER. Then they are told when it is back, and so that they
    come at its rate."""
    site = asking_site(make_site, refresh_check="off", resync_rate=1)
    phones = [Phone(site, user="alice", port=5100 + n) for n in range(3)]
    for phone in phones:
        renew(phone)
    die(site, site.primary)
    site.clock.advance(1)
    (binding, *_) = site.registrar.bindings_for_aor("sip:alice@example.com")
    longest = site.registrar.upkeep.longest_grant
    assert float("inf") == longest(binding, site.clock.seconds())
    come_back(site, site.primary)
    site.clock.advance(1)
    # Half to all of two minutes by lot, and the place behind that: two REGISTERs, and it comes after nine tenths of its time.
    assert 60 <= longest(binding, site.clock.seconds()) <= 120 + 2 / 0.9


def test_d18_5_not_for_phones_that_we_can_register(make_site, password_file):
    site = make_site(rise=1, credentials=password_file(ACCOUNTS))
    with_passwords(site)
    renew(Phone(site))
    die(site, site.primary)
    site.clock.advance(1)
    assert {float("inf")} == set(grants(site))


def test_d18_5_let_through_at_the_pace_when_they_come_by(make_site):
    """`admits`, and `wants` before it: the most important first."""
    site = asking_site(make_site, resync_rate=1, importance={"first": ("carol",)})
    for n, user in enumerate(("alice", "bob", "carol")):
        phone = Phone(site, user=user, port=5100 + n)
        site.primary.reply.passwords[user] = "secret"
        renew(phone)
    die(site, site.primary)
    site.clock.advance(10)
    come_back(site, site.primary)
    site.clock.advance(1)
    upkeep, now = site.registrar.upkeep, site.clock.seconds()
    alice, bob, carol = (site.registrar.bindings_for_aor(f"sip:{user}@example.com")[0] for user in ("alice", "bob", "carol"))
    assert [True] * 3 == [upkeep.wants(each, now) for each in (alice, bob, carol)]
    assert upkeep.admits(carol, "primary", now)
    assert [False, False, True] == [upkeep.wants(each, now) for each in (alice, bob, carol)], "hers is to come through"
    assert not upkeep.admits(bob, "primary", now)
    assert upkeep.admits(alice, "fallback", now), "nothing is the matter there"
    assert upkeep.admits(carol, "primary", now), "its answer to the challenge"


def test_a_phone_that_is_registered_nowhere_else_does_not_wait_for_the_hold(make_site):
    """Both servers were away: it is out of service, and is let through as soon as there is a place."""
    site = asking_site(make_site, resync_hold=30, resync_rate=1)
    renew(Phone(site))
    die(site, site.primary)
    die(site, site.fallback)
    site.clock.advance(10)
    come_back(site, site.primary)
    site.clock.advance(1)
    (binding,) = site.registrar.bindings_for_aor("sip:alice@example.com")
    assert site.registrar.upkeep.admits(binding, "primary", site.clock.seconds())


def test_p12_the_phone_s_own_register_goes_there_while_ours_is_under_way(make_site):
    """A primary that answers OPTIONS alone keeps our try of the phone waiting; when the phone itself comes by, it is let in."""
    site = make_site(rise=1, resync_hold=0)
    phone = Phone(site)
    renew(phone)
    die(site, site.primary)
    site.clock.advance(100)
    site.primary.reply = silent
    come_back(site, site.primary)
    site.clock.advance(5)
    assert [True] == [each["left"] == 1 for each in under_way(site)]
    site.primary.reply = accept()
    site.clock.advance(0.5)
    start = elapsed(site) - 0.1
    renew(phone)
    assert 1 == len(times(site.primary, start)) and "registered" == site.state("primary")
    assert [] == under_way(site)


# sbc resync


def test_sbc_resync_registers_all_phones_again(make_site):
    """The server has lost them, between two probes, so nobody has seen it dead."""
    site = make_site(resync_hold=30)
    registered(site, 30)
    site.clock.advance(10)
    start = elapsed(site)
    begun = {"group": "office", "server": "fallback", "phones": 30, "by_phones": 0, "rate": 10.0}
    assert {"ok": True, "text": [], "resyncs": [begun]} == command(site, rate=10.0)
    site.clock.advance(4)
    at = times(site.fallback, start - 1e-6)
    assert 30 == len(at) == len(set(told(site.fallback, start)))
    assert at[-1] - at[0] == pytest.approx(2.9, abs=0.2)
    assert [] == told(site.primary, start)
    assert 5.0 == command(site)["resyncs"][0]["rate"]
    site.clock.advance(20)


def test_sbc_resync_knows_who_must_come_by_himself(make_site, password_file):
    """The primary asks for passwords, and the file has those of some. More phones than are looked at together."""
    users = [f"u{number}" for number in range(550)]
    site = asking_site(make_site, resync_rate=1000)
    site.primary.reply.passwords.update(dict.fromkeys(users, "secret"))
    registered(site, 550)
    site.registrar.use_passwords(password_file(*((user, "example.com", "secret") for user in users[:20])))
    site.clock.advance(10)
    (begun,) = command(site, "primary")["resyncs"]
    assert (550, 530) == (begun["phones"], begun["by_phones"])
    site.clock.advance(30)
    assert [(530, 530)] == [(each["left"], each["left_to_phones"]) for each in under_way(site)]


def test_sbc_resync_says_in_the_row_who_wants_it(make_site):
    """Nobody has seen the server away."""
    site = make_site(resync_rate=1)
    registered(site, 3)
    site.clock.advance(10)
    command(site, "fallback")
    assert [True] == [each["commanded"] for each in under_way(site)]
    (binding,) = site.registrar.bindings_for_aor("sip:u2@example.com")
    upstream = binding.upstream("fallback")
    assert ("unregistered", "to be registered again, as an administrator has commanded (sbc resync)") == (
        upstream.state, upstream.reason,
    )  # fmt: skip
    site.clock.advance(10)
    assert ("registered", "") == (upstream.state, upstream.reason)
    die(site, site.fallback)
    site.clock.advance(100)
    come_back(site, site.fallback)
    site.clock.advance(1)
    assert [False] == [each["commanded"] for each in under_way(site)]
    assert "the server was away and may have lost it" == upstream.reason


def test_sbc_resync_refuses_what_makes_no_sense(make_site):
    site = make_site(of_servers={"third": {"register": False}}, servers=3)
    assert ["there is no server nonesuch, only primary, fallback, third"] == command(site, "nonesuch")["text"]
    assert ["office: nobody is registered at third (register = false)"] == command(site, "third")["text"]
    die(site, site.fallback)
    site.clock.advance(1)
    answer = command(site)
    assert ["office: fallback is down; its phones are registered there when it is back"] == answer["text"]
    assert not answer["ok"]
    one = make_site(registration="successive")
    one.clock.advance(1)
    assert ["office: nobody is to be registered at fallback now, but at primary"] == command(one)["text"]


# Calls meanwhile


def test_a_server_is_known_to_lack_phones_until_it_has_them(make_site):
    site = make_site(rise=1, resync_hold=0, resync_rate=1.0)
    registered(site, 3)
    assert site.registrar.incomplete == {}
    command(site, "primary", rate=1.0)
    site.clock.advance(1.5)
    assert {"office": {"primary"}} == site.registrar.incomplete
    site.clock.advance(5.0)
    assert site.registrar.incomplete == {}
    die(site, site.fallback)
    site.clock.advance(100)
    assert site.registrar.incomplete == {}, "nobody asks a dead one"
    come_back(site, site.fallback)
    site.clock.advance(0.5)
    assert {"office": {"fallback"}} == site.registrar.incomplete


def test_what_other_processes_say_of_a_server_counts_as_well(make_site):
    site = make_site()
    said = []
    resyncs = site.registrar.upkeep.resyncs
    resyncs.incomplete_changed = lambda *word: said.append(word)
    resyncs.told_incomplete(1, "office", "primary", True)
    resyncs.told_incomplete(2, "office", "primary", True)
    resyncs.told_incomplete(2, "office", "primary", False)
    assert {"office": {"primary"}} == site.registrar.incomplete
    resyncs.told_incomplete(1, "office", "primary", False)
    assert site.registrar.incomplete == {} and said == []
    registered(site, 2)
    command(site, rate=1.0)
    site.clock.advance(10)
    assert [("office", "fallback", True), ("office", "fallback", False)] == said
