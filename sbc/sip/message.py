# cython: boundscheck=False, wraparound=False, initializedcheck=False
"""SIP messages over the bytes they came in: RFC 3261 sections 7, 8.1.1, 8.2.6, 20.

A header line is a piece of the received datagram until someone asks for its value. An edit replaces, inserts or drops
whole lines (or, for Via and Route, one value of a comma list), and `to_bytes` copies what stands between the edits. So
unknown headers, their order, folding and spelling survive byte for byte.

What `parse` promises of the message it returns: the start line is well-formed, every header line has a name, From, To,
Call-ID, CSeq and the top Via are there and can be read, the CSeq method is the method, Max-Forwards and Content-Length
are numbers in their range, and the body is as long as Content-Length says. Everything else is read, and refused, when
asked for.

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import cython

from sbc.sip.errors import LocalError, MalformedMessage
from sbc.sip.headers import NameAddr
from sbc.sip.limits import MAX_CSEQ, MAX_HEADER_LINE, MAX_HEADER_LINES, MAX_MAX_FORWARDS, MAX_MESSAGE
from sbc.sip.names import COMPACT_FORMS, LIST_HEADERS, SPELLINGS, canonical_name
from sbc.sip.scanner import HEADER_BITS
from sbc.sip.status import reason_phrase
from sbc.sip.unguessable import hex_word
from sbc.sip.uri import SipUri

if cython.compiled:
    from cython.cimports.sbc.sip.headers import Via
    from cython.cimports.sbc.sip.scanner import (
        CALL_ID,
        CONTENT_LENGTH,
        CONTENT_TYPE,
        CSEQ,
        EXPIRES,
        FROM,
        MAX_FORWARDS,
        RECORD_ROUTE,
        TIMESTAMP,
        TO,
        TOKEN_OCTETS,
        VIA,
        Address,
        Line,
        find_blank,
        find_comma,
        find_line_end,
        method_of,
        says_sip_2,
        scan_address,
        scan_line,
        scan_number,
        scan_parameters,
        scan_via,
        skip_octets,
        skip_whitespace,
        text_of,
        trim_end,
    )
else:
    from sbc.sip.headers import Via
    from sbc.sip.scanner import (
        CALL_ID,
        CONTENT_LENGTH,
        CONTENT_TYPE,
        CSEQ,
        EXPIRES,
        FROM,
        MAX_FORWARDS,
        RECORD_ROUTE,
        TIMESTAMP,
        TO,
        TOKEN_OCTETS,
        VIA,
        Address,
        Line,
        find_blank,
        find_comma,
        find_line_end,
        method_of,
        says_sip_2,
        scan_address,
        scan_line,
        scan_number,
        scan_parameters,
        scan_via,
        skip_octets,
        skip_whitespace,
        text_of,
        trim_end,
    )

# True in the compiled module, False when it runs from source.
COMPILED = bool(cython.compiled)

# s.8.1.1: without these there is no message. (Max-Forwards is one of them too, but RFC 2543 phones do not send it.)
_REQUIRED = cython.declare(cython.int, VIA | FROM | TO | CALL_ID | CSEQ)
# s.7.3.1: a second line of these contradicts the first.
_UNIQUE = cython.declare(
    cython.int, FROM | TO | CALL_ID | CSEQ | MAX_FORWARDS | CONTENT_LENGTH | EXPIRES | CONTENT_TYPE
)
_LINE_LIMIT = cython.declare(cython.Py_ssize_t, MAX_HEADER_LINE)
_LINES_LIMIT = cython.declare(cython.Py_ssize_t, MAX_HEADER_LINES)

# The keys of header names in the spellings that callers use; others go through `canonical_name`.
_KEYS = cython.declare(dict, {name: canonical_name(name) for name in [*SPELLINGS.values(), *SPELLINGS, *COMPACT_FORMS]})
_LIST_HEADERS = cython.declare(frozenset, LIST_HEADERS)
_ANY = cython.declare(cython.int, -1)
_BITS = cython.declare(dict, HEADER_BITS)


@cython.cfunc
def _key_of(name: str) -> str:
    key = _KEYS.get(name)
    return canonical_name(name) if key is None else key


@cython.cfunc
def _bit_of(key: str) -> cython.int:
    bit = _BITS.get(key)
    return 0 if bit is None else bit


@cython.cfunc
def _raw(text: str) -> bytes:
    """Text that we write into a message. A line break in it would make a header of a value: LocalError."""
    if "\r" in text or "\n" in text:
        raise LocalError(f"line break in {text!r}")
    return text.encode("utf-8", "surrogateescape")


@cython.cfunc
def new_line(name: str, value: str) -> Line:
    """A header line of ours."""
    raw: bytes = _raw(f"{name}: {value}")
    line: Line = Line.__new__(Line)
    line.data = raw + b"\r\n"
    line.start = 0
    line.name_end = len(name)
    line.value_start = line.name_end + 2
    line.value_end = len(raw)
    line.end = line.value_end + 2
    line.key = _key_of(name)
    line.bit = _bit_of(line.key)
    if line.name_end == 0 or skip_octets(raw, 0, len(raw), TOKEN_OCTETS) != line.name_end:
        raise LocalError(f"not a header name: {name!r}")
    return line


# A hop count as it is written, without making it anew for every request.
_NUMBERS = cython.declare(list, [b"%d" % number for number in range(256)])
_NO_BODY = cython.declare(Line, new_line("Content-Length", "0"))


@cython.cfunc
def _with_value(line: Line, value: bytes) -> Line:
    """The same header, spelled the same, with another value."""
    new: Line = Line.__new__(Line)
    head: bytes = line.data[line.start : line.value_start]
    new.data = head + value + b"\r\n"
    new.start = 0
    new.name_end = line.name_end - line.start
    new.value_start = len(head)
    new.value_end = len(new.data) - 2
    new.end = len(new.data)
    new.key = line.key
    new.bit = line.bit
    return new


@cython.cfunc
def _first_value(line: Line) -> str:
    """What stands before the first comma."""
    comma: cython.Py_ssize_t = find_comma(line.data, line.value_start, line.value_end)
    return text_of(line.data, line.value_start, trim_end(line.data, line.value_start, comma))


@cython.cfunc
def _malformed(line: Line, what: str = "Malformed") -> object:
    spelling = SPELLINGS[line.key]
    return MalformedMessage(f"{what} {spelling}", header=spelling)


@cython.cclass
class Message:
    """What requests and responses have in common. Header names are case-insensitive, compact forms are the same header.

    `data` is the message as received, None for one that we made. Values are text; bytes that are not UTF-8 survive as
    surrogate escapes. A line break in a value or name that is to be written is a LocalError.
    """

    data: bytes
    _start: cython.Py_ssize_t  # the start line in `data`; `_start_end` is -1 when it has to be written from its parts
    _start_end: cython.Py_ssize_t
    _lines: list
    _body: bytes  # None while it is the received one, from `_body_start` to `_body_end`
    _body_start: cython.Py_ssize_t
    _body_end: cython.Py_ssize_t
    _bits: cython.int  # of the headers that may be there; all that are, and perhaps some that were taken off
    # Values kept until an edit makes them untrue: None or -1 when not read yet.
    _call_id: str
    _cseq: cython.longlong
    _cseq_method: str
    _from_tag: str
    _to_tag: str
    _from: object
    _to: object
    _top_via: Via

    @cython.cfunc
    def _reset(self) -> cython.void:
        self.data = None
        self._start = 0
        self._start_end = -1
        self._lines = []
        self._body = b""
        self._body_start = 0
        self._body_end = 0
        self._bits = _ANY
        self._top_via = None
        self._from = None
        self._from_tag = None
        self._to = None
        self._to_tag = None
        self._call_id = None
        self._cseq = -1
        self._cseq_method = None

    @cython.cfunc
    def _forget(self, bits: cython.int) -> cython.void:
        """Such headers have changed: they may be there now, and what is kept of them is no longer true."""
        self._bits |= bits
        if bits & VIA:
            self._top_via = None
        if bits & FROM:
            self._from = None
            self._from_tag = None
        if bits & TO:
            self._to = None
            self._to_tag = None
        if bits & CALL_ID:
            self._call_id = None
        if bits & CSEQ:
            self._cseq = -1
            self._cseq_method = None

    @cython.cfunc
    def _copy_to(self, other: Message) -> cython.void:
        other.data = self.data
        other._start = self._start
        other._start_end = self._start_end
        other._lines = self._lines[:]
        other._body = self._body
        other._body_start = self._body_start
        other._body_end = self._body_end
        other._bits = self._bits
        other._call_id = self._call_id
        other._cseq = self._cseq
        other._cseq_method = self._cseq_method
        other._from_tag = self._from_tag
        other._to_tag = self._to_tag
        other._from = self._from
        other._to = self._to
        other._top_via = self._top_via

    # The values that everyone asks for. `parse` has read them, so they raise only after an edit that broke them.

    @property
    def call_id(self) -> str:
        self._read_call_id()
        return self._call_id

    @property
    def cseq(self) -> int:
        self._read_cseq()
        return self._cseq

    @property
    def cseq_method(self) -> str:
        self._read_cseq()
        return self._cseq_method

    @property
    def from_tag(self) -> str:
        """The tag of From, "" when there is none."""
        self._read_from_tag()
        return self._from_tag

    @property
    def to_tag(self) -> str:
        """The tag of To, "" when there is none."""
        self._read_to_tag()
        return self._to_tag

    @property
    def from_(self) -> NameAddr:
        if self._from is None:
            self._from = NameAddr.parse(self._required(FROM).value(), "From")
        return self._from

    @property
    def to(self) -> NameAddr:
        if self._to is None:
            self._to = NameAddr.parse(self._required(TO).value(), "To")
        return self._to

    @property
    def top_via(self) -> Via:
        self._read_top_via()
        return self._top_via

    @cython.cfunc
    def _read_call_id(self) -> cython.void:
        if self._call_id is not None:
            return
        line: Line = self._required(CALL_ID)
        if (
            line.value_start == line.value_end
            or find_blank(line.data, line.value_start, line.value_end) != line.value_end
        ):
            raise _malformed(line)
        self._call_id = line.value()

    @cython.cfunc
    def _read_cseq(self) -> cython.void:
        if self._cseq >= 0:
            return
        line: Line = self._required(CSEQ)
        number_end: cython.Py_ssize_t = find_blank(line.data, line.value_start, line.value_end)
        number: cython.longlong = scan_number(line.data, line.value_start, number_end, MAX_CSEQ)
        method: str = method_of(line.data, skip_whitespace(line.data, number_end, line.value_end), line.value_end)
        if number == -2:
            raise MalformedMessage("CSeq number too large", header="CSeq")
        if number < 0 or method == "":
            raise _malformed(line)
        self._cseq_method = method
        self._cseq = number

    @cython.cfunc
    def _read_from_tag(self) -> cython.void:
        if self._from_tag is None:
            self._from_tag = _tag_of(self._required(FROM))

    @cython.cfunc
    def _read_to_tag(self) -> cython.void:
        if self._to_tag is None:
            self._to_tag = _tag_of(self._required(TO))

    @cython.cfunc
    def _read_top_via(self) -> cython.void:
        if self._top_via is not None:
            return
        line: Line = self._required(VIA)
        comma: cython.Py_ssize_t = find_comma(line.data, line.value_start, line.value_end)
        parts: tuple = scan_via(line.data, line.value_start, trim_end(line.data, line.value_start, comma))
        if parts is None:
            raise _malformed(line)
        self._top_via = Via(parts[0], parts[1], parts[2], parts[3])

    @cython.cfunc
    def _required(self, bit: cython.int) -> Line:
        """The first line of one of the headers that have a bit."""
        line: Line
        for line in self._lines:
            if line.bit == bit:
                return line
        for key, header_bit in HEADER_BITS.items():
            if header_bit == bit:
                raise MalformedMessage(f"Missing {SPELLINGS[key]}", header=SPELLINGS[key])
        raise LocalError(f"no header has the bit {bit}")

    @cython.cfunc
    def _number(self, bit: cython.int, limit: cython.longlong) -> cython.longlong:
        """The value of a header that is a number, -1 without that header."""
        line: Line
        for line in self._lines:
            if line.bit == bit:
                number: cython.longlong = scan_number(line.data, line.value_start, line.value_end, limit)
                if number < 0:
                    raise _malformed(line)
                return number
        return -1

    # Reading headers

    @cython.cfunc
    @cython.exceptval(check=False)
    def may_have(self, bits: cython.int) -> cython.bint:
        """False when none of these headers (bits of the scanner) is there."""
        return self._bits & bits != 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def _place_of(self, bit: cython.int) -> cython.Py_ssize_t:
        """Where the first line of a header that has a bit is in `_lines`, -1 when nowhere."""
        if not self._bits & bit:
            return -1
        line: Line
        place: cython.Py_ssize_t
        for place in range(len(self._lines)):
            line = self._lines[place]
            if line.bit == bit:
                return place
        return -1

    @cython.cfunc
    @cython.exceptval(check=False)
    def has_one(self, bit: cython.int) -> cython.bint:
        """True when a comma list whose header has a bit has one element."""
        number: cython.int = 0
        line: Line
        for line in self._lines:
            if line.bit == bit:
                number += 1
                if number > 1 or find_comma(line.data, line.value_start, line.value_end) != line.value_end:
                    return False
        return number == 1

    @cython.cfunc
    def first_of(self, bit: cython.int) -> str:
        """The first element of a comma list whose header has a bit; None without one."""
        place: cython.Py_ssize_t = self._place_of(bit)
        return None if place < 0 else _first_value(self._lines[place])

    @cython.cfunc
    @cython.exceptval(check=False)
    def _find(self, key: str) -> cython.Py_ssize_t:
        """Where the first line of that header is in `_lines`, -1 when nowhere."""
        line: Line
        place: cython.Py_ssize_t
        for place in range(len(self._lines)):
            line = self._lines[place]
            if line.key == key:
                return place
        return -1

    @cython.ccall
    def get(self, name: str) -> object:  # str | None
        """The first value, None without such a header. Of a comma list the first element."""
        key: str = _key_of(name)
        place: cython.Py_ssize_t = self._find(key)
        if place < 0:
            return None
        line: Line = self._lines[place]
        return _first_value(line) if key in _LIST_HEADERS else line.value()

    @cython.ccall
    def get_all(self, name: str) -> list:  # list[str]
        """All values in order; where the grammar is a list, commas split it and empty elements are left out."""
        key: str = _key_of(name)
        values: list = []
        line: Line
        for line in self._lines:
            if line.key == key:
                if key in _LIST_HEADERS:
                    _split_values(line, values)
                else:
                    values.append(line.value())
        return values

    def has(self, name: str) -> bool:
        return self._find(_key_of(name)) >= 0

    def items(self) -> list[tuple[str, str]]:
        """(name as spelled, value) of every line in order."""
        items: list = []
        line: Line
        for line in self._lines:
            items.append((line.name(), line.value()))
        return items

    # Editing headers

    @cython.ccall
    def set(self, name: str, value: str):
        """Replace the first line of that name where it stands and drop its other lines; append when there is none."""
        self._replace([new_line(name, value)], _key_of(name))

    def set_all(self, name: str, values: Iterable[str]) -> None:
        """Replace the lines of that name by one line per value, where the first stood; append when there was none."""
        self._replace([new_line(name, value) for value in values], _key_of(name))

    @cython.cfunc
    def _replace(self, new: list, key: str) -> cython.void:
        kept: list = []
        line: Line
        place: cython.Py_ssize_t = -1
        for line in self._lines:
            if line.key != key:
                kept.append(line)
            elif place < 0:
                place = len(kept)
        if place < 0:
            place = len(kept)
        kept[place:place] = new
        self._lines = kept
        self._forget(_bit_of(key))

    @cython.ccall
    def prepend(self, name: str, value: str):
        """Insert a line above the first line of that name, or below the Vias where there is none.

        The Vias stay on top: an ICMP error quotes only the start of a datagram, and the branch must be in it.
        """
        self.put_first(new_line(name, value))

    @cython.cfunc
    def put_first(self, line: Line) -> cython.void:
        """`prepend` for a line of `new_line`; messages may share it."""
        place: cython.Py_ssize_t = self._place_of(line.bit) if line.bit else self._find(line.key)
        if place < 0:
            place = 0 if line.bit == VIA else self._below_vias()
        self._lines.insert(place, line)
        self._forget(line.bit)

    @cython.cfunc
    @cython.exceptval(check=False)
    def _below_vias(self) -> cython.Py_ssize_t:
        """The place of the first line that is not part of the Vias on top."""
        line: Line
        place: cython.Py_ssize_t
        for place in range(len(self._lines)):
            line = self._lines[place]
            if line.bit != VIA:
                return place
        return len(self._lines)

    def append(self, name: str, value: str) -> None:
        """Insert a line below all headers."""
        line: Line = new_line(name, value)
        self._lines.append(line)
        self._forget(line.bit)

    @cython.ccall
    def remove(self, name: str):
        """Drop all lines of that name."""
        self._replace([], _key_of(name))

    def pop_first(self, name: str) -> str | None:
        """Take the first value of a comma list away and return it; None without such a header.

        The line goes with its last value; otherwise what remains of it stays byte for byte.
        """
        place: cython.Py_ssize_t = self._find(_key_of(name))
        if place < 0:
            return None
        value: str = _first_value(self._lines[place])
        self._take_first(place)
        return value

    @cython.cfunc
    def drop_first(self, bit: cython.int) -> cython.void:
        """`pop_first` for a header that has a bit, when nobody wants to see the value."""
        place: cython.Py_ssize_t = self._place_of(bit)
        if place >= 0:
            self._take_first(place)

    @cython.cfunc
    def _take_first(self, place: cython.Py_ssize_t) -> cython.void:
        line: Line = self._lines[place]
        comma: cython.Py_ssize_t = find_comma(line.data, line.value_start, line.value_end)
        if comma == line.value_end:
            del self._lines[place]
        else:
            rest: cython.Py_ssize_t = skip_whitespace(line.data, comma + 1, line.value_end)
            self._lines[place] = _with_value(line, line.data[rest : line.value_end])
        self._forget(line.bit)

    def replace_first(self, name: str, value: str) -> None:
        """Put `value` in the place of the first value of a comma list; append when there is no such header."""
        place: cython.Py_ssize_t = self._find(_key_of(name))
        if place < 0:
            self.append(name, value)
            return
        line: Line = self._lines[place]
        comma: cython.Py_ssize_t = find_comma(line.data, line.value_start, line.value_end)
        self._lines[place] = _with_value(line, _raw(value) + line.data[comma : line.value_end])
        self._forget(line.bit)

    # The whole

    @property
    def body(self) -> bytes:
        """The body. Setting it corrects Content-Length; Content-Type is the caller's."""
        if self._body is None:
            self._body = self.data[self._body_start : self._body_end]
        return self._body

    @body.setter
    def body(self, body: bytes) -> None:
        self._body = body
        self._body_end = -1  # no longer the received one
        self._replace([new_line("Content-Length", str(len(body)))], "content-length")

    @cython.ccall
    def to_bytes(self, stream: cython.bint = False) -> bytes:
        """The message for the wire; for a `stream` with a Content-Length even when it came without (s.20.14)."""
        line: Line
        lines: list = self._lines
        if stream and self._find("content-length") < 0:
            lines = [*lines, new_line("Content-Length", str(len(self.body)))]
        pieces: list = []
        # A run is a stretch of bytes that is copied in one piece: neighbouring lines of the same datagram.
        run: bytes = self.data
        run_start: cython.Py_ssize_t = self._start
        run_end: cython.Py_ssize_t = self._start_end
        if run is None or run_end < 0:
            run = self._start_line()
            run_start = 0
            run_end = len(run)
        for line in lines:
            if line.start != run_end or line.data is not run:
                pieces.append(run[run_start:run_end])
                run = line.data
                run_start = line.start
            run_end = line.end
        if run is self.data and self._body_end >= 0 and run_end + 2 == self._body_start:
            pieces.append(run[run_start : self._body_end])
        else:
            pieces.append(run[run_start:run_end])
            pieces.append(b"\r\n")
            pieces.append(self.body)
        return b"".join(pieces)

    @cython.cfunc
    def _start_line(self) -> bytes:
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{self._start_line().decode('utf-8', 'replace').strip()}>"


@cython.cfunc
def _tag_of(line: Line) -> str:
    address: Address = scan_address(line.data, line.value_start, line.value_end)
    if address is None:
        raise _malformed(line)
    if address.parameters_start == line.value_end:
        return ""
    parameters: dict = scan_parameters(line.data, address.parameters_start, line.value_end)
    if parameters is None:
        raise _malformed(line)
    tag = parameters.get("tag")
    return "" if tag is None else tag


@cython.cfunc
def _split_values(line: Line, values: list) -> cython.void:
    start: cython.Py_ssize_t = line.value_start
    comma: cython.Py_ssize_t
    while start < line.value_end:
        start = skip_whitespace(line.data, start, line.value_end)
        comma = find_comma(line.data, start, line.value_end)
        if comma > start:
            values.append(text_of(line.data, start, trim_end(line.data, start, comma)))
        start = comma + 1


@cython.cclass
class Request(Message):
    """A request. Made by `parse` or `create`."""

    method: str
    _request_uri: str
    _uri: object
    _max_forwards: cython.int  # -1 without the header, -2 when not read yet

    def __init__(self) -> None:
        self._reset()
        self.method = ""
        self._request_uri = ""
        self._uri = None
        self._max_forwards = -2

    @staticmethod
    def create(method: str, request_uri: str, headers: Iterable[tuple[str, str]], body: bytes = b"") -> Request:
        """A new request; Content-Length is added."""
        request: Request = Request()
        request.method = method
        _raw(request_uri)
        request._request_uri = request_uri
        request._lines = [new_line(name, value) for name, value in headers]
        request.body = body
        return request

    @cython.ccall
    def copy(self) -> Request:
        """A request of its own; edits do not touch this one."""
        other: Request = Request.__new__(Request)
        self._copy_to(other)
        other.method = self.method
        other._request_uri = self._request_uri
        other._uri = self._uri
        other._max_forwards = self._max_forwards
        return other

    def copy_without(self, keys: frozenset[str]) -> Request:
        """A copy that lacks these headers, given by their names in lower case (`canonical_name`)."""
        other: Request = self.copy()
        kept: list = []
        line: Line
        for line in other._lines:
            if line.key not in keys:
                kept.append(line)
        other._lines = kept
        other._forget(_REQUIRED | MAX_FORWARDS)
        return other

    @property
    def max_forwards(self) -> int:
        """The value of Max-Forwards, -1 without one: RFC 2543 phones do not send it."""
        return self.hops_left()

    @cython.cfunc
    def hops_left(self) -> cython.int:
        """`max_forwards`, for those that are compiled."""
        if self._max_forwards == -2:
            self._max_forwards = self._number(MAX_FORWARDS, MAX_MAX_FORWARDS)
        return self._max_forwards

    @cython.cfunc
    def allow_hops(self, number: cython.int) -> cython.void:
        """Write Max-Forwards, at most 255, where it stands; below all headers when there is none."""
        value: bytes = _NUMBERS[number]
        place: cython.Py_ssize_t = self._place_of(MAX_FORWARDS)
        if place >= 0:
            self._lines[place] = _with_value(self._lines[place], value)
        else:
            self._lines.append(new_line("Max-Forwards", value.decode()))
            self._bits |= MAX_FORWARDS
        self._max_forwards = number

    @cython.cfunc
    def _forget(self, bits: cython.int) -> cython.void:
        Message._forget(self, bits)
        if bits & MAX_FORWARDS:
            self._max_forwards = -2

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

    def note_source(self, host: str, port: int) -> None:
        """Write where the request came from into its top Via: `received` (s.18.2.1), `rport` when asked (RFC 3581 s.4).

        What a sender wrote there itself is overwritten. For requests that have just been parsed: nobody else has seen the
        Via yet, so it is changed in place.
        """
        self._read_top_via()
        via: Via = self._top_via
        parameters: dict = via.parameters
        wants_port = "rport" in parameters
        if not wants_port and via.host == host and "received" not in parameters:
            return
        line: Line = self._lines[self._find("via")]
        comma: cython.Py_ssize_t = find_comma(line.data, line.value_start, line.value_end)
        value: bytes = line.data[line.value_start : trim_end(line.data, line.value_start, comma)]
        if "received" not in parameters and wants_port and parameters["rport"] is None:
            head, rport, tail = value.partition(b";rport")
            if rport and tail[:1] in (b"", b";"):
                parameters["received"] = host
                parameters["rport"] = str(port)
                value = b"%b;rport=%d%b;received=%b" % (head, port, tail, host.encode())
                self._lines[self._find("via")] = _with_value(line, value + line.data[comma : line.value_end])
                return
        parameters["received"] = host
        if wants_port:
            parameters["rport"] = str(port)
        self._lines[self._find("via")] = _with_value(line, str(via).encode() + line.data[comma : line.value_end])

    @property
    def uri(self) -> SipUri:
        """The Request-URI, read. MalformedMessage: 416 for a scheme that is not sip or sips, 400 for a broken one."""
        if self._uri is None:
            try:
                uri = SipUri.read(self._request_uri)
                if uri.headers:
                    raise MalformedMessage("Headers in Request-URI")  # s.19.1.1
            except MalformedMessage as error:
                error.request = _answerable(self)
                raise
            self._uri = uri
        return self._uri

    @cython.cfunc
    def _start_line(self) -> bytes:
        return _raw(f"{self.method} {self._request_uri} SIP/2.0") + b"\r\n"


@cython.cclass
class Response(Message):
    """A response. Made by `parse`, `create` or `for_request`."""

    _status: cython.int
    _reason: str

    def __init__(self) -> None:
        self._reset()
        self._status = 0
        self._reason = ""

    @staticmethod
    def create(status: int, reason: str | None, headers: Iterable[tuple[str, str]], body: bytes = b"") -> Response:
        """A new response, without `reason` with the usual phrase; Content-Length is added."""
        response: Response = Response()
        response._status = status
        response._reason = reason_phrase(status) if reason is None else reason
        _raw(response._reason)
        response._lines = [new_line(name, value) for name, value in headers]
        response.body = body
        return response

    @staticmethod
    @cython.cfunc
    def trying(request: Request) -> Response:
        """The 100 to a request (s.8.2.6.1)."""
        response: Response = _answer(100, "Trying")
        line: Line
        for line in request._lines:
            if line.bit & (_REQUIRED | TIMESTAMP):
                response._lines.append(line)
        response._lines.append(_NO_BODY)
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
        response: Response = _answer(status, reason_phrase(status) if reason is None else reason)
        _raw(response._reason)
        lines: list = response._lines
        line: Line
        for line in request._lines:
            if line.bit & TO and status != 100 and not _has_tag(line):
                tag = hex_word(16) if to_tag is None else to_tag
                to_value: bytes = line.data[line.value_start : line.value_end]
                lines.append(_with_value(line, to_value + b";tag=" + _raw(tag)))
            elif (
                line.bit & _REQUIRED
                or (copy_record_route and line.bit & RECORD_ROUTE)
                or (status == 100 and line.bit & TIMESTAMP)  # s.8.2.6.1
            ):
                lines.append(line)
        for name, value in headers:
            lines.append(new_line(name, value))
        if body:
            response.body = body
        else:
            lines.append(_NO_BODY)
        return response

    @cython.ccall
    def copy(self) -> Response:
        """A response of its own; edits do not touch this one."""
        other: Response = Response.__new__(Response)
        self._copy_to(other)
        other._status = self._status
        other._reason = self._reason
        return other

    @property
    def status(self) -> int:
        return self._status

    @status.setter
    def status(self, status: int) -> None:
        self._status = status
        self._start_end = -1

    @property
    def reason(self) -> str:
        return self._reason

    @reason.setter
    def reason(self, reason: str) -> None:
        _raw(reason)
        self._reason = reason
        self._start_end = -1

    @property
    def is_provisional(self) -> bool:
        return self._status < 200

    @property
    def is_final(self) -> bool:
        return self._status >= 200

    @cython.cfunc
    def _start_line(self) -> bytes:
        return _raw(f"SIP/2.0 {self._status} {self._reason}") + b"\r\n"


@cython.cfunc
def _answer(status: cython.int, reason: str) -> Response:
    """Nothing but a status line so far."""
    response: Response = Response.__new__(Response)
    response._reset()
    response._status = status
    response._reason = reason
    return response


@cython.cfunc
def _has_tag(line: Line) -> cython.bint:
    """Does To have a tag? A To that cannot be read counts as having one: it is copied as it is."""
    try:
        return _tag_of(line) != ""
    except MalformedMessage:
        return True


@cython.cfunc
def _answerable(request: Request) -> object:
    """The request if a response to it can be made and may be sent, otherwise None."""
    present: cython.int = 0
    line: Line
    for line in request._lines:
        present |= line.bit
    if request.method == "" or request.method == "ACK" or present & _REQUIRED != _REQUIRED:
        return None
    try:
        request._read_top_via()
    except MalformedMessage:
        return None
    return request


def parse(data: bytes) -> Request | Response:
    """Read one message. Raises MalformedMessage and nothing else.

    What follows the body in a datagram is ignored (s.18.3). Without Content-Length the body reaches to the end.
    """
    if len(data) > MAX_MESSAGE:
        raise MalformedMessage("Message Too Large", status_hint=513)
    start: cython.Py_ssize_t = 0
    size: cython.Py_ssize_t = len(data)
    while start + 1 < size and data[start] == 0x0D and data[start + 1] == 0x0A:  # s.7.5: empty lines before it
        start += 2
    start_end: cython.Py_ssize_t = find_line_end(data, start, size)
    if start_end < 0:
        raise MalformedMessage("Not a SIP message")
    message: Message
    if says_sip_2(data, start, min(start + 7, start_end)) or data[start : start + 4] == b"SIP/":
        response: Response = Response()
        message = response
        error = _read_status_line(response, data, start, start_end)
    else:
        request: Request = Request()
        message = request
        error = _read_request_line(request, data, start, start_end)
    message.data = data
    message._start = start
    message._start_end = start_end + 2
    try:
        _read_headers(message, start_end + 2, size)
        if error is None:
            _check(message)
    except MalformedMessage as in_headers:
        error = error or in_headers
    if error is not None:
        if isinstance(message, Request):
            error.request = _answerable(message)
        raise error
    return message


@cython.cfunc
def _read_request_line(
    request: Request, data: bytes, start: cython.Py_ssize_t, end: cython.Py_ssize_t
) -> object:  # MalformedMessage or None
    """s.7.1: Method SP Request-URI SP SIP-Version, single blanks between and none elsewhere."""
    method_end: cython.Py_ssize_t = find_blank(data, start, end)
    uri_end: cython.Py_ssize_t = find_blank(data, min(method_end + 1, end), end)
    request.method = method_of(data, start, method_end)
    if request.method == "" or uri_end == end or data[method_end] != 0x20 or data[uri_end] != 0x20:
        return _malformed_request_line(request, data[start:end])
    request._request_uri = text_of(data, method_end + 1, uri_end)
    if not says_sip_2(data, uri_end + 1, end):
        return _malformed_request_line(request, data[start:end])
    scheme_end: cython.Py_ssize_t = skip_octets(data, method_end + 1, uri_end, TOKEN_OCTETS)
    if scheme_end == method_end + 1 or scheme_end == uri_end or data[scheme_end] != 0x3A:
        return MalformedMessage("Malformed Request-URI")
    return None


def _malformed_request_line(request: Request, line: bytes) -> MalformedMessage:
    """What is wrong with it; a line without a SIP version at its end is not for us to answer."""
    version = re.search(rb" SIP/([0-9]+\.[0-9]+)[ \t]*$", line, re.IGNORECASE)
    if version is None:
        request.method = ""
        return MalformedMessage("Not a SIP message")
    if version[1] != b"2.0":
        return MalformedMessage("Version Not Supported", status_hint=505)
    return MalformedMessage("Malformed request line")


@cython.cfunc
def _read_status_line(
    response: Response, data: bytes, start: cython.Py_ssize_t, end: cython.Py_ssize_t
) -> object:  # MalformedMessage or None
    """s.7.2: SIP-Version SP Status-Code SP Reason-Phrase."""
    if not says_sip_2(data, start, min(start + 7, end)) or data[start + 7] != 0x20:
        return MalformedMessage("Version Not Supported", status_hint=505)
    status_end: cython.Py_ssize_t = min(start + 11, end)
    status: cython.longlong = scan_number(data, start + 8, status_end, 699)
    if status < 100 or status_end - start != 11 or (status_end < end and data[status_end] != 0x20):
        return MalformedMessage("Malformed status line")
    reason: bytes = data[min(status_end + 1, end) : end]
    if b"\r" in reason or b"\n" in reason:
        return MalformedMessage("Malformed status line")
    response._status = status
    response._reason = reason.decode("utf-8", "surrogateescape")
    return None


@cython.cfunc
def _read_headers(message: Message, position: cython.Py_ssize_t, size: cython.Py_ssize_t) -> cython.void:
    """Fill the lines and the body. The first thing wrong is raised after all that can be read has been read."""
    data: bytes = message.data
    error = None
    seen: cython.int = 0
    line: Line
    while not (position + 1 < size and data[position] == 0x0D and data[position + 1] == 0x0A):
        line = scan_line(data, position, size)
        if line.end < 0:
            raise error or MalformedMessage("Headers without end")
        if line.end - position > _LINE_LIMIT or len(message._lines) >= _LINES_LIMIT:
            raise error or MalformedMessage("Headers too large")
        if line.key == "":
            error = error or MalformedMessage("Malformed header line")
        else:
            if line.bit & seen & _UNIQUE:
                error = error or _malformed(line, "Repeated")
            seen |= line.bit
            message._lines.append(line)
        position = line.end
    message._bits = seen
    message._body = None
    message._body_start = position + 2
    message._body_end = size
    if error is not None:
        raise error


@cython.cfunc
def _check(message: Message) -> cython.void:
    """Read what `parse` promises."""
    message._read_top_via()
    message._read_from_tag()
    message._read_to_tag()
    message._read_call_id()
    message._read_cseq()
    if isinstance(message, Request):
        request: Request = message
        if request._cseq_method != request.method:
            raise MalformedMessage("CSeq method does not match", header="CSeq")
        request.hops_left()
    length: cython.longlong = message._number(CONTENT_LENGTH, MAX_MESSAGE)
    if length > message._body_end - message._body_start:
        raise MalformedMessage("Body shorter than Content-Length", header="Content-Length")
    if length >= 0:
        message._body_end = message._body_start + length
