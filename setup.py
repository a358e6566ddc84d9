"""Builds the compiled parts, all into one shared object (see `sbc/_hot.py`). Everything else is in pyproject.toml.

Two kinds of compiled module:

* hot modules of `sbc/`, ordinary annotated Python (Cython's pure Python mode); they also run uncompiled when
  SBC_PURE_PYTHON=1 is set at run time;
* what cannot be written as Python at all: the sources in `ext/`.
"""

import hashlib
import lzma
import os
import platform
import re
import runpy
import shutil
import subprocess
import sys
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

COUNT_INTO = os.environ.get("SBC_COUNT_INTO")
"""If set, what is built counts how often each branch is taken, and writes the counts into this folder when it exits."""


def sum_of(source: str) -> str:
    """SHA-256 of what matters to gcc in a source: not where Cython is installed, nor how it was called."""
    text = re.sub(rb'"[^"\n]*/Cython/Includes/', b'"', Path(source).read_bytes())
    return hashlib.sha256(re.sub(rb"/\* BEGIN: Cython Metadata.*?\*/", b"", text, flags=re.DOTALL)).hexdigest()


class Profile:
    """Tells gcc how often each branch of a source is taken, as far as that was counted by the same gcc and the source is still
    what it was. Whatever is wrong with the profile, the build does without."""

    def __init__(self, archive: Path, compiler: str) -> None:
        """`compiler` says what decides whether counts fit besides the source."""
        self._compiler = compiler
        self._folder = Path("build/profile")
        self._fitting: set[str] = set()
        if COUNT_INTO:
            return
        try:
            shutil.rmtree(self._folder, ignore_errors=True)
            with tarfile.open(archive) as file:
                file.extractall(self._folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
            of, *lines = (self._folder / HOT["MEASURED"]).read_text().splitlines()
            if of != compiler:
                print(f"the profile is of {of}, this is {compiler}: done without")
                return
            for total, source in (line.split() for line in lines):
                if Path(source).exists() and self._counted(source).exists() and sum_of(source) == total:
                    self._fitting.add(source)
        except (OSError, EOFError, tarfile.TarError, lzma.LZMAError, ValueError) as error:
            print(f"no profile: {error}")

    def options(self, source: str) -> list[str]:
        """For the compiler."""
        base = ["-dumpbase", source, "-dumpbase-ext", ".c"]  # by it gcc tells the functions in what was counted apart
        if COUNT_INTO:
            return [*base, "-fprofile-generate", "-fprofile-update=single", f"-fprofile-dir={Path(COUNT_INTO).absolute()}"]
        if source not in self._fitting:
            return []
        # gcc looks for it under the path of the source; where that leads through a link, either may be meant.
        for here in {os.getcwd(), os.environ.get("PWD") or os.getcwd()}:
            name = os.path.join(here, os.path.splitext(source)[0]).replace("/", "#")
            try:
                shutil.copyfile(self._counted(source), self._folder / f"{name}.gcda")
            except OSError:  # a name that is too long, for one
                return []
        use = ["-fprofile-use", f"-fprofile-dir={self._folder.absolute()}", "-fprofile-partial-training"]
        return [*base, *use, "-Wno-missing-profile", "-Wno-coverage-mismatch"]

    def conclude(self, sources: list[str]) -> None:
        """Leave word of what is to be counted; or say how much of the profile is of use."""
        if COUNT_INTO:
            measured = [self._compiler, *(f"{sum_of(source)}  {source}" for source in sources)]
            Path(COUNT_INTO, HOT["MEASURED"]).write_text("\n".join(measured) + "\n")
        elif changed := len(set(sources) - self._fitting):
            print(f"compiled without a profile: {changed} of {len(sources)} sources (tests/bench/training.py)")

    def _counted(self, source: str) -> Path:
        return self._folder / f"{source}.gcda"


def description_of(compiler) -> str | None:
    """Such as `gcc 12.2.0, Python 3.11, x86_64`; None of another compiler."""
    command = [part for part in compiler.compiler_so if not part.startswith("-")]
    said = subprocess.run([*command, "--version"], capture_output=True, text=True).stdout
    if "Free Software" not in said:
        return None
    version = subprocess.run([*command, "-dumpfullversion"], capture_output=True, text=True).stdout.strip()
    return f"gcc {version}, Python {sys.version_info.major}.{sys.version_info.minor}, {platform.machine()}"


class BuildSideBySide(build_ext):
    """Compiles as many sources at a time as there are processors, and only those newer than their objects."""

    def build_extension(self, extension):
        compiler = self.compiler
        compile_these = compiler.compile
        description = description_of(compiler)
        profile = Profile(Path(HOT["PROFILE"]), description) if description else None
        if COUNT_INTO:
            if profile is None:
                sys.exit("only gcc counts in the way that is wanted")
            extension.extra_link_args = ["-fprofile-generate"]
            self.build_temp += "-counting"  # nothing of it is to be found by the next build
        newest = max(Path(file).stat().st_mtime for file in extension.depends)

        def compile_one(source, options):
            [made] = compiler.object_filenames([source], output_dir=options["output_dir"])
            before = Path(made).stat().st_mtime if Path(made).exists() and not self.force else 0.0
            if before < max(newest, Path(source).stat().st_mtime):
                more = profile.options(source) if profile is not None else []
                compile_these([source], **{**options, "extra_postargs": [*options["extra_postargs"], *more]})
            return made

        def compile_side_by_side(sources, **options):
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                return list(pool.map(lambda source: compile_one(source, options), sources))

        compiler.compile = compile_side_by_side
        try:
            super().build_extension(extension)
        finally:
            compiler.compile = compile_these
        if profile is not None:
            profile.conclude(extension.sources)
        # An earlier version made an object of each: they would be found before what is in Python.
        for folder in ("sbc", Path(self.build_lib, "sbc")):
            for file in Path(folder).rglob("*.so"):
                if not file.name.startswith("_compiled."):
                    file.unlink()


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
            depends=[file for file in ("setup.py", PRELUDE, HOT["PROFILE"]) if Path(file).exists()],
            extra_compile_args=COMPILER,
        )
    ],
    cmdclass={"build_ext": BuildSideBySide},
)
