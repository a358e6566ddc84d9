# What compiled modules may use of nonce_pins.py without going through Python. The words are in nonce_pins.py.

from sbc.sip.message cimport Request, Response


cdef class NoncePins:
    cdef object _pins

    cpdef object learn(self, Response response, object candidate, double now)
    cpdef object issuer(self, Request request, double now)
    cpdef object withhold(self, Request request, object candidate, double now)
    cdef bint _may_see(self, str credentials, object candidate, double now)
