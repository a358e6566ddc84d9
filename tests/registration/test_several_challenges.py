"""D8: phones of which nobody told us the password, at servers that each want it: every method with every kind of phone.

The phones are those of `tests.helpers.stacks`: what each does was measured with the real one.
"""

from __future__ import annotations

import pytest

from tests.helpers.stacks import BARESIP, LINPHONE, PJSUA, SOFIA, STACKS, TWINKLE, Keeper, StackPhone, bound

AOR = "sip:alice@example.com"
PERIODS = 20


@pytest.fixture
def live(make_site):
    """Make a site whose servers all want passwords, and one phone there; `live.phones` are switched off at the end."""

    class Living:
        phones: list[StackPhone] = []
        sites: list = []

        def site(self, servers: int = 2, of_keepers: dict[str, dict] | None = None, **settings):
            site = make_site(servers=servers, **settings)
            for server in site.servers:
                server.reply = Keeper(site, server.name, **(of_keepers or {}).get(server.name, {}))
            self.sites.append(site)
            return site

        def phone(self, site, stack, **more) -> StackPhone:
            phone = StackPhone(site, stack, **more)
            self.phones.append(phone)
            phone.switch_on()
            return phone

    living = Living()
    living.phones, living.sites = [], []
    yield living
    for phone in living.phones:
        phone.switch_off()
    for site in living.sites:
        for server in site.servers:
            if isinstance(server.reply, Keeper):
                # D8: what was made for one server is never shown to another one.
                assert [] == server.reply.foreign


def keepers(site) -> list[Keeper]:
    return [server.reply for server in site.servers]


def run_periods(site, phone, periods: int = PERIODS) -> None:
    """Until the phone has refreshed so often; each server must hold its contact at every second of it."""
    refreshes = len(phone.grants) + periods
    for _ in range(100_000):
        if len(phone.grants) >= refreshes:
            return
        site.clock.advance(1.0)
        for keeper in keepers(site):
            assert keeper.holds_one(), f"{keeper.name} lost it at {site.clock.seconds() - 1000:.0f} s; {phone.grants[-5:]}"
    raise AssertionError(f"only {len(phone.grants)} refreshes")


@pytest.mark.parametrize("granted", [None, 120, (60, 3600), (3600, 60)], ids=str)
@pytest.mark.parametrize("stack", STACKS, ids=lambda stack: stack.name)
def test_d8_alternating(live, stack, granted):
    """D8, method 2: at both after one short grant; for 20 refreshes no failure is shown and both hold the contact."""
    times = granted if isinstance(granted, tuple) else (granted, granted)
    site = live.site(of_keepers={name: {"granted": time} for name, time in zip(("primary", "fallback"), times, strict=True)})
    phone = live.phone(site, stack)
    site.clock.advance(12)
    assert [10] == [seconds for _, seconds in phone.grants[:1]]
    assert ["registered", "registered"] == [site.state("primary"), site.state("fallback")]
    run_periods(site, phone)
    assert [] == phone.failures
    assert [] == [gap for keeper in keepers(site) for gap in keeper.gaps]
    assert 1 == sum(seconds == 10 for _, seconds in phone.grants), phone.grants
    assert 0 == sum(keeper.wrong for keeper in keepers(site))
