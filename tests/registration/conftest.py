"""One site per test; at its end nothing may be left waiting."""

from __future__ import annotations

from pathlib import Path

import pytest

from sbc.sip import digest
from sbc.sip.digest import HtdigestFile
from tests.helpers.scripted_servers import Site

AFTER_EVERYTHING = 40_000.0
"""Seconds in which all transactions end and all bindings expire."""


@pytest.fixture
def make_site():
    """Make a `Site`; at the end of the test all its timers must come to an end by themselves."""
    sites: list[Site] = []

    def make(**settings) -> Site:
        sites.append(Site(**settings))
        return sites[-1]

    yield make
    for site in sites:
        site.clock.advance(AFTER_EVERYTHING)
        assert 0 == len(site.registrar.bindings)
        assert 0 == site.clock.pending
        assert {} == site.registrar._under_way
        assert not any(site.layer.transactions.values())
        assert 0 == site.group.waiting_requests


@pytest.fixture
def site(make_site) -> Site:
    return make_site()


@pytest.fixture
def password_file(tmp_path: Path):
    """Write a htdigest file of (user, realm, password[, algorithm]) and load it."""

    def write(*accounts: tuple[str, ...]) -> HtdigestFile:
        lines = [f"{user}:{realm}:{digest.ha1(user, realm, *rest)}" for user, realm, *rest in accounts]
        path = tmp_path / "phones.htdigest"
        path.write_text("\n".join(lines) + "\n")
        return HtdigestFile.load(path)

    return write
