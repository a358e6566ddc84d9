# What compiled modules may use of ext/datagrams.pyx without going through Python. The words are there.

cdef extern from "sys/uio.h" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len

# mmsghdr hides behind _GNU_SOURCE, which Python.h defines before any system header comes in.
cdef extern from "sys/socket.h" nogil:
    struct msghdr:
        void *msg_name
        unsigned int msg_namelen
        iovec *msg_iov
        size_t msg_iovlen
        void *msg_control
        size_t msg_controllen
        int msg_flags
    struct mmsghdr:
        msghdr msg_hdr
        unsigned int msg_len


cdef class Datagrams:
    cdef int _fd
    cdef dict _peers
    cdef object _new_peer
    cdef char *_buffers
    cdef char *_names
    cdef char *_near_names
    cdef list _near
    cdef iovec *_vectors
    cdef mmsghdr *_headers
    cdef iovec *_out_vectors
    cdef mmsghdr *_out_headers
    cdef list _out
    cdef list _out_addresses
    cdef int _waiting
    cdef int _singly  # so many receive calls for one datagram each are ahead
    cdef int _luck  # above 0: more than one came together, lately
    cdef readonly unsigned long long received
    cdef readonly unsigned long long sent
    cdef readonly unsigned long long dropped  # the socket's send buffer was full

    cpdef int receive(self)
    cpdef bytes data(self, int i)
    cpdef object peer(self, int i)
    cpdef object forget(self)
    cdef int _receive_one(self)
    cdef int _receive_all(self)
    cdef int _send(self, int first, int number)
    cpdef list queue(self, bytes raw_address, bytes data)
    cpdef list flush(self)
