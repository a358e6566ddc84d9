"""Candidate: how it is written, and when two are the same."""

import os

import pytest

from sbc.location import candidate as candidate_module
from sbc.location.candidate import Candidate


@pytest.mark.parametrize(
    ("candidate", "text"),
    [
        (Candidate("192.0.2.1", 5060, "udp"), "192.0.2.1:5060;udp"),
        (Candidate("::1", 5061, "tls"), "[::1]:5061;tls"),
        (Candidate("2001:db8::5", 5060, "tcp"), "[2001:db8::5]:5060;tcp"),
    ],
)
def test_text_and_back(candidate, text):
    assert text == str(candidate)
    assert candidate == Candidate.parse(text)


@pytest.mark.parametrize("text", ["", "192.0.2.1", "192.0.2.1:5060", "192.0.2.1;udp", "192.0.2.1:x;udp", ":5060;udp"])
def test_other_text_is_refused(text):
    with pytest.raises(ValueError):
        Candidate.parse(text)


def test_dns_preference_does_not_make_another_candidate():
    """Health and counters stay with it when DNS is rearranged."""
    one, other = Candidate("192.0.2.1", 5060, "udp", 10, 5), Candidate("192.0.2.1", 5060, "udp", 20, 1)
    assert one == other
    assert 1 == len({one, other})
    assert one != Candidate("192.0.2.1", 5060, "tcp", 10, 5)


@pytest.mark.skipif(os.environ.get("SBC_PURE_PYTHON") == "1", reason="the sources are run on purpose")
def test_is_compiled():
    """Every request asks for one: a field must be a field, not an entry of a dictionary."""
    assert candidate_module.COMPILED
    assert not hasattr(Candidate("192.0.2.1", 5060, "udp"), "__dict__")
