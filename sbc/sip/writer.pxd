# What compiled modules may use of writer.pyx without going through Python. The words are in ext/writer.pyx.

cimport cython


@cython.final
cdef class Writer:
    cdef char *_octets
    cdef Py_ssize_t _length
    cdef Py_ssize_t _room

    cdef char *_more(self, Py_ssize_t length) except NULL
    cpdef int begin(self) except -1
    cpdef int octets(self, bytes octets) except -1
    cpdef int text(self, str text) except -1
    cpdef int quoted(self, str text) except -1
    cpdef int number(self, long long number) except -1
    cpdef bytes written(self)
