# cython: boundscheck=False, wraparound=False
# (Descriptors are compared with the length of the list before.)
"""Turns of the event loop that need no Python between them: wait, serve the busy sockets, run our timers, wait again.

Not ordinary Python because it is about epoll_wait itself. It knows nothing of what it serves: `sbc.transport.reactor` gives
it descriptors and their readers. Everything else that happens (other descriptors, calls that Twisted has to make) ends the
turns, and Twisted goes on.
"""

from cpython.exc cimport PyErr_CheckSignals
from cpython.list cimport PyList_GET_SIZE
from libc.errno cimport EINTR, errno
from libc.time cimport timespec

cdef extern from "sys/epoll.h" nogil:
    int EPOLLIN
    int epoll_wait(int epfd, epoll_event *events, int maxevents, int timeout)

cdef extern from "time.h" nogil:
    int CLOCK_MONOTONIC
    int clock_gettime(int clock, timespec *now)

cdef extern from *:
    """
    /* Is there no other thread that could use the interpreter? Whoever starts one makes its state first. */
    static int is_alone(void) {
        return PyThreadState_Next(PyInterpreterState_ThreadHead(PyInterpreterState_Get())) == NULL;
    }
    """
    bint is_alone() noexcept

cdef enum:
    EVENTS = 64
    FOREVER = 3_600_000   # milliseconds; then everything is looked at once more


cdef inline double monotonic() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return now.tv_sec + now.tv_nsec * 1e-9


cdef class Turns:
    """Waits on one epoll descriptor.

    `serve` tells of an object with a `doRead`; `timers`, once set, are run here when they are due; who sets `leave` wants
    the turns to end. All time is that of the monotonic clock.

    What every message passes are C methods, for a subclass that knows the types of what it serves.
    """

    def __cinit__(self, int epoll):
        self._epoll = epoll
        self._readers = []
        self.timers = None
        self.leave = False

    def serve(self, int descriptor, reader):
        """Call `reader.doRead` when there is something to read; not any more when it is None."""
        while PyList_GET_SIZE(self._readers) <= descriptor:
            self._readers.append(None)
        self._readers[descriptor] = reader

    cdef object _read(self, object reader):
        reader.doRead()

    cdef object _begin(self, double now):
        self.timers.begin_turn(now)

    cdef double _end(self) except? -1:
        return self.timers.end_turn()

    cdef int _wait(self, epoll_event *events, int milliseconds) except -2:
        """Like epoll_wait. The lock of the interpreter is given up only where somebody could take it: that costs as much as
        to receive a datagram."""
        cdef int number
        if is_alone():
            return epoll_wait(self._epoll, events, EVENTS, milliseconds)
        with nogil:
            number = epoll_wait(self._epoll, events, EVENTS, milliseconds)
        return number

    def take(self, double timeout):
        """At most `timeout` seconds, for ever when negative. Returns `[(descriptor, events), ...]` that are not served here.

        Raises OSError when the kernel refuses to wait.
        """
        cdef epoll_event events[EVENTS]
        cdef double now = monotonic(), deadline = now + timeout, until, left
        cdef int number, i, milliseconds, descriptor
        cdef list others = []
        cdef list readers = self._readers
        cdef object reader
        cdef bint timed = self.timers is not None
        cdef double wake_at = self.timers.wake_at if timed else now + FOREVER
        self.leave = False
        while True:
            until = deadline if timeout >= 0 else now + FOREVER
            if wake_at < until:
                until = wake_at
            # Rounded up: to wake before the time would only be a turn more.
            left = (until - now) * 1000 + 0.999
            milliseconds = 0 if until <= now else FOREVER if left > FOREVER else <int>left
            number = self._wait(events, milliseconds)
            if number < 0:
                if errno != EINTR:
                    raise OSError(errno, "epoll_wait")
                PyErr_CheckSignals()
                return others
            now = monotonic()
            if timed:
                self._begin(now)
            try:
                for i in range(number):
                    descriptor = events[i].data.fd
                    reader = None
                    # An error flag is Twisted's: it means something else for every kind of descriptor.
                    if events[i].events == EPOLLIN and descriptor < PyList_GET_SIZE(readers):
                        reader = readers[descriptor]
                    if reader is None:
                        others.append((descriptor, events[i].events))
                    else:
                        self._read(reader)
            finally:
                wake_at = self._end() if timed else now + FOREVER
            if others or self.leave or (timeout >= 0 and now >= deadline):
                return others
