"""Spectralink 84-Series, CS-14-17, "Failover Configuration Using DNS": the statements of the bulletin, seen on the wire.

Names and addresses are those of its logs. Each test is one statement of the section named above it, with the profile
`spectralink84`.
"""

from __future__ import annotations

import pytest

from sbc.redundancy.profile import load_profile
from tests.bulletins.wire import lines

ONE_NAME = """
    profile = "spectralink84"

    [[group.server]]
    name = "server1"
    address = "testserver.eslab.local"
    {server}
"""

ZONE = """
    testserver.eslab.local            NAPTR 2 10 "S" "SIP+D2U" _sip._udp.testserver.eslab.local
    _sip._udp.testserver.eslab.local  SRV   1 10 5060 piper.eslab.local.
    _sip._udp.testserver.eslab.local  SRV   2 20 5060 piper2.eslab.local.
    piper.eslab.local                 A     10.225.2.31
    piper2.eslab.local                A     10.225.2.32
"""
"""The records of the successful log."""

PIPERS = {"piper": "10.225.2.31", "piper2": "10.225.2.32"}


@pytest.fixture
def make_one(make_site):
    """A single server entry with a name."""

    def make(zone=ZONE, server="", **machines):
        return make_site(ONE_NAME.format(server=server), zone, **(machines or PIPERS))

    return make


# Description


def test_two_servers_without_dns(make_site):
    """S1: without DNS "the handset will attempt to register to both servers at the same time"."""
    site = make_site("""
        profile = "spectralink84"
        transport = "udp"
        [[group.server]]
        name = "active"
        address = "10.225.2.31"
        [[group.server]]
        name = "passive"
        address = "10.225.2.32"
    """)
    site.phone.registers()
    site.wait(1)
    assert lines("""
        0 REGISTER > active
        0 REGISTER > passive
    """) == site.sent("REGISTER")


def test_several_servers_by_dns(make_one):
    """S2: with DNS "to register to one server at a time instead of all of them at once"; the others when it fails."""
    site = make_one()
    site.phone.registers()
    site.wait(1)
    assert lines("0 REGISTER > piper") == site.sent("REGISTER")
    site.server("piper").falls_silent()
    site.begin()
    site.phone.registers()
    site.wait(10)
    assert lines("""
        0    REGISTER > piper
        0.5  REGISTER > piper
        1.5  REGISTER > piper
        3.5  REGISTER > piper
        7.5  REGISTER > piper2
        7.5  200 REGISTER < piper2
    """) == site.told("REGISTER")


# DNS Configuration, Step 1


def test_naptr_then_srv_then_a(make_one):
    """S4, S20: DNSnaptr and port 0: NAPTR, SRV, A; a target may end in a dot."""
    assert lines("""
        0 NAPTR testserver.eslab.local > dns
        0 SRV _sip._udp.testserver.eslab.local > dns
        0 A piper.eslab.local > dns
        0 A piper2.eslab.local > dns
    """) == make_one().questions


@pytest.mark.parametrize(
    ("zone", "questions"),
    [
        (
            "_sip._udp.testserver.eslab.local SRV 1 10 5060 piper.eslab.local.\npiper.eslab.local A 10.225.2.31",
            """
            0 NAPTR testserver.eslab.local > dns
            0 SRV _sip._udp.testserver.eslab.local > dns
            0 A piper.eslab.local > dns
            """,
        ),
        (
            "testserver.eslab.local A 10.225.2.31",
            """
            0 NAPTR testserver.eslab.local > dns
            0 SRV _sip._udp.testserver.eslab.local > dns
            0 A testserver.eslab.local > dns
            """,
        ),
    ],
    ids=["no NAPTR", "no NAPTR and no SRV"],
)
def test_until_one_succeeds(make_one, zone, questions):
    """S4, S17, S22: without NAPTR records the UDP name of SRV is asked for, and no other; without those the name itself."""
    site = make_one(zone)
    assert lines(questions) == site.questions
    site.phone.registers()
    site.wait(1)
    assert lines("0 REGISTER > piper") == site.sent("REGISTER")


@pytest.mark.parametrize(("transport", "name"), [("udp", "_sip._udp"), ("tcp", "_sip._tcp"), ("tls", "_sips._tcp")])
def test_another_transport_skips_naptr(make_one, transport, name):
    """S5, S10, S11: "skip the attempt to query for a DNS NAPTR record": SRV for that transport, then A."""
    site = make_one("testserver.eslab.local A 10.225.2.31", f'transport = "{transport}"')
    assert lines(f"""
        0 SRV {name}.testserver.eslab.local > dns
        0 A testserver.eslab.local > dns
    """) == site.questions


def test_a_port_means_a_only(make_one):
    """S6: "The only lookup will be an A record"."""
    site = make_one("testserver.eslab.local A 10.225.2.31", "port = 5060")
    assert lines("0 A testserver.eslab.local > dns") == site.questions


@pytest.mark.parametrize(("transport", "port"), [("udp", 5060), ("tcp", 5060), ("tls", 5061)])
def test_default_ports(make_one, transport, port):
    """S7, X10: no port from the configuration and none from DNS: 5060 for UDP and TCP, 5061 for TLS."""
    site = make_one("testserver.eslab.local A 10.225.2.31", f'transport = "{transport}"')
    assert [f"10.225.2.31:{port};{transport}"] == [str(candidate) for _, candidate in site.group.candidates()]


# Option 1, Option 2


def test_priority_then_weight(make_one):
    """S9, X7: "a lower priority number means the record has higher priority"; of two with the same, the higher weight."""
    site = make_one("""
        _sip._udp.testserver.eslab.local SRV 2 90 5060 c.eslab.local
        _sip._udp.testserver.eslab.local SRV 1 10 5060 b.eslab.local
        _sip._udp.testserver.eslab.local SRV 1 20 5060 a.eslab.local
        a.eslab.local A 10.225.2.31
        b.eslab.local A 10.225.2.32
        c.eslab.local A 10.225.2.33
    """)
    assert ["10.225.2.31", "10.225.2.32", "10.225.2.33"] == [candidate.address for _, candidate in site.group.candidates()]


def test_the_port_of_srv(make_one):
    """S14: "An Avaya CS1K SIP environment uses a default of port of 5070"."""
    site = make_one("""
        _sip._udp.testserver.eslab.local SRV 0 10 5070 mysipserver.eslab.local
        mysipserver.eslab.local A 10.225.2.31
    """, piper="10.225.2.31:5070")  # fmt: skip
    site.phone.registers()
    site.wait(1)
    assert lines("0 REGISTER > piper") == site.sent("REGISTER")


def test_the_samples():
    """S12: port 0, transport naptr, expires 3600."""
    server = load_profile("spectralink84").server
    assert (0, "dns-naptr", 3600) == (server["port"], server["transport"], server["expires"])


# Parsing the Log


def test_failed_registration_log(make_one):
    """S16, S17: NAPTR, SRV of UDP and A have no answer: "Registration failed ... 480 Temporarily not available", made by
    ourselves.
    """
    site = make_one("")
    assert lines("""
        0 NAPTR testserver.eslab.local > dns
        0 SRV _sip._udp.testserver.eslab.local > dns
        0 A testserver.eslab.local > dns
    """) == site.questions
    site.phone.registers()
    site.wait(1)
    assert "0 480 REGISTER > phone" in site.told_phone("REGISTER")


def test_negative_answers_are_cached(make_one):
    """S15: each record type's negative answer is kept, 36 s in the log: not asked again by the REGISTERs in between."""
    site = make_one("")
    for _ in range(5):
        site.phone.registers()
        site.wait(5)
    assert [] == site.asked()
    site.wait(12)
    assert 1 <= len(site.asked()) <= 3


def test_successful_registration_log(make_one):
    """S18: NAPTR (order 2), two SRV records, A for both targets before anything is sent; the second registration finds it
    all in the cache.
    """
    site = make_one()
    assert 4 == len(site.questions)
    assert ["10.225.2.31:5060;udp", "10.225.2.32:5060;udp"] == [str(candidate) for _, candidate in site.group.candidates()]
    for _ in range(2):
        site.phone.registers()
        site.wait(10)
    assert [] == site.asked()
    assert lines("""
        0  REGISTER > piper
        10 REGISTER > piper
    """) == site.sent("REGISTER")


def test_an_ip_address_is_returned_as_it_is(make_site):
    """S19: "returning passed in ipAddress '10.225.2.35'": no question at all."""
    site = make_site("""
        profile = "spectralink84"
        [[group.server]]
        name = "server1"
        address = "10.225.2.35"
    """)
    assert [] == site.questions
    site.phone.registers()
    site.wait(1)
    assert lines("0 REGISTER > server1") == site.sent("REGISTER")
