# What compiled modules may call in scanner.py without going through Python. The words are in scanner.py.

cimport cython

cdef bytes TOKEN_OCTETS
cdef bytes HOST_OCTETS
cdef bytes IPV6_OCTETS
cdef bytes VALUE_OCTETS

cdef int VIA
cdef int FROM
cdef int TO
cdef int CALL_ID
cdef int CSEQ
cdef int MAX_FORWARDS
cdef int CONTENT_LENGTH
cdef int EXPIRES
cdef int CONTENT_TYPE
cdef int ROUTE
cdef int RECORD_ROUTE
cdef int CONTACT
cdef int AUTHORIZATION
cdef int PROXY_AUTHORIZATION
cdef int WWW_AUTHENTICATE
cdef int PROXY_AUTHENTICATE
cdef int PROXY_REQUIRE
cdef int RETRY_AFTER
cdef int TIMESTAMP


@cython.freelist(256)
cdef class Line:
    cdef bytes data
    cdef Py_ssize_t start
    cdef Py_ssize_t name_end
    cdef Py_ssize_t value_start
    cdef Py_ssize_t value_end
    cdef Py_ssize_t end
    cdef str key
    cdef int bit

    cpdef str value(self)
    cpdef str name(self)


@cython.freelist(16)
cdef class Address:
    cdef Py_ssize_t name_start
    cdef Py_ssize_t name_end
    cdef Py_ssize_t uri_start
    cdef Py_ssize_t uri_end
    cdef Py_ssize_t parameters_start

    cpdef positions(self)


cpdef str text_of(bytes data, Py_ssize_t start, Py_ssize_t end)
cpdef str method_of(bytes data, Py_ssize_t start, Py_ssize_t end)
cpdef Py_ssize_t find_blank(bytes data, Py_ssize_t start, Py_ssize_t end) noexcept
cpdef Py_ssize_t find_line_end(bytes data, Py_ssize_t start, Py_ssize_t end) noexcept
cpdef bint says_sip_2(bytes data, Py_ssize_t start, Py_ssize_t end) noexcept
cpdef Py_ssize_t skip_whitespace(bytes data, Py_ssize_t start, Py_ssize_t end) noexcept
cpdef Py_ssize_t trim_end(bytes data, Py_ssize_t start, Py_ssize_t end) noexcept
cpdef Py_ssize_t skip_octets(bytes data, Py_ssize_t start, Py_ssize_t end, bytes table) noexcept
cpdef Py_ssize_t skip_quoted(bytes data, Py_ssize_t start, Py_ssize_t end) noexcept
cpdef Py_ssize_t find_comma(bytes data, Py_ssize_t start, Py_ssize_t end) noexcept
cpdef Line scan_line(bytes data, Py_ssize_t start, Py_ssize_t end)
cpdef scan_parameters(bytes data, Py_ssize_t start, Py_ssize_t end)
cpdef scan_host_port(bytes data, Py_ssize_t start, Py_ssize_t end)
cpdef scan_via(bytes data, Py_ssize_t start, Py_ssize_t end)
cpdef scan_address(bytes data, Py_ssize_t start, Py_ssize_t end)
cpdef long long scan_number(bytes data, Py_ssize_t start, Py_ssize_t end, long long limit) noexcept
