"""What is known of the phones: `PhoneBook`, the registrar's lower part.

The bindings and their registrations at each server, brought up to date and to disk; our own series of REGISTERs there; and what
`upkeep` does for phones that are silent. Whom to believe, and so what may be changed here, is for `Settlement` to say.

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1; the types of the fields are in
phone_book.pxd.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Iterable

import cython

from sbc.clock import Clock
from sbc.events import Report
from sbc.nonces import Nonces
from sbc.registration.bindings import FAILED, REGISTERED, UNREGISTERED
from sbc.registration.contacts import canonical_aor
from sbc.registration.upkeep import Upkeep
from sbc.sip.digest import HtdigestFile
from sbc.store.interface import RegistrarStore, RemovalRow

if cython.compiled:
    from cython.cimports.sbc.events import Reports, as_reports
    from cython.cimports.sbc.flow import Flow
    from cython.cimports.sbc.redundancy.group import ServerGroup
    from cython.cimports.sbc.registration.accounts import Accounts
    from cython.cimports.sbc.registration.archive import Archive
    from cython.cimports.sbc.registration.bindings import Binding, Bindings, Upstream, gives_up_realm, is_from
    from cython.cimports.sbc.registration.contacts import Contact, TokenMaker, agent_of, read_contact
    from cython.cimports.sbc.registration.errand import Errand
    from cython.cimports.sbc.registration.exchange import Exchange, ExchangeUser
    from cython.cimports.sbc.registration.expiry import ExpiryQueue
    from cython.cimports.sbc.registration.leg import Leg
    from cython.cimports.sbc.registration.quarantine import Quarantine
    from cython.cimports.sbc.registration.refreshes import Refreshes
    from cython.cimports.sbc.registration.rejections import Rejections
    from cython.cimports.sbc.registration.targets import Target, Targets
    from cython.cimports.sbc.sip.message import Request
    from cython.cimports.sbc.transaction.layer import TransactionLayer
else:
    from sbc.events import Reports, as_reports
    from sbc.flow import Flow
    from sbc.redundancy.group import ServerGroup
    from sbc.registration.accounts import Accounts
    from sbc.registration.archive import Archive
    from sbc.registration.bindings import Binding, Bindings, Upstream, gives_up_realm, is_from
    from sbc.registration.contacts import Contact, TokenMaker, agent_of, read_contact
    from sbc.registration.errand import Errand
    from sbc.registration.exchange import Exchange, ExchangeUser
    from sbc.registration.expiry import ExpiryQueue
    from sbc.registration.leg import Leg
    from sbc.registration.quarantine import Quarantine
    from sbc.registration.refreshes import Refreshes
    from sbc.registration.rejections import Rejections
    from sbc.registration.targets import Target, Targets
    from sbc.sip.message import Request
    from sbc.transaction.layer import TransactionLayer

COMPILED = bool(cython.compiled)

MAX_CONTACTS_OF_AOR = 50
"""Then the one that lapses first makes room. A phone that takes another port with each start leaves its old contacts
behind, and a call rings at all of them."""

_LARGEST_CSEQ = cython.declare(cython.longlong, 2**31 - 1)  # RFC 3261 8.1.1.5
_REGISTERED = cython.declare(str, REGISTERED)
_UNREGISTERED = cython.declare(str, UNREGISTERED)
_FAILED = cython.declare(str, FAILED)


@cython.cclass
class PhoneBook(ExchangeUser):
    """The bindings of all phones, and how each stands at its servers. `Registrar` says who may change them, and when."""

    clock: object
    moved_here: object
    _wall_clock: object
    _store: object
    _reports: Reports
    _tokens: TokenMaker
    _accounts: Accounts
    _quarantine: Quarantine
    _archive: Archive
    _expiry: ExpiryQueue
    _at: dict
    _under_way: dict
    refreshes: Refreshes
    _cseq_floor: cython.longlong
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
        report: Report,
    ) -> None:
        self.layer = layer
        self.queue = layer.queue
        self.clock = clock
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
        self._at: dict[tuple[str, int], Binding] = {}  # by where the phone is; only in groups of several kinds of phones
        self._under_way: dict[str, list[Exchange]] = {}  # by token; several only when from several hosts
        self.refreshes = Refreshes(
            self.queue, wall_clock, self.bindings, self._archive, self._expiry, self._under_way, self._quarantine, self.nonces
        )
        self.boot = secrets.token_hex(4)
        self._cseq_floor = 0
        self.upkeep = Upkeep(clock, self, self._reports)
        self._duties = self.upkeep.duties
        self._held_requests = self.upkeep.held.waiting
        self._missed_removals = self.upkeep.missed.entries
        self._resyncs = self.upkeep.resyncs.entries
        self._limits = self.upkeep.resyncs.limits
        self.refreshes.limit_by(self.upkeep, self._limits)

    # What is known

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

    def count(self, group: str) -> int:
        """Contacts known in that group."""
        return sum(binding.group == group for binding in self.bindings)

    # Our series of REGISTERs

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

    def doubt(self, binding: Binding, server: str, reason: str) -> None:
        """What that server has of the contact may be lost. No news for the log: there it is news when it is registered again."""
        upstream: Upstream = binding.at(server)
        if upstream is not None and upstream.state == _REGISTERED:
            upstream.state = _UNREGISTERED
            upstream.reason = reason
            self._archive.keep(binding)

    def errand_registered(self, errand: Errand) -> None:
        """A server has said 2xx."""
        binding: Binding = errand.binding
        upstream: Upstream = binding.at(errand.target.name)
        if upstream is None or self.bindings.find(binding.token) is not binding:
            return
        upstream.registered_at = self.queue.now()
        upstream.expires_at = upstream.registered_at + errand.seconds
        upstream.due_at = 0.0  # drawn when the phone is told its time
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
                aor=binding.aor, contact=binding.contact_uri, is_own=True,
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
            if not exchange.proven and not is_from(binding, flow):
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
        agent: str = agent_of(request)
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
                    if not exchange.proven and not is_from(binding, exchange.phone_flow):
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
        if old == state and (upstream.reason == reason or (state == _UNREGISTERED and gives_up_realm(upstream))):
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
        if gives_up_realm(upstream):
            upstream.retry_at = 0.0
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


def _expires_at(binding: Binding) -> float:
    return binding.expires_at
