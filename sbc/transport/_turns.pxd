# What compiled modules may use of ext/turns.pyx without going through Python. The words are there.

cdef extern from "sys/epoll.h" nogil:
    ctypedef union epoll_data_t:
        int fd
    struct epoll_event:
        unsigned int events
        epoll_data_t data


cdef class Turns:
    cdef int _epoll
    cdef list _readers  # by their descriptors
    cdef public object timers
    cdef public bint leave

    cdef object _read(self, object reader)
    cdef object _begin(self, double now)
    cdef double _end(self) except? -1
    cdef int _wait(self, epoll_event *events, int milliseconds) except -2
