# Header names and methods, recognised without making an object of them. Part of scanner.pyx, so that all of it is one piece
# for the C compiler.

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
        if _names[place].length == end - start and same_letters(
            octets, start, <const char *>_names[place].lowered, end - start
        ):
            return _names[place].bit
        place = (place + 1) & (PLACES - 1)
    return 0


def _fill_names():
    cdef bytes lowered
    cdef int place, length, bit
    spellings = dict(HEADER_BITS)
    for short, name in COMPACT_FORMS.items():
        if name.lower() in HEADER_BITS:
            spellings[short] = HEADER_BITS[name.lower()]
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


# Header names as almost everybody spells them, with the colon and the blank behind it: found by their first four octets
# and compared eight octets at a time. `first` is the first eight octets, of which those in `mask` belong to the name;
# `middle` the next eight where there are more than 16, and `last` the last eight where there are more than 8.
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
    if name.length <= 16:
        return True
    memcpy(&eight, octets + 8, 8)
    return eight == name.middle


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
