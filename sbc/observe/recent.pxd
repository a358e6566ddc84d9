# The fields of what every new registration comes by. The words are in recent.py.

from sbc.events cimport Listener


cdef class Entry:
    cdef public double first_at
    cdef public double last_at
    cdef public object story
    cdef public long long count
    cdef public object last


cdef class RecentEvents(Listener):
    cdef object _names
    cdef object _wall_clock
    cdef object _entries
    cdef dict _floods
    cdef dict _switches

    cpdef object hear(self, object event)
