# What compiled modules may use of order.py without going through Python. The words are in order.py.

cimport cython

from sbc.location.candidate cimport Candidate
from sbc.redundancy.plan cimport Changes, Order, Terms


@cython.final
cdef class Orders:
    cdef readonly Changes changes
    cdef object _settings
    cdef bint _bye_failover
    cdef bint _load_balancing
    cdef frozenset _first_server_only
    cdef Terms _terms
    cdef object _usable
    cdef object _well
    cdef list _options
    cdef Candidate _working
    cdef dict _anywhere
    cdef dict _first_server
    cdef dict _pinned_only
    cdef dict _registration

    cdef Order for_request(self, str method, Candidate first)
    cdef Order for_registration(self, str name)
    cdef Order for_registration_among(self, frozenset names)


cdef list without_repetition(list options)
