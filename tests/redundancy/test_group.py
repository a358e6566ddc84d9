"""ServerGroup: order of candidates, working server, failover and failback, probes, and what is reported."""

import pytest

from sbc.events import AttemptEnded, ServerStateChanged
from sbc.location.candidate import Candidate
from sbc.redundancy.health import State
from sbc.redundancy.outcome import Answered, FoundDown, TimedOut, TransportFailed
from sbc.redundancy.plan import Verdict

from .site import P1, P2, P3, SILENT, Site, settings

TWO = ("primary", "fallback")


def make_site(*servers, alive=(), **group):
    """Two servers of the defaults unless said otherwise; those in `alive` answer 200."""
    site = Site(settings(*(servers or TWO), **group))
    site.answers.update(dict.fromkeys(alive, 200))
    return site


def bring_up(site, *candidates):
    for candidate in candidates:
        site.answers[candidate] = 200
    for _ in range(site.group.settings.rise):
        site.probe(*candidates)


def test_first_call_waits_later_calls_do_not():
    """A silent primary and retry_counts 3: the first call pays 7.5 s, all others nothing."""
    site = make_site(alive=[P2])
    first = site.request("INVITE")
    assert ([P1, P2], 7.5, Verdict.SUCCESS) == (first.servers, first.seconds, first.verdict)
    for method in ("INVITE", "BYE", "SUBSCRIBE"):
        later = site.request(method)
        assert ([P2], 0.0) == (later.servers, later.seconds)


def test_icmp_costs_no_wait():
    site = make_site(alive=[P2])
    site.answers[P1] = "icmp"
    assert 0.0 == site.request("INVITE").seconds
    assert ["INVITE P1>P2 icmp", "* P1>P2 icmp"] == sorted(site.moves(), reverse=True)


@pytest.mark.parametrize(("retries", "fall", "down"), [(3, 4, True), (3, 5, False), (0, 1, True), (0, 2, False)])
def test_down_at_once_when_sends_reach_fall(retries, fall, down):
    """N+1 unanswered sends are N+1 bad results."""
    site = make_site({"name": "primary", "retry_counts": retries}, "fallback", alive=[P2], fall=fall)
    site.request("INVITE")
    assert down is (site.group.health(P1).state is State.DOWN)
    assert ([P2] if down else [P1, P2]) == site.request("INVITE").servers


def test_all_down_is_tried_in_order_anyway():
    """Panic: nothing better is known, and the last one gets its full time."""
    site = make_site()
    assert [7.5, 39.5] == [site.request("INVITE").sent[1].at, site.now - 1000.0]
    again = site.request("INVITE")
    assert [P1, P2] == again.servers
    assert 39.5 == again.seconds
    assert again.verdict is None


def test_known_down_is_the_last_resort():
    """When the only living server fails too, the one that was down is asked: it may be back."""
    site = make_site(alive=[P2])
    site.request("INVITE")
    site.answers.update({P1: 200, P2: "icmp"})
    walk = site.request("INVITE")
    assert ([P2, P1], Verdict.SUCCESS) == (walk.servers, walk.verdict)


def test_without_skip_down_every_request_tries_the_list():
    """The bulletins' phones to the letter."""
    site = make_site(alive=[P2], skip_down=False)
    for _ in range(2):
        walk = site.request("INVITE")
        assert ([P1, P2], 7.5) == (walk.servers, walk.seconds)


def test_register_at_all_dead_servers_is_over_within_31_s():
    """D1, for each concurrent plan and for the single one."""
    site = make_site()
    for walk in site.register().values():
        assert (31.0, None) == (walk.seconds, walk.verdict)
    site = make_site(registration="successive")
    assert [("primary", 31.0, [P1, P2])] == [
        (name, walk.seconds, walk.servers) for name, walk in site.register().items()
    ]


def test_concurrent_register_reaches_a_server_that_is_down():
    """That is how its recovery is noticed."""
    site = make_site(alive=[P2])
    site.register()
    assert State.DOWN is site.group.health(P1).state
    site.answers[P1] = 200
    assert [P1] == site.register()["primary"].servers


def test_servers_without_registration_get_no_register():
    site = make_site("primary", {"name": "gateway", "register": False}, alive=[P1, P2])
    assert ["primary"] == list(site.register())


def test_failback_waits_for_the_hold():
    """60 s from the moment when health went up, not from the first good probe."""
    site = make_site(alive=[P2], failback_hold=60)
    site.request("INVITE")
    site.answers[P1] = 200
    for _ in range(3):
        assert P2 == site.group.working(site.now)
        site.let_pass(10)
        site.probe(P1)
    assert State.UP is site.group.health(P1).state
    site.let_pass(59.9)
    assert [P2] == site.request("INVITE").servers
    site.let_pass(0.1)
    assert [P1] == site.request("INVITE").servers
    assert "back P2>P1 new-requests" == site.moves()[-1]


def test_failback_hold_starts_again_after_a_relapse():
    site = make_site(alive=[P2], failback_hold=60)
    site.request("INVITE")
    bring_up(site, P1)
    site.let_pass(50)
    site.group.observe(P1, TransportFailed("icmp"), site.now, "OPTIONS")
    bring_up(site, P1)
    site.let_pass(59)
    assert P2 == site.group.working(site.now)
    site.let_pass(1)
    assert P1 == site.group.working(site.now)


def test_without_hold_new_requests_return_at_once():
    site = make_site(alive=[P2], failback_hold=0)
    site.request("INVITE")
    bring_up(site, P1)
    assert [P1] == site.request("INVITE").servers


def test_failback_never():
    """V4: the server in use is left only when it fails."""
    site = make_site({"name": "primary", "failback_mode": "never"}, "fallback", alive=[P2], failback_hold=0)
    site.request("INVITE")
    bring_up(site, P1)
    site.let_pass(100000)
    assert P2 == site.group.working(site.now)
    site.answers[P2] = "icmp"
    site.request("INVITE")
    assert P1 == site.group.working(site.now)
    assert "back P2>P1 working-failed" in site.moves()


def test_failback_by_duration():
    """Y28: after failback_timeout, counted from the failover."""
    primary = {"name": "primary", "failback_mode": "duration", "failback_timeout": 120}
    site = make_site(primary, "fallback", alive=[P2], failback_hold=0)
    site.request("INVITE")
    failed_over_at = site.now
    bring_up(site, P1)
    site.let_pass(119.9)
    assert P2 == site.group.working(site.now)
    site.let_pass(failed_over_at + 120 - site.now)
    assert P1 == site.group.working(site.now)
    assert "back P2>P1 duration" == site.moves()[-1]


def test_failback_by_duration_zero_is_never():
    """Y29: 0 = never go back until the current server itself fails."""
    site = make_site({"name": "primary", "failback_mode": "duration"}, "fallback", alive=[P2], failback_hold=0)
    site.request("INVITE")
    bring_up(site, P1)
    site.let_pass(100000)
    assert P2 == site.group.working(site.now)


def test_failback_by_registration():
    """Y27, P12: a REGISTER accepted after the failover, not an OPTIONS."""
    site = make_site({"name": "primary", "failback_mode": "registration"}, "fallback", alive=[P1, P2], failback_hold=0)
    site.register()
    site.answers[P1] = SILENT
    site.request("INVITE")
    bring_up(site, P1)
    site.let_pass(1000)
    assert P2 == site.group.working(site.now)
    site.register()
    assert P1 == site.group.working(site.now)
    assert "back P2>P1 registration" == site.moves()[-1]


def test_failback_by_dns_ttl():
    """Y26."""
    site = make_site({"name": "primary", "failback_mode": "dns-ttl"}, "fallback", alive=[P2], failback_hold=0)
    site.group.update_candidates("primary", [P1], site.now, ttl=300)
    site.request("INVITE")
    failed_over_at = site.now
    bring_up(site, P1)
    site.let_pass(299)
    assert P2 == site.group.working(site.now)
    site.let_pass(failed_over_at + 300 - site.now)
    assert P1 == site.group.working(site.now)


def test_working_server_failing_during_the_hold_returns_at_once():
    """A primary on hold is better than a dead fallback."""
    site = make_site(alive=[P2], failback_hold=60)
    site.request("INVITE")
    bring_up(site, P1)
    site.answers[P2] = "icmp"
    assert [P2, P1] == site.request("INVITE").servers
    assert [P1] == site.request("INVITE").servers
    assert ["back P2>P1 working-failed", "INVITE P2>P1 icmp"] == site.moves()[-2:]


def test_each_move_is_reported_once():
    """The request that noticed, and the group: two moves, one event each, whatever follows."""
    site = make_site(alive=[P2])
    for _ in range(3):
        site.request("INVITE")
    site.probe(P1)
    assert ["* P1>P2 timeout", "INVITE P1>P2 timeout"] == site.moves()
    bring_up(site, P1)
    for _ in range(100):
        site.let_pass(1)
        site.request("INVITE")
    assert ["back P2>P1 new-requests"] == site.moves()[2:]


def test_a_probe_alone_moves_the_group():
    """Nobody has to wait when OPTIONS finds the primary dead."""
    site = make_site(alive=[P2])
    site.probe(P1)
    site.probe(P1)
    assert ["* P1>P2 timeout"] == site.moves()
    assert [P2] == site.request("INVITE").servers


def test_all_down_moves_nothing():
    """Exactly one working server at any time, and no event that means nothing."""
    site = make_site()
    site.request("INVITE")
    moves = site.moves()
    assert site.group.working(site.now) is not None
    for _ in range(5):
        site.request("INVITE")
    assert [move for move in site.moves() if not move.startswith("INVITE")] == ["* P1>P2 timeout"]
    assert moves == site.moves()[:2]


def test_waiting_requests_move_when_another_finds_the_server_dead():
    """Ten calls wait at the silent primary; the first give-up moves all of them, and none waits its own 7.5 s."""
    site = make_site(alive=[P2])
    went_to = []
    plans = []
    for delay in range(10):
        plan = site.group.plan("INVITE", site.now + delay / 2)
        attempt = plan.next(site.now + delay / 2)

        def found_down(cause, plan=plan, attempt=attempt):
            plan.record(attempt, FoundDown(cause), site.now)
            went_to.append(plan.next(site.now).candidate)

        site.group.waiting(attempt.candidate, found_down)
        plans.append((plan, attempt, found_down))
    site.now += 7.5
    plan, attempt, found_down = plans[0]
    site.group.done(P1, found_down)
    site.group.observe(P1, TimedOut(4), site.now, "INVITE")
    assert [P2] * 9 == went_to
    assert 9 == site.moves().count("INVITE P1>P2 timeout")


def test_requests_that_got_an_answer_are_left_alone():
    """A 100 is an answer: the server has the request."""
    site = make_site()
    called = []
    site.group.waiting(P1, called.append)
    site.group.done(P1, called.append)
    site.group.observe(P1, TransportFailed("icmp"), site.now, "INVITE")
    assert [] == called


def test_an_unwilling_server_does_not_move_those_who_wait():
    """A 503 to one request is no silence: the others will get answers of their own."""
    site = make_site()
    called = []
    site.group.waiting(P1, called.append)
    site.group.observe(P1, Answered(503), site.now, "INVITE")
    assert State.DOWN is site.group.health(P1).state
    assert [] == called


def test_waiting_is_called_once():
    site = make_site()
    called = []
    site.group.waiting(P1, called.append)
    site.group.observe(P1, TransportFailed("icmp"), site.now, "INVITE")
    site.group.observe(P1, TransportFailed("icmp"), site.now, "INVITE")
    assert ["icmp"] == called


def test_pinned_candidate_is_tried_first():
    """A dialog stays where it is (D20), and a nonce goes to the server that issued it (D9)."""
    site = make_site(alive=[P1, P2])
    assert P1 == site.group.working(site.now)
    assert [P2] == site.request("BYE", first=P2).servers
    assert P1 == site.group.working(site.now)


def test_bye_of_a_dead_server_goes_to_its_peers():
    """F8, D22: first its own server, then that server's siblings, then the rest."""
    site = Site(settings("primary", "fallback"), {"primary": [P1], "fallback": [P2, P3]})
    site.answers[P3] = 200
    walk = site.request("BYE", first=P2)
    assert ([P2, P3], 7.5) == (walk.servers, walk.seconds)
    assert ([P3], 0.0) == ((again := site.request("BYE", first=P2)).servers, again.seconds)


def test_bye_failover_can_be_switched_off():
    site = make_site(alive=[P2], bye_failover=False)
    walk = site.request("BYE", first=P1)
    assert ([P1], None) == (walk.servers, walk.verdict)


def test_pinned_candidate_that_has_left_the_list_is_still_tried():
    """The dialog cookie outlives a change of DNS."""
    site = make_site(alive=[P1, P2])
    gone = Candidate("192.0.2.99", 5060, "udp")
    site.answers[gone] = 200
    assert [gone] == site.request("BYE", first=gone).servers
    assert site.group.owner(gone) is None


def test_subscriptions_go_to_the_first_server_only():
    """P6, Y3, when the profile says so."""
    site = make_site(alive=[P2], method_servers={"SUBSCRIBE": "first"})
    assert [P1] == site.request("SUBSCRIBE").servers
    assert [P1, P2] == make_site(alive=[P2]).request("SUBSCRIBE").servers


def test_503_passes_the_server_by_for_retry_after():
    site = make_site(alive=[P2])
    site.answers[P1] = 503
    assert [P1, P2] == site.request("INVITE").servers
    site.let_pass(59)
    assert [P2] == site.request("INVITE").servers
    assert site.group.next_wakeup(site.now) <= site.now + 1


def test_dns_change_keeps_health_and_working_server():
    """V28: "no re-registration because of it"; the active one moves position and stays active."""
    site = Site(settings("office", failback_hold=60), {"office": [P1, P2]})
    site.answers.update({P2: 200})
    site.request("INVITE")
    site.group.update_candidates("office", [P3, P2, P1], site.now)
    assert P2 == site.group.working(site.now)
    assert State.DOWN is site.group.health(P1).state
    assert State.UNKNOWN is site.group.health(P3).state


def test_rotating_dns_answers_move_nobody():
    """Equals that are known keep their order."""
    site = Site(settings("office", failback_hold=0), {"office": [P1, P2, P3]})
    for rotated in ([P2, P3, P1], [P3, P1, P2]):
        site.group.update_candidates("office", rotated, site.now)
        assert P1 == site.group.working(site.now)
    assert [] == site.moves()


def test_srv_priority_orders_the_list():
    """V13: another priority is another standing, and the order follows it when it changes."""
    first, second = (Candidate(c.address, 5060, "udp", priority) for c, priority in ((P1, 1), (P2, 2)))
    site = Site(settings("office", failback_hold=0), {"office": [first, second]})
    site.group.update_candidates(
        "office", [Candidate(P2.address, 5060, "udp", 1), Candidate(P1.address, 5060, "udp", 2)], site.now
    )
    assert [P2, P1] == [candidate for _, candidate in site.group.candidates()]


def test_working_server_that_left_dns_is_replaced():
    site = Site(settings("office"), {"office": [P1, P2]})
    site.group.update_candidates("office", [P2], site.now)
    assert P2 == site.group.working(site.now)
    assert ["* P1>P2 dns"] == site.moves()


def test_equals_are_not_worth_a_return():
    """V14: among addresses of one name only new-requests insists on the first."""
    for mode, working in (("probe", P2), ("new-requests", P1)):
        site = Site(settings({"name": "office", "failback_mode": mode}, failback_hold=0), {"office": [P1, P2]})
        site.answers[P2] = 200
        site.request("INVITE")
        bring_up(site, P1)
        site.let_pass(1000)
        assert working == site.group.working(site.now), mode


def test_one_candidate_of_two_servers_belongs_to_the_higher():
    site = Site(settings("primary", "fallback"), {"primary": [P1], "fallback": [P1, P2]})
    assert [("primary", P1), ("fallback", P2)] == [(s.name, c) for s, c in site.group.candidates()]


def test_link_down_freezes_everything():
    """V20: no state changes, no failover, and no probe."""
    site = make_site(alive=[P1, P2])
    site.probe(P1, P2)
    site.group.set_link(False, site.now)
    site.answers.update({P1: "icmp", P2: "icmp"})
    site.request("INVITE")
    assert (P1, []) == (site.group.working(site.now), site.group.probe_due(site.now + 1000))
    assert site.group.next_wakeup(site.now) is None
    site.group.set_link(True, site.now)
    assert [State.UP, State.UP] == [site.group.health(P1).state, site.group.health(P2).state]
    assert ["INVITE P1>P2 icmp"] == site.moves()


def test_probes_are_staggered_and_never_doubled():
    site = make_site(alive=[P1, P2])
    assert [P1] == site.group.probe_due(site.now)
    assert site.now + 0.1 == site.group.next_wakeup(site.now)
    assert [P2] == site.group.probe_due(site.now + 0.1)
    assert [] == site.group.probe_due(site.now + 5)


def test_probe_interval_depends_on_health():
    """30 s while up, 10 s while not, 10 % earlier or later; 10 s as soon as one was missed."""
    site = make_site(alive=[P1, P2])

    def seconds_to_next_probe():
        site.group.probe_due(site.now)
        site.probe(P1)
        began = site.now
        while P1 not in site.group.probe_due(site.now):
            site.now += 0.1
        site.group.observe(P1, Answered(200), site.now, "OPTIONS") if site.answers[P1] == 200 else None
        return site.now - began

    site.group.probe_due(site.now)
    assert 27 <= seconds_to_next_probe() <= 33.2
    site.answers[P1] = SILENT
    assert 9 <= seconds_to_next_probe() <= 15.1


def test_live_traffic_counts_as_a_probe():
    """D15: no OPTIONS to a server that has just answered a call."""
    site = make_site(alive=[P1, P2])
    site.group.probe_due(site.now)
    site.probe(P1)
    for _ in range(20):
        site.let_pass(10)
        site.request("INVITE")
        assert P1 not in site.group.probe_due(site.now)
    site.let_pass(34)
    assert P1 in site.group.probe_due(site.now)


def test_redundancy_ready_needs_two():
    site = make_site(alive=[P1, P2])
    assert not site.group.redundancy_ready()
    site.probe(P1)
    assert not site.group.redundancy_ready()
    site.probe(P2)
    assert site.group.redundancy_ready()
    site.group.observe(P2, TransportFailed("icmp"), site.now, "OPTIONS")
    assert not site.group.redundancy_ready()
    assert site.group.any_up()
    site.group.observe(P1, TransportFailed("icmp"), site.now, "OPTIONS")
    assert not site.group.any_up()


def test_state_changes_and_attempts_are_reported():
    site = make_site(alive=[P2])
    site.request("INVITE")
    changes = [event for event in site.events if isinstance(event, ServerStateChanged)]
    assert [
        ("primary", "unknown", "down", "INVITE: no answer to 4 sends"),
        ("fallback", "unknown", "up", "INVITE: answered 200"),
    ] == [(change.server, change.old, change.new, change.reason) for change in changes]
    attempts = [event for event in site.events if isinstance(event, AttemptEnded)]
    assert [("primary", "INVITE", "timeout", 7.5), ("fallback", "INVITE", "status_2xx", 0.0)] == [
        (attempt.server, attempt.method, attempt.outcome, attempt.duration) for attempt in attempts
    ]


def test_describes_itself():
    site = make_site(alive=[P2], domains=("example.com",))
    site.request("INVITE")
    table = site.group.describe(site.now, 2000000.0)
    assert ("office", ["example.com"], str(P2), False) == (
        table["name"], table["domains"], table["working"], table["redundancy_ready"],
    )
    primary = table["servers"][0]["candidates"][0]
    assert {
        "candidate": "192.0.2.1:5060;udp", "address": "192.0.2.1", "port": 5060, "transport": "udp", "rank": 1,
        "priority": 1, "state": "down", "since": 2000000.0, "for_seconds": 0.0,
        "reason": "INVITE: no answer to 4 sends", "working": False,
    } == primary


def test_answers_from_a_server_that_left_are_ignored():
    site = make_site()
    site.group.observe(Candidate("192.0.2.99", 5060, "udp"), Answered(200), site.now, "OPTIONS")
    assert [] == site.events


def test_without_candidates_there_is_nothing_to_try():
    """DNS has not answered yet."""
    site = Site(settings("office"), {})
    assert [] == site.request("INVITE").sent
    assert (None, None) == (site.group.working(site.now), site.group.next_wakeup(site.now))


def test_successive_registration_uses_one_server():
    """Y8: server 2 sees no REGISTER while server 1 works."""
    site = make_site(alive=[P1, P2], registration="successive")
    assert [P1] == site.register()["primary"].servers
    site.answers[P1] = SILENT
    assert [P1, P2] == site.register()["primary"].servers
    assert [P2] == site.register()["primary"].servers


def test_renewal_seeks_the_better_server_in_mode_registration():
    """Y27: try REGISTER to the primary at renewal, even though nothing is known of its recovery."""
    primary = {"name": "primary", "failback_mode": "registration"}
    site = make_site(primary, "fallback", alive=[P2], registration="successive", failback_hold=0, rise=1)
    site.register()
    assert [P2] == site.request("INVITE").servers
    site.answers[P1] = 200
    assert [P1] == site.register()["primary"].servers
    assert [P1] == site.request("INVITE").servers


def test_renewal_seeks_the_better_address_of_one_name_too():
    """Y27: the primary and its secondary behind one name, whatever the registration mode."""
    primary, secondary = Candidate(P1.address, 5060, "udp", priority=1), Candidate(P2.address, 5060, "udp", priority=2)
    for registration in ("concurrent", "successive"):
        site = Site(
            settings({"name": "server1", "failback_mode": "registration"}, registration=registration, failback_hold=0),
            {"server1": [primary, secondary]},
        )
        site.answers.update({P1: "icmp", P2: 200})
        site.request("INVITE")
        assert [P1, P2] == site.register()["server1"].servers
        assert [P2] == site.request("INVITE").servers


@pytest.mark.parametrize("mode", ["new-requests", "registration", "duration", "probe", "never"])
def test_a_server_that_is_located_later_is_begun_with(mode):
    """The fallback is known by address, the primary's name takes a moment: no failback mode need allow what never failed."""
    site = Site(settings({"name": "primary", "failback_mode": mode}, "fallback"), {"fallback": [P2]})
    assert P2 == site.group.working(site.now)
    site.group.update_candidates("primary", [P1], site.now)
    assert P1 == site.group.working(site.now)
    assert [] == site.moves()


def test_other_settings_keep_what_is_known():
    """A reload forgets no dead server and moves nobody."""
    site = make_site(alive=[P2])
    site.request("INVITE")
    after = make_site(alive=[P2], probe_interval=60)
    after.now = site.now
    after.group.go_on_from(site.group, site.now)
    assert P2 == after.group.working(after.now)
    assert [P2] == after.request("INVITE").servers
    assert [] == after.moves()
    assert site.group.health(P1).reason == after.group.health(P1).reason


def two_sites():
    """Two processes with the same group: what the first is seen to find out is told to the second."""
    sites = [make_site(alive=[P2]), make_site(alive=[P2])]
    for site in sites:
        bring_up(site, P1, P2)
        site.events.clear()
    return sites


def tell(one, other, candidate):
    other.group.told(candidate, one.group.health(candidate).word(), other.now)


def test_what_another_process_found_out_is_acted_on_in_silence():
    """It was reported where it was found out; here the next call goes to the right server at once."""
    one, other = two_sites()
    one.answers[P1] = other.answers[P1] = "icmp"
    one.request("INVITE")
    tell(one, other, P1)
    assert [P2] == other.request("INVITE").servers
    assert P2 == other.group.working(other.now)
    assert [] == [event for event in other.events if not isinstance(event, AttemptEnded)]
    assert one.group.health(P1).reason == other.group.health(P1).reason


def test_requests_that_wait_are_woken_by_another_process():
    one, other = two_sites()
    woken = []
    other.group.waiting(P1, woken.append)
    one.answers[P1] = "icmp"
    one.request("INVITE")
    tell(one, other, P1)
    assert ["icmp"] == woken


def test_a_refusal_wakes_nobody():
    """503: the server is there, and what waits for it may still be answered."""
    one, other = two_sites()
    woken = []
    other.group.waiting(P1, woken.append)
    one.answers[P1] = 503
    one.request("INVITE")
    tell(one, other, P1)
    assert State.DOWN is other.group.health(P1).state
    assert [] == woken
    assert one.group.health(P1).held_until == other.group.health(P1).held_until


def test_the_hold_of_a_failback_counts_from_when_it_was_seen():
    """The other process has it up since then, so both return at the same time."""
    one, other = two_sites()
    one.answers[P1] = "icmp"
    one.request("INVITE")
    tell(one, other, P1)
    one.now += 100.0
    bring_up(one, P1)
    other.now = one.now + 30.0
    tell(one, other, P1)
    hold = one.group.settings.failback_hold
    for site in (one, other):
        site.let_pass(one.group.health(P1).since + hold - 1.0 - site.now)
        assert P2 == site.group.working(site.now)
        site.let_pass(1.0)
        assert P1 == site.group.working(site.now)


def test_told_where_new_requests_go():
    one, other = two_sites()
    other.group.told_working(P2, other.now)
    assert [P2] == other.request("INVITE").servers
    assert other.now == other.group.working_since()
    assert [] == other.moves()


def test_told_about_a_candidate_that_is_not_in_the_list():
    """The names of servers are looked up by each process; one may be a little ahead."""
    one, other = two_sites()
    other.group.told(P3, one.group.health(P1).word(), other.now)
    other.group.told_working(P3, other.now)
    assert P1 == other.group.working(other.now)


def test_counting_begins_anew_after_a_word():
    """Results from before it are in it."""
    one, other = two_sites()
    one.answers[P1] = "icmp"
    one.request("INVITE")
    tell(one, other, P1)
    for _ in range(other.group.settings.rise - 1):
        other.probe(P1)
    assert State.DOWN is other.group.health(P1).state
    other.probe(P1)
    assert State.UP is other.group.health(P1).state


def test_whether_a_register_may_be_accepted_anywhere():
    """All of its servers, and each of them."""
    site = make_site(alive=[P1, P2], registration="concurrent")
    bring_up(site, P1, P2)
    assert site.group.all_accept
    site.group.observe(P2, TransportFailed("icmp"), site.now, "OPTIONS")
    assert not site.group.all_accept
    assert (True, False) == (site.group.may_accept("primary"), site.group.may_accept("fallback"))
    site.group.observe(P1, TransportFailed("icmp"), site.now, "OPTIONS")
    assert not site.group.all_accept
    bring_up(site, P1, P2)
    assert site.group.all_accept
