"""Tells a story on a terminal while it happens, and remembers what was promised and what was measured."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable
from typing import TextIO

_BOLD, _DIM, _GREEN, _RED, _CYAN = "1", "2", "32", "31", "36"
_WIDTH = 100
_MARGIN = 9  # of the time stamp


class Narrator:
    """Writes lines with the seconds since the start; colours only on a terminal, and not when NO_COLOR is set."""

    def __init__(self, output: TextIO, seconds: Callable[[], float]) -> None:
        self._output = output
        self._seconds = seconds
        self._started = seconds()
        self._colours = output.isatty() and "NO_COLOR" not in os.environ
        self.watched = output.isatty()
        """Somebody may be reading along, at a human pace."""
        self.checks = 0
        self.broken: list[str] = []
        """What did not come true."""
        self.audience_left: Callable[[], None] = lambda: None
        """Called once when nobody reads any more (`sbc demo | head`); from then on nothing is written."""

    @property
    def elapsed(self) -> float:
        return self._seconds() - self._started

    def title(self, text: str) -> None:
        self._write(self._paint(text, _BOLD))

    def plain(self, text: str = "") -> None:
        self._write(text)

    def chapter(self, text: str) -> None:
        self._write("")
        self._write(self._paint(text, _BOLD, _CYAN))

    def say(self, text: str) -> None:
        """What is going on."""
        self._timed("", text)

    def check(self, text: str, came_true: bool) -> bool:
        """A statement that must hold, with its figures in it."""
        self.checks += 1
        if came_true:
            self._timed(self._paint("ok ", _GREEN), text)
        else:
            self.broken.append(text)
            self._timed(self._paint("NOT SO: ", _RED, _BOLD), text)
        return came_true

    def trouble(self, text: str) -> None:
        """The story cannot go on."""
        self.broken.append(text.splitlines()[0])
        self._timed(self._paint("FAILED: ", _RED, _BOLD), text)

    def quote(self, speaker: str, text: str) -> None:
        """What somebody else said at this moment."""
        first, *others = textwrap.wrap(text, _WIDTH - _MARGIN - len(speaker) - 3) or [""]
        for line in (f"{speaker} | {first}", *(f"{' ' * len(speaker)} | {other}" for other in others)):
            self._write(" " * _MARGIN + self._paint(line, _DIM))

    def table(self, heading: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
        """Columns as wide as they need to be; one of measures ("12 ms", or empty) is aligned to the right."""
        widths = [max(len(row[column]) for row in (heading, *rows)) for column in range(len(heading))]
        measures = [all(not cell or cell.endswith(" ms") for cell in cells) for cells in zip(*rows, strict=True)]

        def line(row: tuple[str, ...]) -> str:
            cells = [
                cell.rjust(width) if measure else cell.ljust(width)
                for cell, width, measure in zip(row, widths, measures, strict=True)
            ]
            return "  ".join(cells).rstrip()

        self._write(self._paint(line(heading), _BOLD))
        self._write(self._paint("-" * (sum(widths) + 2 * (len(widths) - 1)), _DIM))
        for row in rows:
            self._write(line(row))

    def verdict(self) -> bool:
        """The last line: did the story come true?"""
        self._write("")
        if self.broken:
            self._write(self._paint("The story did not come true:", _RED, _BOLD))
            for text in self.broken:
                self._write(f"  - {text}")
        else:
            told = f"The story came true: all {self.checks} checks held, in {self.elapsed:.0f} seconds."
            self._write(self._paint(told, _GREEN, _BOLD))
        return not self.broken

    def _timed(self, mark: str, text: str) -> None:
        stamp = f"{self.elapsed:6.1f} s "
        indent = " " * _MARGIN
        first, *others = [
            wrapped for paragraph in text.splitlines() for wrapped in textwrap.wrap(paragraph, _WIDTH - _MARGIN) or [""]
        ]
        self._write(self._paint(stamp, _DIM) + mark + first)
        for line in others:
            self._write(indent + line)

    def _paint(self, text: str, *codes: str) -> str:
        return f"\033[{';'.join(codes)}m{text}\033[0m" if self._colours else text

    def _write(self, line: str) -> None:
        try:
            print(line, file=self._output, flush=True)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._output.fileno())
            self.broken.append("nobody read on")
            self.audience_left()
