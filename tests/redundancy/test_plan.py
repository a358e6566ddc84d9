"""AttemptPlan: whom to try, how long, and which answers move a request."""

import pytest

from sbc.location.candidate import Candidate
from sbc.redundancy.outcome import Answered, Cancelled, FoundDown, TimedOut, TransportFailed
from sbc.redundancy.plan import AttemptPlan, Changes, Option, Order, PlanWitness, Terms, Verdict
from sbc.redundancy.settings import DEFAULT_STATUS_FAILOVER, ServerSettings

from .site import P1, P2, P3


def order_of(options, status_failover=DEFAULT_STATUS_FAILOVER, **terms):
    """These options, whatever happens."""
    return Order(Terms(status_failover, **terms), lambda: options, Changes())


def make_plan(method="INVITE", candidates=(P1, P2), *, deadline=None, servers=None, in_dialog=False, **terms):
    """A plan over these candidates, each of a server of its own unless `servers` says otherwise."""
    names = servers or [f"server{place}" for place in range(1, len(candidates) + 1)]
    options = [
        Option(ServerSettings(name=name, address=candidate.address), candidate)
        for name, candidate in zip(names, candidates, strict=True)
    ]
    return AttemptPlan(method, order_of(options, **terms), deadline=deadline, in_dialog=in_dialog)


class Witness(PlanWitness):
    def __init__(self):
        self.seen = []

    def attempt_ended(self, method, tried):
        self.seen.append((method, "ended", tried.attempt.candidate, tried.outcome.label))

    def request_moved(self, method, failed, following):
        self.seen.append((method, "moved", failed.attempt.candidate, following.candidate, failed.outcome.cause))


def test_last_candidate_gets_full_timeout():
    """The last server in the list is tried for 64*T1 (P19, F9)."""
    plan = make_plan()
    first = plan.next(0.0)
    assert (P1, 7.5, 4, False) == (first.candidate, first.timeout, first.sends, first.last)
    assert Verdict.NEXT is plan.record(first, TimedOut(4), 7.5)
    second = plan.next(7.5)
    assert (P2, 32.0, 7, True) == (second.candidate, second.timeout, second.sends, second.last)


def test_the_only_candidate_is_the_last():
    assert plan_times("INVITE", [P1], None) == [32.0]


def test_a_server_may_have_a_time_instead_of_a_count():
    """F6, F9: "specific time (V2 product)", except for the last server, which has 64*T1; and the sends that fall into it."""
    options = [
        Option(ServerSettings("server1", "192.0.2.1", retry_counts=0, retry_time=10), P1),
        Option(ServerSettings("server2", "192.0.2.2", retry_counts=0, retry_time=10), P2),
    ]
    plan = AttemptPlan("INVITE", order_of(options))
    first = plan.next(0.0)
    plan.record(first, TimedOut(first.sends), 10.0)
    last = plan.next(10.0)
    assert [(10.0, 5), (32.0, 7)] == [(attempt.timeout, attempt.sends) for attempt in (first, last)]


def plan_times(method, candidates, deadline):
    plan, now, times = make_plan(method, candidates, deadline=deadline), 0.0, []
    while attempt := plan.next(now):
        times.append(attempt.timeout)
        now += attempt.timeout
        plan.record(attempt, TimedOut(attempt.sends), now)
    assert plan.exhausted
    return times


def test_non_invite_is_over_before_the_phone_gives_up():
    """D1: with two servers 7.5 + 23.5 s, with four 3 x 7.5 + 8.5 s, never beyond 31 s."""
    assert [7.5, 23.5] == plan_times("REGISTER", [P1, P2], 31.0)
    assert [7.5, 7.5, 7.5, 8.5] == plan_times("BYE", [P1, P2, P3, Candidate("192.0.2.4", 5060, "udp")], 31.0)


def test_deadline_leaves_no_time_for_a_late_attempt():
    """A candidate whose turn comes after the deadline is not tried."""
    many = [Candidate(f"192.0.2.{last}", 5060, "udp") for last in range(1, 7)]
    times = plan_times("REGISTER", many, 31.0)
    assert 31.0 == sum(times)
    assert 5 == len(times)


def test_success_ends_the_plan():
    plan = make_plan()
    attempt = plan.next(0.0)
    assert Verdict.SUCCESS is plan.record(attempt, Answered(200), 0.1)
    assert plan.next(0.1) is None
    assert not plan.exhausted


@pytest.mark.parametrize("outcome", [TimedOut(4), TransportFailed("icmp"), TransportFailed("tls"), FoundDown("icmp")])
@pytest.mark.parametrize("method", ["INVITE", "REGISTER", "BYE"])
def test_silence_and_transport_errors_move_every_method(method, outcome):
    """First row of table D6."""
    plan = make_plan(method)
    assert Verdict.NEXT is plan.record(plan.next(0.0), outcome, 0.1)
    assert P2 == plan.next(0.1).candidate


NEXT, BACK = Verdict.NEXT, Verdict.RETURN
TABLE_D6 = [
    # status, INVITE, REGISTER, BYE
    (503, NEXT, NEXT, NEXT),
    (500, NEXT, NEXT, NEXT),
    (502, NEXT, NEXT, NEXT),
    (504, NEXT, NEXT, NEXT),
    (501, BACK, BACK, BACK),
    (505, BACK, BACK, BACK),
    (401, BACK, BACK, BACK),
    (407, BACK, BACK, BACK),
    (403, BACK, NEXT, BACK),
    (404, BACK, NEXT, BACK),
    (430, NEXT, NEXT, NEXT),
    (480, BACK, BACK, BACK),
    (481, BACK, BACK, BACK),
    (484, BACK, BACK, BACK),
    (486, BACK, BACK, BACK),
    (487, BACK, BACK, BACK),
    (488, BACK, BACK, BACK),
    (491, BACK, BACK, BACK),
    (302, BACK, BACK, BACK),
    (600, BACK, BACK, BACK),
    (603, BACK, BACK, BACK),
]


@pytest.mark.parametrize(("status", "invite", "register", "bye"), TABLE_D6)
def test_which_answers_move_a_request(status, invite, register, bye):
    """Table D6, answers after 10 s of a request that did not ring."""
    for method, expected in (("INVITE", invite), ("REGISTER", register), ("BYE", bye)):
        plan = make_plan(method)
        assert expected is plan.record(plan.next(0.0), Answered(status), 10.0), method


@pytest.mark.parametrize(("method", "verdict"), [("REGISTER", NEXT), ("BYE", BACK), ("SUBSCRIBE", NEXT)])
def test_received_408_of_non_invite(method, verdict):
    """D6: a REGISTER moves on, a BYE is done."""
    plan = make_plan(method)
    assert verdict is plan.record(plan.next(0.0), Answered(408), 0.5)


@pytest.mark.parametrize(
    ("at", "provisional", "verdict"), [(4.9, 0, NEXT), (5.1, 0, BACK), (1.0, 100, BACK), (1.0, 180, BACK)]
)
def test_received_408_of_invite_is_the_callee_unless_early(at, provisional, verdict):
    """D6: 408 to an INVITE does not move it, unless it came within 5 s and without any 1xx."""
    plan = make_plan("INVITE")
    assert verdict is plan.record(plan.next(0.0), Answered(408, highest_provisional=provisional), at)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_ringing_call_does_not_move(status):
    """After 101 to 199 the server is alive and somebody's phone rings; 100 alone says nothing of the kind."""
    for provisional, verdict in ((180, BACK), (183, BACK), (100, NEXT), (0, NEXT)):
        plan = make_plan("INVITE")
        answer = Answered(status, highest_provisional=provisional)
        assert verdict is plan.record(plan.next(0.0), answer, 1.0)


def test_silence_after_ringing_does_not_move_a_call():
    """Timer C, or a connection that broke while it rang."""
    for outcome in (TimedOut(1, highest_provisional=180), TransportFailed("reset", highest_provisional=183)):
        plan = make_plan("INVITE")
        assert Verdict.RETURN is plan.record(plan.next(0.0), outcome, 200.0)


def test_in_dialog_invite_follows_its_own_row():
    """A re-INVITE that gets 404 stays, one that gets 503 moves even after a 183: no phone rings."""
    plan = make_plan("INVITE", in_dialog=True)
    assert Verdict.NEXT is plan.record(plan.next(0.0), Answered(503, highest_provisional=183), 1.0)


def test_rejected_account_skips_the_siblings_of_the_server():
    """D6: 403 to a REGISTER tries only an independent server; DNS siblings share their accounts."""
    plan = make_plan("REGISTER", [P1, P2, P3], servers=["office", "office", "fallback"])
    assert Verdict.NEXT is plan.record(plan.next(0.0), Answered(403), 0.1)
    assert P3 == plan.next(0.1).candidate
    plan = make_plan("REGISTER", [P1, P2], servers=["office", "office"])
    assert Verdict.RETURN is plan.record(plan.next(0.0), Answered(403), 0.1)


def test_table_d6_is_data():
    """A profile may say otherwise, per method and status."""
    options = [Option(ServerSettings(name=name, address=name), c) for name, c in (("a", P1), ("b", P2))]
    plan = AttemptPlan("INVITE", order_of(options, {"INVITE": {"486": "next"}}))
    assert Verdict.NEXT is plan.record(plan.next(0.0), Answered(486), 0.1)
    assert Verdict.RETURN is plan.record(plan.next(0.1), Answered(503), 0.1)


def test_constant_interval_is_handed_on():
    """Polycom retryTimeOut 200 ms: four sends in 0.8 s."""
    attempt = make_plan(interval=0.2).next(0.0)
    assert (0.2, 4) == (attempt.interval, attempt.sends)
    assert 0.8 == pytest.approx(attempt.timeout)


def test_options_are_asked_anew_for_each_attempt():
    """A server found dead during the first attempt is not tried next."""
    servers = {name: ServerSettings(name=name, address=name) for name in "abc"}
    alive = [Option(servers["a"], P1), Option(servers["b"], P2), Option(servers["c"], P3)]
    changes = Changes()
    plan = AttemptPlan("INVITE", Order(Terms(DEFAULT_STATUS_FAILOVER), lambda: list(alive), changes))
    attempt = plan.next(0.0)
    del alive[1]
    changes.number += 1
    plan.record(attempt, TimedOut(4), 7.5)
    assert P3 == plan.next(7.5).candidate


def test_cancelled_stops():
    """D4: from the moment of a CANCEL no new branch."""
    plan = make_plan()
    assert Verdict.STOPPED is plan.record(plan.next(0.0), Cancelled(), 1.0)
    assert plan.next(1.0) is None
    assert not plan.exhausted


def test_stop_lets_the_attempt_under_way_end():
    """A CANCEL while an attempt is under way: its failure starts nothing, its 2xx still counts (D3)."""
    plan = make_plan()
    attempt = plan.next(0.0)
    plan.stop()
    assert Verdict.STOPPED is plan.record(attempt, TimedOut(4), 7.5)
    assert plan.next(7.5) is None
    plan = make_plan()
    attempt = plan.next(0.0)
    plan.stop()
    assert Verdict.SUCCESS is plan.record(attempt, Answered(200), 1.0)


def test_misuse_is_an_error():
    plan = make_plan()
    attempt = plan.next(0.0)
    with pytest.raises(ValueError):
        plan.next(0.0)
    with pytest.raises(ValueError):
        plan.record(attempt, Answered(180), 0.1)
    plan.record(attempt, TimedOut(4), 7.5)
    with pytest.raises(ValueError):
        plan.record(attempt, TimedOut(4), 7.5)


def test_tells_what_was_tried_and_why():
    witness = Witness()
    plan = make_plan("BYE", deadline=31.0, witness=witness)
    plan.record(plan.next(0.0), TimedOut(4), 7.5)
    plan.record(plan.next(7.5), Answered(200), 7.6)
    assert [
        ("BYE", "ended", P1, "timeout"),
        ("BYE", "moved", P1, P2, "timeout"),
        ("BYE", "ended", P2, "status_2xx"),
    ] == witness.seen
    assert (
        "BYE 1. server1 192.0.2.1:5060;udp: no answer to 4 sends (7.500 s)\n"
        "BYE 2. server2 192.0.2.2:5060;udp: answered 200 (0.100 s)"
    ) == plan.explain()


def test_nothing_to_try_is_exhausted_at_once():
    plan = make_plan(candidates=())
    assert plan.next(0.0) is None
    assert plan.exhausted
    assert "INVITE: no candidate" == plan.explain()
