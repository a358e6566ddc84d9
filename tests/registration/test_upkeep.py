"""What the appliance does for registrations by itself: renewal, trying again, bringing them to a server that was away."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sbc.redundancy.group import ServerGroup
from sbc.redundancy.settings import GroupSettings, PhonesSettings, ServerSettings
from sbc.registration.upkeep import Upkeep
from sbc.sip.headers import NameAddr
from tests.helpers.scripted_servers import MemoryStore, Phone, Site, accept, refuse, silent
from tests.registration.test_modes import ACCOUNTS, Challenging, come_back, die, elapsed, renew, story, with_passwords


def times(server, since: float = 0.0) -> list[float]:
    return [at for at, _ in server.requests if at > since]


def gaps(server, since: float) -> list[float]:
    found = [since, *times(server, since)]
    return [later - earlier for earlier, later in zip(found, found[1:], strict=False)]


# Renewal


def test_renewed_a_minute_before_it_lapses(make_site):
    """P11, P-ext (overlap 60): the fallback, slower than the answer to the phone, grants less than the phone was told."""
    site = make_site(register_wait=0.5)
    site.fallback.reply, site.fallback.delay = accept(600), 1.0
    Phone(site).register()
    site.clock.advance(2)
    (first,) = times(site.fallback)
    site.clock.advance(1200)
    assert [541.0, 541.0] == [round(gap, 1) for gap in gaps(site.fallback, first)]
    assert "registered" == site.state("fallback")
    assert 1 == len(site.primary.requests), "who granted all that was asked is left to the phone"


def test_renewed_after_half_of_a_short_time(make_site):
    """P-ext: "re-register at half the granted time if that is below overlap"."""
    site = make_site(register_wait=0.5, min_expires=30)
    site.fallback.reply, site.fallback.delay = accept(60), 1.0
    Phone(site).register()
    site.clock.advance(2)
    (first,) = times(site.fallback)
    site.clock.advance(100)
    assert [31.0, 31.0, 31.0] == [round(gap, 1) for gap in gaps(site.fallback, first)]


def test_asked_no_longer_than_the_phone_was_told(make_site):
    """The appliance vouches for a phone for as long as the phone has promised to be there, and no longer."""
    site = make_site(registration="successive")
    renew(Phone(site), expires=3600)
    site.clock.advance(600)
    die(site, site.primary)
    site.clock.advance(1)
    assert "3000" == NameAddr.parse(site.fallback.last.get("Contact")).parameters["expires"]
    site.clock.advance(3000)
    assert 1 == len(site.fallback.requests)
    assert 0 == len(site.registrar.bindings)


def test_v15_refreshed_every_300_s_where_the_profile_caps(make_site):
    """V15: neither the phone nor the appliance registers for more than 300 s."""
    site = make_site(registration="single", max_expires=300)
    phone = Phone(site)
    renew(phone)
    die(site, site.primary)
    site.clock.advance(1)
    asked = [NameAddr.parse(request.get("Contact")).parameters["expires"] for _, request in site.fallback.requests]
    assert ["300"] == asked
    assert "300" == NameAddr.parse(phone.last.get("Contact")).parameters["expires"]


# Trying again


def test_p11_tried_again_every_30_to_60_s(make_site):
    """P11, RFC 5626 4.5: "typically at intervals of 30 to 60 seconds" until success; on behalf of the phone, which
    was answered long ago."""
    site = make_site(profile="polycom", skip_down=False)
    site.fallback.reply = refuse(500)
    renew(Phone(site))
    (first,) = times(site.fallback)
    site.clock.advance(500)
    found = gaps(site.fallback, first)
    assert 8 <= len(found)
    assert all(30 <= gap <= 60.1 for gap in found)
    site.fallback.reply = accept()
    site.clock.advance(61)
    assert "registered" == site.state("fallback")
    last = times(site.fallback)[-1]
    site.clock.advance(200)
    assert [] == times(site.fallback, last)


def test_p11_a_silent_server(make_site):
    """P11, F11: 64*T1 of retransmissions, then the wait."""
    site = make_site(profile="polycom")
    site.fallback.reply = silent
    phone = Phone(site)
    phone.register()
    site.clock.advance(31)
    (first,) = times(site.fallback)
    site.clock.advance(500)
    found = gaps(site.fallback, first)
    assert 4 <= len(found)
    assert all(60 <= gap <= 92.1 for gap in found)


def test_the_wait_grows_where_the_profile_says_so(make_site):
    """RFC 5626 4.5: base * 2^failures, of which 50 to 100 %."""
    site = make_site(register_retry_base=10, register_retry_max=100)
    site.fallback.reply = refuse(500)
    renew(Phone(site))
    (first,) = times(site.fallback)
    site.clock.advance(1000)
    found = gaps(site.fallback, first)
    for gap, bound in zip(found, [20, 40, 80, 100, 100], strict=False):
        assert bound / 2 <= gap <= bound + 0.1


def test_p12_one_success_makes_the_primary_work_again(make_site, password_file):
    """P12, Y36, V23: a REGISTER of ours is what finds it, long before the phone's own."""
    site = make_site(profile="polycom", credentials=password_file(ACCOUNTS))
    with_passwords(site)
    renew(Phone(site))
    die(site, site.primary)
    site.clock.advance(200)
    assert site.fallback.candidate == site.group.working(site.clock.seconds())
    site.primary.unreachable = False
    renew(Phone(site, user="alice", port=5070))  # any REGISTER; the other phone's registration is replayed
    assert site.primary.candidate == site.group.working(site.clock.seconds())


def test_one_phone_at_a_time_at_a_server_that_is_down(make_site):
    """D18: fifty phones, and the dead server sees one try per 30 to 60 s."""
    site = make_site(registration="concurrent", register_retry_base=60, register_retry_max=60)
    for number in range(50):
        renew(Phone(site, user=f"u{number}", port=5100 + number))
    site.fallback.reply = silent
    site.take_down(site.fallback)
    for number in range(50):
        Phone(site, user=f"v{number}", port=5200 + number).register()
    site.clock.advance(32)
    start = elapsed(site)
    site.clock.advance(600)
    assert 6 <= len(times(site.fallback, start)) <= 20


def test_d18_registrations_are_replayed_at_a_server_that_is_back(make_site, password_file):
    """D18 (5): it may have forgotten them, and the phones need not renew; one canary, then at the pace."""
    site = make_site(credentials=password_file(ACCOUNTS, ("bob", "example.com", "secret")))
    for server in site.servers:
        server.reply = Challenging(server.name)
        server.reply.passwords["bob"] = "secret"
    renew(Phone(site))
    renew(Phone(site, user="bob", port=5063))
    die(site, site.fallback)
    site.clock.advance(100)
    start = elapsed(site)
    come_back(site, site.fallback)
    site.clock.advance(3)
    told = [request.get("To") for at, request in site.fallback.requests if at >= start]
    assert ["<sip:alice@example.com>", "<sip:bob@example.com>"] == list(dict.fromkeys(told))
    assert [] == times(site.primary, start)


def test_not_replayed_without_the_password(make_site):
    site = make_site()
    with_passwords(site)
    renew(Phone(site))
    die(site, site.primary)
    start = elapsed(site)
    site.clock.advance(100)
    come_back(site, site.primary)
    site.clock.advance(100)
    assert [] == times(site.primary, start)


def test_a_stranger_let_in_by_the_fallback_is_not_vouched_for(make_site, password_file):
    """A server that trusts our address would take anybody; that is no reason to show a password at the primary."""
    site = make_site(registration="successive", failback_hold=0, rise=1, credentials=password_file(ACCOUNTS))
    site.primary.reply = Challenging("primary")
    renew(Phone(site, user="zoe", port=5070))  # so that the primary is known to ask
    die(site, site.primary)
    stranger = Phone(site)
    assert 200 == renew(stranger)
    start = elapsed(site)
    come_back(site, site.primary)
    site.clock.advance(60)
    assert not any(request.get("Authorization") for at, request in site.primary.requests if at > start)


def test_f3_an_independent_register_dialog(make_site, password_file):
    """F3, D10: what the appliance sends by itself has a Call-ID and CSeq of its own, never the phone's."""
    site = make_site(registration="successive", failback_hold=0, rise=1, credentials=password_file(ACCOUNTS))
    with_passwords(site)
    phone = Phone(site)
    die(site, site.primary)
    renew(phone)
    come_back(site, site.primary)
    site.clock.advance(5)
    own, other = site.primary.last, site.fallback.requests[0][1]
    assert phone.call_id not in (own.call_id, other.call_id)
    assert own.call_id != other.call_id
    assert own.from_tag != "phone"
    for server in site.servers:
        cseqs = [request.cseq for _, request in server.requests]
        assert cseqs == sorted(set(cseqs))


def test_the_contact_and_aor_of_an_errand_are_those_of_the_phone(make_site):
    site = make_site(registration="successive")
    phone = Phone(site)
    renew(phone)
    die(site, site.primary)
    site.clock.advance(1)
    by_phone, by_us = site.primary.last, site.fallback.last
    contact, ours = (NameAddr.parse(request.get("Contact")) for request in (by_phone, by_us))
    assert contact.uri_text == ours.uri_text
    assert {**contact.parameters, "expires": ""} == {**ours.parameters, "expires": ""}
    assert by_phone.request_uri == by_us.request_uri
    assert by_phone.to.uri_text == by_us.to.uri_text


def test_the_registration_survives_a_restart(make_site):
    """What the appliance has registered is on disk like the phone's own."""
    site = make_site(registration="successive")
    renew(Phone(site))
    die(site, site.primary)
    site.clock.advance(1)
    site.registrar.close()
    again = make_site(registration="successive", store=site.store)
    assert "registered" == again.state("fallback")


def test_a_changed_configuration_ends_the_old_duties(make_site):
    """A group with other settings takes over; the old one's timers do nothing any more."""
    site = make_site(registration="successive", failback_hold=0, rise=1)
    renew(Phone(site))
    old = site.registrar.upkeep._served["office"]
    other = Site(clock=site.clock, registration="concurrent")
    other_group = other.group
    site.registrar.set_groups([other_group])
    assert old is not site.registrar.upkeep._served["office"]
    start = elapsed(site)
    die(site, site.primary)
    site.clock.advance(0.5)
    assert [] == story(site, start + 0.001) or "primary" not in "".join(story(site, start + 0.001))
    assert isinstance(site.registrar.upkeep, Upkeep)


# Whatever happens


@st.composite
def histories(draw):
    return draw(
        st.lists(
            st.one_of(
                st.tuples(st.just("die"), st.integers(0, 2)),
                st.tuples(st.just("back"), st.integers(0, 2)),
                st.tuples(st.just("silent"), st.integers(0, 2)),
                st.tuples(st.just("refuse"), st.integers(0, 2)),
                st.tuples(st.just("accept"), st.integers(0, 2)),
                st.tuples(st.just("renew"), st.just(0)),
                st.tuples(st.just("remove"), st.just(0)),
                st.tuples(st.just("wait"), st.integers(1, 900)),
            ),
            max_size=20,
        )
    )


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["concurrent", "successive", "single"]),
    st.sampled_from(["probe", "registration", "new-requests", "never"]),
    st.booleans(),
    histories(),
)
def test_p7_v24_whatever_happens(registration, failback, asks, steps):
    """P7, V24: exactly one working server at any time, and never one that is not a registrar; in the end, with all servers
    well, the phone is registered where it should be: everywhere, or at the working server alone (V11)."""
    each = {name: {"failback_mode": failback} for name in ("primary", "fallback", "third")}
    site = Site(registration=registration, servers=3, failback_hold=0, rise=1, of_servers=each)
    phone = Phone(site)
    renew(phone)
    for what, argument in steps:
        server = site.servers[argument % 3]
        if what == "die":
            die(site, server)
        elif what == "back":
            come_back(site, server)
        elif what in ("silent", "refuse", "accept"):
            server.reply = {"silent": silent, "refuse": refuse(403), "accept": accept()}[what]
        elif what == "renew":
            phone.register()
            site.clock.advance(31.5)
        elif what == "remove":
            phone.register(expires=0)
            site.clock.advance(31.5)
        else:
            site.clock.advance(argument)
        site.group.advance(site.clock.seconds())
        check_one_working(site)
    for server in site.servers:
        server.reply = accept()
        come_back(site, server)
    assert 200 == renew(phone)
    site.clock.advance(100)
    site.group.advance(site.clock.seconds())
    site.clock.advance(10)
    states = {server.name: site.state(server.name) for server in site.servers}
    working = site.group.owner(site.group.working(site.clock.seconds())).name
    registered = {name for name, state in states.items() if state == "registered"}
    if registration == "concurrent":
        assert set(states) == registered
    elif registration == "single":
        assert {working} == registered
    else:
        assert working in registered
    site.clock.advance(40_000)
    assert {} == site.registrar.upkeep.duties == site.registrar.upkeep.missed.entries
    assert 0 == site.clock.pending


def check_one_working(site) -> None:
    described = [c for server in site.group.describe(site.clock.seconds())["servers"] for c in server["candidates"]]
    assert 1 == sum(candidate["working"] for candidate in described)


def test_each_kind_of_phones_by_its_own_settings(make_site):
    """X1: one group, phones of two kinds: those of one are at both servers, those of the other at one and moved there."""
    names = ("primary", "fallback")
    servers = [ServerSettings(name, f"192.0.2.{rank}", rank=rank, port=5060) for rank, name in enumerate(names, start=1)]
    single = GroupSettings("office", tuple(servers), registration="single", failback_hold=0)
    site = make_site(failback_hold=0, rise=1, phones=(PhonesSettings(single, aors=("bob",)),))
    renew(Phone(site))
    renew(Phone(site, user="bob", port=5063))
    assert ["registered", "registered"] == [site.state("primary"), site.state("fallback")]
    assert ["registered", None] == [site.state("primary", "bob"), site.state("fallback", "bob")]
    die(site, site.primary)
    site.clock.advance(2)
    assert "registered" == site.state("fallback", "bob")
    come_back(site, site.primary)
    site.clock.advance(5)
    assert ["registered", "unregistered"] == [site.state("primary", "bob"), site.state("fallback", "bob")]
    assert ["registered", "registered"] == [site.state("primary"), site.state("fallback")]


# Who is vouched for


def moved(site, phone, to=("203.0.113.66", 5099)) -> Phone:
    """The same contact from another place, with another Call-ID: the phone after a restart, or somebody who has copied it."""
    other = Phone(site)
    other.contact = phone.contact
    other.call_id = "another"
    other.flow.move(to)
    return other


def binding_of(site):
    (binding,) = site.registrar.bindings_for_aor("sip:alice@example.com")
    return binding


def shown_to(server, since: float) -> list[str]:
    return [shown for at, request in server.requests if at > since and (shown := request.get("Authorization"))]


@pytest.mark.parametrize("registration", ["concurrent", "successive", "single"])
@pytest.mark.parametrize("place", [("203.0.113.66", 5062), ("203.0.113.7", 5099)])
def test_who_moves_without_proof_is_not_vouched_for(make_site, password_file, registration, place):
    """The fallback trusts our address, and takes the phone's contact from elsewhere while the primary is dead. Calls follow
    it; but what the phone has proved where it was does not, also not on disk."""
    site = make_site(registration=registration, failback_hold=0, rise=1, credentials=password_file(ACCOUNTS))
    site.primary.reply = Challenging("primary")
    phone = Phone(site)
    assert 200 == renew(phone)
    assert "alice" == binding_of(site).username
    die(site, site.primary)
    site.clock.advance(10)
    stranger = moved(site, phone, place)
    assert 200 == renew(stranger)
    assert (place, "") == ((binding_of(site).host, binding_of(site).port), binding_of(site).username)
    assert ["unregistered", "registered"] == [site.state("primary"), site.state("fallback")]
    assert [""] == [row.username for row in site.store.bindings.values()]
    assert "unregistered" == site.store.registrations[binding_of(site).token, "primary"].state
    start = elapsed(site)
    come_back(site, site.primary)
    site.clock.advance(400)
    assert [] == shown_to(site.primary, start)
    assert "registered" != site.state("primary")


def test_neither_is_who_moves_after_a_better_server_let_the_phone_in(make_site, password_file):
    """Without any digest of the phone's: the primary took it where it was, so it was vouched for at the fallback. The third
    server's word is not worth so much."""
    site = make_site(servers=3, registration="concurrent", rise=1, credentials=password_file(ACCOUNTS))
    site.fallback.reply = Challenging("fallback")
    phone = Phone(site)
    assert 200 == renew(phone)
    assert ["registered"] * 3 == [site.state(server.name) for server in site.servers]
    die(site, site.primary)
    die(site, site.fallback)
    assert 200 == renew(moved(site, phone))
    assert ["unregistered", "unregistered", "registered"] == [site.state(server.name) for server in site.servers]
    start = elapsed(site)
    come_back(site, site.fallback)
    site.clock.advance(100)
    assert [] == shown_to(site.fallback, start)


def test_a_phone_with_another_port_is_served_and_vouched_for_after_its_next_proof(make_site, password_file):
    """It restarts while the primary is dead: registered at the fallback, called at its new port; and with its digest all
    is as before."""
    site = make_site(registration="successive", failback_hold=0, rise=1, credentials=password_file(ACCOUNTS))
    site.primary.reply = Challenging("primary")
    phone = Phone(site)
    renew(phone)
    die(site, site.primary)
    again = moved(site, phone, ("203.0.113.7", 5099))
    assert 200 == renew(again)
    assert 5099 == binding_of(site).port
    come_back(site, site.primary)
    assert 200 == renew(again)
    assert "alice" == binding_of(site).username
    start = elapsed(site)
    die(site, site.primary)
    site.clock.advance(5)
    come_back(site, site.primary)
    site.clock.advance(5)
    assert [] != shown_to(site.primary, start)
    assert "registered" == site.state("primary")


def test_a_proof_from_the_new_place_is_enough(make_site, password_file):
    """Whoever shows the digest has moved, and nothing is lost."""
    site = make_site(registration="concurrent", credentials=password_file(ACCOUNTS))
    with_passwords(site)
    phone = Phone(site)
    renew(phone)
    assert 200 == renew(moved(site, phone))
    assert "alice" == binding_of(site).username
    assert ["registered", "registered"] == [site.state("primary"), site.state("fallback")]


def test_d13_a_removal_without_proof_from_elsewhere_is_not_vouched_for(make_site, password_file):
    """The fallback lets a stranger remove the phone: that is no reason to remove it at the primary with its password."""
    site = make_site(registration="concurrent", rise=1, credentials=password_file(ACCOUNTS))
    site.primary.reply = Challenging("primary")
    phone = Phone(site)
    renew(phone)
    die(site, site.primary)
    stranger = moved(site, phone)
    assert 200 == renew(stranger, expires=0)
    start = elapsed(site)
    come_back(site, site.primary)
    site.clock.advance(60)
    assert [] == shown_to(site.primary, start)
    (told,) = site.registrar.upkeep.missed.describe(site.clock.seconds())
    assert ("primary", "asks for a password that only the phone knows") == (told["server"], told["reason"])


def test_a_request_that_waits_is_not_vouched_for_after_a_move(make_site, password_file):
    """Held for a registration at the primary (Y30), while somebody else takes the contact: it goes at once, and the
    primary's challenge is not answered."""
    site = make_site(registration="successive", rise=1, credentials=password_file(ACCOUNTS))
    site.primary.reply = Challenging("primary")
    phone = Phone(site)
    renew(phone)
    die(site, site.primary)
    renew(phone)
    binding_of(site).upstream("primary").state = "unregistered"
    site.primary.unreachable = False
    site.primary.delay = 2.0
    start, gone = elapsed(site), []
    sender = ("sip:alice@example.com", *phone.flow.remote)
    first = site.registrar.register_first(
        site.group, "primary", site.primary.candidate, sender, "INVITE", 20.0, gone.append
    )
    assert first
    assert 200 == renew(moved(site, phone))
    assert [True] == gone
    site.clock.advance(10)
    assert [] == shown_to(site.primary, start + 0.1)
    assert "registered" != site.state("primary")


# A changed configuration


def reload(site, **changes) -> None:
    """The group has other settings from now on, as after SIGHUP."""
    now = site.clock.seconds()
    group = ServerGroup(replace(site.group.settings, **changes), (0.5, 4.0), site.events.append, now)
    for server in site.servers:
        if server.name in {configured.name for configured in group.settings.servers}:
            group.update_candidates(server.name, [server.candidate], now)
    group.go_on_from(site.group, now)
    site.group = group
    site.registrar.set_groups([group])


def until_an_errand_is_under_way(site, seconds=400) -> None:
    for _ in range(seconds * 2):
        if any(duty.errand is not None for duty in site.registrar.upkeep.duties.values()):
            return
        site.clock.advance(0.5)
    raise AssertionError("none")


@pytest.mark.parametrize("reloaded", [False, True])
def test_a_duty_goes_on_that_is_under_way_at_a_changed_configuration(make_site, reloaded):
    """Its errand fails after that: it is tried again by the new settings, as every other."""
    site = make_site(registration="concurrent", register_retry_base=10, register_retry_max=20)
    die(site, site.fallback)
    renew(Phone(site))
    site.fallback.reply, site.fallback.delay = refuse(500), 3.0
    come_back(site, site.fallback)
    until_an_errand_is_under_way(site)
    if reloaded:
        reload(site, register_wait=1.5)
    site.clock.advance(1)
    site.fallback.reply = accept()
    site.clock.advance(60)
    assert "registered" == site.state("fallback")


def test_what_an_errand_has_reached_counts_after_a_changed_configuration(make_site):
    """It is accepted after that, and renewed before it lapses."""
    site = make_site(registration="concurrent")
    die(site, site.fallback)
    renew(Phone(site))
    come_back(site, site.fallback)
    site.fallback.reply, site.fallback.delay = accept(120), 3.0
    site.clock.advance(30)
    assert "registered" == site.state("fallback")
    until_an_errand_is_under_way(site)
    reload(site, rise=2)
    start = elapsed(site)
    site.clock.advance(1000)
    assert "registered" == site.state("fallback")
    assert max(gaps(site.fallback, start)) < 100


def keeps_trying(site):
    """alice is registered at the primary, and every few seconds the appliance tries the fallback, which asks for her
    password and then fails."""
    with_passwords(site)
    phone = Phone(site)
    die(site, site.fallback)
    assert 200 == renew(phone)
    come_back(site, site.fallback)
    site.fallback.reply = refuse(500)
    site.clock.advance(40)
    assert len(site.fallback.requests) > 1
    return phone


RETRY = {"register_retry_base": 2, "register_retry_max": 4}


@pytest.mark.parametrize("under_way", [False, True])
def test_a_group_that_is_gone_is_not_registered_for_any_more(make_site, password_file, under_way):
    """SIGHUP: its phones are no business of ours, and neither their passwords; also where a REGISTER is under way."""
    site = make_site(registration="concurrent", credentials=password_file(ACCOUNTS), **RETRY)
    keeps_trying(site)
    site.fallback.reply, site.fallback.delay = Challenging("fallback"), 1.0
    if under_way:
        until_an_errand_is_under_way(site)
    start = elapsed(site)
    site.registrar.set_groups([])
    site.clock.advance(1200)
    assert [] == times(site.fallback, start) == times(site.primary, start)
    upkeep = site.registrar.upkeep
    assert {} == upkeep.duties == upkeep._served == upkeep._groups == site.registrar._targets
    assert "unregistered" == site.state("fallback")


@pytest.mark.parametrize("under_way", [False, True])
def test_a_server_that_is_gone_is_not_registered_at_any_more(make_site, password_file, under_way):
    site = make_site(registration="concurrent", credentials=password_file(ACCOUNTS), **RETRY)
    keeps_trying(site)
    site.fallback.reply, site.fallback.delay = Challenging("fallback"), 1.0
    if under_way:
        until_an_errand_is_under_way(site)
    start = elapsed(site)
    reload(site, servers=site.group.settings.servers[:1])
    site.clock.advance(1200)
    assert [] == times(site.fallback, start)


def test_a_kind_of_phones_that_is_gone_is_served_as_the_others(make_site):
    """Its phones are of the group's own kind from now on, so they are registered at both."""
    group = GroupSettings("office", Site().group.settings.servers, registration="single")
    site = make_site(phones=(PhonesSettings(group, aors=("alice",)),), **RETRY)
    renew(Phone(site))
    assert ["registered", None] == [site.state("primary"), site.state("fallback")]
    reload(site, phones=())
    assert ["office"] == list(site.registrar.upkeep._served) == list(site.registrar._targets)
    site.clock.advance(5)
    assert ["registered", "registered"] == [site.state("primary"), site.state("fallback")]


@pytest.mark.parametrize("gone", ["group", "server", "nothing"])
def test_a_request_that_waits_for_a_server_that_is_gone_waits_no_longer(make_site, gone):
    site = make_site(registration="successive")
    phone = Phone(site)
    renew(phone)
    site.fallback.reply = silent
    released = []
    sender = ("sip:alice@example.com", *phone.flow.remote)
    assert site.registrar.register_first(
        site.group, "fallback", site.fallback.candidate, sender, "INVITE", 20.0, released.append
    )
    site.clock.advance(1)
    sends = len(site.fallback.sends)
    if gone == "group":
        site.registrar.set_groups([])
    elif gone == "server":
        reload(site, servers=site.group.settings.servers[:1])
    else:
        reload(site, rise=2)
    assert [] == released if gone == "nothing" else [True] == released
    site.clock.advance(30)
    assert 1 == len(released)
    assert (sends < len(site.fallback.sends)) == (gone == "nothing")


@pytest.mark.parametrize("gone", ["group", "server", "nothing"])
def test_d13_a_missed_removal_at_a_server_that_is_gone_is_forgotten(make_site, gone):
    site = make_site(registration="concurrent", rise=1)
    phone = Phone(site)
    renew(phone)
    die(site, site.fallback)
    phone.register(expires=0)
    site.clock.advance(1)
    assert 1 == len(site.registrar.upkeep.missed.entries)
    start = elapsed(site)
    if gone == "group":
        site.registrar.set_groups([])
    elif gone == "server":
        reload(site, servers=site.group.settings.servers[:1])
    else:
        reload(site, register_wait=1.5)
    assert (gone == "nothing") == (len(site.registrar.upkeep.missed.entries) == 1)
    site.clock.advance(1)
    come_back(site, site.fallback)
    site.clock.advance(60)
    assert {} == site.registrar.upkeep.missed.entries
    assert (1 if gone == "nothing" else 0) == len(times(site.fallback, start))


def test_d18_a_changed_configuration_is_no_return(make_site):
    """Of servers that live: nobody is registered anew for it."""
    site = make_site(registration="concurrent")
    renew(Phone(site))
    site.clock.advance(10)
    start = elapsed(site)
    reload(site, register_wait=1.5)
    site.clock.advance(60)
    assert [[], []] == [times(server, start) for server in site.servers]


@pytest.mark.parametrize("reloaded", [False, True])
def test_d18_replayed_at_a_server_that_was_away_at_a_changed_configuration(make_site, reloaded):
    """That it was there before is not forgotten, so its return is one."""
    site = make_site(registration="concurrent", rise=1)
    renew(Phone(site))
    site.clock.advance(10)
    die(site, site.fallback)
    site.clock.advance(10)
    if reloaded:
        reload(site, register_wait=1.5)
        site.clock.advance(10)
    start = elapsed(site)
    site.clock.advance(1)
    come_back(site, site.fallback)
    site.clock.advance(10)
    assert 1 == len(times(site.fallback, start))


def test_a_server_that_is_configured_no_more_is_in_no_row(make_site):
    """Neither here nor on disk, and nothing is changed for the others."""
    store = MemoryStore()
    site = make_site(servers=3, store=store)
    renew(Phone(site))
    site.clock.advance(2)
    assert {"primary", "fallback", "third"} == {row.server for row in store.registrations.values()}
    reload(site, servers=site.group.settings.servers[:2])
    site.clock.advance(2)
    (binding,) = site.registrar.bindings_for_aor("sip:alice@example.com")
    assert [("primary", "registered"), ("fallback", "registered")] == [(one.server, one.state) for one in binding.upstreams]
    site.registrar.close()
    assert {"primary", "fallback"} == {row.server for row in store.registrations.values()}


def test_a_server_that_was_removed_while_the_appliance_was_down_is_in_no_row(make_site):
    store = MemoryStore()
    site = make_site(servers=3, store=store)
    renew(Phone(site))
    site.registrar.close()
    again = make_site(servers=2, store=store, clock=site.clock, wall=site.wall + site.clock.seconds())
    (binding,) = again.registrar.bindings_for_aor("sip:alice@example.com")
    assert ["primary", "fallback"] == [one.server for one in binding.upstreams]
