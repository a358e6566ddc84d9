"""Warnings about settings that contradict each other or their profile: each says what will happen."""

import pytest

from sbc.config import expanded, load
from tests.config.test_errors import LISTEN

GROUP = """\
[[group]]
name = "office"
domains = ["example.com"]
GROUP_KEYS
[[group.server]]
name = "primary"
address = "192.0.2.1"
SERVER_KEYS
[[group.server]]
name = "fallback"
address = "192.0.2.2"
"""


@pytest.fixture
def check(tmp_path):
    def check(group="", server="", behind=""):
        """The configuration with two servers."""
        path = tmp_path / "sbc.toml"
        path.write_text(LISTEN + GROUP.replace("GROUP_KEYS", group).replace("SERVER_KEYS", server) + behind)
        return load(path)

    return check


@pytest.fixture
def warnings_of(check):
    return lambda *args, **kw: [f"{warning.line}: {warning.key}: {warning.text}" for warning in check(*args, **kw).warnings]


NAMES = ["recommended", "yealink", "polycom", "polycom-pre21", "pivot", "pivot-lb", "spectralink84", "fanvil-v2", "fanvil-v3"]


@pytest.mark.parametrize("name", NAMES)
def test_a_profile_as_it_ships_contradicts_nothing(check, name):
    """Only that phones move without a registration is said, where their bulletin wants one first and nobody has a password."""
    texts = [warning.text for warning in check(f'profile = "{name}"').warnings]
    assert all("only [credentials] would let the appliance register the phone first" in text for text in texts)
    assert len(texts) == (name in ("polycom-pre21", "pivot", "pivot-lb", "fanvil-v2", "fanvil-v3"))


def test_with_passwords_nothing_is_missing(check, tmp_path):
    secret = tmp_path / "phones.htdigest"
    secret.write_text("alice:example.com:0123456789abcdef0123456789abcdef\n")
    secret.chmod(0o600)
    text = '[credentials]\nfile = "phones.htdigest"\n'
    assert () == check('profile = "fanvil-v3"', behind=text).warnings


def test_requests_before_a_registration(warnings_of):
    """F7, F8, D22: the order on the wire that cannot be had."""
    assert [
        "7: group.profile: INVITE, BYE after a failover go to the next server before the phone is registered there, where it"
        " asks for a password: only [credentials] would let the appliance register the phone first"
    ] == warnings_of('profile = "fanvil-v3"')


def test_concurrent_registration_on_a_profile_that_has_one_at_a_time(warnings_of):
    """X1, V11."""
    (warning,) = warnings_of('profile = "pivot"\nregistration = "concurrent"')
    assert (
        "8: group.registration: profile pivot registers a phone at one server only; now each phone is registered at"
        " 2 servers at once, and servers that know of each other may let it ring twice"
    ) == warning


def test_equals_that_are_registered_at_all_at_once(warnings_of):
    """S1: "can cause the SIP clients to flip-flop between the two servers constantly"."""
    (warning,) = warnings_of('registration = "concurrent"\nfailback_mode = "never"')
    assert warning.startswith("7: group.registration: the servers are equals (nothing ever fails back), and each phone is")
    assert [] == warnings_of('registration = "single"\nfailback_mode = "never"')


def test_a_count_and_a_time(warnings_of):
    """F6, F18: the time decides."""
    expected = "group.server.retry_counts: retry_time decides: a silent server is left after 5 s, however often it was asked"
    assert [f"11: {expected}"] == warnings_of(server="retry_counts = 2\nretry_time = 5")
    (warning,) = warnings_of('profile = "fanvil-v2"\nretry_counts = 2')[-1:]
    assert "8: group.retry_counts: retry_time decides: a silent server is left after 7.5 s, however often it was asked" == warning


def test_expires_beyond_max_expires(warnings_of):
    """V15."""
    (warning,) = warnings_of("expires = 3600\nmax_expires = 300")
    assert "7: group.expires: phones are registered for 300 s, as max_expires says, and not for 3600 s" == warning


def test_keys_of_another_mode_of_registration(warnings_of):
    """They are read, and do nothing."""
    assert ["7: group.register_wait: only concurrent registration uses it; it is successive here"] == warnings_of(
        'register_wait = 1\nregistration = "successive"'
    )


def test_no_registration_at_the_first_server(warnings_of):
    """P7, P8: only a registrar can be the working server."""
    (warning,) = warnings_of('profile = "polycom"', "register = false")
    assert warning == (
        "11: group.server.register: phones are not registered at the first server, so it is never the one in use, and new"
        " requests begin further down the list; PUBLISH, SUBSCRIBE go to it all the same, as method_servers says"
    )


def test_an_entry_of_phones_is_looked_at_as_well(warnings_of):
    entry = '[[group.phones]]\naors = ["1*"]\nprofile = "pivot"\nregistration = "concurrent"\nretry_time = 3\nretry_counts = 1\n'
    warnings = warnings_of(behind=entry)
    assert ["18: group.phones.registration", "20: group.phones.retry_counts"] == [
        ": ".join(warning.split(": ")[:2]) for warning in warnings
    ]


@pytest.mark.parametrize(
    ("first", "second", "hidden"),
    [
        ('user_agent = "Yealink*"', 'user_agent = "Yealink*"\naors = ["1*"]', True),
        ('user_agent = "*"', 'aors = ["1*"]', True),
        ('aors = ["1*", "2*"]', 'aors = ["2*"]\naddresses = ["192.0.2.0/24"]', True),
        ('aors = ["1*"]', 'aors = ["1*", "2*"]', False),
        ('user_agent = "Yealink*"\naors = ["1*"]', 'user_agent = "Yealink*"', False),
    ],
)
def test_an_entry_that_never_comes_to_its_turn(warnings_of, first, second, hidden):
    """The first one that fits counts."""
    warnings = warnings_of(behind=f"[[group.phones]]\n{first}\n[[group.phones]]\n{second}\n")
    assert hidden == bool(warnings)
    if hidden:
        assert "group.phones: never used: the entry in line 15 fits all phones that this one does" in warnings[0]


def test_an_address_of_record_that_nobody_has(warnings_of):
    (warning,) = warnings_of(behind='[[group.phones]]\naors = ["1*@example.org", "2*@example.*", "3*"]\n')
    assert "16: group.phones.aors: fits nobody: example.org is not among the domains of the group" == warning


def test_check_says_which_features_are_lost(check):
    """P26: "Educate users as to the features that will not be available when in fallback operating mode"; Y3, P2, P6."""
    printed = expanded(check('profile = "polycom"'))
    assert (
        "  # while server primary is down, phones cannot use PUBLISH, SUBSCRIBE (telling others their presence, shared"
        " lines, presence, busy lamps, message waiting)"
    ) in printed.splitlines()
    assert "phones cannot use" not in expanded(check())
