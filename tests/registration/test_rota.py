"""Whose turn it is, and what is granted, over many rounds, with nothing but numbers (D8, D12)."""

from __future__ import annotations

import pytest

from sbc.registration import rota
from sbc.registration.rota import (
    AGGREGATE,
    ALTERNATING,
    BETTER_AGAIN,
    FIRST_ONLY,
    MOST_SHORT_GRANTS,
    SERIAL,
    Rota,
    Standing,
    missing,
    order,
    spread,
)

SHORT = 10.0


class Rounds:
    """A phone that comes by at `part` of each grant, and servers that register it for `grants` seconds when it is their turn."""

    def __init__(self, grants: dict[str, float], part: float = 0.9, method: str = ALTERNATING) -> None:
        self.grants, self.part, self.method = grants, part, method
        self.until = dict.fromkeys(grants, 0.0)
        self.dead: set[str] = set()
        self.now = 1000.0
        self.told: list[float] = []
        self.turns: list[str] = []
        self.gaps: list[str] = []
        self.rota = Rota(method, self.now)

    def standings(self) -> list[Standing]:
        return [
            Standing(name, rank, max(0.0, until - self.now), name not in self.dead)
            for rank, (name, until) in enumerate(self.until.items(), start=1)
        ]

    def come_by(self) -> float:
        self.gaps += [name for name, until in self.until.items() if 0 < until < self.now and name not in self.dead]
        turn = order(self.standings(), self.method, SHORT, self.rota.passed_over)[0].name
        assert "" == self.rota.arrived("call", "", self.now)
        self.rota.challenged(turn, "call", False, self.now)
        assert "" == self.rota.arrived("call", turn, self.now)
        self.rota.accepted(turn, self.until[turn] <= self.now)
        self.until[turn] = self.now + self.grants[turn]
        self.turns.append(turn)
        lacking = missing(self.standings(), self.method)
        is_short = bool(lacking) and self.rota.may_be_short()
        told = SHORT if is_short else max(SHORT, spread(self.standings(), self.method))
        self.rota.granted(told, is_short, not lacking, "call", self.now)
        self.told.append(told)
        self.now += told * self.part
        return told


@pytest.mark.parametrize("part", [0.3, 0.5, 0.75, 0.9, 0.98])
@pytest.mark.parametrize(
    "grants",
    [(3600, 3600), (60, 3600), (3600, 60), (60, 60), (40, 40), (120, 90, 3600), (600, 600, 600), (60, 3600, 300)],
    ids=str,
)
def test_d12_each_is_renewed_in_time(grants, part):
    """For 500 refreshes, whenever within its grant the phone comes; and a short grant only as often as a server was missing."""
    names = ("a", "b", "c")[: len(grants)]
    rounds = Rounds(dict(zip(names, map(float, grants), strict=True)), part)
    for _ in range(500):
        rounds.come_by()
    assert [] == rounds.gaps
    assert list(names) == rounds.turns[: len(names)]
    assert [SHORT] * (len(names) - 1) == rounds.told[: len(names) - 1]
    assert min(rounds.told[len(names) - 1 :]) >= min(grants) / len(names) * min(part, 0.5)


def test_each_of_two_has_every_second_turn():
    """With half of what they grant between two of them."""
    rounds = Rounds({"a": 3600.0, "b": 3600.0})
    for _ in range(10):
        rounds.come_by()
    assert ["a", "b"] * 5 == rounds.turns
    assert all(1795 <= told <= 1800 for told in rounds.told[1:])


def test_one_that_dies_is_left_out_and_has_the_first_turn_when_it_is_back():
    """One of three; the phone is granted what the two others allow meanwhile."""
    rounds = Rounds({"a": 600.0, "b": 600.0, "c": 600.0})
    for _ in range(9):
        rounds.come_by()
    rounds.dead.add("b")
    for _ in range(12):
        rounds.come_by()
    assert "b" not in rounds.turns[9:]
    assert rounds.told[-1] == pytest.approx(300, abs=40)
    rounds.dead.clear()
    rounds.until["b"] = 0.0
    rounds.come_by()
    assert "b" == rounds.turns[-1]
    for _ in range(30):
        rounds.come_by()
    assert [] == rounds.gaps


def test_one_that_would_lapse_goes_before_one_that_is_missing():
    """Calls still come through the one that has it."""
    standings = [Standing("a", 1, 0.0), Standing("b", 2, 15.0), Standing("c", 3, 300.0)]
    assert ["b", "a", "c"] == [one.name for one in order(standings, ALTERNATING, SHORT)]
    assert ["a", "c", "b"] == [one.name for one in order(standings, ALTERNATING, 5.0)][:1] + ["c", "b"]


def test_who_waits_or_is_dead_has_no_turn_and_is_not_missing():
    standings = [Standing("a", 1, 0.0, waits=True), Standing("b", 2, 0.0, alive=False), Standing("c", 3, 50.0)]
    assert ["c"] == [one.name for one in order(standings, ALTERNATING, SHORT)]
    assert [] == missing(standings, ALTERNATING)
    assert 50.0 == spread(standings, ALTERNATING)


def test_the_dead_count_where_nobody_else_is_left():
    assert 40.0 == spread([Standing("a", 1, 40.0, alive=False), Standing("b", 2, 0.0)], ALTERNATING)
    assert 0.0 == spread([Standing("a", 1, 0.0)], ALTERNATING)


def test_spread_by_method():
    """serial and aggregate renew all of them each time, first-only the first."""
    standings = [Standing("a", 1, 3600.0), Standing("b", 2, 1000.0)]
    assert [1000.0, 1000.0, 1000.0, 3600.0] == [
        spread(standings, method) for method in (ALTERNATING, SERIAL, AGGREGATE, FIRST_ONLY)
    ]


def test_first_only_has_the_first_that_lives():
    standings = [Standing("a", 1, 0.0, alive=False), Standing("b", 2, 5.0), Standing("c", 3, 0.0)]
    assert "b" == order(standings, FIRST_ONLY, SHORT)[0].name
    assert [] == missing(standings, FIRST_ONLY)
    assert ["b"] == [one.name for one in missing([Standing("b", 2, 0.0)], FIRST_ONLY)]


def test_short_grants_come_to_an_end():
    """PJSIP never settles when it is granted 10 s again and again."""
    state = Rota(ALTERNATING, 0.0)
    given = 0
    while state.may_be_short():
        state.granted(SHORT, True, False, "call", 0.0)
        given += 1
    assert MOST_SHORT_GRANTS == given
    state.granted(1800.0, False, False, "call", 0.0)
    assert not state.may_be_short()
    state.accepted("b", True)
    assert state.may_be_short()


def test_short_grants_are_there_again_when_nothing_is_missing():
    state = Rota(ALTERNATING, 0.0)
    for _ in range(MOST_SHORT_GRANTS):
        state.granted(SHORT, True, False, "call", 0.0)
    state.granted(1800.0, False, True, "call", 0.0)
    assert state.may_be_short()


# What is learned


def test_a_challenge_that_is_passed_over_with_the_same_call_id():
    state = Rota(ALTERNATING, 0.0)
    state.challenged("b", "call", False, 10.0)
    assert "did not answer the challenge of b" == state.arrived("call", "", 70.0)


def test_a_restart_teaches_nothing_until_it_comes_again_and_again():
    """Another Call-ID: the phone began anew. Twice in a row behind the same challenge it is no accident any more."""
    state = Rota(ALTERNATING, 0.0)
    state.challenged("b", "one", False, 10.0)
    assert "" == state.arrived("two", "", 70.0)
    assert "b" == state.passed_over
    state.challenged("a", "two", False, 70.0)
    assert "" == state.arrived("two", "a", 70.1)
    state.accepted("a", False)
    assert "" == state.passed_over
    state.challenged("b", "two", False, 80.0)
    assert "did not answer the challenge of b" == state.arrived("three", "", 140.0)


def test_one_passed_over_lets_another_go_first():
    state = Rota(ALTERNATING, 0.0)
    state.challenged("b", "one", False, 10.0)
    state.arrived("two", "", 70.0)
    standings = [Standing("a", 1, 100.0), Standing("b", 2, 0.0)]
    assert "a" == order(standings, ALTERNATING, SHORT, state.passed_over)[0].name
    assert "b" == order(standings[1:], ALTERNATING, SHORT, state.passed_over)[0].name


def test_an_answer_a_minute_late_is_none_in_the_same_attempt():
    """K1: linphone gives up, and answers the last challenge when it tries again."""
    state = Rota(SERIAL, 0.0)
    state.challenged("b", "call", True, 10.0)
    assert "answered the challenge of b too late" == state.arrived("call", "b", 70.0)
    state = Rota(SERIAL, 0.0)
    state.challenged("a", "call", False, 10.0)
    assert "" == state.arrived("call", "a", 70.0)


def test_a_phone_that_takes_no_heed_of_its_grant():
    """Twice in a row; once is a cable that was pulled."""
    state = Rota(ALTERNATING, 0.0)
    state.granted(SHORT, True, False, "call", 0.0)
    assert "" == state.arrived("call", "", 300.0)
    state.granted(SHORT, True, False, "call", 300.0)
    assert "" == state.arrived("call", "", 309.0)
    state.granted(SHORT, True, False, "call", 309.0)
    assert "" == state.arrived("call", "", 900.0)
    state.granted(SHORT, True, False, "call", 900.0)
    assert "does not come back in the time that it is granted" == state.arrived("call", "", 1900.0)


def test_a_server_that_challenges_behind_every_answer():
    """C5, C6: three answers are enough; a success in between begins the count anew."""
    state = Rota(ALTERNATING, 0.0)
    assert [False, False, True] == [state.unheard("b") for _ in range(3)]
    state.accepted("b", True)
    assert [False, False, True] == [state.unheard("b") for _ in range(3)]
    assert not state.unheard("a")


def test_the_better_method_is_tried_again_after_a_day():
    state = Rota(FIRST_ONLY, 50.0)
    assert not state.is_to_begin_again(50.0 + BETTER_AGAIN - 1)
    assert state.is_to_begin_again(50.0 + BETTER_AGAIN)


def test_every_method_ends_at_first_only():
    for method in (SERIAL, AGGREGATE, ALTERNATING):
        while method != FIRST_ONLY:
            method = rota.FALLS_BACK_TO[method]
