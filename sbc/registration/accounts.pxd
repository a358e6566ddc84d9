# What compiled modules may use of accounts.py without going through Python. The words are in accounts.py.

from sbc.registration.bindings cimport Binding, Upstream


cdef class Accounts:
    cdef object _rng

    cpdef object refused(self, Upstream upstream, object settings, double least, double now)
    cpdef object accepted(self, Upstream upstream)


cpdef bint waits(Upstream upstream, double now)
cpdef bint begins_anew(Binding binding, str call_id, str username)
