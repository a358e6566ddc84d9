# What compiled modules may use of destination.py without going through Python. The words are in destination.py.

cimport cython

from sbc.flow cimport Flow
from sbc.location.candidate cimport Candidate
from sbc.proxy.network cimport Network, PhoneAddress
from sbc.proxy.own_routes cimport OwnRoutes
from sbc.proxy.route_cookie cimport RouteCookie
from sbc.proxy.sides cimport Origin, Sides
from sbc.redundancy.group cimport ServerGroup
from sbc.sip.message cimport Request
from sbc.sip.remembered cimport Remembered


@cython.final
cdef class ToServers:
    cdef readonly ServerGroup group
    cdef readonly PhoneAddress phone
    cdef readonly Candidate first
    cdef readonly bint in_dialog
    cdef readonly PhoneAddress peer


@cython.final
cdef class ToPhone:
    cdef readonly PhoneAddress phone
    cdef readonly Candidate candidate
    cdef readonly ServerGroup group
    cdef readonly str request_uri


@cython.final
cdef class ToUs:
    cdef readonly ServerGroup group


@cython.final
cdef class Target:
    cdef bint is_number
    cdef bint has_user
    cdef bint is_pass
    cdef str token
    cdef ServerGroup group
    cdef object _uri
    cdef bint _ours
    cdef long _epoch


cdef class Destinations:
    cdef Sides _sides
    cdef object _registrar
    cdef Network _network
    cdef OwnRoutes _own_routes
    cdef dict _by_domain
    cdef Remembered _targets
    cdef str _path_token

    cpdef object find(self, Request request, Flow flow)
    cdef object reach(self, Target target, Request request, Flow flow)
    cdef bint is_question_to_us(self, Request request, Flow flow)
    cdef bint _only_asks(self, Request request, Target target)
    cdef Target target_of(self, Request request)
    cdef Target _new_target(self, Request request)
    cdef bint _is_ours(self, Target target)
    cdef ServerGroup _group_for(self, Request request, Target target)
    cdef list _take_our_routes(self, Target target, Request request)
    cdef object _untangle_strict_route(self, Request request, list cookies)
    cdef str _contact_behind(self, Target target)
    cdef object _by_cookie(self, Target target, Request request, list cookies, Flow flow, Origin origin)
    cdef PhoneAddress _peer_behind(self, Request request)
    cdef object _for_us(self, Request request, Target target, Origin origin)
    cdef bint _looks_like_phone(self, RouteCookie cookie, Flow flow)


cdef ToServers to_servers(ServerGroup group, PhoneAddress phone, Candidate first, bint in_dialog, PhoneAddress peer)
cdef ToPhone to_phone(PhoneAddress phone, Candidate candidate, ServerGroup group, str request_uri)
cdef ToUs to_us(ServerGroup group)
