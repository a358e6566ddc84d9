# What compiled modules may use of story.py without going through Python. The words are in story.py.

from sbc.events cimport RegistrationChanged

cpdef str became(RegistrationChanged event)
cpdef str level_of_registration(RegistrationChanged event)
cpdef str text_of_registration(RegistrationChanged event)
cpdef str printable(str text)
