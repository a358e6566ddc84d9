"""The servers of one group, seen as one thing: `ServerGroup`.

It puts together what the other modules decide: the candidates that location found, their health, the working server,
and a plan for each request. Everything is told `now`; someone with a clock calls `advance` at `next_wakeup`, and
sends the probes of `probe_due`.

Nearly every request comes while the working server is up and answers. Then nothing is worked out anew: `Orders` keeps
the order of the candidates until something changes, until `_quiet_until` the passing of time changes nothing, and a
good answer of a server that is up is noted and no more.

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1.

What becomes of every request comes in by `observe`. Reported to operators from here and from nowhere else:

- ServerStateChanged, once per change of a candidate's state.
- AttemptEnded, once per attempt of a plan.
- FailedOver with the request's method, once each time a request had to go on to another candidate.
- FailedOver with method `*` (ALL_METHODS), once each time the working server fails and new requests go elsewhere.
  It is a move of its own: with the request that noticed it two things moved, each counted once under its own method.
- FailedBack, once each time the working server changes to a better one.
- ServerFlapped, with the FailedOver from a server that had only just come back.

Phones of several kinds (`[[group.phones]]`) share the servers and what is known of them, and differ in how they use
them. Each kind is a ServerGroup of its own over the same health (`phones_of`): it makes plans, and has a working server
and orders, from its own settings, and what it observes it tells the group. The group alone probes, and lets all of them
choose anew when something has changed. FailedOver with method `*` and FailedBack are reported of each kind.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import groupby
from math import inf
from typing import Any

import cython

from sbc.events import FailedBack, FailedOver, Report, ServerFlapped, ServerStateChanged
from sbc.redundancy.description import describe
from sbc.redundancy.health import HealthWord, State, StateChange
from sbc.redundancy.phones import OWN_KIND, PhoneKinds, labels
from sbc.redundancy.plan import PHONE_PATIENCE
from sbc.redundancy.probing import JITTER, ProbeCalendar
from sbc.redundancy.schedule import Timing, patience
from sbc.redundancy.settings import GroupSettings, ServerSettings
from sbc.redundancy.window import TimeOfDay
from sbc.redundancy.working import Moved, WorkingServer

if cython.compiled:
    from cython.cimports.sbc.events import Reports, as_reports
    from cython.cimports.sbc.location.candidate import Candidate
    from cython.cimports.sbc.redundancy.health import CandidateHealth
    from cython.cimports.sbc.redundancy.order import Orders, without_repetition
    from cython.cimports.sbc.redundancy.outcome import NONE_GIVEN, Answered, Outcome, new_answered
    from cython.cimports.sbc.redundancy.plan import Attempt, AttemptPlan, Option, Order, PlanWitness, Terms, Tried, new_plan
else:
    from sbc.events import Reports, as_reports
    from sbc.location.candidate import Candidate
    from sbc.redundancy.health import CandidateHealth
    from sbc.redundancy.order import Orders, without_repetition
    from sbc.redundancy.outcome import NONE_GIVEN, Answered, Outcome, new_answered
    from sbc.redundancy.plan import Attempt, AttemptPlan, Option, Order, PlanWitness, Terms, Tried, new_plan

ALL_METHODS = "*"
"""Method of a FailedOver that moves a group's new requests rather than one request."""

WakeUp = Callable[[str], None]
"""Called with the cause when the candidate that a request waits for is found dead by another request."""


_PATIENCE = cython.declare(cython.double, PHONE_PATIENCE)
_NO_DEADLINE = cython.declare(cython.double, inf)

_OF_DNS = 4
"""So much of a preference is what configuration and DNS say; behind it is what we make of the transport."""


@cython.cclass
class ServerGroup:
    """One `[[group]]` at work."""

    settings: object
    name: str
    kind: str  # of phones: the label of their entry; "" for the group itself
    key: str  # name and label: unlike those of all others
    of_several_kinds: cython.bint  # phones of this group must be told apart
    kinds: list  # those of the other phones; none of a kind's own
    _group: ServerGroup  # that this is a kind of; None for the group itself
    _everyone: list  # itself and its kinds
    _phone_kinds: object
    _reports: Reports
    _options: list
    _health: dict
    _listed: list  # the candidates ...
    _listed_health: list  # ... and the health of each, to be found at a glance
    _ttl: dict
    _waiting: dict
    _link_up: cython.bint
    _uplink_up: cython.bint
    _settled_at: cython.double  # until then the working server may come back after the uplink, and is waited for
    _quiet_until: cython.double  # before then nothing changes by the passing of time
    _registrars: tuple
    _registration_brings_back: cython.bint
    _concurrent: cython.bint
    _asks_by_register: cython.bint
    _usable_registrars: set
    all_accept: cython.bint  # none of the registrars is known to be down
    _told_followers: tuple  # the working server and usable registrars that they last heard of
    _orders: Orders
    _working: object
    _probes: object
    _timing: object
    _on_enable: cython.bint
    _register_before: frozenset
    followers: list  # called, with nothing, when a registrar server died or returned or another candidate works
    _removed: list  # Options of working servers that DNS no longer names; those of its kinds are the group's
    _removed_at: cython.double  # when the last of them was left out first
    _witness: _Witness

    def __init__(
        self,
        settings: GroupSettings,
        timers_t1_t2: tuple,
        report: Report,
        now: float,
        rng: random.Random | None = None,
        time_of_day: TimeOfDay | None = None,
        kind_of: ServerGroup | None = None,
        kind: str = "",
    ) -> None:
        """`rng` jitters the probes; tests pass their own. `time_of_day` opens failback windows; without it, it is midnight.
        `kind_of`, `kind`: for the kinds of phones, which the group makes."""
        self.settings = settings
        self.name = settings.name
        self.kind = kind
        self.key = f"{self.name}/{kind}" if kind else self.name
        self._group = kind_of
        self._reports = as_reports(report)
        self._options: list[Option] = []
        self._health: dict[Candidate, CandidateHealth] = {} if kind_of is None else kind_of._health
        self._listed: list[Candidate] = []
        self._listed_health: list[CandidateHealth] = []
        self._ttl: dict[str, float | None] = {} if kind_of is None else kind_of._ttl
        self._waiting: dict[WakeUp, Candidate] = {} if kind_of is None else kind_of._waiting
        self._link_up = True
        self._uplink_up = True
        self._settled_at = 0.0
        self._removed: list[Option] = []
        self._removed_at = 0.0
        self._quiet_until = 0.0
        self._registrars = tuple(server for server in settings.servers if server.register)
        # Elsewhere an accepted REGISTER at a server that is up changes nothing.
        self._registration_brings_back = any(server.failback_mode == "registration" for server in settings.servers)
        self._concurrent = settings.registration == "concurrent"
        self._on_enable = any(server.register_on_enable for server in settings.servers)
        self._register_before = frozenset(settings.register_before)
        self._asks_by_register = settings.asks_by_register
        self._usable_registrars: set[str] = set()
        self.all_accept = False
        self._told_followers: tuple[Candidate | None, set[str]] = (None, set())
        self.followers: list[Callable[[], object]] = []
        witness: _Witness = _Witness(self.name, self._reports)
        self._witness = witness
        self._timing = Timing(*timers_t1_t2)
        terms = Terms(settings.status_failover, self._timing, settings.retry_timeout, witness)
        self._orders = Orders(settings, terms, lambda candidate: self.health(candidate).usable, self._is_well)
        self._working = WorkingServer(settings, self.health, self._ttl.get, time_of_day or float)
        self._probes = ProbeCalendar(settings, rng or random.Random())
        self._phone_kinds = PhoneKinds(settings.phones)
        self.kinds = [
            ServerGroup(entry.settings, timers_t1_t2, report, now, rng, time_of_day, self, label)
            for entry, label in zip(settings.phones, labels(settings.phones), strict=True)
        ]
        self.of_several_kinds = kind_of is not None or len(self.kinds) > 0
        self._everyone = [self, *self.kinds]
        each: ServerGroup
        for each in self.kinds:
            if each._registration_brings_back:
                self._registration_brings_back = True

    def phones_of(self, user_agent: str, address: str, aor: str) -> ServerGroup:
        """The kind that a phone is of, by what it says, where it is and who it is: the group itself when no entry fits."""
        place = self._phone_kinds.kind(user_agent, address, aor)
        return self if place == OWN_KIND else self.kinds[place]

    def watch_registers(self, watcher: Callable[[str, Outcome, float], object] | None) -> None:
        """From now on tell this what becomes of each attempt of a REGISTER, after so many seconds. None: nobody."""
        self._witness.registers = watcher

    def kind_labelled(self, label: str) -> ServerGroup | None:
        """The kind with that label, the group itself for ""."""
        return next((each for each in self._everyone if each.kind == label), None)

    # Candidates

    def update_candidates(
        self, server_name: str, candidates: Sequence[Candidate], now: float, *, ttl: float | None = None
    ) -> None:
        """Location found these for that server, best first. Health stays with candidates that were known before.

        Equals (same priority) that were known keep their order: a DNS server that rotates its answers must not make
        requests wander. With load balancing all are equals, and the order is that of the answer (V14, V28): what is in use
        stays so wherever it stands. A working server that is not among them any more is left as `dns_removed` says (V28,
        V29). `ttl`: seconds that the answer is good for.
        """
        server = next(server for server in self.settings.servers if server.name == server_name)
        places = {option.candidate: place for place, option in enumerate(self._options)}
        found = [
            Option(server, candidate, self._preference(server, candidate)) for candidate in dict.fromkeys(candidates)
        ]
        ordered: list[Option] = []
        for _, equals in groupby(found, key=lambda option: option.preference[:_OF_DNS]):
            if self.settings.load_balancing:
                ordered += equals
            else:
                ordered += sorted(equals, key=lambda option: places.get(option.candidate, len(places)))
        ordered += self._removed_but_working(server, ordered, now)
        others = [option for option in self._options if option.server is not server]
        self._options = without_repetition(sorted(others + ordered, key=lambda option: option.server.rank))
        if server_name not in self._ttl:
            each: ServerGroup
            for each in self._everyone:
                each._working.found(server, self._options, now)
        self._ttl[server_name] = ttl
        self._keep_health(now)
        self._choose(now, "dns")

    def candidates(self) -> list[tuple[ServerSettings, Candidate]]:
        """All candidates in order of preference, with the configured server of each."""
        return [(option.server, option.candidate) for option in self._options]

    def owner(self, candidate: Candidate) -> ServerSettings | None:
        """The configured server that this candidate belongs to; None when it is not in the list."""
        return next((option.server for option in self._options if option.candidate == candidate), None)

    def go_on_from(self, other: ServerGroup, now: float) -> None:
        """Take over what the same group, under other settings, knows of the candidates that both have."""
        for candidate, health in self._health.items():
            if candidate in other._health:
                health.go_on_from(other._health[candidate])
        self._working.go_on_from(other._working)
        each: ServerGroup
        before: ServerGroup
        for each in self.kinds:
            before = other.kind_labelled(each.kind) or other
            each._working.go_on_from(before._working)
        for each in self._everyone:
            each._link_up, each._uplink_up, each._settled_at = other._link_up, other._uplink_up, other._settled_at
        self._choose(now, "configuration")

    # Plans

    @cython.ccall
    def plan(
        self,
        method: str,
        now: cython.double,
        first: Candidate = None,
        in_dialog: cython.bint = False,
        deadline: object = None,
    ) -> AttemptPlan:
        """The attempts for a new request. `first`, the server of its dialog or nonce, is tried before the working
        server.

        `deadline`: no attempt lasts longer; by default 31 s from now, and none for INVITE.
        """
        self.advance(now)
        latest: cython.double = _NO_DEADLINE
        if deadline is not None:
            latest = deadline
        elif method != "INVITE":
            latest = now + _PATIENCE
        return new_plan(method, self._orders.for_request(method, first), latest, in_dialog)

    @cython.ccall
    def register_plans(self, now: cython.double, deadline: object = None) -> list:
        """The plans of one REGISTER: at every registrar server at once, or one after the other (X1). Each with its
        server, as a pair.

        Concurrent: one plan per registrar server, limited to its candidates; a server that is down is tried all the
        same, which is how its recovery is noticed (Y36). Otherwise one plan over all of them, with the first server.
        """
        latest: cython.double = now + _PATIENCE if deadline is None else deadline
        registrars = self._registrars if self._concurrent else self._registrars[:1]
        return [(server, self.register_plan(server.name, now, latest)) for server in registrars]

    @cython.cfunc
    def register_plan(self, server_name: str, now: cython.double, latest: cython.double) -> AttemptPlan:
        """One of `register_plans`, for those that are compiled: the one at that server, or the only one."""
        self.advance(now)
        return new_plan("REGISTER", self._orders.for_registration(server_name if self._concurrent else None), latest, False)

    @cython.cfunc
    def register_plan_among(self, names: frozenset, now: cython.double, latest: cython.double) -> AttemptPlan:
        """Of a REGISTER that goes to one server after the other: as if the group had no registrars but these."""
        self.advance(now)
        return new_plan("REGISTER", self._orders.for_registration_among(names), latest, False)

    def register_plan_at(
        self, server_name: str, now: float, deadline: float, candidate: Candidate | None = None
    ) -> AttemptPlan:
        """The plan of one REGISTER of our own making: at that server and no other, or only at that candidate of it."""
        self.advance(now)
        orders: Orders = self._orders
        if candidate is None:
            return new_plan("REGISTER", orders.for_registration(server_name), deadline, False)
        options = [option for option in self._options if option.candidate == candidate]
        return new_plan("REGISTER", Order(orders._terms, lambda: options, orders.changes), deadline, False)

    @cython.cfunc
    def may_register_first(self, method: str) -> cython.bint:
        """Is there any server to which such a request goes only after a registration?"""
        return self._on_enable or (bool(self._register_before) and method in self._register_before)

    def registers_first(self, server_name: str, method: str) -> bool:
        """Does such a request go to that server only after a registration there (Y30, F7, F8)?"""
        server = self.server(server_name)
        return server.register and (server.register_on_enable or method in self._register_before)

    def server(self, name: str) -> ServerSettings:
        """The configured server of that name."""
        return next(server for server in self.settings.servers if server.name == name)

    def patience(self, server: ServerSettings, method: str) -> float:
        """Seconds after which that server, when it is silent and not the last one, is left for the next."""
        interval = self.settings.retry_timeout
        return patience(server.retry_counts, method, self._timing, interval, server.retry_time)[0]

    @cython.ccall
    def may_accept(self, server_name: str) -> cython.bint:
        """True unless all candidates that a REGISTER at this server may try are known to be down."""
        return server_name in self._usable_registrars if self._concurrent else len(self._usable_registrars) > 0

    # What happened

    @cython.ccall
    def observe(self, candidate: Candidate, outcome: Outcome, now: cython.double, method: str):
        """Learn from what became of a request or a probe at that candidate. Provisional answers count as well."""
        if self._group is not None:
            self._group.observe(candidate, outcome, now, method)
            return
        if isinstance(outcome, Answered):
            answer: Answered = outcome
            if self._is_as_ever(candidate, answer.status, now, method):
                return
        self._learn(candidate, outcome, now, method)

    @cython.cfunc
    def observe_status(self, candidate: Candidate, status: cython.int, now: cython.double, method: str):
        """The same as `observe(candidate, Answered(status), now, method)`."""
        if self._group is not None:
            self._group.observe_status(candidate, status, now, method)
            return
        if not self._is_as_ever(candidate, status, now, method):
            self._learn(candidate, new_answered(status, NONE_GIVEN, 0), now, method)

    @cython.cfunc
    def _is_as_ever(
        self, candidate: Candidate, status: cython.int, now: cython.double, method: str
    ) -> cython.bint:
        """Note an answer that the choice of servers does not depend on; False when this one is not of that kind."""
        if now >= self._quiet_until:
            return False
        is_register: cython.bint = False
        if len(method) > 6:  # a call has none of these two, which is cheaper to see than to compare
            if method == "OPTIONS":
                return False
            if method == "REGISTER":
                is_register = True
                if self._registration_brings_back or self._removed:
                    return False
        health: CandidateHealth = self._health_of(candidate)
        return health is not None and health.answered_as_ever(status, now, is_register)

    def probe_ended(self, candidate: Candidate, outcome: Outcome, now: float, method: str) -> None:
        """The same for a probe of `probe_due`, which was sent with that method."""
        self._probes.ended(candidate, None if isinstance(outcome, Answered) else now)
        self._learn(candidate, outcome, now, method, is_probe=True)

    def _learn(
        self, candidate: Candidate, outcome: Outcome, now: float, method: str, *, is_probe: bool = False
    ) -> None:
        if method == "OPTIONS":
            self._probes.ended(candidate)
        health: CandidateHealth = self._health_of(candidate)
        if health is None:
            return  # an answer from a server that has left the list
        change: StateChange | None = health.observe(outcome, now, method, is_probe)
        self._changed(candidate, change)
        self._choose(now, outcome.cause)
        if change is not None and change.new is State.DOWN and change.silent:
            self._wake(candidate, outcome.cause)
        if self._removed and method == "REGISTER" and not is_probe and isinstance(outcome, Answered):
            if 200 <= outcome.status < 300:
                self._renewed_at(candidate, now)

    def told(self, candidate: Candidate, health: HealthWord, now: float) -> None:
        """Another process of this appliance has seen that candidate change, and has reported it: only act on it here."""
        known: CandidateHealth = self._health_of(candidate)
        if known is None:
            return
        known.told(health)
        each: ServerGroup
        for each in self._everyone:
            each._moved(now, health.down_cause)
        self._agree_how_long_it_is_quiet()
        if known.state is State.DOWN and known.held_until is None and not health.down_cause.startswith("status_"):
            self._wake(candidate, health.down_cause)

    def told_working(self, candidate: Candidate, since: float) -> None:
        """Another process of this appliance has moved new requests to that candidate, and has reported it."""
        if candidate in self._health:
            self._working.told(self._options, candidate, since)
            self._orders.changed(self._options, candidate)
            self._quiet_until = self._next_change(since)
            self._tell_followers()
            self._whole_group()._agree_how_long_it_is_quiet()

    def told_hold(self, candidate: Candidate, hold: float) -> None:
        """Another process of this appliance has seen that candidate flap, and has reported it."""
        each: ServerGroup
        for each in self._everyone:
            each._working.damping.told(candidate, hold)

    @cython.ccall
    def waiting(self, candidate: Candidate, callback: object):  # (candidate: Candidate, callback: WakeUp)
        """A request waits for that candidate without any answer. `callback(cause)` is called, once, when the candidate
        is found dead: record FoundDown(cause) and move on. Call `done` as soon as anything was received, and before
        `observe` with one's own bad news. A callback waits for one candidate at a time."""
        self._waiting[callback] = candidate

    @cython.ccall
    def done(self, candidate: Candidate, callback: object):  # (candidate: Candidate, callback: WakeUp)
        """It waits no longer. Harmless when it never did or was called already."""
        self._waiting.pop(callback, None)

    @property
    def waiting_requests(self) -> int:
        """How many wait for their server's first word."""
        return len(self._waiting)

    def set_link(self, up: bool, now: float) -> None:
        """Our own link went down or came back. While it is down nothing is judged and nothing moves (V20)."""
        is_back = up and not self._link_up
        each: ServerGroup
        for each in self._everyone:
            each._link_up = up
        for candidate, health in self._health.items():
            self._changed(candidate, health.set_link(up, now))
        if is_back:
            self._probes.begin_anew(now)
        self._choose(now, "link")

    def set_uplink(self, up: bool, now: float) -> None:
        """The way from the site to all servers is cut, or open again (D33).

        Servers are down then, as they are, so that no request waits for them. But that one of them was found silent before
        the other says nothing about which is the better: the failovers of this outage are undone, and when it is over the
        working server has the time of a few probes to come back first.
        """
        if up == self._uplink_up:
            return
        each: ServerGroup
        for each in self._everyone:
            each._uplink_up = up
            if up:
                each._settled_at = now + self._probe_period(self.settings.rise)
            else:
                since = now - self.settings.probe_interval * (1 + JITTER) - self._probe_period(self.settings.fall)
                each._working.undo_failovers(each._options, since)
        if up:
            self._probes.begin_anew(now)
        self._choose(now, "uplink")

    def _probe_period(self, results: int) -> float:
        """Seconds in which a server that is not well has been asked so often, and has answered or not."""
        return results * (self.settings.probe_interval_down * (1 + JITTER) + self.settings.probe_timeout)

    def fail_back(self, now: float) -> tuple[bool, list[str]]:
        """An administrator wants new requests at the best server now. Returns whether they are there, or moved as near to it as can
        be, and what to tell him: a line for each kind of phones."""
        self.advance(now)
        results = [kind._fail_back(now) for kind in self._everyone]
        self._agree_how_long_it_is_quiet()
        return all(is_done for is_done, _ in results), [f"{kind.key}: {text}" for kind, (_, text) in zip(self._everyone, results, strict=True)]

    def _fail_back(self, now: float) -> tuple[bool, str]:
        current = self._working.current
        if current is None:
            return False, "no address of a server is known"
        if self.settings.load_balancing:
            return True, "the servers are equals (load_balancing), there is nothing to return to"
        if not self._link_up:
            return False, "our own link is down, nothing moves"
        moved = self._working.fail_back(self._options, now)
        if moved is not None:
            self._moved(now, "manual")
            self._reports(self._move_event(moved))
            to, left = self._named(moved.to_candidate), self._named(current)
            return True, f"new requests go to {to} from now on; calls under way stay at {left} until they end"
        better = self._working.better(self._options)
        if not better:
            since = f" for {_so_long(now - self._working.since)}" if self._working.since is not None else ""
            return True, f"new requests go to the best server already, {self._named(current)}{since}"
        why = "; ".join(
            f"{self._named(each)} is down for {_so_long(now - self.health(each).since)}: {self.health(each).reason}"
            for each in better
        )
        return False, f"new requests stay at {self._named(current)}: {why}; they can return as soon as it is up"

    def _named(self, candidate: Candidate) -> str:
        server = self.owner(candidate)
        return f"{server.name} ({candidate})" if server else str(candidate)

    # Time

    @cython.ccall
    def advance(self, now: cython.double):
        """Let the passing of time take effect: Retry-After over, failback due."""
        if now >= self._quiet_until:
            self._whole_group()._time_has_passed(now)

    def _time_has_passed(self, now: float) -> None:
        for candidate, health in self._health.items():
            self._changed(candidate, health.advance(now))
        self._choose(now, "retry-after")

    def next_wakeup(self, now: float) -> float | None:
        """When `advance` or `probe_due` has something to do; None without candidates."""
        times = [at for _, at in self._probes_due()]
        return max(now, min(*times, self._next_change(now))) if times and self._link_up else None

    def probe_due(self, now: float) -> list[Candidate]:
        """The candidates to send a probe now. Each is taken as sent; its outcome comes back by `probe_ended`."""
        if not self._link_up:
            return []
        due = [candidate for candidate, at in self._probes_due() if at <= now]
        for candidate in due:
            self._probes.sent(candidate, now)
        return due

    def seeks_registration(self, candidate: Candidate) -> bool:
        """True when its next probe is to be a REGISTER: it is better than what is in use, and is asked that way."""
        return self._sought_since(candidate) is not None

    def _sought_since(self, candidate: Candidate) -> float | None:
        """Since when that has been so. It must be so for all kinds of phones: one of them may need to know sooner. Not where
        nobody would return (F16)."""
        each: ServerGroup
        since: float | None = None
        for each in self._everyone:
            if not each._asks_by_register or candidate not in each._working.better(each._options):
                return None
            if each.owner(candidate).failback_mode == "never":
                return None
            since = max(since or 0.0, each._working.since or 0.0)
        return since

    def _probes_due(self) -> list[tuple[Candidate, float]]:
        interval = min(kind.settings.register_probe_interval for kind in self._everyone)
        return [
            (candidate, self._probes.due_at(candidate, health, self._sought_since(candidate), interval))
            for candidate, health in self._health.items()
        ]

    # What is known

    @property
    def is_link_up(self) -> bool:
        """False while our own link is known to be down."""
        return self._link_up

    def is_silent(self) -> bool:
        """True when not one of its candidates gives any answer. False without candidates."""
        return bool(self._health) and all(health.is_silent for health in self._health.values())

    def health(self, candidate: Candidate) -> CandidateHealth:
        """Its health; that of an unknown one when it is not in the list."""
        known = self._health_of(candidate)
        return known if known is not None else self._unknown(0.0)

    def _is_well(self, candidate: Candidate) -> bool:
        health = self.health(candidate)
        return health.believed is State.UP and not health.in_doubt

    def working_since(self) -> float:
        """When the working server became it; 0 without candidates."""
        return self._working.since or 0.0

    def working(self, now: float) -> Candidate | None:
        """Where new requests go now. None only without candidates."""
        self.advance(now)
        return self._working.current

    def redundancy_ready(self) -> bool:
        """True when at least two candidates are up: one may fail."""
        return sum(health.believed is State.UP for health in self._health.values()) >= 2

    def every_candidate_up(self) -> bool:
        """True when each one was asked and is well (V27)."""
        return bool(self._health) and all(health.believed is State.UP for health in self._health.values())

    def any_up(self) -> bool:
        """True when at least one candidate is not known to be down."""
        return any(health.usable for health in self._health.values())

    @property
    def in_use(self) -> Candidate | None:
        """The working server as it was last chosen; `working` looks again."""
        return self._working.current

    def describe(self, now: float, wall_clock_now: float | None = None) -> dict[str, Any]:
        """Plain data for the status page. `since` is wall clock seconds when the wall clock is given, else None."""
        return describe(self, now, wall_clock_now)

    # The order of the candidates

    def _preference(self, server: ServerSettings, candidate: Candidate) -> tuple[int, ...]:
        if self.settings.load_balancing:
            return ()
        weight = -candidate.weight if self.settings.srv_weight == "descending" else 0
        second_choice = server.transport == "tcp-preferred" and candidate.transport == "udp"  # S11
        return (server.rank, candidate.place, candidate.priority, weight, int(second_choice))

    # A working server that DNS no longer names (V29)

    def _removed_but_working(self, server: ServerSettings, found: list[Option], now: float) -> list[Option]:
        """It stays, behind the others of its server, where `dns_removed` wants that."""
        if self.settings.dns_removed != "at-renewal":
            return []
        kept = [
            option
            for option in self._options
            if option.server is server
            and self._is_working_for_somebody(option.candidate)
            and all(option.candidate != other.candidate for other in found)
        ]
        known = {option.candidate for option in self._removed}
        if any(option.candidate not in known for option in kept):
            self._removed_at = now
        self._removed = [option for option in self._removed if option.server is not server] + kept
        return kept

    def _renewed_at(self, candidate: Candidate, now: float) -> None:
        """A server has accepted a REGISTER: from then on it is no longer preferred where DNS does not name it (V29, GAP).

        For all phones of the group, because there is one working server for all of them. Accepted, so that nobody moves it
        who is not a phone of it; and not within a probe interval of the change, because with many phones one of them renews
        at any moment, and a DNS server that leaves one out by mistake may have time to name it again.
        """
        server = self.owner(candidate)
        left = [option for option in self._removed if option.server is server]
        if left and now >= self._removed_at + self.settings.probe_interval:
            self._drop_removed(left, now)

    def _is_working_for_somebody(self, candidate: Candidate) -> bool:
        """True when it is the working server of one kind of phones at least."""
        each: ServerGroup
        for each in self._everyone:  # noqa: SIM110 (compiled, a generator would not know what `each` is)
            if each._working.current == candidate:
                return True
        return False

    def _drop_removed(self, removed: list[Option], now: float) -> None:
        self._removed = [option for option in self._removed if option not in removed]
        self._options = [option for option in self._options if option not in removed]
        self._keep_health(now)
        self._choose(now, "dns")

    # Changes and their reports

    @cython.cfunc
    def _health_of(self, candidate: Candidate) -> CandidateHealth:
        """None when it is not in the list."""
        # Nearly always the very object that an attempt gave to the caller: to look is less work than to hash.
        place: cython.Py_ssize_t
        for place in range(len(self._listed)):
            if self._listed[place] is candidate:
                return self._listed_health[place]
        return self._health.get(candidate)

    def _unknown(self, now: float) -> CandidateHealth:
        return CandidateHealth(self.settings.fall, self.settings.rise, self.settings.status_health, now)

    def _keep_health(self, now: float) -> None:
        """One health per listed candidate; the health of those that left goes with them."""
        listed = [option.candidate for option in self._options]
        for candidate in [known for known in self._health if known not in listed]:
            del self._health[candidate]
        for candidate in listed:
            if candidate not in self._health:
                self._health[candidate] = self._unknown(now)
                if not self._link_up:
                    self._health[candidate].set_link(False, now)
        self._listed = list(self._health)
        self._listed_health = list(self._health.values())
        kind: ServerGroup
        for kind in self.kinds:
            kind._listed, kind._listed_health = self._listed, self._listed_health
            kind._share_options(self._options)
        self._probes.keep(listed, now)

    def _share_options(self, options: list[Option]) -> None:
        """The group's candidates, with the settings that this kind of phones has for their servers."""
        own = {server.name: server for server in self.settings.servers}
        self._options = []
        for option in options:
            server = own[option.server.name]
            self._options.append(Option(server, option.candidate, self._preference(server, option.candidate)))

    def _changed(self, candidate: Candidate, change: StateChange | None) -> None:
        if change is None:
            return
        server = self.owner(candidate)
        self._reports(
            ServerStateChanged(
                self.name,
                server.name if server else "",
                str(candidate),
                change.old.value,
                change.new.value,
                change.reason,
            )
        )

    def _choose(self, now: float, cause: str) -> None:
        """Something has changed that the working server or an order may depend on, or may do so now."""
        each: ServerGroup
        flaps: dict = {}
        for each in self._everyone:
            moved = each._moved(now, cause)
            if moved is not None:
                self._reports(each._move_event(moved))
                if moved.flap_hold is not None:
                    flaps[moved.from_candidate] = moved.flap_hold
        for candidate, hold in flaps.items():
            server = self.owner(candidate)
            self._reports(ServerFlapped(self.name, server.name if server else "", str(candidate), hold))
        self._agree_how_long_it_is_quiet()
        left = [option for option in self._removed if not self._is_working_for_somebody(option.candidate)]
        if left:
            self._drop_removed(left, now)

    @cython.cfunc
    def _whole_group(self) -> ServerGroup:
        return self if self._group is None else self._group

    def _agree_how_long_it_is_quiet(self) -> None:
        each: ServerGroup
        quiet_until: cython.double = self._quiet_until
        for each in self.kinds:
            quiet_until = min(quiet_until, each._quiet_until)
        for each in self._everyone:
            each._quiet_until = quiet_until

    def _moved(self, now: float, cause: str) -> Moved | None:
        moved = None
        if self._may_move(now):
            moved = self._working.choose(self._options, now, cause)
        self._usable_registrars = {
            option.server.name for option in self._options if option.server.register and self.health(option.candidate).usable
        }
        self.all_accept = 0 < len(self._usable_registrars) == len(self._registrars)
        # The working server may also have been moved before this was called: by an administrator, by DNS, by the uplink.
        if self._told_followers != (self._working.current, self._usable_registrars):
            self._tell_followers()
        self._orders.changed(self._options, self._working.current)
        self._quiet_until = self._next_change(now)
        return moved

    def _tell_followers(self) -> None:
        self._told_followers = (self._working.current, self._usable_registrars)
        for follower in self.followers:
            follower()

    def _may_move(self, now: float) -> bool:
        if self._working.current is None:
            return True
        if not (self._link_up and self._uplink_up):
            return False
        return now >= self._settled_at or self.health(self._working.current).usable

    def _next_change(self, now: float) -> float:
        """When time alone will change something: a Retry-After is over, a failback is due. `inf` when it will not."""
        if not self._link_up:
            return inf
        times = [health.held_until for health in self._health.values() if health.held_until is not None]
        if now < self._settled_at:
            times.append(self._settled_at)
        if not self._uplink_up:
            return min(times, default=inf)
        failback = self._working.next_change(self._options, now)
        if failback is not None:
            times.append(failback)
        return min(times, default=inf)

    def _move_event(self, moved: Moved) -> FailedOver | FailedBack:
        from_candidate, to_candidate = str(moved.from_candidate), str(moved.to_candidate)
        if moved.better:
            return FailedBack(self.name, from_candidate, to_candidate, moved.cause, self.kind)
        return FailedOver(self.name, ALL_METHODS, from_candidate, to_candidate, moved.cause, self.kind)

    def _wake(self, candidate: Candidate, cause: str) -> None:
        woken = [callback for callback, awaited in self._waiting.items() if awaited == candidate]
        for callback in woken:
            del self._waiting[callback]
        for callback in woken:
            callback(cause)


@cython.cclass
class _Witness(PlanWitness):
    """Turns what a plan tells into facts for operators."""

    _group: str
    _reports: Reports
    registers: object

    def __init__(self, group: str, reports: Reports) -> None:
        self._group = group
        self._reports = reports
        self.registers: Callable[[str, Outcome, float], object] | None = None

    @cython.ccall
    def attempt_ended(self, method: str, tried: Tried):
        attempt: Attempt = tried.attempt
        self._reports.attempt_ended(
            self._group, attempt.server, attempt.candidate, method, tried.outcome.label, tried.ended - tried.started
        )
        if self.registers is not None and method == "REGISTER":
            self.registers(attempt.server, tried.outcome, tried.ended - tried.started)

    @cython.ccall
    def request_moved(self, method: str, failed: Tried, following: Attempt):
        self._reports(
            FailedOver(
                self._group,
                method,
                str(failed.attempt.candidate),
                str(following.candidate),
                failed.outcome.cause,
            )
        )


def _so_long(seconds: float) -> str:
    """A length of time as people say it: `40 s`, `12 min`, `3 h`."""
    for size, unit in ((3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
