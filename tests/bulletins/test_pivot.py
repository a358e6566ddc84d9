"""Spectralink PIVOT, CS-18-09, "Call Server Redundancy": the statements of the bulletin, seen on the wire.

The preferred server is 172.29.102.138, the redundant one 172.29.102.139, as in the examples. Each test is one statement of
the section named above it, with the profiles `pivot` (servers in a preferred order) and `pivot-lb` (load balancing).
"""

from __future__ import annotations

import pytest

from sbc.observe.status import candidate_row, render
from tests.bulletins.wire import lines

TWO_ADDRESSES = """
    profile = "pivot"

    [[group.server]]
    name = "preferred"
    address = "172.29.102.138"

    [[group.server]]
    name = "redundant"
    address = "172.29.102.139"
"""

THREE_ADDRESSES = TWO_ADDRESSES + """
    [[group.server]]
    name = "third"
    address = "172.29.102.140"
"""

FOUR_A_NAMES = """
    profile = "pivot-lb"

    [[group.server]]
    name = "pool"
    address = "fourAnames.TestDomain.local"
    port = 5060
"""

FOUR_A_RECORDS = """
    fourAnames.TestDomain.local A 172.29.102.140
    fourAnames.TestDomain.local A 172.29.102.139
    fourAnames.TestDomain.local A 172.29.102.138
    fourAnames.TestDomain.local A 172.29.102.141
"""

POOL = {
    "pbx140": "172.29.102.140", "pbx139": "172.29.102.139", "pbx138": "172.29.102.138", "pbx141": "172.29.102.141"
}  # fmt: skip


@pytest.fixture
def site(make_site):
    """A preferred and a redundant server."""
    return make_site(TWO_ADDRESSES)


@pytest.fixture
def pool(make_site):
    """Four servers of equal standing."""
    return make_site(FOUR_A_NAMES, FOUR_A_RECORDS, **POOL)


def display(site) -> list[str]:
    """The candidate servers as the phone shows them."""
    group = site.group.describe(site.clock.seconds())
    return [candidate_row(candidate) for server in group["servers"] for candidate in server["candidates"]]


def where_a_call_goes(site) -> str:
    """The server that gets, and answers, a new call now."""
    site.wire.seen.clear()
    site.phone.hangs_up(site.call())
    site.wait(0)
    return site.with_servers("INVITE")[0].target


# Call Server Redundancy


def test_registers_at_the_most_preferred_server_only(site):
    """V1, V2, V11: "the phone will register to the most preferred server", and to no other one."""
    site.phone.registers()
    site.wait(3600)
    assert {"preferred"} == {seen.target for seen in site.with_servers("REGISTER") if seen.source == "sbc"}


def test_failover_of_a_call(site):
    """V2, V24, V25: the server is silent when the phone calls; the redundant one has answered its OPTIONS and takes over, for
    the registration as well.
    """
    site.phone.registers()
    site.wait(1)
    site.begin()
    site.server("preferred").falls_silent()
    site.call()
    site.wait(10)
    assert lines("""
        0    INVITE > preferred
        0.5  INVITE > preferred
        1.5  INVITE > preferred
        3.5  INVITE > preferred
        7.5  REGISTER > redundant
        7.5  INVITE > redundant
    """) == site.sent("INVITE", "REGISTER")


def test_failback_unregisters_first(make_site):
    """V3, V22, V26, X3: within about five minutes of its recovery the preferred server is found by OPTIONS; the phone unregisters
    from the active server, then registers at the preferred one.
    """
    site = make_site(TWO_ADDRESSES + '\n    [credentials]\n    file = "phones.htdigest"')
    for server in site.servers.values():
        server.asks_for_passwords()
    site.phone.registers()
    site.wait(1)
    site.server("preferred").closes_its_port()
    site.call()
    site.wait(10)
    assert ("redundant", True) == (site.working(), bool(site.server("redundant").registered))
    site.server("preferred").recovers()
    site.begin()
    site.wait(310)
    moves = [line.split(maxsplit=1)[1] for line in site.sent("REGISTER")]
    back = moves.index("REGISTER > preferred")
    assert "de-REGISTER > redundant" in moves[:back]
    assert "REGISTER > redundant" not in moves[back:]
    assert ("preferred", {}) == (site.working(), site.server("redundant").registered)


# Identifying the redundant call servers in the phone


def test_serverspecs(make_site):
    """V8, V9: each spec is an SRV name, an A name or an IP address; the candidates are appended in their order."""
    site = make_site("""
        profile = "pivot"
        [[group.server]]
        name = "spec1"
        address = "TestDomain.local"
        [[group.server]]
        name = "spec2"
        address = "two.TestDomain.local"
        port = 5060
        [[group.server]]
        name = "spec3"
        address = "172.29.102.138"
    """, """
        _sip._udp.TestDomain.local  SRV 1 0 5060 SIPServer1.TestDomain.local
        _sip._udp.TestDomain.local  SRV 2 0 5060 SIPServer2.TestDomain.local
        SIPServer1.TestDomain.local A 172.29.102.1
        SIPServer2.TestDomain.local A 172.29.102.2
        two.TestDomain.local        A 172.29.102.3
        two.TestDomain.local        A 172.29.102.4
    """)  # fmt: skip
    expected = ["172.29.102.1", "172.29.102.2", "172.29.102.3", "172.29.102.4", "172.29.102.138"]
    assert expected == [candidate.address for _, candidate in site.group.candidates()]


def test_the_domain_only_makes_the_uri(site):
    """V7, V10: no DNS question for the domain; the address-of-record is sip:extension@domain at every server."""
    assert [] == site.questions
    site.phone.registers()
    site.wait(1)
    [register] = [seen.message for seen in site.with_servers("REGISTER") if seen.source == "sbc"]
    assert "sip:alice@pbx.example" == register.to.uri_text
    assert "sip:pbx.example" == register.request_uri


# Registration status


def test_registration_and_candidates_are_shown(site):
    """V34: the registration, and the list of candidate servers; here by `sbc status`."""
    site.phone.registers()
    site.wait(1)
    shown = render(site.appliance.describe(), 0)
    [line] = [line for line in shown.splitlines() if "sip:alice@pbx.example" in line]
    assert "preferred registered" in line
    assert "P1:1 172.29.102.138 up*" in shown


# Call server status


def test_registration_is_refreshed_every_five_minutes(site):
    """V15: "at least every 5 minutes", whatever the phone asks for."""
    site.phone.registers()
    site.wait(0)
    answer = [seen.message for seen in site.wire.seen if seen.target == "phone"][-1]
    assert ";expires=300" in answer.get("Contact")
    site.begin()
    site.wait(3600)
    times = [seen.at for seen in site.with_servers("REGISTER") if seen.source == "sbc"]
    assert max(later - earlier for earlier, later in zip(times, times[1:], strict=False)) <= 300
    assert len(times) >= 12


@pytest.mark.parametrize("status", [403, 404])
def test_failed_account(site, status):
    """V16, V23: "if the response to the REGISTER request claims the SIP account does not exist (404) or that the authentication
    credentials are bad", that account has failed there, and the next server is asked.
    """
    site.server("preferred").answers("REGISTER", status)
    site.phone.registers()
    site.wait(0)
    assert lines(f"""
        0 REGISTER > preferred
        0 {status} REGISTER < preferred
        0 REGISTER > redundant
        0 200 REGISTER < redundant
    """) == site.told("REGISTER")


@pytest.mark.parametrize(("status", "state"), [(200, "up"), (404, "up"), (499, "up"), (408, "down"), (503, "down")])
def test_up_and_down(site, status, state):
    """V17, V18: up when the answer to OPTIONS is below 500, down when it is 408 or 503."""
    site.server("redundant").answers("OPTIONS", status)
    site.wait(301)
    assert f"P2:1 172.29.102.139 {state}" == display(site)[1]


def test_down_when_silent(site):
    """V18, V19, V21: no answer to an OPTIONS for 64*T1, for which the phone makes a 408 of its own: down."""
    site.server("redundant").falls_silent()
    site.wait(301)
    assert "P2:1 172.29.102.139 up" == display(site)[1]
    site.wait(33)
    assert "P2:1 172.29.102.139 down" == display(site)[1]


def test_frozen_while_the_network_is_down(site):
    """V20, X11: "the phone will not update server status nor evaluate the failover algorithm" and "remain frozen on the current
    call server so that it can pick up where it left off".
    """
    site.phone.registers()
    site.wait(1)
    site.group.set_link(False, site.clock.seconds())
    site.server("preferred").falls_silent()
    site.server("redundant").falls_silent()
    site.begin()
    site.wait(1000)
    assert [] == site.sent("OPTIONS")
    assert "preferred" == site.working()
    for server in site.servers.values():
        server.recovers()
    site.group.set_link(True, site.clock.seconds())
    assert ["P1:1 172.29.102.138 up*", "P2:1 172.29.102.139 up"] == display(site)


# The list of candidate call servers


def test_candidates_are_asked_every_five_minutes(site):
    """V21: OPTIONS to each candidate "about every five minutes"."""
    site.begin()
    site.wait(620)
    times = {name: [seen.at - site.wire.began for seen in site.with_servers("OPTIONS") if seen.target == name]
             for name in site.servers}  # fmt: skip
    for name, offset in (("preferred", 299), ("redundant", 299.1)):
        assert [pytest.approx(offset), pytest.approx(offset + 300)] == times[name]


def test_known_dead_candidates_cost_no_time(make_site):
    """V22: the list is used "for speeding up the failover process when multiple candidates are available and some are
    inoperable".
    """
    site = make_site(THREE_ADDRESSES)
    site.server("redundant").falls_silent()
    site.wait(340)
    site.phone.registers()
    site.wait(1)
    site.server("preferred").closes_its_port()
    site.begin()
    site.call()
    assert lines("""
        0 INVITE > preferred
        0 INVITE > third
    """) == site.sent("INVITE")


@pytest.mark.parametrize("method", ["REGISTER", "INVITE", "OPTIONS"])
def test_each_of_three_requests_can_tell(site, method):
    """V23, V24: it stays "as long as it is responding to SIP Registrations, Invites, and SIP Option requests"."""
    site.phone.registers()
    site.wait(1)
    assert "preferred" == where_a_call_goes(site)
    site.phone.unregisters()
    site.server("preferred").ignores(method)
    {"REGISTER": site.phone.registers, "INVITE": site.call, "OPTIONS": lambda: None}[method]()
    site.wait(340 if method == "OPTIONS" else 40)
    assert "redundant" == site.working()


# The redundant environment


def test_redundancy_is_set_up_when_all_are_up(make_site):
    """V27: it is when a phone is registered, and every candidate has been pinged and found up; two of three are not enough."""
    site = make_site(THREE_ADDRESSES)

    def is_set_up() -> bool:
        return site.appliance.describe()["groups"][0]["redundancy_set_up"]

    assert not is_set_up()
    site.phone.registers()
    site.wait(1)
    assert is_set_up()
    site.server("third").closes_its_port()
    site.wait(301)
    assert not is_set_up()


# Preferred server examples


def test_method_1_ip_addresses(site):
    """V12, V32: `TestDomain.local; 172.29.102.138; 172.29.102.139`."""
    site.phone.registers()
    site.wait(1)
    assert ["P1:1 172.29.102.138 up*", "P2:1 172.29.102.139 up"] == display(site)


def test_method_2_a_names(make_site):
    """V12, V32: `TestDomain.local; SIPServer1.TestDomain.local; SIPServer2.TestDomain.local`."""
    site = make_site("""
        profile = "pivot"
        [[group.server]]
        name = "one"
        address = "SIPServer1.TestDomain.local"
        [[group.server]]
        name = "two"
        address = "SIPServer2.TestDomain.local"
    """, """
        SIPServer1.TestDomain.local A 172.29.102.138
        SIPServer2.TestDomain.local A 172.29.102.139
    """, preferred="172.29.102.138", redundant="172.29.102.139")  # fmt: skip
    assert ["P1:1 172.29.102.138 up*", "P2:1 172.29.102.139 up"] == display(site)


def test_method_3_srv_records(make_site):
    """V12, V13, V32: `TestDomain.local`: one rank, and the preference is that of the SRV priority."""
    site = make_site("""
        profile = "pivot"
        [[group.server]]
        name = "domain"
        address = "TestDomain.local"
    """, """
        _sip._udp.TestDomain.local  SRV 2 0 5060 SIPServer2.TestDomain.local
        _sip._udp.TestDomain.local  SRV 1 0 5060 SIPServer1.TestDomain.local
        SIPServer1.TestDomain.local A 172.29.102.138
        SIPServer2.TestDomain.local A 172.29.102.139
    """, preferred="172.29.102.138", redundant="172.29.102.139")  # fmt: skip
    assert ["P1:1 172.29.102.138 up*", "P1:2 172.29.102.139 up"] == sorted(display(site))


# Method 4: Load balancing


def test_method_4_four_a_names(pool):
    """V4, V14, V32: `TestDomain.local; fourAnames.TestDomain.local`: all P1:1, in the order of the answer; the first is active."""
    assert [
        "P1:1 172.29.102.140 up*",
        "P1:1 172.29.102.139 up",
        "P1:1 172.29.102.138 up",
        "P1:1 172.29.102.141 up",
    ] == display(pool)


def test_no_failback(pool):
    """V4, V30: the phone fails over to the next available server, and "would not failback to the first server should it become
    available again".
    """
    pool.phone.registers()
    pool.wait(1)
    pool.server("pbx140").closes_its_port()
    assert "pbx140" == where_a_call_goes(pool)
    assert "pbx139" == where_a_call_goes(pool)
    pool.server("pbx140").recovers()
    pool.wait(3600)
    assert "pbx139" == where_a_call_goes(pool)


def test_the_next_available_goes_round(pool):
    """V30: from the last of the list to its first, over one that is down."""
    for name in ("pbx140", "pbx139", "pbx138"):
        pool.server(name).closes_its_port()
        pool.call()
    assert "pbx141" == pool.working()
    pool.server("pbx139").recovers()
    pool.wait(301)
    assert "pbx141" == where_a_call_goes(pool)
    pool.server("pbx141").closes_its_port()
    pool.call()
    assert "pbx139" == where_a_call_goes(pool)


def test_a_new_answer_moves_nobody(make_site):
    """V28, V29: the list is rebuilt about every two hours; servers that are new in it appear, removed ones vanish, the order is
    another; "the phone does not register to a different server".
    """
    site = make_site(FOUR_A_NAMES, FOUR_A_RECORDS, **POOL, pbx142="172.29.102.142")
    site.dns.holds("""
        fourAnames.TestDomain.local A 172.29.102.141
        fourAnames.TestDomain.local A 172.29.102.142
        fourAnames.TestDomain.local A 172.29.102.140
        fourAnames.TestDomain.local A 172.29.102.139
    """)
    site.phone.registers()
    site.wait(1)
    site.begin()
    site.wait(7300)
    assert any("A fouranames.testdomain.local" in line for line in site.asked())
    assert {"172.29.102.141", "172.29.102.142", "172.29.102.140", "172.29.102.139"} == {
        candidate.address for _, candidate in site.group.candidates()
    }
    assert "pbx140" == site.working()
    assert {"pbx140"} == {seen.target for seen in site.with_servers("REGISTER") if seen.source == "sbc"}
