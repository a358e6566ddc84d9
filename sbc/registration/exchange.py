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

from typing import TYPE_CHECKING

import cython

from sbc.clock import Delayed
from sbc.flow import Flow
from sbc.location.candidate import Candidate
from sbc.redundancy.group import ServerGroup
from sbc.redundancy.settings import ServerSettings
from sbc.registration.bindings import Upstream
from sbc.registration.contacts import Contact, option_tags_without, user_of_register, with_parameter
from sbc.registration.leg import Ending
from sbc.registration.nonces import ANSWERED_BY, shown_credentials, with_stale
from sbc.registration.own_digest import is_proof
from sbc.sip.digest import HtdigestFile
from sbc.sip.headers import SPELLINGS, canonical_name
from sbc.sip.message import Request, Response
from sbc.transaction.server import ServerTransaction

if cython.compiled:
    from cython.cimports.sbc.registration.leg import Leg
else:
    from sbc.registration.leg import Leg

if TYPE_CHECKING:
    from sbc.registration.registrar import Registrar

_ACCEPTED = cython.declare(object, Ending.ACCEPTED)
_REFUSED = cython.declare(object, Ending.REFUSED)
_FINAL_WORDS = cython.declare(tuple, (Ending.ACCEPTED, Ending.REFUSED, Ending.CHALLENGED))

PHONE_PATIENCE = 31.0
"""Seconds from arrival to the last moment for an answer: the phone's Timer F less one second on the way (D1)."""

# Between the phone and us only, or made anew for each server.
_NOT_COPIED = frozenset(
    ("via", "route", "record-route", "path", "authorization", "proxy-authorization", "contact", "expires")
    + ("from", "call-id", "cseq", "max-forwards")
)
# What a phone may promise about a Contact of its own, and we not about ours (RFC 5626, 5627, 3327).
OPTION_TAGS_OF_A_CONTACT = frozenset(("outbound", "gruu", "path"))
# Of a server's answer: ours to write, or true only between the server and us.
_NOT_RETURNED = frozenset(
    ("via", "from", "to", "call-id", "cseq", "contact", "expires", "content-length", "max-forwards")
    + ("record-route", "path", "service-route")
    + ("content-type", "content-encoding", "content-disposition", "content-language", "mime-version")
)
_CHALLENGES = frozenset(name.lower() for name in ANSWERED_BY)
_ABOUT_CREDENTIALS = frozenset(("authentication-info", "proxy-authentication-info"))
_NOT_RETURNED_WITH_OURS = _NOT_RETURNED | _ABOUT_CREDENTIALS
_LOWERED = {spelling: canonical_name(spelling) for spelling in SPELLINGS.values()}


@cython.cclass
class Exchange:
    """Made by the registrar for one REGISTER that it wants asked; tells the registrar what becomes of it."""

    def __init__(
        self,
        registrar: Registrar,
        transaction: ServerTransaction,
        request: Request,
        group: ServerGroup,
        aor: str,
        contacts: list[Contact],
        serial: int,
    ) -> None:
        self.group = group
        self.request = request
        self.aor = aor
        self.contacts = contacts
        """What to register, or with `expires` 0 to remove. Empty for a query."""
        self.serial = serial
        """They count up in the order in which the phones sent them."""
        self.is_query = not contacts
        self.is_removal = _all_removed(contacts)
        self.phone_flow: Flow = transaction.flow
        self.clock = registrar.clock
        self.layer = registrar.layer
        self.flow_to = registrar.flow_to
        self.accepted = False
        """Somebody has let this phone in."""
        self.proven = False
        """The phone has shown by digest who it is."""
        self.username = ""
        """Whom it proved to be."""
        self.answered = False
        self._registrar = registrar
        self._transaction = transaction
        self._user = user_of_register(request)
        self._shown = shown_credentials(request)
        binding = registrar.bindings.get(contacts[0].token) if contacts else None
        self._upstreams: dict[str, Upstream] = {}
        if binding is not None:
            for upstream in binding.upstreams:
                self._upstreams[upstream.server] = upstream
        self._template: Request | None = None
        self._from = ("", "")  # before and after the From tag
        self._legs: list[Leg] = []
        self._deciding = self._decide_again = False
        self._deadline_timer: Delayed | None = None
        self._hedge_timer: Delayed | None = None  # then another judge is asked as well
        self._wait_timer: Delayed | None = None  # then the phone is answered with what there is

    def start(self) -> None:
        now = self.clock.seconds()
        deadline = now + PHONE_PATIENCE
        self._deadline_timer = self.clock.callLater(PHONE_PATIENCE, self._deadline_reached)
        for server, plan in self.group.register_plans(now, deadline):
            self._legs.append(Leg(self, server, plan))
        self._order_judges()
        if self._shown:
            self._check_credentials(now)
            if self.accepted:
                self._registrar.let_in(self)
        self._decide()

    @property
    def servers_to_come(self) -> list[str]:
        """The servers whose word on this REGISTER is still awaited, or will be asked for."""
        leg: Leg
        names: list = []
        for leg in self._legs:
            if leg.ending is None:
                names.append(leg.server.name)
        return names

    @property
    def over(self) -> bool:
        """The phone is answered and nothing is under way any more."""
        return self._is_over()

    @cython.cfunc
    def _is_over(self) -> cython.bint:
        leg: Leg
        for leg in self._legs:
            if leg.is_running():
                return False
        return self.answered

    def release(self) -> None:
        """Nothing will come any more: no reference between exchange and legs is left for the garbage collector."""
        self._legs = []

    def supersede(self) -> None:
        """A newer REGISTER for the same contact has come: this one must not change anything any more."""
        leg: Leg
        for leg in self._legs:
            leg.stop()
        if not self.answered:
            self._respond(500, "Superseded by a Newer REGISTER", [])

    # Acceptance

    @cython.cfunc
    def _order_judges(self):
        """Who issued a nonce that the phone shows comes first, then by rank."""
        if not self._shown:
            self._legs.sort(key=_rank)
            return
        now = self.clock.seconds()
        found = [self._registrar.nonces.issuer(credentials.nonce, now) for _, _, credentials in self._shown]
        issuers = [self.group.owner(candidate) for candidate in found if candidate is not None]
        self._legs.sort(key=lambda leg: (leg.server not in issuers, leg.server.rank))

    def _check_credentials(self, now: float) -> None:
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

    @property
    def own_username(self) -> str:
        """The name under which we answer challenges for this phone."""
        if self.username:
            return self.username
        for contact in self.contacts:
            binding = self._registrar.bindings.get(contact.token)
            if binding is not None and binding.username:
                return binding.username
        return self.request.to.uri.user_unescaped

    def own_credentials(self, server: ServerSettings) -> HtdigestFile | None:
        """The password file, if it may be used for this phone at that server."""
        leg: Leg
        if self._registrar.credentials is None:
            return None
        if self.proven:
            return self._registrar.credentials
        for leg in self._legs:
            if leg.ending is _ACCEPTED and leg.server.rank < server.rank:
                return self._registrar.credentials
        return None

    def phone_credentials_for(self, candidate: Candidate) -> list[tuple[str, str]]:
        """The Authorization lines of the phone that answer a challenge of that candidate, as they came."""
        if not self._shown:
            return []
        now = self.clock.seconds()
        issuer = self._registrar.nonces.issuer
        return [(name, value) for name, value, shown in self._shown if issuer(shown.nonce, now) == candidate]

    def learn_nonces(self, response: Response, candidate: Candidate) -> None:
        self._registrar.nonces.learn(response, candidate, self.clock.seconds())

    # Which legs run, and when the phone is answered

    def may_answer(self, server: ServerSettings) -> bool:
        """False when all that could answer for that server is known to be down.

        With successive registration a leg is not bound to one server: there, all registrar servers.
        """
        bound = self.group.settings.registration == "concurrent"
        for owner, candidate in self.group.candidates():
            if owner.register and (owner.name == server.name or not bound) and self.group.health(candidate).usable:
                return True
        return False

    def leg_ended(self, leg: Leg) -> None:
        if leg.ending is _ACCEPTED:
            self._accepted_by(leg)
        else:
            self._not_accepted_by(leg)
        self._decide()

    @cython.cfunc
    def _accepted_by(self, leg: Leg):
        self.accepted = True
        if leg.showed_credentials:
            now = self.clock.seconds()
            nonces = self._registrar.nonces
            for _, _, credentials in self._shown:
                if nonces.issuer(credentials.nonce, now) == leg.candidate:
                    self.proven, self.username = True, credentials.username
                    nonces.used(credentials.nonce, now)
            if leg.response is not None and leg.candidate is not None:
                nonces.learn(leg.response, leg.candidate, now)
        self._registrar.accepted(self, leg)

    @cython.cfunc
    def _not_accepted_by(self, leg: Leg):
        if leg.ending is Ending.CHALLENGED and not self.accepted and not self.answered:
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
            has_accepted = has_accepted or leg.ending is _ACCEPTED
            has_final_word = has_final_word or leg.ending in _FINAL_WORDS
            all_started = all_started and leg.started
        if has_accepted:
            for leg in running:
                if not leg.slow and not leg.hopeless:
                    break
            else:
                self._answer()
                return
        if self._wait_timer is not None:
            return
        if not has_final_word and all_started:
            # When all that is left is known to be down, it may have come back; that would be known at once.
            has_final_word = _all_hopeless(running)
        if has_final_word:
            self._wait_timer = self.clock.callLater(self.group.settings.register_wait, self._wait_over)

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
                and self._action(leg.response.status) == "return"
                and not self._is_better_running(leg)
            ):
                return True
        return False

    @cython.cfunc
    def _is_better_running(self, than: Leg) -> cython.bint:
        leg: Leg
        for leg in self._legs:  # noqa: SIM110 (a generator would cost more than the loop; so below)
            if leg.is_running() and leg.server.rank < than.server.rank:
                return True
        return False

    def _action(self, status: int) -> str:
        return self.group.settings.status_failover.get("REGISTER", {}).get(str(status), "return")

    @cython.cfunc
    def _start_legs(self):
        leg: Leg
        waiting: list = []
        for leg in self._legs:
            if not leg.started:
                waiting.append(leg)
        if not waiting or self._is_decided() or (self.is_query and self._accepted_legs()):
            return
        if self.accepted and not self.is_query:
            self._stop_hedging()
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
            if not leg.hopeless:
                judge = leg
                is_hopeless = False
                break
        self._stop_hedging()
        if len(waiting) > 1:
            patience = self.layer.timers.t1 if is_hopeless else self.group.settings.register_wait
            self._hedge_timer = self.clock.callLater(patience, self._judge_is_slow)
        judge.start()

    def _judge_is_slow(self) -> None:
        self._hedge_timer = None
        for leg in self._legs:
            leg.slow = leg.running
        self._ask_another([leg for leg in self._legs if not leg.started])
        self._decide()

    def _wait_over(self) -> None:
        self._wait_timer = None
        if not self.answered:
            self._answer()
        self._decide()

    def _deadline_reached(self) -> None:
        self._deadline_timer = None
        if not self.answered:
            self._answer()
        self._decide()

    @cython.cfunc
    def _stop_hedging(self):
        if self._hedge_timer is not None:
            self._hedge_timer.cancel()
            self._hedge_timer = None

    # What the servers are sent

    def server_named(self, name: str) -> ServerSettings | None:
        for server in self.group.settings.servers:
            if server.name == name:
                return server
        return None

    def upstream(self, server: str) -> Upstream:
        """Our series of REGISTERs at that server: that of the first contact, whose Call-ID all of them share."""
        known = self._upstreams.get(server)
        if known is None:
            known = self._upstreams[server] = self._registrar.new_upstream(server)
        return known

    def expires_for(self, server: ServerSettings) -> dict[str, int]:
        """Token -> seconds to ask for: what the phone asks, within what the administrator allows."""
        expires: dict = {}
        for contact in self.contacts:
            expires[contact.token] = self._expires_of(contact, server)
        return expires

    @cython.cfunc
    def _expires_of(self, contact: object, server: object) -> object:
        if contact.expires == 0:
            return 0
        settings = self.group.settings
        longest = min(server.expires, settings.max_expires or server.expires)
        wanted = longest if contact.expires is None else contact.expires
        return min(max(wanted, settings.min_expires), longest)

    def request_for(self, server: ServerSettings, flow: Flow, expires: dict[str, int]) -> Request:
        """The REGISTER for that server, without credentials: the phone's, in a dress of ours (D10)."""
        if self._template is None:
            self._template = self._make_template()
        request = self._template.copy()
        token = self.contacts[0].token if self.contacts else self._registrar.query_token(self.aor)
        call_id, from_tag, cseq = self._registrar.next_in_series(token, self.upstream(server.name))
        before_tag, after_tag = self._from
        request.append("From", f"{before_tag}{from_tag}{after_tag}")
        request.append("Call-ID", call_id)
        request.append("CSeq", f"{cseq} REGISTER")
        if self.contacts:
            for contact in self.contacts:
                request.append("Contact", contact.at_server(self._user, flow.registered_contact, expires[contact.token]))
            request.append("Expires", str(max(expires.values())))
        return request

    @cython.cfunc
    def _make_template(self) -> object:
        request = self.request.copy_without(_NOT_COPIED)
        # RFC 7332: made anew or not, it has come so far. Two appliances that are each other's servers come to an end.
        hops = self.request.max_forwards
        request.append("Max-Forwards", "70" if hops < 0 else str(max(0, hops - 1)))
        for name in ("Supported", "Require"):
            kept = option_tags_without(request, name, OPTION_TAGS_OF_A_CONTACT) if request.has(name) else None
            if kept:
                request.set(name, ", ".join(kept))
            elif kept is not None:
                request.remove(name)
        from_, tag = self.request.get("From") or "", self.request.from_tag
        if tag and from_.endswith(f">;tag={tag}"):
            self._from = (from_[: -len(tag)], "")
        else:
            tagged = with_parameter(from_, "tag", self._registrar.boot)
            before_tag, _, after_tag = tagged.rpartition(self._registrar.boot)
            self._from = (before_tag, after_tag)
        return request

    # What the phone is told

    @cython.cfunc
    def _answer(self):
        """Answer with what there is."""
        accepted: list = self._accepted_legs()
        if accepted or (self.is_removal and self.accepted):
            self._answer_success(accepted)
            return
        refused = sorted((leg for leg in self._legs if leg.ending is Ending.REFUSED), key=lambda leg: leg.server.rank)
        if refused and refused[0].response is not None:
            self._pass_refusal(refused[0].response)
        else:
            challenged = [leg for leg in self._legs if leg.ending is Ending.CHALLENGED]
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
        if len(accepted) > 1:
            accepted.sort(key=_rank)
        return accepted

    @cython.cfunc
    def _answer_success(self, accepted: list):
        told: dict = {}
        for contact in self.contacts:
            told[contact.token] = _shortest(contact, accepted)
        headers: list = []
        for line in self._registrar.settle(self, told):
            headers.append(("Contact", line))
        first: Leg = accepted[0] if accepted else None
        if first is not None and first.response is not None:
            best = first.response
            dropped: frozenset = _NOT_RETURNED if first.showed_credentials else _NOT_RETURNED_WITH_OURS
            for item in best.items():
                if (_LOWERED.get(item[0]) or canonical_name(item[0])) not in dropped:
                    headers.append(item)
            if best.has("Expires") and told:
                headers.append(("Expires", str(max(told.values()))))
        self._respond(200, None, headers)

    @cython.cfunc
    def _pass_challenge(self, leg: Leg):
        """401 or 407: the server's own words. With stale=true where the phone had shown credentials that this server
        was never given, so that it does not take its password for wrong."""
        assert leg.response is not None
        unseen = bool(self._shown) and not leg.showed_credentials
        if self._shown:
            self._registrar.credentials_rejected(self)
        headers = []
        for name, value in leg.response.items():
            if canonical_name(name) in _NOT_RETURNED:
                continue
            is_challenge = canonical_name(name) in _CHALLENGES
            headers.append((name, with_stale(value) if unseen and is_challenge else value))
        self._respond(leg.response.status, leg.response.reason, headers)

    @cython.cfunc
    def _pass_refusal(self, response: object):
        if self._shown and response.status in (403, 404):
            self._registrar.credentials_rejected(self)
        headers = [(name, value) for name, value in response.items() if canonical_name(name) not in _NOT_RETURNED]
        self._respond(response.status, response.reason, headers)

    @cython.cfunc
    def _nobody_answered(self):
        """480: 408 is forbidden (RFC 4320 4.2), and a 503 would make the phone think that we are at fault (D7)."""
        tried = "; ".join(f"{leg.server.name}: {leg.reason or 'no answer'}" for leg in self._legs) or "none configured"
        text = f"no registrar of {self.group.name} answered ({tried})".replace("\\", "").replace('"', "'")
        self._respond(480, "No Registrar Answers", [("Warning", f'399 sbc "{text}"')])

    @cython.cfunc
    def _respond(self, status: cython.int, reason: object, headers: list):
        self.answered = True
        for timer in (self._deadline_timer, self._hedge_timer, self._wait_timer):
            if timer is not None:
                timer.cancel()
        self._deadline_timer = self._hedge_timer = self._wait_timer = None
        if reason is not None:
            reason = reason.replace("\r", " ").replace("\n", " ")  # neither ends a line by itself, so a server may send it
        self._transaction.respond(Response.for_request(self.request, status, reason, headers=headers))


@cython.cfunc
def _shortest(contact: object, accepted: list) -> object:
    """The shortest time that a server granted for it, 0 when it was removed."""
    leg: Leg
    shortest = 0
    if contact.expires == 0:
        return shortest
    for leg in accepted:
        seconds = leg.granted.get(contact.token, 0)
        if seconds > 0 and (shortest == 0 or seconds < shortest):
            shortest = seconds
    return shortest


@cython.cfunc
def _all_hopeless(legs: list) -> cython.bint:
    leg: Leg
    for leg in legs:  # noqa: SIM110
        if not leg.hopeless:
            return False
    return True


@cython.cfunc
def _all_removed(contacts: list) -> cython.bint:
    """False without any."""
    for contact in contacts:
        if contact.expires != 0:
            return False
    return len(contacts) > 0


def _rank(leg: Leg) -> int:
    return leg.server.rank
