"""Turns of the event loop that need no Python between them: wait, serve the busy sockets, run our timers, wait again.

Not ordinary Python because it is about epoll_wait itself. It knows nothing of what it serves: `sbc.transport.reactor` gives
it descriptors and their readers. Everything else that happens (other descriptors, calls that Twisted has to make) ends the
turns, and Twisted goes on.
"""

from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EINTR, errno
from libc.time cimport timespec

cdef extern from "sys/epoll.h" nogil:
    ctypedef union epoll_data_t:
        int fd
    struct epoll_event:
        unsigned int events
        epoll_data_t data
    int EPOLLIN
    int epoll_wait(int epfd, epoll_event *events, int maxevents, int timeout)

cdef extern from "time.h" nogil:
    int CLOCK_MONOTONIC
    int clock_gettime(int clock, timespec *now)

cdef enum:
    EVENTS = 64
    FOREVER = 3_600_000   # milliseconds; then everything is looked at once more


cdef inline double monotonic() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return now.tv_sec + now.tv_nsec * 1e-9


cdef class Turns:
    """Waits on one epoll descriptor.

    `served` maps descriptors to objects with a `doRead`; `timers`, once set, are run here when they are due; who sets
    `leave` wants the turns to end. All time is that of the monotonic clock.
    """

    cdef int _epoll
    cdef dict _served
    cdef public object timers
    cdef public bint leave

    def __cinit__(self, int epoll, dict served):
        self._epoll = epoll
        self._served = served
        self.timers = None
        self.leave = False

    def take(self, double timeout):
        """At most `timeout` seconds, for ever when negative. Returns `[(descriptor, events), ...]` that are not served here.

        Raises OSError when the kernel refuses to wait.
        """
        cdef epoll_event events[EVENTS]
        cdef double now = monotonic(), deadline = now + timeout, until
        cdef int number, i, milliseconds
        cdef list others = []
        cdef object reader
        cdef object timers = self.timers
        cdef double wake_at = now + FOREVER if timers is None else timers.wake_at
        self.leave = False
        while True:
            until = deadline if timeout >= 0 else now + FOREVER
            if wake_at < until:
                until = wake_at
            # Rounded up: to wake before the time would only be a turn more.
            milliseconds = 0 if until <= now else <int>min((until - now) * 1000 + 0.999, <double>FOREVER)
            with nogil:
                number = epoll_wait(self._epoll, events, EVENTS, milliseconds)
            if number < 0:
                if errno != EINTR:
                    raise OSError(errno, "epoll_wait")
                PyErr_CheckSignals()
                return others
            now = monotonic()
            if timers is not None:
                timers.begin_turn(now)
            try:
                for i in range(number):
                    # An error flag is Twisted's: it means something else for every kind of descriptor.
                    reader = self._served.get(events[i].data.fd) if events[i].events == EPOLLIN else None
                    if reader is None:
                        others.append((events[i].data.fd, events[i].events))
                    else:
                        reader.doRead()
            finally:
                wake_at = now + FOREVER if timers is None else timers.end_turn()
            if others or self.leave or (timeout >= 0 and now >= deadline):
                return others
