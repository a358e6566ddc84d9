"""What one REGISTER means for the turns of its phone: `Turns`, between an exchange and the phone's `Rota`.

It looks up how the phone stands at the servers that want its answer, asks the rota, and writes down what was learned. Made
only for phones for which more than one server wants the phone's own answer.

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from math import inf
from typing import Any, Protocol

import cython

from sbc.registration.bindings import FAILED, REGISTERED, UNREGISTERED
from sbc.registration.rota import (
    AGGREGATE,
    ALTERNATING,
    BETTER_AGAIN,
    FALLS_BACK_TO,
    FIRST_ONLY,
    SERIAL,
    Standing,
    missing,
    order,
    spread,
)

if cython.compiled:
    from cython.cimports.sbc.flow import Flow
    from cython.cimports.sbc.location.candidate import Candidate
    from cython.cimports.sbc.registration.bindings import Binding, Upstream, gives_up_realm, is_from
    from cython.cimports.sbc.registration.contacts import agent_of
    from cython.cimports.sbc.registration.leg import Leg
    from cython.cimports.sbc.registration.rota import Rota
    from cython.cimports.sbc.registration.shown import Shown
    from cython.cimports.sbc.registration.targets import Target, Targets
    from cython.cimports.sbc.sip.message import Request
else:
    from sbc.flow import Flow
    from sbc.location.candidate import Candidate
    from sbc.registration.bindings import Binding, Upstream, gives_up_realm, is_from
    from sbc.registration.contacts import agent_of
    from sbc.registration.leg import Leg
    from sbc.registration.rota import Rota
    from sbc.registration.shown import Shown
    from sbc.registration.targets import Target, Targets
    from sbc.sip.message import Request

COMPILED = bool(cython.compiled)

_FAILED = cython.declare(str, FAILED)
_REGISTERED = cython.declare(str, REGISTERED)
_UNREGISTERED = cython.declare(str, UNREGISTERED)
_ATTEMPT = cython.declare(cython.double, 32.0)  # seconds: 64*T1, in which a phone has answered all that it will answer
_FIRST_METHODS = (SERIAL, AGGREGATE)
_AHEAD = 3.0  # times `short_grant`: one more than what is urgent, for a phone that uses up its time
_MOST_TRIALS = cython.declare(cython.int, 2)  # of another realm: its challenge first, then last (B2, B3)
_SEEMS = "seems to answer"
_SO_FAR = "so far answers"

LEAST_GRANT = 5.0
"""Seconds. A phone that takes turns is never told less (but `short_grant`): pjsip falls silent for good after 3 s."""

_ROUNDING = cython.declare(cython.double, 0.5)  # servers grant whole seconds, which a difference of two times is only nearly

_BRIEF_AGAIN = 3600.0
"""Seconds after which a server that grants very little is tried once more."""

DOES_NOT_COME = (
    "the phone does not come back for this server's challenge; try another challenge_method for it,"
    " or put its password into the credentials file"
)
"""Why it is not registered there, when it was granted a short time again and again and the server has not been reached."""


class Books(Protocol):
    """What the registrar knows of passwords and servers."""

    credentials: Any

    def admits(self, binding: Binding, server: str, now: float) -> bool: ...

    def longest_grant(self, binding: Binding, now: float) -> float: ...

    def is_awaited(self, binding: Binding, server: str) -> bool: ...


@cython.cfunc
def wants_phone(target: Target, upstream: Upstream | None, credentials: object) -> cython.bint:
    """Does that server want an answer that only the phone can give?"""
    if upstream is None or not upstream.wants_phone or target.trusted:
        return False
    # Another password file may know more.
    return upstream.question.credentials is credentials if upstream.question is not None else credentials is None


@cython.cfunc
def is_brief(upstream: Upstream, targets: Targets) -> cython.bint:
    """Has that server granted less than two short grants, the last time? Then it lapses before the phone has come by again."""
    return 0.0 < upstream.expires_at - upstream.registered_at < 2.0 * targets.short_grant - _ROUNDING


@cython.cfunc
def turns_for(
    books: Books, targets: Targets, binding: Binding | None, flow: Flow, request: Request, now: cython.double
) -> Turns:
    """None when at most one server wants the phone's own answer, or the phone has nothing to choose."""
    target: Target
    number: cython.int = 0
    if binding is None or not targets.concurrent or targets.shared_nonce or len(targets.asked) < 2:
        return None
    credentials = books.credentials
    for target in targets.asked:
        if wants_phone(target, binding.at(target.name), credentials):
            number += 1
    if number < 2:
        return None
    turns: Turns = Turns.__new__(Turns)
    turns._books = books
    turns._targets = targets
    turns._credentials = credentials
    turns.binding = binding
    turns.rota = binding.rota
    turns._request = request
    turns._call_id = request.call_id_text()
    turns._trial = ""
    turns._is_split = False
    turns.is_known = flow.remote[0] == binding.host
    turns.at_home = is_from(binding, flow)
    turns.answers = ""
    turns.leg = None
    turns._begins_anew = binding.call_id != turns._call_id
    turns._begin(now)
    return turns


@cython.cclass
class Turns:
    """`answers` is the server whose challenge this REGISTER answers, "" for none; `at_home`: it comes from where the phone
    was when a server accepted it; `is_known`: at least from that host, behind NAT perhaps from another port. Only then does it
    say anything of the phone, for anybody can send one in its name. `leg` is the one whose turn it is; None with the method aggregate."""

    binding: Binding
    rota: Rota
    answers: str
    at_home: cython.bint
    is_known: cython.bint
    leg: Leg
    _books: object
    _targets: Targets
    _credentials: object
    _request: Request
    _call_id: str
    _begins_anew: cython.bint
    _trial: str  # the server of another realm whose challenge the phone gets with that of the one which it is registered at
    _is_split: cython.bint  # the phone answers both of such a pair

    @cython.cfunc
    def _begin(self, now: cython.double):
        """With the method that was learned for the phone, for as long as that counts, else the configured one."""
        binding: Binding = self.binding
        if self.rota is not None and binding.method and self.rota.is_to_begin_again(now):
            self._learn("", "", now)
        method: str = self._targets.challenge_method
        if binding.method == FIRST_ONLY or (binding.method == ALTERNATING and method in _FIRST_METHODS):
            method = binding.method
        if self.rota is None:
            self.rota = binding.rota = Rota(method, now)
        elif self.rota.method != method:
            self.rota.begin(method, now)
        if self.is_known:
            self._spare_kind(now)

    @cython.cfunc
    def _learn(self, method: str, reason: str, now: cython.double):
        self.binding.method = method
        self.binding.method_reason = reason
        self.binding.unsaved = True
        self.rota.begin(method or self._targets.challenge_method, now)

    @cython.cfunc
    def wants(self, target: Target) -> cython.bint:
        return wants_phone(target, self.binding.at(target.name), self._credentials)

    @cython.cfunc
    def _waits(self, upstream: Upstream, now: cython.double) -> cython.bint:
        """Has the phone been given up there for now? One that begins anew may have another account than was refused. One that
        does not answer the realm there is given up until `_forgive`."""
        if gives_up_realm(upstream) or now < self.rota.left_out_until(upstream.server):
            return True
        return now < upstream.retry_at and not (self._begins_anew and upstream.state == _FAILED)

    @cython.cfunc
    def standings(self, now: cython.double) -> list:
        """How the phone stands at each server that wants its answer."""
        found: list = []
        target: Target
        upstream: Upstream
        left: cython.double
        for target in self._targets.asked:
            upstream = self.binding.at(target.name)
            if wants_phone(target, upstream, self._credentials):
                left = max(0.0, upstream.expires_at - now) if upstream.state == _REGISTERED else 0.0
                alive = self._targets.group.may_accept(target.name)
                waits = self._waits(upstream, now)
                brief = is_brief(upstream, self._targets)
                found.append(Standing(target.name, target.rank, left, alive, waits, brief))
        return found

    # At its arrival

    @cython.cfunc
    def arrived(self, shown: Shown | None, now: cython.double):
        """Whom it answers, and what that says of the phone."""
        target: Target
        server: str = self.rota.pending
        answered: list = []
        if shown is not None:
            shown.spent = self.rota.spent
            for target in self._targets.asked:
                if shown.is_new_to(self.binding.at(target.name), target.name, self._targets.group, now):
                    answered.append(target.name)
        self.answers = server if server in answered else answered[0] if answered else ""
        if not self.is_known:
            return
        together: tuple = self.rota.together
        self.rota.together = ()
        alternates: cython.bint = self.rota.method == ALTERNATING
        self._is_split = alternates and len(answered) > 1 and len(together) > 1
        if answered and len(answered) < len(together):
            self.rota.given_up(server)
            left: list = [name for name in together if name not in answered]
            if alternates:
                self._trial_over(left[0], now)
            else:
                self._give_up(left[0], f"answers the challenge of {answered[0]} only", now)
        if shown is not None and not answered and server == "":
            self._spare_other_realms(now)
        self.rota.prolonged(self.binding.expires_at)
        said: str = self.rota.arrived(self._call_id, self.answers, now)
        if said:
            self._give_up(server, said, now)

    @cython.cfunc
    def _spare_kind(self, now: cython.double):
        """Phones of a kind that answers one realm only (`one_realm`) are never asked for the answer to another."""
        target: Target
        upstream: Upstream
        patterns: tuple = self._targets.one_realm
        if not patterns:
            return
        for target in self._targets.asked:
            upstream = self.binding.at(target.name)
            if upstream is None or upstream.state == _REGISTERED or not self.wants(target) or self._waits(upstream, now):
                continue
            if self._other_realm(upstream) and self._is_of(patterns):
                self._pass_over_realm(upstream, "is of a kind that answers", now)

    @cython.cfunc
    def _is_of(self, patterns: tuple) -> cython.bint:
        agent: str = agent_of(self._request).lower()
        for pattern in patterns:
            if fnmatchcase(agent, pattern):
                return True
        return False

    @cython.cfunc
    def _trial_over(self, left: str, now: cython.double):
        """Of two challenges of different realms the phone has not answered that server's. Some answer the last challenge only
        (twinkle), so the order is turned round once; what it does not answer then, it cannot."""
        upstream: Upstream = self.binding.at(left)
        if upstream is None or not self._is_on_trial(upstream):
            return  # it is registered there
        if self.rota.trials < _MOST_TRIALS:
            upstream.retry_at = 0.0
        else:
            self._pass_over_realm(upstream, "answers", now)

    @cython.cfunc
    def _is_on_trial(self, upstream: Upstream) -> cython.bint:
        """Has the phone never answered that server, which has another realm than the one that it has answered?"""
        return upstream.nonce == "" and self._other_realm(upstream) != ""

    @cython.cfunc
    def _forgive(self, now: cython.double):
        """The phone is accepted. One that has begun anew, a day or more later, may have been set up for the other realm; and
        that server may have another realm by now."""
        target: Target
        upstream: Upstream
        is_old: cython.bint
        for target in self._targets.asked:
            upstream = self.binding.at(target.name)
            if upstream is None or not gives_up_realm(upstream) or upstream.state == _REGISTERED:
                continue
            is_old = target.realm != "" and not upstream.reason.endswith(f", not {target.realm}")
            if (self._begins_anew and now >= upstream.retry_at) or (is_old and " only realm " in upstream.reason):
                upstream.retry_at = 0.0
                self.rota.trials = 0
                self.binding.unsaved = True
            elif _SO_FAR in upstream.reason:  # it has come again, and not with that answer
                upstream.reason = upstream.reason.replace(_SO_FAR, "answers")
                self.binding.unsaved = True
        self._spare_kind(now)

    @cython.cfunc
    def _spare_other_realms(self, now: cython.double):
        """The phone shows the answer to an older challenge unasked. linphone does, mostly, and it answers the first realm that
        it met and no other: after a challenge of another one it does not come again, and would be lost everywhere. So such a
        phone is not given one as long as it is registered elsewhere. sofia could answer it, and cannot be told from linphone.
        """
        target: Target
        upstream: Upstream
        for target in self._targets.asked:
            upstream = self.binding.at(target.name)
            if self.rota.method != ALTERNATING or upstream is None or upstream.state == _REGISTERED:
                continue
            if self.wants(target) and not self._waits(upstream, now) and self._other_realm(upstream):
                self._pass_over_realm(upstream, _SEEMS, now)

    @cython.cfunc
    def refused(self, shown: Shown, candidate: Candidate, now: cython.double):
        """That server has challenged again, behind what the phone showed it."""
        if not self.is_known:
            return
        for _, _, credentials in shown.entries:
            if credentials.nonce != shown.spent and shown.issued(credentials.nonce, candidate, now):
                self.rota.spent = credentials.nonce

    @cython.cfunc
    def _give_up(self, server: str, said: str, now: cython.double):
        """The method does not work with this phone; or only that server does not, whose realm is another one."""
        upstream: Upstream = self.binding.at(server) if server else None
        if self._other_realm(upstream):
            self._pass_over_realm(upstream, "answers", now)
        elif self.rota.method in FALLS_BACK_TO:
            self._learn(FALLS_BACK_TO[self.rota.method], f"{self.rota.method}: the phone {said}", now)

    @cython.cfunc
    def _pass_over_realm(self, upstream: Upstream, what_it_does: str, now: cython.double):
        """The phone is not asked any more for an answer there (`_forgive`)."""
        upstream.retry_at = now + BETTER_AGAIN
        upstream.failures = 0
        upstream.reason = f"the phone {what_it_does} only realm {self._other_realm(upstream)}, not {upstream.question.realm}"
        upstream.state = UNREGISTERED if upstream.state != _REGISTERED else upstream.state
        self.binding.unsaved = True

    @cython.cfunc
    def _other_realm(self, upstream: Upstream | None) -> str:
        """The realm that the phone has answered elsewhere, when that server has another one; else ""."""
        other: Upstream
        if upstream is None or upstream.question is None or upstream.question.realm == "":
            return ""
        for other in self.binding.upstreams:
            if other.question is not None and other.nonce and other.question.realm != upstream.question.realm:
                return other.question.realm
        return ""

    @cython.cfunc
    def next(self, now: cython.double) -> str:
        """The server whose turn it is; "" when none can be asked."""
        one: Standing
        for one in order(self.standings(now), self.rota.method, self._targets.short_grant, self.rota.passed_over):
            if one.remaining > 0.0 or one.name == self.rota.reserved or self._books.admits(self.binding, one.name, now):
                return self._fresh_before(one.name, now)
        return ""

    @cython.cfunc
    def _fresh_before(self, name: str, now: cython.double) -> str:
        """A phone that may not answer that server's realm, and be silent then for long, gets its challenge only when it has just
        been accepted where it is: that comes first, and the other one at the next refresh, which comes soon."""
        upstream: Upstream = self.binding.at(name)
        home: str = ""
        if self.rota.method == ALTERNATING and self._is_on_trial(upstream):
            home = self._home(name, now)
        if home == "":
            return name
        if self.binding.at(home).registered_at + 2.0 * self._targets.short_grant < now:
            return home
        self._trial = name
        return name

    @cython.cfunc
    def _home(self, but: str, now: cython.double) -> str:
        """The best living server, but for that one, that has the phone by its own answer; "" without one."""
        one: Standing
        best: Standing = None
        for one in self.standings(now):
            if one.name != but and one.alive and one.remaining > 0.0 and (best is None or one.rank < best.rank):
                best = one
        return "" if best is None else best.name

    @cython.cfunc
    def next_at_once(self, now: cython.double) -> str:
        """serial: the next server, of those that have not accepted the phone in this attempt; "" when all have."""
        one: Standing
        upstream: Upstream
        for one in order(self.standings(now), self.rota.method, self._targets.short_grant, self.answers):
            upstream = self.binding.at(one.name)
            if one.name != self.answers and (one.remaining <= 0.0 or upstream.registered_at + _ATTEMPT < now):
                if one.remaining > 0.0 or self._books.admits(self.binding, one.name, now):
                    return one.name
        return ""

    @cython.cfunc
    def may_be_asked(self, target: Target, now: cython.double) -> cython.bint:
        """aggregate: may it challenge the phone as well?"""
        upstream: Upstream = self.binding.at(target.name)
        if self._waits(upstream, now):
            return False
        return upstream.state == _REGISTERED or self._books.admits(self.binding, target.name, now)

    # Whom the exchange asks

    @cython.cfunc
    def take(self, legs: list, shown: Shown | None, now: cython.double):
        """Of the servers that want the phone's answer only those are asked whose turn it is; that one comes first."""
        leg: Leg
        self.arrived(shown, now)
        together: cython.bint = self.rota.method == AGGREGATE or self._is_split
        name: str = self.answers
        without_place: str = name if name and self._has_no_place(name, now) else ""
        if without_place:
            name = ""
        if name == "" and self.at_home and not together:
            name = self.next(now)
        if not any([leg.target.name == name for leg in legs]):
            name = ""  # it must not hear of this phone now (`accounts`, `rejections`)
        if self._trial and name == self._trial and self._take_trial(legs, now):
            return
        self._trial = ""
        self._leave_out_other_realms(legs, now)
        if name == "" and not self.at_home and not together:
            name = self._next_elsewhere(legs, now)
        for leg in legs:
            if not self.wants(leg.target):
                continue
            if together:
                leg.reserve = not self._is_asked_together(leg, shown, now)
                continue
            leg.reserve = True
            if leg.target.name == name or (name == "" and self.leg is None and leg.target.name != without_place):
                leg.reserve = False
                self.leg = leg
            elif self.at_home and shown is not None:
                leg.free = shown.is_last_of(self.binding.at(leg.target.name))
        if self.leg is not None:
            legs.remove(self.leg)
            legs.insert(0, self.leg)

    @cython.cfunc
    def _next_elsewhere(self, legs: list, now: cython.double) -> str:
        """Of a REGISTER that comes from elsewhere, and may be anybody's: the first in order that is not being resynchronised, and
        so takes nobody's place there (D18); else the first that has one. "" without any."""
        leg: Leg
        for leg in legs:
            if self.wants(leg.target) and not leg.is_hopeless():
                if not self._books.is_awaited(self.binding, leg.target.name):
                    return leg.target.name
        for leg in legs:
            if self.wants(leg.target) and not leg.is_hopeless():
                if self._books.admits(self.binding, leg.target.name, now):
                    return leg.target.name
        return ""

    @cython.cfunc
    def _take_trial(self, legs: list, now: cython.double) -> cython.bint:
        """The challenge of another realm comes together with that of the server that has the phone already: who can answer only
        one answers that, stays registered, and shows no failure (B2, B3: PJSIP with an account for one realm)."""
        leg: Leg
        home: str = self._home(self._trial, now)
        pair: list = [leg for leg in legs if leg.target.name == self._trial or leg.target.name == home]
        if len(pair) < 2:
            return False
        pair.sort(key=lambda leg: (leg.target.name == home) == (self.rota.trials == 0))
        for leg in legs:
            leg.reserve = self.wants(leg.target) and leg not in pair
        legs[:] = pair + [leg for leg in legs if leg not in pair]
        return True

    @cython.cfunc
    def _leave_out_other_realms(self, legs: list, now: cython.double):
        """Also when nobody else is left, a phone is not asked for what it cannot answer: behind an answer of ours it tries again,
        behind such a challenge it may be silent for good."""
        leg: Leg
        upstream: Upstream
        kept: list = []
        for leg in legs:
            upstream = self.binding.at(leg.target.name)
            if (
                upstream is None
                or leg.target.name == self.answers
                or upstream.state == _REGISTERED
                or not gives_up_realm(upstream)
                or not self.wants(leg.target)
                or _SEEMS in upstream.reason
            ):
                kept.append(leg)
        if kept:
            legs[:] = kept

    @cython.cfunc
    def _has_no_place(self, name: str, now: cython.double) -> cython.bint:
        """The phone shows that server's nonce, maybe one from before it was away: is it in service elsewhere, and not to go there now?"""
        return (
            self.time_held(name, now) > 0.0
            and self._books.is_awaited(self.binding, name)
            and not self._books.admits(self.binding, name, now)
        )

    @cython.cfunc
    def _is_asked_together(self, leg: Leg, shown: Shown | None, now: cython.double) -> cython.bint:
        """aggregate: those whose challenges the phone answers, or all that it is to be challenged by."""
        if self.answers:
            return shown is not None and leg.target.settings in shown.issuers(self._targets.group, now)
        return not leg.is_hopeless() and self.may_be_asked(leg.target, now)

    @cython.cfunc
    def is_besides(self, leg: Leg) -> cython.bint:
        """Is it asked at the same time as the one whose turn it is? A server for which the phone shows credentials without
        having been asked: it may renew it at no cost, and that it accepts does not end the other one's turn. With the method
        aggregate: all that are asked together."""
        return leg.free or (self.leg is None and not leg.reserve and self.wants(leg.target))

    @cython.cfunc
    def is_together(self, leg: Leg) -> cython.bint:
        """Is its challenge passed on with those of others, when all have spoken? Also that of a server that was shown its last
        nonce, unasked, and wants another one: the phone has answered nobody yet."""
        return self.leg is None and not leg.reserve and (not leg.showed_credentials or self.answers == "")

    @cython.cfunc
    def without_reserves(self, legs: list, answered: cython.bint, now: cython.double) -> list:
        """The phone is accepted: what is not its turn waits for another REGISTER. But with the method serial the next server
        has its turn at once."""
        leg: Leg
        if self.rota.method == SERIAL and self.answers and not answered:
            name: str = self.next_at_once(now)
            for leg in legs:
                if leg.reserve and not leg.started and leg.target.name == name:
                    leg.reserve = False
                    self.leg = leg
        kept: list = []
        for leg in legs:
            if leg.started or not leg.reserve:
                kept.append(leg)
        return kept

    @cython.cfunc
    def challenged(self, leg: Leg, others: list, now: cython.double):
        """The phone is given that server's challenge, together with those of others."""
        other: Leg
        upstream: Upstream
        if not self.is_known:
            return
        second: cython.bint = self.answers != "" and self.answers != leg.target.name
        name: str = leg.target.name
        if self._trial and others:
            name = self._trial
            self.rota.trials += 1
        self.rota.challenged(name, self._call_id, second, now)
        for other in [leg, *others]:
            upstream = self.binding.at(other.target.name)
            if upstream is not None and self._is_on_trial(upstream):
                # Until it answers it counts as one that cannot, for this may be the last that we hear of it for long.
                self._pass_over_realm(upstream, _SO_FAR, now)
        if others:
            self.rota.together = (leg.target.name, *[other.target.name for other in others])

    # At its end

    @cython.cfunc
    def time_held(self, but: str, now: cython.double) -> cython.double:
        """Seconds for which the phone stays registered without that server: 0.0 when it is nowhere else."""
        standings = [one for one in self.standings(now) if one.name != but and one.alive]
        return spread(standings, self.rota.method)

    @cython.cfunc
    def is_held(self, but: str, now: cython.double) -> cython.bint:
        """May the phone be told that it is registered though that server has not accepted its answer? It is elsewhere, and
        nothing is changed by telling it so."""
        return self.at_home and self.time_held(but, now) >= self._targets.short_grant

    @cython.cfunc
    def leave_out_brief(self, now: cython.double):
        """A server that grants less than two short grants is not worth coming by for, as long as another one that lives has the
        phone for longer: no turn is kept for it for a while."""
        target: Target
        upstream: Upstream
        is_elsewhere: cython.bint = False
        brief: list = []
        for target in self._targets.asked:
            upstream = self.binding.at(target.name)
            if upstream is None or upstream.state != _REGISTERED:
                continue
            if not is_brief(upstream, self._targets):
                self.rota.leave_out(upstream.server, 0.0)
                if upstream.expires_at - now >= self._targets.short_grant and self._targets.group.may_accept(target.name):
                    is_elsewhere = True
            elif self.wants(target):
                brief.append(upstream)
        for upstream in brief:
            self.rota.leave_out(upstream.server, now + _BRIEF_AGAIN if is_elsewhere else 0.0)
            if is_elsewhere:
                seconds = round(upstream.expires_at - upstream.registered_at)
                upstream.reason = f"the server grants {seconds} s only, too short for the phone to come by for it"
                self.binding.unsaved = True

    @cython.cfunc
    def is_left_out(self, target: Target, now: cython.double) -> cython.bint:
        """Is it registered there for a time that is not worth to be told?"""
        upstream: Upstream = self.binding.at(target.name)
        return (
            upstream is not None
            and now < self.rota.left_out_until(target.name)
            and upstream.state == _REGISTERED
            and is_brief(upstream, self._targets)
        )

    @cython.cfunc
    def grant(self, is_held: cython.bint, now: cython.double) -> cython.longlong:
        """The seconds for the phone, at most, now that it is told that it is registered; `is_held`: where it was already."""
        one: Standing
        self._forgive(now)
        standings: list = self.standings(now)
        is_short: cython.bint = False
        lacking: list = missing(standings, self.rota.method)
        if lacking and self.rota.may_be_short():
            for one in lacking:
                if self._books.is_awaited(self.binding, one.name):
                    continue  # there is no place for it there now; when there may be one, `longest_grant` knows
                if one.name == self.rota.reserved or self._books.admits(self.binding, one.name, now):
                    self.rota.reserved = one.name
                    is_short = True
                    break
        if lacking and not self.rota.may_be_short():
            self._say_what_to_do(lacking)
            if self.rota.method == AGGREGATE and not self._books.is_awaited(self.binding, lacking[0].name):
                self._learn(ALTERNATING, f"{AGGREGATE}: the phone is never registered at {lacking[0].name} by it", now)
        seconds: cython.double = self._targets.short_grant
        if not is_short:
            longest: cython.double = spread(standings, self.rota.method)
            if lacking:
                # It is to come while none of the others is so urgent that it goes before the missing one (`order`).
                longest -= _AHEAD * self._targets.short_grant
            seconds = max(seconds, longest)
            if is_held:
                seconds = min(seconds, self._time_at_others(now))
            seconds = min(seconds, self._books.longest_grant(self.binding, now))
        self.rota.granted(seconds, is_short, not lacking, self._call_id, now)
        return int(seconds)

    @cython.cfunc
    def _say_what_to_do(self, lacking: list):
        """The short grants have run out: these servers are left for the phone's long rhythm."""
        one: Standing
        upstream: Upstream
        for one in lacking:
            upstream = self.binding.at(one.name)
            if upstream.state == _UNREGISTERED and not self._books.is_awaited(self.binding, one.name):
                self.binding.unsaved = self.binding.unsaved or upstream.reason != DOES_NOT_COME
                upstream.reason = DOES_NOT_COME

    @cython.cfunc
    def _time_at_others(self, now: cython.double) -> cython.double:
        """Seconds until it lapses at a server that does not want the phone's answer."""
        target: Target
        upstream: Upstream
        least: cython.double = inf
        for target in self._targets.asked:
            upstream = self.binding.at(target.name)
            if upstream is not None and upstream.state == _REGISTERED and not self.wants(target):
                least = min(least, upstream.expires_at - now)
        return max(least, self._targets.short_grant)
