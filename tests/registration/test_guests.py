"""Phones that the appliance does not know, at a server that has come back (D18)."""

from __future__ import annotations

from collections import Counter

import pytest

from sbc.registration.guests import Guests
from sbc.registration.resync import OPEN_FOR
from tests.helpers.scripted_servers import Phone
from tests.registration.test_modes import Challenging, come_back, die, elapsed, renew, with_passwords
from tests.registration.test_resyncs import told, under_way
from tests.registration.test_upkeep import times

HOME = "203.0.113.7"
ELSEWHERE = "198.18.0.66"


def made(rate: float = 10.0, cost: int = 2, keeps: float = 32.0) -> Guests:
    guests = Guests(rate, 0.0, keeps)
    guests.set_pace(rate, 0.0, cost)
    return guests


def test_a_guest_takes_all_its_registers_together():
    guests = made()
    guests.let_in("one", HOME, 0.0)
    assert guests.may_answer("one", HOME, 31.9)
    assert not guests.may_answer("one", ELSEWHERE, 1.0), "somebody else in its name"
    assert not guests.may_answer("two", HOME, 1.0)
    guests.answers("one")
    assert not guests.may_answer("one", HOME, 1.0)
    assert not guests.has_place(0.1)
    assert guests.has_place(0.2)


def test_a_place_is_kept_for_a_while_only():
    guests = made()
    guests.let_in("one", HOME, 0.0)
    assert not guests.may_answer("one", HOME, 32.0)


def test_a_host_has_a_part_of_the_places_until_its_phones_are_accepted():
    guests = made(rate=1.0, cost=1, keeps=32.0)
    for n in range(8):
        assert guests.is_welcome(ELSEWHERE, float(n))
        guests.let_in(f"x{n}", ELSEWHERE, float(n))
    assert not guests.is_welcome(ELSEWHERE, 8.0)
    assert guests.is_welcome(HOME, 8.0)
    assert guests.become_known("x0")
    assert not guests.become_known("x0")
    assert guests.is_welcome(ELSEWHERE, 8.0)
    assert 1 == guests.accepted


def test_a_host_of_which_one_was_not_accepted_has_one_place_at_a_time():
    """Until one is; or for five minutes."""
    guests = made(rate=1.0, cost=1, keeps=32.0)
    guests.let_in("x0", ELSEWHERE, 0.0)
    assert guests.is_welcome(ELSEWHERE, 32.0)
    guests.let_in("x1", ELSEWHERE, 32.0)
    assert not guests.is_welcome(ELSEWHERE, 32.0)
    assert guests.is_welcome(HOME, 32.0)
    guests.become_known("x1")
    guests.let_in("x2", ELSEWHERE, 33.0)
    assert guests.is_welcome(ELSEWHERE, 33.0)


def test_all_addresses_of_a_network_in_ipv6_are_one_host():
    guests = made(rate=1.0, cost=1, keeps=8.0)
    for n in range(3):
        assert guests.is_welcome(f"2001:db8::{n}", float(n))
        guests.let_in(f"x{n}", f"2001:db8::{n}", float(n))
    assert not guests.is_welcome("2001:db8::ffff:1", 3.0)
    assert guests.is_welcome("2001:db8:0:1::1", 3.0)
    assert guests.may_answer("x0", "2001:db8::77", 3.0)
    assert guests.is_welcome("fe80::1%eth0", 3.0)


def test_nothing_is_remembered_of_those_that_went():
    guests = made(rate=100.0)
    for n in range(10_000):
        now = n / 50
        if guests.is_welcome(f"198.18.{n % 200}.{n % 7}", now):
            guests.let_in(f"x{n}", f"198.18.{n % 200}.{n % 7}", now)
    assert guests.is_welcome(HOME, 1000.0)
    assert 0 == len(guests._let_in) == len(guests._of_host) == len(guests._by_time) == len(guests._doubted)


# On the wire


def away_and_back(site, *servers, seconds: float = 100.0) -> float:
    """These servers are away, and come back. Returns when."""
    site.clock.advance(0.1)
    for server in servers:
        die(site, server)
    site.clock.advance(seconds)
    since = elapsed(site) - 0.001
    for server in servers:
        come_back(site, server)
    site.clock.advance(0.01)
    return since


def crowd(site, number: int, host: str = "") -> list[Phone]:
    """Phones that were never here, `g0` ..., each at a host of its own if none is given."""
    phones = []
    for n in range(number):
        phones.append(Phone(site, user=f"g{n}", host=host or f"203.0.113.{n}", port=6000 + n))
        for server in site.servers:
            if isinstance(server.reply, Challenging):
                server.reply.passwords[f"g{n}"] = "secret"
    return phones


def until_registered(site, phones: list[Phone], seconds: int) -> int:
    """They try until they are, each as soon as it may. Returns how many are not."""
    due = dict.fromkeys(range(len(phones)), 0.0)
    begin = elapsed(site)
    while due and elapsed(site) < begin + seconds:
        for n, at in list(due.items()):
            if at <= elapsed(site):
                if renew(phones[n]) == 200:
                    del due[n]
                else:
                    assert 503 == phones[n].answers[-1]
                    due[n] = elapsed(site) + int(phones[n].last.get("Retry-After"))
        site.clock.advance(0.5)
    return len(due)


def most_in_a_second(server, since: float) -> int:
    return max(Counter(int(at - since) for at in times(server, since)).values(), default=0)


@pytest.mark.parametrize(("asks", "rate"), [(False, 5), (True, 3)])
def test_d18_phones_that_nobody_knows_keep_the_pace(make_site, asks, rate):
    """All registrations have lapsed, and all phones come at once. None reaches a server that has no place for it, and all are
    registered in the end."""
    site = make_site(rise=1, resync_rate=rate, resync_hold=0)
    if asks:
        with_passwords(site)
    phones = crowd(site, 60)
    since = away_and_back(site, site.primary, site.fallback)
    assert 0 == until_registered(site, phones, 400)
    assert 60 * (2 if asks else 1) <= sum(len(times(server, since)) for server in site.servers)
    assert all(most_in_a_second(server, since) <= rate + 1 for server in site.servers)
    assert 0 < site.registrar.refused_here["office", "servers_coming_back"]
    site.clock.advance(400)
    if not asks:  # else the phones would have to come by
        for binding in site.registrar.bindings:
            assert ["registered"] * 2 == [upstream.state for upstream in binding.upstreams]


def test_d18_where_another_server_lives_it_is_registered_there_and_takes_its_turn(make_site):
    site = make_site(rise=1, resync_rate=1, resync_hold=30)
    since = away_and_back(site, site.primary)
    phones = crowd(site, 6)
    assert [200] * 6 == [renew(each) for each in phones], "one of them at both"
    assert 1 == len(times(site.primary, since))
    assert 6 == len(times(site.fallback, since))
    assert [5] == [each["left"] for each in under_way(site)]
    assert {"primary"} == site.registrar.incomplete["office"]
    site.clock.advance(40)
    assert 6 == len(times(site.primary, since))
    assert [] == under_way(site)
    assert {} == site.registrar.incomplete


def test_d18_a_new_phone_that_must_come_by_itself_is_told_to_come_soon(make_site):
    """The primary has no place for it, and only the phone knows its password: it is not told the hour that the fallback grants."""
    site = make_site(rise=1, resync_rate=1, resync_hold=30, phone_expires=0)
    with_passwords(site)
    before, first, second = crowd(site, 3)
    assert 200 == renew(before), "both are known to ask for passwords"
    site.clock.advance(300)
    renew(before)
    site.clock.advance(300)
    away_and_back(site, site.primary, seconds=70)
    assert [200, 200] == [renew(first), renew(second)]
    (binding,) = site.registrar.bindings_for_aor("sip:g2@example.com")
    assert ["fallback"] == [upstream.server for upstream in binding.upstreams if upstream.state == "registered"]
    assert binding.granted <= 120
    assert site.registrar.upkeep.is_awaited(binding, "primary")


@pytest.mark.parametrize("is_trusted", [False, True])
def test_d8_nobody_is_let_in_by_who_believes_everybody_while_the_other_one_has_no_place(make_site, is_trusted):
    """The fallback asks nobody for a password, and was there all the time."""
    site = make_site(rise=1, resync_rate=1, resync_hold=0, of_servers={"fallback": {"trusted": is_trusted}})
    site.primary.reply = Challenging("primary")
    first, second = crowd(site, 2)
    away_and_back(site, site.primary)
    first.register()
    site.clock.advance(0.05)
    second.register()
    site.clock.advance(0.05)
    assert [[401], [503]] == [first.answers, second.answers]
    assert 0 == len(site.registrar.bindings)
    assert [] == site.fallback.requests
    site.clock.advance(60)
    assert 200 == renew(second)


def test_d8_neither_is_who_names_the_contact_of_a_phone_that_is_known(make_site):
    site = make_site(rise=1, resync_rate=1, resync_hold=60, of_servers={"fallback": {"trusted": True}})
    site.primary.reply = Challenging("primary")
    (phone,) = crowd(site, 1)
    assert 200 == renew(phone)
    away_and_back(site, site.primary, seconds=70)
    stranger = Phone(site, user="g0", port=6000, host=phone.flow.remote[0], password="wrong")
    stranger.flow.move((ELSEWHERE, 7777))
    stranger.call_id = "another"
    stranger.register()
    site.clock.advance(1)
    assert [401] == stranger.answers
    (binding,) = site.registrar.bindings
    assert binding.host == phone.flow.remote[0]


def test_d18_guests_have_their_part_while_phones_of_ours_are_brought_back(make_site, password_file):
    """Not only what is left by them, which is nothing."""
    names = [f"k{n}" for n in range(200)]
    file = password_file(*((name, "example.com", "secret") for name in names))
    site = make_site(servers=1, rise=1, resync_rate=5, resync_hold=0, credentials=file)
    with_passwords(site)
    for n, name in enumerate(names):
        site.primary.reply.passwords[name] = "secret"
        assert 200 == renew(Phone(site, user=name, host=f"203.0.113.{n}", port=8000))
    away_and_back(site, site.primary, seconds=70)
    guests = crowd(site, 4)
    for _ in range(20):
        site.clock.advance(1)
        for each in guests:
            if 200 not in each.answers:
                renew(each)
    assert [200] * 4 == [each.answers[-1] for each in guests]
    assert [True] == [each["left"] > 100 for each in under_way(site)]


def test_d18_one_from_another_place_keeps_the_pace_of_those_that_nobody_knows(make_site):
    """A phone that was registered, behind a NAT that has started anew."""
    site = make_site(rise=1, resync_rate=1, resync_hold=0)
    with_passwords(site)
    phones = crowd(site, 6)
    assert {200} == {renew(each) for each in phones}
    since = away_and_back(site, site.primary, site.fallback, seconds=70)
    for n, phone in enumerate(phones):
        phone.flow.move((HOME, 20_000 + n))
        renew(phone)
    assert 503 in [phone.answers[-1] for phone in phones]
    assert max(most_in_a_second(server, since) for server in site.servers) <= 3


def test_d18_after_a_short_time_one_from_another_place_waits_as_the_others_do(make_site):
    """A port of its NAT that has changed does not get it a place that the server has not."""
    site = make_site(servers=1, rise=1, resync_rate=1, resync_hold=0)
    with_passwords(site)
    phones = crowd(site, 6)
    assert {200} == {renew(each) for each in phones}
    since = away_and_back(site, site.primary, seconds=50)
    for n, phone in enumerate(phones):
        if n % 2:
            phone.flow.move((HOME, 20_000 + n))
        renew(phone)
    assert [200, 503, 503, 503, 503, 503] == [phone.answers[-1] for phone in phones]
    assert most_in_a_second(site.primary, since) <= 2


def test_d18_one_from_another_place_waits_where_only_one_server_was_away_for_long(make_site):
    """It has to keep the pace of guests at the one and that of known phones at the other; there is no place at either."""
    site = make_site(rise=1, resync_rate=1, resync_hold=0)
    with_passwords(site)
    phones = crowd(site, 6)
    assert {200} == {renew(each) for each in phones}
    site.clock.advance(0.1)
    die(site, site.primary)
    site.clock.advance(50)
    die(site, site.fallback)
    site.clock.advance(20)
    since = elapsed(site) - 0.001
    for server in site.servers:
        come_back(site, server)
    site.clock.advance(0.01)
    for n, phone in enumerate(phones):
        phone.flow.move((HOME, 20_000 + n))
        renew(phone)
    assert [200, 200, 503, 503, 503, 503] == [phone.answers[-1] for phone in phones]
    assert [2, 2] == [len(times(server, since)) for server in site.servers]


def test_d18_first_only_goes_back_to_the_better_server(make_site):
    site = make_site(rise=1, resync_rate=5, resync_hold=0, challenge_method="first-only")
    with_passwords(site)
    (phone,) = crowd(site, 1)
    assert 200 == renew(phone)
    die(site, site.primary)
    site.clock.advance(40)
    assert 200 == renew(phone)
    site.clock.advance(30)
    come_back(site, site.primary)
    site.clock.advance(2)
    assert [("primary", 1)] == [(each["server"], each["left"]) for each in under_way(site)]
    assert {"primary"} == site.registrar.incomplete["office"]


def test_d18_a_phone_that_answers_one_server_only_keeps_nobody_waiting(make_site):
    """It is registered at the other one, and is not expected where it never answers."""
    site = make_site(rise=1, resync_rate=5, resync_hold=0, challenge_method="first-only")
    with_passwords(site)
    (phone,) = crowd(site, 1)
    assert 200 == renew(phone)
    site.clock.advance(40)
    assert 200 == renew(phone)
    away_and_back(site, site.fallback, seconds=20)
    site.clock.advance(2)
    assert [] == under_way(site)
    assert {} == site.registrar.incomplete


def test_d18_the_answer_to_a_challenge_has_a_place(make_site):
    site = make_site(servers=1, rise=1, resync_rate=1, resync_hold=0)
    with_passwords(site)
    first, second = crowd(site, 2)
    away_and_back(site, site.primary)
    assert 200 == renew(first), "two REGISTERs"
    assert 503 == renew(second)
    assert 30 <= int(second.last.get("Retry-After")) <= 90
    site.clock.advance(2)
    assert 200 == renew(second)


def test_d18_in_successive_registration_it_is_the_working_server_that_counts(make_site):
    site = make_site(rise=1, resync_rate=1, resync_hold=0, registration="successive")
    away_and_back(site, site.primary, site.fallback)
    first, second = crowd(site, 2)
    assert [200, 503] == [renew(first), renew(second)]
    site.clock.advance(2)
    assert 200 == renew(second)


def test_d18_strangers_leave_places_for_the_phones_that_are_known(make_site):
    """Somebody sends REGISTERs in a thousand names, without end. The phones that were registered come back all the same."""
    site = make_site(servers=1, rise=1, resync_rate=5, resync_hold=0)
    with_passwords(site)
    known = crowd(site, 10)
    assert [200] * 10 == [renew(each) for each in known]
    since = away_and_back(site, site.primary, seconds=70)
    strangers = [Phone(site, user=f"x{n}", host=ELSEWHERE, port=2000 + n) for n in range(1000)]
    due = {n: elapsed(site) + 3 * n for n in range(10)}
    for second in range(120):
        for n in range(8):
            strangers[(second * 8 + n) % 1000].register()
            site.clock.advance(0.05)
        for n, at in list(due.items()):
            if at <= elapsed(site):
                due[n] = elapsed(site) + 5
                if renew(known[n]) == 200:
                    del due[n]
        site.clock.advance(0.4)
    assert {} == due
    assert most_in_a_second(site.primary, since) <= 6


def test_d18_after_a_short_time_there_is_no_pace_for_them(make_site):
    """Nothing has lapsed: those that come are as many as on any day."""
    site = make_site(rise=1, resync_rate=1, resync_hold=0)
    away_and_back(site, site.primary, site.fallback, seconds=50)
    assert {200} == {renew(each) for each in crowd(site, 20)}


def test_d18_open_for_guests_for_some_minutes(make_site):
    """Longer while there are some for which there is no place, but not for ever."""
    site = make_site(servers=1, rise=1, resync_rate=1, resync_hold=0)
    shortest, longest = OPEN_FOR
    away_and_back(site, site.primary)
    phones = crowd(site, 4)
    site.clock.advance(shortest - 5)
    assert [200, 503] == [renew(each) for each in phones[:2]]
    site.clock.advance(100)
    assert [200, 503] == [renew(each) for each in phones[1:3]]
    site.clock.advance(130)
    assert {} == site.registrar.upkeep.resyncs.entries
    assert [200, 200] == [renew(each) for each in phones[2:]]
    begin = away_and_back(site, site.primary)
    while site.registrar.upkeep.resyncs.entries:
        renew(phones[0], expires=0)
        renew(phones[0])
        renew(phones[1], expires=0)
        renew(phones[1])
        site.clock.advance(20)
        assert elapsed(site) - begin < longest + 100
    assert elapsed(site) - begin >= longest - 100


# Known, but not looked at yet


def test_d18_each_is_registered_once_while_others_are_looked_at(make_site):
    """Those that are let go meanwhile, and those whose renewal is due."""
    site = make_site(rise=1, resync_rate=200, resync_hold=0)
    phones = [Phone(site, user=f"k{n}", host=f"203.0.113.{n % 250}", port=7000 + n) for n in range(1200)]
    assert {200} == {renew(each) for each in phones}
    since = away_and_back(site, site.primary, seconds=20)
    site.clock.advance(30)
    users = told(site.primary, since)
    assert (1200, 1200) == (len(users), len(set(users)))


def test_d18_a_phone_that_comes_by_before_it_was_looked_at_is_held_back(make_site):
    """500 are looked at at once, so that calls need not wait. The 501st comes by in the moment between."""
    site = make_site(rise=1, resync_rate=5, resync_hold=30, refresh_check="off")
    phones = [Phone(site, user=f"k{n}", host=f"203.0.113.{n % 250}", port=7000 + n) for n in range(600)]
    assert {200} == {renew(each) for each in phones}
    die(site, site.primary)
    site.clock.advance(20)
    come_back(site, site.primary)
    site.clock.advance(0.001)
    since = elapsed(site) - 0.0005
    assert site.registrar.upkeep.is_looking("office")
    assert 200 == renew(phones[599])
    assert [] == times(site.primary, since)
    assert 1 == len(times(site.fallback, since))
