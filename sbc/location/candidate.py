"""One resolved next hop: where a request can really be sent (RFC 3263 section 4)."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Candidate:
    """Address, port and transport, with the DNS preference that led to it.

    Two lookups that find the same next hop with another priority find the same candidate: only address, port and
    transport count for equality, so health and counters stay with it when DNS is rearranged.
    """

    address: str
    """IPv4 or IPv6 literal, without brackets."""
    port: int
    transport: str
    """udp | tcp | tls"""
    priority: int = field(default=1, compare=False)
    """SRV priority, lowest first; 1 when there is no SRV (V12)."""
    weight: int = field(default=0, compare=False)
    """SRV weight among equal priorities."""

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port};{self.transport}"

    @staticmethod
    def parse(text: str) -> Candidate:
        """The inverse of `str`; ValueError when it is not `address:port;transport`."""
        hostport, separator, transport = text.partition(";")
        host, colon, port = hostport.rpartition(":")
        if not (separator and colon and transport and host):
            raise ValueError(f"not address:port;transport: {text!r}")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        return Candidate(host, int(port), transport)
