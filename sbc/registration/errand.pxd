# The fields of an errand, and what compiled modules may call without going through Python. The words are in errand.py.

from sbc.location.candidate cimport Candidate
from sbc.registration.bindings cimport Binding
from sbc.registration.exchange cimport ExchangeUser
from sbc.registration.leg cimport Leg, LegUser
from sbc.registration.targets cimport Target
from sbc.registration.written cimport Template


cdef class Errand(LegUser):
    cdef readonly Binding binding
    cdef readonly Target target
    cdef readonly bint is_removal
    cdef readonly object ending
    cdef readonly str reason
    cdef readonly int status
    cdef readonly long long seconds
    cdef readonly Candidate candidate
    cdef readonly bint own_password_refused
    cdef readonly bint used_credentials
    cdef readonly int sent
    cdef ExchangeUser _registrar
    cdef Leg _leg
    cdef object _done
    cdef str _user
    cdef Template _template
