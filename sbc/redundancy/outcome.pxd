# What compiled modules may use of outcome.py without going through Python. The words are in outcome.py.

cimport cython


cdef int NONE_GIVEN


cdef class Outcome:
    cdef readonly str label
    cdef readonly str cause
    cdef readonly int highest_provisional


@cython.final
cdef class Answered(Outcome):
    cdef readonly int status
    cdef readonly int retry_after


@cython.final
cdef class TimedOut(Outcome):
    cdef readonly int sends


@cython.final
cdef class TransportFailed(Outcome):
    cdef readonly bint is_soft


@cython.final
cdef class FoundDown(Outcome):
    pass


@cython.final
cdef class NotRegistered(Outcome):
    pass


@cython.final
cdef class Cancelled(Outcome):
    pass


cdef Answered new_answered(int status, int retry_after, int highest_provisional)
