# What compiled modules may use of nonce_pins.py without going through Python. The words are in nonce_pins.py.

from sbc.location.candidate cimport Candidate
from sbc.sip.message cimport Request, Response


cdef class NoncePins:
    cdef object _pins

    cpdef object learn(self, Response response, Candidate candidate, double now)
    cpdef Candidate issuer(self, Request request, double now)
    cpdef object withhold(self, Request request, Candidate candidate, double now)
    cdef bint _may_see(self, str credentials, Candidate candidate, double now)
