"""Sites on fake time, each started from a configuration and stopped at the end with nothing left under way."""

from __future__ import annotations

from textwrap import dedent

import pytest

from tests.bulletins.site import Site


class _NoGarbagePolicy:
    """The collector is the test run's."""

    def __init__(self, *_arguments) -> None:
        pass

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass


@pytest.fixture
def make_site(tmp_path, monkeypatch):
    """`make_site(group, zone, name=address ...)`: the text of the group, the zone of the name server, the machines."""
    monkeypatch.setattr("sbc.app.GarbagePolicy", _NoGarbagePolicy)
    # To the second: how far probes are spread has tests of its own.
    monkeypatch.setattr("sbc.redundancy.probing.JITTER", 0.0)
    monkeypatch.setattr("sbc.transport.dialled._free_port", lambda host, port=0: port or 39999)
    sites: list[Site] = []

    def make(group: str, zone: str = "", **machines: str) -> Site:
        folder = tmp_path / f"site{len(sites)}"
        folder.mkdir()
        site = Site(folder, dedent(group), dedent(zone), machines)
        monkeypatch.setattr("sbc.app.Resolver", site.dns.resolver)
        site.start()
        sites.append(site)
        return site

    yield make
    for site in sites:
        site.stop()
