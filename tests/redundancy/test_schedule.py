"""Table a.0: what "retry N times" means in seconds."""

import pytest

from sbc.redundancy.schedule import Timing, give_up, patience, sends_within

RFC = Timing()

TABLE_A0 = [
    # retries, sends non-INVITE, give-up non-INVITE, sends INVITE, give-up INVITE
    (0, 1, 0.5, 1, 0.5),
    (1, 2, 1.5, 2, 1.5),
    (2, 3, 3.5, 3, 3.5),
    (3, 4, 7.5, 4, 7.5),
    (4, 5, 11.5, 5, 15.5),
    (5, 6, 15.5, 6, 31.5),
    (6, 7, 19.5, 7, 32.0),
    (7, 8, 23.5, 7, 32.0),
    (8, 9, 27.5, 7, 32.0),
    (9, 10, 31.5, 7, 32.0),
    *((retries, 11, 32.0, 7, 32.0) for retries in range(10, 21)),
]


@pytest.mark.parametrize(("retries", "sends", "seconds", "invite_sends", "invite_seconds"), TABLE_A0)
def test_table_a0(retries, sends, seconds, invite_sends, invite_seconds):
    """Every retry count from 0 to 20, for INVITE and for the others (Y19, P20, F18)."""
    for method in ("REGISTER", "BYE"):
        assert seconds == give_up(retries, method, RFC)
        assert sends == sends_within(seconds, method, RFC)
    assert invite_seconds == give_up(retries, "INVITE", RFC)
    assert invite_sends == sends_within(invite_seconds, "INVITE", RFC)


@pytest.mark.parametrize("method", ["INVITE", "REGISTER"])
def test_constant_interval(method):
    """Polycom retryTimeOut R: sends at 0, R, 2R ..., give-up at (N+1)*R."""
    assert 0.8 == pytest.approx(give_up(3, method, RFC, interval=0.2))
    assert 4 == sends_within(0.8, method, RFC, interval=0.2)
    assert 1 == sends_within(0.2, method, RFC, interval=0.2)


def test_constant_interval_is_capped_at_64_t1():
    """Nothing waits longer than the last server of the list would."""
    assert 32.0 == give_up(20, "INVITE", RFC, interval=60.0)


def test_times_scale_with_t1_and_t2():
    """The schedule depends on T1 and T2 only."""
    assert 0.75 == pytest.approx(give_up(3, "INVITE", Timing(0.05, 0.4)))
    assert 3.2 == pytest.approx(give_up(20, "INVITE", Timing(0.05, 0.4)))
    assert 1.15 == pytest.approx(give_up(4, "REGISTER", Timing(0.05, 0.4)))


@pytest.mark.parametrize(
    ("seconds", "register_sends", "invite_sends"), [(0.5, 1, 1), (5, 4, 4), (7.5, 4, 4), (8, 5, 5), (20, 8, 6), (32, 11, 7)]
)
def test_a_time_instead_of_a_count(seconds, register_sends, invite_sends):
    """F6, "specific time (V2 product)": the RFC schedule until then, whatever the count would say."""
    assert (seconds, register_sends) == patience(3, "REGISTER", RFC, retry_time=seconds)
    assert (seconds, invite_sends) == patience(20, "INVITE", RFC, retry_time=seconds)


def test_the_last_server_has_64_t1_and_no_time_is_longer():
    """F9: "except for the last server ... 64*T1 (32s)"; with a shorter T1 all of it is shorter."""
    assert 32.0 == patience(None, "BYE", RFC, retry_time=5)[0]
    assert 3.2 == pytest.approx(patience(3, "BYE", Timing(0.05, 0.4), retry_time=5)[0])
