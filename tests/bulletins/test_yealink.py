"""Yealink, "Using Server Redundancy on Yealink IP Phones": the scenarios of the bulletin, seen on the wire.

Primary and secondary are addresses of one name (failover), working and fallback are configured servers (fallback); see the
glossary. Each test is one scenario, step or parameter of the section named above it, with the profile `yealink`.
"""

from __future__ import annotations

import pytest

from sbc.redundancy.profile import load_profile
from sbc.redundancy.settings import ServerSettings, expectation
from tests.bulletins.wire import lines

WORKING_AND_FALLBACK = """
    profile = "yealink"
    registration = "{registration}"

    [[group.server]]
    name = "working"
    address = "192.0.2.1"
    {working}

    [[group.server]]
    name = "fallback"
    address = "192.0.2.2"
"""

PRIMARY_AND_SECONDARY = """
    profile = "yealink"
    {group}

    [[group.server]]
    name = "server1"
    address = "yealink.pbx.com"
    transport = "dns-naptr"
    {server1}
"""

ZONE = """
    yealink.pbx.com            NAPTR  100 50 "s" "SIP+D2U" _sip._udp.yealink.pbx.com
    _sip._udp.yealink.pbx.com  SRV    0 1 5060 server1.yealink.pbx.com
    _sip._udp.yealink.pbx.com  SRV    0 2 5060 server2.yealink.pbx.com
    server1.yealink.pbx.com    A      62.10.1.10
    server2.yealink.pbx.com    A      62.10.1.20
"""
"""The records of the appendix. The weight of the second one is higher, so 62.10.1.20 is the primary (Y42)."""

MACHINES = {"primary": "62.10.1.20", "secondary": "62.10.1.10"}


@pytest.fixture
def fallback_site(make_site):
    """SIP servers 1 (working) and 2 (fallback), by IP address."""

    def make(registration="concurrent", working=""):
        return make_site(WORKING_AND_FALLBACK.format(registration=registration, working=working))

    return make


@pytest.fixture
def failover_site(make_site):
    """SIP server 1 is a name that DNS resolves to a primary and a secondary."""

    def make(server1="", group=""):
        return make_site(PRIMARY_AND_SECONDARY.format(server1=server1, group=group), ZONE, **MACHINES)

    return make


# Introduction; Server Redundancy Implementation


def test_failover_and_fallback_combined(make_site):
    """Y1, Y2, Y4, Y5: server 1 is a name with a primary and a secondary behind it, server 2 the fallback server by address;
    a call goes through all of them in this order.
    """
    server2 = """
    [[group.server]]
    name = "fallback"
    address = "192.168.1.15"
    """
    site = make_site(PRIMARY_AND_SECONDARY.format(group="", server1="") + server2, ZONE, **MACHINES)
    site.server("primary").falls_silent()
    site.server("secondary").falls_silent()
    site.call()
    site.wait(20)
    assert lines("""
        0    INVITE > primary
        0.5  INVITE > primary
        1.5  INVITE > primary
        3.5  INVITE > primary
        7.5  INVITE > secondary
        8    INVITE > secondary
        9    INVITE > secondary
        11   INVITE > secondary
        15   INVITE > fallback
    """) == site.sent("INVITE")


def test_the_fallback_server_has_no_advanced_features(fallback_site):
    """Y3: shared lines, call recording and MWI are lost with the working server: their subscriptions go nowhere else."""
    site = fallback_site()
    site.server("working").closes_its_port()
    answers = site.phone.sends("SUBSCRIBE", ("Event", "message-summary"))
    site.wait(1)
    assert lines("0 SUBSCRIBE > working") == site.told("SUBSCRIBE")
    assert [480] == answers
    site.call()
    assert "fallback" in site.told("INVITE")[-1]


# Phone Registration


def test_failover_registration_goes_to_the_primary_first(failover_site):
    """Y6: "must always register to the primary server first", as many times as configured; when that is unavailable the
    secondary serves as the working server.
    """
    site = failover_site()
    site.phone.registers()
    site.wait(1)
    assert lines("""
        0 REGISTER > primary
        0 200 REGISTER < primary
    """) == site.told("REGISTER")
    site.begin()
    site.server("primary").falls_silent()
    site.phone.registers()
    site.wait(10)
    assert lines("""
        0    REGISTER > primary
        0.5  REGISTER > primary
        1.5  REGISTER > primary
        3.5  REGISTER > primary
        7.5  REGISTER > secondary
        7.5  200 REGISTER < secondary
    """) == site.told("REGISTER")
    assert "secondary" == site.working()


def test_concurrent_registration(fallback_site):
    """Y7, Y22, the default: the phone is registered at both servers at the same time."""
    assert "concurrent" == load_profile("yealink").group["registration"]
    site = fallback_site()
    site.phone.registers()
    site.wait(1)
    assert lines("""
        0 REGISTER > working
        0 REGISTER > fallback
    """) == site.sent("REGISTER")


def test_successive_registration(fallback_site):
    """Y8, Y22: one server at a time; the fallback server sees no REGISTER, and no refresh, while the working one works."""
    site = fallback_site("successive")
    site.phone.registers()
    site.wait(3 * 3600)
    assert {"working"} == {seen.target for seen in site.with_servers("REGISTER") if seen.source == "sbc"}
    site.begin()
    site.server("working").closes_its_port()
    site.phone.registers()
    site.wait(1)
    assert lines("""
        0 REGISTER > working
        0 REGISTER > fallback
        0 200 REGISTER < fallback
    """) == site.told("REGISTER")


# SIP Server Domain Name Resolution


def test_port_0_and_dns_naptr(failover_site):
    """Y9, Y11, Y43: NAPTR for the pointer and the transport, SRV for name and port, then A for the addresses of both."""
    site = failover_site()
    assert lines("""
        0 NAPTR yealink.pbx.com > dns
        0 SRV _sip._udp.yealink.pbx.com > dns
        0 A server1.yealink.pbx.com > dns
        0 A server2.yealink.pbx.com > dns
    """) == site.questions


def test_explicit_port(make_site):
    """Y10, Y17: with a port that is not 0, A is the only question, though the transport is DNS-NAPTR."""
    site = make_site(PRIMARY_AND_SECONDARY.format(group="", server1="port = 5070"), "yealink.pbx.com A 62.10.1.20", primary="62.10.1.20:5070")
    assert lines("0 A yealink.pbx.com > dns") == site.questions
    site.phone.registers()
    site.wait(1)
    assert lines("0 REGISTER > primary") == site.sent("REGISTER")


def test_no_port_found(make_site):
    """Y12: neither NAPTR nor SRV has an answer, so the addresses of the name itself are asked for, and the port is 5060."""
    site = make_site(PRIMARY_AND_SECONDARY.format(group="", server1=""), "yealink.pbx.com A 62.10.1.20", primary="62.10.1.20")
    assert lines("""
        0 NAPTR yealink.pbx.com > dns
        0 SRV _sip._udp.yealink.pbx.com > dns
        0 A yealink.pbx.com > dns
    """) == site.questions
    site.phone.registers()
    site.wait(1)
    assert lines("0 REGISTER > primary") == site.sent("REGISTER")


# Configuring Yealink IP Phones


@pytest.mark.parametrize(("build", "name"), [("udp", "_sip._udp"), ("tcp", "_sip._tcp"), ("tls", "_sips._tcp")])
def test_naptr_build(make_site, build, name):
    """Y20, Y21: transport DNS-NAPTR, and no result from NAPTR: the SRV question is for UDP, or for TCP, or for TLS."""
    zone = f"{name}.yealink.pbx.com SRV 0 1 5060 a.pbx.com\na.pbx.com A 62.10.1.20"
    site = make_site(PRIMARY_AND_SECONDARY.format(group="", server1=f'naptr_build = "{build}"'), zone)
    assert lines(f"""
        0 NAPTR yealink.pbx.com > dns
        0 SRV {name}.yealink.pbx.com > dns
        0 A a.pbx.com > dns
    """) == site.questions
    assert [build] == [candidate.transport for _, candidate in site.group.candidates()]


def test_sip_server_parameters(make_site):
    """Y16, Y18: each server has an address, by name or by number, and asks for a registration time of its own."""
    site = make_site("""
        profile = "yealink"
        [[group.server]]
        name = "working"
        address = "192.0.2.1"
        expires = 1800
        [[group.server]]
        name = "fallback"
        address = "fallback.pbx.com"
        expires = 300
    """, "fallback.pbx.com A 192.0.2.2", fallback="192.0.2.2")  # fmt: skip
    site.phone.registers()
    site.wait(1)
    asked = {seen.target: seen.message.get("Expires") for seen in site.with_servers("REGISTER") if seen.target != "sbc"}
    assert {"working": "1800", "fallback": "300"} == asked


@pytest.mark.parametrize(
    ("cls", "key", "low", "high", "also"),
    [
        (ServerSettings, "port", 0, 65535, ()),
        (ServerSettings, "expires", 30, 2147483647, ()),
        (ServerSettings, "retry_counts", 0, 20, ()),
        (ServerSettings, "failback_timeout", 60, 65535, (0,)),
    ],
)
def test_valid_values(cls, key, low, high, also):
    """Y17, Y18, Y19, Y29: what the table of the bulletin gives as valid; port 0 besides (Y11)."""
    fine = {low, high, *also}
    assert sorted(fine) == [value for value in sorted({*fine, low - 1, high + 1}) if not expectation(cls, key, value)]


def test_defaults():
    """Y18, Y19, Y20, Y22, Y24, Y30: the values that the bulletin calls default."""
    profile = load_profile("yealink")
    assert "concurrent" == profile.group["registration"]
    expected = {
        "expires": 3600, "retry_counts": 3, "transport": "udp", "failback_mode": "new-requests", "register_on_enable": False
    }  # fmt: skip
    assert expected == {key: profile.server[key] for key in expected}


@pytest.mark.parametrize(
    ("retries", "times"),
    [
        (0, ["0", "0.5"]),
        (1, ["0", "0.5", "1.5"]),
        (2, ["0", "0.5", "1.5", "3.5"]),
        (3, ["0", "0.5", "1.5", "3.5", "7.5"]),
        (4, ["0", "0.5", "1.5", "3.5", "7.5", "15.5"]),
        (20, ["0", "0.5", "1.5", "3.5", "7.5", "15.5", "31.5", "32"]),
    ],
)
def test_retry_counts(fallback_site, retries, times):
    """Y19: 0 to 20, default 3: so many retransmissions after the first send, then the fallback server (table a.0)."""
    assert expectation(ServerSettings, "retry_counts", retries) is None
    assert expectation(ServerSettings, "retry_counts", 21)
    assert 3 == load_profile("yealink").server["retry_counts"]
    site = fallback_site(working=f"retry_counts = {retries}")
    site.server("working").falls_silent()
    site.call()
    site.wait(33)
    *to_working, to_fallback = site.sent("INVITE")
    assert [f"{at} INVITE > working" for at in times[:-1]] == to_working
    assert f"{times[-1]} INVITE > fallback" == to_fallback


SAMPLE = """
    profile = "yealink"
    registration = "successive"           # account.1.fallback.redundancy_type = 1

    [[group.server]]                      # account.1.sip_server.1
    name = "server1"
    address = "yealink.pbx.com"
    port = 5060
    transport = "dns-naptr"               # account.1.transport = 3
    expires = 3600
    retry_counts = 3
    failback_mode = "duration"            # 3
    failback_timeout = 120
    register_on_enable = false

    [[group.server]]                      # account.1.sip_server.2
    name = "fallback"
    address = "192.168.1.15"
    port = 5060
    expires = 3600
    retry_counts = 3
    failback_mode = "new-requests"        # 0
    register_on_enable = false
"""


def test_sample_configuration(make_site):
    """Y32: the example for account 1. Its port and its transport contradict each other, about which there is a warning: by Y10
    A is the only question. Calls return to server 1 120 s after they had to leave it.
    """
    site = make_site(SAMPLE, "yealink.pbx.com A 62.10.1.20", primary="62.10.1.20")
    assert any("port" in str(warning) for warning in site.config.warnings)
    assert lines("0 A yealink.pbx.com > dns") == site.questions
    site.phone.registers()
    site.wait(1)
    assert lines("0 REGISTER > primary") == site.sent("REGISTER")
    site.server("primary").closes_its_port()
    assert "primary" == where_a_call_goes(site)
    assert "fallback" == where_a_call_goes(site)
    site.server("primary").recovers()
    site.wait(119)
    assert "fallback" == where_a_call_goes(site)
    site.wait(1)
    assert "primary" == where_a_call_goes(site)


def fail_over(site, to: str) -> None:
    """The phone is registered, its primary falls silent, and a call finds that out."""
    site.phone.registers()
    site.wait(1)
    site.server("primary").falls_silent()
    call = site.call()
    site.wait(8)
    site.phone.hangs_up(call)
    site.wait(1)
    assert to == site.working()
    site.begin()


def where_a_call_goes(site) -> str:
    """The server that gets, and answers, a new call now."""
    site.wire.seen.clear()
    site.phone.hangs_up(site.call())
    site.wait(0)
    [first, *_] = site.with_servers("INVITE")
    return first.target


def test_failback_mode_0_new_requests(failover_site):
    """Y25: "all requests are sent to the primary server first, regardless of the last server that was used": as soon as it
    answers anything again, without a call that has to wait for it.
    """
    site = failover_site()
    fail_over(site, to="secondary")
    assert "secondary" == where_a_call_goes(site)
    site.server("primary").recovers()
    site.wait(11)
    assert "primary" == where_a_call_goes(site)
    for method in ("REGISTER", "SUBSCRIBE"):
        site.begin()
        site.phone.sends(method, ("Event", "presence")) if method == "SUBSCRIBE" else site.phone.registers()
        site.wait(0)
        assert lines(f"0 {method} > primary") == site.sent(method)


def test_failback_mode_0_to_the_letter(failover_site):
    """Y25: the phone itself tries a dead primary with each request; so do we when told not to use what we know."""
    site = failover_site(group="skip_down = false")
    fail_over(site, to="secondary")
    site.call()
    site.wait(8)
    assert lines("""
        0    INVITE > primary
        0.5  INVITE > primary
        1.5  INVITE > primary
        3.5  INVITE > primary
        7.5  INVITE > secondary
    """) == site.sent("INVITE")
    site.server("primary").recovers()
    assert "primary" == where_a_call_goes(site)


def test_failback_mode_1_dns_ttl(failover_site):
    """Y26: the primary is tried again after the time to live of the records in use."""
    site = failover_site('failback_mode = "dns-ttl"')
    fail_over(site, to="secondary")
    site.server("primary").recovers()
    site.wait(3600 - 20)
    assert "secondary" == where_a_call_goes(site)
    site.wait(20)
    assert "primary" == where_a_call_goes(site)


def test_failback_mode_2_registration(failover_site):
    """Y27: the primary is tried by a REGISTER when the registration is renewed; calls stay where they are until then."""
    site = failover_site('failback_mode = "registration"')
    fail_over(site, to="secondary")
    site.server("primary").recovers()
    site.wait(3200)
    assert "secondary" == where_a_call_goes(site)
    site.begin()
    site.wait(60)
    assert 1 == len(site.sent("REGISTER"))
    assert site.sent("REGISTER")[0].endswith("REGISTER > primary")
    assert "primary" == where_a_call_goes(site)


def test_failback_mode_3_duration(failover_site):
    """Y28: the primary is tried again `failback_timeout` seconds after the failover."""
    site = failover_site('failback_mode = "duration"\n    failback_timeout = 120')
    fail_over(site, to="secondary")
    site.server("primary").recovers()
    site.wait(115)
    assert "secondary" == where_a_call_goes(site)
    site.wait(10)
    assert "primary" == where_a_call_goes(site)


def test_failback_timeout_0(failover_site):
    """Y29: 0: "will not send requests to the primary server until a failover event occurs with the current working server"."""
    site = failover_site('failback_mode = "duration"\n    failback_timeout = 0')
    fail_over(site, to="secondary")
    site.server("primary").recovers()
    site.wait(4 * 3600)
    assert "secondary" == where_a_call_goes(site)
    site.server("secondary").closes_its_port()
    site.call()
    site.begin()
    assert "primary" == where_a_call_goes(site)


def test_register_on_enable(failover_site):
    """Y30, X8: enabled, the phone registers at the secondary server "before sending requests to the secondary server"."""
    site = failover_site("register_on_enable = true")
    site.phone.registers()
    site.wait(1)
    site.server("primary").falls_silent()
    site.begin()
    site.call()
    site.wait(10)
    assert lines("""
        0    INVITE > primary
        0.5  INVITE > primary
        1.5  INVITE > primary
        3.5  INVITE > primary
        7.5  REGISTER > secondary
        7.5  200 REGISTER < secondary
        7.5  INVITE > secondary
        7.5  200 INVITE < secondary
    """) == site.told("INVITE", "REGISTER")


def test_no_failback_within_a_call(failover_site):
    """Y31: a call stays on the server that it was set up with, while new calls go back to the primary."""
    site = failover_site()
    fail_over(site, to="secondary")
    call = site.call()
    site.server("primary").recovers()
    site.wait(60)
    assert "primary" == where_a_call_goes(site)
    site.begin()
    site.phone.hangs_up(call)
    site.wait(1)
    assert lines("""
        0 BYE > secondary
        0 200 BYE < secondary
    """) == site.told("BYE")


# Using Server Redundancy: Fallback Scenario


def test_register_fallback(fallback_site):
    """Y33, REGISTER Fallback (successive), steps 1 to 4: REGISTER to the working server, three retries, no response, REGISTER
    to the fallback server, 200.
    """
    site = fallback_site("successive")
    site.server("working").falls_silent()
    site.phone.registers()
    site.wait(10)
    assert lines("""
        0    REGISTER > working               # 1
        0.5  REGISTER > working               # 2
        1.5  REGISTER > working
        3.5  REGISTER > working
        7.5  REGISTER > fallback              # 3
        7.5  200 REGISTER < fallback          # 4
    """) == site.told("REGISTER")


def test_register_fallback_fails_back(fallback_site):
    """Y23, Y34: while the fallback server is in use, "the phone sends REGISTER requests to the working server ... at intervals
    defined by the account.1.fallback.timeout parameter", 120 s; when it answers, the next REGISTER goes back.
    """
    assert ("register-when-successive", 120) == tuple(
        load_profile("yealink").group[key] for key in ("probe_method", "register_probe_interval")
    )
    site = fallback_site("successive")
    site.server("working").falls_silent()
    site.phone.registers()
    site.wait(7.5)
    assert "fallback" == site.working()
    site.begin()
    site.wait(300)
    first, second = (at for at in (120, 272) if f"{at} REGISTER > working" in site.sent("REGISTER"))
    assert (120, 272) == (first, second)      # 32 s without an answer, and 120 s again
    site.server("working").recovers()
    site.wait(125)
    assert "working" == site.working()
    site.begin()
    site.phone.registers()
    site.wait(1)
    assert lines("0 REGISTER > working") == site.sent("REGISTER")


def test_invite_fallback(fallback_site):
    """Y35, Y39, INVITE Fallback (concurrent): INVITE to the working server, three retries, no response, INVITE to the
    fallback server, 200.
    """
    site = fallback_site("concurrent")
    site.phone.registers()
    site.wait(1)
    site.begin()
    site.server("working").falls_silent()
    call = site.call()
    site.wait(10)
    assert lines("""
        0    INVITE > working
        0.5  INVITE > working
        1.5  INVITE > working
        3.5  INVITE > working
        7.5  INVITE > fallback
        7.5  200 INVITE < fallback
        7.5  ACK > fallback
    """) == site.told("INVITE", "ACK")
    assert 7.5 == call.post_dial_delay


def test_invite_fallback_fails_back(fallback_site):
    """Y36, INVITE Fallback, end: REGISTERs to the working server find out that it is back; then the INVITE goes there."""
    site = fallback_site("concurrent")
    site.server("working").closes_its_port()
    site.call()
    site.phone.registers()
    site.wait(1)
    assert "fallback" == where_a_call_goes(site)
    site.server("working").recovers()
    site.begin()
    site.phone.registers()
    site.wait(0)
    assert "0 200 REGISTER < working" in site.told("REGISTER")
    assert "working" == where_a_call_goes(site)


# Using Server Redundancy: Failover Scenario


def test_register_failover(failover_site):
    """Y37, REGISTER Failover (newRequests, register_on_enable 0), steps 1 to 4; then the next REGISTER tries the primary."""
    site = failover_site()
    site.server("primary").falls_silent()
    site.phone.registers()
    site.wait(10)
    assert lines("""
        0    REGISTER > primary               # 1
        0.5  REGISTER > primary               # 2
        1.5  REGISTER > primary
        3.5  REGISTER > primary
        7.5  REGISTER > secondary             # 3
        7.5  200 REGISTER < secondary         # 4
    """) == site.told("REGISTER")
    site.server("primary").recovers()
    site.wait(11)
    site.begin()
    site.phone.registers()
    site.wait(1)
    assert lines("""
        0 REGISTER > primary
        0 200 REGISTER < primary
    """) == site.told("REGISTER")


def test_invite_failover(failover_site):
    """Y38, INVITE Failover: INVITE to the primary, three retries, no response, INVITE to the secondary, 200; when the primary
    is back the next call "immediately" goes there.
    """
    site = failover_site()
    site.server("primary").falls_silent()
    site.call()
    site.wait(10)
    assert lines("""
        0    INVITE > primary
        0.5  INVITE > primary
        1.5  INVITE > primary
        3.5  INVITE > primary
        7.5  INVITE > secondary
        7.5  200 INVITE < secondary
        7.5  ACK > secondary
    """) == site.told("INVITE", "ACK")
    site.server("primary").recovers()
    site.wait(11)
    site.begin()
    site.call()
    assert lines("""
        0 INVITE > primary
        0 200 INVITE < primary
        0 ACK > primary
    """) == site.told("INVITE", "ACK")


@pytest.mark.parametrize("failure", ["closes_its_port", "answers 503"])
def test_failures_that_need_no_waiting(fallback_site, failure):
    """Y39: the bulletin names "no response" only. A port that is closed and a server that says 503 fail over at once."""
    site = fallback_site()
    working = site.server("working")
    working.closes_its_port() if failure == "closes_its_port" else working.answers("INVITE", 503)
    site.call()
    site.wait(1)
    assert lines("""
        0 INVITE > working
        0 INVITE > fallback
    """) == site.sent("INVITE")


# Appendix: DNS SRV


def test_naptr_the_lowest_order_is_picked(make_site):
    """Y40: order 90 (TCP) is picked before order 100 (UDP), so the SRV question is for TCP, and none is for UDP."""
    site = make_site(PRIMARY_AND_SECONDARY.format(group="", server1=""), """
        yealink.pbx.com            NAPTR 90  50 "s" "SIP+D2T" _sip._tcp.yealink.pbx.com
        yealink.pbx.com            NAPTR 100 50 "s" "SIP+D2U" _sip._udp.yealink.pbx.com
        _sip._tcp.yealink.pbx.com  SRV   0 1 5060 server1.yealink.pbx.com
        _sip._udp.yealink.pbx.com  SRV   0 1 5060 server2.yealink.pbx.com
        server1.yealink.pbx.com    A     62.10.1.10
        server2.yealink.pbx.com    A     62.10.1.20
    """)  # fmt: skip
    assert lines("""
        0 NAPTR yealink.pbx.com > dns
        0 SRV _sip._tcp.yealink.pbx.com > dns
        0 A server1.yealink.pbx.com > dns
    """) == site.questions
    assert ["62.10.1.10:5060;tcp"] == [str(candidate) for _, candidate in site.group.candidates()]


def test_naptr_without_flags(make_site):
    """Y41: an empty flag leads to another NAPTR question, for the replacement."""
    site = make_site(PRIMARY_AND_SECONDARY.format(group="", server1=""), """
        yealink.pbx.com            NAPTR 90 50 "" "SIP+D2U" sip.yealink.pbx.com
        sip.yealink.pbx.com        NAPTR 10 10 "s" "SIP+D2U" _sip._udp.yealink.pbx.com
        _sip._udp.yealink.pbx.com  SRV   0 1 5060 server1.yealink.pbx.com
        server1.yealink.pbx.com    A     62.10.1.10
    """)  # fmt: skip
    assert lines("""
        0 NAPTR yealink.pbx.com > dns
        0 NAPTR sip.yealink.pbx.com > dns
        0 SRV _sip._udp.yealink.pbx.com > dns
        0 A server1.yealink.pbx.com > dns
    """) == site.questions


def test_srv_the_highest_weight_is_picked_first(failover_site):
    """Y42, Y43: two records of priority 0; "the weight of the second record is higher than the first one, so the second
    record will be picked first": 62.10.1.20, whose port is that of the record.
    """
    site = failover_site()
    assert ["62.10.1.20:5060;udp", "62.10.1.10:5060;udp"] == [str(candidate) for _, candidate in site.group.candidates()]
    assert "primary" == site.working()
