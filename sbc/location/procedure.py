"""RFC 3263 section 4: from a server's name to the candidates, in order. Pure: answers are looked up, never asked for.

`locate` walks the whole way with the answers that are there. Where one is missing it notes the question as wanted and
goes round it; when the answer has come, one calls `locate` again. So there is no state to get wrong, and every list
can be explained from the answers alone.

    IP address                     itself, no question at all (S19)
    port given                     A and AAAA only (Y10, P14, S6)
    transport dns-naptr            NAPTR, then SRV, then A and AAAA, "until one succeeds" (Y11, S4)
    transport udp, tcp, tls        SRV for that transport, then A and AAAA (S5)

A lookup that failed counts as "nothing there": a server that cannot answer NAPTR must not stop us (S22).
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol, TypeVar

from sbc.location.candidate import Candidate
from sbc.location.records import Address, Naptr, Question, Record, Srv

DEFAULT_PORTS = {"udp": 5060, "tcp": 5060, "tls": 5061}
"""Y12, S7: what a server that names no port listens on."""

SERVICES = {"SIP+D2U": "udp", "SIP+D2T": "tcp", "SIPS+D2T": "tls"}
"""Y40: NAPTR services that we speak."""

SRV_PREFIXES = {"udp": "_sip._udp", "tcp": "_sip._tcp", "tls": "_sips._tcp"}

NAPTR_DEPTH = 5
"""Y41 allows a NAPTR to lead to another; a chain longer than this is a loop or a mistake."""


class Target(Protocol):
    """What is looked up: `redundancy.settings.ServerSettings` fits."""

    @property
    def address(self) -> str: ...

    @property
    def port(self) -> int: ...

    @property
    def transport(self) -> str: ...


Lookup = Callable[[Question], Sequence[Record] | None]
"""The records of an answer (none: there are none, or nobody could say); None when it has not been asked yet."""

SrvOrder = Callable[[Sequence[Srv]], list[Srv]]
"""The order of records with equal priority."""


@dataclass(frozen=True, slots=True)
class Located:
    """What the answers that are there lead to."""

    candidates: tuple[Candidate, ...]
    """In order of preference, each once."""
    wanted: tuple[Question, ...]
    """Questions without an answer so far."""
    used: tuple[Question, ...]
    """Questions whose answers matter for this list, to be kept fresh."""


def locate(target: Target, lookup: Lookup, *, srv_order: SrvOrder, families: Sequence[str] = ("A", "AAAA")) -> Located:
    """The candidates of a target. `families`: the kinds of address that our sockets can reach."""
    walk = _Walk(lookup, srv_order, families)
    candidates = tuple(dict.fromkeys(walk.candidates(target)))
    return Located(candidates, tuple(dict.fromkeys(walk.wanted)), tuple(dict.fromkeys(walk.used)))


class _Walk:
    """One evaluation, which collects the questions on its way."""

    def __init__(self, lookup: Lookup, srv_order: SrvOrder, families: Sequence[str]) -> None:
        self._lookup = lookup
        self._srv_order = srv_order
        self._families = families
        self.wanted: list[Question] = []
        self.used: list[Question] = []

    def candidates(self, target: Target) -> list[Candidate]:
        name, transport = target.address, target.transport
        if transport == "dns-naptr" and (target.port or is_ip_address(name)):
            # RFC 3263 s.4.1: no transport named, and a port or an address given: UDP.
            transport = "udp"
        if is_ip_address(name):
            return [Candidate(name, target.port or DEFAULT_PORTS[transport], transport)]
        if target.port:
            return self._hosts(name, target.port, transport)
        if transport == "dns-naptr":
            found = self._by_naptr(name, NAPTR_DEPTH)
            if found or self.wanted:
                return found
            transport = "udp"  # S17: without NAPTR the UDP name is tried
        found = self._by_srv(f"{SRV_PREFIXES[transport]}.{name}", transport)
        if found or self.wanted:
            return found
        return self._hosts(name, DEFAULT_PORTS[transport], transport)

    def _by_naptr(self, name: str, depth: int) -> list[Candidate]:
        """Y40: lowest order, then lowest preference. The first record that leads anywhere is the one that is used."""
        records = sorted(self._records(name, "NAPTR", Naptr), key=lambda record: (record.order, record.preference))
        for record in records:
            found = self._follow(record, depth)
            if found or self.wanted:
                return found
        return []

    def _follow(self, record: Naptr, depth: int) -> list[Candidate]:
        transport = SERVICES.get(record.service.upper())
        flag = record.flags.lower()
        if flag == "":
            return self._by_naptr(record.replacement, depth - 1) if depth > 1 else []
        if transport is None:
            return []
        if flag == "s":
            return self._by_srv(record.replacement, transport)
        if flag == "a":
            return self._hosts(record.replacement, DEFAULT_PORTS[transport], transport)
        return []

    def _by_srv(self, name: str, transport: str) -> list[Candidate]:
        records = sorted(self._records(name, "SRV", Srv), key=lambda record: record.priority)
        found: list[Candidate] = []
        for _, equals in groupby(records, key=lambda record: record.priority):
            for record in self._srv_order(list(equals)):
                if record.target.rstrip("."):  # RFC 2782: a target of "." says that there is no such service
                    port = record.port or DEFAULT_PORTS[transport]
                    found += self._hosts(record.target, port, transport, record.priority, record.weight)
        return found

    def _hosts(self, name: str, port: int, transport: str, priority: int = 1, weight: int = 0) -> list[Candidate]:
        """Addresses in the order in which the answer gives them (V14)."""
        if is_ip_address(name):
            return [Candidate(name, port, transport, priority, weight)]
        return [
            Candidate(record.address, port, transport, priority, weight)
            for family in self._families
            for record in self._records(name, family, Address)
        ]

    def _records(self, name: str, rrtype: str, kind: type[_Kind]) -> Iterator[_Kind]:
        question = Question.of(name, rrtype)
        self.used.append(question)
        records = self._lookup(question)
        if records is None:
            self.wanted.append(question)
            return iter(())
        return (record for record in records if isinstance(record, kind))


_Kind = TypeVar("_Kind", Naptr, Srv, Address)


def is_ip_address(text: str) -> bool:
    """True for an IPv4 or IPv6 literal."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def descending(equals: Sequence[Srv]) -> list[Srv]:
    """Y42, S9: "the preference is from highest to lowest"."""
    return sorted(equals, key=lambda record: -record.weight)


def weighted_share(salt: str) -> SrvOrder:
    """RFC 2782: a random order in which each record's chance to come first is its share of the weights.

    The same records give the same order for the same salt: a refresh of the answers must not move a site to another
    server. Salts that differ spread many appliances by weight.
    """

    def order(equals: Sequence[Srv]) -> list[Srv]:
        # RFC 2782: those of weight 0 first, so that they keep a small chance.
        left = sorted(equals, key=lambda record: (record.weight, record.target, record.port))
        rng = random.Random(salt + repr(left))
        ordered = []
        while left:
            point = rng.randint(0, sum(record.weight for record in left))
            for record in left:
                point -= record.weight
                if point <= 0:
                    break
            left.remove(record)
            ordered.append(record)
        return ordered

    return order
