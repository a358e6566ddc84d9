"""The other composition root: the appliance as several processes (`sbc.workers`). Only `sbc.cli` imports it.

`run` is the supervisor's life, `run_worker` that of one of its children, which is an `App` without a web server.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.stdio import StandardIO
from twisted.logger import Logger, formatTime

from sbc import __version__, events
from sbc.app import (
    App,
    CannotStart,
    certificate_of,
    lines_to_standard_error,
    log_to_standard_error,
    open_control,
    read_again,
    resync_answer,
)
from sbc.config import Config
from sbc.config.implied import tcp_beside
from sbc.control import ControlSocket
from sbc.events import Report
from sbc.observe.http import GatheredSite, with_events
from sbc.observe.log import EventLog
from sbc.observe.log_lines import Lines
from sbc.observe.metrics import Metrics
from sbc.observe.notify import Systemd
from sbc.observe.recent import RecentEvents
from sbc.observe.story import ServerNames
from sbc.observe.together import (
    Collected,
    HandedOver,
    WorkerSamples,
    as_lists,
    merged_events,
    merged_explanation,
    merged_status,
)
from sbc.redundancy.group import ServerGroup
from sbc.redundancy.health import HealthWord
from sbc.redundancy.network import Network
from sbc.scheduling import give_way
from sbc.store.lock import StateLock, StateTaken
from sbc.store.sqlite import StateUnreadable
from sbc.transport.addresses import written
from sbc.transport.reactor import install
from sbc.transport.tcp import StreamTransport
from sbc.transport.udp import UdpTransport
from sbc.workers import marks
from sbc.workers.door import Deliveries, Door
from sbc.workers.handover import Inbox, Neighbours
from sbc.workers.lent import Lender, LentFlows
from sbc.workers.link import FIRST_SOCKET, READ_FROM, WRITE_TO, Link, config_from_text, first_message
from sbc.workers.partitions import folder_of, prepare
from sbc.workers.sockets import CannotBind, Inherited
from sbc.workers.supervisor import ALIVE_EVERY, FACTS, Supervisor
from sbc.workers.verdicts import FLAP, INCOMPLETE, NETWORK, Hearing, Word

log = Logger(namespace="sbc")

# -- a worker ------------------------------------------------------------------------------------------------------------


class WorkerApp(App):
    """One worker's appliance. Methods that end with `_received` are called by the supervisor's messages of that name."""

    def __init__(self, reactor: Any, number: int, begin: Mapping[str, Any]) -> None:
        self.number = number
        self._begin = begin
        self._hearing = Hearing(number)
        self._probing = False
        self._stopping = False
        self._link: Link | None = None
        config = config_from_text(begin["config"])
        self._listens = [*config.listens, *(tcp_beside(config.listens[place]) for place in begin["beside"])]
        self._inherited = Inherited(len(self._listens), begin["workers"], FIRST_SOCKET)
        self._neighbours = Neighbours(number, self._inherited.outlets)
        super().__init__(config, reactor, lines_to_standard_error(reactor, f"sbc.{number}"))
        self.report.tell(self._tell_fact, everyday=False)
        self.metrics.registry.register(HandedOver(self._neighbours.handed_over))  # type: ignore[arg-type]

    def attach(self, link: Link) -> None:
        """The supervisor listens from now on."""
        self._link = link
        link.tell("ready")
        self._show_life()

    # What is different from an appliance alone.

    def _own_facts_to(self, listener: Report) -> Report:
        def hear(event: object) -> None:
            if not _is_said_once(event):
                listener(event)

        return hear

    def _own_lock(self) -> None:
        """The supervisor has it."""

    def _own_state_dir(self) -> Path:
        return folder_of(self.config.appliance.state_dir, self.number)

    def _own_processes(self) -> int:
        return self._begin["workers"]

    def _own_boot_word(self) -> str:
        return marks.boot_word(self.number)

    def _own_candidates_found(self, group: ServerGroup) -> None:
        # Location may find candidates after the words about them were heard.
        for word in self._hearing.heard_of(group.name):
            self._act_on(word)

    def _own_probers(self) -> None:
        if self._probing:
            super()._own_probers()

    def _own_sockets(self, config: Config) -> None:
        lender = Lender(self._neighbours.me)
        deliveries = Deliveries(self._neighbours, lender, self.layer, self.registrar)
        doors: dict[tuple[str, tuple[str, int]], Door] = {}
        for place, (listen, bound) in enumerate(zip(self._listens, self._inherited.shared, strict=True)):
            door = Door(self.edge, self.proxy, self.layer, self._neighbours, lender, place)
            if listen.transport == "udp":
                transport = UdpTransport(
                    self._reactor, door, listen.address, listen.port, side=listen.side, advertise=listen.advertise,
                    bound=bound,
                )  # fmt: skip
                deliveries.add(door, transport)
            else:
                transport = StreamTransport(
                    self.connections, listen.address, listen.port, side=listen.side, advertise=listen.advertise, bound=bound,
                    certificate=certificate_of(listen), receiver=door,
                )  # fmt: skip
                deliveries.add(door, LentFlows(self._neighbours, place, transport))
            doors[transport.name, transport.local] = door
            self.listeners.add(transport)
        # What a server sends over a connection of ours comes in by the door of the socket that it stands for.
        self.listeners.dialler.receiver_of = lambda flow: doors.get((flow.transport, flow.local), self.edge)
        self.proxy.elsewhere = deliveries.response_elsewhere
        self.registrar.moved_here = self._neighbours.tell_moved
        self.registrar.upkeep.resyncs.incomplete_changed = self._tell_incomplete
        Inbox(self._reactor, self._inherited.inbox, deliveries.delivered).start()

    def start(self) -> None:
        super().start()
        for word in self._begin["words"]:
            self.word_received(word)

    # What all agree on.

    def _tell_fact(self, event: object) -> None:
        if not _is_said_once(event) or self._link is None or isinstance(event, events.NetworkStateChanged):
            return  # what is thought of the network is told whole, see below
        group = self.groups.get(event.group)
        if group is None:
            return  # a reload has just removed it, and requests of it are still under way
        if isinstance(event, events.ServerStateChanged):
            fact = ["ServerStateChanged", event.group, event.server, event.candidate, event.old, event.new, event.reason]
            candidate = _candidate(group, event.candidate)
            if candidate is None:
                return
            word = self._hearing.speak((event.group, event.candidate), tuple(group.health(candidate).word()))
        elif isinstance(event, events.ServerFlapped):
            fact = ["ServerFlapped", event.group, event.server, event.candidate, event.hold]
            # The same hold may come again, after a good time: then it is news.
            gist = f"{event.hold:g} s, minute {group.working_since() // 60:g}"
            word = self._hearing.speak((event.group, FLAP + event.candidate), (gist, event.hold))
        else:
            if isinstance(event, events.FailedBack):
                fact = ["FailedBack", event.group, event.from_candidate, event.to_candidate, event.cause, event.phones]
            else:
                ends = [event.from_candidate, event.to_candidate]
                fact = ["FailedOver", event.group, event.method, *ends, event.cause, event.phones]
            kind = group.kind_labelled(event.phones) or group
            subject = (event.group, f"/{event.phones}" if event.phones else "")
            word = self._hearing.speak(subject, (event.to_candidate, kind.working_since()))
        self._link.tell("word", word=word, fact=fact)

    def _own_control(self) -> None:
        """The supervisor has it."""

    def _own_network_found(self, network: Network, changed: events.NetworkStateChanged | None) -> None:
        if self._link is None:
            return
        fact = ["NetworkStateChanged", changed.old, changed.new, changed.reason] if changed is not None else None
        word = self._hearing.speak(NETWORK, (network.state, network.reason, sorted(network.frozen)))
        self._link.tell("word", word=word, fact=fact)

    def _tell_incomplete(self, group: str, server: str, is_incomplete: bool) -> None:
        if self._link is not None:
            word = self._hearing.speak((group, f"{INCOMPLETE}{self.number} {server}"), (is_incomplete,))
            self._link.tell("word", word=word, fact=None)

    def word_received(self, word: list) -> None:
        subject, value, speaker, serial = word
        heard = Word(tuple(subject), tuple(value), speaker, serial)
        if self._hearing.hear(heard):
            self._act_on(heard)

    def _act_on(self, word: Word) -> None:
        (name, label), value = word.subject, word.value
        if word.subject == NETWORK:
            state, reason, frozen = value
            self.use_network(Network(state, reason, frozenset(frozen)))
            return
        if label.startswith(INCOMPLETE):
            process, server = label.removeprefix(INCOMPLETE).split(" ", 1)
            if int(process) != self.number:
                self.registrar.upkeep.resyncs.told_incomplete(int(process), name, server, value[0])
            elif value[0] and not self.registrar.upkeep.resyncs.of(name, server):
                self._tell_incomplete(name, server, False)  # said by this process's predecessor
            return
        group = self.groups.get(name)
        if label.startswith(FLAP):
            candidate = _candidate(group, label[len(FLAP) :])
            if candidate is not None:
                group.told_hold(candidate, value[1])
            return
        is_choice = not label or label.startswith("/")  # no candidate's label does
        candidate = _candidate(group, value[0] if is_choice else label)
        if candidate is None:
            return
        now = self.clock.seconds()
        if is_choice:
            kind = group.kind_labelled(label[1:])
            if kind is not None and kind.working(now) != candidate:
                kind.told_working(candidate, value[1])
        elif group.health(candidate).state.value != value[0]:
            group.told(candidate, HealthWord(*value), now)

    # From the supervisor.

    def configuration_received(self, config: str) -> None:
        self.go_on_with(config_from_text(config))

    def gone_received(self, workers: list[int]) -> None:
        self._neighbours.gone = frozenset(workers)

    def probe_received(self) -> None:
        """This worker is the one that asks the servers how they are."""
        self._probing = True
        self._own_probers()

    def question_received(self, question: int, what: str, how: dict[str, Any]) -> None:
        assert self._link is not None
        if what == "status" and how["all_phones"]:
            self._tell_all_phones(question, self.registrar.phones_in_lots())
            return
        self._link.tell("answer", question=question, answer=getattr(self, f"_answer_{what}")(**how))

    def _answer_samples(self) -> list:
        return as_lists(self.metrics.registry.collect())

    def _answer_fail_back(self, group: str | None) -> dict[str, Any]:
        return self.fail_back(group)

    def _answer_resync(self, server: str | None, group: str | None, rate: float | None) -> dict[str, Any]:
        return self.resync(server, group, rate)

    def _answer_explain(self, aor: str) -> dict[str, Any]:
        return self.explain(aor)

    def _answer_servers(self) -> dict[str, Any]:
        return self._describe_servers()

    def _answer_status(self, all_phones: bool) -> dict[str, Any]:
        return {**(self.describe(most=0) if all_phones else self.describe()), "events": self.recent.describe()}

    def _tell_all_phones(self, question: int, lots: Iterator[list[Any]]) -> None:
        """Some at a time, because calls wait meanwhile; then the rest of the answer."""
        if self._link is None:
            return
        lot = next(lots, None)
        if lot is None:
            self._link.tell("answer", question=question, answer=self._answer_status(all_phones=True))
        else:
            self._link.tell("part", question=question, part=lot)
            self.clock.callLater(0.0, self._tell_all_phones, question, lots)

    def stop_received(self) -> None:
        """Finish what is under way. Asked twice, when a signal goes to all processes, it does so once."""
        if not self._stopping:
            self._stopping = True
            self.stop(self._end)

    def _end(self) -> None:
        self._link = None
        self._reactor.stop()

    def supervisor_gone(self) -> None:
        """Nobody would start us again, and a new supervisor needs our ports: as if killed, but for what can be written."""
        if self._link is None:
            return  # we have hung up
        log.error("the supervisor is gone")
        self.registrar.close()
        self._journal.close()
        self.store.close()
        os._exit(1)

    def _show_life(self) -> None:
        if self._link is not None:
            self._link.tell("alive")
        self.clock.callLater(ALIVE_EVERY, self._show_life)


class _ToSupervisor(Protocol):
    """The pipes."""

    def __init__(self, app: WorkerApp) -> None:
        self._app = app
        self._link: Link | None = None

    def connectionMade(self) -> None:  # noqa: N802 (Twisted's name)
        self._link = Link(self._app, self.transport.write)
        self._app.attach(self._link)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 (Twisted's name)
        assert self._link is not None
        self._link.data_received(data)

    def connectionLost(self, reason=connectionDone) -> None:  # noqa: N802 (Twisted's name)
        self._app.supervisor_gone()


def run_worker(number: int) -> int:
    """`sbc run --worker NUMBER`, as the supervisor starts it: until it says stop."""
    # Ctrl-C in a terminal reaches all processes; the supervisor decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        begin = first_message(READ_FROM)
    except (EOFError, OSError):
        print("sbc: --worker is for the supervisor's use", file=sys.stderr)
        return 1
    give_way()
    reactor = install()
    log_to_standard_error()
    app = WorkerApp(reactor, number, begin)
    try:
        app.start()
    except CannotStart as error:
        print(f"sbc: {error}", file=sys.stderr)
        return 1
    reactor.callWhenRunning(_attach, app, reactor)
    reactor.run()
    return 0


def _attach(app: WorkerApp, reactor: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: reactor.callFromThread(app.stop_received))
    StandardIO(_ToSupervisor(app), READ_FROM, WRITE_TO, reactor)


def _is_said_once(event: object) -> bool:
    """For all workers together, by the supervisor: what is about servers and not about one request."""
    kind = type(event)
    return kind.__name__ in FACTS and (kind is not events.FailedOver or event.method == "*")


def _candidate(group: ServerGroup | None, label: str) -> Any:
    """The group's candidate that is written so; None without one."""
    if group is None:
        return None
    return next((candidate for _, candidate in group.candidates() if str(candidate) == label), None)


# -- the supervisor ------------------------------------------------------------------------------------------------------


class Together:
    """The supervisor's surroundings: configuration, signals, HTTP, log. `start` raises CannotStart."""

    def __init__(self, config: Config, reactor: Any) -> None:
        self._reactor = reactor
        self._wall_clock = time.time
        self._started_at = self._wall_clock()
        self._started = reactor.seconds()
        self._http = None
        self._control: ControlSocket | None = None
        self._lock: StateLock | None = None
        self.exit_status = 0
        self.names = _Names()
        self.metrics = Metrics(appliance=config.appliance.name, version=__version__)
        self.recent = RecentEvents(self._wall_clock, self.names)
        logger = Lines(sys.stderr, log.namespace, time.time, formatTime)
        self._listeners = [self.names.learn, self.metrics, self.recent, EventLog(logger, self.names, debug=False)]
        self.systemd = Systemd()
        self.supervisor = Supervisor(config, config.appliance.processes, reactor, reactor, self.report)
        self.metrics.registry.register(WorkerSamples(self.supervisor.workers))  # type: ignore[arg-type]

    @property
    def config(self) -> Config:
        return self.supervisor.config

    def report(self, event: object) -> None:
        for listener in self._listeners:
            listener(event)

    def start(self) -> None:
        """Open what is to be opened; the workers are started by `begin`, when the reactor runs."""
        try:
            self._lock = StateLock(self.config.appliance.state_dir, self.report)
            self.supervisor.open()
        except (CannotBind, StateTaken) as error:
            raise CannotStart(str(error)) from error
        if self.config.http is not None:
            self._listen_http(self.config.http)
        try:
            prepare(self.config.appliance.state_dir, len(self.supervisor.workers), self.report)
        except StateUnreadable as error:
            raise CannotStart(str(error)) from error
        commands = {"failback": self._fail_back, "resync": self._resync}
        self._control = open_control(self._reactor, self.config.appliance.state_dir, commands, self.report)
        log.info("configuration {path}", path=str(self.config.path))

    def _resync(
        self, answer: Callable[[Mapping[str, Any]], None], server: str | None, group: str | None, rate: float | None
    ) -> None:
        """Each worker has a part of the phones."""
        asked = self.supervisor.ask("resync", server=server, group=group, rate=rate)
        asked.addCallback(lambda answers: answer(resync_answer(list(answers.values()))))

    def _fail_back(self, answer: Callable[[Mapping[str, Any]], None], group: str | None) -> None:
        """All workers do, so that none is behind; the one that probes says how it went."""

        def gathered(answers: dict[int, Any]) -> None:
            nobody = {"ok": False, "text": ["no worker has answered"]}
            answer(answers.get(self.supervisor.spokesman) or next(iter(answers.values()), nobody))

        self.supervisor.ask("fail_back", group=group).addCallback(gathered)

    def _listen_http(self, http: Any) -> None:
        site = GatheredSite(self.gather_families, self.gather_servers, self.gather_status, self.gather_explanation)
        try:
            self._http = self._reactor.listenTCP(http.port, site, interface=http.address)
        except CannotListenError as error:
            where = written(http.address, http.port)
            raise CannotStart(f"cannot listen on http {where}: {error.socketError}") from error

    def begin(self) -> None:
        """The reactor runs and has installed its own signal handlers; ours replace them, but for the end of children."""
        signal.signal(signal.SIGTERM, self._terminate)
        signal.signal(signal.SIGINT, self._terminate)
        signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self.reload))
        self.supervisor.start(self._ready, self._failed)

    def _ready(self) -> None:
        line = "sbc ready: " + " ".join(self.addresses)
        print(line, flush=True)
        log.info("{line}, {number} workers", line=line, number=len(self.supervisor.workers))
        self.systemd.ready(line)
        self.systemd.keep_alive(self._reactor)

    def _failed(self) -> None:
        self.exit_status = 1
        self._reactor.stop()

    def _terminate(self, *_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second one ends the process at once, and the workers after it
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        self._reactor.callFromThread(self._stop)

    def _stop(self) -> None:
        self.systemd.stopping("finishing what is under way")
        if self._control is not None:
            self._control.stop()
        self.supervisor.stop(self._reactor.stop)

    def reload(self) -> None:
        """Read the configuration again. A bad one is refused and the old one stays."""
        read_again(self.config, self.systemd, self.report, self.supervisor.reload)

    # What people see.

    @property
    def addresses(self) -> list[str]:
        assert self.supervisor.sockets is not None
        sockets = self.supervisor.sockets
        bound = [f"{name} {written(*address)}" for name, address in zip(sockets.transports, sockets.addresses, strict=True)]
        if self._http is not None:
            host = self._http.getHost()
            bound.append(f"http {written(host.host, host.port)}")
        return bound

    def gather_families(self, then: Callable[[Collected], None]) -> None:
        """All metrics."""

        def gathered(answers: dict[int, Any]) -> None:
            totals = self.supervisor.totals
            for worker, families in answers.items():
                totals.told(worker, families)
            then(Collected(totals.families(self.metrics.registry.collect(), self.supervisor.spokesman)))

        self.supervisor.ask("samples").addCallback(gathered)

    def gather_servers(self, then: Callable[[Mapping[str, Any]], None]) -> None:
        """What there is to say without the phones."""
        self.supervisor.ask("servers").addCallback(lambda answers: then(self._merged(answers)))

    def gather_status(self, all_phones: bool, then: Callable[[Mapping[str, Any]], None]) -> None:
        """status.json."""

        def gathered(answers: dict[int, Any]) -> None:
            for answer in answers.values():
                if all_phones:
                    answer["registrations"] |= {"phones": answer.pop("parts", []), "phones_left_out": 0}
            status = with_events(self._merged(answers), self.recent)
            for worker in status["appliance"]["workers"]:
                answer = answers.get(worker["worker"])
                worker["bindings"] = answer["registrations"]["bindings"] if answer else None
            status["events"] = merged_events(status["events"], *(answer["events"] for answer in answers.values()))
            then(status)

        self.supervisor.ask("status", all_phones=all_phones).addCallback(gathered)

    def gather_explanation(self, aor: str, then: Callable[[Mapping[str, Any]], None]) -> None:
        """explain.json: of the worker that serves the phone, or of several, each with its contacts."""

        def gathered(answers: dict[int, Any]) -> None:
            explanation = merged_explanation(answers, self.supervisor.spokesman)
            for group in explanation["groups"]:
                switch = self.recent.switch(group["name"])
                if switch is not None and switch.to_candidate == group["working"]:
                    group["working_because"] = switch.because
            then(explanation)

        self.supervisor.ask("explain", aor=aor).addCallback(gathered)

    def _merged(self, answers: dict[int, Any]) -> dict[str, Any]:
        supervisor = self.supervisor
        appliance = {
            "name": self.config.appliance.name,
            "version": __version__,
            "started": self._started_at,
            "uptime_seconds": self._reactor.seconds() - self._started,
            "ready": supervisor.serves_phones,
            "listening": self.addresses,
            "workers": [worker.describe() for worker in supervisor.workers],
        }
        return merged_status(appliance, answers, supervisor.spokesman)


class _Names(ServerNames):
    """Of the servers: the supervisor knows what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[tuple[str, str], str] = {}

    def learn(self, event: object) -> None:
        if isinstance(event, events.ServerStateChanged):
            self._known[event.group, event.candidate] = event.server

    def named(self, group: str, candidate: str) -> str:
        name = self._known.get((group, candidate))
        return f"{name} ({candidate})" if name else candidate


def run(config: Config) -> int:
    """`sbc run` with several workers: until SIGTERM or SIGINT. Returns the exit status: 0 stopped, 1 could not start."""
    reactor = install()
    log_to_standard_error()
    together = Together(config, reactor)
    try:
        together.start()
    except CannotStart as error:
        print(f"sbc: {error}", file=sys.stderr)
        return 1
    reactor.callWhenRunning(together.begin)
    reactor.run()
    return together.exit_status

