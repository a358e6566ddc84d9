"""V6 to V10: a group's domain and servers in one line, as the PIVOT phone's "SIP server" field holds them."""

import tomllib
from pathlib import Path

import pytest

from sbc.config import ConfigErrors, expanded, load
from sbc.location.procedure import descending, locate
from sbc.location.records import Address, Srv

LISTEN = '[[listen]]\ntransport = "udp"\naddress = "127.0.0.1"\n'


@pytest.fixture
def group_of(tmp_path):
    """The group that a field makes; `more` are further lines of the group."""

    def group_of(field, more=""):
        path = tmp_path / "sbc.toml"
        path.write_text(f'{LISTEN}[[group]]\nname = "office"\n{more}\nserver_field = "{field}"\n')
        return load(path).groups[0]

    return group_of


@pytest.mark.parametrize(
    ("field", "addresses"),
    [
        ("TestDomain.local", ["testdomain.local"]),
        ("TestDomain.local; 172.29.102.138; 172.29.102.139", ["172.29.102.138", "172.29.102.139"]),
        (
            "TestDomain.local; SIPServer1.TestDomain.local; SIPServer2.TestDomain.local",
            ["sipserver1.testdomain.local", "sipserver2.testdomain.local"],
        ),
        ("TestDomain.local; fourAnames.TestDomain.local", ["fouranames.testdomain.local"]),
        ("TestDomain.local;a;b;c;d", ["a", "b", "c", "d"]),
        ("TestDomain.local ; TestDomain.local", ["testdomain.local"]),
        ("TestDomain.local; _sip._udp.TestDomain.local", ["_sip._udp.testdomain.local"]),
    ],
)
def test_domain_and_servers(group_of, field, addresses):
    """V6: 1 + 0..4; the domain alone is also serverspec1. V7: otherwise it is a name only. The bulletin's four methods."""
    group = group_of(field)
    assert ("testdomain.local",) == group.domains
    assert addresses == [server.address for server in group.servers]
    assert list(range(1, len(addresses) + 1)) == [server.rank for server in group.servers]


def test_servers_go_by_what_they_are_found_by(group_of):
    """So that metrics and the status page say what the field says."""
    group = group_of("example.com; 192.0.2.1; b.example.com")
    assert ["192.0.2.1", "b.example.com"] == [server.name for server in group.servers]


def test_keys_of_the_group_hold_for_them(group_of):
    """As for [[group.server]]: stronger than the profile."""
    group = group_of("example.com; 192.0.2.1; b.example.com", 'port = 5070\nretry_counts = 1\ntransport = "udp"')
    assert [(5070, 1, "udp")] * 2 == [(server.port, server.retry_counts, server.transport) for server in group.servers]


def test_domains_may_be_more(group_of):
    """V10: the phones' addresses end in the domain of the field; whoever has others says so."""
    assert ("example.com", "example.org") == group_of("other.example; a", 'domains = ["example.com", "example.org"]').domains


def test_check_shows_the_servers_and_where_they_came_from(tmp_path):
    """The output is a configuration again."""
    path = tmp_path / "sbc.toml"
    path.write_text(f'{LISTEN}[[group]]\nname = "office"\nserver_field = "example.com; 192.0.2.1; b.example.com"\n')
    config = load(path)
    text = expanded(config)
    servers = tomllib.loads(text)["group"][0]["server"]
    assert ["192.0.2.1", "b.example.com"] == [server["address"] for server in servers]
    line = next(line for line in text.splitlines() if 'address = "b.example.com"' in line)
    assert line.endswith(f"# {path}:6")
    again = Path(tmp_path / "again.toml")
    again.write_text(text)
    assert config.groups == load(again).groups


def test_one_domain_in_two_groups(tmp_path):
    """As with `domains`."""
    path = tmp_path / "sbc.toml"
    group = '[[group]]\nname = "{}"\nserver_field = "example.com; 192.0.2.{}"\n'
    path.write_text(LISTEN + group.format("a", 1) + group.format("b", 2))
    with pytest.raises(ConfigErrors, match="each domain once, in one group"):
        load(path)


ONE, TWO = "172.29.102.138", "172.29.102.139"
DOMAIN_SRV = "SRV _sip._udp.testdomain.local"
HOSTS = {"A sipserver1.testdomain.local": [Address(ONE)], "A sipserver2.testdomain.local": [Address(TWO)]}
FOUR = [f"172.29.102.{last}" for last in (140, 139, 138, 141)]


@pytest.mark.parametrize(
    ("method", "field", "zone", "candidates", "queries"),
    [
        (1, f"TestDomain.local; {ONE}; {TWO}", {}, [f"P1:1 {ONE}", f"P2:1 {TWO}"], []),
        (
            2,
            "TestDomain.local; SIPServer1.TestDomain.local; SIPServer2.TestDomain.local",
            HOSTS,
            [f"P1:1 {ONE}", f"P2:1 {TWO}"],
            [
                "SRV _sip._udp.sipserver1.testdomain.local", "A sipserver1.testdomain.local",
                "SRV _sip._udp.sipserver2.testdomain.local", "A sipserver2.testdomain.local",
            ],
        ),
        (
            3,
            "TestDomain.local",
            HOSTS | {
                DOMAIN_SRV: [
                    Srv(2, 0, 5060, "SIPServer2.TestDomain.local"), Srv(1, 0, 5060, "SIPServer1.TestDomain.local"),
                ]
            },
            [f"P1:1 {ONE}", f"P1:2 {TWO}"],
            [DOMAIN_SRV, "A sipserver1.testdomain.local", "A sipserver2.testdomain.local"],
        ),
        (
            4,
            "TestDomain.local; fourAnames.TestDomain.local",
            {"A fouranames.testdomain.local": [Address(address) for address in FOUR]},
            [f"P1:1 {address}" for address in FOUR],
            ["SRV _sip._udp.fouranames.testdomain.local", "A fouranames.testdomain.local"],
        ),
    ],
)  # fmt: skip
def test_the_four_methods(group_of, method, field, zone, candidates, queries):
    """V32, V9, V12 to V14: what each of them leads to. V7: with servers behind it, the domain itself is never asked for."""
    found, asked = [], []

    def lookup(question):
        asked.append(str(question))
        return zone.get(str(question), [])

    for server in group_of(field, 'transport = "udp"').servers:
        located = locate(server, lookup, srv_order=descending, families=("A",))
        found += [f"P{server.rank}:{candidate.priority} {candidate.address}" for candidate in located.candidates]
        assert {5060} == {candidate.port for candidate in located.candidates}
    assert (candidates, queries) == (found, asked)
