"""What everyone asks of a message: start line, top Via, tags, Call-ID, CSeq, Max-Forwards (RFC 3261 sections 7, 8.1.1, 20).

Not ordinary Python for the reason that `lines.pyx` gives: what is asked of each message is found as offsets, checked
where it stands, and becomes text only for those who want text. What `parse` promises is checked here.
"""

import re

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memchr, memcmp, memcpy

from sbc.sip.errors import MalformedMessage
from sbc.sip.headers import Via
from sbc.sip.limits import MAX_CSEQ, MAX_MAX_FORWARDS, MAX_MESSAGE
from sbc.sip.status import reason_phrase

from sbc.sip.lines cimport first_place, malformed, raw, required_place
from sbc.sip.remembered cimport Remembered
from sbc.sip.scanner cimport (
    ACK,
    CALL_ID,
    CONTENT_LENGTH,
    CSEQ,
    FROM,
    MAX_FORWARDS,
    METHODS,
    OTHER,
    ROUTE,
    TO,
    VIA,
    Line,
    blank_at,
    comma_at,
    crlf_at,
    is_sip_2,
    is_token,
    method_at,
    number_at,
    same_letters,
    tag_at,
    text_at,
    trimmed_end,
    via_at,
    whitespace_end,
)

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(str text, Py_ssize_t *size) except NULL
    # The hash of bytes objects, keyed anew in every process.
    Py_hash_t _Py_HashBytes(const void *octets, Py_ssize_t length) nogil

cdef enum:
    LONG_PIECE = 256
    JOINED = 1400      # five such pieces with their lengths, and a number

cdef enum:
    LF = 0x0A
    CR = 0x0D
    SPACE = 0x20
    COLON = 0x3A

# s.8.1.1: without these there is no message. (Max-Forwards is one of them too, but RFC 2543 phones do not send it.)
cdef enum:
    REQUIRED = VIA | FROM | TO | CALL_ID | CSEQ

cdef long long _MOST_CSEQ = MAX_CSEQ
cdef int _MOST_HOPS = MAX_MAX_FORWARDS
cdef int _LARGEST = MAX_MESSAGE

cdef list _STATUS_LINES = [None] * 700
cdef dict _METHOD_CODES = {name: code for code, name in enumerate(METHODS) if code}


cpdef Py_ssize_t start_of(bytes data):
    """Where the start line is: there may be empty lines before it (s.7.5)."""
    cdef Octets octets = <Octets>PyBytes_AS_STRING(data)
    cdef Py_ssize_t start = 0, size = PyBytes_GET_SIZE(data)
    while start + 1 < size and octets[start] == CR and octets[start + 1] == LF:
        start += 2
    return start


cpdef bint is_response(bytes data, Py_ssize_t start):
    """Does a status line begin at `start`? With another version than 2.0, only where SIP is written so (s.7.2)."""
    cdef Octets octets = <Octets>PyBytes_AS_STRING(data)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
    if start + 7 <= size and is_sip_2(octets, start, start + 7):
        return True
    return start + 4 <= size and memcmp(octets + start, <const char *>b"SIP/", 4) == 0


cdef inline str _text(Piece piece):
    return text_at(piece.octets, piece.start, piece.end)


cdef inline bytes _bytes(Piece piece):
    return piece.octets[piece.start:piece.end]


cdef int _scheme_at(Octets octets, Py_ssize_t start, Py_ssize_t end) noexcept nogil:
    if end - start >= 4:
        if octets[start + 3] == COLON:
            if same_letters(octets, start, b"sip", 3):
                return SIP_SCHEME
            if same_letters(octets, start, b"tel", 3):
                return TEL_SCHEME
            if same_letters(octets, start, b"urn", 3):
                return URN_SCHEME
        elif end - start > 4 and octets[start + 4] == COLON and same_letters(octets, start, b"sips", 4):
            return SIPS_SCHEME
    return OTHER_SCHEME


cdef Py_ssize_t _joined(unsigned char *joined, Py_ssize_t at, Piece *piece) noexcept nogil:
    """Put a piece with its length into the buffer, or its hash where it is very long. Returns what is behind it."""
    cdef int length = piece.end - piece.start
    cdef Py_hash_t hashed
    memcpy(joined + at, &length, sizeof(int))
    at += sizeof(int)
    if length > LONG_PIECE:
        hashed = _Py_HashBytes(piece.octets + piece.start, length)
        memcpy(joined + at, &hashed, sizeof(Py_hash_t))
        return at + sizeof(Py_hash_t)
    if length > 0:
        memcpy(joined + at, piece.octets + piece.start, length)
    return at + length


cdef inline long long _number_in(Line *line, long long limit) except -1:
    cdef long long number = number_at(
        <Octets>PyBytes_AS_STRING(<object>line.data), line.value_start, line.value_end, limit
    )
    if number < 0:
        raise malformed(line.bit)
    return number


@cython.no_gc  # nothing that a message holds ever points back at it
cdef class Head(Lines):
    """Of a request, or of a response, whose `method` is "" and `_status` is not 0.

    `method_code` is its number in scanner.pxd, OTHER for one without; `scheme` the Request-URI's, as far as we know it.
    """

    # -- reading ---------------------------------------------------------------------------------------------------------

    cpdef object read(self, bytes data, Py_ssize_t start, bint is_request):  # -> MalformedMessage | None
        """Find all parts of a received message. What is wrong first is returned when all that can be read has been read."""
        cdef object fault
        cdef object fault_in_headers
        cdef Py_ssize_t end = crlf_at(<Octets>PyBytes_AS_STRING(data), start, PyBytes_GET_SIZE(data))
        if end < 0:
            return MalformedMessage("Not a SIP message")
        self.data = data
        self.start_line = None
        self._start = <int>start
        self._start_end = <int>end + 2
        fault = self._read_request_line(start, end) if is_request else self._read_status_line(start, end)
        fault_in_headers = self.read_lines(end + 2)
        if fault is None:
            fault = fault_in_headers
        if fault is None:
            try:
                self._check(is_request)
            except MalformedMessage as in_value:
                fault = in_value
        return fault

    cdef object _read_request_line(self, Py_ssize_t start, Py_ssize_t end):  # -> MalformedMessage | None
        """s.7.1: Method SP Request-URI SP SIP-Version, single blanks between and none elsewhere."""
        cdef Octets octets = <Octets>PyBytes_AS_STRING(self.data)
        cdef Py_ssize_t method_end = blank_at(octets, start, end)
        cdef Py_ssize_t uri_start = min(method_end + 1, end)
        cdef Py_ssize_t uri_end = blank_at(octets, uri_start, end)
        cdef Octets colon
        cdef bint good = uri_end != end and octets[method_end] == SPACE and octets[uri_end] == SPACE
        self.method_code = method_at(octets, start, method_end)
        if self.method_code != OTHER:
            self.method = METHODS[self.method_code]
        elif is_token(octets, start, method_end):
            self.method = text_at(octets, start, method_end)
        else:
            self.method = ""
            good = False
        if not good:
            return self._malformed_request_line(self.data[start:end])
        self._uri.octets = octets
        self._uri.start = <int>uri_start
        self._uri.end = <int>uri_end
        if not is_sip_2(octets, uri_end + 1, end):
            return self._malformed_request_line(self.data[start:end])
        self.scheme = _scheme_at(octets, uri_start, uri_end)
        if self.scheme == OTHER_SCHEME:
            colon = <Octets>memchr(octets + uri_start, COLON, uri_end - uri_start)
            if colon == NULL or not is_token(octets, uri_start, colon - octets):
                return MalformedMessage("Malformed Request-URI")
        return None

    def _malformed_request_line(self, bytes line):
        """What is wrong with it; a line without a SIP version at its end is not for us to answer."""
        version = re.search(rb" SIP/([0-9]+\.[0-9]+)[ \t]*$", line, re.IGNORECASE)
        if version is None:
            self.method = ""
            return MalformedMessage("Not a SIP message")
        if version[1] != b"2.0":
            return MalformedMessage("Version Not Supported", status_hint=505)
        return MalformedMessage("Malformed request line")

    cdef object _read_status_line(self, Py_ssize_t start, Py_ssize_t end):  # -> MalformedMessage | None
        """s.7.2: SIP-Version SP Status-Code SP Reason-Phrase."""
        cdef Octets octets = <Octets>PyBytes_AS_STRING(self.data)
        cdef Py_ssize_t status_end = min(start + 11, end)
        cdef long long status
        if not is_sip_2(octets, start, min(start + 7, end)) or octets[start + 7] != SPACE:
            return MalformedMessage("Version Not Supported", status_hint=505)
        status = number_at(octets, start + 8, status_end, 699)
        if status < 100 or status_end - start != 11 or (status_end < end and octets[status_end] != SPACE):
            return MalformedMessage("Malformed status line")
        start = min(status_end + 1, end)
        if memchr(octets + start, CR, end - start) != NULL or memchr(octets + start, LF, end - start) != NULL:
            return MalformedMessage("Malformed status line")
        self._status = <int>status
        return None

    cdef int _check(self, bint is_request) except -1:
        """Read what `parse` promises. What is wrong is told in this order."""
        cdef int place
        cdef long long octets
        self._via_in(&self._lines[required_place(self, VIA)])
        self._tag_in(&self._lines[required_place(self, FROM)], &self._from_tag)
        self._tag_in(&self._lines[required_place(self, TO)], &self._to_tag)
        self._call_id_in(&self._lines[required_place(self, CALL_ID)])
        self._cseq_in(&self._lines[required_place(self, CSEQ)])
        self._fresh = REQUIRED
        if is_request:
            if self._cseq_code != self.method_code or (
                self._cseq_code == OTHER and self.cseq_method_text() != self.method
            ):
                raise MalformedMessage("CSeq method does not match", header="CSeq")
            place = first_place(self, MAX_FORWARDS)
            self._max_forwards = -1 if place < 0 else <int>_number_in(&self._lines[place], _MOST_HOPS)
            self._fresh |= MAX_FORWARDS
        place = first_place(self, CONTENT_LENGTH)
        if place >= 0:
            octets = _number_in(&self._lines[place], _LARGEST)
            if octets > self._body_end - self._body_start:
                raise MalformedMessage("Body shorter than Content-Length", header="Content-Length")
            self._body_end = self._body_start + <int>octets
        return 0

    cpdef bint answerable(self):
        """Of a request with a fault: can a response to it be made, and may it be sent?"""
        cdef int present = 0, place
        for place in range(self._count):
            present |= self._lines[place].bit
        if not self.method or self.method_code == ACK or present & REQUIRED != REQUIRED:
            return False
        try:
            self.read_via()
        except MalformedMessage:
            return False
        return True

    cpdef object copy_head_to(self, Head other):
        """Into a message that has nothing yet."""
        self.copy_lines_to(other)
        other._fresh = self._fresh
        other.method = self.method
        other.method_code = self.method_code
        other.scheme = self.scheme
        other._status = self._status
        other.via = self.via
        other.via_octets = self.via_octets
        other._cseq = self._cseq
        other._cseq_code = self._cseq_code
        other._max_forwards = self._max_forwards
        other._uri = self._uri
        other._call_id = self._call_id
        other._cseq_method = self._cseq_method
        other._from_tag = self._from_tag
        other._to_tag = self._to_tag
        # What was made of them is made again when it is asked for, which hardly ever happens.

    # Values are found when the message is parsed, and again after an edit. MalformedMessage when one is not there, or is not
    # what it should be.

    cpdef int read_via(self) except -1:
        """Make `via` and `via_octets` those of the top Via."""
        if not self._fresh & VIA:
            self._via_in(&self._lines[required_place(self, VIA)])
            self._branch = None
            self._top_via = None
            self._fresh |= VIA
        return 0

    cdef int read_call_id(self) except -1:
        if not self._fresh & CALL_ID:
            self._call_id_in(&self._lines[required_place(self, CALL_ID)])
            self._call_id_text = None
            self._fresh |= CALL_ID
        return 0

    cdef int read_cseq(self) except -1:
        if not self._fresh & CSEQ:
            self._cseq_in(&self._lines[required_place(self, CSEQ)])
            self._cseq_method_text = None
            self._fresh |= CSEQ
        return 0

    cdef int read_from_tag(self) except -1:
        if not self._fresh & FROM:
            self._tag_in(&self._lines[required_place(self, FROM)], &self._from_tag)
            self._from_tag_text = None
            self._from = None
            self._fresh |= FROM
        return 0

    cdef int read_to_tag(self) except -1:
        if not self._fresh & TO:
            self._tag_in(&self._lines[required_place(self, TO)], &self._to_tag)
            self._to_tag_text = None
            self._to = None
            self._fresh |= TO
        return 0

    cdef inline int _via_in(self, Line *line) except -1:
        cdef Octets octets = <Octets>PyBytes_AS_STRING(<object>line.data)
        cdef Py_ssize_t end = comma_at(octets, line.value_start, line.value_end)
        if not via_at(octets, line.value_start, trimmed_end(octets, line.value_start, end), &self.via):
            raise malformed(VIA)
        self.via_octets = octets
        return 0

    cdef inline int _tag_in(self, Line *line, Piece *tag) except -1:
        tag.octets = <Octets>PyBytes_AS_STRING(<object>line.data)
        if not tag_at(tag.octets, line.value_start, line.value_end, &tag.start, &tag.end):
            raise malformed(line.bit)
        return 0

    cdef inline int _call_id_in(self, Line *line) except -1:
        cdef Octets octets = <Octets>PyBytes_AS_STRING(<object>line.data)
        if line.value_start == line.value_end or blank_at(octets, line.value_start, line.value_end) != line.value_end:
            raise malformed(CALL_ID)
        self._call_id.octets = octets
        self._call_id.start = line.value_start
        self._call_id.end = line.value_end
        return 0

    cdef inline int _cseq_in(self, Line *line) except -1:
        cdef Octets octets = <Octets>PyBytes_AS_STRING(<object>line.data)
        cdef Py_ssize_t method_start
        cdef Py_ssize_t number_end = line.value_start
        while number_end < line.value_end and octets[number_end] > SPACE:
            number_end += 1
        self._cseq = number_at(octets, line.value_start, number_end, _MOST_CSEQ)
        if self._cseq == -2:
            raise MalformedMessage("CSeq number too large", header="CSeq")
        method_start = whitespace_end(octets, number_end, line.value_end)
        self._cseq_code = method_at(octets, method_start, line.value_end)
        if self._cseq < 0 or (self._cseq_code == OTHER and not is_token(octets, method_start, line.value_end)):
            raise malformed(CSEQ)
        self._cseq_method.octets = octets
        self._cseq_method.start = <int>method_start
        self._cseq_method.end = line.value_end
        return 0

    # -- values ----------------------------------------------------------------------------------------------------------

    cpdef str branch_text(self):
        """The branch of the top Via, "" when there is none (RFC 2543)."""
        self.read_via()
        if self._branch is None:
            self._branch = text_at(self.via_octets, self.via.branch_start, self.via.branch_end)
        return self._branch

    cpdef bytes branch_bytes(self):
        self.read_via()
        return self.via_octets[self.via.branch_start:self.via.branch_end]

    cpdef str call_id_text(self):
        self.read_call_id()
        if self._call_id_text is None:
            self._call_id_text = _text(self._call_id)
        return self._call_id_text

    cpdef bytes call_id_bytes(self):
        self.read_call_id()
        return _bytes(self._call_id)

    cpdef long long cseq_number(self) except -1:
        self.read_cseq()
        return self._cseq

    cpdef int cseq_code(self) except -1:
        """The number of the CSeq method."""
        self.read_cseq()
        return self._cseq_code

    cpdef str cseq_method_text(self):
        self.read_cseq()
        if self._cseq_code != OTHER:
            return METHODS[self._cseq_code]
        if self._cseq_method_text is None:
            self._cseq_method_text = _text(self._cseq_method)
        return self._cseq_method_text

    cpdef str from_tag_text(self):
        """The tag of From, "" when there is none."""
        self.read_from_tag()
        if self._from_tag_text is None:
            self._from_tag_text = _text(self._from_tag)
        return self._from_tag_text

    cpdef bytes from_tag_bytes(self):
        self.read_from_tag()
        return _bytes(self._from_tag)

    cpdef str to_tag_text(self):
        """The tag of To, "" when there is none."""
        self.read_to_tag()
        if self._to_tag_text is None:
            self._to_tag_text = _text(self._to_tag)
        return self._to_tag_text

    cpdef bytes to_tag_bytes(self):
        self.read_to_tag()
        return _bytes(self._to_tag)

    cpdef bint has_to_tag(self) except -1:
        self.read_to_tag()
        return self._to_tag.start != self._to_tag.end

    cpdef str request_uri_text(self):
        """The Request-URI as spelled."""
        if self._uri_text is None:
            self._uri_text = _text(self._uri)
        return self._uri_text

    cpdef bytes request_uri_bytes(self):
        return _bytes(self._uri)

    cpdef object request_uri_in(self, Remembered remembered):
        """What is remembered for the Request-URI as spelled, or None."""
        return remembered.at(self._uri.octets + self._uri.start, self._uri.end - self._uri.start)

    cpdef int hops_left(self) except? -1:
        """The value of Max-Forwards, -1 without one: RFC 2543 phones do not send it."""
        if not self._fresh & MAX_FORWARDS:
            self._max_forwards = <int>self.number_of(MAX_FORWARDS, _MOST_HOPS)
            self._fresh |= MAX_FORWARDS
        return self._max_forwards

    cpdef str reason_text(self):
        """The reason phrase."""
        cdef bytes line
        if self._reason is None:
            line = self.data[self._start:self._start_end] if self.start_line is None else self.start_line
            self._reason = text_at(<Octets>PyBytes_AS_STRING(line), min(12, len(line) - 2), len(line) - 2)
        return self._reason

    # -- keys ------------------------------------------------------------------------------------------------------------

    cpdef bytes transaction_key(self, str method):
        """What finds the server transaction of this request, as if its method were `method`: method, port and host of the
        top Via's sent-by, branch (s.17.2.3). None for a branch of RFC 2543, which alone is not enough."""
        cdef Py_ssize_t branch_length, host_length, method_length, position
        cdef const char *method_octets
        cdef bytes key
        cdef unsigned char *target
        cdef unsigned char octet
        self.read_via()
        branch_length = self.via.branch_end - self.via.branch_start
        if branch_length <= 7 or memcmp(self.via_octets + self.via.branch_start, <const char *>b"z9hG4bK", 7) != 0:
            return None
        host_length = self.via.host_end - self.via.host_start
        method_octets = PyUnicode_AsUTF8AndSize(method, &method_length)
        key = PyBytes_FromStringAndSize(NULL, method_length + 4 + host_length + 1 + branch_length)
        target = <unsigned char *>PyBytes_AS_STRING(key)
        memcpy(target, method_octets, method_length)
        target += method_length
        # None of these can contain a blank, so the pieces cannot be taken for one another; the port always has two octets.
        target[0] = SPACE
        target[1] = (self.via.port >> 8) & 0xFF
        target[2] = self.via.port & 0xFF
        target[3] = self.via.port < 0
        target += 4
        for position in range(host_length):
            octet = self.via_octets[self.via.host_start + position]
            target[position] = octet | 0x20 if 0x41 <= octet <= 0x5A else octet
        target[host_length] = SPACE
        memcpy(target + host_length + 1, self.via_octets + self.via.branch_start, branch_length)
        return key

    cpdef unsigned long long way_hash(self) except? 0:
        """A hash over what decides a request's way: Request-URI, Call-ID, tags, CSeq number, first Route (s.16.6 step 8).

        It is keyed anew in every process, so nobody can make a request with a given one.
        """
        cdef unsigned char joined[JOINED]
        cdef Piece pieces[5]
        cdef Line *line
        cdef Octets octets
        cdef Py_ssize_t length = sizeof(long long)
        cdef int place
        self.read_call_id()
        self.read_from_tag()
        self.read_to_tag()
        self.read_cseq()
        pieces[0] = self._uri
        pieces[1] = self._call_id
        pieces[2] = self._from_tag
        pieces[3] = self._to_tag
        pieces[4].start = pieces[4].end = 0
        place = first_place(self, ROUTE)
        if place >= 0:
            line = &self._lines[place]
            octets = <Octets>PyBytes_AS_STRING(<object>line.data)
            pieces[4].octets = octets
            pieces[4].start = line.value_start
            pieces[4].end = <int>trimmed_end(
                octets, line.value_start, comma_at(octets, line.value_start, line.value_end)
            )
        # All in one buffer, each with its length before it, so that nothing can be taken for another.
        memcpy(joined, &self._cseq, sizeof(long long))
        for place in range(5):
            length = _joined(joined, length, &pieces[place])
        return <unsigned long long>_Py_HashBytes(joined, length)

    # -- the start line --------------------------------------------------------------------------------------------------

    cpdef str first_line(self):
        """The start line as text."""
        cdef bytes line = self.data[self._start:self._start_end] if self.start_line is None else self.start_line
        return line.decode("utf-8", "replace").strip()

    cpdef object set_method(self, str method):
        """Of a request of ours that has no Request-URI yet."""
        self.method = method
        self.method_code = _METHOD_CODES.get(method, OTHER)

    cpdef object set_request_uri(self, str request_uri):
        """LocalError when there is a line break in it."""
        cdef bytes written = raw(request_uri)
        cdef int start = <int>len(self.method) + 1
        self.start_line = self.method.encode() + b" " + written + b" SIP/2.0\r\n"
        self._uri_text = request_uri
        self._uri_object = None
        self._uri.octets = <Octets>PyBytes_AS_STRING(self.start_line)
        self._uri.start = start
        self._uri.end = start + <int>PyBytes_GET_SIZE(written)
        self.scheme = _scheme_at(self._uri.octets, self._uri.start, self._uri.end)

    cpdef object set_status(self, int status, str reason):
        """Without `reason` with the usual phrase. LocalError when there is a line break in it."""
        cdef bytes line = None
        if reason is None:
            line = _STATUS_LINES[status] if 0 <= status < 700 else None
            if line is None:
                reason = reason_phrase(status)
        if line is None:
            line = b"SIP/2.0 %d %b\r\n" % (status, raw(reason))
            if 0 <= status < 700 and reason is reason_phrase(status):
                _STATUS_LINES[status] = line
        self.start_line = line
        self._status = status
        self._reason = None
