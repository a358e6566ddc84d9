# cython: boundscheck=False, wraparound=False
# (All places are below NEAR.)
"""What has been read of some octets, found again where the same octets come in another message.

Not ordinary Python because it looks at octets where they stand: a dictionary would want an object of them, and its hash, for
each look. There is a dictionary too; what it was asked for lately stands before it, each in the one place that its octets
give it. Two that share a place push each other out of it, which costs a look into the dictionary and nothing else.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_ITEM
from libc.stdint cimport uint64_t
from libc.string cimport memcmp, memcpy

cdef enum:
    NEAR = 256
    SHORT = 8  # so many octets are looked at together; what has fewer is found by the dictionary


cdef inline unsigned int _place(Octets octets, Py_ssize_t length) noexcept nogil:
    """Of at least SHORT octets: user parts differ near the beginning, ports at the end, tokens in the middle. (A hash over all
    would find the same at a higher price; who fills a place with a forged one takes nothing but time.)"""
    cdef uint64_t first, middle, last
    memcpy(&first, octets + (SHORT >> 1 if length >= SHORT + (SHORT >> 1) else 0), SHORT)
    memcpy(&middle, octets + ((length - SHORT) >> 1), SHORT)
    memcpy(&last, octets + length - SHORT, SHORT)
    first = (first ^ <uint64_t>length) * <uint64_t>0x9E3779B97F4A7C15
    first = (first ^ first >> 32 ^ middle) * <uint64_t>0xC2B2AE3D27D4EB4F
    first = (first ^ first >> 32 ^ last) * <uint64_t>0x165667B19E3779F9
    return first >> 56


cdef class Remembered:
    """At most `most` objects by the octets they were made of; one more, and all are forgotten."""

    def __cinit__(self, Py_ssize_t most):
        self._most = most
        self._all = {}
        self._forget_near()

    cdef object _forget_near(self):
        self._near_octets = [None] * NEAR
        self._near = [None] * NEAR

    cdef object at(self, Octets octets, Py_ssize_t length):
        """What was kept for these octets, or None."""
        cdef unsigned int place
        cdef object near
        cdef object found
        cdef bytes asked
        if length >= SHORT:
            place = _place(octets, length)
            near = <object>PyList_GET_ITEM(self._near_octets, place)
            if (
                near is not None
                and PyBytes_GET_SIZE(near) == length
                and memcmp(PyBytes_AS_STRING(near), octets, length) == 0
            ):
                return <object>PyList_GET_ITEM(self._near, place)
        asked = PyBytes_FromStringAndSize(<const char *>octets, length)
        found = self._all.get(asked)
        if found is not None and length >= SHORT:
            self._near_octets[place] = asked
            self._near[place] = found
        return found

    cpdef object get(self, bytes octets):
        return self.at(<Octets>PyBytes_AS_STRING(octets), PyBytes_GET_SIZE(octets))

    cpdef object keep(self, bytes octets, object value):
        """Instead of what was kept for them."""
        if len(self._all) >= self._most:
            self._all.clear()
            self._forget_near()
        self._all[octets] = value
        if PyBytes_GET_SIZE(octets) >= SHORT:
            place = _place(<Octets>PyBytes_AS_STRING(octets), PyBytes_GET_SIZE(octets))
            self._near_octets[place] = octets
            self._near[place] = value

    def __len__(self):
        return len(self._all)
