# What compiled modules may use of headers.py without going through Python. The words are in headers.py.

cimport cython

from sbc.sip.uri cimport SipUri


cdef class Via:
    cdef readonly str transport
    cdef readonly str host
    cdef readonly object port
    cdef readonly dict parameters


cdef class NameAddr:
    cdef public str display_name
    cdef public str uri_text
    cdef public dict parameters
    cdef SipUri _uri

    cpdef SipUri read_uri(self)
