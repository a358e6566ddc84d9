"""Where each value of a TOML document stands: the line numbers that tomllib does not tell.

An administrator who is told "found 21, expected 0 to 20" also needs the line. This module walks a document that tomllib
has accepted already and notes the line of every table, key and array element. It judges nothing: what is wrong with the
values is `sbc.config`'s affair, what is wrong with the syntax tomllib's.
"""

from __future__ import annotations

import tomllib

Path = tuple[str | int, ...]
"""("group", 0, "server", 1, "port"): names of tables and keys, positions in arrays from 0."""

_BLANK = " \t"
_BETWEEN = " \t\r\n"  # what may stand between the elements of an array, besides comments
_AFTER_BARE_VALUE = ",]}#\r\n"


def line_numbers(text: str) -> dict[Path, int]:
    """The line, from 1, on which each table header, key and array element of valid TOML stands."""
    return _Walk(text).lines


class _Walk:
    """One pass over the characters. `at` is the next one; everything before it has been noted."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[Path, int] = {(): 1}
        self._counted_to = 0
        self._line = 1
        self._array_lengths: dict[Path, int] = {}
        table: Path = ()
        while self._skip(_BETWEEN):
            if self._next() == "[":
                table = self._header()
            else:
                self._key_and_value(table)

    def _next(self) -> str:
        return self.text[self.at : self.at + 1]

    def _skip(self, characters: str) -> bool:
        """Pass blanks and comments; False at the end of the document."""
        while self.at < len(self.text):
            if self.text[self.at] == "#":
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            elif self.text[self.at] in characters:
                self.at += 1
            else:
                return True
        return False

    def _note(self, path: Path, at: int) -> None:
        """Remember the line of the character at `at`; the first mention of a path is the one shown."""
        self._line += self.text.count("\n", self._counted_to, at)
        self._counted_to = at
        self.lines.setdefault(path, self._line)

    def _header(self) -> Path:
        """`[a.b]` or `[[a.b]]`: the path under which the following keys go."""
        start = self.at
        is_array = self.text.startswith("[[", self.at)
        self.at += 2 if is_array else 1
        *parents, last = self._key("]")
        self.at += 2 if is_array else 1
        path: Path = ()
        for name in parents:
            path = self._newest((*path, name))
            self._note(path, start)
        path = (*path, last)
        self._note(path, start)
        if is_array:
            self._array_lengths[path] = self._array_lengths.get(path, 0) + 1
            path = self._newest(path)
            self._note(path, start)
        return path

    def _newest(self, path: Path) -> Path:
        """A name that stands for an array of tables means its newest element."""
        length = self._array_lengths.get(path, 0)
        return (*path, length - 1) if length else path

    def _key_and_value(self, table: Path) -> None:
        start = self.at
        path = table
        for name in self._key("="):
            path = (*path, name)
            self._note(path, start)
        self.at += 1
        self._skip(_BLANK)
        self._value(path)

    def _key(self, end: str) -> list[str]:
        """A dotted key up to, not including, `end`."""
        names = []
        while True:
            self._skip(_BLANK)
            if self._next() in "\"'":
                names.append(self._string())
            else:
                start = self.at
                while self._next() not in (".", end, *_BLANK):
                    self.at += 1
                names.append(self.text[start : self.at])
            self._skip(_BLANK)
            if self._next() == end:
                return names
            self.at += 1  # the dot

    def _string(self) -> str:
        """A string in any of the four kinds of quotes, as tomllib reads it."""
        start = self.at
        quote = self._next()
        multiline = self.text.startswith(quote * 3, self.at)
        delimiter = quote * 3 if multiline else quote
        self.at += len(delimiter)
        while not self.text.startswith(delimiter, self.at):
            self.at += 2 if quote == '"' and self._next() == "\\" else 1
        self.at += len(delimiter)
        while multiline and self._next() == quote:  # """a quote at the end""""
            self.at += 1
        return tomllib.loads("string = " + self.text[start : self.at])["string"]

    def _value(self, path: Path) -> None:
        match self._next():
            case '"' | "'":
                self._string()
            case "[":
                self._array(path)
            case "{":
                self._inline_table(path)
            case _:
                while self._next() and self._next() not in _AFTER_BARE_VALUE:
                    self.at += 1

    def _array(self, path: Path) -> None:
        self.at += 1
        position = 0
        while self._skip(_BETWEEN + ",") and self._next() != "]":
            self._note((*path, position), self.at)
            self._value((*path, position))
            position += 1
        self.at += 1

    def _inline_table(self, path: Path) -> None:
        self.at += 1
        while self._skip(_BETWEEN + ",") and self._next() != "}":
            self._key_and_value(path)
        self.at += 1
