"""The main scenario of each bulletin against real Kamailio servers and a real name server, in real time.

Register, call, lose the primary, call again, and back. The packets are captured, and their order and times compared with the
bulletin's. The same scenarios on fake time, with everything else of the bulletins, are in tests/bulletins.
"""

from __future__ import annotations

import pytest

from tests.e2e.peers import Capture, Kamailio, Peers, Sbc, SippPhone
from tests.e2e.peers.capture import assert_story, can_capture
from tests.e2e.peers.process import free_port, wait_until

pytestmark = pytest.mark.skipif(not can_capture(), reason="not installed: tshark (tests/run installs it)")

TWO_ADDRESSES = """
profile = "{profile}"
{group}
[[group.server]]
name = "{first.name}"
address = "127.0.0.1"
port = {first.port}
transport = "udp"
[[group.server]]
name = "{second.name}"
address = "127.0.0.1"
port = {second.port}
transport = "udp"
"""

ONE_NAME = """
profile = "{profile}"
{group}
[[group.server]]
name = "server1"
address = "pbx.test"
transport = "dns-naptr"
"""


class Stage:
    """Two Kamailio servers, the appliance in front of them, and a look at the wire.

    alice is a phone behind the appliance, which knows her password. bob is known at both servers and has never heard of the
    appliance.
    """

    def __init__(self, peers: Peers, names: tuple[str, str], text: str, profile: str, group: str = "", dns: str = "") -> None:
        self.first = peers.kamailio(names[0], challenge_calls=False)
        twin = (self.first.address, self.first.port)
        self.second = peers.kamailio(names[1], challenge_calls=False, shares_dialogs_of=twin)
        both = {"first": self.first, "second": self.second}
        name_server = peers.name_server(*dns.format(**both).split()) if dns else None
        port = free_port()
        ports = {self.first.port: names[0], self.second.port: names[1], port: "sbc"}
        if name_server is not None:
            ports[name_server.port] = "dns"
        self.wire: Capture = peers.capture(ports)
        self.sbc: Sbc = peers.appliance(
            port, text.format(profile=profile, group=group, **both), dns=name_server, accounts=("alice",)
        )
        self.alice: SippPhone = peers.sipp_phone("alice", self.sbc.proxy())
        self.bob: SippPhone = peers.sipp_phone("bob", f"127.0.0.1:{self.first.port}")
        self.bob.register()
        there_too = peers.sipp_phone("bob", f"127.0.0.1:{self.second.port}")
        there_too.port = self.bob.port
        there_too.register()
        self.wait_for(self.first)

    def call(self) -> float:
        """alice calls bob, from second 0 of the wire; returns the seconds until it rang."""
        callee = self.bob.take_calls()
        self.wire.begin()
        [delay] = self.alice.call("bob")
        callee.finish()
        return delay

    def sent(self, *methods: str) -> list[tuple[float, str]]:
        """The appliance's requests to the servers, and its questions to the name server."""
        return [(at, what) for at, what in self.wire.seen(*methods) if " > " in what and not what[0].isdigit()]

    def wait_for(self, server: Kamailio) -> None:
        """Until new requests go to that server."""
        candidate = f"127.0.0.1:{server.port};udp"
        wait_until(
            lambda: self.sbc.metric("sbc_working_server", candidate=candidate) == 1, f"{server.name} is the working server", 25
        )


def test_yealink_invite_failover(peers: Peers) -> None:
    """Y9, Y38, Y40, Y42: a name with a primary and a secondary behind it; the primary falls silent, is asked four times, and
    the secondary answers; when the primary is back, the next call goes there.
    """
    stage = Stage(peers, ("primary", "secondary"), ONE_NAME, "yealink", dns="""
        naptr-record=pbx.test,90,50,s,SIP+D2U,,_sip._udp.pbx.test
        srv-host=_sip._udp.pbx.test,server1.pbx.test,{second.port},0,1
        srv-host=_sip._udp.pbx.test,server2.pbx.test,{first.port},0,2
        host-record=server1.pbx.test,127.0.0.1
        host-record=server2.pbx.test,127.0.0.1
    """)  # fmt: skip
    questions = [what for _, what in stage.sent("NAPTR", "SRV", "A")]
    assert ["NAPTR pbx.test > dns", "SRV _sip._udp.pbx.test > dns"] == questions[:2]
    assert {"A server1.pbx.test > dns", "A server2.pbx.test > dns"} == set(questions[2:])

    stage.wire.begin()
    stage.alice.register()
    assert {"REGISTER > primary"} == {what for _, what in stage.sent("REGISTER")}
    stage.call()
    assert_story("0 INVITE > primary", stage.sent("INVITE"))

    stage.first.freeze()
    assert 7.4 < stage.call() < 8
    assert_story("""
        0    INVITE > primary
        0.5  INVITE > primary
        1.5  INVITE > primary
        3.5  INVITE > primary
        7.5  INVITE > secondary
    """, stage.sent("INVITE"))  # fmt: skip

    stage.first.kill()
    stage.first.start()
    stage.wait_for(stage.first)
    stage.call()
    assert_story("0 INVITE > primary", stage.sent("INVITE"))


def test_polycom_invite_fallback(peers: Peers) -> None:
    """P4, P12, P15, P18: registered at both; the primary's port is closed, so the call goes on at once; it is the working server
    again as soon as it has accepted a registration.
    """
    stage = Stage(peers, ("provider", "router"), TWO_ADDRESSES, "polycom")
    stage.wire.begin()
    stage.alice.register()
    assert {"REGISTER > provider", "REGISTER > router"} == {what for _, what in stage.sent("REGISTER")}
    stage.call()
    assert_story("0 INVITE > provider", stage.sent("INVITE"))

    stage.first.kill()
    assert stage.call() < 0.5
    assert_story("""
        0 INVITE > provider
        0 INVITE > router
    """, stage.sent("INVITE"))  # fmt: skip

    stage.first.start()
    stage.alice.register()
    stage.wait_for(stage.first)
    stage.call()
    assert_story("0 INVITE > provider", stage.sent("INVITE"))


def test_spectralink84_failover_by_dns(peers: Peers) -> None:
    """S2, S4, S14, S22: no NAPTR records; SRV gives two servers with ports of their own; the phone is registered at one at a
    time, and at the other one when that is gone.
    """
    stage = Stage(peers, ("piper", "piper2"), ONE_NAME, "spectralink84", dns="""
        srv-host=_sip._udp.pbx.test,one.pbx.test,{first.port},1,10
        srv-host=_sip._udp.pbx.test,two.pbx.test,{second.port},2,20
        host-record=one.pbx.test,127.0.0.1
        host-record=two.pbx.test,127.0.0.1
    """)  # fmt: skip
    questions = [what for _, what in stage.sent("NAPTR", "SRV", "A")]
    assert ["NAPTR pbx.test > dns", "SRV _sip._udp.pbx.test > dns"] == questions[:2]
    stage.wire.begin()
    stage.alice.register()
    assert {"REGISTER > piper"} == {what for _, what in stage.sent("REGISTER")}

    stage.first.kill()
    stage.wire.begin()
    stage.alice.register()
    registers = [what for _, what in stage.sent("REGISTER")]
    assert ("REGISTER > piper", {"REGISTER > piper2"}) == (registers[0], set(registers[1:]))
    stage.call()
    assert_story("0 INVITE > piper2", stage.sent("INVITE"))

    stage.first.start()
    stage.wait_for(stage.first)
    stage.call()
    assert_story("0 INVITE > piper", stage.sent("INVITE"))


def test_pivot_failover_and_failback(peers: Peers) -> None:
    """V3, V11, V22, V26, with OPTIONS every 2 s instead of every 300: registered at the preferred server only; at the redundant
    one when OPTIONS has no answer; and back, which begins with a de-REGISTER.
    """
    quick = "probe_interval = 2\nprobe_interval_down = 2\nprobe_timeout = 2"
    stage = Stage(peers, ("preferred", "redundant"), TWO_ADDRESSES, "pivot", quick)
    stage.wire.begin()
    stage.alice.register()
    assert {"REGISTER > preferred"} == {what for _, what in stage.sent("REGISTER")}

    stage.wire.begin()
    stage.first.kill()
    stage.wait_for(stage.second)
    wait_until(lambda: stage.second.contacts("alice"), "alice is registered at the redundant server")
    assert {"REGISTER > redundant"} == {what for _, what in stage.sent("REGISTER")}
    assert stage.call() < 0.5
    assert_story("0 INVITE > redundant", stage.sent("INVITE"))

    stage.wire.begin()
    stage.first.start()
    stage.wait_for(stage.first)
    wait_until(lambda: not stage.second.contacts("alice"), "alice is gone from the redundant server")
    wait_until(lambda: stage.first.contacts("alice"), "alice is registered at the preferred server")
    moves = list(dict.fromkeys(what for _, what in stage.sent("REGISTER")))
    assert ["de-REGISTER > redundant", "REGISTER > preferred"] == moves
    stage.call()
    assert_story("0 INVITE > preferred", stage.sent("INVITE"))


def test_fanvil_invite_failover(peers: Peers) -> None:
    """F6, F7, F10, F17, with the primary asked after 10 s instead of 1800: the primary falls silent and is asked four times;
    then REGISTER to the backup server, and after its 200 the INVITE; back when the primary answers a REGISTER.
    """
    stage = Stage(peers, ("primary", "backup"), TWO_ADDRESSES, "fanvil-v3", "register_probe_interval = 10")
    stage.wire.begin()
    stage.alice.register()
    assert {"REGISTER > primary"} == {what for _, what in stage.sent("REGISTER")}
    stage.call()
    assert_story("0 INVITE > primary", stage.sent("INVITE"))

    stage.first.freeze()
    assert 7.4 < stage.call() < 8.5
    assert_story("""
        0    INVITE > primary
        0.5  INVITE > primary
        1.5  INVITE > primary
        3.5  INVITE > primary
        7.5  REGISTER > backup
        7.5  REGISTER > backup
        7.5  INVITE > backup
    """, stage.sent("INVITE", "REGISTER"))  # fmt: skip

    stage.first.kill()
    stage.first.start()
    stage.wire.begin()
    stage.wait_for(stage.first)
    assert "REGISTER > primary" in [what for _, what in stage.sent("REGISTER")]
    stage.call()
    assert_story("0 INVITE > primary", stage.sent("INVITE"))
