"""Which of a group's phones is this one?"""

import pytest

from sbc.redundancy.phones import LONGEST_AGENT, OWN_KIND, PhoneKinds
from sbc.redundancy.settings import GroupSettings, PhonesSettings

SETTINGS = GroupSettings("office", ())


def kinds(*entries):
    return PhoneKinds([PhonesSettings(SETTINGS, **entry) for entry in entries])


def kind(entry, user_agent="", address="198.51.100.7", aor="sip:100@example.com"):
    return kinds(entry).kind(user_agent, address, aor)


@pytest.mark.parametrize(
    ("pattern", "agent", "fits"),
    [
        ("Yealink*", "Yealink SIP-T46S 66.85.0.5", True),
        ("yealink sip-t4*", "Yealink SIP-T46S 66.85.0.5", True),  # case tells nothing
        ("Yealink", "Yealink SIP-T46S", False),  # the whole of it
        ("*VVX[45]??*", "PolycomVVX-VVX_410-UA/5.9", False),
        ("*VVX_[45]??*", "PolycomVVX-VVX_410-UA/5.9", True),
        ("Fanvil*", "", False),
        ("*", "", True),
    ],
)
def test_by_what_it_says(pattern, agent, fits):
    """The wildcards of a shell, over the whole User-Agent."""
    assert (0 if fits else OWN_KIND) == kind({"user_agent": (pattern,)}, agent)


@pytest.mark.parametrize(
    ("network", "address", "fits"),
    [
        ("192.0.2.0/24", "192.0.2.200", True),
        ("192.0.2.0/24", "192.0.3.1", False),
        ("2001:db8::/32", "2001:db8::7", True),
        ("2001:db8::/32", "192.0.2.1", False),
        ("192.0.2.0/24", "no address", False),
    ],
)
def test_by_where_it_is(network, address, fits):
    assert (0 if fits else OWN_KIND) == kind({"addresses": (network,)}, address=address)


@pytest.mark.parametrize(
    ("pattern", "aor", "fits"),
    [
        ("1??", "sip:100@example.com", True),  # without @ the user alone
        ("1??", "sip:1000@example.com", False),
        ("sip:1*@Example.COM", "sip:100@example.com", True),  # hosts are the same in any case
        ("1*@example.org", "sip:100@example.com", False),
        ("Alice", "sip:alice@example.com", False),  # users are not
        ("*", "sip:example.com", False),  # nobody's address-of-record
    ],
)
def test_by_who_it_is(pattern, aor, fits):
    assert (0 if fits else OWN_KIND) == kind({"aors": (pattern,)}, aor=aor)


def test_all_that_is_given_must_fit_and_of_a_list_one():
    entry = {"user_agent": ("Polycom*", "Poly/*"), "addresses": ("192.0.2.0/25", "198.51.100.0/24"), "aors": ("1*",)}
    assert 0 == kind(entry, "PolycomVVX", "198.51.100.7", "sip:100@example.com")
    assert OWN_KIND == kind(entry, "Yealink", "198.51.100.7", "sip:100@example.com")
    assert OWN_KIND == kind(entry, "PolycomVVX", "203.0.113.7", "sip:100@example.com")
    assert OWN_KIND == kind(entry, "PolycomVVX", "198.51.100.7", "sip:200@example.com")


def test_the_first_entry_that_fits_counts():
    of_site = kinds({"user_agent": ("Yealink*W5*",)}, {"user_agent": ("Yealink*",)}, {"addresses": ("192.0.2.0/24",)})
    assert [0, 1, 2, OWN_KIND] == [
        of_site.kind("Yealink W52P", "192.0.2.1", ""),
        of_site.kind("Yealink T46", "192.0.2.1", ""),
        of_site.kind("Other", "192.0.2.1", ""),
        of_site.kind("Other", "198.51.100.1", ""),
    ]


def test_a_stranger_may_say_what_it_likes():
    """Line ends, other alphabets and a megabyte; only so much of it is looked at."""
    of_site = kinds({"user_agent": ("*a*a*a*a*b",)})
    for agent in ("a\r\nb", "\udcff\u4e16", "a" * 1_000_000 + "b"):
        assert of_site.kind(agent, "192.0.2.1", "") in (0, OWN_KIND)
    assert OWN_KIND == of_site.kind("a" * LONGEST_AGENT + "b", "192.0.2.1", "")
