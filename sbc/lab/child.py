"""A process of the story: started, waited for until it says that it is ready, frozen, resumed, killed."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol


class DiedEarly(Exception):
    """A process ended before it was ready. The text holds its last words."""


class Child(ProcessProtocol):
    """One process and what it prints, which also goes to `log`.

    `ready` fires with the line that contains `ready_mark`, or fails with DiedEarly. `ended` fires when the process is
    gone. `said` is called with each line.
    """

    _LAST_WORDS = 12  # lines

    def __init__(self, name: str, command: Sequence[str], log: Path, ready_mark: str) -> None:
        self.name = name
        self.log = log
        self.ready: Deferred[str] = Deferred()
        self.ended: Deferred[None] = Deferred()
        self.said: Callable[[str], None] = lambda line: None
        self._command = list(command)
        self._ready_mark = ready_mark
        self._partial = b""
        self._stopped = False
        self.pid: int | None = None
        """Of the process, also after its end."""

    def start(self, reactor, environment: dict[str, str]) -> Child:
        """The process stays in our process group, so that Ctrl-C in a terminal reaches it too."""
        self.pid = reactor.spawnProcess(self, self._command[0], self._command, env=environment).pid
        return self

    @property
    def alive(self) -> bool:
        return self.transport is not None and not self.ended.called

    def kill(self) -> Deferred[None]:
        """SIGKILL: no farewell, no de-registration. Fires when it is dead."""
        return self._end("KILL")

    def terminate(self) -> Deferred[None]:
        """SIGTERM: ask it to stop."""
        return self._end("TERM")

    def freeze(self) -> None:
        """SIGSTOP: it keeps its sockets, and nobody reads them: a silent server."""
        self.transport.signalProcess(signal.SIGSTOP)
        self._stopped = True

    def resume(self) -> None:
        self.transport.signalProcess(signal.SIGCONT)
        self._stopped = False

    def last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(lines[-self._LAST_WORDS :])

    def _end(self, signal_name: str) -> Deferred[None]:
        if self.alive:
            try:
                if self._stopped and signal_name != "KILL":
                    self.resume()
                self.transport.signalProcess(signal_name)
            except ProcessExitedAlready:
                pass
        over: Deferred[None] = Deferred()
        self.ended.addCallback(over.callback)
        return over

    def outReceived(self, data: bytes) -> None:  # noqa: N802 (Twisted's name)
        with self.log.open("ab") as log:
            log.write(data)
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            text = line.decode(errors="replace")
            if self._ready_mark in text and not self.ready.called:
                self.ready.callback(text)
            self.said(text)

    errReceived = outReceived  # noqa: N815

    def processEnded(self, reason) -> None:  # noqa: N802
        if not self.ready.called:
            how = reason.value.exitCode if reason.value.exitCode is not None else f"by signal {reason.value.signal}"
            told = f"{self.name} ended ({how}) before it was ready\n{self.last_words()}"
            self.ready.errback(DiedEarly(told.rstrip()))
        self.ended.callback(None)
