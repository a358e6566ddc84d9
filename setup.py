"""Builds the compiled parts, all into one shared object (see `sbc/_hot.py`). Everything else is in pyproject.toml.

Two kinds of compiled module:

* hot modules of `sbc/`, ordinary annotated Python (Cython's pure Python mode); they also run uncompiled when
  SBC_PURE_PYTHON=1 is set at run time;
* what cannot be written as Python at all: the sources in `ext/`.
"""

import hashlib
import os
import re
import runpy
import shutil
import subprocess
import tarfile
from concurrent.futures import ThreadPoolExecutor
from glob import glob
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

HOT = runpy.run_path("sbc/_hot.py")
SOURCES = {name: name.replace(".", "/") + ".py" for name in HOT["WRITTEN_IN_PYTHON"]} | HOT["WRITTEN_IN_CYTHON"]
PRELUDE = "ext/prelude.h"

# Python's own options, -O3 -g, take two thirds more time to build and gain nothing.
COMPILER = ["-O2", "-g0", "-include", PRELUDE, "-Wno-unused-function"]

last_parts = [name.rpartition(".")[2] for name in SOURCES]
assert len(set(last_parts)) == len(SOURCES), "the last parts of the names of compiled modules differ"


def sum_of(source: str) -> str:
    """SHA-256, wherever Cython is installed."""
    return hashlib.sha256(re.sub(rb'"[^"\n]*/Cython/Includes/', b'"', Path(source).read_bytes())).hexdigest()


class Profile:
    """Tells gcc how often each branch of a source is taken, as far as that was counted and the source is still what it was."""

    def __init__(self, archive: Path, counting_into: str | None) -> None:
        """`counting_into`: make what counts, and at its end writes that into this folder."""
        self._counting_into = counting_into
        self._folder = Path("build/profile")
        self._sums: dict[str, str] = {}
        if counting_into is None and archive.exists():
            shutil.rmtree(self._folder, ignore_errors=True)
            with tarfile.open(archive) as file:
                file.extractall(self._folder)
            measured = (self._folder / HOT["MEASURED"]).read_text()
            self._sums = {source: total for total, source in (line.split() for line in measured.splitlines())}

    def fits(self, source: str) -> bool:
        return self._sums.get(source) == sum_of(source)

    def options(self, source: str, made: Path) -> list[str]:
        """For the compiler, which makes this of the source."""
        if self._counting_into is not None:
            return ["-fprofile-generate", "-fprofile-update=single", f"-fprofile-dir={self._counting_into}"]
        if not self.fits(source):
            return []
        # gcc looks for it under the path of what it makes.
        name = str(made.absolute().with_suffix("")).replace("/", "#")
        shutil.copyfile(self._folder / f"{source}.gcda", self._folder / f"{name}.gcda")
        folder = f"-fprofile-dir={self._folder.absolute()}"
        return ["-fprofile-use", folder, "-fprofile-partial-training", "-Wno-missing-profile", "-Wno-coverage-mismatch"]

    def conclude(self, sources: list[str]) -> None:
        """Leave word of what is to be counted; or say how much of the profile is of use."""
        if self._counting_into is not None:
            measured = "".join(f"{sum_of(source)}  {source}\n" for source in sources)
            Path(self._counting_into, HOT["MEASURED"]).write_text(measured)
        elif changed := sum(not self.fits(source) for source in sources):
            print(f"{changed} of {len(sources)} sources have changed since the profile was taken (tests/bench/training.py)")


def is_gcc(compiler) -> bool:
    said = subprocess.run([*compiler.compiler_so[:1], "--version"], capture_output=True, text=True).stdout
    return "Free Software Foundation" in said


class BuildSideBySide(build_ext):
    """Compiles as many sources at a time as there are processors, and those only that are newer than what was made of them."""

    def build_extension(self, extension):
        compiler = self.compiler
        compile_these = compiler.compile
        profile = Profile(Path(HOT["PROFILE"]), os.environ.get("SBC_COUNT_INTO")) if is_gcc(compiler) else None
        if profile is not None and os.environ.get("SBC_COUNT_INTO"):
            extension.extra_link_args = ["-fprofile-generate"]
        newest = max(Path(file).stat().st_mtime for file in extension.depends)

        def compile_one(source, options):
            [made] = compiler.object_filenames([source], output_dir=options["output_dir"])
            before = Path(made).stat().st_mtime if Path(made).exists() and not self.force else 0.0
            if before < max(newest, Path(source).stat().st_mtime):
                more = profile.options(source, Path(made)) if profile is not None else []
                compile_these([source], **{**options, "extra_postargs": [*options["extra_postargs"], *more]})
            return made

        def compile_side_by_side(sources, **options):
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                return list(pool.map(lambda source: compile_one(source, options), sources))

        for name in SOURCES:  # an earlier version made a file of each: they would be found before what is in Python
            for file in glob(f"{name.replace('.', '/')}.*.so"):
                Path(file).unlink()
        compiler.compile = compile_side_by_side
        try:
            super().build_extension(extension)
        finally:
            compiler.compile = compile_these
        if profile is not None:
            profile.conclude(extension.sources)


written_in_c = cythonize(
    [Extension(name, [source]) for name, source in SOURCES.items()],
    # Without it the .pxd of a module whose source is in ext/ would be ignored, silently.
    include_path=["."],
    language_level=3,
    build_dir="build",
    nthreads=os.cpu_count(),
)

setup(
    packages=find_packages(include=["sbc", "sbc.*"]),
    package_data={"sbc.observe": ["*.html"]},
    # Where `sbc.config` looks when it does not run from a checkout.
    data_files=[
        ("share/sbc", ["conf/sbc.toml"]),
        ("share/sbc/profiles", sorted(glob("conf/profiles/*.toml"))),
    ],
    ext_modules=[
        Extension(
            HOT["SHARED_OBJECT"],
            sorted(source for extension in written_in_c for source in extension.sources),
            depends=[file for file in (PRELUDE, HOT["PROFILE"]) if Path(file).exists()],
            extra_compile_args=COMPILER,
        )
    ],
    cmdclass={"build_ext": BuildSideBySide},
)
