# The fields of what counts, so that it is counted without going through Python. The words are in metrics.py.

from sbc.events cimport Everyday


cdef class Row:
    cdef list counts
    cdef double sum
    cdef tuple _buckets

    cdef object observe(self, double seconds)


cdef class Histogram:
    cdef tuple _buckets
    cdef dict _rows

    cdef Row row(self, tuple labels)


cdef class Attempts:
    cdef long long number
    cdef Row durations


cdef class Seen:
    cdef str server
    cdef str method
    cdef str outcome
    cdef Attempts attempts


cdef class StateEntered:
    cdef str server
    cdef str new
    cdef long long number


cdef class EverydayCounts(Everyday):
    cdef Histogram attempts
    cdef dict attempts_ended
    cdef Histogram call_setup
    cdef dict _entered
    cdef dict _seen
    cdef dict _call_setup_of

    cpdef object attempt_ended(self, str group, str server, str method, str outcome, double seconds)
    cpdef object call_set_up(self, str group, double seconds)
    cpdef object registration_changed(self, str group, str server, str new)


cdef object count_one(dict counts, tuple labels)
