# What compiled modules may use of hop.pyx without going through Python. The words are in ext/hop.pyx.

cimport cython

from sbc.sip.head cimport Head


@cython.no_gc
cdef class Hop(Head):
    cpdef object allow_hops(self, int number)
    cpdef object put_via(self, bytes via_start, str branch)
    cpdef object note_source(self, str host, int port)
    cdef int _fill_rport(self, str host, int port) except -1
    cdef void _move_via(self, int line_start, int behind, int more) noexcept
    cdef int _rewrite_via(self, str host, int port) except -1
    cpdef bytes answer_bytes(self, bytes status_line, int bits, str to_tag, bytes rest)
    cpdef object answer(self, Head request, int status, str reason, str to_tag, int bits)
