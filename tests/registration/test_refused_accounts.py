"""Accounts that a server refuses, wrong passwords and phones that loop, with servers and phones around the registrar."""

from __future__ import annotations

from collections import Counter

from sbc.events import PhoneQuarantined, RegistrationChanged, ServerStateChanged
from sbc.registration.quarantine import MOST_IN_A_ROW
from tests.helpers.scripted_servers import DigestRegistrar, Phone, Site, accept, refuse

USERS = {"alice": "secret", "bob": "hidden"}


def register(phone: Phone, wait: float = 0.5, **how) -> int:
    phone.register(**how)
    phone.site.clock.advance(wait)
    return phone.answers[-1]


def refused_at_primary(site: Site, status: int = 403) -> Phone:
    """A phone that was well everywhere, and that the primary has then refused."""
    phone = Phone(site)
    assert 200 == register(phone)
    site.primary.reply = refuse(status)
    assert 200 == register(phone)
    assert "failed" == site.state("primary")
    return phone


# V16


def test_refused_account_is_not_passed_on_while_it_waits(make_site):
    """V16: the phone goes on at the others, and the server is as well as before."""
    for status in (403, 404):
        site = make_site()
        phone = refused_at_primary(site, status)
        asked = len(site.primary.requests)
        for _ in range(5):
            assert 200 == register(phone, wait=1)
        assert asked == len(site.primary.requests)
        assert "registered" == site.state("fallback")
        assert not any(isinstance(event, ServerStateChanged) and event.new == "down" for event in site.events)
        assert site.group.health(site.primary.candidate).usable


def test_refused_account_is_tried_again_ever_more_rarely(site):
    """RFC 5626 4.5; by the appliance, since this server asks for no password. In an hour that is seven or eight times."""
    phone = refused_at_primary(site)
    asked = len(site.primary.requests)
    for _ in range(60):
        register(phone, wait=60)
    assert 5 <= len(site.primary.requests) - asked <= 8


def test_mended_account_is_registered_again(site):
    phone = refused_at_primary(site)
    site.primary.reply = accept()
    for _ in range(61):
        register(phone, wait=1)
    (binding,) = site.registrar.bindings_for_aor("sip:alice@example.com")
    upstream = binding.upstream("primary")
    assert ("registered", 0, 0.0) == (upstream.state, upstream.failures, upstream.retry_at)


def test_phone_that_begins_anew_is_passed_on(site):
    """Somebody has set it up again: another Call-ID."""
    phone = refused_at_primary(site)
    asked = len(site.primary.requests)
    phone.call_id = "after-its-start"
    register(phone)
    assert asked + 1 == len(site.primary.requests)
    register(phone)
    assert asked + 1 == len(site.primary.requests)


def test_phone_with_no_other_server_hears_the_refusal(site):
    """Everywhere refused: it is asked for all the same, and the phone is told."""
    phone = refused_at_primary(site)
    site.fallback.reply = refuse(403, "Account Suspended")
    assert 403 == register(phone)
    asked = len(site.primary.requests), len(site.fallback.requests)
    assert 403 == register(phone)
    assert asked < (len(site.primary.requests), len(site.fallback.requests))


def test_removal_goes_to_the_server_that_refuses_too(site):
    """D13: it may well have the contact still."""
    phone = refused_at_primary(site)
    assert 200 == register(phone, expires=0)
    assert 3 == len(site.primary.requests)
    assert "expires=0" in site.primary.last.get("Contact")


def test_refused_account_waits_after_a_restart_too(make_site):
    """V16: what the store kept."""
    site = make_site()
    phone = refused_at_primary(site)
    site.clock.advance(1)
    after = make_site(clock=site.clock, store=site.store, wall=site.wall_clock())
    after.primary.reply = refuse(403)
    again = Phone(after)
    again.call_id, again.cseq = phone.call_id, phone.cseq
    assert 200 == register(again, wait=1)
    assert [] == after.primary.requests
    assert 1 == len(after.fallback.requests)


def test_successive_registration_goes_on_at_the_next_server(make_site):
    """V16 with one server at a time: the one that refuses is not asked first each time."""
    site = make_site(registration="successive", status_failover={"REGISTER": {"403": "next"}})
    site.primary.reply = refuse(403)
    phone = Phone(site)
    assert 200 == register(phone)
    assert ("failed", "registered") == (site.state("primary"), site.state("fallback"))
    asked = len(site.primary.requests)
    assert 200 == register(phone, wait=1)
    assert asked == len(site.primary.requests)


# Wrong passwords


def with_passwords(site: Site) -> None:
    for server in site.servers:
        server.reply = DigestRegistrar("example.com", USERS, f"N-{server.name}", qop=False)


def try_to_register(phone: Phone, password: str | None = None, wait: float = 1.0) -> int:
    """As a phone does: it answers the challenge that it gets, once."""
    status = register(phone, wait=0.1)
    if status == 401:
        status = register(phone, wait=0.1, authorization=phone.answer_to(phone.last, password=password))
    phone.site.clock.advance(wait)
    return status


def wrong_tries(server, user: str = "alice") -> int:
    return sum(value is not None and f'"{user}"' in value for value in server.authorizations)


def test_server_sees_so_many_wrong_passwords_in_an_hour(make_site):
    """`wrong_password_tries`; the phone tries every half minute, and its neighbour at the same address is well throughout."""
    site = make_site(wrong_password_tries=5)
    with_passwords(site)
    phone, neighbour = Phone(site), Phone(site, user="bob", password="hidden", port=5064)
    for _ in range(120):
        assert try_to_register(phone, "wrong", wait=14.9) in (401, 403)
        assert 200 == try_to_register(neighbour, wait=14.9)
    assert 5 == wrong_tries(site.primary)
    assert wrong_tries(site.fallback) <= 5
    assert 403 == phone.answers[-1]
    assert "Password Refused Too Often, Next Try in" in phone.last.reason_text()
    assert {("office", "wrong_password"): phone.answers.count(403)} == site.registrar.refused_here


def test_mended_password_gets_in_within_minutes(site):
    with_passwords(site)
    phone = Phone(site)
    for _ in range(6):
        try_to_register(phone, "wrong", wait=29.9)
    assert 403 == try_to_register(phone)
    waited = 0
    while 200 != try_to_register(phone, wait=29.9):
        waited += 30
    assert waited <= 600


def test_password_mended_and_phone_started_again_gets_in_at_once(site):
    with_passwords(site)
    phone = Phone(site)
    for _ in range(10):
        try_to_register(phone, "wrong", wait=9.9)
    assert 403 == try_to_register(phone, "wrong")
    phone.call_id = "after-its-start"
    assert 200 == try_to_register(phone)


def test_many_at_once_are_not_one(make_site):
    """A phone that does not wait for answers: what it has overtaken counts too."""
    site = make_site(wrong_password_tries=4)
    with_passwords(site)
    site.primary.delay = 2
    phone = Phone(site)
    register(phone, wait=3)
    challenge = phone.last
    for _ in range(8):
        phone.register(authorization=phone.answer_to(challenge, password="wrong"))
    site.clock.advance(5)
    assert wrong_tries(site.primary) <= 4


def test_wrong_password_does_not_get_in_where_nobody_asks(site):
    """D8: with the primary left alone, a fallback that takes everybody from us is no judge of a stranger."""
    site.primary.reply = DigestRegistrar("example.com", USERS, "N1", qop=False)
    phone = Phone(site)
    for _ in range(10):
        assert 200 != try_to_register(phone, "wrong", wait=29.9)
    assert 403 == phone.answers[-1]
    assert [] == site.fallback.requests


def test_stale_nonce_is_no_wrong_password(make_site):
    """RFC 7616 3.3: the server says that the password may be right."""
    site = make_site(servers=1, wrong_password_tries=1)
    for server in site.servers:
        server.reply = DigestRegistrar("example.com", USERS, f"N-{server.name}", qop=False, stale=True)
    phone = Phone(site)
    assert 200 == try_to_register(phone)
    assert 401 == register(phone)
    for number in range(5):
        old = phone.answer_to(phone.last)
        site.primary.reply.nonce = f"N-{number}"
        assert 401 == register(phone, authorization=old)
    assert 200 == register(phone, authorization=phone.answer_to(phone.last))


def test_own_answers_count_as_well(make_site, password_file):
    """What the appliance answers from the password file, which is wrong for the fallback: the first three as it may be tried
    again, then as the hour allows."""
    site = make_site(
        credentials=password_file(("alice", "example.com", "secret"), ("alice", "other", "old")), wrong_password_tries=4
    )
    site.primary.reply = DigestRegistrar("example.com", USERS, "N-primary", qop=False)
    site.fallback.reply = DigestRegistrar("other", USERS, "N-fallback", qop=False)
    phone = Phone(site)
    begin = site.clock.seconds()
    assert 200 == try_to_register(phone)
    while site.clock.seconds() < begin + 3500:
        assert 200 == try_to_register(phone, wait=59.9)
    assert "failed" == site.state("fallback")
    assert 1 < wrong_tries(site.fallback) <= 4


def test_v16_whose_password_was_wrong(make_site, password_file):
    """Of the phone, or of the password file: then user and realm of the line are named. Of the phone's REGISTER, and of one of our
    own; in the row, in the log and among the rejected."""
    site, (phone,) = refused_with_our_own(make_site, password_file, register_retry_base=60, register_retry_max=60)
    ours = "wrong password in [credentials], line u0:other"
    (binding,) = site.registrar.bindings
    assert ours == binding.upstream("fallback").reason
    said = [event for event in site.events if isinstance(event, RegistrationChanged) and event.new == "failed"]
    assert [("fallback", ours)] == [(event.server, event.reason) for event in said]
    (rejected,) = site.registrar.describe(site.clock.seconds())["rejected"]
    assert (True, "fallback") == (rejected["from_credentials_file"], rejected["server"])
    site.registrar.use_passwords(password_file(*passwords(1, "wrong as well")))
    site.clock.advance(1)
    assert 4 == len(site.fallback.requests), "by ourselves"
    assert ("failed", ours) == (binding.upstream("fallback").state, binding.upstream("fallback").reason)

    site = make_site()
    site.primary.reply = DigestRegistrar("example.com", USERS, "N-primary", qop=False)
    site.fallback.reply = DigestRegistrar("example.com", {"alice": "another"}, "N-fallback", qop=False)
    phone = Phone(site)
    for _ in range(6):
        try_to_register(phone, "secret", wait=60)
    (binding,) = site.registrar.bindings
    assert ("failed", "wrong password in the phone") == (binding.upstream("fallback").state, binding.upstream("fallback").reason)
    assert [False] == [each["from_credentials_file"] for each in site.registrar.describe(site.clock.seconds())["rejected"]]


# A password file that was mended


def refused_with_our_own(make_site, password_file, number: int = 1, **settings) -> tuple[Site, list[Phone]]:
    """Phones that are well at the primary, and for which the password file has an old password at the fallback."""
    users = {f"u{n}": "secret" for n in range(number)}
    site = make_site(credentials=password_file(*passwords(number, "old")), **settings)
    site.primary.reply = DigestRegistrar("example.com", users, "N-primary", qop=False)
    site.fallback.reply = DigestRegistrar("other", users, "N-fallback", qop=False)
    phones = [Phone(site, user=f"u{n}", port=5100 + n) for n in range(number)]
    for phone in phones:
        assert 200 == try_to_register(phone, "secret", wait=0.5)
    site.clock.advance(1)
    assert number == states(site)["failed"]
    return site, phones


def passwords(number: int, at_fallback: str) -> list[tuple[str, str, str]]:
    known = [(f"u{n}", "example.com", "secret") for n in range(number)]
    return known + [(f"u{n}", "other", at_fallback) for n in range(number)]


def states(site: Site) -> Counter:
    return Counter(binding.upstream("fallback").state for binding in site.registrar.bindings)


def test_v16_mended_password_file_ends_the_wait(make_site, password_file):
    site, _ = refused_with_our_own(make_site, password_file, register_retry_base=600)
    asked = len(site.fallback.requests)
    site.clock.advance(5)
    assert asked == len(site.fallback.requests)
    site.registrar.use_passwords(password_file(*passwords(1, "secret")))
    site.clock.advance(1)
    assert {"registered": 1} == states(site)
    (binding,) = site.registrar.bindings
    assert ("registered", 0, 0.0) == (
        binding.upstream("fallback").state, binding.upstream("fallback").failures, binding.upstream("fallback").retry_at
    )  # fmt: skip


def test_v16_password_file_that_says_the_same_ends_no_wait(make_site, password_file):
    """Neither does one in which somebody else has another password: servers lock accounts."""
    site, _ = refused_with_our_own(make_site, password_file, register_retry_base=600)
    asked = len(site.fallback.requests)
    site.registrar.use_passwords(password_file(*passwords(1, "old"), ("bob", "other", "new")))
    site.clock.advance(60)
    assert asked == len(site.fallback.requests)
    site.registrar.use_passwords(None)
    site.clock.advance(60)
    assert asked == len(site.fallback.requests)


def test_d8_password_file_that_is_wrong_again_does_not_lock_the_account(make_site, password_file):
    """However often it is changed."""
    site, _ = refused_with_our_own(make_site, password_file, wrong_password_tries=4, register_retry_base=600)
    for attempt in range(20):
        site.registrar.use_passwords(password_file(*passwords(1, f"wrong {attempt}")))
        site.clock.advance(100)
    assert 3 <= wrong_tries(site.fallback, "u0") <= 4


def test_d18_mended_accounts_are_tried_at_the_pace_of_a_resynchronisation(make_site, password_file):
    """One first, then no more in a second than the server stands."""
    site, _ = refused_with_our_own(make_site, password_file, number=40, register_retry_base=600, resync_rate=4)
    asked = len(site.fallback.requests)
    site.registrar.use_passwords(password_file(*passwords(40, "secret")))
    site.clock.advance(5)
    assert 2 <= len(site.fallback.requests) - asked <= 5 * 4 * 1.2
    site.clock.advance(30)
    assert {"registered": 40} == states(site)


# Quarantine


def test_looping_phone_is_left_alone(make_site):
    """It gets an answer that is no challenge, no server hears of it, and it is told once."""
    site = make_site(quarantine=60)
    with_passwords(site)
    phone = Phone(site)
    for _ in range(100):
        register(phone, wait=0.01)
    assert MOST_IN_A_ROW + 1 == len(site.primary.requests) == phone.answers.count(401)
    assert 100 - MOST_IN_A_ROW - 1 == phone.answers.count(500)
    told = [event for event in site.events if isinstance(event, PhoneQuarantined)]
    assert [("office", "sip:alice@example.com", "203.0.113.7", 60)] == [
        (event.group, event.aor, event.host, event.seconds) for event in told
    ]
    assert 60 <= int(phone.last.get("Retry-After")) <= 73
    assert {("office", "loop"): phone.answers.count(500)} == site.registrar.refused_here
    assert {"office": 1} == site.registrar.quarantined(site.clock.seconds())
    site.clock.advance(60)
    assert {} == site.registrar.quarantined(site.clock.seconds())
    assert 200 == try_to_register(phone)


def test_neighbours_of_a_looping_phone_are_served(site):
    """Several phones of one address, also with the same number."""
    with_passwords(site)
    phone, same_number, neighbour = Phone(site), Phone(site, port=5064), Phone(site, user="bob", password="hidden", port=5066)
    for _ in range(50):
        register(phone, wait=0.01)
    assert 500 == phone.answers[-1]
    assert 200 == try_to_register(same_number)
    assert 200 == try_to_register(neighbour)


def test_site_after_a_power_cut_is_served(site):
    """All phones of one address within two seconds, and the servers answer with errors at first."""
    site.primary.reply = site.fallback.reply = refuse(500)
    phones = [Phone(site, user=f"user{number}", port=10_000 + number) for number in range(200)]
    for _ in range(3):
        for phone in phones:
            register(phone, wait=0.005)
    site.primary.reply = site.fallback.reply = accept()
    for phone in phones:
        assert 200 == register(phone, wait=0.005)
    assert not any(isinstance(event, PhoneQuarantined) for event in site.events)
