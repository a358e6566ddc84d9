"""One forwarded request until it has its answer (RFC 3261 16.6 to 16.10): `ResponseContext`.

A context owns the request's server transaction and one branch for every candidate that was tried. A `Route` says which
candidate comes next and learns what became of each; towards a phone there is only one. The context does not know why a
candidate was chosen, and the route does not know what a message is.

What it adds to the RFC: branches are tried one after the other; a branch that was given up is kept, because its answer may
still come (`late`); a 503 never gets through (pitfall D7); a caller who hangs up is answered within half a second (D4).

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1. A context and its branches
hold each other until the sender is answered and no branch is open; then the ring is opened, so that reference counting
frees them with their transactions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import cython

from sbc.redundancy.outcome import NotRegistered
from sbc.redundancy.plan import Verdict

if cython.compiled:
    from cython.cimports.sbc.clock import TimerQueue
    from cython.cimports.sbc.flow import Flow
    from cython.cimports.sbc.location.candidate import Candidate
    from cython.cimports.sbc.proxy.validation import hops_left
    from cython.cimports.sbc.redundancy.outcome import (
        NONE_GIVEN,
        Cancelled,
        FoundDown,
        Outcome,
        TimedOut,
        TransportFailed,
        new_answered,
    )
    from cython.cimports.sbc.redundancy.plan import Attempt
    from cython.cimports.sbc.sip.message import Request, Response
    from cython.cimports.sbc.sip.scanner import INVITE, RETRY_AFTER, VIA
    from cython.cimports.sbc.transaction.client import ClientTransaction
    from cython.cimports.sbc.transaction.interface import ClientTransactionUser, Transaction, TransactionUser
    from cython.cimports.sbc.transaction.layer import TransactionLayer
    from cython.cimports.sbc.transaction.server import ServerTransaction
else:
    from sbc.clock import TimerQueue
    from sbc.flow import Flow
    from sbc.location.candidate import Candidate
    from sbc.proxy.validation import hops_left
    from sbc.redundancy.outcome import (
        NONE_GIVEN,
        Cancelled,
        FoundDown,
        Outcome,
        TimedOut,
        TransportFailed,
        new_answered,
    )
    from sbc.redundancy.plan import Attempt
    from sbc.sip.message import Request, Response
    from sbc.sip.scanner import INVITE, RETRY_AFTER, VIA
    from sbc.transaction.client import ClientTransaction
    from sbc.transaction.interface import ClientTransactionUser, Transaction, TransactionUser
    from sbc.transaction.layer import TransactionLayer
    from sbc.transaction.server import ServerTransaction

COMPILED = bool(cython.compiled)

TIMER_C = 185.0
"""Seconds that an INVITE may ring (RFC 3261 16.6 item 11: more than three minutes)."""

CANCEL_PATIENCE = 0.5
"""Seconds after a CANCEL in which some branch must have answered, or we answer 487 ourselves (pitfall D4)."""

_TIMER_C = cython.declare(cython.double, TIMER_C)
_NEXT = cython.declare(object, Verdict.NEXT)
_RETURN = cython.declare(object, Verdict.RETURN)
_STOPPED = cython.declare(object, Verdict.STOPPED)


@cython.cclass
class Route:
    """The candidates of one request, in the order in which they are to be tried.

    `group_name` says whose servers they are, or whose server sent it; None when no group's. A branch stands for what is
    known of its attempt, and can be called with a cause when another request finds its candidate dead.
    """

    group_name: str
    may_hold: cython.bint  # `hold` is worth asking

    @cython.ccall
    def next(self, now: cython.double) -> Attempt:
        """The next one; None when there is none left."""
        raise NotImplementedError

    @cython.ccall
    def flow(self, attempt: Attempt) -> Flow:
        """The way to it; None when we have no socket that reaches it."""
        raise NotImplementedError

    @cython.ccall
    def prepare(self, request: Request, attempt: Attempt, flow: Flow):
        """Put onto a copy of the request what this candidate shall see: Record-Route, Request-URI."""

    def hold(self, attempt: Attempt, request: Request, go_on: Callable[[bool], None]) -> bool:
        """Something has to happen before the request may go there. True: `go_on` is called after it, with False when the
        request must not be sent there. It may be called before this returns."""
        return False

    @cython.ccall
    def time_for(self, attempt: Attempt) -> cython.double:
        """The seconds that are left for it now."""
        return attempt.timeout

    @cython.ccall
    def wait(self, attempt: Attempt, branch: Branch):
        """Nothing has come from it yet: call `branch(cause)` should another request find it dead."""

    @cython.ccall
    def answered(self, attempt: Attempt, response: Response, branch: Branch):
        """Its first response is there: it lives."""

    @cython.ccall
    def record(self, attempt: Attempt, outcome: Outcome, branch: Branch) -> object:  # Verdict
        """What became of it."""
        raise NotImplementedError

    @cython.ccall
    def challenged(self, request: Request, response: Response, candidate: Candidate):
        """Its 401 or 407 is about to leave for the sender."""

    @cython.ccall
    def knows_dialog(self, candidate: Candidate) -> cython.bint:
        """False when the request's dialog was made with another server than this one."""
        return True

    @cython.ccall
    def last_words(self, request: Request) -> tuple:  # (int, str)
        """Status and reason for the sender when no candidate gave an answer at all."""
        raise NotImplementedError


@cython.cclass
class Surroundings(TransactionUser):
    """What all contexts of a proxy share. `queue` is the clock of the transactions."""

    clock: object
    layer: TransactionLayer
    t1: cython.double
    queue: TimerQueue

    @cython.cfunc
    def new_branch(self, request: Request) -> str:
        """A branch parameter for one more attempt of this request."""
        raise NotImplementedError

    @cython.cfunc
    def abandoned(self, branch: Branch):
        """This branch was given up without a final answer; one may still come."""
        raise NotImplementedError

    @cython.cfunc
    def unwanted_success(self, branch: Branch, response: Response):
        """A 2xx to an INVITE that cannot go to the sender: somebody must end that call."""
        raise NotImplementedError

    @cython.cfunc
    def finished(self, context: ResponseContext):
        """The sender has its final answer."""
        raise NotImplementedError

    @cython.cfunc
    def passed_up(self, context: ResponseContext, response: Response, candidate: Candidate):
        """This response is about to leave for the sender: the last look at it, and the last touch."""
        raise NotImplementedError

    @cython.cfunc
    def local_response(self, request: Request, status: cython.int, reason: str, detail: str = "") -> Response:
        """A response of our own."""
        raise NotImplementedError


@cython.cclass
class Branch(ClientTransactionUser):
    """One attempt: the client transaction's user, and its own Timer C.

    `earlier` is the attempt before it; `ended` once its outcome is recorded; `connected` when its 2xx went to the sender.
    """

    context: ResponseContext
    earlier: Branch
    attempt: Attempt
    transaction: ClientTransaction
    highest_provisional: cython.int
    answered: cython.bint
    ended: cython.bint
    cancelled: cython.bint
    connected: cython.bint

    @cython.ccall
    def response_received(self, transaction: Transaction, response: Response):
        context: ResponseContext = self.context
        status: cython.int = response._status
        if not self.answered:
            self.answered = True
            context.route.answered(self.attempt, response, self)
        if status >= 200:
            self.disarm()
            context.final_received(self, response)
            return
        # With the first provisional, a 100 too, Timer B ends: without C a server that dies then would hold the call for
        # ever. 16.6 item 11; 16.7 item 2: every provisional response but 100 starts it again.
        if context.is_invite and (status > 100 or self.waiting is None):
            context.around.queue.arm(self, context.around.queue.now(), _TIMER_C)
        if status > 100:
            if status > self.highest_provisional:
                self.highest_provisional = status
            context.provisional_received(self, response)

    @cython.ccall
    def timed_out(self, transaction: Transaction):
        self._give_up(TimedOut(self.attempt.sends))

    @cython.ccall
    def transport_failed(self, transaction: Transaction, cause: str):
        self._give_up(TransportFailed(cause, soft=cause == "unreachable"))

    @cython.ccall
    def connection_lost(self, transaction: Transaction, cause: str):
        # After 101 to 199 the callee's phone may ring: no second ringing elsewhere (D5), and its answer may come over another
        # connection. After a mere 100 nobody has heard of the call, unless the server lives and rings late: CANCEL.
        if not self.ended and not self.highest_provisional and not self.cancelled:
            self.cancelled = True
            self.context.around.layer.cancel(self.transaction)
            self._give_up(TransportFailed(cause))

    def __call__(self, cause: str) -> None:
        """Another request found this candidate dead while we waited for its first word."""
        if not self.ended and not self.answered:
            self.transaction.give_up()
            self._give_up(FoundDown(cause))

    @cython.cfunc
    def _give_up(self, outcome: Outcome):
        self.disarm()
        if not self.ended:
            self.context.branch_given_up(self, outcome)

    @cython.cfunc
    def fire(self):
        # Timer C. 16.8: CANCEL where something has come, else as if a 408 had.
        self.context.rang_too_long(self)


@cython.freelist(64)
@cython.cclass
class ResponseContext:
    """Forwards one request along a route. `start()` sends it; the rest happens by itself.

    `request` is as received, our own Route values taken off; it and `route` are None once nobody can need them any more.
    `latest` is the latest branch, which leads to the earlier ones. `responses` are final ones that were not passed on (yet),
    with their branches; None before the first of them.
    """

    around: Surroundings
    transaction: ServerTransaction
    request: Request
    route: Route
    latest: Branch
    responses: list
    final_sent: cython.bint
    cancelled: cython.bint
    is_invite: cython.bint
    set_up_reported: cython.bint
    _abandoned: cython.bint  # a branch was given up, and is remembered elsewhere
    _patience_left: cython.bint
    started: cython.double
    _patience: object

    @cython.cfunc
    def start(self):
        """Send it to the first candidate."""
        self._try_next()

    # -- down: branches --------------------------------------------------------------------------------------------------

    @cython.cfunc
    def _try_next(self):
        route: Route = self.route
        branch: Branch
        while True:
            attempt: Attempt = route.next(self.around.queue.now())
            if attempt is None:
                self._exhausted()
                return
            flow: Flow = route.flow(attempt)
            if flow is not None:
                break
            branch = _new_branch(self, attempt)
            branch.ended = True
            route.record(attempt, TransportFailed("no_socket"), branch)
        if route.may_hold and route.hold(attempt, self.request, partial(self._go_on, attempt, flow)):
            return
        self._begin(attempt, flow, attempt.timeout)

    def _go_on(self, attempt: Attempt, flow: Flow, may_go: bool) -> None:
        """What had to happen before has happened."""
        if self.final_sent or self.cancelled:
            return
        seconds: cython.double = self.route.time_for(attempt)
        if may_go and seconds > 0:
            self._begin(attempt, flow, seconds)
            return
        branch: Branch = _new_branch(self, attempt)
        branch.ended = True
        if self.route.record(attempt, NotRegistered(), branch) is _NEXT:
            self._try_next()
        else:
            self._exhausted()

    @cython.cfunc
    def _begin(self, attempt: Attempt, flow: Flow, timeout: cython.double):
        branch: Branch = _new_branch(self, attempt)
        branch.earlier = self.latest
        self.latest = branch
        self._send(branch, flow, timeout)
        self.route.wait(attempt, branch)

    @cython.cfunc
    def _send(self, branch: Branch, flow: Flow, timeout: cython.double):
        attempt: Attempt = branch.attempt
        around: Surroundings = self.around
        forwarded: Request = self.request.copy()
        forwarded.allow_hops(hops_left(forwarded) - 1)
        self.route.prepare(forwarded, attempt, flow)
        branch.transaction = around.layer.send(
            forwarded, flow, branch, around.new_branch(self.request), timeout, attempt.interval, -1.0
        )

    @cython.cfunc
    def branch_given_up(self, branch: Branch, outcome: Outcome):
        """No answer came, or no packet got there."""
        branch.ended = True
        verdict = self.route.record(branch.attempt, outcome, branch)
        self._abandoned = True
        self.around.abandoned(branch)
        if self.final_sent:
            self._let_go()
        elif self.cancelled:
            self._answer_cancelled()
        elif verdict is _NEXT:
            self._try_next()
        else:
            self._exhausted()

    @cython.cfunc
    def rang_too_long(self, branch: Branch):
        """Timer C. The server is alive, so no other is asked; the caller hears that nobody answered."""
        self._cancel(branch)
        if not self.final_sent:
            self._respond(self.around.local_response(self.request, 408, None, "rang for three minutes"), None)

    # -- up: responses ---------------------------------------------------------------------------------------------------

    @cython.cfunc
    def provisional_received(self, branch: Branch, response: Response):
        """16.7 item 5: every provisional response but 100 goes on at once."""
        if not self.final_sent and not self.cancelled:
            self._pass_up(response, branch)

    @cython.cfunc
    def final_received(self, branch: Branch, response: Response):
        status: cython.int = response._status
        verdict = None
        if not branch.ended:
            branch.ended = True
            retry_after: cython.int = _retry_after(response) if response.may_have(RETRY_AFTER) else NONE_GIVEN
            outcome: Outcome = new_answered(status, retry_after, branch.highest_provisional)
            verdict = self.route.record(branch.attempt, outcome, branch)
        if status < 300:
            self.success_received(branch, response)
        elif self.final_sent:
            self._let_go()
        else:
            if self.responses is None:
                self.responses = []
            self.responses.append((response, branch))
            if self.cancelled or verdict is _RETURN or verdict is _STOPPED:
                self._answer(response, branch)
            else:
                self._try_next()

    @cython.ccall
    def success_received(self, branch: Branch, response: Response) -> cython.bint:
        """A 2xx, perhaps a late one. The first one ends everything else. Returns False when the sender must not see it."""
        if branch.connected:
            # Again (RFC 6026 Accepted), or of another fork behind the same server: both ends want them all.
            response.drop_first(VIA)
            self.transaction.respond(response)
        elif not self.final_sent:
            branch.connected = True
            self._cancel_others(branch)
            self._respond(response, branch)
        else:
            self._let_go()
            if self.is_invite:
                self.around.unwanted_success(branch, response)
                return False
        return True

    @cython.cfunc
    def _exhausted(self):
        if self.final_sent:
            return
        if self.responses:
            response, branch = best_response(self.responses)
            self._answer(response, branch)
            return
        status, detail = self.route.last_words(self.request)
        self._respond(self.around.local_response(self.request, status, None, detail), None)

    @cython.cfunc
    def _answer(self, response: Response, branch: Branch):
        """Let this refusal be the answer, or what it means to the sender."""
        status: cython.int = response._status
        if status == 503:
            # D7: a phone with failover logic of its own would blacklist its outbound proxy.
            detail = f"server answered 503 {response.reason_text()}"
            self._respond(self.around.local_response(self.request, 500, None, detail), None)
        elif status == 408 and not self.is_invite:
            # RFC 4320 4.2: nobody sends 408 to a non-INVITE.
            last, _ = self.route.last_words(self.request)
            detail = f"answered 408 {response.reason_text()}"
            self._respond(self.around.local_response(self.request, last, None, detail), None)
        elif (
            (status == 404 or status == 481)
            and refreshes_call(self.request)
            and not self.route.knows_dialog(branch.attempt.candidate)
        ):
            # D23: it only means that another server would know this call, and must not end it.
            detail = f"the server of this call does not answer, and another one says {status}"
            self._respond(self.around.local_response(self.request, 500, None, detail), None)
        else:
            self._respond(response, branch)

    @cython.cfunc
    def _pass_up(self, response: Response, branch: Branch):
        """To the sender; nobody looks at the response afterwards."""
        candidate: Candidate = None
        if branch is not None:
            response.drop_first(VIA)
            candidate = branch.attempt.candidate
        self.around.passed_up(self, response, candidate)
        self.transaction.respond(response)

    @cython.cfunc
    def _respond(self, response: Response, branch: Branch):
        self.final_sent = True
        if self._patience is not None:
            if self._patience.active():
                self._patience.cancel()
            self._patience = None
        self._pass_up(response, branch)
        self.around.finished(self)
        self._let_go()

    @cython.cfunc
    def _let_go(self):
        """The sender has its answer: once no branch is open, forget all that only they needed."""
        branch: Branch = self.latest
        while branch is not None:
            if not branch.ended:
                return
            branch = branch.earlier
        self.latest = None
        self.responses = None
        if not self._abandoned:  # else late answers may still come, which are news of a server
            self.route = None
            self.request = None

    # -- CANCEL (9, 16.10, D4) -------------------------------------------------------------------------------------------

    @cython.cfunc
    def cancel(self):
        """The sender's CANCEL: no new branch from now on."""
        if self.cancelled or self.final_sent:
            return
        self.cancelled = True
        self._cancel_others(None)
        self._patience = self.around.clock.callLater(CANCEL_PATIENCE, self._patience_over)

    def _patience_over(self) -> None:
        if self.final_sent:
            return
        branch: Branch = self.latest
        alive: cython.bint = False
        while branch is not None:
            alive = alive or (branch.answered and not branch.ended)
            branch = branch.earlier
        if alive and self._patience_left:
            # Its 487 is on the way. 9.1: after 64*T1 without one the call counts as cancelled all the same.
            self._patience_left = False
            self._patience = self.around.clock.callLater(64 * self.around.t1, self._patience_over)
            return
        branch = self.latest
        while branch is not None:
            if not branch.ended:
                branch.ended = True
                branch.disarm()
                self.route.record(branch.attempt, Cancelled(), branch)
                self._abandoned = True
                self.around.abandoned(branch)
            branch = branch.earlier
        self._answer_cancelled()

    @cython.cfunc
    def _answer_cancelled(self):
        self._respond(self.around.local_response(self.request, 487, None), None)

    @cython.cfunc
    def _cancel(self, branch: Branch):
        if not branch.cancelled and self.is_invite:
            branch.cancelled = True
            self.around.layer.cancel(branch.transaction)

    @cython.cfunc
    def _cancel_others(self, chosen: Branch):
        """One branch has made the call, or none shall; the others that may still ring get a CANCEL, held until their first
        word (9.1)."""
        branch: Branch = self.latest
        while branch is not None:
            if branch is not chosen and not branch.ended:
                self._cancel(branch)
            branch = branch.earlier


@cython.cfunc
def new_context(
    around: Surroundings, transaction: ServerTransaction, request: Request, route: Route
) -> ResponseContext:
    context: ResponseContext = ResponseContext.__new__(ResponseContext)
    context.around = around
    context.transaction = transaction
    context.request = request
    context.route = route
    context.latest = None
    context.responses = None
    context.final_sent = False
    context.cancelled = False
    context.is_invite = request.method_code == INVITE
    context.set_up_reported = False
    context._abandoned = False
    context._patience_left = True
    context.started = around.queue.now()
    context._patience = None
    return context


@cython.cfunc
def _new_branch(context: ResponseContext, attempt: Attempt) -> Branch:
    branch: Branch = Branch.__new__(Branch)
    branch.unarmed()
    branch.context = context
    branch.earlier = None
    branch.attempt = attempt
    branch.transaction = None
    branch.highest_provisional = 0
    branch.answered = False
    branch.ended = False
    branch.cancelled = False
    branch.connected = False
    return branch


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


@cython.cfunc
def _retry_after(response: Response) -> cython.int:
    """Seconds of Retry-After (20.33: digits, then perhaps a comment and parameters)."""
    text = (response.get("Retry-After") or "").partition(";")[0].partition("(")[0].strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else NONE_GIVEN
