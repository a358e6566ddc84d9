"""All sockets of the appliance together: which one to use towards whom, and which addresses are our own."""

from __future__ import annotations

import socket
from collections.abc import Iterable

from sbc.location.candidate import Candidate
from sbc.transport.udp import UdpFlow, UdpTransport

DEFAULT_PORT = 5060  # RFC 3261 19.1.2

_MOST_REMEMBERED = 4096
"""Hosts and ports of URIs, which senders choose."""


class Listeners:
    """The transports of every `[[listen]]`, in the order of the configuration."""

    def __init__(self, transports: Iterable[UdpTransport] = ()) -> None:
        self._transports: list[UdpTransport] = []
        self._facing: dict[tuple[str, bool, str], list[UdpTransport]] = {}
        """By transport, whether it is IPv6, and the side that it faces."""
        self._ours: dict[tuple[str, int | None], bool] = {}
        """What `is_ours` has found out, until our addresses may have changed."""
        for transport in transports:
            self.add(transport)

    def add(self, transport: UdpTransport) -> None:
        self._transports.append(transport)
        self._ours.clear()
        transport.own_addresses_forgotten = self._ours.clear
        for side in ("phones", "servers") if transport.side == "both" else (transport.side,):
            key = (transport.name, transport.family == socket.AF_INET6, side)
            self._facing.setdefault(key, []).append(transport)

    def __iter__(self):
        return iter(self._transports)

    def flow_to_server(self, candidate: Candidate) -> UdpFlow | None:
        """The flow to a server, from the first socket of its family that may face servers; None when there is none.

        Of several, the first that has the address from which the kernel goes there.
        """
        usable = self._facing.get((candidate.transport, ":" in candidate.address, "servers"))
        return _nearest(usable, candidate.address).flow_to(candidate.address, candidate.port) if usable else None

    def flow_to_phone(self, transport_name: str, host: str, port: int, local_port: int) -> UdpFlow | None:
        """The flow to a phone's address, from the socket that it knows (RFC 3581: the port it sent to); None without any.

        When no socket has that port any more (the configuration changed), the first that may face phones. Several have it
        where phones are in more than one network: then the one in theirs.
        """
        usable = self._facing.get((transport_name, ":" in host, "phones"))
        if not usable:
            return None
        if len(usable) > 1:
            usable = [transport for transport in usable if transport.local[1] == local_port] or usable
        return _nearest(usable, host).flow_to(host, port)

    def is_ours(self, host: str, port: int | None) -> bool:
        """True when a URI with this host and port names this appliance."""
        ours = self._ours.get((host, port))
        if ours is None:
            if len(self._ours) >= _MOST_REMEMBERED:
                self._ours.clear()
            ours = any(transport.answers_to(host, port or DEFAULT_PORT) for transport in self._transports)
            self._ours[host, port] = ours
        return ours

    def stop(self) -> None:
        for transport in self._transports:
            transport.stop()


def _nearest(transports: list[UdpTransport], host: str) -> UdpTransport:
    if len(transports) == 1:
        return transports[0]
    return next((transport for transport in transports if transport.leads_to(host)), transports[0])
