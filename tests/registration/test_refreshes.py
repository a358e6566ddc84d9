"""Refreshes that change nothing are answered here while no server has to hear of them (D11, D12, D34)."""

from __future__ import annotations

import gc
import os
from contextlib import suppress
from email.utils import parsedate_to_datetime

import pytest

from sbc.flow import Flow
from sbc.registration.quarantine import Kept
from sbc.sip.errors import MalformedMessage
from sbc.sip.headers import NameAddr
from tests.helpers.scripted_servers import OURS, DigestRegistrar, MemoryStore, Phone, PhoneFlow, Site, accept, refuse, silent

SHORT = 60


def binding_of(site: Site, user: str = "alice"):
    return site.registrar.bindings_for_aor(f"sip:{user}@example.com")[0]


def be_quiet(site: Site, user: str = "alice", seconds: float = 3000) -> None:
    """No server has to hear of this phone for so long."""
    binding_of(site, user).quiet_until = site.clock.seconds() + seconds


def be_quiet_all(site: Site) -> None:
    for binding in site.registrar.bindings:
        binding.quiet_until = site.clock.seconds() + 3000


def registered(site: Site, user: str = "alice", **options) -> Phone:
    """A phone that the servers have accepted, and that is left in peace by them for a while."""
    phone = Phone(site, user, **options)
    phone.register()
    site.clock.advance(1)
    assert 200 == phone.answers[-1]
    be_quiet(site, user)
    return phone


def known(site: Site, **options) -> Phone:
    """One whose next refresh may be answered at once: another has been looked at."""
    phone = registered(site, **options)
    phone.register()
    assert 1 == asked(site)
    return phone


def asked(site: Site) -> int:
    """REGISTERs that each server has seen; all the same number."""
    (number,) = {len(server.requests) for server in site.servers}
    return number


def granted(phone: Phone) -> list[int]:
    """Seconds in each Contact of the last answer."""
    return [int(NameAddr.parse(value).parameters["expires"]) for value in phone.last.get_all("Contact")]


@pytest.fixture
def short(make_site) -> Site:
    """A site whose phones refresh every minute, and whose servers grant an hour."""
    return make_site(phone_expires=SHORT)


def test_no_server_hears_of_a_refresh_that_changes_nothing(short):
    """D12: the servers see their own rhythm, whatever that of the phones is."""
    phone = registered(short)
    for _ in range(40):
        short.clock.advance(50)
        phone.register()
        assert [phone.contact + f";expires={SHORT}"] == phone.last.get_all("Contact")
    assert 1 == asked(short)
    assert [200] * 41 == phone.answers
    assert {"office": 40} == short.registrar.refreshes.answered()


def test_the_second_is_answered_without_a_transaction(short):
    phone = registered(short)
    short.clock.advance(50)
    phone.register()
    with_transaction = short.layer.transactions["server", "non-invite"]
    short.clock.advance(40)
    phone.register()
    assert [1, 0] == [with_transaction, short.layer.transactions["server", "non-invite"]]
    assert [SHORT] == granted(phone)


def test_when_a_server_has_to_hear_of_it_it_does(short):
    phone = known(short)
    short.clock.advance(50)
    binding_of(short).quiet_until = 0.0
    phone.register()
    short.clock.advance(1)
    assert 2 == asked(short)
    be_quiet(short)
    phone.register()
    phone.register()
    assert 2 == asked(short)


@pytest.mark.parametrize("first", [True, False], ids=["looked at", "at once"])
@pytest.mark.parametrize("check", ["off", "source"])
def test_the_administrator_decides_whether_it_is_done(make_site, check, first):
    site = make_site(refresh_check=check, phone_expires=SHORT)
    phone = registered(site)
    if not first:
        phone.register()
        site.clock.advance(1)
        be_quiet(site)
    before = asked(site)
    phone.register()
    site.clock.advance(1)
    assert before + (check == "off") == asked(site)


# Who is it, and does it say the same?


def other_port(phone: Phone) -> None:
    phone.flow = PhoneFlow(("203.0.113.7", 40_000), phone.site.clock)
    phone.register()


def other_host(phone: Phone) -> None:
    phone.flow = PhoneFlow(("203.0.113.99", 5062), phone.site.clock)
    phone.register()


def other_transport(phone: Phone) -> None:
    Flow.__init__(phone.flow, "tcp", "phones", "198.51.100.1:5060", OURS, phone.flow.remote)
    phone.register()


def other_socket_of_ours(phone: Phone) -> None:
    Flow.__init__(phone.flow, "udp", "phones", "198.51.100.1:5070", (OURS[0], 5070), phone.flow.remote)
    phone.register()


def other_call_id(phone: Phone) -> None:
    phone.call_id = "somebody-elses"
    phone.register()


def other_contact_parameter(phone: Phone) -> None:
    phone.register(contact=phone.contact.replace("q=0.5", "q=0.6"))


def other_spelling_of_the_contact(phone: Phone) -> None:
    phone.register(contact=phone.contact.replace(";q=", "; q="))


def other_contact(phone: Phone) -> None:
    phone.register(contact="<sip:alice@203.0.113.7:5099>")


def another_contact(phone: Phone) -> None:
    phone.register("Contact: <sip:alice@203.0.113.7:5099>")


def another_contact_in_the_line(phone: Phone) -> None:
    phone.register(contact=f"{phone.contact}, <sip:alice@203.0.113.7:5099>")


def another_contact_in_compact_form(phone: Phone) -> None:
    phone.register("m: <sip:alice@203.0.113.7:5099>")


def removal(phone: Phone) -> None:
    phone.register(expires=0)


def removal_in_the_contact(phone: Phone) -> None:
    phone.register(contact=f"{phone.contact};expires=0")


def removal_of_all(phone: Phone) -> None:
    phone.register(contact="*", expires=0)


def query(phone: Phone) -> None:
    phone.register(contact=None)


def other_time(phone: Phone) -> None:
    phone.register(expires=1800)


def no_time(phone: Phone) -> None:
    phone.register(expires=None)


def other_number(phone: Phone) -> None:
    phone.user = "bob"
    phone.register()


CHANGES = [
    other_port, other_host, other_transport, other_socket_of_ours, other_call_id, other_contact_parameter,
    other_spelling_of_the_contact, other_contact, another_contact, another_contact_in_the_line,
    another_contact_in_compact_form, removal, removal_in_the_contact, removal_of_all, query, other_time, no_time, other_number,
]


@pytest.mark.parametrize("first", [True, False], ids=["looked at", "at once"])
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_whatever_changes_something_goes_to_the_servers(make_site, change, first):
    site = make_site(servers=1, phone_expires=SHORT)
    phone = registered(site)
    if not first:
        phone.register()
    before = len(site.primary.requests)
    change(phone)
    site.clock.advance(1)
    assert before < len(site.primary.requests), "no server has heard of it"
    assert phone.answers, "and it has no answer"


@pytest.mark.parametrize("first", [True, False], ids=["looked at", "at once"])
def test_what_it_requires_is_looked_at(short, first):
    phone = registered(short) if first else known(short)
    phone.register("Require: outbound")
    assert 420 == phone.answers[-1]
    phone.register("Require: x-anything")
    short.clock.advance(1)
    assert 2 == asked(short)


def test_lower_cseq_is_not_answered_from_memory(short):
    """RFC 3261 10.3 item 7: older than what a server has accepted, it is refused; older than what was answered here, the
    servers say what it is worth."""
    phone = registered(short)
    phone.register(cseq=10)
    phone.register(cseq=20)
    assert 1 == asked(short)
    phone.register(cseq=15)
    short.clock.advance(1)
    assert 2 == asked(short)
    be_quiet(short)
    phone.register(cseq=14)
    assert 500 == phone.answers[-1]
    assert [200] * 4 == phone.answers[:-1]


def test_who_forges_the_source_cannot_use_up_the_phones_cseq(short):
    """The phone goes on with its own numbers, and is served."""
    phone = known(short)
    forger = Phone(short)
    forger.register(cseq=2**31 - 1)  # the same address, Call-ID and Contact
    assert 1 == asked(short)
    for _ in range(3):
        short.clock.advance(40)
        phone.register()
        short.clock.advance(1)
        assert 200 == phone.answers[-1]


def test_who_forges_the_source_lengthens_nothing(short):
    """It lasts as long as the servers hold it, and no longer, however often somebody refreshes it here."""
    phone = known(short)
    held_until = min(upstream.expires_at for upstream in binding_of(short).upstreams)
    for server in short.servers:
        server.reply = silent
    while short.clock.seconds() < held_until + 100:
        for binding in short.registrar.bindings:
            assert binding.expires_at <= held_until
            binding.quiet_until = short.clock.seconds() + 1000
        phone.register()
        short.clock.advance(20)
    assert 0 == len(short.registrar.bindings)


def test_a_repetition_gets_the_same_answer(short):
    """RFC 3261 8.2.7; also when a server has to hear of the next one meanwhile."""
    phone = known(short)
    short.clock.advance(30)
    phone.register(branch="z9hG4bK-again")
    first = phone.last.to_bytes()
    expires_at = binding_of(short).expires_at
    short.clock.advance(4)
    phone.register(cseq=phone.cseq, branch="z9hG4bK-again")
    binding_of(short).quiet_until = 0.0
    phone.register(cseq=phone.cseq, branch="z9hG4bK-again")
    assert [first, first] == [answer.to_bytes() for _, answer in phone.flow.sent[-2:]]
    assert expires_at == binding_of(short).expires_at
    assert 1 == asked(short)


def test_the_same_number_with_another_branch_is_no_repetition(short):
    """RFC 3261 17.2.3. A server hears of it, which may refuse it."""
    phone = known(short)
    for number in (2, 3):
        phone.register()
        phone.register(cseq=phone.cseq)
        short.clock.advance(1)
        assert number == asked(short)
        be_quiet(short)
        phone.register()


def test_a_repetition_of_one_that_was_looked_at_belongs_to_its_transaction(short):
    """Which counts it, and gives the same answer."""
    phone = registered(short)
    for _ in range(2):
        phone.register(cseq=phone.cseq if phone.cseq == 2 else None, branch="z9hG4bK-again")
    first, second = [answer.to_bytes() for _, answer in phone.flow.sent[-2:]]
    assert first == second
    assert 1 == short.layer.retransmissions["phones", "REGISTER"]


def test_a_repetition_of_one_that_was_refused_is_refused(short):
    """17.2.2: although it would be answered from memory now."""
    phone = known(short)
    phone.register()
    binding = binding_of(short)
    short.registrar._quarantine.keep(
        binding.host, binding.token, Kept(short.clock.seconds() + 5, binding.aor, "", "office", "loop")
    )
    phone.register(branch="z9hG4bK-refused")
    short.clock.advance(6)
    phone.register(cseq=phone.cseq, branch="z9hG4bK-refused")
    assert [500, 500] == phone.answers[-2:]
    phone.register()
    assert 200 == phone.answers[-1]
    assert 1 == asked(short)


def test_a_phone_that_says_something_new_each_time_is_read_each_time(short):
    """No stencil is made for what none has fitted so far; and after a server has heard of it, it is tried anew."""
    phone = registered(short)
    refreshes = short.registrar.refreshes
    kept = []
    for number in range(6):
        phone.register(f"X-Uptime: {number}")
        kept.append(len(refreshes))
    assert [1, 1, 1, 0, 0, 0] == kept
    assert 1 == asked(short)
    binding_of(short).quiet_until = 0.0
    phone.register()
    short.clock.advance(1)
    be_quiet(short)
    phone.register()
    assert 1 == len(refreshes)


def test_no_stencil_of_what_would_not_be_found(short):
    phone = registered(short)
    phone.call_id = "x" * 5000
    phone.register()
    short.clock.advance(1)
    be_quiet(short)
    phone.register()
    assert 200 == phone.answers[-1]
    assert 0 == len(short.registrar.refreshes)


def test_a_repetition_of_one_that_a_server_answers_belongs_to_its_transaction(short):
    phone = known(short)
    binding_of(short).quiet_until = 0.0
    phone.register(branch="z9hG4bK-again")
    be_quiet(short)
    phone.register(cseq=phone.cseq, branch="z9hG4bK-again")
    short.clock.advance(1)
    phone.register(cseq=phone.cseq, branch="z9hG4bK-again")
    assert [200] * 4 == phone.answers
    assert phone.flow.sent[-1][1].to_bytes() == phone.flow.sent[-2][1].to_bytes()
    assert 2 == asked(short)


def test_one_that_an_exchange_is_about_is_not_answered_from_memory(short):
    """A server has not said its word yet; the newer REGISTER takes the place of the older, as always."""
    phone = known(short)
    binding_of(short).quiet_until = 0.0
    for server in short.servers:
        server.delay = 1.0
    phone.register()
    be_quiet(short)
    phone.register()
    short.clock.advance(4)
    assert 3 == len(short.primary.requests)


def test_one_in_quarantine_is_not_answered_from_memory(short):
    """It is told to wait, as it is whatever it sends."""
    phone = known(short)
    binding = binding_of(short)
    quarantine = short.registrar._quarantine
    quarantine.keep(binding.host, binding.token, Kept(short.clock.seconds() + 100, binding.aor, "", "office", "loop"))
    phone.register()
    assert 500 == phone.answers[-1]
    short.clock.advance(101)
    be_quiet(short)
    phone.register()
    assert 200 == phone.answers[-1]
    assert 1 == asked(short)


@pytest.mark.parametrize("garbage", ["", "Contact: <", "Expires: x", "Contact: <sip:\xff@x>;expires=a", "To: <sip:x@y>", ":"])
def test_garbage_is_not_answered_from_memory(short, garbage):
    """What is sent with a phone's Call-ID, from its address: refused, or the servers' to judge, and never an exception."""
    phone = known(short)
    text = "\r\n".join([
        "REGISTER sip:example.com SIP/2.0", "Via: SIP/2.0/UDP 203.0.113.7:5062;branch=z9hG4bKgarbage",
        "From: <sip:alice@example.com>;tag=x", "To: <sip:alice@example.com>", f"Call-ID: {phone.call_id}",
        "CSeq: 99 REGISTER", garbage, "", "",
    ])  # fmt: skip
    for data in (text, text.replace("Contact:", "m:") + "body", text[: text.index(phone.call_id)], text[:-4]):
        assert short.registrar.refreshes.answer_to(data.encode("latin-1"), phone.flow) is None
        with suppress(MalformedMessage):
            short.receive(data.encode("latin-1"), phone.flow)
    short.clock.advance(1)


def test_the_tag_of_from_and_the_credentials_may_differ(short):
    """Some phones make a new tag for each REGISTER, and show the last nonce again; with "source" neither is looked at."""
    refreshes = short.registrar.refreshes
    phone = known(short)
    text = (
        "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.7:5062;branch=z9hG4bKa;rport\r\n"
        "Route: <sip:198.51.100.1;lr>\r\nMax-Forwards: 69\r\n"
        'From: "Alice" <sip:alice@example.com>;tag=phone;epid=12\r\nTo: <sip:alice@example.com>\r\n'
        f"Call-ID: {phone.call_id}\r\nCSeq: 50 REGISTER\r\nUser-Agent: Test Phone 1.0\r\nSupported: path, replaces\r\n"
        f"Content-Length: 0\r\nContact: {phone.contact}\r\nExpires: 3600\r\n\r\n"
    )

    def answered(changed: str) -> bool:
        return refreshes.answer_to(changed.encode(), phone.flow) is not None

    credentials = 'Authorization: Digest username="x", nc=00000001, response="%s"\r\n'
    text = text.replace("Expires: 3600\r\n", f"Expires: 3600\r\n{credentials % 1}")
    assert not answered(text)  # the one before had none
    short.receive(text.encode(), phone.flow)
    text = text.replace("CSeq: 50", "CSeq: 51")
    assert answered(text)
    same = (
        ("tag=phone", "tag=other"), ("CSeq: 60", "CSeq: 61"), ("bKa;rport", "bKother;rport"),
        (credentials % 1, (credentials % "other").replace("nc=00000001", "nc=2")),
    )  # fmt: skip
    other = (
        ("tag=phone", "Tag=phone"), ("epid=12", "epid=13"), ("example.com SIP", "example.org SIP"),
        ("path, replaces", "path"), ("Expires: 3600\r\n", "Expires: 3600\r\nX-New: 1\r\n"), ("Alice", "Alicf"),
        ("Content-Length: 0", "Content-Length:  0"), ("Route: <sip:198.51.100.1;lr>\r\n", ""), ("forwards: 69", "forwards: 0"),
        ("bKa;rport", "bKa;rport;x=1"), ("bKa;rport", "bKa"), ("bKa;rport", "bK a;rport"), (credentials % 1, ""),
        ("tag=phone", "tag="), ('response="1"', 'response=\r\n "1"'), ('response="1"', 'response="1"\r\nX-New: 1'),
        ("Via: SIP", "Via: SIP/2.0/UDP 198.51.100.9;branch=z9hG4bKx, SIP"),
        ("Route:", "Via: SIP/2.0/UDP 198.51.100.9;branch=z9hG4bKx\r\nRoute:"),
    )  # fmt: skip
    text = text.replace("CSeq: 51", "CSeq: 60").replace("Max-Forwards", "Max-forwards")
    assert not answered(text)  # another spelling, once
    text = text.replace("Max-forwards", "Max-Forwards")
    for number, (old, new) in enumerate(same):
        assert old in text
        assert answered(text.replace(old, new).replace("CSeq: 60", f"CSeq: {60 + number}")), new
    for old, new in other:
        old, new = old.replace("forwards", "Forwards"), new.replace("forwards", "Forwards")
        assert old in text, old
        assert not answered(text.replace(old, new).replace("CSeq: 60", "CSeq: 90")), new
    assert not answered(text.replace("CSeq: 60", "CSeq: 90").replace("Length: 0", "Length: 1") + "x")
    assert not answered(text.replace("CSeq: 60", "CSeq: 90").removesuffix("\r\n"))
    assert not answered(text.replace("CSeq: 60", "CSeq: 90") + "\r\n")
    assert not answered(text.replace("CSeq: 60", f"CSeq: {2**31}"))
    assert not answered(text.replace("CSeq: 60", "CSeq: 9O"))
    assert answered(text.replace("CSeq: 60", "CSeq: 90"))
    assert 1 == asked(short)


def test_the_answer_to_one_that_nobody_has_read(short):
    """RFC 3261 8.2.6.2: what it repeats is of this request, and its To tag is the one of before."""
    phone = known(short)
    phone.register()
    before = phone.last
    short.clock.advance(10)
    phone.register(branch="z9hG4bK-quite-another-branch", cseq=1_000_000)
    answer = phone.last
    assert "z9hG4bK-quite-another-branch" == answer.top_via.branch
    assert 1_000_000 == answer.cseq
    for name in ("From", "To", "Call-ID", "Contact", "Content-Length"):
        assert before.get(name) == answer.get(name), name
    assert before.to_tag
    assert 1 == asked(short)


def test_two_phones_with_one_call_id_are_told_apart(short):
    """Two twinkles that are started in the same second have it."""
    phones = [registered(short, port=5062), registered(short, port=5064)]
    for phone in phones:
        phone.call_id = "the-same"
        phone.register()
        short.clock.advance(1)
    be_quiet_all(short)
    before = asked(short)
    for _ in range(3):
        for phone in phones:
            phone.register()
            assert 200 == phone.answers[-1]
            assert [phone.contact + f";expires={SHORT}"] == [v for v in phone.last.get_all("Contact") if phone.contact in v]
    assert before == asked(short)


# What it is told


def test_shortest_time_that_a_server_holds_it_counts(make_site):
    """D11: what is granted here ends before what any of them has granted."""
    site = make_site(phone_expires=SHORT)
    site.primary.reply = accept(1200)
    site.fallback.reply = accept(300)
    phone = registered(site)
    for _ in range(4):
        site.clock.advance(59)
        phone.register()
        assert [SHORT] == granted(phone)
    assert 1 == asked(site)
    site.clock.advance(5)  # 58 s are left
    phone.register()
    site.clock.advance(1)
    assert 2 == asked(site)


def test_with_all_the_time_that_the_servers_give_they_hear_of_every_refresh(make_site):
    """phone_expires = 0: a shorter and shorter time would be all that is left to grant."""
    site = make_site()
    phone = registered(site)
    for number in range(3):
        be_quiet(site)
        site.clock.advance(100)
        phone.register()
        site.clock.advance(1)
        assert number + 2 == asked(site)
        assert [3600] == granted(phone)


def test_one_that_no_server_holds_is_not_answered_from_memory(short):
    phone = known(short)
    for upstream in binding_of(short).upstreams:
        upstream.state = "unregistered"
    phone.register()
    short.clock.advance(1)
    assert 2 == asked(short)


@pytest.mark.parametrize("first", [True, False], ids=["looked at", "at once"])
@pytest.mark.parametrize("registration", ["successive", "single"])
def test_when_the_server_that_has_it_dies_the_next_one_hears_of_it(make_site, registration, first):
    """Y33: with one registration at a time the phone is registered at the next server with its next refresh."""
    site = make_site(registration=registration, phone_expires=SHORT)
    phone = registered(site)
    assert [1, 0] == [len(server.requests) for server in site.servers]
    if not first:
        phone.register()
    site.primary.unreachable = True
    site.take_down(site.primary)
    be_quiet(site)
    phone.register()
    site.clock.advance(3)
    assert 1 <= len(site.fallback.requests)
    assert 200 == phone.answers[-1]


def test_when_one_of_two_dies_the_other_has_it_still(short):
    phone = known(short)
    short.take_down(short.primary)
    be_quiet(short)
    phone.register()
    assert 200 == phone.answers[-1]
    assert 1 == asked(short)


def test_when_all_are_dead_phones_are_answered_as_long_as_they_hold_it(short):
    """D34: nobody could hear of it."""
    phone = known(short)
    for server in short.servers:
        server.unreachable = True
        short.take_down(server)
    be_quiet(short)
    for _ in range(3):
        short.clock.advance(40)
        phone.register()
        assert 200 == phone.answers[-1]
    assert 1 == asked(short)


def test_no_longer_than_it_asks_for(make_site):
    site = make_site(phone_expires=600)
    site.primary.reply = site.fallback.reply = accept(3600)
    phone = Phone(site)
    phone.register(expires=120)
    site.clock.advance(1)
    be_quiet(site)
    for _ in range(2):
        phone.register(expires=120)
        assert [120] == granted(phone)
    assert 1 == asked(site)


def test_what_the_server_said_is_said_again(short):
    """D11: as the answer that a server had a part in, with the Date of now, and without what was about its credentials."""
    headers = (("Server", "any/1"), ("Date", "Thu, 01 Jan 1970 00:00:00 GMT"), ("Expires", "9"), ("P-Associated-URI", "<sip:1@x>"),
               ("Service-Route", "<sip:x;lr>"), ("Authentication-Info", 'nextnonce="n"'))  # fmt: skip
    short.primary.reply = accept(None, *headers)
    phone = registered(short)
    first = [name for name, _ in phone.last.items()]
    for _ in range(3):
        short.clock.advance(30)
        phone.register()
        answer = phone.last
        assert ["any/1", "<sip:1@x>", str(SHORT)] == [answer.get(name) for name in ("Server", "P-Associated-URI", "Expires")]
        assert sorted(first) == sorted(name for name, _ in answer.items() if name != "Authentication-Info")
        assert int(short.wall_clock()) == parsedate_to_datetime(answer.get("Date")).timestamp()
        assert not answer.has("Authentication-Info")
        assert "0" == answer.get("Content-Length")
    assert 1 == asked(short)


def test_other_contacts_of_the_number_are_told(short):
    """RFC 3261 10.3 item 8."""
    phones = [registered(short, port=port) for port in (5062, 5064)]
    be_quiet_all(short)
    for _ in range(2):
        short.clock.advance(30)
        for phone in phones:
            phone.register()
            assert phone.last.get_all("Contact")[0] == f"{phone.contact};expires={SHORT}"
            assert {contact.contact for contact in short.registrar.bindings_for_aor("sip:alice@example.com")} == {
                value.rpartition(";")[0] for value in phone.last.get_all("Contact")
            }
    assert 2 == asked(short)


@pytest.mark.parametrize("refreshes", [1, 2, 3])
def test_a_contact_that_is_gone_is_told_no_more(short, refreshes):
    """However the refreshes before were answered; and a new one is told at once."""
    phones = [registered(short, port=port) for port in (5062, 5064)]
    be_quiet_all(short)
    for _ in range(refreshes):
        phones[0].register()
        assert 2 == len(phones[0].last.get_all("Contact"))
    phones[1].register(expires=0)
    short.clock.advance(1)
    for _ in range(3):
        phones[0].register()
        assert 1 == len(phones[0].last.get_all("Contact"))
    registered(short, port=5066)
    be_quiet_all(short)
    phones[0].register()
    assert 2 == len(phones[0].last.get_all("Contact"))


# With a password


@pytest.fixture
def guarded(make_site, password_file) -> Site:
    """refresh_check = credentials; both servers challenge."""
    site = make_site(
        phone_expires=SHORT, refresh_check="credentials", credentials=password_file(("alice", "example.com", "secret"))
    )
    site.primary.reply = DigestRegistrar("example.com", {"alice": "secret"}, "n1")
    site.fallback.reply = DigestRegistrar("example.com", {"alice": "secret"}, "n2")
    return site


def proven(site: Site) -> tuple[Phone, object]:
    """A phone that has shown its password, and the challenge that it answered."""
    phone = Phone(site)
    phone.register()
    site.clock.advance(1)
    challenge = phone.last
    assert 401 == challenge.status
    phone.register(authorization=phone.answer_to(challenge))
    site.clock.advance(1)
    assert 200 == phone.answers[-1]
    be_quiet(site)
    return phone, challenge


def heard(site: Site) -> int:
    return sum(len(server.requests) for server in site.servers)


def test_with_a_good_and_new_digest_it_is_answered(guarded):
    phone, challenge = proven(guarded)
    before = heard(guarded)
    for _ in range(3):
        guarded.clock.advance(30)
        phone.register(authorization=phone.answer_to(challenge))
        assert 200 == phone.answers[-1]
        assert [SHORT] == granted(phone)
    assert before == heard(guarded)
    assert binding_of(guarded).cseq == phone.cseq  # it was the phone, so an older one is refused
    phone.register(cseq=phone.cseq - 1, authorization=phone.answer_to(challenge))
    assert 500 == phone.answers[-1]


@pytest.mark.parametrize(
    "shown",
    [
        lambda phone, challenge: None,
        lambda phone, challenge: phone.answer_to(challenge, password="wrong"),
        lambda phone, challenge: phone.answer_to(challenge).replace("n1", "n9"),
        lambda phone, challenge: phone.answer_to(challenge, username="bob"),
        lambda phone, challenge: "Authorization: Digest rubbish",
        lambda phone, challenge: "Authorization: Basic YWxpY2U6c2VjcmV0",
    ],
    ids=["none", "wrong", "foreign nonce", "other account", "rubbish", "basic"],
)
def test_without_a_good_digest_the_servers_are_asked(guarded, shown):
    phone, challenge = proven(guarded)
    before = heard(guarded)
    phone.register(authorization=shown(phone, challenge))
    guarded.clock.advance(3)
    assert before < heard(guarded)


def test_a_digest_that_was_overheard_is_not_believed(guarded):
    """RFC 7616 3.4: each count once."""
    phone, challenge = proven(guarded)
    line = phone.answer_to(challenge)
    phone.register(authorization=line)
    before = heard(guarded)
    phone.register(authorization=line)
    guarded.clock.advance(3)
    assert before < heard(guarded)


def test_nothing_is_answered_before_it_was_looked_at_where_a_digest_is_asked_for(guarded):
    phone, challenge = proven(guarded)
    phone.register(authorization=phone.answer_to(challenge))
    assert 0 == len(guarded.registrar.refreshes)


def test_with_source_a_wrong_password_is_not_looked_at(make_site):
    """As conf/sbc.toml says."""
    site = make_site(phone_expires=SHORT)
    site.primary.reply = site.fallback.reply = DigestRegistrar("example.com", {"alice": "secret"}, "n1")
    phone, challenge = proven(site)
    before = heard(site)
    phone.register(authorization=phone.answer_to(challenge, password="wrong"))
    assert 200 == phone.answers[-1]
    assert before == heard(site)


# Memory and disk


def test_the_disk_hears_of_them_once(make_site):
    """What is on disk covers the time in which no server hears of it."""
    site = make_site(phone_expires=SHORT)
    phone = registered(site)
    site.clock.advance(30)
    writes = len(site.store.log)
    for _ in range(20):
        phone.register()
        site.clock.advance(50)
    assert len(site.store.log) - writes <= 1


def test_after_a_kill_the_phone_is_still_there(make_site):
    """It was there a minute ago; that nothing was written of it since the start of its quiet time does not matter."""
    store = MemoryStore()
    before = make_site(store=store, phone_expires=SHORT)
    phone = registered(before)
    for _ in range(20):
        before.clock.advance(50)
        phone.register()
    assert 1 == asked(before)
    after = make_site(store=store, wall=before.wall_clock() + 10, phone_expires=SHORT)
    (binding,) = after.registrar.bindings_for_aor("sip:alice@example.com")
    assert {"registered"} == {upstream.state for upstream in binding.upstreams}


def test_after_a_restart_its_refresh_is_looked_at(make_site):
    store = MemoryStore()
    before = make_site(store=store, phone_expires=SHORT)
    phone = registered(before)
    before.clock.advance(30)
    after = make_site(store=store, wall=before.wall_clock(), phone_expires=SHORT)
    be_quiet(after)
    again = Phone(after)
    again.register(expires=30, cseq=phone.cseq + 1)
    after.clock.advance(1)
    assert 1 == asked(after)  # less than it had: something is new
    be_quiet(after)
    again.register(cseq=phone.cseq + 2)
    after.clock.advance(1)
    assert 2 == asked(after)


def test_a_removed_phone_is_forgotten(short):
    phone = known(short)
    assert 1 == len(short.registrar.refreshes)
    phone.register(expires=0)
    short.clock.advance(1)
    assert 0 == len(short.registrar.refreshes)
    phone.register()
    short.clock.advance(1)
    assert 3 == asked(short)
    assert 200 == phone.answers[-1]


def test_one_that_does_not_come_any_more_lapses_with_the_servers(short):
    """As long as calls come by them, they should find it; refreshes that were answered here change nothing about that."""
    phone = known(short)
    held_until = min(upstream.expires_at for upstream in binding_of(short).upstreams)
    for _ in range(20):
        short.clock.advance(50)
        phone.register()
    short.clock.advance(held_until - short.clock.seconds() - 1)
    assert 1 == len(short.registrar.bindings)
    short.clock.advance(2)
    assert 0 == len(short.registrar.bindings)
    assert 0 == len(short.registrar.refreshes)


def test_a_new_configuration_is_obeyed(make_site):
    site = make_site(phone_expires=SHORT)
    phone = known(site)
    other = make_site(phone_expires=0, refresh_check="off")
    site.registrar.set_groups([other.group])
    assert 0 == len(site.registrar.refreshes)


def test_strangers_make_nothing_grow(short):
    """Only what a server has accepted is remembered."""
    known(short)
    size = len(short.registrar.refreshes)
    short.primary.reply = short.fallback.reply = refuse(403)
    for number in range(50):
        stranger = Phone(short, f"nobody{number}", port=20_000 + number)
        stranger.register()
        stranger.register()
    short.clock.advance(1)
    assert size == len(short.registrar.refreshes)


def test_no_garbage_is_left(make_site):
    """A contact that is gone and what its next refresh would have been compared with do not hold each other."""

    def number() -> int:
        return sum(type(thing).__name__ in ("Refresh", "Binding") for thing in gc.get_objects())

    site = make_site(phone_expires=SHORT)
    gc.collect()
    gc.disable()
    try:
        before = number()
        phone = known(site)
        assert before + 2 == number()
        phone.register(expires=0)
        site.clock.advance(1)
        assert before == number()
    finally:
        gc.enable()


@pytest.mark.skipif(os.environ.get("SBC_PURE_PYTHON") == "1", reason="the sources are run on purpose")
def test_it_is_compiled():
    from sbc.registration import refreshes

    assert refreshes.COMPILED
    for made in (refreshes.Refresh, refreshes.Refreshes, refreshes.Extras):
        assert not hasattr(made.__new__(made), "__dict__")
