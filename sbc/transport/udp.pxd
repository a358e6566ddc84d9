# What compiled modules may use of udp.py without going through Python. The words are in udp.py.

from sbc.flow cimport Flow, Receiver
from sbc.transport._datagrams cimport Datagrams


cdef class UdpFlow(Flow):
    cdef UdpTransport _transport
    cdef readonly bytes raw
    cdef str _host
    cdef int _port


cdef class UdpTransport:
    cdef readonly str name
    cdef readonly str side
    cdef readonly int family
    cdef readonly tuple local
    cdef readonly long internal_errors
    cdef public object own_addresses_forgotten
    cdef object _reactor
    cdef public Receiver _receiver
    cdef object _place
    cdef public object _socket
    cdef public dict _flows
    cdef dict _flows_to
    cdef Datagrams _datagrams
    cdef bint _in_batch
    cdef object _look_again

    cpdef object doRead(self)
    cdef object send(self, bytes raw, bytes data)
    cdef object _received(self, bytes data, UdpFlow flow)
