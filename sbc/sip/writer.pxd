# What compiled modules may use of writer.pyx without going through Python. The words are in ext/writer.pyx.

cimport cython

from sbc.sip.head cimport Head
from sbc.sip.lines cimport Lines


@cython.final
cdef class Writer:
    cdef char *_octets
    cdef Py_ssize_t _length
    cdef Py_ssize_t _room

    cdef char *_more(self, Py_ssize_t length) except NULL
    cdef int _grow(self, Py_ssize_t length) except -1
    cpdef int begin(self) except -1
    cpdef int octets(self, bytes octets) except -1
    cpdef int part(self, bytes octets, Py_ssize_t start, Py_ssize_t end) except -1
    cpdef int text(self, str text) except -1
    cpdef int quoted(self, str text) except -1
    cpdef int field(self, str text) except -1
    cpdef int comma(self) except -1
    cdef int _quoted(self, str text, Py_ssize_t before) except -1
    cpdef int number(self, long long number) except -1
    cpdef int request_uri(self, Head request) except -1
    cpdef int other_lines(self, Lines message, int bits) except -1
    cpdef bint before_from_tag(self, Head message) except -1
    cpdef int behind_from_tag(self, Head message) except -1
    cpdef Py_ssize_t length(self)
    cpdef bytes written(self)
