# What compiled modules may use of sides.py without going through Python. The words are in sides.py.

cimport cython

from sbc.flow cimport Flow
from sbc.location.candidate cimport Candidate
from sbc.proxy.route_cookie cimport RouteCookie


@cython.final
cdef class Origin:
    cdef readonly Candidate candidate
    cdef readonly tuple groups


cdef class Sides:
    cdef tuple _groups
    cdef dict _by_address
    cdef dict _by_host
    cdef dict _listed
    cdef list _networks
    cdef long _epoch

    cpdef object refresh(self)
    cpdef Origin server_of(self, Flow flow)
    cdef Origin _find_server_of(self, Flow flow)
    cdef list groups_of(self, RouteCookie cookie)
