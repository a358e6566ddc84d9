"""The two ways out of the box: to the servers of a group, attempt by attempt, and to one phone.

Both are a `Route` of `sbc.proxy.response_context`; both let `own_routes` write our Record-Route.

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import cython

from sbc.proxy.large import ADDED, LARGEST_DATAGRAM, LargeRequests
from sbc.proxy.response_context import refreshes_call
from sbc.redundancy.plan import Verdict

if cython.compiled:
    from cython.cimports.sbc.clock import TimerQueue
    from cython.cimports.sbc.flow import Flow
    from cython.cimports.sbc.location.candidate import Candidate
    from cython.cimports.sbc.proxy.destination import ToPhone, ToServers
    from cython.cimports.sbc.proxy.network import Network, PhoneAddress
    from cython.cimports.sbc.proxy.own_routes import OwnRoutes
    from cython.cimports.sbc.proxy.pins import Answers, Pins, forget_credentials
    from cython.cimports.sbc.proxy.response_context import Branch, Route
    from cython.cimports.sbc.redundancy.group import ServerGroup
    from cython.cimports.sbc.redundancy.outcome import (
        Answered,
        Cancelled,
        FoundDown,
        NotRegistered,
        Outcome,
        TransportFailed,
    )
    from cython.cimports.sbc.redundancy.plan import Attempt, AttemptPlan
    from cython.cimports.sbc.sip.message import Request, Response
    from cython.cimports.sbc.sip.scanner import AUTHORIZATION, PROXY_AUTHORIZATION
else:
    from sbc.clock import TimerQueue
    from sbc.flow import Flow
    from sbc.location.candidate import Candidate
    from sbc.proxy.destination import ToPhone, ToServers
    from sbc.proxy.network import Network, PhoneAddress
    from sbc.proxy.own_routes import OwnRoutes
    from sbc.proxy.pins import Answers, Pins, forget_credentials
    from sbc.proxy.response_context import Branch, Route
    from sbc.redundancy.group import ServerGroup
    from sbc.redundancy.outcome import Answered, Cancelled, FoundDown, NotRegistered, Outcome, TransportFailed
    from sbc.redundancy.plan import Attempt, AttemptPlan
    from sbc.sip.message import Request, Response
    from sbc.sip.scanner import AUTHORIZATION, PROXY_AUTHORIZATION

COMPILED = bool(cython.compiled)

_NEXT = cython.declare(object, Verdict.NEXT)
_RETURN = cython.declare(object, Verdict.RETURN)
_SUCCESS = cython.declare(object, Verdict.SUCCESS)

_LARGE = cython.declare(cython.Py_ssize_t, LARGEST_DATAGRAM - ADDED)

_SHORTEST = 0.5
"""Seconds for a phone of the site to answer a BYE when the sender's patience is over."""


class RegistersFirst(Protocol):
    """What a request that needs a registration first asks of the registrar (Y30, F7, F8)."""

    def register_first(
        self,
        group: ServerGroup,
        server: str,
        candidate: Candidate,
        phone: tuple[str, str, int],
        method: str,
        patience: float,
        done: Callable[[bool], None],
    ) -> bool:
        """`phone`: From URI and address of who has sent the request. False: it may go at once. True: `done` is called within
        `patience` seconds, with False when it must not go there."""


@cython.cclass
class Ways:
    """What all routes of a proxy share. `queue` is the clock of the transactions."""

    queue: TimerQueue
    network: Network
    own_routes: OwnRoutes
    pins: Pins
    large: object
    registrations: object

    def __init__(
        self,
        queue: TimerQueue,
        network: Network,
        own_routes: OwnRoutes,
        pins: Pins,
        large: LargeRequests,
        registrations: RegistersFirst,
    ) -> None:
        self.queue = queue
        self.network = network
        self.own_routes = own_routes
        self.pins = pins
        self.large = large
        self.registrations = registrations

    @cython.cfunc
    def show_credentials(self, request: Request, group: ServerGroup, candidate: Candidate):
        """Leave on an ACK for that server what it may see."""
        server = group.owner(candidate)
        if server is not None and server.trusted:
            forget_credentials(request)
        elif not group.settings.shared_nonce:
            self.withhold(request, candidate)

    @cython.cfunc
    def withhold(self, request: Request, candidate: Candidate):
        """Take answers to the challenges of others off a request."""
        answers: Answers = self.pins.answers_in(request, self.queue.now())
        if answers is not None:
            answers.withhold(request, candidate, True)


@cython.cclass
class ServersRoute(Route):
    """The candidates of a group in the order of its plan.

    A request too large for UDP goes to a candidate by TCP first, where its server wants that; when it cannot, the same
    attempt is made once more by UDP, and nobody calls the server dead.
    """

    _ways: Ways
    _destination: ToServers
    _plan: AttemptPlan
    _came_in: Flow
    _is_large: cython.bint
    _by_tcp: Attempt
    _once_more: Attempt
    _answers: Answers

    @cython.cfunc
    def _begin(
        self,
        ways: Ways,
        destination: ToServers,
        plan: AttemptPlan,
        came_in: Flow,
        request: Request,
        answers: Answers,
    ):
        self._ways = ways
        self._answers = answers
        self._destination = destination
        group: ServerGroup = destination.group
        self.group_name = group.name
        self._plan = plan
        self._came_in = came_in
        self.may_hold = group.may_register_first(plan.method)
        self._is_large = len(request.data) > _LARGE
        self._by_tcp = None
        self._once_more = None

    @cython.ccall
    def next(self, now: cython.double) -> Attempt:
        attempt: Attempt = self._once_more
        if attempt is not None:
            self._once_more = None
            return attempt
        return self._plan.next(now)

    @cython.ccall
    def flow(self, attempt: Attempt) -> Flow:
        flow: Flow
        if self._is_large and attempt.candidate.transport == "udp":
            flow = self._flow_for_large(attempt)
            if flow is not None:
                self._by_tcp = attempt
                return flow
        return self._ways.network.to_server(attempt.candidate)

    def _flow_for_large(self, attempt: Attempt) -> Flow | None:
        server = self._destination.group.owner(attempt.candidate)
        if server is None or server.large_requests != "tcp":
            return None
        return self._ways.large.flow_to(attempt.candidate, self._ways.queue.now())

    @cython.ccall
    def prepare(self, request: Request, attempt: Attempt, flow: Flow):
        if request.may_have(AUTHORIZATION | PROXY_AUTHORIZATION):
            self._show_credentials(request, attempt)
        self._ways.own_routes.put_on(request, attempt.candidate, self._destination.phone, self._came_in, flow)

    @cython.cfunc
    def _show_credentials(self, request: Request, attempt: Attempt):
        group: ServerGroup = self._destination.group
        answers: Answers = self._answers
        if group.server(attempt.server).trusted:
            forget_credentials(request)
        elif answers is not None and not group.settings.shared_nonce:
            answers.withhold(request, attempt.candidate, attempt.number == 1)

    @cython.ccall
    def challenged(self, request: Request, response: Response, candidate: Candidate):
        group: ServerGroup = self._destination.group
        answers: Answers = self._answers
        is_stale: cython.bint = False
        # Only a password that was not tried cannot be wrong: where it was, another stale=true would be answered again, by
        # some phones for ever.
        if answers is not None and answers.shown is not None and not answers.has_answered(candidate):
            server = group.owner(candidate)
            is_stale = not group.settings.shared_nonce and (server is None or not server.trusted)
        self._ways.pins.challenged(request, response, candidate, is_stale, self._ways.queue.now())

    @cython.ccall
    def wait(self, attempt: Attempt, branch: Branch):
        self._destination.group.waiting(attempt.candidate, branch)

    @cython.ccall
    def answered(self, attempt: Attempt, response: Response, branch: Branch):
        group: ServerGroup = self._destination.group
        group.done(attempt.candidate, branch)
        # The outcome of an attempt that is under way is recorded. What comes after it is late, and only news of the server.
        if response._status < 200 or branch.ended:
            group.observe_status(attempt.candidate, response._status, self._ways.queue.now(), self._plan.method)

    @cython.ccall
    def record(self, attempt: Attempt, outcome: Outcome, branch: Branch) -> object:
        now: cython.double = self._ways.queue.now()
        group: ServerGroup = self._destination.group
        if not branch.answered:
            group.done(attempt.candidate, branch)
        if attempt is self._by_tcp:
            self._by_tcp = None
            if isinstance(outcome, TransportFailed):
                self._is_large = False
                self._once_more = attempt
                self._ways.large.failed(attempt.candidate, now)
                return _NEXT
        if not isinstance(outcome, (FoundDown, NotRegistered, Cancelled)):
            # First the group, then the plan: what the group learns decides where the plan goes next.
            group.observe(attempt.candidate, outcome, now, self._plan.method)
        return self._plan.record(attempt, outcome, now)

    def hold(self, attempt: Attempt, request: Request, go_on: Callable[[bool], None]) -> bool:
        group: ServerGroup = self._destination.group
        method = self._plan.method
        if not group.registers_first(attempt.server, method):
            return False
        if self._destination.in_dialog and self.knows_dialog(attempt.candidate):
            # That server knows the call, whatever it knows of the phone now: after a failback the phone has just been
            # removed there, and a registration for the BYE would bring it back (V11).
            return False
        # A REGISTER has the time that the server itself would have, but a BYE is to be on its way before the phone gives
        # up (F8), so there half of what is left.
        seconds = attempt.timeout if attempt.last else group.patience(group.server(attempt.server), "REGISTER")
        left = self._plan.deadline - self._ways.queue.now()
        phone = self._destination.phone
        return self._ways.registrations.register_first(
            group,
            attempt.server,
            attempt.candidate,
            (request.from_.uri_text, phone.host, phone.port),
            method,
            min(seconds, left / 2),
            go_on,
        )

    @cython.ccall
    def time_for(self, attempt: Attempt) -> cython.double:
        return min(attempt.timeout, self._plan.deadline - self._ways.queue.now())

    @cython.ccall
    def knows_dialog(self, candidate: Candidate) -> cython.bint:
        own: Candidate = self._destination.first
        return not self._destination.in_dialog or own is None or own.same_as(candidate)

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

    _deadline: cython.double
    _peer_attempt: Attempt
    _servers_over: cython.bint

    @cython.ccall
    def next(self, now: cython.double) -> Attempt:
        attempt: Attempt = None if self._servers_over else ServersRoute.next(self, now)
        if attempt is None and self._peer_attempt is None:
            # Also with the time over: the BYE is one packet on the local network, and then the line is free.
            timeout = max(_SHORTEST, self._deadline - now)
            attempt = Attempt("phone", self._destination.peer.candidate(), timeout, 0.0, True, 0, 1)
            self._peer_attempt = attempt
        return attempt

    def hold(self, attempt: Attempt, request: Request, go_on: Callable[[bool], None]) -> bool:
        return attempt is not self._peer_attempt and ServersRoute.hold(self, attempt, request, go_on)

    @cython.ccall
    def flow(self, attempt: Attempt) -> Flow:
        if attempt is self._peer_attempt:
            return self._ways.network.to_phone(self._destination.peer)
        return ServersRoute.flow(self, attempt)

    @cython.ccall
    def prepare(self, request: Request, attempt: Attempt, flow: Flow):
        if attempt is self._peer_attempt:
            request.remove("Route")
            forget_credentials(request)
        else:
            ServersRoute.prepare(self, request, attempt, flow)

    @cython.ccall
    def wait(self, attempt: Attempt, branch: Branch):
        if attempt is not self._peer_attempt:
            ServersRoute.wait(self, attempt, branch)

    @cython.ccall
    def answered(self, attempt: Attempt, response: Response, branch: Branch):
        if attempt is not self._peer_attempt:
            ServersRoute.answered(self, attempt, response, branch)

    @cython.ccall
    def record(self, attempt: Attempt, outcome: Outcome, branch: Branch) -> object:
        if attempt is self._peer_attempt:
            return _RETURN if isinstance(outcome, Answered) else _NEXT
        verdict = ServersRoute.record(self, attempt, outcome, branch)
        if verdict is _RETURN and isinstance(outcome, Answered) and not self.knows_dialog(attempt.candidate):
            self._servers_over = True
            return _NEXT
        return verdict


@cython.cclass
class PhoneRoute(Route):
    """One phone, tried once, for `timeout` seconds."""

    _ways: Ways
    _destination: ToPhone
    _came_in: Flow
    _timeout: cython.double
    _asked: cython.bint
    _failure: str
    _request: Request

    @cython.ccall
    def next(self, now: cython.double) -> Attempt:
        if self._asked:
            return None
        self._asked = True
        return Attempt("phone", self._destination.phone.candidate(), self._timeout, 0.0, True, 1, 7)

    @cython.ccall
    def flow(self, attempt: Attempt) -> Flow:
        phone: PhoneAddress = self._destination.phone
        flow: Flow = self._ways.network.to_phone(phone)
        if flow is None and phone.transport != "udp":
            self._failure = "its connection is closed"
            contact = self._destination.request_uri or self._request.request_uri
            flow = self._ways.network.to_contact(phone, contact)
        return flow

    @cython.ccall
    def prepare(self, request: Request, attempt: Attempt, flow: Flow):
        if self._destination.request_uri is not None:
            request.request_uri = self._destination.request_uri
        if request.may_have(AUTHORIZATION | PROXY_AUTHORIZATION):
            self._ways.withhold(request, attempt.candidate)  # another phone's, which the server has left on it
        self._ways.own_routes.put_on(
            request, self._destination.candidate, self._destination.phone, self._came_in, flow
        )

    @cython.ccall
    def record(self, attempt: Attempt, outcome: Outcome, branch: Branch) -> object:
        if isinstance(outcome, Answered):
            answer: Answered = outcome
            return _SUCCESS if answer.status < 300 else _RETURN
        if not isinstance(outcome, TransportFailed):
            self._failure = "it does not answer"
        elif outcome.cause != "no_socket":
            self._failure = outcome.cause
        return _NEXT

    @cython.ccall
    def last_words(self, request: Request) -> tuple:
        return (481 if request.method == "BYE" else 480), f"the phone cannot be reached: {self._failure}"


@cython.cfunc
def new_servers_route(
    ways: Ways, destination: ToServers, plan: AttemptPlan, came_in: Flow, request: Request, answers: Answers
) -> ServersRoute:
    """`plan` decides."""
    route: ServersRoute = ServersRoute.__new__(ServersRoute)
    route._begin(ways, destination, plan, came_in, request, answers)
    return route


@cython.cfunc
def new_bye_route(
    ways: Ways,
    destination: ToServers,
    plan: AttemptPlan,
    came_in: Flow,
    request: Request,
    answers: Answers,
    deadline: cython.double,
) -> ByeRoute:
    """For a BYE whose `destination` has a peer."""
    route: ByeRoute = ByeRoute.__new__(ByeRoute)
    route._begin(ways, destination, plan, came_in, request, answers)
    route._deadline = deadline
    route._peer_attempt = None
    route._servers_over = False
    return route


@cython.cfunc
def new_phone_route(
    ways: Ways, destination: ToPhone, came_in: Flow, request: Request, timeout: cython.double
) -> PhoneRoute:
    """The phone has so many seconds."""
    route: PhoneRoute = PhoneRoute.__new__(PhoneRoute)
    route._ways = ways
    route._destination = destination
    route._came_in = came_in
    route._timeout = timeout
    route.may_hold = False
    group: ServerGroup = destination.group
    route.group_name = None if group is None else group.name
    route._asked = False
    route._request = request
    route._failure = "no socket leads to its address"
    return route
