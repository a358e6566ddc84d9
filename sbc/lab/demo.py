"""The story of `sbc demo`: phones that know one address stay in service while their call server dies, twice.

Everything is real but the voices: `sbc run` and two call servers are processes, killed with SIGKILL and frozen with
SIGSTOP; the phones speak SIP over UDP. Every figure is measured, by the phones, by the call servers, or from the
appliance's own metrics; every sentence marked "ok" is a check that can fail.
"""

from __future__ import annotations

import argparse
import re
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.task import deferLater

from sbc.lab.child import DiedEarly
from sbc.lab.narrator import Narrator
from sbc.lab.phone import Call, RequestFailed
from sbc.lab.stage import FAILBACK_HOLD, LINES, PROBE_INTERVAL_DOWN, RETRY_COUNTS, RISE, Stage
from sbc.redundancy.group import ALL_METHODS
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

_READING_TIME = 1.2  # seconds, for people: when nobody watches, the story is told without a pause

_LOG_LINE = re.compile(r"\S+ \[sbc\S*\] \w+: (server .*|failover .*all new requests.*|new requests .*)")
"""What the appliance logs about its servers, without time and group."""


@dataclass
class Figure:
    """One row of the table."""

    what: str
    delay: float
    at_most: float | None
    through: str


class Story:
    """The chapters, in order. A check that fails is noted and the story goes on; an exception ends it."""

    def __init__(self, stage: Stage, narrator: Narrator, *, without_fallback: bool = False) -> None:
        self._stage = stage
        self._reactor = stage.reactor
        self._tell = narrator
        self._without_fallback = without_fallback
        self._usual = 0.0
        """Post-dial delay on an ordinary day."""
        self._figures: list[Figure] = []
        self._facts: list[tuple[str, str]] = []
        self._calls_through = {"primary": 0, "fallback": 0}
        """Calls that the phones set up through the appliance, by the call server in their way."""

    async def run(self) -> None:
        await self._set_the_stage()
        await self._register()
        await self._call_as_usual()
        await self._kill_the_primary()
        await self._call_in_from_outside()
        await self._bring_it_back("The primary is started again", "after its restart", self._start_primary)
        await self._freeze_the_primary()
        await self._bring_it_back("The primary wakes up", "after it woke up", self._wake_primary)
        await self._compare_with_metrics()
        await self._kill_the_appliance()

    def print_tables(self) -> None:
        self._tell.plain()
        if self._figures:
            rows = [
                (figure.what, _milliseconds(figure.delay), _milliseconds(figure.at_most), figure.through)
                for figure in self._figures
            ]
            self._tell.table(("calls", "post-dial delay", "at most", "through"), rows)
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
        stage.children["sbc"].said = self._repeat_log_line
        tell.say(f"Started: {', '.join(servers)}, and the appliance, which says: {line.strip()}")
        tell.say(
            f"Its configuration is an ordinary one, with retry_counts = {RETRY_COUNTS}; only failback is in a hurry: "
            f"a server that is down is probed every {PROBE_INTERVAL_DOWN} s and must then be up for {FAILBACK_HOLD} s."
        )
        tell.say(f"Status page: {stage.status_page}")
        tell.say('What the appliance logs about its servers is repeated below: "sbc | ..."')

    async def _register(self) -> None:
        stage, tell = self._stage, self._tell
        await self._chapter("Both phones register, once")
        for user in LINES:
            phone = stage.phones[user] = stage.plug_in(user, stage.sbc_address)
            asked = self._reactor.seconds()
            granted = await self._within(SOON, phone.register(), f"REGISTER of {user}")
            taken = self._reactor.seconds() - asked
            tell.say(f"{user} registers at its outbound proxy: answered in {_milliseconds(taken)}, for {granted} s.")
        tell.say("Now the call servers are asked what they know, each of them directly, past the appliance:")
        for name in stage.addresses:
            holds = 0
            for user in LINES:
                contacts = await self._within(SOON, stage.contacts_at(name, user), f"look-up of {user} at the {name}")
                if [contact.uri.port for contact in contacts] == [stage.sbc_address[1]]:
                    holds += 1
            tell.check(f"the {name} holds {holds} of {len(LINES)} phones, with a contact at sbc", holds == len(LINES))
            self._facts.append((f"registered at the {name}", f"{holds} of {len(LINES)} phones"))
        stage.phones["carol"] = stage.plug_in("carol", stage.addresses["fallback"])

    async def _call_as_usual(self) -> None:
        await self._chapter("A call on an ordinary day")
        delay, through = await self._several_calls("alice", "bob")
        self._usual = delay
        self._note(Figure("on an ordinary day", delay, None, through), "alice dials bob, who rings", "primary")

    async def _kill_the_primary(self) -> None:
        stage, tell = self._stage, self._tell
        await self._chapter("The primary dies in the middle of a call")
        call = await self._dial("alice", "bob")
        tell.say(f"alice and bob are talking, through the {stage.server_at(call.path)}.")
        primary = stage.children["primary"]
        await self._within(SOON, primary.kill(), "SIGKILL of the primary")
        tell.say(f"kill -9 {primary.pid}: the primary is gone. They talk on; then alice hangs up.")
        await self._pause()
        await self._end_with_bye(call, "although its server is dead")

        call = await self._dial("alice", "bob")
        at_most = self._usual + REFUSED_CALL_EXTRA
        first = Figure("first after kill -9", call.post_dial_delay, at_most, stage.server_at(call.path))
        self._note(first, "The next call rings", "fallback")
        await self._hang_up(call)
        delay, through = await self._several_calls("alice", "bob")
        later = Figure("later ones", delay, self._usual + LATER_CALL_EXTRA, through)
        self._note(later, "Later calls ring", "fallback")

    async def _call_in_from_outside(self) -> None:
        self._tell.say("Carol, who is not behind sbc, calls in by the server that is left:")
        call = await self._dial("carol", "bob")
        figure = Figure("from outside, meanwhile", call.post_dial_delay, None, self._stage.server_at(call.path))
        self._note(figure, "bob rings", "fallback")
        await self._hang_up(call)

    async def _freeze_the_primary(self) -> None:
        stage, tell = self._stage, self._tell
        await self._chapter("The hard case: the primary falls silent")
        stage.children["primary"].freeze()
        patience = give_up(RETRY_COUNTS, "INVITE", Timing())
        tell.say(
            f"kill -STOP {stage.children['primary'].pid}: its port is open and nobody reads it. No error tells that it "
            f"is dead, only patience: one send and {RETRY_COUNTS} repetitions take {patience:.1f} s."
        )
        watching = self._watch_repetitions()
        try:
            call = await self._dial("alice", "bob", at_most=40)
        finally:
            watching.cancel()
        first = Figure("first, primary silent", call.post_dial_delay, SILENT_CALL, stage.server_at(call.path))
        self._note(first, "The first call pays for all: it rings", "fallback")
        await self._hang_up(call)
        delay, through = await self._several_calls("alice", "bob")
        later = Figure("later ones, still silent", delay, self._usual + LATER_CALL_EXTRA, through)
        self._note(later, "Later calls do not wait, they ring", "fallback")

    async def _bring_it_back(self, title: str, label: str, revive: Callable[[], Awaitable[None]]) -> None:
        await self._chapter(title)
        began = self._reactor.seconds()
        await revive()
        self._tell.say(
            f"It answers again. sbc wants {RISE} good answers and {FAILBACK_HOLD} s of peace before it trusts it ..."
        )
        await self._within(SOON * 2, ensureDeferred(self._until_working("primary")), "return to the primary")
        taken = self._reactor.seconds() - began
        self._tell.say(f"New calls return to it {taken:.1f} s after it came back.")
        self._facts.append((f"calls return {label}", f"in {taken:.1f} s"))
        delay, through = await self._several_calls("alice", "bob")
        figure = Figure(label, delay, self._usual + LATER_CALL_EXTRA, through)
        self._note(figure, "alice dials bob, who rings", "primary")

    async def _compare_with_metrics(self) -> None:
        await self._chapter("Do the appliance's own metrics agree with what was seen from outside?")
        metrics = await self._within(SOON, self._stage.metrics(), "/metrics")

        def agree(seen: int, name: str, **labels: str) -> None:
            counted = metrics.total(name, **labels)
            told = ",".join(f'{label}="{value}"' for label, value in labels.items())
            difference = "" if counted == seen else f", but it was {seen}"
            self._tell.check(f"{name}{{{told}}} {counted:.0f}{difference}", counted == seen)

        for server, calls in self._calls_through.items():
            agree(calls, "sbc_attempts_total", server=server, method="INVITE", outcome="status_2xx")
        for server in self._stage.addresses:
            agree(len(LINES), "sbc_registrations", server=server, state="registered")
        agree(1, "sbc_failovers_total", method=ALL_METHODS, cause="icmp")
        agree(1, "sbc_failovers_total", method=ALL_METHODS, cause="timeout")
        agree(2, "sbc_failbacks_total", group="office")
        agree(1, "sbc_working_server", server="primary")
        agree(0, "sbc_working_server", server="fallback")

    async def _kill_the_appliance(self) -> None:
        stage, tell = self._stage, self._tell
        await self._chapter("And what if sbc itself dies?")
        call = await self._dial("alice", "bob")
        tell.say("alice and bob are talking again.")
        sbc = stage.children["sbc"]
        await self._within(SOON, sbc.kill(), "SIGKILL of the appliance")
        began = self._reactor.seconds()
        await self._within(SOON * 2, stage.start_sbc(), "restart of the appliance")
        taken = self._reactor.seconds() - began
        stage.children["sbc"].said = self._repeat_log_line
        tell.say(f"kill -9 {sbc.pid}, and a new start: ready after {taken:.1f} s. The phones know nothing of it.")
        self._facts.append(("sbc killed and started again", f"ready in {taken:.1f} s"))
        await self._end_with_bye(call, "although sbc has forgotten it")
        call = await self._dial("carol", "bob")
        tell.check(
            f"bob has not registered again, and still rings when carol calls in: {_milliseconds(call.post_dial_delay)}",
            stage.phones["bob"].registrations == 1,
        )
        await self._hang_up(call)

    # -- steps -------------------------------------------------------------------------------------------------------

    async def _chapter(self, title: str) -> None:
        await self._pause()
        self._tell.chapter(title)

    async def _pause(self) -> None:
        if self._tell.watched:
            await deferLater(self._reactor, _READING_TIME)

    async def _dial(self, caller: str, callee: str, at_most: float = SOON) -> Call:
        """A call that is answered."""
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

    async def _end_with_bye(self, call: Call, circumstance: str) -> None:
        taken = await self._hang_up(call)
        other_end = self._stage.phones[call.peer].calls[-1]
        self._tell.check(
            f"the BYE ends the call at both phones after {_milliseconds(taken)}, {circumstance}",
            call.bye_status == 200 and other_end.hung_up_by_peer,
        )
        self._facts.append((f"call ended by BYE, {circumstance}", _milliseconds(taken)))

    async def _several_calls(self, caller: str, callee: str) -> tuple[float, str]:
        """The median of their post-dial delays, and the call servers that they went through."""
        delays, servers = [], set()
        for _ in range(CALLS_PER_FIGURE):
            call = await self._dial(caller, callee)
            delays.append(call.post_dial_delay)
            servers.add(self._stage.server_at(call.path))
            await self._hang_up(call)
        return statistics.median(delays), " and ".join(sorted(servers))

    def _note(self, figure: Figure, what_happened: str, expected_server: str) -> None:
        """Put a figure into the table, and check it."""
        self._figures.append(figure)
        in_time = figure.at_most is None or figure.delay <= figure.at_most
        limit = "" if in_time else f", too late: at most {_milliseconds(figure.at_most)}"
        self._tell.check(
            f"{what_happened} after {_milliseconds(figure.delay)}{limit}, through the {figure.through}",
            in_time and figure.through == expected_server,
        )

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
        """Tell of each repetition of the INVITE as the appliance counts it, until cancelled."""

        async def watch() -> None:
            known = before = await self._repetitions()
            while True:
                await deferLater(self._reactor, 0.1)
                counted = await self._repetitions()
                if counted > known:
                    self._tell.say(f"... sbc has repeated the INVITE ({counted - before:.0f} of {RETRY_COUNTS})")
                    known = counted

        watching = ensureDeferred(watch())
        watching.addErrback(lambda failure: failure.trap(CancelledError, OSError))
        return watching

    async def _repetitions(self) -> float:
        return (await self._stage.metrics()).total("sbc_retransmissions_total", method="INVITE")

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


def _milliseconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1000:.1f} ms"


class _Performance:
    """One run of the story, from an empty folder to an empty process list."""

    def __init__(self, reactor, keep: bool, without_fallback: bool, sbc_command: Sequence[str] | None) -> None:
        self.exit_status = 1
        self._reactor = reactor
        self._keep = keep
        self._stopping = False
        self._files_tell_why = False
        self._folder = Path(tempfile.mkdtemp(prefix="sbc-demo-"))
        self._narrator = Narrator(sys.stdout, reactor.seconds)
        self._stage = Stage(reactor, self._folder, sbc_command)
        self._story = Story(self._stage, self._narrator, without_fallback=without_fallback)

    def begin(self) -> None:
        self._reactor.addSystemEventTrigger("before", "shutdown", self._clear)
        self._narrator.audience_left = self._stop
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:  # nohup
                signal.signal(number, lambda *_: self._reactor.callFromThread(self._stop))
        self._telling = ensureDeferred(self._tell())
        self._telling.addErrback(lambda failure: None if self._stopping else failure.printTraceback())  # a bug of ours
        self._telling.addBoth(lambda _: None if self._keep and self.exit_status == 0 else self._stop())

    async def _tell(self) -> None:
        try:
            await self._story.run()
        except (RequestFailed, TooSlow, DiedEarly) as failure:
            self._narrator.trouble(str(failure))
        self._story.print_tables()
        if not self._narrator.verdict():
            self._files_tell_why = True
            self._narrator.plain(f"What the processes wrote is in {self._folder}")
            return
        self.exit_status = 0
        if self._keep:
            self._narrator.plain()
            self._narrator.plain(f"It stays like this: {self._stage.status_page} shows it. Ctrl-C ends it.")

    def _stop(self) -> None:
        """Once; impatient people press Ctrl-C twice."""
        if not self._stopping:
            self._stopping = True
            self._reactor.stop()

    def _clear(self) -> Deferred:
        self._telling.cancel()
        return self._stage.clear()

    def clean_up(self) -> None:
        if not self._files_tell_why:
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
