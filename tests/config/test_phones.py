"""`[[group.phones]]`: phones of another profile in one group, and profiles of one's own."""

from pathlib import Path

import pytest

from sbc.config import ConfigErrors, expanded, load
from sbc.redundancy.settings import OF_THE_WHOLE_GROUP, GroupSettings, ServerSettings, keys

GROUP = """\
[[listen]]
transport = "udp"
address = "127.0.0.1"

[[group]]
name = "office"
domains = ["example.com"]
profile = "yealink"
min_expires = 45

  [[group.server]]
  name = "primary"
  address = "192.0.2.1"
  retry_counts = 5

  [[group.server]]
  name = "gateway"
  address = "192.0.2.2"
  register = false
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes the group with these lines behind it into an empty folder, which becomes the current one."""
    monkeypatch.chdir(tmp_path)

    def write(text, whole=False):
        path = Path("sbc.toml")
        path.write_text(text if whole else GROUP + text, "utf-8")
        return path

    return write


def errors_of(path):
    with pytest.raises(ConfigErrors) as raised:
        load(path)
    return str(raised.value).splitlines()


PIVOT = """
  [[group.phones]]
  user_agent = "Spectralink*"
  addresses = ["192.0.2.0/25"]
  aors = ["7*"]
  profile = "pivot"
  retry_counts = 1
  min_expires = 90
"""


def test_an_entry_starts_at_its_profile_and_not_at_the_group(write):
    """Its own keys, else its profile's; of the group only who the servers are, and how they are watched."""
    group = load(write(PIVOT)).groups[0]
    (entry,) = group.phones
    assert (("Spectralink*",), ("192.0.2.0/25",), ("7*",)) == (entry.user_agent, entry.addresses, entry.aors)
    assert ("pivot", "single", 90, 300) == (
        entry.settings.profile,
        entry.settings.registration,
        entry.settings.min_expires,
        entry.settings.max_expires,
    )
    assert [("primary", "192.0.2.1", 1, True), ("gateway", "192.0.2.2", 1, False)] == [
        (server.name, server.address, server.retry_counts, server.register) for server in entry.settings.servers
    ]
    for key in OF_THE_WHOLE_GROUP[GroupSettings] - {"profile"}:
        assert getattr(group, key) == getattr(entry.settings, key)
    assert (45, 5, ()) == (group.min_expires, group.servers[0].retry_counts, entry.settings.phones)


def test_without_a_profile_it_is_the_groups(write):
    """To set a key or two for some of the phones."""
    group = load(write('\n[[group.phones]]\naors = ["1*"]\nregister_wait = 1\n')).groups[0]
    assert ("yealink", 1, 30) == (
        group.phones[0].settings.profile,
        group.phones[0].settings.register_wait,
        group.phones[0].settings.min_expires,  # the profile's, not the group's 45
    )


def test_several_user_agents(write):
    group = load(write('\n[[group.phones]]\nuser_agent = ["Polycom*", "Poly/*"]\nprofile = "polycom"\n')).groups[0]
    assert ("Polycom*", "Poly/*") == group.phones[0].user_agent


def test_every_value_of_an_entry_has_an_origin(write):
    """The file, or the profile with the rule."""
    config = load(write(PIVOT))
    path = ("group", 0, "phones", 0)
    for cls in (GroupSettings, ServerSettings):
        for key in set(keys(cls)) - OF_THE_WHOLE_GROUP[cls]:
            origin = config.provenance[*path, key]
            assert origin.startswith(("sbc.toml:", "profile pivot")), (key, origin)
    assert "sbc.toml:26" == config.provenance[*path, "retry_counts"]
    assert "V15" in config.provenance[*path, "max_expires"]


STATUS = """
    [group.phones.status_failover]
    INVITE = { "503" = "return" }
"""


@pytest.mark.parametrize(
    "text",
    [
        PIVOT,
        PIVOT + STATUS,
        PIVOT + '\n[[group.phones]]\nuser_agent = "A \\"quoted\\" one*"\nprofile = "fanvil-v2"\n',
        *(f'\n[[group.phones]]\naors = ["*"]\nprofile = "{name}"\n' for name in ("polycom-pre21", "pivot-lb", "recommended")),
    ],
)
def test_the_expanded_configuration_means_the_same(write, text):
    """With phones of several kinds, too: what `sbc check` prints can be used in place of the file."""
    config = load(write(text))
    printed = expanded(config)
    again = load(write(printed, whole=True))
    assert config.groups == again.groups
    assert printed.count("[[group.phones]]") == len(config.groups[0].phones)


def test_what_check_prints_says_where_each_value_comes_from(write):
    """Each line of an entry."""
    printed = expanded(load(write(PIVOT)))
    lines = printed[printed.index("  [[group.phones]]") :].split("\n\n")[0].splitlines()[1:]
    assert len(lines) > 20
    for line in lines:
        assert "  # " in line and "default" not in line.partition("  # ")[2][:7], line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            'profile = "pivot"',
            "sbc.toml:21: group.phones: found no phones, expected at least one of user_agent, addresses, aors,"
            " which say which phones are meant",
        ),
        (
            'aors = ["1*"]\nprofile = "pivott"',
            'sbc.toml:23: group.phones.profile: found "pivott", expected a known one: did you mean "pivot"?',
        ),
        (
            'aors = []',
            'sbc.toml:22: group.phones.aors: found [], expected a list with at least one element, such as'
            ' ["1*", "sip:reception@example.com"]',
        ),
        (
            'addresses = ["192.0.2.1/24"]',
            'sbc.toml:22: group.phones.addresses: found "192.0.2.1/24", expected "192.0.2.0/24": 192.0.2.1/24 names a host'
            " and not its network",
        ),
        (
            'user_agent = 5',
            "sbc.toml:22: group.phones.user_agent: found 5, expected a text in quotes, or a list of them, none of them empty",
        ),
        (
            'aors = ["1*"]\nprobe_interval = 5',
            "sbc.toml:23: group.phones.probe_interval: found a key of the whole group, expected it in [[group]] or"
            " [[group.server]]: all phones of a group share its servers and what is known of them",
        ),
        (
            'aors = ["1*"]\nretry_counts = 21',
            "sbc.toml:23: group.phones.retry_counts: found 21, expected a whole number from 0 to 20",
        ),
        (
            'aors = ["1*"]\nuser_agents = "A*"',
            'sbc.toml:23: group.phones.user_agents: found an unknown key, expected a known one: did you mean "user_agent"?',
        ),
    ],
)
def test_what_is_wrong_with_an_entry(write, text, expected):
    assert [expected] == errors_of(write(f"\n[[group.phones]]\n{text}\n"))


def test_one_bracket_too_few(write):
    assert ["sbc.toml:21: group.phones: found [group.phones], expected tables with two brackets, [[group.phones]]"] == errors_of(
        write('\n[group.phones]\naors = ["1*"]\n')
    )


# Profiles of one's own


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Writes a profile of that name into the folder beside the configuration. /etc/sbc/profiles is `etc` here."""
    monkeypatch.setattr("sbc.redundancy.profile.OWN_DIRECTORY", tmp_path / "etc")

    def own(name, text, folder="profiles"):
        path = tmp_path / folder / f"{name}.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
        return path

    return own


OWN_GROUP = GROUP.replace('"yealink"', '"acme"')


def test_a_profile_of_ones_own_beside_the_configuration(write, own):
    """One file, and its values have their place in it as origin."""
    own("acme", '[server]\nexpires = 600  # what our PBX likes\n')
    config = load(write(OWN_GROUP, whole=True))
    assert 600 == config.groups[0].servers[0].expires
    assert "profile acme (profiles/acme.toml:2): what our PBX likes" == config.provenance["group", 0, "server", 0, "expires"]


def test_or_in_etc(write, own):
    own("acme", "[server]\nexpires = 600\n", "etc")
    assert 600 == load(write(OWN_GROUP, whole=True)).groups[0].servers[0].expires


def test_the_one_beside_the_configuration_counts(write, own):
    own("acme", "[server]\nexpires = 700\n", "etc")
    own("acme", "[server]\nexpires = 600\n")
    assert 600 == load(write(OWN_GROUP, whole=True)).groups[0].servers[0].expires


def test_it_may_start_from_another_one(write, own):
    """What it does not say is as there, with the rule that is obeyed there."""
    own("acme", 'extends = "pivot"\nmax_expires = 120  # our firewall forgets after that\n')
    config = load(write(OWN_GROUP, whole=True))
    group = config.groups[0]
    assert (120, "single", 300) == (group.max_expires, group.registration, group.servers[0].expires)
    assert "profile acme (profiles/acme.toml:2): our firewall forgets after that" == config.provenance["group", 0, "max_expires"]
    assert config.provenance["group", 0, "registration"].startswith("profile pivot: ")
    assert config.groups == load(write(expanded(config), whole=True)).groups


def test_status_cells_are_laid_over_those_of_the_other_one(write, own):
    own("base", 'status_failover = { INVITE = { "486" = "next" } }\n')
    own("acme", 'extends = "base"\nstatus_failover = { INVITE = { "600" = "next" } }\nstatus_health = { "500" = "held" }\n')
    group = load(write(OWN_GROUP, whole=True)).groups[0]
    rows = group.status_failover["INVITE"]
    assert ("next", "next", "next-unless-ringing") == (rows["486"], rows["600"], rows["503"])
    assert ("held", "held") == (group.status_health["500"], group.status_health["503"])


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            {"acme": 'registration = "both"\n[server]\nretry_count = 3\n'},
            [
                'profiles/acme.toml:1: registration: found "both", expected one of concurrent, successive, single',
                "profiles/acme.toml:3: server.retry_count: found an unknown key, expected one of ",
                'sbc.toml:8: group.profile: found "acme", which has 2 mistakes, expected a profile without mistakes',
            ],
        ),
        (
            {"acme": 'rise = 2\nextends = "polycon"\n'},
            ['profiles/acme.toml:2: extends: found "polycon", expected a known one: did you mean "polycom"?', "sbc.toml:8"],
        ),
        (
            {"acme": 'extends = "base"\n', "base": 'extends = "acme"\n'},
            [
                'profiles/base.toml:1: extends: found "acme", expected a profile that does not start from this one itself',
                "sbc.toml:8",
            ],
        ),
        (
            {"acme": "extends = 3\n"},
            ["profiles/acme.toml:1: extends: found 3, expected the name of a profile in quotes", "sbc.toml:8"],
        ),
        ({"acme": "rise 3\n"}, ["profiles/acme.toml:1: found `rise 3`, expected TOML, but this is not: ", "sbc.toml:8"]),
        ({"acme": 'server = 3\n'}, ["profiles/acme.toml:1: server: found 3, expected a table", "sbc.toml:8"]),
    ],
)
def test_it_is_checked_like_the_configuration(write, own, files, expected):
    """File, line, key, what was found, what was expected; and who wants it."""
    for name, text in files.items():
        own(name, text)
    found = errors_of(write(OWN_GROUP, whole=True))
    assert len(expected) == len(found)
    for begin, line in zip(expected, found, strict=True):
        assert line.startswith(begin)


def test_the_name_of_a_profile_that_ships_is_taken(write, own):
    """One word, one meaning."""
    own("yealink", "rise = 2\n")
    assert [
        'profiles/yealink.toml: found the name of the file, expected a name of its own, as "yealink" is a profile that ships'
        ' with sbc; extends = "yealink" starts from it',
        'sbc.toml:8: group.profile: found "yealink", which has a mistake, expected a profile without mistakes',
    ] == errors_of(write(""))


def test_bytes_that_are_no_text(write, own):
    own("acme", "").write_bytes(b"rise = 3\n# \xff\n")
    assert "profiles/acme.toml:2: found the byte 0xff, expected text in UTF-8" == errors_of(write(OWN_GROUP, whole=True))[0]


def test_a_suggestion_knows_the_own_ones(write, own):
    own("acme", "rise = 3\n")
    (error,) = errors_of(write(GROUP.replace('"yealink"', '"acmee"'), whole=True))
    assert error.endswith('expected a known one: did you mean "acme"?')
