# What compiled modules may use of message.py without going through Python. The words are in message.py.

from sbc.sip.headers cimport Via
from sbc.sip.scanner cimport Line


cdef class Message:
    cdef readonly bytes data
    cdef Py_ssize_t _start
    cdef Py_ssize_t _start_end
    cdef list _lines
    cdef bytes _body
    cdef Py_ssize_t _body_start
    cdef Py_ssize_t _body_end
    cdef int _bits
    cdef str _call_id
    cdef long long _cseq
    cdef str _cseq_method
    cdef str _from_tag
    cdef str _to_tag
    cdef object _from
    cdef object _to
    cdef Via _top_via

    cdef void _reset(self)
    cdef void _forget(self, int bits)
    cdef void _copy_to(self, Message other)
    cdef void _read_call_id(self)
    cdef void _read_cseq(self)
    cdef void _read_from_tag(self)
    cdef void _read_to_tag(self)
    cdef void _read_top_via(self)
    cdef Line _required(self, int bit)
    cdef long long _number(self, int bit, long long limit)
    cdef bint may_have(self, int bits) noexcept
    cdef Py_ssize_t _place_of(self, int bit) noexcept
    cdef bint has_one(self, int bit) noexcept
    cdef str first_of(self, int bit)
    cdef Py_ssize_t _find(self, str key) noexcept
    cpdef object get(self, str name)
    cpdef list get_all(self, str name)
    cpdef object set(self, str name, str value)
    cdef void _replace(self, list new, str key)
    cpdef object prepend(self, str name, str value)
    cdef Py_ssize_t _below_vias(self) noexcept
    cdef void put_first(self, Line line)
    cpdef object remove(self, str name)
    cdef void drop_first(self, int bit)
    cdef void _take_first(self, Py_ssize_t place)
    cpdef bytes to_bytes(self, bint stream=*)
    cdef bytes _start_line(self)


cdef class Request(Message):
    cdef readonly str method
    cdef str _request_uri
    cdef object _uri
    cdef int _max_forwards

    cpdef Request copy(self)
    cdef int hops_left(self)
    cdef void allow_hops(self, int number)
    cdef bytes _start_line(self)


cdef class Response(Message):
    cdef int _status
    cdef str _reason

    @staticmethod
    cdef Response trying(Request request)
    cpdef Response copy(self)
    cdef bytes _start_line(self)


cdef Line new_line(str name, str value)
