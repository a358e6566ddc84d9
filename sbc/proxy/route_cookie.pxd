# What compiled modules may use of route_cookie.py without going through Python. The words are in route_cookie.py.

from sbc.location.candidate cimport Candidate
from sbc.proxy.network cimport PhoneAddress


cdef class RouteCookie:
    cdef readonly Candidate candidate
    cdef readonly PhoneAddress phone
    cdef list groups
    cdef long groups_epoch

    cdef bint same_as(self, RouteCookie other) noexcept
