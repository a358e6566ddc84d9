"""RFC 3263: which questions, in which order, and what their answers lead to."""

from collections import Counter
from dataclasses import dataclass

import pytest

from sbc.location.procedure import DEFAULT_PORTS, MOST_QUESTIONS, address_list, descending, locate, srv_order, weighted_share
from sbc.location.records import Address, Naptr, Question, Srv


@dataclass
class Server:
    """What the configuration says."""

    address: str = "pbx.example"
    port: int = 0
    transport: str = "dns-naptr"
    naptr_build: str = "udp"


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


def walk(server, zone=ZONE, srv_order=descending, families=("A", "AAAA"), **arguments):
    """Ask round after round until nothing is wanted. Returns the candidates and the questions in the order asked."""
    known, asked = {}, []
    while True:
        located = locate(server, known.get, srv_order=srv_order, families=families, **arguments)
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


NAME = "none.example"
UDP, TCP, TLS = f"SRV _sip._udp.{NAME}", f"SRV _sip._tcp.{NAME}", f"SRV _sips._tcp.{NAME}"
NAPTR, A = f"NAPTR {NAME}", f"A {NAME}"


@pytest.mark.parametrize(
    ("rules", "port", "transport", "naptr_build", "expected"),
    [
        ("S4 Y11 S17 P14", 0, "dns-naptr", "udp", [NAPTR, UDP, A]),
        ("Y21", 0, "dns-naptr", "tcp", [NAPTR, TCP, A]),
        ("Y21", 0, "dns-naptr", "tls", [NAPTR, TLS, A]),
        ("Y20 S5", 0, "udp", "tls", [UDP, A]),
        ("Y20 S5", 0, "tcp", "udp", [TCP, A]),
        ("Y20 S5", 0, "tls", "udp", [TLS, A]),
        ("S11 S5", 0, "tcp-preferred", "udp", [TCP, A]),
        ("Y10 S6 P14", 5060, "dns-naptr", "tcp", [A]),
        ("S6 P14", 5060, "udp", "udp", [A]),
        ("S6 P14", 5070, "tcp", "udp", [A]),
        ("S6 P14", 5061, "tls", "udp", [A]),
        ("S6 S11", 5060, "tcp-preferred", "udp", [A]),
    ],
)
def test_these_questions_leave_and_no_other(rules, port, transport, naptr_build, expected):
    """S16: to the very end, because none of them has an answer."""
    assert ([], expected) == walk(Server(NAME, port, transport, naptr_build), {}, families=("A",))


@pytest.mark.parametrize(
    ("transport", "naptr_build", "candidate"),
    [
        ("udp", "udp", "192.0.2.7:5060;udp"),
        ("tcp", "udp", "192.0.2.7:5060;tcp"),
        ("tls", "udp", "192.0.2.7:5061;tls"),
        ("dns-naptr", "udp", "192.0.2.7:5060;udp"),
        ("dns-naptr", "tcp", "192.0.2.7:5060;tcp"),
        ("dns-naptr", "tls", "192.0.2.7:5061;tls"),
    ],
)
def test_port_when_dns_names_none(transport, naptr_build, candidate):
    """Y12, S7, X10: 5060 for UDP and TCP, 5061 for TLS. naptr_build is also the transport when SRV gives nothing."""
    zone = {"A bare.example": [Address("192.0.2.7")]}
    assert [candidate] == walk(Server("bare.example", 0, transport, naptr_build), zone)[0]
    assert {"udp": 5060, "tcp": 5060, "tls": 5061} == DEFAULT_PORTS


def test_naptr_build_is_not_asked_when_naptr_answers():
    """Y21: only consulted when NAPTR is empty."""
    asked = walk(Server(naptr_build="tls"))[1]
    assert "SRV _sip._tcp.pbx.example" in asked
    assert "SRV _sips._tcp.pbx.example" not in asked


def test_tcp_preferred_is_the_same_address_over_udp_next():
    """S11: UDP if TCP fails. Priority and weight are those of the record."""
    candidates = locate(
        Server(transport="tcp-preferred"), lambda q: ZONE.get(str(q), []), srv_order=descending, families=("A",)
    ).candidates
    assert [
        "62.10.1.20:5070;tcp", "62.10.1.20:5070;udp", "62.10.1.10:5060;tcp", "62.10.1.10:5060;udp",
    ] == [str(candidate) for candidate in candidates]
    assert [2, 2, 1, 1] == [candidate.weight for candidate in candidates]
    assert ["192.0.2.1:5060;tcp", "192.0.2.1:5060;udp"] == walk(Server("192.0.2.1", 0, "tcp-preferred"))[0]


def test_several_addresses_in_one_field():
    """S13: "10.225.2.66, eslab.local" with port 0 and DNSnaptr; the first needs no question (S19)."""
    zone = {
        "SRV _sip._udp.eslab.local": [Srv(0, 10, 5070, "mysipserver.eslab.local.")],
        "A mysipserver.eslab.local": [Address("10.225.2.67")],
    }
    server = Server("10.225.2.66, eslab.local")
    candidates, asked = walk(server, zone, families=("A",))
    assert ["10.225.2.66:5060;udp", "10.225.2.67:5070;udp"] == candidates
    assert ["NAPTR eslab.local", "SRV _sip._udp.eslab.local", "A mysipserver.eslab.local"] == asked
    located = locate(server, lambda q: zone.get(str(q), []), srv_order=descending)
    assert [0, 1] == [candidate.place for candidate in located.candidates]
    assert ["a.example"] == address_list("a.example")


def test_a_name_is_asked_although_another_one_is_waited_for():
    """S13: the second name of a list does not wait for the first."""
    located = locate(Server("a.example, b.example", 5060, "udp"), {}.get, srv_order=descending, families=("A",))
    assert ["A a.example", "A b.example"] == [str(question) for question in located.wanted]


@pytest.mark.parametrize("transport", ["dns-naptr", "udp", "tls"])
def test_name_of_an_srv_record(transport):
    """V8: a serverspec may be an SRV name. It is asked for as it is, and says the transport itself."""
    candidates, asked = walk(Server("_sip._tcp.pbx.example", 0, transport), families=("A",))
    assert ["62.10.1.20:5070;tcp", "62.10.1.10:5060;tcp"] == candidates
    assert "SRV _sip._tcp.pbx.example" == asked[0]
    assert ([], ["SRV _sip._tcp.none.example"]) == walk(Server("_sip._tcp.none.example", 0, transport), {})


def test_no_address_is_asked_for_a_service_that_is_not_there():
    """RFC 2782: "the service is decidedly not available at this domain"."""
    zone = {f"SRV _sip._udp.{NAME}": [Srv(0, 0, 0, "")], f"A {NAME}": [Address("192.0.2.1")]}
    assert ([], [UDP]) == walk(Server(NAME, 0, "udp"), zone, families=("A",))
    assert ([], [NAPTR, UDP]) == walk(Server(NAME), zone, families=("A",))


def test_srv_without_usable_targets_falls_to_the_address():
    """D17: SRV failure to A."""
    zone = {UDP: [Srv(1, 0, 5060, "gone.example")], A: [Address("192.0.2.1")]}
    assert ["192.0.2.1:5060;udp"] == walk(Server(NAME, 0, "udp"), zone)[0]


def test_naptr_to_an_address():
    """RFC 3263 4.1, flag "a": no SRV, the default port of the service's transport."""
    zone = {NAPTR: [Naptr(1, 1, "A", "SIPS+D2T", "host.example")], "A host.example": [Address("192.0.2.9")]}
    assert (["192.0.2.9:5061;tls"], [NAPTR, "A host.example"]) == walk(Server(NAME), zone, families=("A",))


def test_naptr_for_a_transport_that_we_have_no_socket_for():
    """RFC 3263 4.1: services that the client does not support are discarded."""
    candidates, asked = walk(Server(), families=("A",), transports=("udp",))
    assert ["62.10.1.10:5060;udp", "62.10.1.20:5060;udp"] == candidates
    assert "SRV _sip._tcp.pbx.example" not in asked


def test_naptr_without_service_as_in_the_log_of_the_bulletin():
    """S18: service '' and replacement _sip._udp...: the name says the transport."""
    zone = {NAPTR: [Naptr(2, 10, "S", "", "_sip._udp.none.example")], UDP: [Srv(1, 10, 5060, "192.0.2.1")]}
    assert ["192.0.2.1:5060;udp"] == walk(Server(NAME), zone)[0]


def test_regexp_of_naptr_is_ignored_and_mentioned():
    """Y40: "regexp always empty"."""
    naptr = Naptr(1, 1, "s", "SIP+D2T", "_sip._tcp.none.example", "!^.*$!sip:x@y!")
    zone = {NAPTR: [naptr], TCP: [Srv(1, 1, 0, "192.0.2.1")]}
    lines = []
    assert ["192.0.2.1:5060;tcp"] == walk(Server(NAME), zone, tell=lines.append)[0]
    assert any("its regexp is ignored" in line for line in lines)
    zone = {NAPTR: [Naptr(1, 1, "s", "SIP+D2T", "", "!^.*$!sip:x@y!")]}
    assert ([], [NAPTR, UDP, A]) == walk(Server(NAME), zone, families=("A",))


def test_naptr_circle_is_left_at_once():
    """Y41: nobody is asked twice."""
    zone = {"NAPTR a.example": [Naptr(1, 1, "", "", "b.example")], "NAPTR b.example": [Naptr(1, 1, "", "", "A.example.")]}
    assert ["NAPTR a.example", "NAPTR b.example", "SRV _sip._udp.a.example", "A a.example"] == walk(
        Server("a.example"), zone, families=("A",)
    )[1]


def test_questions_for_one_name_end():
    """A zone with a thousand targets does not make us ask a thousand questions."""
    zone = {UDP: [Srv(1, 1, 5060, f"host{number}.example") for number in range(1000)]}
    assert MOST_QUESTIONS == len(walk(Server(NAME, 0, "udp"), zone)[1])


def test_a_part_of_the_list_is_settled_when_its_first_cannot_change():
    """The second target may be waited for, the first not: whoever is first becomes the working server."""
    zone = {UDP: [Srv(1, 0, 5060, "a.example"), Srv(2, 0, 5060, "b.example")]}

    def settled(**more):
        known = {**zone, **{f"A {name}.example": records for name, records in more.items()}}
        located = locate(Server(NAME, 0, "udp"), lambda q: known.get(str(q)), srv_order=descending, families=("A",))
        return len(located.candidates), located.settled

    assert (1, True) == settled(a=[Address("192.0.2.1")])
    assert (1, False) == settled(b=[Address("192.0.2.2")])
    assert (1, True) == settled(a=[], b=[Address("192.0.2.2")])


def test_order_by_name():
    """X7: srv_weight = descending | rfc2782."""
    records = [Srv(0, 1, 5060, "small"), Srv(0, 2, 5060, "big")]
    assert ["big", "small"] == [record.target for record in srv_order("descending", "x")(records)]
    firsts = {srv_order("rfc2782", f"appliance {number}")(records)[0].target for number in range(50)}
    assert {"big", "small"} == firsts
