"""Phones of several kinds in one group: each uses the servers in its own way, and all know the same of them."""

from dataclasses import replace

from sbc.events import AttemptEnded, FailedBack, FailedOver, ServerStateChanged
from sbc.redundancy.group import ServerGroup
from sbc.redundancy.health import State
from sbc.redundancy.settings import PhonesSettings

from .site import P1, P2, Site, settings


def mixed_settings(*kinds, **group):
    """Two servers; for each kind a dict of GroupSettings fields, and of ServerSettings fields in `server`."""
    own = settings("primary", "fallback", failback_hold=0, rise=1, **group)
    entries = []
    for number, kind in enumerate(kinds):
        servers = tuple(replace(server, **kind.get("server", {})) for server in own.servers)
        fields = {key: value for key, value in kind.items() if key != "server"}
        entries.append(PhonesSettings(replace(own, servers=servers, **fields), user_agent=(f"Kind{number}*",)))
    return replace(own, phones=tuple(entries))


class Mixed(Site):
    def __init__(self, *kinds, **group):
        super().__init__(mixed_settings(*kinds, **group))
        self.whole = self.group

    def as_kind(self, number):
        """From now on requests are those of such a phone; None: of the group's own."""
        agent = "Other" if number is None else f"Kind{number} 1.0"
        self.group = self.whole.phones_of(agent, "198.51.100.7", "sip:100@example.com")
        return self


def test_a_phone_is_of_the_kind_that_fits_it():
    site = Mixed({"profile": "pivot"}, {"profile": "polycom"})
    assert ["", "pivot", "polycom"] == [site.as_kind(number).group.kind for number in (None, 0, 1)]
    assert ["office", "office/pivot", "office/polycom"] == [site.as_kind(number).group.key for number in (None, 0, 1)]
    assert {"office"} == {site.as_kind(number).group.name for number in (None, 0, 1)}


def test_two_entries_may_have_one_profile():
    site = Mixed({"profile": "pivot"}, {"profile": "pivot"})
    assert ["pivot", "pivot 2"] == [kind.kind for kind in site.whole.kinds]


def test_each_kind_waits_in_its_own_way():
    """Y19, F6: three retransmissions here, a time there; the same silent server."""
    for number, expected in ((None, (7.5, 4)), (0, (0.5, 1)), (1, (10, 5))):
        site = Mixed({"server": {"retry_counts": 0}}, {"server": {"retry_time": 10}}).as_kind(number)
        site.answers = {P2: 200}
        walk = site.request("INVITE")
        assert [P1, P2] == walk.servers
        assert expected == (walk.sent[1].at, walk.sent[0].sends)


def test_what_one_kind_finds_out_all_know():
    """Nobody waits a second time for a server that is known to be dead: one health for each candidate."""
    site = Mixed({"profile": "pivot"})
    site.answers = {P2: 200}
    site.as_kind(0).request("INVITE")
    assert [P2] == site.as_kind(None).request("INVITE").servers
    assert 1 == sum(isinstance(event, ServerStateChanged) and event.new == "down" for event in site.events)


def test_servers_are_probed_once():
    """However many kinds of phones there are."""
    site = Mixed({"profile": "pivot"}, {"profile": "polycom"})
    site.now += 100
    assert sorted([P1, P2], key=str) == sorted(site.whole.probe_due(site.now), key=str)
    site.whole.observe(P1, site._fate(P1, 4.0, 1)[0], site.now, "OPTIONS")
    assert site.whole.health(P1) is site.whole.kinds[0].health(P1)


def test_each_kind_fails_back_in_its_own_way():
    """V4 beside V26: those that never return stay at the fallback, the others go home with the first good probe."""
    stay = {"server": {"failback_mode": "never"}}
    go = {"server": {"failback_mode": "probe"}}
    site = Mixed(stay, go)
    site.answers = {P2: 200}
    site.as_kind(1).request("INVITE")
    assert [P2, P2, P2] == [site.as_kind(number).group.working(site.now) for number in (None, 0, 1)]
    site.answers = {P1: 200, P2: 200}
    site.group = site.whole
    site.probe(P1)
    assert [P1, P2, P1] == [site.as_kind(number).group.working(site.now) for number in (None, 0, 1)]
    assert P2 == site.as_kind(0).request("INVITE").servers[0]
    assert P1 == site.as_kind(1).request("INVITE").servers[0]


def test_time_brings_a_kind_back_although_the_group_does_not_wait():
    """Y28: `duration` of one kind ends while nothing happens at all; whoever asks first lets it take effect."""
    site = Mixed({"server": {"failback_mode": "duration", "failback_timeout": 120}})
    site.answers = {P2: 200}
    site.as_kind(0).request("INVITE")
    site.answers = {P1: 200, P2: 200}
    site.group = site.whole
    site.probe(P1)
    kind = site.whole.kinds[0]
    failed_over_at = kind.working_since()
    assert P2 == kind.working(failed_over_at + 119)
    assert P1 == kind.working(failed_over_at + 121)


def test_a_registration_brings_a_kind_back():
    """Y27: the group's own mode would not look at REGISTERs at all."""
    site = Mixed({"registration": "successive", "server": {"failback_mode": "registration"}})
    site.answers = {P2: 200}
    site.as_kind(0).request("INVITE")
    site.answers = {P1: 200, P2: 200}
    site.group = site.whole
    site.probe(P1)
    kind = site.whole.kinds[0]
    assert P2 == kind.working(site.now)
    site.as_kind(0).register()
    assert P1 == kind.working(site.now)


def test_each_kind_registers_in_its_own_way():
    """X1: at all servers at once, at one after the other."""
    site = Mixed({"registration": "single"}, registration="concurrent")
    assert ["primary", "fallback"] == [server.name for server, _ in site.whole.register_plans(site.now)]
    assert ["primary"] == [server.name for server, _ in site.as_kind(0).group.register_plans(site.now)]
    single = site.whole.kinds[0]
    assert single.may_accept("primary")


def test_operators_are_told_which_phones_have_moved():
    """Under the group's name, so that the metrics have no further label."""
    site = Mixed({"profile": "pivot"})
    site.answers = {P2: 200}
    site.as_kind(0).request("INVITE")
    moves = [event for event in site.events if isinstance(event, FailedOver) and event.method == "*"]
    assert [("office", ""), ("office", "pivot")] == [(event.group, event.phones) for event in moves]
    assert {"office"} == {event.group for event in site.events if isinstance(event, AttemptEnded)}
    site.answers = {P1: 200, P2: 200}
    site.group = site.whole
    site.probe(P1)
    assert ["", "pivot"] == [event.phones for event in site.events if isinstance(event, FailedBack)]


def test_waiting_requests_of_all_kinds_are_woken():
    site = Mixed({"profile": "pivot"})
    woken = []
    site.whole.kinds[0].waiting(P1, woken.append)
    site.answers = {P2: 200}
    site.as_kind(None).request("INVITE")
    assert ["timeout"] == woken


def test_a_frozen_link_freezes_all_kinds():
    """V20."""
    site = Mixed({"profile": "pivot"})
    site.whole.set_link(False, site.now)
    site.answers = {P2: 200}
    site.as_kind(0).request("INVITE")
    assert [P1, P1] == [group.working(site.now) for group in (site.whole, site.whole.kinds[0])]
    assert State.FROZEN is site.whole.kinds[0].health(P1).state


def test_a_changed_configuration_goes_on_where_the_kind_was():
    """A kind keeps its working server; a new one begins where the group is."""
    site = Mixed({"profile": "pivot", "server": {"failback_mode": "never"}})
    site.answers = {P2: 200}
    site.as_kind(0).request("INVITE")
    site.answers = {P1: 200, P2: 200}
    site.group = site.whole
    site.probe(P1)
    changed = mixed_settings(
        {"profile": "pivot", "server": {"failback_mode": "never"}}, {"profile": "polycom"}, register_wait=1.0
    )
    new = ServerGroup(changed, (0.5, 4.0), site.events.append, site.now)
    for name, candidate in (("primary", P1), ("fallback", P2)):
        new.update_candidates(name, [candidate], site.now)
    new.go_on_from(site.whole, site.now)
    assert [P1, P2, P1] == [group.working(site.now) for group in (new, *new.kinds)]


def test_the_status_page_shows_the_kinds():
    site = Mixed({"profile": "pivot", "registration": "single"})
    (shown,) = site.whole.describe(site.now)["phones"]
    expected = {"kind": "pivot", "profile": "pivot", "registration": "single", "user_agent": ["Kind0*"], "working": str(P1)}
    assert expected == {key: shown[key] for key in expected}
    assert [] == Site(settings("primary")).group.describe(0.0)["phones"]
