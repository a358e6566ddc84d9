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
import zlib
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from sbc.clock import Clock, Delayed
from sbc.events import RegistrationChanged, Report
from sbc.flow import Flow
from sbc.location.candidate import Candidate
from sbc.redundancy.group import ServerGroup
from sbc.registration.bindings import FAILED, REGISTERED, REGISTERING, UNREGISTERED, Binding, Bindings, Upstream
from sbc.registration.contacts import (
    Contact,
    TokenMaker,
    aor_of_register,
    canonical_aor,
    read_contact,
    read_contacts,
    with_parameter,
)
from sbc.registration.exchange import OPTION_TAGS_OF_A_CONTACT, Exchange
from sbc.registration.expiry import ExpiryQueue
from sbc.registration.leg import Ending, Leg
from sbc.registration.nonces import Nonces
from sbc.registration.rejections import Rejections
from sbc.sip.digest import HtdigestFile
from sbc.sip.errors import MalformedMessage
from sbc.sip.headers import NameAddr
from sbc.sip.message import Request, Response
from sbc.store.interface import RegistrarStore, RegistrationRow
from sbc.transaction.layer import TransactionLayer
from sbc.transaction.server import ServerTransaction

MAX_CONTACTS_OF_AOR = 50
"""Then the one that lapses first makes room. A phone that takes another port with each start leaves its old contacts
behind, and a call rings at all of them."""

WRITE_BEHIND = 1.0
"""Seconds until renewals that have changed nothing but the time are on disk, and contacts that lapsed are off it."""

_LONGEST_RESTART = 60.0
"""Seconds from a kill to the restart in which no contact is lost whose last renewal was not on disk."""

_AT_ONCE = 250  # of these written in one go, in some milliseconds
_PAUSE = 0.02  # seconds between two goes

_LARGEST_CSEQ = 2**31 - 1  # RFC 3261 8.1.1.5
# A 200 would say that these are in force (RFC 5626 4.2.1, RFC 5627 5.1); a Path there is none, so it can be ignored.
_NOT_TO_BE_REQUIRED = OPTION_TAGS_OF_A_CONTACT - {"path"}


class Registrar:
    """All phones of all groups. Call `restore` before the first REGISTER."""

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
        self.clock = clock
        self.flow_to = flow_to
        self.credentials = credentials
        """The password file; may be replaced at any time."""
        self.moved_here: Callable[[str], object] | None = None
        """Called with the token of a contact that is new here, or leaves here: what others know of it is old."""
        self.bindings = Bindings()
        self.nonces = Nonces()
        self._wall_clock = wall_clock
        self._store = store
        self._report = report
        self._tokens = TokenMaker(store.secret())
        self._rejections = Rejections()
        self._expiry = ExpiryQueue(clock, self._lapsed)
        self._behind: dict[str, Binding | None] = {}  # token -> what is to be written later, None: to be forgotten
        self._behind_timer: Delayed | None = None
        self._under_way: dict[str, list[Exchange]] = {}  # by token; several only when from several hosts
        self.boot = secrets.token_hex(4)
        """Stands in the Call-IDs and From tags of all that this run sends."""
        self._cseq_floor = 0
        self._series: dict[str, str] = {}  # server -> its part of Call-IDs; as many as are configured
        self._serial = 0

    # From the proxy

    def register_received(self, transaction: ServerTransaction, request: Request, group: ServerGroup) -> None:
        """A phone's REGISTER for a domain of that group. MalformedMessage when its To or Contact cannot be read."""
        aor = aor_of_register(request)
        contacts = read_contacts(request, aor, self._tokens)
        if contacts is None:
            contacts = self._removal_of_all(aor)
        host = transaction.flow.remote[0]
        if self._rejections.must_wait(host, aor, contacts[0].uri if contacts else "", self.clock.seconds()):
            reason = "Wrong Credentials Too Often, Wait a Minute"
            transaction.respond(Response.for_request(request, 403, reason))
            return
        if request.has("Require"):
            unsupported = [tag for tag in request.get_all("Require") if tag.lower() in _NOT_TO_BE_REQUIRED]
            if unsupported:
                headers = [("Unsupported", tag) for tag in unsupported]
                transaction.respond(Response.for_request(request, 420, headers=headers))
                return
        if request.call_id.startswith(self.boot) and request.call_id.startswith(f"{self.boot}-"):
            # One of ours: a server's name leads to ourselves (pitfall D28).
            transaction.respond(Response.for_request(request, 482))
            return
        if not self._is_in_order(transaction, request, contacts):
            # 10.3 items 6 and 7; 500 is the answer of 12.2.2 for the same mistake
            transaction.respond(Response.for_request(request, 500, "CSeq Out of Order"))
            return
        self._serial += 1
        exchange = Exchange(self, transaction, request, group, aor, contacts, self._serial)
        # Another host must not be able to interrupt the exchange of this one, unless it is accepted (`_overtake`).
        self._supersede(exchange, host)
        for contact in contacts:
            others = self._under_way.get(contact.token)
            if others is None:
                self._under_way[contact.token] = [exchange]
            else:
                others.append(exchange)
        exchange.start()

    def binding_for_token(self, token: str) -> Binding | None:
        """The contact behind the gw-tok of a Request-URI."""
        return self.bindings.get(token)

    def bindings_for_aor(self, aor: str) -> list[Binding]:
        """All contacts of an address-of-record, oldest first."""
        return self.bindings.of_aor(canonical_aor(aor))

    def moved_away(self, token: str) -> None:
        """Another process of this appliance serves that phone from now on. Its registrations at the servers go on."""
        binding = self.bindings.get(token)
        if binding is not None:
            self._forget(binding)
            self._store.save_registrations((), (), (token,))

    def server_changed(self, event: object) -> None:
        """A server went down or came back. Phones renew by themselves; bringing their registrations to a server that
        was away, and removals that it missed (`_removal_missed`), belongs here."""

    # At the start

    def restore(self) -> None:
        """Take up what the store kept. Registrations go on as if nothing had happened."""
        now, wall_now = self.clock.seconds(), self._wall_clock()
        rows, upstream_rows = self._store.load_registrations()
        expired = []
        for row in rows:
            remaining = min(row.expires_at - wall_now, row.granted)
            try:
                NameAddr.parse(row.contact, "Contact")
            except MalformedMessage:
                remaining = 0.0
            if remaining + min(row.granted, _LONGEST_RESTART) <= 0:
                expired.append(row.token)
                continue
            # Rows repeat the same few names ten thousand times; one copy of each is enough.
            group, transport, local_host = map(sys.intern, (row.group, row.transport, row.local_host))
            binding = Binding(
                row.token, group, row.aor, row.contact, username=row.username, call_id=row.call_id, cseq=row.cseq,
                transport=transport, host=row.host, port=row.port, local_host=local_host, local_port=row.local_port,
                granted=row.granted, expires_at=now + remaining,
            )  # fmt: skip
            # Its last renewal may be one that was not written any more (`_save`).
            binding.grace = max(0.0, row.granted - max(0.0, -remaining))
            self.bindings.add(binding)
        for upstream_row in upstream_rows:
            known = self.bindings.get(upstream_row.token)
            if known is not None:
                known.upstreams += (self._restored(upstream_row, now, wall_now),)
        for binding in self.bindings:
            self._expiry.watch(binding)
        if expired:
            self._store.save_registrations((), (), expired)

    def _restored(self, row: RegistrationRow, now: float, wall_now: float) -> Upstream:
        upstream = Upstream(sys.intern(row.server))
        upstream.reason = row.reason
        remaining = row.expires_at - wall_now
        if row.state == REGISTERED and remaining > 0:
            upstream.state, upstream.expires_at = REGISTERED, now + remaining
        elif row.state == FAILED:
            upstream.state = FAILED
        return upstream

    # What is known

    def count(self, group: str) -> int:
        """Contacts known in that group."""
        return sum(binding.group == group for binding in self.bindings)

    def registration_counts(self) -> dict[tuple[str, str, str], int]:
        """(group, server, state) -> contacts."""
        counts: dict[tuple[str, str, str], int] = {}
        for binding in self.bindings:
            for upstream in binding.upstreams:
                key = (binding.group, upstream.server, upstream.state)
                counts[key] = counts.get(key, 0) + 1
        return counts

    def describe(self, now: float) -> dict[str, Any]:
        """Plain data for the status page."""
        servers: dict[str, dict[str, int]] = {}
        for (_, server, state), number in self.registration_counts().items():
            states = servers.setdefault(server, {})
            states[state] = states.get(state, 0) + number
        return {
            "bindings": len(self.bindings),
            "servers": servers,
            "phones": [self._describe_phone(binding, now) for binding in self.bindings],
        }

    def _describe_phone(self, binding: Binding, now: float) -> dict[str, Any]:
        host = f"[{binding.host}]" if ":" in binding.host else binding.host
        return {
            "aor": _printable(binding.aor),
            "contact": _printable(binding.contact_uri),
            "group": binding.group,
            "source": f"{host}:{binding.port};{binding.transport}",
            "expires_in": round(binding.expires_at - now),
            "servers": [
                {
                    "server": upstream.server,
                    "state": upstream.state,
                    "expires_in": round(upstream.expires_at - now) if upstream.state == REGISTERED else None,
                    "reason": _printable(upstream.reason),
                }
                for upstream in binding.upstreams
            ],
        }

    # Before an exchange

    def _removal_of_all(self, aor: str) -> list[Contact]:
        """`Contact: *` is for us to spell out (D13): the servers may know contacts that did not come through here."""
        bindings = self.bindings.of_aor(aor)
        contacts = []
        for binding in bindings:
            contact = read_contact(binding.contact, aor, self._tokens)
            contacts.append(Contact(binding.token, contact.text, contact.uri, 0, contact.parameters))
        return contacts

    def _is_in_order(self, transaction: ServerTransaction, request: Request, contacts: list[Contact]) -> bool:
        """False when a later REGISTER of the same series has been here already."""
        for contact in contacts:
            binding = self.bindings.get(contact.token)
            if binding is not None and binding.call_id == request.call_id and binding.cseq >= request.cseq:
                return False
            for exchange in self._under_way.get(contact.token, ()):
                earlier = exchange.request
                if (
                    exchange.phone_flow.remote[0] == transaction.flow.remote[0]
                    and earlier.call_id == request.call_id
                    and earlier.cseq >= request.cseq
                ):
                    return False
        return True

    def _overtake(self, exchange: Exchange) -> None:
        """The phone has moved, and is accepted at its new place: what the servers say to its older REGISTERs, from
        elsewhere, comes too late."""
        self._supersede(exchange, None)

    def _supersede(self, exchange: Exchange, host: str | None) -> None:
        """End the other exchanges about the same contacts: those of a phone at that host, or with None all older ones."""
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

    def query_token(self, aor: str) -> str:
        """In the place of a contact's token, for the series of REGISTERs that have no Contact."""
        return self._tokens.token(aor, "", "")

    def new_upstream(self, server: str) -> Upstream:
        """A series that is not under way yet. Its CSeq starts above all that were used since the start, so that a
        series that was forgotten in between goes on and does not begin again (10.2: CSeq grows within a Call-ID)."""
        return Upstream(server, self._cseq_floor)

    def next_in_series(self, token: str, upstream: Upstream) -> tuple[str, str, int]:
        """Call-ID, From tag and CSeq for the next REGISTER of that contact at that server.

        The Call-ID is new with each start of the process, for the CSeq is not kept on disk (pitfall D10).
        """
        if self._cseq_floor >= _LARGEST_CSEQ:
            self.boot, self._cseq_floor = secrets.token_hex(4), 0
            upstream.cseq = 0
        self._cseq_floor += 1
        upstream.cseq = upstream.cseq + 1 if upstream.cseq < _LARGEST_CSEQ else self._cseq_floor
        series = self._series.get(upstream.server)
        if series is None:
            series = self._series[upstream.server] = f"{zlib.crc32(upstream.server.encode()):08x}"
        return f"{self.boot}-{token}-{series}", f"{self.boot}{series}", upstream.cseq

    def let_in(self, exchange: Exchange) -> None:
        """The phone is accepted before any server has answered. What it wants removed is removed here at once (D13)."""
        self._overtake(exchange)
        self._remove(exchange)

    def accepted(self, exchange: Exchange, leg: Leg) -> None:
        """A server has said 2xx."""
        now = self.clock.seconds()
        who = exchange.contacts[0].uri if exchange.contacts else ""
        self._rejections.accepted(exchange.phone_flow.remote[0], exchange.aor, who)
        self._overtake(exchange)
        self._remove(exchange)
        for contact in exchange.contacts:
            seconds = leg.granted.get(contact.token, 0)
            if contact.expires == 0 or seconds <= 0:
                continue
            binding = self._bind(exchange, contact, now + seconds, now)
            upstream = self._upstream_of(binding, leg.server.name, exchange)
            upstream.expires_at = now + seconds
            self._change(binding, upstream, REGISTERED, "")
            for server in exchange.servers_to_come:
                awaited = self._upstream_of(binding, server, exchange)
                if awaited.state == UNREGISTERED:
                    self._change(binding, awaited, REGISTERING, "")
            self._expiry.watch(binding)
        if exchange.answered:
            self._save(exchange)

    def not_accepted(self, exchange: Exchange, leg: Leg) -> None:
        """A server refused, challenged, or did not answer."""
        status = leg.response.status if leg.response is not None else 0
        refused_account = leg.ending is Ending.REFUSED and status in (403, 404)
        wrong_password = leg.ending is Ending.CHALLENGED and (leg.showed_credentials or leg.own_password_refused)
        if leg.ending is Ending.CHALLENGED and not exchange.accepted and not wrong_password:
            return  # the usual first 401 of every renewal says nothing
        if exchange.is_removal and leg.ending is Ending.UNREACHABLE and exchange.accepted:
            self._removal_missed(exchange, leg)
        reason = leg.reason
        if leg.ending is Ending.CHALLENGED:
            reason = "wrong password" if wrong_password else "asks for a password that only the phone knows"
        new = FAILED if refused_account or wrong_password else None
        for contact in exchange.contacts:
            binding = self.bindings.get(contact.token)
            upstream = binding.upstream(leg.server.name) if binding is not None else None
            if binding is None or upstream is None:
                if new is FAILED and not exchange.is_removal:
                    self._report(
                        RegistrationChanged(exchange.group.name, leg.server.name, exchange.aor, UNREGISTERED, FAILED, reason)
                    )
                continue
            # A registration that could not be renewed holds until it lapses.
            state = new or (REGISTERED if upstream.state == REGISTERED else UNREGISTERED)
            self._change(binding, upstream, state, reason)
        if exchange.answered:
            self._save(exchange)

    def _removal_missed(self, exchange: Exchange, leg: Leg) -> None:
        """That server still believes the contacts registered, until they lapse there. A reminder to remove them when it
        is back belongs here."""

    def credentials_rejected(self, exchange: Exchange) -> None:
        """The phone has shown credentials, and they did not get it in."""
        who = exchange.contacts[0].uri if exchange.contacts else ""
        self._rejections.rejected(exchange.phone_flow.remote[0], exchange.aor, who, self.clock.seconds())

    def settle(self, exchange: Exchange, told: dict[str, int]) -> list[str]:
        """The phone is about to be told these seconds per token. Store it all; returns the Contact values for the
        answer: all contacts of the address-of-record that we know (10.3 item 8), the phone's own first."""
        now = self.clock.seconds()
        mine = []
        for contact in exchange.contacts:
            binding = self.bindings.get(contact.token)
            if binding is not None and told.get(contact.token):
                binding.granted = told[contact.token]
                binding.expires_at = now + binding.granted
                binding.grace = 0.0
                self._expiry.watch(binding)
                mine.append(binding)
        self._save(exchange)
        for binding in self.bindings.of_aor(exchange.aor):
            if binding not in mine and binding.expires_at > now:
                mine.append(binding)
        lines = []
        for binding in mine:
            lines.append(with_parameter(binding.contact, "expires", str(max(0, round(binding.expires_at - now)))))
        return lines

    def exchange_over(self, exchange: Exchange) -> None:
        for contact in exchange.contacts:
            exchanges = self._under_way.get(contact.token)
            if exchanges is not None and exchange in exchanges:
                exchanges.remove(exchange)
                if not exchanges:
                    del self._under_way[contact.token]
        exchange.release()

    # Bindings

    def _bind(self, exchange: Exchange, contact: Contact, expires_at: float, now: float) -> Binding:
        """The binding for a contact that a server has accepted, made or brought up to date."""
        binding = self.bindings.get(contact.token)
        if binding is None:
            binding = Binding(contact.token, exchange.group.name, exchange.aor, contact.text, expires_at=expires_at)
            binding.granted = expires_at - now
            self._make_room(exchange.aor)
            self.bindings.add(binding)
            if self.moved_here is not None:
                self.moved_here(contact.token)
        flow, request = exchange.phone_flow, exchange.request
        host, port = flow.remote[0], flow.remote[1]
        local_host, local_port = flow.local[0], flow.local[1]
        if (
            host != binding.host
            or port != binding.port
            or local_host != binding.local_host
            or local_port != binding.local_port
            or contact.text != binding.contact
            or exchange.group.name != binding.group
            or flow.transport != binding.transport
        ):
            binding.unsaved = True
            binding.group = exchange.group.name
            binding.contact = contact.text
            binding.transport = flow.transport
            binding.host, binding.port = host, port
            binding.local_host, binding.local_port = local_host, local_port
        # These only tell late REGISTERs from new ones; after a kill nothing is missed without them.
        binding.call_id, binding.cseq = request.call_id, request.cseq
        if exchange.username and exchange.username != binding.username:
            binding.unsaved = True
            binding.username = exchange.username
        return binding

    def _make_room(self, aor: str) -> None:
        present = self.bindings.of_aor(aor)
        if len(present) >= MAX_CONTACTS_OF_AOR:
            first = min(present, key=lambda binding: binding.expires_at)
            self._unbind(first, "the number has too many contacts")
            self._store.save_registrations((), (), (first.token,))

    def _upstream_of(self, binding: Binding, server: str, exchange: Exchange) -> Upstream:
        known = binding.upstream(server)
        if known is None:
            first = bool(exchange.contacts) and binding.token == exchange.contacts[0].token
            known = exchange.upstream(server) if first else self.new_upstream(server)
            binding.upstreams += (known,)
        return known

    def _remove(self, exchange: Exchange) -> None:
        for contact in exchange.contacts:
            if contact.expires == 0 and self.moved_here is not None:
                self.moved_here(contact.token)
            binding = self.bindings.get(contact.token) if contact.expires == 0 else None
            if binding is not None:
                self._unbind(binding, "removed by the phone")
                self._store.save_registrations((), (), (binding.token,))

    def _unbind(self, binding: Binding, reason: str) -> None:
        for upstream in binding.upstreams:
            self._change(binding, upstream, UNREGISTERED, reason)
        self._forget(binding)

    def _forget(self, binding: Binding) -> None:
        self.bindings.remove(binding)
        self._expiry.forget(binding)
        self._behind.pop(binding.token, None)

    def _change(self, binding: Binding, upstream: Upstream, state: str, reason: str) -> None:
        old = upstream.state
        if old != state or upstream.reason != reason:
            binding.unsaved = True
            upstream.state, upstream.reason = state, reason
        if old != state:
            self._report(RegistrationChanged(binding.group, upstream.server, binding.aor, old, state, reason))

    def _lapsed(self, binding: Binding) -> None:
        """Something about it has expired: a registration at a server, or all of it."""
        now = self.clock.seconds()
        if binding.expires_at + binding.grace <= now:
            self._unbind(binding, "expired")
            self._write_behind(binding.token, None)
            return
        for upstream in binding.upstreams:
            if upstream.state == REGISTERED and upstream.expires_at <= now:
                reason = f"expired; {upstream.reason}" if upstream.reason else "expired"
                self._change(binding, upstream, UNREGISTERED, reason)
        self._expiry.watch(binding)

    # On disk

    def _save(self, exchange: Exchange) -> None:
        """See that what this exchange has changed is stored. Returns when it is safe to tell the phone.

        What a call or a restart would miss is written now: a new contact, another address, another state at a server.
        A renewal that has changed nothing but the time is written behind, many in one transaction. A kill may lose
        those of the last second; so a contact that was restored is kept for one more period of its time, until then
        the phone has renewed it. Longer than the servers believe in it is no harm: calls come by the servers.
        """
        changed = None
        for contact in exchange.contacts:
            binding = self.bindings.get(contact.token)
            if binding is None:
                continue
            if binding.unsaved:
                changed = [binding] if changed is None else [*changed, binding]
            else:
                self._write_behind(binding.token, binding)
        if changed is not None:
            self._write(changed, ())

    def _write_behind(self, token: str, binding: Binding | None) -> None:
        self._behind[token] = binding
        if self._behind_timer is None:
            self._behind_timer = self.clock.callLater(WRITE_BEHIND, self.flush)

    def flush(self) -> None:
        """Write what waits to be written, a part at a time: the telephones wait with it."""
        if self._behind_timer is not None and self._behind_timer.active():
            self._behind_timer.cancel()
        self._behind_timer = None
        bindings, removed = [], []
        for token in list(islice(self._behind, _AT_ONCE)):
            binding = self._behind.pop(token)
            if binding is None:
                removed.append(token)
            else:
                bindings.append(binding)
        if bindings or removed:
            self._write(bindings, removed)
        if self._behind:
            self._behind_timer = self.clock.callLater(_PAUSE, self.flush)

    def close(self) -> None:
        """Write all that still waits: the appliance stops, and nobody waits for it."""
        while self._behind:
            self.flush()
        if self._behind_timer is not None and self._behind_timer.active():
            self._behind_timer.cancel()

    def _write(self, bindings: list[Binding], removed: Sequence[str]) -> None:
        offset = self._wall_clock() - self.clock.seconds()
        rows, upstream_rows = [], []
        for binding in bindings:
            binding.unsaved = False
            self._behind.pop(binding.token, None)
            row, of_servers = binding.rows(offset)
            rows.append(row)
            upstream_rows += of_servers
        self._store.save_registrations(rows, upstream_rows, removed)


def _printable(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
