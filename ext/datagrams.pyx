# cython: boundscheck=False, wraparound=False
# (All places are below SLOTS or NEAR.)
"""Many datagrams in one system call: recvmmsg and sendmmsg for one UDP socket.

Not ordinary Python because the kernel wants arrays of C structures. It knows nothing of SIP: `sbc.transport.udp` gives it a
socket and a factory for the objects that stand for remote addresses.

Assumptions about bounds: `SLOTS` buffers of `SIZE` bytes, allocated once; a datagram longer than `SIZE` cannot exist in
UDP (65,507 bytes at most), so nothing is ever cut.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_SET_ITEM
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset

cdef extern from "Python.h":
    PyObject *PyList_GET_ITEM(object objects, Py_ssize_t i)

cdef extern from "sys/socket.h" nogil:
    int MSG_DONTWAIT
    struct sockaddr:
        pass
    int recvmmsg(int fd, mmsghdr *vector, unsigned int length, int flags, void *timeout)
    int sendmmsg(int fd, mmsghdr *vector, unsigned int length, int flags)
    ssize_t recvfrom(int fd, void *buffer, size_t length, int flags, sockaddr *address, unsigned int *address_length)
    ssize_t sendto(int fd, const void *buffer, size_t length, int flags, const sockaddr *address, unsigned int address_length)

cdef enum:
    SLOTS = 64         # per system call; at 10,000 messages a second that is 6 ms of traffic
    SIZE = 65536
    ADDRESS = 28       # sizeof(struct sockaddr_in6), the longest address we use
    FEW = 3            # so many are sent faster one by one: the kernel need not read vectors, nor offer others its place
    NEAR = 512         # peers that are found without a look into the dictionary
    LOOK_AGAIN = 8     # so many calls that take one datagram each, then it is seen whether more arrive at a time now
    MOST_LUCK = 8      # so many calls in a row must have found one alone until one is taken at a time


cdef inline void _put(list objects, int i, object new) noexcept:
    """`objects[i] = new`, for a place that is there."""
    cdef PyObject *old = PyList_GET_ITEM(objects, i)
    Py_INCREF(new)
    PyList_SET_ITEM(objects, i, new)
    Py_DECREF(<object>old)


cdef class Datagrams:
    """The receive and send side of one non-blocking UDP socket.

    `peers` maps a raw socket address (as the kernel writes it) to the object that stands for that address; a raw address
    that is not in it is given to `new_peer(raw)`, which returns the object and stores it if it likes.

    The lock of the interpreter is kept during the system calls: they never wait, and giving it up and taking it again
    costs as much as receiving.
    """

    def __cinit__(self, int fd, dict peers, new_peer):
        cdef int i
        self._fd = fd
        self._peers = peers
        self._new_peer = new_peer
        self._out = [None] * SLOTS
        self._out_addresses = [None] * SLOTS
        self._waiting = 0
        self._buffers = <char *>malloc(SLOTS * SIZE)
        self._names = <char *>calloc(SLOTS, ADDRESS)
        self._near_names = <char *>calloc(NEAR, ADDRESS)
        self._near = [None] * NEAR
        self._vectors = <iovec *>calloc(SLOTS, sizeof(iovec))
        self._headers = <mmsghdr *>calloc(SLOTS, sizeof(mmsghdr))
        self._out_vectors = <iovec *>calloc(SLOTS, sizeof(iovec))
        self._out_headers = <mmsghdr *>calloc(SLOTS, sizeof(mmsghdr))
        if (self._buffers == NULL or self._names == NULL or self._near_names == NULL or self._vectors == NULL or self._headers == NULL
                or self._out_vectors == NULL or self._out_headers == NULL):
            raise MemoryError()
        for i in range(SLOTS):
            self._vectors[i].iov_base = self._buffers + i * SIZE
            self._vectors[i].iov_len = SIZE
            self._headers[i].msg_hdr.msg_name = self._names + i * ADDRESS
            self._headers[i].msg_hdr.msg_namelen = ADDRESS
            self._headers[i].msg_hdr.msg_iov = &self._vectors[i]
            self._headers[i].msg_hdr.msg_iovlen = 1
            self._out_headers[i].msg_hdr.msg_iov = &self._out_vectors[i]
            self._out_headers[i].msg_hdr.msg_iovlen = 1

    def __dealloc__(self):
        free(self._buffers)
        free(self._names)
        free(self._near_names)
        free(self._vectors)
        free(self._headers)
        free(self._out_vectors)
        free(self._out_headers)

    cpdef int receive(self):
        """Fetch up to 64 waiting datagrams: how many; 0 when none waits or an ICMP error was pending. Then ask for each."""
        cdef int count = self._receive_one() if self._singly else self._receive_all()
        if count <= 0:
            # EAGAIN, EINTR, or the error of an earlier send: its story is in the error queue.
            return 0
        self.received += count
        return count

    cpdef bytes data(self, int i):
        """What the datagram of this number says; until the next `receive`."""
        return PyBytes_FromStringAndSize(self._buffers + i * SIZE, self._headers[i].msg_len)

    cpdef object peer(self, int i):
        """Who sent it."""
        cdef const unsigned char *name = <const unsigned char *>self._names + i * ADDRESS
        cdef unsigned int length = self._headers[i].msg_hdr.msg_namelen
        # The port and the end of an IPv4 address tell the neighbours of a site apart; others are found by the dictionary.
        cdef int place = (name[2] ^ (name[3] * 5) ^ (name[7] * 29)) % NEAR
        cdef char *near = self._near_names + place * ADDRESS
        cdef bytes raw
        cdef object peer
        self._headers[i].msg_hdr.msg_namelen = ADDRESS  # the kernel has put there what the address needs
        if memcmp(near, name, length) == 0 and (peer := self._near[place]) is not None:
            return peer
        raw = PyBytes_FromStringAndSize(<const char *>name, length)
        peer = self._peers.get(raw)
        if peer is None:
            peer = self._new_peer(raw)
        self._near[place] = peer
        memset(near, 0, ADDRESS)
        memcpy(near, name, length)
        return peer

    cpdef object forget(self):
        """`peers` has lost some."""
        self._near = [None] * NEAR

    cdef int _receive_one(self):
        """While they come one by one: one call that can take no more. Returns 1, or -1."""
        cdef ssize_t length
        cdef unsigned int address_length = ADDRESS
        length = recvfrom(self._fd, self._buffers, SIZE, MSG_DONTWAIT, <sockaddr *>self._names, &address_length)
        self._singly -= 1
        if length < 0:
            return -1
        self._headers[0].msg_hdr.msg_namelen = address_length
        self._headers[0].msg_len = <unsigned int>length
        return 1

    cdef int _receive_all(self):
        """Returns how many came, -1 for none. Of a call's messages half come together, of registrations none."""
        cdef int count = recvmmsg(self._fd, self._headers, SLOTS, MSG_DONTWAIT, NULL)
        if count > 1:
            self._luck = min(self._luck + 2, MOST_LUCK)
        elif self._luck > 0:
            self._luck -= 1
        elif count == 1:
            self._singly = LOOK_AGAIN
        return count

    cpdef list queue(self, bytes raw_address, bytes data):
        """Take a datagram to be sent with the next `flush`, which happens by itself when 64 wait, and returns the same."""
        cdef int i = self._waiting
        # What the arrays point at must live until it is sent; it stays until its place is needed.
        _put(self._out, i, data)
        _put(self._out_addresses, i, raw_address)
        self._out_headers[i].msg_hdr.msg_name = PyBytes_AS_STRING(raw_address)
        self._out_headers[i].msg_hdr.msg_namelen = <unsigned int>PyBytes_GET_SIZE(raw_address)
        self._out_vectors[i].iov_base = PyBytes_AS_STRING(data)
        self._out_vectors[i].iov_len = PyBytes_GET_SIZE(data)
        self._waiting = i + 1
        if i + 1 == SLOTS:
            return self.flush()
        return None

    cdef int _send(self, int first, int number):
        """Like sendmmsg: how many were sent, -1 when not even the first."""
        cdef msghdr *message = &self._out_headers[first].msg_hdr
        if number > FEW:
            return sendmmsg(self._fd, self._out_headers + first, number, MSG_DONTWAIT)
        return 1 if sendto(
            self._fd, message.msg_iov.iov_base, message.msg_iov.iov_len, MSG_DONTWAIT,
            <sockaddr *>message.msg_name, message.msg_namelen,
        ) >= 0 else -1

    cpdef list flush(self):
        """Send what waits. Returns None, or `[(data, errno), ...]` of datagrams that the kernel refused for good."""
        cdef int length = self._waiting, first = 0, count, tries = 0, error
        cdef list failed = None
        if length == 0:
            return None
        while first < length:
            count = self._send(first, length - first)
            error = errno
            if count > 0:
                self.sent += count
                first += count
                tries = 0
                continue
            if error == EINTR:
                continue
            if error == EAGAIN:
                # UDP may lose; the transaction sends again. Waiting here would stop every call.
                self.dropped += length - first
                break
            tries += 1
            if tries <= 2:
                continue  # the pending ICMP error of an earlier datagram is reported once, on whichever call comes next
            if failed is None:
                failed = []
            failed.append((self._out[first], error))
            first += 1
            tries = 0
        self._waiting = 0
        return failed
