# What compiled modules may use of routes.py without going through Python. The words are in routes.py.

from sbc.proxy.destination cimport ToPhone, ToServers
from sbc.proxy.nonce_pins cimport NoncePins
from sbc.proxy.response_context cimport Branch, Route
from sbc.sip.message cimport Request, Response


cdef class RecordRoutes:
    cdef bytes _key
    cdef dict _known

    cdef object put_on(self, Request request, object candidate, object phone, object inner, object outer)
    cdef list _lines(self, object candidate, object phone, object inner, object outer)


cdef class Ways:
    cdef object clock
    cdef object flows
    cdef RecordRoutes record_routes
    cdef NoncePins pins


cdef class ServersRoute(Route):
    cdef Ways _ways
    cdef object _group
    cdef object _phone
    cdef object _plan
    cdef str _method
    cdef object _came_in
    cdef object _dialog_server
    cdef list _ended

    cdef object _begin(self, Ways ways, ToServers destination, object plan, str method, object came_in)


cdef class ByeRoute(ServersRoute):
    cdef object _peer
    cdef double _deadline
    cdef object _peer_attempt
    cdef bint _servers_over


cdef class PhoneRoute(Route):
    cdef Ways _ways
    cdef ToPhone _destination
    cdef object _came_in
    cdef double _timeout
    cdef bint _asked
    cdef str _failure


cdef ServersRoute new_servers_route(Ways ways, ToServers destination, object plan, str method, object came_in)
cdef ByeRoute new_bye_route(Ways ways, ToServers destination, object plan, object came_in, double deadline)
cdef PhoneRoute new_phone_route(Ways ways, ToPhone destination, object came_in, double timeout)
cdef object towards_phone(object flows, object phone)
