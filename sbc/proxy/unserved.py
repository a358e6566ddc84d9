"""Who is turned away because no group serves his domain: told, so that a mistyped domain can be found, and within limits, because
anybody can send such requests."""

from __future__ import annotations

from sbc.events import DomainNotServed, Report

WINDOW = 600.0
"""Seconds in which each domain and host is told once."""

MOST = 20
"""Told in that time ..."""

MOST_OF_HOST = 3
"""... and of them so many of one host, so that one alone does not hide all others."""

_LONGEST = 100  # characters of a domain


class Unserved:
    """Remembers no more than it tells."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._told: dict[str, set[str]] = {}
        """Host -> domains, of this window."""
        self._number = 0
        self._ends = 0.0

    def note(self, method: str, domain: str, host: str, now: float) -> None:
        """A request of that host is refused."""
        if now >= self._ends:
            self._told.clear()
            self._number, self._ends = 0, now + WINDOW
        if self._number >= MOST:
            return
        domain = domain[:_LONGEST]
        known = self._told.setdefault(host, set())
        if domain in known or len(known) >= MOST_OF_HOST:
            return
        known.add(domain)
        self._number += 1
        self._report(DomainNotServed(method, domain, host))
