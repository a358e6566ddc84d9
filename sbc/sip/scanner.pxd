# What compiled modules may use of scanner.pyx without going through Python. The words are in ext/scanner.pyx.

ctypedef const unsigned char *Octets

# The headers that every message is asked for, and those that a proxy or registrar looks for: one bit each, so that a
# question may be about several of them.
cpdef enum:
    VIA = 1
    FROM = 1 << 1
    TO = 1 << 2
    CALL_ID = 1 << 3
    CSEQ = 1 << 4
    MAX_FORWARDS = 1 << 5
    CONTENT_LENGTH = 1 << 6
    EXPIRES = 1 << 7
    CONTENT_TYPE = 1 << 8
    ROUTE = 1 << 9
    RECORD_ROUTE = 1 << 10
    CONTACT = 1 << 11
    AUTHORIZATION = 1 << 12
    PROXY_AUTHORIZATION = 1 << 13
    WWW_AUTHENTICATE = 1 << 14
    PROXY_AUTHENTICATE = 1 << 15
    PROXY_REQUIRE = 1 << 16
    RETRY_AFTER = 1 << 17
    TIMESTAMP = 1 << 18
    SUPPORTED = 1 << 19
    REQUIRE = 1 << 20
    PATH = 1 << 21
    MIN_EXPIRES = 1 << 22
    SERVICE_ROUTE = 1 << 23
    USER_AGENT = 1 << 24
    ALLOW = 1 << 25
    EVENT = 1 << 26

# Methods as small numbers; OTHER is a method without one, whose name decides.
cpdef enum:
    OTHER = 0
    INVITE = 1
    ACK = 2
    BYE = 3
    CANCEL = 4
    REGISTER = 5
    OPTIONS = 6
    SUBSCRIBE = 7
    NOTIFY = 8
    PUBLISH = 9
    MESSAGE = 10
    REFER = 11
    INFO = 12
    UPDATE = 13
    PRACK = 14


# One header line with its folds, a piece of `data`: `start` to `name_end` is the name as spelled, `value_start` to
# `value_end` the trimmed value, `end` is behind the CRLF. `bit` is 0 for a header that has none.
cdef struct Line:
    void *data         # a bytes object; who keeps it alive is told in lines.pxd
    int start
    int name_end
    int value_start
    int value_end
    int end
    int bit


# What can be wrong with header lines.
cdef enum:
    NO_FAULT = 0
    NO_HEADER = 1
    REPEATED = 2
    TOO_LARGE = 3
    WITHOUT_END = 4


# All the header lines of a message: the bits of those that are there, the first fault and the header that has it (or 0), and
# what is behind the empty line (-1 when it did not come).
cdef struct Headers:
    int seen
    int fault
    int fault_bit
    Py_ssize_t end


# One Via value. Positions are offsets into its line's data; start and end are equal for what is not there.
cdef struct ViaParts:
    int start
    int transport_start
    int transport_end
    int host_start     # without brackets
    int host_end
    int port           # -1 when absent
    int parameters_start
    int branch_start
    int branch_end
    int rport_start    # the name, where it stands; -1 without that parameter
    int rport_end      # behind its value if it has one
    bint rport_filled  # has it a value?
    bint has_received
    int end


# Where the parts of a name-addr or addr-spec stand: display name with its quotes, URI, parameters to the end.
cdef struct AddressParts:
    int name_start
    int name_end
    int uri_start
    int uri_end
    int parameters_start


cdef struct Parameter:
    int name_start
    int name_end
    int value_start    # -1 without a value; a quoted one with its quotes
    int value_end


cdef list METHODS      # names by their numbers, "" for OTHER
cdef dict HEADER_BITS  # long forms in lower case -> bit

cdef str text_at(Octets octets, Py_ssize_t start, Py_ssize_t end)
cdef int method_at(Octets octets, Py_ssize_t start, Py_ssize_t end) noexcept nogil
cdef bint is_token(Octets octets, Py_ssize_t start, Py_ssize_t end) noexcept nogil
cdef bint is_sip_2(Octets octets, Py_ssize_t start, Py_ssize_t end) noexcept nogil
cdef bint same_letters(Octets octets, Py_ssize_t start, const char *lowered, Py_ssize_t length) noexcept nogil
cdef Py_ssize_t value_end(Octets octets, Py_ssize_t start, Py_ssize_t end) noexcept nogil
cdef Py_ssize_t break_at(Octets octets, Py_ssize_t start, Py_ssize_t end) noexcept nogil
cdef Py_ssize_t blank_at(Octets octets, Py_ssize_t start, Py_ssize_t end) noexcept nogil
cdef Py_ssize_t whitespace_end(Octets octets, Py_ssize_t start, Py_ssize_t end) noexcept nogil
cdef Py_ssize_t trimmed_end(Octets octets, Py_ssize_t start, Py_ssize_t end) noexcept nogil
cdef Py_ssize_t comma_at(Octets octets, Py_ssize_t start, Py_ssize_t end) noexcept nogil
cdef Py_ssize_t crlf_at(Octets octets, Py_ssize_t start, Py_ssize_t end) noexcept nogil
cdef long long number_at(Octets octets, Py_ssize_t start, Py_ssize_t end, long long limit) noexcept nogil
cdef int lines_at(
    Octets octets,
    Py_ssize_t start,
    Py_ssize_t end,
    void *data,
    Line *lines,
    int most,
    int longest,
    Headers *headers,
    short *places,
) noexcept nogil
cdef Py_ssize_t parameter_at(Octets octets, Py_ssize_t start, Py_ssize_t end, Parameter *parameter) noexcept nogil
cdef bint address_at(Octets octets, Py_ssize_t start, Py_ssize_t end, AddressParts *address) noexcept nogil
cdef bint tag_at(Octets octets, Py_ssize_t start, Py_ssize_t end, int *tag_start, int *tag_end) except -1
cdef bint via_at(Octets octets, Py_ssize_t start, Py_ssize_t end, ViaParts *via) except -1

cpdef str text_of(bytes data, Py_ssize_t start, Py_ssize_t end)
cpdef str method_of(bytes data, Py_ssize_t start, Py_ssize_t end)
cpdef Py_ssize_t find_comma(bytes data, Py_ssize_t start, Py_ssize_t end)
cpdef long long scan_plain_expires(bytes contact) except? -3
cpdef long long scan_number(bytes data, Py_ssize_t start, Py_ssize_t end, long long limit)
cpdef dict scan_parameters(bytes data, Py_ssize_t start, Py_ssize_t end)
cpdef tuple scan_host_port(bytes data, Py_ssize_t start, Py_ssize_t end)
cpdef tuple scan_via(bytes data, Py_ssize_t start, Py_ssize_t end)
cpdef tuple scan_address(bytes data, Py_ssize_t start, Py_ssize_t end)
cpdef tuple scan_line(bytes data, Py_ssize_t start, Py_ssize_t end)
