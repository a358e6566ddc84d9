# What compiled modules may use of log_lines.py without going through Python. The words are in log_lines.py.


cdef class Lines:
    cdef object _stream
    cdef str _namespace
    cdef object _wall_clock
    cdef object _time_stamp
    cdef object _call_later
    cdef long long _second
    cdef str _stamp
    cdef str _info
    cdef list _waiting

    cpdef object soon(self, str text)
    cdef object _look_at_clock(self)
