# What compiled modules may call in matching.py without going through Python. The words are in matching.py.

from sbc.sip.message cimport Request


cpdef object server_key(Request request, str method)
cpdef bint from_rfc2543(object key)
