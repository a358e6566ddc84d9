"""The tables about the servers: `[[group]]`, `[[group.server]]` and `[[group.phones]]`, on top of their profiles.

A value is taken from the server's own table, else from the group's (a server key written there holds for all its
servers), else from the profile, else from `sbc.redundancy.settings`. Phones with an entry of their own use the same
servers by another profile: there a value is taken from the entry, else from its profile. Who the servers are, and how
they are watched, is the group's to say (`OF_THE_WHOLE_GROUP`).
"""

from __future__ import annotations

import dataclasses
from typing import Any

from sbc.config.errors import ConfigError, Unexpected, shown
from sbc.config.kinds import Kind, domain, host_list, list_of, network, server_field, text, text_or_texts
from sbc.config.reader import DEFAULT, REQUIRED, Table, suggestion
from sbc.redundancy.profile import Profile, ProfileError, load_profile, profile_names
from sbc.redundancy.settings import (
    OF_THE_WHOLE_GROUP,
    GroupSettings,
    PhonesSettings,
    ServerSettings,
    expectation,
    keys,
    merged_status_failover,
)

DEFAULT_PROFILE = "recommended"

_KINDS: dict[tuple[type, str], Kind] = {
    (GroupSettings, "name"): text,
    (GroupSettings, "domains"): list_of(domain, '["example.com"]'),
    (GroupSettings, "profile"): text,
    (GroupSettings, "sources"): list_of(network, '["192.0.2.0/24"]', or_empty=True),
    (ServerSettings, "name"): text,
    (ServerSettings, "address"): host_list,
}
"""Keys with a shape of their own; the rest is described by `expectation`."""

_PHONES_KINDS: dict[str, Kind] = {
    "user_agent": text_or_texts,
    "addresses": list_of(network, '["192.0.2.0/24"]'),
    "aors": list_of(text, '["1*", "sip:reception@example.com"]'),
}

_ONE_SERVER_ONLY = ("name", "address")
"""Server keys that make no sense for a whole group."""

SERVER_FIELD = "server_field"
"""Key of a group: its domain and servers in one line, as a phone that has a single field for both wants them (V6)."""


def read_groups(tables: list[Table]) -> tuple[GroupSettings, ...]:
    return tuple(_read_group(table) for table in tables)


def _read_group(table: Table) -> GroupSettings:
    name = table.get("name", text)
    field = _read_server_field(table)
    # V10: the domain of that field is what the phones' addresses end in.
    own_domain: dict[str, Any] = {}
    if field is not None:
        own_domain = {"default": field[:1], "origin": _origin(table, SERVER_FIELD)}
    domains = table.get("domains", _KINDS[GroupSettings, "domains"], **own_domain)
    profile_name = table.get("profile", text, DEFAULT_PROFILE)
    profile = _load_profile(table, profile_name)
    inherited = _Inherited.from_profile(profile, GroupSettings)
    values = {
        key: _read_value(table, GroupSettings, key, inherited)
        for key in keys(GroupSettings)
        if key not in ("name", "domains", "profile")
    }
    for_servers = _Inherited.from_profile(profile, ServerSettings)
    shared = [key for key in keys(ServerSettings) if key not in _ONE_SERVER_ONLY]
    table.know(*shared)
    for key in shared:
        if key in table:
            value = table.get(key, _kind(ServerSettings, key), None)
            for_servers.values[key] = value if value is not None else for_servers.values.get(key)
            for_servers.origins[key] = table.document.origin((*table.path, key))
    server_tables = table.tables("server") if field is None else _tables_of_field(table, field[1:])
    servers = tuple(_read_server(server, rank, for_servers) for rank, server in enumerate(server_tables, start=1))
    if field:
        for server in server_tables:
            table.document.provenance.update({(*server.path, key): _origin(table, SERVER_FIELD) for key in server.values})
    group = GroupSettings(name=name or "", servers=servers, domains=domains or (), profile=profile_name, **values)
    table.know("phones")
    entries = table.tables("phones") if "phones" in table else []
    table.finish()
    return dataclasses.replace(group, phones=tuple(_read_phones(entry, group) for entry in entries))


def _read_phones(table: Table, group: GroupSettings) -> PhonesSettings:
    """Some of the group's phones. What they do not say for themselves is as in their profile, not as in the group."""
    match = {key: table.get(key, kind, ()) for key, kind in _PHONES_KINDS.items()}
    if not any(key in table for key in _PHONES_KINDS):
        expected = f"at least one of {', '.join(_PHONES_KINDS)}, which say which phones are meant"
        table.document.error(table.path, "no phones", expected)
    profile_name = table.get("profile", text, group.profile, origin="the group's")
    profile = _load_profile(table, profile_name)
    values = {
        cls: {
            key: _read_value(table, cls, key, _Inherited.from_profile(profile, cls))
            for key in keys(cls)
            if key not in OF_THE_WHOLE_GROUP[cls]
        }
        for cls in (GroupSettings, ServerSettings)
    }
    shared = OF_THE_WHOLE_GROUP[GroupSettings] | OF_THE_WHOLE_GROUP[ServerSettings]
    for key in sorted(shared & set(table.values) - {"profile"}):
        expected = "it in [[group]] or [[group.server]]: all phones of a group share its servers and what is known of them"
        table.document.error((*table.path, key), "a key of the whole group", expected)
    table.know(*shared)
    table.finish()
    servers = tuple(dataclasses.replace(server, **values[ServerSettings]) for server in group.servers)
    settings = dataclasses.replace(group, servers=servers, profile=profile_name, **values[GroupSettings])
    return PhonesSettings(settings, **match)


def _read_server_field(table: Table) -> tuple[str, ...] | None:
    """The domain and the servers of the field; empty when it has mistakes, None when it is not there."""
    table.know(SERVER_FIELD)
    if SERVER_FIELD not in table:
        return None
    if "server" in table:
        table.know("server")
        table.document.error((*table.path, SERVER_FIELD), "it beside [[group.server]]", "one of the two")
    return table.get(SERVER_FIELD, server_field) or ()


def _tables_of_field(table: Table, specs: tuple[str, ...]) -> list[Table]:
    """What [[group.server]] would be: servers go by what they are found by (V9: "in order as they resolve")."""
    return [
        Table(table.document, (*table.path, "server", place), {"name": spec, "address": spec})
        for place, spec in enumerate(specs)
    ]


def _origin(table: Table, key: str) -> str:
    return table.document.origin((*table.path, key))


def _read_server(table: Table, rank: int, inherited: _Inherited) -> ServerSettings:
    values = {key: _read_value(table, ServerSettings, key, inherited) for key in keys(ServerSettings)}
    table.finish()
    values["name"] = values["name"] or ""
    values["address"] = values["address"] or ""
    return ServerSettings(rank=rank, **values)


@dataclasses.dataclass
class _Inherited:
    """What holds for a key that a table does not set, and where that was written."""

    values: dict[str, Any]
    origins: dict[str, str]

    @staticmethod
    def from_profile(profile: Profile | None, cls: type) -> _Inherited:
        if profile is None:
            return _Inherited({}, {})
        values, prefix = (profile.group, "") if cls is GroupSettings else (profile.server, "server.")
        origins = {key: profile.origins[prefix + key] for key in values}
        return _Inherited(dict(values), origins)


def _read_value(table: Table, cls: type, key: str, inherited: _Inherited) -> Any:
    if key in inherited.values:
        default, origin = inherited.values[key], inherited.origins[key]
    else:
        default, origin = _own_default(cls, key), DEFAULT
    value = table.get(key, _kind(cls, key), default, origin=origin)
    if key in table and value is not default:
        path = (*table.path, key)
        if key in ("status_failover", "status_health"):
            table.document.provenance[path] += f", over {origin}"
        if key == "status_failover":
            return merged_status_failover(default, value)
        if key == "status_health":
            return {**default, **value}
    return value


def _kind(cls: type, key: str) -> Kind:
    special = _KINDS.get((cls, key))
    if special is not None:
        return special

    def check(value: Any) -> Any:
        expected = expectation(cls, key, value)
        if expected is not None:
            raise Unexpected(expected)
        return value

    return check


def _own_default(cls: type, key: str) -> Any:
    for field in dataclasses.fields(cls):
        if field.name == key:
            if field.default is not dataclasses.MISSING:
                return field.default
            if field.default_factory is not dataclasses.MISSING:
                return field.default_factory()
    return REQUIRED


def _load_profile(table: Table, name: str) -> Profile | None:
    """None when there is none without mistakes; the mistakes are noted with their own files and lines."""
    document = table.document
    path = (*table.path, "profile")
    folder = document.path.parent
    known = profile_names(folder)
    if name not in known:
        document.error(path, f'"{name}"', suggestion(name, known))
        return None
    try:
        return load_profile(name, folder)
    except ProfileError as error:
        count = len(error.mistakes)
        found = f'"{name}", which has {"a mistake" if count == 1 else f"{count} mistakes"}'
        document.error(path, found, "a profile without mistakes")
        for mistake in error.mistakes:
            found = mistake.found or shown(mistake.value)
            told = ConfigError(str(mistake.path), mistake.line, mistake.key, found, mistake.expected)
            if told not in document.errors:
                document.errors.append(told)
        return None
