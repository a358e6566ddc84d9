# What compiled modules may use of targets.py without going through Python. The words are in targets.py.

from sbc.redundancy.group cimport ServerGroup


cdef class Target:
    cdef readonly object settings
    cdef readonly str name
    cdef readonly long rank
    cdef readonly str series
    cdef readonly bint registers
    cdef readonly bint path
    cdef readonly bint trusted
    cdef public str realm
    cdef long long _longest
    cdef long long _least

    cdef object insists_on(self, long long least)
    cdef long long time_to_ask(self, Targets targets, long long wanted)


cdef class Targets:
    cdef readonly ServerGroup group
    cdef readonly str group_name
    cdef readonly list servers
    cdef readonly list registrars
    cdef readonly list asked
    cdef readonly double register_wait
    cdef readonly long wrong_password_tries
    cdef public str goal
    cdef readonly bint concurrent
    cdef readonly str refresh_check
    cdef readonly object extensions
    cdef readonly str challenge_method
    cdef readonly bint shared_nonce
    cdef readonly tuple one_realm
    cdef readonly double short_grant
    cdef readonly long long phone_expires
    cdef object _actions
    cdef long long _min_expires

    cdef Target named(self, str name)
    cdef long long time_to_tell(self, long long granted, long long wanted)
    cdef bint may_move_on(self, int status)
