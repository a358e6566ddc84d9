"""RFC 3263: which questions, in which order, and what their answers lead to."""

from collections import Counter
from dataclasses import dataclass

import pytest

from sbc.location.procedure import descending, locate, weighted_share
from sbc.location.records import Address, Naptr, Question, Srv


@dataclass
class Server:
    """What the configuration says."""

    address: str = "pbx.example"
    port: int = 0
    transport: str = "dns-naptr"


ZONE = {
    "NAPTR pbx.example": [
        Naptr(100, 50, "s", "SIP+D2U", "_sip._udp.pbx.example"),
        Naptr(90, 50, "s", "SIP+D2T", "_sip._tcp.pbx.example"),
    ],
    "SRV _sip._tcp.pbx.example": [Srv(0, 1, 5060, "server1.pbx.example."), Srv(0, 2, 5070, "server2.pbx.example.")],
    "SRV _sip._udp.pbx.example": [Srv(20, 0, 0, "server2.pbx.example"), Srv(10, 0, 0, "server1.pbx.example")],
    "SRV _sips._tcp.pbx.example": [Srv(1, 0, 0, "server1.pbx.example")],
    "A server1.pbx.example": [Address("62.10.1.10")],
    "A server2.pbx.example": [Address("62.10.1.20")],
    "AAAA server2.pbx.example": [Address("2001:db8::20")],
    "A pbx.example": [Address("62.10.1.30"), Address("62.10.1.10"), Address("62.10.1.20")],
}


def walk(server, zone=ZONE, srv_order=descending, families=("A", "AAAA")):
    """Ask round after round until nothing is wanted. Returns the candidates and the questions in the order asked."""
    known, asked = {}, []
    while True:
        located = locate(server, known.get, srv_order=srv_order, families=families)
        if not located.wanted:
            return [str(candidate) for candidate in located.candidates], [str(question) for question in asked]
        asked += located.wanted
        known.update({question: zone.get(str(question), []) for question in located.wanted})


@pytest.mark.parametrize(
    ("server", "candidate"),
    [
        (Server("192.0.2.1", 0, "udp"), "192.0.2.1:5060;udp"),
        (Server("192.0.2.1", 0, "tcp"), "192.0.2.1:5060;tcp"),
        (Server("192.0.2.1", 0, "tls"), "192.0.2.1:5061;tls"),
        (Server("192.0.2.1", 5070, "dns-naptr"), "192.0.2.1:5070;udp"),
        (Server("::1", 0, "dns-naptr"), "[::1]:5060;udp"),
    ],
)
def test_ip_address_needs_no_question(server, candidate):
    """S19, S7, Y12: returned as is, with the default port of its transport."""
    assert ([candidate], []) == walk(server)


@pytest.mark.parametrize("transport", ["dns-naptr", "udp", "tcp", "tls"])
def test_explicit_port_asks_addresses_only(transport):
    """Y10, P14, S6: no NAPTR or SRV packet may leave."""
    candidates, asked = walk(Server(port=5080, transport=transport))
    assert ["A pbx.example", "AAAA pbx.example"] == asked
    spoken = "udp" if transport == "dns-naptr" else transport
    assert [f"62.10.1.{last}:5080;{spoken}" for last in (30, 10, 20)] == candidates


def test_addresses_keep_the_order_of_the_answer():
    """V14: keep answer order, do not sort; all of priority 1."""
    located = locate(
        Server(port=5060), lambda q: ZONE.get(str(q), []), srv_order=descending, families=("A",)
    )
    assert [("62.10.1.30", 1), ("62.10.1.10", 1), ("62.10.1.20", 1)] == [
        (c.address, c.priority) for c in located.candidates
    ]


def test_yealink_appendix():
    """Y9, Y40, Y42: order 90 beats 100, so TCP; SRV weight 2 before 1, so 62.10.1.20 is picked first; its own port."""
    candidates, asked = walk(Server(), families=("A",))
    assert ["62.10.1.20:5070;tcp", "62.10.1.10:5060;tcp"] == candidates
    assert [
        "NAPTR pbx.example", "SRV _sip._tcp.pbx.example", "A server2.pbx.example", "A server1.pbx.example",
    ] == asked


def test_transport_given_skips_naptr():
    """S5: SRV for that transport, lowest priority first; no port in it: the default."""
    candidates, asked = walk(Server(transport="udp"))
    assert ["62.10.1.10:5060;udp", "62.10.1.20:5060;udp", "[2001:db8::20]:5060;udp"] == candidates
    assert not any(question.startswith("NAPTR") for question in asked)
    assert ["62.10.1.10:5061;tls"] == walk(Server(transport="tls"))[0]


def test_priority_and_weight_stay_with_the_candidate():
    """V12: shown as P rank : priority."""
    located = locate(
        Server(transport="udp"), lambda q: ZONE.get(str(q), []), srv_order=descending, families=("A",)
    )
    assert [10, 20] == [candidate.priority for candidate in located.candidates]


def test_nothing_but_addresses():
    """S4, S17: NAPTR, then the UDP SRV name, then addresses, each of which is there or not."""
    zone = {"A bare.example": [Address("192.0.2.7")]}
    candidates, asked = walk(Server("bare.example"), zone)
    assert ["192.0.2.7:5060;udp"] == candidates
    assert [
        "NAPTR bare.example", "SRV _sip._udp.bare.example", "A bare.example", "AAAA bare.example",
    ] == asked


def test_nothing_at_all():
    """S16: the chain ends without a candidate, not in an error."""
    assert [] == walk(Server("none.example"), {})[0]


def test_naptr_that_leads_nowhere_falls_to_the_next_and_to_srv():
    """S22, and services that we do not speak."""
    zone = {
        "NAPTR pbx.example": [
            Naptr(1, 1, "s", "SIP+D2S", "_sip._sctp.pbx.example"),
            Naptr(2, 1, "u", "E2U+sip", "pbx.example"),
            Naptr(3, 1, "s", "SIPS+D2T", "_sips._tcp.gone.example"),
        ],
        "SRV _sip._udp.pbx.example": [Srv(1, 0, 5062, "192.0.2.8")],
    }
    candidates, asked = walk(Server(), zone)
    assert ["192.0.2.8:5062;udp"] == candidates
    assert "SRV _sips._tcp.gone.example" in asked
    assert "SRV _sip._sctp.pbx.example" not in asked


def test_naptr_preference_decides_within_an_order():
    zone = {
        "NAPTR pbx.example": [
            Naptr(1, 20, "s", "SIP+D2U", "_sip._udp.pbx.example"),
            Naptr(1, 10, "S", "sip+d2t", "_sip._tcp.pbx.example"),
        ],
        **{key: ZONE[key] for key in ZONE if not key.startswith("NAPTR")},
    }
    assert all(candidate.endswith(";tcp") for candidate in walk(Server(), zone)[0])


def test_naptr_without_flag_is_asked_again_on_its_replacement():
    """Y41."""
    zone = {"NAPTR pbx.example": [Naptr(1, 1, "", "", "more.example")], "NAPTR more.example": [
        Naptr(1, 1, "a", "SIP+D2T", "host.example")], "A host.example": [Address("192.0.2.9")]}
    assert ["192.0.2.9:5060;tcp"] == walk(Server(), zone)[0]


def test_naptr_loop_ends():
    """Y41 bounded: five names at most, then SRV."""
    zone = {"NAPTR pbx.example": [Naptr(1, 1, "", "", "pbx.example")]}
    assert [] == walk(Server(), zone)[0]
    chain = {f"NAPTR n{step}.example": [Naptr(1, 1, "", "", f"n{step + 1}.example")] for step in range(20)}
    asked = walk(Server("n0.example"), chain)[1]
    assert 5 == sum(question.startswith("NAPTR") for question in asked)


def test_srv_target_of_a_dot_is_no_service():
    """RFC 2782."""
    zone = {"SRV _sip._udp.pbx.example": [Srv(0, 0, 0, ".")]}
    assert [] == walk(Server(transport="udp"), zone)[0]


def test_one_candidate_is_listed_once():
    zone = {"SRV _sip._udp.pbx.example": [Srv(1, 0, 5060, "192.0.2.1"), Srv(2, 0, 5060, "192.0.2.1")]}
    assert ["192.0.2.1:5060;udp"] == walk(Server(transport="udp"), zone)[0]


def test_names_are_compared_without_case_and_final_dot():
    """S20."""
    assert Question("piper.eslab.local", "A") == Question.of("Piper.ESlab.local.", "A")


def test_families_limit_the_questions():
    asked = walk(Server(transport="udp"), families=("A",))[1]
    assert not any(question.startswith("AAAA") for question in asked)


def test_descending_weight():
    """Y42, S9."""
    records = [Srv(0, weight, 5060, f"host{weight}") for weight in (1, 50, 10)]
    assert [50, 10, 1] == [record.weight for record in descending(records)]


def test_weighted_share_follows_the_weights():
    """RFC 2782: over many appliances each record is first as often as its weight says."""
    records = [Srv(0, 75, 5060, "big"), Srv(0, 25, 5060, "small")]
    first = Counter(weighted_share(f"appliance {number}")(records)[0].target for number in range(2000))
    assert 0.70 < first["big"] / 2000 < 0.80


def test_weighted_share_is_stable_for_one_appliance():
    """A refresh with the same records, in whatever order, moves nobody."""
    records = [Srv(0, weight, 5060, f"host{weight}") for weight in (0, 10, 20, 30)]
    order = weighted_share("branch-42")
    assert order(records) == order(list(reversed(records)))
    assert sorted(records, key=repr) == sorted(order(records), key=repr)
