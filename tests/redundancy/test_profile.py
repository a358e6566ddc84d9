"""Profiles: the files that ship, and what a broken one gets."""

import re

import pytest

from sbc.redundancy.profile import (
    OF_ONE_GROUP,
    OF_ONE_SERVER,
    ProfileError,
    load_profile,
    profile_names,
    read_profile,
)
from sbc.redundancy.settings import DEFAULT_STATUS_FAILOVER, GroupSettings, ServerSettings, keys


SHIPPED = [
    "fanvil-v2", "fanvil-v3", "pivot", "pivot-lb", "polycom", "polycom-pre21", "recommended", "spectralink84", "yealink",
]  # fmt: skip

RULES = {"yealink": "Y", "polycom": "P", "polycom-pre21": "P", "pivot": "V", "pivot-lb": "V", "spectralink84": "S",
         "fanvil-v2": "F", "fanvil-v3": "F"}  # fmt: skip
"""Each bulletin's letter in the names of its rules."""


@pytest.fixture(params=SHIPPED)
def shipped(request):
    """Each profile that ships, in turn."""
    return load_profile(request.param)


def test_these_ship():
    """Every bulletin has its profile; Fanvil and Polycom, whose products differ, have two."""
    assert SHIPPED == profile_names()


def test_a_profile_leaves_nothing_to_a_default(shipped):
    """Every key is there, so that a change of our own defaults changes no vendor's behaviour. The status tables are laid over
    table D6, and so may be left out."""
    optional = {"status_failover", "status_health"}
    assert set(keys(GroupSettings)) - OF_ONE_GROUP - optional <= set(shipped.group)
    assert set(keys(ServerSettings)) - OF_ONE_SERVER == set(shipped.server)


def test_every_value_cites_a_rule_or_says_why_it_is_ours(shipped):
    """A rule id of a bulletin, an RFC, or `ours` with a reason, or the one mode that uses it."""
    for key in [*shipped.group, *(f"server.{key}" for key in shipped.server)]:
        source = shipped.provenance[key]
        cited = re.search(r"\b[YPVSFX]\d+\b|P-ext|RFC \d{4}", source)
        ours = re.search(r"\bours\b.*: \S", source)
        assert cited or ours or source.startswith("only used by "), (key, source)


@pytest.mark.parametrize("name", RULES)
def test_a_vendors_profile_cites_its_own_bulletin(name):
    """And the sections of it, in quotes."""
    citations = " ".join(load_profile(name).provenance.values())
    assert len(set(re.findall(rf"\b{RULES[name]}\d+\b", citations))) >= 4
    assert len(set(re.findall(r'"[^"]+" \(', citations))) >= 3


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("polycom-pre21", {"registration": "successive", "failback_mode": "registration"}),  # P23
        ("pivot", {"registration": "single", "max_expires": 300, "probe_interval": 300, "failback_mode": "probe"}),
        ("pivot-lb", {"registration": "single", "max_expires": 300, "failback_mode": "never"}),  # V4, V11, V15, V21, V26
        ("spectralink84", {"srv_weight": "descending", "transport": "dns-naptr", "port": 0}),  # S4, S9
        ("fanvil-v3", {"registration": "successive", "retry_counts": 3, "retry_time": 0, "expires": 3600}),  # F6, F14, F18
        ("fanvil-v2", {"registration": "successive", "retry_time": 7.5, "bye_failover": True}),  # F6, F8
    ],
)
def test_what_tells_the_vendors_apart(name, expected):
    """X1, X2, X4: what the bulletins disagree about."""
    profile = load_profile(name)
    values = {**profile.group, **profile.server}
    assert expected == {key: values[key] for key in expected}


def test_vendors_return_at_once_and_ours_waits_a_minute():
    names = ("recommended", "yealink", "polycom")
    assert [60, 0, 0] == [load_profile(name).group["failback_hold"] for name in names]


def test_unknown_profile_names_the_known_ones():
    with pytest.raises(ProfileError, match="profile 'yaelink' not found, expected one of .*yealink"):
        load_profile("yaelink")
    with pytest.raises(ProfileError):
        load_profile("../profiles/yealink")


def test_status_cells_replace_ours_one_by_one(tmp_path):
    file = tmp_path / "strict.toml"
    file.write_text('[status_failover]  # "Section 1"\nINVITE = { 486 = "next" }  # "Section 2": busy moves\n')
    profile = read_profile(file)
    rows = profile.group["status_failover"]
    assert ("next", DEFAULT_STATUS_FAILOVER["INVITE"]["503"]) == (rows["INVITE"]["486"], rows["INVITE"]["503"])
    assert DEFAULT_STATUS_FAILOVER["in-dialog"] == rows["in-dialog"]
    assert '"Section 2": busy moves' == profile.provenance["status_failover.INVITE"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rise = 0  # x", "{file}:1: rise: found 0, expected a whole number from 1 to 100"),
        ("\nrise = true", "{file}:2: rise: found True, expected a whole number from 1 to 100"),
        (
            'registration = "both"',
            "{file}:1: registration: found 'both', expected one of concurrent, successive, single",
        ),
        (
            "[server]\nfailback_timeout = 30",
            "{file}:2: server.failback_timeout: found 30, expected 0 or a whole number from 60 to 65535 s",
        ),
        ('[server]\nregister = "yes"', "{file}:2: server.register: found 'yes', expected true or false"),
        (
            'method_servers = { SUBSCRIBE = "last" }',
            "{file}:1: method_servers: found {{'SUBSCRIBE': 'last'}}, expected a table of method = \"first\"",
        ),
        (
            'status_health = { 503 = "dead" }',
            "{file}:1: status_health: found {{'503': 'dead'}}, expected a table of status (300 to 699) = "
            "up | suspect | held | none",
        ),
    ],
)
def test_broken_profile_is_told_exactly(tmp_path, text, message):
    file = tmp_path / "broken.toml"
    file.write_text(text)
    with pytest.raises(ProfileError) as error:
        read_profile(file)
    assert message.format(file=file) == str(error.value)


def test_every_mistake_is_told_at_once(tmp_path):
    file = tmp_path / "broken.toml"
    file.write_text('rise = 0\nraise = 3\nname = "x"\n[server]\naddress = "192.0.2.1"\n')
    with pytest.raises(ProfileError) as error:
        read_profile(file)
    lines = str(error.value).splitlines()
    assert 4 == len(lines)
    assert lines[1].startswith(f"{file}:2: raise: found an unknown key, expected one of ")
    assert lines[3].startswith(f"{file}:5: server.address: found an unknown key")


def test_not_toml(tmp_path):
    file = tmp_path / "broken.toml"
    file.write_text("rise 3\n")
    with pytest.raises(ProfileError, match="broken.toml:1: found `rise 3`, expected TOML, but .*line 1"):
        read_profile(file)
