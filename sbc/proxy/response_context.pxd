# What compiled modules may use of response_context.py without going through Python. The words are in response_context.py.

from sbc.clock cimport TimerQueue
from sbc.flow cimport Flow
from sbc.location.candidate cimport Candidate
from sbc.redundancy.outcome cimport Outcome
from sbc.redundancy.plan cimport Attempt
from sbc.sip.message cimport Request, Response
from sbc.transaction.client cimport ClientTransaction
from sbc.transaction.interface cimport ClientTransactionUser, Transaction, TransactionUser
from sbc.transaction.layer cimport TransactionLayer
from sbc.transaction.server cimport ServerTransaction


cdef class Route:
    cdef readonly str group_name
    cdef bint may_hold

    cpdef Attempt next(self, double now)
    cpdef Flow flow(self, Attempt attempt)
    cpdef object prepare(self, Request request, Attempt attempt, Flow flow)
    cpdef double time_for(self, Attempt attempt)
    cpdef object wait(self, Attempt attempt, Branch branch)
    cpdef object answered(self, Attempt attempt, Response response, Branch branch)
    cpdef object record(self, Attempt attempt, Outcome outcome, Branch branch)
    cpdef object challenged(self, Request request, Response response, Candidate candidate)
    cpdef bint knows_dialog(self, Candidate candidate)
    cpdef tuple last_words(self, Request request)


cdef class Surroundings(TransactionUser):
    cdef readonly object clock
    cdef readonly TransactionLayer layer
    cdef readonly double t1
    cdef TimerQueue queue

    cdef str new_branch(self, Request request)
    cdef object abandoned(self, Branch branch)
    cdef object unwanted_success(self, Branch branch, Response response)
    cdef object finished(self, ResponseContext context)
    cdef object passed_up(self, ResponseContext context, Response response, Candidate candidate)
    cdef Response local_response(self, Request request, int status, str reason, str detail=*)


cdef class Branch(ClientTransactionUser):
    cdef readonly ResponseContext context
    cdef Branch earlier
    cdef readonly Attempt attempt
    cdef readonly ClientTransaction transaction
    cdef int highest_provisional
    cdef bint answered
    cdef bint ended
    cdef bint cancelled
    cdef bint connected

    cpdef object response_received(self, Transaction transaction, Response response)
    cpdef object timed_out(self, Transaction transaction)
    cpdef object transport_failed(self, Transaction transaction, str cause)
    cdef object _give_up(self, Outcome outcome)
    cdef object fire(self)


cdef class ResponseContext:
    cdef Surroundings around
    cdef readonly ServerTransaction transaction
    cdef readonly Request request
    cdef readonly Route route
    cdef Branch latest
    cdef list responses
    cdef bint final_sent
    cdef bint cancelled
    cdef bint is_invite
    cdef bint set_up_reported
    cdef bint _abandoned
    cdef bint _patience_left
    cdef double started
    cdef object _patience

    cdef object start(self)
    cdef object _try_next(self)
    cdef object _begin(self, Attempt attempt, Flow flow, double timeout)
    cdef object _send(self, Branch branch, Flow flow, double timeout)
    cdef object branch_given_up(self, Branch branch, Outcome outcome)
    cdef object rang_too_long(self, Branch branch)
    cdef object provisional_received(self, Branch branch, Response response)
    cdef object final_received(self, Branch branch, Response response)
    cpdef bint success_received(self, Branch branch, Response response)
    cdef object _exhausted(self)
    cdef object _answer(self, Response response, Branch branch)
    cdef object _pass_up(self, Response response, Branch branch)
    cdef object _respond(self, Response response, Branch branch)
    cdef object _let_go(self)
    cdef object cancel(self)
    cdef object _answer_cancelled(self)
    cdef object _cancel(self, Branch branch)
    cdef object _cancel_others(self, Branch chosen)


cdef ResponseContext new_context(Surroundings around, ServerTransaction transaction, Request request, Route route)
