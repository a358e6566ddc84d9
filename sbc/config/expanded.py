"""A whole configuration as text: every value in force, each with where it came from.

The text is TOML again, with the origins as comments, and means the same as the file it was made from: it can be
compared, archived and put back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sbc.config.contradictions import lost_features
from sbc.config.errors import as_toml, as_toml_key
from sbc.config.model import Config, Listen
from sbc.config.reader import DEFAULT
from sbc.config.toml_lines import Path as TomlPath
from sbc.redundancy.settings import (
    OF_THE_WHOLE_GROUP,
    PHONES_MATCH,
    GroupSettings,
    PhonesSettings,
    ServerSettings,
    keys,
)

_COMMENT_COLUMN = 40  # longer lines push their comment out


def expanded(config: Config) -> str:
    """The configuration in force, as TOML with comments, ending in a newline."""
    lines: list[str] = [f"# {_summary(config)}"]
    lines += _table(config, "[appliance]", ("appliance",), vars(config.appliance))
    for position, listen in enumerate(config.listens):
        lines += _table(config, "[[listen]]", ("listen", position), _listen_values(listen))
    if config.http:
        lines += _table(config, "[http]", ("http",), vars(config.http))
    else:
        lines += ["", "# no [http]: no status page, no metrics"]
    lines += _table(config, "[dns]", ("dns",), vars(config.dns))
    lines += _table(config, "[timers]", ("timers",), vars(config.timers))
    for position, group in enumerate(config.groups):
        lines += _group(config, ("group", position), group)
    lines += _table(config, "[tls]", ("tls",), vars(config.tls))
    lines += _table(config, "[credentials]", ("credentials",), vars(config.credentials))
    lines += _table(config, "[uplink]", ("uplink",), vars(config.uplink))
    return "\n".join(lines) + "\n"


def _summary(config: Config) -> str:
    servers = sum(len(group.servers) for group in config.groups)
    parts = [_count(len(config.listens), "socket"), _count(len(config.groups), "group"), _count(servers, "server")]
    return f"{config.path} is valid: {', '.join(parts)}, {_count(len(config.warnings), 'warning')}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _listen_values(listen: Listen) -> dict[str, Any]:
    values = dict(vars(listen))
    if listen.transport != "tls":
        del values["certificate"], values["key"]
    return values


def _group(config: Config, path: TomlPath, group: GroupSettings) -> Iterable[str]:
    values = {key: getattr(group, key) for key in keys(GroupSettings)}
    plain = {key: value for key, value in values.items() if not isinstance(value, Mapping)}
    yield from _table(config, "[[group]]", path, plain)
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield ""
            yield _with_origin(config, f"  [group.{key}]", (*path, key))
            yield from (f"  {as_toml_key(name)} = {as_toml(inner)}" for name, inner in value.items())
    for position, server in enumerate(group.servers):
        values = {key: getattr(server, key) for key in keys(ServerSettings)}
        yield from _table(config, "  [[group.server]]", (*path, "server", position), values)
    lost = lost_features(group)
    if lost:
        yield from ("", f"  # {lost}")
    for position, phones in enumerate(group.phones):
        yield from _phones(config, (*path, "phones", position), phones)


def _phones(config: Config, path: TomlPath, phones: PhonesSettings) -> Iterable[str]:
    values: dict[str, Any] = {key: getattr(phones, key) for key in PHONES_MATCH if getattr(phones, key)}
    values["profile"] = phones.settings.profile
    for cls, settings in ((GroupSettings, phones.settings), (ServerSettings, phones.settings.servers[0])):
        own = [key for key in keys(cls) if key not in OF_THE_WHOLE_GROUP[cls]]
        values |= {key: getattr(settings, key) for key in own}
    plain = {key: value for key, value in values.items() if not isinstance(value, Mapping)}
    yield from _table(config, "  [[group.phones]]", path, plain)
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield ""
            yield _with_origin(config, f"    [group.phones.{key}]", (*path, key))
            yield from (f"    {as_toml_key(name)} = {as_toml(inner)}" for name, inner in value.items())


def _table(config: Config, header: str, path: TomlPath, values: Mapping[str, Any]) -> Iterable[str]:
    indent = header[: len(header) - len(header.lstrip())]
    yield ""
    yield header
    for key, value in values.items():
        yield _with_origin(config, f"{indent}{key} = {as_toml(value)}", (*path, key))


def _with_origin(config: Config, text: str, path: TomlPath) -> str:
    return f"{text:<{_COMMENT_COLUMN}}  # {config.provenance.get(path, DEFAULT)}"
