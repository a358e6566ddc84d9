"""REGISTERs that are wrong, repeated, crossed or meant to hurt, and servers that answer strangely."""

from __future__ import annotations

import pytest

from sbc.registration import expiry
from sbc.registration.phone_book import MAX_CONTACTS_OF_AOR
from tests.helpers.scripted_servers import DigestRegistrar, Phone, refuse

USERS = {"alice": "secret"}


def register(phone: Phone, *lines: str, wait: float = 0.5, **how) -> int:
    phone.register(*lines, **how)
    phone.site.clock.advance(wait)
    return phone.answers[-1]


# Strange answers of servers


def test_headers_about_a_body_stay_with_the_body(site):
    """The server's body is not passed on, so nothing must announce one."""
    site.primary.reply = site.fallback.reply = refuse(
        403, None, ("Content-Type", "text/plain"), ("Content-Language", "en"), ("X-Reason", "no")
    )
    phone = Phone(site)
    assert 403 == register(phone)
    assert [None, None, "no"] == [phone.last.get(name) for name in ("Content-Type", "Content-Language", "X-Reason")]


# Loops


def test_a_register_of_our_own_that_comes_back(site):
    """Pitfall D28: a server's name leads to ourselves."""
    phone = Phone(site)
    register(phone)
    back = Phone(site, port=5070)
    back.call_id = site.primary.last.call_id
    assert 482 == register(back)
    assert 1 == len(site.primary.requests)


def test_max_forwards_goes_on_counting(site):
    """RFC 7332: two appliances that have each other for a server come to an end."""
    register(Phone(site))
    assert "68" == site.primary.last.get("Max-Forwards")


# What a phone may require


def test_extension_that_we_take_away_cannot_be_required(site):
    """RFC 3261 10.3 item 2: a 200 would say that it is in force."""
    phone = Phone(site)
    assert 420 == register(phone, "Require: outbound, gruu, x-theirs")
    assert ["outbound", "gruu"] == phone.last.get_all("Unsupported")
    assert [] == site.primary.requests


def test_extension_that_we_do_not_know_is_the_server_s_to_judge(site):
    assert 200 == register(Phone(site), "Require: x-theirs")
    assert "x-theirs" == site.primary.last.get("Require")


# Contacts


@pytest.mark.parametrize(
    "other",
    [
        "<SIP:al%69ce@203.0.113.7:5062;line=1>",
        "<sip:alice@203.0.113.7:5062;LINE=1>",
    ],
)
def test_same_contact_spelled_otherwise(site, other):
    """RFC 3261 19.1.4: one binding, and one call rings once."""
    phone = Phone(site)
    register(phone, contact="<sip:alice@203.0.113.7:5062;line=1>")
    assert 200 == register(phone, contact=other)
    assert 1 == len(site.registrar.bindings)


def test_order_of_uri_parameters_means_nothing(site):
    phone = Phone(site)
    register(phone, contact="<sip:alice@Phone.example:5062;a=1;b=2>")
    register(phone, contact="<sip:alice@phone.EXAMPLE:5062;b=2;a=1>")
    assert 1 == len(site.registrar.bindings)


def test_user_part_is_case_sensitive(site):
    phone = Phone(site)
    register(phone, contact="<sip:alice@203.0.113.7:5062>")
    register(phone, contact="<sip:Alice@203.0.113.7:5062>")
    assert 2 == len(site.registrar.bindings)


def test_same_contact_twice_in_one_register(site):
    """The last one counts."""
    phone = Phone(site)
    assert 200 == register(phone, contact="<sip:a@203.0.113.7>;expires=0, <sip:a@203.0.113.7>;expires=300")
    assert ["<sip:a@203.0.113.7>;expires=300"] == phone.last.get_all("Contact")
    assert 1 == len(site.primary.last.get_all("Contact"))
    assert 200 == register(phone, contact="<sip:a@203.0.113.7>;expires=300, <sip:a@203.0.113.7>;expires=0")
    assert [] == phone.last.get_all("Contact")
    assert 0 == len(site.registrar.bindings)


def test_endless_contacts_of_one_number(site):
    """A phone that takes another port with each start leaves its old contacts behind; the newest count."""
    phone = Phone(site)
    for port in range(1, MAX_CONTACTS_OF_AOR + 20):
        assert 200 == register(phone, contact=f"<sip:alice@203.0.113.7:{port}>", wait=0.01)
    bindings = site.registrar.bindings_for_aor("sip:alice@example.com")
    assert MAX_CONTACTS_OF_AOR == len(bindings) == len(site.store.bindings)
    assert f"sip:alice@203.0.113.7:{MAX_CONTACTS_OF_AOR + 19}" == bindings[-1].contact_uri


# Crossing


def test_late_answer_does_not_bring_the_old_address_back(site):
    """The phone got another address while its REGISTER from the old one was still under way."""
    site.primary.delay = 2
    phone = Phone(site)
    phone.register(expires=1800)
    site.clock.advance(0.1)
    site.primary.delay = 0.001
    phone.flow.move(("203.0.113.99", 5062))
    assert 200 == register(phone)
    site.clock.advance(5)
    (binding,) = site.registrar.bindings_for_aor("sip:alice@example.com")
    assert ("203.0.113.99", 2) == (binding.host, binding.cseq)
    assert 3600 == binding.granted
    assert 2 == len(phone.answers)  # the one that was overtaken is answered too


def test_late_removal_does_not_undo_a_newer_registration(site):
    phone = Phone(site)
    register(phone)
    site.primary.delay = 2
    phone.register(expires=0)
    site.clock.advance(0.1)
    site.primary.delay = 0.001
    phone.flow.move(("203.0.113.99", 5062))
    assert 200 == register(phone)
    site.clock.advance(5)
    assert 1 == len(site.registrar.bindings)


def test_late_answer_does_not_undo_a_removal_that_we_let_in(make_site, password_file):
    """The phone proves itself to us, and no server has said anything about the removal yet."""
    site = make_site(credentials=password_file(("alice", "example.com", "secret")))
    for server in site.servers:
        server.reply = DigestRegistrar("example.com", USERS, f"N-{server.name}")
    phone = Phone(site)
    register(phone)
    site.primary.delay = 2
    phone.register(authorization=phone.answer_to(phone.last))
    site.clock.advance(0.1)
    site.primary.delay = site.fallback.delay = 5
    phone.flow.move(("203.0.113.99", 5062))
    phone.register(expires=0, authorization=phone.answer_to(phone.last))
    site.clock.advance(20)
    assert 0 == len(site.registrar.bindings)
    assert {} == site.store.bindings


def test_late_answer_does_not_undo_a_newer_removal(site):
    site.fallback.delay = 1.5
    phone = Phone(site)
    phone.register()
    site.clock.advance(0.1)
    site.fallback.delay = 0.001
    phone.flow.move(("203.0.113.99", 5062))
    assert 200 == register(phone, expires=0)
    site.clock.advance(5)
    assert 0 == len(site.registrar.bindings)
    assert {} == site.store.bindings


# Floods


def test_a_stranger_s_wrong_passwords_do_not_lock_the_phone_out(site):
    for server in site.servers:
        server.reply = DigestRegistrar("example.com", USERS, f"N-{server.name}")
    phone, stranger = Phone(site), Phone(site)
    stranger.flow.move(("203.0.113.250", 5062))
    stranger.call_id = "stranger"
    register(stranger)
    for _ in range(3):
        register(stranger, authorization=stranger.answer_to(stranger.last, password="wrong"), wait=0.01)
    assert 403 == register(stranger)
    assert 401 == register(phone, wait=0.01)
    assert 200 == register(phone, authorization=phone.answer_to(phone.last))


def test_removed_bindings_leave_nothing_in_the_expiry_queue(make_site, monkeypatch):
    """A phone that registers and removes contact after contact, each for an hour."""
    monkeypatch.setattr(expiry, "_SWEEP_ABOVE", 50)
    site = make_site()
    phone = Phone(site)
    register(phone, contact="<sip:alice@203.0.113.7:1>")
    for port in range(2, 200):
        contact = f"<sip:alice@203.0.113.7:{port}>"
        register(phone, contact=contact, wait=0.01)
        register(phone, contact=contact, expires=0, wait=0.01)
    assert 1 == len(site.registrar.bindings)
    assert len(site.registrar._expiry) <= 51


def test_ever_shorter_times_leave_nothing_in_the_expiry_queue(make_site, monkeypatch):
    monkeypatch.setattr(expiry, "_SWEEP_ABOVE", 50)
    site = make_site()
    phone = Phone(site)
    for expires in range(3600, 3400, -1):
        register(phone, expires=expires, wait=0.003)
    assert len(site.registrar._expiry) <= 51
