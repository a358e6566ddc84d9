# The fields of a leg, and what compiled modules may call without going through Python. The words are in leg.py.

cimport cython

from sbc.clock cimport Timer
from sbc.flow cimport Flow
from sbc.location.candidate cimport Candidate
from sbc.redundancy.group cimport ServerGroup
from sbc.redundancy.outcome cimport Outcome
from sbc.redundancy.plan cimport Attempt, AttemptPlan
from sbc.registration.bindings cimport Upstream
from sbc.registration.targets cimport Target, Targets
from sbc.sip.message cimport Request, Response
from sbc.transaction.client cimport ClientTransaction
from sbc.transaction.interface cimport ClientTransactionUser, Transaction
from sbc.transaction.layer cimport TransactionLayer


cdef class LegUser(Timer):
    cdef readonly ServerGroup group
    cdef readonly TransactionLayer layer
    cdef readonly Targets targets
    cdef readonly Request request
    cdef readonly list contacts

    cdef Flow flow_to(self, Candidate candidate)
    cdef Upstream upstream(self, Target target)
    cdef bytes register_at(self, Leg leg, str branch, list credentials)
    cdef list phone_credentials_for(self, Candidate candidate)
    cdef object own_credentials(self, Target target)
    cdef str own_username(self)
    cdef object learn_nonces(self, Response response, Candidate candidate)
    cdef list not_to_follow(self, Leg leg)
    cdef object leg_ended(self, Leg leg)
    cdef object judge_is_slow(self)


cdef class Leg(ClientTransactionUser):
    cdef readonly Target target
    cdef readonly Candidate candidate
    cdef readonly object ending
    cdef readonly Response response
    cdef readonly str reason
    cdef readonly bint own_password_refused
    cdef readonly bint showed_credentials
    cdef readonly bint started
    cdef readonly bint was_hopeless
    cdef bint reserve
    cdef bint free
    cdef bint brief
    cdef public bint slow
    cdef public tuple offered
    cdef readonly list gone_on_from
    cdef LegUser _exchange
    cdef ServerGroup _group
    cdef AttemptPlan _plan
    cdef Attempt _attempt
    cdef ClientTransaction _transaction
    cdef Flow flow
    cdef Upstream upstream
    cdef long long _asked
    cdef list _asked_for_others
    cdef long long _granted
    cdef list _granted_to_others
    cdef bint _lengthened
    cdef int _own_answers
    cdef bint _waiting
    cdef int _highest_provisional

    cpdef object response_received(self, Transaction transaction, Response response)
    cpdef object timed_out(self, Transaction transaction)
    cpdef object transport_failed(self, Transaction transaction, str cause)
    cdef long long asked_for(self, Py_ssize_t place)
    cdef long long granted_for(self, Py_ssize_t place)
    cdef bint is_running(self)
    cdef bint is_hopeless(self)
    cdef bint is_refused(self)
    cdef object start(self)
    cdef object stop(self)
    cdef object _next(self)
    cdef object _send(self)
    cdef list _own_credentials(self)
    cdef object _challenged(self, Response response)
    cdef bint _withdraw(self, Response response)
    cdef bint _lengthen(self, Response response)
    cdef object _observe(self, Response response)
    cdef object _answered(self, Response response)
    cdef object _failed(self, Outcome outcome)
    cdef object _record(self, Outcome outcome)
    cdef object _leave_out(self)
    cdef bint _is_for_phone(self)
    cdef object _accepted(self)
    cdef object _end(self, object ending, str reason)
    cdef object _abandon_transaction(self)
    cdef object _stop_waiting(self)
    cdef double _now(self)


cdef Leg new_leg(LegUser exchange, Target target, AttemptPlan plan)
