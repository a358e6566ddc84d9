"""The process that the others are children of: it starts them, starts them again, and speaks for all of them.

It is what systemd and operators see: the one that says when it is ready, takes signals, answers HTTP, and holds what all
agree on. Nothing of a call passes through it, so that a bug in a call cannot take it down.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from sbc import events
from sbc.clock import Clock, Delayed
from sbc.config import Config
from sbc.config.implied import places_of_implied_tcp
from sbc.events import Alarm, Report
from sbc.observe.together import Totals
from sbc.workers.link import FIRST_SOCKET, READ_FROM, WRITE_TO, Link, config_as_text
from sbc.workers.restarts import Restarts
from sbc.workers.sockets import Sockets
from sbc.workers.verdicts import Record, Word

ALIVE_EVERY = 2.0
"""Seconds between two signs of life of a worker."""

_SILENT = 15.0
"""Seconds without one after which a worker hangs, and is killed to be started again."""

_STARTING = 30.0
"""Seconds from its start in which a worker should be ready; reading long journals takes one or two. Then it hangs too."""

_SOON_BACK = 5.0
"""Seconds in which a worker that died should be back: until then the appliance serves phones. What they send meanwhile waits
at their worker's socket; whoever takes over from us for that does more harm."""

_ANSWER_WITHIN = 2.0
"""Seconds for a worker to answer a question of ours; then the answer is made without it."""

_LONGER_THAN_DRAIN = 5.0
"""Seconds that a stopping worker gets beyond the `drain` of the configuration."""

FACTS = {
    kind.__name__: kind
    for kind in (
        events.ServerStateChanged, events.FailedOver, events.FailedBack, events.ServerFlapped, events.NetworkStateChanged,
    )
}  # fmt: skip
"""What is said once for all workers, by the supervisor."""


class Worker(ProcessProtocol):
    """One worker, through all its lives."""

    def __init__(self, supervisor: Supervisor, number: int) -> None:
        self.number = number
        self.ready = False
        self.restarts = Restarts()
        self.link: Link | None = None
        self.last_sign = 0.0
        self.ready_until: float | None = None
        """When it was ready for the last time, where it is not now."""
        self._supervisor = supervisor

    @property
    def pid(self) -> int | None:
        return self.transport.pid if self.transport is not None else None

    def tell(self, kind: str, **content: Any) -> None:
        if self.link is not None:
            self.link.tell(kind, **content)

    def kill(self) -> None:
        if self.transport is not None:
            try:
                self.transport.signalProcess(signal.SIGKILL)
            except ProcessExitedAlready:
                pass

    def describe(self) -> dict[str, Any]:
        return {"worker": self.number, "pid": self.pid, "ready": self.ready, "restarts": self.restarts.number}

    # From the process

    def connectionMade(self) -> None:  # noqa: N802 (Twisted's name)
        self.link = Link(self, self._write)
        self._supervisor.worker_started(self)

    def childDataReceived(self, childFD: int, data: bytes) -> None:  # noqa: N802, N803 (Twisted's names)
        if self.link is not None:
            self.link.data_received(data)

    def processEnded(self, reason: Failure) -> None:  # noqa: N802 (Twisted's name)
        if self.ready:
            self.ready_until = self._supervisor.now()
        self.link, self.ready = None, False
        self._supervisor.worker_ended(self, reason)

    def _write(self, data: bytes) -> None:
        # A process that dies loses its pipes a moment before we hear that it ended. What is said then is for nobody, and
        # must not keep the others from hearing it.
        with contextlib.suppress(KeyError):
            self.transport.writeToChild(READ_FROM, data)

    # From its link

    def ready_received(self) -> None:
        self.ready = True
        self._supervisor.worker_ready(self)

    def alive_received(self) -> None:
        self.last_sign = self._supervisor.now()

    def word_received(self, word: list, fact: list | None) -> None:
        subject, value, speaker, serial = word
        self._supervisor.word_received(Word(tuple(subject), tuple(value), speaker, serial), fact)

    def part_received(self, question: int, part: list[Any]) -> None:
        self._supervisor.part_received(self, question, part)

    def answer_received(self, question: int, answer: Any) -> None:
        self._supervisor.answer_received(self, question, answer)


class Supervisor:
    """All workers of an appliance. `start` opens the sockets and starts them; `ready` is called, once, when all are."""

    def __init__(self, config: Config, number: int, reactor: Any, clock: Clock, report: Report) -> None:
        self.config = config
        self.stopping = False
        self.totals = Totals()
        self.workers = [Worker(self, each) for each in range(number)]
        self.sockets: Sockets | None = None
        self._reactor = reactor
        self._clock = clock
        self._report = report
        self._record = Record()
        self._prober: Worker | None = None
        self._questions: dict[int, _Question] = {}
        self._question = 0
        self._ready: Callable[[], object] | None = None
        self._failed: Callable[[], object] | None = None
        self._gone: Callable[[], object] | None = None
        self._deadline: Delayed | None = None
        # One key for Python's hashes in all workers: a request that one of them has forwarded is known to the others when
        # it comes round (RFC 3261 16.3 item 4).
        self._hash_seed = str(random.SystemRandom().randrange(1, 2**32))

    def now(self) -> float:
        return self._clock.seconds()

    def open(self) -> None:
        """Open all sockets. Raises CannotBind."""

        def unsteered(reason: str) -> None:
            text = f"this kernel does not lead responses to their worker; they are handed over ({reason})"
            self._report(Alarm("worker", text))

        self.sockets = Sockets(
            self.config.listens, len(self.workers), unsteered, places_of_implied_tcp(self.config)
        )

    def start(self, ready: Callable[[], object], failed: Callable[[], object]) -> None:
        """Start all workers. `ready` is called when all are; `failed` when one of them cannot start at all."""
        self._ready, self._failed = ready, failed
        for worker in self.workers:
            self._spawn(worker)
        self._clock.callLater(ALIVE_EVERY, self._look_for_signs)

    def reload(self, config: Config) -> None:
        """Let all go on with this configuration."""
        self.config = config
        self._tell_all("configuration", config=config_as_text(config))

    def stop(self, gone: Callable[[], object]) -> None:
        """Let all finish what is under way. `gone` is called when the last one has ended."""
        self.stopping, self._gone = True, gone
        self._tell_all("stop")
        self._deadline = self._clock.callLater(self.config.appliance.drain + _LONGER_THAN_DRAIN, self._kill_all)
        self._look_whether_gone()

    @property
    def all_ready(self) -> bool:
        return all(worker.ready for worker in self.workers)

    @property
    def serves_phones(self) -> bool:
        """True while each worker is ready or will be in a moment."""
        if self.stopping or not any(worker.ready for worker in self.workers):
            return False
        limit = self.now() - _SOON_BACK
        return all(worker.ready or (worker.ready_until or 0.0) > limit for worker in self.workers)

    def ask(self, what: str, **how: Any) -> Deferred[dict[int, Any]]:
        """The answers of the workers, by their numbers; those that do not answer in time are left out. What somebody has told in
        parts is in `parts` of his answer."""
        asked = [worker for worker in self.workers if worker.ready]
        self._question += 1
        question = self._questions[self._question] = _Question({worker.number for worker in asked})
        question.timeout = self._clock.callLater(_ANSWER_WITHIN, self._close_question, self._question)
        for worker in asked:
            worker.tell("question", question=self._question, what=what, how=how)
        if not asked:
            self._close_question(self._question)
        return question.answered

    # From the workers

    def worker_started(self, worker: Worker) -> None:
        worker.restarts.started(self.now())
        worker.last_sign = self.now()
        assert self.sockets is not None
        worker.tell(
            "begin",
            config=config_as_text(self.config),
            workers=len(self.workers),
            words=self._record.all(),
            beside=self.sockets.beside,
        )

    def worker_ready(self, worker: Worker) -> None:
        self._tell_who_is_gone()
        self._choose_prober()
        if self.all_ready and self._ready is not None:
            ready, self._ready = self._ready, None
            ready()

    def worker_ended(self, worker: Worker, reason: Failure) -> None:
        self.totals.gone(worker.number)
        for number in list(self._questions):
            self._answered(number, worker.number)
        if self.stopping:
            self._look_whether_gone()
            return
        if self._ready is not None and getattr(reason.value, "exitCode", None):
            # Not even the first time: it has said why.
            self.stopping = True
            self._kill_all()
            if self._failed is not None:
                self._failed()
            return
        self._tell_who_is_gone()
        if self._prober is worker:
            self._prober = None
            self._choose_prober()
        wait = worker.restarts.died(self.now())
        when = f"in {wait:g} s" if wait else "at once"
        self._report(Alarm("worker", f"worker {worker.number} ended ({_how(reason)}); it is started again {when}"))
        self._clock.callLater(wait, self._spawn_again, worker)

    def word_received(self, word: Word, fact: list | None) -> None:
        """Put it into the order that all agree on, and say what is new in it."""
        is_new = self._record.take(word)
        self._tell_all("word", word=word)
        if fact is not None and is_new:
            self._report(FACTS[fact[0]](*fact[1:]))

    def part_received(self, worker: Worker, number: int, part: list[Any]) -> None:
        """Of an answer too long to be given at once. Who says something is waited for anew."""
        question = self._questions.get(number)
        if question is None or worker.number not in question.awaited:
            return
        question.parts.setdefault(worker.number, []).extend(part)
        if question.timeout is not None and question.timeout.active():
            question.timeout.cancel()
        question.timeout = self._clock.callLater(_ANSWER_WITHIN, self._close_question, number)

    def answer_received(self, worker: Worker, question: int, answer: Any) -> None:
        self._answered(question, worker.number, answer)

    # Own part

    def _spawn(self, worker: Worker) -> None:
        assert self.sockets is not None
        inherited = self.sockets.descriptors_for(worker.number)
        descriptors: dict[int, Any] = {0: 0, 1: 1, 2: 2, READ_FROM: "w", WRITE_TO: "r"}
        descriptors |= dict(enumerate(inherited, FIRST_SOCKET))
        # -P: a folder named sbc in the current one, a clone for example, is not this program.
        command = [sys.executable, "-P", "-m", "sbc", "run", "-c", str(self.config.path), "--worker", str(worker.number)]
        self._reactor.spawnProcess(worker, command[0], command, env=self._environment(), childFDs=descriptors)

    def _spawn_again(self, worker: Worker) -> None:
        if not self.stopping:
            self._spawn(worker)

    def _environment(self) -> dict[str, str]:
        """The service manager is for the supervisor alone to talk to."""
        mine = {name: value for name, value in os.environ.items() if name not in ("NOTIFY_SOCKET", "WATCHDOG_USEC")}
        return {**mine, "PYTHONHASHSEED": self._hash_seed}

    def _choose_prober(self) -> None:
        if self._prober is None:
            self._prober = next((worker for worker in self.workers if worker.ready), None)
            if self._prober is not None:
                self._prober.tell("probe")

    @property
    def spokesman(self) -> int:
        """The worker whose view of the servers is shown: all have the same, and this one has it first."""
        return self._prober.number if self._prober is not None else 0

    def _look_for_signs(self) -> None:
        for worker in self.workers:
            # Of one that is not ready yet the last sign is its start.
            patience = _SILENT if worker.ready else _STARTING
            if worker.link is not None and self.now() - worker.last_sign > patience:
                self._report(Alarm("worker", f"worker {worker.number} hangs; it is killed"))
                worker.kill()
        self._clock.callLater(ALIVE_EVERY, self._look_for_signs)

    def _tell_who_is_gone(self) -> None:
        """They are the last to be asked about a phone."""
        self._tell_all("gone", workers=[worker.number for worker in self.workers if not worker.ready])

    def _tell_all(self, kind: str, **content: Any) -> None:
        for worker in self.workers:
            worker.tell(kind, **content)

    def _kill_all(self) -> None:
        for worker in self.workers:
            if worker.link is not None:
                worker.kill()

    def _look_whether_gone(self) -> None:
        if self._gone is not None and all(worker.link is None for worker in self.workers):
            gone, self._gone = self._gone, None
            if self._deadline is not None and self._deadline.active():
                self._deadline.cancel()
            gone()

    def _answered(self, number: int, worker: int, *answer: Any) -> None:
        question = self._questions.get(number)
        if question is None or worker not in question.awaited:
            return
        question.awaited.discard(worker)
        for each in answer:
            parts = question.parts.get(worker)
            question.answers[worker] = {**each, "parts": parts} if parts else each
        if not question.awaited:
            self._close_question(number)

    def _close_question(self, number: int) -> None:
        question = self._questions.pop(number, None)
        if question is not None:
            if question.timeout is not None and question.timeout.active():
                question.timeout.cancel()
            question.answered.callback(question.answers)


class _Question:
    """Something that all workers were asked."""

    def __init__(self, awaited: Iterable[int]) -> None:
        self.awaited = set(awaited)
        self.answers: dict[int, Any] = {}
        self.parts: dict[int, list[Any]] = {}
        self.answered: Deferred[dict[int, Any]] = Deferred()
        self.timeout: Delayed | None = None


def _how(reason: Failure) -> str:
    number = getattr(reason.value, "signal", None)
    return f"signal {number}" if number else f"exit status {getattr(reason.value, 'exitCode', 0)}"
