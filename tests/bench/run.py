"""The benchmark: what a call, a registration and a ping cost, through `sbc` and through others that do the same job.

    python -m tests.bench.run
    python -m tests.bench.run --soak 15

All proxies stand in front of the same pair of call servers and get the same load (load.c), in turns within one run; only
then are the figures comparable. Each round gives one ratio to Kamailio; the table shows medians and the range over the
rounds. CPU is the time, user and system, of all the proxy's processes.

*calls*: INVITE, 100, 180, 200, ACK, BYE, 200, record-routed, to the first of two servers; latency from INVITE to 180.
*register*: a phone that is new registers at both servers; `sbc` also remembers it on disk before it answers, Kamailio does
not. *refresh*: a phone that was there before. *answered*: the same with `phone_expires = 60`, so that no server has to hear of
it and `sbc` answers from memory, beside Kamailio, which forks it. *options*: answered by the proxy.

`forwarder` (forwarder.c) passes datagrams on and understands nothing: the limit. `direct` is the latency without any proxy.

*workers*: what a call costs with two workers and with one, both called from the same 16 addresses; at the same rate for each
worker, and at the same rate for all together.

*most*: the highest rate at which no exchange failed and none was left behind, found by doubling and halving with short runs;
a rate counts as not held after two tries. *memory*: what grows while 10,000 calls stand that were set up at 1,000/s, and
what 10,000 registered phones cost after their transactions are gone (Kamailio with usrloc, in memory).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.bench.proxies import (
    HERE,
    Direct,
    Forwarder,
    KamailioProxy,
    Proxy,
    SbcProxy,
    Server,
    SippyProxy,
    compiled,
    sippy_python,
)
from tests.e2e.peers import Peers
from tests.e2e.peers.process import Program, free_port, wait_until

FIXED = {"calls": (300, 1000), "register": (300, 1000), "refresh": (1000,), "answered": (1000, 5000), "options": (300, 1000)}
"""Each job's rates per second."""
MOST = {"calls": 4000, "register": 2000, "options": 16_000}
"""Each job's first guess at the most; half of it is the next when that is too much."""
GUESS_FACTOR = {"sippy": 0.1, "forwarder": 4}
"""For those that are far from the others."""
MOST_RATE = 200_000
WORKERS = 2
ADDRESSES = 16
"""Of the phones, where several workers share them: the kernel gives a worker to an address."""
KINDS = ("kamailio", "sbc", "sippy", "forwarder")
DIALOGS = {"kamailio": (10_000, 1000), "sbc": (10_000, 1000), "sippy": (400, 50)}
"""How many calls are held for the memory of 10,000, and how many are set up in a second."""
BINDINGS, BINDINGS_RATE = 10_000, 1000
SOAK_CALLS, SOAK_HOLD, SOAK_PHONES = 200, 5, 3000
"""Calls a second, their length in seconds, and phones that refresh their registrations once a minute."""
MEGABYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Turn:
    """One job through one proxy, once."""

    job: str
    proxy: str
    round: int
    kind: str
    """`fixed` or `most`."""
    rate: float
    done: int
    failed: int
    retransmitted: int
    seconds: float
    cpu_us: float
    """Per exchange that was done."""
    p50_us: int
    p99_us: int
    longest_us: int

    @property
    def held(self) -> bool:
        """Nothing failed, and the last was finished soon after its time: no backlog."""
        planned = (self.done + self.failed) / self.rate
        return not self.failed and self.seconds <= 1.1 * planned + 0.1


class Bench:
    """The call servers and the load, and what proxies have been put between them."""

    def __init__(self, peers: Peers) -> None:
        self.peers = peers
        self._load = compiled(HERE / "load.c", peers.folder)
        self.servers = [Server(name, free_port()) for name in ("primary", "fallback")]
        ports = [str(server.port) for server in self.servers]
        program = peers.started(Program("servers", [str(self._load), "servers", *ports], peers.folder))
        wait_until(lambda: "ready" in program.text(), "the call servers listen")
        self._phone_port = free_port()
        self._next_phone = 0
        # Also a CSeq, which may only rise.
        self._run = int(time.time())
        self._folders = 0

    def proxy(self, kind: str, **options: object) -> Proxy:
        """A fresh one, started."""
        self._folders += 1
        folder = self.peers.folder / f"{self._folders:02}-{kind}"
        folder.mkdir()
        if kind == "sippy":
            return self.peers.started(SippyProxy(folder, self.servers, str(options["python"])))
        if kind == "forwarder":
            program = compiled(HERE / "forwarder.c", self.peers.folder)
            return self.peers.started(Forwarder(folder, self.servers, program))
        classes = {"kamailio": KamailioProxy, "sbc": SbcProxy, "direct": Direct}
        return self.peers.started(classes[kind](folder, self.servers, **options))

    def start_load(
        self, proxy: Proxy, job: str, rate: float, number: int, *, patience: float = 3, hold: float = 0
    ) -> Program:
        """Put so many exchanges through the proxy, so many a second."""
        self._run += 1
        first = 0
        if job == "register":
            # Below are those that refresh.
            first = 100_000 + self._next_phone
            self._next_phone += number
        # Every run's phones are at the same address: a refresh comes from where the registration came from.
        port = self._phone_port if job != "calls" else free_port()
        arguments = [str(self._load), "register" if job in ("refresh", "answered") else job]
        arguments += [str(value) for value in (port, proxy.port, rate, number, patience, hold, self._run, first)]
        program = Program(f"load-{self._run}", arguments, self.peers.folder)
        # Stopped in the end whatever happens in between.
        return self.peers.started(program)

    @staticmethod
    def result(load: Program, timeout: float) -> dict[str, float]:
        """What it says when it is through."""
        code = load.wait(timeout)
        assert code == 0, f"the load ended with {code}: {load.text()[-1000:]}"
        return json.loads(load.text())

    def measure(
        self, proxy: Proxy, job: str, rate: float, seconds: float, *, kind: str, round_number: int, patience: float = 3,
        addresses: int = 1,
    ) -> Turn:
        """One turn; the phones call from so many addresses."""
        # That it is what is to be measured.
        counter = proxy.refreshes_answered if job == "answered" and isinstance(proxy, SbcProxy) else None
        answered = counter() if counter is not None else 0
        before = proxy.usage()
        number = max(round(rate * seconds / addresses), 1)
        loads = [self.start_load(proxy, job, rate / addresses, number, patience=patience) for _ in range(addresses)]
        found = together([self.result(load, seconds + patience + 30) for load in loads])
        # What the last exchanges leave to do belongs to this turn.
        time.sleep(0.05)
        cpu = proxy.usage().cpu_seconds - before.cpu_seconds
        assert proxy.running, f"{proxy.name} ended: {proxy.text()[-2000:]}"
        if counter is not None and kind != "warm-up":
            assert counter() - answered >= found["done"], "refreshes went to the servers"
        turn = Turn(
            job=job, proxy=proxy.name, round=round_number, kind=kind, rate=rate,
            cpu_us=cpu / max(found["done"], 1) * 1e6, **found,
        )
        if not turn.held:
            settle(proxy)
        return turn

    def most(self, proxy: Proxy, job: str, guess: float, round_number: int, seconds: float) -> Turn | None:
        """The turn at the highest rate that was held; None when even a few a second are too much, or in a later round half of what
        was held before: an overload that takes so long to get over is a matter of minutes, and of no figure."""
        def attempt(rate: float) -> Turn | None:
            # The machine, too, has its hiccups.
            for _ in range(2):
                turn = self.measure(proxy, job, rate, seconds, kind="most", round_number=round_number, patience=0.8)
                if turn.held:
                    return turn
            return None

        # Far off in the first round, near in the later ones.
        factor, steps, lowest = (2.0, 3, 10.0) if round_number == 1 else (1.3, 1, guess / 2)
        held = attempt(guess)
        rate = guess
        if held is None:
            while held is None:
                rate /= factor
                if rate < lowest:
                    return None
                held = attempt(rate)
        else:
            while rate * factor <= MOST_RATE and (better := attempt(rate * factor)) is not None:
                held, rate = better, rate * factor
        low, high = rate, rate * factor
        for _ in range(steps):
            middle = round((low * high) ** 0.5)
            if (better := attempt(middle)) is not None:
                held, low = better, middle
            else:
                high = middle
        return held


def together(results: list[dict[str, float]]) -> dict[str, float]:
    """The result of several loads at once: numbers add up, and the worst of each time."""
    added = ("done", "failed", "retransmitted")
    return {name: (sum if name in added else max)(result[name] for result in results) for name in results[0]}


def settle(proxy: Proxy) -> None:
    """Wait until what an overload has left behind is worked off."""
    deadline = time.monotonic() + 4
    while time.monotonic() < deadline:
        before = proxy.usage().cpu_seconds
        time.sleep(0.25)
        if proxy.usage().cpu_seconds - before < 0.02:
            return


def in_turns(proxies: list[Proxy], round_number: int) -> list[Proxy]:
    """Each goes first in some round."""
    first = round_number % len(proxies)
    return proxies[first:] + proxies[:first]


def fixed_rates(bench: Bench, proxies: list[Proxy], rounds: int, seconds: float) -> list[Turn]:
    """All jobs at their rates; a proxy that does not hold one gets no second round of it."""
    turns: list[Turn] = []
    for job, rates in FIXED.items():
        able = [proxy for proxy in proxies if job in proxy.jobs]
        for proxy in able:
            bench.measure(proxy, job, 300, 1, kind="warm-up", round_number=0)
            # All that will come are known; for `answered`, also as those that have refreshed before.
            for _ in range({"refresh": 1, "answered": 2}.get(job, 0)):
                pace = rates[-1] / 2
                bench.measure(proxy, job, pace, rates[-1] * seconds / pace, kind="warm-up", round_number=0)
        for rate in rates:
            lost: set[str] = set()
            for round_number in range(1, rounds + 1):
                for proxy in in_turns(able, round_number):
                    if proxy.name not in lost:
                        turn = bench.measure(proxy, job, rate, seconds, kind="fixed", round_number=round_number)
                        turns.append(turn)
                        tell(turn)
                        if not turn.held and proxy.name == "sippy":
                            lost.add(proxy.name)
    return turns


def workers_rates(bench: Bench, rounds: int, seconds: float) -> list[dict[str, object]]:
    """Calls through one worker and through several, from the same addresses: one row for each rate.

    Two comparisons. Each worker under the load of the one: the several get so many times the rate. And all under one load:
    then each of the several has less to do at a time, and so wakes up more often for what it does.
    """
    proxies = {number: bench.proxy("sbc", workers=number) for number in (1, WORKERS)}
    for proxy in proxies.values():
        bench.measure(proxy, "calls", 300, 1, kind="warm-up", round_number=0, addresses=ADDRESSES)
    rows: list[dict[str, object]] = []
    for rate in FIXED["calls"]:
        turns = [(1, rate), (WORKERS, rate), (WORKERS, WORKERS * rate)]
        found: dict[tuple[int, float], list[float]] = {turn: [] for turn in turns}
        for round_number in range(1, rounds + 1):
            for number, calls in sorted(found, reverse=round_number % 2 == 0):
                turn = bench.measure(
                    proxies[number], "calls", calls, seconds, kind="workers", round_number=round_number, addresses=ADDRESSES
                )
                assert not turn.failed, f"{number} workers lost calls at {calls} a second: {turn}"
                found[number, calls].append(turn.cpu_us)
        one, same_load, same_each = found.values()
        row = {
            "rate": rate, "workers": WORKERS, "cpu_us_one": spread(one),
            "cpu_us_same_load": spread(same_load), "cpu_us_same_each": spread(same_each),
            "ratio_same_load": spread([several / single for single, several in zip(one, same_load, strict=True)]),
            "ratio_same_each": spread([several / single for single, several in zip(one, same_each, strict=True)]),
        }
        rows.append(row)
        tell_ratios(row)
    for proxy in proxies.values():
        proxy.stop()
    return rows


def tell_ratios(row: dict) -> None:
    def ratio(name: str) -> str:
        return f"{row[name]['median']:.2f} ({row[name]['least']:.2f}-{row[name]['most']:.2f})"

    print(
        f"  two workers / one: CPU per call {ratio('ratio_same_each')} at {row['rate']}/s for each,"
        f" {ratio('ratio_same_load')} at {row['rate']}/s for both; one takes {row['cpu_us_one']['median']:.0f} us", flush=True,
    )


def most_rates(bench: Bench, proxies: list[Proxy], rounds: int, seconds: float, until: float) -> list[Turn]:
    """All jobs at the most that each proxy holds; no round begins after `until`, except each job's first."""
    turns: list[Turn] = []
    nearest: dict[tuple[str, str], float] = {}
    # All jobs' first rounds first: when time is short, no job stays without a figure.
    for round_number in range(1, rounds + 1):
        for job, guess in MOST.items():
            if round_number > 1 and time.monotonic() > until:
                print(f"  no time left for round {round_number} of the most {job}", flush=True)
                continue
            for proxy in in_turns([proxy for proxy in proxies if job in proxy.jobs], round_number):
                # One search is enough to see how far off it is, and overload costs it seconds.
                if round_number > 1 and (proxy.name == "sippy" or (job, proxy.name) not in nearest):
                    continue
                first = nearest.get((job, proxy.name), guess * GUESS_FACTOR.get(proxy.name, 1))
                if turn := bench.most(proxy, job, first, round_number, seconds):
                    nearest[job, proxy.name] = turn.rate
                    turns.append(turn)
                    tell(turn)
                else:
                    what = "no rate at all" if round_number == 1 else "not half of what it did before: no figure"
                    print(f"  {job:8} {proxy.name:9} most   round {round_number}: held {what}", flush=True)
    return turns


def dialogs(bench: Bench, proxies: list[Proxy]) -> dict[str, dict[str, float]]:
    """What 10,000 calls that stand cost in memory; of proxies that have done little so far."""
    found = {}
    for proxy in proxies:
        if proxy.name not in DIALOGS:
            continue
        number, rate = DIALOGS[proxy.name]
        bench.measure(proxy, "calls", 50, 2, kind="warm-up", round_number=0)
        before = proxy.usage().memory_bytes
        load = bench.start_load(proxy, "calls", rate, number, hold=number / rate + 1.5)
        time.sleep(number / rate + 0.7)
        after = proxy.usage().memory_bytes
        result = bench.result(load, number / rate + 60)
        settle(proxy)
        found[proxy.name] = {
            "calls": number, "failed": result["failed"], "idle_mb": round(before / MEGABYTE, 1),
            "per_10000_mb": round((after - before) / number * 10_000 / MEGABYTE, 1),
        }
        print(f"  memory of calls, {proxy.name}: {found[proxy.name]}", flush=True)
    return found


def bindings(bench: Bench, kinds: list[str], meanwhile: Callable[[], object]) -> dict[str, dict[str, float]]:
    """What 10,000 registered phones cost, long enough after they registered; `meanwhile` may pass the time."""
    found: dict[str, dict[str, float]] = {}
    proxies = [bench.proxy(kind, **({"bindings": True} if kind == "kamailio" else {})) for kind in kinds]
    for proxy in proxies:
        time.sleep(0.5)
        before = proxy.usage().memory_bytes
        result = bench.result(bench.start_load(proxy, "register", BINDINGS_RATE, BINDINGS), BINDINGS / BINDINGS_RATE + 60)
        found[proxy.name] = {"phones": result["done"], "failed": result["failed"], "idle_mb": before / MEGABYTE}
    # Timer J is 32 s.
    deadline = time.monotonic() + 34
    meanwhile()
    time.sleep(max(0.0, deadline - time.monotonic()))
    for proxy in proxies:
        row = found[proxy.name]
        after = proxy.usage().memory_bytes / MEGABYTE
        row["per_10000_mb"] = round((after - row["idle_mb"]) / max(row["phones"], 1) * 10_000, 1)
        row["idle_mb"] = round(row["idle_mb"], 1)
        if isinstance(proxy, SbcProxy):
            row["ready_seconds_empty"] = round(proxy.startup_seconds, 2)
            proxy.stop()
            proxy.start()
            row["ready_seconds"] = round(proxy.startup_seconds, 2)
        proxy.stop()
        print(f"  memory of registrations, {proxy.name}: {row}", flush=True)
    return found


def soak(bench: Bench, minutes: float) -> list[dict[str, float]]:
    """Calls that last, and phones that refresh, through `sbc` alone; one row a minute."""
    sbc = bench.proxy("sbc")
    rows: list[dict[str, float]] = []
    for minute in range(1, max(round(minutes), 1) + 1):
        cpu = sbc.usage().cpu_seconds
        calls = bench.start_load(sbc, "calls", SOAK_CALLS, SOAK_CALLS * 60, hold=SOAK_HOLD)
        phones = bench.start_load(sbc, "refresh", SOAK_PHONES / 60, SOAK_PHONES)
        called = bench.result(calls, 120)
        registered = bench.result(phones, 120)
        usage = sbc.usage()
        rows.append({
            "minute": minute, "memory_mb": round(usage.memory_bytes / MEGABYTE, 2),
            "cpu_seconds": round(usage.cpu_seconds - cpu, 2),
            "calls": called["done"], "calls_failed": called["failed"], "calls_p50_us": called["p50_us"],
            "calls_p99_us": called["p99_us"], "calls_longest_us": called["longest_us"],
            "registrations": registered["done"], "registrations_failed": registered["failed"],
            "registrations_p99_us": registered["p99_us"],
        })
        row = rows[-1]
        print(
            f"  minute {minute:3}: {row['memory_mb']:.1f} MB, INVITE to 180 p99 {row['calls_p99_us'] / 1000:.2f} ms, longest"
            f" {row['calls_longest_us'] / 1000:.1f} ms, REGISTER p99 {row['registrations_p99_us'] / 1000:.2f} ms,"
            f" {row['calls_failed'] + row['registrations_failed']} failed, {row['cpu_seconds']:.1f} s CPU", flush=True,
        )
    sbc.stop()
    # In the first two minutes the transactions of 32 s and the first phones fill their tables.
    if len(rows) > 3:
        grown = rows[-1]["memory_mb"] - rows[2]["memory_mb"]
        print(f"  memory since minute 3: {grown:+.2f} MB in {len(rows) - 3} minutes")
    return rows


def tell(turn: Turn) -> None:
    print(
        f"  {turn.job:8} {turn.proxy:9} {turn.kind:5} {turn.rate:6.0f}/s round {turn.round}: {turn.cpu_us:7.1f} us CPU,"
        f" p50 {turn.p50_us / 1000:.3f} p99 {turn.p99_us / 1000:.3f} ms, {turn.failed} failed"
        f"{'' if turn.held or turn.failed else ', late'}", flush=True,
    )


def summary(turns: list[Turn]) -> list[dict[str, object]]:
    """Per job, rate and proxy: medians and ranges, and the ratio to Kamailio of the same round."""
    rows: list[dict[str, object]] = []
    # The most of each proxy is another rate, and one line each.
    places = {(turn.job, turn.kind, turn.rate if turn.kind == "fixed" else 0): None for turn in turns}
    for job, kind, rate in places:
        here = [turn for turn in turns if (turn.job, turn.kind) == (job, kind) and rate in (0, turn.rate)]
        kamailio = {turn.round: turn for turn in here if turn.proxy == "kamailio"}
        for proxy in dict.fromkeys(turn.proxy for turn in sorted(here, key=lambda turn: ORDER.index(turn.proxy))):
            own = [turn for turn in here if turn.proxy == proxy]
            pairs = [(turn, kamailio[turn.round]) for turn in own if turn.round in kamailio]
            rows.append({
                "job": job, "kind": kind, "proxy": proxy, "held": all(turn.held for turn in own), "rounds": len(own),
                "rate": spread([turn.rate for turn in own]), "cpu_us": spread([turn.cpu_us for turn in own]),
                "cpu_ratio": spread([turn.cpu_us / other.cpu_us for turn, other in pairs if other.cpu_us]),
                "rate_ratio": spread([turn.rate / other.rate for turn, other in pairs]),
                "p50_us": spread([turn.p50_us for turn in own]), "p99_us": spread([turn.p99_us for turn in own]),
                "failed": sum(turn.failed for turn in own), "retransmitted": sum(turn.retransmitted for turn in own),
            })
    return rows


ORDER = ("sbc", "kamailio", "sippy", "forwarder", "direct")


def spread(values: list[float]) -> dict[str, float] | None:
    if not values:
        return None
    found = {"median": statistics.median(values), "least": min(values), "most": max(values)}
    return {name: round(value, 3) for name, value in found.items()}


def table(rows: list[dict], memory: dict[str, dict]) -> str:
    """The result for people."""
    def cell(value: dict[str, float] | None, digits: int, scale: float = 1) -> str:
        if value is None:
            return "-"
        median, least, most = (value[name] * scale for name in ("median", "least", "most"))
        return f"{median:.{digits}f} ({least:.{digits}f}-{most:.{digits}f})"

    lines = ["", f"{'':10}{'per second':>22} {'':10}{'CPU us each':>22} {'to Kamailio':>18} {'p50 ms':>22} {'p99 ms':>24}"]
    place = None
    for row in rows:
        if place != (row["job"], row["kind"], row["kind"] == "fixed" and row["rate"]["median"]):
            place = (row["job"], row["kind"], row["kind"] == "fixed" and row["rate"]["median"])
            lines.append("")
        rate = f"{row['rate']['median']:.0f}" if row["kind"] == "fixed" else "most " + cell(row["rate"], 0)
        costs = row["proxy"] != "direct"
        lines.append(
            f"{row['job']:10}{rate:>22} {row['proxy']:10}{cell(row['cpu_us'], 1) if costs else '-':>22}"
            f" {cell(row['cpu_ratio'], 2) if costs else '-':>18} {cell(row['p50_us'], 3, 0.001):>22}"
            f" {cell(row['p99_us'], 3, 0.001):>24}"
            + (f"  {row['failed']} failed" if row["failed"] else "" if row["held"] else "  late")
        )
    for title, found in memory.items():
        lines += ["", f"memory, MB per 10,000 {title}:"]
        base = found.get("kamailio", {}).get("per_10000_mb")
        for proxy, row in found.items():
            ratio = f", {row['per_10000_mb'] / base:.2f} of Kamailio's" if base else ""
            ready = f"; ready in {row['ready_seconds']} s, {row['ready_seconds_empty']} s with none" \
                if "ready_seconds" in row else ""
            failed = f"; {row['failed']} failed" if row["failed"] else ""
            lines.append(f"  {proxy:10}{row['per_10000_mb']:8.1f}{ratio} (before {row['idle_mb']:.1f}{ready}{failed})")
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


def compare(bench: Bench, kinds: list[str], options: argparse.Namespace) -> tuple[list[Turn], dict[str, dict], list[str]]:
    """Everything but the soak: turns, memory, and what has to be said about what is missing."""
    began = time.monotonic()
    notes: list[str] = []
    proxies: list[Proxy] = []
    for kind in kinds:
        if kind == "sippy":
            try:
                python = sippy_python(options.results / "sippy-venv")
                assert python, "it could not be installed"
                proxies.append(bench.proxy(kind, python=python))
            except (AssertionError, OSError, subprocess.SubprocessError) as problem:
                notes.append(f"sippy was not measured: {problem}")
        else:
            proxies.append(bench.proxy(kind))
    memory: dict[str, dict] = {}
    if options.memory:
        remembering = [kind for kind in kinds if kind in ("kamailio", "sbc")]
        memory["calls"] = {}
        memory["registrations"] = bindings(bench, remembering, lambda: memory["calls"].update(dialogs(bench, proxies)))
    throttled = [bench.proxy("sbc", throttled=True)] if "sbc" in kinds and "answered" in FIXED else []
    turns = fixed_rates(bench, [*proxies, *throttled, bench.proxy("direct")], options.rounds, options.seconds)
    for proxy in throttled:
        proxy.stop()
    if options.most:
        turns += most_rates(bench, proxies, options.rounds, 1.0, began + options.limit)
    if any(proxy.name == "sippy" for proxy in proxies):
        notes.append("sippy sends a REGISTER to one server only, and does not answer OPTIONS with 200: its registrations do less")
    for note in notes:
        print(f"note: {note}")
    return turns, memory, notes


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.run", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="turns of each proxy (3)")
    parser.add_argument("--seconds", type=float, default=1.5, help="length of a turn at a fixed rate (1.5)")
    parser.add_argument("--limit", type=float, default=500, help="no search for the most begins after so many seconds (500)")
    parser.add_argument("--proxies", default=",".join(KINDS), help=f"which ({','.join(KINDS)})")
    parser.add_argument("--jobs", default=",".join(FIXED), help=f"which ({','.join(FIXED)})")
    parser.add_argument("--no-memory", dest="memory", action="store_false", help="leave the memory out")
    parser.add_argument("--no-most", dest="most", action="store_false", help="leave the highest rates out")
    parser.add_argument("--no-workers", dest="workers", action="store_false", help="leave two workers out")
    parser.add_argument("--soak", type=float, default=0, metavar="MINUTES", help="instead: a soak of sbc (15 tells enough)")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder for the JSON file")
    options = parser.parse_args(arguments)
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    if missing := [program for program in ("kamailio", "gcc", "setpriv") if shutil.which(program, path=path) is None]:
        print(f"not installed: {', '.join(missing)} (tests/run installs them)", file=sys.stderr)
        return 2
    for jobs in (FIXED, MOST):
        for job in [job for job in jobs if job not in options.jobs.split(",")]:
            del jobs[job]

    # So that what is started here is stopped then, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options.results.mkdir(parents=True, exist_ok=True)
    began, started = time.monotonic(), time.strftime("%Y-%m-%dT%H-%M-%S")
    result: dict[str, object] = {"started": started, "machine": machine()}
    with tempfile.TemporaryDirectory(prefix="sbc-bench-") as folder:
        peers = Peers(Path(folder))
        try:
            bench = Bench(peers)
            if options.soak:
                result["soak"] = soak(bench, options.soak)
            else:
                turns, memory, notes = compare(bench, options.proxies.split(","), options)
                rows = summary(turns)
                print(table(rows, memory))
                result |= {
                    "rounds": options.rounds, "seconds": options.seconds, "summary": rows, "memory": memory, "notes": notes,
                    "turns": [asdict(turn) for turn in turns],
                }
                if options.workers and "calls" in FIXED:
                    print()
                    result["workers"] = workers_rates(bench, options.rounds, options.seconds)
        finally:
            peers.close()
    result["took_seconds"] = round(time.monotonic() - began)
    file = options.results / f"{started}.json"
    file.write_text(json.dumps(result, indent=2) + "\n")
    print(f"\n{file}, after {result['took_seconds']} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
