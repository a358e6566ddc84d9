# The fields of the registrar, and what compiled modules may call without going through Python. The words are in
# registrar.py.

from sbc.clock cimport Timer
from sbc.events cimport Reports
from sbc.flow cimport Flow
from sbc.redundancy.group cimport ServerGroup
from sbc.registration.accounts cimport Accounts
from sbc.registration.archive cimport Archive
from sbc.registration.bindings cimport Binding, Upstream
from sbc.registration.contacts cimport Contact, TokenMaker
from sbc.registration.exchange cimport Exchange, ExchangeUser
from sbc.registration.expiry cimport ExpiryQueue
from sbc.registration.leg cimport Leg
from sbc.registration.quarantine cimport Quarantine
from sbc.registration.refreshes cimport Refreshes
from sbc.registration.targets cimport Target, Targets
from sbc.sip.message cimport Request, Response
from sbc.transaction.server cimport ServerTransaction


cdef class Registrar(ExchangeUser):
    cdef readonly object clock
    cdef public object moved_here
    cdef object _flow_to
    cdef dict _flows
    cdef double _flows_until
    cdef object _wall_clock
    cdef object _store
    cdef Reports _reports
    cdef TokenMaker _tokens
    cdef readonly Accounts _accounts
    cdef readonly Quarantine _quarantine
    cdef Archive _archive
    cdef readonly ExpiryQueue _expiry
    cdef readonly dict _targets
    cdef readonly dict _at
    cdef public object groups
    cdef readonly dict refused_here
    cdef readonly dict _under_way
    cdef list _restored
    cdef readonly Refreshes refreshes
    cdef public long long _cseq_floor
    cdef long long _serial
    cdef readonly object upkeep
    cdef dict _duties
    cdef dict _held_requests
    cdef dict _missed_removals
    cdef dict _resyncs
    cdef set _limits

    cpdef object register_received(self, ServerTransaction transaction, Request request, ServerGroup group)
    cpdef ServerGroup kind_of_sender(self, ServerGroup group, Request request, Flow flow)
    cdef object _begin_under_way(self, Exchange exchange, Contact contact)
    cdef Targets _targets_of(self, ServerGroup group)
    cdef list _contacts(self, Request request, str aor)
    cdef bint _is_in_order(self, ServerTransaction transaction, Request request, list contacts)
    cdef object _overtake(self, Exchange exchange)
    cdef object _supersede(self, Exchange exchange, str host)
    cdef Binding _bind(self, Exchange exchange, Leg leg, Contact contact, double expires_at, double now)
    cdef object _note_agent(self, Binding binding, Request request)
    cdef object _disbelieve(self, Binding binding, Exchange exchange, Target accepted_by)
    cdef object _make_room(self, str aor)
    cdef Upstream _upstream_of(self, Binding binding, str server, Exchange exchange)
    cdef object _remove(self, Exchange exchange)
    cdef object _unbind(self, Binding binding, str reason)
    cdef object _is_no_longer_there(self, Binding binding)
    cdef object _forget(self, Binding binding)
    cdef object _change(self, Binding binding, Upstream upstream, str state, str reason)
    cdef bint _is_wrong_again(self, Exchange exchange, Leg leg)
    cdef object _count_rejection(self, Exchange exchange, str server)
    cdef str _token_of(self, list contacts, str aor)
    cdef object _note_nonce(self, Exchange exchange, Leg leg, Binding binding, Upstream upstream)
    cdef object _note_challenge(self, Exchange exchange, Leg leg)
    cdef object _presume_challenge(self, Exchange exchange, Leg leg, Binding binding)
    cdef long long _limit_of(self, Binding binding)
    cdef object _count_refused(self, str group, str reason)
    cdef int _retry_after(self, list contacts)
    cdef list _have_heard(self, Exchange exchange)
    cdef object _refuse(self, Binding binding, Upstream upstream, ServerGroup group, str reason)
    cdef object _append_others(self, Exchange exchange, Response response, double now)
    cdef object _keep(self, Binding binding)
    cdef object _save(self, Exchange exchange)
