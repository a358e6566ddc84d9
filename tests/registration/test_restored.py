"""What a restart takes up of what the store has kept."""

from __future__ import annotations

import pytest

from sbc.location.candidate import Candidate
from sbc.redundancy.settings import GroupSettings, PhonesSettings, ServerSettings
from sbc.registration.bindings import FAILED, REGISTERED, UNREGISTERED
from sbc.registration.restored import LONGEST_RESTART, restored
from tests.helpers.scripted_servers import MemoryStore, Phone, Site, accept, silent
from tests.store.test_sqlite import binding, registration, removal

WALL = 1.7e9
NOW = 500.0


def taken_up(bindings=(), registrations=(), removals=()):
    store = MemoryStore()
    store.save_registrations(bindings, registrations, (), removals)
    return restored(store, NOW, WALL)


def test_bindings_and_registrations_go_on():
    row = binding(expires_at=WALL + 100, granted=600.0, agent="Snom", method="serial", method_reason="because")
    there = [
        registration(expires_at=WALL + 50, nonce="n1", candidate="192.0.2.1:5060;udp"),
        registration(server="fallback", state=FAILED, reason="403", expires_at=0.0, retry_at=WALL + 30, failures=4),
    ]
    kept = taken_up([row], there)
    (found,) = kept.bindings
    assert (row, there) == found.rows(WALL - NOW)
    assert (NOW + 100, "serial", "because") == (found.expires_at, found.method, found.method_reason)
    primary, fallback = found.upstreams
    assert (REGISTERED, NOW + 50, "n1") == (primary.state, primary.expires_at, primary.nonce)
    assert Candidate("192.0.2.1", 5060, "udp") == primary.candidate
    assert (FAILED, "403", NOW + 30, 4) == (fallback.state, fallback.reason, fallback.retry_at, fallback.failures)
    assert ([], [], []) == (kept.removals, kept.expired, kept.heard)


def test_a_time_to_retry_that_has_passed_is_now():
    kept = taken_up([binding(expires_at=WALL + 9)], [registration(state=FAILED, retry_at=WALL - 1000, failures=2)])
    (upstream,) = kept.bindings[0].upstreams
    assert (NOW, 2) == (upstream.retry_at, upstream.failures)


def test_a_registration_that_lapsed_meanwhile():
    kept = taken_up([binding(expires_at=WALL + 9)], [registration(expires_at=WALL - 1)])
    assert UNREGISTERED == kept.bindings[0].upstreams[0].state


@pytest.mark.parametrize("text", ["", "nonsense", "192.0.2.1:x;udp"])
def test_a_candidate_that_cannot_be_read_is_not_known(text):
    kept = taken_up([binding(expires_at=WALL + 9)], [registration(expires_at=WALL + 9, candidate=text)])
    upstream = kept.bindings[0].upstreams[0]
    assert (REGISTERED, None) == (upstream.state, upstream.candidate)


def test_what_has_lapsed_or_cannot_be_read_is_forgotten():
    old = binding("old", granted=600.0, expires_at=WALL - LONGEST_RESTART)
    odd = [
        binding("odd", contact="<<", expires_at=WALL + 9),
        binding("odder", host="192.0\udcff2.33", expires_at=WALL + 9),
        binding("oddest", transport="xdp", expires_at=WALL + 9),
    ]
    kept = taken_up([old, *odd, binding("good", expires_at=WALL + 9)])
    assert (["good"], ["old", "odd", "odder", "oddest"]) == ([found.token for found in kept.bindings], kept.expired)


def test_d13_removals_go_on_unless_they_have_lapsed_or_the_phone_is_back():
    kept = taken_up(
        [binding("back", expires_at=WALL + 9)],
        [],
        [
            removal("a", until=WALL + 70),
            removal("lapsed", until=WALL),
            removal("back", until=WALL + 70),
            removal("odd", until=WALL + 70, contact="<<"),
        ],
    )
    (found,) = kept.removals
    assert ("a", "primary", NOW + 70) == (found.binding.token, found.server, found.until)
    assert removal("a").contact == found.binding.contact
    assert [("lapsed", "primary"), ("back", "primary"), ("odd", "primary")] == kept.heard


# The registrar takes it up


def restarted(site: Site, make_site, **settings) -> Site:
    """Another process on what the first one has left when it was killed."""
    store = MemoryStore()
    store.save_registrations(*site.store.load_registrations(), (), site.store.load_removals())
    return make_site(store=store, wall=site.wall_clock(), **settings)


def removals_at(server) -> int:
    return sum("expires=0" in (request.get("Contact") or "") for _, request in server.requests)


@pytest.mark.parametrize("again", [False, True])
def test_d13_a_removal_that_a_dead_server_has_missed_survives_a_restart(make_site, again):
    """It is told as soon as it is back, unless the phone has registered again; then it is forgotten on disk, too."""
    site = make_site(registration="concurrent", rise=1)
    phone = Phone(site)
    phone.register()
    site.clock.advance(0.1)
    site.take_down(site.primary)
    site.primary.reply = silent
    phone.register(expires=0)
    site.clock.advance(0.1)
    after = restarted(site, make_site, registration="concurrent", rise=1)
    after.take_down(after.primary)
    after.primary.reply = silent
    after.clock.advance(30)
    assert ["primary"] == [server for _, server in after.store.removals]
    assert 0 == removals_at(after.primary)
    if again:
        Phone(after).register()
        after.clock.advance(5)
    after.primary.reply = accept()
    after.recover(after.primary)
    after.clock.advance(30)
    assert (0 if again else 1) == removals_at(after.primary)
    assert {} == after.store.removals


def test_d13_a_kill_before_the_servers_have_answered_a_removal(make_site):
    """The phone was told, because the fallback had answered, and the primary is still being asked."""
    site = make_site(registration="concurrent")
    phone = Phone(site)
    phone.register()
    site.clock.advance(0.1)
    site.primary.reply = silent
    phone.register(expires=0)
    site.clock.advance(4)
    assert 2 == len(phone.answers)
    after = restarted(site, make_site, registration="concurrent")
    after.clock.advance(30)
    assert 1 == removals_at(after.primary)
    assert {} == after.store.removals


def test_d13_a_removal_ends_when_the_phone_registers_with_another_worker(make_site):
    site = make_site(registration="concurrent", rise=1)
    phone = Phone(site)
    phone.register()
    site.clock.advance(0.1)
    (token,) = (binding.token for binding in site.registrar.bindings)
    site.take_down(site.primary)
    site.primary.reply = silent
    phone.register(expires=0)
    site.clock.advance(40)
    assert 1 == len(site.store.removals)
    site.registrar.moved_away(token)
    site.primary.reply = accept()
    start = len(site.primary.requests)
    site.recover(site.primary)
    site.clock.advance(60)
    assert [] == site.primary.requests[start:]
    assert {} == site.store.removals


def test_d12_after_a_restart_servers_hear_of_each_phone_before_its_time_and_not_of_all_at_once(make_site):
    """Of phones that refresh every minute. The remaining time at each server is known: nine tenths of it, by lot."""
    site = make_site(registration="concurrent", phone_expires=60)
    phones = [Phone(site, user=f"u{number}") for number in range(40)]
    for phone in phones:
        phone.register(expires=3600)
    site.clock.advance(20)
    after = restarted(site, make_site, registration="concurrent", phone_expires=60)
    now = after.clock.seconds()
    due = [upstream.due_at - now for binding in after.registrar.bindings for upstream in binding.upstreams]
    quiet = [binding.quiet_until - now for binding in after.registrar.bindings]
    assert 80 == len(due) and 40 == len(quiet)
    assert all(2800 <= seconds < 3540 for seconds in due)
    assert len(set(due)) > 70, "by lot"
    assert quiet == [min(due[place : place + 2]) for place in range(0, 80, 2)]


@pytest.mark.parametrize("of_kinds", [False, True])
def test_d12_after_a_restart_refreshes_concern_no_server_that_has_the_phone_longer(make_site, of_kinds):
    """Also where the servers have it for different times, and in a group of several kinds of phones."""
    settings = {"registration": "concurrent", "phone_expires": 60}
    if of_kinds:
        servers = tuple(
            ServerSettings(name, f"192.0.2.{rank}", rank=rank, port=5060)
            for rank, name in enumerate(("primary", "fallback"), start=1)
        )
        other = GroupSettings("office", servers, domains=("example.com",), registration="successive", phone_expires=60)
        settings["phones"] = (PhonesSettings(other, aors=("9*",)),)
    site = make_site(**settings)
    phones = [Phone(site, user=f"u{number}") for number in range(10)]
    site.fallback.reply = accept(1800)
    for phone in phones:
        phone.register(expires=3600)
    site.clock.advance(20)
    after = restarted(site, make_site, **settings)
    now = after.clock.seconds()
    for binding in after.registrar.bindings:
        assert 60 == binding.granted and binding.expires_at <= now + 60
        assert binding.expires_at + binding.spare == pytest.approx(now + 3580, abs=2)
        assert 1300 < binding.quiet_until - now < 1800
    for phone in phones:
        phone.site = after
        phone.register(expires=3600)
    assert [[], []] == [server.requests for server in after.servers]
    assert [200] * 10 == [phone.answers[-1] for phone in phones]
