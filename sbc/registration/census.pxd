# The fields of a census. The words are in census.py.


cdef class Census:
    cdef readonly dict states
    cdef readonly Py_ssize_t everywhere
    cdef readonly Py_ssize_t nowhere
    cdef readonly list shown

    cdef object _count(self, object bindings, Py_ssize_t most)
