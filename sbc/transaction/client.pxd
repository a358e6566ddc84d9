# What the compiled layer may call in client.py without going through Python. The words are in client.py.

from sbc.flow cimport Flow
from sbc.sip.message cimport Request, Response
from sbc.transaction.interface cimport ClientTransactionUser
from sbc.transaction.ledger cimport Ledger
from sbc.transaction.machine cimport Machine, Table

cdef Table _INVITE
cdef Table _NON_INVITE


cdef class ClientTransaction(Machine):
    cdef ClientTransactionUser user
    cdef readonly str branch
    cdef readonly double started
    cdef readonly bint provisional_seen
    cdef bytes _data
    cdef double _give_up_at
    cdef double _constant_interval
    cdef double _interval

    cdef object _begin(
        self, Ledger layer, Request request, Flow flow, ClientTransactionUser user, str branch, double timeout, double interval
    )
    cdef object _begin_ready(
        self,
        Ledger layer,
        str method,
        int method_code,
        bytes data,
        Flow flow,
        ClientTransactionUser user,
        str branch,
        double timeout,
        double interval,
    )
    cpdef object response_received(self, Response response)
    cpdef object transport_failed(self, str cause)
    cpdef object give_up(self)
    cpdef object terminate(self)
    cdef object _report(self, Response response)
    cdef object _end(self)
    cdef object _time_out(self)
    cdef object _fail(self, str cause)
    cdef object _report_and_let_go(self, ClientTransactionUser user, Response response)
    cdef object _wait_for_response(self, double now, int again, int over)
    cdef object _send_again(self)


cdef class InviteClientTransaction(ClientTransaction):
    cdef bint _cancel_sent

    cpdef object cancel(self)
    cdef object _act(self, int action, object what)
    cdef object _retransmit(self)
    cdef object _proceed(self, Response response)
    cdef object _proceed_and_cancel(self, Response response)
    cdef object _cancel(self)
    cdef bint _send_cancel(self)
    cdef object _accept(self, Response response)
    cdef object _complete(self, Response response)
    cdef object _refused(self, Response response)
    cdef object _abandon_silently(self)
    cdef object _abandon(self)
    cdef object _cancel_late(self, Response response)
    cdef object _report_late(self, Response response)
    cdef object _complete_late(self, Response response)


cdef class NonInviteClientTransaction(ClientTransaction):
    cdef double _proceeding_timeout

    cdef object _act(self, int action, object what)
    cdef object _retransmit(self, double interval)
    cdef object _proceed(self, Response response)
    cdef object _allow(self, double timeout)
    cdef object _complete(self, Response response)


cdef InviteClientTransaction start_invite(
    Ledger layer, Request request, Flow flow, ClientTransactionUser user, str branch, double timeout, double interval
)
cdef NonInviteClientTransaction start_non_invite(
    Ledger layer,
    Request request,
    Flow flow,
    ClientTransactionUser user,
    str branch,
    double timeout,
    double interval,
    double proceeding_timeout,
)
cdef NonInviteClientTransaction start_ready(
    Ledger layer,
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
