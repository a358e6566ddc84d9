# What compiled modules may use of events.py without going through Python. The words are in events.py.


cdef class RegistrationChanged:
    cdef readonly str group
    cdef readonly str server
    cdef readonly str aor
    cdef readonly str old
    cdef readonly str new
    cdef readonly str reason


cdef class Listener:
    cpdef object hear(self, object event)


cdef class _Told(Listener):
    cdef object _function
    cdef object _about


cdef class Everyday:
    cpdef object attempt_ended(self, str group, str server, str method, str outcome, double seconds)
    cpdef object call_set_up(self, str group, double seconds)
    cpdef object registration_changed(self, str group, str server, str new)


cdef class Reports:
    cdef object _count
    cdef Everyday _everyday
    cdef list _listeners
    cdef list _curious

    cpdef object attempt_ended(
        self, str group, str server, object candidate, str method, str outcome, double seconds
    )
    cpdef object call_set_up(self, str group, double seconds)
    cpdef object registration_changed(self, str group, str server, str aor, str old, str new, str reason)


cpdef Reports as_reports(object report)
