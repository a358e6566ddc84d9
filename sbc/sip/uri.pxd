# What compiled modules may use of uri.py without going through Python. The words are in uri.py.


cdef class SipUri:
    cdef public str scheme
    cdef public str user
    cdef public str password
    cdef public str host
    cdef public object port
    cdef public dict parameters
    cdef public str headers


cpdef SipUri read_uri(str text)
