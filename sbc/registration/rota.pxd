# What compiled modules may use of rota.py without going through Python. The words are in rota.py.


cdef class Standing:
    cdef readonly str name
    cdef readonly long rank
    cdef readonly double remaining
    cdef readonly bint alive
    cdef readonly bint waits
    cdef readonly bint brief


cdef class Rota:
    cdef readonly str method
    cdef readonly double since
    cdef readonly str passed_over
    cdef public tuple together
    cdef public str spent
    cdef public int trials
    cdef public str reserved
    cdef dict _left_out
    cdef str _pending
    cdef double _pending_since
    cdef str _pending_call_id
    cdef bint _was_second
    cdef str _unheard_by
    cdef int _unheard
    cdef str _struck_at
    cdef int _strikes
    cdef int _short_grants
    cdef double _until
    cdef str _until_call_id
    cdef int _lates

    cpdef object begin(self, str method, double now)
    cpdef str arrived(self, str call_id, str answers, double now)
    cpdef object prolonged(self, double until)
    cpdef object challenged(self, str server, str call_id, bint second, double now)
    cpdef bint unheard(self, str server)
    cpdef object accepted(self, str server, bint is_new)
    cpdef object given_up(self, str server)
    cpdef object leave_out(self, str server, double until)
    cpdef double left_out_until(self, str server)
    cpdef bint may_be_short(self)
    cpdef object granted(self, double seconds, bint is_short, bint is_complete, str call_id, double now)
    cpdef bint is_to_begin_again(self, double now)
