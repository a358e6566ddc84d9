"""Reading a TOML document table by table: typed values out, errors and origins noted on the way.

A `Table` is asked for each key that it may have; what nobody asked for when `finish` is called is unknown. A wrong
value is noted and its default goes on in its place, so that one run finds everything.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import Any

from sbc.config.errors import ConfigError, ConfigErrors, ConfigWarning, Unexpected, shortened, shown
from sbc.config.kinds import Kind
from sbc.config.toml_lines import Path as TomlPath
from sbc.config.toml_lines import line_numbers

REQUIRED = object()
"""A default that says: there is none, the key must be there."""

DEFAULT = "default"
"""The origin of a value that nobody wrote."""


class Document:
    """One file and everything noted about it."""

    def __init__(self, path: Path, *, only: tuple[str, ...] = ()) -> None:
        """Read and parse; raises ConfigErrors when there is nothing to be read table by table. With `only` these tables alone:
        what is broken elsewhere does not matter then."""
        self.path = path
        self.file = str(path)
        self.errors: list[ConfigError] = []
        self.warnings: list[ConfigWarning] = []
        self.provenance: dict[TomlPath, str] = {}
        self._unsound: set[TomlPath] = set()
        text = _without_other_tables(self._text("replace"), only) if only else self._text("strict")
        try:
            self.values = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigErrors([_syntax_error(self.file, text, str(error))]) from None
        self.lines = line_numbers(text)
        self.root = Table(self, (), self.values)

    def _text(self, in_other_encodings: str) -> str:
        try:
            content = self.path.read_bytes()
        except OSError as error:
            found = f"no readable file ({(error.strerror or str(error)).lower()})"
            raise ConfigErrors([ConfigError(self.file, 0, "", found, "a configuration file")]) from None
        try:
            return content.decode("utf-8-sig", in_other_encodings)
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            found = f"the byte 0x{content[error.start]:02x}"
            raise ConfigErrors([ConfigError(self.file, line, "", found, "text in UTF-8")]) from None

    def line(self, path: TomlPath) -> int:
        """The line of a key; of the table around it when the key is not written."""
        while path not in self.lines:
            path = path[:-1]
        return self.lines[path]

    def written(self, path: TomlPath) -> bool:
        """True for a key that stands in the file."""
        return path in self.lines

    def value(self, path: TomlPath) -> Any:
        """What is written at a path; None when nothing is."""
        if not self.written(path):
            return None
        value: Any = self.values
        for step in path:
            value = value[step]
        return value

    def elements(self, path: TomlPath) -> list[tuple[TomlPath, Any]]:
        """Path and value of each element of the list written there; empty when it is no list."""
        value = self.value(path)
        return [((*path, place), element) for place, element in enumerate(value)] if isinstance(value, list) else []

    def sound(self, path: TomlPath) -> bool:
        """True when no error was found there or below."""
        return all(bad[: len(path)] != path for bad in self._unsound)

    def origin(self, path: TomlPath) -> str:
        """`sbc.toml:12`"""
        return f"{self.file}:{self.line(path)}"

    def error(self, path: TomlPath, found: str, expected: str) -> None:
        self._unsound.add(path)
        self.errors.append(ConfigError(self.file, self.line(path), key_of(path), found, expected))

    def warn(self, path: TomlPath, text: str) -> None:
        self.warnings.append(ConfigWarning(self.file, self.line(path), key_of(path), text))


class Table:
    """One table of the document. An absent one reads as empty."""

    def __init__(self, document: Document, path: TomlPath, values: dict[str, Any]) -> None:
        self.document = document
        self.path = path
        self.values = values
        self._known: list[str] = []

    def get(self, key: str, kind: Kind, default: Any = REQUIRED, *, origin: str = DEFAULT) -> Any:
        """The value of `key`, checked; else the default, whose origin is noted. None when a required one is missing."""
        self._known.append(key)
        path = (*self.path, key)
        if key in self.values:
            self.document.provenance[path] = self.document.origin(path)
            try:
                return self._checked(path, kind, self.values[key])
            except Unexpected as error:
                self.document.error(path, error.found or shown(self.values[key]), error.expected)
        elif default is REQUIRED:
            try:
                kind(None)
            except Unexpected as error:
                self.document.error(path, "nothing", error.expected)
        else:
            self.document.provenance[path] = origin
        return None if default is REQUIRED else default

    def _checked(self, path: TomlPath, kind: Kind, value: Any) -> Any:
        """Elements of a list are checked one by one, so that each error has its own line."""
        element_kind = getattr(kind, "element_kind", None)
        if element_kind is None or not isinstance(value, list) or not value:
            return kind(value)
        good = []
        for position, element in enumerate(value):
            try:
                good.append(element_kind(element))
            except Unexpected as error:
                self.document.error((*path, position), error.found or shown(element), error.expected)
        return tuple(good)

    def table(self, key: str) -> Table:
        """The table `[key]` below this one."""
        self._known.append(key)
        path = (*self.path, key)
        value = self.values.get(key, {})
        if not isinstance(value, dict):
            header = key_of(path)
            found = f"[[{header}]]" if _is_array_of_tables(value) else shown(value)
            self.document.error(path, found, f"one table [{header}]")
            value = {}
        return Table(self.document, path, value)

    def tables(self, key: str) -> list[Table]:
        """The tables `[[key]]` below this one; it is an error when there is none."""
        self._known.append(key)
        path = (*self.path, key)
        header = key_of(path)
        value = self.values.get(key, [])
        if not value:
            self.document.error(path, "none", f"at least one table [[{header}]]")
            return []
        if not _is_array_of_tables(value):
            found = f"[{header}]" if isinstance(value, dict) else shown(value)
            self.document.error(path, found, f"tables with two brackets, [[{header}]]")
            return []
        return [Table(self.document, (*path, position), element) for position, element in enumerate(value)]

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def know(self, *keys: str) -> None:
        """Keys that this table may have, besides those it was asked for."""
        self._known += keys

    def finish(self) -> None:
        """Every key that was not asked for is an error."""
        for key in self.values:
            if key not in self._known:
                is_table = isinstance(self.values[key], dict) or _is_array_of_tables(self.values[key])
                found = "an unknown table" if is_table else "an unknown key"
                self.document.error((*self.path, key), found, suggestion(key, self._known))


def key_of(path: TomlPath) -> str:
    """A path as it is written in headers: `group.server.port`."""
    return ".".join(name for name in path if isinstance(name, str))


def suggestion(word: str, known: list[str]) -> str:
    """What was probably meant, as the end of "expected ..."."""
    close = [name for name in known if name in word.split("_")]
    close = close or difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f'a known one: did you mean "{close[0]}"?'
    return "one of " + ", ".join(known)


def _is_array_of_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(element, dict) for element in value)


def _without_other_tables(text: str, names: tuple[str, ...]) -> str:
    """The text with only the tables of these names, each still on its lines."""
    kept = []
    is_wanted = False
    for line in text.splitlines():
        header = _HEADER.match(line)
        if header is not None:
            is_wanted = header[1] in names
        kept.append(line if is_wanted else "")
    return "\n".join(kept)


_HEADER = re.compile(r"""\s*\[+\s*["']?([\w-]+)""")
"""What a line begins with that opens a table, and the first part of its name."""


def _syntax_error(file: str, text: str, message: str) -> ConfigError:
    """tomllib says "Expected '=' after a key in a key/value pair (at line 3, column 7)"."""
    reason, _, place = message.partition(" (at ")
    position = re.match(r"line (\d+), column (\d+)", place)
    lines = text.splitlines()
    line = int(position[1]) if position else max(1, len(lines))
    content = lines[line - 1].strip() if line <= len(lines) else ""
    found = f"`{shortened(content)}`" if content else "an empty line"
    if place.startswith("end of document"):
        found = f"{found} as the last line"
    for beginning, expected in _SYNTAX_EXPECTATIONS.items():
        if reason.startswith(beginning):
            return ConfigError(file, line, "", found, expected)
    return ConfigError(file, line, "", found, f"TOML, but this is not: {reason[:1].lower()}{reason[1:]}")


_SYNTAX_EXPECTATIONS = {
    "Cannot overwrite a value": "each key once in its table",
    "Cannot declare": "each [table] once; several of a kind are [[tables]]",
    "Illegal character '\\n'": "the closing quote of the text on the same line",
    "Unterminated string": "the closing quote of the text",
    "Unclosed array": "the closing bracket of the list",
    "Invalid value": "a value: a number, true, false, a list in brackets, or a text in quotes",
    "Expected '=' after a key": "key = value",
    "Invalid statement": "key = value, [table] or [[table]]",
}
"""What tomllib says, and what we make of it; anything else is passed on as it is."""
