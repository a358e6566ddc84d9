# What compiled modules may call in matching.py without going through Python. The words are in matching.py.

from sbc.sip.message cimport Request


cdef class ClientTable:
    cdef readonly str boot
    cdef Py_ssize_t _length
    cdef Py_ssize_t _place_at
    cdef list _transactions
    cdef list _branches
    cdef list _middles
    cdef list _free
    cdef dict _named
    cdef str _offered

    cpdef str new_branch(self, unsigned long long mark)
    cdef object add(self, str branch, object transaction)
    cdef object remove(self, str branch)
    cdef object find(self, str branch)
    cdef Py_ssize_t _place_of(self, str branch) noexcept


cpdef object server_key(Request request, str method)
cpdef bint from_rfc2543(object key)
