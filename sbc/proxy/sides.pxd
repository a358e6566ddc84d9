# What compiled modules may use of sides.py without going through Python. The words are in sides.py.


cdef class Sides:
    cdef tuple _groups
    cdef dict _by_address
    cdef dict _by_host
    cdef list _networks
    cdef dict _known
    cdef dict _groups_known

    cpdef object refresh(self)
    cpdef object server_of(self, object flow)
    cpdef list groups_of(self, object candidate)
