# The fields of the file that every new registration is noted in. The words are in notes.py.


cdef class Notes:
    cdef public int _file
    cdef public long long _size

    cpdef bint note(self, bytes line)
