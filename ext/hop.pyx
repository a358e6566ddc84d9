"""What one hop writes into a message on its way: its Via, where the message came from, a hop less, and answers of its own
(RFC 3261 sections 8.2.6, 16.6, 18.2.1; RFC 3581).

Not ordinary Python for the reason that `lines.pyx` gives: each of these is a few copies of octets.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.string cimport memcmp, memcpy

from sbc.sip.errors import MalformedMessage
from sbc.sip.headers import Via
from sbc.sip.unguessable import hex_word

from sbc.sip.head cimport Head
from sbc.sip.lines cimport OwnLine, first_place, new_line, raw
from sbc.sip.scanner cimport MAX_FORWARDS, TO, VIA, Line, Octets, comma_at, text_at

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(str text, Py_ssize_t *size) except NULL

cdef enum:
    SEMICOLON = 0x3B
    EQUALS = 0x3D

cdef list _MAX_FORWARDS_LINES = [new_line("Max-Forwards", str(number)) for number in range(256)]


cdef inline void _move(int *position, int line_start, int behind, int more) noexcept nogil:
    position[0] += more - line_start if position[0] >= behind else -line_start


cdef int _number_into(char *target, unsigned int port) noexcept nogil:
    """`=` and a port in decimal. Returns how many octets that are, at most six."""
    cdef unsigned int unit = 10000
    cdef int length = 1
    target[0] = EQUALS
    while unit > 1 and port < unit:
        unit //= 10
    while unit > 0:
        target[length] = <char>(0x30 + port // unit % 10)
        length += 1
        unit //= 10
    return length


cdef bytes _tag_parameter(str tag):
    """`;tag=` and a tag of ours."""
    cdef bytes octets = raw(tag)
    cdef bytes parameter = PyBytes_FromStringAndSize(NULL, 5 + PyBytes_GET_SIZE(octets))
    memcpy(PyBytes_AS_STRING(parameter), <const char *>b";tag=", 5)
    memcpy(PyBytes_AS_STRING(parameter) + 5, PyBytes_AS_STRING(octets), PyBytes_GET_SIZE(octets))
    return parameter


cdef inline unsigned char *_copied(unsigned char *position, bytes octets) noexcept:
    """Copy them to there; where they end."""
    memcpy(position, PyBytes_AS_STRING(octets), PyBytes_GET_SIZE(octets))
    return position + PyBytes_GET_SIZE(octets)


@cython.no_gc
cdef class Hop(Head):
    """A message that can be sent on, or answered."""

    cpdef object allow_hops(self, int number):
        """Write Max-Forwards, at most 255, where it stands; below all headers when there is none."""
        cdef OwnLine own = _MAX_FORWARDS_LINES[number]
        cdef bytes value
        cdef Line *line
        cdef int place = first_place(self, MAX_FORWARDS)
        if place < 0:
            self.append_line(own)
        else:
            line = &self._lines[place]
            if line.value_start - line.start == 14 and memcmp(
                PyBytes_AS_STRING(<object>line.data) + line.start, <const char *>b"Max-Forwards: ", 14
            ) == 0:
                # Spelled as we do, like almost all: one line of ours serves them all.
                if line.data == <void *>self.data:
                    self._foreign += 1
                else:
                    Py_DECREF(<object>line.data)
                self._put_own(line, own)
            else:
                value = b"%d" % number
                self._put_value(place, value, PyBytes_GET_SIZE(value), NULL, 0)
        self._max_forwards = number
        self._fresh |= MAX_FORWARDS

    cpdef object put_via(self, bytes via_start, str branch):
        """Our Via on top; `via_start` is the line up to its branch: `Via: SIP/2.0/UDP host:port;rport;branch=`."""
        cdef Py_ssize_t length, head = PyBytes_GET_SIZE(via_start)
        cdef const char *octets = PyUnicode_AsUTF8AndSize(branch, &length)
        cdef bytes data = PyBytes_FromStringAndSize(NULL, head + length + 2)
        cdef char *target = PyBytes_AS_STRING(data)
        cdef int place = first_place(self, VIA)
        cdef Line *line = self._insert(0 if place < 0 else place, VIA)
        memcpy(target, PyBytes_AS_STRING(via_start), head)
        memcpy(target + head, octets, length)
        memcpy(target + head + length, <const char *>b"\r\n", 2)
        Py_INCREF(data)
        line.data = <void *>data
        line.start = 0
        line.name_end = 3
        line.value_start = 5
        line.value_end = <int>(head + length)
        line.end = line.value_end + 2
        line.bit = VIA

    cpdef object note_source(self, str host, int port):
        """Write where a request came from into its top Via: `received` (s.18.2.1), `rport` when asked (RFC 3581 s.4).

        What a sender wrote there itself is overwritten.
        """
        cdef Py_ssize_t length
        cdef const char *source
        cdef Octets octets
        self.read_via()
        octets = self.via_octets
        if self.via.rport_start < 0 and not self.via.has_received:
            source = PyUnicode_AsUTF8AndSize(host, &length)
            if self.via.host_end - self.via.host_start == length and (
                memcmp(octets + self.via.host_start, source, length) == 0
            ):
                return
        if (
            self.via.rport_start >= 0
            and not self.via.rport_filled
            and not self.via.has_received
            and memcmp(octets + self.via.rport_start - 1, <const char *>b";rport", 6) == 0
            and (self.via.rport_end == self.via.end or octets[self.via.rport_end] == SEMICOLON)
        ):
            self._fill_rport(host, port)
        else:
            self._rewrite_via(host, port)

    cdef int _fill_rport(self, str host, int port) except -1:
        """The usual case: a value for the empty rport, `received` at the end, all else as it stands."""
        cdef char filled[8]
        cdef Py_ssize_t host_length
        cdef const char *host_octets = PyUnicode_AsUTF8AndSize(host, &host_length)
        cdef Py_ssize_t filled_length = _number_into(filled, port)
        cdef Py_ssize_t received_length = 10 + host_length
        cdef int place = first_place(self, VIA)
        cdef Line *line = &self._lines[place]
        cdef int line_start = line.start
        cdef Octets octets = self.via_octets
        cdef Py_ssize_t comma = comma_at(octets, line.value_start, line.value_end)
        cdef Py_ssize_t head = self.via.rport_end - line_start
        cdef Py_ssize_t tail = self.via.end - self.via.rport_end
        cdef Py_ssize_t more = line.value_end - comma
        cdef bytes data = PyBytes_FromStringAndSize(NULL, head + filled_length + tail + received_length + more + 2)
        cdef char *target = PyBytes_AS_STRING(data)
        memcpy(target, octets + line_start, head)
        target += head
        memcpy(target, filled, filled_length)
        target += filled_length
        memcpy(target, octets + self.via.rport_end, tail)
        target += tail
        memcpy(target, <const char *>b";received=", 10)
        memcpy(target + 10, host_octets, host_length)
        target += received_length
        memcpy(target, octets + comma, more)
        memcpy(target + more, <const char *>b"\r\n", 2)
        self._put_data(place, data)
        # Where the parts stand now is known without looking again.
        self._move_via(line_start, self.via.rport_end, <int>filled_length)
        self.via.end += <int>received_length
        self.via.rport_filled = True
        self.via.has_received = True
        self.via_octets = <Octets>PyBytes_AS_STRING(data)
        self._top_via = None
        self._fresh |= VIA
        return 0

    cdef void _move_via(self, int line_start, int behind, int more) noexcept:
        """The line begins at 0 now and not at `line_start`, and what stood at or after `behind` has moved on by `more`."""
        _move(&self.via.start, line_start, behind, more)
        _move(&self.via.transport_start, line_start, behind, more)
        _move(&self.via.transport_end, line_start, behind, more)
        _move(&self.via.host_start, line_start, behind, more)
        _move(&self.via.host_end, line_start, behind, more)
        _move(&self.via.parameters_start, line_start, behind, more)
        _move(&self.via.branch_start, line_start, behind, more)
        _move(&self.via.branch_end, line_start, behind, more)
        _move(&self.via.rport_start, line_start, behind, more)
        _move(&self.via.rport_end, line_start, behind, more)
        _move(&self.via.end, line_start, behind, more)

    cdef int _rewrite_via(self, str host, int port) except -1:
        """Whatever the sender has done: its parameters anew."""
        cdef str value = text_at(self.via_octets, self.via.start, self.via.end)
        via = Via.parse(value)
        changes = {"received": host}
        if via.wants_rport:
            changes["rport"] = str(port)
        self.set_first_value(first_place(self, VIA), str(via.with_parameters(**changes)).encode("utf-8", "surrogateescape"))
        return 0

    cpdef bytes answer_bytes(self, bytes status_line, int bits, str to_tag, bytes rest):
        """The answer to this request for the wire, in one pass, for who has its parts ready.

        Behind the status line its lines of these headers, byte for byte; `rest` is further lines and the end of the head. A
        To without tag gets `to_tag`, a token, unless that is None.
        """
        cdef const char *tag = NULL
        cdef bytes written
        cdef unsigned char *position
        cdef Py_ssize_t tag_length = 0
        cdef Py_ssize_t size, part
        cdef Line *line
        cdef Line *behind = self._lines + self._count
        if to_tag is not None and not self.has_to_tag():
            tag = PyUnicode_AsUTF8AndSize(to_tag, &tag_length)
        size = PyBytes_GET_SIZE(status_line) + PyBytes_GET_SIZE(rest)
        line = self._lines
        while line < behind:
            if line.bit & bits:
                if line.bit == TO and tag != NULL:
                    size += line.value_end - line.start + 5 + tag_length + 2  # ;tag= and the end of the line
                else:
                    size += line.end - line.start
            line += 1
        written = PyBytes_FromStringAndSize(NULL, size)
        position = <unsigned char *>PyBytes_AS_STRING(written)
        position = _copied(position, status_line)
        line = self._lines
        while line < behind:
            if line.bit & bits:
                part = (line.value_end if line.bit == TO and tag != NULL else line.end) - line.start
                memcpy(position, PyBytes_AS_STRING(<object>line.data) + line.start, part)
                position += part
                if line.bit == TO and tag != NULL:
                    memcpy(position, b";tag=", 5)
                    memcpy(position + 5, tag, tag_length)
                    memcpy(position + 5 + tag_length, b"\r\n", 2)
                    position += 5 + tag_length + 2
            line += 1
        _copied(position, rest)
        return written

    cpdef object answer(self, Head request, int status, str reason, str to_tag, int bits):
        """Be the response to a request (s.8.2.6.2): its lines of these headers, byte for byte, behind a status line.

        A To without tag gets `to_tag`, or a random one, in every response but 100. There is no Content-Length yet.
        """
        cdef int place
        cdef bytes tag
        cdef Line *line
        self.set_status(status, reason)
        self.take_lines(request, bits)
        if status == 100:
            return
        try:
            request.read_to_tag()
        except MalformedMessage:
            return  # copied as it is
        if request._to_tag.start == request._to_tag.end:
            tag = _tag_parameter(hex_word(16) if to_tag is None else to_tag)
            place = first_place(self, TO)
            line = &self._lines[place]
            self._put_value(
                place,
                <Octets>PyBytes_AS_STRING(<object>line.data) + line.value_start,
                line.value_end - line.value_start,
                tag,
                PyBytes_GET_SIZE(tag),
            )
