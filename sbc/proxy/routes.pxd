# What compiled modules may use of routes.py without going through Python. The words are in routes.py.

from sbc.clock cimport TimerQueue
from sbc.flow cimport Flow
from sbc.location.candidate cimport Candidate
from sbc.proxy.destination cimport ToPhone, ToServers
from sbc.proxy.network cimport Network
from sbc.proxy.own_routes cimport OwnRoutes
from sbc.proxy.pins cimport Answers, Pins
from sbc.proxy.response_context cimport Route
from sbc.redundancy.group cimport ServerGroup
from sbc.redundancy.plan cimport Attempt, AttemptPlan
from sbc.sip.message cimport Request


cdef class Ways:
    cdef TimerQueue queue
    cdef Network network
    cdef OwnRoutes own_routes
    cdef Pins pins
    cdef object large
    cdef object registrations

    cdef object show_credentials(self, Request request, ServerGroup group, Candidate candidate)
    cdef object withhold(self, Request request, Candidate candidate)


cdef class ServersRoute(Route):
    cdef Ways _ways
    cdef ToServers _destination
    cdef AttemptPlan _plan
    cdef Flow _came_in
    cdef bint _is_large
    cdef Attempt _by_tcp
    cdef Attempt _once_more
    cdef Answers _answers

    cdef object _begin(
        self, Ways ways, ToServers destination, AttemptPlan plan, Flow came_in, Request request, Answers answers
    )
    cdef object _show_credentials(self, Request request, Attempt attempt)


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


cdef ServersRoute new_servers_route(
    Ways ways, ToServers destination, AttemptPlan plan, Flow came_in, Request request, Answers answers
)
cdef ByeRoute new_bye_route(
    Ways ways, ToServers destination, AttemptPlan plan, Flow came_in, Request request, Answers answers, double deadline
)
cdef PhoneRoute new_phone_route(Ways ways, ToPhone destination, Flow came_in, Request request, double timeout)
