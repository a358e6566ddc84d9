# What compiled modules may use of results.py without going through Python. The words are in results.py.

from sbc.registration.leg cimport Leg
from sbc.registration.targets cimport Targets


cdef bint are_running(list legs)
cdef bint is_decided(list legs, Targets targets)
cdef bint is_untrusted_alive(list legs, bint is_renewal)
cdef bint is_password_refused(list legs, Leg by_better_than)
cdef Leg best_accepted(list legs)
cdef long long shortest_time(list legs, Py_ssize_t place)
cdef object sort_by_rank(list legs)
