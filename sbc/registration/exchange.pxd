# The fields of an exchange, and what compiled modules may call without going through Python. The words are in
# exchange.py.

from sbc.registration.leg cimport Leg


cdef class Exchange:
    cdef readonly object group
    cdef readonly object request
    cdef readonly str aor
    cdef readonly list contacts
    cdef readonly object serial
    cdef readonly bint is_query
    cdef readonly bint is_removal
    cdef readonly object phone_flow
    cdef readonly object clock
    cdef readonly object layer
    cdef readonly object flow_to
    cdef readonly bint accepted
    cdef readonly bint proven
    cdef readonly str username
    cdef readonly bint answered
    cdef object _registrar
    cdef object _transaction
    cdef str _user
    cdef list _shown
    cdef dict _upstreams
    cdef object _template
    cdef tuple _from
    cdef list _legs
    cdef bint _deciding
    cdef bint _decide_again
    cdef object _deadline_timer
    cdef object _hedge_timer
    cdef object _wait_timer

    cdef bint _is_over(self)
    cdef object _order_judges(self)
    cdef object _accepted_by(self, Leg leg)
    cdef object _not_accepted_by(self, Leg leg)
    cdef object _decide(self)
    cdef object _decide_once(self)
    cdef list _running_legs(self)
    cdef bint _is_decided(self)
    cdef bint _is_better_running(self, Leg than)
    cdef object _start_legs(self)
    cdef object _ask_another(self, list waiting)
    cdef object _stop_hedging(self)
    cdef object _expires_of(self, object contact, object server)
    cdef object _make_template(self)
    cdef list _accepted_legs(self)
    cdef object _answer(self)
    cdef object _answer_success(self, list accepted)
    cdef object _pass_challenge(self, Leg leg)
    cdef object _pass_refusal(self, object response)
    cdef object _nobody_answered(self)
    cdef object _respond(self, int status, object reason, list headers)
