"""SIP messages over the bytes they came in: RFC 3261 sections 7, 8.1.1, 8.2.6, 20.

A header line is a piece of the received datagram until someone asks for its value. An edit replaces, inserts or drops whole
lines (or, for Via and Route, one value of a comma list), and `to_bytes` copies what stands between the edits. So unknown
headers, their order, folding and spelling survive byte for byte.

What `parse` promises of the message it returns: the start line is well-formed, every header line has a name, From, To,
Call-ID, CSeq and the top Via are there and can be read, the CSeq method is the method, Max-Forwards and Content-Length are
numbers in their range, and the body is as long as Content-Length says. Everything else is read, and refused, when asked for.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable

from sbc.sip.errors import LocalError, MalformedMessage
from sbc.sip.headers import LIST_HEADERS, TOKEN, NameAddr, Via, canonical_name, parse_cseq, split_commas
from sbc.sip.limits import MAX_DIGITS, MAX_HEADER_LINE, MAX_HEADER_LINES, MAX_MAX_FORWARDS, MAX_MESSAGE
from sbc.sip.scanner import find_comma
from sbc.sip.status import reason_phrase
from sbc.sip.uri import SipUri

# The headers that `parse` looks into, one bit each.
_VIA, _FROM, _TO, _CALL_ID, _CSEQ, _MAX_FORWARDS, _CONTENT_LENGTH, _EXPIRES, _CONTENT_TYPE = (1 << n for n in range(9))
_BITS = {
    "via": _VIA,
    "from": _FROM,
    "to": _TO,
    "call-id": _CALL_ID,
    "cseq": _CSEQ,
    "max-forwards": _MAX_FORWARDS,
    "content-length": _CONTENT_LENGTH,
    "expires": _EXPIRES,
    "content-type": _CONTENT_TYPE,
}
_SPELLINGS = {
    "via": "Via",
    "from": "From",
    "to": "To",
    "call-id": "Call-ID",
    "cseq": "CSeq",
    "max-forwards": "Max-Forwards",
    "content-length": "Content-Length",
    "expires": "Expires",
    "content-type": "Content-Type",
}
# s.8.1.1: without these there is no message. (Max-Forwards is one of them too, but RFC 2543 phones do not send it.)
_REQUIRED = _VIA | _FROM | _TO | _CALL_ID | _CSEQ
# s.7.3.1: a second line of these contradicts the first.
_UNIQUE = _FROM | _TO | _CALL_ID | _CSEQ | _MAX_FORWARDS | _CONTENT_LENGTH | _EXPIRES | _CONTENT_TYPE

_VERSION = re.compile(r"SIP/[0-9]+\.[0-9]+", re.IGNORECASE)
_WHITESPACE = b" \t\r\n"


class Line:
    """One header line with its folds, a piece of `data`. Never changed, so copies of a message share them.

    `start` to `name_end` is the name as spelled; `value_start` to `value_end` the trimmed value; `end` is behind the CRLF.
    """

    __slots__ = ("data", "start", "name_end", "value_start", "value_end", "end", "key", "bit")

    def __init__(
        self, data: bytes, start: int, name_end: int, value_start: int, value_end: int, end: int, key: str, bit: int
    ) -> None:
        self.data = data
        self.start = start
        self.name_end = name_end
        self.value_start = value_start
        self.value_end = value_end
        self.end = end
        self.key = key
        self.bit = bit

    def value(self) -> str:
        """The value, unfolded."""
        return _text(self.data[self.value_start : self.value_end])


def _text(raw: bytes) -> str:
    """Bytes of a header value to text: folds become one blank (s.7.3.1), unknown bytes survive."""
    text = raw.decode("utf-8", "surrogateescape")
    return re.sub(r"[ \t]*\r\n[ \t]+", " ", text) if "\r" in text else text


def _raw(text: str) -> bytes:
    """Text that we write into a message. A line break in it would make a header of our value: LocalError."""
    if "\r" in text or "\n" in text:
        raise LocalError(f"line break in {text!r}")
    return text.encode("utf-8", "surrogateescape")


def _new_line(name: str, value: str) -> Line:
    return _line_of(_raw(name), _raw(value))


def _line_of(name: bytes, value: bytes) -> Line:
    data = b"%s: %s\r\n" % (name, value)
    key = canonical_name(name.decode("utf-8", "surrogateescape"))
    value_start = len(name) + 2
    return Line(data, 0, len(name), value_start, len(data) - 2, len(data), key, _BITS.get(key, 0))


class Message:
    """What requests and responses have in common. Header names are case-insensitive, compact forms are the same header.

    `data` is the message as received, None for one that we made. Values are text; bytes that are not UTF-8 survive as
    surrogate escapes.
    """

    __slots__ = ("data", "_start_end", "_lines", "_headers_end", "_body", "_call_id", "_cseq", "_cseq_method", "_from", "_to", "_top_via")

    def __init__(self) -> None:
        self.data: bytes | None = None
        self._start_end = -1  # end of the start line in `data`; -1: written anew from its parts
        self._lines: list[Line] = []
        self._headers_end = -1  # where the empty line begins in `data`; -1 when the body is not the one received
        self._body = b""
        self._forget(_REQUIRED)

    def _forget(self, bits: int) -> None:
        """Values kept of these headers are no longer true."""
        if bits & _CALL_ID:
            self._call_id: str | None = None
        if bits & _CSEQ:
            self._cseq: int | None = None
            self._cseq_method = ""
        if bits & _FROM:
            self._from: NameAddr | None = None
        if bits & _TO:
            self._to: NameAddr | None = None
        if bits & _VIA:
            self._top_via: Via | None = None

    # The values that everyone asks for. `parse` has read them all, so they raise only after an edit that broke them.

    @property
    def call_id(self) -> str:
        if self._call_id is None:
            self._call_id = self._required("call-id")
        return self._call_id

    @property
    def cseq(self) -> int:
        if self._cseq is None:
            self._cseq, self._cseq_method = parse_cseq(self._required("cseq"))
        return self._cseq

    @property
    def cseq_method(self) -> str:
        if self._cseq is None:
            self._cseq, self._cseq_method = parse_cseq(self._required("cseq"))
        return self._cseq_method

    @property
    def from_(self) -> NameAddr:
        if self._from is None:
            self._from = NameAddr.parse(self._required("from"), "From")
        return self._from

    @property
    def to(self) -> NameAddr:
        if self._to is None:
            self._to = NameAddr.parse(self._required("to"), "To")
        return self._to

    @property
    def from_tag(self) -> str:
        """The tag of From, "" when there is none."""
        return self.from_.tag

    @property
    def to_tag(self) -> str:
        """The tag of To, "" when there is none."""
        return self.to.tag

    @property
    def top_via(self) -> Via:
        if self._top_via is None:
            self._top_via = Via.parse(self._required("via"))
        return self._top_via

    def _required(self, key: str) -> str:
        value = self.get(key)
        if not value:
            raise MalformedMessage(f"Missing {_SPELLINGS[key]}", header=_SPELLINGS[key])
        return value

    # Reading headers

    def get(self, name: str) -> str | None:
        """The first value, None without such a header. Of a comma list the first element."""
        key = canonical_name(name)
        for line in self._lines:
            if line.key == key:
                if key in LIST_HEADERS:
                    comma = find_comma(line.data, line.value_start, line.value_end)
                    return _text(line.data[line.value_start : comma].strip(_WHITESPACE))
                return line.value()
        return None

    def get_all(self, name: str) -> list[str]:
        """All values in order; comma lists are split where the header's grammar is a list."""
        key = canonical_name(name)
        values: list[str] = []
        for line in self._lines:
            if line.key == key:
                if key in LIST_HEADERS:
                    values += [value for value in split_commas(line.value()) if value]
                else:
                    values.append(line.value())
        return values

    def has(self, name: str) -> bool:
        key = canonical_name(name)
        return any(line.key == key for line in self._lines)

    def items(self) -> list[tuple[str, str]]:
        """(name as spelled, value) of every line in order."""
        return [(_text(line.data[line.start : line.name_end]), line.value()) for line in self._lines]

    # Editing headers

    def set(self, name: str, value: str) -> None:
        """Replace the first line of that name where it stands and drop its other lines; append when there is none."""
        self.set_all(name, [value])

    def set_all(self, name: str, values: Iterable[str]) -> None:
        """Replace the lines of that name by one line per value, at the place of the first; append when there is none."""
        key = canonical_name(name)
        new = [_new_line(name, value) for value in values]
        place = self._find(key)
        if place < 0:
            place = len(self._lines)
        kept = [line for line in self._lines[place:] if line.key != key]
        self._lines[place:] = new + kept
        self._forget(_BITS.get(key, 0))

    def prepend(self, name: str, value: str) -> None:
        """Insert a line above the first line of that name, or on top of all headers."""
        line = _new_line(name, value)
        self._lines.insert(max(0, self._find(line.key)), line)
        self._forget(line.bit)

    def append(self, name: str, value: str) -> None:
        """Insert a line below all headers."""
        line = _new_line(name, value)
        self._lines.append(line)
        self._forget(line.bit)

    def remove(self, name: str) -> None:
        """Drop all lines of that name."""
        key = canonical_name(name)
        self._lines = [line for line in self._lines if line.key != key]
        self._forget(_BITS.get(key, 0))

    def pop_first(self, name: str) -> str | None:
        """Take the first value of a comma list away and return it; None without such a header.

        The line goes with its last value; otherwise what remains of it stays byte for byte.
        """
        place = self._find(canonical_name(name))
        if place < 0:
            return None
        line = self._lines[place]
        comma = find_comma(line.data, line.value_start, line.value_end)
        value = _text(line.data[line.value_start : comma].strip(_WHITESPACE))
        if comma == line.value_end:
            del self._lines[place]
        else:
            rest = line.data[comma + 1 : line.value_end].lstrip(_WHITESPACE)
            self._lines[place] = _line_of(line.data[line.start : line.name_end], rest)
        self._forget(line.bit)
        return value

    def replace_first(self, name: str, value: str) -> None:
        """Put `value` in the place of the first value of a comma list; append when there is no such header."""
        place = self._find(canonical_name(name))
        if place < 0:
            self.append(name, value)
            return
        line = self._lines[place]
        comma = find_comma(line.data, line.value_start, line.value_end)
        self._lines[place] = _line_of(
            line.data[line.start : line.name_end], _raw(value) + line.data[comma : line.value_end]
        )
        self._forget(line.bit)

    def _find(self, key: str) -> int:
        for place, line in enumerate(self._lines):
            if line.key == key:
                return place
        return -1

    # The whole

    @property
    def body(self) -> bytes:
        """The body. Setting it corrects Content-Length; Content-Type is the caller's."""
        return self._body

    @body.setter
    def body(self, body: bytes) -> None:
        self._body = body
        self._headers_end = -1
        self.set("Content-Length", str(len(body)))

    def copy(self):  # -> Self
        """A message of its own that shares what is never changed."""
        other = type(self)()
        for kind in type(self).__mro__:
            for name in getattr(kind, "__slots__", ()):
                setattr(other, name, getattr(self, name))
        other._lines = list(self._lines)
        return other

    def to_bytes(self, stream: bool = False) -> bytes:
        """The message for the wire; for a `stream` with a Content-Length even when it came without (s.20.14)."""
        lines = self._lines
        if stream and not any(line.bit == _CONTENT_LENGTH for line in lines):
            lines = [*lines, _new_line("Content-Length", str(len(self._body)))]
        pieces: list[bytes] = []
        # A run is a stretch of bytes that is copied in one piece: neighbouring lines of the same datagram.
        run: bytes | None = self.data
        run_start = run_end = 0
        if self._start_end < 0 or run is None:
            pieces.append(self._start_line())
        else:
            run_start = _skip_empty_lines(run)
            run_end = self._start_end
        for line in lines:
            if line.data is not run or line.start != run_end:
                if run is not None and run_end > run_start:
                    pieces.append(run[run_start:run_end])
                run = line.data
                run_start = line.start
            run_end = line.end
        if run is not None and run_end > run_start:
            pieces.append(run[run_start:run_end])
        pieces.append(b"\r\n")
        pieces.append(self._body)
        return b"".join(pieces)

    def _start_line(self) -> bytes:
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{self._start_line().decode('utf-8', 'replace').strip()}>"


class Request(Message):
    """A request. Made by `parse` or `create`."""

    __slots__ = ("method", "_request_uri", "_uri")

    def __init__(self) -> None:
        super().__init__()
        self.method = ""
        self._request_uri = ""
        self._uri: SipUri | None = None

    @staticmethod
    def create(method: str, request_uri: str, headers: Iterable[tuple[str, str]], body: bytes = b"") -> Request:
        """A new request; Content-Length is added."""
        request = Request()
        request.method = method
        request._request_uri = request_uri
        _raw(request_uri)
        request._lines = [_new_line(name, value) for name, value in headers]
        request.body = body
        return request

    @property
    def request_uri(self) -> str:
        """The Request-URI as spelled."""
        return self._request_uri

    @request_uri.setter
    def request_uri(self, request_uri: str) -> None:
        _raw(request_uri)
        self._request_uri = request_uri
        self._uri = None
        self._start_end = -1

    @property
    def uri(self) -> SipUri:
        """The Request-URI, read. MalformedMessage with 416 for a scheme that is not sip or sips, 400 for a broken one."""
        if self._uri is None:
            try:
                uri = SipUri.parse(self._request_uri)
            except MalformedMessage as error:
                error.request = _answerable(self)
                raise
            if uri.headers:  # s.19.1.1: not allowed in a Request-URI
                raise MalformedMessage("Headers in Request-URI", request=_answerable(self))
            self._uri = uri
        return self._uri

    def _start_line(self) -> bytes:
        return b"%s %s SIP/2.0\r\n" % (_raw(self.method), _raw(self._request_uri))


class Response(Message):
    """A response. Made by `parse`, `create` or `for_request`."""

    __slots__ = ("status", "reason")

    def __init__(self) -> None:
        super().__init__()
        self.status = 0
        self.reason = ""

    @staticmethod
    def create(
        status: int, reason: str | None, headers: Iterable[tuple[str, str]], body: bytes = b""
    ) -> Response:
        """A new response; Content-Length is added."""
        response = Response()
        response.status = status
        response.reason = reason_phrase(status) if reason is None else reason
        _raw(response.reason)
        response._lines = [_new_line(name, value) for name, value in headers]
        response.body = body
        return response

    @staticmethod
    def for_request(
        request: Request,
        status: int,
        reason: str | None = None,
        *,
        to_tag: str | None = None,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        copy_record_route: bool = False,
    ) -> Response:
        """The answer to a request (s.8.2.6.2): Via, From, To, Call-ID and CSeq are copied byte for byte.

        A To without tag gets `to_tag`, or a random one, in every response but 100. `headers` follow.
        """
        response = Response.create(status, reason, ())
        copied = _VIA | _FROM | _TO | _CALL_ID | _CSEQ
        lines = []
        for line in request._lines:
            if line.bit == _TO and status != 100 and not _has_tag(request):
                tag = secrets.token_hex(8) if to_tag is None else to_tag
                value = line.data[line.value_start : line.value_end]
                lines.append(_line_of(line.data[line.start : line.name_end], value + b";tag=" + _raw(tag)))
            elif (
                line.bit & copied
                or (copy_record_route and line.key == "record-route")
                or (status == 100 and line.key == "timestamp")  # s.8.2.6.1
            ):
                lines.append(line)
        lines += [_new_line(name, value) for name, value in headers]
        response._lines = lines
        response.body = body
        return response

    @property
    def is_provisional(self) -> bool:
        return self.status < 200

    @property
    def is_final(self) -> bool:
        return self.status >= 200

    def _start_line(self) -> bytes:
        return b"SIP/2.0 %d %s\r\n" % (self.status, _raw(self.reason))


def _has_tag(request: Request) -> bool:
    """Does To have a tag? A To that cannot be read counts as having one: it is copied as it is."""
    try:
        return request.to_tag != ""
    except MalformedMessage:
        return True


def _answerable(request: Request) -> Request | None:
    """The request if a response to it can be made and may be sent."""
    present = 0
    for line in request._lines:
        present |= line.bit
    if request.method in ("", "ACK") or present & _REQUIRED != _REQUIRED:
        return None
    try:
        request.top_via  # noqa: B018 (reads it)
    except MalformedMessage:
        return None
    return request


def _skip_empty_lines(data: bytes) -> int:
    """Where the start line begins: empty lines before it are to be ignored (s.7.5)."""
    start = 0
    while data[start : start + 2] == b"\r\n":
        start += 2
    return start


def parse(data: bytes) -> Request | Response:
    """Read one message. Raises MalformedMessage and nothing else.

    What follows the body in a datagram is ignored (s.18.3). Without Content-Length the body reaches to the end.
    """
    if len(data) > MAX_MESSAGE:
        raise MalformedMessage("Message Too Large", status_hint=513)
    start = _skip_empty_lines(data)
    start_end = data.find(b"\r\n", start)
    if start_end < 0:
        raise MalformedMessage("Not a SIP message")
    first = data[start:start_end].decode("utf-8", "surrogateescape")
    message: Request | Response
    if first[:4].upper() == "SIP/":
        message = Response()
        error = _read_status_line(message, first)
    else:
        message = Request()
        error = _read_request_line(message, first)
    message.data = data
    message._start_end = start_end + 2
    in_headers = _read_headers(message, start_end + 2)
    error = error or in_headers
    if error is None:
        try:
            _check(message)
        except MalformedMessage as found:
            error = found
    if error is not None:
        if isinstance(message, Request):
            error.request = _answerable(message)
        raise error
    return message


def _read_request_line(request: Request, first: str) -> MalformedMessage | None:
    parts = first.split(" ")
    if not TOKEN.fullmatch(parts[0]) or not _VERSION.match(parts[-1] or first.strip(" ").rpartition(" ")[2]):
        return MalformedMessage("Not a SIP message")
    request.method = parts[0]
    request._request_uri = first[len(parts[0]) + 1 :].rpartition(" ")[0]
    if len(parts) != 3 or not parts[1]:
        return MalformedMessage("Malformed request line")
    if not _VERSION.fullmatch(parts[2]):
        return MalformedMessage("Malformed request line")
    if parts[2].upper() != "SIP/2.0":
        return MalformedMessage("Version Not Supported", status_hint=505)
    scheme = parts[1].partition(":")
    if not scheme[1] or not scheme[0][:1].isalpha():
        return MalformedMessage("Malformed Request-URI")
    return None


def _read_status_line(response: Response, first: str) -> MalformedMessage | None:
    version, _, rest = first.partition(" ")
    status, _, reason = rest.partition(" ")
    if version.upper() != "SIP/2.0":
        return MalformedMessage("Version Not Supported", status_hint=505)
    if len(status) != 3 or not status.isascii() or not status.isdigit() or not 100 <= int(status) <= 699:
        return MalformedMessage("Malformed status line")
    response.status = int(status)
    response.reason = reason
    return None


def _read_headers(message: Message, position: int) -> MalformedMessage | None:
    """Fill the lines and the body; the first thing wrong is returned, and the rest is read nevertheless."""
    data = message.data or b""
    error: MalformedMessage | None = None
    seen = 0
    while True:
        if data[position : position + 2] == b"\r\n":
            break
        end = data.find(b"\r\n", position)
        while end >= 0 and data[end + 2 : end + 3] in (b" ", b"\t"):
            end = data.find(b"\r\n", end + 2)
        if end < 0:
            return error or MalformedMessage("Headers without end")
        if len(message._lines) >= MAX_HEADER_LINES or end - position > MAX_HEADER_LINE:
            return error or MalformedMessage("Headers too large")
        line = _read_line(data, position, end)
        if line is None:
            error = error or MalformedMessage("Malformed header line")
        else:
            if line.bit & seen & _UNIQUE:
                spelling = _SPELLINGS[line.key]
                error = error or MalformedMessage(f"Repeated {spelling}", header=spelling)
            seen |= line.bit
            message._lines.append(line)
        position = end + 2
    message._headers_end = position
    message._body = data[position + 2 :]
    return error


def _read_line(data: bytes, start: int, end: int) -> Line | None:
    colon = data.find(b":", start, end)
    if colon < 0:
        return None
    name = data[start:colon].rstrip(b" \t")
    spelled = name.decode("utf-8", "surrogateescape")
    if not TOKEN.fullmatch(spelled):
        return None
    value = data[colon + 1 : end]
    if re.search(rb"\r(?!\n)|(?<!\r)\n", value):
        return None
    value_start = end - len(value.lstrip(_WHITESPACE))
    value_end = value_start + len(value.strip(_WHITESPACE))
    key = canonical_name(spelled)
    return Line(data, start, start + len(name), value_start, value_end, end + 2, key, _BITS.get(key, 0))


def _check(message: Request | Response) -> None:
    """Read what `parse` promises."""
    message.top_via  # noqa: B018 (reads it, and so on)
    message.from_  # noqa: B018
    message.to  # noqa: B018
    message.call_id  # noqa: B018
    message.cseq  # noqa: B018
    if isinstance(message, Request):
        if message.cseq_method != message.method:
            raise MalformedMessage("CSeq method does not match", header="CSeq")
        hops = _number(message, "max-forwards")
        if hops is not None and hops > MAX_MAX_FORWARDS:
            raise MalformedMessage("Max-Forwards too large", header="Max-Forwards")
    length = _number(message, "content-length")
    if length is not None:
        if length > len(message._body):
            raise MalformedMessage("Body shorter than Content-Length", header="Content-Length")
        message._body = message._body[:length]


def _number(message: Message, key: str) -> int | None:
    value = message.get(key)
    if value is None:
        return None
    if not value.isascii() or not value.isdigit() or len(value) > MAX_DIGITS:
        raise MalformedMessage(f"Malformed {_SPELLINGS[key]}", header=_SPELLINGS[key])
    return int(value)


