"""The small parts: Contacts, the expiry queue."""

from __future__ import annotations

import pytest

from sbc.clock import TimerQueue
from sbc.location.candidate import Candidate
from sbc.registration.bindings import REGISTERED, Binding, Bindings, Upstream
from sbc.registration.contacts import (
    TokenMaker,
    aor_of,
    canonical_aor,
    granted,
    read_contact,
    read_expires,
    with_parameter,
)
from sbc.registration.expiry import ExpiryQueue
from sbc.sip.errors import MalformedMessage
from sbc.sip.message import Response
from sbc.sip.scanner import scan_plain_expires
from sbc.sip.uri import SipUri
from tests.helpers.clock import FakeClock

TOKENS = TokenMaker(b"k" * 32)
P = Candidate("192.0.2.1", 5060, "udp")
F = Candidate("192.0.2.2", 5060, "udp")


# Contacts


@pytest.mark.parametrize(
    "text, expected",
    [
        ("<sip:a@h>", "<sip:a@h>;expires=9"),
        ("sip:a@h", "sip:a@h;expires=9"),
        ("<sip:a@h;expires=1>;q=1", "<sip:a@h;expires=1>;q=1;expires=9"),
        ("<sip:a@h>;Expires = 60 ;q=1", "<sip:a@h>;Expires=9 ;q=1"),
        ("<sip:a@h>;expires", "<sip:a@h>;expires=9"),
        ("<sip:a@h>;xexpires=1;expires=2", "<sip:a@h>;xexpires=1;expires=9"),
        ('"x;expires=1 <y>" <sip:a@h>;t=";expires=2"', '"x;expires=1 <y>" <sip:a@h>;t=";expires=2";expires=9'),
        ("sip:a@h;expires=60", "sip:a@h;expires=9"),
    ],
)
def test_parameter_is_set_and_nothing_else_changes(text, expected):
    assert expected == with_parameter(text, "expires", "9")


def test_token_depends_on_number_contact_and_instance():
    tokens = {TOKENS.token(*parts) for parts in [("a", "u", "i"), ("b", "u", "i"), ("a", "v", "i"), ("a", "u", "j")]}
    assert 4 == len(tokens)
    assert TOKENS.token("a", "u", "i") == TokenMaker(b"k" * 32).token("a", "u", "i")
    assert TOKENS.token("a", "u", "i") != TokenMaker(b"x" * 32).token("a", "u", "i")
    assert all(26 == len(token) and token.isalnum() and token == token.lower() for token in tokens)


def test_contact_at_a_server():
    """What binds the Contact to the phone's own flow stays behind; the rest is passed on."""
    contact = read_contact('"A" <sip:x@10.0.0.1>;reg-id=1;ob;q=0.1;methods="INVITE, BYE";lr', "sip:a@d", TOKENS)
    assert (
        f'<sip:alice@[2001:db8::1]:5060;transport=tcp;gw-tok={contact.token}>;expires=60;q=0.1;methods="INVITE, BYE";lr'
        == contact.at_server("alice", "[2001:db8::1]:5060;transport=tcp", 60)
    )
    assert contact.at_server("", "192.0.2.9:5060", 0).startswith("<sip:192.0.2.9:5060;gw-tok=")


@pytest.mark.parametrize("text", ["<mailto:a@b>", "nonsense", "<sip:>", '"A <sip:a@b>'])
def test_contact_that_is_none(text):
    with pytest.raises(MalformedMessage):
        read_contact(text, "sip:a@d", TOKENS)


@pytest.mark.parametrize(
    "text, expected",
    [(None, None), ("60", 60), ("x", None), ("-1", None), ("", None), ("9" * 30, 2**32 - 1), ("²", None)],
)
def test_expires(text, expected):
    assert expected == read_expires(text)


@pytest.mark.parametrize(
    "uri, aor",
    [
        ("sip:Alice@Example.COM:5060;user=phone", "sip:Alice@example.com"),
        ("sips:al%69ce@example.com", "sip:alice@example.com"),
        ("sip:example.com", "sip:example.com"),
        ("sip:a%00b@example.com", "sip:a%00b@example.com"),
    ],
)
def test_address_of_record(uri, aor):
    assert aor == aor_of(SipUri.parse(uri)) == canonical_aor(uri)


def test_granted_looks_for_our_contact():
    def answer(*headers):
        return Response.create(200, None, headers)

    two = ("Contact", "<sip:a@us;gw-tok=tok>;expires=70, <sip:b@other>;expires=30")
    assert 70 == granted(answer(two), "tok", 99)
    assert 99 == granted(answer(two), "another", 99)
    assert 30 == granted(answer(("Contact", "<sip:a@us>;expires=30")), "tok", 99)
    assert 40 == granted(answer(("Contact", "<sip:a@us;gw-tok=tok>"), ("Expires", "40")), "tok", 99)
    assert 99 == granted(answer(), "tok", 99)
    assert 99 == granted(answer(("Contact", "<sip:a@us;gw-tok=tok>;;;")), "tok", 99)


@pytest.mark.parametrize(
    "contact, seconds",
    [
        (b"<sip:a@us;gw-tok=tok>;expires=70", 70), (b"<>;expires=0", 0), (b"<sip:a@us>;expires=999999999", 999999999),
        (b"<sip:a@us>", -1), (b"<sip:a@us", -1), (b"<sip:a@us>;expires=1;expires=2", -1),
        (b"", -2), (b"sip:a@us;expires=70", -2), (b"<sip:a@us>;expires=", -2), (b"<sip:a@us>;expires=x", -2),
        (b"<sip:a@us>;expires=70 ", -2), (b"<sip:a@us>;expires=7000000000", -2), (b"<sip:a@us>;expire", -2), (b"<sip:a@us>;q=1", -2),
    ],
)  # fmt: skip
def test_what_nearly_all_servers_answer_is_read_as_it_stands(contact, seconds):
    assert seconds == scan_plain_expires(contact)


# Bindings


def test_binding_is_found_as_long_as_it_is_there():
    """Also the one that was found last."""
    bindings = Bindings()
    first, second = (Binding(token, "office", "sip:a@d", "<sip:x@h>") for token in "ab")
    bindings.add(first)
    assert first is bindings.get(first.token) is bindings.get(first.token)
    bindings.add(second)
    assert (first, second) == (bindings.get("a"), bindings.get("b"))
    bindings.remove(second)
    assert (first, None) == (bindings.get("a"), bindings.get(second.token))
    bindings.remove(first)
    assert bindings.get(first.token) is None
    again = Binding(first.token, "office", "sip:a@d", "<sip:x@h>")
    bindings.add(again)
    assert again is bindings.get(first.token)


def test_bindings_by_number():
    bindings = Bindings()
    made = [Binding(token, "office", "sip:a@d", "<sip:x@h>") for token in "abc"]
    for binding in made:
        bindings.add(binding)
    assert made == bindings.of_aor("sip:a@d")
    bindings.remove(made[1])
    assert [made[0], made[2]] == bindings.of_aor("sip:a@d")
    bindings.remove(made[0])
    assert [made[2]] == bindings.of_aor("sip:a@d")
    bindings.remove(made[2])
    assert ([], 0) == (bindings.of_aor("sip:a@d"), len(bindings))


def test_phones_with_a_connection_are_found_by_their_host():
    """RFC 5626 4.2: where else a phone is whose connection broke during a call."""
    bindings = Bindings()
    made = [
        Binding(token, "office", "sip:a@d", "<sip:x@h>", transport=transport, host="192.0.2.9")
        for token, transport in (("a", "tcp"), ("b", "udp"), ("c", "tcp"), ("d", "tls"))
    ]
    for binding in made:
        bindings.add(binding)
    assert [made[0], made[2]] == bindings.connected_at("tcp", "192.0.2.9")
    assert [] == bindings.connected_at("udp", "192.0.2.9")
    bindings.remove(made[0])
    bindings.remove(made[1])
    assert [made[2]] == bindings.connected_at("tcp", "192.0.2.9")
    assert [made[3]] == bindings.connected_at("tls", "192.0.2.9")
    bindings.remove(made[2])
    assert [] == bindings.connected_at("tcp", "192.0.2.9")


# Expiry


class Lapses:
    def __init__(self):
        self.clock = FakeClock(0.0)
        self.seen = []
        self.timers = TimerQueue(self.clock)
        self.queue = ExpiryQueue(self.timers, self.lapsed)

    def binding(self, token, expires_at):
        binding = Binding(token, "g", "sip:a@d", "<sip:x@h>", expires_at=expires_at)
        self.queue.watch(binding)
        return binding

    def lapsed(self, binding):
        self.seen.append((self.clock.seconds(), binding.token))
        self.queue.forget(binding)


def test_lapses_come_in_order_and_on_time():
    lapses = Lapses()
    for token, at in (("c", 30.0), ("a", 10.0), ("b", 20.0)):
        lapses.binding(token, at)
    assert 1 == len(lapses.timers)
    lapses.clock.advance(100)
    assert [(10.0, "a"), (20.0, "b"), (30.0, "c")] == lapses.seen
    assert 0 == len(lapses.timers)


def test_renewal_moves_the_time():
    lapses = Lapses()
    binding = lapses.binding("a", 10.0)
    binding.expires_at = 25.0
    lapses.queue.watch(binding)
    lapses.clock.advance(100)
    assert [(25.0, "a")] == lapses.seen


def test_shorter_time_counts_at_once():
    lapses = Lapses()
    binding = lapses.binding("a", 50.0)
    binding.expires_at = 5.0
    lapses.queue.watch(binding)
    lapses.clock.advance(100)
    assert [(5.0, "a")] == lapses.seen


def test_registration_may_lapse_before_the_binding():
    lapses = Lapses()
    binding = lapses.binding("a", 50.0)
    upstream = Upstream("primary")
    upstream.state, upstream.expires_at = REGISTERED, 20.0
    binding.upstreams = (upstream,)
    lapses.queue.watch(binding)
    lapses.clock.advance(30)
    assert [(20.0, "a")] == lapses.seen


def test_forgotten_binding_does_not_lapse():
    lapses = Lapses()
    first, second = lapses.binding("a", 10.0), lapses.binding("b", 20.0)
    lapses.queue.forget(first)
    lapses.clock.advance(15)
    lapses.queue.forget(second)
    assert ([], 0) == (lapses.seen, len(lapses.timers))


@pytest.mark.parametrize(
    "text",
    ["<sip:alice@203.0.113.7>", "<sip:alice@203.0.113.7:5062>", "<sip:a.b-c+d_e@10.0.0.255:59999>"],
)
def test_contact_read_at_a_glance_is_the_same(text):
    """The short way of plain contacts ends where the long one does."""
    short, long = read_contact(text, "sip:a@b", TOKENS, 60), read_contact(f"{text};x", "sip:a@b", TOKENS, 60)
    assert (short.token, short.uri, short.expires) == (long.token, long.uri, long.expires)
    assert ("", ";x") == (short.parameters, long.parameters)
