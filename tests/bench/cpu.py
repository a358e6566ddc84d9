"""What a proxy's processes have used, from /proc."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """Sums over all processes of one session."""

    cpu_seconds: float
    """User and system time of all threads, to the nanosecond where the kernel tells (schedstat), else to its tick."""
    memory_bytes: int
    """Proportional set size: memory shared between the processes counts once."""


def processes(session: int) -> list[int]:
    """The processes of a session; a program started by `Program` leads one, its workers belong to it."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _session(entry) == session]


def usage(session: int) -> Usage:
    """What the session has used until now."""
    seconds, memory = 0.0, 0
    for process in processes(session):
        seconds += _cpu_seconds(Path(f"/proc/{process}"))
        rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
        memory += sum(int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:"))
    return Usage(seconds, memory)


def _cpu_seconds(process: Path) -> float:
    """The time on a processor of all its threads that live."""
    nanoseconds = sum(int(file.read_text().split()[0]) for file in process.glob("task/*/schedstat"))
    if nanoseconds:
        return nanoseconds / 1e9
    return sum(int(field) for field in _fields(process)[11:13]) / _TICKS_PER_SECOND


def _fields(process: Path) -> list[str]:
    """The fields of proc(5) `stat` after the name, which may hold blanks: the state (field 3) is the first."""
    return (process / "stat").read_text().rpartition(")")[2].split()


def _session(process: Path) -> int:
    try:
        return int(_fields(process)[3])
    except (FileNotFoundError, ProcessLookupError):
        return 0
