"""The registrar that the phones see: `Registrar`.

One REGISTER, from the phone and back:

    phone -> register_received -> Exchange: who is asked, who is told, when the phone is answered
                                    -> Leg per server: attempts, Call-ID and CSeq of our own, challenges we can answer
                                 <- accepted, not_accepted: what a server said, as it comes
          <- settle: bindings and registrations brought up to date and stored, then the 200 leaves

This module keeps what outlives an exchange: the bindings of the phones and their registrations per server (also on
disk, written before the phone is told), the nonces, and who has answered wrongly too often. It refuses by itself only
what must not reach a server: requests out of order, and credentials that were refused again and again.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import cython

from sbc.clock import Clock
from sbc.events import PhoneQuarantined, Report
from sbc.nonces import Nonces, announced_nonce, is_stale, realm_of
from sbc.redundancy.phones import LONGEST_AGENT
from sbc.registration.bindings import FAILED, REGISTERED, REGISTERING, UNREGISTERED
from sbc.registration.census import Census
from sbc.registration.contacts import aor_of, canonical_aor, read_contacts
from sbc.registration.described import LOT, MOST, describe, describe_phones
from sbc.registration.errand import account_of
from sbc.registration.exchange import PHONE_PATIENCE
from sbc.registration.explained import explain
from sbc.registration.leg import Ending
from sbc.registration.own_digest import answerable
from sbc.registration.quarantine import MOST_IN_A_ROW, Kept
from sbc.registration.refreshes import OFF
from sbc.registration.restored import restored
from sbc.registration.upkeep import Upkeep
from sbc.registration.written import OPTION_TAGS_OF_A_CONTACT
from sbc.sip.digest import HtdigestFile
from sbc.sip.errors import MalformedMessage
from sbc.store.interface import RegistrarStore, RemovalRow

if cython.compiled:
    from cython.cimports.sbc.events import Reports, as_reports
    from cython.cimports.sbc.flow import Flow
    from cython.cimports.sbc.location.candidate import Candidate
    from cython.cimports.sbc.redundancy.group import ServerGroup
    from cython.cimports.sbc.registration.accounts import Accounts, waits
    from cython.cimports.sbc.registration.archive import Archive
    from cython.cimports.sbc.registration.bindings import Binding, Bindings, Question, Upstream
    from cython.cimports.sbc.registration.contacts import (
        Contact,
        TokenMaker,
        address_of_record,
        only_contact,
        read_contact,
        time_asked,
    )
    from cython.cimports.sbc.registration.errand import Errand
    from cython.cimports.sbc.registration.exchange import Exchange, ExchangeUser, new_exchange
    from cython.cimports.sbc.registration.expiry import ExpiryQueue
    from cython.cimports.sbc.registration.leg import Leg
    from cython.cimports.sbc.registration.quarantine import Quarantine
    from cython.cimports.sbc.registration.refreshes import Refreshes
    from cython.cimports.sbc.registration.rejections import Rejections
    from cython.cimports.sbc.registration.rhythm import due_at, is_well, settle_times
    from cython.cimports.sbc.registration.rota import Rota
    from cython.cimports.sbc.registration.shown import Shown
    from cython.cimports.sbc.registration.targets import Target, Targets
    from cython.cimports.sbc.registration.turns import Turns, turns_for
    from cython.cimports.sbc.sip.lines import OwnLine, written_line
    from cython.cimports.sbc.sip.message import Request, Response
    from cython.cimports.sbc.sip.scanner import CONTACT, REQUIRE
    from cython.cimports.sbc.sip.writer import Writer
    from cython.cimports.sbc.transaction.layer import TransactionLayer
    from cython.cimports.sbc.transaction.server import ServerTransaction
else:
    from sbc.events import Reports, as_reports
    from sbc.flow import Flow
    from sbc.location.candidate import Candidate
    from sbc.redundancy.group import ServerGroup
    from sbc.registration.accounts import Accounts, waits
    from sbc.registration.archive import Archive
    from sbc.registration.bindings import Binding, Bindings, Question, Upstream
    from sbc.registration.contacts import Contact, TokenMaker, address_of_record, only_contact, read_contact, time_asked
    from sbc.registration.errand import Errand
    from sbc.registration.exchange import Exchange, ExchangeUser, new_exchange
    from sbc.registration.expiry import ExpiryQueue
    from sbc.registration.leg import Leg
    from sbc.registration.quarantine import Quarantine
    from sbc.registration.refreshes import Refreshes
    from sbc.registration.rejections import Rejections
    from sbc.registration.rhythm import due_at, is_well, settle_times
    from sbc.registration.rota import Rota
    from sbc.registration.shown import Shown
    from sbc.registration.targets import Target, Targets
    from sbc.registration.turns import Turns, turns_for
    from sbc.sip.lines import OwnLine, written_line
    from sbc.sip.message import Request, Response
    from sbc.sip.scanner import CONTACT, REQUIRE
    from sbc.sip.writer import Writer
    from sbc.transaction.layer import TransactionLayer
    from sbc.transaction.server import ServerTransaction

COMPILED = bool(cython.compiled)

MAX_CONTACTS_OF_AOR = 50
"""Then the one that lapses first makes room. A phone that takes another port with each start leaves its old contacts
behind, and a call rings at all of them."""

_FLOWS_GOOD_FOR = cython.declare(cython.double, 1.0)
"""Seconds in which the way to a server is not looked for again: our own addresses may change."""

_NO_LIMIT = cython.declare(cython.double, 1e9)  # seconds
_LARGEST_CSEQ = cython.declare(cython.longlong, 2**31 - 1)  # RFC 3261 8.1.1.5
# A 200 would say that these are in force (RFC 5626 4.2.1, RFC 5627 5.1); a Path there is none, so it can be ignored.
_NOT_TO_BE_REQUIRED = OPTION_TAGS_OF_A_CONTACT - {"path"}


_WRITER = cython.declare(Writer, Writer())  # nobody holds it for longer than one line
_NEW_PASSWORD = "the password file"  # no Call-ID of a phone
_REGISTERED = cython.declare(str, REGISTERED)
_REGISTERING = cython.declare(str, REGISTERING)
_UNREGISTERED = cython.declare(str, UNREGISTERED)
_FAILED = cython.declare(str, FAILED)
_OFF = cython.declare(str, OFF)


@cython.cclass
class Registrar(ExchangeUser):
    """All phones of all groups. Call `restore` before the first REGISTER.

    `credentials` is the password file, replaced by `use_passwords`; `boot` stands in the Call-IDs and From tags of all
    that this run sends. `groups`, by name, is for those who look at the phones; `refused_here` has by (group, reason) the
    REGISTERs that were refused without asking a server: `loop`, `wrong_password`, `servers_coming_back`. `moved_here` is called
    with the token of a contact that is new here, or leaves here: what others know of it is old.
    """

    clock: object
    _flow_to: object
    _flows: dict
    _flows_until: cython.double
    moved_here: object
    _wall_clock: object
    _store: object
    _reports: Reports
    _tokens: TokenMaker
    _accounts: Accounts
    _quarantine: Quarantine
    _archive: Archive
    _expiry: ExpiryQueue
    _targets: dict
    _at: dict
    groups: object
    refused_here: dict
    _under_way: dict
    _restored: list
    refreshes: Refreshes
    _cseq_floor: cython.longlong
    _serial: cython.longlong
    upkeep: object
    _duties: dict
    _held_requests: dict
    _missed_removals: dict
    _resyncs: dict
    _limits: set

    def __init__(
        self,
        layer: TransactionLayer,
        clock: Clock,
        wall_clock: Callable[[], float],
        store: RegistrarStore,
        credentials: HtdigestFile | None,
        flow_to: Callable[[Candidate], Flow | None],
        report: Report,
    ) -> None:
        """`flow_to` gives the way to a server, None when we have no socket for it."""
        self.layer = layer
        self.queue = layer.queue
        self.queue.lane(PHONE_PATIENCE)
        self.clock = clock
        self._flow_to = flow_to
        self._flows: dict[Candidate, Flow | None] = {}
        self._flows_until = 0.0
        self.credentials = credentials
        self.moved_here: Callable[[str], object] | None = None
        self.bindings = Bindings()
        self.nonces = Nonces()
        self._wall_clock = wall_clock
        self._store = store
        self._reports = as_reports(report)
        self._tokens = TokenMaker(store.secret())
        self.rejections = Rejections()
        self._accounts = Accounts()
        self._quarantine = Quarantine()
        self._archive = Archive(self.queue, wall_clock, store, self._everything)
        self._expiry = ExpiryQueue(self.queue, self._lapsed)
        self._targets: dict[str, Targets] = {}  # by key of the group
        self._at: dict[tuple[str, int], Binding] = {}  # by where the phone is; only in groups of several kinds of phones
        self.groups: Mapping[str, ServerGroup] = {}
        self.refused_here: dict[tuple[str, str], int] = {}
        self._under_way: dict[str, list[Exchange]] = {}  # by token; several only when from several hosts
        self._restored: list[Binding] = []  # until it is known where they should be registered
        self.refreshes = Refreshes(
            self.queue, wall_clock, self.bindings, self._archive, self._expiry, self._under_way, self._quarantine, self.nonces
        )
        self.boot = secrets.token_hex(4)
        self._cseq_floor = 0
        self._serial = 0
        self.upkeep = Upkeep(clock, self, self._reports)
        self._duties = self.upkeep.duties
        self._held_requests = self.upkeep.held.waiting
        self._missed_removals = self.upkeep.missed.entries
        self._resyncs = self.upkeep.resyncs.entries
        self._limits = self.upkeep.resyncs.limits
        self.refreshes.limit_by(self.upkeep, self._limits)

    def set_groups(self, groups: Iterable[ServerGroup]) -> None:
        """Serve the phones of these groups from now on, and of no others (start, and a changed configuration)."""
        group: ServerGroup
        each: ServerGroup
        keys: set = set()
        for group in groups:
            for each in [group, *group.kinds]:
                self._targets_of(each)
                keys.add(each.key)
        for key in self._targets.keys() - keys:
            del self._targets[key]
        self.refreshes.forget_all()
        self.upkeep.serve_only(keys)
        for binding in self._restored:
            targets: Targets = self._targets.get(binding.group)
            if targets is not None and not targets.group.of_several_kinds:
                self._set_restored_times(binding, targets)
        self._restored = []

    # From the proxy

    def register_first(
        self,
        group: ServerGroup,
        server: str,
        candidate: Candidate,
        phone: tuple,
        method: str,
        patience: float,
        done: Callable[[bool], None],
    ) -> bool:
        """A request of the phone, (From URI, host, port), is to go to that server, which wants it registered first.

        False: send it at once. True: when `done` is called, and with False not there.
        """
        return self.upkeep.held.of_phone(group, server, candidate, phone, method, patience, done)

    @cython.ccall
    def register_received(self, transaction: ServerTransaction, request: Request, group: ServerGroup):
        """A phone's REGISTER for a domain of that group. MalformedMessage when its To or Contact cannot be read."""
        named: tuple = address_of_record(request)
        aor: str = named[0]
        contacts: list = self._contacts(request, aor)
        flow: Flow = transaction.flow
        host: str = flow.remote[0]
        contact: Contact
        if group.of_several_kinds:
            group = group.phones_of(_agent_of(request), host, aor)
        if self._quarantine.is_any():
            now: cython.double = self.queue.now()
            left: cython.double = self._quarantine.left(host, self._token_of(contacts, aor), now)
            if left > 0.0:
                self._count_refused(group.name, "loop")
                headers = [("Retry-After", str(self._quarantine.retry_after(left)))]
                transaction.respond(Response.for_request(request, 500, "REGISTERs in a Loop, Left Alone", headers=headers))
                return
        if request.may_have(REQUIRE):
            unsupported = [tag for tag in request.get_all("Require") if tag.lower() in _NOT_TO_BE_REQUIRED]
            if unsupported:
                headers = [("Unsupported", tag) for tag in unsupported]
                transaction.respond(Response.for_request(request, 420, headers=headers))
                return
        call_id: str = request.call_id_text()
        if call_id.startswith(self.boot) and call_id.startswith(f"{self.boot}-"):
            # One of ours: a server's name leads to ourselves (pitfall D28).
            transaction.respond(Response.for_request(request, 482))
            return
        if not self._is_in_order(transaction, request, contacts):
            # 10.3 items 6 and 7; 500 is the answer of 12.2.2 for the same mistake
            transaction.respond(Response.for_request(request, 500, "CSeq Out of Order"))
            return
        targets: Targets = self._targets_of(group)
        agent: str = _agent_of(request) if group.of_several_kinds else None
        if self.refreshes.is_unchanged(transaction, request, targets, contacts, agent, self.credentials):
            return
        if self._resyncs:
            seconds: cython.int = self._retry_after(contacts)
            if seconds > 0:
                self._count_refused(group.name, "servers_coming_back")
                headers = [("Retry-After", str(seconds))]
                reason = "Servers Are Coming Back"
                transaction.respond(Response.for_request(request, 503, reason, headers=headers))
                return
        self._serial += 1
        exchange: Exchange = new_exchange(self, transaction, request, targets, aor, named[1], contacts, self._serial)
        if self._under_way:
            # Another host must not be able to interrupt the exchange of this one, unless it is accepted (`_overtake`).
            self._supersede(exchange, host)
        for contact in contacts:
            self._begin_under_way(exchange, contact)
        exchange.start()

    @cython.cfunc
    def _count_refused(self, group: str, reason: str):
        key: tuple = (group, reason)
        self.refused_here[key] = self.refused_here.get(key, 0) + 1

    @cython.cfunc
    def _retry_after(self, contacts: list) -> cython.int:
        """Seconds after which a phone may try again that no server has a place for now (D18); 0: it may go on."""
        contact: Contact
        binding: Binding
        for contact in contacts:
            binding = self.bindings.find(contact.token)
            if contact.expires != 0 and binding is not None:
                return self.upkeep.retry_after(binding, self.queue.now())
        return 0

    @cython.cfunc
    def _begin_under_way(self, exchange: Exchange, contact: Contact):
        others: list = self._under_way.get(contact.token) if self._under_way else None
        other: Exchange
        if others is None:
            self._under_way[contact.token] = [exchange]
            return
        for other in others:
            other.contested = True
        exchange.contested = True
        others.append(exchange)

    @cython.cfunc
    def _targets_of(self, group: ServerGroup) -> Targets:
        name: str = group.key
        targets: Targets = self._targets.get(name)
        if targets is None or targets.group is not group:  # a changed configuration
            targets = self._targets[name] = Targets(group, self._reports)
            self.queue.lane(targets.register_wait)
            self.upkeep.follow(targets)
        return targets

    @cython.ccall
    def kind_of_sender(self, group: ServerGroup, request: Request, flow: Flow) -> ServerGroup:
        """Of a group of several kinds of phones, the one that has sent this request.

        What its REGISTER said counts; a phone that is registered in another process is told by what the request itself says.
        """
        try:
            aor: str = aor_of(request.from_.uri)
        except MalformedMessage:
            aor = ""
        host: str = flow.remote[0]
        binding: Binding = self._at.get((host, flow.remote[1]))
        if binding is None:
            return group.phones_of(_agent_of(request), host, aor)
        # One that calls anonymously is the one that is registered there; a phone of several lines may be of several kinds.
        return group.phones_of(binding.agent or "", host, aor if self.bindings.number(aor) else binding.aor)

    def binding_for_token(self, token: str) -> Binding | None:
        """The contact behind the gw-tok of a Request-URI."""
        return self.bindings.get(token)

    def bindings_for_aor(self, aor: str) -> list[Binding]:
        """All contacts of an address-of-record, oldest first."""
        return self.bindings.of_aor(canonical_aor(aor))

    def binding_with_contact(self, transport: str, host: str, contact_uri: str) -> Binding | None:
        """The contact of a phone that is connected from that host whose URI is spelled so; None without one."""
        for binding in self.bindings.connected_at(transport, host):
            if binding.contact_uri == contact_uri:
                return binding
        return None

    def moved_away(self, token: str) -> None:
        """Another process of this appliance serves that phone from now on. Its registrations at the servers go on."""
        self.upkeep.missed.registered_again(token)
        binding = self.bindings.get(token)
        if binding is not None:
            self._forget(binding)
            self._archive.forget(token, [])

    # At the start

    def restore(self) -> None:
        """Take up what the store kept. Registrations go on as if nothing had happened."""
        kept = restored(self._store, self.clock.seconds(), self._wall_clock())
        for binding in kept.bindings:
            self.bindings.add(binding)
            self._expiry.watch(binding)
            self._know_again(binding)
            self._restored.append(binding)
            if binding.agent is not None:
                self._at[binding.host, binding.port] = binding
        self.upkeep.missed.restored(kept.removals)
        if kept.expired or kept.heard:
            self._store.save_registrations((), (), kept.expired, (), kept.heard)

    def _know_again(self, binding: Binding) -> None:
        """Phones that show their last nonce unasked (linphone, sofia) need not be asked again."""
        now = self.queue.now()
        for upstream in binding.upstreams:
            if upstream.nonce and upstream.candidate is not None:
                self.nonces.remember(upstream.nonce, upstream.candidate, now)

    def _set_restored_times(self, binding: Binding, targets: Targets) -> None:
        """The servers need not hear of all phones within a minute because we have started: of each before its time there is
        over, by lot as ever (D12). What is on disk as the time of the phone is longer than it was told (`keep_until`)."""
        now = self.queue.now()
        told = targets.phone_expires or binding.granted
        asked = sum(upstream.wants_phone and upstream.state == REGISTERED for upstream in binding.upstreams)
        upstream: Upstream
        for upstream in binding.upstreams:
            if upstream.state == REGISTERED:
                upstream.due_at = due_at(upstream, told * max(1, asked), now)
        settle_times(binding, targets, self.upkeep if self._resyncs else None, now)

    # The password file

    def use_passwords(self, file: HtdigestFile | None) -> None:
        """Answer challenges from this file from now on. An account that a server refuses, and that has another password in it than
        before, is tried again as soon as `wrong_password_tries` allows, and as many of them as the servers stand."""
        before, self.credentials = self.credentials, file
        changed = file.changed_since(before) if file is not None else frozenset()
        if not changed:
            return
        now = self.queue.now()
        upstream: Upstream
        for binding in self.bindings:
            settings = self.upkeep.settings_of(binding) if account_of(binding) in changed else None
            if settings is None:
                continue
            most = settings.wrong_password_tries
            for upstream in binding.upstreams:
                if waits(upstream, now):
                    left = self.rejections.next_try(binding.host, binding.token, upstream.server, _NEW_PASSWORD, most, now)
                    self._accounts.changed(upstream, now + left)
                    binding.unsaved = True
        self.upkeep.look_at_everything()

    # What is known

    def count(self, group: str) -> int:
        """Contacts known in that group."""
        return sum(binding.group == group for binding in self.bindings)

    def registration_counts(self) -> dict[tuple[str, str, str], int]:
        """(group, server, state) -> contacts."""
        return Census(self.bindings).states

    def quarantined(self, now: float) -> dict[str, int]:
        """Phones that are left alone because they loop, by group."""
        return self._quarantine.numbers(now)

    def describe(self, now: float, *, most: int = MOST) -> dict[str, Any]:
        """Plain data for the status page, with at most so many phones of each sort (`described`)."""
        upkeep = self.upkeep
        return {
            **describe(self.bindings, self.groups, self._targets, self.rejections, self._quarantine, now, most),
            "resyncs": upkeep.resyncs.describe(now),
            "removals": upkeep.missed.describe(now),
        }

    def phones_in_lots(self) -> Iterator[list[dict[str, Any]]]:
        """The rows of all phones that there are now, some at a time, because calls wait meanwhile. Those that leave before it is
        their turn are left out."""
        tokens = [binding.token for binding in self.bindings]
        for start in range(0, len(tokens), LOT):
            known = [self.bindings.get(token) for token in tokens[start : start + LOT]]
            present = [binding for binding in known if binding is not None]
            yield describe_phones(present, self.groups, self._targets, self._quarantine, self.clock.seconds())

    def explain(self, aor: str, now: float) -> dict[str, Any]:
        """All about one address-of-record, for `sbc explain`."""
        return explain(self, self._targets, self._quarantine, aor, now)

    # For the upkeep

    def is_registering(self, token: str) -> bool:
        """A REGISTER of that phone is under way."""
        return token in self._under_way

    def errand(
        self,
        targets: Targets,
        target: Target,
        binding: Binding,
        seconds: int,
        plan: object,
        done: Callable[[Errand], object],
    ) -> Errand:
        """A REGISTER of our own for that contact; 0 seconds remove it."""
        known: Contact = binding.read or read_contact(binding.contact, binding.aor, self._tokens)
        contact = Contact(binding.token, known.text, seconds, known.parameters)
        upstream: Upstream = binding.at(target.name)
        if upstream is not None and self.bindings.find(binding.token) is not binding:
            # Its series may have gone on without it, in what the phone has sent since (`new_upstream`).
            upstream.cseq = max(upstream.cseq, self._cseq_floor)
        return Errand(self, targets, target, binding, contact, plan, done)

    def asks_for_passwords(self, candidate: Candidate) -> bool:
        """Has that server ever challenged?"""
        return candidate in self.nonces.issuers

    def doubt(self, binding: Binding, server: str) -> None:
        """What that server, which was away, has of the contact may be lost. No news for the log: there it is news when it is
        registered again."""
        upstream: Upstream = binding.at(server)
        if upstream is not None and upstream.state == _REGISTERED:
            upstream.state = _UNREGISTERED
            upstream.reason = "the server was away and may have lost it"
            self._archive.keep(binding)

    def errand_registered(self, errand: Errand) -> None:
        """A server has said 2xx."""
        binding: Binding = errand.binding
        upstream: Upstream = binding.at(errand.target.name)
        if self.bindings.find(binding.token) is not binding:
            return
        upstream.registered_at = self.queue.now()
        upstream.due_at = 0.0  # drawn when the phone is told its time
        upstream.expires_at = upstream.registered_at + errand.seconds
        upstream.candidate = errand.candidate
        binding.unsaved = True
        self._accounts.accepted(upstream)
        self._change(binding, upstream, _REGISTERED, "")
        self._expiry.watch(binding)
        self._archive.keep(binding)

    def errand_failed(self, errand: Errand, state: str, reason: str) -> None:
        """A server did not register the contact, or has removed it, or would not do that."""
        binding: Binding = errand.binding
        upstream: Upstream = binding.at(errand.target.name)
        if upstream is None or self.bindings.find(binding.token) is not binding:
            return
        if state == _UNREGISTERED and upstream.state == _REGISTERED and not errand.is_removal:
            state = _REGISTERED  # one that could not be renewed holds until it lapses
        if errand.own_password_refused:
            self.rejections.rejected(
                binding.host, binding.token, errand.target.name, "", self.queue.now(),
                aor=binding.aor, contact=binding.contact_uri,
            )  # fmt: skip
        if state == _FAILED:
            self._refuse(binding, upstream, errand.group, reason)
        else:
            self._change(binding, upstream, state, reason)
        if binding.unsaved:
            self._archive.keep(binding)

    def removal_heard(self, token: str, server: str) -> None:
        """That server knows that the phone has removed this contact, or has to be told no more."""
        self._archive.heard(token, server)

    # Before an exchange

    @cython.cfunc
    def _contacts(self, request: Request, aor: str) -> list:
        """What the phone wants registered or removed."""
        text: str = only_contact(request)
        known: Binding = self.bindings.spelled(aor, text) if text is not None else None
        if known is not None and known.read is not None:
            return [known.read.asking(time_asked(request))]
        if text and text != "*":  # an empty Contact is none
            return [read_contact(text, aor, self._tokens, time_asked(request))]
        contacts = read_contacts(request, aor, self._tokens)
        return self._removal_of_all(aor) if contacts is None else contacts

    def _removal_of_all(self, aor: str) -> list[Contact]:
        """`Contact: *` is for us to spell out (D13): the servers may know contacts that did not come through here."""
        bindings = self.bindings.of_aor(aor)
        contacts = []
        for binding in bindings:
            contact = read_contact(binding.contact, aor, self._tokens)
            contacts.append(Contact(binding.token, contact.text, 0, contact.parameters))
        for token, text in self.upkeep.missed.contacts_of(aor).items():
            if self.bindings.find(token) is None:
                contact = read_contact(text, aor, self._tokens)
                contacts.append(Contact(token, contact.text, 0, contact.parameters))
        return contacts

    @cython.cfunc
    def _is_in_order(self, transaction: ServerTransaction, request: Request, contacts: list) -> cython.bint:
        """False when a later REGISTER of the same series has been here already."""
        contact: Contact
        binding: Binding
        exchange: Exchange
        earlier: Request
        call_id: str = request.call_id_text()
        cseq: cython.longlong = request.cseq_number()
        for contact in contacts:
            binding = self.bindings.find(contact.token)
            if binding is not None and binding.cseq >= cseq and binding.call_id == call_id:
                return False
            if not self._under_way:
                continue
            for exchange in self._under_way.get(contact.token, ()):
                earlier = exchange.request
                if (
                    exchange.phone_flow.remote[0] == transaction.flow.remote[0]
                    and earlier.call_id_text() == call_id
                    and earlier.cseq_number() >= cseq
                ):
                    return False
        return True

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

    # From an exchange

    @cython.cfunc
    def server_flow(self, candidate: Candidate) -> Flow:
        now: cython.double = self.queue.now()
        if now >= self._flows_until:
            self._flows.clear()
            self._flows_until = now + _FLOWS_GOOD_FOR
        known: Flow = self._flows.get(candidate)
        if known is None:
            known = self._flows[candidate] = self._flow_to(candidate)
        return known

    @cython.cfunc
    def query_token(self, aor: str) -> str:
        """In the place of a contact's token, for the series of REGISTERs that have no Contact."""
        return self._tokens.token(aor, "", "")

    @cython.cfunc
    def new_upstream(self, server: str) -> Upstream:
        """Its CSeq starts above all that were used since the start, so that a series that was forgotten in between goes on
        and does not begin again (10.2: CSeq grows within a Call-ID)."""
        return Upstream(server, self._cseq_floor)

    @cython.cfunc
    def next_cseq(self, upstream: Upstream) -> cython.longlong:
        """The Call-ID is new with each start of the process, for the CSeq is not kept on disk (pitfall D10)."""
        largest: cython.longlong = _LARGEST_CSEQ
        if self._cseq_floor >= largest:
            self.boot, self._cseq_floor = secrets.token_hex(4), 0
            upstream.cseq = 0
        self._cseq_floor += 1
        upstream.cseq = upstream.cseq + 1 if upstream.cseq < largest else self._cseq_floor
        return upstream.cseq

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
            rota.accepted(upstream.server, upstream.state != _REGISTERED)
            binding.spare = max(binding.spare, upstream.expires_at - binding.expires_at)

    @cython.cfunc
    def _note_challenge(self, exchange: Exchange, leg: Leg):
        """It has challenged, and the phone has to answer, as far as the password file does not know how."""
        contact: Contact
        binding: Binding
        upstream: Upstream
        if leg.target.trusted or answerable(leg.response, self.credentials, exchange.own_username()) is not None:
            return
        for contact in exchange.contacts:
            binding = self.bindings.find(contact.token)
            upstream = binding.at(leg.target.name) if binding is not None else None
            if upstream is not None:
                upstream.wants_phone = True
                upstream.question = Question(self.credentials, sys.intern(realm_of(leg.response)))

    @cython.cfunc
    def grant_of_turns(self, exchange: Exchange) -> cython.longlong:
        contact: Contact
        leg: Leg
        targets: Targets = exchange.targets
        contact = exchange.contacts[0]
        binding: Binding = self.bindings.find(contact.token)
        if binding is None:
            return 0
        if not targets.concurrent or targets.shared_nonce or len(targets.asked) < 2:
            return self._limit_of(binding)
        for leg in exchange._legs:
            if leg.is_running() and leg.candidate in self.nonces.issuers and not leg.is_hopeless():
                self._presume_challenge(exchange, leg, binding)
        now: cython.double = self.queue.now()
        turns: Turns = exchange.turns
        if turns is None:
            turns = turns_for(self, targets, binding, exchange.phone_flow, exchange.request.call_id_text(), now)
            if turns is None:
                return self._limit_of(binding)
        return turns.grant(exchange._is_held, now)

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
                upstream.question = Question(self.credentials, "")

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

    @cython.cfunc
    def held_back(self, exchange: Exchange) -> list:
        """Of a phone that takes turns at some servers, those among them are for its turns to choose."""
        if exchange.is_removal and self._missed_removals:
            return self._have_heard(exchange)
        if not self._resyncs or exchange.is_query or exchange.is_removal:
            return None
        contact: Contact = exchange.contacts[0]
        binding: Binding = self.bindings.find(contact.token)
        if binding is None:
            return None
        now: cython.double = self.queue.now()
        targets: Targets = exchange.targets
        turns: Turns = exchange.turns
        target: Target
        found: list = []
        if not targets.concurrent:
            # It goes where new requests go; there it takes a place.
            self.upkeep.admits(binding, targets.goal, now)
            return None
        for target in targets.asked:
            if (turns is None or not turns.wants(target)) and not self.upkeep.admits(binding, target.name, now):
                found.append(target.name)
        return found if 0 < len(found) < len(targets.asked) else None

    def is_awaited(self, binding: Binding, server: str) -> bool:
        return self.upkeep.is_awaited(binding, server)

    def admits(self, binding: Binding, server: str, now: float) -> bool:
        """May a REGISTER of that phone, which is not registered at that server, go there now?"""
        return self.upkeep.admits(binding, server, now)

    def longest_grant(self, binding: Binding, now: float) -> float:
        return self.upkeep.longest_grant(binding, now)

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
            self._count_rejection(exchange, leg.target.name)
        if is_challenge and not exchange.accepted and not wrong_password:
            return  # the usual first 401 of every renewal says nothing
        reason: str = leg.reason
        if is_challenge:
            reason = "wrong password" if wrong_password else "asks for a password that only the phone knows"
            if exchange.is_endless:
                reason = "challenges again behind every answer"
        failed: cython.bint = refused_account or wrong_password
        group: str = exchange.targets.group_name
        contact: Contact
        binding: Binding
        upstream: Upstream
        for contact in exchange.contacts:
            binding = self.bindings.find(contact.token)
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
    def refused_untried(self, exchange: Exchange):
        self._count_refused(exchange.targets.group_name, "wrong_password")

    @cython.cfunc
    def not_waited_for(self, exchange: Exchange, leg: Leg):
        if leg.showed_credentials:
            self._count_rejection(exchange, leg.target.name)

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
    def _count_rejection(self, exchange: Exchange, server: str):
        """That server has not accepted credentials of that phone, or may not have."""
        contact: Contact = exchange.contacts[0] if exchange.contacts else None
        self.rejections.rejected(
            exchange.phone_flow.remote[0],
            exchange._token,
            server,
            exchange.request.call_id_text(),
            self.queue.now(),
            aor=exchange.aor,
            contact=contact.uri if contact is not None else "",
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

    @cython.cfunc
    def _token_of(self, contacts: list, aor: str) -> str:
        """Of the first contact, or what stands in its place where there is none."""
        contact: Contact
        if not contacts:
            return self.query_token(aor)
        contact = contacts[0]
        return contact.token

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
            elif contact.token in self._duties or self._resyncs or not is_well(binding, exchange.targets):
                self.upkeep.settled(binding, self._gone_on_from(exchange, binding))
        exchange.release()

    def _gone_on_from(self, exchange: Exchange, binding: Binding) -> list[str]:
        """The servers that failed, so that the phone's REGISTER had to go on to the next one. Those that refused its account
        are noted here (V16)."""
        leg: Leg
        found = []
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

    # Bindings

    @cython.cfunc
    def _bind(
        self, exchange: Exchange, leg: Leg, contact: Contact, expires_at: cython.double, now: cython.double
    ) -> Binding:
        """The binding for a contact that the server of that leg has accepted, made or brought up to date."""
        binding: Binding = self.bindings.find(contact.token)
        group: str = exchange.targets.group_name
        if binding is None:
            binding = Binding(contact.token, group, exchange.aor, contact.text)
            binding.expires_at = expires_at
            binding.granted = expires_at - now
            self._make_room(exchange.aor)
            self.bindings.add(binding)
            if self.moved_here is not None:
                self.moved_here(contact.token)
        self.refreshes.forget(binding)
        flow: Flow = exchange.phone_flow
        request: Request = exchange.request
        host: str = flow.remote[0]
        port: cython.int = flow.remote[1]
        local_host: str = flow.local[0]
        local_port: cython.int = flow.local[1]
        if (
            host != binding.host
            or port != binding.port
            or local_host != binding.local_host
            or local_port != binding.local_port
            or contact.text != binding.contact
            or group != binding.group
            or flow.transport != binding.transport
        ):
            binding.unsaved = True
            self._is_no_longer_there(binding)
            if not exchange.proven and not _is_from(binding, flow):
                self._disbelieve(binding, exchange, leg.target)
            binding.group = group
            binding.contact = contact.text
            self.bindings.move(binding, flow.transport, host, port, local_host, local_port)
        if exchange.group.of_several_kinds:
            self._note_agent(binding, request)
            self._at[host, port] = binding
        binding.read = contact
        # These only tell late REGISTERs from new ones; after a kill nothing is missed without them.
        binding.call_id, binding.cseq = request.call_id_text(), request.cseq_number()
        if exchange.username and exchange.username != binding.username:
            binding.unsaved = True
            binding.username = exchange.username
        return binding

    @cython.cfunc
    def _note_agent(self, binding: Binding, request: Request):
        """In a group of several kinds of phones: what tells its kind, also after a restart."""
        agent: str = _agent_of(request)
        if agent != binding.agent:
            binding.unsaved = True
            binding.agent = sys.intern(agent)

    @cython.cfunc
    def _disbelieve(self, binding: Binding, exchange: Exchange, accepted_by: Target):
        """It is elsewhere now, and who is there has shown no password: anybody at all, where that server trusts our address.

        So calls go there, as that server wants it, for the phone may well have another port since its start. But what the
        phone at the old place has proved, or was let in with by a better server, is no reason any more to answer a
        challenge from the password file (`may_vouch_for`): that begins again with the next proof.
        """
        upstream: Upstream
        target: Target
        binding.unsaved = True
        binding.username = ""
        for upstream in binding.upstreams:
            upstream.digest = None
            target = exchange.targets.named(upstream.server)
            if upstream.state == _REGISTERED and (target is None or target.rank < accepted_by.rank):
                self._change(binding, upstream, _UNREGISTERED, "the phone has moved without showing its password")
        if self._held_requests:
            self.upkeep.held.forgotten(binding)

    @cython.cfunc
    def _make_room(self, aor: str):
        if self.bindings.number(aor) >= MAX_CONTACTS_OF_AOR:
            present = self.bindings.of_aor(aor)
            first = min(present, key=_expires_at)
            self._unbind(first, "the number has too many contacts")
            self._archive.forget(first.token, [])

    @cython.cfunc
    def _upstream_of(self, binding: Binding, server: str, exchange: Exchange) -> Upstream:
        known: Upstream = binding.at(server)
        if known is None:
            first: cython.bint = bool(exchange.contacts) and binding.token == exchange.contacts[0].token
            known = exchange.upstream(exchange.targets.named(server)) if first else self.new_upstream(server)
            binding.upstreams += (known,)
        return known

    @cython.cfunc
    def _remove(self, exchange: Exchange):
        contact: Contact
        binding: Binding
        for contact in exchange.contacts:
            if contact.expires == 0:
                if self.moved_here is not None:
                    self.moved_here(contact.token)
                binding = self.bindings.find(contact.token)
                if binding is not None:
                    if not exchange.proven and not _is_from(binding, exchange.phone_flow):
                        binding.username = ""  # as in `_disbelieve`: whoever removes it may not be the phone
                    if exchange.group.of_several_kinds:
                        self._note_agent(binding, exchange.request)
                    self.upkeep.removed(binding)
                    self._unbind(binding, "removed by the phone")
                    offset = self._wall_clock() - self.queue.now()
                    self._archive.forget(binding.token, self.upkeep.missed.rows(binding.token, offset))

    @cython.cfunc
    def _unbind(self, binding: Binding, reason: str):
        upstream: Upstream
        for upstream in binding.upstreams:
            self._change(binding, upstream, _UNREGISTERED, reason)
        self._forget(binding)

    @cython.cfunc
    def _is_no_longer_there(self, binding: Binding):
        if self._at and self._at.get((binding.host, binding.port)) is binding:
            del self._at[binding.host, binding.port]

    @cython.cfunc
    def _forget(self, binding: Binding):
        self._is_no_longer_there(binding)
        self.refreshes.forget(binding)
        self.bindings.remove(binding)
        self._expiry.forget(binding)
        if self._duties or self._held_requests or self._resyncs:
            self.upkeep.forgotten(binding)

    @cython.cfunc
    def _change(self, binding: Binding, upstream: Upstream, state: str, reason: str):
        old: str = upstream.state
        if old == state and upstream.reason == reason:
            return
        binding.unsaved = True
        upstream.state = state
        upstream.reason = reason
        if old != state:
            self._reports.registration_changed(binding.group, upstream.server, binding.aor, old, state, reason)

    @cython.cfunc
    def _refuse(self, binding: Binding, upstream: Upstream, group: ServerGroup, reason: str):
        """The server answers, and refuses this account (V16)."""
        now: cython.double = self.queue.now()
        most: cython.long = group.settings.wrong_password_tries
        least: cython.double = self.rejections.next_try(binding.host, binding.token, upstream.server, "", most, now)
        binding.unsaved = True
        self._accounts.refused(upstream, group.settings, least, now)
        self._change(binding, upstream, _FAILED, reason)

    def _lapsed(self, binding: Binding) -> None:
        """Something about it has expired: a registration at a server, or all of it."""
        now = self.clock.seconds()
        if binding.expires_at + binding.spare + binding.grace <= now:
            self._unbind(binding, "expired")
            self._archive.forget_later(binding.token)
            return
        for upstream in binding.upstreams:
            if upstream.state == REGISTERED and upstream.expires_at <= now:
                reason = f"expired; {upstream.reason}" if upstream.reason else "expired"
                self._change(binding, upstream, UNREGISTERED, reason)
                self.upkeep.settled(binding)
        self._expiry.watch(binding)

    # On disk

    @cython.cfunc
    def _save(self, exchange: Exchange):
        """See that what this exchange has changed is stored. Returns when it is safe to tell the phone."""
        contact: Contact
        binding: Binding
        for contact in exchange.contacts:
            binding = self.bindings.find(contact.token)
            if binding is not None:
                self._keep(binding)

    @cython.cfunc
    def _keep(self, binding: Binding):
        if binding.unsaved:
            self._archive.keep(binding)
        else:
            self._archive.keep_later(binding)

    def _everything(self) -> tuple[Iterable[Binding], Iterable[RemovalRow]]:
        offset = self._wall_clock() - self.queue.now()
        missed = self.upkeep.missed
        return self.bindings, [row for token in {key[0] for key in missed.entries} for row in missed.rows(token, offset)]

    def check_store(self) -> None:
        """See whether what was saved is still there. To be called now and then: without a change nobody else does."""
        self._archive.check()

    def close(self) -> None:
        """The appliance stops: nothing is left to be written."""
        self._archive.close()


@cython.cfunc
def _contact_line(contact: Contact, seconds: cython.longlong, gruu: str) -> OwnLine:
    writer: Writer = _WRITER
    writer.begin()
    writer.octets(b"Contact: ")
    contact.write_with_time(writer, seconds)
    if gruu:
        writer.text(gruu)
    writer.octets(b"\r\n")
    return written_line(writer.written(), len("Contact"), CONTACT)


def _who_answered(exchange: Exchange) -> tuple[list[str], list[str]]:
    """The servers that have said their word on it, and those that have challenged."""
    leg: Leg
    heard = [leg.target.name for leg in exchange._legs if leg.ending is Ending.ACCEPTED or leg.ending is Ending.REFUSED]
    return heard, [leg.target.name for leg in exchange._legs if leg.ending is Ending.CHALLENGED]


def _tokens_of(exchange: Exchange) -> list[str]:
    contact: Contact
    return [contact.token for contact in exchange.contacts]


@cython.cfunc
def _is_from(binding: Binding, flow: Flow) -> cython.bint:
    """Is the phone where it was?"""
    return flow.remote[0] == binding.host and flow.remote[1] == binding.port and flow.transport == binding.transport


def _agent_of(request: Request) -> str:
    return (request.get("User-Agent") or "")[:LONGEST_AGENT]


def _expires_at(binding: Binding) -> float:
    return binding.expires_at
