# What compiled modules may use of lines.pyx without going through Python. The words are in ext/lines.pyx.

cimport cython

from sbc.sip.remembered cimport Remembered
from sbc.sip.scanner cimport Line, Octets


@cython.final
cdef class OwnLine:
    cdef readonly bytes data
    cdef int name_end
    cdef int value_start
    cdef readonly int bit


@cython.final
cdef class Name:
    cdef readonly str key
    cdef readonly bint is_list
    cdef int bit
    cdef bytes lowered
    cdef int compact


cdef class Lines:
    cdef readonly bytes data
    cdef public bytes start_line
    cdef int _start
    cdef int _start_end
    # An array of `_room` lines, `_count` of them in use. Each keeps its data alive, unless that is `self.data`.
    cdef Line *_lines
    cdef int _count
    cdef int _room
    cdef int _foreign  # how many of them have other data than `self.data`
    # For each header that has a bit, by its number: one more than the place of its first line, 0 without one. Signed: so the
    # compiler compares eight of them at once.
    cdef short _places[32]
    cdef int _bits     # of the headers that may be there; all that are, and perhaps some that were taken off
    cdef int _fresh    # of the headers whose values, kept by subclasses, are those of the lines
    cdef bytes _body   # None while it is the received one, from `_body_start` to `_body_end`
    cdef int _body_start
    cdef int _body_end

    cdef object read_lines(self, Py_ssize_t position)
    cdef int _make_room(self, int count) except -1
    cdef void _forget(self, int bits) noexcept
    cdef Line *_insert(self, int place, int bit) except NULL
    cdef int _append_from(self, Line *line) except -1
    cdef void _put_own(self, Line *line, OwnLine own) noexcept
    cdef void _let_go(self, int place) noexcept
    cdef void _put_data(self, int place, bytes data) noexcept
    cdef int _put_value(self, int place, Octets value, Py_ssize_t length, Octets more, Py_ssize_t more_length) except -1
    cdef object copy_lines_to(self, Lines other)
    cdef object take_lines(self, Lines other, int bits)

    cdef bint _is_named(self, int place, Name name) noexcept
    cdef Line *_line(self, int place) except NULL
    cdef object _split(self, int place, list values)
    cdef int _below_vias(self) noexcept

    cpdef bint may_have(self, int bits) noexcept
    cpdef int place_of(self, int bit) noexcept
    cdef int required(self, int bit) except -1
    cpdef bint has_one(self, int bit) noexcept
    cpdef str first_of(self, int bit)
    cpdef bytes first_bytes(self, int bit)
    cpdef object first_in(self, int bit, Remembered remembered)
    cpdef str value_of(self, int bit)
    cpdef bytes value_bytes(self, int bit)
    cpdef long long number_of(self, int bit, long long limit) except? -1

    cpdef int find(self, Name name)
    cpdef int line_count(self)
    cpdef str name_at(self, int place)
    cpdef str value_at(self, int place)
    cpdef str first_value_at(self, int place)
    cpdef list values_of(self, Name name)

    cpdef object put_first(self, OwnLine line)
    cpdef object put_above(self, Name name, OwnLine line)
    cpdef object insert(self, int place, OwnLine line)
    cpdef object append_line(self, OwnLine line)
    cpdef object set_first_value(self, int place, bytes value)
    cpdef object drop_first_value(self, int place)
    cpdef object drop_first(self, int bit)
    cpdef object drop_all(self, int bits)
    cpdef int drop_named(self, Name name)
    cpdef int take_others(self, Lines other, int bits)

    cpdef bytes get_body(self)
    cpdef object set_body(self, bytes body)
    cpdef bytes to_bytes(self, bint stream=*)


# `place_of` and `required` without a call: for a bit that is known when this is compiled, one look into an array.

cdef extern from *:
    int FIRST_BIT "__builtin_ctz" (unsigned int bits) nogil


cdef inline int first_place(Lines message, int bit) noexcept:
    return message._places[FIRST_BIT(<unsigned int>bit)] - 1 if bit > 0 else -1


cdef inline int required_place(Lines message, int bit) except -1:
    cdef int place = first_place(message, bit)
    return message.required(bit) if place < 0 else place


cpdef Name name_of(str name)
cpdef OwnLine new_line(str name, str value)
cpdef OwnLine written_line(bytes data, int name_length, int bit)
cpdef bytes raw(str text)
cpdef object malformed(int bit, str what=*)
cdef str spelling_of(int bit)
