# What compiled modules may use of clock.py without going through Python. The words are in clock.py.


cdef class Timer:
    cdef double due
    cdef long long order
    cdef Waiting waiting
    cdef Timer before
    cdef Timer behind
    cdef Py_ssize_t place

    cdef object unarmed(self)
    cdef object disarm(self)
    cdef object fire(self)


cdef class Call(Timer):
    cdef object _function
    cdef tuple _args


cdef class Waiting:
    cdef Timer first
    cdef Py_ssize_t number

    cdef object add(self, Timer timer)
    cdef object remove(self, Timer timer)


cdef class Lane(Waiting):
    cdef double delay
    cdef Timer last


cdef class Heap(Waiting):
    cdef list _timers

    cdef object _put(self, Timer timer, Py_ssize_t place)
    cdef object _rise(self, Timer timer, Py_ssize_t place)
    cdef object _sink(self, Timer timer, Py_ssize_t place)


cdef class TimerQueue:
    cdef readonly object seconds
    cdef object _clock
    cdef list _lanes
    cdef list _nearest
    cdef Heap _heap
    cdef long long _order
    cdef object _wakeup
    cdef readonly double wake_at
    cdef double _stands_at
    cdef bint _driven
    cdef double _last_run
    cdef bint _running

    cpdef double now(self)
    cdef double finish_turn(self) except? -1
    cdef object arm(self, Timer timer, double now, double delay)
    cdef Lane _lane_of(self, double delay)
    cdef object arm_at(self, Timer timer, double due)
    cdef object _add(self, Timer timer, Waiting home)
    cdef Timer _first(self)
    cdef object _disarm(self)
    cdef object _wake_for(self, double due)
    cpdef object run_due(self)
