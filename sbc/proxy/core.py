"""The proxy core (RFC 3261 section 16): every new request comes here, and leaves for where it belongs.

`Proxy` is the transaction layer's user. It decides nothing about servers (`sbc.redundancy` does) and nothing about
registrations (`sbc.registration` does); it validates, finds the destination, and starts a `ResponseContext` that carries the
request there. ACK for a 2xx has no transaction and goes its way at once.

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable

import cython

from sbc.clock import Clock
from sbc.events import Report
from sbc.nonces import Nonces
from sbc.proxy.large import LargeRequests
from sbc.proxy.late import LateAnswers
from sbc.proxy.network import FlowFinder
from sbc.proxy.overload import LEAST_SHED
from sbc.proxy.response_context import TIMER_C
from sbc.proxy.unserved import Unserved
from sbc.proxy.validation import NotServed, Refused
from sbc.sip.errors import MalformedMessage

if cython.compiled:
    from cython.cimports.sbc.events import Reports, as_reports
    from cython.cimports.sbc.flow import Flow
    from cython.cimports.sbc.location.candidate import Candidate
    from cython.cimports.sbc.proxy.destination import Destinations, Target, ToPhone, ToServers, ToUs
    from cython.cimports.sbc.proxy.network import Network
    from cython.cimports.sbc.proxy.overload import Overload
    from cython.cimports.sbc.proxy.own_routes import OwnRoutes
    from cython.cimports.sbc.proxy.pins import Answers, Pins
    from cython.cimports.sbc.proxy.response_context import Branch, ResponseContext, Route, Surroundings, new_context
    from cython.cimports.sbc.proxy.routes import Ways, new_bye_route, new_phone_route, new_servers_route
    from cython.cimports.sbc.proxy.sides import Sides
    from cython.cimports.sbc.proxy.validation import Branches, check, hops_left
    from cython.cimports.sbc.redundancy.group import ServerGroup
    from cython.cimports.sbc.redundancy.plan import AttemptPlan
    from cython.cimports.sbc.sip.message import Request, Response, ok_to
    from cython.cimports.sbc.sip.scanner import AUTHORIZATION, BYE, INVITE, OPTIONS, PROXY_AUTHORIZATION, REGISTER
    from cython.cimports.sbc.transaction.interface import Transaction
    from cython.cimports.sbc.transaction.layer import TransactionLayer
    from cython.cimports.sbc.transaction.server import ServerTransaction
else:
    from sbc.events import Reports, as_reports
    from sbc.flow import Flow
    from sbc.location.candidate import Candidate
    from sbc.proxy.destination import Destinations, Target, ToPhone, ToServers, ToUs
    from sbc.proxy.network import Network
    from sbc.proxy.overload import Overload
    from sbc.proxy.own_routes import OwnRoutes
    from sbc.proxy.pins import Answers, Pins
    from sbc.proxy.response_context import Branch, ResponseContext, Route, Surroundings, new_context
    from sbc.proxy.routes import Ways, new_bye_route, new_phone_route, new_servers_route
    from sbc.proxy.sides import Sides
    from sbc.proxy.validation import Branches, check, hops_left
    from sbc.redundancy.group import ServerGroup
    from sbc.redundancy.plan import AttemptPlan
    from sbc.sip.message import Request, Response, ok_to
    from sbc.sip.scanner import AUTHORIZATION, BYE, INVITE, OPTIONS, PROXY_AUTHORIZATION, REGISTER
    from sbc.transaction.interface import Transaction
    from sbc.transaction.layer import TransactionLayer
    from sbc.transaction.server import ServerTransaction

COMPILED = bool(cython.compiled)

NON_INVITE_BUDGET = 31.0
"""Seconds after which a phone must have its answer, one less than its own Timer F (pitfall D1, RFC 4321 1.1)."""

_LEAST_SHED = cython.declare(cython.double, LEAST_SHED)

ALLOW = "INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, SUBSCRIBE, NOTIFY, REFER, MESSAGE, INFO, UPDATE, PRACK, PUBLISH"

_OPTIONS_HEADERS = (("Allow", ALLOW), ("Accept", "application/sdp"), ("Supported", "path"))
_OPTIONS_REST = cython.declare(
    bytes,
    "".join([f"{name}: {value}\r\n" for name, value in (*_OPTIONS_HEADERS, ("Content-Length", "0"))]).encode() + b"\r\n",
)
"""The end of our answer, ready to be sent."""


@cython.cclass
class Proxy(Surroundings):
    """The transaction user of the appliance.

    `key` signs route cookies, at least 16 secret bytes that survive a restart; `name` stands in Warning headers. `draining`
    is set while the appliance stops: new calls are refused, everything under way goes on.
    """

    registrar: object
    draining: cython.bint
    overload: Overload
    elsewhere: object
    _name: str
    _reports: Reports
    _branches: Branches
    _network: Network
    _ways: Ways
    _late: object
    _unserved: object
    _under_way: cython.Py_ssize_t  # contexts that are in the slot of their server transaction
    _moved: dict
    _incomplete: dict  # group -> servers that do not know all their phones at present
    _sides: Sides
    _destinations: Destinations

    def __init__(
        self,
        *,
        clock: Clock,
        layer: TransactionLayer,
        flows: FlowFinder,
        groups: Iterable[ServerGroup],
        registrar: object,
        is_ours: object,
        key: bytes,
        name: str,
        report: Report,
        overload: Overload | None = None,
        nonces: Nonces | None = None,
    ) -> None:
        """`nonces` are those of the registrar: a phone may show in a call what it was given for its registration."""
        self.clock = clock
        self.layer = layer
        self.t1 = layer.timers.t1
        self.queue = layer.queue
        self.queue.lane(TIMER_C)
        self.registrar = registrar
        self._incomplete = registrar.incomplete
        self.draining = False
        self._name = warn_agent(name)
        self._reports = as_reports(report)
        self.overload = overload or Overload()
        self.elsewhere = None
        """Called with a response that belongs to no transaction here, and its flow; True when another process has it."""
        branches: object = Branches(layer.clients.boot)
        self._branches = branches
        network: Network = Network(flows, is_ours)
        self._network = network
        large = LargeRequests(flows)
        pins: Pins = Pins(Nonces() if nonces is None else nonces)
        self._ways = Ways(self.queue, network, OwnRoutes(key, network), pins, large, registrar)
        self._late = LateAnswers(clock, layer, self.t1, branches.new, report)
        self._unserved = Unserved(report)
        self._under_way = 0
        self._moved: dict[tuple[str, str, int], Candidate] = {}
        """re-INVITEs that another server accepted than their dialog's, by Call-ID, From tag and CSeq; for 64*T1."""
        self.set_groups(groups)

    def set_groups(self, groups: Iterable[ServerGroup]) -> None:
        """Serve these groups from now on (start, and a changed configuration)."""
        groups = tuple(groups)
        self._sides = Sides(groups)
        self._destinations = Destinations(
            groups, self._sides, self.registrar, self._network, self._ways.own_routes
        )

    def candidates_changed(self) -> None:
        """A group learnt new addresses of its servers."""
        self._sides.refresh()

    @cython.ccall
    def side_of(self, flow: Flow) -> str:
        """Who is behind this flow: phones or servers."""
        return "servers" if self.from_server(flow) else "phones"

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def from_server(self, flow: Flow) -> cython.bint:
        """What comes over this flow comes from a call server."""
        return self._sides.server_of(flow) is not None

    @property
    def under_way(self) -> int:
        """Requests that still owe their sender an answer."""
        return self._under_way

    # -- TransactionUser -------------------------------------------------------------------------------------------------

    @cython.ccall
    def answered_at_once(self, request: Request, flow: Flow) -> cython.bint:
        """OPTIONS to us: phones ask every few seconds whether their server is there."""
        if self.overload.lateness > _LEAST_SHED:
            return False
        self._network.look(self.queue.now())
        if not self._destinations.is_question_to_us(request, flow):
            return False
        flow.send(ok_to(request, self._branches.tag(request), _OPTIONS_REST))
        return True

    @cython.ccall
    def request_received(self, received: Transaction, request: Request):
        """Forward it, answer it, or refuse it. MalformedMessage is the layer's to answer."""
        transaction: ServerTransaction = received
        self._network.look(self.queue.now())
        try:
            self._refuse_when_full(request)
            if request.method_code == OPTIONS and hops_left(request) == 0:
                self._answer_options(transaction, request)  # 16.3 item 3: the last hop may answer for the target
                return
            target: Target = self._destinations.target_of(request)
            check(request)
            self._branches.check_loop(request)
            destination = self._destinations.reach(target, request, transaction.flow)
        except Refused as refusal:
            if isinstance(refusal, NotServed):
                self._unserved.note(request.method, refusal.domain, transaction.flow.remote[0], self.queue.now())
            self._refuse(transaction, request, refusal)
            return
        if isinstance(destination, ToUs):
            self._serve(transaction, request, destination)
        else:
            self._forward(transaction, request, destination)

    @cython.ccall
    def ack_received(self, request: Request, flow: Flow):
        """An ACK for a 2xx follows its dialog, without a transaction (16.11). One that leads nowhere is dropped."""
        if self._branches.has_tag(request):
            return  # it is for a refusal of ours, of which nothing is remembered
        self._network.look(self.queue.now())
        try:
            target: Target = self._destinations.target_of(request)
            check(request)
            self._branches.check_loop(request)
            destination = self._destinations.reach(target, request, flow)
        except (Refused, MalformedMessage):
            return
        onward: Flow = None
        phone: ToPhone
        servers: ToServers
        branch: str = self._branches.stateless(request)
        if isinstance(destination, ToPhone):
            phone = destination
            onward = self._network.to_phone(phone.phone)
            if onward is None and phone.phone.transport != "udp":
                onward = self._network.to_contact(phone.phone, phone.request_uri or request.request_uri)
            if phone.request_uri is not None:
                request.request_uri = phone.request_uri
        elif isinstance(destination, ToServers):
            servers = destination
            candidate: Candidate = servers.first
            if self._moved:
                candidate = self._moved.get((request.call_id, request.from_tag, request.cseq)) or candidate
            if candidate is None:
                candidate = servers.group.working(self.clock.seconds())
            if candidate is not None:
                onward = self._network.to_server(candidate)
                if request.may_have(AUTHORIZATION | PROXY_AUTHORIZATION):
                    self._ways.show_credentials(request, servers.group, candidate)
        if onward is not None:
            request.allow_hops(hops_left(request) - 1)
            self.layer.send_stateless(request, onward, branch)

    @cython.ccall
    def cancel_received(self, invite: Transaction, request: Request):
        """The caller hung up before an answer."""
        context: ResponseContext = invite.context
        if context is not None:
            context.cancel()

    def asks_for_unknown_phone(self, request: Request, flow: Flow) -> bool:
        """True for a server's request outside of dialogs for a phone that is not registered here."""
        return self._destinations.asks_for_unknown_phone(request, flow)

    @cython.ccall
    def stray_response_received(self, response: Response, flow: Flow):
        """Too late for its transaction, or for another process of ours."""
        if self.elsewhere is not None and self.elsewhere(response, flow):
            return
        self._late.response_received(response)

    @cython.ccall
    def server_transaction_ended(self, transaction: Transaction):
        """Its context, if it still lived, has nobody left to answer."""
        if transaction.context is not None:
            transaction.context = None
            self._under_way -= 1

    # -- Surroundings of the response contexts ---------------------------------------------------------------------------

    @cython.cfunc
    def new_branch(self, request: Request) -> str:
        return self.layer.clients.new_branch(self._branches.loop_hash(request))

    @cython.cfunc
    def abandoned(self, branch: Branch):
        self._late.keep(branch)

    @cython.cfunc
    def unwanted_success(self, branch: Branch, response: Response):
        self._late.end_call(branch, response)

    @cython.cfunc
    def finished(self, context: ResponseContext):
        if context.transaction.context is not None:
            context.transaction.context = None
            self._under_way -= 1

    @cython.cfunc
    def passed_up(self, context: ResponseContext, response: Response, candidate: Candidate):
        status: cython.int = response._status
        route: Route = context.route
        if (status == 401 or status == 407) and candidate is not None:
            route.challenged(context.request, response, candidate)
        if not context.is_invite or status < 180 or status >= 300:
            return
        if status >= 200 and candidate is not None and not route.knows_dialog(candidate):
            self._remember_moved(context, candidate)
        if not context.set_up_reported:
            context.set_up_reported = True
            if route.group_name is not None:
                self._reports.call_set_up(route.group_name, self.queue.now() - context.started)

    @cython.cfunc
    def _remember_moved(self, context: ResponseContext, candidate: Candidate):
        """The ACK must go where the 2xx came from (13.2.2.4), and its Route still names the dialog's own server."""
        request: Request = context.request
        key = (request.call_id, request.from_tag, request.cseq)
        if key not in self._moved:
            self._moved[key] = candidate
            self.clock.callLater(64 * self.t1, self._moved.pop, key, None)

    @cython.cfunc
    def local_response(self, request: Request, status: cython.int, reason: str, detail: str = "") -> Response:
        """A response of our own; `detail` for the administrator who looks at a trace (20.43, warning code 399)."""
        headers = [("Warning", f'399 {self._name} "{_quotable(detail)}"')] if detail else []
        return Response.for_request(request, status, reason, to_tag=self._branches.tag(request), headers=headers)

    # -- own part --------------------------------------------------------------------------------------------------------

    @cython.cfunc
    def _forward(self, transaction: ServerTransaction, request: Request, destination: object):
        is_invite: cython.bint = request.method_code == INVITE
        now: cython.double = self.queue.now()
        timeout: cython.double
        route: Route
        servers: ToServers
        group: ServerGroup
        if isinstance(destination, ToPhone):
            # Also a server that asks a phone is told before its Timer F (D1).
            timeout = 64 * self.t1
            if not is_invite and timeout > NON_INVITE_BUDGET:
                timeout = NON_INVITE_BUDGET
            route = new_phone_route(self._ways, destination, transaction.flow, request, timeout)
        else:
            servers = destination
            if servers.group.of_several_kinds:
                servers.group = self.registrar.kind_of_sender(servers.group, request, transaction.flow)
            group = servers.group
            first: Candidate = servers.first
            answers: Answers = self._ways.pins.answers_in(request, now)
            if answers is not None:
                first = self._first_for(servers, answers, now)
            plan: AttemptPlan = group.plan(request.method, now, first, servers.in_dialog)
            if self._incomplete and not servers.in_dialog:
                plan.expect_gaps(self._incomplete.get(group.name))
            if servers.peer is not None and request.method_code == BYE:
                route = new_bye_route(
                    self._ways, servers, plan, transaction.flow, request, answers, now + NON_INVITE_BUDGET
                )
            else:
                route = new_servers_route(self._ways, servers, plan, transaction.flow, request, answers)
        context: ResponseContext = new_context(self, transaction, request, route)
        transaction.context = context
        self._under_way += 1
        context.start()

    def _first_for(self, servers: ToServers, answers: Answers, now: float) -> Candidate | None:
        """Who has challenged it, before all others (D9). Inside a dialog only who has challenged this very request: else the
        phone has the nonce from elsewhere, and the dialog's own server is asked."""
        group = servers.group
        challenger = answers.challenger
        if challenger is None and servers.first is None and not group.settings.shared_nonce:
            challenger = self._ways.pins.challenger(answers, group.working(now), now)
        if challenger is None or group.owner(challenger) is None or not group.health(challenger).usable:
            return servers.first
        return challenger

    def _serve(self, transaction: ServerTransaction, request: Request, destination: ToUs) -> None:
        if request.method_code == REGISTER and destination.group is not None:
            self.registrar.register_received(transaction, request, destination.group)
        elif request.method_code == OPTIONS:
            self._answer_options(transaction, request)
        else:
            self._refuse(transaction, request, Refused(404))

    def _answer_options(self, transaction: ServerTransaction, request: Request) -> None:
        tag = self._branches.tag(request)
        transaction.respond(Response.for_request(request, 200, to_tag=tag, headers=_OPTIONS_HEADERS))

    def _refuse(self, transaction: ServerTransaction, request: Request, refusal: Refused) -> None:
        response = Response.for_request(
            request, refusal.status, refusal.reason, to_tag=self._branches.tag(request), headers=refusal.headers
        )
        if refusal.status == 503:
            transaction.respond(response)  # the same request might be let in a moment later
        else:
            transaction.refuse(response)

    @cython.cfunc
    def _refuse_when_full(self, request: Request):
        """Pitfall D29: new work only, never a request inside a dialog. While stopping: new calls only."""
        if self.overload.lateness <= _LEAST_SHED and not self.draining:
            return
        if request.to_tag or request.method not in ("INVITE", "REGISTER", "SUBSCRIBE", "OPTIONS"):
            return
        if self.overload.sheds(request.method):
            raise Refused(503, headers=(("Retry-After", str(random.randint(30, 90))),))
        if self.draining and request.method == "INVITE":
            raise Refused(503, headers=(("Retry-After", str(random.randint(5, 15))),))


def warn_agent(name: str) -> str:
    """The appliance's name as a Warning can carry it: letters, digits, dots and hyphens (20.43)."""
    return re.sub(r"[^A-Za-z0-9.-]", "-", name) or "sbc"


def _quotable(text: str) -> str:
    return "; ".join(text.splitlines()).replace("\\", "\\\\").replace('"', '\\"')
