"""The phones and their registrations as plain data, for the status page and the metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from sbc.registration.bindings import REGISTERED

if TYPE_CHECKING:
    from sbc.redundancy.group import ServerGroup
    from sbc.registration.bindings import Binding, Bindings
    from sbc.registration.targets import Targets


def registration_counts(bindings: Iterable[Binding]) -> dict[tuple[str, str, str], int]:
    """(group, server, state) -> contacts."""
    counts: dict[tuple[str, str, str], int] = {}
    for binding in bindings:
        for upstream in binding.upstreams:
            key = (binding.group, upstream.server, upstream.state)
            counts[key] = counts.get(key, 0) + 1
    return counts


def describe(
    bindings: Bindings, groups: Mapping[str, ServerGroup], targets: Mapping[str, Targets], now: float
) -> dict[str, Any]:
    """`groups` by name, `targets` by key of the group; those of a binding may be gone."""
    servers: dict[str, dict[str, int]] = {}
    for (_, server, state), number in registration_counts(bindings).items():
        states = servers.setdefault(server, {})
        states[state] = states.get(state, 0) + number
    phones = []
    for binding in bindings:
        host = f"[{binding.host}]" if ":" in binding.host else binding.host
        phones.append({
            "aor": _printable(binding.aor),
            "contact": _printable(binding.contact_uri),
            "group": binding.group,
            "working": _working_of(binding, targets.get(binding.group)),
            "profile": _profile_of(binding, groups.get(binding.group)),
            "source": f"{host}:{binding.port};{binding.transport}",
            "expires_in": round(binding.expires_at - now),
            "servers": [
                {
                    "server": upstream.server,
                    "state": upstream.state,
                    "expires_in": round(upstream.expires_at - now) if upstream.state == REGISTERED else None,
                    "reason": _printable(upstream.reason),
                }
                for upstream in binding.upstreams
            ],
        })
    return {"bindings": len(bindings), "servers": servers, "phones": phones}


def _working_of(binding: Binding, targets: Targets | None) -> str | None:
    """The best server at which this phone is registered: its working server (P7). None when it is nowhere."""
    for target in targets.servers if targets is not None else []:
        upstream = binding.upstream(target.name)
        if upstream is not None and upstream.state == REGISTERED:
            return target.name
    return None


def _profile_of(binding: Binding, group: ServerGroup | None) -> str:
    if group is None:
        return ""
    if group.of_several_kinds:
        group = group.phones_of(binding.agent or "", binding.host, binding.aor)
    return group.settings.profile


def _printable(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
