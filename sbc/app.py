"""The composition root: builds every object of a running appliance, connects them, starts and stops them.

No decisions are made here. This is the only file that knows everything, and only `sbc.cli` imports it.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from secrets import token_hex

from twisted.internet.error import CannotListenError
from twisted.logger import (
    FilteringLogObserver,
    Logger,
    LogLevel,
    LogLevelFilterPredicate,
    formatTime,
    globalLogBeginner,
    textFileLogObserver,
)

from sbc import __version__
from sbc.clock import TimerQueue
from sbc.config import Config, ConfigErrors, Dns, Listen, load
from sbc.config.implied import places_of_implied_tcp, tcp_beside
from sbc.config.model import address_families, spoken
from sbc.control import NAME as CONTROL
from sbc.control import Act, ControlSocket
from sbc.events import Alarm, DnsLookup, NetworkStateChanged, Report, Reports
from sbc.garbage import GarbagePolicy
from sbc.location.cache import Freshness
from sbc.location.candidate import Candidate
from sbc.location.locator import Locator
from sbc.location.resolver import Resolver
from sbc.observe.http import StatusSite
from sbc.observe.log import EventLog
from sbc.observe.log import Logger as EventLogger
from sbc.observe.log_lines import Lines
from sbc.observe.metrics import Metrics
from sbc.observe.notify import Systemd
from sbc.observe.phone_events import PhoneEvents
from sbc.observe.recent import RecentEvents
from sbc.observe.story import ServerNames
from sbc.proxy.core import Proxy
from sbc.proxy.edge import Edge
from sbc.proxy.network_watch import NetworkWatch
from sbc.proxy.overload import INTERVAL as OVERLOAD_INTERVAL
from sbc.proxy.overload import Overload
from sbc.proxy.prober import Prober
from sbc.redundancy.group import ServerGroup
from sbc.redundancy.network import LINK_DOWN, UPLINK_DOWN, Network
from sbc.redundancy.settings import GroupSettings, ServerSettings
from sbc.registration.described import MOST
from sbc.registration.probe_accounts import ProbeAccounts
from sbc.registration.registrar import Registrar
from sbc.scheduling import give_way
from sbc.sip.digest import HtdigestError, HtdigestFile
from sbc.store.journal import RegistrationJournal
from sbc.store.lock import StateLock, StateTaken
from sbc.store.sqlite import SqliteStore, StateUnreadable
from sbc.transaction.layer import TransactionLayer
from sbc.transaction.timers import Timers
from sbc.transport.addresses import written
from sbc.transport.dialled import Dialler
from sbc.transport.listeners import Listeners
from sbc.transport.own_links import OwnLinks
from sbc.transport.reactor import install
from sbc.transport.reference import Reference
from sbc.transport.streams import Connections, room_for_connections
from sbc.transport.tcp import StreamTransport
from sbc.transport.tls import OwnCertificate, TlsFilesError, Trust
from sbc.transport.udp import UdpTransport
from sbc.workers.partitions import adopt

log = Logger(namespace="sbc")

STORE_LOOKED_AT_EVERY = 10.0
"""Seconds. Somebody may take its files away, or make room on a full disk, while no phone changes anything."""

_LOCATING_TAKES = 5.0  # seconds after the start in which DNS has answered, where it answers at all
_DRAIN_LOOKS = 0.1  # seconds between two looks at what is still under way while stopping


class CannotStart(Exception):  # noqa: N818 (shown to an operator)
    """The appliance cannot start: a port is taken, the state cannot be read."""


class App:
    """One running appliance. `start` raises CannotStart; `stop(done)` calls `done` when nothing is left to do.

    The methods that begin with `_own` say what is different for a worker (`sbc.worker`).
    """

    def __init__(self, config: Config, reactor, event_logger: EventLogger = log) -> None:
        """`event_logger` writes the facts that are for the log."""
        self.config = config
        self._reactor = reactor
        self.clock = TimerQueue(reactor)
        self._wall_clock = time.time
        self._started_at = self._wall_clock()
        self._started = self.clock.seconds()
        self.ready = False
        self._http = None
        self.proxy: Proxy | None = None
        self._probers: dict[str, Prober] = {}
        self.groups: dict[str, ServerGroup] = {}
        self._groups_view = _Values(self.groups)
        self.network = Network()
        self._network_watch: NetworkWatch | None = None
        self._links: OwnLinks | None = None
        self._control: ControlSocket | None = None
        self._lock: StateLock | None = None

        self.metrics = Metrics(appliance=config.appliance.name, version=__version__)
        names = ServerNames(self._groups_view)
        self.recent = RecentEvents(self._wall_clock, names)
        self.report = Reports(self._own_facts_to(self.metrics), self.metrics.everyday)
        self.report.tell(self._own_facts_to(self.recent), everyday=False)
        self.phone_events = PhoneEvents(self._wall_clock, names)
        self.report.tell(self.phone_events, everyday=False)
        self.report.tell(self._own_facts_to(EventLog(event_logger, names, debug=False)), everyday=False)
        self.systemd = Systemd()

    # -- what a worker does in its own way -------------------------------------------------------------------------------

    def _own_facts_to(self, listener: Report) -> Report:
        """Which facts that listener hears."""
        return listener

    def _own_lock(self) -> StateLock | None:
        """On the state directory, before anything in it is touched."""
        return StateLock(self.config.appliance.state_dir, self.report)

    def _own_state_dir(self) -> Path:
        adopt(self.config.appliance.state_dir, 1, self.report)
        return self.config.appliance.state_dir

    def _own_processes(self) -> int:
        """That have a share of the phones."""
        return 1

    def _own_boot_word(self) -> str:
        """Tells the branches of this run from those of others."""
        return token_hex(3)

    def _own_candidates_found(self, group: ServerGroup) -> None:
        """Location has brought news about this group."""

    def _own_probers(self) -> None:
        for name in self.groups:
            self._start_prober(name)
        self._watch_network()

    def _own_control(self) -> None:
        self._open_control()

    def _own_network_found(self, network: Network, changed: NetworkStateChanged | None) -> None:
        """The watch has looked, and this is what it thinks now."""

    # -- build -----------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Open everything. Raises CannotStart; what was opened before is closed again by the end of the process."""
        config = self.config
        try:
            self._lock = self._own_lock()
            state_dir = self._own_state_dir()
            self.store = SqliteStore(state_dir, self.report)
        except (StateUnreadable, StateTaken) as error:
            raise CannotStart(str(error)) from error
        key = self.store.secret()
        timers = Timers(config.timers.t1, config.timers.t2, config.timers.t4, config.timers.trying)
        self.layer = TransactionLayer(self.clock, timers, boot=self._own_boot_word())
        self.listeners = Listeners()
        self._resolver = Resolver(self._reactor, config.dns.servers)
        self.locator = Locator(
            self.clock,
            self._resolver.ask,
            self.report,
            memory=self.store.dns_memory,
            families=address_families(config.listens),
            transports=spoken(config.listens),
            salt=config.appliance.name,
        )
        self._resolver.start()
        self._add_groups(config.groups)

        self._journal = RegistrationJournal(state_dir, self.store, self.report)
        self.registrar = Registrar(
            self.layer, self.clock, self._wall_clock, self._journal, _passwords(config), self.listeners.flow_to_server,
            self.report,
        )  # fmt: skip
        self.registrar.groups = self.groups
        self.registrar.upkeep.resyncs.share = 1.0 / self._own_processes()
        self.registrar.restore()
        self.registrar.set_groups(self.groups.values())
        self.overload = Overload()
        self.proxy = Proxy(
            clock=self.clock,
            layer=self.layer,
            flows=self.listeners,
            groups=self.groups.values(),
            registrar=self.registrar,
            is_ours=self.listeners.is_ours,
            key=key,
            name=config.appliance.name,
            report=self.report,
            overload=self.overload,
            nonces=self.registrar.nonces,
        )
        self.layer.user = self.proxy
        self.edge = Edge(self.proxy, self.report, self.registrar.refreshes)
        self.metrics.watch(
            seconds=self.clock.seconds, groups=self._groups_view, registrar=self.registrar, traffic=self.edge,
            refreshes_answered=self.registrar.refreshes.answered, network_state=lambda: self.network.state,
            store_up_to_date=lambda: self._journal.up_to_date,
        )  # fmt: skip
        self.connections = Connections(self._reactor, self.edge, self.report, room_for_connections())
        try:
            self._trust = Trust(config.tls.ca, config.tls.certificate, config.tls.key)
            self.listeners.dialler = Dialler(self.connections, self._trust, self._names_of)
            self._own_sockets(config)
        except TlsFilesError as error:
            raise CannotStart(str(error)) from error
        for transport in self.listeners:
            transport.start()
        self._own_probers()
        self._own_control()
        self._watch_lateness(self.clock.seconds() + OVERLOAD_INTERVAL)
        self.clock.callLater(STORE_LOOKED_AT_EVERY, self._look_at_store)
        self._garbage = GarbagePolicy(self.clock, self._received)
        self._garbage.start()
        self.clock.callLater(_LOCATING_TAKES, self._tell_unlocated)
        self.ready = True

    def _own_sockets(self, config: Config) -> None:
        for listen in config.listens:
            try:
                if listen.transport == "udp":
                    transport = UdpTransport(
                        self._reactor, self.edge, listen.address, listen.port, side=listen.side, advertise=listen.advertise
                    )
                else:
                    transport = StreamTransport(
                        self.connections, listen.address, listen.port, side=listen.side, advertise=listen.advertise,
                        certificate=certificate_of(listen),
                    )  # fmt: skip
            except OSError as error:
                raise CannotStart(f"cannot listen on {listen}: {error.strerror}") from error
            self.listeners.add(transport)
        self._listen_on_tcp_too(config)
        if config.http is not None:
            site = StatusSite(
                self.metrics.registry, self.describe, self.recent, self._describe_servers, self.explain,
                self.registrar.phones_in_lots, lambda continued: self.clock.callLater(0.0, continued),
            )  # fmt: skip
            try:
                self._http = self._reactor.listenTCP(config.http.port, site, interface=config.http.address)
            except CannotListenError as error:
                where = written(config.http.address, config.http.port)
                raise CannotStart(f"cannot listen on http {where}: {error.socketError}") from error

    def _listen_on_tcp_too(self, config: Config) -> None:
        """RFC 3261 18.2.1: where we listen on UDP, also on TCP. Where servers are reached by TCP and no `[[listen]]` says
        where they reach us, this makes it work; calls from them then survive a restart of ours."""
        written_down = list(self.listeners)
        for place in places_of_implied_tcp(config):
            transport, listen = written_down[place], tcp_beside(config.listens[place])
            try:
                beside = StreamTransport(
                    self.connections, *transport.local, side=listen.side, advertise=listen.advertise
                )
            except OSError as error:
                where = written(*transport.local)
                text = f"cannot listen on tcp {where}, beside udp: {error.strerror}"
                self.report(Alarm("configuration", f"{text}; servers reach us over our own connections"))
                continue
            self.listeners.add(beside)

    def _received(self) -> int:
        """Messages so far."""
        return self.connections.messages + sum(transport.received for transport in self.listeners)

    def _names_of(self, candidate: Candidate) -> list[list[str]]:
        """For each server that is there: by which names a certificate may know it, as the configuration does (RFC 5922 4)."""
        owners = [group.owner(candidate) for group in self.groups.values()]
        return [list(names) for names in dict.fromkeys(tuple(owner.addresses) for owner in owners if owner is not None)]

    def _add_groups(self, settings: tuple[GroupSettings, ...]) -> None:
        """Make these the groups. One whose settings did not change goes on as it is."""
        old = dict(self.groups)
        self.groups.clear()
        t1_t2 = (self.config.timers.t1, self.config.timers.t2)
        for group_settings in settings:
            known = old.get(group_settings.name)
            if known is not None and known.settings == group_settings:
                self.groups[known.name] = known
                continue
            self.groups[group_settings.name] = group = ServerGroup(
                group_settings, t1_t2, self.report, self.clock.seconds(), time_of_day=_local_time_of_day
            )
            for server in group_settings.servers:
                self._watch(group, server)
            if known is not None:
                group.go_on_from(known, self.clock.seconds())
        for name, group in old.items():
            if self.groups.get(name) is not group:
                for server in group.settings.servers:
                    if (name, server.name) not in self._watched():
                        self.locator.forget(f"{name} {server.name}")

    def _watch(self, group: ServerGroup, server: ServerSettings) -> None:
        """Let location find the candidates of a server, now and ever after."""

        def found(_key: str, candidates: list[Candidate], ttl: float | None) -> None:
            group.update_candidates(server.name, candidates, self.clock.seconds(), ttl=ttl)
            if self.proxy is not None:
                self.proxy.candidates_changed()
            self._own_candidates_found(group)

        settings = group.settings
        self.locator.watch(
            f"{group.name} {server.name}",
            server,
            found,
            srv_weight=settings.srv_weight,
            freshness=freshness(settings, self.config.dns),
        )

    def _watched(self) -> set[tuple[str, str]]:
        return {(group.name, server.name) for group in self.groups.values() for server in group.settings.servers}

    def _tell_unlocated(self) -> None:
        """A name that DNS does not know, or no DNS: the log says so once, by the server's name."""
        for group in self.groups.values():
            for server in group.settings.servers:
                if not self.locator.candidates(f"{group.name} {server.name}"):
                    text = f"{group.name}: no address is known for server {server.name} ({server.address})"
                    self.report(Alarm("dns", text))

    def _start_prober(self, name: str) -> None:
        prober = self._probers[name] = Prober(
            self.clock, self.layer, self.listeners, self.groups[name], self.report, ProbeAccounts(self.registrar)
        )
        prober.start()

    def _watch_network(self) -> None:
        """One process of an appliance does, the one that probes."""
        if self._network_watch is not None:
            return
        links = self._links = OwnLinks(self._reactor, self._look_at_network)
        try:
            links.start()
        except OSError as error:
            text = f"our own links cannot be watched ({error.strerror}): what is cut off here looks like dead servers"
            self.report(Alarm("network", text))
            links.stop()
            return
        reference = Reference(self._reactor, links, self.config.uplink.reference)
        watch = self._network_watch = NetworkWatch(
            self.clock, links, reference, self._groups_view, self._network_found, self.network
        )

        def note_lookup(event: DnsLookup) -> None:
            watch.lookups.note(event.result)

        self.report.tell(note_lookup, everyday=False, about=DnsLookup)
        watch.start()

    def _look_at_network(self) -> None:
        if self._network_watch is not None:
            self._network_watch.look()

    def _network_found(self, network: Network) -> None:
        old = self.network.state
        changed = NetworkStateChanged(old, network.state, network.reason) if network.state != old else None
        if changed is not None:
            self.report(changed)
        self.use_network(network)
        self._own_network_found(network, changed)

    def use_network(self, network: Network) -> None:
        """From now on think this of it."""
        self.network = network
        now = self.clock.seconds()
        for group in self.groups.values():
            is_link_up = not (network.state == LINK_DOWN and group.name in network.frozen)
            if group.is_link_up != is_link_up:
                group.set_link(is_link_up, now)
            group.set_uplink(network.state != UPLINK_DOWN, now)

    def fail_back(self, group_name: str | None) -> dict:
        """`sbc failback`: what is to be told."""
        groups = [group for name, group in self.groups.items() if group_name in (None, name)]
        if not groups:
            return {"ok": False, "text": [f"there is no group {group_name}, only {', '.join(self.groups)}"]}
        results = [group.fail_back(self.clock.seconds()) for group in groups]
        return {"ok": all(is_done for is_done, _ in results), "text": [line for _, lines in results for line in lines]}

    def resync(self, server: str | None, group_name: str | None, rate: float | None) -> dict:
        """`sbc resync`: what is to be told, with what `resync_answer` needs of each process."""
        if group_name is not None and group_name not in self.groups:
            return {"ok": False, "text": [f"there is no group {group_name}, only {', '.join(self.groups)}"]}
        return self.registrar.upkeep.resyncs.by_command(server or "", group_name, rate)

    def _open_control(self) -> None:
        commands = {
            "failback": lambda answer, group: answer(self.fail_back(group)),
            "resync": lambda answer, server, group, rate: answer(resync_answer([self.resync(server, group, rate)])),
        }
        self._control = open_control(self._reactor, self.config.appliance.state_dir, commands, self.report)

    def _watch_lateness(self, due: float) -> None:
        now = self._reactor.seconds()
        self.overload.note(now - due)
        self.clock.callLater(OVERLOAD_INTERVAL, self._watch_lateness, now + OVERLOAD_INTERVAL)

    def _look_at_store(self) -> None:
        self.registrar.check_store()
        self.clock.callLater(STORE_LOOKED_AT_EVERY, self._look_at_store)

    # -- what people see -------------------------------------------------------------------------------------------------

    @property
    def addresses(self) -> list[str]:
        """`udp 127.0.0.1:5060` for each socket, and `http ...`, as really bound."""
        bound = [f"{transport.name} {written(*transport.local)}" for transport in self.listeners]
        if self._http is not None:
            host = self._http.getHost()
            bound.append(f"http {written(host.host, host.port)}")
        return bound

    def describe(self, most: int = MOST) -> dict:
        """status.json (interface: stable keys), with so many phones of each sort."""
        servers = self._describe_servers()
        registrations = self.registrar.describe(self.clock.seconds(), most=most)
        registered = registrations.pop("groups")
        for group in servers["groups"]:
            group["redundancy_set_up"] = group["every_candidate_up"] and group["name"] in registered  # V27
        return {
            **servers,
            "registrations": registrations,
            "survival": {"active": False},
            "transactions": {" ".join(kind): number for kind, number in self.layer.transactions.items()},
        }

    def explain(self, aor: str) -> dict:
        """`sbc explain`: all about one address-of-record."""
        explanation = self.registrar.explain(aor, self.clock.seconds())
        for group in explanation["groups"]:
            switch = self.recent.switch(group["name"])
            is_why = switch is not None and switch.to_candidate == group["working"]
            group["working_because"] = switch.because if is_why else ""
        return {**explanation, "events": self.phone_events.of(explanation["aor"])}

    def _describe_servers(self) -> dict:
        """What there is to say without the phones."""
        now, wall = self.clock.seconds(), self._wall_clock()
        return {
            "appliance": {
                "name": self.config.appliance.name,
                "version": __version__,
                "started": self._started_at,
                "uptime_seconds": now - self._started,
                "ready": self.ready,
                "listening": self.addresses,
            },
            "network": {"state": self.network.state, "reason": self.network.reason},
            "groups": [group.describe(now, wall) for group in self.groups.values()],
        }

    # -- change and stop -------------------------------------------------------------------------------------------------

    def reload(self) -> None:
        """Read the configuration again (SIGHUP). A bad one is refused and the old one stays."""
        read_again(self.config, self.systemd, self.report, self.go_on_with)

    def go_on_with(self, kept: Config) -> None:
        """From now on this configuration, whose sockets are the same."""
        self.config = kept
        try:
            self.registrar.use_passwords(_passwords(kept))
        except (OSError, HtdigestError) as error:
            # Whoever writes it may not have finished. Without passwords no phone could register.
            self.report(Alarm("configuration", f"{error}; the passwords read before stay"))
        self._renew_certificates(kept)
        self._add_groups(kept.groups)
        self.use_network(self.network)
        self.registrar.set_groups(self.groups.values())
        self.proxy.set_groups(self.groups.values())
        for name in list(self._probers):
            self._probers.pop(name).stop()
        self._own_probers()

    def _renew_certificates(self, config: Config) -> None:
        """They are replaced while we run, before they expire. Open connections go on as they are."""
        renewals = [lambda: self._trust.load(config.tls.ca, config.tls.certificate, config.tls.key)]
        renewals += [
            transport.certificate.load
            for transport in self.listeners
            if transport.name == "tls" and transport.certificate is not None
        ]
        for renew in renewals:
            try:
                renew()
            except (OSError, TlsFilesError) as error:
                self.report(Alarm("configuration", f"{error}; the certificate read before stays"))

    def stop(self, done: Callable[[], None]) -> None:
        """Take no new calls, let what is under way end, at most `drain` seconds."""
        self.ready = False
        self.proxy.draining = True
        self.systemd.stopping("finishing what is under way")
        self._drain(self.clock.seconds() + self.config.appliance.drain, done)

    def _drain(self, deadline: float, done: Callable[[], None]) -> None:
        if self.proxy.under_way and self.clock.seconds() < deadline:
            self.clock.callLater(_DRAIN_LOOKS, self._drain, deadline, done)
            return
        for prober in self._probers.values():
            prober.stop()
        if self._network_watch is not None:
            self._network_watch.stop()
        if self._links is not None:
            self._links.stop()
        if self._control is not None:
            self._control.stop()
        self._garbage.stop()
        self.locator.stop()
        self._resolver.stop()
        self.listeners.stop()
        self.connections.stop()
        self.registrar.close()
        self._journal.close()
        self.store.close()
        if self._lock is not None:
            self._lock.release()
        self.systemd.stop_signs()
        done()


NEEDS_RESTART = "appliance, listen, http, dns, timers and uplink change only with a restart; the rest is in force"


def read_again(
    old: Config, systemd: Systemd, report: Callable[[object], None], go_on_with: Callable[[Config], object]
) -> None:
    """Go on with what the file says now, as far as that can change while we run. A bad one is refused and `old` stays."""
    systemd.reloading()
    try:
        new = load(old.path)
    except ConfigErrors as errors:
        for error in errors.errors:
            log.error("{error}", error=str(error))
        report(Alarm("configuration", f"reload refused: {len(errors.errors)} errors; the old configuration stays"))
        systemd.ready("reload refused, the old configuration stays")
        return
    kept = what_can_change(old, new)
    if kept != new:
        report(Alarm("configuration", NEEDS_RESTART))
    go_on_with(kept)
    log.info("configuration reloaded from {path}", path=str(kept.path))
    systemd.ready("configuration reloaded")


def what_can_change(old: Config, new: Config) -> Config:
    """The new configuration, but for what is settled when the process starts."""
    return replace(
        new,
        appliance=replace(old.appliance, drain=new.appliance.drain),
        listens=old.listens,
        http=old.http,
        dns=old.dns,
        timers=old.timers,
        uplink=old.uplink,
    )


def resync_answer(answers: list[Mapping]) -> dict:
    """What `sbc resync` is told, of the answers of all processes."""
    begun: dict[tuple[str, str], tuple[int, int, float]] = {}
    for answer in answers:
        for each in answer.get("resyncs", ()):
            phones, by_phones, rate = begun.get((each["group"], each["server"]), (0, 0, 0.0))
            sums = (phones + each["phones"], by_phones + each["by_phones"], rate + each["rate"])
            begun[each["group"], each["server"]] = sums
    if not begun:
        refused = next(iter(answers), {"ok": False, "text": ["no worker has answered"]})
        return {"ok": False, "text": refused["text"]}
    text = []
    for (group, server), (phones, by_phones, rate) in begun.items():
        if not phones:
            text.append(f"{group}: no phone is to be registered at {server}")
            continue
        text.append(
            f"{group}: {_number_of_phones(phones)} to be registered at {server} again, one before all others, then with up to"
            f" {rate:.4g} REGISTERs a second at first"
        )
        if by_phones < phones:
            text.append(f"  {phones - by_phones} by the appliance, from now on")
        if by_phones:
            text.append(
                f"  {by_phones} by the phones, each with its next REGISTER for which there is a place: only they know their"
                " password"
            )
    if any(phones for phones, _, _ in begun.values()):
        text.append("`sbc status` says how far it is")
    return {"ok": True, "text": text}


def _number_of_phones(number: int) -> str:
    return "1 phone is" if number == 1 else f"{number} phones are"


def open_control(reactor, state_dir: Path, commands: Mapping[str, Act], report: Report) -> ControlSocket | None:
    """The socket for `sbc failback` and `sbc resync`; an appliance without it serves phones all the same."""
    control = ControlSocket(reactor, state_dir, commands)
    try:
        control.start()
    except OSError as error:
        text = f"{state_dir / CONTROL}: {error.strerror or error}; `sbc failback` and `sbc resync` cannot reach this appliance"
        report(Alarm("control", text))
        return None
    return control


def _local_time_of_day() -> float:
    moment = time.localtime()
    return moment.tm_hour * 3600.0 + moment.tm_min * 60 + moment.tm_sec


def _passwords(config: Config) -> HtdigestFile | None:
    """Read anew at each reload: phones are added while the appliance runs."""
    return HtdigestFile.load(config.credentials.file) if config.credentials.file else None


def freshness(group: GroupSettings, dns: Dns) -> Freshness:
    """How long DNS answers are good for the servers of this group. `[dns]` speaks for those that say nothing themselves."""
    return Freshness(group.dns_ttl_floor, group.dns_ttl_ceiling, group.dns_requery or dns.requery)


def certificate_of(listen: Listen) -> OwnCertificate | None:
    """Of a TLS socket. Raises TlsFilesError when its files cannot be used."""
    if listen.transport != "tls" or listen.certificate is None or listen.key is None:
        return None
    return OwnCertificate(listen.certificate, listen.key)


class _Values:
    """The values of a dictionary as it is now, each time it is walked."""

    def __init__(self, mapping: dict) -> None:
        self._mapping = mapping

    def __iter__(self):
        return iter(list(self._mapping.values()))


def run(config: Config) -> int:
    """`sbc run`: until SIGTERM or SIGINT. Returns the exit status: 0 stopped, 1 could not start."""
    give_way()
    reactor = install()  # here and nowhere else: everything below is handed its clock and its reactor
    log_to_standard_error()
    app = App(config, reactor, lines_to_standard_error(reactor, log.namespace))
    try:
        app.start()
    except CannotStart as error:
        print(f"sbc: {error}", file=sys.stderr)
        return 1
    log.info("configuration {path}", path=str(config.path))
    reactor.callWhenRunning(_running, app, reactor)
    reactor.run()
    return 0


def _running(app: App, reactor) -> None:
    """The reactor runs and has installed its own signal handlers; ours replace them."""

    def terminate(*_: object) -> None:
        reactor.callFromThread(app.stop, reactor.stop)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second one ends the process at once
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    signal.signal(signal.SIGTERM, terminate)
    signal.signal(signal.SIGINT, terminate)
    signal.signal(signal.SIGHUP, lambda *_: reactor.callFromThread(app.reload))
    line = "sbc ready: " + " ".join(app.addresses)
    print(line, flush=True)
    log.info("{line}", line=line)
    app.systemd.ready(line)
    app.systemd.keep_alive(app.clock)


def lines_to_standard_error(reactor, namespace: str) -> Lines:
    """For the facts that are for the log; what waits is written before the process ends."""
    lines = Lines(sys.stderr, namespace, time.time, formatTime, reactor.callLater)
    reactor.addSystemEventTrigger("after", "shutdown", lines.write_waiting)
    return lines


def log_to_standard_error() -> None:
    observer = FilteringLogObserver(
        textFileLogObserver(sys.stderr), [LogLevelFilterPredicate(defaultLogLevel=LogLevel.info)]
    )
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False, discardBuffer=True)
