# The fields of the compiled layer. The words are in layer.py.
#
# (A name that is cimported cannot be imported from the module by others; those that can be keep their names in Python.)

from sbc.sip.message cimport Request, Response
from sbc.transaction.client cimport ClientTransaction as _Client
from sbc.transaction.ledger cimport Ledger
from sbc.transaction.server cimport InviteServerTransaction
from sbc.transaction.server cimport ServerTransaction as _Server


cdef class TransactionLayer(Ledger):
    cdef public object new_branch

    cpdef object request_received(self, Request request, object flow)
    cpdef object response_received(self, Response response, object flow)
    cdef _Client send(
        self,
        Request request,
        object flow,
        object user,
        str branch,
        double timeout,
        double interval,
        double proceeding_timeout,
    )
    cpdef object send_stateless(self, Request request, object flow, str branch)
    cdef _Client _client(self, str branch, str method)
    cdef object _pass_up(self, _Server transaction, Request request, double trying_after)
    cdef InviteServerTransaction _invite_of(self, Request request)
    cdef object _ack_received(self, Request ack, object flow)
    cdef object _cancel_received(self, object key, Request request, object flow)
