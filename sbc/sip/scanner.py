# cython: boundscheck=False, wraparound=False, initializedcheck=False
"""Walking over the bytes of a message without making objects of them (RFC 3261 sections 7.3 and 25).

Compiled when installed, and ordinary Python when SBC_PURE_PYTHON=1; `scanner.pxd` shows the compiled side what it may
call directly. Nothing here raises on bad input: a function says None or a position of -1 where the bytes do not follow
the grammar, and the caller knows which header that was.

Bounds: every function takes `start` and `end` with 0 <= start <= end <= len(data), reads no octet outside of them, and
returns positions within them. Compiled, nobody checks this again; the fuzz tests do.
"""

from __future__ import annotations

import re
import sys

import cython

from sbc.sip.names import COMPACT_FORMS, SPELLINGS, canonical_name

# True in the compiled module, False when it runs from source.
COMPILED = bool(cython.compiled)

_HTAB = cython.declare(cython.uchar, 0x09)
_LF = cython.declare(cython.uchar, 0x0A)
_CR = cython.declare(cython.uchar, 0x0D)
_SPACE = cython.declare(cython.uchar, 0x20)
_QUOTE = cython.declare(cython.uchar, 0x22)
_COMMA = cython.declare(cython.uchar, 0x2C)
_SLASH = cython.declare(cython.uchar, 0x2F)
_COLON = cython.declare(cython.uchar, 0x3A)
_SEMICOLON = cython.declare(cython.uchar, 0x3B)
_LESS = cython.declare(cython.uchar, 0x3C)
_EQUALS = cython.declare(cython.uchar, 0x3D)
_GREATER = cython.declare(cython.uchar, 0x3E)
_LEFT_BRACKET = cython.declare(cython.uchar, 0x5B)
_BACKSLASH = cython.declare(cython.uchar, 0x5C)
_RIGHT_BRACKET = cython.declare(cython.uchar, 0x5D)

_ALPHANUMERIC = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def _table(octets: bytes) -> bytes:
    return bytes(octet in octets for octet in range(256))


# What a character may be part of, by its octet: 1 yes, 0 no.
TOKEN_OCTETS = cython.declare(bytes, _table(_ALPHANUMERIC + b"-.!%*_+`'~"))  # s.25.1 token
HOST_OCTETS = cython.declare(bytes, _table(_ALPHANUMERIC + b"-._"))  # s.25.1 hostname; "_": real networks use it
IPV6_OCTETS = cython.declare(bytes, _table(b"0123456789abcdefABCDEF:."))
# s.25.1 says token, host or quoted-string. Tags in base64 and branches with braces exist: whatever separates nothing.
VALUE_OCTETS = cython.declare(bytes, _table(bytes(set(range(0x21, 0x100)) - set(b'",;<>\x7f'))))

# The headers that every message is asked for, and those that a proxy looks for, one bit each.
VIA = cython.declare(cython.int, 1)
FROM = cython.declare(cython.int, 2)
TO = cython.declare(cython.int, 4)
CALL_ID = cython.declare(cython.int, 8)
CSEQ = cython.declare(cython.int, 16)
MAX_FORWARDS = cython.declare(cython.int, 32)
CONTENT_LENGTH = cython.declare(cython.int, 64)
EXPIRES = cython.declare(cython.int, 128)
CONTENT_TYPE = cython.declare(cython.int, 256)
ROUTE = cython.declare(cython.int, 512)
RECORD_ROUTE = cython.declare(cython.int, 1024)
CONTACT = cython.declare(cython.int, 2048)
AUTHORIZATION = cython.declare(cython.int, 4096)
PROXY_AUTHORIZATION = cython.declare(cython.int, 8192)
WWW_AUTHENTICATE = cython.declare(cython.int, 16384)
PROXY_AUTHENTICATE = cython.declare(cython.int, 32768)
PROXY_REQUIRE = cython.declare(cython.int, 65536)
RETRY_AFTER = cython.declare(cython.int, 131072)
TIMESTAMP = cython.declare(cython.int, 262144)

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
}


@cython.cclass
class Word:
    """A word of a `Vocabulary`: `lowered` to compare with, the `text` it stands for, its `bit` if it is a header."""

    lowered: bytes
    text: str
    bit: cython.int

    def __init__(self, spelling: str, text: str) -> None:
        self.lowered = bytes(octet | 0x20 for octet in spelling.encode())
        self.text = sys.intern(text)
        self.bit = HEADER_BITS.get(text, 0)


@cython.cclass
class Vocabulary:
    """Tokens that come in almost every message, found in any case without making an object of what is looked up.

    A hash table of 256 places by length, first and last octet. Setting the bit 0x20 makes lower case of a letter and
    keeps the other token characters apart, which is all that is asked here.
    """

    _places: list

    def __init__(self, words: list[Word]) -> None:
        self._places = [[] for _ in range(256)]
        for word in words:
            place: cython.int = self._place(word.lowered, 0, len(word.lowered))
            self._places[place].append(word)

    @cython.cfunc
    @cython.exceptval(check=False)
    def _place(self, data: bytes, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.int:
        octets: cython.p_const_uchar = data
        return ((end - start) * 31 + (octets[start] | 0x20) * 7 + (octets[end - 1] | 0x20)) & 0xFF

    @cython.cfunc
    def find(self, data: bytes, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> Word:
        """The word at `start` to `end`, a token with at least one octet; None when it is not among ours."""
        octets: cython.p_const_uchar = data
        lowered: cython.p_const_uchar
        place: list = self._places[self._place(data, start, end)]
        word: Word
        position: cython.Py_ssize_t
        for word in place:
            if len(word.lowered) == end - start:
                lowered = word.lowered
                position = 0
                while position < end - start and octets[start + position] | 0x20 == lowered[position]:
                    position += 1
                if position == end - start:
                    return word
        return None


_HEADER_NAMES = cython.declare(
    Vocabulary, Vocabulary([Word(name, canonical_name(name)) for name in [*SPELLINGS, *COMPACT_FORMS]])
)
_PARAMETERS = "alias branch expires keep lr maddr ob q received reg-id rport +sip.instance tag transport ttl"
_PARAMETER_NAMES = cython.declare(Vocabulary, Vocabulary([Word(name, name) for name in _PARAMETERS.split(" ")]))
_TRANSPORTS = cython.declare(
    Vocabulary, Vocabulary([Word(name, name) for name in ("UDP", "TCP", "TLS", "SCTP", "TLS-SCTP", "WS", "WSS")])
)
_SIP = cython.declare(Vocabulary, Vocabulary([Word("SIP", "SIP")]))
_METHODS = "INVITE ACK BYE CANCEL REGISTER OPTIONS SUBSCRIBE NOTIFY PUBLISH MESSAGE REFER INFO UPDATE PRACK"
_KNOWN_METHODS = cython.declare(dict, {method.encode(): sys.intern(method) for method in _METHODS.split(" ")})


@cython.ccall
def text_of(data: bytes, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> str:
    """The octets as text, folds as one blank (s.7.3.1). Octets that are not UTF-8 survive as surrogate escapes."""
    octets: cython.p_const_uchar = data
    text: str = octets[start:end].decode("utf-8", "surrogateescape")
    position: cython.Py_ssize_t
    for position in range(start, end):
        if octets[position] == _CR:
            return re.sub(r"[ \t]*\r\n[ \t]+", " ", text)
    return text


@cython.ccall
def method_of(data: bytes, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> str:
    """The octets as a method name, which is case-sensitive (s.7.1); "" when they are not a token."""
    if start == end or skip_octets(data, start, end, TOKEN_OCTETS) != end:
        return ""
    octets: cython.p_const_uchar = data
    method: str = _KNOWN_METHODS.get(octets[start:end])
    return text_of(data, start, end) if method is None else method


@cython.ccall
@cython.exceptval(check=False)
def find_blank(data: bytes, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
    """The first position of a blank or control character; `end` when there is none."""
    octets: cython.p_const_uchar = data
    while start < end and octets[start] > _SPACE:
        start += 1
    return start


@cython.ccall
@cython.exceptval(check=False)
def find_line_end(data: bytes, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
    """Where the first CRLF is, folds not looked at; -1 when there is none."""
    octets: cython.p_const_uchar = data
    while start + 1 < end:
        if octets[start] == _CR and octets[start + 1] == _LF:
            return start
        start += 1
    return -1


@cython.ccall
@cython.exceptval(check=False)
def says_sip_2(data: bytes, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.bint:
    """Is it `SIP/2.0`, the name in any case (s.7.1)?"""
    octets: cython.p_const_uchar = data
    return (
        end - start == 7
        and octets[start] | 0x20 == 0x73
        and octets[start + 1] | 0x20 == 0x69
        and octets[start + 2] | 0x20 == 0x70
        and octets[start + 3] == _SLASH
        and octets[start + 4] == 0x32
        and octets[start + 5] == 0x2E
        and octets[start + 6] == 0x30
    )


@cython.ccall
@cython.exceptval(check=False)
def skip_whitespace(data: bytes, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
    """The first position that is not blank, tab or part of a fold."""
    octets: cython.p_const_uchar = data
    while start < end and (
        octets[start] == _SPACE or octets[start] == _HTAB or octets[start] == _CR or octets[start] == _LF
    ):
        start += 1
    return start


@cython.ccall
@cython.exceptval(check=False)
def trim_end(data: bytes, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
    """`end` without the white space before it."""
    octets: cython.p_const_uchar = data
    while end > start and (
        octets[end - 1] == _SPACE or octets[end - 1] == _HTAB or octets[end - 1] == _CR or octets[end - 1] == _LF
    ):
        end -= 1
    return end


@cython.ccall
@cython.exceptval(check=False)
def skip_octets(data: bytes, start: cython.Py_ssize_t, end: cython.Py_ssize_t, table: bytes) -> cython.Py_ssize_t:
    """The first position whose octet is not in `table`, one of the 256-octet tables above."""
    octets: cython.p_const_uchar = data
    member: cython.p_const_uchar = table
    while start < end and member[octets[start]]:
        start += 1
    return start


@cython.ccall
@cython.exceptval(check=False)
def skip_quoted(data: bytes, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
    """From the opening quote at `start` to behind the closing one; -1 when there is none."""
    octets: cython.p_const_uchar = data
    start += 1
    while start < end:
        if octets[start] == _BACKSLASH:  # takes the next octet with it
            start += 2
        elif octets[start] == _QUOTE:
            return start + 1
        else:
            start += 1
    return -1


@cython.ccall
@cython.exceptval(check=False)
def find_comma(data: bytes, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
    """Where the first comma outside quoted strings and angle brackets is; `end` when there is none."""
    octets: cython.p_const_uchar = data
    in_brackets: cython.bint = False
    while start < end:
        if octets[start] == _QUOTE and not in_brackets:
            start = skip_quoted(data, start, end)
            if start < 0:
                return end
            continue
        if octets[start] == _LESS:
            in_brackets = True
        elif octets[start] == _GREATER:
            in_brackets = False
        elif octets[start] == _COMMA and not in_brackets:
            return start
        start += 1
    return end


@cython.cclass
class Line:
    """One header line with its folds, a piece of `data`. Never changed, so copies of a message share them.

    `start` to `name_end` is the name as spelled; `value_start` to `value_end` the trimmed value; `end` is behind the
    CRLF, or -1 where none came. `key` is the long form of the name in lower case, "" when the line has no name.
    """

    data: bytes
    start: cython.Py_ssize_t
    name_end: cython.Py_ssize_t
    value_start: cython.Py_ssize_t
    value_end: cython.Py_ssize_t
    end: cython.Py_ssize_t
    key: str
    bit: cython.int

    @cython.ccall
    def value(self) -> str:
        """The value, unfolded."""
        return text_of(self.data, self.value_start, self.value_end)

    @cython.ccall
    def name(self) -> str:
        """The name as spelled."""
        return text_of(self.data, self.start, self.name_end)


@cython.ccall
def scan_line(data: bytes, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> Line:
    """The header line that begins at `start`. Look at `end` and `key` for what is wrong with it."""
    octets: cython.p_const_uchar = data
    line: Line = Line.__new__(Line)
    line.data = data
    line.start = start
    line.end = -1
    line.key = ""
    line.bit = 0
    line.name_end = skip_octets(data, start, end, TOKEN_OCTETS)
    position: cython.Py_ssize_t = line.name_end
    while position < end and (octets[position] == _SPACE or octets[position] == _HTAB):  # s.25.1 HCOLON
        position += 1
    named: cython.bint = line.name_end > start and position < end and octets[position] == _COLON
    line.value_start = position
    while position < end:
        if octets[position] == _CR:
            if position + 1 < end and octets[position + 1] == _LF:
                if position + 2 < end and (octets[position + 2] == _SPACE or octets[position + 2] == _HTAB):
                    position += 2
                else:
                    line.end = position + 2
                    break
            else:
                named = False  # a carriage return on its own: others might see a line end in it
        elif octets[position] == _LF:
            named = False  # a line feed on its own, likewise
        position += 1
    if named:
        line.value_start = skip_whitespace(data, line.value_start + 1, position)
        line.value_end = trim_end(data, line.value_start, position)
        word: Word = _HEADER_NAMES.find(data, start, line.name_end)
        if word is None:
            line.key = text_of(data, start, line.name_end).lower()
        else:
            line.key = word.text
            line.bit = word.bit
    else:
        line.value_end = line.value_start
    return line


@cython.ccall
def scan_parameters(data: bytes, start: cython.Py_ssize_t, end: cython.Py_ssize_t):  # -> dict[str, str | None] | None
    """`;name=value;name` with white space anywhere: names in lower case, values as spelled. None when it is not that.

    A name that comes twice makes it invalid (s.7.3.1).
    """
    octets: cython.p_const_uchar = data
    parameters: dict = {}
    position: cython.Py_ssize_t = skip_whitespace(data, start, end)
    name_start: cython.Py_ssize_t
    value_start: cython.Py_ssize_t
    name: str
    word: Word
    while position < end:
        if octets[position] != _SEMICOLON:
            return None
        name_start = skip_whitespace(data, position + 1, end)
        position = skip_octets(data, name_start, end, TOKEN_OCTETS)
        if position == name_start:
            return None
        word = _PARAMETER_NAMES.find(data, name_start, position)
        name = text_of(data, name_start, position).lower() if word is None else word.text
        if name in parameters:
            return None
        position = skip_whitespace(data, position, end)
        if position < end and octets[position] == _EQUALS:
            value_start = skip_whitespace(data, position + 1, end)
            if value_start < end and octets[value_start] == _QUOTE:
                position = skip_quoted(data, value_start, end)
                if position < 0:
                    return None
            else:
                position = skip_octets(data, value_start, end, VALUE_OCTETS)
            parameters[name] = text_of(data, value_start, position)
            position = skip_whitespace(data, position, end)
        else:
            parameters[name] = None
    return parameters


@cython.ccall
def scan_host_port(data: bytes, start: cython.Py_ssize_t, end: cython.Py_ssize_t):  # -> tuple[str, int | None] | None
    """`host[:port]`, white space allowed around the colon as in a Via: (host without brackets, port or None)."""
    octets: cython.p_const_uchar = data
    position: cython.Py_ssize_t
    port: cython.int = 0
    host: str
    if start < end and octets[start] == _LEFT_BRACKET:
        position = skip_octets(data, start + 1, end, IPV6_OCTETS)
        if position >= end or octets[position] != _RIGHT_BRACKET:
            return None
        host = octets[start + 1 : position].decode("ascii")
        if host.count(":") < 2 or ":::" in host or host.count("::") > 1:
            return None
        position += 1
    else:
        position = skip_octets(data, start, end, HOST_OCTETS)
        # s.25.1: a label begins with a letter or digit; "..", too, is no host name.
        if position == start or octets[start] == 0x2D or octets[start] == 0x2E:
            return None
        host = octets[start:position].decode("ascii")
    position = skip_whitespace(data, position, end)
    if position == end:
        return host, None
    if octets[position] != _COLON:
        return None
    position = skip_whitespace(data, position + 1, end)
    if position == end or end - position > 5 + (end - trim_end(data, position, end)):
        return None
    while position < end and 0x30 <= octets[position] <= 0x39:
        port = port * 10 + (octets[position] - 0x30)
        position += 1
    if skip_whitespace(data, position, end) != end or port > 65535:
        return None
    return host, port


@cython.ccall
def scan_via(data: bytes, start: cython.Py_ssize_t, end: cython.Py_ssize_t):  # -> tuple | None
    """One Via value: (transport in upper case, host, port or None, parameters). None when it is not one."""
    octets: cython.p_const_uchar = data
    position: cython.Py_ssize_t
    token_start: cython.Py_ssize_t = start
    token_end: cython.Py_ssize_t = start
    part: cython.int
    for part in range(3):  # s.25.1 sent-protocol: SIP SLASH version SLASH transport
        token_start = skip_whitespace(data, token_end + (1 if part else 0), end)
        token_end = skip_octets(data, token_start, end, TOKEN_OCTETS)
        if part == 0:
            if token_start == token_end or _SIP.find(data, token_start, token_end) is None:
                return None
        elif token_start == token_end:
            return None  # any version will do here: a request of another one is to be answered 505, not dropped
        if part < 2:
            token_end = skip_whitespace(data, token_end, end)
            if token_end >= end or octets[token_end] != _SLASH:
                return None
    position = skip_whitespace(data, token_end, end)
    if token_start == token_end or position == token_end:
        return None
    sent_by_start: cython.Py_ssize_t = position
    while position < end and octets[position] != _SEMICOLON:
        position += 1
    host_port: tuple = scan_host_port(data, sent_by_start, trim_end(data, sent_by_start, position))
    if host_port is None:
        return None
    parameters = scan_parameters(data, position, end)
    if parameters is None:
        return None
    word: Word = _TRANSPORTS.find(data, token_start, token_end)
    transport: str = text_of(data, token_start, token_end).upper() if word is None else word.text
    return transport, host_port[0], host_port[1], parameters


@cython.cclass
class Address:
    """Where the parts of a name-addr or addr-spec stand: display name with its quotes, URI, parameters to the end."""

    name_start: cython.Py_ssize_t
    name_end: cython.Py_ssize_t
    uri_start: cython.Py_ssize_t
    uri_end: cython.Py_ssize_t
    parameters_start: cython.Py_ssize_t

    @cython.ccall
    def positions(self):  # -> tuple[int, int, int, int, int]
        return self.name_start, self.name_end, self.uri_start, self.uri_end, self.parameters_start


@cython.ccall
def scan_address(data: bytes, start: cython.Py_ssize_t, end: cython.Py_ssize_t):  # -> Address | None
    """`"Name" <uri>;parameters`, `Name <uri>`, `<uri>` or `uri;parameters` (s.20.10). None when it is none of them.

    The parameters are not looked at, and of the URI only that it has a colon and no white space.
    """
    octets: cython.p_const_uchar = data
    address: Address = Address.__new__(Address)
    position: cython.Py_ssize_t = skip_whitespace(data, start, end)
    uri_start: cython.Py_ssize_t
    colon: cython.bint = False
    bracketed: cython.bint = False
    address.name_start = position
    address.name_end = position
    if position < end and octets[position] == _QUOTE:
        position = skip_quoted(data, position, end)
        if position < 0:
            return None
        address.name_end = position
        position = skip_whitespace(data, position, end)
        if position >= end or octets[position] != _LESS:
            return None
    else:
        # Words without quotes are a name when a bracket follows, and the beginning of a URI otherwise.
        while position < end and octets[position] != _LESS:
            uri_start = position
            position = skip_whitespace(data, skip_octets(data, position, end, TOKEN_OCTETS), end)
            if position == uri_start:
                break
        if position < end and octets[position] == _LESS:
            address.name_end = trim_end(data, address.name_start, position)
        else:
            position = address.name_start
    if position < end and octets[position] == _LESS:
        bracketed = True
        position = skip_whitespace(data, position + 1, end)  # blanks within the brackets: RFC 4475 s.3.1.2.14 lets us
    uri_start = position
    # Outside of brackets a semicolon ends the URI, and a URI with a comma or question mark is not allowed (s.20).
    while position < end and octets[position] > _SPACE and octets[position] != _GREATER:
        if octets[position] == _COLON:
            colon = True
        elif octets[position] == _LESS or octets[position] == _QUOTE:
            return None
        elif not bracketed:
            if octets[position] == _SEMICOLON:
                break
            if octets[position] == _COMMA or octets[position] == 0x3F:
                return None
        position += 1
    address.uri_start = uri_start
    address.uri_end = position
    position = skip_whitespace(data, position, end)
    if bracketed:
        if position >= end or octets[position] != _GREATER:
            return None
        position = skip_whitespace(data, position + 1, end)
    if not colon or (position < end and octets[position] != _SEMICOLON):
        return None
    address.parameters_start = position
    return address


@cython.ccall
@cython.exceptval(check=False)
def scan_number(
    data: bytes, start: cython.Py_ssize_t, end: cython.Py_ssize_t, limit: cython.longlong
) -> cython.longlong:
    """The decimal number that fills `start` to `end`; -1 when it is not one, -2 when it is larger than `limit`.

    `limit` is below 2**59, so that a further digit does not overflow.
    """
    octets: cython.p_const_uchar = data
    number: cython.longlong = 0
    if start == end:
        return -1
    while start < end:
        if not 0x30 <= octets[start] <= 0x39:
            return -1
        if number <= limit:
            number = number * 10 + (octets[start] - 0x30)
        start += 1
    return number if number <= limit else -2
