# What compiled modules may use of turns.py without going through Python. The words are in turns.py.

from sbc.flow cimport Flow
from sbc.location.candidate cimport Candidate
from sbc.registration.bindings cimport Binding, Upstream
from sbc.registration.leg cimport Leg
from sbc.registration.rota cimport Rota
from sbc.registration.shown cimport Shown
from sbc.registration.targets cimport Target, Targets
from sbc.sip.message cimport Request


cdef class Turns:
    cdef readonly Binding binding
    cdef readonly Rota rota
    cdef readonly str answers
    cdef readonly bint at_home
    cdef readonly bint is_known
    cdef readonly Leg leg
    cdef object _books
    cdef Targets _targets
    cdef object _credentials
    cdef Request _request
    cdef str _call_id
    cdef bint _begins_anew
    cdef str _trial
    cdef bint _is_split

    cdef object _begin(self, double now)
    cdef object _learn(self, str method, str reason, double now)
    cdef bint wants(self, Target target)
    cdef bint _waits(self, Upstream upstream, double now)
    cdef list standings(self, double now)
    cdef object arrived(self, Shown shown, double now)
    cdef object refused(self, Shown shown, Candidate candidate, double now)
    cdef object _give_up(self, str server, str said, double now)
    cdef object _spare_kind(self, double now)
    cdef bint _is_of(self, tuple patterns)
    cdef object _trial_over(self, str left, double now)
    cdef bint _is_on_trial(self, Upstream upstream)
    cdef object _forgive(self, double now)
    cdef object _spare_other_realms(self, double now)
    cdef object _pass_over_realm(self, Upstream upstream, str what_it_does, double now)
    cdef str _other_realm(self, Upstream upstream)
    cdef str next(self, double now)
    cdef str _fresh_before(self, str name, double now)
    cdef str _home(self, str but, double now)
    cdef str next_at_once(self, double now)
    cdef bint may_be_asked(self, Target target, double now)
    cdef object take(self, list legs, Shown shown, double now)
    cdef str _next_elsewhere(self, list legs, double now)
    cdef bint _take_trial(self, list legs, double now)
    cdef object _leave_out_other_realms(self, list legs, double now)
    cdef bint _is_asked_together(self, Leg leg, Shown shown, double now)
    cdef bint _has_no_place(self, str name, double now)
    cdef bint is_besides(self, Leg leg)
    cdef bint is_together(self, Leg leg)
    cdef list without_reserves(self, list legs, bint answered, double now)
    cdef object challenged(self, Leg leg, list others, double now)
    cdef double time_held(self, str but, double now)
    cdef bint is_held(self, str but, double now)
    cdef object leave_out_brief(self, double now)
    cdef bint is_left_out(self, Target target, double now)
    cdef long long grant(self, bint is_held, double now)
    cdef object _say_what_to_do(self, list lacking)
    cdef double _time_at_others(self, double now)


cdef bint is_brief(Upstream upstream, Targets targets)
cdef bint wants_phone(Target target, Upstream upstream, object credentials)
cdef Turns turns_for(object books, Targets targets, Binding binding, Flow flow, Request request, double now)
