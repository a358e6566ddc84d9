"""Bytes that are put together from many small pieces: `Writer`.

Not ordinary Python because each piece would be an object there, and the whole would be made of them in a second step. Here
a piece is copied to where it belongs, and the bytes object at the end is the only one that is made.
"""

from json.encoder import encode_basestring_ascii

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from sbc.sip.head cimport Head
from sbc.sip.lines cimport Lines
from sbc.sip.scanner cimport FROM, Line

cdef extern from "Python.h":
    bint PyUnicode_IS_COMPACT_ASCII(str text)
    void *PyUnicode_DATA(str text)
    Py_ssize_t PyUnicode_GET_LENGTH(str text)

cdef enum:
    ROOM = 2048     # octets, at first and at least added when there are more
    MOST_DIGITS = 20

cdef bytes _ALL_PAIRS = b"".join(b"%02d" % number for number in range(100))
cdef const char *_PAIRS = PyBytes_AS_STRING(_ALL_PAIRS)

cdef extern from *:
    """
    #define EACH 0x0101010101010101ULL  /* of eight octets */
    #define HIGH_BITS 0x8080808080808080ULL
    """
    const uint64_t EACH
    const uint64_t HIGH_BITS

cdef enum:
    QUOTATION_MARK = 0x22
    COMMA = 0x2C
    BACKSLASH = 0x5C


cdef inline bint _stands_for_itself(const char *octets, Py_ssize_t length) noexcept nogil:
    """Does JSON write each of these ASCII characters as it is: no control character, quotation mark or backslash?"""
    cdef Py_ssize_t place = 0
    cdef uint64_t eight, good
    while place < length:
        if place + 8 <= length:
            memcpy(&eight, octets + place, 8)
        else:
            eight = EACH * 0x20
            memcpy(&eight, octets + place, length - place)
        # A high bit each where an octet is not below the first that is printed, and is none of these.
        good = (eight | HIGH_BITS) - EACH * 0x20
        good &= (eight ^ EACH * QUOTATION_MARK | HIGH_BITS) - EACH
        good &= (eight ^ EACH * BACKSLASH | HIGH_BITS) - EACH
        good &= ~(eight + EACH)  # DEL
        if good & HIGH_BITS != HIGH_BITS:
            return False
        place += 8
    return True


cdef class Writer:
    """`begin`, put pieces one after the other, and take all of them with `written`; then it may be used anew."""

    def __dealloc__(self):
        PyMem_Free(self._octets)

    cdef inline char *_more(self, Py_ssize_t length) except NULL:
        """Where the next piece goes, with room for so many octets, which count as written."""
        if self._length + length > self._room:
            self._grow(length)
        self._length += length
        return self._octets + self._length - length

    cdef int _grow(self, Py_ssize_t length) except -1:
        cdef char *grown = <char *>PyMem_Realloc(self._octets, self._length + length + ROOM)
        if grown == NULL:
            raise MemoryError()
        self._octets = grown
        self._room = self._length + length + ROOM
        return 0

    cpdef int begin(self) except -1:
        """Forget what an error has left."""
        self._length = 0
        return 0

    cpdef int octets(self, bytes octets) except -1:
        cdef Py_ssize_t length = PyBytes_GET_SIZE(octets)
        memcpy(self._more(length), PyBytes_AS_STRING(octets), length)
        return 0

    cpdef int part(self, bytes octets, Py_ssize_t start, Py_ssize_t end) except -1:
        """Some of them; `start` and `end` are in them."""
        memcpy(self._more(end - start), PyBytes_AS_STRING(octets) + start, end - start)
        return 0

    cpdef int text(self, str text) except -1:
        """In UTF-8; surrogate escapes become the octets that they stand for."""
        cdef Py_ssize_t length
        if PyUnicode_IS_COMPACT_ASCII(text):
            length = PyUnicode_GET_LENGTH(text)
            memcpy(self._more(length), PyUnicode_DATA(text), length)
        else:
            self.octets(text.encode("utf-8", "surrogateescape"))
        return 0

    cpdef int quoted(self, str text) except -1:
        """As a string of JSON, in ASCII."""
        return self._quoted(text, 0)

    cpdef int field(self, str text) except -1:
        """The same behind a comma."""
        return self._quoted(text, 1)

    cdef int _quoted(self, str text, Py_ssize_t before) except -1:
        cdef Py_ssize_t length = PyUnicode_GET_LENGTH(text)
        cdef char *target
        if not PyUnicode_IS_COMPACT_ASCII(text) or not _stands_for_itself(<const char *>PyUnicode_DATA(text), length):
            if before:
                self.comma()
            return self.text(encode_basestring_ascii(text))
        target = self._more(before + length + 2)
        target[0] = COMMA
        target += before
        target[0] = QUOTATION_MARK
        memcpy(target + 1, PyUnicode_DATA(text), length)
        target[length + 1] = QUOTATION_MARK
        return 0

    cpdef int comma(self) except -1:
        self._more(1)[0] = COMMA
        return 0

    cpdef int number(self, long long number) except -1:
        """In decimal."""
        cdef char digits[MOST_DIGITS]
        cdef int place = MOST_DIGITS
        cdef unsigned long long rest
        if number < 0:
            self.octets(b"-")
        rest = -<unsigned long long>number if number < 0 else <unsigned long long>number
        if rest < 10:
            self._more(1)[0] = <char>(0x30 + rest)
            return 0
        if rest < 100:
            memcpy(self._more(2), _PAIRS + 2 * rest, 2)
            return 0
        while rest >= 100:  # two at a time
            place -= 2
            memcpy(digits + place, _PAIRS + 2 * (rest % 100), 2)
            rest //= 100
        if rest >= 10:
            place -= 2
            memcpy(digits + place, _PAIRS + 2 * rest, 2)
        else:
            place -= 1
            digits[place] = <char>(0x30 + rest)
        memcpy(self._more(MOST_DIGITS - place), digits + place, MOST_DIGITS - place)
        return 0

    # Of a message:

    cpdef int request_uri(self, Head request) except -1:
        """As it came."""
        cdef Py_ssize_t length = request._uri.end - request._uri.start
        memcpy(self._more(length), request._uri.octets + request._uri.start, length)
        return 0

    cpdef int other_lines(self, Lines message, int bits) except -1:
        """The lines whose bit is not among these, as they stand."""
        cdef Line *line = message._lines
        cdef Line *behind = line + message._count
        while line < behind:
            if not line.bit & bits:
                memcpy(self._more(line.end - line.start), PyBytes_AS_STRING(<object>line.data) + line.start, line.end - line.start)
            line += 1
        return 0

    cpdef bint before_from_tag(self, Head message) except -1:
        """The value of From up to its tag. False without a tag, and nothing is written."""
        cdef int start
        message.read_from_tag()
        if message._from_tag.start == message._from_tag.end:
            return False
        start = message._lines[message.place_of(FROM)].value_start
        memcpy(
            self._more(message._from_tag.start - start), message._from_tag.octets + start, message._from_tag.start - start
        )
        return True

    cpdef int behind_from_tag(self, Head message) except -1:
        """The rest of it."""
        cdef int end = message._lines[message.place_of(FROM)].value_end
        memcpy(self._more(end - message._from_tag.end), message._from_tag.octets + message._from_tag.end, end - message._from_tag.end)
        return 0

    cpdef Py_ssize_t length(self):
        """Of what is written so far."""
        return self._length

    cpdef bytes written(self):
        """All of it."""
        return PyBytes_FromStringAndSize(self._octets, self._length)
