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


def test_all_workers_know_of_a_server_that_lacks_phones_of_one():
    """It is told by process; what a predecessor has said, which has not lived to take it back, is taken back by its successor."""
    words, heard = [], []
    link = SimpleNamespace(tell=lambda name, word, fact: words.append(word))
    resyncs = SimpleNamespace(told_incomplete=lambda *what: heard.append(what), of=lambda group, server: None)
    registrar = SimpleNamespace(upkeep=SimpleNamespace(resyncs=resyncs))

    def worker(number):
        made = SimpleNamespace(number=number, _link=link, _hearing=Hearing(number), registrar=registrar)
        made._tell_incomplete = lambda *what: WorkerApp._tell_incomplete(made, *what)
        return made

    one, other, successor = worker(1), worker(0), worker(1)
    one._tell_incomplete("office", "primary", True)
    for each in (other, successor):
        WorkerApp._act_on(each, words[0])
    assert [(1, "office", "primary", True)] == heard
    assert [(True,), (False,)] == [word.value for word in words]
    WorkerApp._act_on(other, words[1])
    assert (1, "office", "primary", False) == heard[-1]
