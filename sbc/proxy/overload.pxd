# What compiled modules may use of overload.py without going through Python. The words are in overload.py.


cdef class Overload:
    cdef public double lateness
    cdef readonly dict shed
