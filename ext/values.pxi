# Values with a structure: parameters, addresses, Via. Part of scanner.pyx, so that all of it is one piece for the C
# compiler.

cdef Py_ssize_t parameter_at(Octets octets, Py_ssize_t start, Py_ssize_t end, Parameter *parameter) noexcept nogil:
    """`;name`, `;name=value` or `;name="value"` with white space anywhere. Returns where the next one begins or the end is;
    -1 when it is none."""
    cdef Py_ssize_t position = start
    if octets[position] != SEMICOLON:
        return -1
    if start + 8 < end and memcmp(octets + start, b";branch=", 8) == 0 and _classes[octets[start + 8]] & VALUE:
        parameter.name_start = <int>start + 1
        parameter.name_end = <int>start + 7
        parameter.value_start = <int>start + 8
        position = walk_value(octets, start + 9, end, _classes, VALUE)
        parameter.value_end = <int>position
        return _skip_blank(octets, position, end)
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
            position = walk_value(octets, position, end, _classes, VALUE)
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
        # Nearly always: sip: and whatever follows up to the closing bracket.
        if position + 4 < end and octets[position + 3] == COLON and _classes[octets[position]] & TOKEN:
            address.uri_start = <int>position
            word = walk_bracketed(octets, position, end, _classes, BRACKETED)
            if word > position + 3 and word < end and octets[word] == GREATER:
                address.uri_end = <int>word
                position = _skip_blank(octets, word + 1, end)
                address.parameters_start = <int>position
                return position == end or octets[position] == SEMICOLON
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
    if position == end:
        return True
    # Nearly always nothing else is there.
    if position + 5 < end and memcmp(octets + position, b";tag=", 5) == 0:
        tag_start[0] = <int>position + 5
        tag_end[0] = <int>end
        if walk_value(octets, position + 5, end, _classes, VALUE) == end:
            return True
        tag_start[0] = tag_end[0] = <int>start
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
