# The fields of an exchange, and what compiled modules may call without going through Python. The words are in
# exchange.py.

cimport cython

from sbc.clock cimport TimerQueue
from sbc.location.candidate cimport Candidate
from sbc.registration.bindings cimport Bindings, Upstream
from sbc.registration.leg cimport Leg, LegUser
from sbc.sip.message cimport Request, Response
from sbc.flow cimport Flow
from sbc.registration.rejections cimport Rejections
from sbc.registration.shown cimport Shown
from sbc.registration.targets cimport Target, Targets
from sbc.registration.turns cimport Turns
from sbc.registration.written cimport Template
from sbc.transaction.layer cimport TransactionLayer
from sbc.transaction.server cimport ServerTransaction


cdef class ExchangeUser:
    cdef readonly TransactionLayer layer
    cdef TimerQueue queue
    cdef public object credentials
    cdef readonly Bindings bindings
    cdef readonly object nonces
    cdef readonly Rejections rejections
    cdef public str boot

    cdef Flow server_flow(self, Candidate candidate)
    cdef str query_token(self, str aor)
    cdef Upstream new_upstream(self, str server)
    cdef long long next_cseq(self, Upstream upstream)
    cdef object let_in(self, Exchange exchange)
    cdef object accepted(self, Exchange exchange, Leg leg)
    cdef object not_accepted(self, Exchange exchange, Leg leg)
    cdef object refused_untried(self, Exchange exchange)
    cdef object not_waited_for(self, Exchange exchange, Leg leg)
    cdef object final_word(self, Exchange exchange, int status)
    cdef long long grant_of_turns(self, Exchange exchange)
    cdef list held_back(self, Exchange exchange)
    cdef bint asks_once_more(self, Exchange exchange, Leg leg)
    cdef long long settle(self, Exchange exchange, Response response)
    cdef object answered(self, Exchange exchange, Response response)
    cdef object exchange_over(self, Exchange exchange)


@cython.final
cdef class Exchange(LegUser):
    cdef readonly str aor
    cdef readonly long long serial
    cdef readonly bint is_query
    cdef readonly bint is_removal
    cdef readonly Flow phone_flow
    cdef readonly bint accepted
    cdef readonly bint proven
    cdef readonly str username
    cdef readonly str nonce
    cdef readonly str realm
    cdef readonly bint answered
    cdef bint contested
    cdef ExchangeUser _registrar
    cdef TimerQueue _queue
    cdef ServerTransaction _transaction
    cdef str _user
    cdef str _token
    cdef Shown _shown
    cdef readonly Turns turns
    cdef readonly bint is_endless
    cdef readonly bint asks_once_more
    cdef bint _is_held
    cdef long long _grant
    cdef long long _least_grant
    cdef list _upstreams
    cdef Template _template
    cdef list _legs
    cdef bint _all_started
    cdef bint _deciding
    cdef bint _decide_again
    cdef double _deadline
    cdef bint _waits
    cdef Leg _judge

    cdef object start(self)
    cdef bint _is_over(self)
    cdef object release(self)
    cdef object supersede(self)
    cdef object _leave_held_back(self)
    cdef object _make_legs(self, list targets, double now)
    cdef bint _is_restricted(self, double now)
    cdef object _make_allowed_legs(self, double now)
    cdef bint _is_any_judge(self, list targets)
    cdef bint _asks_for_password(self, Target target)
    cdef bint _renews_at(self, Target target)
    cdef bint _is_refused_at(self, Target target, str call_id, double now)
    cdef object _order_judges(self, double now)
    cdef bint _is_passed_on(self, Leg leg)
    cdef Leg _holder_to_convince(self)
    cdef list _challenges_together(self)
    cdef bint is_wrong_password(self, Leg leg)
    cdef bint _holds_without(self, Leg leg)
    cdef object _hold(self)
    cdef object _accepted_by(self, Leg leg)
    cdef object _not_accepted_by(self, Leg leg)
    cdef object _decide(self)
    cdef object _decide_once(self)
    cdef bint _is_decided(self)
    cdef object _start_legs(self)
    cdef bint _is_worth_another(self)
    cdef object _ask_another(self)
    cdef object _stop_hedging(self)
    cdef long long told(self, Py_ssize_t place)
    cdef bint asks_for_gruu(self)
    cdef object _answer(self)
    cdef object _answer_success(self, Leg best)
    cdef object _pass_challenge(self, Leg leg, list others)
    cdef object _pass_refusal(self, Response refusal)
    cdef object _respond(self, Response response)


cdef Exchange new_exchange(
    ExchangeUser registrar,
    ServerTransaction transaction,
    Request request,
    Targets targets,
    str aor,
    str user,
    list contacts,
    long long serial,
)
