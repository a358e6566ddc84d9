# What the compiled machines have in common. The words are in machine.py.

from sbc.transaction.interface cimport Transaction
from sbc.transaction.ledger cimport Ledger


cdef class Table:
    cdef str _what
    cdef object _states
    cdef object _inputs
    cdef Py_ssize_t _width
    cdef bytes _next_states
    cdef bytes _actions


cdef class Machine(Transaction):
    cdef readonly Ledger layer
    cdef Table _table
    cdef unsigned char method_code
    cdef unsigned char _state
    cdef unsigned char _event

    cpdef object _take(self, int event, object what)
    cdef object _act(self, int action, object what)
    cdef object _wait(self, double delay, int event)
    cdef object fire(self)
