"""Where a socket of ours can be reached: what we write of it for others to read, and what names it when they do."""

from __future__ import annotations

import socket

from sbc.transport.addresses import canonical_host, is_local_address, local_address_towards, written

WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 (compared, not bound)


class Place:
    """`local` is the (host, port) it is bound to; `advertise` what we write instead of it, `host:port`."""

    def __init__(self, local: tuple[str, int], advertise: str | None = None) -> None:
        self.local = local
        self.is_wildcard = local[0] in WILDCARDS
        self.family = socket.AF_INET6 if ":" in local[0] else socket.AF_INET
        self._advertise = advertise

    def sent_by(self, remote_host: str) -> str:
        """`host:port` of ours as the given remote host should see it."""
        if self._advertise:
            return self._advertise
        host = local_address_towards(remote_host) if self.is_wildcard else self.local[0]
        return written(host.partition("%")[0], self.local[1])

    def answers_to(self, host: str, port: int) -> bool:
        """True when `host:port` in a URI is this socket: its address, what it advertises, any local one for a wildcard."""
        host = canonical_host(host)
        if self._advertise and written(host, port) == self._advertise.lower():
            return True
        if port != self.local[1]:
            return False
        if self.is_wildcard:
            return (":" in host) == (self.family == socket.AF_INET6) and is_local_address(host)
        return host == self.local[0].partition("%")[0]

    def leads_to(self, host: str) -> bool:
        """True when the kernel would send from this socket's address to that host."""
        return self.is_wildcard or local_address_towards(host) == self.local[0]
