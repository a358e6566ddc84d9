"""Phones of several kinds in one group: which one is chosen at REGISTER, and how its calls find it again."""

from dataclasses import replace

import pytest

from sbc.redundancy.settings import GroupSettings, PhonesSettings, ServerSettings
from sbc.sip.message import parse
from tests.helpers.scripted_servers import Phone, PhoneFlow

SERVERS = (ServerSettings("primary", "192.0.2.1", rank=1, port=5060), ServerSettings("fallback", "192.0.2.2", rank=2, port=5060))
OWN = GroupSettings("office", SERVERS, domains=("example.com",), profile="yealink")
SINGLE = replace(OWN, profile="pivot", registration="single", max_expires=300)
LONGER = replace(OWN, profile="fanvil-v3", registration="successive")


@pytest.fixture
def site(make_site):
    """Of the group's own kind are concurrent ones; PIVOT phones, and all numbers that begin with 9, are not."""
    made = make_site(
        phones=(PhonesSettings(SINGLE, user_agent=("Spectralink*",)), PhonesSettings(LONGER, aors=("9*",))), profile="yealink"
    )
    made.registrar.groups = {"office": made.group}
    return made


def registered(site, user="alice", agent="Yealink T46", port=5062):
    phone = Phone(site, user, port=port)
    phone.agent = agent
    phone.register()
    site.clock.advance(0.1)
    return phone


def kind_of(site, flow, from_="<sip:alice@example.com>", agent=None):
    """Of which kind the sender of this INVITE is held to be."""
    lines = [
        "INVITE sip:200@example.com SIP/2.0", "Via: SIP/2.0/UDP 203.0.113.7:5062;branch=z9hG4bKx", f"From: {from_};tag=1",
        "To: <sip:200@example.com>", "Call-ID: x", "CSeq: 1 INVITE", "Max-Forwards: 70", "Content-Length: 0",
    ]  # fmt: skip
    if agent is not None:
        lines.append(f"User-Agent: {agent}")
    return site.registrar.kind_of_sender(site.group, parse("\r\n".join([*lines, "", ""]).encode()), flow).kind


def test_each_registers_as_its_profile_says(site):
    """X1, V15: the one at all servers for an hour, the other at one for five minutes."""
    registered(site)
    assert [1, 1] == [len(server.requests) for server in site.servers]
    pivot = registered(site, "bob", "Spectralink 8741", port=5064)
    assert [2, 1] == [len(server.requests) for server in site.servers]
    assert pivot.last.get("Contact").endswith(";expires=300")
    assert ["yealink", "pivot"] == [row["profile"] for row in site.registrar.describe(site.clock.seconds())["phones"]]
    assert {"office"} == {row["group"] for row in site.registrar.describe(site.clock.seconds())["phones"]}


def test_its_calls_are_known_by_where_it_is(site):
    """What the REGISTER said counts, also when the call does not say it."""
    phone = registered(site, agent="Spectralink 8741")
    assert "pivot" == kind_of(site, phone.flow)
    assert "pivot" == kind_of(site, phone.flow, agent="Yealink T46")
    assert "pivot" == kind_of(site, phone.flow, '"Anonymous" <sip:anonymous@anonymous.invalid>')
    assert "" == kind_of(site, PhoneFlow(("203.0.113.8", 5062)))


def test_an_unknown_phone_is_told_by_what_it_says_and_who_it_is(site):
    """After a restart, and in another process than the one that it is registered in."""
    elsewhere = PhoneFlow(("203.0.113.9", 5060))
    assert "pivot" == kind_of(site, elsewhere, agent="Spectralink 8741")
    assert "fanvil-v3" == kind_of(site, elsewhere, "<sip:901@example.com>")
    assert "" == kind_of(site, elsewhere)
    assert "" == kind_of(site, elsewhere, "<tel:+15551234>")


def test_two_lines_of_one_phone_may_be_of_two_kinds(site):
    """By the number that calls."""
    phone = registered(site, "901")
    registered(site, "alice")
    assert "fanvil-v3" == kind_of(site, phone.flow, "<sip:901@example.com>")
    assert "" == kind_of(site, phone.flow, "<sip:alice@example.com>")


def test_a_phone_that_was_replaced_is_chosen_anew(site):
    """Another firmware, or another phone with the same number: each REGISTER decides."""
    phone = registered(site, agent="Spectralink 8741")
    phone.agent = "Yealink T46"
    phone.register()
    site.clock.advance(0.1)
    assert "" == kind_of(site, phone.flow)
    assert ["yealink"] == [row["profile"] for row in site.registrar.describe(site.clock.seconds())["phones"]]


def test_a_phone_that_moves_is_found_at_its_new_place_only(site):
    phone = registered(site, agent="Spectralink 8741")
    old = PhoneFlow(phone.flow.remote)
    phone.flow.move(("203.0.113.77", 5070))
    phone.register()
    site.clock.advance(0.1)
    assert ["pivot", ""] == [kind_of(site, phone.flow), kind_of(site, old)]
    assert [("203.0.113.77", 5070)] == list(site.registrar._at)


def test_nothing_is_kept_of_a_phone_that_has_gone(site):
    phone = registered(site, agent="Spectralink 8741")
    phone.register(expires=0)
    site.clock.advance(0.1)
    assert {} == site.registrar._at
    registered(site, agent="Spectralink 8741")
    site.clock.advance(400)  # it lapses
    assert {} == site.registrar._at


def test_in_a_group_of_one_kind_nothing_is_kept_at_all(make_site):
    site = make_site()
    registered(site)
    assert {} == site.registrar._at
    assert "" == site.registrar.bindings_for_aor("sip:alice@example.com")[0].agent
