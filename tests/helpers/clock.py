"""A clock that the test turns by hand."""

from __future__ import annotations

from sbc.clock import TimerQueue


class FakeClock(TimerQueue):
    """A `Clock` that stands still until `advance`, and then stops at each due time on the way.

    Unlike `twisted.internet.task.Clock`, which jumps to the end first and so makes one of a chain of retransmissions.
    """

    def __init__(self, start: float = 1000.0) -> None:
        self._hands = _Stopped(start)
        super().__init__(self._hands)

    @property
    def pending(self) -> int:
        """Timers still active: 0 at the end of a test, or something leaks."""
        return len(self)

    def advance(self, seconds: float) -> None:
        """Let so much time pass, running everything that falls due at its own instant."""
        end = self._hands.now + seconds
        while (due := self.next_due()) is not None and due <= end:
            self._hands.now = max(self._hands.now, due)
            self.run_due()
        self._hands.now = end


class _Stopped:
    """The clock below the queue: never calls by itself."""

    def __init__(self, start: float) -> None:
        self.now = start

    def seconds(self) -> float:
        return self.now

    def callLater(self, delay, function, *args):  # noqa: N802
        return _Never()


class _Never:
    def cancel(self) -> None:
        pass

    def active(self) -> bool:
        return False
