"""The proxy core (RFC 3261 section 16): every new request comes here, and leaves for where it belongs.

`Proxy` is the transaction layer's user. It decides nothing about servers (`sbc.redundancy` does) and nothing about
registrations (`sbc.registration` does); it validates, finds the destination, and starts a `ResponseContext` that carries the
request there. ACK for a 2xx has no transaction and goes its way at once.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from hashlib import blake2b

from sbc.clock import Clock
from sbc.events import CallSetUp, Report
from sbc.location.candidate import Candidate
from sbc.proxy.destination import Destinations, ToPhone, ToServers, ToUs
from sbc.proxy.late import LateAnswers
from sbc.proxy.nonce_pins import NoncePins, mark_stale
from sbc.proxy.overload import Overload
from sbc.proxy.response_context import Branch, ResponseContext
from sbc.proxy.routes import ByeRoute, FlowFinder, PhoneRoute, ServersRoute, towards_phone
from sbc.proxy.sides import Sides
from sbc.proxy.validation import Branches, Refused, check, max_forwards
from sbc.redundancy.group import ServerGroup
from sbc.sip.errors import MalformedMessage
from sbc.sip.message import Request, Response
from sbc.transaction.layer import Flow, TransactionLayer
from sbc.transaction.server import InviteServerTransaction, ServerTransaction

NON_INVITE_BUDGET = 31.0
"""Seconds after which a phone must have its answer, one less than its own Timer F (pitfall D1, RFC 4321 1.1)."""

ALLOW = "INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, SUBSCRIBE, NOTIFY, REFER, MESSAGE, INFO, UPDATE, PRACK, PUBLISH"


class Proxy:
    """The transaction user of the appliance.

    `key` signs route cookies and branches, at least 16 secret bytes that survive a restart; `boot` tells this run's branches
    from those of the run before; `name` stands in Warning headers.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        layer: TransactionLayer,
        flows: FlowFinder,
        groups: Iterable[ServerGroup],
        registrar,
        is_ours,
        key: bytes,
        boot: str,
        name: str,
        report: Report,
        overload: Overload | None = None,
    ) -> None:
        self.clock = clock
        self.layer = layer
        self.t1 = layer.timers.t1
        self.flows = flows
        self.registrar = registrar
        self.draining = False
        """True while the appliance stops: new calls are refused, everything under way goes on."""
        self._is_ours = is_ours
        self._key = key
        self._name = warn_agent(name)
        self._report = report
        self.overload = overload or Overload()
        self._branches = Branches(boot)
        self._pins = NoncePins()
        self._late = LateAnswers(clock, layer, self.t1, self._branches.new, report)
        self._contexts: dict[ServerTransaction, ResponseContext] = {}
        self._moved: dict[tuple[str, str, int], Candidate] = {}
        """re-INVITEs that another server accepted than their dialog's, by Call-ID, From tag and CSeq; for 64*T1."""
        self.set_groups(groups)

    def set_groups(self, groups: Iterable[ServerGroup]) -> None:
        """Serve these groups from now on (start, and a changed configuration)."""
        groups = tuple(groups)
        self._sides = Sides(groups)
        self._destinations = Destinations(groups, self._sides, self.registrar, self._is_ours, self._key)

    def candidates_changed(self) -> None:
        """A group learnt new addresses of its servers."""
        self._sides.refresh()

    def side_of(self, flow: Flow) -> str:
        """Who is behind this flow: phones or servers."""
        return "phones" if self._sides.server_of(flow) is None else "servers"

    @property
    def under_way(self) -> int:
        """Requests that still owe their sender an answer."""
        return len(self._contexts)

    # -- TransactionUser -------------------------------------------------------------------------------------------------

    def request_received(self, transaction: ServerTransaction, request: Request) -> None:
        """Forward it, answer it, or refuse it. MalformedMessage is the layer's to answer."""
        try:
            self._refuse_when_full(transaction, request)
            if max_forwards(request) == 0 and request.method == "OPTIONS":
                self._answer_options(transaction, request)  # 16.3 item 3: the last hop may answer for the target
                return
            check(request)
            self._branches.check_loop(request)
            forwarded = request.copy()
            destination = self._destinations.find(forwarded, transaction.flow)
        except Refused as refusal:
            self._refuse(transaction, request, refusal)
            return
        if isinstance(destination, ToUs):
            self._serve(transaction, request, destination)
        else:
            self._forward(transaction, forwarded, destination)

    def ack_received(self, request: Request, flow: Flow) -> None:
        """An ACK for a 2xx follows its dialog, without a transaction (16.11). One that leads nowhere is dropped."""
        try:
            check(request)
            self._branches.check_loop(request)
            forwarded = request.copy()
            destination = self._destinations.find(forwarded, flow)
        except (Refused, MalformedMessage):
            return
        onward = None
        if isinstance(destination, ToPhone):
            onward = towards_phone(self.flows, destination.phone)
            if destination.request_uri is not None:
                forwarded.request_uri = destination.request_uri
        elif isinstance(destination, ToServers):
            candidate = (
                self._moved.get((request.call_id, request.from_tag, request.cseq))
                or destination.first
                or destination.group.working(self.clock.seconds())
            )
            onward = self.flows.flow_to_server(candidate) if candidate is not None else None
        if onward is not None:
            forwarded.set("Max-Forwards", str(max_forwards(request) - 1))
            self.layer.send_stateless(forwarded, onward, self._branches.stateless(request))

    def cancel_received(self, invite: InviteServerTransaction, request: Request) -> None:
        """The caller hung up before an answer."""
        context = self._contexts.get(invite)
        if context is not None:
            context.cancel()

    def stray_response_received(self, response: Response, flow: Flow) -> None:
        """Too late for its transaction."""
        self._late.response_received(response)

    def server_transaction_ended(self, transaction: ServerTransaction) -> None:
        """Its context, if it still lived, has nobody left to answer."""
        self._contexts.pop(transaction, None)

    # -- Surroundings of the response contexts ---------------------------------------------------------------------------

    def new_branch(self, request: Request) -> str:
        return self._branches.new(request)

    def abandoned(self, branch: Branch) -> None:
        self._late.keep(branch)

    def unwanted_success(self, branch: Branch, response: Response) -> None:
        self._late.end_call(branch, response)

    def finished(self, context: ResponseContext) -> None:
        self._contexts.pop(context.transaction, None)

    def passed_up(self, context: ResponseContext, response: Response, candidate: Candidate | None) -> None:
        now = self.clock.seconds()
        if response.status in (401, 407) and candidate is not None:
            asked_before = self._pins.issuer(context.request, now)
            if asked_before is not None and asked_before != candidate:
                mark_stale(response)
            self._pins.learn(response, candidate, now)
        if context.is_invite and 200 <= response.status < 300 and candidate is not None:
            self._remember_if_moved(context, candidate)
        if context.is_invite and 180 <= response.status < 300 and not context.set_up_reported:
            context.set_up_reported = True
            if context.route.group_name is not None:
                self._report(CallSetUp(context.route.group_name, now - context.started))

    def _remember_if_moved(self, context: ResponseContext, candidate: Candidate) -> None:
        """The ACK must go where the 2xx came from (13.2.2.4), and its Route still names the dialog's own server."""
        request = context.request
        key = (request.call_id, request.from_tag, request.cseq)
        if key not in self._moved and not context.route.knows_dialog(candidate):
            self._moved[key] = candidate
            self.clock.callLater(64 * self.t1, self._moved.pop, key, None)

    def local_response(self, request: Request, status: int, reason: str | None, detail: str = "") -> Response:
        """A response of our own; `detail` for the administrator who looks at a trace (20.43, warning code 399)."""
        headers = [("Warning", f'399 {self._name} "{_quotable(detail)}"')] if detail else []
        return Response.for_request(request, status, reason, to_tag=self._to_tag(request), headers=headers)

    # -- own part --------------------------------------------------------------------------------------------------------

    def _forward(self, transaction: ServerTransaction, request: Request, destination: ToServers | ToPhone) -> None:
        now = self.clock.seconds()
        method = request.method
        if method == "INVITE":
            transaction.respond(Response.for_request(request, 100))
        if isinstance(destination, ToPhone):
            # Also a server that asks a phone is told before its Timer F (D1).
            timeout = 64 * self.t1 if method == "INVITE" else min(64 * self.t1, NON_INVITE_BUDGET)
            route = PhoneRoute(self.flows, self._key, destination, transaction.flow, timeout)
        else:
            group = destination.group
            deadline = None if method == "INVITE" else now + NON_INVITE_BUDGET
            plan = group.plan(
                method,
                now,
                deadline=deadline,
                first=destination.first or self._pins.issuer(request, now),
                in_dialog=destination.in_dialog,
            )
            arguments = (self.clock, self.flows, self._key, destination, plan, method, transaction.flow, self._pins)
            if method == "BYE" and destination.peer is not None:
                route = ByeRoute(*arguments, peer=destination.peer, deadline=deadline)
            else:
                route = ServersRoute(*arguments)
        context = ResponseContext(self, transaction, request, route)
        self._contexts[transaction] = context
        context.start()

    def _serve(self, transaction: ServerTransaction, request: Request, destination: ToUs) -> None:
        if request.method == "REGISTER" and destination.group is not None:
            self.registrar.register_received(transaction, request, destination.group)
        elif request.method == "OPTIONS":
            self._answer_options(transaction, request)
        else:
            self._refuse(transaction, request, Refused(404))

    def _answer_options(self, transaction: ServerTransaction, request: Request) -> None:
        headers = [("Allow", ALLOW), ("Accept", "application/sdp"), ("Supported", "path")]
        response = Response.for_request(request, 200, to_tag=self._to_tag(request), headers=headers)
        transaction.respond(response)

    def _refuse(self, transaction: ServerTransaction, request: Request, refusal: Refused) -> None:
        transaction.respond(
            Response.for_request(
                request, refusal.status, refusal.reason, to_tag=self._to_tag(request), headers=refusal.headers
            )
        )

    def _refuse_when_full(self, transaction: ServerTransaction, request: Request) -> None:
        """Pitfall D29: new work only, never a request inside a dialog. While stopping: new calls only."""
        if request.to_tag or request.method not in ("INVITE", "REGISTER", "SUBSCRIBE", "OPTIONS"):
            return
        if self.overload.sheds(request.method):
            raise Refused(503, headers=(("Retry-After", str(random.randint(30, 90))),))
        if self.draining and request.method == "INVITE":
            raise Refused(503, headers=(("Retry-After", str(random.randint(5, 15))),))

    def _to_tag(self, request: Request) -> str:
        """The same tag for every response of ours to one request (8.2.6.2), without remembering it."""
        text = f"{request.call_id}\n{request.from_tag}\n{request.cseq}".encode("utf-8", "surrogateescape")
        return blake2b(text, key=self._key[:64], digest_size=6).hexdigest()


def warn_agent(name: str) -> str:
    """The appliance's name as a Warning can carry it: letters, digits, dots and hyphens (20.43)."""
    return re.sub(r"[^A-Za-z0-9.-]", "-", name) or "sbc"


def _quotable(text: str) -> str:
    return "; ".join(text.splitlines()).replace("\\", "\\\\").replace('"', '\\"')
