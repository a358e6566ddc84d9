# The fields, and what compiled modules may call without going through Python. The words are in registrar.py.

from sbc.flow cimport Flow
from sbc.redundancy.group cimport ServerGroup
from sbc.registration.contacts cimport Contact
from sbc.registration.exchange cimport Exchange
from sbc.registration.settlement cimport Settlement
from sbc.registration.targets cimport Targets
from sbc.sip.message cimport Request
from sbc.transaction.server cimport ServerTransaction


cdef class Registrar(Settlement):
    cdef object _flow_to
    cdef dict _flows
    cdef double _flows_until
    cdef readonly dict _targets
    cdef public object groups
    cdef list _restored
    cdef long long _serial

    cpdef object register_received(self, ServerTransaction transaction, Request request, ServerGroup group)
    cdef int _retry_after(self, list contacts, str group, Flow flow)
    cdef object _begin_under_way(self, Exchange exchange, Contact contact)
    cdef object _forget_servers(self)
    cdef Targets _targets_of(self, ServerGroup group)
    cpdef ServerGroup kind_of_sender(self, ServerGroup group, Request request, Flow flow)
    cdef list _contacts(self, Request request, str aor)
    cdef str _token_of(self, list contacts, str aor)
    cdef bint _is_in_order(self, ServerTransaction transaction, Request request, list contacts)
