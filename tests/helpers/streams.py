"""A connection without a network: what Twisted calls a transport, which only remembers."""

from __future__ import annotations

from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.python.failure import Failure


class FakeStream:
    """Takes what is written until `stop_fetching`; then its buffer is full, as Twisted says it."""

    def __init__(self) -> None:
        self.written = b""
        self.ended = ""
        """How it was closed by us: "" not, "closed" or "aborted"."""
        self._producer = None
        self._protocol = None

    def connect(self, protocol) -> None:
        self._protocol = protocol
        protocol.makeConnection(self)

    def write(self, data: bytes) -> None:
        self.written += data

    def take(self) -> bytes:
        taken, self.written = self.written, b""
        return taken

    def stop_fetching(self) -> None:
        self._producer.pauseProducing()

    def fetch(self) -> None:
        self._producer.resumeProducing()

    def registerProducer(self, producer, streaming) -> None:  # noqa: N802 (Twisted's name)
        assert streaming
        self._producer = producer

    def unregisterProducer(self) -> None:  # noqa: N802 (Twisted's name)
        self._producer = None

    def loseConnection(self) -> None:  # noqa: N802 (Twisted's name)
        self.ended = "closed"
        self._protocol.connectionLost(Failure(ConnectionDone()))

    def abortConnection(self) -> None:  # noqa: N802 (Twisted's name)
        self.ended = "aborted"
        self._protocol.connectionLost(Failure(ConnectionAborted()))
