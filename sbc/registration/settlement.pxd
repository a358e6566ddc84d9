# The fields, and what compiled modules may call without going through Python. The words are in settlement.py.

from sbc.registration.bindings cimport Binding, Upstream
from sbc.registration.exchange cimport Exchange
from sbc.registration.leg cimport Leg
from sbc.registration.phone_book cimport PhoneBook
from sbc.registration.turns cimport Turns
from sbc.sip.message cimport Response


cdef class Settlement(PhoneBook):
    cdef readonly dict refused_here

    cdef object _overtake(self, Exchange exchange)
    cdef object _supersede(self, Exchange exchange, str host)
    cdef object _note_nonce(self, Exchange exchange, Leg leg, Binding binding, Upstream upstream)
    cdef object _note_challenge(self, Exchange exchange, Leg leg)
    cdef object _count_refused(self, str group, str reason)
    cdef bint _is_wrong_again(self, Exchange exchange, Leg leg)
    cdef object _count_rejection(self, Exchange exchange, str server, bint is_own)
    cdef list _have_heard(self, Exchange exchange)
    cdef object _leave_out_brief(self, Exchange exchange, Turns turns, double now)
    cdef long long _limit_of(self, Binding binding)
    cdef object _presume_challenge(self, Exchange exchange, Leg leg, Binding binding)
    cdef object _append_others(self, Exchange exchange, Response response, double now)
