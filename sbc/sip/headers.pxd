# What compiled modules may use of headers.py without going through Python. The words are in headers.py.

cimport cython


@cython.freelist(64)
cdef class Via:
    cdef readonly str transport
    cdef readonly str host
    cdef readonly object port
    cdef readonly dict parameters

    cdef str branch_or_nothing(self)
