"""Asks real DNS servers: dnspython in a small thread pool, so that nothing waits on the main thread (D17).

Per question 1 s for each server in turn and 2 s in all; CNAMEs are followed by dnspython.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import dns.exception
import dns.message
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.resolver
from twisted.internet import threads
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from sbc.location.records import Address, Failed, Found, Naptr, Question, Record, Result, Srv

ONE_SERVER = 1.0
IN_ALL = 2.0
"""Seconds that a question may take (D17)."""
THREADS = 4
"""Questions under way at once; a site has a handful of names."""


class Resolver:
    """Sends questions to DNS servers. Its `ask` is what `Locator` needs."""

    def __init__(self, reactor: Any, servers: Sequence[tuple[str, int]] = ()) -> None:
        """`servers`: (address, port), tried in order; none: the system's."""
        self._reactor = reactor
        self._pool = ThreadPool(minthreads=0, maxthreads=THREADS, name="dns")
        self._dns = make_resolver(servers)

    def start(self) -> None:
        self._pool.start()

    def stop(self) -> None:
        """Waits for questions under way, at most 2 s."""
        self._pool.stop()

    def ask(self, question: Question, answered: Callable[[Question, Result], None]) -> None:
        """Ask; `answered(question, result)` is called later on the reactor's thread."""
        deferred = threads.deferToThreadPool(self._reactor, self._pool, look_up, self._dns, question)
        deferred.addErrback(_not_understood)
        deferred.addCallback(lambda result: answered(question, result))


def make_resolver(servers: Sequence[tuple[str, int]] = ()) -> dns.resolver.Resolver:
    """A dnspython resolver with our times, for these servers or the system's."""
    try:
        resolver = dns.resolver.Resolver(configure=not servers)
    except dns.resolver.NoResolverConfiguration:
        resolver = dns.resolver.Resolver(configure=False)
    if servers:
        resolver.nameservers = [dns.nameserver.Do53Nameserver(address, port) for address, port in servers]
    resolver.timeout = ONE_SERVER
    resolver.lifetime = IN_ALL
    return resolver


def look_up(resolver: dns.resolver.Resolver, question: Question) -> Result:
    """Ask and wait: for a thread of its own, or a command that checks names."""
    try:
        answer = resolver.resolve(
            dns.name.from_text(question.name), question.rrtype, raise_on_no_answer=False, search=False
        )
    except dns.resolver.NXDOMAIN as error:
        return Found((), _negative_ttl(list(error.responses().values())))
    except dns.resolver.NoNameservers:
        return Failed("servfail")
    except dns.exception.DNSException:
        return Failed("timeout")
    if answer.rrset is None:
        return Found((), _negative_ttl([answer.response]))
    return Found(tuple(map(_record, answer.rrset)), float(answer.chaining_result.minimum_ttl))


def _negative_ttl(responses: Sequence[dns.message.QueryMessage]) -> float:
    """What the SOA of a negative answer grants (RFC 2308); 0 without one, which the cache raises to its floor."""
    for response in responses:
        for rrset in response.authority:
            if rrset.rdtype == dns.rdatatype.SOA:
                return float(min(rrset.ttl, rrset[0].minimum))
    return 0.0


def _record(rdata: Any) -> Record:
    if rdata.rdtype == dns.rdatatype.NAPTR:
        return Naptr(
            rdata.order,
            rdata.preference,
            rdata.flags.decode("ascii", "replace"),
            rdata.service.decode("ascii", "replace"),
            _name(rdata.replacement),
        )
    if rdata.rdtype == dns.rdatatype.SRV:
        return Srv(rdata.priority, rdata.weight, rdata.port, _name(rdata.target))
    return Address(rdata.address)


def _name(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower() if name != dns.name.root else ""


def _not_understood(failure: Failure) -> Failed:
    """A name that cannot be a DNS name, or a response beyond repair: nothing learnt, asked again later."""
    return Failed("servfail")
