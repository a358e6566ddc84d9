"""The two ways out of the box: to the servers of a group, attempt by attempt, and to one phone.

Both are a `Route` of `sbc.proxy.response_context`; both write our Record-Route, one line for each side of the box where the
two sides are different sockets (RFC 5658).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from sbc.clock import Clock
from sbc.location.candidate import Candidate
from sbc.proxy.destination import ToPhone, ToServers
from sbc.proxy.nonce_pins import NoncePins
from sbc.proxy.response_context import refreshes_call
from sbc.proxy.route_cookie import PARAMETER, PhoneAddress, RouteCookie
from sbc.redundancy.outcome import Answered, Cancelled, FoundDown, Outcome, TransportFailed
from sbc.redundancy.plan import Attempt, AttemptPlan, Verdict
from sbc.sip.message import Request, Response
from sbc.transaction.layer import Flow

DIALOG_METHODS = frozenset({"INVITE", "SUBSCRIBE", "REFER", "NOTIFY"})
"""Requests that may open a dialog (RFC 3261 12, RFC 6665, RFC 3515)."""


_SHORTEST = 0.5
"""Seconds for a phone of the site to answer a BYE when the sender's patience is over."""


class FlowFinder(Protocol):
    """What the routes need of the listeners."""

    def flow_to_server(self, candidate: Candidate) -> Flow | None: ...

    def flow_to_phone(self, transport_name: str, host: str, port: int, local_port: int) -> Flow | None: ...


def record_route(request: Request, cookie: RouteCookie, key: bytes, inner: Flow, outer: Flow) -> None:
    """Put our Record-Route on a request that may open a dialog; `outer` is where it leaves, `inner` where it came in."""
    # A NOTIFY has a To tag and opens a dialog all the same, when it overtakes the 200 to the SUBSCRIBE (RFC 6665 4.3).
    if request.method not in DIALOG_METHODS or (request.to_tag and request.method != "NOTIFY"):
        return
    signed = cookie.sign(key)
    request.prepend("Record-Route", f"<sip:{inner.contact};lr;{PARAMETER}={signed}>")
    if outer.contact != inner.contact:
        request.prepend("Record-Route", f"<sip:{outer.contact};lr;{PARAMETER}={signed}>")


class ServersRoute:
    """The candidates of a group in the order of its plan."""

    def __init__(
        self, clock: Clock, flows: FlowFinder, key: bytes, destination: ToServers, plan: AttemptPlan, method: str,
        came_in: Flow, pins: NoncePins,
    ) -> None:  # fmt: skip
        self._clock = clock
        self._flows = flows
        self._key = key
        self._group = destination.group
        self.group_name: str | None = destination.group.name
        self._phone = destination.phone
        self._plan = plan
        self._method = method
        self._came_in = came_in
        self._pins = pins
        self._dialog_server = destination.first if destination.in_dialog else None
        self._ended: list[Attempt] = []
        """Attempts whose outcome is known; what answers after that is late, and only the health of its server."""

    def next(self, now: float) -> Attempt | None:
        return self._plan.next(now)

    def flow(self, attempt: Attempt) -> Flow | None:
        return self._flows.flow_to_server(attempt.candidate)

    def prepare(self, request: Request, attempt: Attempt, flow: Flow) -> None:
        self._pins.withhold(request, attempt.candidate, self._clock.seconds())
        record_route(request, RouteCookie(attempt.candidate, self._phone), self._key, self._came_in, flow)

    def wait(self, attempt: Attempt, found_down: Callable[[str], None]) -> None:
        self._group.waiting(attempt.candidate, found_down)

    def answered(self, attempt: Attempt, response: Response, found_down: Callable[[str], None]) -> None:
        self._group.done(attempt.candidate, found_down)
        if response.status < 200 or attempt in self._ended:
            self._group.observe(attempt.candidate, Answered(response.status), self._clock.seconds(), self._method)

    def record(self, attempt: Attempt, outcome: Outcome, found_down: Callable[[str], None]) -> Verdict:
        now = self._clock.seconds()
        self._ended.append(attempt)
        self._group.done(attempt.candidate, found_down)
        if not isinstance(outcome, FoundDown | Cancelled):
            # First the group, then the plan: what the group learns decides where the plan goes next.
            self._group.observe(attempt.candidate, outcome, now, self._method)
        return self._plan.record(attempt, outcome, now)

    def knows_dialog(self, candidate: Candidate) -> bool:
        return self._dialog_server in (None, candidate)

    def last_words(self, request: Request) -> tuple[int, str]:
        # BYE: the call is over for the phone, whoever else knows it (D22). 408 is forbidden for it (RFC 4320 4.1),
        # and for all of them 503 (D7). Of those left, a running call survives 500 in every phone (D23, RFC 5057).
        status = 481 if request.method == "BYE" else 500 if refreshes_call(request) else 480
        return status, f"no call server answers: {self._plan.explain()}"


class ByeRoute(ServersRoute):
    """The servers of a dialog, and then, when they are dead or have never heard of it, the phone at its other end.

    Pitfall D22: a call between two phones of the site ends at both when its server died with it. The dialog is the same at
    both ends as long as the servers between are proxies, and only then the phone's address is in the Route.
    """

    def __init__(self, *arguments, peer: PhoneAddress, deadline: float) -> None:
        super().__init__(*arguments)
        self._peer = peer
        self._deadline = deadline
        self._peer_attempt: Attempt | None = None
        self._servers_over = False

    def next(self, now: float) -> Attempt | None:
        attempt = None if self._servers_over else super().next(now)
        if attempt is None and self._peer_attempt is None:
            candidate = Candidate(self._peer.host, self._peer.port, self._peer.transport)
            # Also with the time over: the BYE is one packet on the local network, and then the line is free.
            timeout = max(_SHORTEST, self._deadline - now)
            attempt = Attempt("phone", candidate, timeout=timeout, interval=0.0, last=True, number=0, sends=1)
            self._peer_attempt = attempt
        return attempt

    def flow(self, attempt: Attempt) -> Flow | None:
        return towards_phone(self._flows, self._peer) if attempt is self._peer_attempt else super().flow(attempt)

    def prepare(self, request: Request, attempt: Attempt, flow: Flow) -> None:
        if attempt is self._peer_attempt:
            request.remove("Route")
        else:
            super().prepare(request, attempt, flow)

    def wait(self, attempt: Attempt, found_down: Callable[[str], None]) -> None:
        if attempt is not self._peer_attempt:
            super().wait(attempt, found_down)

    def answered(self, attempt: Attempt, response: Response, found_down: Callable[[str], None]) -> None:
        if attempt is not self._peer_attempt:
            super().answered(attempt, response, found_down)

    def record(self, attempt: Attempt, outcome: Outcome, found_down: Callable[[str], None]) -> Verdict:
        if attempt is self._peer_attempt:
            return Verdict.NEXT if not isinstance(outcome, Answered) else Verdict.RETURN
        verdict = super().record(attempt, outcome, found_down)
        if verdict is Verdict.RETURN and outcome.status >= 300 and not self.knows_dialog(attempt.candidate):
            self._servers_over = True
            return Verdict.NEXT
        return verdict


class PhoneRoute:
    """One phone, tried once, for `timeout` seconds."""

    def __init__(self, flows: FlowFinder, key: bytes, destination: ToPhone, came_in: Flow, timeout: float) -> None:
        self._flows = flows
        self._key = key
        self._destination = destination
        self._came_in = came_in
        self._timeout = timeout
        self.group_name = destination.group.name if destination.group is not None else None
        self._asked = False
        self._failure = "no socket leads to its address"

    def next(self, now: float) -> Attempt | None:
        if self._asked:
            return None
        self._asked = True
        phone = self._destination.phone
        candidate = Candidate(phone.host, phone.port, phone.transport)
        return Attempt("phone", candidate, timeout=self._timeout, interval=0.0, last=True, number=1, sends=7)

    def flow(self, attempt: Attempt) -> Flow | None:
        phone = self._destination.phone
        return self._flows.flow_to_phone(phone.transport, phone.host, phone.port, phone.local_port)

    def prepare(self, request: Request, attempt: Attempt, flow: Flow) -> None:
        if self._destination.request_uri is not None:
            request.request_uri = self._destination.request_uri
        cookie = RouteCookie(self._destination.candidate, self._destination.phone)
        record_route(request, cookie, self._key, self._came_in, flow)

    def wait(self, attempt: Attempt, found_down: Callable[[str], None]) -> None:
        """Nobody else asks this phone on our behalf."""

    def answered(self, attempt: Attempt, response: Response, found_down: Callable[[str], None]) -> None:
        """A phone has no health."""

    def record(self, attempt: Attempt, outcome: Outcome, found_down: Callable[[str], None]) -> Verdict:
        if isinstance(outcome, Answered):
            return Verdict.SUCCESS if outcome.status < 300 else Verdict.RETURN
        self._failure = outcome.cause if isinstance(outcome, TransportFailed) else "it does not answer"
        return Verdict.NEXT

    def knows_dialog(self, candidate: Candidate) -> bool:
        return True

    def last_words(self, request: Request) -> tuple[int, str]:
        return (481 if request.method == "BYE" else 480), f"the phone cannot be reached: {self._failure}"


def towards_phone(flows: FlowFinder, phone: PhoneAddress) -> Flow | None:
    """The flow to a phone's address, for what is forwarded without a transaction."""
    return flows.flow_to_phone(phone.transport, phone.host, phone.port, phone.local_port)
