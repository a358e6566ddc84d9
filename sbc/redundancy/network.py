"""Is it the server, or is it us? What silence means when nobody answers (V20, D33).

link_down    our own link to the servers has no carrier, or there is no way to them at all: the group is frozen, nothing is
             judged and nothing moves until the link is back
uplink_down  every server of every group is silent, and so is the reference: the site has lost its uplink. The servers are
             down, so that no request waits for them, but which of them is preferred is not touched
dns_down     only lookups fail; the last good addresses go on being used
up           anything else. Only one server is silent, or all are and the reference answers: it is the server

Decisions only; `sbc.proxy.network_watch` looks, and `sbc.transport` knows how.
"""

from __future__ import annotations

from dataclasses import dataclass, field

UP, LINK_DOWN, UPLINK_DOWN, DNS_DOWN = "up", "link_down", "uplink_down", "dns_down"

LOOKUPS = 3
"""Failed ones in a row that make DNS down: one lost datagram is not an outage."""

_LOOKED_UP = ("ok", "negative")


@dataclass(frozen=True, slots=True)
class Network:
    """What we think of it."""

    state: str = UP
    reason: str = ""
    """For people."""
    frozen: frozenset[str] = field(default=frozenset())
    """Names of the groups whose servers cannot be reached from here."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What was seen."""

    cut_off: frozenset[str]
    """Names of the groups to whose servers no link of ours leads."""
    all_silent: bool
    """Every candidate of every group is down, and not one of them has refused: nothing comes back."""
    reference: bool | None
    """Whether the reference answers; None = it was not asked, or there is none."""
    lookups_failed: int
    """In a row."""


def judge(facts: Facts) -> Network:
    """The first of these that fits explains the others."""
    if facts.cut_off:
        names = ", ".join(sorted(facts.cut_off))
        return Network(LINK_DOWN, f"no link of ours leads to the servers of {names}", facts.cut_off)
    if facts.all_silent and facts.reference is False:
        return Network(UPLINK_DOWN, "all servers are silent, and so is the reference beyond them")
    if facts.lookups_failed >= LOOKUPS:
        return Network(DNS_DOWN, f"the last {LOOKUPS} lookups and more had no answer")
    return Network(UP, "the reference answers" if facts.all_silent and facts.reference else "")


class Lookups:
    """How many lookups in a row have failed."""

    def __init__(self) -> None:
        self.failed = 0

    def note(self, result: str) -> None:
        """ok | negative | stale | timeout | servfail. `negative` is an answer; `stale` is none, but an old one helps."""
        self.failed = 0 if result in _LOOKED_UP else self.failed + 1
