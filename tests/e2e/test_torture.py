"""Every torture message of RFC 4475 at the appliance's door, then a call as if nothing had been."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.peers import Peers

MESSAGES = sorted((Path(__file__).parent.parent / "data/torture").glob("*.dat"))


def test_call_after_torture(peers: Peers) -> None:
    """Nothing of it stops the appliance, ends in a traceback, or keeps the next call from going through."""
    assert len(MESSAGES) >= 49, "RFC 4475 has 49 messages"
    sbc = peers.sbc([peers.call_server("primary"), peers.call_server("fallback")])
    tormentor = peers.socket_phone(sbc)
    phone = peers.sipp_phone("alice", sbc.proxy())
    for message in MESSAGES:
        tormentor.send(message.read_bytes())
        # One at a time, so that none is lost in a full socket buffer.
        tormentor.receive(0.05)
    assert len(phone.call("bob", calls=3)) == 3
    assert sbc.running
    assert "Traceback" not in sbc.text()
    assert sbc.metric("sbc_malformed_messages_total") > 0
