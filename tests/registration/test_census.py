"""The phones counted, and those that the status shows."""

from __future__ import annotations

import pytest

from sbc.registration import census
from sbc.registration.bindings import Binding, Upstream
from sbc.registration.census import Census


def phone(number: int, group: str = "office", **states: str) -> Binding:
    """A contact in these states at its servers."""
    binding = Binding(f"t{number}", group, f"sip:{number}@example.com", f"<sip:{number}@192.0.2.7>")
    for server, state in states.items():
        upstream = Upstream(server, 0)
        upstream.state = state
        binding.upstreams += (upstream,)
    return binding


def shown(found: Census) -> list[int]:
    return [int(binding.token[1:]) for binding in found.shown]


@pytest.fixture
def many() -> list[Binding]:
    """All but two are registered everywhere, those two far down the list."""
    phones = [phone(number, primary="registered", fallback="registered") for number in range(1000)]
    phones[500] = phone(500, primary="failed", fallback="registered")
    phones[900] = phone(900, primary="unregistered", fallback="unregistered")
    return phones


def test_compiled_or_not():
    assert census.COMPILED == census.__file__.endswith(".so")


def test_first_and_those_in_trouble_are_shown_and_all_are_counted(many):
    found = Census(many, 10)
    assert [*range(10), 500, 900] == shown(found)
    assert (998, 1) == (found.everywhere, found.nowhere)
    assert {
        ("office", "primary", "registered"): 998, ("office", "primary", "failed"): 1, ("office", "primary", "unregistered"): 1,
        ("office", "fallback", "registered"): 999, ("office", "fallback", "unregistered"): 1,
    } == found.states  # fmt: skip


def test_those_in_trouble_are_limited_too():
    """When no server answers, all phones are."""
    assert [*range(10)] == shown(Census([phone(number, primary="unregistered") for number in range(100)], 10))


def test_none_is_shown_where_none_is_wanted(many):
    assert [] == shown(Census(many, 0))
    assert 998 == Census(many, 0).everywhere


def test_phones_of_several_groups():
    found = Census([phone(1, "a", one="registered"), phone(2, "b", one="failed"), phone(3, "a", one="registered"), phone(4, "b")])
    assert {("a", "one", "registered"): 2, ("b", "one", "failed"): 1} == found.states
    assert (2, 2) == (found.everywhere, found.nowhere)
