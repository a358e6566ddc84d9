"""What the servers have said of a phone's REGISTER, and what follows from it: `Settlement`, the registrar's middle part.

An exchange tells it whom each server has accepted and whom not, and is told which servers have no place for this phone now, and for
how long it may be granted. What was accepted goes into the `PhoneBook` before the phone hears of it.

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1; the types of the fields are in
settlement.pxd.
"""

from __future__ import annotations

import sys

import cython

from sbc.events import PhoneQuarantined
from sbc.nonces import announced_nonce, is_stale, realm_of
from sbc.registration.bindings import FAILED, REGISTERED, REGISTERING, UNREGISTERED
from sbc.registration.leg import Ending
from sbc.registration.own_digest import WRONG_IN_PHONE, answerable, wrong_line
from sbc.registration.quarantine import MOST_IN_A_ROW, Kept
from sbc.registration.refreshes import OFF
from sbc.registration.turns import LEAST_GRANT

if cython.compiled:
    from cython.cimports.sbc.registration.bindings import Binding, Question, Upstream, is_from
    from cython.cimports.sbc.registration.contacts import Contact, first_to_register, read_contact
    from cython.cimports.sbc.registration.exchange import Exchange
    from cython.cimports.sbc.registration.leg import Leg
    from cython.cimports.sbc.registration.phone_book import PhoneBook
    from cython.cimports.sbc.registration.rhythm import is_well, settle_times
    from cython.cimports.sbc.registration.rota import Rota
    from cython.cimports.sbc.registration.shown import Shown
    from cython.cimports.sbc.registration.targets import Target, Targets
    from cython.cimports.sbc.registration.turns import Turns, is_brief, turns_for
    from cython.cimports.sbc.sip.lines import OwnLine, written_line
    from cython.cimports.sbc.sip.message import Response
    from cython.cimports.sbc.sip.scanner import CONTACT
    from cython.cimports.sbc.sip.writer import Writer
else:
    from sbc.registration.bindings import Binding, Question, Upstream, is_from
    from sbc.registration.contacts import Contact, first_to_register, read_contact
    from sbc.registration.exchange import Exchange
    from sbc.registration.leg import Leg
    from sbc.registration.phone_book import PhoneBook
    from sbc.registration.rhythm import is_well, settle_times
    from sbc.registration.rota import Rota
    from sbc.registration.shown import Shown
    from sbc.registration.targets import Target, Targets
    from sbc.registration.turns import Turns, is_brief, turns_for
    from sbc.sip.lines import OwnLine, written_line
    from sbc.sip.message import Response
    from sbc.sip.scanner import CONTACT
    from sbc.sip.writer import Writer

COMPILED = bool(cython.compiled)

_NO_LIMIT = cython.declare(cython.double, 1e9)  # seconds
_WRITER = cython.declare(Writer, Writer())  # nobody holds it for longer than one line
_REGISTERED = cython.declare(str, REGISTERED)
_REGISTERING = cython.declare(str, REGISTERING)
_UNREGISTERED = cython.declare(str, UNREGISTERED)
_FAILED = cython.declare(str, FAILED)
_OFF = cython.declare(str, OFF)


@cython.cclass
class Settlement(PhoneBook):
    """`refused_here`: (group, reason) -> REGISTERs that no server has heard of."""

    refused_here: dict

    # The phone is accepted

    @cython.cfunc
    def _overtake(self, exchange: Exchange):
        """The phone has moved, and is accepted at its new place: what the servers say to its older REGISTERs, from
        elsewhere, comes too late."""
        if exchange.contested:
            self._supersede(exchange, None)
        contact: Contact
        if self._duties or self._missed_removals:
            for contact in exchange.contacts:
                self.upkeep.interrupted(contact.token, contact.expires == 0)

    @cython.cfunc
    def _supersede(self, exchange: Exchange, host: str | None):
        """End the other exchanges about the same contacts: those of a phone at that host, or with None all older ones."""
        contact: Contact
        under_way: list
        other: Exchange
        for contact in exchange.contacts:
            under_way = self._under_way.get(contact.token)
            if under_way is None or (len(under_way) == 1 and under_way[0] is exchange):
                continue
            for other in list(under_way):
                if other is exchange:
                    continue
                if other.serial < exchange.serial if host is None else other.phone_flow.remote[0] == host:
                    other.supersede()
                    self.exchange_over(other)

    @cython.cfunc
    def let_in(self, exchange: Exchange):
        """What the phone wants removed is removed here at once (D13)."""
        self._overtake(exchange)
        self._remove(exchange)

    @cython.cfunc
    def accepted(self, exchange: Exchange, leg: Leg):
        now: cython.double = self.queue.now()
        if leg.showed_credentials and self.rejections.are_any():
            self.rejections.accepted(exchange.phone_flow.remote[0], exchange._token, leg.target.name)
        self._overtake(exchange)
        self._remove(exchange)
        contact: Contact
        binding: Binding
        upstream: Upstream
        other: Leg
        seconds: cython.longlong
        place: cython.Py_ssize_t
        for place in range(len(exchange.contacts)):
            contact = exchange.contacts[place]
            seconds = leg.granted_for(place)
            if contact.expires == 0 or seconds <= 0:
                continue
            binding = self._bind(exchange, leg, contact, now + seconds, now)
            upstream = self._upstream_of(binding, leg.target.name, exchange)
            upstream.expires_at = now + seconds
            upstream.registered_at = now
            upstream.due_at = 0.0  # drawn when the phone is told its time
            upstream.candidate = leg.candidate
            self._accounts.accepted(upstream)
            self._note_nonce(exchange, leg, binding, upstream)
            if self._resyncs and not leg.showed_credentials and leg.upstream.digest is None:
                self.upkeep.asked_nothing(binding, leg.target.name)
            self._change(binding, upstream, _REGISTERED, "")
            for other in exchange._legs:
                if other.ending is None and not other.reserve:
                    upstream = self._upstream_of(binding, other.target.name, exchange)
                    if upstream.state == _UNREGISTERED:
                        self._change(binding, upstream, _REGISTERING, "")
            self._expiry.watch(binding)
        if exchange.answered:
            self._save(exchange)

    @cython.cfunc
    def _note_nonce(self, exchange: Exchange, leg: Leg, binding: Binding, upstream: Upstream):
        """What that server has accepted it with, and so what it wants the next time."""
        rota: Rota = binding.rota
        if leg.showed_credentials:
            if upstream.nonce == "":
                binding.unsaved = True  # a later one need not be on disk: that there is one tells that the phone has to answer
            upstream.nonce = exchange.nonce
            upstream.wants_phone = True
            if upstream.question is None:
                upstream.question = Question(self.credentials, exchange.realm)
            upstream.question.announced = announced_nonce(leg.response)
        else:
            upstream.wants_phone = False
        if rota is not None:
            # A brief one is not reached: it would be new each time.
            is_new: cython.bint = upstream.state != _REGISTERED and not is_brief(upstream, exchange.targets)
            rota.accepted(upstream.server, is_new)
            binding.spare = max(binding.spare, upstream.expires_at - binding.expires_at)

    # It is not

    @cython.cfunc
    def not_accepted(self, exchange: Exchange, leg: Leg):
        status: cython.int = leg.response._status if leg.response is not None else 0
        is_challenge: cython.bint = leg.ending is Ending.CHALLENGED
        refused_account: cython.bint = leg.ending is Ending.REFUSED and (status == 403 or status == 404)
        wrong_password: cython.bint = is_challenge and (
            leg.own_password_refused or exchange.is_endless or exchange.is_wrong_password(leg)
        )
        if is_challenge:
            self._note_challenge(exchange, leg)
        if wrong_password or (leg.showed_credentials and (refused_account or self._is_wrong_again(exchange, leg))):
            self._count_rejection(exchange, leg.target.name, leg.own_password_refused)
        if is_challenge and not exchange.accepted and not wrong_password:
            return  # the usual first 401 of every renewal says nothing
        reason: str = leg.reason
        if is_challenge:
            reason = WRONG_IN_PHONE if wrong_password else "asks for a password that only the phone knows"
            if leg.own_password_refused:
                reason = wrong_line(leg.response, exchange.own_username())
            elif exchange.is_endless:
                reason = "challenges again behind every answer"
        failed: cython.bint = refused_account or wrong_password
        group: str = exchange.targets.group_name
        contact: Contact
        binding: Binding
        upstream: Upstream
        for contact in exchange.contacts:
            binding = self.bindings.find(contact.token)
            if binding is not None and not _is_of_phone(exchange, binding):
                continue
            upstream = binding.at(leg.target.name) if binding is not None else None
            if upstream is None:
                if failed and not exchange.is_removal:
                    self._reports.registration_changed(
                        group, leg.target.name, exchange.aor, _UNREGISTERED, _FAILED, reason
                    )
            elif failed:
                self._refuse(binding, upstream, exchange.group, reason)
            elif is_challenge and upstream.state == _REGISTERED:
                continue  # it is the phone's to answer
            else:
                # A registration that could not be renewed holds until it lapses.
                self._change(
                    binding, upstream, _REGISTERED if upstream.state == _REGISTERED else _UNREGISTERED, reason
                )
        if exchange.answered:
            self._save(exchange)

    @cython.cfunc
    def _note_challenge(self, exchange: Exchange, leg: Leg):
        """It has challenged, and the phone has to answer, as far as the password file does not know how."""
        contact: Contact
        binding: Binding
        upstream: Upstream
        if leg.target.trusted or answerable(leg.response, self.credentials, exchange.own_username()) is not None:
            return
        leg.target.realm = sys.intern(realm_of(leg.response))
        for contact in exchange.contacts:
            binding = self.bindings.find(contact.token)
            upstream = binding.at(leg.target.name) if binding is not None else None
            if upstream is not None and _is_of_phone(exchange, binding):
                upstream.wants_phone = True
                upstream.question = Question(self.credentials, leg.target.realm)

    @cython.cfunc
    def refused_untried(self, exchange: Exchange):
        self._count_refused(exchange.targets.group_name, "wrong_password")

    @cython.cfunc
    def _count_refused(self, group: str, reason: str):
        key: tuple = (group, reason)
        self.refused_here[key] = self.refused_here.get(key, 0) + 1

    @cython.cfunc
    def not_waited_for(self, exchange: Exchange, leg: Leg):
        if leg.showed_credentials:
            self._count_rejection(exchange, leg.target.name, False)

    @cython.cfunc
    def _is_wrong_again(self, exchange: Exchange, leg: Leg) -> cython.bint:
        """A challenge that says nothing by itself, for the phone has shown an old nonce; but not the first one."""
        host: str = exchange.phone_flow.remote[0]
        return (
            leg.ending is Ending.CHALLENGED
            and self.rejections.is_known(host, exchange._token, leg.target.name)
            and not is_stale(leg.response)
        )

    @cython.cfunc
    def _count_rejection(self, exchange: Exchange, server: str, is_own: cython.bint):
        """That server has not accepted credentials of that phone, or may not have. `is_own`: those that we answered for it."""
        contact: Contact = exchange.contacts[0] if exchange.contacts else None
        self.rejections.rejected(
            exchange.phone_flow.remote[0],
            exchange._token,
            server,
            exchange.request.call_id_text(),
            self.queue.now(),
            aor=exchange.aor,
            contact=contact.uri if contact is not None else "",
            is_own=is_own,
        )

    @cython.cfunc
    def final_word(self, exchange: Exchange, status: cython.int):
        host: str = exchange.phone_flow.remote[0]
        if status < 300 or exchange.asks_once_more:
            self._quarantine.accepted(host, exchange._token)
            return
        now: cython.double = self.queue.now()
        if not self._quarantine.is_loop(host, exchange._token, now):
            return
        contact: Contact = exchange.contacts[0] if exchange.contacts else None
        uri: str = contact.uri if contact is not None else ""
        seconds: cython.double = exchange.group.settings.quarantine
        group: str = exchange.targets.group_name
        reason = f"more than {MOST_IN_A_ROW} REGISTERs in a row were not accepted, the last one was answered {status}"
        self._quarantine.keep(host, exchange._token, Kept(now + seconds, exchange.aor, uri, group, reason))
        self._reports(PhoneQuarantined(group, exchange.aor, uri, host, seconds, reason))

    # Removals that a server has not heard of

    @cython.cfunc
    def asks_once_more(self, exchange: Exchange, leg: Leg) -> cython.bint:
        if not self._missed_removals:
            return False
        method: str = exchange.targets.challenge_method
        return self.upkeep.missed.put_to_phone(_tokens_of(exchange), leg.target.name, method)

    @cython.cfunc
    def _have_heard(self, exchange: Exchange) -> list:
        """With this REGISTER the phone answers a server that has not heard of its accepted removal: the other servers have, and
        who gets round that one by one that believes everybody is told nothing. None when it does not."""
        target: Target
        shown: Shown = exchange._shown
        if shown is None:
            return None
        pending = self.upkeep.missed.servers_of(_tokens_of(exchange))
        if not any(pending.get(issuer.name) for issuer in shown.issuers(exchange.group, self.queue.now())):
            return None
        return [target.name for target in exchange.targets.asked if target.trusted or target.name not in pending]

    # For whom there is a place

    @cython.cfunc
    def held_back(self, exchange: Exchange) -> list:
        """Of a phone that takes turns at some servers, those among them are for its turns to choose."""
        if exchange.is_removal and self._missed_removals:
            return self._have_heard(exchange)
        if not self._resyncs or exchange.is_query or exchange.is_removal:
            return None
        contact: Contact = first_to_register(exchange.contacts)
        binding: Binding = self.bindings.find(contact.token)
        now: cython.double = self.queue.now()
        targets: Targets = exchange.targets
        turns: Turns = exchange.turns
        target: Target
        found: list = []
        if not targets.concurrent:
            # It goes where new requests go; there it takes a place.
            self._takes_place(exchange, contact, binding, targets.goal, now)
            return None
        for target in targets.asked:
            if (turns is None or not turns.wants(target)) and not self._takes_place(
                exchange, contact, binding, target.name, now
            ):
                found.append(target.name)
        if found and (binding is None or not is_from(binding, exchange.phone_flow)):
            # Somebody who may be anybody must not get round the servers that ask for passwords.
            if not self.upkeep.may_leave_out(exchange.group.key, found):
                return None
        return found if 0 < len(found) < len(targets.asked) else None

    def _takes_place(self, exchange: Exchange, contact: Contact, binding: Binding | None, server: str, now: float) -> bool:
        """Of a phone, known or not, at a server that may have come back."""
        group: str = exchange.group.key
        if binding is not None and (is_from(binding, exchange.phone_flow) or not self.upkeep.paces_guests(group, server, now)):
            return self.upkeep.admits(binding, server, now)
        return self.upkeep.admits_guest(group, contact.token, exchange.phone_flow.remote[0], server, now)

    def is_awaited(self, binding: Binding, server: str) -> bool:
        return self.upkeep.is_awaited(binding, server)

    def admits(self, binding: Binding, server: str, now: float) -> bool:
        """May a REGISTER of that phone, which is not registered at that server, go there now?"""
        return self.upkeep.admits(binding, server, now)

    def longest_grant(self, binding: Binding, now: float) -> float:
        return self.upkeep.longest_grant(binding, now)

    # What the phone is told

    @cython.cfunc
    def grant_of_turns(self, exchange: Exchange) -> cython.longlong:
        contact: Contact
        leg: Leg
        targets: Targets = exchange.targets
        contact = exchange.contacts[0]
        binding: Binding = self.bindings.find(contact.token)
        if binding is None:
            return 0
        if self._resyncs:
            self.upkeep.expect_new(binding)
        if not targets.concurrent or targets.shared_nonce or len(targets.asked) < 2:
            return self._limit_of(binding)
        for leg in exchange._legs:
            if leg.is_running() and leg.candidate in self.nonces.issuers and not leg.is_hopeless():
                self._presume_challenge(exchange, leg, binding)
        now: cython.double = self.queue.now()
        turns: Turns = exchange.turns
        if turns is None:
            turns = turns_for(self, targets, binding, exchange.phone_flow, exchange.request, now)
            if turns is None:
                return self._limit_of(binding)
        exchange._least_grant = int(min(LEAST_GRANT, targets.short_grant))
        self._leave_out_brief(exchange, turns, now)
        return turns.grant(exchange._is_held, now)

    @cython.cfunc
    def _leave_out_brief(self, exchange: Exchange, turns: Turns, now: cython.double):
        """A server that grants very little does not make the phone come by for ever."""
        leg: Leg
        any_brief: cython.bint = False
        any_other: cython.bint = False
        turns.leave_out_brief(now)
        for leg in exchange._legs:
            if leg.ending is Ending.ACCEPTED:
                leg.brief = turns.is_left_out(leg.target, now)
                any_brief = any_brief or leg.brief
                any_other = any_other or not leg.brief
        if any_brief and not any_other:
            exchange._is_held = True  # the phone is told of what it has elsewhere

    @cython.cfunc
    def _limit_of(self, binding: Binding) -> cython.longlong:
        """The longest time for a phone because of the servers that are down or coming back; 0 without a limit."""
        if not self._limits:
            return 0
        seconds: cython.double = self.upkeep.longest_grant(binding, self.queue.now())
        return cython.cast(cython.longlong, seconds) if seconds < _NO_LIMIT else 0

    @cython.cfunc
    def _presume_challenge(self, exchange: Exchange, leg: Leg, binding: Binding):
        """A server that challenges everybody is slow to answer: it will challenge this phone as well."""
        upstream: Upstream = self._upstream_of(binding, leg.target.name, exchange)
        if not leg.target.trusted and upstream.state != _REGISTERED and not leg.showed_credentials:
            if self.credentials is None or not self.credentials.knows(exchange.own_username()):
                upstream.wants_phone = True
                upstream.question = Question(self.credentials, leg.target.realm)

    @cython.cfunc
    def settle(self, exchange: Exchange, response: Response) -> cython.longlong:
        """Store it all. The Contacts: all of the address-of-record that we know (10.3 item 8), the phone's own first."""
        now: cython.double = self.queue.now()
        longest: cython.longlong = 0
        mine: cython.Py_ssize_t = 0
        contact: Contact
        binding: Binding = None
        seconds: cython.longlong
        place: cython.Py_ssize_t
        for place in range(len(exchange.contacts)):
            contact = exchange.contacts[place]
            seconds = exchange.told(place)
            binding = self.bindings.find(contact.token)
            if seconds > 0 and binding is not None:
                longest = max(longest, seconds)
                binding.granted = seconds
                binding.expires_at = now + seconds
                binding.grace = 0.0
                settle_times(binding, exchange.targets, self.upkeep if self._resyncs else None, now)
                self._expiry.watch(binding)
                mine += 1
                response.append_line(_contact_line(contact, seconds, binding.gruu if exchange.asks_for_gruu() else ""))
            if binding is not None:
                self._keep(binding)
        if mine == 0 or mine > 1 or binding is None or not self.bindings.is_alone(binding):
            self._append_others(exchange, response, now)
        return longest

    @cython.cfunc
    def answered(self, exchange: Exchange, response: Response):
        binding: Binding
        if len(exchange.contacts) == 1 and exchange.targets.refresh_check != _OFF:
            contact: Contact = exchange.contacts[0]
            binding = self.bindings.find(contact.token)
            if binding is not None:
                self.refreshes.learn(binding, response)

    @cython.cfunc
    def _append_others(self, exchange: Exchange, response: Response, now: cython.double):
        """The contacts of the address-of-record that the phone has not just named and been granted."""
        contact: Contact
        binding: Binding
        place: cython.Py_ssize_t
        mine: list = []
        for place in range(len(exchange.contacts)):
            if exchange.told(place) > 0:
                contact = exchange.contacts[place]
                mine.append(contact.token)
        for binding in self.bindings.of_aor(exchange.aor):
            if binding.token not in mine and binding.expires_at > now:
                contact = binding.read or read_contact(binding.contact, binding.aor, self._tokens)
                response.append_line(_contact_line(contact, max(0, round(binding.expires_at - now)), ""))

    # At the end

    @cython.cfunc
    def exchange_over(self, exchange: Exchange):
        contact: Contact
        binding: Binding
        exchanges: list
        for contact in exchange.contacts:
            exchanges = self._under_way.get(contact.token)
            if exchanges is not None and exchange in exchanges:
                exchanges.remove(exchange)
                if not exchanges:
                    del self._under_way[contact.token]
            binding = self.bindings.find(contact.token)
            if binding is None:
                if self._missed_removals and exchange.accepted:
                    heard, challenged = _who_answered(exchange)
                    self.upkeep.missed.removal_over(contact.token, heard, challenged)
                continue
            if binding.unsaved:
                self._archive.keep(binding)  # what its turns have taught, in an exchange that ends with a challenge
            if contact.token in self._duties or self._resyncs or not is_well(binding, exchange.targets):
                self.upkeep.settled(binding, self._gone_on_from(exchange, binding))
        exchange.release()

    def _gone_on_from(self, exchange: Exchange, binding: Binding) -> list[str]:
        """The servers that failed, so that the phone's REGISTER had to go on to the next one. Those that refused its account
        are noted here (V16)."""
        leg: Leg
        found: list[str] = []
        if not _is_of_phone(exchange, binding):
            return found
        for leg in exchange._legs:
            for server, status, reason in leg.gone_on_from or ():
                if server == leg.target.name:
                    continue
                if status in (403, 404):
                    self._refuse(binding, self._upstream_of(binding, server, exchange), exchange.group, reason)
                else:
                    found.append(server)
        if binding.unsaved:
            self._archive.keep(binding)
        return found


@cython.cfunc
def _is_of_phone(exchange: Exchange, binding: Binding) -> cython.bint:
    """Does a refusal say anything of that phone? Not where it was said to somebody elsewhere, who has not shown its password;
    the port may be another one, behind NAT."""
    return exchange.proven or exchange.phone_flow.remote[0] == binding.host


@cython.cfunc
def _contact_line(contact: Contact, seconds: cython.longlong, gruu: str) -> OwnLine:
    writer: Writer = _WRITER
    writer.begin()
    contact.write_line(writer, seconds, gruu)
    return written_line(writer.written(), len("Contact"), CONTACT)


def _who_answered(exchange: Exchange) -> tuple[list[str], list[str]]:
    """The servers that have said their word on it, and those that have challenged."""
    leg: Leg
    heard = [leg.target.name for leg in exchange._legs if leg.ending is Ending.ACCEPTED or leg.ending is Ending.REFUSED]
    return heard, [leg.target.name for leg in exchange._legs if leg.ending is Ending.CHALLENGED]


def _tokens_of(exchange: Exchange) -> list[str]:
    contact: Contact
    return [contact.token for contact in exchange.contacts]
