"""Broken configurations, each with its exact messages, and the warnings about those that work otherwise than they look.

The files are `tests/data/config/invalid-*.toml`; the lines that begin with `#:` on top are the expected answer.
"""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sbc.config import ConfigError, ConfigErrors, load
from sbc.config.errors import as_toml

FOLDER = Path(__file__).parents[1] / "data" / "config"
INVALID = sorted(path.name for path in FOLDER.glob("invalid-*.toml"))


def test_there_are_enough_of_them():
    """The folder is where we think it is."""
    assert len(INVALID) >= 25


@pytest.mark.parametrize("name", INVALID)
def test_messages(name, monkeypatch):
    """Every error at once, with file, line, key, what was found and what was expected."""
    monkeypatch.chdir(FOLDER)
    lines = Path(name).read_text("latin-1").splitlines()
    expected = [line.removeprefix("#: ") for line in lines if line.startswith("#: ")]
    with pytest.raises(ConfigErrors) as raised:
        load(name)
    assert expected == str(raised.value).splitlines()


@pytest.mark.parametrize("name", INVALID)
def test_the_line_shows_the_key(name, monkeypatch):
    """The line that is named holds the key that is named, or opens the table in which it is missing."""
    monkeypatch.chdir(FOLDER)
    lines = ["", *Path(name).read_text("latin-1").splitlines()]
    with pytest.raises(ConfigErrors) as raised:
        load(name)
    for error in raised.value.errors:
        if not error.key or error.file != name or error.found in ("none", "no socket for servers"):
            continue
        table, _, key = error.key.rpartition(".")
        inside_list = table.endswith(("domains", "servers", "sources")) or key in ("domains", "servers", "sources")
        assert key in lines[error.line] or f"[{table}]" in lines[error.line] or inside_list


def test_a_file_that_is_not_there(tmp_path):
    """Said like any other error."""
    with pytest.raises(ConfigErrors) as raised:
        load(tmp_path / "sbc.toml")
    expected = "found no readable file (no such file or directory), expected a configuration file"
    assert f"{tmp_path}/sbc.toml: {expected}" == str(raised.value)


def test_a_folder_in_place_of_the_file(tmp_path):
    """No traceback either."""
    with pytest.raises(ConfigErrors, match="is a directory"):
        load(tmp_path)


LISTEN = '[[listen]]\ntransport = "udp"\naddress = "127.0.0.1"\n'
GROUP = """\
[[group]]
name = "office"
domains = ["example.com"]
GROUP_KEYS
[[group.server]]
name = "primary"
address = "pbx.example.com"
SERVER_KEYS
"""


def warnings_of(folder, text="", group="", server=""):
    """What is warned about in an otherwise faultless configuration, as `key: text`."""
    path = folder / "sbc.toml"
    path.write_text(LISTEN + text + GROUP.replace("GROUP_KEYS", group).replace("SERVER_KEYS", server))
    return [f"{warning.key}: {warning.text}" for warning in load(path).warnings]


def test_no_warnings_without_reason(tmp_path):
    """Warnings that are always there are never read."""
    assert [] == warnings_of(tmp_path)


def test_port_and_naptr_contradict(tmp_path):
    """Y10, Y32: the Yealink sample gives port 5060 with DNS-NAPTR, and so never asks for SRV."""
    (warning,) = warnings_of(tmp_path, server='port = 5060\ntransport = "dns-naptr"')
    assert warning == (
        "group.server.port: with a port given only A and AAAA are asked for pbx.example.com: no NAPTR, no SRV,"
        " transport udp; port = 0 finds them"
    )


def test_port_0_without_naptr(tmp_path):
    """S8: the handset's warning says no lookup is made; S5 says SRV and A are, and so do we."""
    (warning,) = warnings_of(tmp_path, server='port = 0\ntransport = "udp"')
    assert warning == (
        "group.server.port: with port 0 and transport udp the SRV records of _sip._udp.pbx.example.com are asked for,"
        " then A and AAAA with port 5060; no NAPTR, although some manuals say that only dns-naptr makes a phone ask DNS"
    )


YEALINK_SAMPLE = """\
profile = "yealink"
transport = "dns-naptr"
naptr_build = "udp"
registration = "successive"
port = 5060
expires = 3600
retry_counts = 3
"""
"""Y32: the bulletin's sample file, as far as it says how servers are found."""


def test_the_sample_of_a_bulletin_never_asks_for_srv(tmp_path):
    """Y32: transport DNS-NAPTR and port 5060 at both servers. What will happen is said, for each of them."""
    second = '[[group.server]]\nname = "fallback"\naddress = "fallback.example.com"\n'
    warnings = warnings_of(tmp_path, group=YEALINK_SAMPLE, server=second)
    assert ["pbx.example.com", "fallback.example.com"] == [
        warning.split("are asked for ")[1].split(":")[0] for warning in warnings
    ]
    assert all("no NAPTR, no SRV, transport udp; port = 0 finds them" in warning for warning in warnings)


@pytest.mark.parametrize(
    "keys", ['transport = "udp"', 'transport = "dns-naptr"\nport = 5060', 'transport = "dns-naptr"\naddress = "192.0.2.1"']
)
def test_naptr_build_that_nothing_reads(tmp_path, keys):
    """Y21: only consulted when NAPTR was asked for and gave nothing."""
    server = f'naptr_build = "tcp"\n{keys}'
    if "address" in keys:
        path = tmp_path / "sbc.toml"
        text = LISTEN + GROUP.replace('address = "pbx.example.com"', "")
        path.write_text(text.replace("GROUP_KEYS", "").replace("SERVER_KEYS", server))
        warnings = [f"{warning.key}: {warning.text}" for warning in load(path).warnings]
    else:
        warnings = warnings_of(tmp_path, server=server)
    expected = "only used with transport dns-naptr, port 0 and a name, when NAPTR gives nothing"
    assert f"group.server.naptr_build: {expected}" in warnings
    assert [] == warnings_of(tmp_path, server='naptr_build = "tcp"\ntransport = "dns-naptr"')


def server_called(folder, address, more=""):
    path = folder / "sbc.toml"
    text = LISTEN + GROUP.replace("pbx.example.com", address).replace("GROUP_KEYS", "").replace("SERVER_KEYS", more)
    path.write_text(text)
    return load(path)


def test_port_with_the_name_of_an_srv_record(tmp_path):
    """V8 against S6."""
    (warning,) = server_called(tmp_path, "_sip._udp.example.com", "port = 5060").warnings
    assert "group.server.port" == warning.key
    assert "_sip._udp.example.com is looked up as a host, and not as the SRV record that it names" in warning.text


def test_transport_against_the_name_of_an_srv_record(tmp_path):
    """V8: the name says it."""
    (warning,) = server_called(tmp_path, "_sip._tcp.example.com", 'transport = "udp"').warnings
    assert "_sip._tcp.example.com names servers that speak tcp: that is used, and not udp" == warning.text


def test_requery_without_a_name(tmp_path):
    """V28 needs something to ask for."""
    second = '[[group.server]]\nname = "fallback"\naddress = "192.0.2.2"\n'
    path = tmp_path / "sbc.toml"
    text = LISTEN + GROUP.replace("pbx.example.com", "192.0.2.1")
    path.write_text(text.replace("GROUP_KEYS", "dns_requery = 7200").replace("SERVER_KEYS", second))
    assert ["group.dns_requery: no server of this group has a name: DNS is not asked"] == [
        f"{warning.key}: {warning.text}" for warning in load(path).warnings
    ]


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("192.0.2.1,, b.example", '"192.0.2.1,, b.example", whose part 2 is empty'),
        ("a.example, b example", '"a.example, b example", whose part 2 is "b example"'),
        ("a.example,", '"a.example,", whose part 2 is empty'),
    ],
)
def test_list_of_addresses_says_which_part_is_wrong(tmp_path, address, message):
    """S13."""
    with pytest.raises(ConfigErrors) as raised:
        server_called(tmp_path, address)
    assert f"group.server.address: found {message}, expected a host name or an IP address" in str(raised.value)


def test_tcp_preferred_needs_a_udp_socket(tmp_path):
    """S11: UDP if TCP fails. A connection needs no socket that listens."""
    assert [] == warnings_of(tmp_path, server='transport = "tcp-preferred"')
    path = tmp_path / "sbc.toml"
    text = LISTEN.replace("udp", "tcp") + GROUP.replace("GROUP_KEYS", "")
    path.write_text(text.replace("SERVER_KEYS", 'transport = "tcp-preferred"'))
    with pytest.raises(ConfigErrors, match="none is udp"):
        load(path)


def test_failback_timeout_without_duration(tmp_path):
    """A value that nothing reads."""
    (warning,) = warnings_of(tmp_path, server='failback_timeout = 120\nfailback_mode = "never"')
    assert 'group.server.failback_timeout: only failback_mode = "duration" uses it; the mode here is "never"' == warning


def test_duration_without_failback_timeout(tmp_path):
    """Y29: 0 = never go back until the current server itself fails."""
    (warning,) = warnings_of(tmp_path, server='failback_mode = "duration"\nfailback_timeout = 0')
    assert "group.server.failback_mode: with failback_timeout 0: new requests return" in warning


def test_more_than_two_servers(tmp_path):
    """P10: load."""
    more = "".join(f'[[group.server]]\nname = "s{n}"\naddress = "s{n}.example.com"\n' for n in (2, 3))
    assert ["group.server: 3 servers, and each phone is registered at all of them: 3 times the load"] == warnings_of(
        tmp_path, server=more, group='registration = "concurrent"'
    )


def test_twins(tmp_path):
    """Two entries for one place are no redundancy."""
    twin = '[[group.server]]\nname = "fallback"\naddress = "pbx.example.com"\n'
    (warning,) = warnings_of(tmp_path, server=twin)
    assert 'group.server.address: the same address, port and transport as server "primary"' in warning


def test_nothing_to_fail_over_to(tmp_path):
    """One literal address is one candidate."""
    path = tmp_path / "sbc.toml"
    text = LISTEN + GROUP.replace("pbx.example.com", "192.0.2.1")
    path.write_text(text.replace("GROUP_KEYS", "").replace("SERVER_KEYS", ""))
    assert ["one server with one address: there is nothing to fail over to"] == [
        warning.text for warning in load(path).warnings
    ]


def test_servers_that_no_bye_reaches(tmp_path):
    """D1: phones give a request other than INVITE up after 32 s, whatever is still to be tried."""
    fallback = '[[group.server]]\nname = "fallback"\naddress = "fallback.example.com"\n'
    (warning,) = warnings_of(tmp_path, server="retry_counts = 10\n" + fallback)
    assert 'use up 32 s, and phones wait 32 s for the answer to anything but an INVITE: server "fallback"' in warning


def test_http_on_an_open_address(tmp_path):
    """The status page has no password."""
    (warning,) = warnings_of(tmp_path, '[http]\naddress = "0.0.0.0"\n')
    assert warning.startswith("http.address: everyone who reaches 0.0.0.0 can read names and addresses of phones")


def test_probe_that_waits_longer_than_the_interval(tmp_path):
    """Two OPTIONS would be under way at once."""
    (warning,) = warnings_of(tmp_path, group="probe_interval_down = 2\nprobe_timeout = 4")
    assert "group.probe_timeout: 4 s, longer than the 2 s between two of them" == warning


def test_port_0_to_listen_on(tmp_path):
    """For tests; phones cannot know the port."""
    path = tmp_path / "sbc.toml"
    path.write_text((LISTEN + "port = 0\n" + GROUP).replace("GROUP_KEYS", "").replace("SERVER_KEYS", ""))
    (warning,) = load(path).warnings
    expected = "listen.port: warning: the system chooses a free port at every start; phones cannot know it"
    assert f"{path}:4: {expected}" == str(warning)


def test_tls_server_without_a_tls_socket(tmp_path):
    """It works, but a restart makes the phones unreachable for a while: better to hear it before."""
    (warning,) = warnings_of(tmp_path, server='transport = "tls"')
    assert warning.startswith("group.server.transport: no tls [[listen]] faces servers, so this one can send calls only")


def test_key_of_another_certificate(tmp_path, certificates, monkeypatch):
    """Found before a phone finds it."""
    monkeypatch.chdir(tmp_path)
    tls = '[[listen]]\ntransport = "tls"\naddress = "127.0.0.1"\ncertificate = "a.crt"\nkey = "b.key"\n'
    with pytest.raises(ConfigErrors) as raised:
        warnings_of(Path(), tls)
    assert str(raised.value) == (
        'sbc.toml:8: listen.key: found "b.key", which belongs to another certificate,'
        ' expected a PEM file with the key to "a.crt", without a password'
    )


def test_expired_certificate(tmp_path, certificates):
    """It works for peers that do not look."""
    (warning,) = warnings_of(tmp_path, '[tls]\ncertificate = "old.crt"\nkey = "old.key"\n')
    assert "tls.certificate: it has expired: peers that look will refuse the connection" == warning


def test_credentials_that_everyone_can_read(tmp_path):
    """A HA1 is all that is needed to make calls at somebody's cost."""
    secret = tmp_path / "phones.htdigest"
    secret.write_text("anna:example.com:0123456789abcdef0123456789abcdef\n")
    secret.chmod(0o644)
    (warning,) = warnings_of(tmp_path, '[credentials]\nfile = "phones.htdigest"\n')
    assert warning.startswith("credentials.file: everyone on this machine can read it")
    secret.chmod(0o600)
    assert [] == warnings_of(tmp_path, '[credentials]\nfile = "phones.htdigest"\n')


def test_credentials_of_another_kind(tmp_path):
    """A file of passwords, say: its first lines are told, and how many more there are."""
    secret = tmp_path / "phones.htdigest"
    secret.write_text("# ours\n" + "anna secret\n" * 1000)
    with pytest.raises(ConfigErrors) as raised:
        warnings_of(tmp_path, '[credentials]\nfile = "phones.htdigest"\n')
    lines = str(raised.value).splitlines()
    assert [*range(2, 22), 22] == [error.line for error in raised.value.errors]
    assert lines[20].endswith("phones.htdigest:22: credentials.file: found 980 more wrong lines from here on, expected a file that"
                              " htdigest has made")  # fmt: skip
    assert "secret" not in str(raised.value)


def test_credentials_without_users(tmp_path):
    """A file of comments helps nobody."""
    secret = tmp_path / "phones.htdigest"
    secret.write_text("# user:realm:HA1\n")
    secret.chmod(0o600)
    (warning,) = warnings_of(tmp_path, '[credentials]\nfile = "phones.htdigest"\n')
    assert "credentials.file: no user in it: no challenge can be answered" == warning


def test_profile_with_mistakes(tmp_path, monkeypatch):
    """A broken profile names itself, and the group that wants it."""
    (tmp_path / "broken.toml").write_text("[server]\nretry_counts = 21\n")
    monkeypatch.setattr("sbc.redundancy.profile.DIRECTORIES", (tmp_path,))
    with pytest.raises(ConfigErrors) as raised:
        warnings_of(tmp_path, group='profile = "broken"')
    assert (
        f"{tmp_path}/broken.toml:2: server.retry_counts: found 21, expected a whole number from 0 to 20\n"
        f'{tmp_path}/sbc.toml:7: group.profile: found "broken", which has a mistake, expected a profile without mistakes'
    ) == str(raised.value)


def test_errors_are_in_the_order_of_the_file():
    """However they were found."""
    errors = ConfigErrors([ConfigError("a.toml", 9, "b", "x", "y"), ConfigError("a.toml", 2, "c", "x", "y")])
    assert "a.toml:2: c: found x, expected y\na.toml:9: b: found x, expected y" == str(errors)


@given(st.recursive(st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_values_are_shown_as_toml(value):
    """What is shown reads as TOML, and is that value."""
    import tomllib

    assert value == tomllib.loads(f"value = {as_toml(value)}")["value"]


@given(st.binary(max_size=200))
def test_any_bytes_are_a_configuration_or_errors(tmp_path_factory, content):
    """Nothing but ConfigErrors comes out, whatever goes in."""
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigErrors):
        load(path)


KEYS = ["appliance", "listen", "group", "dns", "http", "server", "name", "port", "transport", "domains", "ca", "file"]


@given(st.recursive(
    st.none() | st.text(max_size=5) | st.integers() | st.booleans() | st.floats() | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=12,
))
def test_any_values_are_errors_and_nothing_else(tmp_path_factory, value):
    """Every key may hold a value of any type."""
    text = "".join(f"{key} = {as_toml(value)}\n" for key in KEYS)
    path = tmp_path_factory.getbasetemp() / "values.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigErrors):
        load(path)


def test_more_workers_than_cores(tmp_path, monkeypatch):
    """It works, and it is not what one would want."""
    monkeypatch.setattr("sbc.config.rules.cores_for_us", lambda: 2)
    (warning,) = warnings_of(tmp_path, "[appliance]\nworkers = 4\n")
    assert "appliance.workers: 4 workers on 2 cores: more of them cost more and serve no more phones" == warning
    assert [] == warnings_of(tmp_path, "[appliance]\nworkers = 2\n")


def test_a_worker_for_each_core(tmp_path, monkeypatch):
    """`workers = 0`."""
    monkeypatch.setattr("sbc.config.model.cores_for_us", lambda: 3)
    path = tmp_path / "sbc.toml"
    path.write_text("[appliance]\nworkers = 0\n" + (LISTEN + GROUP).replace("GROUP_KEYS", "").replace("SERVER_KEYS", ""))
    assert 3 == load(path).appliance.processes
    monkeypatch.setattr("sbc.config.model.cores_for_us", lambda: 96)
    assert 32 == load(path).appliance.processes


@pytest.mark.parametrize(
    ("group", "server", "warning"),
    [
        (
            "load_balancing = true", 'failback_mode = "probe"',
            "group.server.failback_mode: load_balancing: the servers of the group are equals, and nothing returns by itself",
        ),
        (
            "register_probe_interval = 30", "",
            'group.register_probe_interval: only probe_method = "register" uses it; here it is "options"',
        ),
        (
            'load_balancing = true\nprobe_method = "register"', "",
            "group.probe_method: load_balancing: no server is better, so all are asked by OPTIONS",
        ),
        (
            "", 'failback_window = "01:00-02:00"',
            'group.server.failback_window: only failback_mode = "scheduled" uses it; the mode here is "probe"',
        ),
    ],
)  # fmt: skip
def test_keys_about_coming_back_that_do_nothing(tmp_path, group, server, warning):
    assert [warning] == warnings_of(tmp_path, group=group, server=server)


def test_no_ttl_without_names(tmp_path):
    """Y26."""
    server = 'failback_mode = "dns-ttl"'
    assert [] == warnings_of(tmp_path, server=server)
    path = tmp_path / "sbc.toml"
    path.write_text(path.read_text().replace("pbx.example.com", "192.0.2.7"))
    texts = [f"{warning.key}: {warning.text}" for warning in load(path).warnings]
    assert (
        "group.server.failback_mode: no server of the group has a name, so nothing has a TTL:"
        " it returns only when the one in use fails" in texts
    )
