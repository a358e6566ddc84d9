"""The benchmark: what a call, a registration and a ping cost, through `sbc` and through Kamailio doing the same job.

    python -m tests.bench.run

Both proxies stand in front of the same pair of SIPp call servers and get the same load from SIPp, in turns within one
run; only then are the figures comparable. The cost is the CPU time, user and system, of all the proxy's processes, per
1,000 calls (registrations, pings). Each round gives one ratio; the table shows medians and the range over the rounds.

*Calls*: INVITE, 100, 180, 200, ACK, BYE, 200, record-routed, to the first of two servers.
*Registrations*: REGISTER to both servers; `sbc` also remembers the phone on disk before it answers, Kamailio does not.
*OPTIONS*: answered by the proxy.
Then the memory and the start-up time of `sbc` with many registered contacts.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.bench.proxies import HERE, KamailioProxy, Proxy, SbcProxy
from tests.e2e.peers import Peers, Sipp, missing_programs
from tests.e2e.peers.accounts import DOMAIN

JOBS = {"calls": 300, "register": 300, "options": 2000}
"""Each job's scenario in sipp/, and its load per second. What both proxies hold on two cores shared with the load."""
TITLES = {"calls": "call", "register": "registration at two servers", "options": "OPTIONS"}


@dataclass(frozen=True, slots=True)
class Turn:
    """One job through one proxy, once."""

    job: str
    proxy: str
    round: int
    done: int
    failed: int
    per_second: float
    cpu_seconds_per_1000: float
    memory_bytes: int
    median_ms: float
    p99_ms: float
    """To the first 180, or to the 200; SIPp counts whole milliseconds."""


def load(peers: Peers, proxy: Proxy, job: str, number: int, rate: int) -> tuple[Sipp, Path]:
    """Put `number` calls through the proxy, `rate` a second; returns SIPp and its statistics file."""
    statistics_file = peers.folder / f"{job}-{time.monotonic_ns()}.csv"
    run = peers.sipp(
        f"load-{job}", HERE / "sipp" / f"{job}.xml", target=f"127.0.0.1:{proxy.port}", calls=number,
        timeout=number / rate + 60,
        options=(
            "-r", str(rate), "-l", "20000", "-key", "domain", DOMAIN, "-deadcall_wait", "0", "-buff_size", "4000000",
            "-trace_stat", "-fd", "1", "-stf", str(statistics_file), "-trace_rtt", "-rtt_freq", "50",
        ),
    )
    run.wait(number / rate + 70)
    return run, statistics_file


def measure(peers: Peers, proxy: Proxy, job: str, round_number: int, number: int, rate: int) -> Turn:
    """One turn."""
    before = proxy.usage()
    run, statistics_file = load(peers, proxy, job, number, rate)
    # What the last calls leave to do (a BYE's 200 in flight) belongs to this turn.
    time.sleep(0.2)
    after = proxy.usage()
    assert proxy.running, f"{proxy.name} ended; see {proxy.log}"
    with statistics_file.open() as file:
        last = list(csv.DictReader(file, delimiter=";"))[-1]
    done, failed = int(last["SuccessfulCall(C)"]), int(last["FailedCall(C)"])
    # After a line of titles: date;milliseconds;which timer.
    lines = (run.folder / f"{job}_{run.pid}_rtt.csv").read_text().split()[1:]
    times = sorted(float(line.split(";")[1]) for line in lines) or [float("nan")]
    return Turn(
        job=job,
        proxy=proxy.name,
        round=round_number,
        done=done,
        failed=failed,
        per_second=float(last["CallRate(C)"]),
        cpu_seconds_per_1000=(after.cpu_seconds - before.cpu_seconds) / max(done, 1) * 1000,
        memory_bytes=after.memory_bytes,
        median_ms=statistics.median(times),
        p99_ms=times[min(len(times) - 1, len(times) * 99 // 100)],
    )


def compare(peers: Peers, servers: list[Sipp], jobs: dict[str, int], rounds: int, seconds: float) -> list[Turn]:
    """All jobs through both proxies, in turns."""
    proxies: list[Proxy] = []
    for kind in (KamailioProxy, SbcProxy):
        folder = peers.folder / kind.__name__
        folder.mkdir()
        proxies.append(peers.started(kind(folder, servers)))
    turns = []
    for job, rate in jobs.items():
        for proxy in proxies:
            load(peers, proxy, job, rate, rate)
        for round_number in range(1, rounds + 1):
            # Each goes first every other time.
            for proxy in proxies if round_number % 2 else reversed(proxies):
                turn = measure(peers, proxy, job, round_number, round(rate * seconds), rate)
                turns.append(turn)
                print(
                    f"  {job:9} {proxy.name:9} round {round_number}: {turn.cpu_seconds_per_1000:.3f} s CPU per 1,000,"
                    f" {turn.per_second:.0f}/s, p99 {turn.p99_ms:.0f} ms, {turn.failed} failed",
                    flush=True,
                )
    for proxy in proxies:
        proxy.stop()
    return turns


def registered_contacts(peers: Peers, servers: list[Sipp], contacts: int, rate: int) -> dict[str, float]:
    """Memory and start-up time of `sbc`, with an empty store and with so many phones in it."""
    folder = peers.folder / "contacts"
    folder.mkdir()
    sbc = peers.started(SbcProxy(folder, servers))
    empty_startup, empty_memory = sbc.startup_seconds, sbc.usage().memory_bytes
    run, statistics_file = load(peers, sbc, "register", contacts, rate)
    with statistics_file.open() as file:
        registered = int(list(csv.DictReader(file, delimiter=";"))[-1]["SuccessfulCall(C)"])
    # Transactions of the last seconds are not what a contact costs: Timer J is 32 s.
    time.sleep(33)
    memory = sbc.usage().memory_bytes
    sbc.stop()
    sbc.start()
    time.sleep(1)
    result = {
        "contacts": registered,
        "startup_seconds_empty": round(empty_startup, 3),
        "startup_seconds": round(sbc.startup_seconds, 3),
        "memory_bytes_empty": empty_memory,
        "memory_bytes": memory,
        "memory_bytes_after_restart": sbc.usage().memory_bytes,
    }
    sbc.stop()
    return result


def summary(turns: list[Turn]) -> list[dict[str, object]]:
    """Per job: medians and ranges of cost and ratio."""
    rows = []
    for job in dict.fromkeys(turn.job for turn in turns):
        cost = {
            proxy: {turn.round: turn.cpu_seconds_per_1000 for turn in turns if turn.job == job and turn.proxy == proxy}
            for proxy in ("sbc", "kamailio")
        }
        ratios = [cost["sbc"][number] / cost["kamailio"][number] for number in cost["sbc"] if cost["kamailio"][number]]
        rows.append({
            "job": job,
            **{f"{proxy}_cpu_seconds_per_1000": _spread(list(values.values())) for proxy, values in cost.items()},
            "ratio": _spread(ratios),
            "failed": {
                proxy: sum(turn.failed for turn in turns if turn.job == job and turn.proxy == proxy) for proxy in cost
            },
        })
    return rows


def _spread(values: list[float]) -> dict[str, float]:
    found = {"median": statistics.median(values), "least": min(values), "most": max(values)}
    return {name: round(value, 4) for name, value in found.items()}


def table(rows: list[dict], contacts: dict[str, float] | None) -> str:
    """The result for people."""
    def cell(value: dict[str, float], digits: int) -> str:
        return f"{value['median']:.{digits}f} ({value['least']:.{digits}f} to {value['most']:.{digits}f})"
    lines = ["", f"{'CPU seconds per 1,000':28} {'sbc':>24} {'Kamailio':>24} {'ratio':>24}"]
    for row in rows:
        lines.append(f"{TITLES[row['job']]:28} {cell(row['sbc_cpu_seconds_per_1000'], 3):>24} "
                     f"{cell(row['kamailio_cpu_seconds_per_1000'], 3):>24} {cell(row['ratio'], 2):>24}")
        if any(row["failed"].values()):
            lines.append(f"  failed: {row['failed']}")
    if contacts:
        megabyte = 1024 * 1024
        lines += [
            "",
            f"{contacts['contacts']:,} registered contacts: ready {contacts['startup_seconds']:.2f} s after the start"
            f" ({contacts['startup_seconds_empty']:.2f} s with none);",
            f"memory {contacts['memory_bytes'] / megabyte:.0f} MB, after a restart"
            f" {contacts['memory_bytes_after_restart'] / megabyte:.0f} MB, with none"
            f" {contacts['memory_bytes_empty'] / megabyte:.0f} MB",
        ]
    return "\n".join(lines)


def machine() -> dict[str, object]:
    """What the figures belong to."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    kamailio = subprocess.run(["/usr/sbin/kamailio", "-v"], capture_output=True, text=True, check=False).stdout
    return {
        "processors": len(models),
        "processor": models[0].partition(":")[2].strip() if models else platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "kamailio": kamailio.partition("\n")[0],
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.run", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="turns of each proxy per job (3)")
    parser.add_argument("--seconds", type=float, default=6, help="length of a turn (6)")
    parser.add_argument("--contacts", type=int, default=10_000, help="registered contacts (10000); 0 leaves them out")
    parser.add_argument("--contacts-rate", type=int, default=300, help="at which they register, per second (300)")
    for job, rate in JOBS.items():
        parser.add_argument(f"--{job}", type=int, default=rate, help=f"load per second ({rate}); 0 leaves the job out")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder for the JSON file")
    options = parser.parse_args(arguments)
    if missing := missing_programs():
        print(f"not installed: {', '.join(missing)} (tests/run installs them)", file=sys.stderr)
        return 2

    jobs = {job: getattr(options, job) for job in JOBS if getattr(options, job)}
    started = time.strftime("%Y-%m-%dT%H-%M-%S")
    with tempfile.TemporaryDirectory(prefix="sbc-bench-") as folder:
        peers = Peers(Path(folder))
        try:
            servers = [peers.call_server(name, timeout=3600) for name in ("primary", "fallback")]
            turns = compare(peers, servers, jobs, options.rounds, options.seconds) if jobs else []
            contacts = None
            if options.contacts:
                contacts = registered_contacts(peers, servers, options.contacts, options.contacts_rate)
        finally:
            peers.close()
    rows = summary(turns)
    print(table(rows, contacts))
    options.results.mkdir(parents=True, exist_ok=True)
    file = options.results / f"{started}.json"
    file.write_text(json.dumps({
        "started": started, "machine": machine(), "rounds": options.rounds, "seconds": options.seconds, "loads": jobs,
        "summary": rows, "contacts": contacts, "turns": [asdict(turn) for turn in turns],
    }, indent=2) + "\n")
    print(f"\n{file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
