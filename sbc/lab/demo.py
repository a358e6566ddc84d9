"""The story of `sbc demo`: phones that know one address stay in service while their call server dies, twice.

Everything is real but the voices: `sbc run` and two call servers are processes, killed with SIGKILL and frozen with
SIGSTOP; the phones speak SIP over UDP. Every figure is measured, by the phones, by the call servers, or from the
appliance's own metrics; every sentence marked "ok" is a check that can fail.
"""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.task import deferLater

from sbc.lab.child import DiedEarly
from sbc.lab.narrator import Narrator
from sbc.lab.phone import Call, Phone, RequestFailed
from sbc.lab.stage import FAILBACK_HOLD, LINES, PROBE_INTERVAL_DOWN, RETRY_COUNTS, RISE, Stage
from sbc.redundancy.schedule import Timing, give_up
from sbc.sip.uri import format_host_port

SOON = 8.0
"""Seconds within which everything happens that has no reason to take long."""

# What the story promises (seconds).
LATER_CALL_EXTRA = 0.050
REFUSED_CALL_EXTRA = 0.200
SILENT_CALL = 7.6

CALLS_PER_FIGURE = 3
"""Post-dial delays are medians of so many calls, but for those that only a first call can show."""


_LOG_LINE = re.compile(r"\S+ \[sbc\S*\] \w+: ((?:server|failover|new requests) .*)")
"""What the appliance logs about its servers; the prefix, with time and group, is left out here."""


@dataclass
class Figure:
    """One row of the table."""

    what: str
    delay: float
    through: str


class Story:
    """The chapters, in order. A check that fails is noted and the story goes on; an exception ends it."""

    def __init__(self, stage: Stage, narrator: Narrator, *, without_fallback: bool = False) -> None:
        self._stage = stage
        self._reactor = stage.reactor
        self._tell = narrator
        self._without_fallback = without_fallback
        self._figures: list[Figure] = []
        self._facts: list[tuple[str, str]] = []
        self._calls_through = {"primary": 0, "fallback": 0}
        """Calls that the phones set up through the appliance, by the call server in their way."""

    async def run(self) -> None:
        await self._set_the_stage()
        await self._register()
        usual = await self._call_as_usual()
        await self._kill_the_primary(usual)
        await self._bring_it_back("The primary is started again", "after the return", usual, self._start_primary)
        await self._freeze_the_primary(usual)
        await self._bring_it_back("The primary wakes up", "after it woke up", usual, self._wake_primary)
        await self._compare_with_metrics()

    def print_table(self) -> None:
        rows = [(figure.what, _milliseconds(figure.delay), figure.through) for figure in self._figures]
        self._tell.plain()
        if rows:
            self._tell.table(("calls", "post-dial delay", "through"), rows)
            self._tell.plain()
        if self._facts:
            self._tell.table(("besides", "measured"), self._facts)

    # -- chapters ----------------------------------------------------------------------------------------------------

    async def _set_the_stage(self) -> None:
        stage, tell = self._stage, self._tell
        tell.title("Two phones, two call servers, and sbc between them: all on this machine, all real but the voices.")
        tell.plain()
        sbc = format_host_port(*stage.sbc_address)
        primary, fallback = (format_host_port(*address) for address in stage.addresses.values())
        tell.plain(f"  alice, bob ---> sbc  {sbc}  --+--> primary   {primary}")
        tell.plain(f"  (know only sbc)      {' ' * len(sbc)}    +--> fallback  {fallback}  <--- carol, outside")
        tell.chapter("Setting up")
        servers = ("primary",) if self._without_fallback else ("primary", "fallback")
        starting = [stage.start_server(name) for name in servers]
        starting.append(stage.start_sbc())
        for ready in starting:
            line = await self._within(SOON * 2, ready, "start")
        tell.say(f"{' and '.join(servers)} run; so does the appliance: {line.strip()}")
        tell.say(
            f"Its configuration is an ordinary one, retry_counts = {RETRY_COUNTS}; only failback is in a hurry here: "
            f"a server that is down is probed every {PROBE_INTERVAL_DOWN} s and must then be up for {FAILBACK_HOLD} s."
        )
        tell.say(f"Status page: {stage.status_page}")
        tell.say('What the appliance logs about its servers is repeated below, as "sbc | ..."')
        stage.children["sbc"].said = self._repeat_log_line

    async def _register(self) -> None:
        stage, tell = self._stage, self._tell
        tell.chapter("Both phones register, once")
        for user in LINES:
            phone = stage.phones[user] = stage.plug_in(user, stage.sbc_address)
            asked = self._reactor.seconds()
            granted = await self._within(SOON, phone.register(), f"REGISTER of {user}")
            taken = self._reactor.seconds() - asked
            tell.say(f"{user} registers by its outbound proxy: 200 after {_milliseconds(taken)}, for {granted} s.")
        tell.say("Now the call servers themselves are asked, past the appliance, what they know:")
        for name in stage.addresses:
            holds = 0
            for user in LINES:
                contacts = await self._within(SOON, stage.contacts_at(name, user), f"look-up of {user} at the {name}")
                if [contact.uri.port for contact in contacts] == [stage.sbc_address[1]]:
                    holds += 1
            tell.check(f"the {name} holds {holds} of {len(LINES)} phones, with a contact at sbc", holds == len(LINES))
            self._facts.append((f"registered at the {name}", f"{holds} of {len(LINES)} phones"))
        stage.phones["carol"] = stage.plug_in("carol", stage.addresses["fallback"])

    async def _call_as_usual(self) -> float:
        tell = self._tell
        tell.chapter("A call on an ordinary day")
        delay, through = await self._several_calls("alice", "bob")
        tell.check(
            f"alice dials bob: the ringing tone comes after {_milliseconds(delay)}, through the {through}",
            through == "primary",
        )
        self._figures.append(Figure("on an ordinary day", delay, through))
        return delay

    async def _kill_the_primary(self, usual: float) -> None:
        stage, tell = self._stage, self._tell
        tell.chapter("The primary dies in the middle of a call")
        call = await self._dial("alice", "bob")
        tell.say(f"alice and bob are talking, through the {stage.server_at(call.path)}.")
        primary = stage.children["primary"]
        await self._within(SOON, primary.kill(), "SIGKILL of the primary")
        tell.say(f"kill -9 {primary.pid}: the primary is gone. They talk on; then alice hangs up.")
        ended = await self._hang_up(call)
        tell.check(
            f"the BYE ends the call at both phones after {_milliseconds(ended)}, although its server is dead",
            call.bye_status == 200 and self._other_end(call).hung_up_by_peer,
        )
        self._facts.append(("the call that was under way", f"ended by its BYE in {_milliseconds(ended)}"))

        call = await self._dial("alice", "bob")
        self._note("first after kill -9", call, usual + REFUSED_CALL_EXTRA, "The next call")
        await self._hang_up(call)
        delay, through = await self._several_calls("alice", "bob")
        self._note_figure("later ones", delay, through, usual + LATER_CALL_EXTRA, "Later calls")

        tell.say("Somebody outside calls in, by the server that is left:")
        call = await self._dial("carol", "bob")
        delay = call.post_dial_delay
        tell.check(
            f"carol reaches bob through the {stage.server_at(call.path)} after {_milliseconds(delay)}",
            stage.server_at(call.path) == "fallback",
        )
        self._figures.append(Figure("from outside, meanwhile", delay, stage.server_at(call.path)))
        await self._hang_up(call)

    async def _freeze_the_primary(self, usual: float) -> None:
        stage, tell = self._stage, self._tell
        patience = give_up(RETRY_COUNTS, "INVITE", Timing())
        tell.chapter("The hard case: the primary falls silent")
        stage.children["primary"].freeze()
        tell.say(
            f"kill -STOP {stage.children['primary'].pid}: its port is open and nobody reads it. No error tells that it "
            f"is dead, only patience: one send and {RETRY_COUNTS} repetitions take {patience:.1f} s."
        )
        watching = self._watch_repetitions()
        try:
            call = await self._dial("alice", "bob", at_most=40)
        finally:
            watching.cancel()
        self._note("first, primary silent", call, SILENT_CALL, "The first call pays once for all")
        await self._hang_up(call)
        delay, through = await self._several_calls("alice", "bob")
        at_most = usual + LATER_CALL_EXTRA
        self._note_figure("later ones, still silent", delay, through, at_most, "Later calls do not wait")

    async def _bring_it_back(self, title: str, label: str, usual: float, revive) -> None:
        tell = self._tell
        tell.chapter(title)
        began = self._reactor.seconds()
        await revive()
        tell.say(
            f"It answers again. sbc wants {RISE} good probes, {PROBE_INTERVAL_DOWN} s apart, "
            f"and {FAILBACK_HOLD} s of peace ..."
        )
        await self._within(SOON * 2, ensureDeferred(self._until_working("primary")), "return to the primary")
        taken = self._reactor.seconds() - began
        delay, through = await self._several_calls("alice", "bob")
        tell.check(
            f"calls return to it {taken:.1f} s later: {_milliseconds(delay)}, through the {through}",
            through == "primary",
        )
        self._figures.append(Figure(label, delay, through))
        self._facts.append((f"calls returned {label.replace('the return', 'the restart')}", f"in {taken:.1f} s"))

    async def _compare_with_metrics(self) -> None:
        tell = self._tell
        tell.chapter("What do the appliance's own metrics say?")
        metrics = await self._within(SOON, self._stage.metrics(), "/metrics")
        for server, calls in self._calls_through.items():
            counted = metrics.total("sbc_attempts_total", server=server, method="INVITE", outcome="status_2xx")
            self._agree(f'sbc_attempts_total{{server="{server}",method="INVITE",outcome="status_2xx"}}', counted, calls)
        for server in self._stage.addresses:
            counted = metrics.total("sbc_registrations", server=server, state="registered")
            self._agree(f'sbc_registrations{{server="{server}",state="registered"}}', counted, len(LINES))
        self._agree('sbc_working_server{server="primary"}', metrics.total("sbc_working_server", server="primary"), 1)
        for cause in ("icmp", "timeout"):
            counted = metrics.total("sbc_failovers_total", cause=cause)
            tell.check(f'sbc_failovers_total{{cause="{cause}"}} is {counted:.0f}: it was noticed', counted >= 1)
            self._facts.append((f"failovers counted, cause {cause}", f"{counted:.0f}"))
        counted = metrics.total("sbc_failbacks_total")
        self._agree("sbc_failbacks_total", counted, 2)

    # -- steps -------------------------------------------------------------------------------------------------------

    async def _dial(self, caller: str, callee: str, at_most: float = SOON) -> Call:
        """A call that is answered; both ends must know of it."""
        call = self._stage.phones[caller].call(callee)
        await self._within(at_most, call.answered.wait(), f"call from {caller} to {callee}")
        through = self._stage.server_at(call.path)
        if caller in LINES and through in self._calls_through:
            self._calls_through[through] += 1
        return call

    async def _hang_up(self, call: Call) -> float:
        """Returns the seconds until the BYE was answered."""
        began = self._reactor.seconds()
        await self._within(SOON, call.hang_up(), f"BYE of {call.phone.user}")
        return self._reactor.seconds() - began

    async def _several_calls(self, caller: str, callee: str) -> tuple[float, str]:
        """The median of their post-dial delays, and the call servers that they went through."""
        delays, servers = [], set()
        for _ in range(CALLS_PER_FIGURE):
            call = await self._dial(caller, callee)
            delays.append(call.post_dial_delay)
            servers.add(self._stage.server_at(call.path))
            await self._hang_up(call)
        return statistics.median(delays), " and ".join(sorted(servers))

    def _other_end(self, call: Call) -> Call:
        """The call as the called phone sees it: the last one that it was rung for."""
        phone: Phone = self._stage.phones[call.peer]
        return phone.calls[-1]

    def _note(self, label: str, call: Call, at_most: float, subject: str) -> None:
        self._note_figure(label, call.post_dial_delay, self._stage.server_at(call.path), at_most, subject)

    def _note_figure(self, label: str, delay: float, through: str, at_most: float, subject: str) -> None:
        self._figures.append(Figure(label, delay, through))
        self._tell.check(
            f"{subject}: {_milliseconds(delay)} (allowed: {_milliseconds(at_most)}), through the {through}",
            through == "fallback" and delay <= at_most,
        )

    def _agree(self, name: str, counted: float, seen: int) -> None:
        self._tell.check(f"{name} is {counted:.0f}; seen from outside: {seen}", counted == seen)

    def _repeat_log_line(self, line: str) -> None:
        if found := _LOG_LINE.fullmatch(line.strip()):
            self._tell.quote("sbc", found[1])

    async def _start_primary(self) -> None:
        await self._within(SOON, self._stage.start_server("primary"), "start of the primary")

    async def _wake_primary(self) -> None:
        self._stage.children["primary"].resume()

    async def _until_working(self, server: str) -> None:
        while not (await self._stage.metrics()).total("sbc_working_server", server=server):
            await deferLater(self._reactor, 0.2)

    def _watch_repetitions(self) -> Deferred:
        """Tell of each repetition of the INVITE as the appliance counts it."""

        async def watch() -> None:
            known = await self._repetitions()
            while True:
                await deferLater(self._reactor, 0.1)
                counted = await self._repetitions()
                if counted > known:
                    self._tell.say(f"... sbc repeats the INVITE ({counted:.0f} so far)")
                    known = counted

        watching = ensureDeferred(watch())
        watching.addErrback(lambda failure: failure.trap(CancelledError))
        return watching

    async def _repetitions(self) -> float:
        return (await self._stage.metrics()).total("sbc_retransmissions_total", side="servers", method="INVITE")

    async def _within(self, seconds: float, deferred: Deferred, what: str):
        """The result, or TooSlow."""
        try:
            return await deferred.addTimeout(seconds, self._reactor)
        except DeferredTimeoutError:
            raise TooSlow(f"{what}: nothing after {seconds:.0f} s") from None
        except RequestFailed as failure:
            raise RequestFailed(f"{what}: {failure}", failure.status) from None


class TooSlow(Exception):
    """Something that the story waits for did not happen."""


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


class _Performance:
    """One run of the story, from an empty folder to an empty process list."""

    def __init__(self, reactor, keep: bool, without_fallback: bool, sbc_command: Sequence[str] | None) -> None:
        self.exit_status = 1
        self._reactor = reactor
        self._keep = keep
        self._folder = Path(tempfile.mkdtemp(prefix="sbc-demo-"))
        self._narrator = Narrator(sys.stdout, reactor.seconds)
        self._stage = Stage(reactor, self._folder, sbc_command)
        self._story = Story(self._stage, self._narrator, without_fallback=without_fallback)

    def begin(self) -> None:
        self._reactor.addSystemEventTrigger("before", "shutdown", self._stage.clear)
        telling = ensureDeferred(self._tell())
        telling.addErrback(lambda failure: failure.printTraceback())  # a bug of the story's own
        telling.addBoth(lambda _: None if self._keep and self.exit_status == 0 else self._stop())

    async def _tell(self) -> None:
        try:
            await self._story.run()
        except (RequestFailed, TooSlow, DiedEarly) as failure:
            self._narrator.trouble(str(failure))
        self._story.print_table()
        if not self._narrator.verdict():
            print(f"What the processes wrote is in {self._folder}")
            return
        self.exit_status = 0
        if self._keep:
            print(f"\nIt stays like this: {self._stage.status_page} shows it. Ctrl-C ends it.", flush=True)

    def _stop(self) -> None:
        if self._reactor.running:
            self._reactor.stop()

    def clean_up(self) -> None:
        if self.exit_status == 0:
            shutil.rmtree(self._folder, ignore_errors=True)


def main(keep: bool = False, *, without_fallback: bool = False, sbc_command: Sequence[str] | None = None) -> int:
    """Tell the story; 0 when it came true.

    `keep` leaves everything running until Ctrl-C. `without_fallback` leaves the second call server out, and
    `sbc_command` is run instead of `sbc run -c`: then the story must not come true.
    """
    from twisted.internet import reactor

    reactor.seconds = time.monotonic  # a wall clock that steps must not spoil a measurement
    performance = _Performance(reactor, keep, without_fallback, sbc_command)
    reactor.callWhenRunning(performance.begin)
    reactor.run()
    performance.clean_up()
    return performance.exit_status


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m sbc.lab.demo", description=main.__doc__)
    parser.add_argument("--keep", action="store_true", help="leave it running, with its status page, until Ctrl-C")
    parser.add_argument(
        "--without-fallback", action="store_true", help="play without the second call server, to see the story fail"
    )
    options = parser.parse_args()
    sys.exit(main(options.keep, without_fallback=options.without_fallback))
