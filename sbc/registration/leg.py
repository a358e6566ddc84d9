"""One REGISTER at one server, or, with successive registration, at one server after the other: `Leg`.

A leg asks its `AttemptPlan` where to send, sends under a Call-ID, CSeq and From tag of our own (pitfall D10), and
tells the group's health what became of it. What only concerns this server it settles by itself: a challenge that the
password file can answer, a 423 whose Min-Expires is longer than what we asked. It ends in one of four ways
(`Ending`), and tells its exchange, once.

Compiled when installed, as `exchange` is; the types of the fields are in leg.pxd.
"""

from __future__ import annotations

import enum

import cython

from sbc.redundancy.outcome import Cancelled, FoundDown, TimedOut, TransportFailed
from sbc.redundancy.plan import Verdict
from sbc.registration.contacts import read_expires
from sbc.registration.own_digest import answerable

if cython.compiled:
    from cython.cimports.sbc.clock import Timer
    from cython.cimports.sbc.flow import Flow
    from cython.cimports.sbc.location.candidate import Candidate
    from cython.cimports.sbc.redundancy.group import ServerGroup
    from cython.cimports.sbc.redundancy.outcome import NONE_GIVEN, Outcome, new_answered
    from cython.cimports.sbc.redundancy.plan import Attempt, AttemptPlan
    from cython.cimports.sbc.registration.bindings import Upstream
    from cython.cimports.sbc.registration.contacts import Contact, granted
    from cython.cimports.sbc.registration.targets import Target, Targets
    from cython.cimports.sbc.sip.message import Request, Response
    from cython.cimports.sbc.sip.scanner import REGISTER
    from cython.cimports.sbc.transaction.client import ClientTransaction
    from cython.cimports.sbc.transaction.interface import ClientTransactionUser, Transaction
    from cython.cimports.sbc.transaction.layer import TransactionLayer
else:
    from sbc.clock import Timer
    from sbc.flow import Flow
    from sbc.location.candidate import Candidate
    from sbc.redundancy.group import ServerGroup
    from sbc.redundancy.outcome import NONE_GIVEN, Outcome, new_answered
    from sbc.redundancy.plan import Attempt, AttemptPlan
    from sbc.registration.bindings import Upstream
    from sbc.registration.contacts import Contact, granted
    from sbc.registration.targets import Target, Targets
    from sbc.sip.message import Request, Response
    from sbc.sip.scanner import REGISTER
    from sbc.transaction.client import ClientTransaction
    from sbc.transaction.interface import ClientTransactionUser, Transaction
    from sbc.transaction.layer import TransactionLayer

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


_LONGEST_RETRY_AFTER = 2**31 - 1  # seconds; what a server says beyond them says no more

_ACCEPTED = cython.declare(object, Ending.ACCEPTED)
_SUCCESS = cython.declare(object, Verdict.SUCCESS)
_NEXT = cython.declare(object, Verdict.NEXT)
_RETURN = cython.declare(object, Verdict.RETURN)


@cython.cclass
class LegUser(Timer):
    """Whose legs they are: what a leg asks of its exchange, and tells it."""

    group: ServerGroup
    layer: TransactionLayer
    targets: Targets
    request: Request  # the phone's
    contacts: list

    @cython.cfunc
    def flow_to(self, candidate: Candidate) -> Flow:
        """The way to a server, None when there is no socket for it."""
        raise NotImplementedError

    @cython.cfunc
    def upstream(self, target: Target) -> Upstream:
        """Our series of REGISTERs at that server."""
        raise NotImplementedError

    @cython.cfunc
    def register_at(self, leg: Leg, branch: str, credentials: list | None) -> bytes:
        """The next REGISTER for the server where that leg is, showing these (header, value)."""
        raise NotImplementedError

    @cython.cfunc
    def phone_credentials_for(self, candidate: Candidate) -> list:
        """(header, value) of the phone that answer a challenge of that candidate."""
        raise NotImplementedError

    @cython.cfunc
    def own_credentials(self, target: Target) -> object:
        """The password file, if it may be used for this phone at that server."""
        raise NotImplementedError

    @cython.cfunc
    def own_username(self) -> str:
        """The name under which we answer challenges for this phone."""
        raise NotImplementedError

    @cython.cfunc
    def learn_nonces(self, response: Response, candidate: Candidate):
        """That candidate has challenged."""
        raise NotImplementedError

    @cython.cfunc
    def not_to_follow(self, leg: Leg) -> list:
        """The names of the servers that must not be asked after the one where that leg is, which has answered; None without."""
        return None

    @cython.cfunc
    def leg_ended(self, leg: Leg):
        """Once per leg, unless it was stopped."""
        raise NotImplementedError

    @cython.cfunc
    def judge_is_slow(self):
        """A leg has fired, which the exchange has armed as a timer."""
        raise NotImplementedError


@cython.cclass
class Leg(ClientTransactionUser):
    """Made by an exchange; `start` sends.

    `target` is the server where it is now, the first one until it has started; `candidate` where the last request went.
    `response` is what ended it, for UNREACHABLE the last answer if there was any; `reason` says for people why it was
    not accepted, and `granted_for` gives the seconds for each contact when it was.

    Nearly every REGISTER has one contact. What was asked and granted for it stands in a field of its own, what was for
    further ones in lists that are None as long as there are none.
    """

    target: Target
    candidate: Candidate
    ending: object
    response: Response
    reason: str
    own_password_refused: cython.bint  # the server did not accept what the password file made us answer
    showed_credentials: cython.bint  # the last request carried the phone's own credentials
    started: cython.bint
    was_hopeless: cython.bint  # when it started
    reserve: cython.bint  # asked only when nobody else is left: the phone is well there, or cannot answer two at once
    free: cython.bint  # asked besides, because the phone shows credentials for it: its challenge is nobody's
    brief: cython.bint  # it has accepted, but for so short a time that the phone is not told of it
    slow: cython.bint  # as the judge it was silent for so long that another server was asked
    offered: tuple  # the option tags of the extensions that the last request offered to the server; None without any
    gone_on_from: list  # (server, status or 0, reason) of each attempt before the last; None when there was no other
    _exchange: LegUser
    _group: ServerGroup
    _plan: AttemptPlan
    _attempt: Attempt
    _transaction: ClientTransaction
    flow: Flow
    upstream: Upstream
    _asked: cython.longlong  # seconds
    _asked_for_others: list
    _granted: cython.longlong
    _granted_to_others: list
    _lengthened: cython.bint
    _own_answers: cython.int
    _waiting: cython.bint
    _highest_provisional: cython.int

    @cython.cfunc
    def is_running(self) -> cython.bint:
        return self.started and self.ending is None

    @cython.cfunc
    def is_hopeless(self) -> cython.bint:
        """Nobody should wait for it: all that it may ask is known to be down."""
        if self._highest_provisional != 0 or self._group.all_accept:
            return False
        return not self._group.may_accept(self.target.name)

    @cython.cfunc
    def is_refused(self) -> cython.bint:
        """Has a living server said no, whatever it may mean? One that was known to be down, and fails before it has seen any
        credentials, has said nothing."""
        if self.response is None or self.ending is _ACCEPTED:
            return False
        return not self.was_hopeless or self.showed_credentials or self.response._status // 100 != 5

    @cython.cfunc
    def asked_for(self, place: cython.Py_ssize_t) -> cython.longlong:
        """The seconds asked for the contact at that place of the exchange's."""
        return self._asked if place == 0 else self._asked_for_others[place - 1]

    @cython.cfunc
    def granted_for(self, place: cython.Py_ssize_t) -> cython.longlong:
        return self._granted if place == 0 else self._granted_to_others[place - 1]

    @cython.cfunc
    def start(self):
        self.started = True
        self.was_hopeless = self.is_hopeless()
        self._next()

    @cython.cfunc
    def stop(self):
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
        exchange: LegUser = self._exchange
        attempt: Attempt = self._plan.next(self._now())
        if attempt is None:
            self._end(Ending.REFUSED if self._is_for_phone() else Ending.UNREACHABLE, self.reason or "no address known")
            return
        self._attempt = attempt
        self.candidate = attempt.candidate
        self.target = exchange.targets.named(attempt.server) or self.target
        self.upstream = exchange.upstream(self.target)
        self._own_answers = 0
        self._highest_provisional = 0
        self.flow = exchange.flow_to(attempt.candidate)
        if self.flow is None:
            self._failed(TransportFailed("no_listener"))
            return
        number: cython.Py_ssize_t = len(exchange.contacts)
        contact: Contact
        if number > 0:
            contact = exchange.contacts[0]
            self._asked = self.target.time_to_ask(exchange.targets, contact.expires)
        if number > 1:
            self._asked_for_others = [
                self.target.time_to_ask(exchange.targets, contact.expires) for contact in exchange.contacts[1:]
            ]
        self._lengthened = False
        self._send()

    @cython.cfunc
    def _send(self):
        exchange: LegUser = self._exchange
        attempt: Attempt = self._attempt
        credentials: list = None
        if self._own_answers == 0 and not self.target.trusted:
            credentials = exchange.phone_credentials_for(self.candidate)
        self.showed_credentials = credentials is not None and len(credentials) > 0
        if not self.showed_credentials:
            credentials = self._own_credentials()
        timeout: cython.double = attempt.timeout
        # A server that said 100 is alive: it has all the time there is.
        proceeding_timeout: cython.double = max(0.0, self._plan.deadline - self._now())
        timeout = min(timeout, proceeding_timeout)
        if not self._waiting:
            self._waiting = True
            self._group.waiting(self.candidate, self)
        layer: TransactionLayer = exchange.layer
        branch: str = layer.clients.new_branch(0)
        self._transaction = layer.send_ready(
            "REGISTER",
            REGISTER,
            exchange.register_at(self, branch, credentials),
            self.flow,
            self,
            branch,
            timeout,
            attempt.interval,
            proceeding_timeout,
        )

    @cython.cfunc
    def _own_credentials(self) -> list:
        """Answer the last challenge again without being asked, which saves a round."""
        exchange: LegUser = self._exchange
        upstream: Upstream = self.upstream
        if upstream.digest is None or self.target.trusted:
            return None
        digest = upstream.digest
        file = exchange.own_credentials(self.target)
        if file is None:
            return None
        if digest.username == exchange.own_username():
            answer = digest.authorization(exchange.request, file)
            if answer is not None:
                return [answer]
        upstream.digest = None
        return None

    @cython.cfunc
    def fire(self):
        self._exchange.judge_is_slow()

    # ClientTransactionUser

    @cython.ccall
    def response_received(self, transaction: Transaction, response: Response):
        if transaction is not self._transaction or self._attempt is None:
            return
        status: cython.int = response._status
        self._stop_waiting()
        if status < 200:
            self._highest_provisional = max(self._highest_provisional, status)
            self._observe(response)
        elif status == 401 or status == 407:
            self._challenged(response)
        elif (status == 420 and self._withdraw(response)) or (status == 423 and self._lengthen(response)):
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

    def __call__(self, cause: str) -> None:
        """The group calls who waits: another request noticed that the server is dead."""
        self._waiting = False
        if self.ending is None and self._attempt is not None:
            self._abandon_transaction()
            self._record(FoundDown(cause))

    # What it means

    @cython.cfunc
    def _challenged(self, response: Response):
        """D8: answer it ourselves if we may and can; else it is the phone's."""
        exchange: LegUser = self._exchange
        exchange.learn_nonces(response, self.candidate)
        upstream: Upstream = self.upstream
        own = None
        if not self.target.trusted:  # D8, method 3: it gets no credentials, whatever it says
            own = answerable(response, exchange.own_credentials(self.target), exchange.own_username())
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
    def _lengthen(self, response: Response) -> cython.bint:
        """A 423 to a REGISTER that is not an answer to the phone's challenge: ask for as long as the server wants.

        The phone is told what it asked for, and renews sooner than needed. With the phone's own credentials the request
        cannot be repeated, for its nonce count is used up: there the phone gets the 423 (10.3 item 7), unless it is registered
        elsewhere. The next REGISTER of any phone asks that server for so much from the start.
        """
        least = read_expires(response.get("Min-Expires"))
        if least is not None:
            self.target.insists_on(least)
        asked = [self.asked_for(place) for place in range(len(self._exchange.contacts))]
        shortest = min((seconds for seconds in asked if seconds), default=0)
        if self.showed_credentials or self._lengthened or least is None or not 0 < shortest < least:
            return False
        self._lengthened = True
        asked = [max(seconds, least) if seconds else 0 for seconds in asked]
        self._asked = asked[0]
        self._asked_for_others = asked[1:] or None
        return True

    @cython.cfunc
    def _withdraw(self, response: Response) -> cython.bint:
        """A 420 to what we have offered: ask without it. The phone's credentials are shown again, count and all; a server that
        does not take them twice challenges anew, once in the day that this is remembered."""
        if self.offered is None:
            return False
        extensions = self._exchange.targets.extensions
        return extensions.refuse(self.target.name, self.candidate, self.offered, response, self._now())

    @cython.cfunc
    def _observe(self, response: Response):
        """An answer on the way to the final one."""
        self._group.observe_status(self.candidate, response._status, self._now(), "REGISTER")

    @cython.cfunc
    def _answered(self, response: Response):
        retry_after: cython.int = NONE_GIVEN
        if response._status >= 300:
            retry_after = _retry_after(response)
            self.reason = f"{response._status} {response.reason_text()}".strip()
        outcome: Outcome = new_answered(response._status, retry_after, self._highest_provisional)
        self.response = response
        self._group.observe(self.candidate, outcome, self._now(), "REGISTER")
        self._record(outcome)

    @cython.cfunc
    def _failed(self, outcome: Outcome):
        self._stop_waiting()
        self.reason = str(outcome)
        self._group.observe(self.candidate, outcome, self._now(), "REGISTER")
        self._record(outcome)

    @cython.cfunc
    def _record(self, outcome: Outcome):
        attempt: Attempt = self._attempt
        self._attempt = None
        self._transaction = None
        if attempt is None:
            return  # observing the outcome found the server down, which ended this attempt already
        verdict = self._plan.record(attempt, outcome, self._now())
        if verdict is _SUCCESS:
            self._accepted()
        elif verdict is _NEXT:
            if isinstance(outcome, FoundDown):
                self.reason = str(outcome)
            if self.gone_on_from is None:
                self.gone_on_from = []
            status: cython.int = getattr(outcome, "status", 0)
            self.gone_on_from.append((attempt.server, status, self.reason))
            if status > 0:
                self._leave_out()
            self._next()
        elif verdict is _RETURN and self.response is not None:
            challenged: cython.bint = self.response._status == 401 or self.response._status == 407
            self._end(Ending.CHALLENGED if challenged else Ending.REFUSED, self.reason)
        else:
            self._end(Ending.UNREACHABLE, self.reason)

    @cython.cfunc
    def _leave_out(self):
        """Servers that the phone must not be able to reach by a refusal of this one are none to go on to."""
        names: list = self._exchange.not_to_follow(self)
        if names is not None:
            for name in names:
                self._plan.leave_out(name)

    @cython.cfunc
    def _is_for_phone(self) -> cython.bint:
        """Is the last answer a refusal of the phone that would have been gone on from, if another server were left? What a failing
        server says is not the phone's (D7, and RFC 4320 for 408)."""
        return self.response is not None and 400 <= self.response._status < 500 and self.response._status != 408

    @cython.cfunc
    def _accepted(self):
        exchange: LegUser = self._exchange
        number: cython.Py_ssize_t = len(exchange.contacts)
        place: cython.Py_ssize_t
        contact: Contact
        if number > 0:
            contact = exchange.contacts[0]
            self._granted = granted(self.response, contact.token, self._asked)
        if number > 1:
            self._granted_to_others = []
            for place in range(1, number):
                contact = exchange.contacts[place]
                self._granted_to_others.append(granted(self.response, contact.token, self.asked_for(place)))
        upstream: Upstream = self.upstream
        if upstream.digest is not None and not self.showed_credentials:
            upstream.digest.proven = True
        self._end(_ACCEPTED, "")

    @cython.cfunc
    def _end(self, ending: object, reason: str):
        self.ending = ending
        self.reason = reason
        self._transaction = None
        self._exchange.leg_ended(self)

    @cython.cfunc
    def _abandon_transaction(self):
        self._stop_waiting()
        transaction: ClientTransaction = self._transaction
        self._transaction = None
        if transaction is not None:
            transaction.terminate()

    @cython.cfunc
    def _stop_waiting(self):
        if self._waiting and self._attempt is not None:
            self._group.done(self.candidate, self)
        self._waiting = False

    @cython.cfunc
    def _now(self) -> cython.double:
        return self._exchange.layer.queue.now()


@cython.cfunc
def _retry_after(response: Response) -> cython.int:
    value = response.get("Retry-After")
    if value is None:
        return NONE_GIVEN
    seconds = read_expires(value.partition(";")[0].partition("(")[0].strip())
    return NONE_GIVEN if seconds is None else min(seconds, _LONGEST_RETRY_AFTER)


@cython.cfunc
def new_leg(exchange: LegUser, target: Target, plan: AttemptPlan) -> Leg:
    leg: Leg = Leg.__new__(Leg)
    leg.unarmed()
    leg.target = target
    leg.candidate = None
    leg.ending = None
    leg.response = None
    leg.reason = ""
    leg.own_password_refused = False
    leg.showed_credentials = False
    leg.started = False
    leg.was_hopeless = False
    leg.reserve = False
    leg.free = False
    leg.brief = False
    leg.slow = False
    leg.gone_on_from = None
    leg.offered = None
    leg._exchange = exchange
    leg._group = exchange.group
    leg._plan = plan
    leg._attempt = None
    leg._transaction = None
    leg.flow = None
    leg.upstream = None
    leg._asked = 0
    leg._asked_for_others = None
    leg._granted = 0
    leg._granted_to_others = None
    leg._lengthened = False
    leg._own_answers = 0
    leg._waiting = False
    leg._highest_provisional = 0
    return leg
