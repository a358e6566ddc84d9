# What compiled modules may use of branches.pyx without going through Python. The words are in ext/branches.pyx.

from sbc.sip.head cimport Head
from sbc.sip.scanner cimport Octets


cdef class ClientTable:
    cdef readonly str boot
    cdef bytes _boot
    cdef int _place_at       # where in a branch made here the place stands
    cdef Py_ssize_t _length  # of such a branch
    cdef list _transactions  # None where a place is free
    cdef list _branches      # the branch of each
    cdef int *_free          # an array of `_room` places, `_free_count` of them in use
    cdef int _free_count
    cdef int _room
    cdef dict _named         # {branch made elsewhere: transaction}
    cdef str _offered        # the branch made last

    cpdef str new_branch(self, unsigned long long mark)
    cdef int _make_place(self) except -1
    cpdef object add(self, str branch, object transaction)
    cpdef object remove(self, str branch)
    cpdef object find(self, str branch)
    cpdef object find_for(self, Head response)
    cdef int _place_of(self, str branch) except -2
    cdef int _place_in(self, Octets octets, Py_ssize_t length) noexcept
