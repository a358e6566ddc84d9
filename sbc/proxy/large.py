"""Requests too large for a datagram (RFC 3261 18.1.1; pitfall D27): which servers on UDP also take them by TCP.

Asked once for each large request, never for a phone: phones keep the transport that they chose.
"""

from __future__ import annotations

from sbc.flow import Flow
from sbc.location.candidate import Candidate
from sbc.proxy.network import FlowFinder

LARGEST_DATAGRAM = 1300
"""Octets of a request; 18.1.1: beyond them it goes by TCP, where the path's MTU is not known."""

ADDED = 200
"""Octets that we add at most: a Via and two Record-Route lines with cookies for IPv4."""

GOOD_FOR = 3600.0
"""Seconds until a server that did not take TCP is tried again. A filtered port costs a call the connect timeout."""

_MOST_REMEMBERED = 1024


class LargeRequests:
    """Remembers who does not take TCP."""

    def __init__(self, flows: FlowFinder) -> None:
        self._flows = flows
        self._without_tcp: dict[Candidate, float] = {}

    def flow_to(self, candidate: Candidate, now: float) -> Flow | None:
        """By TCP to the same address and port; None when that is known to fail, or no socket of ours leads there."""
        if self._without_tcp.get(candidate, now) > now:
            return None
        return self._flows.flow_to_server(Candidate(candidate.address, candidate.port, "tcp"))

    def failed(self, candidate: Candidate, now: float) -> None:
        """It refused the connection, or never answered."""
        if len(self._without_tcp) >= _MOST_REMEMBERED:
            self._without_tcp.clear()
        self._without_tcp[candidate] = now + GOOD_FOR
