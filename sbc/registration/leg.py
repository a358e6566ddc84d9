"""One REGISTER at one server, or, with successive registration, at one server after the other: `Leg`.

A leg asks its `AttemptPlan` where to send, sends under a Call-ID, CSeq and From tag of our own (pitfall D10), and
tells the group's health what became of it. What only concerns this server it settles by itself: a challenge that the
password file can answer, a 423 whose Min-Expires is longer than what we asked. It ends in one of four ways
(`Ending`), and tells its exchange, once.

Compiled when installed, as `exchange` is; the types of the fields are in leg.pxd.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import cython

from sbc.flow import Flow
from sbc.location.candidate import Candidate
from sbc.redundancy.outcome import Answered, Cancelled, FoundDown, TimedOut, TransportFailed
from sbc.redundancy.plan import Attempt, AttemptPlan, Verdict
from sbc.redundancy.settings import ServerSettings
from sbc.registration.contacts import granted, read_expires
from sbc.registration.own_digest import answerable

if cython.compiled:
    from cython.cimports.sbc.sip.message import Response
    from cython.cimports.sbc.transaction.interface import ClientTransactionUser, Transaction
else:
    from sbc.sip.message import Response
    from sbc.transaction.interface import ClientTransactionUser, Transaction

if TYPE_CHECKING:
    from sbc.registration.exchange import Exchange
    from sbc.transaction.client import ClientTransaction

_MAX_OWN_ANSWERS = 2
"""One to a challenge, one more when the server calls that nonce stale."""


class Ending(enum.Enum):
    """How a leg ended."""

    ACCEPTED = "accepted"
    """2xx."""
    CHALLENGED = "challenged"
    """401 or 407 that only the phone could answer."""
    REFUSED = "refused"
    """Any other final answer that is the server's word on this registration."""
    UNREACHABLE = "unreachable"
    """No server that this leg may try gave an answer of its own: silent, unreachable, or failing (table D6: next)."""
    STOPPED = "stopped"
    """A newer REGISTER has taken its place."""


@cython.cclass
class Leg(ClientTransactionUser):
    """Made by an exchange; `start` sends."""

    def __init__(self, exchange: Exchange, server: ServerSettings, plan: AttemptPlan) -> None:
        self.server = server
        """Where it is now; the first one until it has started."""
        self.candidate: Candidate | None = None
        """Where the last request went."""
        self.ending: Ending | None = None
        self.response: Response | None = None
        """What ended it; for UNREACHABLE the last answer, if there was any."""
        self.reason = ""
        """Why it was not accepted, for people."""
        self.granted: dict[str, int] = {}
        """Token -> seconds, when it was accepted."""
        self.own_password_refused = False
        """The server did not accept what the password file made us answer."""
        self.showed_credentials = False
        """The last request carried the phone's own credentials."""
        self.started = False
        self.slow = False
        """As the judge it was silent for so long that another server was asked."""
        self._exchange = exchange
        self._group = exchange.group
        self._plan = plan
        self._attempt: Attempt | None = None
        self._transaction: ClientTransaction | None = None
        self._flow: Flow | None = None
        self._clock = exchange.clock
        self._expires: dict[str, int] = {}
        self._lengthened = False
        self._own_answers = 0
        self._waiting = False
        self._highest_provisional = 0

    @cython.cfunc
    def is_running(self) -> cython.bint:
        return self.started and self.ending is None

    @property
    def running(self) -> bool:
        return self.is_running()

    @property
    def hopeless(self) -> bool:
        """Nobody should wait for it: all that it may ask is known to be down."""
        return not self._highest_provisional and not self._exchange.may_answer(self.server)

    def start(self) -> None:
        self.started = True
        self._next()

    def stop(self) -> None:
        """A newer REGISTER is on its way: send nothing more, hear nothing more."""
        if self.ending is not None:
            return
        self.ending = Ending.STOPPED
        self._abandon_transaction()
        if self._attempt is not None:
            self._plan.record(self._attempt, Cancelled(), self._now())
            self._attempt = None

    # Attempts

    @cython.cfunc
    def _next(self):
        attempt = self._plan.next(self._now())
        if attempt is None:
            self._end(Ending.UNREACHABLE, self.reason or "no address known")
            return
        self._attempt = attempt
        self.candidate = attempt.candidate
        self.server = self._exchange.server_named(attempt.server) or self.server
        self._own_answers = 0
        self._highest_provisional = 0
        self._flow = self._exchange.flow_to(attempt.candidate)
        if self._flow is None:
            self._failed(TransportFailed("no_listener"))
            return
        self._expires = self._exchange.expires_for(self.server)
        self._lengthened = False
        self._send()

    @cython.cfunc
    def _send(self):
        attempt, flow = self._attempt, self._flow
        assert attempt is not None and flow is not None
        request = self._exchange.request_for(self.server, flow, self._expires)
        upstream = self._exchange.upstream(self.server.name)
        shown = self._exchange.phone_credentials_for(attempt.candidate) if self._own_answers == 0 else []
        self.showed_credentials = bool(shown)
        for name, value in shown:
            request.append(name, value)
        if not shown:
            self._add_own_credentials(request, upstream)
        now = self._now()
        timeout = attempt.timeout
        proceeding_timeout = timeout
        if self._plan.deadline is not None:
            # A server that said 100 is alive: it has all the time there is.
            proceeding_timeout = max(0.0, self._plan.deadline - now)
            timeout = min(timeout, proceeding_timeout)
        if not self._waiting:
            self._waiting = True
            self._group.waiting(attempt.candidate, self._found_down)
        self._transaction = self._exchange.layer.send_request(
            request, flow, self, timeout=timeout, interval=attempt.interval, proceeding_timeout=proceeding_timeout
        )

    @cython.cfunc
    def _add_own_credentials(self, request: object, upstream: object):
        """Answer the last challenge again without being asked, which saves a round."""
        digest = upstream.digest
        file = self._exchange.own_credentials(self.server) if digest is not None else None
        if file is None:
            return
        if digest.username != self._exchange.own_username or not digest.authorize(request, file):
            upstream.digest = None

    # ClientTransactionUser

    @cython.ccall
    def response_received(self, transaction: Transaction, response: Response):
        if transaction is not self._transaction or self._attempt is None:
            return
        self._stop_waiting()
        if response.status < 200:
            self._highest_provisional = max(self._highest_provisional, response.status)
            self._group.observe(self._attempt.candidate, Answered(response.status), self._now(), "REGISTER")
            return
        if response.status in (401, 407):
            self._challenged(response)
        elif response.status == 423 and self._lengthen(response):
            self._observe(response)
            self._send()
        else:
            self._answered(response)

    @cython.ccall
    def timed_out(self, transaction: Transaction):
        if transaction is self._transaction and self._attempt is not None:
            self._failed(TimedOut(self._attempt.sends, self._highest_provisional))

    @cython.ccall
    def transport_failed(self, transaction: Transaction, cause: str):
        if transaction is self._transaction:
            self._failed(TransportFailed(cause, highest_provisional=self._highest_provisional))

    def _found_down(self, cause: str) -> None:
        """Another request noticed that the server is dead."""
        self._waiting = False
        if self.ending is None and self._attempt is not None:
            self._abandon_transaction()
            self._record(FoundDown(cause))

    # What it means

    @cython.cfunc
    def _challenged(self, response: object):
        """D8: answer it ourselves if we may and can; else it is the phone's."""
        assert self._attempt is not None
        self._exchange.learn_nonces(response, self._attempt.candidate)
        upstream = self._exchange.upstream(self.server.name)
        own = answerable(response, self._exchange.own_credentials(self.server), self._exchange.own_username)
        refused = self._own_answers > 0 and not (own is not None and own.challenge.stale)
        if own is not None and not refused and self._own_answers < _MAX_OWN_ANSWERS:
            self._observe(response)
            upstream.digest = own
            self._own_answers += 1
            self._send()
            return
        self.own_password_refused = self._own_answers > 0
        upstream.digest = None
        self._answered(response)

    @cython.cfunc
    def _lengthen(self, response: object) -> cython.bint:
        """A 423 to a REGISTER that is not an answer to the phone's challenge: ask for as long as the server wants.

        The phone is told what it asked for, and renews sooner than needed. With the phone's own credentials the request
        cannot be repeated, for its nonce count is used up: there the phone gets the 423 (10.3 item 7).
        """
        least = read_expires(response.get("Min-Expires"))
        shortest = min((seconds for seconds in self._expires.values() if seconds), default=0)
        if self.showed_credentials or self._lengthened or least is None or not 0 < shortest < least:
            return False
        self._lengthened = True
        self._expires = {token: max(seconds, least) if seconds else 0 for token, seconds in self._expires.items()}
        return True

    @cython.cfunc
    def _observe(self, response: object):
        """An answer on the way to the final one."""
        assert self._attempt is not None
        self._group.observe(self._attempt.candidate, Answered(response.status), self._now(), "REGISTER")

    @cython.cfunc
    def _answered(self, response: object):
        assert self._attempt is not None
        retry_after = response.get("Retry-After")
        if retry_after is not None:
            retry_after = read_expires(retry_after.partition(";")[0].partition("(")[0].strip())
        outcome = Answered(response.status, retry_after, self._highest_provisional)
        self.response = response
        self.reason = f"{response.status} {response.reason}".strip()
        self._group.observe(self._attempt.candidate, outcome, self._now(), "REGISTER")
        self._record(outcome)

    @cython.cfunc
    def _failed(self, outcome: object):
        assert self._attempt is not None
        self._stop_waiting()
        self.reason = str(outcome)
        self._group.observe(self._attempt.candidate, outcome, self._now(), "REGISTER")
        self._record(outcome)

    @cython.cfunc
    def _record(self, outcome: object):
        attempt, self._attempt, self._transaction = self._attempt, None, None
        if attempt is None:
            return  # observing the outcome found the server down, which ended this attempt already
        verdict = self._plan.record(attempt, outcome, self._now())
        if verdict is Verdict.NEXT:
            if isinstance(outcome, FoundDown):
                self.reason = str(outcome)
            self._next()
        elif verdict is Verdict.SUCCESS:
            self._accepted()
        elif verdict is Verdict.RETURN and self.response is not None:
            challenged = self.response.status in (401, 407)
            self._end(Ending.CHALLENGED if challenged else Ending.REFUSED, self.reason)
        else:
            self._end(Ending.UNREACHABLE, self.reason)

    @cython.cfunc
    def _accepted(self):
        response = self.response
        assert response is not None
        told: dict = {}
        for token, asked in self._expires.items():
            told[token] = granted(response, token, asked)
        self.granted = told
        upstream = self._exchange.upstream(self.server.name)
        if upstream.digest is not None and not self.showed_credentials:
            upstream.digest.proven = True
        self._end(Ending.ACCEPTED, "")

    @cython.cfunc
    def _end(self, ending: object, reason: str):
        self.ending = ending
        self.reason = reason
        self._transaction = None
        self._exchange.leg_ended(self)

    @cython.cfunc
    def _abandon_transaction(self):
        self._stop_waiting()
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            transaction.terminate()

    @cython.cfunc
    def _stop_waiting(self):
        if self._waiting and self._attempt is not None:
            self._group.done(self._attempt.candidate, self._found_down)
        self._waiting = False

    @cython.cfunc
    def _now(self) -> object:
        return self._clock.seconds()
