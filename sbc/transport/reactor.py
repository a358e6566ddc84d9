"""Twisted's epoll reactor, with a short cut for sockets that are read many thousand times a second.

A turn of Twisted's loop costs about as much as forwarding the message that caused it. Here the descriptors that `serve`
was told of, and one queue of timers, are looked after by `Turns`, in compiled code; Twisted takes a turn when
something is to do for anyone else. Seen from outside it is an ordinary reactor, and what is served would work, more slowly,
in any other.
"""

from __future__ import annotations

import errno
import time

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.main import installReactor
from twisted.python import log

from sbc.clock import TimerQueue
from sbc.transport.turning import QuickTurns


class Reactor(EPollReactor):
    """Lives by the monotonic clock: steps of the wall clock must not move a timer (pitfall D32)."""

    def __init__(self) -> None:
        super().__init__()
        self._turns = QuickTurns(self._poller.fileno())

    def seconds(self) -> float:
        return time.monotonic()

    def callLater(self, delay, callable, *args, **kw):  # noqa: A002, N802 (Twisted's names)
        self._turns.leave = True  # it may be due before anything else happens
        return super().callLater(delay, callable, *args, **kw)

    def stop(self) -> None:
        self._turns.leave = True  # from a timer or a reader of ours: Twisted shall see it now
        super().stop()

    def serve(self, reader) -> None:
        """Call `reader.doRead` without a turn of Twisted's. The reader has been added, and is forgotten with `unserve`."""
        self._turns.serve(reader.fileno(), reader)

    def unserve(self, reader) -> None:
        """Before it is removed."""
        self._turns.serve(reader.fileno(), None)

    def drive(self, timers: TimerQueue) -> None:
        """Run these timers from now on. One queue only."""
        self._turns.drive(timers)

    def doPoll(self, timeout: float | None) -> None:  # noqa: N802 (Twisted's name)
        try:
            events = self._turns.take(-1.0 if timeout is None else timeout)
        except OSError as error:
            if error.errno == errno.EINTR:
                return
            raise
        for descriptor, event in events:
            selectable = self._selectables.get(descriptor)
            if selectable is not None:
                log.callWithLogger(selectable, self._doReadOrWrite, selectable, descriptor, event)

    doIteration = doPoll  # noqa: N815 (Twisted's name)


def install() -> Reactor:
    """Make it `twisted.internet.reactor`; before anybody imports that. Returns it."""
    reactor = Reactor()
    installReactor(reactor)
    return reactor
