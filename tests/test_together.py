"""What a worker tells the supervisor of what its groups have found out."""

from types import SimpleNamespace

import pytest

from sbc.events import FailedBack, FailedOver, ServerFlapped, ServerStateChanged
from sbc.redundancy.group import ALL_METHODS
from sbc.together import WorkerApp
from sbc.workers.verdicts import Hearing
from tests.redundancy.site import P1, P2, Site, settings

FACTS = [
    FailedOver("office", ALL_METHODS, str(P1), str(P2), "icmp", ""),
    FailedBack("office", str(P2), str(P1), "probe", ""),
    ServerFlapped("office", "primary", str(P1), 60.0),
    ServerStateChanged("office", "primary", str(P1), "up", "down", "icmp"),
]


def told(event, groups):
    """What goes to the supervisor."""
    words = []
    link = SimpleNamespace(tell=lambda name, **what: words.append((name, what["fact"][0])))
    WorkerApp._tell_fact(SimpleNamespace(_link=link, _hearing=Hearing(1), groups=groups), event)
    return words


@pytest.mark.parametrize("event", FACTS, ids=lambda event: type(event).__name__)
def test_a_fact_about_a_group(event):
    group = Site(settings("primary", "fallback")).group
    assert [("word", type(event).__name__)] == told(event, {"office": group})


@pytest.mark.parametrize("event", FACTS, ids=lambda event: type(event).__name__)
def test_a_fact_about_a_group_that_a_reload_has_just_removed(event):
    """A request that was under way still notices that its server has died; nobody else knows that group any more."""
    assert [] == told(event, {})
