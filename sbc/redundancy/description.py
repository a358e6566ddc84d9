"""A group as plain data, for the status page and `sbc status`: `describe`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sbc.location.candidate import Candidate
from sbc.redundancy.settings import PHONES_MATCH, PhonesSettings, ServerSettings

if TYPE_CHECKING:
    from sbc.redundancy.group import ServerGroup


def describe(group: ServerGroup, now: float, wall_clock_now: float | None) -> dict[str, Any]:
    """`since` is wall clock seconds when the wall clock is given, else None."""
    settings = group.settings
    return {
        "name": group.name,
        "profile": settings.profile,
        "domains": list(settings.domains),
        "working": _working(group),
        "load_balancing": settings.load_balancing,
        "redundancy_ready": group.redundancy_ready(),
        "every_candidate_up": group.every_candidate_up(),
        "survival": False,
        "servers": [
            {
                "name": server.name,
                "rank": server.rank,
                "register": server.register,
                "candidates": [
                    _candidate(group, server, candidate, now, wall_clock_now)
                    for its_server, candidate in group.candidates()
                    if its_server is server
                ],
            }
            for server in settings.servers
        ],
        "phones": [_kind(kind, entry) for entry, kind in zip(settings.phones, group.kinds, strict=True)],
    }


def _kind(kind: ServerGroup, entry: PhonesSettings) -> dict[str, Any]:
    return {
        "kind": kind.kind,
        "profile": kind.settings.profile,
        "registration": kind.settings.registration,
        **{key: list(getattr(entry, key)) for key in PHONES_MATCH},
        "working": _working(kind),
    }


def _working(group: ServerGroup) -> str | None:
    return str(group.in_use) if group.in_use else None


def _candidate(
    group: ServerGroup, server: ServerSettings, candidate: Candidate, now: float, wall_clock_now: float | None
) -> dict[str, Any]:
    health = group.health(candidate)
    for_seconds = now - health.since
    return {
        "candidate": str(candidate),
        "address": candidate.address,
        "port": candidate.port,
        "transport": candidate.transport,
        "rank": server.rank,
        "priority": candidate.priority,
        "state": health.state.value,
        "since": None if wall_clock_now is None else wall_clock_now - for_seconds,
        "for_seconds": for_seconds,
        "reason": health.reason,
        "working": candidate == group.in_use,
    }
