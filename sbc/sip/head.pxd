# What compiled modules may use of head.pyx without going through Python. The words are in ext/head.pyx; the list of what
# there is for neighbours, in message.pxd.

cimport cython

from sbc.sip.lines cimport Lines
from sbc.sip.remembered cimport Remembered
from sbc.sip.scanner cimport Line, Octets, ViaParts

# Schemes of a Request-URI.
cpdef enum:
    OTHER_SCHEME = 0
    SIP_SCHEME = 1
    SIPS_SCHEME = 2
    TEL_SCHEME = 3
    URN_SCHEME = 4


# A piece of bytes that something else keeps alive.
cdef struct Piece:
    Octets octets
    int start
    int end


@cython.no_gc  # here and in head.pyx: subclasses look here
cdef class Head(Lines):
    cdef public str method
    cdef public int method_code
    cdef public int scheme
    cdef public int _status
    cdef ViaParts via               # of the top Via, true after `read_via`
    cdef Octets via_octets          # what its offsets are into
    cdef long long _cseq
    cdef int _cseq_code
    cdef int _max_forwards          # -1 without the header
    cdef Piece _uri
    cdef Piece _call_id
    cdef Piece _cseq_method
    cdef Piece _from_tag
    cdef Piece _to_tag
    # The same as text; None until someone asks for it.
    cdef str _uri_text
    cdef str _reason
    cdef str _branch
    cdef str _call_id_text
    cdef str _cseq_method_text
    cdef str _from_tag_text
    cdef str _to_tag_text
    # The same as objects, for those who look into them; made by message.py.
    cdef public object _top_via
    cdef public object _from
    cdef public object _to
    cdef public object _uri_object

    cpdef object read(self, bytes data, Py_ssize_t start, bint is_request)
    cdef object _read_request_line(self, Py_ssize_t start, Py_ssize_t end)
    cdef object _read_status_line(self, Py_ssize_t start, Py_ssize_t end)
    cdef int _check(self, bint is_request) except -1
    cpdef bint answerable(self)
    cpdef object copy_head_to(self, Head other)

    cpdef int read_via(self) except -1
    cdef int read_call_id(self) except -1
    cdef int read_cseq(self) except -1
    cdef int read_from_tag(self) except -1
    cdef int read_to_tag(self) except -1
    cdef int _via_in(self, Line *line) except -1
    cdef int _tag_in(self, Line *line, Piece *tag) except -1
    cdef int _call_id_in(self, Line *line) except -1
    cdef int _cseq_in(self, Line *line) except -1

    cpdef str branch_text(self)
    cpdef bytes branch_bytes(self)
    cpdef str call_id_text(self)
    cpdef bytes call_id_bytes(self)
    cpdef long long cseq_number(self) except -1
    cpdef int cseq_code(self) except -1
    cpdef str cseq_method_text(self)
    cpdef str from_tag_text(self)
    cpdef bytes from_tag_bytes(self)
    cpdef str to_tag_text(self)
    cpdef bytes to_tag_bytes(self)
    cpdef bint has_to_tag(self) except -1
    cpdef str request_uri_text(self)
    cpdef bytes request_uri_bytes(self)
    cpdef object request_uri_in(self, Remembered remembered)
    cpdef int hops_left(self) except? -1
    cpdef str reason_text(self)

    cpdef bytes transaction_key(self, str method)
    cpdef unsigned long long way_hash(self) except? 0

    cpdef str first_line(self)
    cpdef object set_method(self, str method)
    cpdef object set_request_uri(self, str request_uri)
    cpdef object set_status(self, int status, str reason)


cpdef Py_ssize_t start_of(bytes data)
cpdef bint is_response(bytes data, Py_ssize_t start)
