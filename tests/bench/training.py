"""Takes the profile that the build gives to gcc: which way each branch goes while phones call and register.

    python -m tests.bench.training

Builds a copy of the compiled parts that counts, puts the benchmark's jobs through it, and writes `ext/profile.tar.xz`: what gcc
has counted for each source (`.gcda`), and in `measured` by which compiler, and in which text of it. To be done before a release,
some ten minutes. A source that has changed since is compiled without, which is only slower.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from sbc._hot import MEASURED, PROFILE
from tests.bench.proxies import SbcProxy
from tests.bench.run import FIXED, Bench
from tests.e2e.peers import Peers

ROOT = Path(__file__).parents[2]
RATE, SECONDS, ROUNDS = 400, 3, 3


class Counting(SbcProxy):
    """`sbc run` from that folder."""

    def run_from(self, tree: Path) -> None:
        self._environment["PYTHONPATH"] = str(tree)

    def end(self) -> None:
        """Then it writes what it has counted, which may take longer than `stop` waits."""
        self._signal(signal.SIGTERM)
        assert self.wait(60) == 0, self.text()[-2000:]


def copied(tree: Path) -> None:
    """What is needed to build."""
    for name in ("sbc", "ext", "conf"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    (tree / PROFILE).unlink(missing_ok=True)


def put_jobs_through(tree: Path) -> None:
    """One proxy for each, because those that answer refreshes themselves are configured otherwise."""
    with tempfile.TemporaryDirectory(prefix="sbc-training-") as folder:
        peers = Peers(Path(folder))
        try:
            bench = Bench(peers)
            for job in FIXED:
                own = Path(folder) / job
                own.mkdir()
                proxy = Counting(own, bench.servers, throttled=job == "answered")
                proxy.run_from(tree)
                peers.started(proxy)
                for number in range(ROUNDS):
                    turn = bench.measure(proxy, job, RATE, SECONDS, kind="warm-up", round_number=number)
                    assert not turn.failed, f"{turn.failed} of {job} failed"
                proxy.end()
        finally:
            peers.close()


def packed(counted: Path, archive: Path) -> int:
    """Number of sources of which something was counted. gcc names a file by the path of the source, with `#` for `/`."""
    found = {f"build{path.stem.rpartition('#build')[2].replace('#', '/')}.c": path for path in counted.glob("*.gcda")}
    measured = {line.split()[1] for line in (counted / MEASURED).read_text().splitlines()[1:]}
    assert found.keys() == measured, f"counted nothing of {measured - found.keys()}"
    half_done = archive.with_name(archive.name + ".new")
    with tarfile.open(half_done, "w:xz") as file:
        file.add(counted / MEASURED, MEASURED, filter=_without_owner)
        for source, path in sorted(found.items()):
            file.add(path, f"{source}.gcda", filter=_without_owner)
    half_done.replace(archive)
    return len(found)


def _without_owner(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


def main() -> int:
    argparse.ArgumentParser(prog="python -m tests.bench.training", description=__doc__.partition("\n")[0]).parse_args()
    with tempfile.TemporaryDirectory(prefix="sbc-counting-") as folder:
        tree, counted = Path(folder) / "tree", Path(folder) / "counted"
        counted.mkdir()
        tree.mkdir()
        copied(tree)
        command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
        subprocess.run(command, cwd=tree, env={**os.environ, "SBC_COUNT_INTO": str(counted)}, check=True)
        put_jobs_through(tree)
        number = packed(counted, ROOT / PROFILE)
    print(f"{PROFILE}: {number} sources")
    return 0


if __name__ == "__main__":
    sys.exit(main())
