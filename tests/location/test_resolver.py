"""The resolver against a DNS server of our own on loopback: real packets, every kind of answer."""

import queue
import socket
import threading

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from sbc.location.records import Address, Failed, Found, Naptr, Question, Srv
from sbc.location.resolver import Resolver, look_up, make_resolver

ZONE = {
    ("pbx.example.", "NAPTR"): [
        '90 50 "s" "SIP+D2T" "" _sip._tcp.PBX.example.',
        '100 50 "s" "SIP+D2U" "" _sip._udp.pbx.example.',
    ],
    ("_sip._udp.pbx.example.", "SRV"): ["10 1 5060 Server1.pbx.example.", "20 2 5070 server2.pbx.example."],
    ("pbx.example.", "A"): ["192.0.2.2", "192.0.2.1"],
    ("pbx.example.", "AAAA"): ["2001:db8::1"],
    ("_sip._tcp.none.example.", "SRV"): ["0 0 0 ."],
}
SOA = "ns.example. admin.example. 1 3600 600 86400 90"


class DnsServer:
    """Answers from ZONE; names that begin with `silent`, `broken` or `alias` are special."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.address = self.socket.getsockname()
        self.asked = []
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def stop(self):
        self.socket.sendto(b"", self.address)
        self.thread.join(5)
        self.socket.close()

    def _serve(self):
        while True:
            data, source = self.socket.recvfrom(4096)
            if not data:
                return
            answer = self._answer(dns.message.from_wire(data))
            if answer is not None:
                self.socket.sendto(answer.to_wire(), source)

    def _answer(self, query):
        question = query.question[0]
        name, rrtype = question.name.to_text().lower(), question.rdtype.name
        self.asked.append(f"{rrtype} {name}")
        if name.startswith("silent"):
            return None
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA | dns.flags.RA
        if name.startswith("broken"):
            response.set_rcode(dns.rcode.SERVFAIL)
            return response
        if name.startswith("alias"):
            response.answer.append(dns.rrset.from_text(question.name, 30, "IN", "CNAME", "pbx.example."))
            name = "pbx.example."
        records = ZONE.get((name, rrtype))
        if records:
            # One set for each: within a set dnspython shuffles what it sends.
            response.answer += [dns.rrset.from_text(name, 300, "IN", rrtype, record) for record in records]
        else:
            if not any(name == known for known, _ in ZONE):
                response.set_rcode(dns.rcode.NXDOMAIN)
            response.authority.append(dns.rrset.from_text("example.", 3600, "IN", "SOA", SOA))
        return response


@pytest.fixture
def server():
    server = DnsServer()
    yield server
    server.stop()


@pytest.fixture
def ask(server):
    resolver = make_resolver([server.address])
    return lambda name, rrtype: look_up(resolver, Question.of(name, rrtype))


def test_addresses_in_the_order_of_the_answer(ask):
    assert Found((Address("192.0.2.2"), Address("192.0.2.1")), 300.0) == ask("pbx.example", "A")
    assert Found((Address("2001:db8::1"),), 300.0) == ask("pbx.example", "AAAA")


def test_naptr(ask):
    assert (
        Naptr(90, 50, "s", "SIP+D2T", "_sip._tcp.pbx.example"),
        Naptr(100, 50, "s", "SIP+D2U", "_sip._udp.pbx.example"),
    ) == ask("pbx.example", "NAPTR").records


def test_srv(ask):
    assert (
        Srv(10, 1, 5060, "server1.pbx.example"),
        Srv(20, 2, 5070, "server2.pbx.example"),
    ) == ask("_sip._udp.pbx.example", "SRV").records
    assert (Srv(0, 0, 0, ""),) == ask("_sip._tcp.none.example", "SRV").records


def test_alias_is_followed_and_has_the_shortest_ttl(ask):
    assert 30.0 == ask("alias.example", "A").ttl
    assert 2 == len(ask("alias.example", "A").records)


def test_unknown_name_and_no_data_are_negative_with_the_ttl_of_the_soa(ask):
    """RFC 2308: the smaller of the SOA's TTL and its minimum."""
    assert Found((), 90.0) == ask("gone.example", "A")
    assert Found((), 90.0) == ask("_sip._udp.pbx.example", "A")


def test_servfail_and_silence_teach_nothing(ask):
    assert Failed("servfail") == ask("broken.example", "A")
    assert Failed("timeout") == ask("silent.example", "A")


def test_name_that_no_dns_knows(ask):
    """What somebody mistyped is no exception."""
    assert isinstance(ask("a" * 70 + ".example", "A"), Failed)
    assert isinstance(ask("two..dots", "A"), Failed)


class Reactor:
    """What a thread pool needs of a reactor: calls that wait for their thread."""

    def __init__(self):
        self.calls = queue.Queue()

    def callFromThread(self, function, *args):  # noqa: N802 (Twisted's name)
        self.calls.put((function, args))

    def run_one(self):
        function, args = self.calls.get(timeout=10)
        function(*args)


def test_ask_answers_on_the_reactors_thread(server):
    """Nothing happens in the asking call; three questions are under way at once."""
    reactor, results = Reactor(), {}
    resolver = Resolver(reactor, [server.address])
    resolver.start()
    try:
        for name in ("silent.example", "broken.example", "pbx.example"):
            resolver.ask(Question(name, "A"), lambda question, result: results.update({question.name: result}))
        assert {} == results
        for _ in range(3):
            reactor.run_one()
    finally:
        resolver.stop()
    assert Failed("timeout") == results["silent.example"]
    assert 2 == len(results["pbx.example"].records)


def test_second_server_answers_for_the_first(server):
    """V31: several DNS servers; the one that is silent costs a second."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        resolver = make_resolver([silent.getsockname(), server.address])
        assert 2 == len(look_up(resolver, Question("pbx.example", "A")).records)
