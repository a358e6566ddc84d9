"""The reactor's short cut: what it serves itself, and what it must leave to Twisted, all on real descriptors."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from sbc.clock import TimerQueue
from sbc.transport import _turns
from sbc.transport.reactor import Reactor


class Pipe:
    """The reading end of a pipe, as a Twisted reader; `heard` are the pieces read, one for each call."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.reading, False)
        self.heard: list[bytes] = []
        self.lost = None
        self.then = lambda: None

    def fileno(self) -> int:
        return self.reading

    def logPrefix(self) -> str:  # noqa: N802
        return "pipe"

    def doRead(self) -> None:  # noqa: N802
        self.heard.append(os.read(self.reading, 100))
        self.then()

    def connectionLost(self, reason) -> None:  # noqa: N802
        self.lost = reason

    def write(self, data: bytes = b"x") -> None:
        os.write(self.writing, data)


@pytest.fixture
def reactor():
    made = Reactor()
    yield made
    made.removeAll()


@pytest.fixture
def pipe(reactor):
    made = Pipe()
    reactor.addReader(made)
    yield made
    reactor.removeReader(made)
    os.close(made.reading)
    os.close(made.writing)


@pytest.fixture
def served(reactor, pipe):
    reactor.serve(pipe)
    return pipe


def test_is_compiled():
    assert _turns.__file__.endswith(".so")


def test_what_is_served_is_read_until_twisted_has_something_to_do(reactor, served):
    """Ten readings in one call of the loop: each asks for the next, the last one for a call of Twisted's."""
    called = []

    def again() -> None:
        if len(served.heard) < 10:
            served.write()
        else:
            reactor.callLater(0, called.append, "called")

    served.then = again
    served.write()
    reactor.doIteration(5)
    assert len(served.heard) == 10
    assert not called
    reactor.runUntilCurrent()
    assert called == ["called"]


def test_other_descriptors_end_the_turns(reactor, served, pipe):
    other = Pipe()
    reactor.addReader(other)
    served.then = lambda: other.write(b"for Twisted")
    served.write()
    reactor.doIteration(5)
    reactor.removeReader(other)
    assert (served.heard, other.heard) == ([b"x"], [b"for Twisted"])


def test_reader_that_is_not_served_any_more(reactor, served):
    reactor.unserve(served)
    served.write()
    reactor.doIteration(5)
    assert served.heard == [b"x"]
    reactor.removeReader(served)
    served.write()
    reactor.doIteration(0.01)
    assert served.heard == [b"x"]


def test_end_of_a_descriptor_is_twisted_s(reactor, served):
    """An error flag without data: `connectionLost`, as in every reactor."""
    os.close(served.writing)
    served.writing = os.dup(served.reading)
    reactor.doIteration(5)
    assert (served.heard, bool(served.lost)) == ([], True)


def test_timers_are_driven(reactor):
    """In the order of their times, without one call of Twisted's; time stands still while they run."""
    queue = TimerQueue(reactor)
    seen = []
    queue.callLater(0.02, lambda: seen.append(("second", queue.now() == queue.now())))
    queue.callLater(0.01, lambda: seen.append(("first", queue.now() == queue.now())))
    assert reactor.getDelayedCalls() == []
    queue.callLater(0.03, reactor.callLater, 0, seen.append, "done")
    reactor.doIteration(5)
    reactor.runUntilCurrent()
    assert seen == [("first", True), ("second", True), "done"]


def test_time_goes_on_between_turns(reactor):
    queue = TimerQueue(reactor)
    before = queue.now()
    reactor.doIteration(0.002)
    assert queue.now() > before


def test_calls_from_threads_come_through(reactor):
    called = threading.Event()
    reactor.callWhenRunning(lambda: threading.Thread(target=reactor.callFromThread, args=(called.set,)).start())
    reactor.callWhenRunning(lambda: reactor.callLater(0, wait))

    def wait() -> None:
        if called.is_set():
            reactor.stop()
        else:
            reactor.callLater(0.001, wait)

    reactor.run(installSignalHandlers=False)
    assert called.is_set()


def test_signals_come_through(reactor):
    """Python's handlers run although the waiting is not Python's."""
    seen = []
    before = signal.signal(signal.SIGUSR1, lambda *_: seen.append("signal"))
    try:
        timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
        timer.start()
        reactor.doIteration(5)
        timer.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen == ["signal"]


def test_a_timer_may_stop_the_reactor(reactor):
    """At once, and not when Twisted has something else to do."""
    queue = TimerQueue(reactor)
    reactor.callWhenRunning(queue.callLater, 0.01, reactor.stop)
    late = reactor.callLater(20, lambda: None)
    reactor.run(installSignalHandlers=False)
    assert late.active()


def test_error_of_a_reader_goes_up_and_the_loop_goes_on(reactor, served):
    def fail() -> None:
        served.then = lambda: None
        raise ValueError("a bug")

    served.then = fail
    served.write()
    with pytest.raises(ValueError, match="a bug"):
        reactor.doIteration(1)
    served.write()
    reactor.doIteration(0.05)
    assert served.heard == [b"x", b"x"]
