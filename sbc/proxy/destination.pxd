# What compiled modules may use of destination.py without going through Python. The words are in destination.py.

from sbc.proxy.sides cimport Sides
from sbc.sip.message cimport Request


cdef class ToServers:
    cdef readonly object group
    cdef readonly object phone
    cdef readonly object first
    cdef readonly bint in_dialog
    cdef readonly object peer


cdef class ToPhone:
    cdef readonly object phone
    cdef readonly object candidate
    cdef readonly object group
    cdef readonly str request_uri


cdef class ToUs:
    cdef readonly object group


cdef class Destinations:
    cdef Sides _sides
    cdef object _registrar
    cdef object _is_ours
    cdef bytes _key
    cdef dict _by_domain
    cdef dict _phones

    cpdef object find(self, Request request, object flow)
    cpdef object group_for(self, Request request)
    cdef list _take_our_routes(self, Request request)
    cdef object _untangle_strict_route(self, Request request, list cookies)
    cdef object _by_cookie(self, Request request, list cookies, object flow, object origin)
    cdef object _peer_behind(self, Request request)
    cdef object _phone_address(self, object flow)
