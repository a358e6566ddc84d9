# What compiled modules may use of stencil.pyx without going through Python. The words are in ext/stencil.pyx.

cimport cython

cdef enum:
    MOST_BLANKS = 5    # branch, tag, number, and two lines of credentials
    MOST_REPEATED = 3


# A piece of the request that may differ, and where it was in the message that was looked at last.
cdef struct Blank:
    short start
    short end
    short kind
    short found
    short found_end


# A piece of the answer that is what the request has in that blank.
cdef struct Repeated:
    short start
    short end
    short blank


@cython.final
@cython.no_gc
cdef class Stencil:
    cdef bytes _request
    cdef bytes _answer
    cdef short _repeats_until
    cdef short _number
    cdef short _repeated_number
    cdef short _branch     # the number of its blank, -1 without one
    cdef short _looked_at  # the length of the message that fitted last, 0 when the last one did not
    cdef Blank _blanks[MOST_BLANKS]
    cdef Repeated _repeated[MOST_REPEATED]

    cpdef long long number_in(self, bytes data) noexcept
    cpdef unsigned long long branch_in(self, bytes data) except 0
    cpdef bytes answer_to(self, bytes data)
    cpdef object end_answer_with(self, bytes rest)
    cdef int _check_looked_at(self, bytes data) except -1
    cdef int _blank_at(self, int start) noexcept
    cdef int _add_blank(self, int start, int end, int kind) noexcept
    cdef void _repeat(self, int blank_start, int start, int end) noexcept


cpdef bytes call_id_in(bytes data)
cpdef Stencil stencil_of(bytes data, bytes status_and_lines)
