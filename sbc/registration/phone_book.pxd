# The fields, and what compiled modules may call without going through Python. The words are in phone_book.py.

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
from sbc.registration.targets cimport Target
from sbc.sip.message cimport Request


cdef class PhoneBook(ExchangeUser):
    cdef readonly object clock
    cdef public object moved_here
    cdef object _wall_clock
    cdef object _store
    cdef Reports _reports
    cdef TokenMaker _tokens
    cdef readonly Accounts _accounts
    cdef readonly Quarantine _quarantine
    cdef Archive _archive
    cdef readonly ExpiryQueue _expiry
    cdef readonly dict _at
    cdef readonly dict _under_way
    cdef readonly Refreshes refreshes
    cdef public long long _cseq_floor
    cdef readonly object upkeep
    cdef dict _duties
    cdef dict _held_requests
    cdef dict _missed_removals
    cdef dict _resyncs
    cdef set _limits

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
    cdef object _refuse(self, Binding binding, Upstream upstream, ServerGroup group, str reason)
    cdef object _save(self, Exchange exchange)
    cdef object _keep(self, Binding binding)

