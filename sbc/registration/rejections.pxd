# What compiled modules may use of rejections.py without going through Python. The words are in rejections.py.


cdef class Tries:
    cdef readonly list times
    cdef public str call_id
    cdef public bint is_own
    cdef readonly str aor
    cdef readonly str contact


cdef class Rejections:
    cdef dict _entries
    cdef Py_ssize_t _number
    cdef Py_ssize_t _sweep_above

    cdef bint are_any(self)
    cpdef double next_try(self, str host, str token, str server, str call_id, long most, double now)
    cpdef bint is_known(self, str host, str token, str server)
    cpdef object accepted(self, str host, str token, str server)
