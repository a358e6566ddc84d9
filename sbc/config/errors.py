"""What is wrong with a configuration, said so that it can be mended: where, which key, found what, expected what."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass

_LONGEST_SHOWN = 60  # characters of a found value; enough to recognise it, short enough for one line


@dataclass(frozen=True, slots=True)
class ConfigError:
    """One thing that keeps the configuration from being used."""

    file: str
    line: int
    """0 when it concerns the file as a whole."""
    key: str
    """Dotted, as in the headers of the file: `group.server.port`. Empty when no key is concerned."""
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{_place(self.file, self.line, self.key)}: found {self.found}, expected {self.expected}"


@dataclass(frozen=True, slots=True)
class ConfigWarning:
    """Something that works, but perhaps not as its author thinks."""

    file: str
    line: int
    key: str
    text: str
    """What will happen."""

    def __str__(self) -> str:
        return f"{_place(self.file, self.line, self.key)}: warning: {self.text}"


class ConfigErrors(Exception):
    """The configuration cannot be used; `errors` says why, everything at once."""

    def __init__(self, errors: Iterable[ConfigError]) -> None:
        self.errors = sorted(errors, key=lambda error: (error.file, error.line))
        super().__init__("\n".join(str(error) for error in self.errors))


class Unexpected(Exception):
    """A value is not what its key needs. `found` is only given where the value itself does not tell."""

    def __init__(self, expected: str, *, found: str = "") -> None:
        super().__init__(expected)
        self.expected = expected
        self.found = found


def as_toml(value: object) -> str:
    """A value as it would be written in the file."""
    match value:
        case bool():
            return "true" if value else "false"
        case None:
            return '""'
        case float() if value.is_integer():
            return str(int(value))
        case int() | float() | datetime.date() | datetime.time():
            return str(value)
        case list() | tuple() | set() | frozenset() if not hasattr(value, "_fields"):
            return "[" + ", ".join(as_toml(element) for element in value) + "]"
        case dict():
            pairs = ", ".join(f"{as_toml_key(name)} = {as_toml(inner)}" for name, inner in value.items())
            return "{ " + pairs + " }" if pairs else "{}"
        case _:
            return _quoted(str(value))


def shown(value: object) -> str:
    """A value as it was found, shortened to what an error line can bear."""
    return shortened(as_toml(value))


def shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "..."


def _place(file: str, line: int, key: str) -> str:
    place = f"{file}:{line}" if line else file
    return f"{place}: {key}" if key else place


def as_toml_key(name: str) -> str:
    bare = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    return name if bare else _quoted(name)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else _escape(c) for c in escaped) + '"'


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04X}" if code <= 0xFFFF else f"\\U{code:08X}"
