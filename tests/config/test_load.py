"""What a good configuration becomes, and where each value is said to come from."""

import re
from pathlib import Path

import pytest

from sbc.config import ConfigErrors, Endpoint, default_path, expanded, load
from sbc.redundancy.settings import GroupSettings, ServerSettings

EXAMPLE = Path(__file__).parents[2] / "conf" / "sbc.toml"

MINIMAL = """\
[[listen]]
transport = "udp"
address = "127.0.0.1"

[[group]]
name = "office"
domains = ["Example.COM"]
profile = "yealink"

  [[group.server]]
  name = "primary"
  address = "PBX.example.com"

  [[group.server]]
  name = "fallback"
  address = "192.0.2.15"
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a configuration into an empty folder, which becomes the current one; returns its relative path."""
    monkeypatch.chdir(tmp_path)

    def write(text):
        path = Path("sbc.toml")
        path.write_text(text, "utf-8")
        return path

    return write


def test_a_minimal_configuration_has_sensible_defaults(write):
    """Three tables are enough; the rest is as the documentation says."""
    config = load(write(MINIMAL))
    assert (1, 30.0, Path("/var/lib/sbc")) == (
        config.appliance.workers,
        config.appliance.drain,
        config.appliance.state_dir,
    )
    assert ("udp", "127.0.0.1", 5060, "both", "") == (
        config.listens[0].transport,
        config.listens[0].address,
        config.listens[0].port,
        config.listens[0].side,
        config.listens[0].advertise,
    )
    assert config.http is None
    assert ((), 0.0) == (config.dns.servers, config.dns.requery)
    assert (0.5, 4.0, 5.0) == (config.timers.t1, config.timers.t2, config.timers.t4)
    assert (None, None) == (config.tls.ca, config.credentials.file)
    assert () == config.warnings


def test_servers_are_ranked_in_the_order_of_the_file(write):
    """The first is P1."""
    servers = load(write(MINIMAL)).groups[0].servers
    assert [("primary", 1), ("fallback", 2)] == [(server.name, server.rank) for server in servers]


def test_names_of_hosts_are_lower_case(write):
    """Domains and names mean the same in any case, and are compared often."""
    group = load(write(MINIMAL)).groups[0]
    assert (("example.com",), "pbx.example.com") == (group.domains, group.servers[0].address)


def test_a_value_comes_from_the_profile(write):
    """What the file does not say, the profile does, with the rule of the bulletin that it obeys."""
    config = load(write(MINIMAL))
    origin = config.provenance["group", 0, "server", 0, "retry_counts"]
    assert 3 == config.groups[0].servers[0].retry_counts
    assert origin.startswith("profile yealink: ") and "Y19" in origin


def test_a_server_key_in_the_group_holds_for_all_its_servers(write):
    """Stronger than the profile, weaker than the server's own key."""
    text = MINIMAL.replace('profile = "yealink"', 'profile = "yealink"\nretry_counts = 1')
    config = load(write(text.replace('name = "fallback"', 'name = "fallback"\n  retry_counts = 2')))
    assert [1, 2] == [server.retry_counts for server in config.groups[0].servers]
    assert ["sbc.toml:9", "sbc.toml:17"] == [
        config.provenance["group", 0, "server", place, "retry_counts"] for place in (0, 1)
    ]


def test_a_status_table_is_laid_over_the_default(write):
    """Naming one status of one method leaves the others as they were."""
    table = '[group.status_failover]\nINVITE = { 503 = "return" }\n'
    text = MINIMAL.replace("  [[group.server]]", table + "[[group.server]]", 1)
    before, after = load(write(MINIMAL)).groups[0], load(write(text)).groups[0]
    expected = {method: dict(rows) for method, rows in before.status_failover.items()}
    expected["INVITE"]["503"] = "return"
    assert expected == after.status_failover


def test_relative_paths_are_meant_from_the_folder_of_the_file(write, tmp_path):
    """Wherever the command is typed."""
    Path("elsewhere").mkdir()
    write('[appliance]\nstate_dir = "state"\n' + MINIMAL).rename("elsewhere/sbc.toml")
    assert tmp_path / "elsewhere" / "state" == load("elsewhere/sbc.toml").appliance.state_dir


def test_tls_listens_on_5061(write, certificates):
    """S7, X10."""
    listen = '[[listen]]\ntransport = "tls"\naddress = "::1"\ncertificate = "a.crt"\nkey = "a.key"\n'
    assert [5061, 5060] == [entry.port for entry in load(write(listen + MINIMAL)).listens]


def test_dns_servers(write):
    """With and without a port, IPv4 and IPv6."""
    servers = '[dns]\nservers = ["192.0.2.53", "192.0.2.53:5353", "2001:db8::53", "[2001:db8::53]:5353"]\n'
    assert (
        Endpoint("192.0.2.53", 53),
        Endpoint("192.0.2.53", 5353),
        Endpoint("2001:db8::53", 53),
        Endpoint("2001:db8::53", 5353),
    ) == load(write(servers + MINIMAL)).dns.servers


def test_the_same_port_for_udp_and_tcp(write):
    """They do not collide; nor do two addresses, nor IPv4 and IPv6."""
    more = [("tcp", "127.0.0.1"), ("udp", "127.0.0.2"), ("udp", "::1")]
    text = "".join(f'[[listen]]\ntransport = "{transport}"\naddress = "{address}"\n' for transport, address in more)
    assert 4 == len(load(write(text + MINIMAL)).listens)


def test_every_value_has_an_origin(write):
    """Of each key that a file may have, it is known where its value came from."""
    config = load(write(MINIMAL))
    for key in (field for field in GroupSettings.__dataclass_fields__ if field not in ("servers", "phones")):
        assert ("group", 0, key) in config.provenance
    for key in (field for field in ServerSettings.__dataclass_fields__ if field != "rank"):
        assert ("group", 0, "server", 1, key) in config.provenance


@pytest.mark.parametrize("source", ["example", "minimal"])
def test_the_expanded_configuration_means_the_same(write, source):
    """What `sbc check` prints can be saved and used in place of the file."""
    config = load(EXAMPLE if source == "example" else write(MINIMAL))
    again = load(write(expanded(config)))
    assert (config.appliance, config.listens, config.http, config.dns, config.timers) == (
        again.appliance,
        again.listens,
        again.http,
        again.dns,
        again.timers,
    )
    assert (config.groups, config.tls, config.credentials) == (again.groups, again.tls, again.credentials)


def test_the_example_shows_the_defaults_that_are_in_force(write):
    """Each `# key = value` of conf/sbc.toml can be uncommented and changes nothing."""
    text = EXAMPLE.read_text("utf-8")
    uncommented, count = re.subn(r"(?m)^( *)# ([a-z][a-z_0-9]* = )", r"\1\2", text)
    assert count > 25
    assert expanded_values(load(write(text))) == expanded_values(load(write(uncommented)))


def test_the_example_explains_every_key(write):
    """No key is known to the program alone."""
    text = EXAMPLE.read_text("utf-8")
    keys = set(re.findall(r"(?m)^ *([a-z_0-9]+) = ", expanded(load(EXAMPLE)))) | {"certificate", "key"}
    assert set() == {key for key in keys if not re.search(rf"(?m)^ *(# (e\.g\. )?)?{key} = ", text)} - STATUS_ROWS


STATUS_ROWS = {"500", "502", "503", "504", "408", "430"}
"""Rows of the status tables, which are not keys of their own."""


def expanded_values(config):
    """The text of the expanded configuration without the origins."""
    return re.sub(r"(?m)  # .*$", "", expanded(config))


def test_default_path_prefers_the_system(tmp_path, monkeypatch):
    """/etc/sbc/sbc.toml, else conf/sbc.toml in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sbc.config.DEFAULT_PATHS", (tmp_path / "etc.toml", Path("conf/sbc.toml")))
    with pytest.raises(ConfigErrors, match="found no configuration file, expected .*etc.toml or conf/sbc.toml"):
        default_path()
    Path("conf").mkdir()
    Path("conf/sbc.toml").touch()
    assert Path("conf/sbc.toml") == default_path()
    (tmp_path / "etc.toml").touch()
    assert tmp_path / "etc.toml" == default_path()
