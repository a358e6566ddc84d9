# What compiled modules may use of remembered.pyx without going through Python. The words are in ext/remembered.pyx.

cimport cython

from sbc.sip.scanner cimport Octets


@cython.final
cdef class Remembered:
    cdef Py_ssize_t _most
    cdef dict _all
    cdef list _near_octets
    cdef list _near

    cdef object at(self, Octets octets, Py_ssize_t length)
    cdef object _forget_near(self)
    cpdef object get(self, bytes octets)
    cpdef object keep(self, bytes octets, object value)
