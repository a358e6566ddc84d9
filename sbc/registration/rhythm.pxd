# What compiled modules may use of rhythm.py without going through Python. The words are in rhythm.py.

from sbc.registration.bindings cimport Binding, Upstream
from sbc.registration.targets cimport Targets


cdef object settle_times(Binding binding, Targets targets, object resync, double now)
cdef bint is_well(Binding binding, Targets targets)
cdef double due_at(Upstream upstream, double lead, double now)
