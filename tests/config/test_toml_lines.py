"""Line numbers of TOML values, checked against what tomllib finds in the same documents."""

import tomllib

import pytest

from sbc.config.toml_lines import line_numbers

DOCUMENT = '''\
# a comment with [a header] and = signs
title = "a = [b] # not a comment"

[appliance]
name = 'single "quotes"'
"quoted key" = 1
dotted.name = true

[[group]]
domains = [
    "first",   # a comment with ] and "
    "second",
]
text = """
[[group]]
name = "inside a string"
ends with a quote""""
  [[group.server]]
  port = 5060
  [[group.server]]
  port = 0
  options = { a = 1, b = [2, 3] }

[[group]]
date = 1979-05-27T07:32:00Z
  [[group.server]]
  port = 5070
'''


def paths_of(value, path=()):
    """Every path in a parsed document."""
    yield path
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from paths_of(inner, (*path, name))
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            yield from paths_of(inner, (*path, position))


@pytest.mark.parametrize(
    "text", [DOCUMENT, DOCUMENT.replace("\n", "\r\n"), DOCUMENT.rstrip(), "", "a=1", "a.b . c=[[],[1]]"]
)
def test_every_value_has_a_line(text):
    """The walk finds exactly the tables, keys and elements that tomllib finds."""
    assert set(paths_of(tomllib.loads(text))) == set(line_numbers(text))


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("title",), 2),
        (("appliance",), 4),
        (("appliance", "quoted key"), 6),
        (("appliance", "dotted", "name"), 7),
        (("group", 0), 9),
        (("group", 0, "domains"), 10),
        (("group", 0, "domains", 1), 12),
        (("group", 0, "server", 0, "port"), 19),
        (("group", 0, "server", 1), 20),
        (("group", 0, "server", 1, "options", "b", 1), 22),
        (("group", 1), 24),
        (("group", 1, "server", 0, "port"), 27),
    ],
)
def test_line(path, line):
    """A value is found on its own line, whatever stands before it."""
    assert line == line_numbers(DOCUMENT)[path]
