"""D18 with many phones, in fake time: the primary is down for ten minutes and comes back with nothing.

5000 of them, where the appliance is compiled; another number: SBC_SCALE_PHONES. Of two in three the password is in the file; the
others nobody but themselves can register, at one server after the other (`alternating`). What the servers see is measured there.
"""

from __future__ import annotations

import os
import random

import pytest

from sbc.registration.registrar import COMPILED
from sbc.registration.resync import SOON
from tests.helpers.crowd import PASSWORD, REALM, RHYTHMS, CrowdPhone, CrowdServer

PHONES = int(os.environ.get("SBC_SCALE_PHONES", "5000" if COMPILED else "500"))
RATE = float(os.environ.get("SBC_SCALE_RATE", "20"))
"""REGISTERs in a second, of which each phone takes two, because the server challenges."""

HOLD = 30.0
OUTAGE = 600.0
GRANTED = 1800
"""Seconds that the servers grant; the phones are told PHONE_EXPIRES, so that all of them come by in the course of the outage. Some of
their refreshes come after a third of their time."""

PHONE_EXPIRES = 300
USUAL = 300.0
"""Seconds before the outage, in which the fallback's usual rate is measured."""

WINDOW = 60.0
"""Seconds, of which the fallback's rate is the mean."""


def user(n: int) -> str:
    return f"u{n}"


def has_password_in_file(n: int) -> bool:
    return n % 3 != 0


def most_in(seconds: float, times: list[float]) -> int:
    """Of any so many seconds."""
    first = most = 0
    for last, at in enumerate(times):
        while times[first] <= at - seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


def between(server: CrowdServer, begin: float, end: float) -> list[float]:
    return [at for at, _ in server.requests if begin <= at < end]


@pytest.mark.timeout(900)  # it is many phones
def test_d18_all_phones_come_back_at_the_pace(make_site, password_file):
    """Never more than the configured rate and a fifth, in any second; all within the time that their requests take at that rate and a
    third of it, the hold, and once the time after which each phone comes by; and the fallback hears no more than usual."""
    known = [(user(n), REALM, PASSWORD) for n in range(PHONES) if has_password_in_file(n)]
    site = make_site(
        rise=1, resync_rate=RATE, resync_hold=HOLD, phone_expires=PHONE_EXPIRES, credentials=password_file(*known),
        importance={"first": ("u1?",)},
    )
    clock = site.clock
    primary, fallback = (CrowdServer(site, name, GRANTED) for name in ("primary", "fallback"))
    phones, rng = [], random.Random(1)
    for n in range(PHONES):
        rhythm = RHYTHMS[n // 5 % len(RHYTHMS)]
        host = f"203.0.113.{1 + n % 250}"
        phones.append(CrowdPhone(site, user(n), host, 2000 + n, rhythm=rhythm, wanted=3600, unasked=n % 7 == 0))
        renewed_after = 0.81 * GRANTED if has_password_in_file(n) else GRANTED - 2 * PHONE_EXPIRES
        clock.callLater(renewed_after * rng.random(), phones[-1].switch_on)
    clock.advance(0.81 * GRANTED + PHONE_EXPIRES)
    assert (PHONES, PHONES) == (primary.holding(), fallback.holding())
    usual_begins = clock.seconds()
    clock.advance(USUAL)
    usual = between(fallback, usual_begins, clock.seconds())
    failures = sum(len(phone.failures) for phone in phones)

    primary.unreachable = True
    site.take_down(site.primary)
    dead_since = clock.seconds()
    clock.advance(OUTAGE)
    primary.forget_all()
    primary.unreachable = False
    site.recover(site.primary)
    back_at = clock.seconds()

    needed = PHONES * 2 / RATE
    allowed = 1.3 * needed + HOLD + SOON
    back: list[tuple[float, int]] = []
    while primary.holding() < PHONES and clock.seconds() - back_at < 2 * allowed:
        clock.advance(5)
        back.append((clock.seconds() - back_at, primary.holding()))
    took = clock.seconds() - back_at

    at_primary = between(primary, back_at, clock.seconds())
    usual_rate = len(usual) / USUAL
    since = between(fallback, dead_since, clock.seconds())
    print(
        f"{PHONES} phones, {RATE:g}/s: {took:.0f} s of {allowed:.0f} s ({len(at_primary)} requests, {needed:.0f} s); at the primary at"
        f" most {most_in(1.0, at_primary)} in a second; at the fallback {usual_rate:.2f}/s before, at most"
        f" {most_in(WINDOW, usual) / WINDOW:.2f}/s; {len(since) / (OUTAGE + took):.2f}/s since, at most"
        f" {most_in(WINDOW, since) / WINDOW:.2f}/s"
    )
    print(f"at the fallback since the primary is back at most {most_in(WINDOW, between(fallback, back_at, clock.seconds())) / WINDOW:.2f}/s")
    print(", ".join(f"{seconds:.0f} s: {number}" for seconds, number in back[:: max(1, len(back) // 12)]))
    for phone in phones:
        phone.switch_off()
    assert PHONES == primary.holding()
    assert took <= allowed
    assert most_in(1.0, at_primary) <= round(1.2 * RATE)
    assert [] == [at - back_at for at in at_primary if at < back_at + HOLD]
    first = next(user for at, user in primary.requests if at >= back_at + HOLD)
    assert first in {f"u1{n}" for n in range(10)}
    assert most_in(WINDOW, since) <= 2 * usual_rate * WINDOW + 5
    assert failures == sum(len(phone.failures) for phone in phones), "no phone has shown a failed registration"
    assert (0, 0) == (primary.wrong, fallback.wrong)
