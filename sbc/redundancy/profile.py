"""Vendor profiles: files of conf/profiles/ that say how a group behaves, as data.

A file sets `[[group]]` keys at its top level and `[[group.server]]` keys, for every server alike, in its table
`[server]`. The comment behind a value names the bulletin's section and rule that it comes from, or says `ours` and
why; it is kept as the value's provenance, so that an administrator can see it.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sbc.redundancy.settings import (
    DEFAULT_STATUS_FAILOVER,
    DEFAULT_STATUS_HEALTH,
    GroupSettings,
    ServerSettings,
    expectation,
    keys,
    merged_status_failover,
)

DIRECTORIES = (
    Path(__file__).resolve().parents[2] / "conf" / "profiles",
    Path(sys.prefix) / "share" / "sbc" / "profiles",
    Path("/usr/share/sbc/profiles"),
)
"""Where profiles are: a checkout, then the places of an installation."""

OF_ONE_GROUP = {"name", "domains", "profile", "sources"}
OF_ONE_SERVER = {"name", "address"}
"""Keys that say which servers, not how they behave: not for a profile."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What a file of conf/profiles/ says."""

    name: str
    path: Path
    group: dict[str, object]
    """GroupSettings fields that it sets; status tables are already merged over ours."""
    server: dict[str, object]
    """ServerSettings fields that it sets for every server of the group."""
    provenance: dict[str, str]
    """Key (`rise`, `server.retry_counts`) -> the comment behind its value: bulletin, section and rule, or `ours`."""


class ProfileError(Exception):
    """A profile cannot be used; the text names file, line, key, what was found and what was expected."""


def profile_names() -> list[str]:
    """The profiles that exist, by name."""
    return sorted({path.stem for directory in DIRECTORIES for path in directory.glob("*.toml")})


def load_profile(name: str) -> Profile:
    """Read and check a profile. Raises ProfileError."""
    for directory in DIRECTORIES:
        path = directory / f"{name}.toml"
        if "/" not in name and path.is_file():
            return read_profile(path)
    raise ProfileError(f"profile {name!r} not found, expected one of {', '.join(profile_names())}")


def read_profile(path: Path) -> Profile:
    """The profile in that file. Raises ProfileError with every mistake in it, one per line."""
    text = path.read_text("utf-8")
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ProfileError(f"{path}: {error}") from error
    server = table.pop("server", {})
    notes = dict(_notes(text))
    mistakes = [*_mistakes(GroupSettings, table, "", OF_ONE_GROUP, notes, path)]
    if isinstance(server, Mapping):
        mistakes += _mistakes(ServerSettings, server, "server.", OF_ONE_SERVER, notes, path)
    else:
        mistakes.append(f"{path}: server: found {server!r}, expected a table")
    if mistakes:
        raise ProfileError("\n".join(mistakes))
    if "status_failover" in table:
        table["status_failover"] = merged_status_failover(DEFAULT_STATUS_FAILOVER, table["status_failover"])
    if "status_health" in table:
        table["status_health"] = {**DEFAULT_STATUS_HEALTH, **table["status_health"]}
    provenance = {key: note for key, (_, note) in notes.items() if note}
    return Profile(path.stem, path, table, dict(server), provenance)


def _mistakes(
    cls: type,
    table: Mapping[str, object],
    prefix: str,
    not_here: set[str],
    notes: Mapping[str, tuple[int, str]],
    path: Path,
) -> Iterator[str]:
    known = [key for key in keys(cls) if key not in not_here]
    for key, value in table.items():
        line = notes.get(prefix + key, (0, ""))[0]
        place = f"{path}:{line}: {prefix}{key}" if line else f"{path}: {prefix}{key}"
        if key not in known:
            yield f"{place}: found an unknown key, expected one of {', '.join(known)}"
            continue
        expected = expectation(cls, key, value)
        if expected is not None:
            yield f"{place}: found {value!r}, expected {expected}"


def _notes(text: str) -> Iterator[tuple[str, tuple[int, str]]]:
    """Each key's line number and the comment behind its value, or behind the head of its table."""
    head = ""
    for number, line in enumerate(text.splitlines(), 1):
        found = _KEY_LINE.match(line)
        if not found:
            continue
        note = _comment(line)
        if found["table"]:
            head = found["table"]
            yield head, (number, note)
            if "." in head:
                yield head.split(".")[0], (number, note)
        else:
            key = found["key"].strip('"')
            yield (f"{head}.{key}" if head else key), (number, note)


_KEY_LINE = re.compile(r'\s*(?:\[(?P<table>[\w."-]+)\]|(?P<key>[\w-]+|"[^"]*")\s*=)')


def _comment(line: str) -> str:
    """What follows the first # outside quotes."""
    quote = ""
    for place, character in enumerate(line):
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character == "#":
            return line[place + 1 :].strip()
    return ""
