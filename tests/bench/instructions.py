"""Instructions per exchange, counted by callgrind: the same in every run, on every machine, whatever else it does.

    python -m tests.bench.instructions [calls] [register] [refresh] [answered] [options] [--number N] [--keep FOLDER]

Prints for each job how many instructions one exchange takes in user space, and in which compiled file they are executed. A
file's share is what happens in it, not what it calls: the work that `sbc/proxy` has done by Python's runtime counts for
`libpython`. With `--keep` the profile stays, for `callgrind_annotate --inclusive=yes --tree=caller`.

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
from pathlib import Path

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
_MODULE = re.compile(r".*/(sbc/.*?)\.(?:cpython-.*\.)?so")


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


def by_file(profile: Path) -> Counter[str]:
    """Instructions executed in each file of a callgrind profile (Callgrind Format Specification, version 1)."""
    names: dict[str, str] = {}
    instructions: Counter[str] = Counter()
    here = ""
    called = False
    for line in profile.read_text(errors="replace").splitlines():
        if line.startswith("ob="):
            found = _NAME.fullmatch(line[3:])
            number, name = found.groups() if found else (line[3:], line[3:])
            here = names.setdefault(number, name or "")
        elif line.startswith("cob="):
            found = _NAME.fullmatch(line[4:])
            if found and found[2]:
                names.setdefault(found[1], found[2])
        elif line.startswith("calls="):
            called = True  # the next line is what the callee cost
        elif line and line[0] in "0123456789+-*":
            if not called:
                instructions[here] += int(line.split()[-1])
            called = False
    return instructions


def readable(file: str) -> str:
    """`sbc/sip/message` for an extension module of ours, else the file's name."""
    ours = _MODULE.fullmatch(file)
    return ours[1] if ours else Path(file).name.partition(".so")[0]


def count(job: str, number: int, keep: Path | None) -> tuple[int, Counter[str]]:
    """Instructions per exchange: of all, and by file. Idle turns of the loop are in it: about a hundredth."""
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
            files = by_file(written)
        finally:
            peers.close()
    return sum(files.values()) // number, Counter({file: total // number for file, total in files.items()})


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
        total, files = count(job, options.number, options.keep)
        print(f"{job}: {total:,} instructions each")
        rooms: Counter[str] = Counter()
        for file, instructions in files.items():
            rooms[readable(file)] += instructions
        for file, instructions in rooms.most_common():
            if instructions * 100 >= total:
                print(f"  {instructions:9,}  {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
