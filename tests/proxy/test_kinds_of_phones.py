"""Calls of phones of several kinds: each waits and moves as its own profile says."""

from dataclasses import replace

import pytest

from sbc.redundancy.settings import GroupSettings, PhonesSettings, ServerSettings
from tests.proxy.conftest import FALLBACK, PRIMARY, Site
from tests.proxy.test_core import in_dialog, invite

SERVERS = (
    ServerSettings("primary", PRIMARY.address, rank=1, port=5060),
    ServerSettings("fallback", FALLBACK.address, rank=2, port=5060),
)
HASTY = replace(
    GroupSettings("office", SERVERS, domains=("example.com",), profile="hasty", bye_failover=False),
    servers=tuple(replace(server, retry_counts=0) for server in SERVERS),
)


@pytest.fixture
def site():
    """Hasty phones send once and move on."""
    made = Site(phones=(PhonesSettings(HASTY, user_agent=("Hasty*",)),))
    yield made
    made.clock.advance(400)
    assert made.clock.pending == 0


def call(site, agent, **changes):
    site.receive(invite(headers=[("Contact", "<sip:alice@192.0.2.50:5060>"), ("User-Agent", agent)], **changes), site.phone)


def test_a_call_waits_as_its_phones_profile_says(site):
    """0.5 s with no retransmission; the group's own phones would wait 7.5 s."""
    call(site, "Hasty 1.0")
    site.clock.advance(0.6)
    assert ([0], [0.5]) == (site.primary.times("INVITE"), site.fallback.times("INVITE"))


def test_the_groups_own_phones_wait_as_ever(site):
    call(site, "Other 1.0")
    site.clock.advance(7.6)
    assert ([0, 0.5, 1.5, 3.5], [7.5]) == (site.primary.times("INVITE"), site.fallback.times("INVITE"))


def test_so_does_the_end_of_the_call(site):
    """BYE does not fail over for phones whose profile does not want it, whatever the group's own does."""
    call(site, "Hasty 1.0")
    sent = site.last(site.primary, "INVITE")
    site.answer(site.primary, sent, 200)
    routes = site.last(site.phone, 200).get_all("Record-Route")[::-1]
    site.receive(in_dialog("ACK", sent, cseq=1, branch="z9hG4bKack", routes=routes), site.phone)
    bye = in_dialog("BYE", sent, routes=routes)
    bye.append("User-Agent", "Hasty 1.0")
    site.receive(bye, site.phone)
    site.clock.advance(35)
    assert "BYE" in site.primary.summary()
    assert "BYE" not in site.fallback.summary()
