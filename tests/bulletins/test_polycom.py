"""Polycom, Technical Bulletin 5844, "SIP Server Fallback Enhancements": the rules of SIP 2.1 and later, seen on the wire.

Server 1 is the service provider's, found by DNS; server 2 is the on-site router with its gateway (P29). Each test is one
statement of the section named above it, with the profile `polycom`.
"""

from __future__ import annotations

import pytest

from sbc.redundancy.profile import load_profile
from tests.bulletins.wire import lines
from tests.helpers.scripted_servers import accept

PROVIDER_AND_ROUTER = """
    profile = "polycom"
    {group}

    [[group.server]]
    name = "server1"
    address = "voipserver.serviceprovider.com"

    [[group.server]]
    name = "router"
    address = "172.23.0.1"
    transport = "udp"
    {router}
"""

ZONE = """
    voipserver.serviceprovider.com            NAPTR 10 10 "s" "SIP+D2U" _sip._udp.voipserver.serviceprovider.com
    _sip._udp.voipserver.serviceprovider.com  SRV   1 0 5060 one.serviceprovider.com
    _sip._udp.voipserver.serviceprovider.com  SRV   2 0 5060 two.serviceprovider.com
    one.serviceprovider.com                   A     198.51.100.1
    two.serviceprovider.com                   A     198.51.100.2
"""

MACHINES = {"one": "198.51.100.1", "two": "198.51.100.2"}

SERVERS_BY_ADDRESS = """
    profile = "polycom"

    [[group.server]]
    name = "provider"
    address = "198.51.100.1"
    transport = "udp"

    [[group.server]]
    name = "router"
    address = "172.23.0.1"
    transport = "udp"
    {router}
    {third}
"""

THIRD = """
    [[group.server]]
    name = "third"
    address = "198.51.100.3"
    transport = "udp"
"""


@pytest.fixture
def example(make_site):
    """The example of the bulletin: two redundant call servers behind one name, and the router on the site."""

    def make(group="", router=""):
        return make_site(PROVIDER_AND_ROUTER.format(group=group, router=router), ZONE, **MACHINES)

    return make


@pytest.fixture
def site(make_site):
    """The same with one address for the provider."""
    return make_site(SERVERS_BY_ADDRESS.format(router="", third=""))


@pytest.fixture
def make(make_site):
    def make(router="", third=""):
        return make_site(SERVERS_BY_ADDRESS.format(router=router, third=third))

    return make


@pytest.fixture
def make_tcp(make_site):
    """Both servers by TCP, to which no connection is open yet."""

    def make_it():
        rare = "probe_interval = 86400\n    probe_interval_down = 86400"
        text = SERVERS_BY_ADDRESS.format(router="", third="").replace('"udp"', '"tcp"')
        site = make_site(text.replace('"polycom"', f'"polycom"\n    {rare}'))
        site.breaks_connections()
        return site

    return make_it


# Introduction, Terminology


def test_fail_over_and_fallback_combined(example):
    """P1, P5, P29: the list holds what DNS found for server 1, then server 2; a call goes through it in this order."""
    site = example()
    site.server("one").falls_silent()
    site.server("two").falls_silent()
    site.call()
    site.wait(20)
    assert lines("""
        0    INVITE > one
        0.5  INVITE > one
        1.5  INVITE > one
        3.5  INVITE > one
        7.5  INVITE > two
        8    INVITE > two
        9    INVITE > two
        11   INVITE > two
        15   INVITE > router
    """) == site.sent("INVITE")


@pytest.mark.parametrize(("method", "package"), [("SUBSCRIBE", "message-summary"), ("PUBLISH", "presence")])
def test_advanced_features_with_the_primary_server_only(example, method, package):
    """P2, P6, P25: shared lines, MWI and presence "will only be established with Server 1": with all its addresses, and
    with no other server; that one gets registrations and calls.
    """
    site = example()
    site.server("one").closes_its_port()
    site.server("two").closes_its_port()
    site.phone.sends(method, ("Event", package))
    site.wait(1)
    assert lines(f"""
        0 {method} > one
        0 {method} > two
    """) == site.told(method)
    site.call()
    assert "router" in site.told("INVITE")[-1]


def test_lines_with_servers_of_their_own(make_site):
    """P3: each SIP registration has its own list of servers; a line belongs to the group of its domain."""
    site = make_site("""
        profile = "polycom"
        [[group.server]]
        name = "ours"
        address = "198.51.100.1"
        transport = "udp"

        [[group]]
        name = "second line"
        domains = ["other.example"]
        profile = "polycom"
        [[group.server]]
        name = "theirs"
        address = "198.51.100.9"
        transport = "udp"
    """)  # fmt: skip
    site.phone.registers()
    other = site.another_phone("bob", "other.example")
    other.registers()
    site.wait(1)
    assert lines("""
        0 REGISTER > ours
        0 REGISTER > theirs
    """) == site.sent("REGISTER")


def test_one_working_server(site):
    """P7: the highest-priority server that has an active registration; "at any time, there is only one"; the first for
    calls.
    """

    def working():
        described = site.group.describe(site.clock.seconds())["servers"]
        return [server["name"] for server in described for candidate in server["candidates"] if candidate["working"]]

    site.phone.registers()
    site.wait(1)
    assert ["provider"] == working()
    site.server("provider").falls_silent()
    site.phone.registers()
    site.wait(40)
    assert ["router"] == working()
    site.begin()
    site.call()
    assert lines("0 INVITE > router") == site.sent("INVITE")


def test_a_server_that_is_no_registrar(make):
    """P8: reg.x.server.y.register = 0: it gets no registration, but calls when all higher ones are down, and it is never the
    working server.
    """
    site = make(router="register = false")
    site.phone.registers()
    site.wait(4000)
    assert {"provider"} == {seen.target for seen in site.with_servers("REGISTER") if seen.source == "sbc"}
    site.server("provider").closes_its_port()
    site.begin()
    for _ in range(2):
        site.phone.hangs_up(site.call())
        site.wait(1)
    assert lines("""
        0 INVITE > provider
        0 INVITE > router
        1 INVITE > router
    """) == site.sent("INVITE")
    assert "provider" == site.working()


# SIP 2.1 Server Fallback Implementation: Phone Operation for Registration


def test_registered_at_all_servers_after_the_start(make):
    """P4, P9, P10, P24: at all configured servers concurrently; more than two are allowed."""
    site = make(third=THIRD)
    site.phone.registers()
    site.wait(1)
    assert lines("""
        0 REGISTER > provider
        0 REGISTER > router
        0 REGISTER > third
    """) == site.sent("REGISTER")
    assert 3 == sum(len(server.registered) for server in site.servers.values())


def test_registration_is_tried_until_it_succeeds(site):
    """P11: a registration that fails is tried again "at intervals of 30 to 60 seconds ... until the registration is
    successful", here on behalf of the phone.
    """
    site.server("router").closes_its_port()
    site.phone.registers()
    site.wait(600)
    times = [seen.at for seen in site.with_servers("REGISTER") if seen.target == "router"]
    assert len(times) >= 10
    assert all(30 <= later - earlier <= 60 for earlier, later in zip(times, times[1:], strict=False))
    site.server("router").recovers()
    site.wait(60)
    assert "sip:alice@pbx.example" in site.server("router").registered
    site.begin()
    site.wait(600)
    assert [] == site.sent("REGISTER")


def test_the_primary_works_again_when_its_registration_succeeds(site):
    """P12: while the primary registration is unavailable the next one is the working server; "as soon as the primary server
    registration succeeds, it will return". That it answers something else is not enough.
    """
    site.phone.registers()
    site.server("provider").falls_silent()
    site.wait(1)
    site.phone.registers()
    site.wait(40)
    assert "router" == site.working()
    site.server("provider").recovers()
    site.server("provider").ignores("REGISTER")
    site.wait(100)
    assert "200 OPTIONS < provider" in " ".join(site.told("OPTIONS"))
    assert "router" == site.working()
    site.server("provider").recovers()
    site.begin()
    site.phone.registers()
    site.wait(0)
    assert "0 200 REGISTER < provider" in site.told("REGISTER")
    assert "provider" == site.working()
    site.call()
    assert lines("0 INVITE > provider") == site.sent("INVITE")


def test_the_other_registration_is_kept(site):
    """P13, X3: after the return of the primary, the registration at server 2 goes on, and no de-REGISTER is seen."""
    site.server("provider").closes_its_port()
    site.phone.registers()
    site.wait(1)
    site.server("provider").recovers()
    site.wait(15)
    site.begin()
    for _ in range(2):
        site.phone.registers()
        site.wait(10)
    assert lines("""
        0  REGISTER > provider
        0  REGISTER > router
        10 REGISTER > provider
        10 REGISTER > router
    """) == site.sent("REGISTER")


# DNS SIP Server Name Resolution


def test_no_port_given(example):
    """P14: NAPTR and SRV are tried, and lead to the addresses."""
    site = example()
    assert lines("""
        0 NAPTR voipserver.serviceprovider.com > dns
        0 SRV _sip._udp.voipserver.serviceprovider.com > dns
        0 A one.serviceprovider.com > dns
        0 A two.serviceprovider.com > dns
    """) == site.questions


def test_no_port_given_and_none_found(make_site):
    """P14: NAPTR and SRV return no results: A records, and port 5060."""
    site = make_site(
        PROVIDER_AND_ROUTER.format(group="", router=""), "voipserver.serviceprovider.com A 198.51.100.1", one="198.51.100.1"
    )
    assert lines("""
        0 NAPTR voipserver.serviceprovider.com > dns
        0 SRV _sip._udp.voipserver.serviceprovider.com > dns
        0 A voipserver.serviceprovider.com > dns
    """) == site.questions
    site.call()
    assert lines("0 INVITE > one") == site.sent("INVITE")


def test_port_given(make_site):
    """P14: "If a port is given, the only lookup will be an A record"."""
    site = make_site("""
        profile = "polycom"
        [[group.server]]
        name = "server1"
        address = "voipserver.serviceprovider.com"
        port = 5080
    """, "voipserver.serviceprovider.com A 198.51.100.1", one="198.51.100.1:5080")  # fmt: skip
    assert lines("0 A voipserver.serviceprovider.com > dns") == site.questions
    site.call()
    assert lines("0 INVITE > one") == site.sent("INVITE")


# Behavior When the Primary Server Connection Fails: For Outgoing Calls


def test_step_1_the_working_server(site):
    """P15 step 1, P24: calls are placed via server 1."""
    site.phone.registers()
    site.wait(1)
    site.begin()
    site.call()
    assert lines("""
        0 INVITE > provider
        0 200 INVITE < provider
        0 ACK > provider
    """) == site.told("INVITE", "ACK")


@pytest.mark.parametrize("answer", [500, 502, 503, 504])
def test_step_2_the_next_server_though_not_registered(make, answer):
    """P15 step 2: the working server "does not respond correctly": the next server in the list, even without a
    registration.
    """
    site = make(router="register = false", third=THIRD)
    site.server("provider").answers("INVITE", answer)
    site.call()
    assert lines(f"""
        0 INVITE > provider
        0 {answer} INVITE < provider
        0 ACK > provider
        0 INVITE > router
        0 200 INVITE < router
        0 ACK > router
    """) == site.told("INVITE", "ACK")


@pytest.mark.parametrize("answer", [404, 480, 486, 603])
def test_an_answer_about_the_callee_ends_the_call(site, answer):
    """P15: a correct response is one, also when it is a refusal: busy at one server is busy at all."""
    site.server("provider").answers("INVITE", answer)
    site.call()
    assert lines("0 INVITE > provider") == site.sent("INVITE")
    assert f"0 {answer} INVITE > phone" in site.told_phone("INVITE")


def test_step_3_all_servers_until_the_list_is_exhausted(make):
    """P15 step 3: "all possible servers (even those not currently registered) until it either succeeds ... or exhausts the
    list at which point the call will fail".
    """
    site = make(router="register = false", third=THIRD)
    for server in site.servers.values():
        server.closes_its_port()
    call = site.call()
    assert lines("""
        0 INVITE > provider
        0 INVITE > router
        0 INVITE > third
    """) == site.sent("INVITE")
    assert call.ended.settled
    assert not call.answered.at
    assert not [line for line in site.told_phone("INVITE") if "503" in line]


def test_availability_is_judged_when_the_call_starts(site):
    """P16: by the signalling of the call, though "the registration to the working server has not yet expired"."""
    site.phone.registers()
    site.wait(60)
    site.server("provider").falls_silent()
    site.begin()
    site.call()
    site.wait(10)
    assert "7.5 INVITE > router" == site.sent("INVITE")[-1]


def test_tcp_fails_when_the_connection_fails(make_tcp):
    """P17: TCP: "the signaling fails if the connection fails"."""
    site = make_tcp()
    site.server("provider").closes_its_port()
    site.call()
    assert lines("""
        0 connect > provider
        0 connect > router
        0 INVITE > router
    """) == site.sent("connect", "INVITE")


def test_tcp_fails_when_the_machine_accepts_nothing(make_tcp):
    """P17: a connection that is not there within 3 s has failed."""
    site = make_tcp()
    site.server("provider").falls_silent()
    site.call()
    site.wait(5)
    assert lines("""
        0 connect > provider
        3 connect > router
        3 INVITE > router
    """) == site.sent("connect", "INVITE")


def test_tcp_fails_when_the_send_fails(make_tcp):
    """P17: "or the Send fails": the connection breaks while the INVITE is under way; nothing is repeated over TCP."""
    site = make_tcp()
    site.server("provider").ignores("INVITE")
    site.call()
    site.wait(2)
    site.server("provider").closes_its_port()
    site.wait(1)
    assert lines("""
        0 connect > provider
        0 INVITE > provider
        2 connect > router
        2 INVITE > router
    """) == site.sent("connect", "INVITE")


def test_udp_fails_by_icmp_at_once(site):
    """P18: UDP: "the signaling fails if ICMP is detected"."""
    site.server("provider").closes_its_port()
    call = site.call()
    assert lines("""
        0 INVITE > provider
        0 INVITE > router
    """) == site.sent("INVITE")
    assert 0 == call.post_dial_delay


def test_udp_fails_by_timeout_the_last_one_last(site):
    """P18, P19, P20: "or if the signal times out": the maximum number of retries, but for the last server the complete UDP
    timeout, 64*T1 = 32 s.
    """
    for server in site.servers.values():
        server.falls_silent()
    call = site.call()
    site.wait(60)
    assert lines("""
        0    INVITE > provider
        0.5  INVITE > provider
        1.5  INVITE > provider
        3.5  INVITE > provider
        7.5  INVITE > router
        8    INVITE > router
        9    INVITE > router
        11   INVITE > router
        15   INVITE > router
        23   INVITE > router
        39   INVITE > router
    """) == site.sent("INVITE")
    assert 39.5 == call.ended.at - call.started


@pytest.mark.parametrize(
    ("settings", "times"),
    [
        ("retry_counts = 1", ["0", "0.5", "1.5"]),
        ("retry_timeout = 0.25", ["0", "0.25", "0.5", "0.75", "1"]),
        ("retry_timeout = 2\n    retry_counts = 1", ["0", "2", "4"]),
    ],
)
def test_the_configurable_retries(example, settings, times):
    """P20, P-ext (retryMaxCount, retryTimeOut): so many retries, at the gaps of RFC 3261 or at a constant one."""
    site = example(group=settings)
    site.server("one").falls_silent()
    site.call()
    site.wait(10)
    assert [f"{at} INVITE > one" for at in times[:-1]] + [f"{times[-1]} INVITE > two"] == site.sent("INVITE")


def test_dns_is_dead_and_its_answers_have_expired(example):
    """P21: the phone of the bulletin waits "for example two minutes" before such a call; here nobody waits at all."""
    site = example()
    site.dns.dead = True
    site.wait(2 * 3600)
    site.begin()
    call = site.call()
    assert lines("0 INVITE > one") == site.sent("INVITE")
    assert 0 == call.post_dial_delay


def test_defaults():
    """P8, P-ext: register 1, retryMaxCount 3, retryTimeOut 0, expires 3600, transport DNSnaptr."""
    profile = load_profile("polycom")
    expected = {"retry_counts": 3, "expires": 3600, "register": True, "transport": "dns-naptr"}
    assert expected == {key: profile.server[key] for key in expected}
    assert (0, "concurrent") == (profile.group["retry_timeout"], profile.group["registration"])


# For Incoming Calls


@pytest.mark.parametrize("server", ["provider", "router"])
def test_calls_come_in_from_any_server(site, server):
    """P22, P24: "it will receive calls through the gateway even if the primary registration has not expired"."""
    site.phone.registers()
    site.wait(1)
    site.begin()
    call = site.server(server).calls("sip:alice@pbx.example")
    site.wait(0)
    assert 200 == call.status
    assert lines("""
        0 INVITE > phone
        0 180 INVITE < phone
        0 200 INVITE < phone
        0 ACK > phone
    """) == site.told_phone("INVITE", "ACK")


# Changes From Previous Phone Behavior (Releases Before SIP 2.1)


def test_before_sip_2_1(make_site):
    """P23: "A Line maintains only one server registration": with server 1; when that fails, with server 2; when server 1
    accepts a registration again, it is the working server, and the one with server 2 is left to expire.
    """
    site = make_site(SERVERS_BY_ADDRESS.format(router="", third="").replace('"polycom"', '"polycom-pre21"'))
    site.phone.registers()
    site.wait(1)
    assert lines("0 REGISTER > provider") == site.sent("REGISTER")
    site.server("provider").falls_silent()
    site.begin()
    site.phone.registers()
    site.wait(10)
    assert lines("""
        0    REGISTER > provider
        0.5  REGISTER > provider
        1.5  REGISTER > provider
        3.5  REGISTER > provider
        7.5  REGISTER > router
        7.5  200 REGISTER < router
    """) == site.told("REGISTER")
    site.begin()
    site.phone.hangs_up(site.call())
    assert lines("0 INVITE > router") == site.sent("INVITE")
    site.server("provider").recovers()
    site.begin()
    site.phone.registers()
    site.wait(100)
    site.call()
    assert "0 200 REGISTER < provider" in site.told("REGISTER")
    assert lines("100 INVITE > provider") == site.sent("INVITE")
    assert "de-REGISTER" not in " ".join(site.told("REGISTER"))
    assert site.server("router").registered


# Recommended Practices; Configuration File Changes


def test_line_settings_override_common_ones(make_site):
    """P27: what is set for the group holds for all its servers; what a server sets itself overrides it."""
    site = make_site("""
        profile = "polycom"
        transport = "udp"
        retry_counts = 1
        [[group.server]]
        name = "one"
        address = "198.51.100.1"
        [[group.server]]
        name = "two"
        address = "198.51.100.2"
        retry_counts = 0
        [[group.server]]
        name = "three"
        address = "198.51.100.3"
    """)  # fmt: skip
    site.server("one").falls_silent()
    site.server("two").falls_silent()
    site.call()
    site.wait(3)
    assert lines("""
        0    INVITE > one
        0.5  INVITE > one
        1.5  INVITE > two
        2    INVITE > three
    """) == site.sent("INVITE")


def test_the_epid_parameter_of_from_survives(site):
    """P28: lcs = 1 adds the proprietary parameter epid to the From field of all requests: never stripped, never moved."""
    original = '"Alice" <sip:alice@pbx.example>;epid=0004f2abcd;tag=12345'
    site.phone.sends("SUBSCRIBE", ("Event", "presence"), from_=original)
    site.phone.sends("INVITE", from_=original)
    site.wait(1)
    froms = {seen.message.get("From") for seen in site.with_servers() if seen.method in ("SUBSCRIBE", "INVITE")}
    assert {original} == froms


def test_the_epid_parameter_survives_a_registration(site):
    """P28: the REGISTERs are our own, but the From is the phone's."""
    site.server("provider").answers("REGISTER", accept(600))
    site.phone.sends(
        "REGISTER", ("Expires", "600"), from_="<sip:alice@pbx.example>;tag=12345;epid=0004f2abcd"
    )
    site.wait(1)
    seen = [seen.message.get("From") for seen in site.with_servers("REGISTER") if seen.source == "sbc"]
    assert len(seen) == 2
    assert all(value.endswith(";epid=0004f2abcd") for value in seen)
