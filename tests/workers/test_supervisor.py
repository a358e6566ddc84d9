"""The supervisor with workers that are only written down."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.python.failure import Failure

from sbc.config import load
from sbc.events import Alarm, ServerStateChanged
from sbc.workers.link import FIRST_SOCKET, READ_FROM, WRITE_TO, Frames
from sbc.workers.supervisor import Supervisor
from sbc.workers.verdicts import Word
from tests.config.test_load import EXAMPLE
from tests.helpers.clock import FakeClock

DOWN = Word(("office", "192.0.2.1:5060;udp"), ("down", 1.0, "icmp", None, "icmp"), 0, 1)
DOWN_FACT = ["ServerStateChanged", "office", "primary", "192.0.2.1:5060;udp", "up", "down", "icmp"]


class Process:
    """What spawnProcess gives: a transport with a pid."""

    def __init__(self, reactor: Reactor, protocol: Any, arguments: list[str], env: dict, descriptors: dict) -> None:
        reactor.spawned.append(self)
        self.pid = 100 + len(reactor.spawned)
        self.arguments, self.env, self.descriptors = arguments, env, descriptors
        self.protocol = protocol
        self.signals: list[int] = []
        self.hung_up = False
        self._frames = Frames()
        self.told: list[dict] = []
        protocol.makeConnection(self)

    def writeToChild(self, descriptor: int, data: bytes) -> None:  # noqa: N802 (Twisted's name)
        assert descriptor == READ_FROM
        if self.hung_up:
            raise KeyError(descriptor)
        self.told += self._frames.feed(data)

    def signalProcess(self, number: int) -> None:  # noqa: N802 (Twisted's name)
        self.signals.append(number)

    def kinds(self) -> list[str]:
        return [message["kind"] for message in self.told]

    def die(self, signal: int | None = 9, status: int | None = None) -> None:
        ended = ProcessDone(0) if signal is None and not status else ProcessTerminated(status, signal, 0)
        self.protocol.processEnded(Failure(ended))


class Reactor:
    """Spawns."""

    def __init__(self) -> None:
        self.spawned: list[Process] = []

    def spawnProcess(self, protocol, program, arguments, env, childFDs) -> Process:  # noqa: N802, N803 (Twisted's names)
        return Process(self, protocol, arguments, env, childFDs)


class Nursery:
    """A supervisor of two, and what became of it."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.reactor = Reactor()
        self.facts: list[object] = []
        self.said: list[str] = []
        self.supervisor = Supervisor(load(EXAMPLE), 2, self.reactor, self.clock, self.facts.append)
        self.supervisor.sockets = SimpleNamespace(
            beside=[0],
            descriptors_for=lambda worker: [20 + worker, 30, 31]
        )
        self.supervisor.start(lambda: self.said.append("ready"), lambda: self.said.append("failed"))

    @property
    def newest(self) -> list[Process]:
        """The last process of each worker."""
        last: dict[str, Process] = {process.arguments[-1]: process for process in self.reactor.spawned}
        return [last[number] for number in sorted(last)]

    def all_ready(self) -> Nursery:
        for process in self.newest:
            process.protocol.ready_received()
        return self

    def signs_of_life(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.advance(1)
            for worker in self.supervisor.workers:
                worker.alive_received()


    def signs_of_life_of(self, worker: int, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.advance(1)
            self.supervisor.workers[worker].alive_received()


@pytest.fixture
def nursery() -> Nursery:
    return Nursery()


def test_each_worker_gets_its_sockets_and_the_configuration(nursery):
    first, second = nursery.newest
    assert ["--worker", "0"] == first.arguments[-2:]
    assert {FIRST_SOCKET: 21, FIRST_SOCKET + 1: 30, FIRST_SOCKET + 2: 31}.items() <= second.descriptors.items()
    assert ("w", "r") == (second.descriptors[READ_FROM], second.descriptors[WRITE_TO])
    (begin,) = second.told
    assert ("begin", 2, [], [0]) == (begin["kind"], begin["workers"], begin["words"], begin["beside"])


def test_workers_hash_alike_and_do_not_talk_to_systemd(nursery, monkeypatch):
    """One key for loop detection; one voice for the service manager."""
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    first, second = Nursery().newest
    assert first.env["PYTHONHASHSEED"] == second.env["PYTHONHASHSEED"] != "0"
    assert "NOTIFY_SOCKET" not in first.env


def test_ready_when_all_are(nursery):
    nursery.newest[0].protocol.ready_received()
    assert [] == nursery.said
    nursery.newest[1].protocol.ready_received()
    assert ["ready"] == nursery.said


def test_one_that_cannot_start_ends_it_all(nursery):
    nursery.newest[1].die(signal=None, status=1)
    assert ["failed"] == nursery.said
    assert [[9], []] == [process.signals for process in nursery.newest]


def test_one_worker_probes(nursery):
    """The first that is ready; and when it dies, another one at once."""
    nursery.newest[1].protocol.ready_received()
    nursery.newest[0].protocol.ready_received()
    assert [False, True] == ["probe" in process.kinds() for process in nursery.newest]
    nursery.newest[1].die()
    assert "probe" == nursery.newest[0].kinds()[-1]


def test_who_dies_is_started_again(nursery):
    nursery.all_ready()
    nursery.newest[1].die()
    nursery.clock.advance(0)
    assert 3 == len(nursery.reactor.spawned)
    assert [Alarm("worker", "worker 1 ended (signal 9); it is started again at once")] == nursery.facts
    assert not nursery.supervisor.all_ready
    nursery.newest[1].protocol.ready_received()
    assert nursery.supervisor.all_ready and nursery.said == ["ready"]


def test_phones_are_served_while_one_is_on_its_way_back(nursery):
    """A load balancer must not act on half a second. On a worker that does not come back it must."""
    assert not nursery.supervisor.serves_phones
    nursery.all_ready().newest[1].die()
    assert nursery.supervisor.serves_phones
    nursery.clock.advance(4)
    assert nursery.supervisor.serves_phones
    nursery.clock.advance(2)
    assert not nursery.supervisor.serves_phones
    nursery.newest[1].protocol.ready_received()
    assert nursery.supervisor.serves_phones


def test_without_any_worker_nobody_is_served(nursery):
    for process in nursery.all_ready().newest:
        process.die()
    assert not nursery.supervisor.serves_phones


def test_who_dies_again_waits(nursery):
    nursery.all_ready()
    for _ in range(2):
        nursery.newest[1].die()
        nursery.clock.advance(0)
    assert 3 == len(nursery.reactor.spawned)
    nursery.clock.advance(0.5)
    assert 4 == len(nursery.reactor.spawned)


def test_an_ordinary_end_is_a_death_too(nursery):
    """Somebody has sent one worker SIGTERM."""
    nursery.all_ready().newest[0].die(signal=None, status=0)
    nursery.clock.advance(0)
    assert 3 == len(nursery.reactor.spawned)


def test_who_hangs_is_killed(nursery):
    nursery.all_ready()
    nursery.signs_of_life(20)
    assert [[], []] == [process.signals for process in nursery.newest]
    nursery.signs_of_life_of(0, 20)
    assert [[], [9]] == [sorted(set(process.signals)) for process in nursery.newest]


def test_a_word_is_told_to_all_and_reported_once(nursery):
    nursery.all_ready()
    for process in nursery.newest:
        process.protocol.word_received(list(DOWN), DOWN_FACT)
    assert [ServerStateChanged(*DOWN_FACT[1:])] == nursery.facts
    assert [2, 2] == [process.kinds().count("word") for process in nursery.newest]


def test_a_worker_that_has_hung_up_keeps_nobody_from_hearing(nursery):
    """Its pipes are gone a moment before its end is known."""
    nursery.all_ready().newest[0].hung_up = True
    nursery.newest[1].protocol.word_received(list(DOWN), DOWN_FACT)
    assert "word" == nursery.newest[1].kinds()[-1]
    assert [ServerStateChanged(*DOWN_FACT[1:])] == nursery.facts


def test_all_know_who_is_gone(nursery):
    first, second = nursery.newest

    def told_last() -> list[int]:
        return [message["workers"] for message in first.told if message["kind"] == "gone"][-1]

    first.protocol.ready_received()
    assert [1] == told_last()
    second.protocol.ready_received()
    assert [] == told_last()
    second.die()
    assert [1] == told_last()
    nursery.clock.advance(0)
    assert [1] == told_last()
    nursery.newest[1].protocol.ready_received()
    assert [] == told_last()


def test_who_is_not_ready_in_time_is_killed(nursery):
    """It hangs before it begins. Who waits to be started again does not."""
    nursery.newest[0].protocol.ready_received()
    nursery.signs_of_life_of(0, 29)
    assert [[], []] == [process.signals for process in nursery.newest]
    nursery.signs_of_life_of(0, 4)
    assert [[], [9]] == [sorted(set(process.signals)) for process in nursery.newest]
    nursery.newest[1].die()
    nursery.clock.advance(0)
    assert 3 == len(nursery.reactor.spawned)


def test_a_successor_is_told_what_is_known(nursery):
    nursery.all_ready().newest[0].protocol.word_received(list(DOWN), DOWN_FACT)
    nursery.newest[1].die()
    nursery.clock.advance(0)
    (word,) = nursery.newest[1].told[0]["words"]
    assert [list(DOWN.subject), "down"] == [word[0], word[1][0]]


def answers_of(nursery, **how) -> list[dict]:
    found: list[dict] = []
    nursery.supervisor.ask("samples", **how).addCallback(found.append)
    return found


def test_all_are_asked(nursery):
    found = answers_of(nursery.all_ready(), deep=True)
    for process in nursery.newest:
        question = process.told[-1]
        assert ("question", "samples", {"deep": True}) == (question["kind"], question["what"], question["how"])
        assert [] == found
        process.protocol.answer_received(question["question"], process.pid)
    assert [{0: 101, 1: 102}] == found


def test_who_does_not_answer_is_left_out(nursery):
    found = answers_of(nursery.all_ready())
    nursery.newest[1].protocol.answer_received(1, "mine")
    nursery.clock.advance(2)
    assert [{1: "mine"}] == found
    nursery.newest[0].protocol.answer_received(1, "too late")


def test_an_answer_in_parts(nursery):
    """The rows of many phones; who is still telling is waited for."""
    found = answers_of(nursery.all_ready())
    one, other = (process.protocol for process in nursery.newest)
    other.answer_received(1, {"b": 2})
    for number in range(3):
        nursery.clock.advance(1.5)
        one.part_received(1, [number, number])
    one.answer_received(1, {"a": 1})
    assert [{0: {"a": 1, "parts": [0, 0, 1, 1, 2, 2]}, 1: {"b": 2}}] == found
    one.part_received(1, ["too late"])


def test_who_dies_meanwhile_is_not_waited_for(nursery):
    found = answers_of(nursery.all_ready())
    nursery.newest[1].protocol.answer_received(1, "mine")
    nursery.newest[0].die()
    assert [{1: "mine"}] == found


def test_without_workers_the_answer_is_empty(nursery):
    """Before the first is ready."""
    assert [{}] == answers_of(nursery)


def test_reload_tells_all(nursery):
    nursery.all_ready().supervisor.reload(load(EXAMPLE))
    assert ["configuration", "configuration"] == [process.kinds()[-1] for process in nursery.newest]


def test_stop_waits_for_all_and_starts_nobody(nursery):
    gone: list[str] = []
    nursery.all_ready().supervisor.stop(lambda: gone.append("gone"))
    assert ["stop", "stop"] == [process.kinds()[-1] for process in nursery.newest]
    nursery.newest[0].die(signal=None, status=0)
    assert [] == gone
    nursery.newest[1].die(signal=None, status=0)
    assert ["gone"] == gone
    nursery.signs_of_life(60)
    assert 2 == len(nursery.reactor.spawned)


def test_who_does_not_stop_is_killed(nursery):
    """30 s is the `drain` of the configuration."""
    nursery.all_ready().supervisor.stop(lambda: None)
    nursery.signs_of_life(34)
    assert [[], []] == [process.signals for process in nursery.newest]
    nursery.signs_of_life(2)
    assert [[9], [9]] == [process.signals for process in nursery.newest]
