"""The hours in which new requests may return."""

import pytest

from sbc.redundancy.window import expectation, opens_in


def at(hour, minute=0):
    return hour * 3600.0 + minute * 60


@pytest.mark.parametrize("text", ["02:00-04:00", "22:30-01:15", "00:00-23:59", "23:59-00:00"])
def test_forms_that_can_be_used(text):
    assert expectation(text) is None


@pytest.mark.parametrize("text", ["", "2:00-4:00", "02:00 - 04:00", "24:00-01:00", "02:60-03:00", "02:00-02:00", "02:00", 200, None])
def test_forms_that_cannot(text):
    assert 'two different times of day such as "02:00-04:00"' == expectation(text)


@pytest.mark.parametrize(
    ("window", "now", "seconds"),
    [
        ("02:00-04:00", at(1, 59), 60.0),
        ("02:00-04:00", at(2), 0.0),
        ("02:00-04:00", at(3, 59) + 59, 0.0),
        ("02:00-04:00", at(4), at(22)),
        ("22:00-01:30", at(21), 3600.0),
        ("22:00-01:30", at(23), 0.0),
        ("22:00-01:30", at(0, 30), 0.0),
        ("22:00-01:30", at(1, 30), at(20, 30)),
    ],
)
def test_opens_in(window, now, seconds):
    """The end does not belong to it; midnight is an hour like another."""
    assert seconds == opens_in(window, now)
