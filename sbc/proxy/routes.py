"""The two ways out of the box: to the servers of a group, attempt by attempt, and to one phone.

Both are a `Route` of `sbc.proxy.response_context`; both write our Record-Route, one line for each side of the box where the
two sides are different sockets (RFC 5658).

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1.
"""

from __future__ import annotations

from typing import Protocol

import cython

from sbc.clock import Clock
from sbc.flow import Flow
from sbc.location.candidate import Candidate
from sbc.proxy.response_context import refreshes_call
from sbc.proxy.route_cookie import PARAMETER, RouteCookie
from sbc.redundancy.outcome import Answered, Cancelled, FoundDown, TransportFailed
from sbc.redundancy.plan import Attempt, Verdict

if cython.compiled:
    from cython.cimports.sbc.proxy.destination import ToPhone, ToServers
    from cython.cimports.sbc.proxy.nonce_pins import NoncePins
    from cython.cimports.sbc.proxy.response_context import Branch, Route
    from cython.cimports.sbc.sip.message import Request, Response, new_line
    from cython.cimports.sbc.sip.scanner import AUTHORIZATION, PROXY_AUTHORIZATION, Line
else:
    from sbc.proxy.destination import ToPhone, ToServers
    from sbc.proxy.nonce_pins import NoncePins
    from sbc.proxy.response_context import Branch, Route
    from sbc.sip.message import Request, Response, new_line
    from sbc.sip.scanner import AUTHORIZATION, PROXY_AUTHORIZATION, Line

COMPILED = bool(cython.compiled)

DIALOG_METHODS = frozenset({"INVITE", "SUBSCRIBE", "REFER", "NOTIFY"})
"""Requests that may open a dialog (RFC 3261 12, RFC 6665, RFC 3515)."""


_SHORTEST = 0.5
"""Seconds for a phone of the site to answer a BYE when the sender's patience is over."""


class FlowFinder(Protocol):
    """What the routes need of the listeners."""

    def flow_to_server(self, candidate: Candidate) -> Flow | None: ...

    def flow_to_phone(self, transport_name: str, host: str, port: int, local_port: int) -> Flow | None: ...


_MOST_PAIRS = 8192


@cython.cclass
class _Written:
    """Our Record-Route lines for one pair of flows."""

    candidate: object
    phone: object
    lines: list

    def __init__(self, candidate: object, phone: object, lines: list) -> None:
        self.candidate = candidate
        self.phone = phone
        self.lines = lines


@cython.cclass
class RecordRoutes:
    """Puts our Record-Route on requests; the lines are made once for a phone and a server that speak through us."""

    _key: bytes
    _known: dict

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._known: dict[tuple[Flow, Flow], _Written] = {}

    @cython.cfunc
    def put_on(self, request: Request, candidate: object, phone: object, inner: object, outer: object):
        """On a request that may open a dialog; `outer` is where it leaves, `inner` where it came in."""
        # A NOTIFY has a To tag and opens a dialog all the same, when it overtakes the 200 to the SUBSCRIBE (RFC 6665 4.3).
        if request.method not in DIALOG_METHODS or (request.method != "NOTIFY" and request.to_tag):
            return
        line: Line
        for line in self._lines(candidate, phone, inner, outer):
            request.put_first(line)

    @cython.cfunc
    def _lines(self, candidate: object, phone: object, inner: object, outer: object) -> list:
        pair = (inner, outer)
        known: _Written = self._known.get(pair)
        if (
            known is None
            or (known.candidate is not candidate and known.candidate != candidate)
            or (known.phone is not phone and known.phone != phone)
        ):
            signed = RouteCookie(candidate, phone).sign(self._key)
            lines = [new_line("Record-Route", f"<sip:{inner.contact};lr;{PARAMETER}={signed}>")]
            if outer.contact != inner.contact:
                lines.append(new_line("Record-Route", f"<sip:{outer.contact};lr;{PARAMETER}={signed}>"))
            if len(self._known) >= _MOST_PAIRS:
                self._known.clear()
            known = self._known[pair] = _Written(candidate, phone, lines)
        return known.lines


@cython.cclass
class Ways:
    """What all routes of a proxy share."""

    clock: object
    flows: object
    record_routes: RecordRoutes
    pins: NoncePins

    def __init__(self, clock: Clock, flows: FlowFinder, record_routes: RecordRoutes, pins: NoncePins) -> None:
        self.clock = clock
        self.flows = flows
        self.record_routes = record_routes
        self.pins = pins


@cython.cclass
class ServersRoute(Route):
    """The candidates of a group in the order of its plan."""

    _ways: Ways
    _group: object
    _phone: object
    _plan: object
    _method: str
    _came_in: object
    _dialog_server: object
    _ended: list  # attempts whose outcome is known; what answers after that is late, and only the health of its server

    @cython.cfunc
    def _begin(self, ways: Ways, destination: ToServers, plan: object, method: str, came_in: object):
        self._ways = ways
        self._group = destination.group
        self.group_name = destination.group.name
        self._phone = destination.phone
        self._plan = plan
        self._method = method
        self._came_in = came_in
        self._dialog_server = destination.first if destination.in_dialog else None
        self._ended = []

    @cython.ccall
    def next(self, now: cython.double) -> object:
        return self._plan.next(now)

    @cython.ccall
    def flow(self, attempt: object) -> object:
        return self._ways.flows.flow_to_server(attempt.candidate)

    @cython.ccall
    def prepare(self, request: Request, attempt: object, flow: object):
        candidate = attempt.candidate
        if request.may_have(AUTHORIZATION | PROXY_AUTHORIZATION):
            self._ways.pins.withhold(request, candidate, self._ways.clock.seconds())
        self._ways.record_routes.put_on(request, candidate, self._phone, self._came_in, flow)

    @cython.ccall
    def wait(self, attempt: object, branch: Branch):
        self._group.waiting(attempt.candidate, branch)

    @cython.ccall
    def answered(self, attempt: object, response: Response, branch: Branch):
        self._group.done(attempt.candidate, branch)
        if response._status < 200 or attempt in self._ended:
            self._group.observe(
                attempt.candidate, Answered(response._status), self._ways.clock.seconds(), self._method
            )

    @cython.ccall
    def record(self, attempt: object, outcome: object, branch: Branch) -> object:
        now = self._ways.clock.seconds()
        self._ended.append(attempt)
        self._group.done(attempt.candidate, branch)
        if not isinstance(outcome, (FoundDown, Cancelled)):
            # First the group, then the plan: what the group learns decides where the plan goes next.
            self._group.observe(attempt.candidate, outcome, now, self._method)
        return self._plan.record(attempt, outcome, now)

    @cython.ccall
    def knows_dialog(self, candidate: object) -> cython.bint:
        return self._dialog_server is None or self._dialog_server == candidate

    @cython.ccall
    def last_words(self, request: Request) -> tuple:
        # BYE: the call is over for the phone, whoever else knows it (D22). 408 is forbidden for it (RFC 4320 4.1),
        # and for all of them 503 (D7). Of those left, a running call survives 500 in every phone (D23, RFC 5057).
        status = 481 if request.method == "BYE" else 500 if refreshes_call(request) else 480
        return status, f"no call server answers: {self._plan.explain()}"


@cython.cclass
class ByeRoute(ServersRoute):
    """The servers of a dialog, and then, when they are dead or have never heard of it, the phone at its other end.

    Pitfall D22: a call between two phones of the site ends at both when its server died with it. The dialog is the same at
    both ends as long as the servers between are proxies, and only then the phone's address is in the Route.
    """

    _peer: object
    _deadline: cython.double
    _peer_attempt: object
    _servers_over: cython.bint

    @cython.ccall
    def next(self, now: cython.double) -> object:
        attempt = None if self._servers_over else ServersRoute.next(self, now)
        if attempt is None and self._peer_attempt is None:
            candidate = Candidate(self._peer.host, self._peer.port, self._peer.transport)
            # Also with the time over: the BYE is one packet on the local network, and then the line is free.
            timeout = max(_SHORTEST, self._deadline - now)
            attempt = Attempt("phone", candidate, timeout=timeout, interval=0.0, last=True, number=0, sends=1)
            self._peer_attempt = attempt
        return attempt

    @cython.ccall
    def flow(self, attempt: object) -> object:
        return towards_phone(self._ways.flows, self._peer) if attempt is self._peer_attempt else ServersRoute.flow(self, attempt)

    @cython.ccall
    def prepare(self, request: Request, attempt: object, flow: object):
        if attempt is self._peer_attempt:
            request.remove("Route")
        else:
            ServersRoute.prepare(self, request, attempt, flow)

    @cython.ccall
    def wait(self, attempt: object, branch: Branch):
        if attempt is not self._peer_attempt:
            ServersRoute.wait(self, attempt, branch)

    @cython.ccall
    def answered(self, attempt: object, response: Response, branch: Branch):
        if attempt is not self._peer_attempt:
            ServersRoute.answered(self, attempt, response, branch)

    @cython.ccall
    def record(self, attempt: object, outcome: object, branch: Branch) -> object:
        if attempt is self._peer_attempt:
            return Verdict.NEXT if not isinstance(outcome, Answered) else Verdict.RETURN
        verdict = ServersRoute.record(self, attempt, outcome, branch)
        if verdict is Verdict.RETURN and outcome.status >= 300 and not self.knows_dialog(attempt.candidate):
            self._servers_over = True
            return Verdict.NEXT
        return verdict


@cython.cclass
class PhoneRoute(Route):
    """One phone, tried once, for `timeout` seconds."""

    _ways: Ways
    _destination: ToPhone
    _came_in: object
    _timeout: cython.double
    _asked: cython.bint
    _failure: str

    @cython.ccall
    def next(self, now: cython.double) -> object:
        if self._asked:
            return None
        self._asked = True
        phone = self._destination.phone
        candidate = Candidate(phone.host, phone.port, phone.transport)
        return Attempt("phone", candidate, timeout=self._timeout, interval=0.0, last=True, number=1, sends=7)

    @cython.ccall
    def flow(self, attempt: object) -> object:
        return towards_phone(self._ways.flows, self._destination.phone)

    @cython.ccall
    def prepare(self, request: Request, attempt: object, flow: object):
        if self._destination.request_uri is not None:
            request.request_uri = self._destination.request_uri
        self._ways.record_routes.put_on(
            request, self._destination.candidate, self._destination.phone, self._came_in, flow
        )

    @cython.ccall
    def record(self, attempt: object, outcome: object, branch: Branch) -> object:
        if isinstance(outcome, Answered):
            return Verdict.SUCCESS if outcome.status < 300 else Verdict.RETURN
        self._failure = outcome.cause if isinstance(outcome, TransportFailed) else "it does not answer"
        return Verdict.NEXT

    @cython.ccall
    def last_words(self, request: Request) -> tuple:
        return (481 if request.method == "BYE" else 480), f"the phone cannot be reached: {self._failure}"


@cython.cfunc
def new_servers_route(
    ways: Ways, destination: ToServers, plan: object, method: str, came_in: object
) -> ServersRoute:
    """`plan` decides."""
    route: ServersRoute = ServersRoute.__new__(ServersRoute)
    route._begin(ways, destination, plan, method, came_in)
    return route


@cython.cfunc
def new_bye_route(
    ways: Ways, destination: ToServers, plan: object, came_in: object, deadline: cython.double
) -> ByeRoute:
    """For a BYE whose `destination` has a peer."""
    route: ByeRoute = ByeRoute.__new__(ByeRoute)
    route._begin(ways, destination, plan, "BYE", came_in)
    route._peer = destination.peer
    route._deadline = deadline
    route._peer_attempt = None
    route._servers_over = False
    return route


@cython.cfunc
def new_phone_route(ways: Ways, destination: ToPhone, came_in: object, timeout: cython.double) -> PhoneRoute:
    """The phone has so many seconds."""
    route: PhoneRoute = PhoneRoute.__new__(PhoneRoute)
    route._ways = ways
    route._destination = destination
    route._came_in = came_in
    route._timeout = timeout
    route.group_name = destination.group.name if destination.group is not None else None
    route._asked = False
    route._failure = "no socket leads to its address"
    return route


@cython.cfunc
def towards_phone(flows: object, phone: object) -> object:  # (flows: FlowFinder, phone: PhoneAddress) -> Flow | None
    """The flow to a phone's address, for what is forwarded without a transaction."""
    return flows.flow_to_phone(phone.transport, phone.host, phone.port, phone.local_port)
