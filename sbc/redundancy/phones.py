"""Which of a group's phones is this one? `PhoneKinds`, the patterns of `[[group.phones]]` ready to be asked, and `Importance`,
those of `importance`.

A site has phones of several vendors, and servers that all of them share. A phone is told by what its User-Agent header
says, by the address that its requests come from, and by its address-of-record. Entries are tried in their order; all
that an entry names must fit, and of a list one element. A phone that fits none is one of the group's own kind.

The answer is kept: the same few phones ask again and again. It depends on nothing but the question.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from ipaddress import ip_address, ip_network

from sbc.redundancy.settings import PhonesSettings

LONGEST_AGENT = 128
"""Characters of a User-Agent that are looked at; a stranger may send longer ones, and they are kept."""

OWN_KIND = -1
"""Fits no entry."""

_REMEMBERED = 4096


def labels(entries: Sequence[PhonesSettings]) -> list[str]:
    """What each kind is called: its profile, with a number where a profile comes again."""
    found: list[str] = []
    for entry in entries:
        profile = entry.settings.profile
        before = sum(other.settings.profile == profile for other in entries[: len(found)])
        found.append(f"{profile} {before + 1}" if before else profile)
    return found


class PhoneKinds:
    """The entries of one group."""

    def __init__(self, entries: Sequence[PhonesSettings]) -> None:
        self._entries = [_Entry(entry) for entry in entries]
        self._kind = lru_cache(_REMEMBERED)(self._work_out)

    def kind(self, user_agent: str, address: str, aor: str) -> int:
        """The place of the first entry that fits, OWN_KIND without one.

        `user_agent`: "" when the phone does not tell. `aor`: in its one spelling, `sip:user@host`.
        """
        return self._kind(user_agent[:LONGEST_AGENT], address, aor)

    def _work_out(self, user_agent: str, address: str, aor: str) -> int:
        for place, entry in enumerate(self._entries):
            if entry.fits(user_agent, address, aor):
                return place
        return OWN_KIND


class Importance:
    """The classes of one group, the most important first."""

    def __init__(self, classes: Mapping[str, Sequence[str]]) -> None:
        self._classes = [_Aors(patterns) for patterns in classes.values()]

    def place(self, aor: str) -> int:
        """Of the class of that phone: 0 is the most important, the last is that of all which are in none."""
        for place, patterns in enumerate(self._classes):
            if patterns.fit(aor):
                return place
        return len(self._classes)


class _Entry:
    def __init__(self, entry: PhonesSettings) -> None:
        # Vendors spell their own name in more than one way, and case tells nothing in it.
        self._agents = [_pattern(pattern.lower()) for pattern in entry.user_agent]
        self._networks = [ip_network(network) for network in entry.addresses]
        self._aors = _Aors(entry.aors) if entry.aors else None

    def fits(self, user_agent: str, address: str, aor: str) -> bool:
        if self._agents and not _any_fits(self._agents, user_agent.lower()):
            return False
        if self._networks and not self._is_near(address):
            return False
        return self._aors is None or self._aors.fit(aor)

    def _is_near(self, address: str) -> bool:
        try:
            near = ip_address(address)
        except ValueError:
            return False
        return any(near in network for network in self._networks)


class _Aors:
    """Patterns of which one is to fit user@host, or the user when they have no @."""

    def __init__(self, patterns: Sequence[str]) -> None:
        bare = [pattern.removeprefix("sip:").removeprefix("sips:") for pattern in patterns]
        self._whole = [_pattern(_host_in_lower_case(pattern)) for pattern in bare if "@" in pattern]
        self._users = [_pattern(pattern) for pattern in bare if "@" not in pattern]

    def fit(self, aor: str) -> bool:
        bare = aor.removeprefix("sip:")
        user, at, _ = bare.rpartition("@")
        return _any_fits(self._whole, bare) or (bool(at) and _any_fits(self._users, user))


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(text))


def _any_fits(patterns: Sequence[re.Pattern[str]], text: str) -> bool:
    return any(pattern.match(text) for pattern in patterns)


def _host_in_lower_case(pattern: str) -> str:
    user, _, host = pattern.rpartition("@")
    return f"{user}@{host.lower()}"
