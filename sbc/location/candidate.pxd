# What compiled modules may use of candidate.py without going through Python. The words are in candidate.py.


cdef class Candidate:
    cdef readonly str address
    cdef readonly int port
    cdef readonly str transport
    cdef readonly int priority
    cdef readonly int weight
    cdef readonly int place
    cdef Py_hash_t _hash
    cdef str _text

    cdef bint same_as(self, Candidate other) noexcept
    cdef str text(self)
