"""Profiles: the files that ship, and what a broken one gets."""

import pytest

from sbc.redundancy.profile import ProfileError, load_profile, profile_names, read_profile
from sbc.redundancy.settings import DEFAULT_STATUS_FAILOVER


@pytest.mark.parametrize("name", ["recommended", "yealink", "polycom"])
def test_every_value_says_where_it_comes_from(name):
    """A rule of a bulletin, an RFC, or `ours` with its reason."""
    profile = load_profile(name)
    values = [*profile.group, *(f"server.{key}" for key in profile.server)]
    assert values
    for key in values:
        assert len(profile.provenance[key]) >= 4, key


def test_vendors_return_at_once_and_ours_waits_a_minute():
    names = ("recommended", "yealink", "polycom")
    assert [60, 0, 0] == [load_profile(name).group["failback_hold"] for name in names]


def test_shipped_profiles_are_listed():
    assert {"recommended", "yealink", "polycom"} <= set(profile_names())


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
    with pytest.raises(ProfileError, match="broken.toml: .*line 1"):
        read_profile(file)
