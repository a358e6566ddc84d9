"""The header lines of one message: found, read, edited, and written out again (RFC 3261 section 7.3).

Not ordinary Python because no object is made of a line. A line is six offsets into the bytes that it came in, or into
those of a line of ours; all of them stand in one C array, which an edit moves and a copy copies. So unknown headers, their
order, folding and spelling survive byte for byte, and `to_bytes` copies what stands between two edits in one piece.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.string cimport memchr, memcpy, memmove

from sbc.sip.errors import LocalError, MalformedMessage
from sbc.sip.limits import MAX_HEADER_LINE, MAX_HEADER_LINES
from sbc.sip.names import COMPACT_FORMS, LIST_HEADERS, SPELLINGS, canonical_name

from sbc.sip.remembered cimport Remembered
from sbc.sip.scanner cimport (
    CONTENT_LENGTH,
    HEADER_BITS,
    NO_FAULT,
    NO_HEADER,
    REPEATED,
    VIA,
    WITHOUT_END,
    Headers,
    comma_at,
    is_token,
    lines_at,
    number_at,
    text_at,
    trimmed_end,
    whitespace_end,
)

cdef extern from "Python.h":
    bint PyUnicode_IS_COMPACT_ASCII(str text)
    void *PyUnicode_DATA(str text)
    Py_ssize_t PyUnicode_GET_LENGTH(str text)

cdef enum:
    LF = 0x0A
    CR = 0x0D
    SPARE = 4          # lines that a message may get without its array being made anew
    MOST_LINES = 256   # MAX_HEADER_LINES
    MOST_PLACES = 32000  # lines that a message of ours may have, so that their places fit into 15 bits
    BITS = 32

cdef int _LINE_LIMIT = MAX_HEADER_LINE

# Where the lines of a message are found before it is known how many they are. Nothing else runs meanwhile.
cdef Line _found[MOST_LINES]
assert MOST_LINES == MAX_HEADER_LINES

cdef dict _SPELLED = {bit: SPELLINGS[key] for key, bit in HEADER_BITS.items()}


cdef str spelling_of(int bit):
    return _SPELLED[bit]


cpdef object malformed(int bit, str what="Malformed"):
    """The error that says what is wrong with a header that has a bit."""
    cdef str spelling = _SPELLED[bit]
    return MalformedMessage(f"{what} {spelling}", header=spelling)


cpdef bytes raw(str text):
    """Text that we write into a message. A line break in it would make a header of a value: LocalError."""
    cdef bytes octets
    if PyUnicode_IS_COMPACT_ASCII(text):  # almost always, and then its octets lie there
        octets = PyBytes_FromStringAndSize(<char *>PyUnicode_DATA(text), PyUnicode_GET_LENGTH(text))
    else:
        octets = text.encode("utf-8", "surrogateescape")
    if memchr(PyBytes_AS_STRING(octets), CR, PyBytes_GET_SIZE(octets)) != NULL or (
        memchr(PyBytes_AS_STRING(octets), LF, PyBytes_GET_SIZE(octets)) != NULL
    ):
        raise LocalError(f"line break in {text!r}")
    return octets


cdef class Name:
    """A header name: its `key`, the long form in lower case, and how its lines are recognised."""

    def __init__(self, str key):
        self.key = key
        self.lowered = key.encode("utf-8", "surrogateescape")
        self.bit = HEADER_BITS.get(key, 0)
        self.is_list = key in LIST_HEADERS
        self.compact = _COMPACT.get(key, 0)


cdef dict _COMPACT = {name.lower(): ord(short) for short, name in COMPACT_FORMS.items()}
# By the spellings that callers use; others are made when asked for.
cdef dict _NAMES = {}
for _spelled in [*SPELLINGS.values(), *SPELLINGS, *COMPACT_FORMS]:
    _NAMES[_spelled] = Name(canonical_name(_spelled))


cpdef Name name_of(str name):
    """The name that this is a spelling of."""
    cdef Name known = _NAMES.get(name)
    return Name(canonical_name(name)) if known is None else known


cdef class OwnLine:
    """A header line of ours. Messages share it."""


cpdef OwnLine new_line(str name, str value):
    """`name: value`. LocalError when the name is no token, or a line break is in it."""
    cdef bytes text = raw(f"{name}: {value}")
    cdef OwnLine line = OwnLine.__new__(OwnLine)
    line.name_end = <int>len(name)
    if not is_token(text, 0, min(line.name_end, len(text))):
        raise LocalError(f"not a header name: {name!r}")
    line.data = text + b"\r\n"
    line.value_start = line.name_end + 2
    line.bit = name_of(name).bit
    return line


cpdef OwnLine written_line(bytes data, int name_length, int bit):
    """A line of ours that is written already: `Name: value` and CRLF, in which there is no other line break."""
    cdef OwnLine line = OwnLine.__new__(OwnLine)
    line.data = data
    line.name_end = name_length
    line.value_start = name_length + 2
    line.bit = bit
    return line


cdef OwnLine _NO_BODY = new_line("Content-Length", "0")


cdef object _fault(int fault, int bit):
    if fault == REPEATED:
        return malformed(bit, "Repeated")
    if fault == NO_HEADER:
        return MalformedMessage("Malformed header line")
    return MalformedMessage("Headers without end" if fault == WITHOUT_END else "Headers too large")


cdef class Lines:
    """Start line, header lines and body of a message, as bytes. What they say is for the subclasses.

    `data` is the message as received, None for one that we made. `start_line` is ours, CRLF included, or None while it is
    the received one. Places count lines from 0; one that is not in the message is -1.
    """

    def __dealloc__(self):
        cdef Line *line = self._lines
        cdef void *data = <void *>self.data
        while self._foreign > 0:
            if line.data != data:
                Py_DECREF(<object>line.data)
                self._foreign -= 1
            line += 1
        PyMem_Free(self._lines)

    # -- reading the received bytes --------------------------------------------------------------------------------------

    cdef object read_lines(self, Py_ssize_t position):  # -> MalformedMessage | None
        """Find the lines and the body of `data` behind the start line. What is wrong first is returned when all that can be
        read has been read."""
        cdef Headers headers
        cdef int count = lines_at(
            <Octets>PyBytes_AS_STRING(self.data),
            position,
            PyBytes_GET_SIZE(self.data),
            <void *>self.data,
            _found,
            MOST_LINES,
            _LINE_LIMIT,
            &headers,
            self._places,
        )
        self._make_room(count)
        memcpy(self._lines, _found, count * sizeof(Line))
        self._count = count
        self._bits = headers.seen
        if headers.end >= 0:
            self._body_start = <int>headers.end
            self._body_end = <int>PyBytes_GET_SIZE(self.data)
        return None if headers.fault == NO_FAULT else _fault(headers.fault, headers.fault_bit)

    cdef int _make_room(self, int count) except -1:
        """For so many lines and a few more."""
        cdef int room = count + SPARE
        if room > MOST_PLACES:
            raise LocalError("too many lines")
        cdef Line *lines = <Line *>PyMem_Malloc(room * sizeof(Line))
        if lines == NULL:
            raise MemoryError()
        if self._lines != NULL:
            memcpy(lines, self._lines, self._count * sizeof(Line))
            PyMem_Free(self._lines)
        self._lines = lines
        self._room = room
        return 0

    # -- copying ---------------------------------------------------------------------------------------------------------

    cdef object copy_lines_to(self, Lines other):
        """Into a message that has nothing yet."""
        cdef Line *line
        cdef int left = self._foreign
        cdef void *data = <void *>self.data
        other.data = self.data
        other.start_line = self.start_line
        other._start = self._start
        other._start_end = self._start_end
        other._body = self._body
        other._body_start = self._body_start
        other._body_end = self._body_end
        other._bits = self._bits
        other._make_room(self._count)
        memcpy(other._lines, self._lines, self._count * sizeof(Line))
        other._count = self._count
        other._foreign = left
        memcpy(other._places, self._places, sizeof(self._places))
        line = other._lines
        while left > 0:
            if line.data != data:
                Py_INCREF(<object>line.data)
                left -= 1
            line += 1

    cdef object take_lines(self, Lines other, int bits):
        """Append those lines of another message whose bit is among these."""
        cdef int place
        if self._room < self._count + other._count:
            self._make_room(self._count + other._count)
        for place in range(other._count):
            if other._lines[place].bit & bits:
                self._append_from(&other._lines[place])
        self._forget(bits)

    cdef int _append_from(self, Line *line) except -1:
        """A line of another message, which keeps it too. There is room."""
        if line.data != <void *>self.data:
            Py_INCREF(<object>line.data)
            self._foreign += 1
        self._lines[self._count] = line[0]
        self._count += 1
        if line.bit and self._places[FIRST_BIT(line.bit)] == 0:
            self._places[FIRST_BIT(line.bit)] = <short>self._count
        return 0

    # -- finding ---------------------------------------------------------------------------------------------------------

    cpdef bint may_have(self, int bits) noexcept:
        """False when none of these headers is there."""
        return self._bits & bits != 0

    cpdef int place_of(self, int bit) noexcept:
        """Where the first line of a header that has a bit is."""
        return first_place(self, bit)

    cdef int required(self, int bit) except -1:
        """`place_of` where it must be: MalformedMessage when it is not."""
        cdef int place = first_place(self, bit)
        if place < 0:
            raise malformed(bit, "Missing")
        return place

    cpdef int find(self, Name name):
        """Where the first line of that name is."""
        cdef int place
        if name.bit:
            return first_place(self, name.bit)
        for place in range(self._count):
            if self._is_named(place, name):
                return place
        return -1

    cdef bint _is_named(self, int place, Name name) noexcept:
        cdef Line *line = &self._lines[place]
        cdef Octets octets = <Octets>PyBytes_AS_STRING(<object>line.data)
        cdef int length = line.name_end - line.start
        if line.bit or name.bit:
            return line.bit == name.bit
        if length == 1 and name.compact:
            return octets[line.start] | 0x20 == name.compact
        return length == PyBytes_GET_SIZE(name.lowered) and _same_name(
            octets, line.start, <Octets>PyBytes_AS_STRING(name.lowered), length
        )

    cpdef bint has_one(self, int bit) noexcept:
        """True when a comma list whose header has a bit has one element."""
        cdef int first = first_place(self, bit), place
        if first < 0 or _first_end(&self._lines[first]) != self._lines[first].value_end:
            return False
        for place in range(first + 1, self._count):
            if self._lines[place].bit == bit:
                return False
        return True

    cpdef int line_count(self):
        return self._count

    # -- reading values --------------------------------------------------------------------------------------------------

    cpdef str name_at(self, int place):
        """The name as spelled."""
        cdef Line *line = self._line(place)
        return text_at(<Octets>PyBytes_AS_STRING(<object>line.data), line.start, line.name_end)

    cpdef str value_at(self, int place):
        """The value, unfolded."""
        cdef Line *line = self._line(place)
        return text_at(<Octets>PyBytes_AS_STRING(<object>line.data), line.value_start, line.value_end)

    cpdef str first_value_at(self, int place):
        """What stands before the first comma."""
        cdef Line *line = self._line(place)
        cdef Octets octets = <Octets>PyBytes_AS_STRING(<object>line.data)
        return text_at(octets, line.value_start, trimmed_end(octets, line.value_start, _first_end(line)))

    cpdef str first_of(self, int bit):
        """The first element of a comma list whose header has a bit; None without one."""
        cdef int place = first_place(self, bit)
        return None if place < 0 else self.first_value_at(place)

    cpdef bytes first_bytes(self, int bit):
        """`first_of` as it came, folds included."""
        cdef int length = 0
        cdef Octets octets = _first_element(self, bit, &length)
        return None if octets == NULL else octets[:length]

    cpdef object first_in(self, int bit, Remembered remembered):
        """What is remembered for `first_bytes`, or None."""
        cdef int length = 0
        cdef Octets octets = _first_element(self, bit, &length)
        return None if octets == NULL else remembered.at(octets, length)

    cpdef str value_of(self, int bit):
        """The value of the first line of a header that has a bit; None without one."""
        cdef int place = first_place(self, bit)
        return None if place < 0 else self.value_at(place)

    cpdef bytes value_bytes(self, int bit):
        """`value_of` as it came, folds included."""
        cdef int place = first_place(self, bit)
        cdef Line *line
        if place < 0:
            return None
        line = &self._lines[place]
        return (<Octets>PyBytes_AS_STRING(<object>line.data))[line.value_start:line.value_end]

    cpdef long long number_of(self, int bit, long long limit) except? -1:
        """The value of a header that is a number, -1 without that header. MalformedMessage when it is none up to `limit`."""
        cdef int place = first_place(self, bit)
        cdef Line *line
        cdef long long number
        if place < 0:
            return -1
        line = &self._lines[place]
        number = number_at(<Octets>PyBytes_AS_STRING(<object>line.data), line.value_start, line.value_end, limit)
        if number < 0:
            raise malformed(bit)
        return number

    cpdef list values_of(self, Name name):
        """All values in order; where the grammar is a list, commas split it and empty elements are left out."""
        cdef list values = []
        cdef int place
        for place in range(self._count):
            if not self._is_named(place, name):
                continue
            if name.is_list:
                self._split(place, values)
            else:
                values.append(self.value_at(place))
        return values

    cdef object _split(self, int place, list values):
        cdef Line *line = &self._lines[place]
        cdef Octets octets = <Octets>PyBytes_AS_STRING(<object>line.data)
        cdef Py_ssize_t start = line.value_start, comma
        while start < line.value_end:
            start = whitespace_end(octets, start, line.value_end)
            comma = comma_at(octets, start, line.value_end)
            if comma > start:
                values.append(text_at(octets, start, trimmed_end(octets, start, comma)))
            start = comma + 1

    cdef Line *_line(self, int place) except NULL:
        if place < 0 or place >= self._count:
            raise LocalError(f"no line {place}")
        return &self._lines[place]

    # -- editing ---------------------------------------------------------------------------------------------------------

    cdef void _forget(self, int bits) noexcept:
        """Such headers have changed: they may be there now, and what is kept of them is no longer true."""
        self._bits |= bits
        self._fresh &= ~bits

    cdef Line *_insert(self, int place, int bit) except NULL:
        """Room for a line at `place`, of a header with that bit, to be filled at once with data of its own."""
        cdef int number
        cdef short limit = <short>place
        if self._count == self._room:
            self._make_room(self._count)
        memmove(self._lines + place + 1, self._lines + place, (self._count - place) * sizeof(Line))
        self._count += 1
        self._foreign += 1
        for number in range(BITS):
            self._places[number] += <short>(self._places[number] > limit)
        if bit:
            number = FIRST_BIT(bit)
            if self._places[number] == 0 or self._places[number] > place:
                self._places[number] = <short>(place + 1)
        self._forget(bit)
        return &self._lines[place]

    cdef void _let_go(self, int place) noexcept:
        """Take a line out."""
        cdef void *data = self._lines[place].data
        cdef int bit = self._lines[place].bit, number, next_place
        cdef short limit = <short>place
        self._forget(bit)
        self._count -= 1
        memmove(self._lines + place, self._lines + place + 1, (self._count - place) * sizeof(Line))
        if bit and self._places[FIRST_BIT(bit)] == place + 1:
            # Another one of the same name is the first now, if there is one: its place here is that before the removal.
            self._places[FIRST_BIT(bit)] = 0
            for next_place in range(place, self._count):
                if self._lines[next_place].bit == bit:
                    self._places[FIRST_BIT(bit)] = <short>(next_place + 2)
                    break
        for number in range(BITS):
            self._places[number] -= <short>(self._places[number] > limit)
        if data != <void *>self.data:
            self._foreign -= 1
            Py_DECREF(<object>data)

    cdef void _put_own(self, Line *line, OwnLine own) noexcept:
        """Fill in a line of ours, where there is none yet."""
        Py_INCREF(own.data)
        line.data = <void *>own.data
        line.start = 0
        line.name_end = own.name_end
        line.value_start = own.value_start
        line.end = <int>PyBytes_GET_SIZE(own.data)
        line.value_end = line.end - 2
        line.bit = own.bit

    cpdef object insert(self, int place, OwnLine own):
        """A line of ours at `place`, from 0 to the number of lines."""
        if place < 0 or place > self._count:
            raise LocalError(f"no room at {place}")
        self._put_own(self._insert(place, own.bit), own)

    cpdef object append_line(self, OwnLine line):
        """Below all headers."""
        self.insert(self._count, line)

    cpdef object put_first(self, OwnLine line):
        """Above the first line of that header, which has a bit, or below the Vias where there is none."""
        cdef int place = first_place(self, line.bit)
        self.insert(self._below_vias() if place < 0 else place, line)

    cpdef object put_above(self, Name name, OwnLine line):
        """Above the first line of that name, or below the Vias where there is none; a Via on top."""
        cdef int place = self.find(name)
        if place < 0:
            place = 0 if name.bit == VIA else self._below_vias()
        self.insert(place, line)

    cdef int _below_vias(self) noexcept:
        """The place of the first line that is not part of the Vias on top."""
        cdef int place = 0
        while place < self._count and self._lines[place].bit == VIA:
            place += 1
        return place

    cpdef object set_first_value(self, int place, bytes value):
        """Put `value` in the place of the first value of a comma list."""
        cdef Line *line = self._line(place)
        cdef Py_ssize_t comma = _first_end(line)
        cdef Octets octets = <Octets>PyBytes_AS_STRING(<object>line.data)
        self._put_value(place, value, PyBytes_GET_SIZE(value), octets + comma, line.value_end - comma)

    cdef int _put_value(
        self, int place, Octets value, Py_ssize_t length, Octets more, Py_ssize_t more_length
    ) except -1:
        """The same header, spelled the same, with a value of two pieces, which may be pieces of what it had."""
        cdef Line *line = &self._lines[place]
        cdef Octets octets = <Octets>PyBytes_AS_STRING(<object>line.data)
        cdef int head = line.value_start - line.start
        cdef bytes data = PyBytes_FromStringAndSize(NULL, head + length + more_length + 2)
        cdef unsigned char *target = <unsigned char *>PyBytes_AS_STRING(data)
        memcpy(target, octets + line.start, head)
        memcpy(target + head, value, length)
        memcpy(target + head + length, more, more_length)
        memcpy(target + head + length + more_length, <const char *>b"\r\n", 2)
        self._put_data(place, data)
        return 0

    cdef void _put_data(self, int place, bytes data) noexcept:
        """A line anew, of which all that stands before the value is as it was."""
        cdef Line *line = &self._lines[place]
        cdef void *before = line.data
        Py_INCREF(data)
        line.data = <void *>data
        line.name_end -= line.start
        line.value_start -= line.start
        line.start = 0
        line.end = <int>PyBytes_GET_SIZE(data)
        line.value_end = line.end - 2
        self._forget(line.bit)
        if before != <void *>self.data:
            Py_DECREF(<object>before)
        else:
            self._foreign += 1

    cpdef object drop_first_value(self, int place):
        """Take the first value of a comma list away: the line goes with its last value, otherwise what remains of it stays
        byte for byte."""
        cdef Line *line = self._line(place)
        cdef Octets octets = <Octets>PyBytes_AS_STRING(<object>line.data)
        cdef Py_ssize_t rest = _first_end(line)
        if rest == line.value_end:
            self._let_go(place)
        else:
            rest = whitespace_end(octets, rest + 1, line.value_end)
            self._put_value(place, octets + rest, line.value_end - rest, NULL, 0)

    cpdef object drop_first(self, int bit):
        """`drop_first_value` for a header that has a bit, if it is there."""
        cdef int place = first_place(self, bit)
        if place >= 0:
            self.drop_first_value(place)

    cpdef object drop_all(self, int bits):
        """Drop all lines of these headers."""
        cdef int place = self._count
        if self._bits & bits:
            while place > 0:
                place -= 1
                if self._lines[place].bit & bits:
                    self._let_go(place)
            self._bits &= ~bits

    cpdef int drop_named(self, Name name):
        """Drop all lines of that name. Returns where the first one was, or the number of lines when there was none."""
        cdef int first = self.find(name)
        cdef int place = self._count
        if first < 0:
            return self._count
        while place > first:
            place -= 1
            if self._is_named(place, name):
                self._let_go(place)
        return first

    cpdef int take_others(self, Lines other, int bits):
        """Append those lines of another message whose bit is not among these. Returns how many they are."""
        cdef int place, before = self._count
        if self._room < self._count + other._count:
            self._make_room(self._count + other._count)
        for place in range(other._count):
            if not other._lines[place].bit & bits:
                self._append_from(&other._lines[place])
                self._forget(other._lines[place].bit)
        return self._count - before

    # -- the whole -------------------------------------------------------------------------------------------------------

    cpdef bytes get_body(self):
        if self._body is None:
            if self.data is None or self._body_start == self._body_end:
                return b""
            self._body = self.data[self._body_start:self._body_end]
        return self._body

    cpdef object set_body(self, bytes body):
        """And its Content-Length, where it stands or below all headers."""
        cdef Py_ssize_t length = PyBytes_GET_SIZE(body)
        cdef int place = self.drop_named(_CONTENT_LENGTH)
        self._body = body
        self.insert(place, _NO_BODY if length == 0 else new_line("Content-Length", str(length)))

    cpdef bytes to_bytes(self, bint stream=False):
        """The message for the wire; for a `stream` with a Content-Length even when it came without (s.20.14)."""
        cdef bytes length_line = None
        cdef bytes written
        cdef unsigned char *position
        cdef Octets run, octets, body
        cdef Py_ssize_t run_start, run_end, body_length, size
        cdef void *run_data
        cdef Line *line = self._lines
        cdef Line *behind = self._lines + self._count
        if self._body is None and self.data is None:
            body = NULL
            body_length = 0
        elif self._body is None:
            body = <Octets>PyBytes_AS_STRING(self.data) + self._body_start
            body_length = self._body_end - self._body_start
        else:
            body = <Octets>PyBytes_AS_STRING(self._body)
            body_length = PyBytes_GET_SIZE(self._body)
        # A run is a stretch of bytes that is copied in one piece: neighbouring lines of the same bytes.
        if self.start_line is None:
            if self.data is None:
                raise LocalError("a message without a start line")
            run_data = <void *>self.data
            run_start = self._start
            run_end = self._start_end
        else:
            run_data = <void *>self.start_line
            run_start = 0
            run_end = PyBytes_GET_SIZE(self.start_line)
        size = run_end - run_start + 2 + body_length
        while line < behind:
            size += line.end - line.start
            line += 1
        if stream and first_place(self, CONTENT_LENGTH) < 0:
            length_line = b"Content-Length: %d\r\n" % body_length
            size += PyBytes_GET_SIZE(length_line)
        written = PyBytes_FromStringAndSize(NULL, size)
        position = <unsigned char *>PyBytes_AS_STRING(written)
        run = <Octets>PyBytes_AS_STRING(<object>run_data)
        line = self._lines
        while line < behind:
            if line.start != run_end or line.data != run_data:
                memcpy(position, run + run_start, run_end - run_start)
                position += run_end - run_start
                run_data = line.data
                run = <Octets>PyBytes_AS_STRING(<object>run_data)
                run_start = line.start
            run_end = line.end
            line += 1
        if body == run + run_end + 2 and length_line is None:
            # The empty line and the body stand where they came.
            memcpy(position, run + run_start, run_end - run_start + 2 + body_length)
            return written
        memcpy(position, run + run_start, run_end - run_start)
        position += run_end - run_start
        if length_line is not None:
            memcpy(position, PyBytes_AS_STRING(length_line), PyBytes_GET_SIZE(length_line))
            position += PyBytes_GET_SIZE(length_line)
        memcpy(position, <const char *>b"\r\n", 2)
        if body_length > 0:
            memcpy(position + 2, body, body_length)
        return written


cdef Name _CONTENT_LENGTH = name_of("Content-Length")


cdef inline bint _same_name(Octets octets, Py_ssize_t start, Octets lowered, Py_ssize_t length) noexcept nogil:
    """Like `same_letters`, for a name that may be any text: only letters have another case."""
    cdef Py_ssize_t position
    cdef unsigned char octet
    for position in range(length):
        octet = octets[start + position]
        if 0x41 <= octet <= 0x5A:
            octet |= 0x20
        if octet != lowered[position]:
            return False
    return True


cdef inline Octets _first_element(Lines lines, int bit, int *length):
    """The first element of a comma list whose header has a bit, where it stands; NULL without one."""
    cdef int place = first_place(lines, bit)
    cdef Line *line
    cdef Octets octets
    if place < 0:
        return NULL
    line = &lines._lines[place]
    octets = <Octets>PyBytes_AS_STRING(<object>line.data)
    length[0] = <int>(trimmed_end(octets, line.value_start, _first_end(line)) - line.value_start)
    return octets + line.value_start


cdef inline Py_ssize_t _first_end(Line *line):
    """Where the first comma of a line is, or its value ends."""
    return comma_at(<Octets>PyBytes_AS_STRING(<object>line.data), line.value_start, line.value_end)
