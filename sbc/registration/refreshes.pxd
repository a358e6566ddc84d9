# The fields of refreshes.py, and what compiled modules may call without going through Python. The words are there.

cimport cython

from sbc.clock cimport TimerQueue
from sbc.flow cimport AtHand, Flow
from sbc.registration.archive cimport Archive
from sbc.registration.bindings cimport Binding, Bindings
from sbc.registration.expiry cimport ExpiryQueue
from sbc.registration.quarantine cimport Quarantine
from sbc.registration.targets cimport Targets
from sbc.sip.message cimport Request, Response
from sbc.sip.stencil cimport Stencil
from sbc.transaction.server cimport ServerTransaction


@cython.final
cdef class Extras:
    cdef bytes lines
    cdef bint has_date
    cdef bint has_expires


@cython.final
cdef class Refresh:
    cdef Binding binding
    cdef Targets targets
    cdef Stencil stencil
    cdef bytes key
    cdef unsigned long long branch
    cdef int misfits
    cdef bint settled
    cdef long long cseq
    cdef long long wanted
    cdef long long usual
    cdef bint wants_gruu
    cdef long long told


cdef class Refreshes(AtHand):
    cdef object _nonces
    cdef TimerQueue _queue
    cdef object _wall_clock
    cdef Bindings _bindings
    cdef Archive _archive
    cdef ExpiryQueue _expiry
    cdef dict _under_way
    cdef Quarantine _quarantine
    cdef dict _by_call_id
    cdef dict _extras
    cdef dict _counts
    cdef str _counting
    cdef long long _count
    cdef bytes _date
    cdef double _date_until
    cdef set _limits
    cdef object _upkeep

    cpdef bytes answer_to(self, bytes data, Flow flow)
    cdef bint _is_settled(self, Binding binding)
    cdef long long _limited(self, Binding binding, long long seconds, double now)
    cdef bint is_unchanged(
        self,
        ServerTransaction transaction,
        Request request,
        Targets targets,
        list contacts,
        str agent,
        object credentials,
    )
    cdef long long _seconds_unread(self, Refresh refresh, long long cseq, double now)
    cdef object _drop_stencil(self, Refresh refresh)
    cdef object _keep_stencil(self, Refresh refresh, Request request, bytes repeated, bytes rest)
    cdef object forget(self, Binding binding)
    cdef object _renewed(self, Binding binding, long long seconds, double now)
    cdef bytes _rest(self, Binding binding, long long seconds, double now)
    cdef object learn(self, Binding binding, Response response)
