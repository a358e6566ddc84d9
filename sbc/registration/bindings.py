"""What is known of the phones: their contacts, and how each stands registered at each server.

Times are monotonic seconds; on disk they are wall clock (`sbc.store.interface`).
"""

from __future__ import annotations

from collections.abc import Iterator

from sbc.registration.own_digest import OwnDigest
from sbc.store.interface import BindingRow, RegistrationRow

UNREGISTERED = "unregistered"
REGISTERING = "registering"
REGISTERED = "registered"
FAILED = "failed"
"""The server answers, but refuses this account (PIVOT: "failed"): 403 or 404, or 401 to credentials."""


class Upstream:
    """One contact at one server: the series of our REGISTERs and what came of them."""

    __slots__ = ("server", "state", "reason", "expires_at", "cseq", "digest")

    def __init__(self, server: str, cseq: int = 0) -> None:
        self.server = server
        self.state = UNREGISTERED
        self.reason = ""
        """Why it is not registered, for people."""
        self.expires_at = 0.0
        """When the registration lapses; only while registered."""
        self.cseq = cseq
        self.digest: OwnDigest | None = None
        """The challenge that we have answered ourselves, to be answered again without being asked."""


class Binding:
    """A phone's contact, and where it is. `upstreams` has an entry for each server that was ever told."""

    __slots__ = (
        "token", "group", "aor", "contact", "contact_uri", "username", "call_id", "cseq",
        "transport", "host", "port", "local_host", "local_port", "granted", "expires_at", "queued_for", "upstreams",
    )  # fmt: skip

    def __init__(
        self,
        token: str,
        group: str,
        aor: str,
        contact: str,
        contact_uri: str,
        *,
        username: str = "",
        call_id: str = "",
        cseq: int = 0,
        transport: str = "udp",
        host: str = "",
        port: int = 0,
        local_host: str = "",
        local_port: int = 0,
        granted: float = 0.0,
        expires_at: float = 0.0,
    ) -> None:
        self.token = token
        self.group = group
        self.aor = aor
        self.contact = contact
        """The phone's Contact value, byte for byte."""
        self.contact_uri = contact_uri
        """The URI in it: the Request-URI of calls for the phone."""
        self.username = username
        """The digest user name that it proved to be, "" when no server ever asked."""
        self.call_id = call_id
        self.cseq = cseq
        """Call-ID and CSeq of the phone's last accepted REGISTER (10.3 item 7)."""
        self.transport = transport
        self.host = host
        self.port = port
        """Where its REGISTER came from, and so where requests for it go (RFC 3581)."""
        self.local_host = local_host
        self.local_port = local_port
        """Our socket that it was received on."""
        self.granted = granted
        self.expires_at = expires_at
        self.queued_for = 0.0
        """When the expiry queue will look at it next; 0 = it is not in the queue."""
        self.upstreams: list[Upstream] = []

    def upstream(self, server: str) -> Upstream | None:
        """How it stands at that server, None when that server was never told."""
        for upstream in self.upstreams:
            if upstream.server == server:
                return upstream
        return None

    def next_lapse(self) -> float:
        """When the first of its registrations, or it itself, expires."""
        times = [upstream.expires_at for upstream in self.upstreams if upstream.state == REGISTERED]
        return min(self.expires_at, *times) if times else self.expires_at

    def rows(self, wall_offset: float) -> tuple[BindingRow, list[RegistrationRow]]:
        """As it is stored. `wall_offset`: wall clock less monotonic clock."""
        row = BindingRow(
            self.token, self.group, self.aor, self.contact, self.username, self.call_id, self.cseq, self.transport,
            self.host, self.port, self.local_host, self.local_port, self.granted, self.expires_at + wall_offset,
        )  # fmt: skip
        return row, [self.upstream_row(upstream, wall_offset) for upstream in self.upstreams]

    def upstream_row(self, upstream: Upstream, wall_offset: float) -> RegistrationRow:
        expires_at = upstream.expires_at + wall_offset if upstream.state == REGISTERED else 0.0
        return RegistrationRow(self.token, upstream.server, upstream.state, upstream.reason, expires_at)


class Bindings:
    """All bindings, by token and by address-of-record."""

    def __init__(self) -> None:
        self._by_token: dict[str, Binding] = {}
        # Most have one contact: the binding itself, a list only where there are several.
        self._by_aor: dict[str, Binding | list[Binding]] = {}

    def __len__(self) -> int:
        return len(self._by_token)

    def __iter__(self) -> Iterator[Binding]:
        return iter(self._by_token.values())

    def get(self, token: str) -> Binding | None:
        return self._by_token.get(token)

    def of_aor(self, aor: str) -> list[Binding]:
        """The contacts of an address-of-record (as `contacts.aor_of` spells it), oldest first."""
        found = self._by_aor.get(aor, [])
        return list(found) if isinstance(found, list) else [found]

    def add(self, binding: Binding) -> None:
        """A new one; there must be none with its token."""
        self._by_token[binding.token] = binding
        present = self._by_aor.get(binding.aor)
        if present is None:
            self._by_aor[binding.aor] = binding
        elif isinstance(present, list):
            present.append(binding)
        else:
            self._by_aor[binding.aor] = [present, binding]

    def remove(self, binding: Binding) -> None:
        del self._by_token[binding.token]
        left = [other for other in self.of_aor(binding.aor) if other is not binding]
        if left:
            self._by_aor[binding.aor] = left if len(left) > 1 else left[0]
        else:
            del self._by_aor[binding.aor]
