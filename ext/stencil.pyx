# cython: boundscheck=False, wraparound=False
# (Blanks are counted, and all places lie within octets whose length has been looked at.)
"""A request that will come again, kept with its answer: `Stencil`.

What a telephone says every minute are the same octets each time, but for a few: the branch, the number of CSeq, the tag of
From, its credentials. In a stencil those are blanks. A message that shows the same octets everywhere else is the same
request, and need not be read to know it; its answer is the one that is kept, with the blanks filled as it fills them.

Not ordinary Python because it compares octets where they stand: a message that fits costs a third of one that is read.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memchr, memcmp, memcpy

from sbc.sip.limits import MAX_CSEQ

from sbc.sip.head cimport Head
from sbc.sip.lines cimport first_place
from sbc.sip.scanner cimport (
    AUTHORIZATION,
    CSEQ,
    PROXY_AUTHORIZATION,
    VIA,
    Line,
    Octets,
    blank_at,
    break_at,
    number_at,
    same_letters,
    value_end,
    whitespace_end,
)

cdef extern from "Python.h":
    # The hash of bytes objects, keyed anew in every process.
    Py_hash_t _Py_HashBytes(const void *octets, Py_ssize_t length) nogil

# What may stand in a blank. The same as where a message is read.
cdef enum:
    VALUE = 0
    NUMBER = 1
    LINE = 2

cdef enum:
    MOST_OCTETS = 4096   # the head of a REGISTER has about 600; offsets are short
    MOST_LINES = 12      # until the Call-ID

cdef enum:
    LF = 0x0A
    COLON = 0x3A
    LETTER_I = 0x69

cdef long long _MOST_CSEQ = MAX_CSEQ


cpdef bytes call_id_in(bytes data):
    """The value of the first Call-ID of a message that nobody has read; None when it is not among its first lines.

    Only a guess at which stencil may fit: a message that does fit has its Call-ID where the stencil has it.
    """
    cdef Octets octets = <Octets>PyBytes_AS_STRING(data)
    cdef Octets found
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data), start = 0, colon, end
    cdef int number
    for number in range(MOST_LINES):
        found = <Octets>memchr(octets + start, LF, size - start)
        if found == NULL:
            return None
        start = found - octets + 1
        if start + 8 > size:
            return None
        if same_letters(octets, start, b"call-id", 7):
            colon = start + 7
        elif octets[start] | 0x20 == LETTER_I:
            colon = start + 1
        else:
            continue
        colon = whitespace_end(octets, colon, size)
        if colon == size or octets[colon] != COLON:
            continue
        start = whitespace_end(octets, colon + 1, size)
        end = blank_at(octets, start, size)
        return PyBytes_FromStringAndSize(<const char *>octets + start, end - start)
    return None


@cython.final
@cython.no_gc  # octets only: nothing points back
cdef class Stencil:
    """Made by `stencil_of`."""

    cpdef long long number_in(self, bytes data) noexcept:
        """The CSeq number of a message that is this request; -1 for any other message."""
        cdef Octets octets = <Octets>PyBytes_AS_STRING(data)
        cdef Octets kept = <Octets>PyBytes_AS_STRING(self._request)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
        cdef Py_ssize_t at = 0, behind = 0, same, end
        cdef long long number = -1
        cdef Blank *blank = self._blanks
        cdef Blank *last = self._blanks + self._number
        self._looked_at = 0
        if size > MOST_OCTETS:
            return -1
        while blank < last:
            same = blank.start - behind
            if size - at < same or memcmp(octets + at, kept + behind, same) != 0:
                return -1
            at += same
            if blank.kind == NUMBER:
                end = blank_at(octets, at, size)
                number = number_at(octets, at, end, _MOST_CSEQ)
                if number < 0:
                    return -1
            else:
                end = value_end(octets, at, size) if blank.kind == VALUE else break_at(octets, at, size)
                if end == at:
                    return -1
            blank.found = <short>at
            blank.found_end = <short>end
            at = end
            behind = blank.end
            blank += 1
        same = PyBytes_GET_SIZE(self._request) - behind
        if size - at != same or memcmp(octets + at, kept + behind, same) != 0:
            return -1
        self._looked_at = <short>size
        return number

    cpdef unsigned long long branch_in(self, bytes data) except 0:
        """A hash of the branch in that message, of which `number_in` must have told the number last. Never 0."""
        cdef Octets octets = <Octets>PyBytes_AS_STRING(data)
        cdef unsigned long long hashed = 0
        cdef Blank *blank
        self._check_looked_at(data)
        if self._branch >= 0:
            blank = &self._blanks[self._branch]
            hashed = <unsigned long long>_Py_HashBytes(octets + blank.found, blank.found_end - blank.found)
        return hashed if hashed else 1

    cdef int _check_looked_at(self, bytes data) except -1:
        """No place may lie outside of it."""
        if PyBytes_GET_SIZE(data) != self._looked_at:
            raise ValueError("another message was looked at last")
        return 0

    cpdef bytes answer_to(self, bytes data):
        """The answer to that message, of which `number_in` must have told the number last."""
        cdef Octets octets = <Octets>PyBytes_AS_STRING(data)
        cdef Octets kept = <Octets>PyBytes_AS_STRING(self._answer)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(self._answer), behind = 0, length
        cdef Repeated *repeated
        cdef Blank *blank
        cdef bytes written
        cdef unsigned char *position
        cdef int number
        self._check_looked_at(data)
        for number in range(self._repeated_number):
            repeated = &self._repeated[number]
            blank = &self._blanks[repeated.blank]
            size += (blank.found_end - blank.found) - (repeated.end - repeated.start)
        written = PyBytes_FromStringAndSize(NULL, size)
        position = <unsigned char *>PyBytes_AS_STRING(written)
        for number in range(self._repeated_number):
            repeated = &self._repeated[number]
            blank = &self._blanks[repeated.blank]
            length = repeated.start - behind
            memcpy(position, kept + behind, length)
            position += length
            length = blank.found_end - blank.found
            memcpy(position, octets + blank.found, length)
            position += length
            behind = repeated.end
        memcpy(position, kept + behind, PyBytes_GET_SIZE(self._answer) - behind)
        return written

    cpdef object end_answer_with(self, bytes rest):
        """From now on, `rest` stands in the answer behind what it repeats of the request."""
        self._answer = self._answer[:self._repeats_until] + rest

    cdef int _add_blank(self, int start, int end, int kind) noexcept:
        """In the order of their places. False when there is nothing to be left blank, or no room for it."""
        cdef int place = self._number
        if end <= start or place == MOST_BLANKS:
            return False
        while place > 0 and self._blanks[place - 1].start > start:
            self._blanks[place] = self._blanks[place - 1]
            place -= 1
        self._blanks[place].start = <short>start
        self._blanks[place].end = <short>end
        self._blanks[place].kind = <short>kind
        self._number += 1
        return True

    cdef int _blank_at(self, int start) noexcept:
        """The number of the blank that begins there; -1 when none does."""
        cdef int blank
        for blank in range(self._number):
            if self._blanks[blank].start == start:
                return blank
        return -1

    cdef void _repeat(self, int blank_start, int start, int end) noexcept:
        """The answer repeats there what the request has in the blank that begins at `blank_start`, if there is one."""
        cdef int place = self._repeated_number, blank = self._blank_at(blank_start)
        if blank < 0 or place == MOST_REPEATED:
            return
        while place > 0 and self._repeated[place - 1].start > start:
            self._repeated[place] = self._repeated[place - 1]
            place -= 1
        self._repeated[place].start = <short>start
        self._repeated[place].end = <short>end
        self._repeated[place].blank = <short>blank
        self._repeated_number += 1


cdef inline Line *_first_line(Head message, int bit) noexcept:
    return &message._lines[first_place(message, bit)]


cdef inline int _number_end(Line *line) noexcept:
    """Of a CSeq line that can be read: where its method is not yet."""
    return <int>blank_at(<Octets>PyBytes_AS_STRING(<object>line.data), line.value_start, line.value_end)


cpdef Stencil stencil_of(bytes data, bytes status_and_lines):
    """Of a received request, and of its answer up to the last line that it repeats; `end_answer_with` gives the rest.

    None when there can be none, and then each one has to be read: with a body, several Vias, more than two lines of
    credentials, an empty line before it, larger than almost any, or written in a way that is not the usual one in the places
    of the blanks.
    """
    cdef Head request = Head.__new__(Head)
    cdef Head answer = Head.__new__(Head)
    cdef Stencil stencil
    cdef Line *line
    cdef int place
    if (
        PyBytes_GET_SIZE(data) > MOST_OCTETS
        or PyBytes_GET_SIZE(status_and_lines) > MOST_OCTETS
        or request.read(data, 0, True) is not None
        or answer.read(status_and_lines + b"\r\n", 0, False) is not None
        or request._body_end > request._body_start
        or not request.has_one(VIA)
    ):
        return None
    stencil = Stencil.__new__(Stencil)
    stencil._request = data
    stencil._answer = status_and_lines
    stencil._repeats_until = <short>PyBytes_GET_SIZE(status_and_lines)
    stencil._number = stencil._repeated_number = 0
    stencil._add_blank(request.via.branch_start, request.via.branch_end, VALUE)
    stencil._add_blank(request._from_tag.start, request._from_tag.end, VALUE)
    line = _first_line(request, CSEQ)
    stencil._add_blank(line.value_start, _number_end(line), NUMBER)
    for place in range(request._count):
        line = &request._lines[place]
        if line.bit & (AUTHORIZATION | PROXY_AUTHORIZATION) and not stencil._add_blank(
            line.value_start, <int>break_at(<Octets>PyBytes_AS_STRING(data), line.value_start, line.end), LINE
        ):
            return None
    stencil._branch = -1
    if request.via.branch_end > request.via.branch_start:
        stencil._branch = <short>stencil._blank_at(request.via.branch_start)
        stencil._repeat(request.via.branch_start, answer.via.branch_start, answer.via.branch_end)
    if request._from_tag.end > request._from_tag.start:
        stencil._repeat(request._from_tag.start, answer._from_tag.start, answer._from_tag.end)
    line = _first_line(answer, CSEQ)
    stencil._repeat(_first_line(request, CSEQ).value_start, line.value_start, _number_end(line))
    # The request itself must fit, and have its own answer.
    if stencil.number_in(data) != request._cseq or stencil.answer_to(data) != status_and_lines:
        return None
    return stencil
