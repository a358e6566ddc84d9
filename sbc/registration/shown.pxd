# What compiled modules may use of shown.py without going through Python. The words are in shown.py.

from sbc.location.candidate cimport Candidate
from sbc.nonces cimport Nonces
from sbc.redundancy.group cimport ServerGroup
from sbc.registration.bindings cimport Bindings, Upstream
from sbc.sip.message cimport Request


cdef class Shown:
    cdef readonly list entries
    cdef public str spent
    cdef Nonces _nonces

    cdef list are_for(self, Candidate candidate, double now)
    cdef bint issued(self, str nonce, Candidate candidate, double now)
    cdef list are_for_group(self, ServerGroup group, double now)
    cdef list issuers(self, ServerGroup group, double now)
    cdef bint is_new_to(self, Upstream upstream, str name, ServerGroup group, double now)
    cdef bint is_last_of(self, Upstream upstream)
    cdef object accepted_by(self, Candidate candidate, double now)
    cdef str proven_name(self, object file, Request request, list contacts, Bindings bindings, double now)


cdef Shown shown_in(Request request, Nonces nonces)
