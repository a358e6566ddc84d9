"""Instructions per exchange, counted by callgrind: the same in every run, on every machine, whatever else it does.

    python -m tests.bench.instructions [calls] [register] [refresh] [answered] [options] [--number N] [--keep FOLDER]

Prints for each job how many instructions one exchange takes in user space, and in which compiled module or library they are
executed. A module's share is what happens in it, not what it calls: the work that `sbc/proxy` has done by Python's runtime counts
for `libpython`. With `--keep` the profile stays, for `callgrind_annotate --inclusive=yes --tree=caller`.

Needs valgrind; everything runs about fifty times slower, so the load is slow too.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from functools import cache
from pathlib import Path

from sbc._hot import SHARED_OBJECT, WRITTEN_IN_CYTHON, WRITTEN_IN_PYTHON
from tests.bench.proxies import SbcProxy
from tests.bench.run import Bench
from tests.e2e.peers import Peers
from tests.e2e.peers.process import Program, wait_until

RATE = 40
"""Exchanges a second; a hundred are too many for some machines."""
WARM_UP = 300
SLOW_START = 300
"""Seconds."""
JOBS = ("calls", "register", "refresh", "answered", "options")

_NAME = re.compile(r"\((\d+)\)(?: (.*))?")
_PART = re.compile(r"(?:__pyx_[a-z_]+_|_)(\d+)")
_MODULES = frozenset(name.replace(".", "/") for name in [*WRITTEN_IN_PYTHON, *WRITTEN_IN_CYTHON])
_OURS = SHARED_OBJECT.replace(".", "/") + "."


class UnderCallgrind(SbcProxy):
    """`sbc run` on valgrind's processor; it counts only while it is told to."""

    def counting_into(self, profile: Path) -> None:
        valgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={profile}"]
        self.arguments = [*valgrind, *self.arguments]

    def start(self) -> None:
        Program.start(self)
        wait_until(lambda: "sbc ready:" in self.text(), "sbc starts, slowly", SLOW_START)

    def control(self, *arguments: str) -> None:
        """callgrind_control."""
        subprocess.run(["callgrind_control", *arguments, str(self.pid)], check=True, capture_output=True)


def by_place(profile: Path) -> Counter[str]:
    """Instructions executed in each module of ours, and in each other file, of a callgrind profile (Callgrind Format
    Specification, version 1)."""
    names: dict[tuple[str, str], str] = {}
    instructions: Counter[str] = Counter()
    file = function = ""
    called = False

    def named(kind: str, text: str) -> str:
        found = _NAME.fullmatch(text)
        return names.setdefault((kind, found[1]), found[2] or "") if found else text

    for line in profile.read_text(errors="replace").splitlines():
        key, is_name, text = line.partition("=")
        if key == "calls":
            called = True  # the next line is what the callee cost
        elif key in ("ob", "cob"):
            name = named("ob", text)
            file = name if key == "ob" else file
        elif key in ("fn", "cfn"):
            name = named("fn", text)
            function = name if key == "fn" else function
        elif line and not is_name and line[0] in "0123456789+-*":
            if not called:
                instructions[readable(file, function)] += int(line.split()[-1])
            called = False
    return instructions


@cache
def readable(file: str, function: str) -> str:
    """`sbc/sip/message` for what is compiled of ours, else the file's name."""
    return module_of(function) if _OURS in file else Path(file).name.partition(".so")[0]


def module_of(function: str) -> str:
    """Cython has the length of each part before it: `__pyx_f_3sbc_3sip_7message_5parse`."""
    parts = []
    rest = function
    while found := _PART.match(rest):
        end = found.end() + int(found[1])
        parts.append(rest[found.end() : end])
        rest = rest[end:]
        if "/".join(parts) in _MODULES:
            return "/".join(parts)
    return "what Cython adds"


def count(job: str, number: int, keep: Path | None) -> tuple[int, Counter[str]]:
    """Instructions per exchange: of all, and by place. Idle turns of the loop are in it: about a hundredth."""
    with tempfile.TemporaryDirectory() as name:
        peers = Peers(Path(name))
        try:
            bench = Bench(peers)
            folder = Path(name) / "counted"
            folder.mkdir()
            proxy = UnderCallgrind(folder, bench.servers, throttled=job == "answered")
            profile = Path(name) / "profile"
            proxy.counting_into(profile)
            peers.started(proxy)
            # The first probes, and what is made once for every phone or server.
            for _ in range(2 if job == "answered" else 1):
                bench.result(bench.start_load(proxy, job, RATE, max(WARM_UP, number)), SLOW_START)
            proxy.control("--instr=on")
            result = bench.result(bench.start_load(proxy, job, RATE, number), SLOW_START)
            proxy.control("--instr=off")
            proxy.control("--dump")
            wait_until(lambda: any(Path(name).glob("profile.*")), "callgrind has written", 30)
            time.sleep(0.5)
            assert not result["failed"], f"{result['failed']} failed"
            written = max(Path(name).glob("profile.*"), key=lambda path: path.stat().st_size)
            if keep is not None:
                keep.mkdir(exist_ok=True)
                shutil.copy(written, keep / f"callgrind.{job}")
            places = by_place(written)
        finally:
            peers.close()
    return sum(places.values()) // number, Counter({place: total // number for place, total in places.items()})


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.instructions", description=__doc__.partition("\n")[0])
    parser.add_argument("jobs", nargs="*", default=list(JOBS), help=" ".join(JOBS))
    parser.add_argument("--number", type=int, default=300, help="of exchanges that are counted")
    parser.add_argument("--keep", type=Path, help="folder for the profiles")
    options = parser.parse_args()
    if shutil.which("valgrind") is None:
        print("valgrind is not installed", file=sys.stderr)
        return 1
    for job in options.jobs:
        if job not in JOBS:
            parser.error(f"no such job: {job}")
        total, places = count(job, options.number, options.keep)
        print(f"{job}: {total:,} instructions each")
        for place, instructions in places.most_common():
            if instructions * 100 >= total:
                print(f"  {instructions:9,}  {place}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
