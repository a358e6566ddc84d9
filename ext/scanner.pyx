"""Walking over the octets of a message without making objects of them (RFC 3261 sections 7.3 and 25).

Not ordinary Python because every octet of every message passes here: it works on C pointers. It raises nothing on bad
input: a function says False, None or a position of -1 where the octets do not follow the grammar, and the caller knows
which header that was.

Bounds: every function takes `start` and `end` with 0 <= start <= end <= the length of what `octets` points to, reads no octet
outside of them, and returns positions within them. Nobody checks this again; the fuzz tests do. The functions for Python,
at the end, take a bytes object and refuse positions outside of it.
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

    /* Where the first carriage return or line feed of 16 octets is; 16 when there is none. */
    #if defined(__SSE2__)
    #include <emmintrin.h>
    static inline int break_in_16(const unsigned char *octets) {
        __m128i all = _mm_loadu_si128((const __m128i *) octets);
        int marks = _mm_movemask_epi8(_mm_or_si128(
            _mm_cmpeq_epi8(all, _mm_set1_epi8(13)), _mm_cmpeq_epi8(all, _mm_set1_epi8(10))));
        return marks ? __builtin_ctz(marks) : 16;
    }
    #else
    static inline int break_in_16(const unsigned char *octets) {
        int place = 0;
        while (place < 16 && octets[place] != 13 && octets[place] != 10) place++;
        return place;
    }
    #endif
    """
    uint64_t HIGH_BITS
    int FIRST_MARKED(uint64_t marks) nogil
    int break_in_16(const unsigned char *octets) nogil

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

cdef unsigned char _classes[256]


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
    ):
        for octet in octets:
            _classes[octet] |= kind


_fill_classes()

HEADER_BITS = {
    "via": VIA,
    "from": FROM,
    "to": TO,
    "call-id": CALL_ID,
    "cseq": CSEQ,
    "max-forwards": MAX_FORWARDS,
    "content-length": CONTENT_LENGTH,
    "expires": EXPIRES,
    "content-type": CONTENT_TYPE,
    "route": ROUTE,
    "record-route": RECORD_ROUTE,
    "contact": CONTACT,
    "authorization": AUTHORIZATION,
    "proxy-authorization": PROXY_AUTHORIZATION,
    "www-authenticate": WWW_AUTHENTICATE,
    "proxy-authenticate": PROXY_AUTHENTICATE,
    "proxy-require": PROXY_REQUIRE,
    "retry-after": RETRY_AFTER,
    "timestamp": TIMESTAMP,
    "supported": SUPPORTED,
    "require": REQUIRE,
    "path": PATH,
    "min-expires": MIN_EXPIRES,
    "service-route": SERVICE_ROUTE,
    "user-agent": USER_AGENT,
    "allow": ALLOW,
    "event": EVENT,
}

METHODS = [""] + [
    sys.intern(method)
    for method in (
        "INVITE ACK BYE CANCEL REGISTER OPTIONS SUBSCRIBE NOTIFY PUBLISH MESSAGE REFER INFO UPDATE PRACK".split()
    )
]
NUMBERED_METHODS = tuple(METHODS)
"""The same for those that are not compiled."""


# -- names ---------------------------------------------------------------------------------------------------------------


cdef struct Name:
    unsigned char lowered[24]
    int length
    int bit

# A hash table of header names that have a bit, by length, first and last octet; the next place is free or tried, too.
cdef enum:
    PLACES = 256
cdef Name _names[PLACES]


cdef inline int _place(Octets octets, Py_ssize_t start, Py_ssize_t end) noexcept nogil:
    return ((end - start) * 31 + (octets[start] | 0x20) * 7 + (octets[end - 1] | 0x20)) & (PLACES - 1)


cdef bint same_letters(Octets octets, Py_ssize_t start, const char *lowered, Py_ssize_t length) noexcept nogil:
    """Is the token at `start` this word in any case? Setting the bit 0x20 makes lower case of a letter and keeps the other
    token characters apart. Eight octets at a time, the last eight perhaps once more: names are long."""
    cdef uint64_t spelled, wanted
    cdef uint32_t first, last, wanted_first, wanted_last
    cdef Py_ssize_t position = 0
    if length >= 8:
        while position < length:
            if position + 8 > length:
                position = length - 8
            memcpy(&spelled, octets + start + position, 8)
            memcpy(&wanted, lowered + position, 8)
            if spelled | <uint64_t>0x2020202020202020 != wanted:
                return False
            position += 8
        return True
    if length >= 4:
        memcpy(&first, octets + start, 4)
        memcpy(&last, octets + start + length - 4, 4)
        memcpy(&wanted_first, lowered, 4)
        memcpy(&wanted_last, lowered + length - 4, 4)
        return first | <uint32_t>0x20202020 == wanted_first and last | <uint32_t>0x20202020 == wanted_last
    while position < length:
        if octets[start + position] | 0x20 != <unsigned char>lowered[position]:
            return False
        position += 1
    return True


cdef inline int _bit_at(Octets octets, Py_ssize_t start, Py_ssize_t end) noexcept nogil:
    """The bit of a header name, at least one octet without line breaks; 0 without one."""
    cdef int place = _place(octets, start, end)
    while _names[place].length != 0:
        if _names[place].length == end - start and same_letters(octets, start, <const char *>_names[place].lowered, end - start):
            return _names[place].bit
        place = (place + 1) & (PLACES - 1)
    return 0


def _fill_names():
    cdef bytes lowered
    cdef int place, length, bit
    spellings = dict(HEADER_BITS)
    spellings.update((short, HEADER_BITS[name.lower()]) for short, name in COMPACT_FORMS.items() if name.lower() in HEADER_BITS)
    for name, bit in spellings.items():
        lowered = bytes(octet | 0x20 for octet in name.encode())
        length = len(lowered)
        place = _place(lowered, 0, length)
        while _names[place].length != 0:
            place = (place + 1) & (PLACES - 1)
        memcpy(_names[place].lowered, PyBytes_AS_STRING(lowered), length)
        _names[place].length = length
        _names[place].bit = bit


_fill_names()


# Header names as almost everybody spells them, with the colon and the blank behind it: found by their first four octets and
# compared eight octets at a time. `first` is the first eight octets, of which those in `mask` belong to the name; `middle` the
# next eight where there are more than 16, and `last` the last eight where there are more than 8.
cdef struct UsualName:
    uint64_t first
    uint64_t mask
    uint64_t middle
    uint64_t last
    int length
    int bit

cdef enum:
    USUAL_PLACES = 128
cdef UsualName _usual[USUAL_PLACES]


cdef inline unsigned int _usual_place(Octets octets) noexcept nogil:
    cdef uint32_t four
    memcpy(&four, octets, 4)
    return (four * <uint32_t>2654435761) >> 25


cdef inline bint _usual_name_at(Octets octets, Py_ssize_t start, Py_ssize_t end, Line *line) noexcept nogil:
    """Fill in the name of the line at `start`, if it is one of these, and there are eight octets."""
    cdef unsigned int place
    cdef UsualName *name
    cdef uint64_t eight
    if start + 8 > end:
        return False
    place = _usual_place(octets + start)
    memcpy(&eight, octets + start, 8)
    while _usual[place].length != 0:
        name = &_usual[place]
        if (
            (eight ^ name.first) & name.mask == 0
            and start + name.length <= end
            and (name.length <= 8 or _has_rest(octets + start, name))
        ):
            line.bit = name.bit
            line.name_end = <int>start + name.length - 2
            line.value_start = <int>start + name.length
            return True
        place = (place + 1) & (USUAL_PLACES - 1)
    return False


cdef inline bint _has_rest(Octets octets, UsualName *name) noexcept nogil:
    cdef uint64_t eight
    memcpy(&eight, octets + name.length - 8, 8)
    if eight != name.last:
        return False
    memcpy(&eight, octets + 8, 8)
    return name.length <= 16 or eight == name.middle


def _fill_usual_names():
    cdef bytes spelled
    cdef Octets octets
    cdef UsualName *name
    cdef unsigned int place
    for key, bit in HEADER_BITS.items():
        spelled = f"{SPELLINGS[key]}: ".encode()
        octets = <Octets>PyBytes_AS_STRING(spelled)
        place = _usual_place(octets)
        while _usual[place].length != 0:
            place = (place + 1) & (USUAL_PLACES - 1)
        name = &_usual[place]
        name.length = len(spelled)
        name.bit = bit
        memcpy(&name.first, octets, min(name.length, 8))
        memcpy(&name.mask, <const char *>b"\xff\xff\xff\xff\xff\xff\xff\xff", min(name.length, 8))
        if name.length > 8:
            memcpy(&name.last, octets + name.length - 8, 8)
        if name.length > 16:
            memcpy(&name.middle, octets + 8, 8)


_fill_usual_names()


cdef int method_at(Octets octets, Py_ssize_t start, Py_ssize_t end) noexcept nogil:
    """The number of a method; names are case-sensitive (s.7.1)."""
    cdef Py_ssize_t length = end - start
    octets += start
    if length == 3:
        if memcmp(octets, b"ACK", 3) == 0:
            return ACK
        if memcmp(octets, b"BYE", 3) == 0:
            return BYE
    elif length == 4:
        if memcmp(octets, b"INFO", 4) == 0:
            return INFO
    elif length == 5:
        if memcmp(octets, b"PRACK", 5) == 0:
            return PRACK
        if memcmp(octets, b"REFER", 5) == 0:
            return REFER
    elif length == 6:
        if memcmp(octets, b"INVITE", 6) == 0:
            return INVITE
        if memcmp(octets, b"CANCEL", 6) == 0:
            return CANCEL
        if memcmp(octets, b"NOTIFY", 6) == 0:
            return NOTIFY
        if memcmp(octets, b"UPDATE", 6) == 0:
            return UPDATE
    elif length == 7:
        if memcmp(octets, b"OPTIONS", 7) == 0:
            return OPTIONS
        if memcmp(octets, b"MESSAGE", 7) == 0:
            return MESSAGE
        if memcmp(octets, b"PUBLISH", 7) == 0:
            return PUBLISH
    elif length == 8:
        if memcmp(octets, b"REGISTER", 8) == 0:
            return REGISTER
    elif length == 9:
        if memcmp(octets, b"SUBSCRIBE", 9) == 0:
            return SUBSCRIBE
    return OTHER


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
    cdef uint64_t eight
    # Eight octets at a time: the expression has a bit left where one of them is below 0x21.
    while start + 8 <= end:
        memcpy(&eight, octets + start, 8)
        if (eight - <uint64_t>0x2121212121212121) & ~eight & HIGH_BITS:
            break
        start += 8
    while start < end and octets[start] > SPACE:
        start += 1
    return start


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
    if memchr(octets + start, COMMA, end - start) == NULL:
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
    Octets octets, Py_ssize_t start, Py_ssize_t end, void *data, Line *lines, int most, int longest, Headers *headers
) noexcept nogil:
    """The header lines of `data` from `start` on, up to and with the empty line. Returns how many were put into `lines`; there
    is room for `most`, and no line may have more than `longest` octets.

    A line that is none is a fault, and left out; what comes first is the fault that counts.
    """
    cdef Line *line = lines
    cdef Line *behind = lines + most
    cdef Py_ssize_t position
    headers.seen = 0
    headers.fault = NO_FAULT
    headers.end = -1
    while start + 1 >= end or octets[start] != CR or octets[start + 1] != LF:
        if line == behind:
            _note(headers, TOO_LARGE, 0)
            return most
        position = _break_at(octets, start, end)
        # Almost every line: no fold, a name spelled as usual, one blank behind it and none at the end.
        if (
            position + 2 < end
            and octets[position] == CR
            and octets[position + 1] == LF
            and octets[position + 2] != SPACE
            and octets[position + 2] != HTAB
            and _usual_name_at(octets, start, end, line)
            and octets[line.value_start] > SPACE
            and octets[position - 1] > SPACE
        ):
            line.start = <int>start
            line.value_end = <int>position
            line.end = <int>position + 2
        elif not line_at(octets, start, end, line):
            if line.end < 0 or line.end - start > longest:
                _note(headers, WITHOUT_END if line.end < 0 else TOO_LARGE, 0)
                return <int>(line - lines)
            _note(headers, NO_HEADER, 0)
            start = line.end
            continue
        if line.end - start > longest:
            _note(headers, TOO_LARGE, 0)
            return <int>(line - lines)
        if line.bit & headers.seen & UNIQUE:
            _note(headers, REPEATED, line.bit)
        headers.seen |= line.bit
        line.data = data
        start = line.end
        line += 1
    headers.end = start + 2
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
        position = _break_at(octets, position, end)
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


cdef inline Py_ssize_t _break_at(Octets octets, Py_ssize_t start, Py_ssize_t end) noexcept nogil:
    """The first carriage return or line feed; `end` when there is none."""
    cdef int found
    while start + 16 <= end:
        found = break_in_16(octets + start)
        start += found
        if found < 16:
            return start
    while start < end and octets[start] != CR and octets[start] != LF:
        start += 1
    return start


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


# -- parameters ----------------------------------------------------------------------------------------------------------


cdef Py_ssize_t parameter_at(Octets octets, Py_ssize_t start, Py_ssize_t end, Parameter *parameter) noexcept nogil:
    """`;name`, `;name=value` or `;name="value"` with white space anywhere. Returns where the next one begins or the end is;
    -1 when it is none."""
    cdef Py_ssize_t position = start
    if octets[position] != SEMICOLON:
        return -1
    position = _skip_blank(octets, position + 1, end)
    parameter.name_start = <int>position
    position = _skip(octets, position, end, TOKEN)
    parameter.name_end = <int>position
    parameter.value_start = -1
    parameter.value_end = -1
    if position == parameter.name_start:
        return -1
    position = _skip_blank(octets, position, end)
    if position < end and octets[position] == EQUALS:
        position = _skip_blank(octets, position + 1, end)
        parameter.value_start = <int>position
        if position < end and octets[position] == QUOTE:
            position = _quoted_end(octets, position, end)
            if position < 0:
                return -1
        else:
            position = _skip(octets, position, end, VALUE)
        parameter.value_end = <int>position
        position = _skip_blank(octets, position, end)
    return position


cdef inline bint _is_named(Octets octets, Parameter *parameter, const char *lowered, Py_ssize_t length) noexcept nogil:
    return parameter.name_end - parameter.name_start == length and same_letters(
        octets, parameter.name_start, lowered, length
    )


cdef inline uint64_t _mark(Octets octets, Parameter *parameter) noexcept nogil:
    """One of 64 bits for a parameter's name. Names that share one may be the same; those of a usual Via do not."""
    cdef Py_ssize_t length = parameter.name_end - parameter.name_start
    return <uint64_t>1 << (
        (length * 13 + (octets[parameter.name_start] | 0x20) * 5 + (octets[parameter.name_end - 1] | 0x20)) & 63
    )


cdef bint _repeats(Octets octets, Py_ssize_t start, Py_ssize_t end) except -1:
    """Does a name come twice? That makes parameters invalid (s.7.3.1). They are well-formed otherwise."""
    cdef Parameter parameter
    cdef set names = set()
    cdef bytes name
    while start < end:
        start = parameter_at(octets, start, end, &parameter)
        name = octets[parameter.name_start:parameter.name_end]
        name = name.lower()
        if name in names:
            return True
        names.add(name)
    return False


# -- structured values ---------------------------------------------------------------------------------------------------


cdef bint address_at(Octets octets, Py_ssize_t start, Py_ssize_t end, AddressParts *address) noexcept nogil:
    """`"Name" <uri>;parameters`, `Name <uri>`, `<uri>` or `uri;parameters` (s.20.10). False when it is none of them.

    The parameters are not looked at, and of the URI only that it has a colon and no white space.
    """
    cdef Py_ssize_t position = _skip_blank(octets, start, end)
    cdef Py_ssize_t word
    cdef bint colon = False
    cdef bint bracketed = False
    address.name_start = <int>position
    address.name_end = <int>position
    if position < end and octets[position] == QUOTE:
        position = _quoted_end(octets, position, end)
        if position < 0:
            return False
        address.name_end = <int>position
        position = _skip_blank(octets, position, end)
        if position >= end or octets[position] != LESS:
            return False
    else:
        # Words without quotes are a name when a bracket follows, and the beginning of a URI otherwise.
        while position < end and octets[position] != LESS:
            word = position
            position = _skip_blank(octets, _skip(octets, position, end, TOKEN), end)
            if position == word:
                break
        if position < end and octets[position] == LESS:
            address.name_end = <int>trimmed_end(octets, address.name_start, position)
        else:
            position = address.name_start
    if position < end and octets[position] == LESS:
        bracketed = True
        position = _skip_blank(octets, position + 1, end)  # blanks in the brackets: RFC 4475 s.3.1.2.14 lets us
    address.uri_start = <int>position
    # Outside of brackets a semicolon ends the URI, and a URI with a comma or question mark is not allowed (s.20).
    while True:
        position = _skip(octets, position, end, URI)
        if position == end or octets[position] <= SPACE or octets[position] == GREATER:
            break
        if octets[position] == COLON:
            colon = True
        elif octets[position] == LESS or octets[position] == QUOTE:
            return False
        elif not bracketed:
            if octets[position] == SEMICOLON:
                break
            return False
        position += 1
    address.uri_end = <int>position
    position = _skip_blank(octets, position, end)
    if bracketed:
        if position >= end or octets[position] != GREATER:
            return False
        position = _skip_blank(octets, position + 1, end)
    if not colon or (position < end and octets[position] != SEMICOLON):
        return False
    address.parameters_start = <int>position
    return True


cdef bint tag_at(Octets octets, Py_ssize_t start, Py_ssize_t end, int *tag_start, int *tag_end) except -1:
    """The tag of a From or To; start and end are the same without one. False when it is neither."""
    cdef AddressParts address
    cdef Parameter parameter
    cdef Py_ssize_t position
    cdef uint64_t mark, seen = 0
    cdef bint doubtful = False
    tag_start[0] = tag_end[0] = <int>start
    if not address_at(octets, start, end, &address):
        return False
    position = address.parameters_start
    while position < end:
        position = parameter_at(octets, position, end, &parameter)
        if position < 0:
            return False
        mark = _mark(octets, &parameter)
        doubtful = doubtful or seen & mark != 0
        seen |= mark
        if parameter.value_start >= 0 and _is_named(octets, &parameter, b"tag", 3):
            tag_start[0] = parameter.value_start
            tag_end[0] = parameter.value_end
    return not doubtful or not _repeats(octets, address.parameters_start, end)


cdef Py_ssize_t _host_port_end(
    Octets octets, Py_ssize_t start, Py_ssize_t end, int *host_start, int *host_end, int *port
) noexcept nogil:
    """`host[:port]`, white space allowed around the colon and behind as in a Via: the host without brackets, port -1 when
    absent. Returns what is behind it; -1 when it is none."""
    cdef Py_ssize_t position, digits
    cdef int number = 0
    port[0] = -1
    if start < end and octets[start] == LEFT_BRACKET:
        position = _skip(octets, start + 1, end, IPV6)
        if position >= end or octets[position] != RIGHT_BRACKET or not _is_ipv6(octets, start + 1, position):
            return -1
        host_start[0] = <int>start + 1
        host_end[0] = <int>position
        position += 1
    else:
        position = _skip(octets, start, end, HOST)
        # s.25.1: a label begins with a letter or digit; "..", too, is no host name.
        if position == start or octets[start] == HYPHEN or octets[start] == DOT:
            return -1
        host_start[0] = <int>start
        host_end[0] = <int>position
    position = _skip_blank(octets, position, end)
    if position == end or octets[position] != COLON:
        return position
    position = _skip_blank(octets, position + 1, end)
    digits = position
    while position < end and ZERO <= octets[position] <= NINE and position - digits < 6:
        number = number * 10 + (octets[position] - ZERO)
        position += 1
    if position == digits or position - digits > 5 or number > 65535:
        return -1
    port[0] = number
    return _skip_blank(octets, position, end)


cdef bint _is_ipv6(Octets octets, Py_ssize_t start, Py_ssize_t end) noexcept nogil:
    """Two colons at least, never three in a row, and at most one pair of them."""
    cdef int colons = 0, pairs = 0
    cdef Py_ssize_t position
    for position in range(start, end):
        if octets[position] == COLON:
            colons += 1
            if position + 1 < end and octets[position + 1] == COLON:
                pairs += 1
    return colons >= 2 and pairs <= 1


cdef bint via_at(Octets octets, Py_ssize_t start, Py_ssize_t end, ViaParts *via) except -1:
    """One Via value (s.20.42). False when it is not one."""
    cdef Py_ssize_t position
    cdef Parameter parameter
    cdef uint64_t mark, seen = 0
    cdef bint doubtful = False
    via.start = <int>start
    via.end = <int>end
    if end - start > 12 and memcmp(octets + start, b"SIP/2.0/UDP ", 12) == 0:
        via.transport_start = <int>start + 8
        via.transport_end = <int>start + 11
        position = start + 12
    else:
        position = _sent_protocol_end(octets, start, end, via)
        if position < 0:
            return False
    position = _skip_blank(octets, position, end)
    position = _host_port_end(octets, position, end, &via.host_start, &via.host_end, &via.port)
    if position < 0:
        return False
    via.parameters_start = <int>position
    via.branch_start = via.branch_end = <int>start
    via.rport_start = via.rport_end = -1
    via.rport_filled = False
    via.has_received = False
    while position < end:
        position = parameter_at(octets, position, end, &parameter)
        if position < 0:
            return False
        mark = _mark(octets, &parameter)
        doubtful = doubtful or seen & mark != 0
        seen |= mark
        if _is_named(octets, &parameter, b"branch", 6):
            if parameter.value_start >= 0:
                via.branch_start = parameter.value_start
                via.branch_end = parameter.value_end
        elif _is_named(octets, &parameter, b"rport", 5):
            via.rport_start = parameter.name_start
            via.rport_filled = parameter.value_start >= 0
            via.rport_end = parameter.value_end if via.rport_filled else parameter.name_end
        elif _is_named(octets, &parameter, b"received", 8):
            via.has_received = True
    return not doubtful or not _repeats(octets, via.parameters_start, end)


cdef Py_ssize_t _sent_protocol_end(Octets octets, Py_ssize_t start, Py_ssize_t end, ViaParts *via) noexcept nogil:
    """s.25.1 sent-protocol: SIP SLASH version SLASH transport, and white space behind it; -1 when it is none.

    Any version will do: a request of another one is to be answered 505, not dropped.
    """
    cdef Py_ssize_t token_start, token_end = start
    cdef int part
    for part in range(3):
        token_start = _skip_blank(octets, token_end + 1 if part else start, end)
        token_end = _skip(octets, token_start, end, TOKEN)
        if token_start == token_end:
            return -1
        if part == 0 and (token_end - token_start != 3 or not same_letters(octets, token_start, b"sip", 3)):
            return -1
        if part == 2:
            break
        token_end = _skip_blank(octets, token_end, end)
        if token_end >= end or octets[token_end] != SLASH:
            return -1
    via.transport_start = <int>token_start
    via.transport_end = <int>token_end
    if token_end >= end or not _classes[octets[token_end]] & BLANK:
        return -1
    return token_end


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
