# What compiled modules may use of validation.py without going through Python. The words are in validation.py.

from sbc.sip.message cimport Request


cdef int hops_left(Request request)
cpdef object check(Request request)


cdef class Branches:
    cdef str _boot
    cdef unsigned long long _serial
    cdef bytearray _parameter
    cdef bytearray _repeatable
    cdef bytearray _tag

    cpdef str new(self, Request request)
    cdef object check_loop(self, Request request)
    cdef str stateless(self, Request request)
    cdef str tag(self, Request request)
    cdef bint has_tag(self, Request ack)
    cdef unsigned long long loop_hash(self, Request request)
