"""What the viewer sees, and what decides the exit status."""

from __future__ import annotations

import io

import pytest

from sbc.lab.narrator import Narrator


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def narrator():
    times = iter(range(100))
    return Narrator(io.StringIO(), lambda: float(next(times)))


def written(narrator: Narrator) -> str:
    return narrator._output.getvalue()


def test_a_story_whose_checks_hold_came_true(narrator):
    assert narrator.check("water is wet", True)
    assert narrator.verdict()
    assert "ok water is wet" in written(narrator)
    assert "all 1 checks held" in written(narrator)


def test_one_broken_check_is_enough_and_is_repeated_at_the_end(narrator):
    narrator.check("water is wet", True)
    assert not narrator.check("water is dry", False)
    assert not narrator.verdict()
    assert written(narrator).endswith("The story did not come true:\n  - water is dry\n")


def test_trouble_breaks_the_story(narrator):
    narrator.trouble("sbc ended\nits last words")
    assert ["sbc ended"] == narrator.broken
    assert not narrator.verdict()


def test_no_colours_without_a_terminal(narrator):
    narrator.chapter("one")
    narrator.check("two", False)
    assert "\033" not in written(narrator)


@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colours_on_a_terminal_unless_unwanted(monkeypatch, variables, coloured):
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    terminal = Terminal()
    Narrator(terminal, lambda: 0.0).chapter("one")
    assert coloured == ("\033[" in terminal.getvalue())


def test_table_columns_line_up(narrator):
    narrator.table(("calls", "delay", "through"), [("first", "7500 ms", "fallback"), ("a later one", "8 ms", "?")])
    assert [
        "calls          delay  through",
        "------------------------------",
        "first        7500 ms  fallback",
        "a later one     8 ms  ?",
    ] == written(narrator).splitlines()


def test_long_lines_are_wrapped_below_the_text(narrator):
    narrator.say("word " * 30)
    first, second = written(narrator).splitlines()
    assert first.endswith("word") and len(first) <= 100
    assert second.startswith(" " * 9 + "word")
