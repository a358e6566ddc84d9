"""The table of all rules of the bulletins: `python -m tests.bulletins.rules` writes RULES.md.

A test names a rule when its docstring has the id: `Y7`, or a range `Y40 to Y43`. `rules.toml` has all ids, and
`not_applicable.toml` those that ask nothing of us, with the reason.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
PAGE = HERE / "RULES.md"
_TESTS = HERE.parent
_MOST_NAMED = 6
"""Tests of one rule that the page lists. Where there are some in this folder, only those: the page need not be written anew
for every test elsewhere."""

_WORD = re.compile(r"(?<![\w.>:-])(P-ext|[YPVSFX][1-9]\d?)(?:(?: to |-)(?:[YPVSFX]?([1-9]\d?)))?(?![\w>-]|:\d| products?\b)")
"""An id or a range of ids, but not `P1:1`, a candidate as the PIVOT phone shows it, nor Fanvil's `V2 products`."""


@dataclass(frozen=True)
class Bulletin:
    title: str
    rules: dict[str, str]


def bulletins() -> list[Bulletin]:
    """All rules, by bulletin."""
    table = tomllib.loads((HERE / "rules.toml").read_text("utf-8"))
    return [Bulletin(part["title"], part["rules"]) for part in table.values()]


def not_applicable() -> dict[str, str]:
    """The reason, by rule."""
    return tomllib.loads((HERE / "not_applicable.toml").read_text("utf-8"))


def ids_in(text: str) -> set[str]:
    """The rules that a docstring names."""
    found: set[str] = set()
    for match in _WORD.finditer(text):
        first, last = match.groups()
        found.add(first)
        if last is not None and first != "P-ext" and int(last) > int(first[1:]):
            found.update(f"{first[0]}{number}" for number in range(int(first[1:]), int(last) + 1))
    return found


def naming_tests() -> dict[str, list[str]]:
    """For each rule that is named anywhere, the tests that name it: those of the bulletins first, then the others."""
    named: dict[str, list[str]] = {}
    for path in sorted(_TESTS.rglob("test_*.py"), key=_place):
        for function, docstring in _documented_tests(path):
            for rule in ids_in(docstring):
                named.setdefault(rule, []).append(f"{path.relative_to(_TESTS)}::{function}")
    return named


def page() -> str:
    """The whole of RULES.md."""
    named, excused = naming_tests(), not_applicable()
    lines = [
        "# Every rule of the bulletins, and the tests that show it",
        "",
        "Written by `python -m tests.bulletins.rules` from the docstrings of the tests; do not edit.",
    ]
    for bulletin in bulletins():
        lines += ["", f"## {bulletin.title}", "", "| rule | says | shown by |", "| --- | --- | --- |"]
        lines += [f"| {rule} | {title} | {_shown_by(rule, named, excused)} |" for rule, title in bulletin.rules.items()]
    return "\n".join(lines) + "\n"


def missing() -> list[str]:
    """Rules without a test and without a reason."""
    named, excused = naming_tests(), not_applicable()
    return [rule for bulletin in bulletins() for rule in bulletin.rules if rule not in named and rule not in excused]


def _shown_by(rule: str, named: dict[str, list[str]], excused: dict[str, str]) -> str:
    if rule in excused:
        return f"does not apply: {excused[rule]}"
    tests = named.get(rule, [])
    if not tests:
        return "**nothing**"
    of_bulletins = [test for test in tests if test.startswith(f"{HERE.name}/")]
    return "<br>".join(f"`{test}`" for test in (of_bulletins or tests)[:_MOST_NAMED])


def _documented_tests(path: Path) -> Iterator[tuple[str, str]]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            docstring = ast.get_docstring(node)
            if docstring:
                yield node.name, docstring


def _place(path: Path) -> tuple[int, str]:
    return (0 if path.parent == HERE else 2 if "e2e" in path.parts else 1), str(path)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
    print(f"{PAGE.name}: {len(missing())} rules without a test: {', '.join(missing()) or 'none'}")
