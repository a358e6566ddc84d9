# The fields of what every new registration comes by. The words are in log.py.

from sbc.events cimport Listener, RegistrationChanged
from sbc.observe.log_lines cimport Lines


cdef class EventLog(Listener):
    cdef object _names
    cdef bint _debug
    cdef Lines _lines
    cdef dict _write

    cpdef object hear(self, object event)
    cdef object _hear_of_registration(self, RegistrationChanged event)
