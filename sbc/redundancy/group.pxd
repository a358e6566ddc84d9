# What compiled modules may use of group.py without going through Python. The words are in group.py.

cimport cython

from sbc.events cimport Reports
from sbc.location.candidate cimport Candidate
from sbc.redundancy.health cimport CandidateHealth
from sbc.redundancy.order cimport Orders
from sbc.redundancy.outcome cimport Outcome
from sbc.redundancy.plan cimport AttemptPlan, PlanWitness


@cython.final
cdef class _Witness(PlanWitness):
    cdef str _group
    cdef Reports _reports
    cdef object registers


cdef class ServerGroup:
    cdef readonly object settings
    cdef readonly str name
    cdef readonly str kind
    cdef readonly str key
    cdef readonly bint of_several_kinds
    cdef readonly list kinds
    cdef ServerGroup _group
    cdef list _everyone
    cdef object _phone_kinds
    cdef Reports _reports
    cdef list _options
    cdef dict _health
    cdef list _listed
    cdef list _listed_health
    cdef dict _ttl
    cdef dict _waiting
    cdef bint _link_up
    cdef bint _uplink_up
    cdef double _settled_at
    cdef double _quiet_until
    cdef tuple _registrars
    cdef bint _registration_brings_back
    cdef bint _concurrent
    cdef bint _asks_by_register
    cdef set _usable_registrars
    cdef readonly bint all_accept
    cdef tuple _told_followers
    cdef Orders _orders
    cdef object _working
    cdef object _probes
    cdef object _timing
    cdef bint _on_enable
    cdef frozenset _register_before
    cdef public list followers
    cdef list _removed
    cdef double _removed_at
    cdef _Witness _witness

    cpdef AttemptPlan plan(
        self, str method, double now, Candidate first=*, bint in_dialog=*, object deadline=*
    )
    cpdef list register_plans(self, double now, object deadline=*)
    cdef AttemptPlan register_plan(self, str server_name, double now, double latest)
    cdef AttemptPlan register_plan_among(self, frozenset names, double now, double latest)
    cdef bint may_register_first(self, str method)
    cpdef bint may_accept(self, str server_name)
    cpdef object observe(self, Candidate candidate, Outcome outcome, double now, str method)
    cdef object observe_status(self, Candidate candidate, int status, double now, str method)
    cdef bint _is_as_ever(self, Candidate candidate, int status, double now, str method)
    cpdef object waiting(self, Candidate candidate, object callback)
    cpdef object done(self, Candidate candidate, object callback)
    cpdef object advance(self, double now)
    cdef CandidateHealth _health_of(self, Candidate candidate)
    cdef ServerGroup _whole_group(self)
