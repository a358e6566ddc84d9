"""SIP messages over the bytes they came in: RFC 3261 sections 7, 8.1.1, 8.2.6, 20.

A header line is a piece of the received datagram until someone asks for its value. An edit replaces, inserts or drops
whole lines (or, for Via and Route, one value of a comma list), and `to_bytes` copies what stands between the edits. So
unknown headers, their order, folding and spelling survive byte for byte. All that is in `ext/lines.pyx`,
`ext/head.pyx` and `ext/hop.pyx`; this module is what it looks like to the rest of us. What comes again and again, octet for
octet, need not be parsed at all: `ext/stencil.pyx`.

What `parse` promises of the message it returns: the start line is well-formed, every header line has a name, From, To,
Call-ID, CSeq and the top Via are there and can be read, the CSeq method is the method, Max-Forwards and Content-Length
are numbers in their range, and the body is as long as Content-Length says. Everything else is read, and refused, when
asked for.

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1.
"""

from __future__ import annotations

from collections.abc import Iterable

import cython

from sbc.sip.errors import MalformedMessage
from sbc.sip.limits import MAX_MESSAGE

if cython.compiled:
    from cython.cimports.sbc.sip.head import is_response, start_of
    from cython.cimports.sbc.sip.headers import NameAddr, Via
    from cython.cimports.sbc.sip.hop import Hop
    from cython.cimports.sbc.sip.lines import Name, OwnLine, name_of, new_line, raw
    from cython.cimports.sbc.sip.scanner import (
        CALL_ID,
        CSEQ,
        FROM,
        RECORD_ROUTE,
        TIMESTAMP,
        TO,
        VIA,
    )
    from cython.cimports.sbc.sip.uri import SipUri, read_uri
else:
    from sbc.sip.head import is_response, start_of
    from sbc.sip.headers import NameAddr, Via
    from sbc.sip.hop import Hop
    from sbc.sip.lines import Name, OwnLine, name_of, new_line, raw
    from sbc.sip.scanner import (
        CALL_ID,
        CSEQ,
        FROM,
        RECORD_ROUTE,
        TIMESTAMP,
        TO,
        VIA,
    )
    from sbc.sip.uri import SipUri, read_uri

# True in the compiled module, False when it runs from source.
COMPILED = bool(cython.compiled)

# s.8.2.6.2: what a response copies from its request.
_COPIED = cython.declare(cython.int, VIA | FROM | TO | CALL_ID | CSEQ)
_LARGEST = cython.declare(cython.Py_ssize_t, MAX_MESSAGE)
_NO_BODY = cython.declare(OwnLine, new_line("Content-Length", "0"))
_NOTHING_MORE = cython.declare(bytes, b"Content-Length: 0\r\n\r\n")


@cython.cclass
class Message(Hop):
    """What requests and responses have in common. Header names are case-insensitive, compact forms are the same header.

    `data` is the message as received, None for one that we made. Values are text; bytes that are not UTF-8 survive as
    surrogate escapes. A line break in a value or name that is to be written is a LocalError.
    """

    # The values that everyone asks for. `parse` has read them, so they raise only after an edit that broke them.

    @property
    def call_id(self) -> str:
        return self.call_id_text()

    @property
    def cseq(self) -> int:
        return self.cseq_number()

    @property
    def cseq_method(self) -> str:
        return self.cseq_method_text()

    @property
    def from_tag(self) -> str:
        """The tag of From, "" when there is none."""
        return self.from_tag_text()

    @property
    def to_tag(self) -> str:
        """The tag of To, "" when there is none."""
        return self.to_tag_text()

    @property
    def from_(self) -> NameAddr:
        return self.read_from()

    @property
    def to(self) -> NameAddr:
        return self.read_to()

    @property
    def top_via(self) -> Via:
        return self.read_top_via()

    @cython.ccall
    def read_from(self) -> NameAddr:
        """`from_`, for those that are compiled; likewise the next two."""
        self.from_tag_text()  # which forgets what is no longer true
        if self._from is None:
            self._from = NameAddr.parse(self.value_of(FROM), "From")
        return self._from

    @cython.ccall
    def read_to(self) -> NameAddr:
        self.to_tag_text()
        if self._to is None:
            self._to = NameAddr.parse(self.value_of(TO), "To")
        return self._to

    @cython.ccall
    def read_top_via(self) -> Via:
        self.read_via()
        if self._top_via is None:
            self._top_via = Via.parse(self.first_of(VIA))
        return self._top_via

    # Reading headers

    @cython.ccall
    def get(self, name: str) -> object:  # str | None
        """The first value, None without such a header. Of a comma list the first element."""
        wanted: Name = name_of(name)
        place: cython.int = self.find(wanted)
        if place < 0:
            return None
        return self.first_value_at(place) if wanted.is_list else self.value_at(place)

    @cython.ccall
    def get_all(self, name: str) -> list:  # list[str]
        """All values in order; where the grammar is a list, commas split it and empty elements are left out."""
        return self.values_of(name_of(name))

    def has(self, name: str) -> bool:
        return self.find(name_of(name)) >= 0

    def items(self) -> list[tuple[str, str]]:
        """(name as spelled, value) of every line in order."""
        return [(self.name_at(place), self.value_at(place)) for place in range(self.line_count())]

    # Editing headers

    @cython.ccall
    def set(self, name: str, value: str):
        """Replace the first line of that name where it stands and drop its other lines; append when there is none."""
        line: OwnLine = new_line(name, value)
        self.insert(self.drop_named(name_of(name)), line)

    def set_all(self, name: str, values: Iterable[str]) -> None:
        """Replace the lines of that name by one line per value, where the first stood; append when there was none."""
        lines = [new_line(name, value) for value in values]
        place = self.drop_named(name_of(name))
        for line in reversed(lines):
            self.insert(place, line)

    @cython.ccall
    def prepend(self, name: str, value: str):
        """Insert a line above the first line of that name, or below the Vias where there is none.

        The Vias stay on top: an ICMP error quotes only the start of a datagram, and the branch must be in it.
        """
        self.put_above(name_of(name), new_line(name, value))

    @cython.ccall
    def append(self, name: str, value: str):
        """Insert a line below all headers."""
        self.append_line(new_line(name, value))

    @cython.ccall
    def remove(self, name: str):
        """Drop all lines of that name."""
        self.drop_named(name_of(name))

    def pop_first(self, name: str) -> str | None:
        """Take the first value of a comma list away and return it; None without such a header.

        The line goes with its last value; otherwise what remains of it stays byte for byte.
        """
        place = self.find(name_of(name))
        if place < 0:
            return None
        value = self.first_value_at(place)
        self.drop_first_value(place)
        return value

    def replace_first(self, name: str, value: str) -> None:
        """Put `value` in the place of the first value of a comma list; append when there is no such header."""
        place = self.find(name_of(name))
        if place < 0:
            self.append(name, value)
        else:
            self.set_first_value(place, raw(value))

    # The whole

    @property
    def body(self) -> bytes:
        """The body. Setting it corrects Content-Length; Content-Type is the caller's."""
        return self.get_body()

    @body.setter
    def body(self, body: bytes) -> None:
        self.set_body(body)

    def __repr__(self) -> str:
        return f"<{self.first_line()}>"


@cython.cclass
class Request(Message):
    """A request. Made by `parse` or `create`."""

    @staticmethod
    def create(method: str, request_uri: str, headers: Iterable[tuple[str, str]], body: bytes = b"") -> Request:
        """A new request; Content-Length is added."""
        request: Request = Request.__new__(Request)
        request.set_method(method)
        request.set_request_uri(request_uri)
        for name, value in headers:
            request.append_line(new_line(name, value))
        request.set_body(body)
        return request

    @cython.ccall
    def copy(self) -> Request:
        """A request of its own; edits do not touch this one."""
        other: Request = Request.__new__(Request)
        self.copy_head_to(other)
        return other

    def copy_without(self, keys: frozenset[str]) -> Request:
        """A copy that lacks these headers, given by their names in lower case (`canonical_name`)."""
        other: Request = self.copy()
        for key in keys:
            other.drop_named(name_of(key))
        return other

    @property
    def max_forwards(self) -> int:
        """The value of Max-Forwards, -1 without one: RFC 2543 phones do not send it."""
        return self.hops_left()

    @property
    def request_uri(self) -> str:
        """The Request-URI as spelled."""
        return self.request_uri_text()

    @request_uri.setter
    def request_uri(self, request_uri: str) -> None:
        self.set_request_uri(request_uri)

    @property
    def uri(self) -> SipUri:
        """The Request-URI, read. MalformedMessage: 416 for a scheme that is not sip or sips, 400 for a broken one."""
        return self.read_uri()

    @cython.ccall
    def read_uri(self) -> SipUri:
        """`uri`, for those that are compiled."""
        if self._uri_object is None:
            try:
                uri: SipUri = read_uri(self.request_uri_text())
                if uri.headers:
                    raise MalformedMessage("Headers in Request-URI")  # s.19.1.1
            except MalformedMessage as error:
                error.request = self if self.answerable() else None
                raise
            self._uri_object = uri
        return self._uri_object


@cython.cclass
class Response(Message):
    """A response. Made by `parse`, `create` or `for_request`."""

    @staticmethod
    def create(status: int, reason: str | None, headers: Iterable[tuple[str, str]], body: bytes = b"") -> Response:
        """A new response, without `reason` with the usual phrase; Content-Length is added."""
        response: Response = Response.__new__(Response)
        response.set_status(status, reason)
        for name, value in headers:
            response.append_line(new_line(name, value))
        response.set_body(body)
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
        response: Response = Response.__new__(Response)
        copied: cython.int = _COPIED
        if copy_record_route:
            copied |= RECORD_ROUTE
        if status == 100:
            copied |= TIMESTAMP  # s.8.2.6.1
        response.answer(request, status, reason, to_tag, copied)
        for name, value in headers:
            response.append_line(new_line(name, value))
        if body:
            response.set_body(body)
        else:
            response.append_line(_NO_BODY)
        return response

    @cython.ccall
    def copy(self) -> Response:
        """A response of its own; edits do not touch this one."""
        other: Response = Response.__new__(Response)
        self.copy_head_to(other)
        return other

    @property
    def status(self) -> int:
        return self._status

    @status.setter
    def status(self, status: int) -> None:
        self.set_status(status, self.reason_text())

    @property
    def reason(self) -> str:
        return self.reason_text()

    @reason.setter
    def reason(self, reason: str) -> None:
        self.set_status(self._status, reason)

    @property
    def is_provisional(self) -> bool:
        return self._status < 200

    @property
    def is_final(self) -> bool:
        return self._status >= 200


@cython.ccall
def parse(data: bytes) -> Message:  # Request | Response
    """Read one message. Raises MalformedMessage and nothing else.

    What follows the body in a datagram is ignored (s.18.3). Without Content-Length the body reaches to the end.
    """
    if len(data) > _LARGEST:
        raise MalformedMessage("Message Too Large", status_hint=513)
    start: cython.Py_ssize_t = start_of(data)
    message: Message
    if is_response(data, start):
        message = Response.__new__(Response)
        fault = message.read(data, start, False)
    else:
        message = Request.__new__(Request)
        fault = message.read(data, start, True)
        if fault is not None and message.answerable():
            fault.request = message
    if fault is not None:
        raise fault
    return message


@cython.ccall
def trying_to(request: Request) -> bytes:
    """The 100 to a request (s.8.2.6.1), for the wire."""
    return request.answer_bytes(b"SIP/2.0 100 Trying\r\n", _COPIED | TIMESTAMP, None, _NOTHING_MORE)


@cython.ccall
def ok_to(request: Request, to_tag: str, rest: bytes) -> bytes:
    """A 200 for the wire. `rest` is further header lines, an empty line, and the body if there is one."""
    return request.answer_bytes(b"SIP/2.0 200 OK\r\n", _COPIED, to_tag, rest)
