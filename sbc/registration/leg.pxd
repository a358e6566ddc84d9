# The fields of a leg, and what compiled modules may call without going through Python. The words are in leg.py.

from sbc.sip.message cimport Response
from sbc.transaction.interface cimport ClientTransactionUser, Transaction


cdef class Leg(ClientTransactionUser):
    cdef public object server
    cdef public object candidate
    cdef public object ending
    cdef public object response
    cdef public str reason
    cdef public dict granted
    cdef public bint own_password_refused
    cdef public bint showed_credentials
    cdef public bint started
    cdef public bint slow
    cdef object _exchange
    cdef object _group
    cdef object _clock
    cdef object _plan
    cdef object _attempt
    cdef object _transaction
    cdef object _flow
    cdef dict _expires
    cdef bint _lengthened
    cdef int _own_answers
    cdef bint _waiting
    cdef int _highest_provisional

    cpdef object response_received(self, Transaction transaction, Response response)
    cpdef object timed_out(self, Transaction transaction)
    cpdef object transport_failed(self, Transaction transaction, str cause)
    cdef bint is_running(self)
    cdef object _next(self)
    cdef object _send(self)
    cdef object _add_own_credentials(self, object request, object upstream)
    cdef object _challenged(self, object response)
    cdef bint _lengthen(self, object response)
    cdef object _observe(self, object response)
    cdef object _answered(self, object response)
    cdef object _failed(self, object outcome)
    cdef object _record(self, object outcome)
    cdef object _accepted(self)
    cdef object _end(self, object ending, str reason)
    cdef object _abandon_transaction(self)
    cdef object _stop_waiting(self)
    cdef object _now(self)
