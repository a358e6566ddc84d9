# What compiled modules may use of quarantine.py without going through Python. The words are in quarantine.py.


cdef class Quarantine:
    cdef dict _counts
    cdef dict _counts_before
    cdef double _counted_until
    cdef dict _kept
    cdef object _rng

    cdef bint is_any(self)
    cpdef bint is_loop(self, str host, str token, double now)
    cpdef object accepted(self, str host, str token)
    cpdef double left(self, str host, str token, double now)
