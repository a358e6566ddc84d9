"""D18 with many phones, in fake time: the primary is down for ten minutes and comes back with nothing.

As many as SBC_SCALE_PHONES says, 5000 for example; by default so few that it takes seconds.

Four fifths of the phones have their password in the file, the others nobody but themselves can register; these behave as real
stacks do (`tests.helpers.stacks`). What the servers see is measured at the servers.
"""

from __future__ import annotations

import os

import pytest

from tests.helpers.stacks import BARESIP, LINPHONE, PJSUA, SOFIA, TWINKLE, Keeper, StackPhone

PHONES = int(os.environ.get("SBC_SCALE_PHONES", "300"))
RATE = max(10.0, PHONES / 250)
"""REGISTERs in a second, of which each phone takes two, because the server challenges."""

HOLD = 30.0
OUTAGE = 600.0
STACKS = (BARESIP, LINPHONE, PJSUA, SOFIA, TWINKLE)


def user(n: int) -> str:
    return f"u{n}"


def has_password_in_file(n: int) -> bool:
    return n % 5 != 0


def most_in(seconds: float, times: list[float]) -> int:
    """Of any so many seconds."""
    first = most = 0
    for last, at in enumerate(times):
        while times[first] <= at - seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


def between(server, begin: float, end: float) -> list[float]:
    return [at for at, _ in server.requests if begin <= at < end]


@pytest.fixture
def site(make_site, password_file):
    known = [(user(n), "example.com", "secret") for n in range(PHONES) if has_password_in_file(n)]
    site = make_site(
        rise=1, resync_rate=RATE, resync_hold=HOLD, credentials=password_file(*known), importance={"first": ("u1?",)}
    )
    for server in site.servers:
        server.reply = Keeper(site, server.name)
    return site


def test_d18_all_phones_come_back_at_the_pace(site):
    clock = site.clock
    phones = []
    for n in range(PHONES):
        stack = STACKS[n // 5 % len(STACKS)]
        wanted = 3600 if has_password_in_file(n) else 600
        phones.append(StackPhone(site, stack, user=user(n), port=2000 + n, wanted=wanted))
        clock.callLater(n * 60.0 / PHONES, phones[-1].switch_on)
    clock.advance(120)
    now = lambda: clock.seconds() - 1000.0  # noqa: E731 (as the servers count)
    registered = lambda server: sum(site.state(server, user(n)) == "registered" for n in range(PHONES))  # noqa: E731
    assert (PHONES, PHONES) == (registered("primary"), registered("fallback"))
    usual_begins = now()
    clock.advance(600)
    usual = between(site.fallback, usual_begins, now())
    failures = sum(len(phone.failures) for phone in phones)

    site.primary.unreachable = True
    site.take_down(site.primary)
    dead_since = now()
    clock.advance(OUTAGE)
    site.primary.reply = Keeper(site, "primary again")
    site.primary.unreachable = False
    site.recover(site.primary)
    back_at = now()

    allowed = HOLD + PHONES * 2 / RATE
    begun = clock.seconds()
    while registered("primary") < PHONES and clock.seconds() - begun < 3 * allowed:
        clock.advance(5)
    took = clock.seconds() - begun

    at_primary = between(site.primary, back_at, now())
    print(
        f"{PHONES} phones, {RATE:g}/s allowed: {took:.0f} s of {allowed:.0f} s, at the primary at most"
        f" {most_in(1.0, at_primary)} in a second; at the fallback {len(usual) / 600:.2f}/s before, at most"
        f" {most_in(60.0, usual)} in a minute, {len(between(site.fallback, dead_since, back_at)) / OUTAGE:.2f}/s while the primary"
        f" was down, {len(between(site.fallback, back_at, now())) / took:.2f}/s after, at most"
        f" {most_in(60.0, between(site.fallback, dead_since, now()))} in a minute"
    )
    assert PHONES == registered("primary")
    # A phone that comes by itself may find no place the first time: two of its refreshes, of two minutes at most.
    assert took <= allowed * 1.1 + 240
    assert most_in(1.0, at_primary) <= 1.2 * RATE
    assert at_primary[0] >= back_at + HOLD
    first = [request.to.uri.user for at, request in site.primary.requests if at >= back_at][0]
    assert first in {f"u1{n}" for n in range(10)}
    assert most_in(60.0, between(site.fallback, dead_since, now())) <= 1.5 * most_in(60.0, usual) + 20
    assert len(between(site.fallback, dead_since, now())) / (OUTAGE + took) <= 1.2 * len(usual) / 600 + 0.2
    assert failures == sum(len(phone.failures) for phone in phones), "no phone has shown a failed registration"
    for phone in phones:
        phone.switch_off()
