"""Messages out of a byte stream, for TCP and TLS: RFC 3261 section 18.3, keep-alives of RFC 5626 section 4.4.1.

Pure: bytes in, whole messages out. The connection itself, and what to do with it after an error, belong to `transport`.
"""

from __future__ import annotations

import re

from sbc.sip.errors import MalformedMessage
from sbc.sip.limits import MAX_MESSAGE

_CONTENT_LENGTH = re.compile(rb"\r\n(?:content-length|l)[ \t]*:(?:[ \t]|\r\n[ \t])*([0-9]+)[ \t]*(?=\r\n[^ \t])", re.IGNORECASE)
_DIGITS = 10  # a number of more digits is above every limit


class StreamFramer:
    """Cuts one direction of one connection into messages.

    After MalformedMessage the place where the next message begins is unknown: the connection has to be closed.
    """

    def __init__(self, limit: int = MAX_MESSAGE) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._searched = 0  # up to here the buffer holds no end of headers
        self._wanted = 0  # size of the message whose headers are complete, 0 while they are not
        self.pings = 0  # CRLFCRLF seen and not yet taken: the peer wants a CRLF back
        self.pongs = 0  # CRLF seen between messages and not yet taken

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are complete now, in order. MalformedMessage when the stream cannot be followed."""
        self._buffer += data
        messages: list[bytes] = []
        while self._next_is_ready():
            messages.append(bytes(self._buffer[: self._wanted]))
            del self._buffer[: self._wanted]
            self._wanted = 0
            self._searched = 0
        return messages

    def take_keepalives(self) -> tuple[int, int]:
        """(pings, pongs) since the last call. A ping, CRLFCRLF, is to be answered with CRLF (RFC 5626 s.4.4.1)."""
        seen = (self.pings, self.pongs)
        self.pings = self.pongs = 0
        return seen

    @property
    def pending(self) -> int:
        """Octets of a message that has begun and is not complete."""
        return len(self._buffer)

    def _next_is_ready(self) -> bool:
        if not self._wanted:
            self._skip_keepalives()
            end = self._buffer.find(b"\r\n\r\n", max(0, self._searched - 3))
            if end < 0:
                self._searched = len(self._buffer)
                if self._searched > self._limit:
                    raise MalformedMessage("Message Too Large", status_hint=513)
                return False
            self._wanted = end + 4 + self._content_length(end)
            if self._wanted > self._limit:
                raise MalformedMessage("Message Too Large", status_hint=513)
        return len(self._buffer) >= self._wanted

    def _skip_keepalives(self) -> None:
        """Count and drop the empty lines before a message; half of one may still be under way."""
        buffer = self._buffer
        while buffer.startswith(b"\r\n"):
            if buffer.startswith(b"\r\n\r\n"):
                self.pings += 1
                del buffer[:4]
            elif len(buffer) == 3 and buffer.endswith(b"\r"):
                return  # CRLF CR: the rest of a ping may come
            else:
                self.pongs += 1
                del buffer[:2]

    def _content_length(self, headers_end: int) -> int:
        lengths = {int(digits) if len(digits) <= _DIGITS else self._limit + 1 for digits in
                   _CONTENT_LENGTH.findall(self._buffer, 0, headers_end + 3)}
        if len(lengths) != 1:  # s.20.14: must be there on a stream; two different ones are an attack or a bug
            raise MalformedMessage("Missing or contradictory Content-Length", header="Content-Length")
        return lengths.pop()
