# What compiled modules may use of answers.py without going through Python. The words are in answers.py.

from sbc.registration.leg cimport Leg
from sbc.sip.message cimport Request, Response


cdef Response answer_to(Request request, int status, str reason)
cdef Response passed_on(Request request, Response answer)
cdef Response challenges_of(Request request, Leg leg, list others)
cdef Response nobody_answered(Request request, str group_name, list legs)
