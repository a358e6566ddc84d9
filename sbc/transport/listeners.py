"""All sockets of the appliance together: which one to use towards whom, and which addresses are our own."""

from __future__ import annotations

import socket
from collections.abc import Iterable

from sbc.location.candidate import Candidate
from sbc.transport.udp import UdpFlow, UdpTransport

DEFAULT_PORT = 5060  # RFC 3261 19.1.2


class Listeners:
    """The transports of every `[[listen]]`, in the order of the configuration."""

    def __init__(self, transports: Iterable[UdpTransport] = ()) -> None:
        self._transports = list(transports)

    def add(self, transport: UdpTransport) -> None:
        self._transports.append(transport)

    def __iter__(self):
        return iter(self._transports)

    def flow_to_server(self, candidate: Candidate) -> UdpFlow | None:
        """The flow to a server, from the first socket of its family that may face servers; None when there is none."""
        family = socket.AF_INET6 if ":" in candidate.address else socket.AF_INET
        for transport in self._transports:
            if transport.name == candidate.transport and transport.family == family and transport.side != "phones":
                return transport.flow_to(candidate.address, candidate.port)
        return None

    def flow_to_phone(self, transport_name: str, host: str, port: int, local_port: int) -> UdpFlow | None:
        """The flow to a phone's address, from the socket that it knows (RFC 3581: the port it sent to); None when that is gone.

        When no socket has that port any more (the configuration changed), the first that may face phones.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        usable = [
            transport
            for transport in self._transports
            if transport.name == transport_name and transport.family == family and transport.side != "servers"
        ]
        usable.sort(key=lambda transport: transport.local[1] != local_port)
        return usable[0].flow_to(host, port) if usable else None

    def is_ours(self, host: str, port: int | None) -> bool:
        """True when a URI with this host and port names this appliance."""
        port = port or DEFAULT_PORT
        return any(transport.answers_to(host, port) for transport in self._transports)

    def stop(self) -> None:
        for transport in self._transports:
            transport.stop()
