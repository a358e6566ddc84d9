"""Whatever DNS answers: the walk ends, asks what it may and no more, and gives candidates that our sockets can reach."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from sbc.location.procedure import MOST_QUESTIONS, SRV_PREFIXES, TRANSPORTS, descending, locate
from sbc.location.records import Address, Naptr, Question, Srv

HOSTS = ["pbx.example", "a.example", "b.example", "", "192.0.2.7"]
SERVICES = [f"{prefix}.{host}" for prefix in SRV_PREFIXES.values() for host in HOSTS[:2]]
NAMES = st.sampled_from(HOSTS + SERVICES)
NUMBER = st.integers(0, 3)

NAPTRS = st.builds(
    Naptr,
    NUMBER,
    NUMBER,
    st.sampled_from(["", "s", "S", "a", "u", "p"]),
    st.sampled_from(["SIP+D2U", "sip+d2t", "SIPS+D2T", "SIP+D2S", "E2U+sip", ""]),
    NAMES,
    st.sampled_from(["", "!^.*$!sip:x@y!"]),
)
SRVS = st.builds(Srv, NUMBER, NUMBER, st.sampled_from([0, 5060, 5070]), NAMES)
ADDRESSES = st.builds(Address, st.sampled_from(["192.0.2.1", "192.0.2.2", "2001:db8::1"]))
KINDS = {"NAPTR": NAPTRS, "SRV": SRVS, "A": ADDRESSES, "AAAA": ADDRESSES}


@dataclass
class Server:
    address: str
    port: int
    transport: str
    naptr_build: str


SERVERS = st.builds(
    Server,
    st.sampled_from(["pbx.example", "192.0.2.9", "a.example, pbx.example", "_sip._tcp.pbx.example"]),
    st.sampled_from([0, 0, 5070]),
    st.sampled_from([*TRANSPORTS, "tcp-preferred", "dns-naptr", "dns-naptr"]),
    st.sampled_from(TRANSPORTS),
)


@given(SERVERS, st.data(), st.lists(st.sampled_from(TRANSPORTS), min_size=1))
def test_any_zone(server, data, transports):
    """Y10, S5, S6, S19, Y41: for every server and every zone."""
    zone = {}

    def lookup(question):
        if question not in zone:
            zone[question] = data.draw(st.lists(KINDS[question.rrtype], max_size=3), label=str(question))
        return zone[question]

    located = locate(server, lookup, srv_order=descending, transports=transports)
    asked = {question.rrtype for question in located.used}
    assert () == located.wanted and located.settled
    assert set(zone) == set(located.used)
    assert len(located.used) <= 2 * MOST_QUESTIONS
    assert len(set(located.candidates)) == len(located.candidates)
    if server.port:
        assert asked <= {"A", "AAAA"}
        assert {server.port} >= {candidate.port for candidate in located.candidates}
    if server.transport != "dns-naptr":
        assert "NAPTR" not in asked
    if server.address == "192.0.2.9":
        assert set() == asked and located.candidates
    known = {"udp", "tcp"} if server.transport == "tcp-preferred" else {server.transport}
    if server.transport == "dns-naptr":
        known = {*transports, server.naptr_build, "udp"}
    if not server.address.startswith("_"):
        assert {candidate.transport for candidate in located.candidates} <= known


@given(SERVERS, st.data())
def test_answers_may_come_in_any_order(server, data):
    """Round after round, with only some of the answers each time: the end is the same as with all of them at once."""
    zone: dict[Question, list] = {}

    def whole(question):
        if question not in zone:
            zone[question] = data.draw(st.lists(KINDS[question.rrtype], max_size=2), label=str(question))
        return zone[question]

    known: dict[Question, list] = {}
    while True:
        located = locate(server, known.get, srv_order=descending)
        if not located.wanted:
            break
        answered = data.draw(st.sampled_from(located.wanted), label="answered")
        known[answered] = whole(answered)
    at_once = locate(server, whole, srv_order=descending)
    assert [str(candidate) for candidate in at_once.candidates] == [str(candidate) for candidate in located.candidates]
