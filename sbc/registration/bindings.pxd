# The fields of a binding, and what compiled modules may call without going through Python. The words are in bindings.py.

cimport cython

from sbc.flow cimport Flow
from sbc.registration.contacts cimport Contact


@cython.no_gc
cdef class Question:
    cdef readonly object credentials
    cdef readonly str realm
    cdef public str announced


@cython.no_gc  # nothing that it holds ever points back at it
cdef class Upstream:
    cdef public str server
    cdef public str state
    cdef public str reason
    cdef public double expires_at
    cdef public long long cseq
    cdef public object digest
    cdef public double registered_at
    cdef public object candidate
    cdef public str nonce
    cdef public double due_at
    cdef public double retry_at
    cdef public int failures
    cdef public bint wants_phone
    cdef public Question question


@cython.no_gc  # only its `refresh` does, and goes with `Refreshes.forget`
cdef class Binding:
    cdef public str token
    cdef public str group
    cdef public str aor
    cdef public str contact
    cdef public str agent
    cdef public str username
    cdef public str method
    cdef public str method_reason
    cdef public str call_id
    cdef public long long cseq
    cdef public str transport
    cdef public str host
    cdef public int port
    cdef public str local_host
    cdef public int local_port
    cdef public double granted
    cdef public double expires_at
    cdef public double quiet_until
    cdef public double grace
    cdef public double spare
    cdef public object rota
    cdef public double queued_for
    cdef public bint unsaved
    cdef public object refresh
    cdef public object extras
    cdef public tuple upstreams
    cdef str gruu
    cdef Contact read

    cdef Upstream at(self, str server)
    cdef double lapses_at(self)


cdef class Bindings:
    cdef dict _by_token
    cdef Binding _last
    cdef dict _by_aor
    cdef dict _connected

    cdef Binding find(self, str token)
    cdef Py_ssize_t number(self, str aor)
    cdef bint is_alone(self, Binding binding)
    cdef Binding spelled(self, str aor, str contact)
    cpdef object add(self, Binding binding)
    cpdef object remove(self, Binding binding)
    cdef object move(self, Binding binding, str transport, str host, int port, str local_host, int local_port)
    cdef object _arrive(self, Binding binding)
    cdef object _leave(self, Binding binding)


cpdef bint gives_up_realm(Upstream upstream)
cdef bint is_from(Binding binding, Flow flow)
