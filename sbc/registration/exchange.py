"""The way of one REGISTER of a phone: `Exchange`.

For the servers we are the phone, for the phone we are the registrar (pitfall D11): a REGISTER is not forwarded but
made anew, one for each registrar server of the group (`Leg`), and the phone gets one answer. Three things govern it.

*Acceptance.* Nothing may be registered anywhere for somebody whom nobody has accepted. A fallback that trusts our
address would register any stranger. So there are two phases.

1. Asking. The REGISTER goes to one server, the judge: the one whose nonce the phone shows, else the highest-ranked
   that is not known to be down. What the judge says is the phone's: its challenge above all, byte for byte, because
   phones can answer only one (D8). When it is silent for `register_wait`, or is given up or found down, or refuses,
   the next server is asked as well.
2. Telling. As soon as the phone is accepted, by a server's 2xx or by our own check of its digest against the password
   file, the REGISTER goes to all the others at once. A phone that shows a good digest for a challenge of ours to know
   is accepted on arrival: then both phases are one, and all servers are told concurrently.

*Credentials.* The phone's go to the candidate that issued their nonce and to no other. The others' challenges are
answered from the password file, if the phone has proved itself by digest, or a server of higher rank has let it in
without: what a fallback believes is no reason to vouch for a phone at the primary.

*Time.* Once any server has said its final word, the phone waits `register_wait` for the rest, but not for a server
that is known to be down, nor again for a judge that has used up its time. Whatever comes later only changes what we
know. The phone has its answer within 31 s (D1), and neither a 408 (RFC 4320) nor a 503 (D7) among them.

The answer: 2xx if any server accepted, with the headers of the highest-ranked one that did, the phone's Contacts byte
for byte, and the shortest time granted anywhere; else the refusal of the highest-ranked server that refused.

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1: every phone comes by
several times an hour. The types of the fields are in exchange.pxd.
"""

from __future__ import annotations

import cython

from sbc.registration.contacts import around_parameter, option_tags_without
from sbc.registration.leg import Ending
from sbc.registration.nonces import ANSWERED_BY, shown_credentials, with_stale
from sbc.registration.own_digest import is_proof

if cython.compiled:
    from cython.cimports.sbc.clock import TimerQueue
    from cython.cimports.sbc.flow import Flow
    from cython.cimports.sbc.location.candidate import Candidate
    from cython.cimports.sbc.registration.bindings import Binding, Bindings, Upstream
    from cython.cimports.sbc.registration.contacts import Contact
    from cython.cimports.sbc.registration.leg import Leg, LegUser, new_leg
    from cython.cimports.sbc.registration.targets import Target, Targets
    from cython.cimports.sbc.sip.lines import Name, OwnLine, name_of, new_line
    from cython.cimports.sbc.sip.message import Request, Response
    from cython.cimports.sbc.sip.scanner import (
        AUTHORIZATION,
        CALL_ID,
        CONTACT,
        CONTENT_LENGTH,
        CONTENT_TYPE,
        CSEQ,
        EXPIRES,
        FROM,
        MAX_FORWARDS,
        PATH,
        PROXY_AUTHORIZATION,
        RECORD_ROUTE,
        REQUIRE,
        ROUTE,
        SERVICE_ROUTE,
        SUPPORTED,
        TO,
        VIA,
    )
    from cython.cimports.sbc.sip.writer import Writer
    from cython.cimports.sbc.transaction.layer import TransactionLayer
    from cython.cimports.sbc.transaction.server import ServerTransaction
else:
    from sbc.clock import TimerQueue
    from sbc.flow import Flow
    from sbc.location.candidate import Candidate
    from sbc.registration.bindings import Binding, Bindings, Upstream
    from sbc.registration.contacts import Contact
    from sbc.registration.leg import Leg, LegUser, new_leg
    from sbc.registration.targets import Target, Targets
    from sbc.sip.lines import Name, OwnLine, name_of, new_line
    from sbc.sip.message import Request, Response
    from sbc.sip.scanner import (
        AUTHORIZATION,
        CALL_ID,
        CONTACT,
        CONTENT_LENGTH,
        CONTENT_TYPE,
        CSEQ,
        EXPIRES,
        FROM,
        MAX_FORWARDS,
        PATH,
        PROXY_AUTHORIZATION,
        RECORD_ROUTE,
        REQUIRE,
        ROUTE,
        SERVICE_ROUTE,
        SUPPORTED,
        TO,
        VIA,
    )
    from sbc.sip.writer import Writer
    from sbc.transaction.layer import TransactionLayer
    from sbc.transaction.server import ServerTransaction

COMPILED = bool(cython.compiled)

_ACCEPTED = cython.declare(object, Ending.ACCEPTED)
_REFUSED = cython.declare(object, Ending.REFUSED)
_CHALLENGED = cython.declare(object, Ending.CHALLENGED)

PHONE_PATIENCE = 31.0
"""Seconds from arrival to the last moment for an answer: the phone's Timer F less one second on the way (D1)."""

# Between the phone and us only, or made anew for each server.
_NOT_KEPT = cython.declare(
    cython.int,
    VIA | ROUTE | RECORD_ROUTE | PATH | AUTHORIZATION | PROXY_AUTHORIZATION | CONTACT | EXPIRES
    | FROM | CALL_ID | CSEQ | MAX_FORWARDS,
)
# What a phone may promise about a Contact of its own, and we not about ours (RFC 5626, 5627, 3327).
OPTION_TAGS_OF_A_CONTACT = frozenset(("outbound", "gruu", "path"))
# Of a server's answer: ours to write, or true only between the server and us.
_NOT_RETURNED = cython.declare(
    cython.int,
    VIA | FROM | TO | CALL_ID | CSEQ | CONTACT | EXPIRES | CONTENT_LENGTH | CONTENT_TYPE | MAX_FORWARDS
    | RECORD_ROUTE | PATH | SERVICE_ROUTE,
)
# The same, for headers without a bit.
_OF_THE_BODY = ("Content-Encoding", "Content-Disposition", "Content-Language", "MIME-Version")
_NOT_RETURNED_EITHER = cython.declare(tuple, tuple(name_of(name) for name in _OF_THE_BODY))
_ABOUT_CREDENTIALS = cython.declare(
    tuple, tuple(name_of(name) for name in ("Authentication-Info", "Proxy-Authentication-Info"))
)
_REPEATED = cython.declare(cython.int, VIA | FROM | TO | CALL_ID | CSEQ)  # in a response (RFC 3261 8.2.6.2)
_WRITER = cython.declare(Writer, Writer())  # nobody holds it for longer than one message
_NO_BODY = cython.declare(OwnLine, new_line("Content-Length", "0"))


@cython.cclass
class ExchangeUser:
    """Who has an exchange made: what it asks of the registrar, and tells it."""

    layer: TransactionLayer
    queue: TimerQueue
    credentials: object
    bindings: Bindings
    nonces: object
    boot: str

    @cython.cfunc
    def server_flow(self, candidate: Candidate) -> Flow:
        """The way to a server, None when there is no socket for it."""
        raise NotImplementedError

    @cython.cfunc
    def query_token(self, aor: str) -> str:
        """In the place of a contact's token, for the series of REGISTERs that have no Contact."""
        raise NotImplementedError

    @cython.cfunc
    def new_upstream(self, server: str) -> Upstream:
        """A series that is not under way yet."""
        raise NotImplementedError

    @cython.cfunc
    def next_cseq(self, upstream: Upstream) -> cython.longlong:
        """For the next REGISTER of the series. May change `boot`, and with it the Call-ID."""
        raise NotImplementedError

    @cython.cfunc
    def let_in(self, exchange: Exchange):
        """The phone is accepted before any server has answered."""
        raise NotImplementedError

    @cython.cfunc
    def accepted(self, exchange: Exchange, leg: Leg):
        """A server has said 2xx."""
        raise NotImplementedError

    @cython.cfunc
    def not_accepted(self, exchange: Exchange, leg: Leg):
        """A server refused, challenged, or did not answer."""
        raise NotImplementedError

    @cython.cfunc
    def credentials_rejected(self, exchange: Exchange):
        """The phone has shown credentials, and they did not get it in."""
        raise NotImplementedError

    @cython.cfunc
    def settle(self, exchange: Exchange, told: list) -> list:
        """The phone is about to be told these seconds for its contacts. Returns the Contact values of the answer."""
        raise NotImplementedError

    @cython.cfunc
    def exchange_over(self, exchange: Exchange):
        """The phone is answered, and nothing is under way any more."""
        raise NotImplementedError


@cython.cclass
class Exchange(LegUser):
    """Made by the registrar for one REGISTER that it wants asked; tells the registrar what becomes of it.

    `contacts` are to be registered, or with `expires` 0 to be removed; none for a query. `serial` counts up in the order in
    which the phones sent them. `accepted`: somebody has let this phone in; `proven`: it has shown by digest who it is,
    `username`.
    """

    aor: str
    serial: cython.longlong
    is_query: cython.bint
    is_removal: cython.bint
    phone_flow: Flow
    accepted: cython.bint
    proven: cython.bint
    username: str
    answered: cython.bint
    _registrar: ExchangeUser
    _queue: TimerQueue
    _transaction: ServerTransaction
    _user: str
    _token: str  # of the first contact, which names the series
    _shown: list
    _upstreams: list
    # What all servers are sent: the request line, from the end of our branch to the From, and the From around its tag.
    _start_line: bytes
    _kept: bytes
    _before_tag: bytes
    _after_tag: bytes
    _body: bytes
    _legs: list
    _all_started: cython.bint
    _deciding: cython.bint
    _decide_again: cython.bint
    # It is its own timer, for the moment in which the phone is answered with what there is: the deadline, or sooner, when
    # it `_waits` only for others than who has spoken already. The judge is the timer for asking another one as well.
    _deadline: cython.double
    _waits: cython.bint
    _judge: Leg

    @cython.cfunc
    def start(self):
        now: cython.double = self._queue.now()
        self._deadline = now + PHONE_PATIENCE
        self._queue.arm(self, now, PHONE_PATIENCE)
        for server, plan in self.group.register_plans(now, self._deadline):
            self._legs.append(new_leg(self, self.targets.of(server), plan))
        self._order_judges()
        if self._shown is not None:
            self._check_credentials(now)
            if self.accepted:
                self._registrar.let_in(self)
        self._decide()

    @cython.cfunc
    def _is_over(self) -> cython.bint:
        """The phone is answered and nothing is under way any more."""
        leg: Leg
        if not self.answered:
            return False
        for leg in self._legs:  # noqa: SIM110 (a generator would cost more than the loop; so below)
            if leg.is_running():
                return False
        return True

    @cython.cfunc
    def release(self):
        """Nothing will come any more: no reference between exchange and legs is left for the garbage collector."""
        self._legs = []

    @cython.cfunc
    def supersede(self):
        """A newer REGISTER for the same contact has come: this one must not change anything any more."""
        leg: Leg
        for leg in self._legs:
            leg.stop()
        if not self.answered:
            self._respond(self._answer_with(500, "Superseded by a Newer REGISTER"))

    # Acceptance

    @cython.cfunc
    def _order_judges(self):
        """Who issued a nonce that the phone shows comes first, then by rank."""
        if self._shown is None:
            _sort_by_rank(self._legs)
            return
        now = self._queue.now()
        found = [self._registrar.nonces.issuer(credentials.nonce, now) for _, _, credentials in self._shown]
        issuers = [self.group.owner(candidate) for candidate in found if candidate is not None]
        self._legs.sort(key=lambda leg: (leg.target.settings not in issuers, leg.target.rank))

    @cython.cfunc
    def _check_credentials(self, now: cython.double):
        """Our own check: the digest fits the password file, and answers a challenge that one of our servers issued.

        It tells who the phone is. That this user may register this address-of-record is the servers' to say, so it
        counts only where that is plain: the same name, or a name with which a server has accepted this contact before.
        """
        nonces = self._registrar.nonces
        for _, _, credentials in self._shown:
            if nonces.issuer(credentials.nonce, now) is None:
                continue
            if not self._is_own_account(credentials.username):
                continue
            if not is_proof(credentials, self._registrar.credentials, self.request):
                continue
            if nonces.is_fresh(credentials.nonce, credentials.nc or 0, now):
                self.accepted = self.proven = True
                self.username = credentials.username

    def _is_own_account(self, username: str) -> bool:
        if username == self.request.to.uri.user_unescaped:
            return True
        bindings = [self._registrar.bindings.get(contact.token) for contact in self.contacts]
        return bool(bindings) and all(binding is not None and binding.username == username for binding in bindings)

    @cython.cfunc
    def own_username(self) -> str:
        contact: Contact
        binding: Binding
        if self.username:
            return self.username
        for contact in self.contacts:
            binding = self._registrar.bindings.find(contact.token)
            if binding is not None and binding.username:
                return binding.username
        return self.request.to.uri.user_unescaped

    @cython.cfunc
    def own_credentials(self, target: Target) -> object:
        leg: Leg
        if self._registrar.credentials is None:
            return None
        if self.proven:
            return self._registrar.credentials
        for leg in self._legs:
            if leg.ending is _ACCEPTED and leg.target.rank < target.rank:
                return self._registrar.credentials
        return None

    @cython.cfunc
    def phone_credentials_for(self, candidate: Candidate) -> list:
        """Those that answer a challenge of that candidate, as they came."""
        if self._shown is None:
            return None
        now = self._queue.now()
        issuer = self._registrar.nonces.issuer
        return [(name, value) for name, value, shown in self._shown if issuer(shown.nonce, now) == candidate]

    @cython.cfunc
    def learn_nonces(self, response: Response, candidate: Candidate):
        self._registrar.nonces.learn(response, candidate, self._queue.now())

    # Which legs run, and when the phone is answered

    @cython.cfunc
    def leg_ended(self, leg: Leg):
        if leg.ending is _ACCEPTED:
            self._accepted_by(leg)
        else:
            self._not_accepted_by(leg)
        self._decide()

    @cython.cfunc
    def _accepted_by(self, leg: Leg):
        self.accepted = True
        if leg.showed_credentials:
            now = self._queue.now()
            nonces = self._registrar.nonces
            for _, _, credentials in self._shown:
                if nonces.issuer(credentials.nonce, now) == leg.candidate:
                    self.proven = True
                    self.username = credentials.username
                    nonces.used(credentials.nonce, now)
            nonces.learn(leg.response, leg.candidate, now)
        self._registrar.accepted(self, leg)

    @cython.cfunc
    def _not_accepted_by(self, leg: Leg):
        if leg.ending is _CHALLENGED and not self.accepted and not self.answered:
            self._pass_challenge(leg)
        self._registrar.not_accepted(self, leg)

    @cython.cfunc
    def _decide(self):
        """Bring what runs and what waits in line with what is known. May be called from within itself: a leg that
        cannot send ends at once."""
        self._decide_again = True
        if self._deciding:
            return
        self._deciding = True
        try:
            while self._decide_again:
                self._decide_again = False
                self._decide_once()
        finally:
            self._deciding = False
        if self._is_over():
            self._registrar.exchange_over(self)

    @cython.cfunc
    def _decide_once(self):
        if self.answered:
            return
        self._start_legs()
        if self._decide_again:
            return
        leg: Leg
        running: list = self._running_legs()
        if not running or self._is_decided():
            self._answer()
            return
        has_accepted: cython.bint = False
        has_final_word: cython.bint = False
        all_started: cython.bint = True
        for leg in self._legs:
            if leg.ending is _ACCEPTED:
                has_accepted = True
            if leg.ending is _ACCEPTED or leg.ending is _REFUSED or leg.ending is _CHALLENGED:
                has_final_word = True
            if not leg.started:
                all_started = False
        if has_accepted:
            for leg in running:
                if not leg.slow and not leg.is_hopeless():
                    break
            else:
                self._answer()
                return
        if self._waits:
            return
        if not has_final_word and all_started:
            # When all that is left is known to be down, it may have come back; that would be known at once.
            has_final_word = _all_hopeless(running)
        if has_final_word:
            self._waits = True
            now: cython.double = self._queue.now()
            if now + self.targets.register_wait < self._deadline:
                self._queue.arm(self, now, self.targets.register_wait)

    @cython.cfunc
    def _running_legs(self) -> list:
        leg: Leg
        running: list = []
        for leg in self._legs:
            if leg.is_running():
                running.append(leg)
        return running

    @cython.cfunc
    def _is_decided(self) -> cython.bint:
        """Has the judge refused in a way that is no other server's business (table D6: 403 and 404 are)? Only as long
        as nobody has let the phone in, and unless a better server may still speak."""
        leg: Leg
        if self.accepted:
            return False
        for leg in self._legs:
            if (
                leg.ending is _REFUSED
                and leg.response is not None
                and not self.targets.may_move_on(leg.response._status)
                and not self._is_better_running(leg)
            ):
                return True
        return False

    @cython.cfunc
    def _is_better_running(self, than: Leg) -> cython.bint:
        leg: Leg
        for leg in self._legs:  # noqa: SIM110
            if leg.is_running() and leg.target.rank < than.target.rank:
                return True
        return False

    @cython.cfunc
    def _waiting_legs(self) -> list:
        leg: Leg
        waiting: list = []
        for leg in self._legs:
            if not leg.started:
                waiting.append(leg)
        return waiting

    @cython.cfunc
    def _start_legs(self):
        leg: Leg
        if self._all_started:
            return
        waiting: list = self._waiting_legs()
        if not waiting:
            self._all_started = True
            return
        if self._is_decided() or (self.is_query and self._accepted_legs()):
            return
        if self.accepted and not self.is_query:
            self._stop_hedging()
            self._all_started = True
            for leg in waiting:
                leg.start()
            return
        running: list = self._running_legs()
        if not running or (_all_hopeless(running) and not _all_hopeless(waiting)):  # another is alive
            self._ask_another(waiting)

    @cython.cfunc
    def _ask_another(self, waiting: list):
        """Another judge: the first that is not known to be down, else the first. One that is down gets T1 only: if it
        has come back, that is enough."""
        leg: Leg
        judge: Leg = waiting[0]
        is_hopeless: cython.bint = True
        for leg in waiting:
            if not leg.is_hopeless():
                judge = leg
                is_hopeless = False
                break
        self._stop_hedging()
        if len(waiting) > 1:
            self._judge = judge
            self._queue.arm(judge, self._queue.now(), self.layer.t1 if is_hopeless else self.targets.register_wait)
        judge.start()

    @cython.cfunc
    def judge_is_slow(self):
        leg: Leg
        self._judge = None
        for leg in self._legs:
            leg.slow = leg.is_running()
        self._ask_another(self._waiting_legs())
        self._decide()

    @cython.cfunc
    def fire(self):
        if not self.answered:
            self._answer()
        self._decide()

    @cython.cfunc
    def _stop_hedging(self):
        if self._judge is not None:
            self._judge.disarm()
            self._judge = None

    # What the servers are sent

    @cython.cfunc
    def flow_to(self, candidate: Candidate) -> Flow:
        return self._registrar.server_flow(candidate)

    @cython.cfunc
    def upstream(self, target: Target) -> Upstream:
        """That of the first contact, whose Call-ID all of them share."""
        known: Upstream
        for known in self._upstreams:
            if known.server == target.name:
                return known
        known = self._registrar.new_upstream(target.name)
        self._upstreams.append(known)
        return known

    @cython.cfunc
    def register_at(
        self, target: Target, upstream: Upstream, flow: Flow, branch: str, seconds: list, credentials: list | None
    ) -> bytes:
        """The phone's REGISTER, in a dress of ours (D10)."""
        if self._kept is None:
            self._make_template()
        registrar: ExchangeUser = self._registrar
        cseq: cython.longlong = registrar.next_cseq(upstream)
        writer: Writer = _WRITER
        writer.begin()
        writer.octets(self._start_line)
        writer.octets(flow.via_start)
        writer.text(branch)
        writer.octets(self._kept)
        writer.octets(self._before_tag)
        writer.text(registrar.boot)
        writer.text(target.series)
        writer.octets(self._after_tag)
        writer.octets(b"\r\nCall-ID: ")
        writer.text(registrar.boot)
        writer.octets(b"-")
        writer.text(self._token)
        writer.octets(b"-")
        writer.text(target.series)
        writer.octets(b"\r\nCSeq: ")
        writer.number(cseq)
        writer.octets(b" REGISTER\r\n")
        if self.contacts:
            self._write_contacts(writer, flow, seconds)
        if credentials is not None:
            for name, value in credentials:
                writer.text(f"{name}: {value}\r\n")
        if flow.reliable and not self.request.may_have(CONTENT_LENGTH):
            writer.text(f"Content-Length: {len(self._body)}\r\n")  # 20.14
        writer.octets(b"\r\n")
        writer.octets(self._body)
        return writer.written()

    @cython.cfunc
    def _write_contacts(self, writer: Writer, flow: Flow, seconds: list):
        contact: Contact
        longest: cython.longlong = 0
        wanted: cython.longlong
        place: cython.Py_ssize_t
        for place in range(len(self.contacts)):
            contact = self.contacts[place]
            wanted = seconds[place]
            longest = max(longest, wanted)
            writer.octets(b"Contact: ")
            contact.write_at_server(writer, self._user, flow.contact, wanted)
            writer.octets(b"\r\n")
        writer.octets(b"Expires: ")
        writer.number(longest)
        writer.octets(b"\r\n")

    @cython.cfunc
    def _make_template(self):
        """What is the same for all servers."""
        request: Request = self.request
        writer: Writer = _WRITER
        writer.begin()
        writer.octets(b"REGISTER ")
        writer.octets(request.request_uri_bytes())
        writer.octets(b" SIP/2.0\r\n")
        self._start_line = writer.written()
        writer.begin()
        # RFC 7332: made anew or not, it has come so far. Two appliances that are each other's servers come to an end.
        hops: cython.int = request.hops_left()
        writer.octets(b"\r\n")
        writer.octets(_without_promises(request).other_lines(_NOT_KEPT))
        writer.octets(b"Max-Forwards: ")
        writer.number(70 if hops < 0 else max(0, hops - 1))
        writer.octets(b"\r\nFrom: ")
        self._kept = writer.written()
        around: tuple = request.around_from_tag()
        if around is None:
            before, after = around_parameter(request.value_of(FROM), "tag")
            around = before.encode("utf-8", "surrogateescape"), after.encode("utf-8", "surrogateescape")
        self._before_tag = around[0]
        self._after_tag = around[1]
        self._body = request.get_body()

    # What the phone is told

    @cython.cfunc
    def _answer(self):
        """Answer with what there is."""
        accepted: list = self._accepted_legs()
        if accepted or (self.is_removal and self.accepted):
            self._answer_success(accepted)
            return
        refused = sorted((leg for leg in self._legs if leg.ending is _REFUSED), key=lambda leg: leg.target.rank)
        if refused and refused[0].response is not None:
            self._pass_refusal(refused[0].response)
        else:
            challenged = [leg for leg in self._legs if leg.ending is _CHALLENGED]
            if challenged:
                self._pass_challenge(challenged[0])
            else:
                self._nobody_answered()

    @cython.cfunc
    def _accepted_legs(self) -> list:
        """By rank."""
        leg: Leg
        accepted: list = []
        for leg in self._legs:
            if leg.ending is _ACCEPTED:
                accepted.append(leg)
        _sort_by_rank(accepted)
        return accepted

    @cython.cfunc
    def _answer_success(self, accepted: list):
        told: list = []
        place: cython.Py_ssize_t
        for place in range(len(self.contacts)):
            told.append(_shortest(self.contacts[place], place, accepted))
        response: Response = self._answer_with(200, None)
        line: OwnLine
        for line in self._registrar.settle(self, told):
            response.append_line(line)
        if accepted:
            best: Leg = accepted[0]
            if _take_over(best.response, response) and not best.showed_credentials:
                _drop(response, _ABOUT_CREDENTIALS)
            if told and best.response.place_of(EXPIRES) >= 0:
                response.append_line(new_line("Expires", f"{max(told)}"))
        self._respond(response)

    @cython.cfunc
    def _pass_challenge(self, leg: Leg):
        """401 or 407: the server's own words. With stale=true where the phone had shown credentials that this server
        was never given, so that it does not take its password for wrong."""
        response: Response = self._answer_with(leg.response._status, leg.response.reason_text())
        _take_over(leg.response, response)
        if self._shown is not None:
            self._registrar.credentials_rejected(self)
            if not leg.showed_credentials:
                for name in ANSWERED_BY:
                    response.set_all(name, [with_stale(value) for value in response.get_all(name)])
        self._respond(response)

    @cython.cfunc
    def _pass_refusal(self, refusal: Response):
        if self._shown is not None and refusal._status in (403, 404):
            self._registrar.credentials_rejected(self)
        response: Response = self._answer_with(refusal._status, refusal.reason_text())
        _take_over(refusal, response)
        self._respond(response)

    @cython.cfunc
    def _nobody_answered(self):
        """480: 408 is forbidden (RFC 4320 4.2), and a 503 would make the phone think that we are at fault (D7)."""
        tried = "; ".join(f"{leg.target.name}: {leg.reason or 'no answer'}" for leg in self._legs) or "none configured"
        text = f"no registrar of {self.group.name} answered ({tried})".replace("\\", "").replace('"', "'")
        response: Response = self._answer_with(480, "No Registrar Answers")
        response.append("Warning", f'399 sbc "{text}"')
        self._respond(response)

    @cython.cfunc
    def _answer_with(self, status: cython.int, reason: str | None) -> Response:
        """So far with what the phone wrote; without `reason` the usual one."""
        response: Response = Response.__new__(Response)
        response.answer(self.request, status, reason, None, _REPEATED)
        return response

    @cython.cfunc
    def _respond(self, response: Response):
        self.answered = True
        self.disarm()
        self._stop_hedging()
        response.append_line(_NO_BODY)
        self._transaction.respond(response)


@cython.cfunc
def _without_promises(request: Request) -> Request:
    """The request without the option tags that a phone may say of its own Contact only; often there are none."""
    if request.may_have(SUPPORTED):
        request = _without_tags(request, "Supported")
    if request.may_have(REQUIRE):
        request = _without_tags(request, "Require")
    return request


@cython.cfunc
def _without_tags(request: Request, name: str) -> Request:
    kept = option_tags_without(request, name, OPTION_TAGS_OF_A_CONTACT)
    if kept is None:
        return request
    request = request.copy()
    if kept:
        request.set(name, ", ".join(kept))
    else:
        request.remove(name)
    return request


@cython.cfunc
def _take_over(answer: Response, response: Response) -> cython.bint:
    """Tell the phone what a server has said, but for what is ours to say, or true only between the server and us. Was there
    anything?"""
    if response.take_others(answer, _NOT_RETURNED) == 0:
        return False
    _drop(response, _NOT_RETURNED_EITHER)
    return True


@cython.cfunc
def _drop(response: Response, names: tuple):
    name: Name
    for name in names:
        response.drop_named(name)


@cython.cfunc
def new_exchange(
    registrar: ExchangeUser,
    transaction: ServerTransaction,
    request: Request,
    targets: Targets,
    aor: str,
    user: str,
    contacts: list,
    serial: cython.longlong,
) -> Exchange:
    """`user` is the user part of the address-of-record as the phone spelled it."""
    exchange: Exchange = Exchange.__new__(Exchange)
    exchange.unarmed()
    exchange.group = targets.group
    exchange.layer = registrar.layer
    exchange.targets = targets
    exchange.request = request
    exchange.contacts = contacts
    exchange.aor = aor
    exchange.serial = serial
    exchange.is_query = not contacts
    exchange.is_removal = _all_removed(contacts)
    exchange.phone_flow = transaction.flow
    exchange.accepted = False
    exchange.proven = False
    exchange.username = ""
    exchange.answered = False
    exchange._registrar = registrar
    exchange._queue = registrar.queue
    exchange._transaction = transaction
    exchange._user = user
    exchange._shown = None
    if request.may_have(AUTHORIZATION | PROXY_AUTHORIZATION):
        exchange._shown = shown_credentials(request) or None
    exchange._upstreams = []
    contact: Contact
    binding: Binding = None
    if contacts:
        contact = contacts[0]
        exchange._token = contact.token
        binding = registrar.bindings.find(contact.token)
        if binding is not None:
            exchange._upstreams.extend(binding.upstreams)
    else:
        exchange._token = registrar.query_token(aor)
    exchange._start_line = None
    exchange._kept = None
    exchange._before_tag = None
    exchange._after_tag = None
    exchange._body = None
    exchange._legs = []
    exchange._all_started = False
    exchange._deciding = False
    exchange._decide_again = False
    exchange._deadline = 0.0
    exchange._waits = False
    exchange._judge = None
    return exchange


@cython.cfunc
def _shortest(contact: Contact, place: cython.Py_ssize_t, accepted: list) -> cython.longlong:
    """The shortest time that a server granted for it, the one at that place; 0 when it was removed."""
    leg: Leg
    shortest: cython.longlong = 0
    seconds: cython.longlong
    if contact.expires == 0:
        return 0
    for leg in accepted:
        seconds = leg.granted[place]
        if seconds > 0 and (shortest == 0 or seconds < shortest):
            shortest = seconds
    return shortest


@cython.cfunc
def _all_hopeless(legs: list) -> cython.bint:
    leg: Leg
    for leg in legs:  # noqa: SIM110
        if not leg.is_hopeless():
            return False
    return True


@cython.cfunc
def _all_removed(contacts: list) -> cython.bint:
    """False without any."""
    contact: Contact
    for contact in contacts:
        if contact.expires != 0:
            return False
    return len(contacts) > 0


@cython.cfunc
def _sort_by_rank(legs: list):
    """In place, and those of equal rank stay in their order; it nearly always has nothing to do."""
    leg: Leg
    before: Leg
    place: cython.Py_ssize_t
    for place in range(1, len(legs)):
        leg = legs[place]
        before = legs[place - 1]
        if leg.target.rank < before.target.rank:
            legs.sort(key=_rank)
            return


def _rank(leg: Leg) -> int:
    return leg.target.rank
