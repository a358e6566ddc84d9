"""Walking over the octets of a message without making objects of them (RFC 3261 sections 7.3 and 25).

Not ordinary Python because every octet of every message passes here: it works on C pointers. It raises nothing on bad
input: a function says False, None or a position of -1 where the octets do not follow the grammar, and the caller knows
which header that was.

Bounds: every function takes `start` and `end` with 0 <= start <= end <= the length of what `octets` points to, reads no
octet outside of `octets` and `end`, and returns positions between `start` and `end`. Nobody checks this again; the fuzz tests do. The functions for
Python, at the end, take a bytes object and refuse positions outside of it.
"""

import re
import sys

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy

from sbc.sip.names import COMPACT_FORMS, SPELLINGS

cdef extern from *:
    """
    #define HIGH_BITS 0x8080808080808080ULL
    /* Which of eight octets has the first mark. Where octets stand the other way round, none is told: the callers look at
       what they get, and go on from there. */
    #if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    #define FIRST_MARKED(marks) (__builtin_ctzll(marks) >> 3)
    #else
    #define FIRST_MARKED(marks) 0
    #endif

    /* The first place from `start` on whose octet is of a kind that stops; `end` when there is none. Sixteen at a time, the
       last sixteen perhaps once more: then also octets before `start` are read, but never one before the buffer.
       `classes` and `passing` say the same as `stops`, for what is shorter and for machines without such instructions. */
    #if defined(__SSE2__)
    #include <emmintrin.h>
    #define EQUAL(all, octet) _mm_cmpeq_epi8(all, _mm_set1_epi8(octet))
    #define BLANKS(all) _mm_cmpeq_epi8(_mm_min_epu8(all, _mm_set1_epi8(0x20)), all)
    #define ANGLES(all) EQUAL(_mm_or_si128(all, _mm_set1_epi8(2)), 0x3E)
    #define EITHER(one, other) _mm_or_si128(one, other)
    #define WALK(name, stops) \
    static inline Py_ssize_t name(const unsigned char *octets, Py_ssize_t start, Py_ssize_t end, \
                                  const unsigned char *classes, int passing) { \
        __m128i all; \
        int marks; \
        while (start + 16 <= end) { \
            all = _mm_loadu_si128((const __m128i *) (octets + start)); \
            marks = _mm_movemask_epi8(stops); \
            if (marks) return start + __builtin_ctz(marks); \
            start += 16; \
        } \
        if (start < end && end >= 16) { \
            all = _mm_loadu_si128((const __m128i *) (octets + end - 16)); \
            marks = _mm_movemask_epi8(stops) >> (16 - (end - start)); \
            return marks ? start + __builtin_ctz(marks) : end; \
        } \
        while (start < end && classes[octets[start]] & passing) start++; \
        return start; \
    }
    #else
    #define WALK(name, stops) \
    static inline Py_ssize_t name(const unsigned char *octets, Py_ssize_t start, Py_ssize_t end, \
                                  const unsigned char *classes, int passing) { \
        while (start < end && classes[octets[start]] & passing) start++; \
        return start; \
    }
    #endif
    WALK(walk_line, EITHER(EQUAL(all, 13), EQUAL(all, 10)))
    WALK(walk_solid, BLANKS(all))
    WALK(walk_value, EITHER(EITHER(EITHER(BLANKS(all), ANGLES(all)), EITHER(EQUAL(all, 0x22), EQUAL(all, 0x2C))), \
                            EITHER(EQUAL(all, 0x3B), EQUAL(all, 0x7F))))
    WALK(walk_bracketed, EITHER(EITHER(BLANKS(all), ANGLES(all)), EQUAL(all, 0x22)))
    WALK(walk_element, EQUAL(all, 0x2C))
    """
    uint64_t HIGH_BITS
    int FIRST_MARKED(uint64_t marks) nogil
    Py_ssize_t walk_line(Octets octets, Py_ssize_t start, Py_ssize_t end, Octets classes, int passing) nogil
    Py_ssize_t walk_solid(Octets octets, Py_ssize_t start, Py_ssize_t end, Octets classes, int passing) nogil
    Py_ssize_t walk_value(Octets octets, Py_ssize_t start, Py_ssize_t end, Octets classes, int passing) nogil
    Py_ssize_t walk_bracketed(Octets octets, Py_ssize_t start, Py_ssize_t end, Octets classes, int passing) nogil
    Py_ssize_t walk_element(Octets octets, Py_ssize_t start, Py_ssize_t end, Octets classes, int passing) nogil
    int FIRST_BIT "__builtin_ctz" (unsigned int bits) nogil

cdef enum:
    HTAB = 0x09
    LF = 0x0A
    CR = 0x0D
    SPACE = 0x20
    QUOTE = 0x22
    COMMA = 0x2C
    HYPHEN = 0x2D
    DOT = 0x2E
    SLASH = 0x2F
    ZERO = 0x30
    NINE = 0x39
    COLON = 0x3A
    SEMICOLON = 0x3B
    LESS = 0x3C
    EQUALS = 0x3D
    GREATER = 0x3E
    QUESTION = 0x3F
    LEFT_BRACKET = 0x5B
    BACKSLASH = 0x5C
    RIGHT_BRACKET = 0x5D

# s.7.3.1: a second line of these contradicts the first.
cdef enum:
    UNIQUE = FROM | TO | CALL_ID | CSEQ | MAX_FORWARDS | CONTENT_LENGTH | EXPIRES | CONTENT_TYPE

# What an octet may be part of.
cdef enum:
    TOKEN = 1      # s.25.1 token
    HOST = 2       # s.25.1 hostname; "_": real networks use it
    IPV6 = 4
    VALUE = 8      # s.25.1 says token, host or quoted-string. Tags in base64 exist: whatever separates nothing
    URI = 16       # what may stand in a URI and means nothing to its surroundings
    BLANK = 32     # white space, folds included
    CALM = 64      # cannot end, open or close anything that a comma list cares for
    BRACKETED = 128  # what may stand in a URI in angle brackets
    # of `_more_classes`
    LINE = 1       # all but the halves of a line break
    SOLID = 2      # no blank, no control character
    ELEMENT = 4    # all but a comma

cdef unsigned char _classes[256]
cdef unsigned char _more_classes[256]


def _fill_classes():
    alphanumeric = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    for kind, octets in (
        (TOKEN, alphanumeric + b"-.!%*_+`'~"),
        (HOST, alphanumeric + b"-._"),
        (IPV6, b"0123456789abcdefABCDEF:."),
        (VALUE, bytes(set(range(0x21, 0x100)) - set(b'",;<>\x7f'))),
        (URI, bytes(set(range(0x21, 0x100)) - set(b':<>";,?'))),
        (BLANK, b" \t\r\n"),
        (CALM, bytes(set(range(0x100)) - set(b'",<>'))),
        (BRACKETED, bytes(set(range(0x21, 0x100)) - set(b'<>"'))),
    ):
        for octet in octets:
            _classes[octet] |= kind
    for octet in range(0x100):
        _more_classes[octet] = (
            (0 if octet in b"\r\n" else LINE) | (0 if octet <= SPACE else SOLID) | (0 if octet == COMMA else ELEMENT)
        )


_fill_classes()


include "names.pxi"


# -- pieces --------------------------------------------------------------------------------------------------------------


cdef str text_at(Octets octets, Py_ssize_t start, Py_ssize_t end):
    """The octets as text, folds as one blank (s.7.3.1). Octets that are not UTF-8 survive as surrogate escapes."""
    cdef str text = PyUnicode_DecodeUTF8(<const char *>octets + start, end - start, b"surrogateescape")
    if memchr(octets + start, CR, end - start) != NULL:
        return re.sub(r"[ \t]*\r\n[ \t]+", " ", text)
    return text


cdef inline Py_ssize_t _skip(Octets octets, Py_ssize_t start, Py_ssize_t end, int kind) noexcept nogil:
    """The first position whose octet is not of that kind. Four in a turn: this is where most of the time goes."""
    while start + 4 <= end:
        if not _classes[octets[start]] & kind:
            return start
        if not _classes[octets[start + 1]] & kind:
            return start + 1
        if not _classes[octets[start + 2]] & kind:
            return start + 2
        if not _classes[octets[start + 3]] & kind:
            return start + 3
        start += 4
    while start < end and _classes[octets[start]] & kind:
        start += 1
    return start


cdef inline Py_ssize_t _skip_blank(Octets octets, Py_ssize_t start, Py_ssize_t end) noexcept nogil:
    """The first position that is no white space: mostly the one that it was given."""
    if start < end and octets[start] <= SPACE:
        return _skip(octets, start, end, BLANK)
    return start


cdef bint is_token(Octets octets, Py_ssize_t start, Py_ssize_t end) noexcept nogil:
    return start < end and _skip(octets, start, end, TOKEN) == end


cdef Py_ssize_t blank_at(Octets octets, Py_ssize_t start, Py_ssize_t end) noexcept nogil:
    """The first position of a blank or control character; `end` when there is none."""
    return walk_solid(octets, start, end, _more_classes, SOLID)


cdef Py_ssize_t value_end(Octets octets, Py_ssize_t start, Py_ssize_t end) noexcept nogil:
    """The first position of what cannot be part of a parameter's value that is not quoted."""
    return walk_value(octets, start, end, _classes, VALUE)


cdef Py_ssize_t whitespace_end(Octets octets, Py_ssize_t start, Py_ssize_t end) noexcept nogil:
    """The first position that is not blank, tab or part of a fold."""
    return _skip(octets, start, end, BLANK)


cdef Py_ssize_t trimmed_end(Octets octets, Py_ssize_t start, Py_ssize_t end) noexcept nogil:
    """`end` without the white space before it."""
    while end > start and _classes[octets[end - 1]] & BLANK:
        end -= 1
    return end


cdef Py_ssize_t _quoted_end(Octets octets, Py_ssize_t start, Py_ssize_t end) noexcept nogil:
    """From the opening quote at `start` to behind the closing one; -1 when there is none."""
    start += 1
    while start < end:
        if octets[start] == BACKSLASH:  # takes the next octet with it
            start += 2
        elif octets[start] == QUOTE:
            return start + 1
        else:
            start += 1
    return -1


cdef Py_ssize_t comma_at(Octets octets, Py_ssize_t start, Py_ssize_t end) noexcept nogil:
    """Where the first comma outside quoted strings and angle brackets is; `end` when there is none."""
    cdef bint in_brackets = False
    if walk_element(octets, start, end, _more_classes, ELEMENT) == end:
        return end
    while True:
        start = _skip(octets, start, end, CALM)
        if start >= end:
            return end
        if octets[start] == QUOTE:
            if not in_brackets:
                start = _quoted_end(octets, start, end)
                if start < 0:
                    return end
                continue
        elif octets[start] == LESS:
            in_brackets = True
        elif octets[start] == GREATER:
            in_brackets = False
        elif not in_brackets:
            return start
        start += 1


cdef Py_ssize_t crlf_at(Octets octets, Py_ssize_t start, Py_ssize_t end) noexcept nogil:
    """Where the first CRLF is, folds not looked at; -1 when there is none."""
    cdef Octets found
    while start + 1 < end:
        found = <Octets>memchr(octets + start, CR, end - start - 1)
        if found == NULL:
            return -1
        start = found - octets
        if octets[start + 1] == LF:
            return start
        start += 1
    return -1


cdef long long number_at(Octets octets, Py_ssize_t start, Py_ssize_t end, long long limit) noexcept nogil:
    """The decimal number that fills `start` to `end`; -1 when it is not one, -2 when it is larger than `limit`.

    `limit` is below 2**59, so that a further digit does not overflow.
    """
    cdef long long number = 0
    if start == end:
        return -1
    while start < end:
        if octets[start] < ZERO or octets[start] > NINE:
            return -1
        if number <= limit:
            number = number * 10 + (octets[start] - ZERO)
        start += 1
    return number if number <= limit else -2


cdef bint is_sip_2(Octets octets, Py_ssize_t start, Py_ssize_t end) noexcept nogil:
    """Is it `SIP/2.0`, the name in any case (s.7.1)?"""
    octets += start
    return (
        end - start == 7
        and octets[0] | 0x20 == 0x73
        and octets[1] | 0x20 == 0x69
        and octets[2] | 0x20 == 0x70
        and memcmp(octets + 3, b"/2.0", 4) == 0
    )


# -- header lines --------------------------------------------------------------------------------------------------------


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
) noexcept nogil:
    """The header lines of `data` from `start` on, up to and with the empty line. Returns how many were put into `lines`;
    there is room for `most`, and no line may have more than `longest` octets.

    `places`, all 0 before, has for each bit by its number one more than the first line that has it.

    A line that is none is a fault, and left out; what comes first is the fault that counts.
    """
    cdef Line *line = lines
    cdef Line *behind = lines + most
    cdef Py_ssize_t position
    cdef int bit, seen = 0, number
    headers.fault = NO_FAULT
    headers.end = -1
    while start + 1 >= end or octets[start] != CR or octets[start + 1] != LF:
        if line == behind:
            _note(headers, TOO_LARGE, 0)
            break
        # Almost every line: no fold, a name spelled as usual, one blank behind it and none at the end.
        position = break_at(octets, line.value_start, end) if _usual_name_at(octets, start, end, line) else end
        if (
            position + 2 < end
            and octets[position] == CR
            and octets[position + 1] == LF
            and octets[position + 2] != SPACE
            and octets[position + 2] != HTAB
            and octets[line.value_start] > SPACE
            and octets[position - 1] > SPACE
        ):
            line.start = <int>start
            line.value_end = <int>position
            line.end = <int>position + 2
            position += 2
        elif line_at(octets, start, end, line):
            position = line.end
        else:
            if line.end < 0 or line.end - start > longest:
                _note(headers, WITHOUT_END if line.end < 0 else TOO_LARGE, 0)
                break
            _note(headers, NO_HEADER, 0)
            start = line.end
            continue
        if position - start > longest:
            _note(headers, TOO_LARGE, 0)
            break
        bit = line.bit
        line.data = data
        start = position
        line += 1
        if bit:
            number = FIRST_BIT(<unsigned int>bit)
            if not seen & bit:
                places[number] = <short>(line - lines)
            elif bit & UNIQUE:
                _note(headers, REPEATED, bit)
            seen |= bit
    else:
        headers.end = start + 2
    headers.seen = seen
    return <int>(line - lines)


cdef void _note(Headers *headers, int fault, int bit) noexcept nogil:
    if headers.fault == NO_FAULT:
        headers.fault = fault
        headers.fault_bit = bit


cdef bint line_at(Octets octets, Py_ssize_t start, Py_ssize_t end, Line *line) noexcept nogil:
    """The header line that begins at `start`. False when it is none; its `end` is -1 when no CRLF came."""
    cdef Py_ssize_t position = start, name_end, colon
    cdef bint calm = True
    line.end = -1
    while True:
        position = break_at(octets, position, end)
        if position + 1 >= end:
            return False
        if octets[position] == CR and octets[position + 1] == LF:
            if position + 2 >= end or (octets[position + 2] != SPACE and octets[position + 2] != HTAB):
                break
            position += 3  # a fold
        else:
            calm = False  # half of a CRLF on its own: others might see a line end in it
            position += 1
    line.end = <int>position + 2
    if not calm:
        return False
    colon = _colon_at(octets, start, position)
    name_end = colon
    while name_end > start and (octets[name_end - 1] == SPACE or octets[name_end - 1] == HTAB):  # s.25.1 HCOLON
        name_end -= 1
    if colon == position or name_end == start:
        return False
    line.start = <int>start
    line.name_end = <int>name_end
    line.bit = _bit_at(octets, start, name_end)
    if line.bit == 0 and not is_token(octets, start, name_end):
        return False
    line.value_start = <int>_skip(octets, colon + 1, position, BLANK)
    line.value_end = <int>trimmed_end(octets, line.value_start, position)
    return True


cdef Py_ssize_t break_at(Octets octets, Py_ssize_t start, Py_ssize_t end) noexcept nogil:
    """The first carriage return or line feed; `end` when there is none."""
    return walk_line(octets, start, end, _more_classes, LINE)


cdef inline Py_ssize_t _colon_at(Octets octets, Py_ssize_t start, Py_ssize_t end) noexcept nogil:
    """The first colon; `end` when there is none."""
    cdef uint64_t eight, marks
    while start + 8 <= end:
        memcpy(&eight, octets + start, 8)
        eight ^= <uint64_t>0x3A3A3A3A3A3A3A3A
        marks = (eight - <uint64_t>0x0101010101010101) & ~eight & HIGH_BITS  # a mark where an octet is zero now
        if marks == 0:
            start += 8
            continue
        start += FIRST_MARKED(marks)
        if octets[start] == COLON:
            return start
        start += 1
    while start < end and octets[start] != COLON:
        start += 1
    return start


include "values.pxi"


# -- for Python ----------------------------------------------------------------------------------------------------------


cdef inline Octets _part(bytes data, Py_ssize_t start, Py_ssize_t end) except? NULL:
    if start < 0 or end < start or end > PyBytes_GET_SIZE(data):
        raise IndexError(f"{start} to {end} of {len(data)} octets")
    return <Octets>PyBytes_AS_STRING(data)


cpdef str text_of(bytes data, Py_ssize_t start, Py_ssize_t end):
    """The octets as text, folds as one blank (s.7.3.1). Octets that are not UTF-8 survive as surrogate escapes."""
    return text_at(_part(data, start, end), start, end)


cpdef str method_of(bytes data, Py_ssize_t start, Py_ssize_t end):
    """The octets as a method name, which is case-sensitive (s.7.1); "" when they are not a token."""
    cdef Octets octets = _part(data, start, end)
    cdef int code = method_at(octets, start, end)
    if code != OTHER:
        return METHODS[code]
    return text_at(octets, start, end) if is_token(octets, start, end) else ""


cpdef Py_ssize_t find_comma(bytes data, Py_ssize_t start, Py_ssize_t end):
    """Where the first comma outside quoted strings and angle brackets is; `end` when there is none."""
    return comma_at(_part(data, start, end), start, end)


cpdef long long scan_number(bytes data, Py_ssize_t start, Py_ssize_t end, long long limit):
    """The decimal number that fills `start` to `end`; -1 when it is not one, -2 when it is larger than `limit`, which is
    below 2**59."""
    return number_at(_part(data, start, end), start, end, limit)


cpdef long long scan_plain_expires(bytes contact) except? -3:
    """The seconds of a Contact `<...>;expires=SECONDS`; -1 when they are not given, or more than once, which is not allowed, -2
    for a Contact with anything else."""
    cdef Octets octets = <Octets>PyBytes_AS_STRING(contact)
    cdef Octets end = octets + PyBytes_GET_SIZE(contact)
    cdef Octets digits
    cdef int found = 0
    cdef long long seconds = -1
    if octets == end or octets[0] != 0x3C:  # "<"
        return -2
    octets = <Octets>memchr(octets, 0x3E, end - octets)  # ">"
    if octets == NULL:
        return -1
    octets += 1
    while octets < end:
        if end - octets < 9 or memcmp(octets, <const char *>b";expires=", 9) != 0:
            return -2
        octets += 9
        digits = octets
        seconds = 0
        while octets < end and octets - digits < 9 and 0x30 <= octets[0] <= 0x39:
            seconds = 10 * seconds + (octets[0] - 0x30)
            octets += 1
        if octets == digits:
            return -2
        found += 1
    return seconds if found == 1 else -1


cpdef dict scan_parameters(bytes data, Py_ssize_t start, Py_ssize_t end):
    """`;name=value;name` with white space anywhere: names in lower case, values as spelled. None when it is not that.

    A name that comes twice makes it invalid (s.7.3.1).
    """
    cdef Octets octets = _part(data, start, end)
    cdef Parameter parameter
    cdef dict parameters = {}
    cdef str name
    start = _skip(octets, start, end, BLANK)
    while start < end:
        start = parameter_at(octets, start, end, &parameter)
        if start < 0:
            return None
        name = text_at(octets, parameter.name_start, parameter.name_end).lower()
        if name in parameters:
            return None
        parameters[name] = (
            None if parameter.value_start < 0 else text_at(octets, parameter.value_start, parameter.value_end)
        )
    return parameters


cpdef tuple scan_host_port(bytes data, Py_ssize_t start, Py_ssize_t end):
    """`host[:port]`, white space allowed around the colon as in a Via: (host without brackets, port or None), or None."""
    cdef Octets octets = _part(data, start, end)
    cdef int host_start, host_end, port
    if _host_port_end(octets, start, end, &host_start, &host_end, &port) != end:
        return None
    return text_at(octets, host_start, host_end), None if port < 0 else port


cpdef tuple scan_via(bytes data, Py_ssize_t start, Py_ssize_t end):
    """One Via value: (transport in upper case, host, port or None, parameters). None when it is not one."""
    cdef Octets octets = _part(data, start, end)
    cdef ViaParts via
    if not via_at(octets, start, end, &via):
        return None
    return (
        text_at(octets, via.transport_start, via.transport_end).upper(),
        text_at(octets, via.host_start, via.host_end),
        None if via.port < 0 else via.port,
        scan_parameters(data, via.parameters_start, end),
    )


cpdef tuple scan_address(bytes data, Py_ssize_t start, Py_ssize_t end):
    """Where the parts of a name-addr or addr-spec stand: (name start, name end, URI start, URI end, parameters start), the
    display name with its quotes, the parameters to the end. None when it is neither."""
    cdef AddressParts address
    if not address_at(_part(data, start, end), start, end, &address):
        return None
    return address.name_start, address.name_end, address.uri_start, address.uri_end, address.parameters_start


cpdef tuple scan_line(bytes data, Py_ssize_t start, Py_ssize_t end):
    """One header line: (start, end of its name, start of its value, end of its value, end). None when it is none."""
    cdef Line line
    if not line_at(_part(data, start, end), start, end, &line):
        return None
    return line.start, line.name_end, line.value_start, line.value_end, line.end
