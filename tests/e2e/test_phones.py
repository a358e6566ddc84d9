"""Phones as people have them, at two registrars that want passwords, which only the phones know.

baresip, linphone, PJSIP, twinkle and two kinds of SIPp phones, side by side behind one `sbc run`. `tests/run` installs them
where it can; what is missing is left out, and tests/e2e/test_peers.py says so.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import pytest

from tests.e2e.peers import Peers
from tests.e2e.peers.capture import can_capture
from tests.e2e.peers.process import wait_until
from tests.e2e.peers.site import (
    ALTERNATING,
    ALTERNATING_REALMS,
    ANSWERS_EVERY_REALM,
    OTHER_REALMS,
    OWN_REALMS,
    PhoneSite,
    kinds,
)
from tests.e2e.phones_table import costs, lines

REFRESHES = 20
AT_ONCE = 2.0
"""Seconds from INVITE to the first sign of the called phone."""

POLL = 0.5
"""Seconds between two looks into both registrars."""


@pytest.mark.timeout(400)
@pytest.mark.skipif(not can_capture(), reason="tshark is not installed (tests/run installs it)")
def test_every_phone_is_registered_at_both_for_20_refreshes(peers: Peers) -> None:
    """D8, alternating: no contact is ever missing at a registrar, and no phone ever shows a registration that failed.

    Where the realms differ: all phones that answer to any realm; and every phone by a line whose password is in the
    credentials file, watched for the same time. Such lines are granted more, so they renew more rarely.
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
        seen = capture.seen_by_account("REGISTER")
        return min(
            sum(message == "200 REGISTER > phone" for _, message in seen.get(account, ()))
            for account, case in site.case_of.items() if case != OWN_REALMS
        )  # fmt: skip

    deadline = time.monotonic() + REFRESHES * site.longest
    while fewest_refreshes() < REFRESHES:
        assert time.monotonic() < deadline
        stay_registered(site, site.at_both(), seconds=10)
    print("\n".join(lines(costs(site, capture))))
    assert "Traceback" not in site.sbc.text()


def test_calls_go_on_at_once_when_the_primary_is_killed(peers: Peers) -> None:
    """A call that comes in through the fallback reaches every phone at once; each one's own call needs no registration.

    The fallback challenges calls; the phones answer it with the password that only they know (D9).
    """
    # Granted for so long that no renewal falls into the test.
    site = PhoneSite(peers, {kind: [ALTERNATING] for kind in kinds()}, longest=600)
    bob = peers.sipp_phone("bob", f"127.0.0.1:{site.fallback.port}")
    bob.register()
    callee = bob.take_calls(len(site.phones))
    # Somebody who lives at the fallback and has never heard of the appliance.
    carol = peers.sipp_phone("carol", f"127.0.0.1:{site.fallback.port}")
    site.switch_on()
    wait_until(lambda: not site.missing(site.at_both()), "every phone is registered at both servers", 40)
    registers = site.fallback.received("REGISTER")

    site.primary.kill()
    for account in site.phones:
        [delay] = carol.call(account)
        assert delay < AT_ONCE, account
    for phone in site.phones.values():
        phone.dial("bob", timeout=5)
        phone.hang_up()
    callee.finish()
    assert site.fallback.received("REGISTER") == registers
    assert site.missing({account: ("fallback",) for account in site.phones}) == []
    assert site.refusals() == []


def test_phones_of_one_realm_are_left_in_peace(peers: Peers) -> None:
    """linphone answers the first realm that it met, PJSIP here that of its account; behind a challenge of another one alone both
    would be silent for good. They stay registered at the primary and show no failure, their rows say why they are not at the
    fallback, and calls from the primary reach them all the time."""
    those = {"linphone": "linphone" in kinds(), "bound": "pjsua" in kinds()}
    # The daemon of linphone names itself so; the telephones of linphone say what they are.
    site = PhoneSite(
        peers, {kind: [ALTERNATING_REALMS] for kind, installed in those.items() if installed}, settings='one_realm = ["unknown"]'
    )
    if not site.phones:
        pytest.skip("neither linphone nor PJSIP is installed (tests/run installs them)")
    carol = peers.sipp_phone("carol", f"127.0.0.1:{site.primary.port}")
    site.switch_on()
    at_the_primary = {account: ["primary"] for account in site.phones}
    wait_until(lambda: not site.missing(at_the_primary), "they are registered at the primary")

    def calls_reach_them() -> None:
        for account in site.phones:
            [delay] = carol.call(account)
            assert delay < AT_ONCE, account

    def are_explained() -> bool:
        at_fallback = [server for account in site.phones for server in site.row(account)["servers"] if server["server"] == "fallback"]
        return len(at_fallback) == len(site.phones) and all(
            server["state"] == "unregistered" and f" answers only realm {OTHER_REALMS}, not" in server["reason"]
            and "so far" not in server["reason"]
            for server in at_fallback
        )

    calls_reach_them()
    wait_until(are_explained, "the phones' rows say that they answer only the one realm")
    calls_reach_them()
    challenges = site.fallback.received("REGISTER")
    # Some lives of the registration.
    stay_registered(site, at_the_primary, seconds=1.5 * site.longest)
    calls_reach_them()
    assert site.fallback.received("REGISTER") == challenges
    assert all(phone.shows_registered(site.lines[account]) for account, phone in site.phones.items())


def test_a_phone_that_removes_itself_is_gone_from_both(peers: Peers) -> None:
    """D13: it answers the second server's challenge in the same attempt (K1), and nothing lapses later."""
    site = PhoneSite(peers, {"baresip": [ALTERNATING]}, longest=600)
    [account] = site.phones
    site.switch_on()
    wait_until(lambda: not site.missing(site.at_both()), "baresip is registered at both servers")
    site.phones[account].stop()
    wait_until(lambda: [{}, {}] == [server.all_contacts() for server in site.servers], "both servers have forgotten it")
    assert "Traceback" not in site.sbc.text()


def stay_registered(site: PhoneSite, expected: Mapping[str, Sequence[str]], seconds: float) -> None:
    """Watch for so long: nobody is missing at either registrar, no phone says that a registration has failed."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert site.missing(expected) == []
        assert site.refusals() == []
        time.sleep(POLL)
