# What compiled modules may use of story.py without going through Python. The words are in story.py.

from sbc.events cimport RegistrationChanged

cpdef tuple line_of_registration(RegistrationChanged event)
cpdef str printable(str text)
