# What the compiled transactions share without going through Python. The words are in ledger.py.

from sbc.clock cimport TimerQueue
from sbc.flow cimport Flow
from sbc.transaction.branches cimport ClientTable
from sbc.transaction.interface cimport TransactionUser


cdef class Ledger:
    cdef readonly object clock
    cdef readonly object timers
    cdef public TransactionUser user
    cdef list _retransmissions
    cdef TimerQueue queue
    cdef readonly ClientTable clients
    cdef readonly dict _cancels
    cdef readonly dict _servers
    cdef readonly dict _on_connections
    cdef Py_ssize_t invite_clients
    cdef Py_ssize_t invite_servers
    cdef double t1
    cdef double t2
    cdef double timer_b
    cdef double timer_d
    cdef double timer_g
    cdef double timer_h
    cdef double timer_i
    cdef double timer_j
    cdef double timer_k
    cdef double timer_l
    cdef double timer_m
    cdef double invite_trying
    cdef double non_invite_trying

    cdef object open(self, object clock, object timers, TransactionUser user, str boot)
    cdef object count_retransmission(self, Flow flow, int method_code)
