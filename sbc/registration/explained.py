"""All that is known of one address-of-record, and what is going to be done for it: plain data for `sbc explain`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from math import inf
from typing import TYPE_CHECKING, Any

from sbc.registration.contacts import canonical_aor
from sbc.registration.described import describe_phone, kind_of

if TYPE_CHECKING:
    from sbc.redundancy.group import ServerGroup
    from sbc.registration.bindings import Binding
    from sbc.registration.quarantine import Kept, Quarantine
    from sbc.registration.registrar import Registrar
    from sbc.registration.targets import Targets

_MOST_SIMILAR = 5


def explain(
    registrar: Registrar, targets: Mapping[str, Targets], quarantine: Quarantine, text: str, now: float
) -> dict[str, Any]:
    """`known` is False when nothing at all is; then `similar` has spellings that are.

    `text` is the address-of-record as somebody writes it; the scheme may be missing, and so may the domain where the number is
    known in one only. `several` has those that it may stand for where there are more.
    """
    several: list[str] = []
    aor = canonical_aor(text if text.startswith(("sip:", "sips:")) else f"sip:{text}")
    if text and "@" not in text:
        several = _with_number(registrar, quarantine, text.removeprefix("sips:").removeprefix("sip:"), now)
        if len(several) == 1:
            aor, several = several[0], []
    kept = {(host, token): each for host, token, each in quarantine.entries(now) if each.aor == aor}
    contacts = [_explain_contact(registrar, targets, binding, kept, now) for binding in registrar.bindings_for_aor(aor)]
    removals = [
        {"contact": missed.binding.contact_uri, "server": server, "for": round(missed.until - now)}
        for (_, server), missed in registrar.upkeep.missed.entries.items()
        if missed.binding.aor == aor
    ]
    rejected = [
        {
            "contact": tries.contact, "host": host, "server": server, "wrong_passwords": len(tries.times),
            "from_credentials_file": tries.is_own,
        }
        for host, _, server, tries in registrar.rejections.entries(now)
        if tries.aor == aor
    ]  # fmt: skip
    groups = {binding.group for binding in registrar.bindings_for_aor(aor)} or set(_groups_for(registrar.groups, aor))
    known = bool(contacts or removals or rejected or kept)
    return {
        "aor": aor,
        "known": known,
        "contacts": contacts,
        "removals": removals,
        "rejected": rejected,
        "quarantine": [
            {"contact": each.contact, "host": host, "for": round(each.until - now), "reason": each.reason}
            for (host, _), each in kept.items()
        ],
        "groups": [_explain_group(registrar.groups[name], now) for name in sorted(groups) if name in registrar.groups],
        "similar": [] if known else _similar(registrar.bindings, aor),
        "several": several,
    }


def _explain_contact(
    registrar: Registrar, targets: Mapping[str, Targets], binding: Binding, all_kept: Mapping[Any, Kept], now: float
) -> dict[str, Any]:
    """The row of the status, with what comes next."""
    group = registrar.groups.get(binding.group)
    row = describe_phone(binding, group, targets, now)
    kept = all_kept.get((binding.host, binding.token))
    kind = kind_of(binding, group)
    told = {entry["server"] for entry in row["servers"]}
    working = kind.working(now) if kind is not None else None
    owner = kind.owner(working) if kind is not None and working is not None else None
    return row | {
        "quarantined_for": None if kept is None else round(kept.until - now),
        "granted": round(binding.granted),
        "method_learned": bool(binding.method),
        "quiet_for": max(0, round(binding.quiet_until - now)),
        "username": binding.username,
        "phone_type": binding.agent or "",
        "not_told": [server.name for server in kind.settings.servers if server.register and server.name not in told]
        if kind is not None
        else [],
        "next_of_ours": _next_step(registrar, binding, now),
        "resyncs": registrar.upkeep.resyncs.waited_for(binding, now),
        "new_requests_go_to": None if owner is None else owner.name,
        "has_password": registrar.credentials is not None and registrar.credentials.knows(_account(binding)),
    }


def _next_step(registrar: Registrar, binding: Binding, now: float) -> dict[str, Any] | None:
    """What the appliance will do for it by itself; None when that is nothing, or when nobody knows when it is its turn."""
    step = registrar.upkeep.next_step(binding, now)
    if step is None or step.due == inf:
        return None
    return {"server": step.target.name, "in": max(0, round(step.due - now)), "removal": step.is_removal}


def _account(binding: Binding) -> str:
    return binding.username or binding.aor.removeprefix("sip:").rpartition("@")[0]


def _explain_group(group: ServerGroup, now: float) -> dict[str, Any]:
    working = group.working(now)
    owner = group.owner(working) if working is not None else None
    return {
        "name": group.name,
        "profile": group.settings.profile,
        "registration": group.settings.registration,
        "domains": list(group.settings.domains),
        "working": None if working is None else str(working),
        "working_server": None if owner is None else owner.name,
        "servers": [
            {
                "server": server.name,
                "candidate": str(candidate),
                "state": group.health(candidate).state.value,
                "registers": server.register,
            }
            for server, candidate in group.candidates()
        ],
    }


def _groups_for(groups: Mapping[str, ServerGroup], aor: str) -> list[str]:
    """The groups that serve its domain."""
    host = aor.rpartition("@")[2].removeprefix("sip:")
    named = [name for name, group in groups.items() if host in group.settings.domains]
    return named or [name for name, group in groups.items() if "*" in group.settings.domains]


def _user_of(aor: str) -> str:
    """The number of an address-of-record."""
    return aor.removeprefix("sip:").partition("@")[0]


def _with_number(registrar: Registrar, quarantine: Quarantine, user: str, now: float) -> list[str]:
    """The addresses-of-record with that number of which something is known, a few of very many."""
    found: dict[str, None] = {}
    known = chain(
        (binding.aor for binding in registrar.bindings),
        (missed.binding.aor for missed in registrar.upkeep.missed.entries.values()),
        (tries.aor for _, _, _, tries in registrar.rejections.entries(now)),
        (each.aor for _, _, each in quarantine.entries(now)),
    )
    for aor in known:
        if _user_of(aor) == user:
            found[aor] = None
            if len(found) == _MOST_SIMILAR:
                break
    return list(found)


def _similar(bindings: Iterable[Binding], aor: str) -> list[str]:
    """Spellings that are known: with the same user, or the same but for capital letters."""
    user = _user_of(aor).lower()
    found: list[str] = []
    for binding in bindings:
        if _user_of(binding.aor).lower() == user and binding.aor not in found:
            found.append(binding.aor)
            if len(found) == _MOST_SIMILAR:
                break
    return found
