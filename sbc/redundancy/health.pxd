# What compiled modules may use of health.py without going through Python. The words are in health.py.

from sbc.redundancy.outcome cimport Outcome


cdef class CandidateHealth:
    cdef readonly object state
    cdef readonly double since
    cdef readonly str reason
    cdef readonly str down_cause
    cdef double _registered_at
    cdef double _last_answer
    cdef double _held_until
    cdef int _fall
    cdef int _rise
    cdef bytes _meanings
    cdef long long _good
    cdef long long _bad
    cdef object _before_freeze
    cdef double _since_before_freeze
    cdef str _reason_before_freeze
    cdef double _frozen_for
    cdef double _silence_says_nothing_until

    cdef bint answered_as_ever(self, int status, double now, bint is_register)
    cpdef object observe(self, Outcome outcome, double now, str method, bint is_probe=*)
    cdef object _note_answer(self, int status, double now, bint is_register)
