"""Branches of ours, and the client transactions that they name (RFC 3261 sections 8.1.1.7 and 17.1.3).

Not ordinary Python because no text is made of a response's branch: it says where its transaction is, and is compared
there octet by octet.
"""

import os

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from libc.string cimport memcmp, memcpy

from sbc.sip.errors import LocalError

from sbc.sip.head cimport Head
from sbc.sip.scanner cimport Octets

cdef extern from "Python.h":
    str PyUnicode_New(Py_ssize_t length, Py_UCS4 largest)
    void *PyUnicode_DATA(object text) noexcept
    const char *PyUnicode_AsUTF8AndSize(str text, Py_ssize_t *size) except NULL

cdef enum:
    COOKIE_LENGTH = 7
    MARK_DIGITS = 10
    PLACE_DIGITS = 6    # 16 million transactions
    RANDOM_DIGITS = 16
    STOCK = 4096

cdef char *_DIGITS = b"0123456789abcdef"

# Asking the kernel for random octets costs more than all else, so it is asked for many at once; none is used twice.
cdef bytes _stock = b""
cdef Py_ssize_t _used = 0


def _forget_stock():
    global _stock
    _stock = b""


os.register_at_fork(after_in_child=_forget_stock)


cdef unsigned long long _random_bits():
    """64 of them."""
    global _stock, _used
    cdef unsigned long long bits
    if _used + 8 > PyBytes_GET_SIZE(_stock):
        _stock = os.urandom(STOCK)
        _used = 0
    memcpy(&bits, PyBytes_AS_STRING(_stock) + _used, 8)
    _used += 8
    return bits


cdef inline char *_write(char *target, unsigned long long number, int digits) noexcept nogil:
    """In hexadecimal, with leading zeros. Returns what is behind it."""
    cdef int place = digits
    while place:
        place -= 1
        target[place] = _DIGITS[number & 15]
        number >>= 4
    return target + digits


cdef class ClientTable:
    """Live client transactions by branch, without hashing: a branch made here has the place of its transaction in it.

    It is the magic cookie, ten digits of the proxy's own (16.6 item 8), `boot`, which tells this process from those before it
    and beside it, the place, and 64 random bits: who has not seen it can forge neither a response nor an ICMP error.
    Transactions with branches made elsewhere are found by a dictionary.
    """

    def __init__(self, str boot):
        self.boot = boot
        self._boot = boot.encode("ascii")
        self._place_at = COOKIE_LENGTH + MARK_DIGITS + <int>PyBytes_GET_SIZE(self._boot)
        self._length = self._place_at + PLACE_DIGITS + RANDOM_DIGITS
        self._transactions = []
        self._branches = []
        self._named = {}

    def __dealloc__(self):
        PyMem_Free(self._free)

    def __len__(self):
        return len(self._transactions) - self._free_count + len(self._named)

    def live(self):
        """All of them, in a list."""
        return [transaction for transaction in self._transactions if transaction is not None] + list(self._named.values())

    cpdef str new_branch(self, unsigned long long mark):
        """A branch for the transaction that is added next. `mark` is 40 bits."""
        cdef str branch
        cdef char *target
        if self._free_count == 0:
            self._make_place()
        branch = PyUnicode_New(self._length, 127)
        target = <char *>PyUnicode_DATA(branch)
        memcpy(target, <const char *>b"z9hG4bK", COOKIE_LENGTH)
        target = _write(target + COOKIE_LENGTH, mark, MARK_DIGITS)
        memcpy(target, PyBytes_AS_STRING(self._boot), PyBytes_GET_SIZE(self._boot))
        target = _write(target + PyBytes_GET_SIZE(self._boot), self._free[self._free_count - 1], PLACE_DIGITS)
        _write(target, _random_bits(), RANDOM_DIGITS)
        self._offered = branch
        return branch

    cdef int _make_place(self) except -1:
        cdef int place = <int>len(self._transactions)
        cdef int *free
        if place >= 1 << 4 * PLACE_DIGITS:
            raise LocalError(f"{place} requests wait for answers")
        if place >= self._room:
            # There may be as many free places as there are places.
            free = <int *>PyMem_Realloc(self._free, 2 * (place + 32) * sizeof(int))
            if free == NULL:
                raise MemoryError
            self._free = free
            self._room = 2 * (place + 32)
        self._transactions.append(None)
        self._branches.append(None)
        self._free[self._free_count] = place
        self._free_count += 1
        return 0

    cpdef object add(self, str branch, object transaction):
        """From now on it is found. LocalError when another one has this branch."""
        cdef int place
        if branch is self._offered:
            self._offered = None
            self._free_count -= 1
            place = self._free[self._free_count]
            self._transactions[place] = transaction
            self._branches[place] = branch
        elif self.find(branch) is None:
            self._named[branch] = transaction
        else:
            raise LocalError(f"branch {branch} is in use by another transaction")

    cpdef object remove(self, str branch):
        """It is over. It must be there."""
        cdef int place = self._place_of(branch)
        # A branch that has been made and not added yet names the place that was free then.
        self._offered = None
        if place < 0:
            del self._named[branch]
            return
        self._transactions[place] = None
        self._branches[place] = None
        self._free[self._free_count] = place
        self._free_count += 1

    cpdef object find(self, str branch):
        """The transaction with this branch, or None."""
        cdef int place = self._place_of(branch)
        return self._named.get(branch) if place < 0 else self._transactions[place]

    cpdef object find_for(self, Head response):
        """`find` for the branch in the top Via of a message. MalformedMessage when it has no usable Via."""
        cdef int place
        response.read_via()
        place = self._place_in(response.via_octets + response.via.branch_start, response.via.branch_end - response.via.branch_start)
        if place >= 0:
            return self._transactions[place]
        return self._named.get(response.branch_text()) if self._named else None

    cdef int _place_of(self, str branch) except -2:
        cdef Py_ssize_t length
        cdef const char *octets
        if not branch.isascii():  # none of ours
            return -1
        octets = PyUnicode_AsUTF8AndSize(branch, &length)
        return self._place_in(<Octets>octets, length)

    cdef int _place_in(self, Octets octets, Py_ssize_t length) noexcept:
        """Where the transaction with this branch is; -1 when at no place."""
        cdef unsigned int place = 0, digit
        cdef int at
        cdef object known
        if length != self._length:
            return -1
        for at in range(self._place_at, self._place_at + PLACE_DIGITS):
            digit = octets[at]
            # What is no digit makes a place too, but the branch there will be another one.
            place = 16 * place + (digit & 15 if digit <= 0x39 else (digit + 9) & 15)
        if place >= <size_t>len(self._branches):
            return -1
        known = self._branches[place]
        if known is None or memcmp(PyUnicode_DATA(known), octets, length) != 0:
            return -1
        return <int>place
