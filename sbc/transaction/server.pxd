# What the compiled layer may call in server.py without going through Python. The words are in server.py.

from sbc.flow cimport Flow
from sbc.sip.message cimport Request, Response
from sbc.transaction.ledger cimport Ledger
from sbc.transaction.machine cimport Machine, Table

cdef Table _INVITE
cdef Table _NON_INVITE


cdef class ServerTransaction(Machine):
    cdef readonly object key
    cdef bytes _last_sent
    cdef str _to_tag_sent
    cdef int _final_status

    cdef object _begin(self, Ledger layer, object key, Request request, Flow flow)
    cpdef object respond(self, Response response)
    cpdef object refuse(self, Response response)
    cdef object request_repeated(self)
    cdef object await_response(self, double trying_after)
    cdef object _send(self, Response response)
    cdef object _send_trying(self)
    cdef object _send_final(self, Response response)
    cdef object _repeat(self)
    cdef object _end(self)


cdef class InviteServerTransaction(ServerTransaction):
    cdef double _interval
    cdef double _give_up_at

    cdef bint is_ack_of(self, Request ack)
    cpdef object refuse(self, Response response)
    cdef object ack_received(self, Request ack, Flow flow)
    cdef object _act(self, int action, object what)
    cdef object _provide(self, Response response)
    cdef object _accept(self, Response response)
    cdef object _send_success(self, Response response)
    cdef object _refuse(self, Response response)
    cdef object _wait_for_ack(self, double now)
    cdef object _repeat_by_timer(self)
    cdef object _confirm(self)


cdef class NonInviteServerTransaction(ServerTransaction):
    cdef object _act(self, int action, object what)
    cdef object _complete(self, Response response)


cdef InviteServerTransaction start_invite_server(Ledger layer, object key, Request request, Flow flow)
cdef NonInviteServerTransaction start_non_invite_server(Ledger layer, object key, Request request, Flow flow)
