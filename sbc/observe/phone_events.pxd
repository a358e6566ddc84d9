# The fields of what every new registration comes by. The words are in phone_events.py.

from sbc.events cimport Listener


cdef class PhoneEvents(Listener):
    cdef object _wall_clock
    cdef object _names
    cdef Py_ssize_t _kept
    cdef list _events
    cdef list _times
    cdef Py_ssize_t _next

    cpdef object hear(self, object event)
