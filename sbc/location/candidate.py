"""One resolved next hop: where a request can really be sent (RFC 3263 section 4).

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1: every request is sent to
one, and what is known of servers is kept by candidate.
"""

from __future__ import annotations

import cython

COMPILED = bool(cython.compiled)


@cython.cclass
class Candidate:
    """Address, port and transport, with the DNS preference that led to it; immutable.

    `address` is an IPv4 or IPv6 literal without brackets, `transport` udp, tcp or tls. `priority` is that of SRV, lowest
    first, 1 when there is no SRV (V12); `weight` that among equal priorities; `place` the position, 0 first, of the name
    that it was found by, where a server has several (S13).

    Two lookups that find the same next hop with another priority find the same candidate: only address, port and
    transport count for equality, so health and counters stay with it when DNS is rearranged.
    """

    address: str
    port: cython.int
    transport: str
    priority: cython.int
    weight: cython.int
    place: cython.int
    _hash: cython.Py_hash_t
    _text: str

    def __init__(
        self, address: str, port: int, transport: str, priority: int = 1, weight: int = 0, place: int = 0
    ) -> None:
        self.address = address
        self.port = port
        self.transport = transport
        self.priority = priority
        self.weight = weight
        self.place = place
        self._hash = hash((address, port, transport))
        host = f"[{address}]" if ":" in address else address
        self._text = f"{host}:{port};{transport}"

    @cython.cfunc
    @cython.exceptval(check=False)
    def same_as(self, other: Candidate) -> cython.bint:
        """`==`, for those that are compiled. Nearly always it is the very object, which is seen at a glance."""
        return self is other or (
            other is not None and self._hash == other._hash and self._text == other._text
        )

    @cython.cfunc
    def text(self) -> str:
        """`str`, for those that are compiled."""
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Candidate) and self.same_as(other)

    def __hash__(self) -> int:
        return self._hash

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"Candidate.parse({self._text!r})"

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
