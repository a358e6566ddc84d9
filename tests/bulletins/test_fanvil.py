"""Fanvil, "SIP Server Primary/Backup Function and Configuration Description" 1.1: its numbered steps, seen on the wire.

Each test is one section, or one statement of it, with the profiles `fanvil-v3` (a number of retransmissions) and
`fanvil-v2` (a time).
"""

from __future__ import annotations

import pytest

from sbc.redundancy.profile import load_profile
from sbc.redundancy.settings import ServerSettings, expectation
from tests.bulletins.wire import lines

TWO_SERVERS = """
    profile = "{profile}"
    {group}

    [[group.server]]
    name = "primary"
    address = "192.0.2.1"
    {primary}

    [[group.server]]
    name = "backup"
    address = "192.0.2.2"
    {backup}
"""


@pytest.fixture
def make(make_site):
    def make(profile="fanvil-v3", group="", primary="", backup=""):
        return make_site(TWO_SERVERS.format(profile=profile, group=group, primary=primary, backup=backup))

    return make


@pytest.fixture
def site(make):
    """2.1 Function Settings: SIP Server1 is the primary server and SIP Server2 the backup server."""
    return make()


def test_1_1_everything_at_the_primary_in_the_normal_state(site):
    """F1: "In the normal state, all SIP requests and responses are assumed by the primary server"."""
    site.phone.registers()
    site.wait(1)
    site.phone.hangs_up(site.call())
    site.phone.sends("SUBSCRIBE", ("Event", "message-summary"))
    site.wait(1)
    assert {"primary"} == {seen.target for seen in site.with_servers() if seen.source == "sbc" and seen.method != "OPTIONS"}


@pytest.mark.parametrize("failure", [500, 503, "icmp"])
def test_1_2_server_unavailable(site, failure):
    """F2, X6: "the server returns with a 500/503 message, UDP receives an ICMP message": the backup server at once."""
    primary = site.server("primary")
    primary.closes_its_port() if failure == "icmp" else primary.answers("REGISTER", failure)
    site.phone.registers()
    site.wait(1)
    assert lines("""
        0 REGISTER > primary
        0 REGISTER > backup
    """) == site.sent("REGISTER")
    assert "0 200 REGISTER < backup" in site.told("REGISTER")


def test_1_2_server_unavailable_by_tcp(make):
    """F2, F15: "or the TCP connection times out": after 3 s the backup server."""
    site = make(group='transport = "tcp"')
    site.server("primary").falls_silent()
    site.breaks_connections()
    site.phone.registers()
    site.wait(5)
    assert lines("""
        0 connect > primary
        3 connect > backup
        3 REGISTER > backup
    """) == site.sent("connect", "REGISTER")


@pytest.mark.parametrize("trigger", ["OPTIONS", "CANCEL"])
def test_2_2_1_timeouts_that_trigger_it(site, trigger):
    """F5: "registration timeout, Option/Cancel request timeout": after either, the phone is registered at the backup
    server.
    """
    site.phone.registers()
    site.wait(1)
    primary = site.server("primary")
    if trigger == "CANCEL":
        primary.answers("INVITE", 180)
        call = site.call()
        primary.falls_silent()
        site.phone.hangs_up(call)
    else:
        primary.falls_silent()
    site.begin()
    site.wait(200)
    assert trigger in {seen.method for seen in site.with_servers() if seen.target == "primary"}
    site.phone.registers()
    site.wait(1)
    assert "REGISTER > backup" in site.told("REGISTER")[0]


@pytest.mark.parametrize("profile", ["fanvil-v3", "fanvil-v2"])
def test_2_2_1_register_failover(make, profile):
    """F4, F6, steps 1 to 4: REGISTER to the primary, so many times (V3 product) or for so long (V2 product), then to the
    backup server, which responds with 200.
    """
    site = make(profile)
    site.server("primary").falls_silent()
    site.phone.registers()
    site.wait(10)
    assert lines("""
        0    REGISTER > primary               # 1
        0.5  REGISTER > primary               # 2
        1.5  REGISTER > primary
        3.5  REGISTER > primary
        7.5  REGISTER > backup                # 3
        7.5  200 REGISTER < backup            # 4
    """) == site.told("REGISTER")


def test_2_2_1_a_specific_time(make):
    """F6: V2 products: for a given time, here 5 s, whatever the number of retransmissions."""
    site = make("fanvil-v2", primary="retry_time = 5")
    site.server("primary").falls_silent()
    site.phone.registers()
    site.wait(10)
    assert lines("""
        0    REGISTER > primary
        0.5  REGISTER > primary
        1.5  REGISTER > primary
        3.5  REGISTER > primary
        5    REGISTER > backup
    """) == site.sent("REGISTER")


def test_2_2_2_invite_failover(site):
    """F4, F7, X8, steps 1 to 7: INVITE to the primary; REGISTER to the backup server, wait for its 200; INVITE to it; 200.
    """
    site.phone.registers()
    site.wait(1)
    site.server("primary").falls_silent()
    site.begin()
    call = site.call()                        # 1
    site.wait(10)
    assert lines("""
        0    INVITE > primary                 # 2
        0.5  INVITE > primary                 # 3
        1.5  INVITE > primary
        3.5  INVITE > primary
        7.5  REGISTER > backup                # 4
        7.5  200 REGISTER < backup            # 5
        7.5  INVITE > backup                  # 6
        7.5  200 INVITE < backup              # 7
    """) == site.told("INVITE", "REGISTER")
    assert call.answered.settled


def test_2_2_3_bye_failover(site):
    """F4, F8, X8, X9, steps 1 to 8: BYE to the primary; REGISTER to the backup server, wait for its 200; BYE to it; 200."""
    site.phone.registers()
    call = site.call()                        # 1
    site.wait(1)
    site.server("primary").falls_silent()
    site.begin()
    site.phone.hangs_up(call)                 # 2
    site.wait(10)
    assert lines("""
        0    BYE > primary                    # 3
        0.5  BYE > primary                    # 4
        1.5  BYE > primary
        3.5  BYE > primary
        7.5  REGISTER > backup                # 5
        7.5  200 REGISTER < backup            # 6
        7.5  BYE > backup                     # 7
        7.5  200 BYE < backup                 # 8
    """) == site.told("BYE", "REGISTER")
    assert 200 == call.bye_status


def test_2_2_4_failover_failure_of_a_call(make):
    """F9, F18, X4, X5: each server in turn, "except for the last server": 64*T1; then "information feedback is provided"."""
    site = make(backup="register_on_enable = false")
    site.server("primary").falls_silent()
    site.server("backup").falls_silent()
    call = site.call()
    site.wait(60)
    assert lines("""
        0    INVITE > primary
        0.5  INVITE > primary
        1.5  INVITE > primary
        3.5  INVITE > primary
        7.5  INVITE > backup
        8    INVITE > backup
        9    INVITE > backup
        11   INVITE > backup
        15   INVITE > backup
        23   INVITE > backup
        39   INVITE > backup
    """) == site.sent("INVITE")
    assert 39.5 == call.ended.at - call.started
    assert site.told_phone("INVITE")[-1].startswith("39.5 ")


def test_2_2_4_failover_failure_of_a_registration(site):
    """F9: the same, but the phone itself stops at 32 s, so that it is told before: the last server has what is left of 31
    s.
    """
    site.server("primary").falls_silent()
    site.server("backup").falls_silent()
    registered = site.phone.registers()
    site.wait(60)
    times = [line for line in site.sent("REGISTER") if line.endswith("backup")]
    assert "7.5 REGISTER > backup" == times[0]
    [failure] = registered
    assert failure.status is not None
    assert site.told_phone("REGISTER")[-1].startswith("31 ")


def at_the_backup_server(site) -> None:
    """The primary fell silent, the phone is registered at the backup server, and that was second 0."""
    site.phone.registers()
    site.wait(1)
    site.server("primary").falls_silent()
    site.phone.registers()
    site.wait(7.5)
    assert "backup" == site.working()
    site.begin()


def registers_to_primary(site) -> list[str]:
    return [line for line in site.sent("REGISTER") if line.endswith("primary")]


def test_2_3_failback(site):
    """F3, F10, F17, X2, steps 1 to 3: registered at the backup server; when the timer expires, 1800 s, an independent
    REGISTER to the primary, in a dialog of its own; on its 200 the phone switches.
    """
    at_the_backup_server(site)                # 1
    site.server("primary").recovers()
    site.wait(1799)
    assert [] == registers_to_primary(site)
    assert "backup" == site.working()
    site.wait(2)
    assert lines("1800 REGISTER > primary") == registers_to_primary(site)[:1]        # 2
    assert "primary" == site.working()                                               # 3
    probe = next(seen.message for seen in site.with_servers("REGISTER") if seen.target == "primary")
    others = [seen.message for seen in site.wire.seen if seen.method == "REGISTER" and seen.target == "backup"]
    assert probe.call_id not in {message.call_id for message in others}
    site.begin()
    site.call()
    assert lines("0 INVITE > primary") == site.sent("INVITE")


def test_2_3_still_unavailable(site):
    """F11: the REGISTER "will be retransmitted according to RFC3261 until 64*T1 (32s) timeout. After timeout, a timer is
    started again".
    """
    at_the_backup_server(site)
    site.wait(2 * 1832 + 1)
    once = [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    times = [float(line.split()[0]) for line in registers_to_primary(site)]
    assert [1800 + at for at in once] + [2 * 1800 + 32 + at for at in once] == times


@pytest.mark.parametrize("mode", ["never", "registration"])
def test_2_3_enable_failback(make, mode):
    """F16: Enable Failback, on by default; "never" stands for off, and then no REGISTER asks the primary, and nothing
    returns.
    """
    site = make(group=f'failback_mode = "{mode}"')
    at_the_backup_server(site)
    site.server("primary").recovers()
    site.wait(1900)
    assert (mode == "never") == (registers_to_primary(site) == [])
    assert ("backup" if mode == "never" else "primary") == site.working()


def test_3_1_configuration_items(make):
    """F12, F13, F14, F15: address, port, registration time and transport of each server; 5060, 3600 s and UDP by default."""
    assert (3600, "udp", 0) == tuple(load_profile("fanvil-v3").server[key] for key in ("expires", "transport", "port"))
    site = make(primary="port = 5070\n    expires = 600", backup="expires = 1200")
    site.phone.registers()
    site.wait(1)
    site.server("primary").closes_its_port()
    site.phone.registers()
    site.wait(1)
    asked = {seen.target: seen.message.get("Expires") for seen in site.with_servers("REGISTER") if seen.source == "sbc"}
    assert {"primary": "600", "backup": "1200"} == asked
    candidates = [str(candidate) for _, candidate in site.group.candidates()]
    assert ["192.0.2.1:5070;udp", "192.0.2.2:5060;udp"] == candidates
    assert all(expectation(ServerSettings, "transport", transport) is None for transport in ("udp", "tcp", "tls"))
