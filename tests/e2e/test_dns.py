"""Locating servers in a real site: which queries leave, and that no call ever waits for one.

dnsmasq is the DNS server; where it cannot be made to misbehave as wanted, one of our own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from tests.e2e.peers import Peers
from tests.e2e.peers.accounts import DOMAIN
from tests.e2e.peers.appliance import QUICK_PROBES, RARE_PROBES, Sbc
from tests.e2e.peers.dnsmasq import Dnsmasq
from tests.e2e.peers.process import free_port, wait_until
from tests.helpers.dns_server import NOTIMP, SERVFAIL, SILENT, TRUNCATED, DnsServer

CALLS = 5
NO_WAIT = 1.0
"""Seconds: a lookup that a call waited for would take two; what a busy machine adds is less."""


def appliance(peers: Peers, dns: Sequence[object], groups: str) -> Sbc:
    """`sbc run` with these DNS servers and groups."""
    port, http_port = free_port(), free_port()
    servers = ", ".join(f'"{server}"' for server in dns)
    text = (
        f'[appliance]\nname = "end-to-end"\nstate_dir = "{peers.folder}/state"\n[dns]\nservers = [{servers}]\n'
        f'[[listen]]\ntransport = "udp"\naddress = "127.0.0.1"\nport = {port}\n'
        f'[http]\naddress = "127.0.0.1"\nport = {http_port}\n{groups}'
    )
    return peers.started(Sbc(peers.folder, text, {"127.0.0.1": port}, http_port))


def group(name: str, *servers: str, domain: str = "", more: str = RARE_PROBES) -> str:
    """A group; each server as its keys."""
    text = f'[[group]]\nname = "{name}"\ndomains = ["{domain or name + ".test"}"]\n{more}\n'
    for place, server in enumerate(servers, 1):
        text += f'[[group.server]]\nname = "{name}{place}"\n{server}\n'
    return text


def candidates(sbc: Sbc) -> dict[str, list[str]]:
    """Group -> its candidates, in order."""
    return {
        entry["name"]: [
            f"P{candidate['rank']}:{candidate['priority']} {candidate['candidate']}"
            for server in entry["servers"]
            for candidate in server["candidates"]
        ]
        for entry in sbc.status()["groups"]
    }


@pytest.fixture
def zone() -> Iterator[DnsServer]:
    server = DnsServer({})
    yield server
    server.stop()


def test_the_right_queries_leave_and_no_other(peers: Peers) -> None:
    """Y9 to Y12, Y21, Y40, Y41, Y43, P14, S4 to S7, S11, S13, S17, S19, S20, V6 to V9 against a real DNS server."""
    port = peers.silent_server().port
    dns = peers.started(
        Dnsmasq(
            peers.folder,
            [
                "naptr-record=full.test,80,50,s,SIPS+D2T,,_sips._tcp.full.test",  # nobody has given us a certificate
                "naptr-record=full.test,90,50,s,SIP+D2T,,_sip._tcp.full.test",  # leads nowhere
                "naptr-record=full.test,100,50,s,SIP+D2U,,_sip._udp.full.test",
                f"srv-host=_sip._udp.full.test,one.full.test,{port},1,10",
                f"srv-host=_sip._udp.full.test,two.full.test,{port},2,10",
                "address=/one.full.test/127.0.0.1",
                "address=/two.full.test/127.0.0.2",
                "address=/ported.test/127.0.0.3",
                f"srv-host=_sip._udp.plain.test,one.full.test,{port},7,10",
                "naptr-record=again.test,1,1,,,,deeper.test",  # no flag: NAPTR once more
                "naptr-record=deeper.test,1,1,a,SIP+D2U,,host.deeper.test",
                "address=/host.deeper.test/127.0.0.4",
                "cname=alias.test,second.test",
                "cname=second.test,third.test",
                "host-record=third.test,127.0.0.5",
                "address=/bare.test/127.0.0.6",
                "address=/list.test/127.0.0.7",
            ],
        )
    )
    field = f'[[group]]\nname = "field"\nserver_field = "domain.test; 127.0.0.8; list.test"\nport = {port}\n{RARE_PROBES}\n'
    sbc = appliance(
        peers,
        [dns],
        group("full", 'address = "full.test"\ntransport = "dns-naptr"')
        + group("ported", f'address = "ported.test"\ntransport = "dns-naptr"\nport = {port}')
        + group("both", f'address = "ported.test"\ntransport = "tcp-preferred"\nport = {port}')
        + group("plain", 'address = "plain.test"\ntransport = "udp"\nport = 0')
        + group("again", 'address = "again.test"\ntransport = "dns-naptr"')
        + group("alias", f'address = "alias.test"\ntransport = "udp"\nport = {port}')
        + group("bare", 'address = "Bare.test"\ntransport = "dns-naptr"\nnaptr_build = "udp"')
        + group("literal", f'address = "127.0.0.9"\ntransport = "udp"\nport = {port}')
        + group("comma", f'address = "127.0.0.10, list.test"\ntransport = "dns-naptr"\nport = {port}')
        + group("nothing", 'address = "nothing.test"\ntransport = "dns-naptr"')
        + field,
    )
    expected = {
        "full": [f"P1:1 127.0.0.1:{port};udp", f"P1:2 127.0.0.2:{port};udp"],
        "ported": [f"P1:1 127.0.0.3:{port};udp"],
        "both": [f"P1:1 127.0.0.3:{port};tcp", f"P1:1 127.0.0.3:{port};udp"],
        "plain": [f"P1:7 127.0.0.1:{port};udp"],
        "again": ["P1:1 127.0.0.4:5060;udp"],
        "alias": [f"P1:1 127.0.0.5:{port};udp"],
        "bare": ["P1:1 127.0.0.6:5060;udp"],
        "literal": [f"P1:1 127.0.0.9:{port};udp"],
        "comma": [f"P1:1 127.0.0.10:{port};udp", f"P1:1 127.0.0.7:{port};udp"],
        "nothing": [],
        "field": [f"P1:1 127.0.0.8:{port};udp", f"P2:1 127.0.0.7:{port};udp"],
    }
    wait_until(lambda: candidates(sbc) == expected, "all servers are found")
    wait_until(lambda: "A nothing.test" in dns.queries(), "the last step was tried")
    assert sorted(
        [
            "NAPTR full.test", "SRV _sip._tcp.full.test", "SRV _sip._udp.full.test", "A one.full.test", "A two.full.test",
            "A ported.test",
            "SRV _sip._udp.plain.test",
            "NAPTR again.test", "NAPTR deeper.test", "A host.deeper.test",
            "A alias.test",
            "NAPTR bare.test", "SRV _sip._udp.bare.test", "A bare.test",
            "A list.test",
            "NAPTR nothing.test", "SRV _sip._udp.nothing.test", "A nothing.test",
        ]
    ) == sorted(dns.queries())  # fmt: skip
    assert "Traceback" not in sbc.text()


def test_calls_do_not_notice_that_dns_is_dead(peers: Peers) -> None:
    """D17, P21: with a DNS server that is silent, then gone, and after a restart without one, calls take the same time."""
    primary, fallback = peers.call_server("primary"), peers.call_server("fallback")
    dns = peers.started(
        Dnsmasq(
            peers.folder,
            [
                f"srv-host=_sip._udp.pbx.test,primary.pbx.test,{primary.port},1,10",
                f"srv-host=_sip._udp.pbx.test,fallback.pbx.test,{fallback.port},2,10",
                "host-record=primary.pbx.test,127.0.0.1",
                "host-record=fallback.pbx.test,127.0.0.1",
            ],
        )
    )
    office = group("office", 'address = "pbx.test"\ntransport = "dns-naptr"', domain=DOMAIN, more=QUICK_PROBES)
    sbc = appliance(peers, [dns], office)
    expected = {"office": [f"P1:1 127.0.0.1:{primary.port};udp", f"P1:2 127.0.0.1:{fallback.port};udp"]}
    wait_until(lambda: candidates(sbc) == expected, "the servers are found")
    phone = peers.sipp_phone("alice", sbc.proxy())
    slowest_before = max(phone.call("bob", calls=CALLS))

    def calls_as_before() -> None:
        assert max(phone.call("bob", calls=CALLS)) < slowest_before + NO_WAIT
        assert candidates(sbc) == expected

    dns.freeze()  # TTL 0: asked every 4 s
    wait_until(lambda: sbc.metric("sbc_dns_lookups_total", result="stale"), "old answers are in use", 15)
    calls_as_before()
    dns.kill()
    calls_as_before()

    sbc.kill()
    sbc.start()
    calls_as_before()
    wait_until(lambda: sbc.metric("sbc_dns_lookups_total", result="stale"), "DNS was asked in vain", 15)
    calls_as_before()
    assert sbc.metric("sbc_dns_lookups_total", result="ok") == 0
    assert "dns: no DNS server answers" in sbc.text()

    primary.kill()  # P21's two minutes: the primary dies while DNS is dead and every TTL is over
    calls_as_before()
    assert "Traceback" not in sbc.text()


def test_dns_server_that_is_reconfigured(peers: Peers) -> None:
    """V28, V29: new servers appear; a removed working server is kept until it fails. The default leaves it at once."""
    ports = [peers.silent_server(f"silent{number}").port for number in range(3)]

    def records(*places: int) -> list[str]:
        return ["host-record=host.pbx.test,127.0.0.1"] + [
            f"srv-host=_sip._udp.pbx.test,host.pbx.test,{ports[place]},1,{10 - rank}" for rank, place in enumerate(places)
        ]

    def shown(*places: int) -> list[str]:
        return [f"P1:1 127.0.0.1:{ports[place]};udp" for place in places]

    def working(name: str) -> str:
        return next(entry["working"] for entry in sbc.status()["groups"] if entry["name"] == name)

    dns = peers.started(Dnsmasq(peers.folder, records(0, 1)))
    server = 'address = "pbx.test"\ntransport = "udp"\nport = 0'
    order = RARE_PROBES + '\nsrv_weight = "descending"\n'
    sbc = appliance(
        peers,
        [dns],
        group("keeps", server, more=order + 'dns_requery = 5\ndns_removed = "at-renewal"')
        + group("leaves", server, more=order),
    )
    wait_until(lambda: candidates(sbc) == {"keeps": shown(0, 1), "leaves": shown(0, 1)}, "the servers are found")
    dns.configure(records(1, 2))
    wait_until(lambda: candidates(sbc) == {"keeps": shown(1, 2, 0), "leaves": shown(1, 2)}, "the new list is there", 15)
    assert f"127.0.0.1:{ports[0]};udp" == working("keeps")
    assert f"127.0.0.1:{ports[1]};udp" == working("leaves")


def test_dns_server_that_misbehaves(peers: Peers, zone: DnsServer) -> None:
    """S22, D17, V31: SERVFAIL, NOTIMP, silence, delay, truncation, TTL 0; each result is counted. No query too many."""
    port = peers.silent_server().port
    zone.ttl, zone.delay = 0, 0.05
    zone.zone = {
        f"SRV _sip._udp.{name}.test": [f"1 0 {port} host.{name}.test."] for name in ("servfail", "notimp", "mute")
    } | {f"A host.{name}.test": ["127.0.0.1"] for name in ("servfail", "notimp", "mute")}
    zone.zone["A big.test"] = [f"127.0.1.{last}" for last in range(1, 4)]
    zone.misbehave = {
        "NAPTR servfail.test": SERVFAIL, "NAPTR notimp.test": NOTIMP, "NAPTR mute.test": SILENT, "A big.test": TRUNCATED,
    }  # fmt: skip
    naptr = 'address = "{}.test"\ntransport = "dns-naptr"'
    sbc = appliance(
        peers,
        [zone],
        "".join(group(name, naptr.format(name)) for name in ("servfail", "notimp", "mute"))
        + group("big", f'address = "big.test"\ntransport = "udp"\nport = {port}')
        + group("none", naptr.format("none"), domain=DOMAIN),
    )
    one = [f"P1:1 127.0.0.1:{port};udp"]
    expected = {
        "servfail": one, "notimp": one, "mute": one, "none": [],
        "big": [f"P1:1 127.0.1.{last}:{port};udp" for last in range(1, 4)],
    }  # fmt: skip
    wait_until(lambda: candidates(sbc) == expected, "what can be found is found", 15)
    wait_until(lambda: "A none.test" in zone.queries, "the last step was tried")
    asked = ["NAPTR none.test", "SRV _sip._udp.none.test", "A none.test", "A big.test", "A big.test (tcp)"]
    for name in ("servfail", "notimp", "mute"):
        asked += [f"NAPTR {name}.test", f"SRV _sip._udp.{name}.test", f"A host.{name}.test"]
    assert sorted(asked) == sorted(zone.take())

    # S16: the phone hears 480 and not 503, and the log says that it was DNS.
    phone = peers.socket_phone(sbc)
    status, seconds = phone.request(_register(phone.here))
    assert 480 == status
    assert seconds < NO_WAIT
    wait_until(lambda: "dns: none: no address is known for server none1 (none.test)" in sbc.text(), "the log says it")

    zone.misbehave = {"*": SERVFAIL}
    wait_until(lambda: sbc.metric("sbc_dns_lookups_total", result="stale"), "old answers are in use", 15)
    assert candidates(sbc) == expected
    for result in ("ok", "stale", "negative", "timeout", "servfail"):
        assert sbc.metric("sbc_dns_lookups_total", result=result), result
    assert sbc.metric("sbc_dns_lookups_total", rrtype="NAPTR", result="timeout")
    assert "Traceback" not in sbc.text()


def _register(here: str) -> bytes:
    return (
        f"REGISTER sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bKnone;rport\r\nMax-Forwards: 70\r\n"
        f"From: <sip:alice@{DOMAIN}>;tag=a\r\nTo: <sip:alice@{DOMAIN}>\r\nCall-ID: none\r\nCSeq: 1 REGISTER\r\n"
        f"Contact: <sip:alice@{here}>\r\nExpires: 600\r\nContent-Length: 0\r\n\r\n"
    ).encode()
