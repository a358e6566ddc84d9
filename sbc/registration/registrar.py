"""The registrar that the phones see: `Registrar`.

One REGISTER, from the phone and back:

    phone -> register_received -> Exchange: who is asked, who is told, when the phone is answered
                                    -> Leg per server: attempts, Call-ID and CSeq of our own, challenges we can answer
                                 <- accepted, not_accepted: what a server said, as it comes
          <- settle: bindings and registrations brought up to date and stored, then the 200 leaves

It has three parts, each on top of the next. `Registrar`, here, is the door: what comes in from the phones, the groups that it
serves, and what others ask it. `Settlement` is told what the servers say. `PhoneBook` keeps what outlives an exchange: the bindings
and their registrations per server (also on disk, written before the phone is told), the nonces, and who has answered wrongly too
often. The registrar refuses by itself only what must not reach a server: requests out of order, and credentials that were
refused again and again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import cython

from sbc.clock import Clock
from sbc.events import Report
from sbc.registration.bindings import REGISTERED
from sbc.registration.census import Census
from sbc.registration.contacts import aor_of, read_contacts
from sbc.registration.described import LOT, MOST, describe, describe_phones
from sbc.registration.errand import account_of
from sbc.registration.exchange import PHONE_PATIENCE
from sbc.registration.explained import explain
from sbc.registration.restored import restored
from sbc.registration.written import OPTION_TAGS_OF_A_CONTACT
from sbc.sip.digest import HtdigestFile
from sbc.sip.errors import MalformedMessage
from sbc.store.interface import RegistrarStore

if cython.compiled:
    from cython.cimports.sbc.flow import Flow
    from cython.cimports.sbc.location.candidate import Candidate
    from cython.cimports.sbc.redundancy.group import ServerGroup
    from cython.cimports.sbc.registration.accounts import waits
    from cython.cimports.sbc.registration.bindings import Binding, Upstream, is_from
    from cython.cimports.sbc.registration.contacts import (
        Contact,
        address_of_record,
        agent_of,
        first_to_register,
        only_contact,
        read_contact,
        time_asked,
    )
    from cython.cimports.sbc.registration.exchange import Exchange, new_exchange
    from cython.cimports.sbc.registration.rhythm import due_at, settle_times
    from cython.cimports.sbc.registration.settlement import Settlement
    from cython.cimports.sbc.registration.targets import Targets
    from cython.cimports.sbc.sip.message import Request, Response
    from cython.cimports.sbc.sip.scanner import REQUIRE
    from cython.cimports.sbc.transaction.layer import TransactionLayer
    from cython.cimports.sbc.transaction.server import ServerTransaction
else:
    from sbc.flow import Flow
    from sbc.location.candidate import Candidate
    from sbc.redundancy.group import ServerGroup
    from sbc.registration.accounts import waits
    from sbc.registration.bindings import Binding, Upstream, is_from
    from sbc.registration.contacts import (
        Contact,
        address_of_record,
        agent_of,
        first_to_register,
        only_contact,
        read_contact,
        time_asked,
    )
    from sbc.registration.exchange import Exchange, new_exchange
    from sbc.registration.rhythm import due_at, settle_times
    from sbc.registration.settlement import Settlement
    from sbc.registration.targets import Targets
    from sbc.sip.message import Request, Response
    from sbc.sip.scanner import REQUIRE
    from sbc.transaction.layer import TransactionLayer
    from sbc.transaction.server import ServerTransaction

COMPILED = bool(cython.compiled)

_FLOWS_GOOD_FOR = cython.declare(cython.double, 1.0)
"""Seconds in which the way to a server is not looked for again: our own addresses may change."""

# A 200 would say that these are in force (RFC 5626 4.2.1, RFC 5627 5.1); a Path there is none, so it can be ignored.
_NOT_TO_BE_REQUIRED = OPTION_TAGS_OF_A_CONTACT - {"path"}
_NEW_PASSWORD = "the password file"  # no Call-ID of a phone


@cython.cclass
class Registrar(Settlement):
    """All phones of all groups. Call `restore` before the first REGISTER.

    `credentials` is the password file, replaced by `use_passwords`; `boot` stands in the Call-IDs and From tags of all
    that this run sends. `groups`, by name, is for those who look at the phones; `refused_here` has by (group, reason) the
    REGISTERs that were refused without asking a server: `loop`, `wrong_password`, `servers_coming_back`. `moved_here` is called
    with the token of a contact that is new here, or leaves here: what others know of it is old.
    """

    _flow_to: object
    _flows: dict
    _flows_until: cython.double
    _targets: dict
    groups: object
    _restored: list
    _serial: cython.longlong

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
        super().__init__(layer, clock, wall_clock, store, credentials, report)
        self.queue.lane(PHONE_PATIENCE)
        self._flow_to = flow_to
        self._flows: dict[Candidate, Flow | None] = {}
        self._flows_until = 0.0
        self._targets: dict[str, Targets] = {}  # by key of the group
        self.groups: Mapping[str, ServerGroup] = {}
        self.refused_here: dict[tuple[str, str], int] = {}
        self._restored: list[Binding] = []  # until it is known where they should be registered
        self._serial = 0

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
        self._forget_servers()
        for binding in self._restored:
            targets: Targets = self.upkeep.targets_of(binding)
            if targets is not None:
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
        agent: str = None
        if group.of_several_kinds:
            agent = agent_of(request)
            group = group.phones_of(agent, host, aor)
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
        if self.refreshes.is_unchanged(transaction, request, targets, contacts, agent, self.credentials):
            return
        if self._resyncs:
            seconds: cython.int = self._retry_after(contacts, group.key, flow)
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
    def _retry_after(self, contacts: list, group: str, flow: Flow) -> cython.int:
        """Seconds after which a phone may try again that no server has a place for now (D18); 0: it may go on. `group`: the
        key of its kind of phones."""
        contact: Contact = first_to_register(contacts)
        if contact is None:
            return 0
        binding: Binding = self.bindings.find(contact.token)
        now: cython.double = self.queue.now()
        if binding is not None:
            self.upkeep.look_ahead(binding)
            if is_from(binding, flow):
                return self.upkeep.retry_after(binding, now)
        # Who names the contact of a known phone, but comes from elsewhere, may be anybody.
        return self.upkeep.retry_after_guest(group, contact.token, flow.remote[0], binding, now)

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
    def _forget_servers(self):
        """How phones stand at servers that their group has no more. A kill before that is on disk is no harm: at the start this
        is done again."""
        binding: Binding
        upstream: Upstream
        targets: Targets
        for binding in self.bindings:
            targets = self.upkeep.targets_of(binding)
            if targets is None:
                continue
            kept: list = [upstream for upstream in binding.upstreams if targets.named(upstream.server) is not None]
            if len(kept) < len(binding.upstreams):
                binding.upstreams = tuple(kept)
                self._archive.keep_without(binding)

    @cython.cfunc
    def _targets_of(self, group: ServerGroup) -> Targets:
        name: str = group.key
        targets: Targets = self._targets.get(name)
        if targets is None or targets.group is not group:  # a changed configuration
            targets = self._targets[name] = Targets(group, self._reports)
            self.queue.lane(targets.register_wait)
            self.upkeep.follow(targets)
        return targets

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
            return group.phones_of(agent_of(request), host, aor)
        # One that calls anonymously is the one that is registered there; a phone of several lines may be of several kinds.
        return group.phones_of(binding.agent or "", host, aor if self.bindings.number(aor) else binding.aor)

    @property
    def incomplete(self) -> dict[str, frozenset[str]]:
        """See `Resyncs.incomplete`. Always the same dictionary."""
        return self.upkeep.resyncs.incomplete

    def moved_away(self, token: str) -> None:
        """Another process of this appliance serves that phone from now on. Its registrations at the servers go on."""
        self.upkeep.missed.registered_again(token)
        binding = self.bindings.get(token)
        if binding is not None:
            self._forget(binding)
            self._archive.forget(token, [])

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
    def _token_of(self, contacts: list, aor: str) -> str:
        """Of the first contact, or what stands in its place where there is none."""
        contact: Contact
        if not contacts:
            return self.query_token(aor)
        contact = contacts[0]
        return contact.token

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
        told: float = targets.phone_expires or binding.granted
        if told < binding.granted:  # the rest is `spare`, as before
            binding.granted = told
            binding.expires_at = min(binding.expires_at, now + told)
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

    # For people

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
