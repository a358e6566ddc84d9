# What compiled modules may use of routes.py without going through Python. The words are in routes.py.

from sbc.clock cimport TimerQueue
from sbc.flow cimport Flow
from sbc.proxy.destination cimport ToPhone, ToServers
from sbc.proxy.network cimport Network
from sbc.proxy.nonce_pins cimport NoncePins
from sbc.proxy.own_routes cimport OwnRoutes
from sbc.proxy.response_context cimport Route
from sbc.redundancy.plan cimport Attempt, AttemptPlan
from sbc.sip.message cimport Request


cdef class Ways:
    cdef TimerQueue queue
    cdef Network network
    cdef OwnRoutes own_routes
    cdef NoncePins pins
    cdef object large
    cdef object registrations


cdef class ServersRoute(Route):
    cdef Ways _ways
    cdef ToServers _destination
    cdef AttemptPlan _plan
    cdef Flow _came_in
    cdef bint _is_large
    cdef Attempt _by_tcp
    cdef Attempt _once_more

    cdef object _begin(self, Ways ways, ToServers destination, AttemptPlan plan, Flow came_in, Request request)


cdef class ByeRoute(ServersRoute):
    cdef double _deadline
    cdef Attempt _peer_attempt
    cdef bint _servers_over


cdef class PhoneRoute(Route):
    cdef Ways _ways
    cdef ToPhone _destination
    cdef Flow _came_in
    cdef double _timeout
    cdef bint _asked
    cdef str _failure
    cdef Request _request


cdef ServersRoute new_servers_route(Ways ways, ToServers destination, AttemptPlan plan, Flow came_in, Request request)
cdef ByeRoute new_bye_route(
    Ways ways, ToServers destination, AttemptPlan plan, Flow came_in, Request request, double deadline
)
cdef PhoneRoute new_phone_route(Ways ways, ToPhone destination, Flow came_in, Request request, double timeout)
