"""Asks real DNS servers: dnspython in a small thread pool, so that nothing waits on the main thread (D17).

Per question 1 s for each server in turn and 2 s in all (V31). A truncated answer is asked for again over TCP; what does
not come from the server that was asked, with the right id and question, is not heard (dnspython sees to both). CNAMEs are
followed, by us where the server leaves that to its client.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import Any

import dns.exception
import dns.message
import dns.name
import dns.nameserver
import dns.rcode
import dns.rdatatype
import dns.resolver
from twisted.internet import threads
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from sbc.location.records import Address, Failed, Found, Naptr, Question, Record, Result, Srv

ONE_SERVER = 1.0
IN_ALL = 2.0
"""Seconds that a question may take (D17). More than two servers share the 2 s, so that each has its turn."""
THREADS = 4
"""Questions under way at once; a site has a handful of names."""
CNAME_DEPTH = 5
"""Aliases on the way to a name (D17); more are a loop or a mistake."""
DNS_PORT = 53


Hear = Callable[[str, str, str], Callable[[str], object]]
"""Hears of each query that leaves: `(question, server, transport)`, as `("A pbx.example", "192.0.2.53:53", "udp")`. What it
returns is told the outcome, once: NOERROR, SERVFAIL, no answer, truncated ..."""


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


class _HeardNameserver(dns.nameserver.Do53Nameserver):
    """A DNS server, with somebody who hears of each query that goes there."""

    def __init__(self, address: str, port: int, hear: Hear) -> None:
        super().__init__(address, port)
        self._hear = hear

    def query(self, request: Any, timeout: float, source: Any, source_port: int, max_size: bool, *args: Any) -> Any:
        question = request.question[0]
        asked = str(Question.of(question.name.to_text(), dns.rdatatype.to_text(question.rdtype)))
        told = self._hear(asked, _written(self.address, self.port), "tcp" if max_size else "udp")
        outcome = "no answer"
        try:
            response = super().query(request, timeout, source, source_port, max_size, *args)
            outcome = dns.rcode.to_text(response.rcode())
            return response
        except dns.message.Truncated:
            outcome = "truncated"
            raise
        except dns.exception.Timeout:
            raise
        except OSError as error:
            outcome = (error.strerror or str(error)).lower()
            raise
        except dns.exception.DNSException as error:
            outcome = f"not understood ({error})"
            raise
        finally:
            told(outcome)


def make_resolver(servers: Sequence[tuple[str, int]] = (), hear: Hear | None = None) -> dns.resolver.Resolver:
    """A dnspython resolver with our times, for these servers or the system's. `hear` is told of each query."""
    try:
        resolver = dns.resolver.Resolver(configure=not servers)
    except dns.resolver.NoResolverConfiguration:
        resolver = dns.resolver.Resolver(configure=False)
    places = list(servers) or [(str(address), DNS_PORT) for address in resolver.nameservers]
    resolver.nameservers = [
        _HeardNameserver(address, port, hear) if hear else dns.nameserver.Do53Nameserver(address, port)
        for address, port in places
    ]
    resolver.timeout = min(ONE_SERVER, IN_ALL / max(1, len(places)))
    resolver.lifetime = IN_ALL
    return resolver


def servers_of(resolver: dns.resolver.Resolver) -> list[str]:
    """The DNS servers that are asked, in order: `192.0.2.53:53`."""
    return [
        _written(server.address, server.port)
        for server in resolver.nameservers
        if isinstance(server, dns.nameserver.Do53Nameserver)
    ]


def _written(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def look_up(resolver: dns.resolver.Resolver, question: Question) -> Result:
    """Ask and wait: for a thread of its own, or a command that checks names."""
    if not resolver.nameservers:
        return Failed("servfail")
    ttl, aliases, left = inf, 0, IN_ALL
    try:
        name = dns.name.from_text(question.name)
        while True:
            answer = resolver.resolve(name, question.rrtype, raise_on_no_answer=False, search=False, lifetime=left)
            chain = answer.chaining_result
            aliases += len(chain.cnames)
            if aliases > CNAME_DEPTH:
                return Failed("servfail")
            if chain.cnames:
                ttl = min(ttl, *(cname.ttl for cname in chain.cnames))
            if answer.rrset is not None or chain.canonical_name == name:
                break
            left = max(0.1, left - answer.response.time)
            name = chain.canonical_name  # a server that serves its own zones only stops where the alias leaves them
    except dns.resolver.NXDOMAIN as error:
        return Found((), min(ttl, _negative_ttl(list(error.responses().values()))))
    except (dns.resolver.NoNameservers, dns.name.LabelTooLong, dns.name.EmptyLabel):
        return Failed("servfail")
    except dns.exception.DNSException:
        return Failed("timeout")
    if answer.rrset is None:
        return Found((), min(ttl, _negative_ttl([answer.response])))
    return Found(tuple(map(_record, answer.rrset)), min(ttl, float(chain.minimum_ttl)))


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
            rdata.regexp.decode("ascii", "replace"),
        )
    if rdata.rdtype == dns.rdatatype.SRV:
        return Srv(rdata.priority, rdata.weight, rdata.port, _name(rdata.target))
    return Address(rdata.address)


def _name(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower() if name != dns.name.root else ""


def _not_understood(failure: Failure) -> Failed:
    """A name that cannot be a DNS name, or a response beyond repair: nothing learnt, asked again later."""
    return Failed("servfail")
