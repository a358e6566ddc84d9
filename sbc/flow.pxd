# What compiled modules may use of flow.py without going through Python. The words are in flow.py.


cdef class Flow:
    cdef readonly str transport
    cdef readonly bint reliable
    cdef public bint gone
    cdef readonly str side
    cdef readonly str via
    cdef readonly bytes via_start
    cdef readonly str contact
    cdef readonly tuple local
    cdef readonly tuple remote
    cdef public object origin
    cdef public long origin_epoch
    cdef public object phone_address

    cpdef object send(self, bytes data)


cdef class AtHand:
    cpdef bytes answer_to(self, bytes data, Flow flow)


cdef class Receiver:
    cpdef bint answered_unread(self, bytes data, Flow flow) except? -1
    cpdef object message_received(self, object message, Flow flow)
    cpdef object malformed_received(self, object error, Flow flow)
    cpdef object datagram_failed(self, bytes quoted, str cause)
    cpdef object flow_failed(self, Flow flow, str cause)
