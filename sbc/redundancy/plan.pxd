# What compiled modules may use of plan.py without going through Python. The words are in plan.py.

cimport cython

from sbc.location.candidate cimport Candidate
from sbc.redundancy.outcome cimport Outcome


cdef class Option:
    cdef readonly object server
    cdef readonly Candidate candidate
    cdef readonly tuple preference


@cython.final
cdef class Attempt:
    cdef readonly str server
    cdef readonly Candidate candidate
    cdef readonly double timeout
    cdef readonly double interval
    cdef readonly bint last
    cdef readonly int number
    cdef readonly int sends
    cdef readonly bint cut_short


@cython.final
cdef class Tried:
    cdef readonly Attempt attempt
    cdef readonly Outcome outcome
    cdef readonly double started
    cdef readonly double ended
    cdef readonly Tried before


cdef class PlanWitness:
    cpdef object attempt_ended(self, str method, Tried tried)
    cpdef object request_moved(self, str method, Tried failed, Attempt following)


@cython.final
cdef class Terms:
    cdef object status_failover
    cdef object timing
    cdef double interval
    cdef PlanWitness witness

    cdef Attempt attempt(self, Option option, bint is_invite, bint last, int number, double remaining)


@cython.final
cdef class Changes:
    cdef public long long number


@cython.final
cdef class Order:
    cdef Terms terms
    cdef object _work_out
    cdef Changes _changes
    cdef long long _as_of
    cdef list _options
    cdef Attempt _first_of_invite
    cdef Attempt _first_of_other

    cdef list options(self)
    cdef Attempt first_attempt(self, bint is_invite, double remaining)


@cython.final
cdef class AttemptPlan:
    cdef readonly str method
    cdef readonly double deadline
    cdef readonly bint exhausted
    cdef Order _order
    cdef bint _is_invite
    cdef bint _in_dialog
    cdef Attempt _current
    cdef double _started
    cdef Tried _last
    cdef tuple _left_servers
    cdef bint _over

    cdef object _begin(self, str method, Order order, double deadline, bint in_dialog)
    cpdef Attempt next(self, double now)
    cpdef object record(self, Attempt attempt, Outcome outcome, double now)
    cdef object leave_out(self, str server_name)
    cdef Attempt _further_attempt(self, double remaining)
    cdef bint _may_try(self, Option option)
    cdef object _verdict(self, Attempt attempt, Outcome outcome, double now)


cdef AttemptPlan new_plan(str method, Order order, double deadline, bint in_dialog)
