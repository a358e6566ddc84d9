"""Phones as people have them, at two registrars that want passwords, which only the phones know.

baresip, linphone, PJSIP, twinkle and two kinds of SIPp phones, side by side behind one `sbc run` without a credentials file.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import pytest

from tests.e2e.peers import Peers
from tests.e2e.peers.capture import can_capture
from tests.e2e.peers.process import wait_until
from tests.e2e.peers.site import ALTERNATING, ALTERNATING_REALMS, ANSWERS_EVERY_REALM, OWN_REALMS, PhoneSite, kinds
from tests.e2e.phones_table import costs, lines

REFRESHES = 20
POLL = 0.5
"""Seconds between two looks into both registrars."""


@pytest.mark.timeout(400)
@pytest.mark.skipif(not can_capture(), reason="tshark is not installed (tests/run installs it)")
def test_every_phone_is_registered_at_both_for_20_refreshes(peers: Peers) -> None:
    """D8, alternating: no contact is ever missing at a registrar, and no phone ever shows a registration that failed.

    Where the realms differ: all phones that answer to any realm, and with its password in the credentials file every phone.
    """
    cases = {
        kind: [ALTERNATING, OWN_REALMS, *([ALTERNATING_REALMS] if kind in ANSWERS_EVERY_REALM else [])] for kind in kinds()
    }
    site = PhoneSite(peers, cases)
    capture = site.capture()
    site.switch_on()
    wait_until(lambda: not site.missing(site.at_both()), "every phone is registered at both servers", 40)
    capture.begin()

    def fewest_refreshes() -> int:
        accepted = {account: 0 for account in site.phones}
        for account, messages in capture.seen_by_account("REGISTER").items():
            accepted[account] = sum(message == "200 REGISTER > phone" for _, message in messages)
        return min(accepted.values())

    deadline = time.monotonic() + 20 * site.longest
    while fewest_refreshes() < REFRESHES:
        assert time.monotonic() < deadline
        stay_registered(site, site.at_both(), seconds=10)
    print("\n".join(lines(costs(site, capture))))
    assert "Traceback" not in site.sbc.text()


def stay_registered(site: PhoneSite, expected: Mapping[str, Sequence[str]], seconds: float) -> None:
    """Watch for so long: nobody is missing at either registrar, no phone says that a registration has failed."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert site.missing(expected) == []
        assert site.refusals() == []
        time.sleep(POLL)
