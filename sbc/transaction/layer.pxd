# The fields of the compiled layer. The words are in layer.py.

from sbc.flow cimport Flow
from sbc.sip.message cimport Request, Response
from sbc.transaction.client cimport ClientTransaction
from sbc.transaction.interface cimport ClientTransactionUser
from sbc.transaction.ledger cimport Ledger
from sbc.transaction.server cimport InviteServerTransaction, ServerTransaction


cdef class TransactionLayer(Ledger):
    cpdef object request_received(self, Request request, Flow flow)
    cpdef object response_received(self, Response response, Flow flow)
    cdef ClientTransaction send(
        self,
        Request request,
        Flow flow,
        ClientTransactionUser user,
        str branch,
        double timeout,
        double interval,
        double proceeding_timeout,
    )
    cdef ClientTransaction send_ready(
        self,
        str method,
        int method_code,
        bytes data,
        Flow flow,
        ClientTransactionUser user,
        str branch,
        double timeout,
        double interval,
        double proceeding_timeout,
    )
    cpdef object send_stateless(self, Request request, Flow flow, str branch)
    cdef object _pass_up(self, ServerTransaction transaction, Request request, double trying_after)
    cdef InviteServerTransaction _invite_of(self, Request request)
    cdef object _ack_received(self, Request ack, Flow flow)
    cdef object _cancel_received(self, object key, Request request, Flow flow)
