"""Renewal, removal, query, several phones and contacts, requests out of order, expiry, restart."""

from __future__ import annotations

import shutil

import pytest

from sbc.events import RegistrationChanged
from sbc.flow import Flow
from sbc.registration.archive import WRITE_BEHIND
from sbc.sip.headers import NameAddr
from sbc.store.sqlite import SqliteStore
from tests.helpers.scripted_servers import DigestRegistrar, MemoryStore, Phone, accept, refuse, silent

AOR = "sip:alice@example.com"


def contacts_of(response) -> list[tuple[str, str]]:
    found = [NameAddr.parse(value) for value in response.get_all("Contact")]
    return [(contact.uri_text, contact.parameters["expires"]) for contact in found]


def register(phone, *lines, **changes) -> int:
    phone.register(*lines, **changes)
    phone.site.clock.advance(0.1)
    return phone.answers[-1]


# Renewal and expiry


def test_renewal_keeps_token_and_prolongs(site):
    phone = Phone(site)
    register(phone, expires=600)
    (binding,) = site.registrar.bindings_for_aor(AOR)
    site.clock.advance(500)
    register(phone, expires=600)
    site.clock.advance(500)
    assert [binding] == site.registrar.bindings_for_aor(AOR)
    assert 1 == len({NameAddr.parse(request.get("Contact")).uri_text for _, request in site.primary.requests})


def test_binding_ends_when_its_time_is_over(site):
    phone = Phone(site)
    register(phone, expires=600)
    site.clock.advance(599)
    assert 1 == site.registrar.count("office")
    site.clock.advance(2)
    assert 0 == site.registrar.count("office")
    last = [event for event in site.events if isinstance(event, RegistrationChanged)][-1]
    assert ("registered", "unregistered", "expired") == (last.old, last.new, last.reason)
    assert {} == site.store.bindings


def test_one_timer_for_all_bindings(site):
    for port in range(5100, 5110):
        register(Phone(site, user=f"u{port}", port=port), expires=600)
    site.clock.advance(60)
    assert 1 == len(site.queue)


def test_a_registration_that_could_not_be_renewed_lapses_alone(site):
    phone = Phone(site)
    register(phone, expires=600)
    site.clock.advance(500)
    site.fallback.reply = silent
    phone.register(expires=600)
    site.clock.advance(50)
    assert "registered" == site.state("fallback")
    site.clock.advance(100)
    assert ["registered", "unregistered"] == [site.state("primary"), site.state("fallback")]


def test_phone_that_moved_is_found_at_its_new_address(site):
    """The Contact stays, the source address changes: calls go where the last REGISTER came from."""
    phone = Phone(site)
    register(phone)
    phone.flow.move(("203.0.113.99", 1024))
    register(phone)
    (binding,) = site.registrar.bindings_for_aor(AOR)
    assert ("203.0.113.99", 1024) == (binding.host, binding.port)


@pytest.mark.parametrize(
    "settings, wanted, asked",
    [
        ({}, 3600, 3600),
        ({}, 7200, 3600),  # the server's `expires` is the most that is asked
        ({}, None, 3600),  # sofia names no time at all
        ({}, 10, 60),  # D11: not below min_expires
        ({"max_expires": 300}, 3600, 300),  # V15
        ({"max_expires": 300}, 120, 120),
    ],
)
def test_time_asked_for(make_site, settings, wanted, asked):
    site = make_site(**settings)
    phone = Phone(site)
    register(phone, expires=wanted)
    assert str(asked) == NameAddr.parse(site.primary.last.get("Contact")).parameters["expires"]
    assert [("sip:alice@203.0.113.7:5062;line=1", str(asked))] == contacts_of(phone.last)


def test_grant_in_the_expires_header(site):
    """10.2.4: a server may say it there only."""
    site.primary.reply = lambda request: refuse(200, None, ("Expires", "500"))(request)
    phone = Phone(site)
    register(phone)
    assert "500" == contacts_of(phone.last)[0][1]


def test_server_that_drops_uri_parameters(site):
    """Its only Contact must be ours."""
    site.primary.reply = refuse(200, None, ("Contact", "<sip:alice@198.51.100.1>;expires=400"))
    phone = Phone(site)
    register(phone)
    assert "400" == contacts_of(phone.last)[0][1]


# Removal


def test_removal_goes_to_all_servers(site):
    """D13."""
    phone = Phone(site)
    register(phone)
    assert 200 == register(phone, expires=0)
    assert [] == phone.last.get_all("Contact")
    assert [] == site.registrar.bindings_for_aor(AOR)
    for server in site.servers:
        first, second = (NameAddr.parse(request.get("Contact")) for _, request in server.requests)
        assert first.uri_text == second.uri_text
        assert "0" == second.parameters["expires"]
        assert server.requests[0][1].call_id == server.requests[1][1].call_id
    assert {} == site.store.bindings


def test_removal_with_a_dead_server(site):
    """D13: best effort there, and the phone does not wait."""
    phone = Phone(site)
    register(phone)
    site.take_down(site.primary)
    site.primary.reply = silent
    assert 200 == register(phone, expires=0)
    assert 2 == len(site.primary.requests)
    assert [] == site.registrar.bindings_for_aor(AOR)


def test_removal_by_somebody_else_is_challenged(site):
    site.primary.reply = DigestRegistrar("example.com", {"alice": "secret"}, "N1")
    phone = Phone(site)
    phone.register()
    site.clock.advance(0.1)
    assert 200 == register(phone, authorization=phone.answer_to(phone.last))
    assert 401 == register(Phone(site, port=7777), contact=phone.contact, expires=0)
    assert 1 == len(site.registrar.bindings_for_aor(AOR))
    assert "registered" == site.state("fallback")


def test_proven_removal_with_both_dead(make_site, password_file):
    """Our own copy is removed at once; the phone is told so."""
    site = make_site(credentials=password_file(("alice", "example.com", "secret")))
    for server, nonce in zip(site.servers, ("N1", "N2"), strict=True):
        server.reply = DigestRegistrar("example.com", {"alice": "secret"}, nonce)
    phone = Phone(site)
    phone.register()
    site.clock.advance(0.1)
    challenge = phone.last
    register(phone, authorization=phone.answer_to(challenge))
    for server in site.servers:
        server.unreachable = True
    assert 200 == register(phone, authorization=phone.answer_to(challenge), expires=0)
    assert [] == site.registrar.bindings_for_aor(AOR)


def test_removal_of_all_is_spelled_out(site):
    """D13: `*` would remove contacts at the servers that are not ours."""
    phones = [Phone(site, port=5062), Phone(site, port=5064)]
    for phone in phones:
        register(phone)
    assert 200 == register(phones[0], contact="*", expires=0)
    removed = [NameAddr.parse(value) for value in site.fallback.last.get_all("Contact")]
    assert ["0", "0"] == [contact.parameters["expires"] for contact in removed]
    assert 2 == len({contact.uri.parameters["gw-tok"] for contact in removed})
    assert [] == phones[0].last.get_all("Contact")
    assert [] == site.registrar.bindings_for_aor(AOR)


def test_removal_of_all_without_any(site):
    """A phone that cleans up when it starts: asked as a query, so that a stranger is still challenged."""
    phone = Phone(site)
    assert 200 == register(phone, contact="*", expires=0)
    assert not site.primary.last.has("Contact")


@pytest.mark.parametrize("contact, expires", [("*", 3600), ("*", None), ("*, <sip:alice@203.0.113.7>", 0)])
def test_removal_of_all_needs_expires_0(site, contact, expires):
    """10.3 item 6."""
    phone = Phone(site)
    with pytest.raises(Exception, match="Contact"):  # the layer has answered; the transport counts what it is told
        phone.register(contact=contact, expires=expires)
    assert [400] == phone.answers
    assert [] == site.primary.requests


def test_removal_of_an_unknown_contact_reaches_the_servers(make_site):
    """After a loss of the store: the token is the same as before, so the old binding at the server is hit."""
    before, after = make_site(), make_site()
    register(Phone(before))
    assert 200 == register(Phone(after), expires=0)
    (registered,), (removed,) = (site.primary.last.get_all("Contact") for site in (before, after))
    assert NameAddr.parse(registered).uri_text == NameAddr.parse(removed).uri_text


# Query


def test_query_is_answered_with_what_we_know(site):
    """10.2.3; one server is asked, to let it challenge."""
    phone = Phone(site)
    register(phone)
    site.clock.advance(600)
    before = len(site.fallback.requests)
    assert 200 == register(phone, contact=None, expires=None)
    assert [("sip:alice@203.0.113.7:5062;line=1", "3000")] == contacts_of(phone.last)
    assert not site.primary.last.has("Contact")
    assert before == len(site.fallback.requests)


def test_query_by_a_stranger_is_challenged(site):
    site.primary.reply = DigestRegistrar("example.com", {"alice": "secret"}, "N1")
    assert 401 == register(Phone(site), contact=None, expires=None)


# Several


def test_several_phones_of_one_number(site):
    phones = [Phone(site, port=port) for port in (5062, 5064, 5066)]
    for phone in phones:
        register(phone)
    bindings = site.registrar.bindings_for_aor("SIP:alice@EXAMPLE.com:5060;transport=udp")
    assert [5062, 5064, 5066] == [binding.port for binding in bindings]
    assert 3 == len({binding.token for binding in bindings})
    assert "203.0.113.7:5066" in phones[2].last.get_all("Contact")[0]  # the phone's own comes first
    register(phones[1], expires=0)
    assert [5062, 5066] == [binding.port for binding in site.registrar.bindings_for_aor(AOR)]


def test_several_contacts_of_one_phone(site):
    """One REGISTER each way; one of the contacts is removed by it."""
    phone = Phone(site)
    both = "<sip:alice@203.0.113.7:5062>;expires=600, <sip:alice@203.0.113.7:5062;transport=tcp>;expires=1200"
    register(phone, contact=both)
    assert [("sip:alice@203.0.113.7:5062", "600"), ("sip:alice@203.0.113.7:5062;transport=tcp", "1200")] == contacts_of(
        phone.last
    )
    assert 2 == len(site.primary.last.get_all("Contact"))
    register(phone, contact=both.replace("=600", "=0"))
    assert [("sip:alice@203.0.113.7:5062;transport=tcp", "1200")] == contacts_of(phone.last)
    told = [NameAddr.parse(value) for value in site.fallback.last.get_all("Contact")]
    assert ["0", "1200"] == [contact.parameters["expires"] for contact in told]


def test_too_many_contacts(site):
    phone = Phone(site)
    with pytest.raises(Exception, match="Too Many Contacts"):
        phone.register(contact=", ".join(f"<sip:a@203.0.113.7:{port}>" for port in range(5000, 5011)))
    assert [400] == phone.answers


# Order


def test_newer_register_takes_the_place_of_one_under_way(site):
    """The old one must not come last at a server, nor change anything when it is answered late."""
    site.primary.reply = site.fallback.reply = silent
    phone = Phone(site)
    phone.register()
    site.clock.advance(5)
    site.primary.reply = site.fallback.reply = accept(900)
    phone.register()
    site.clock.advance(1)
    assert [500, 200] == phone.answers
    sends = len(site.primary.sends)
    site.clock.advance(60)
    assert sends == len(site.primary.sends)
    assert site.primary.requests[0][1].cseq < site.primary.requests[1][1].cseq
    assert site.primary.requests[0][1].call_id == site.primary.requests[1][1].call_id


def test_older_register_is_refused(site):
    """10.3 item 7: CSeq must grow within a Call-ID."""
    phone = Phone(site)
    register(phone, cseq=10)
    assert 500 == register(phone, cseq=9)
    assert 500 == register(phone, cseq=10)
    assert 200 == register(phone, cseq=11)
    assert 2 == len(site.primary.requests)


def test_older_register_than_the_one_under_way_is_refused(site):
    site.primary.delay = 1
    phone = Phone(site)
    phone.register(cseq=10)
    phone.register(cseq=9)
    assert [500] == phone.answers
    site.clock.advance(2)
    assert [500, 200] == phone.answers


def test_other_call_id_starts_anew(site):
    """A phone that was restarted."""
    phone = Phone(site)
    register(phone, cseq=10)
    phone.call_id = "after-restart"
    assert 200 == register(phone, cseq=1)


def test_other_host_cannot_interrupt(site):
    site.primary.delay = 1
    phone, stranger = Phone(site), Phone(site)
    stranger.flow.move(("203.0.113.250", 5062))
    phone.register()
    site.clock.advance(0.1)
    stranger.register(cseq=99)
    site.clock.advance(3)
    assert 200 == phone.answers[0]


def test_two_phones_with_one_call_id_and_cseq(site):
    """Two twinkles started in the same second; only the sent-by port differs."""
    first, second = Phone(site, port=5062), Phone(site, port=5064)
    second.call_id = first.call_id
    first.register(branch="z9hG4bKsame")
    second.register(branch="z9hG4bKsame")
    site.clock.advance(1)
    assert [[200], [200]] == [first.answers, second.answers]


# Restart


def test_bindings_survive_a_restart(make_site):
    store = MemoryStore()
    before = make_site(store=store)
    phone = Phone(before)
    register(phone)
    token = NameAddr.parse(before.primary.last.get("Contact")).uri.parameters["gw-tok"]
    call_id = before.primary.last.call_id
    saved = MemoryStore()
    saved.bindings, saved.registrations = dict(store.bindings), dict(store.registrations)

    after = make_site(store=saved, wall=1.7e9 + 600)
    binding = after.registrar.binding_for_token(token)
    assert "sip:alice@203.0.113.7:5062;line=1" == binding.contact_uri
    assert ("203.0.113.7", 5062) == (binding.host, binding.port)
    assert 3000 == round(binding.expires_at - after.clock.seconds())
    assert "registered" == after.state("fallback")
    again = Phone(after)
    again.cseq = phone.cseq
    assert 200 == register(again)
    assert token == NameAddr.parse(after.primary.last.get("Contact")).uri.parameters["gw-tok"]
    assert call_id != after.primary.last.call_id  # D10: the counter is gone, so the series is a new one


def test_expired_bindings_are_not_restored(make_site):
    store = MemoryStore()
    register(Phone(make_site(store=store)))
    saved = MemoryStore()
    saved.bindings, saved.registrations = dict(store.bindings), dict(store.registrations)
    after = make_site(store=saved, wall=1.7e9 + 4000)
    assert 0 == after.registrar.count("office")
    assert {} == saved.bindings


def test_clock_set_back_makes_no_binding_live_longer(make_site):
    """D32."""
    store = MemoryStore()
    register(Phone(make_site(store=store)), expires=600)
    saved = MemoryStore()
    saved.bindings = dict(store.bindings)
    after = make_site(store=saved, wall=1.6e9)
    (binding,) = after.registrar.bindings_for_aor(AOR)
    assert 600 == round(binding.expires_at - after.clock.seconds())


def test_stored_before_the_answer_leaves(make_site):
    """kill -9 right after the phone was told must not lose what it was told."""
    store = MemoryStore()
    site = make_site(store=store)
    phone = Phone(site)
    send = phone.flow.send
    phone.flow.send = lambda data: (store.log.append("answered"), send(data))
    phone.register()
    site.clock.advance(0.1)
    assert "saved" == store.log[store.log.index("answered") - 1]
    assert 1 == len(store.bindings)


def test_late_results_are_stored(make_site):
    store = MemoryStore()
    site = make_site(store=store)
    site.fallback.delay = 5
    phone = Phone(site)
    phone.register()
    site.clock.advance(6)
    assert ["registered", "registered"] == [row.state for row in store.registrations.values()]


def test_bytes_that_are_not_utf_8_survive_the_disk(make_site, tmp_path):
    contact = '"\udcff\udcfe" <sip:alice@203.0.113.7:5062>'
    site = make_site(store=SqliteStore(tmp_path / "a", print))
    assert 200 == register(Phone(site), contact=contact)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    after = make_site(store=SqliteStore(tmp_path / "b", print))
    assert [contact] == [binding.contact for binding in after.registrar.bindings_for_aor(AOR)]


def test_describe(site):
    site.fallback.reply = refuse(404)
    register(Phone(site))
    described = site.registrar.describe(site.clock.seconds())
    (phone,) = described["phones"]
    assert (AOR, "203.0.113.7:5062;udp", 3600) == (phone["aor"], phone["source"], phone["expires_in"])
    assert [("primary", "registered"), ("fallback", "failed")] == [
        (entry["server"], entry["state"]) for entry in phone["servers"]
    ]
    assert {"primary": {"registered": 1}, "fallback": {"failed": 1}} == described["servers"]
    assert {("office", "primary", "registered"): 1, ("office", "fallback", "failed"): 1} == dict(
        site.registrar.registration_counts()
    )


# Written behind


def killed(store: MemoryStore) -> MemoryStore:
    """What is on disk at this moment."""
    left = MemoryStore()
    left.bindings, left.registrations = dict(store.bindings), dict(store.registrations)
    return left


def test_renewals_are_written_together(make_site):
    """A renewal that changes nothing but the time does not wait for the disk."""
    store = MemoryStore()
    site = make_site(store=store)
    phones = [Phone(site, user=f"phone{number}") for number in range(10)]
    for phone in phones:
        register(phone)
    site.clock.advance(100)
    store.log.clear()
    for phone in phones:
        phone.register()
        site.clock.advance(0.01)
    assert [[200, 200]] * 10 == [phone.answers for phone in phones]
    assert [] == store.log
    site.clock.advance(WRITE_BEHIND)
    assert ["saved"] == store.log
    wall = site.wall_clock()
    assert all(row.expires_at > wall + 3590 and row.cseq == 2 for row in store.bindings.values())
    assert all(row.expires_at > wall + 3590 for row in store.registrations.values())


def test_many_renewals_are_written_a_part_at_a_time(make_site):
    store = MemoryStore()
    site = make_site(store=store)
    phones = [Phone(site, user=f"phone{number}") for number in range(600)]
    for phone in phones * 2:
        phone.register()
    site.clock.advance(0.1)
    for phone in phones:
        phone.register()
    site.clock.advance(0.01)
    store.log.clear()
    site.clock.advance(2)
    assert 12 == len(store.log)
    assert {3} == {row.cseq for row in store.bindings.values()}


@pytest.mark.parametrize("change", ["address", "contact", "server"])
def test_what_a_call_would_miss_is_written_at_once(make_site, change):
    store = MemoryStore()
    site = make_site(store=store)
    phone = Phone(site)
    register(phone)
    site.clock.advance(5)
    store.log.clear()
    if change == "address":
        phone.flow.move(("203.0.113.7", 5099))
    elif change == "contact":
        phone.contact = phone.contact.replace("q=0.5", "q=0.6")
    else:
        site.fallback.reply = refuse(403)
    phone.register()
    site.clock.advance(0.1)
    assert ["saved"] == store.log
    (row,) = store.bindings.values()
    assert 2 == row.cseq


def test_kill_right_after_a_renewal(make_site):
    """The phone was told that it is registered for an hour more, and the disk does not know it yet."""
    store = MemoryStore()
    before = make_site(store=store)
    register(Phone(before))
    before.clock.advance(3595)
    phone = Phone(before)
    phone.cseq = 1
    register(phone)
    wall = before.wall_clock()
    left = killed(store)
    assert [1] == [row.cseq for row in left.bindings.values()]

    after = make_site(store=left, wall=wall + 30)
    assert 1 == after.registrar.count("office")
    after.clock.advance(3500)
    assert 1 == after.registrar.count("office")
    again = Phone(after)
    again.cseq = 2
    assert 200 == register(again)
    assert [again.contact + ";expires=3600"] == again.last.get_all("Contact")
    after.clock.advance(3601)
    assert 0 == after.registrar.count("office")


def test_restored_contact_that_is_not_renewed_ends(make_site):
    store = MemoryStore()
    register(Phone(make_site(store=store)))
    after = make_site(store=killed(store), wall=1.7e9 + 600)
    other = Phone(after, port=5070)
    after.clock.advance(3001)
    assert 200 == register(other)
    assert 1 == len(other.last.get_all("Contact"))  # the first has lapsed, for all that we know
    after.clock.advance(3600 + 1)
    assert 0 == after.registrar.count("office")


def test_contact_that_lapsed_leaves_the_disk(make_site):
    store = MemoryStore()
    site = make_site(store=store)
    register(Phone(site))
    site.clock.advance(3600 + WRITE_BEHIND)
    assert ({}, {}) == (store.bindings, store.registrations)


def test_contact_that_comes_back_as_it_lapses_is_on_disk(make_site):
    store = MemoryStore()
    site = make_site(store=store)
    phone = Phone(site)
    register(phone)
    site.clock.advance(3600)
    assert 0 == site.registrar.count("office")
    register(phone)
    site.clock.advance(2)
    assert 1 == len(store.bindings)


def test_closing_writes_all_that_waits(site):
    """More renewals than are written at once: none is left for a timer that will never run."""
    phones = [Phone(site, user=f"u{number}") for number in range(300)]
    for phone in phones:
        assert register(phone, expires=600) == 200
    late = [binding.expires_at for binding in site.registrar.bindings]
    for phone in phones:
        phone.register(expires=3600)
    site.clock.advance(0.1)
    site.registrar.close()
    rows, _ = site.store.load_registrations()
    offset = site.wall_clock() - site.clock.seconds()
    assert min(row.expires_at for row in rows) - offset > max(late)


def test_empty_contact_is_a_query(site):
    phone = Phone(site)
    register(phone)
    assert 200 == register(phone, "Contact:", contact=None, expires=None)
    assert 1 == len(site.registrar.bindings_for_aor(AOR))
    assert not site.primary.last.has("Contact")


def test_a_new_contact_is_told_to_other_processes(site):
    """Not its renewals; its removal, too, because the one to remove it may not be the one that has it."""
    moved = []
    site.registrar.moved_here = moved.append
    phone = Phone(site)
    register(phone)
    (binding,) = site.registrar.bindings
    assert [binding.token] == moved
    register(phone)
    assert [binding.token] == moved
    register(phone, expires=0)
    assert len(moved) > 1 and {binding.token} == set(moved)


def test_a_contact_that_moved_away_is_forgotten_in_silence(site):
    """The servers have it as before; another process of ours answers for it."""
    phone = Phone(site)
    register(phone)
    (binding,) = site.registrar.bindings
    before = len(site.events), len(site.primary.requests)
    site.registrar.moved_away(binding.token)
    assert 0 == len(site.registrar.bindings)
    assert {} == site.store.bindings
    assert before == (len(site.events), len(site.primary.requests))
    site.registrar.moved_away(binding.token)


def test_phone_with_another_connection_is_found_by_its_contact(site):
    """RFC 5626 4.2: a request inside a dialog names the Contact; where it leads is where the phone has registered last."""
    phone = Phone(site)
    uri = "sip:alice@203.0.113.7:5062;line=1"
    for port in (40001, 40002):
        Flow.__init__(phone.flow, "tcp", "phones", "198.51.100.1:5060", ("198.51.100.1", 5060), ("203.0.113.7", port))
        phone.register()
        site.clock.advance(1)
        assert port == site.registrar.binding_with_contact("tcp", "203.0.113.7", uri).port
    assert None is site.registrar.binding_with_contact("tls", "203.0.113.7", uri)
    phone.flow.move(("203.0.113.7", 5062))
    phone.register()
    site.clock.advance(1)
    assert None is site.registrar.binding_with_contact("tcp", "203.0.113.7", uri)


def test_nonce_outlives_a_restart(make_site):
    """A phone that shows its last nonce unasked is let in at once, by the server that issued it (D9)."""
    before = make_site(servers=1)
    before.primary.reply = DigestRegistrar("example.com", {"alice": "secret"}, "N1")
    phone = Phone(before)
    phone.register()
    before.clock.advance(1)
    challenge = phone.last
    phone.register(authorization=phone.answer_to(challenge))
    before.clock.advance(10)
    after = make_site(servers=1, store=before.store)
    after.primary.reply = before.primary.reply
    phone.site = after
    phone.register(authorization=phone.answer_to(challenge))
    after.clock.advance(1)
    assert [401, 200, 200] == phone.answers
    assert 1 == len(after.primary.requests)
