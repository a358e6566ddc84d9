# What compiled modules may call in matching.py without going through Python. The words are in matching.py.

cpdef object server_key(object request, str method)
cpdef bint from_rfc2543(object key)
