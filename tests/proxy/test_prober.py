"""The OPTIONS that we send (D15, PIVOT V17, V18, V21)."""

from __future__ import annotations

import pytest

from sbc.events import ProbeEnded, ServerStateChanged
from sbc.proxy.prober import Prober
from tests.proxy.conftest import Site


@pytest.fixture
def probed():
    """Its prober runs; stopped at the end, when nothing may be left."""
    site = Site(probe_interval=30, probe_interval_down=10, probe_timeout=4, fall=2, rise=3)
    prober = Prober(site.clock, site.layer, site, site.group, site.facts.append)
    prober.start()
    yield site
    prober.stop()
    site.clock.advance(60)
    assert site.clock.pending == 0


def answer_all(site, flow, status: int) -> None:
    for _, message in list(flow.sent):
        site.answer(flow, message, status)
    flow.take()


def states(site, server: str) -> list[tuple[str, str]]:
    return [(fact.old, fact.new) for fact in site.facts if isinstance(fact, ServerStateChanged) and fact.server == server]


def test_probe_is_a_valid_options(probed):
    """V21: "a valid OPTIONS"."""
    probed.clock.advance(31)
    sent = probed.last(probed.primary, "OPTIONS")
    assert sent.request_uri == "sip:198.51.100.10:5060"
    assert sent.get("Max-Forwards") == "70"
    assert sent.get("From").startswith("<sip:198.51.100.1:5060>;tag=")
    answer_all(probed, probed.primary, 200)
    answer_all(probed, probed.fallback, 200)


def test_answer_brings_up_and_silence_down(probed):
    """fall = 2: two unanswered OPTIONS of 4 s each; other servers are not concerned."""
    for _ in range(40):
        probed.clock.advance(1)
        answer_all(probed, probed.fallback, 200)
    assert states(probed, "fallback") == [("unknown", "up")]
    assert states(probed, "primary") == [("unknown", "down")]
    outcomes = {fact.outcome for fact in probed.facts if isinstance(fact, ProbeEnded) and fact.server == "primary"}
    assert outcomes == {"timeout"}


def test_recovery_takes_rise_good_answers(probed):
    for _ in range(40):
        probed.clock.advance(1)
        answer_all(probed, probed.fallback, 200)
    for _ in range(60):
        probed.clock.advance(1)
        answer_all(probed, probed.fallback, 200)
        answer_all(probed, probed.primary, 405)  # any answer below 500 is a sign of life (V17)
    assert states(probed, "primary") == [("unknown", "down"), ("down", "up")]


def test_icmp_brings_down_at_once(probed):
    probed.clock.advance(35)
    sent = probed.last(probed.primary, "OPTIONS")
    probed.edge.datagram_failed(sent.to_bytes(), "icmp")
    assert states(probed, "primary") == [("unknown", "down")]
