# What compiled modules may use of keyed_hash.pyx without going through Python. The words are in ext/keyed_hash.pyx.

cimport cython
from libc.stdint cimport uint64_t


@cython.final
cdef class KeyedHash:
    cdef uint64_t _state[8]
    cdef int _size

    cpdef str hexadecimal(self, bytes data)
