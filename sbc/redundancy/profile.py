"""Profiles: files that say how a group behaves, as data. Vendors' ship with us; a customer may write one more.

A file sets `[[group]]` keys at its top level and `[[group.server]]` keys, for every server alike, in its table
`[server]`. The comment behind a value names the bulletin's section and rule that it comes from, or says `ours` and
why; it is kept as the value's provenance, so that an administrator can see it.

A customer's own profile lies in the folder `profiles` beside the configuration, or in /etc/sbc/profiles. It may begin
with `extends = "polycom"`: what it does not say itself is as in that profile, which may extend another one in turn.
"""

from __future__ import annotations

import difflib
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
"""Where the profiles are that ship with us: a checkout, then the places of an installation."""

OWN_DIRECTORY = Path("/etc/sbc/profiles")
"""Where those of the customer are, besides the folder `profiles` beside the configuration file."""

EXTENDS = "extends"
"""The key that names the profile to start from."""

OF_ONE_GROUP = {"name", "domains", "profile", "sources"}
OF_ONE_SERVER = {"name", "address"}
"""Keys that say which servers, not how they behave: not for a profile."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What a file says, with what it extends."""

    name: str
    path: Path
    group: dict[str, object]
    """GroupSettings fields that it sets; status tables are already merged over ours."""
    server: dict[str, object]
    """ServerSettings fields that it sets for every server of the group."""
    provenance: dict[str, str]
    """Key (`rise`, `server.retry_counts`) -> the comment behind its value: bulletin, section and rule, or `ours`."""
    origins: dict[str, str]
    """Key -> where its value is written, for people: profile, file and line when it is not one of ours, and comment."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that keeps a profile from being used."""

    path: Path
    line: int
    """0 when it concerns the file as a whole."""
    key: str
    value: object
    """What was found; None when `found` tells it."""
    expected: str
    found: str = ""

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}" if self.line else str(self.path)
        key = f" {self.key}:" if self.key else ""
        return f"{place}:{key} found {self.found or repr(self.value)}, expected {self.expected}"


class ProfileError(Exception):
    """A profile cannot be used; each of `mistakes` names file, line, key, what was found and what was expected."""

    def __init__(self, *mistakes: Mistake | str) -> None:
        super().__init__("\n".join(map(str, mistakes)))
        self.mistakes = [mistake for mistake in mistakes if isinstance(mistake, Mistake)]


def profile_names(folder: Path | None = None) -> list[str]:
    """The profiles that exist, by name; `folder`: that of the configuration file."""
    return sorted({path.stem for directory in (*_own(folder), *DIRECTORIES) for path in directory.glob("*.toml")})


def load_profile(name: str, folder: Path | None = None) -> Profile:
    """Read and check a profile; `folder`: that of the configuration file. Raises ProfileError."""
    path = _find(name, folder)
    if path is None:
        raise ProfileError(f"profile {name!r} not found, expected one of {', '.join(profile_names(folder))}")
    return read_profile(path, folder)


def read_profile(path: Path, folder: Path | None = None, extended_by: tuple[Path, ...] = ()) -> Profile:
    """The profile in that file, with all that it extends. Raises ProfileError with every mistake in it, one per line."""
    text = _text(path)
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ProfileError(_not_toml(path, text, str(error))) from error
    notes = dict(_notes(text))
    mistakes: list[Mistake] = []
    base = None
    if EXTENDS in table:
        try:
            base = _base(path, table.pop(EXTENDS), notes, folder, extended_by)
        except ProfileError as error:
            mistakes += error.mistakes
    server = table.pop("server", {})
    mistakes += _mistakes(GroupSettings, table, "", OF_ONE_GROUP, notes, path)
    if isinstance(server, Mapping):
        mistakes += _mistakes(ServerSettings, server, "server.", OF_ONE_SERVER, notes, path)
    else:
        mistakes.append(Mistake(path, notes.get("server", (0, ""))[0], "server", server, "a table"))
    if mistakes:
        raise ProfileError(*mistakes)
    if "status_failover" in table:
        below = base.group.get("status_failover") if base else None
        table["status_failover"] = merged_status_failover(below or DEFAULT_STATUS_FAILOVER, table["status_failover"])
    if "status_health" in table:
        below = base.group.get("status_health") if base else None
        table["status_health"] = {**(below or DEFAULT_STATUS_HEALTH), **table["status_health"]}
    provenance = {key: note for key, (_, note) in notes.items() if note}
    origins = {key: _origin(path, key, notes) for key in (*table, *(f"server.{key}" for key in server))}
    if base is None:
        return Profile(path.stem, path, table, dict(server), provenance, origins)
    return Profile(
        path.stem,
        path,
        {**base.group, **table},
        {**base.server, **server},
        {**base.provenance, **provenance},
        {**base.origins, **origins},
    )


# Where they are


def _own(folder: Path | None) -> tuple[Path, ...]:
    """The folders of the customer's own profiles, the one that counts first."""
    return (folder / "profiles", OWN_DIRECTORY) if folder is not None else (OWN_DIRECTORY,)


def _ships(path: Path) -> bool:
    folder = path.parent.resolve()
    return any(folder == directory.resolve() for directory in DIRECTORIES)


def _find(name: str, folder: Path | None) -> Path | None:
    """The file of that profile; None when there is none. Raises ProfileError for an own one with the name of one of ours.

    Two that have one name would be two meanings of one word in the logs and manuals.
    """
    if "/" in name or "\0" in name:
        return None
    own = [path for directory in _own(folder) if (path := directory / f"{name}.toml").is_file() and not _ships(path)]
    shipped = [path for directory in DIRECTORIES if (path := directory / f"{name}.toml").is_file()]
    if own and shipped:
        expected = f'a name of its own, as "{name}" is a profile that ships with sbc; {EXTENDS} = "{name}" starts from it'
        raise ProfileError(Mistake(own[0], 0, "", None, expected, "the name of the file"))
    return next(iter(own + shipped), None)


def _base(
    path: Path, name: object, notes: Mapping[str, tuple[int, str]], folder: Path | None, extended_by: tuple[Path, ...]
) -> Profile:
    """The profile that this one extends. Raises ProfileError."""
    line = notes.get(EXTENDS, (0, ""))[0]
    if not isinstance(name, str):
        raise ProfileError(Mistake(path, line, EXTENDS, name, "the name of a profile in quotes"))
    found = _find(name, folder)
    if found is None:
        names = profile_names(folder)
        close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
        expected = f'a known one: did you mean "{close[0]}"?' if close else "one of " + ", ".join(names)
        raise ProfileError(Mistake(path, line, EXTENDS, name, expected))
    circle = (*extended_by, path)
    if found in circle:
        raise ProfileError(Mistake(path, line, EXTENDS, name, "a profile that does not start from this one itself"))
    return read_profile(found, folder, circle)


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        found = f"no readable file ({(error.strerror or str(error)).lower()})"
        raise ProfileError(Mistake(path, 0, "", None, "a profile", found)) from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        found = f"the byte 0x{content[error.start]:02x}"
        raise ProfileError(Mistake(path, line, "", None, "text in UTF-8", found)) from error


def _not_toml(path: Path, text: str, message: str) -> Mistake:
    position = re.search(r"line (\d+)", message)
    lines = text.splitlines()
    line = int(position[1]) if position else max(1, len(lines))
    content = lines[line - 1].strip() if line <= len(lines) else ""
    return Mistake(path, line, "", None, f"TOML, but this is not: {message[:1].lower()}{message[1:]}", f"`{content}`")


# What they say


def _origin(path: Path, key: str, notes: Mapping[str, tuple[int, str]]) -> str:
    line, note = notes.get(key, (0, ""))
    where = "" if _ships(path) else f" ({path}:{line})" if line else f" ({path})"
    return f"profile {path.stem}{where}" + (f": {note}" if note else "")


def _mistakes(
    cls: type,
    table: Mapping[str, object],
    prefix: str,
    not_here: set[str],
    notes: Mapping[str, tuple[int, str]],
    path: Path,
) -> Iterator[Mistake]:
    known = [key for key in keys(cls) if key not in not_here]
    for key, value in table.items():
        line = notes.get(prefix + key, (0, ""))[0]
        if key not in known:
            expected = f"one of {', '.join(known)}"
            yield Mistake(path, line, prefix + key, None, expected, "an unknown key")
            continue
        expectation_of_it = expectation(cls, key, value)
        if expectation_of_it is not None:
            yield Mistake(path, line, prefix + key, value, expectation_of_it)


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
