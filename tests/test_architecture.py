"""Who may import whom, and what each module may do when it is imported (design, section 3)."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import sbc

ROOT = Path(sbc.__file__).parent

MAY_IMPORT = {
    "sip": set(),
    "transaction": {"sip", "clock", "flow"},
    "location": {"sip", "clock", "events"},
    "redundancy": {"location", "events"},
    "registration": {"sip", "transaction", "location", "redundancy", "events", "clock", "flow", "nonces", "store"},
    "proxy": {"sip", "transaction", "location", "redundancy", "events", "clock", "flow", "nonces", "store"},
    "survival": {"sip", "transaction", "location", "redundancy", "events", "clock", "flow", "store"},
    "transport": {"sip", "location", "events", "clock", "flow"},
    "store": {"events"},
    "observe": {"events", "clock"},
    "config": {"redundancy", "sip", "location"},
    "workers": {"sip", "transaction", "transport", "proxy", "observe", "store", "config", "events", "clock", "flow"},
    "lab": {"sip", "transaction", "redundancy", "location", "clock", "events", "flow"},
    "clock": set(),
    "control": set(),
    "flow": set(),
    "nonces": {"sip", "location"},
    "garbage": {"clock"},
    "scheduling": set(),
    "events": set(),
}
"""Package or module of `sbc` -> the others that it may import. A lower one never imports a higher one. Not listed,
because they put everything together: `app`, `together`, `cli`, `preflight`, `resolve`."""

ONLY_TYPES = {
    "nonces": {"location": {"sbc.location.candidate"}},
    "redundancy": {"location": {"sbc.location.candidate"}},
    "registration": {"location": {"sbc.location.candidate"}, "store": {"sbc.store.interface"}},
    "proxy": {"location": {"sbc.location.candidate"}, "store": {"sbc.store.interface"}},
    "survival": {"location": {"sbc.location.candidate"}, "store": {"sbc.store.interface"}},
    "transport": {"location": {"sbc.location.candidate"}},
}
"""Where only a package's types are wanted: the modules that hold them."""

TWISTED_IN = ("control.py", "transport/", "location/resolver.py", "store/", "observe/http.py", "workers/", "lab/", "app.py", "together.py")
DNS_IN = ("location/resolver.py", "preflight.py")
PROMETHEUS_IN = ("observe/", "lab/")
SOCKETS_IN = (
    "transport/", "observe/", "location/resolver.py", "config/", "workers/", "lab/", "app.py", "cli.py", "control.py",
    "preflight.py", "resolve.py",
)  # fmt: skip
"""Files, and folders with everything in them, that may import such a library."""

FOREIGN = {
    "twisted": TWISTED_IN,
    "dns": DNS_IN,
    "prometheus_client": PROMETHEUS_IN,
    "socket": SOCKETS_IN,
    "sqlite3": ("store/",),
}

MODULES = sorted(path for path in ROOT.rglob("*.py") if path.name != "_hot.py")


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def package_of(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


@cache
def imports(path: Path) -> list[tuple[str, list[str], bool]]:
    """Every import in the file: (module name, names taken from it, whether it runs when the module is imported)."""
    tree = ast.parse(path.read_text("utf-8"))
    inside_functions = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(function)
    }
    found: list[tuple[str, list[str], bool]] = []
    for node in ast.walk(tree):
        at_import = id(node) not in inside_functions
        if isinstance(node, ast.Import):
            found += [(alias.name, [], at_import) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute, so that they can be read without counting dots"
            found.append((node.module, [alias.name for alias in node.names], at_import))
    return found


def our_imports(path: Path):
    """The modules of ours that the file imports, by full name."""
    for module, names, _ in imports(path):
        if module == "sbc":
            yield from (f"sbc.{name}" for name in names if (ROOT / name).exists() or (ROOT / f"{name}.py").exists())
        elif module.startswith("sbc."):
            yield module


def is_in(path: Path, places: tuple[str, ...]) -> bool:
    relative = path.relative_to(ROOT).as_posix()
    return any(relative == place or (place.endswith("/") and relative.startswith(place)) for place in places)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_only_what_its_package_may(path):
    package = package_of(path)
    if package not in MAY_IMPORT:
        everything = ("__init__", "__main__", "app", "together", "cli", "preflight", "resolve")
        assert package in everything, f"say in MAY_IMPORT what {package} may import"
        return
    for module in our_imports(path):
        other = module.split(".")[1]
        assert other == package or other in MAY_IMPORT[package], f"{name_of(path)} imports {module}"
        types = ONLY_TYPES.get(package, {}).get(other)
        assert types is None or module in types, f"{name_of(path)} imports {module}, only {types} are for it"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_libraries_stay_where_they_belong(path):
    """Twisted, sockets, files of state, DNS and Prometheus each have their rooms."""
    for module, _, _ in imports(path):
        places = FOREIGN.get(module.split(".")[0])
        assert places is None or is_in(path, places), f"{name_of(path)} imports {module}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_the_global_reactor_is_never_imported_with_a_module(path):
    """It is passed in. Commands may fetch it when they start."""
    for module, names, at_import in imports(path):
        fetches = module == "twisted.internet.reactor" or (module == "twisted.internet" and "reactor" in names)
        assert not (fetches and at_import), f"{name_of(path)} imports the global reactor"
        assert not fetches or is_in(path, ("app.py", "lab/")), f"{name_of(path)} fetches the global reactor"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_reads_a_clock_of_its_own(path):
    """Objects that decide are told `now`; objects that wait are given a clock."""
    package = package_of(path)
    if package not in ("sip", "transaction", "location", "redundancy", "registration", "nonces", "proxy", "survival"):
        return
    for module, _, _ in imports(path):
        assert module != "time", f"{name_of(path)} imports time"


def test_only_the_command_line_imports_the_application():
    importers = {name_of(path) for path in MODULES if "sbc.app" in our_imports(path)}
    assert importers <= {"sbc.cli", "sbc.together"}


LIBRARIES = sorted(
    module
    for module in {module for path in MODULES for module, _, at_import in imports(path) if at_import}
    if module.partition(".")[0] not in ("sbc", "cython")
)
"""What our modules import that is not ours."""

IMPORT_ALONE = """
import importlib, os, sys

names, libraries = (argument.split() for argument in sys.argv[1:])
for library in libraries:
    importlib.import_module(library)
for name in names:
    child = os.fork()
    if child:
        if os.waitpid(child, 0)[1]:
            sys.exit(f"{name} does not import alone")
        continue
    importlib.import_module(name)
    assert 'twisted.internet.reactor' not in sys.modules, 'a reactor was installed'
    os._exit(0)
"""
"""A process for each module, begun where the libraries, but nothing of ours, are there: they take longer than we do."""


def test_each_module_imports_alone():
    """Whatever of ours was imported before, and without starting a reactor."""
    names = [name_of(path) for path in MODULES if path.name != "__main__.py"]
    ran = subprocess.run(
        [sys.executable, "-c", IMPORT_ALONE, " ".join(names), " ".join(LIBRARIES)],
        cwd=ROOT.parent, env=os.environ, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
