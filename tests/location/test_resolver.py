"""The resolver against a DNS server of our own on loopback: real packets, every kind of answer."""

import queue
import socket
import threading

import dns.message
import pytest

from sbc.location.records import Address, Failed, Found, Naptr, Question, Srv
from sbc.location.resolver import CNAME_DEPTH, Resolver, look_up, make_resolver, servers_of
from tests.helpers.dns_server import NOTIMP, REFUSED, SERVFAIL, SILENT, TRUNCATED, DnsServer

ZONE = {
    "NAPTR pbx.example": [
        '90 50 "s" "SIP+D2T" "" _sip._tcp.PBX.example.',
        '100 50 "s" "SIP+D2U" "" _sip._udp.pbx.example.',
        '110 50 "u" "E2U+sip" "!^.*$!sip:x@pbx.example!" .',
    ],
    "SRV _sip._udp.pbx.example": ["10 1 5060 Server1.pbx.example.", "20 2 5070 server2.pbx.example."],
    "A pbx.example": ["192.0.2.2", "192.0.2.1"],
    "AAAA pbx.example": ["2001:db8::1"],
    "SRV _sip._tcp.none.example": ["0 0 0 ."],
    "CNAME alias.example": ["pbx.example."],
    "CNAME circle.example": ["circle.example."],
    **{f"CNAME c{step}.example": [f"c{step + 1}.example."] for step in range(CNAME_DEPTH + 2)},
    f"A c{CNAME_DEPTH + 2}.example": ["192.0.2.9"],
}


@pytest.fixture
def server():
    server = DnsServer(ZONE)
    yield server
    server.stop()


@pytest.fixture
def ask(server):
    resolver = make_resolver([server.address])
    return lambda name, rrtype: look_up(resolver, Question.of(name, rrtype))


def test_addresses_in_the_order_of_the_answer(ask):
    """V14."""
    assert Found((Address("192.0.2.2"), Address("192.0.2.1")), 300.0) == ask("pbx.example", "A")
    assert Found((Address("2001:db8::1"),), 300.0) == ask("pbx.example", "AAAA")


def test_naptr(ask):
    """Y40."""
    assert (
        Naptr(90, 50, "s", "SIP+D2T", "_sip._tcp.pbx.example"),
        Naptr(100, 50, "s", "SIP+D2U", "_sip._udp.pbx.example"),
        Naptr(110, 50, "u", "E2U+sip", "", "!^.*$!sip:x@pbx.example!"),
    ) == ask("pbx.example", "NAPTR").records


def test_srv(ask):
    assert (
        Srv(10, 1, 5060, "server1.pbx.example"),
        Srv(20, 2, 5070, "server2.pbx.example"),
    ) == ask("_sip._udp.pbx.example", "SRV").records
    assert (Srv(0, 0, 0, ""),) == ask("_sip._tcp.none.example", "SRV").records


def test_alias_is_followed(ask, server):
    """By the server, in one answer."""
    assert Found((Address("192.0.2.2"), Address("192.0.2.1")), 300.0) == ask("alias.example", "A")
    assert ["A alias.example"] == server.queries


def test_long_and_endless_aliases_are_given_up(ask):
    """D17: depth 5."""
    assert Found((Address("192.0.2.9"),), 300.0) == ask("c2.example", "A")
    assert Failed("servfail") == ask("c0.example", "A")
    assert isinstance(ask("circle.example", "A"), Failed)


def test_alias_is_followed_by_us_where_the_server_does_not(ask, server):
    """A server without recursion answers with the alias alone."""
    server.recursive = False
    assert Found((Address("192.0.2.2"), Address("192.0.2.1")), 300.0) == ask("alias.example", "A")
    assert ["A alias.example", "A pbx.example"] == server.take()
    assert Found((Address("192.0.2.9"),), 300.0) == ask("c2.example", "A")
    assert Failed("servfail") == ask("c0.example", "A")


def test_unknown_name_and_no_data_are_negative_with_the_ttl_of_the_soa(ask):
    """RFC 2308: the smaller of the SOA's TTL and its minimum."""
    assert Found((), 90.0) == ask("gone.example", "A")
    assert Found((), 90.0) == ask("_sip._udp.pbx.example", "A")


@pytest.mark.parametrize(("what", "result"), [(SERVFAIL, "servfail"), (REFUSED, "servfail"), (NOTIMP, "servfail")])
def test_refusals_teach_nothing(ask, server, what, result):
    """S22."""
    server.misbehave["NAPTR"] = what
    assert Failed(result) == ask("pbx.example", "NAPTR")
    assert isinstance(ask("pbx.example", "A"), Found)


def test_silence_teaches_nothing(ask, server):
    server.misbehave["*"] = SILENT
    assert Failed("timeout") == ask("pbx.example", "A")
    assert 2 == len(server.queries)  # D17: once each second


def test_truncated_answer_is_asked_for_over_tcp(ask, server):
    server.misbehave["*"] = TRUNCATED
    assert 2 == len(ask("_sip._udp.pbx.example", "SRV").records)
    assert ["SRV _sip._udp.pbx.example", "SRV _sip._udp.pbx.example (tcp)"] == server.queries


def test_name_that_no_dns_knows(ask):
    """What somebody mistyped is no exception."""
    assert isinstance(ask("a" * 70 + ".example", "A"), Failed)
    assert isinstance(ask("two..dots", "A"), Failed)


def test_only_the_asked_server_is_heard():
    """Neither another address nor another id, although the answer comes to the right port."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as real,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as forger,
    ):
        real.bind(("127.0.0.1", 0))
        forger.bind(("127.0.0.1", 0))

        def serve():
            data, source = real.recvfrom(4096)
            query = dns.message.from_wire(data)
            for sender, identity, address in [
                (forger, query.id, "192.0.2.66"),
                (real, query.id ^ 1, "192.0.2.66"),
                (real, query.id, "192.0.2.1"),
            ]:
                response = dns.message.make_response(query)
                response.id = identity
                response.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "A", address))
                sender.sendto(response.to_wire(), source)

        thread = threading.Thread(target=serve)
        thread.start()
        found = look_up(make_resolver([real.getsockname()]), Question("pbx.example", "A"))
        thread.join()
    assert (Address("192.0.2.1"),) == found.records


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
    server.misbehave.update({"A silent.example": SILENT, "A broken.example": SERVFAIL})
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


@pytest.mark.parametrize("silent", [1, 2, 3])
def test_several_servers_are_tried_in_turn(server, silent):
    """V31: those that are silent share the 2 s, so that the last one has its turn too."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(silent)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        resolver = make_resolver([*(one.getsockname() for one in sockets), server.address])
        assert 2 == len(look_up(resolver, Question("pbx.example", "A")).records)
    finally:
        for one in sockets:
            one.close()


def test_server_that_fails_hands_over_to_the_next():
    """V31."""
    broken, good = DnsServer(ZONE), DnsServer(ZONE)
    broken.misbehave["*"] = SERVFAIL
    try:
        found = look_up(make_resolver([broken.address, good.address]), Question("pbx.example", "A"))
    finally:
        broken.stop()
        good.stop()
    assert 2 == len(found.records)


def test_every_query_is_heard_of(server):
    """What `sbc resolve` tells: to whom it went, over what, and what became of it."""
    server.misbehave["*"] = TRUNCATED
    heard = []

    def left(question, server, transport):
        heard.append((question, server, transport))
        return heard.append

    look_up(make_resolver([server.address], left), Question("pbx.example", "A"))
    place = str(server)
    assert [
        ("A pbx.example", place, "udp"), "truncated", ("A pbx.example", place, "tcp"), "NOERROR",
    ] == heard
    assert [place, "[::1]:53"] == servers_of(make_resolver([server.address, ("::1", 53)]))
