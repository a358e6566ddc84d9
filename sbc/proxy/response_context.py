"""One forwarded request until it has its answer (RFC 3261 16.6 to 16.10): `ResponseContext`.

A context owns the request's server transaction and one branch for every candidate that was tried. A `Route` says which
candidate comes next and learns what became of each; towards a phone there is only one. The context does not know why a
candidate was chosen, and the route does not know what a message is.

What it adds to the RFC: branches are tried one after the other; a branch that was given up is kept, because its answer may
still come (`late`); a 503 never gets through (pitfall D7); a caller who hangs up is answered within half a second (D4).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from sbc.clock import Clock, Delayed
from sbc.location.candidate import Candidate
from sbc.proxy.validation import max_forwards
from sbc.redundancy.outcome import Answered, Cancelled, FoundDown, Outcome, TimedOut, TransportFailed
from sbc.redundancy.plan import Attempt, Verdict
from sbc.sip.message import Request, Response
from sbc.transaction.layer import ClientTransaction, Flow, ServerTransaction, TransactionLayer

TIMER_C = 185.0
"""Seconds that an INVITE may ring (RFC 3261 16.6 item 11: more than three minutes)."""

CANCEL_PATIENCE = 0.5
"""Seconds after a CANCEL in which some branch must have answered, or we answer 487 ourselves (pitfall D4)."""


class Route(Protocol):
    """The candidates of one request, in the order in which they are to be tried."""

    group_name: str | None
    """Whose servers they are, or whose server sent it."""

    def next(self, now: float) -> Attempt | None:
        """The next one; None when there is none left."""

    def flow(self, attempt: Attempt) -> Flow | None:
        """The way to it; None when we have no socket that reaches it."""

    def prepare(self, request: Request, attempt: Attempt, flow: Flow) -> None:
        """Put onto a copy of the request what this candidate shall see: Record-Route, Request-URI."""

    def wait(self, attempt: Attempt, found_down: Callable[[str], None]) -> None:
        """Nothing has come from it yet: call `found_down(cause)` should another request find it dead."""

    def answered(self, attempt: Attempt, response: Response, found_down: Callable[[str], None]) -> None:
        """Its first response is there: it lives."""

    def record(self, attempt: Attempt, outcome: Outcome, found_down: Callable[[str], None]) -> Verdict:
        """What became of it."""

    def knows_dialog(self, candidate: Candidate) -> bool:
        """False when the request's dialog was made with another server than this one."""

    def last_words(self, request: Request) -> tuple[int, str]:
        """Status and reason for the sender when no candidate gave an answer at all."""


class Surroundings(Protocol):
    """What all contexts of a proxy share."""

    clock: Clock
    layer: TransactionLayer
    t1: float

    def new_branch(self, request: Request) -> str:
        """A branch parameter for one more attempt of this request."""

    def abandoned(self, branch: Branch) -> None:
        """This branch was given up without a final answer; one may still come."""

    def unwanted_success(self, branch: Branch, response: Response) -> None:
        """A 2xx to an INVITE that cannot go to the sender: somebody must end that call."""

    def finished(self, context: ResponseContext) -> None:
        """The sender has its final answer."""

    def passed_up(self, context: ResponseContext, response: Response, candidate: Candidate | None) -> None:
        """This response is about to leave for the sender: the last look at it, and the last touch."""

    def local_response(self, request: Request, status: int, reason: str | None, detail: str = "") -> Response:
        """A response of our own."""


class Branch:
    """One attempt: the client transaction's user."""

    __slots__ = (
        "context", "attempt", "transaction", "highest_provisional", "answered", "ended", "cancelled", "timer_c", "_flow",
    )  # fmt: skip

    def __init__(self, context: ResponseContext, attempt: Attempt) -> None:
        self.context = context
        self.attempt = attempt
        self.transaction: ClientTransaction | None = None
        self.highest_provisional = 0
        self.answered = False
        self.ended = False
        """True once its outcome is recorded."""
        self.cancelled = False
        self.timer_c: Delayed | None = None

    def response_received(self, transaction: ClientTransaction, response: Response) -> None:
        if not self.answered:
            self.answered = True
            self.context.route.answered(self.attempt, response, self.found_down)
        if response.status >= 200:
            self._stop_timer_c()
            self.context.final_received(self, response)
            return
        # With the first provisional, a 100 too, Timer B ends: without C a server that dies then would hold the call for ever.
        if transaction.method == "INVITE" and (response.status > 100 or self.timer_c is None):
            self.start_timer_c()
        if response.status > 100:
            self.highest_provisional = max(self.highest_provisional, response.status)
            self.context.provisional_received(self, response)

    def timed_out(self, transaction: ClientTransaction) -> None:
        self._give_up(TimedOut(self.attempt.sends))

    def transport_failed(self, transaction: ClientTransaction, cause: str) -> None:
        self._give_up(TransportFailed(cause, soft=cause == "unreachable"))

    def found_down(self, cause: str) -> None:
        """Another request found this candidate dead while we waited for its first word."""
        if not self.ended and not self.answered:
            self.transaction.give_up()
            self._give_up(FoundDown(cause))

    def _give_up(self, outcome: Outcome) -> None:
        self._stop_timer_c()
        if not self.ended:
            self.context.branch_given_up(self, outcome)

    def start_timer_c(self) -> None:
        """16.6 item 11; 16.7 item 2: every provisional response but 100 starts it again."""
        self._stop_timer_c()
        self.timer_c = self.context.around.clock.callLater(TIMER_C, self._timer_c_fired)

    def _stop_timer_c(self) -> None:
        if self.timer_c is not None and self.timer_c.active():
            self.timer_c.cancel()
        self.timer_c = None

    def _timer_c_fired(self) -> None:
        # 16.8: CANCEL where something has come, else as if a 408 had.
        self.timer_c = None
        self.context.rang_too_long(self)

    def stop(self) -> None:
        """No timer of this branch is left afterwards."""
        self._stop_timer_c()


class ResponseContext:
    """Forwards one request along a route. `start()` sends it; the rest happens by itself."""

    __slots__ = (
        "around", "transaction", "request", "route", "branches", "responses", "final_sent", "connected", "cancelled",
        "started", "set_up_reported", "_patience", "_patience_left",
    )  # fmt: skip

    def __init__(self, around: Surroundings, transaction: ServerTransaction, request: Request, route: Route) -> None:
        self.around = around
        self.transaction = transaction
        self.request = request
        """As received, our own Route values taken off."""
        self.route = route
        self.branches: list[Branch] = []
        self.responses: list[tuple[Response, Branch]] = []
        """Final responses that were not passed on (yet)."""
        self.final_sent = False
        self.connected: Branch | None = None
        """The branch whose 2xx went to the sender."""
        self.cancelled = False
        self.started = around.clock.seconds()
        self.set_up_reported = False
        self._patience: Delayed | None = None
        self._patience_left = True

    @property
    def is_invite(self) -> bool:
        return self.request.method == "INVITE"

    def start(self) -> None:
        """Send it to the first candidate."""
        self._try_next()

    # -- down: branches --------------------------------------------------------------------------------------------------

    def _try_next(self) -> None:
        while True:
            attempt = self.route.next(self.around.clock.seconds())
            if attempt is None:
                self._exhausted()
                return
            branch = Branch(self, attempt)
            flow = self.route.flow(attempt)
            if flow is not None:
                break
            branch.ended = True
            self.route.record(attempt, TransportFailed("no_socket"), branch.found_down)
        forwarded = self.request.copy()
        forwarded.set("Max-Forwards", str(max_forwards(self.request) - 1))
        self.route.prepare(forwarded, attempt, flow)
        self.branches.append(branch)
        branch.transaction = self.around.layer.send_request(
            forwarded,
            flow,
            branch,
            branch=self.around.new_branch(self.request),
            timeout=attempt.timeout,
            interval=attempt.interval,
        )
        self.route.wait(attempt, branch.found_down)

    def branch_given_up(self, branch: Branch, outcome: Outcome) -> None:
        """No answer came, or no packet got there."""
        branch.ended = True
        verdict = self.route.record(branch.attempt, outcome, branch.found_down)
        self.around.abandoned(branch)
        if self.final_sent:
            return
        if self.cancelled:
            self._answer_cancelled()
        elif verdict is Verdict.NEXT:
            self._try_next()
        else:
            self._exhausted()

    def rang_too_long(self, branch: Branch) -> None:
        """Timer C. The server is alive, so no other is asked; the caller hears that nobody answered."""
        self._cancel(branch)
        if not self.final_sent:
            self._respond(self.around.local_response(self.request, 408, None, "rang for three minutes"), None)

    # -- up: responses ---------------------------------------------------------------------------------------------------

    def provisional_received(self, branch: Branch, response: Response) -> None:
        """16.7 item 5: every provisional response but 100 goes on at once."""
        if self.final_sent or self.cancelled:
            return
        self._pass_up(response, branch)

    def final_received(self, branch: Branch, response: Response) -> None:
        status = response.status
        if not branch.ended:
            branch.ended = True
            outcome = Answered(status, _retry_after(response), branch.highest_provisional)
            verdict = self.route.record(branch.attempt, outcome, branch.found_down)
        if status < 300:
            self.success_received(branch, response)
            return
        self.responses.append((response, branch))
        if self.final_sent:
            return
        if self.cancelled or verdict is Verdict.RETURN or verdict is Verdict.STOPPED:
            self._respond(*self._answer_of(response, branch))
        else:
            self._try_next()

    def success_received(self, branch: Branch, response: Response) -> bool:
        """A 2xx, perhaps a late one. The first one ends everything else. Returns False when the sender must not see it."""
        if self.connected is branch:
            # Again (RFC 6026 Accepted), or of another fork behind the same server: both ends want them all.
            self._pass_up(response, branch)
        elif not self.final_sent:
            self.connected = branch
            self._cancel_others(branch)
            self._respond(response, branch)
        elif self.is_invite:
            self.around.unwanted_success(branch, response)
            return False
        return True

    def _exhausted(self) -> None:
        if self.final_sent:
            return
        if self.responses:
            self._respond(*self._answer_of(*best_response(self.responses)))
            return
        status, detail = self.route.last_words(self.request)
        self._respond(self.around.local_response(self.request, status, None, detail), None)

    def _answer_of(self, response: Response, branch: Branch) -> tuple[Response, Branch | None]:
        if response.status == 503:
            # D7: a phone with failover logic of its own would blacklist its outbound proxy.
            detail = f"server answered 503 {response.reason}"
            return self.around.local_response(self.request, 500, None, detail), None
        if response.status == 408 and not self.is_invite:
            # RFC 4320 4.2: nobody sends 408 to a non-INVITE.
            status, _ = self.route.last_words(self.request)
            return self.around.local_response(self.request, status, None, f"answered 408 {response.reason}"), None
        stranger = not self.route.knows_dialog(branch.attempt.candidate)
        if stranger and response.status in (404, 481) and refreshes_call(self.request):
            # D23: it only means that another server would know this call, and must not end it.
            detail = f"the server of this call does not answer, and another one says {response.status}"
            return self.around.local_response(self.request, 500, None, detail), None
        return response, branch

    def _pass_up(self, response: Response, branch: Branch | None) -> None:
        upward = response
        if branch is not None:
            upward = response.copy()
            upward.pop_first("Via")
        self.around.passed_up(self, upward, branch.attempt.candidate if branch is not None else None)
        self.transaction.respond(upward)

    def _respond(self, response: Response, branch: Branch | None) -> None:
        self.final_sent = True
        if self._patience is not None and self._patience.active():
            self._patience.cancel()
        self._pass_up(response, branch)
        self.around.finished(self)

    # -- CANCEL (9, 16.10, D4) -------------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """The sender's CANCEL: no new branch from now on."""
        if self.cancelled or self.final_sent:
            return
        self.cancelled = True
        for branch in self.branches:
            if not branch.ended:
                self._cancel(branch)
        self._patience = self.around.clock.callLater(CANCEL_PATIENCE, self._patience_over)

    def _patience_over(self) -> None:
        if self.final_sent:
            return
        alive = any(branch.answered and not branch.ended for branch in self.branches)
        if alive and self._patience_left:
            # Its 487 is on the way. 9.1: after 64*T1 without one the call counts as cancelled all the same.
            self._patience_left = False
            self._patience = self.around.clock.callLater(64 * self.around.t1, self._patience_over)
            return
        for branch in self.branches:
            if not branch.ended:
                branch.ended = True
                branch.stop()
                self.route.record(branch.attempt, Cancelled(), branch.found_down)
                self.around.abandoned(branch)
        self._answer_cancelled()

    def _answer_cancelled(self) -> None:
        self._respond(self.around.local_response(self.request, 487, None), None)

    def _cancel(self, branch: Branch) -> None:
        if not branch.cancelled and self.is_invite:
            branch.cancelled = True
            self.around.layer.cancel(branch.transaction)

    def _cancel_others(self, chosen: Branch) -> None:
        """One branch has made the call; the others that may still ring get a CANCEL, held until their first word (9.1)."""
        for branch in self.branches:
            if branch is not chosen and not branch.ended:
                self._cancel(branch)


def refreshes_call(request: Request) -> bool:
    """True for a re-INVITE or UPDATE: it fails, and the call goes on (D23; RFC 3261 14.1: unless 408 or 481 comes)."""
    return bool(request.to_tag) and request.method in ("INVITE", "UPDATE")


def best_response(responses: list[tuple[Response, Branch]]) -> tuple[Response, Branch]:
    """16.7 item 6: a 6xx before all; else the lowest class, and in it what tells the sender how to go on.

    Among equals the earliest, which came from the highest-ranked server.
    """

    def order(entry: tuple[Response, Branch]) -> tuple[int, int]:
        status = entry[0].status
        if status >= 600:
            return 0, 0
        helpful = status in (401, 407, 415, 420, 484)
        return status // 100, 0 if helpful else 2 if status == 503 else 1

    return min(responses, key=order)


def _retry_after(response: Response) -> int | None:
    """Seconds of Retry-After (20.33: digits, then perhaps a comment and parameters); None without one."""
    text = (response.get("Retry-After") or "").partition(";")[0].partition("(")[0].strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
