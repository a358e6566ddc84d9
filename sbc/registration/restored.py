"""What the store has kept, as it is now: `restored`.

Rows have wall clock times and may be old, or of a former version; here they become bindings with monotonic times, as if
nothing had happened in between. The registrar takes them up.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from ipaddress import ip_address
from typing import NamedTuple

from sbc.location.candidate import Candidate
from sbc.redundancy.phones import LONGEST_AGENT
from sbc.registration.bindings import FAILED, REGISTERED, Binding, Upstream, gives_up_realm
from sbc.sip.errors import MalformedMessage
from sbc.sip.headers import NameAddr
from sbc.store.interface import BindingRow, RegistrationRow, RegistrationStore, RemovalRow

LONGEST_RESTART = 60.0
"""Seconds from a kill to the restart in which no contact is lost whose last renewal was not on disk."""


class Removal(NamedTuple):
    """A contact that its phone had removed, and a server that has not heard of it."""

    binding: Binding
    """As much of it as an errand needs."""
    server: str
    until: float
    """When it lapses there by itself."""


class Restored(NamedTuple):
    """What is good still, and the keys of what can be forgotten."""

    bindings: list[Binding]
    removals: list[Removal]
    expired: list[str]
    heard: list[tuple[str, str]]


def restored(store: RegistrationStore, now: float, wall_now: float) -> Restored:
    """Read it all. `now` is the monotonic time that is `wall_now`."""
    rows, registrations = store.load_registrations()
    bindings: dict[str, Binding] = {}
    expired = []
    for row in rows:
        remaining = min(row.expires_at - wall_now, row.granted)
        if remaining + min(row.granted, LONGEST_RESTART) <= 0 or not _is_usable(row):
            expired.append(row.token)
        else:
            bindings[row.token] = _binding(row, now, remaining)
    _add_upstreams(bindings, registrations, now, wall_now)
    removals, heard = [], []
    for removal in store.load_removals():
        # A phone that has registered again since is not removed any more, whatever of that has been written.
        if removal.until <= wall_now or removal.token in bindings or not _is_usable(removal):
            heard.append((removal.token, removal.server))
        else:
            removals.append(Removal(_removed_binding(removal), removal.server, now + removal.until - wall_now))
    return Restored(list(bindings.values()), removals, expired, heard)


def _is_usable(row: BindingRow | RemovalRow) -> bool:
    """A damaged disk gives back anything; to what is no address nothing can be sent."""
    try:
        NameAddr.parse(row.contact, "Contact")
        ip_address(row.host)
    except (MalformedMessage, ValueError):
        return False
    return row.transport in ("udp", "tcp", "tls")


def _binding(row: BindingRow, now: float, remaining: float) -> Binding:
    # Rows repeat the same few names ten thousand times; one copy of each is enough.
    group, transport, local_host = map(sys.intern, (row.group, row.transport, row.local_host))
    agent = None if row.agent is None else sys.intern(row.agent[:LONGEST_AGENT])
    binding = Binding(
        row.token, group, row.aor, row.contact, username=row.username, call_id=row.call_id, cseq=row.cseq,
        transport=transport, host=row.host, port=row.port, local_host=local_host, local_port=row.local_port,
        granted=row.granted, expires_at=now + remaining, agent=agent, method=sys.intern(row.method),
        method_reason=sys.intern(row.method_reason),
    )  # fmt: skip
    # Its last renewal may be one that was not written any more (`Archive.keep_later`).
    binding.grace = max(0.0, row.granted - max(0.0, -remaining))
    return binding


def _removed_binding(row: RemovalRow) -> Binding:
    return Binding(
        row.token, row.group, row.aor, row.contact, username=row.username, transport=row.transport, host=row.host,
        port=row.port, local_host=row.local_host, local_port=row.local_port, agent=row.agent,
    )  # fmt: skip


def _add_upstreams(
    bindings: dict[str, Binding], registrations: Iterable[RegistrationRow], now: float, wall_now: float
) -> None:
    candidates: dict[str, Candidate | None] = {"": None}
    for row in registrations:
        binding = bindings.get(row.token)
        if binding is None:
            continue
        if row.candidate not in candidates:
            candidates[row.candidate] = _candidate(row.candidate)
        upstream = Upstream(sys.intern(row.server))
        upstream.reason = row.reason
        remaining = row.expires_at - wall_now
        if row.state == REGISTERED and remaining > 0:
            upstream.state, upstream.expires_at = REGISTERED, now + remaining
        elif row.state == FAILED:
            upstream.state = FAILED
        upstream.nonce = row.nonce
        upstream.candidate = candidates[row.candidate]
        upstream.failures = row.failures
        if row.retry_at:
            upstream.retry_at = now + max(0.0, row.retry_at - wall_now)
        upstream.wants_phone = row.nonce != "" or gives_up_realm(upstream)
        binding.upstreams += (upstream,)


def _candidate(text: str) -> Candidate | None:
    try:
        return Candidate.parse(text)
    except ValueError:
        return None
