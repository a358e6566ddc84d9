"""Phones of several kinds in one group: which one is chosen at REGISTER, and how its calls find it again."""

from dataclasses import replace

import pytest

from sbc.redundancy.settings import GroupSettings, PhonesSettings, ServerSettings
from sbc.sip.headers import NameAddr
from sbc.sip.message import parse
from tests.helpers.clock import FakeClock
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
    assert site.registrar.bindings_for_aor("sip:alice@example.com")[0].agent is None


# After a restart


def restarted(make_site, site, **settings):
    """The same store, another process."""
    site.registrar.close()
    return make_site(store=site.store, clock=FakeClock(), **settings)


KINDS = {"phones": (PhonesSettings(SINGLE, user_agent=("Spectralink*",)),), "profile": "yealink"}


def registered_at(site, user="alice") -> list[str]:
    (binding,) = site.registrar.bindings_for_aor(f"sip:{user}@example.com")
    return [upstream.server for upstream in binding.upstreams if upstream.state == "registered"]


def test_v11_the_kind_is_known_after_a_restart(make_site):
    """V11: a phone that is told by its User-Agent is not taken for one of the group's own kind, and registered at two."""
    site = make_site(**KINDS)
    phone = registered(site, agent="Spectralink 8741")
    again = restarted(make_site, site, **KINDS)
    again.clock.advance(60)
    assert ["primary"] == registered_at(again)
    assert [] == again.fallback.requests
    assert "pivot" == kind_of(again, phone.flow, agent="Something Else")
    binding = again.registrar.bindings_for_aor("sip:alice@example.com")[0]
    assert "Spectralink 8741" == binding.agent


def test_a_phone_without_user_agent_is_known_to_have_none(make_site):
    site = make_site(**KINDS)
    registered(site, agent="")
    again = restarted(make_site, site, **KINDS)
    again.clock.advance(1)
    again.store.registrations.clear()
    assert "" == again.registrar.bindings_for_aor("sip:alice@example.com")[0].agent
    assert ["primary", "fallback"] == registered_at(again)


def test_of_a_user_agent_only_the_beginning_is_kept(make_site):
    site = make_site(**KINDS)
    registered(site, agent="Spectralink " + "x" * 5000)
    site.registrar.close()
    assert [128] == [len(row.agent) for row in site.store.bindings.values()]


def test_another_user_agent_is_on_disk_at_once(make_site):
    """Not with the times, which may wait a second."""
    site = make_site(**KINDS)
    phone = registered(site, agent="Spectralink 8741")
    phone.agent = "Yealink T46"
    phone.register()
    site.clock.advance(0.1)
    assert ["Yealink T46"] == [row.agent for row in site.store.bindings.values()]


def test_until_its_kind_is_known_a_phone_is_left_alone(make_site):
    """Stored by a former version, or when the group had one kind only: its own REGISTER tells."""
    site = make_site(profile="pivot", registration="single")
    phone = registered(site, agent="Spectralink 8741")
    assert [None] == [row.agent for row in site.store.bindings.values()]
    again = restarted(make_site, site, **KINDS)
    again.clock.advance(60)
    assert [[], []] == [server.requests for server in again.servers]
    assert ["primary"] == registered_at(again)
    later = Phone(again)
    later.call_id, later.agent = "since-the-restart", phone.agent
    later.register()
    again.clock.advance(60)
    assert ["primary"] == registered_at(again)
    again.take_down(again.primary)
    again.clock.advance(10)
    assert "fallback" in registered_at(again), "and now it is cared for"


def test_where_no_user_agent_is_asked_for_every_kind_is_known(make_site):
    site = make_site()
    registered(site, "901")
    of_numbers = {"phones": (PhonesSettings(SINGLE, aors=("9*",)),), "profile": "yealink"}
    again = restarted(make_site, site, **of_numbers)
    again.take_down(again.primary)
    again.clock.advance(60)
    assert "fallback" in registered_at(again, "901")


def test_the_removal_of_a_phone_tells_its_kind(make_site):
    """D13: so what a dead server has missed is removed there later, although its kind was not known before."""
    site = make_site(profile="pivot", registration="single")
    registered(site, agent="Spectralink 8741")
    again = restarted(make_site, site, **KINDS)
    phone = Phone(again)
    phone.call_id, phone.agent = "since-the-restart", "Spectralink 8741"
    again.take_down(again.primary)
    again.primary.unreachable = True
    phone.register(expires=0)
    again.clock.advance(1)
    assert [200] == phone.answers
    again.primary.unreachable = False
    again.recover(again.primary)
    again.clock.advance(60)
    assert ["0"] == [NameAddr.parse(request.get("Contact")).parameters["expires"] for _, request in again.primary.requests]
