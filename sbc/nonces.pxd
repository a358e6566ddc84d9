# What compiled modules may use of nonces.py without going through Python. The words are in nonces.py.

cimport cython

from sbc.location.candidate cimport Candidate
from sbc.sip.message cimport Response


@cython.final
cdef class _Issue:
    cdef tuple candidates
    cdef Candidate asked_in_call
    cdef double used_at
    cdef dict shown
    cdef long long floor


@cython.final
cdef class Nonces:
    cdef readonly set issuers
    cdef dict _issues

    cpdef object learn(self, Response response, Candidate candidate, double now)
    cpdef object remember(self, str nonce, Candidate candidate, double now)
    cdef object _remember(self, str nonce, Candidate candidate, double now, bint in_call)
    cdef object _forget_old(self, double now)
    cdef _Issue _find(self, str nonce, double now)
    cpdef object used(self, str nonce, double now)
    cpdef tuple issuers_of(self, str nonce, double now)
    cpdef Candidate issuer(self, str nonce, double now)
    cpdef Candidate asked_in_call(self, str nonce, double now)
