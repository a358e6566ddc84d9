# The classes of interface.py for compiled modules. The words are in interface.py.

from sbc.clock cimport Timer
from sbc.flow cimport Flow
from sbc.sip.message cimport Request, Response


cdef class Transaction(Timer):
    cdef readonly Flow flow
    cdef readonly str method
    cdef public object context
    cdef Request _request


cdef class TransactionUser:
    cpdef bint answered_at_once(self, Request request, Flow flow)
    cpdef object request_received(self, Transaction transaction, Request request)
    cpdef object ack_received(self, Request request, Flow flow)
    cpdef object cancel_received(self, Transaction invite, Request request)
    cpdef object stray_response_received(self, Response response, Flow flow)
    cpdef object server_transaction_ended(self, Transaction transaction)
    cpdef str side_of(self, Flow flow)


cdef class ClientTransactionUser(Timer):
    cpdef object response_received(self, Transaction transaction, Response response)
    cpdef object timed_out(self, Transaction transaction)
    cpdef object transport_failed(self, Transaction transaction, str cause)
    cpdef object connection_lost(self, Transaction transaction, str cause)


cdef class Unheard(ClientTransactionUser):
    pass
