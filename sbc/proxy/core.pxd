# The fields of the compiled proxy. The words are in core.py.

from sbc.events cimport Reports
from sbc.flow cimport Flow
from sbc.location.candidate cimport Candidate
from sbc.proxy.destination cimport Destinations
from sbc.proxy.destination cimport ToPhone as _ToPhone
from sbc.proxy.destination cimport ToServers as _ToServers
from sbc.proxy.destination cimport ToUs as _ToUs
from sbc.proxy.network cimport Network
from sbc.proxy.overload cimport Overload
from sbc.proxy.response_context cimport ResponseContext, Surroundings
from sbc.proxy.routes cimport Ways
from sbc.proxy.sides cimport Sides
from sbc.proxy.validation cimport Branches
from sbc.sip.message cimport Request, Response
from sbc.transaction.interface cimport Transaction
from sbc.transaction.server cimport ServerTransaction


cdef class Proxy(Surroundings):
    cdef readonly object registrar
    cdef public bint draining
    cdef public Overload overload
    cdef public object elsewhere
    cdef str _name
    cdef Reports _reports
    cdef Branches _branches
    cdef Network _network
    cdef Ways _ways
    cdef object _late
    cdef object _unserved
    cdef Py_ssize_t _under_way
    cdef dict _moved
    cdef dict _incomplete
    cdef Sides _sides
    cdef Destinations _destinations

    cpdef str side_of(self, Flow flow)
    cdef bint from_server(self, Flow flow) except? -1
    cpdef bint answered_at_once(self, Request request, Flow flow)
    cpdef object request_received(self, Transaction received, Request request)
    cpdef object ack_received(self, Request request, Flow flow)
    cpdef object cancel_received(self, Transaction invite, Request request)
    cpdef object stray_response_received(self, Response response, Flow flow)
    cpdef object server_transaction_ended(self, Transaction transaction)
    cdef object _forward(self, ServerTransaction transaction, Request request, object destination)
    cdef object _remember_moved(self, ResponseContext context, Candidate candidate)
    cdef object _refuse_when_full(self, Request request)
