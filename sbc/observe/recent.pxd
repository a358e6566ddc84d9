# The fields of what every new registration comes by. The words are in recent.py.

from sbc.events cimport Listener, RegistrationChanged


cdef class Entry:
    cdef public double first_at
    cdef public double last_at
    cdef public object story
    cdef public long long count
    cdef public object last
    cdef public str group
    cdef public str server
    cdef public str new
    cdef public set phones

    cdef object note(self, str phone)


cdef class RecentEvents(Listener):
    cdef object _names
    cdef object _wall_clock
    cdef object _entries
    cdef list _floods
    cdef dict _switches

    cpdef object hear(self, object event)
    cdef bint _is_one_more(self, RegistrationChanged event)
