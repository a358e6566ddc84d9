"""Header names and the headers with a structure that a proxy looks into: Via, From/To/Contact/Route, CSeq (RFC 3261 s.20, 25).

A header is read when someone asks for it. Its objects are for reading; to change a header, make a changed object and write
`str()` of it into the message.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sbc.sip.errors import MalformedMessage
from sbc.sip.limits import MAX_CSEQ
from sbc.sip.scanner import find_comma
from sbc.sip.uri import SipUri, format_host_port, parse_host_port

if TYPE_CHECKING:
    from sbc.sip.message import Message

# RFC 3261 s.7.3.3 and the registry of compact forms.
COMPACT_FORMS = {
    "a": "Accept-Contact",
    "b": "Referred-By",
    "c": "Content-Type",
    "d": "Request-Disposition",
    "e": "Content-Encoding",
    "f": "From",
    "i": "Call-ID",
    "j": "Reject-Contact",
    "k": "Supported",
    "l": "Content-Length",
    "m": "Contact",
    "n": "Identity-Info",
    "o": "Event",
    "r": "Refer-To",
    "s": "Subject",
    "t": "To",
    "u": "Allow-Events",
    "v": "Via",
    "x": "Session-Expires",
    "y": "Identity",
}

# Headers whose grammar is a comma list: several lines and one line with commas mean the same (s.7.3.1).
LIST_HEADERS = frozenset(
    """
    accept accept-contact accept-encoding accept-language accept-resource-priority alert-info allow allow-events call-info
    contact content-encoding content-language diversion error-info feature-caps flow-timer geolocation history-info
    in-reply-to p-asserted-identity p-associated-uri p-preferred-identity p-refused-uri-list p-visited-network-id path
    proxy-require reason record-route recv-info reject-contact request-disposition require resource-priority route
    security-client security-server security-verify service-route supported trigger-consent unsupported via warning
    """.split()
)

# Headers of which a message has at most one (s.7.3.1); a second line is a contradiction, not a list.
SINGLE_HEADERS = frozenset(
    "call-id content-disposition content-length content-type cseq date event expires from max-forwards min-expires "
    "mime-version organization priority replaces retry-after rseq session-expires subject subscription-state to".split()
)

TOKEN = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]+")
_TOKENS = re.compile(r"[A-Za-z0-9\-.!%*_+`'~\s]*")
_PARAMETER_VALUE = re.compile(r"[A-Za-z0-9\-.!%*_+`'~\[\]:]+")


def canonical_name(name: str) -> str:
    """The long form of a header name in lower case: the key under which all its spellings are found."""
    lowered = name.lower()
    long_form = COMPACT_FORMS.get(lowered)
    return lowered if long_form is None else long_form.lower()


def split_commas(text: str) -> list[str]:
    """The values of a comma list, trimmed; commas within quotes and angle brackets do not separate."""
    data = text.encode("utf-8", "surrogateescape")
    values = []
    start = 0
    while start <= len(data):
        comma = find_comma(data, start, len(data))
        values.append(data[start:comma].decode("utf-8", "surrogateescape").strip())
        start = comma + 1
    return values


def quote(text: str) -> str:
    """`text` as a quoted-string."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def unquote(text: str) -> str:
    """What a quoted-string says; anything else is returned as it is."""
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)
    return text


def parse_parameters(text: str, header: str) -> dict[str, str | None]:
    """`;name=value;name` to names in lower case and values as spelled, quotes included. MalformedMessage when it is not that."""
    parameters: dict[str, str | None] = {}
    for piece in _split(text, ";", header)[1:]:
        name, equals, value = piece.partition("=")
        name = name.strip().lower()
        value = value.strip()
        if not TOKEN.fullmatch(name) or (equals and not _is_parameter_value(value)):
            raise MalformedMessage(f"Malformed {header} parameter", header=header)
        if name in parameters:
            raise MalformedMessage(f"Repeated {header} parameter", header=header)
        parameters[name] = value if equals else None
    return parameters


def _is_parameter_value(value: str) -> bool:
    return bool(_PARAMETER_VALUE.fullmatch(value)) or (len(value) >= 2 and value[0] == value[-1] == '"')


def _split(text: str, separator: str, header: str) -> list[str]:
    """Split at separators outside quoted strings."""
    if '"' not in text:
        return text.split(separator)
    pieces = []
    start = position = 0
    quoted = False
    while position < len(text):
        character = text[position]
        if quoted and character == "\\":
            position += 1
        elif character == '"':
            quoted = not quoted
        elif character == separator and not quoted:
            pieces.append(text[start:position])
            start = position + 1
        position += 1
    if quoted:
        raise MalformedMessage(f"Unbalanced quote in {header}", header=header)
    pieces.append(text[start:])
    return pieces


def format_parameters(parameters: dict[str, str | None]) -> str:
    return "".join(f";{name}" if value is None else f";{name}={value}" for name, value in parameters.items())


class Via:
    """One Via value (RFC 3261 s.20.42). Treat as immutable: the message keeps and shares it.

    `transport` is in upper case, `host` without brackets around an IPv6 address, `port` None when absent. Parameter names
    are in lower case, None stands for a parameter without a value.
    """

    __slots__ = ("transport", "host", "port", "parameters")

    def __init__(self, transport: str, host: str, port: int | None, parameters: dict[str, str | None]) -> None:
        self.transport = transport
        self.host = host
        self.port = port
        self.parameters = parameters

    @classmethod
    def parse(cls, text: str) -> Via:
        """Read one value. MalformedMessage when it is not a Via."""
        text = " ".join(text.split())
        head, semicolon, rest = text.partition(";")
        protocol, _, sent_by = head.replace(" /", "/").replace("/ ", "/").strip().partition(" ")
        name, _, version_transport = protocol.partition("/")
        version, _, transport = version_transport.partition("/")
        host_port = parse_host_port(sent_by.replace(" :", ":").replace(": ", ":").strip())
        if name.upper() != "SIP" or version != "2.0" or not TOKEN.fullmatch(transport) or host_port is None:
            raise MalformedMessage("Malformed Via", header="Via")
        return cls(transport.upper(), host_port[0], host_port[1], parse_parameters(semicolon + rest, "Via"))

    @property
    def sent_by(self) -> str:
        """`host[:port]` as it stands, lower case, an IPv6 address in brackets."""
        return format_host_port(self.host, self.port).lower()

    @property
    def branch(self) -> str:
        """The branch parameter, "" when there is none (RFC 2543)."""
        return self.parameters.get("branch") or ""

    @property
    def received(self) -> str | None:
        """The received parameter without brackets: RFC 5118 s.4.5 allows an IPv6 address both ways."""
        value = self.parameters.get("received")
        return value.strip("[]") if value is not None else None

    @property
    def rport(self) -> int | None:
        """The port in a filled rport parameter (RFC 3581); None when absent or still empty (see `wants_rport`)."""
        value = self.parameters.get("rport")
        return int(value) if value is not None and value.isascii() and value.isdigit() and len(value) <= 5 else None

    @property
    def wants_rport(self) -> bool:
        """Is there an rport parameter, filled or empty?"""
        return "rport" in self.parameters

    def with_parameters(self, **changes: str | None) -> Via:
        """A copy with these parameters set, None for one without a value."""
        return Via(self.transport, self.host, self.port, {**self.parameters, **changes})

    def __str__(self) -> str:
        return f"SIP/2.0/{self.transport} {format_host_port(self.host, self.port)}{format_parameters(self.parameters)}"

    def __repr__(self) -> str:
        return f"Via.parse({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Via) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


class NameAddr:
    """`"Display" <uri>;parameters`: From, To, Contact, Route, Record-Route, Refer-To (RFC 3261 s.20.10, 20.20).

    `display_name` is unquoted. `uri_text` is the URI as spelled; `uri` reads it.
    """

    __slots__ = ("display_name", "uri_text", "parameters", "_uri")

    def __init__(
        self, uri_text: str, parameters: dict[str, str | None] | None = None, display_name: str = ""
    ) -> None:
        self.display_name = display_name
        self.uri_text = uri_text
        self.parameters: dict[str, str | None] = {} if parameters is None else parameters
        self._uri: SipUri | None = None

    @classmethod
    def parse(cls, text: str, header: str = "address") -> NameAddr:
        """Read one value. MalformedMessage (naming `header`) when it is neither a name-addr nor an addr-spec."""
        text = text.strip()
        display_name = ""
        if text.startswith('"'):
            match = re.match(r'"((?:[^"\\]|\\.)*)"\s*', text, re.DOTALL)
            if match is None:
                raise MalformedMessage(f"Unbalanced quote in {header}", header=header)
            display_name = unquote(match[0].strip())
            text = text[match.end() :]
            if not text.startswith("<"):
                raise MalformedMessage(f"Malformed {header}", header=header)
        before, bracket, rest = text.partition("<")
        if bracket:
            if not display_name:
                if not _TOKENS.fullmatch(before):
                    raise MalformedMessage(f"Malformed display name in {header}", header=header)
                display_name = before.strip()
            uri_text, bracket, rest = rest.partition(">")
            rest = rest.strip()
            if not bracket or (rest and rest[0] != ";"):
                raise MalformedMessage(f"Malformed {header}", header=header)
        else:
            # s.20: without brackets everything from the first semicolon on belongs to the header, not to the URI;
            # and a URI with a comma or question mark must have brackets.
            uri_text, semicolon, rest = text.partition(";")
            rest = semicolon + rest
            if "?" in uri_text or "," in uri_text:
                raise MalformedMessage(f"Malformed {header}", header=header)
        uri_text = uri_text.strip()
        if ":" not in uri_text or any(character.isspace() for character in uri_text):
            raise MalformedMessage(f"Malformed URI in {header}", header=header)
        return cls(uri_text, parse_parameters(rest, header), display_name)

    @property
    def uri(self) -> SipUri:
        """The URI. MalformedMessage when it is broken, or (416) when it is not sip or sips."""
        if self._uri is None:
            self._uri = SipUri.parse(self.uri_text)
        return self._uri

    @property
    def tag(self) -> str:
        """The tag parameter, "" when there is none."""
        return self.parameters.get("tag") or ""

    def __str__(self) -> str:
        name = self.display_name
        if name:
            name = (name if TOKEN.fullmatch(name) else quote(name)) + " "
        return f"{name}<{self.uri_text}>{format_parameters(self.parameters)}"

    def __repr__(self) -> str:
        return f"NameAddr.parse({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NameAddr) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


def parse_contacts(message: Message) -> list[NameAddr] | str:
    """All Contact values, or "*". MalformedMessage when one is broken, or when "*" does not stand alone (s.10.3 item 6)."""
    values = message.get_all("contact")
    if values == ["*"]:
        return "*"
    return [NameAddr.parse(value, "Contact") for value in values]


def parse_cseq(text: str) -> tuple[int, str]:
    """(number, method). MalformedMessage when it is not a CSeq."""
    number, _, method = text.strip().partition(" ")
    method = method.strip()
    if not number.isascii() or not number.isdigit() or not TOKEN.fullmatch(method) or len(number) > 20:
        raise MalformedMessage("Malformed CSeq", header="CSeq")
    if int(number) > MAX_CSEQ:
        raise MalformedMessage("CSeq number too large", header="CSeq")
    return int(number), method
