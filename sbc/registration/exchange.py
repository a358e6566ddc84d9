"""The way of one REGISTER of a phone: `Exchange`.

For the servers we are the phone, for the phone we are the registrar (pitfall D11): a REGISTER is not forwarded but
made anew, one for each registrar server of the group that has to hear of it (`Leg`), and the phone gets one answer. Four things
govern it.

*Acceptance.* Nothing may be registered anywhere for somebody whom nobody has accepted. A fallback that trusts our
address would register any stranger. So there are two phases.

1. Asking. The REGISTER goes to one server, the judge: the one whose nonce the phone shows, or whose turn it is (below), else
   the highest-ranked that is not known to be down. What the judge says is the phone's: its challenge above all, byte for byte.
   When it is silent for `register_wait`, or is given up or found down, or refuses, the next server is asked as well; one that is
   `trusted` only when no other one lives, and behind a refusal of the phone's credentials only one that asks for them itself.
2. Telling. As soon as the phone is accepted, by a server's 2xx or by our own check of its digest against the password
   file, the REGISTER goes to all the others at once. A phone that shows a good digest for a challenge of ours to know
   is accepted on arrival: then both phases are one, and all servers are told concurrently.

*Turns.* Servers that want an answer which only the phone can give are not told but take turns (D8, `rota`, `turns`): in each
REGISTER from where the phone is known to be one of them is asked, the judge, and its challenge is the phone's. The others are a
reserve, should that one not answer. That it was accepted by one is enough for the phone to be told that it is registered, and how
soon it is to come by again for the next one's sake. When the one whose turn it is does not take the phone's answer, while others
have it registered, the phone is told of those; another challenge behind its answer many phones would not bear.

*Credentials.* The phone's go to the candidate that issued their nonce and to no other (but see `shared_nonce`), and to a trusted
server never. The others' challenges are answered from the password file, if the phone has proved itself by digest, or a server
of higher rank has let it in without: what a fallback believes is no reason to vouch for a phone at the primary.

*Removals* take no turns, for the phone does not come again. When one server has accepted it, and another one that has the contact
wants an answer too, the phone gets that one's challenge at once, with stale=true, instead of its 200 (D13). Most phones answer;
one that does not has lost nothing, as its contact is removed here at the first acceptance.

*Time.* Once any server has said its final word, the phone waits `register_wait` for the rest, but not for a server
that is known to be down, nor again for a judge that has used up its time. Whatever comes later only changes what we
know. The phone has its answer within 31 s (D1), and neither a 408 (RFC 4320) nor a 503 (D7) among them.

The answer: 2xx if any server accepted, with the headers of the highest-ranked one that did, the phone's Contacts byte
for byte, and the shortest time granted anywhere, or less, as its turns and `phone_expires` want it; else the refusal of the
highest-ranked server that refused.

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1: every phone comes by
several times an hour. The types of the fields are in exchange.pxd.
"""

from __future__ import annotations

import cython

from sbc.nonces import is_stale, mark_stale
from sbc.registration.bindings import REGISTERED
from sbc.registration.extensions import gruu_in
from sbc.registration.leg import Ending

if cython.compiled:
    from cython.cimports.sbc.clock import TimerQueue
    from cython.cimports.sbc.flow import Flow
    from cython.cimports.sbc.location.candidate import Candidate
    from cython.cimports.sbc.redundancy.group import ServerGroup
    from cython.cimports.sbc.registration.accounts import begins_anew, waits
    from cython.cimports.sbc.registration.answers import answer_to, challenges_of, nobody_answered, passed_on
    from cython.cimports.sbc.registration.bindings import Binding, Bindings, Upstream, is_from
    from cython.cimports.sbc.registration.contacts import Contact
    from cython.cimports.sbc.registration.leg import Leg, LegUser, new_leg
    from cython.cimports.sbc.registration.rejections import Rejections
    from cython.cimports.sbc.registration.results import (
        are_running,
        best_accepted,
        is_decided,
        is_password_refused,
        is_untrusted_alive,
        shortest_time,
        sort_by_rank,
    )
    from cython.cimports.sbc.registration.shown import Shown, shown_in
    from cython.cimports.sbc.registration.targets import Target, Targets
    from cython.cimports.sbc.registration.turns import Turns, turns_for
    from cython.cimports.sbc.registration.written import Template, new_template, take_over
    from cython.cimports.sbc.sip.lines import OwnLine, new_line
    from cython.cimports.sbc.sip.message import Request, Response
    from cython.cimports.sbc.sip.scanner import EXPIRES
    from cython.cimports.sbc.transaction.layer import TransactionLayer
    from cython.cimports.sbc.transaction.server import ServerTransaction
else:
    from sbc.clock import TimerQueue
    from sbc.flow import Flow
    from sbc.location.candidate import Candidate
    from sbc.redundancy.group import ServerGroup
    from sbc.registration.accounts import begins_anew, waits
    from sbc.registration.answers import answer_to, challenges_of, nobody_answered, passed_on
    from sbc.registration.bindings import Binding, Bindings, Upstream, is_from
    from sbc.registration.contacts import Contact
    from sbc.registration.leg import Leg, LegUser, new_leg
    from sbc.registration.rejections import Rejections
    from sbc.registration.results import (
        are_running,
        best_accepted,
        is_decided,
        is_password_refused,
        is_untrusted_alive,
        shortest_time,
        sort_by_rank,
    )
    from sbc.registration.shown import Shown, shown_in
    from sbc.registration.targets import Target, Targets
    from sbc.registration.turns import Turns, turns_for
    from sbc.registration.written import Template, new_template, take_over
    from sbc.sip.lines import OwnLine, new_line
    from sbc.sip.message import Request, Response
    from sbc.sip.scanner import EXPIRES
    from sbc.transaction.layer import TransactionLayer
    from sbc.transaction.server import ServerTransaction

COMPILED = bool(cython.compiled)

_ACCEPTED = cython.declare(object, Ending.ACCEPTED)
_REFUSED = cython.declare(object, Ending.REFUSED)
_CHALLENGED = cython.declare(object, Ending.CHALLENGED)

PHONE_PATIENCE = 31.0
"""Seconds from arrival to the last moment for an answer: the phone's Timer F less one second on the way (D1)."""

_NO_LEGS = cython.declare(list, [])  # of every exchange that is over
_NO_BODY = cython.declare(OwnLine, new_line("Content-Length", "0"))


@cython.cclass
class ExchangeUser:
    """Who has an exchange made: what it asks of the registrar, and tells it."""

    layer: TransactionLayer
    queue: TimerQueue
    credentials: object
    bindings: Bindings
    nonces: object
    rejections: Rejections
    boot: str

    @cython.cfunc
    def server_flow(self, candidate: Candidate) -> Flow:
        """The way to a server, None when there is no socket for it."""
        raise NotImplementedError

    def asks_for_passwords(self, group: ServerGroup, server: str) -> bool:
        """Has that server ever challenged?"""
        challengers = self.nonces.issuers
        return any(owner.name == server and candidate in challengers for owner, candidate in group.candidates())

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
    def held_back(self, exchange: Exchange) -> list:
        """The servers that are not to be asked now, because they get their registrations back one by one; None without any."""
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
    def refused_untried(self, exchange: Exchange):
        """It has shown too many wrong passwords to be passed on."""
        raise NotImplementedError

    @cython.cfunc
    def not_waited_for(self, exchange: Exchange, leg: Leg):
        """A newer REGISTER ends that leg before the server has answered."""
        raise NotImplementedError

    @cython.cfunc
    def final_word(self, exchange: Exchange, status: cython.int):
        """The phone is answered so."""
        raise NotImplementedError

    @cython.cfunc
    def grant_of_turns(self, exchange: Exchange) -> cython.longlong:
        """The phone is about to be told that it is registered: the longest time that its turns at the servers leave it, 0
        where it takes none."""
        raise NotImplementedError

    @cython.cfunc
    def asks_once_more(self, exchange: Exchange, leg: Leg) -> cython.bint:
        """A removal is accepted, but that server has challenged: is its challenge the phone's? Not a second time."""
        raise NotImplementedError

    @cython.cfunc
    def settle(self, exchange: Exchange, response: Response) -> cython.longlong:
        """The phone is about to be told `exchange.told` for its contacts. Writes the Contacts of the answer, and returns the
        longest time of the phone's own."""
        raise NotImplementedError

    @cython.cfunc
    def answered(self, exchange: Exchange, response: Response):
        """This is what the phone is told when it is registered."""
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
    `username`. `contested`: at some time there was another one about one of its contacts.
    """

    aor: str
    serial: cython.longlong
    is_query: cython.bint
    is_removal: cython.bint
    phone_flow: Flow
    accepted: cython.bint
    proven: cython.bint
    username: str
    nonce: str  # of the phone's credentials that a server has accepted; "" = none
    realm: str  # theirs
    answered: cython.bint
    contested: cython.bint
    _registrar: ExchangeUser
    _queue: TimerQueue
    _transaction: ServerTransaction
    _user: str
    _token: str  # of the first contact, which names the series
    _shown: Shown
    turns: Turns  # None for a phone that need not take turns
    is_endless: cython.bint  # the server that it answers has challenged it again and again
    asks_once_more: cython.bint  # its removal is accepted, and the phone is challenged for another server's sake
    _is_held: cython.bint  # the phone is told of what it has elsewhere
    _grant: cython.longlong  # seconds that its turns leave it; 0: as the servers grant
    _least_grant: cython.longlong  # seconds; 0 for a phone that takes no turns
    _upstreams: list
    _template: Template  # None until the first is sent
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
        leg: Leg
        now: cython.double = self._queue.now()
        self._deadline = now + PHONE_PATIENCE
        self._queue.arm(self, now, PHONE_PATIENCE)
        if self._is_restricted(now):
            self._make_allowed_legs(now)
        else:
            self._make_legs(self.targets.asked, now)
        if self.answered:
            self._registrar.exchange_over(self)
            return
        self._leave_held_back()
        self._order_judges(now)
        if self.turns is not None:
            self.turns.take(self._legs, self._shown, now)
        if self._shown is not None:
            proven = self._shown.proven_name(
                self._registrar.credentials, self.request, self.contacts, self._registrar.bindings, now
            )
            if proven is not None:
                self.accepted = self.proven = True
                self.username = proven
                self._registrar.let_in(self)
        self._decide()
        if self.turns is not None:
            for leg in list(self._legs):
                if not leg.started and not self.answered and self.turns.is_besides(leg):
                    leg.reserve = False
                    leg.start()

    @cython.cfunc
    def _is_over(self) -> cython.bint:
        """The phone is answered and nothing is under way any more."""
        return self.answered and not are_running(self._legs)

    @cython.cfunc
    def release(self):
        """Nothing will come any more: no reference between exchange and legs is left for the garbage collector."""
        self._legs = _NO_LEGS

    @cython.cfunc
    def supersede(self):
        """A newer REGISTER for the same contact has come: this one must not change anything any more."""
        leg: Leg
        for leg in self._legs:
            if leg.is_running():
                self._registrar.not_waited_for(self, leg)
            leg.stop()
        if not self.answered:
            self._respond(answer_to(self.request, 500, "Superseded by a Newer REGISTER"))

    # Who is asked

    @cython.cfunc
    def _make_legs(self, targets: list, now: cython.double):
        target: Target
        for target in targets:
            self._legs.append(new_leg(self, target, self.group.register_plan(target.name, now, self._deadline)))

    @cython.cfunc
    def _leave_held_back(self):
        """Servers that get their registrations back one by one are left out when it is not this phone's turn, as long as others
        are left."""
        leg: Leg
        held_back: list = self._registrar.held_back(self)
        if held_back is not None:
            left: list = [leg for leg in self._legs if leg.target.name not in held_back]
            if left:
                self._legs = left

    @cython.cfunc
    def _is_restricted(self, now: cython.double) -> cython.bint:
        """May there be a server that must not hear of this REGISTER now?"""
        upstream: Upstream
        if self._registrar.rejections.are_any():
            return True
        if not self.is_removal:
            for upstream in self._upstreams:
                if waits(upstream, now):
                    return True
        return False

    @cython.cfunc
    def _make_allowed_legs(self, now: cython.double):
        """A server that refuses this account is left alone for a while as long as another one is left (V16): with no other the
        phone itself should hear of it. One to which the phone has shown too many wrong passwords is left alone in any case,
        also by a REGISTER without any, which only leads to the next; and with no other the phone is refused here (D8). Another
        one is only one that asks for a password itself: a server that believes us would register whoever has none."""
        target: Target
        host: str = self.phone_flow.remote[0]
        most: cython.long = self.targets.wrong_password_tries
        call_id: str = self.request.call_id_text()
        now_allowed: list = []
        waiting: list = []
        soonest: cython.double = 0.0
        wait: cython.double
        for target in self.targets.registrars:
            wait = self._registrar.rejections.next_try(host, self._token, target.name, call_id, most, now)
            if wait > 0.0:
                soonest = wait if soonest == 0.0 else min(soonest, wait)
            elif self._is_refused_at(target, call_id, now):
                waiting.append(target)
            else:
                now_allowed.append(target)
        if not self._is_any_judge(now_allowed):
            # The one that the phone could not convince is not got round by one that believes everybody.
            now_allowed = waiting + now_allowed if self._is_any_judge(waiting) else []
        if soonest > 0.0:
            now_allowed = [target for target in now_allowed if self._asks_for_password(target)]
        if not now_allowed:
            self._registrar.refused_untried(self)
            reason = f"Password Refused Too Often, Next Try in {max(1, round(soonest / 60))} min"
            self._respond(answer_to(self.request, 403, reason))
        elif self.targets.concurrent:
            self._make_legs(now_allowed, now)
        elif len(now_allowed) == len(self.targets.registrars):
            self._make_legs(self.targets.asked, now)
        else:
            target = now_allowed[0]
            names = frozenset([target.name for target in now_allowed])
            self._legs.append(new_leg(self, now_allowed[0], self.group.register_plan_among(names, now, self._deadline)))

    @cython.cfunc
    def _is_any_judge(self, targets: list) -> cython.bint:
        """Is there one that registers nobody for our sake, or is none of that kind alive at all?"""
        target: Target
        for target in targets:
            if not target.trusted:
                return True
        for target in self.targets.registrars:
            if not target.trusted and self.group.may_accept(target.name):
                return False
        return len(targets) > 0

    @cython.cfunc
    def _asks_for_password(self, target: Target) -> cython.bint:
        """Has that server challenged anybody, and does it not trust us?"""
        return not target.trusted and self._registrar.asks_for_passwords(self.group, target.name)

    @cython.cfunc
    def _renews_at(self, target: Target) -> cython.bint:
        """Is the phone registered there, and does this come from where it was accepted? While better servers fail, it may stay."""
        binding: Binding = self._registrar.bindings.find(self._token)
        upstream: Upstream = binding.at(target.name) if binding is not None else None
        return upstream is not None and upstream.state == REGISTERED and is_from(binding, self.phone_flow)

    @cython.cfunc
    def _is_refused_at(self, target: Target, call_id: str, now: cython.double) -> cython.bint:
        """Does that server refuse this account, and is it not to be tried again yet?"""
        upstream: Upstream
        binding: Binding = self._registrar.bindings.find(self._token)
        if binding is None or self.is_removal:
            return False
        upstream = binding.at(target.name)
        if upstream is None or not waits(upstream, now):
            return False
        username: str = self._shown.entries[0][2].username if self._shown is not None else ""
        return not begins_anew(binding, call_id, username)

    # Acceptance

    @cython.cfunc
    def _order_judges(self, now: cython.double):
        """Who issued a nonce that the phone shows comes first, then by rank."""
        if self._shown is None:
            sort_by_rank(self._legs)
            return
        issuers = self._shown.issuers(self.group, now)
        self._legs.sort(key=lambda leg: (leg.target.settings not in issuers, leg.target.rank))

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
        if self.targets.shared_nonce:
            return self._shown.are_for_group(self.group, self._queue.now())
        return self._shown.are_for(candidate, self._queue.now())

    @cython.cfunc
    def learn_nonces(self, response: Response, candidate: Candidate):
        self._registrar.nonces.learn(response, candidate, self._queue.now())

    # Which legs run, and when the phone is answered

    @cython.cfunc
    def not_to_follow(self, leg: Leg) -> list:
        """One after the other: a refusal is not got round by a server that believes us, nor that of a password by one that asks
        for none."""
        target: Target
        found: list = []
        if leg.target.trusted:
            return found
        for target in self.targets.registrars:
            if leg.response._status >= 500 and self._renews_at(target):
                continue
            if target.trusted or (
                leg.showed_credentials and target.rank > leg.target.rank and not self._asks_for_password(target)
            ):
                found.append(target.name)
        return found

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
            now: cython.double = self._queue.now()
            credentials = self._shown.accepted_by(leg.candidate, now)
            if credentials is not None:
                self.proven = True
                self.username = credentials.username
                self.nonce = credentials.nonce
                self.realm = credentials.realm
            self._registrar.nonces.learn(leg.response, leg.candidate, now)
        self._registrar.accepted(self, leg)

    @cython.cfunc
    def _not_accepted_by(self, leg: Leg):
        if self.turns is not None and leg.showed_credentials and leg.ending is _CHALLENGED:
            self.turns.refused(self._shown, leg.candidate, self._queue.now())
        if self.answered or leg.free:
            self._registrar.not_accepted(self, leg)
            return
        holds: cython.bint = self._holds_without(leg)
        if holds and leg.ending is _CHALLENGED and not self.is_wrong_password(leg):
            self.is_endless = self.turns.rota.unheard(leg.target.name)
        elif leg.ending is _CHALLENGED and not holds and self._is_passed_on(leg):
            self._pass_challenge(leg, [])
        self._registrar.not_accepted(self, leg)
        if holds:
            self._hold()

    @cython.cfunc
    def _is_passed_on(self, leg: Leg) -> cython.bint:
        """Does the phone get that challenge now?"""
        if self.turns is None:
            return not self.accepted
        return not self.turns.is_together(leg) and (not self.accepted or leg is self.turns.leg)

    @cython.cfunc
    def is_wrong_password(self, leg: Leg) -> cython.bint:
        """A challenge after the phone's own answer to the one before: not when the nonce was one that is used up."""
        upstream: Upstream = leg.upstream
        return (
            leg.showed_credentials
            and self._shown.is_new_to(upstream, leg.target.name, self.group, self._queue.now())
            and not is_stale(leg.response)
        )

    @cython.cfunc
    def _holds_without(self, leg: Leg) -> cython.bint:
        """The phone has answered that server's challenge, to no avail, and is registered elsewhere. Another challenge in this
        attempt many phones would not answer, and be lost everywhere; so it is told of what it has."""
        turns: Turns = self.turns
        return (
            turns is not None
            and turns.answers == leg.target.name
            and not self.is_removal
            and turns.is_held(leg.target.name, self._queue.now())
        )

    @cython.cfunc
    def _hold(self):
        """Tell the phone that it is registered, as it is at other servers."""
        self._is_held = True
        self.turns.rota.given_up(self.turns.answers)
        self._answer_success(best_accepted(self._legs))

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
        has_accepted: cython.bint = False
        has_final_word: cython.bint = False
        all_started: cython.bint = True
        any_running: cython.bint = False
        worth_waiting_for: cython.bint = False
        all_hopeless: cython.bint = True
        for leg in self._legs:
            if not leg.started:
                all_started = False
            elif leg.ending is None:
                any_running = True
                if not leg.is_hopeless():
                    all_hopeless = False
                    if not leg.slow:
                        worth_waiting_for = True
            elif leg.ending is _ACCEPTED:
                has_accepted = True
                has_final_word = True
            elif leg.ending is _REFUSED or leg.ending is _CHALLENGED:
                has_final_word = True
        if not any_running or (has_accepted and not worth_waiting_for) or self._is_decided():
            self._answer()
            return
        if self._waits:
            return
        if not has_final_word and all_started:
            # When all that is left is known to be down, it may have come back; that would be known at once.
            has_final_word = all_hopeless
        if has_final_word:
            self._waits = True
            now: cython.double = self._queue.now()
            if now + self.targets.register_wait < self._deadline:
                self._queue.arm(self, now, self.targets.register_wait)

    @cython.cfunc
    def _is_decided(self) -> cython.bint:
        """Has the judge refused for good? Only as long as nobody has let the phone in."""
        return not self.accepted and is_decided(self._legs, self.targets)

    @cython.cfunc
    def _start_legs(self):
        leg: Leg
        any_waiting: cython.bint = False
        any_running: cython.bint = False
        any_accepted: cython.bint = False
        any_together: cython.bint = False  # challenges that are to be passed on with others
        if self._all_started:
            return
        for leg in self._legs:
            if not leg.started:
                any_waiting = True
            elif leg.ending is None:
                any_running = True
            elif leg.ending is _ACCEPTED:
                any_accepted = True
            elif leg.ending is _CHALLENGED and self.turns is not None and self.turns.is_together(leg):
                any_together = True
        if not any_waiting:
            self._all_started = True
        elif self._is_decided() or (self.is_query and any_accepted):
            return
        elif self.accepted and not self.is_query:
            self._stop_hedging()
            self._all_started = True
            if self.turns is not None:
                self._legs = self.turns.without_reserves(self._legs, self.answered, self._queue.now())
            for leg in self._legs:
                if not leg.started:
                    leg.start()
        elif not any_together and (not any_running or self._is_worth_another()):
            self._ask_another()

    @cython.cfunc
    def _is_worth_another(self) -> cython.bint:
        """Are all that have been asked and not answered known to be down, and one that has not been asked is not?"""
        leg: Leg
        any_waiting: cython.bint = False
        for leg in self._legs:
            if not leg.started:
                if not any_waiting and not leg.is_hopeless():
                    any_waiting = True
            elif leg.ending is None and not leg.is_hopeless():
                return False
        return any_waiting

    @cython.cfunc
    def _ask_another(self):
        """Another judge of those that have not started: the first that is not known to be down, else the first. One that
        is down gets T1 only: if it has come back, that is enough. One that trusts us is none as long as another one lives (but see `_renews_at`), nor
        is one that lets in everybody, when a better one has refused the phone's credentials."""
        leg: Leg
        judge: Leg = None
        is_hopeless: cython.bint = True
        waiting: cython.int = 0
        for leg in self._legs:
            if leg.started:
                continue
            waiting += 1
            renews: cython.bint = leg.target.trusted and self._renews_at(leg.target)
            if leg.target.trusted and is_untrusted_alive(self._legs, renews):
                continue
            if not renews and is_password_refused(self._legs, leg) and not self._asks_for_password(leg.target):
                continue
            if judge is None or (is_hopeless and not leg.is_hopeless()):
                judge = leg
                is_hopeless = leg.is_hopeless()
        if judge is None:
            return
        self._stop_hedging()
        if waiting > 1:
            self._judge = judge
            self._queue.arm(judge, self._queue.now(), self.layer.t1 if is_hopeless else self.targets.register_wait)
        judge.start()

    @cython.cfunc
    def judge_is_slow(self):
        leg: Leg
        slow: Leg = self._judge
        self._judge = None
        for leg in self._legs:
            leg.slow = leg.is_running()
        if slow is not None and not self.answered and self._holds_without(slow):
            self._hold()
        else:
            self._ask_another()
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
    def register_at(self, leg: Leg, branch: str, credentials: list | None) -> bytes:
        """The phone's REGISTER, in a dress of ours (D10)."""
        if self._template is None:
            self._template = new_template(self.request, self.contacts, self._user, self._token)
        cseq: cython.longlong = self._registrar.next_cseq(leg.upstream)
        return self._template.register_at(leg, branch, self._registrar.boot, cseq, credentials)

    # What the phone is told

    @cython.cfunc
    def _answer(self):
        """Answer with what there is."""
        best: Leg = best_accepted(self._legs)
        together: list = [] if self.turns is None else self._challenges_together()
        if together:
            self._pass_challenge(together[0], together[1:])
            return
        if self.is_removal and self.accepted:
            holder: Leg = self._holder_to_convince()
            if holder is not None:
                self.asks_once_more = True
                self._pass_challenge(holder, [])
                return
        if best is not None or (self.is_removal and self.accepted):
            self._answer_success(best)
            return
        refused = sorted((leg for leg in self._legs if leg.ending is _REFUSED), key=lambda leg: leg.target.rank)
        if refused and refused[0].response is not None:
            self._pass_refusal(refused[0].response)
        else:
            challenged = [leg for leg in self._legs if leg.ending is _CHALLENGED]
            if challenged:
                self._pass_challenge(challenged[0], [])
            else:
                self._respond(nobody_answered(self.request, self.group.name, self._legs))

    @cython.cfunc
    def _holder_to_convince(self) -> Leg:
        """Of an accepted removal: a server that has the contact, and wants an answer that only the phone can give; else None."""
        leg: Leg
        for leg in self._legs:
            if leg.ending is _CHALLENGED and not leg.own_password_refused and not self.is_wrong_password(leg):
                if self._registrar.asks_once_more(self, leg):
                    return leg
        return None

    @cython.cfunc
    def _challenges_together(self) -> list:
        """The legs whose challenges the phone gets in one answer."""
        leg: Leg
        found: list = []
        for leg in self._legs:
            if leg.ending is _CHALLENGED and self.turns.is_together(leg):
                found.append(leg)
        return found

    @cython.cfunc
    def told(self, place: cython.Py_ssize_t) -> cython.longlong:
        """The shortest time that a server granted for the contact at that place; 0 when it was removed."""
        contact: Contact = self.contacts[place]
        if contact.expires == 0:
            return 0
        shortest: cython.longlong = shortest_time(self._legs, place)
        if self._grant > 0 and (self._is_held or shortest > 0):
            shortest = self._grant if shortest == 0 else min(shortest, self._grant)
            if shortest < self._least_grant:
                shortest = self._least_grant if contact.expires < 0 else min(self._least_grant, contact.expires)
        return self.targets.time_to_tell(shortest, contact.expires)

    @cython.cfunc
    def _answer_success(self, best: Leg | None):
        """`best` is the highest-ranked that accepted, None when the phone was let in without any."""
        response: Response = answer_to(self.request, 200, None)
        if best is not None and self.asks_for_gruu():
            self._take_gruu(best)
        if not self.is_query and not self.is_removal:
            self._grant = self._registrar.grant_of_turns(self)
        longest: cython.longlong = self._registrar.settle(self, response)
        if best is not None:
            take_over(best.response, response, best.showed_credentials)
            if self.contacts and best.response.place_of(EXPIRES) >= 0:
                response.append_line(new_line("Expires", f"{longest}"))
            self._registrar.answered(self, response)
        self._respond(response)

    @cython.cfunc
    def asks_for_gruu(self) -> cython.bint:
        """Is a GRUU in the answer of use to the phone?"""
        return self._template is not None and self._template.asks_for_gruu

    def _take_gruu(self, best: Leg) -> None:
        """What that server has given goes to the phone (RFC 5627 5.1). A temporary one is no good at any other server, so
        where calls may go to several, the phone gets none."""
        for contact in self.contacts:
            binding: Binding = self._registrar.bindings.find(contact.token)
            if binding is not None:
                binding.gruu = gruu_in(best.response, contact.token, len(self.targets.asked) == 1)

    @cython.cfunc
    def _pass_challenge(self, leg: Leg, others: list):
        """The server's own words, and the challenges of `others` in the same answer.

        With stale=true where the phone had shown credentials that this server was never given, or that were good until now, so
        that it does not take its password for wrong. Where it had shown none, nothing is added: no phone that was tried needs
        it at the beginning of an attempt (E3, K5), and it would say something of a nonce that nobody has named.
        """
        response: Response = challenges_of(self.request, leg, others)
        if self._shown is not None and not self.is_wrong_password(leg):
            mark_stale(response)
        if self.turns is not None:
            self.turns.challenged(leg, others, self._queue.now())
        self._respond(response)

    @cython.cfunc
    def _pass_refusal(self, refusal: Response):
        self._respond(passed_on(self.request, refusal))

    @cython.cfunc
    def _respond(self, response: Response):
        self.answered = True
        self.disarm()
        self._stop_hedging()
        response.append_line(_NO_BODY)
        self._transaction.respond(response)
        self._registrar.final_word(self, response._status)


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
    exchange.nonce = ""
    exchange.realm = ""
    exchange.answered = False
    exchange.contested = False
    exchange._registrar = registrar
    exchange._queue = registrar.queue
    exchange._transaction = transaction
    exchange._user = user
    exchange._shown = shown_in(request, registrar.nonces)
    exchange.turns = None
    exchange.is_endless = False
    exchange.asks_once_more = False
    exchange._is_held = False
    exchange._grant = 0
    exchange._least_grant = 0
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
    if binding is not None and not exchange.is_removal:
        exchange.turns = turns_for(registrar, targets, binding, transaction.flow, request, registrar.queue.now())
    exchange._template = None
    exchange._legs = []
    exchange._all_started = False
    exchange._deciding = False
    exchange._decide_again = False
    exchange._deadline = 0.0
    exchange._waits = False
    exchange._judge = None
    return exchange


@cython.cfunc
def _all_removed(contacts: list) -> cython.bint:
    """False without any."""
    contact: Contact
    for contact in contacts:
        if contact.expires != 0:
            return False
    return len(contacts) > 0
