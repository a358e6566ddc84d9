"""The four displays of the PIVOT bulletin (V12, V32), from the configured names to the lines of `sbc status`.

What DNS answers goes through location and the group, as in the appliance. Ours are in the order of preference, where the
phone lists an SRV name in the order of the answer; what each line says is the same.
"""

from __future__ import annotations

from sbc.location.procedure import descending, locate
from sbc.location.records import Address, Question, Record, Srv
from sbc.observe.status import render
from sbc.redundancy.group import ServerGroup
from sbc.redundancy.outcome import Answered, TransportFailed
from sbc.redundancy.settings import GroupSettings, ServerSettings

ONE, TWO = "172.29.102.138", "172.29.102.139"


def displayed(group: ServerGroup) -> list[str]:
    """The candidates as `sbc status` shows them, without what follows."""
    text = render({"groups": [group.describe(0.0)]}, 0.0)
    return [line.partition("  ")[0] for line in (line.strip() for line in text.splitlines()) if line.startswith("P") and ":" in line[:4]]


def group_of(*specs: str, zone: dict[str, tuple[Record, ...]] | None = None, **settings) -> ServerGroup:
    """`TestDomain.local; spec1; spec2 ...`, each candidate of which has answered an OPTIONS."""
    servers = tuple(
        ServerSettings(f"P{rank}", spec, rank=rank, transport="udp") for rank, spec in enumerate(specs, 1)
    )
    group = ServerGroup(GroupSettings("line", servers, **settings), (0.5, 4.0), lambda event: None, 0.0)
    for server in servers:
        located = locate(
            server, lambda question: (zone or {}).get(str(question), ()), srv_order=descending, families=["A"]
        )
        group.update_candidates(server.name, located.candidates, 0.0)
    for _, candidate in group.candidates():
        group.probe_ended(candidate, Answered(200), 0.0, "OPTIONS")
    return group


def question(name: str, rrtype: str) -> str:
    return str(Question.of(name, rrtype))


def test_v32_method_1_ip_addresses() -> None:
    """SIP server: TestDomain.local; 172.29.102.138; 172.29.102.139. Priority 1, for want of SRV (V12)."""
    assert ["P1:1 172.29.102.138 up*", "P2:1 172.29.102.139 up"] == displayed(group_of(ONE, TWO))


def test_v32_method_2_a_names() -> None:
    """SIP server: TestDomain.local; SIPServer1.TestDomain.local; SIPServer2.TestDomain.local."""
    zone = {
        question("SIPServer1.TestDomain.local", "A"): (Address(ONE),),
        question("SIPServer2.TestDomain.local", "A"): (Address(TWO),),
    }
    group = group_of("SIPServer1.TestDomain.local", "SIPServer2.TestDomain.local", zone=zone)
    assert ["P1:1 172.29.102.138 up*", "P2:1 172.29.102.139 up"] == displayed(group)


def test_v32_v13_method_3_srv_records() -> None:
    """SIP server: TestDomain.local. One rank, and the lower number is preferred, whatever comes first in the answer (V13)."""
    zone: dict[str, tuple[Record, ...]] = {
        question("_sip._udp.TestDomain.local", "SRV"): (
            Srv(2, 0, 5060, "SIPServer2.TestDomain.local."), Srv(1, 0, 5060, "SIPServer1.TestDomain.local."),
        ),
        question("SIPServer1.TestDomain.local", "A"): (Address(ONE),),
        question("SIPServer2.TestDomain.local", "A"): (Address(TWO),),
    }  # fmt: skip
    assert ["P1:1 172.29.102.138 up*", "P1:2 172.29.102.139 up"] == displayed(group_of("TestDomain.local", zone=zone))


POOL = ("172.29.102.140", TWO, ONE, "172.29.102.141")


def pool(order: tuple[str, ...]) -> dict[str, tuple[Record, ...]]:
    return {question("fourAnames.TestDomain.local", "A"): tuple(map(Address, order))}


def test_v32_v14_method_4_load_balancing() -> None:
    """SIP server: TestDomain.local; fourAnames.TestDomain.local: four times P1:1, as DNS has them (V14)."""
    group = group_of("fourAnames.TestDomain.local", zone=pool(POOL), load_balancing=True)
    assert [
        "P1:1 172.29.102.140 up*", "P1:1 172.29.102.139 up", "P1:1 172.29.102.138 up", "P1:1 172.29.102.141 up",
    ] == displayed(group)  # fmt: skip


def test_v32_v28_after_two_hours_dns_answers_in_another_order() -> None:
    """The bulletin's second display: "the phone remains registered to the original server"."""
    group = group_of("fourAnames.TestDomain.local", zone=pool(POOL), load_balancing=True)
    found = {candidate.address: candidate for _, candidate in group.candidates()}
    turned = (ONE, "172.29.102.141", "172.29.102.140", TWO)
    group.update_candidates("P1", [found[address] for address in turned], 7200.0)
    assert [
        "P1:1 172.29.102.138 up", "P1:1 172.29.102.141 up", "P1:1 172.29.102.140 up*", "P1:1 172.29.102.139 up",
    ] == displayed(group)  # fmt: skip


def test_v19_the_words_of_a_candidate() -> None:
    """V19: unknown before it was asked, up, down; and frozen (V20), which the phone shows by not changing anything."""
    group = group_of(ONE, TWO, "172.29.102.140")
    group.probe_ended(group.candidates()[1][1], TransportFailed("icmp"), 1.0, "OPTIONS")
    assert ["P1:1 172.29.102.138 up*", "P2:1 172.29.102.139 down", "P3:1 172.29.102.140 up"] == displayed(group)
    group.set_link(False, 2.0)
    assert ["P1:1 172.29.102.138 frozen*", "P2:1 172.29.102.139 frozen", "P3:1 172.29.102.140 frozen"] == displayed(group)
    fresh = ServerGroup(
        GroupSettings("line", (ServerSettings("P1", ONE, transport="udp"),)), (0.5, 4.0), lambda event: None, 0.0
    )
    fresh.update_candidates("P1", [group.candidates()[0][1]], 0.0)
    assert ["P1:1 172.29.102.138 unknown*"] == displayed(fresh)


def headline(group: ServerGroup, **more: bool) -> str:
    text = render({"groups": [{**group.describe(0.0), **more}]}, 0.0)
    (line,) = [line for line in text.splitlines() if line.startswith("Group")]
    return line.rpartition("): ")[2]


def test_v27_when_redundancy_is_set_up() -> None:
    """V27: provisioned, registered to one, and every candidate pinged and up. The gauge asks for two that are up."""
    group = group_of(ONE, TWO, "172.29.102.140")
    assert "redundancy is ready" == headline(group, redundancy_set_up=True)
    assert "redundancy is ready, but no phone is registered" == headline(group, redundancy_set_up=False)
    group.probe_ended(group.candidates()[2][1], TransportFailed("icmp"), 1.0, "OPTIONS")
    assert (True, False) == (group.redundancy_ready(), group.every_candidate_up())
    assert "redundancy is ready, but not every candidate is up" == headline(group, redundancy_set_up=False)
    group.probe_ended(group.candidates()[1][1], TransportFailed("icmp"), 1.0, "OPTIONS")
    assert "NO REDUNDANCY: fewer than two candidates are up" == headline(group, redundancy_set_up=False)


def test_d33_the_network_is_spoken_of_when_it_is_not_well() -> None:
    def second_line(state: str) -> str:
        return render({"network": {"state": state, "reason": "why"}, "groups": []}, 0.0).splitlines()[1]

    assert "" == second_line("up")
    assert second_line("link_down").startswith("Network: OUR OWN LINK IS DOWN: servers are frozen")
    assert second_line("uplink_down").startswith("Network: THE UPLINK IS DOWN") and "(why)" in second_line("uplink_down")
    assert second_line("dns_down").startswith("Network: name servers do not answer")
