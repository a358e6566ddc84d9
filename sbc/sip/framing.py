"""Messages out of a byte stream, for TCP and TLS: RFC 3261 section 18.3, keep-alives of RFC 5626 section 4.4.1.

Pure: bytes in, whole messages out. The connection itself, and what to do with it after an error, belong to `transport`.
"""

from __future__ import annotations

import re

from sbc.sip.errors import MalformedMessage
from sbc.sip.limits import MAX_MESSAGE
from sbc.sip.scanner import scan_number

# A whole Content-Length line, its value folded or not. The value is checked apart: a broken one must not be overlooked.
_CONTENT_LENGTH = re.compile(rb"\r\n(?:content-length|l)[ \t]*:((?:[^\r\n]|\r\n[ \t])*)(?=\r\n)", re.IGNORECASE)


class StreamFramer:
    """Cuts one direction of one connection into messages.

    After MalformedMessage the place where the next message begins is unknown: the connection has to be closed.
    """

    def __init__(self, limit: int = MAX_MESSAGE) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._searched = 0  # up to here the buffer holds no end of headers
        self._wanted = 0  # size of the message whose headers are complete, 0 while they are not
        self._pings = 0
        self._pongs = 0
        self._odd_line = False  # the last thing that came was an empty line, which may be the first half of a ping

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are complete now, in order. MalformedMessage when the stream cannot be followed."""
        self._buffer += data
        messages: list[bytes] = []
        while self._next_is_ready():
            messages.append(bytes(self._buffer[: self._wanted]))
            del self._buffer[: self._wanted]
            self._wanted = 0
            self._searched = 0
            self._odd_line = False
        return messages

    def take_keepalives(self) -> tuple[int, int]:
        """(pings, pongs) since the last call. A ping, CRLFCRLF, is to be answered with CRLF (RFC 5626 s.4.4.1).

        A ping may come in two pieces, so its first half counts as a pong until the second is there, and two pongs with
        nothing between them count as a ping. One answer too many does no harm, one too few costs the flow.
        """
        seen = (self._pings, self._pongs)
        self._pings = self._pongs = 0
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
        """Count and drop the empty lines before a message."""
        while self._buffer.startswith(b"\r\n"):
            del self._buffer[:2]
            self._searched = 0
            if self._odd_line:
                self._pings += 1
                self._pongs = max(0, self._pongs - 1)
            else:
                self._pongs += 1
            self._odd_line = not self._odd_line

    def _content_length(self, headers_end: int) -> int:
        values = {value.strip() for value in _CONTENT_LENGTH.findall(self._buffer, 0, headers_end + 2)}
        if not values:
            raise MalformedMessage("Missing Content-Length", header="Content-Length")  # s.20.14: a stream needs it
        value = values.pop()
        length = -1 if values else scan_number(value, 0, len(value), self._limit)
        if length == -1:
            raise MalformedMessage("Malformed Content-Length", header="Content-Length")
        if length == -2:
            raise MalformedMessage("Message Too Large", status_hint=513)
        return length
