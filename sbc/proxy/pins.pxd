# What compiled modules may use of pins.py without going through Python. The words are in pins.py.

cimport cython

from sbc.location.candidate cimport Candidate
from sbc.nonces cimport Nonces
from sbc.sip.message cimport Request, Response


@cython.final
cdef class Answers:
    cdef list shown
    cdef Candidate challenger

    cdef object withhold(self, Request request, Candidate candidate, bint is_first)
    cdef bint has_answered(self, Candidate candidate)


@cython.final
cdef class _Challenged:
    cdef Candidate candidate
    cdef int method_code
    cdef long long cseq
    cdef double at


@cython.final
cdef class Pins:
    cdef Nonces nonces
    cdef dict _challenged

    cdef Answers answers_in(self, Request request, double now)
    cdef Candidate _challenger_of_retry(self, Request request, double now)
    cdef object challenged(self, Request request, Response response, Candidate candidate, bint is_stale, double now)


cdef object forget_credentials(Request request)
cpdef str nonce_in(str credentials)
