"""RFC 3263 section 4: from a server's name to the candidates, in order. Pure: answers are looked up, never asked for.

`locate` walks the whole way with the answers that are there. Where one is missing it notes the question as wanted and
goes round it; when the answer has come, one calls `locate` again. So there is no state to get wrong, and every list
can be explained from the answers alone: `tell` hears why each question is asked.

    IP address                     itself, no question at all (S19)
    port given                     A and AAAA only (Y10, P14, S6)
    transport dns-naptr            NAPTR, then SRV, then A and AAAA, "until one succeeds" (Y11, S4)
    transport udp, tcp, tls        SRV for that transport, then A and AAAA (S5)
    transport tcp-preferred        as tcp; behind each candidate the same address over UDP (S11)
    an SRV name (_sip._udp.x)      that SRV, and then nothing else (V8)
    several, with commas           each of them like this, one after the other (S13)

A lookup that failed counts as "nothing there": a server that cannot answer NAPTR must not stop us (S22). Only an SRV
target of "." is believed: there is no such service (RFC 2782), and no address is asked for in its place.
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol, TypeVar

from sbc.location.candidate import Candidate
from sbc.location.records import Address, Naptr, Question, Record, Srv

TRANSPORTS = ("udp", "tcp", "tls")

DEFAULT_PORTS = {"udp": 5060, "tcp": 5060, "tls": 5061}
"""Y12, S7, X10: what a server that names no port listens on."""

SERVICES = {"SIP+D2U": "udp", "SIP+D2T": "tcp", "SIPS+D2T": "tls"}
"""Y40: NAPTR services that we speak."""

SRV_PREFIXES = {"udp": "_sip._udp", "tcp": "_sip._tcp", "tls": "_sips._tcp"}

NAPTR_DEPTH = 5
"""Y41 allows a NAPTR to lead to another; a chain longer than this is a loop or a mistake."""

MOST_QUESTIONS = 100
"""For one name. More than a large zone needs, and an end to what a wrong or hostile one can make us ask."""


class Target(Protocol):
    """What is looked up: `redundancy.settings.ServerSettings` fits."""

    @property
    def address(self) -> str: ...

    @property
    def port(self) -> int: ...

    @property
    def transport(self) -> str: ...

    @property
    def naptr_build(self) -> str: ...


Lookup = Callable[[Question], Sequence[Record] | None]
"""The records of an answer (none: there are none, or nobody could say); None when it has not been asked yet."""

SrvOrder = Callable[[Sequence[Srv]], list[Srv]]
"""The order of records with equal priority."""

Tell = Callable[[str], object]
"""Hears a line of the story."""


@dataclass(frozen=True, slots=True)
class Located:
    """What the answers that are there lead to."""

    candidates: tuple[Candidate, ...]
    """In order of preference, each once."""
    wanted: tuple[Question, ...]
    """Questions without an answer so far."""
    used: tuple[Question, ...]
    """Questions whose answers matter for this list, to be kept fresh."""
    settled: bool = True
    """False while an answer that is still wanted may bring a candidate before the first of these."""


def _nobody(line: str) -> None:
    pass


def locate(
    target: Target,
    lookup: Lookup,
    *,
    srv_order: SrvOrder,
    families: Sequence[str] = ("A", "AAAA"),
    transports: Collection[str] = TRANSPORTS,
    tell: Tell = _nobody,
) -> Located:
    """The candidates of a target. `families` and `transports`: the kinds of address that our sockets can reach, and what
    they speak."""
    candidates: list[Candidate] = []
    wanted: list[Question] = []
    used: list[Question] = []
    settled = True
    names = address_list(target.address)
    for place, name in enumerate(names):
        if len(names) > 1:
            tell(f"address {place + 1} of {len(names)}: {name}")
        walk = _Walk(lookup, srv_order, families, transports, tell, place)
        found = walk.candidates(name, target)
        settled = settled and (bool(candidates) or not walk.wanted_first)
        candidates += found
        wanted += walk.wanted
        used += walk.used
    return Located(
        tuple(dict.fromkeys(candidates)), tuple(dict.fromkeys(wanted)), tuple(dict.fromkeys(used)), settled
    )


class _Walk:
    """One evaluation for one name, which collects the questions on its way."""

    def __init__(
        self,
        lookup: Lookup,
        srv_order: SrvOrder,
        families: Sequence[str],
        transports: Collection[str],
        tell: Tell,
        place: int,
    ) -> None:
        self._lookup = lookup
        self._srv_order = srv_order
        self._families = families
        self._transports = transports
        self._tell = tell
        self._place = place
        self._naptr_names: set[str] = set()
        self._any_candidate = False
        self.wanted: list[Question] = []
        self.wanted_first = False
        """An answer is missing from before the first candidate."""
        self.used: dict[Question, None] = {}

    def candidates(self, name: str, target: Target) -> list[Candidate]:
        if target.transport != "tcp-preferred":
            return self._found(name, target.port, target.transport, target.naptr_build)
        both = []
        for tcp in self._found(name, target.port, "tcp", ""):
            both += [tcp, self._candidate(tcp.address, tcp.port, "udp", tcp.priority, tcp.weight)]
        if both:
            self._tell("each address is tried over TCP, and if that fails over UDP")
        return both

    def _found(self, name: str, port: int, transport: str, naptr_build: str) -> list[Candidate]:
        if is_ip_address(name):
            # RFC 3263 s.4.1: no transport named, and an address given: UDP.
            transport = "udp" if transport == "dns-naptr" else transport
            self._tell(f"{name} is an IP address: nothing is asked")
            return [self._candidate(name, port or DEFAULT_PORTS[transport], transport)]
        if port:
            transport = "udp" if transport == "dns-naptr" else transport
            self._tell(f"port {port} is given: no NAPTR, no SRV, only {self._address_types} for {transport}")
            return self._hosts(name, port, transport)
        spoken = transport_of_srv_name(name)
        if spoken is not None:
            self._tell(f"{name} is the name of an SRV record, for {spoken}: nothing else is asked")
            return self._by_srv(name, spoken) or []
        if transport == "dns-naptr":
            self._tell("no transport and no port is given: NAPTR first")
            found = self._by_naptr(name)
            if found or self.wanted:
                return found
            transport = naptr_build  # Y21; S17: the UDP name is tried unless somebody says otherwise
            self._tell(f"NAPTR leads nowhere, so SRV is asked for {transport}")
        else:
            self._tell(f"transport {transport} is given, and no port: no NAPTR, SRV for {transport}")
        by_srv = self._by_srv(f"{SRV_PREFIXES[transport]}.{name}", transport)
        if by_srv or by_srv is None or self.wanted:
            return by_srv or []
        port = DEFAULT_PORTS[transport]
        asked = f"{self._address_types} {self._are} asked"
        self._tell(f"SRV leads nowhere, so {asked}; port {port} is the default of {transport}")
        return self._hosts(name, port, transport)

    def _by_naptr(self, name: str, depth: int = NAPTR_DEPTH) -> list[Candidate]:
        """Y40: lowest order, then lowest preference. The first record that leads anywhere is the one that is used."""
        self._naptr_names.add(name.lower().rstrip("."))
        records = sorted(self._records(name, "NAPTR", Naptr), key=lambda record: (record.order, record.preference))
        for record in records:
            found = self._follow(record, depth)
            if found or self.wanted:
                return found
        return []

    def _follow(self, record: Naptr, depth: int) -> list[Candidate]:
        title = f"NAPTR of order {record.order}, preference {record.preference}"
        flag, replacement = record.flags.lower(), record.replacement.rstrip(".")
        if record.regexp:
            self._tell(f"{title}: its regexp is ignored, only the replacement counts (RFC 3263 section 4.1)")
        if not replacement:
            self._tell(f"{title} is passed over: it names no replacement")
            return []
        if flag == "":
            if depth <= 1 or replacement.lower() in self._naptr_names:
                self._tell(f"{title} is passed over: NAPTR leads in a circle, or further than {NAPTR_DEPTH} names")
                return []
            self._tell(f"{title} has no flag: NAPTR is asked again, for {replacement}")
            return self._by_naptr(replacement, depth - 1)
        transport = SERVICES.get(record.service.upper())
        if not record.service and flag == "s":
            transport = transport_of_srv_name(replacement)  # the log of S18 shows such a record in use
        if transport is None:
            self._tell(f'{title} is passed over: service "{record.service}" is not one that SIP is spoken over here')
            return []
        if transport not in self._transports:
            self._tell(f"{title} is passed over: no socket of ours speaks {transport}")
            return []
        if flag == "s":
            self._tell(f'{title} is followed: flag "s" means SRV, {record.service or "the name"} means {transport}')
            return self._by_srv(replacement, transport) or []
        if flag == "a":
            port = DEFAULT_PORTS[transport]
            self._tell(f'{title} is followed: flag "a" means an address, {record.service} {transport}, port {port}')
            return self._hosts(replacement, port, transport)
        self._tell(f'{title} is passed over: flag "{record.flags}" is not for SIP')
        return []

    def _by_srv(self, name: str, transport: str) -> list[Candidate] | None:
        """None when the answer is that there is decidedly no such service."""
        records = sorted(self._records(name, "SRV", Srv), key=lambda record: record.priority)
        if records and all(not record.target.rstrip(".") for record in records):
            self._tell(f'the SRV target is ".": there is no service for {transport} (RFC 2782)')
            return None
        found: list[Candidate] = []
        for _, equals in groupby(records, key=lambda record: record.priority):
            for record in self._srv_order(list(equals)):
                target = record.target.rstrip(".")
                if not target:
                    continue
                port = record.port or DEFAULT_PORTS[transport]
                self._tell(f"SRV names {target}, port {port}, of priority {record.priority} and weight {record.weight}")
                found += self._hosts(target, port, transport, record.priority, record.weight)
        return found

    def _hosts(self, name: str, port: int, transport: str, priority: int = 1, weight: int = 0) -> list[Candidate]:
        """Addresses in the order in which the answer gives them (V14)."""
        if is_ip_address(name):
            return [self._candidate(name, port, transport, priority, weight)]
        return [
            self._candidate(record.address, port, transport, priority, weight)
            for family in self._families
            for record in self._records(name, family, Address)
        ]

    def _candidate(self, address: str, port: int, transport: str, priority: int = 1, weight: int = 0) -> Candidate:
        self._any_candidate = True
        return Candidate(address, port, transport, priority, weight, self._place)

    def _records(self, name: str, rrtype: str, kind: type[_Kind]) -> list[_Kind]:
        question = Question.of(name, rrtype)
        if len(self.used) >= MOST_QUESTIONS and question not in self.used:
            self._tell(f"{question} is not asked any more: {MOST_QUESTIONS} questions are enough for one name")
            return []
        self.used[question] = None
        records = self._lookup(question)
        if records is None:
            self.wanted.append(question)
            self.wanted_first = self.wanted_first or not self._any_candidate
            return []
        return [record for record in records if isinstance(record, kind)]

    @property
    def _address_types(self) -> str:
        return " and ".join(self._families)

    @property
    def _are(self) -> str:
        return "is" if len(self._families) == 1 else "are"


_Kind = TypeVar("_Kind", Naptr, Srv, Address)


def address_list(text: str) -> list[str]:
    """S13: "10.225.2.66, eslab.local" is two; anything without a comma is one."""
    return [part.strip() for part in text.split(",")]


def is_ip_address(text: str) -> bool:
    """True for an IPv4 or IPv6 literal."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def transport_of_srv_name(name: str) -> str | None:
    """`_sip._udp.example.com` is asked for as it is, and means udp; None for other names (V8)."""
    for transport, prefix in SRV_PREFIXES.items():
        if name.lower().startswith(prefix + "."):
            return transport
    return None


def srv_order(srv_weight: str, salt: str) -> SrvOrder:
    """The order that a group's `srv_weight` asks for (X7): descending | rfc2782."""
    return descending if srv_weight == "descending" else weighted_share(salt)


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
