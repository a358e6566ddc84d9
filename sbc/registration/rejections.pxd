# What compiled modules may use of rejections.py without going through Python. The words are in rejections.py.


cdef class Rejections:
    cdef dict _entries
    cdef Py_ssize_t _sweep_above

    cdef bint are_any(self)
