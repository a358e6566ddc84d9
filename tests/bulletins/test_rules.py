"""The table of the rules: complete, true and up to date."""

from __future__ import annotations

import pytest

from tests.bulletins.rules import PAGE, bulletins, ids_in, missing, naming_tests, not_applicable, page


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("Y7, Y22, the default.", {"Y7", "Y22"}),
        ("Yealink (Y40 to Y43) and S9", {"Y40", "Y41", "Y42", "Y43", "S9"}),
        ("Y13-Y15", {"Y13", "Y14", "Y15"}),
        ("P-ext and P15.", {"P-ext", "P15"}),
        ("`P1:1 172.29.102.138 up*`, IPv4, RFC 3261 s.17, S1a, P0, PIVOT", set()),
        ("moves P1>P2 back", set()),
    ],
)
def test_ids_in_a_docstring(text, ids):
    assert ids == ids_in(text)


def test_numbers_have_no_gaps():
    """Every list of rules goes from 1 to its end."""
    sizes = {"Y": 43, "P": 30, "V": 34, "S": 23, "F": 19, "X": 12}
    ids = [rule for bulletin in bulletins() for rule in bulletin.rules]
    numbered = [f"{letter}{number}" for letter, size in sizes.items() for number in range(1, size + 1)]
    assert sorted(["P-ext", *numbered]) == sorted(ids)


def test_every_id_that_is_named_exists():
    """A slip of the pen in a docstring would be a rule that nobody made."""
    known = {rule for bulletin in bulletins() for rule in bulletin.rules}
    assert set() == set(naming_tests()) - known
    assert set() == set(not_applicable()) - known


def test_no_rule_is_missing():
    """Each is shown by a test, or there is a reason why it asks nothing of us; never both."""
    assert [] == missing()
    assert set() == set(not_applicable()) & set(naming_tests())


def test_the_page_is_up_to_date():
    """If not: python -m tests.bulletins.rules"""
    assert PAGE.read_text("utf-8") == page()
