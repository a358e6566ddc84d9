# What compiled modules may use of expiry.py without going through Python. The words are in expiry.py.

from sbc.clock cimport Timer, TimerQueue
from sbc.registration.bindings cimport Binding


cdef class ExpiryQueue(Timer):
    cdef TimerQueue _queue
    cdef object _lapsed
    cdef list _heap
    cdef Py_ssize_t _sweep_above

    cpdef object watch(self, Binding binding)
    cdef object _sweep(self)
    cpdef object forget(self, Binding binding)
    cdef object _arm(self)
