"""`sbc resolve`: how a name becomes candidates, told line by line while it happens (S21).

It asks what the appliance would ask, in the order of `sbc.location.procedure`, and says why each question follows the one
before. Lines that are indented belong to the question above them.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TextIO

from sbc.config import Config
from sbc.config.model import address_families, spoken
from sbc.location.cache import DnsCache, Freshness
from sbc.location.candidate import Candidate
from sbc.location.procedure import TRANSPORTS, SrvOrder, locate, srv_order
from sbc.location.records import Failed, Question, Record, Result
from sbc.location.resolver import look_up, make_resolver, servers_of

FOUND, NOTHING_FOUND = 0, 1
"""Exit statuses."""


@dataclass(frozen=True)
class Wanted:
    """What a `[[group.server]]` would say."""

    address: str
    port: int = 0
    transport: str = "dns-naptr"
    naptr_build: str = "udp"
    srv_weight: str = "rfc2782"


@dataclass(frozen=True)
class Sockets:
    """What the appliance could reach the candidates with. Without a configuration: everything."""

    families: Sequence[str] = ("A", "AAAA")
    transports: Collection[str] = TRANSPORTS


def run(
    wanted: Wanted, config: Config | None, dns_servers: Sequence[tuple[str, int]], *, again: bool, out: TextIO | None = None
) -> int:
    """The command. DNS servers that are given are asked, else those of the configuration, else the system's."""
    servers = dns_servers or (config.dns.servers if config else ())
    story = Story(out or sys.stdout, time.monotonic)
    resolver = make_resolver(servers, story.query_left)
    where = "as given" if dns_servers else f"of {config.path}" if servers and config else "of the system"
    story.tell(f"{_described(wanted)}; DNS servers {where}: {', '.join(servers_of(resolver)) or 'none'}")
    sockets = Sockets(address_families(config.listens), spoken(config.listens)) if config else Sockets()
    order = srv_order(wanted.srv_weight, config.appliance.name if config else socket.gethostname())
    candidates = story.follow(wanted, lambda question: look_up(resolver, question), sockets, order)
    if again:
        story.tell("\nonce more, as it is looked up while the answers are good:")
        candidates = story.follow(wanted, None, sockets, order)
    return FOUND if candidates else NOTHING_FOUND


def _described(wanted: Wanted) -> str:
    return f"{wanted.address}, transport {wanted.transport}, " + (f"port {wanted.port}" if wanted.port else "no port")


class Story:
    """Asks, keeps the answers, and tells."""

    def __init__(self, out: TextIO, seconds: Callable[[], float]) -> None:
        self._out = out
        self._seconds = seconds
        self._cache = DnsCache()
        self._freshness = Freshness()
        self._question = ""

    def tell(self, line: str) -> None:
        """At once: a DNS server that is silent keeps one waiting for the next line."""
        print(line, file=self._out, flush=True)

    def query_left(self, question: str, server: str, transport: str) -> Callable[[str], object]:
        """A query leaves (`sbc.location.resolver.Hear`)."""
        left_at = self._seconds()

        def ended(outcome: str) -> None:
            milliseconds = 1000 * (self._seconds() - left_at)
            alias = "" if question == self._question else f" for {question}"
            self.tell(f"    {server} over {transport}{alias}: {outcome} after {milliseconds:.0f} ms")

        return ended

    def follow(
        self, wanted: Wanted, ask: Callable[[Question], Result] | None, sockets: Sockets, order: SrvOrder
    ) -> Sequence[Candidate]:
        """The candidates. Without `ask` by what is known from the time before."""

        def records(question: Question) -> Sequence[Record]:
            self._question = str(question)
            self.tell(self._question)
            if ask is None or self._cache.entry(question) is not None:
                self._tell_kept(question)
            else:
                self._tell_answer(question, ask(question))
            return self._cache.records(question) or ()

        located = locate(
            wanted,
            records,
            srv_order=order,
            families=sockets.families,
            transports=sockets.transports,
            tell=self.tell,
        )
        self._tell_candidates(located.candidates)
        return located.candidates

    def _tell_answer(self, question: Question, result: Result) -> None:
        self._cache.put(question, result, self._seconds())
        if isinstance(result, Failed):
            self.tell(f"    nothing learnt ({result.result}), which counts as no record")
            return
        entry = self._cache.entry(question)
        assert entry is not None
        for record in result.records:
            self.tell(f"    {record}")
        kept = self._freshness.ttl(entry)
        if result.records:
            self.tell(f"    TTL {result.ttl:g} s" + (f", kept for {kept:g} s" if kept != result.ttl else ""))
        else:
            self.tell(f"    no such record, kept for {kept:g} s")

    def _tell_kept(self, question: Question) -> None:
        entry = self._cache.entry(question)
        if entry is None:
            self.tell("    not in the cache")
            return
        left = entry.answered_at + self._freshness.ttl(entry) - self._seconds()
        for record in entry.records:
            self.tell(f"    {record}")
        what = "in the cache" if entry.records else "in the cache: no such record"
        self.tell(f"    {what}, good for {max(0.0, left):.0f} s")

    def _tell_candidates(self, candidates: Sequence[Candidate]) -> None:
        if not candidates:
            self.tell("no candidate: this server cannot be reached")
            return
        self.tell("candidates, in the order in which they are tried:")
        width = max(len(str(candidate)) for candidate in candidates)
        for candidate in candidates:
            shown = f"P1:{candidate.priority}"
            self.tell(f"  {shown:<7} {str(candidate):<{width}}  priority {candidate.priority}, weight {candidate.weight}")
