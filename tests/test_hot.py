"""What is compiled (`sbc._hot`), and the profile that it is compiled with."""

import importlib
import os
import tarfile
from pathlib import Path

import pytest

import sbc
from sbc._hot import MEASURED, PROFILE, WRITTEN_IN_CYTHON, WRITTEN_IN_PYTHON

ROOT = Path(sbc.__file__).parents[1]
PURE = os.environ.get("SBC_PURE_PYTHON") == "1"


@pytest.mark.parametrize("name", [*WRITTEN_IN_PYTHON, *WRITTEN_IN_CYTHON])
def test_each_comes_from_the_shared_object_or_from_its_source(name):
    found = importlib.import_module(name)
    is_compiled = name in WRITTEN_IN_CYTHON or not PURE
    assert (".so" if is_compiled else ".py") == Path(found.__file__).suffix
    assert name == found.__name__ == found.__spec__.name
    assert ("_compiled" in found.__file__) is is_compiled


def test_no_two_of_them_have_the_same_last_part():
    """Python finds a module in a shared object by it."""
    names = [*WRITTEN_IN_PYTHON, *WRITTEN_IN_CYTHON]
    assert len(names) == len({name.rpartition(".")[2] for name in names})


def test_the_profile_is_of_what_is_compiled():
    """Of most of it, for what was changed since the last release may be missing."""
    sources = [f"build/{name.replace('.', '/')}.c" for name in WRITTEN_IN_PYTHON]
    sources += [f"build/{Path(source).with_suffix('.c')}" for source in WRITTEN_IN_CYTHON.values()]
    with tarfile.open(ROOT / PROFILE) as file:
        names = set(file.getnames())
        compiler, *lines = file.extractfile(MEASURED).read().decode().splitlines()
    assert compiler.startswith("gcc ")
    measured = {line.split()[1] for line in lines}
    assert names == {MEASURED, *(f"{source}.gcda" for source in measured)}
    assert measured <= set(sources)
    assert len(measured) > len(sources) / 2
