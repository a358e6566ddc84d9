"""Messages between the supervisor and a worker: JSON, each after its length, over two pipes.

A worker has the pipes as descriptors 3 and 4; that the first one ends means that the supervisor is gone. The very first
message is the configuration. It comes this way and not from the file because the file may have changed since it was read:
a worker that is started again must have what the others have.
"""

from __future__ import annotations

import base64
import copyreg
import json
import os
import pickle
import struct
from collections.abc import Callable, Iterator
from types import MappingProxyType
from typing import Any

from twisted.logger import Logger

from sbc.config import Config

log = Logger()

READ_FROM, WRITE_TO = 3, 4
FIRST_SOCKET = 5

_LENGTH = struct.Struct("!I")


def _read_only(table: dict) -> MappingProxyType:
    return MappingProxyType(table)


copyreg.pickle(MappingProxyType, lambda proxy: (_read_only, (dict(proxy),)))


def encoded(kind: str, content: dict[str, Any]) -> bytes:
    """One message for the pipe."""
    text = json.dumps({"kind": kind, **content}).encode("ascii")
    return _LENGTH.pack(len(text)) + text


class Frames:
    """Cuts what comes out of a pipe into messages."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """The messages that are complete with this."""
        self._rest += data
        while len(self._rest) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._rest)
            end = _LENGTH.size + length
            if len(self._rest) < end:
                return
            message = json.loads(bytes(self._rest[_LENGTH.size : end]))
            del self._rest[:end]
            yield message


class Link:
    """One end: `tell` sends, what comes is given to the method of `user` named after its kind, as keywords."""

    def __init__(self, user: object, write: Callable[[bytes], object]) -> None:
        self._user = user
        self._write = write
        self._frames = Frames()

    def tell(self, kind: str, **content: Any) -> None:
        self._write(encoded(kind, content))

    def data_received(self, data: bytes) -> None:
        for message in self._frames.feed(data):
            kind = message.pop("kind")
            try:
                getattr(self._user, f"{kind}_received")(**message)
            except Exception:
                # A bug, or a file that cannot be read. What passes through to Twisted closes the pipe, which ends a worker
                # with all its calls; so the log has the trace, and the next message is read.
                log.failure("internal error while handling {kind}", kind=kind)


def config_as_text(config: Config) -> str:
    return base64.b64encode(pickle.dumps(config)).decode("ascii")


def config_from_text(text: str) -> Config:
    """Only for what came out of our own supervisor's pipe."""
    return pickle.loads(base64.b64decode(text))  # noqa: S301


def first_message(descriptor: int) -> dict[str, Any]:
    """Wait for the first message, before anything runs that could read it by itself. EOFError when there is none."""
    (length,) = _LENGTH.unpack(_exactly(descriptor, _LENGTH.size))
    return json.loads(_exactly(descriptor, length))


def _exactly(descriptor: int, length: int) -> bytes:
    found = b""
    while len(found) < length:
        more = os.read(descriptor, length - len(found))
        if not more:
            raise EOFError("the supervisor is gone")
        found += more
    return found
