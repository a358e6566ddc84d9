"""CandidateHealth: what makes a candidate up, down, frozen, and for how long."""

import pytest

from sbc.redundancy.health import TRANSITIONS, CandidateHealth, Input, State
from sbc.redundancy.outcome import Answered, Cancelled, FoundDown, TimedOut, TransportFailed
from sbc.redundancy.settings import DEFAULT_STATUS_HEALTH


@pytest.fixture
def health():
    return CandidateHealth(fall=2, rise=3, status_health=DEFAULT_STATUS_HEALTH, now=0.0)


def go_down(health, at=0.0):
    health.observe(TransportFailed("icmp"), at, "INVITE")
    assert State.DOWN is health.state


def test_table_is_complete_and_closed():
    """Every state meets every input; each row leads to a state and names a method."""
    assert {(state, event) for state in State for event in Input} == set(TRANSITIONS)
    for following, action in TRANSITIONS.values():
        assert isinstance(following, State)
        assert callable(getattr(CandidateHealth, action))


def test_one_good_answer_makes_an_unknown_candidate_up(health):
    change = health.observe(Answered(200), 1.0, "OPTIONS")
    assert (State.UNKNOWN, State.UP) == (change.old, change.new)
    assert (1.0, "OPTIONS: answered 200") == (health.since, health.reason)


@pytest.mark.parametrize("status", [100, 180, 200, 302, 401, 403, 404, 407, 480, 481, 486, 501, 505, 513, 603])
def test_any_answer_of_a_living_server_is_good(health, status):
    """D6, D15: only 500, 502, 503, 504 speak against the server."""
    health.observe(Answered(status), 1.0, "INVITE")
    assert State.UP is health.state


@pytest.mark.parametrize("status", [500, 502, 504])
def test_suspicious_answers_count_as_one_failure(health, status):
    health.observe(Answered(status), 1.0, "INVITE")
    assert State.UNKNOWN is health.state
    change = health.observe(Answered(status), 2.0, "INVITE")
    assert State.DOWN is health.state
    assert not change.silent


def test_received_408_says_nothing(health):
    for _ in range(5):
        health.observe(Answered(408), 1.0, "INVITE")
    assert State.UNKNOWN is health.state


def test_each_unanswered_send_is_a_bad_result(health):
    """An attempt of four sends makes the candidate down at once, so that the next call does not wait."""
    health.observe(Answered(200), 0.0, "OPTIONS")
    change = health.observe(TimedOut(4), 7.5, "INVITE")
    assert (State.DOWN, True) == (change.new, change.silent)
    assert "INVITE: no answer to 4 sends" == health.reason


def test_one_send_is_not_enough_for_fall_two(health):
    """retry_counts 0 makes one send; an OPTIONS is one bad result however often it was repeated."""
    health.observe(Answered(200), 0.0, "OPTIONS")
    assert health.observe(TimedOut(1), 1.0, "OPTIONS") is None
    assert health.in_doubt
    assert health.observe(TimedOut(1), 2.0, "OPTIONS").new is State.DOWN


def test_a_good_answer_between_starts_the_count_anew(health):
    for at in range(10):
        health.observe(TimedOut(1), at, "OPTIONS")
        health.observe(Answered(200), at + 0.5, "OPTIONS")
    assert State.UP is health.state


@pytest.mark.parametrize("cause", ["icmp", "refused", "reset", "tls"])
def test_transport_errors_count_at_once(health, cause):
    """D16: port unreachable is hard."""
    health.observe(Answered(200), 0.0, "OPTIONS")
    assert health.observe(TransportFailed(cause), 1.0, "INVITE").new is State.DOWN
    assert cause == health.down_cause


def test_host_unreachable_is_one_bad_result(health):
    """D16: a router's opinion is soft."""
    health.observe(Answered(200), 0.0, "OPTIONS")
    assert health.observe(TransportFailed("unreachable"), 1.0, "INVITE") is None
    assert health.observe(TransportFailed("icmp", soft=True), 2.0, "INVITE").new is State.DOWN


def test_down_needs_rise_good_results_in_a_row(health):
    go_down(health)
    health.observe(Answered(200), 10.0, "OPTIONS")
    health.observe(Answered(200), 20.0, "OPTIONS")
    health.observe(TimedOut(1), 30.0, "OPTIONS")
    for at in (40.0, 50.0):
        assert health.observe(Answered(200), at, "OPTIONS") is None
    assert health.observe(Answered(200), 60.0, "OPTIONS").new is State.UP
    assert 60.0 == health.up_since


@pytest.mark.parametrize("outcome", [Cancelled(), FoundDown("timeout")])
def test_what_another_request_knows_or_a_caller_wants_is_no_result(health, outcome):
    health.observe(outcome, 1.0, "INVITE")
    health.observe(outcome, 2.0, "INVITE")
    assert State.UNKNOWN is health.state


def test_silence_after_ringing_is_the_callee(health):
    health.observe(Answered(200), 0.0, "OPTIONS")
    health.observe(TimedOut(7, highest_provisional=180), 200.0, "INVITE")
    assert not health.in_doubt


@pytest.mark.parametrize(("header", "seconds"), [(None, 60), (0, 1), (1, 1), (120, 120), (600, 600), (86400, 600)])
def test_503_holds_for_retry_after(health, header, seconds):
    """D6: down for Retry-After, 1 to 600 s, default 60."""
    change = health.observe(Answered(503, retry_after=header), 100.0, "INVITE")
    assert (State.DOWN, False) == (change.new, change.silent)
    assert 100.0 + seconds == health.held_until
    assert health.advance(100.0 + seconds - 0.01) is None
    assert health.advance(100.0 + seconds).new is State.UNKNOWN
    assert health.usable


def test_answers_during_the_hold_do_not_end_it(health):
    """It answers OPTIONS and still refuses calls: Retry-After is what it asked for."""
    health.observe(Answered(503, retry_after=60), 0.0, "INVITE")
    for at in (10.0, 20.0, 30.0, 40.0):
        health.observe(Answered(200), at, "OPTIONS")
    assert State.DOWN is health.state
    assert health.advance(60.0).new is State.UP


def test_silence_during_the_hold_keeps_it_down(health):
    health.observe(Answered(503, retry_after=60), 0.0, "INVITE")
    health.observe(TimedOut(1), 10.0, "OPTIONS")
    health.observe(TimedOut(1), 20.0, "OPTIONS")
    assert health.advance(60.0) is None
    assert State.DOWN is health.state
    for at in (70.0, 80.0, 90.0):
        health.observe(Answered(200), at, "OPTIONS")
    assert State.UP is health.state


def test_a_503_to_a_probe_without_retry_after_is_one_bad_result(health):
    """V18, D15: the next probe tells sooner than a minute that nobody asked for."""
    health.observe(Answered(200), 0.0, "OPTIONS")
    health.observe(Answered(503), 10.0, "OPTIONS")
    assert (State.UP, None) == (health.state, health.held_until)
    health.observe(Answered(503), 20.0, "OPTIONS")
    assert (State.DOWN, None) == (health.state, health.held_until)
    health.observe(Answered(503, retry_after=5), 30.0, "OPTIONS")
    assert 35.0 == health.held_until


def test_frozen_judges_nothing_and_thaws_to_what_was_known(health):
    """V20: network down, states stay as they are."""
    health.observe(Answered(200), 5.0, "OPTIONS")
    assert health.set_link(False, 10.0).new is State.FROZEN
    for _ in range(5):
        assert health.observe(TransportFailed("icmp"), 11.0, "INVITE") is None
        assert health.observe(TimedOut(7), 11.0, "INVITE") is None
    assert (State.FROZEN, State.UP, True) == (health.state, health.believed, health.usable)
    assert health.set_link(True, 20.0).new is State.UP
    assert (5.0, "OPTIONS: answered 200") == (health.since, health.reason)


def test_a_down_candidate_stays_unusable_while_frozen(health):
    go_down(health)
    health.set_link(False, 1.0)
    assert not health.usable
    health.set_link(True, 2.0)
    assert State.DOWN is health.state


def test_remembers_an_accepted_register(health):
    health.observe(Answered(401), 1.0, "REGISTER")
    assert health.registered_at is None
    health.observe(Answered(200), 2.0, "REGISTER")
    assert 2.0 == health.registered_at
