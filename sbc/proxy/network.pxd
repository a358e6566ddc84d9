# What compiled modules may use of network.py without going through Python. The words are in network.py.

from sbc.flow cimport Flow
from sbc.location.candidate cimport Candidate


cdef class PhoneAddress:
    cdef readonly str transport
    cdef readonly str host
    cdef readonly int port
    cdef readonly int local_port
    cdef object written
    cdef Candidate _candidate
    cdef Flow _flow
    cdef long _flow_epoch

    cdef bint same_as(self, PhoneAddress other) noexcept
    cdef Candidate candidate(self)


cdef class Network:
    cdef readonly long epoch
    cdef object _flows
    cdef object _is_ours
    cdef dict _to_servers
    cdef Candidate _latest_server
    cdef Flow _latest_flow
    cdef double _look_again

    cdef object look(self, double now)
    cdef bint is_ours(self, object uri)
    cdef Flow to_server(self, Candidate candidate)
    cdef Flow to_phone(self, PhoneAddress phone)
    cdef Flow to_contact(self, PhoneAddress phone, str contact)


cpdef long new_epoch()
cdef PhoneAddress phone_behind(Flow flow)
