"""The phones and their registrations as plain data, for the status page and the metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from sbc.registration.bindings import FAILED, REGISTERED
from sbc.registration.census import Census

if TYPE_CHECKING:
    from sbc.redundancy.group import ServerGroup
    from sbc.registration.bindings import Binding, Bindings, Upstream
    from sbc.registration.quarantine import Quarantine
    from sbc.registration.rejections import Rejections
    from sbc.registration.targets import Target, Targets

OWN_CREDENTIALS, TRUSTED, OPEN = "own credentials", "trusted", "open"
"""How a server lets a phone in without the phone's own answer to it: the appliance answers from the password file; the server
believes the appliance; it asks nobody."""


MOST = 100
"""Of the first phones, and again of those that are not registered everywhere: to write down ten thousand would stop calls for as
long as it takes."""

LOT = 100
"""Phones described at a time, where all are wanted; some milliseconds."""


def describe(
    bindings: Bindings,
    groups: Mapping[str, ServerGroup],
    targets: Mapping[str, Targets],
    rejections: Rejections,
    quarantine: Quarantine,
    now: float,
    most: int,
) -> dict[str, Any]:
    """`groups` by name, `targets` by key of the group; those of a binding may be gone. Listed are at most `most` phones of each
    sort, and counted all:

    groups             those of which any phone is registered
    phones_everywhere  registered at every server that was asked
    phones_nowhere     registered at none
    phones_left_out    not in the list `phones`
    """
    census = Census(bindings, most)
    servers: dict[str, dict[str, int]] = {}
    for (_, server, state), number in census.states.items():
        states = servers.setdefault(server, {})
        states[state] = states.get(state, 0) + number
    return {
        "bindings": len(bindings),
        "groups": sorted({group for group, _, state in census.states if state == REGISTERED}),
        "servers": servers,
        "phones": describe_phones(census.shown, groups, targets, quarantine, now),
        "phones_everywhere": census.everywhere,
        "phones_nowhere": census.nowhere,
        "phones_left_out": len(bindings) - len(census.shown),
        "rejected": [
            {
                "aor": _printable(tries.aor), "contact": _printable(tries.contact), "host": host, "server": server,
                "wrong_passwords": len(tries.times),
            }
            for host, _, server, tries in islice(rejections.entries(now), MOST)
        ],
        "quarantine": [
            {
                "aor": _printable(each.aor), "contact": _printable(each.contact), "host": host, "group": each.group,
                "for": round(each.until - now), "reason": each.reason,
            }
            for host, _, each in islice(quarantine.entries(now), MOST)
        ],
    }  # fmt: skip


def describe_phones(
    bindings: Iterable[Binding],
    groups: Mapping[str, ServerGroup],
    targets: Mapping[str, Targets],
    quarantine: Quarantine,
    now: float,
) -> list[dict[str, Any]]:
    """The rows of these contacts."""
    rows = []
    for binding in bindings:
        left = quarantine.left(binding.host, binding.token, now)
        row = describe_phone(binding, groups.get(binding.group), targets, now)
        rows.append(row | {"quarantined_for": round(left) if left > 0.0 else None})
    return rows


def describe_phone(
    binding: Binding, group: ServerGroup | None, targets: Mapping[str, Targets], now: float
) -> dict[str, Any]:
    """One contact. `group` is None when it is gone."""
    kind = kind_of(binding, group)
    of_kind = targets.get(binding.group if kind is None else kind.key)
    host = f"[{binding.host}]" if ":" in binding.host else binding.host
    method = method_of(binding, of_kind)
    return {
        "aor": _printable(binding.aor),
        "contact": _printable(binding.contact_uri),
        "group": binding.group,
        "working": _working_of(binding, of_kind),
        "profile": kind.settings.profile if kind is not None else "",
        "source": f"{host}:{binding.port};{binding.transport}",
        "expires_in": round(binding.expires_at - now),
        "overdue_for": overdue_for(binding, now),
        "method": method,
        "method_reason": _printable(binding.method_reason),
        "servers": [_describe_upstream(upstream, of_kind, method, now) for upstream in binding.upstreams],
    }


def overdue_for(binding: Binding, now: float) -> int | None:
    """Seconds since the phone should have come again, which is kept as long as the servers have it; None: it is in time."""
    return round(now - binding.expires_at) if now > binding.expires_at else None


def _describe_upstream(upstream: Upstream, targets: Targets | None, method: str, now: float) -> dict[str, Any]:
    registered = upstream.state == REGISTERED
    waits = upstream.retry_at > now and upstream.failures > 0  # for a realm that the phone does not answer there is no time
    return {
        "server": upstream.server,
        "state": upstream.state,
        "expires_in": round(upstream.expires_at - now) if registered else None,
        "reason": _printable(upstream.reason),
        "method": way_in(upstream, _target(targets, upstream.server), method),
        "candidate": None if upstream.candidate is None else str(upstream.candidate),
        "due_in": max(0, round(upstream.due_at - now)) if registered else None,
        "failures": upstream.failures,
        "retry_in": round(upstream.retry_at - now) if waits else 0 if upstream.state == FAILED else None,
    }


def way_in(upstream: Upstream, target: Target | None, method: str) -> str:
    """By which method the phone gets in there: `method`, the phone's own, where that server wants the phone's answer."""
    if target is not None and target.settings.trusted:
        return TRUSTED
    if upstream.wants_phone or upstream.nonce:
        return method
    return OPEN if upstream.digest is None else OWN_CREDENTIALS


def method_of(binding: Binding, targets: Targets | None) -> str:
    """How the phone is asked by servers that want its own answer: what was learned of it, else what is configured."""
    if binding.rota is not None:
        return binding.rota.method
    return binding.method or (targets.group.settings.challenge_method if targets is not None else "")


def _target(targets: Targets | None, name: str) -> Target | None:
    return next((target for target in targets.servers if target.name == name), None) if targets is not None else None


def _working_of(binding: Binding, targets: Targets | None) -> str | None:
    """The best server at which this phone is registered: its working server (P7). None when it is nowhere."""
    for target in targets.servers if targets is not None else []:
        upstream = binding.upstream(target.name)
        if upstream is not None and upstream.state == REGISTERED:
            return target.name
    return None


def kind_of(binding: Binding, group: ServerGroup | None) -> ServerGroup | None:
    """The group as it is for this kind of phone."""
    if group is not None and group.of_several_kinds:
        return group.phones_of(binding.agent or "", binding.host, binding.aor)
    return group


def _printable(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
