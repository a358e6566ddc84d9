"""Is it the server, or is it us (V20, D33)? The decision alone."""

import pytest

from sbc.redundancy.network import LOOKUPS, Facts, Lookups, judge

NOBODY = frozenset()


@pytest.mark.parametrize(
    ("cut_off", "all_silent", "reference", "lookups_failed", "state"),
    [
        (NOBODY, False, None, 0, "up"),
        (frozenset({"office"}), False, None, 0, "link_down"),
        (frozenset({"office"}), True, False, 9, "link_down"),  # our own link explains all the rest
        (NOBODY, True, False, 0, "uplink_down"),
        (NOBODY, True, False, 9, "uplink_down"),
        (NOBODY, True, True, 0, "up"),  # all servers are dead, but the way is there
        (NOBODY, True, None, 0, "up"),  # nobody to ask: nothing is claimed
        (NOBODY, False, False, 0, "up"),  # one server answers, whatever the reference does
        (NOBODY, False, None, LOOKUPS, "dns_down"),
        (NOBODY, False, None, LOOKUPS - 1, "up"),
        (NOBODY, True, True, LOOKUPS, "dns_down"),
    ],
)
def test_d33_what_is_down(cut_off, all_silent, reference, lookups_failed, state):
    """D33, X11: own carrier, then uplink, then lookups; one dead server is none of these."""
    network = judge(Facts(cut_off, all_silent, reference, lookups_failed))
    assert (state, cut_off if state == "link_down" else NOBODY) == (network.state, network.frozen)


def test_the_reason_names_who_is_cut_off():
    network = judge(Facts(frozenset({"office", "lobby"}), False, None, 0))
    assert "no link of ours leads to the servers of lobby, office" == network.reason


def test_lookups_in_a_row():
    """A negative answer is an answer; a stale one is what was known before."""
    lookups = Lookups()
    for result in ("timeout", "servfail", "stale"):
        lookups.note(result)
    assert 3 == lookups.failed
    lookups.note("negative")
    assert 0 == lookups.failed
