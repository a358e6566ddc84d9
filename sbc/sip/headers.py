"""The headers with a structure that a proxy looks into: Via, From/To/Contact/Route, CSeq (RFC 3261 s.20, 25).

A header is read when someone asks for it. Its objects are for reading; to change a header, make a changed object and
write `str()` of it into the message.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import cython

from sbc.sip.errors import MalformedMessage
from sbc.sip.limits import MAX_CSEQ
from sbc.sip.names import COMPACT_FORMS, LIST_HEADERS, SPELLINGS, canonical_name
from sbc.sip.scanner import find_comma, scan_address, scan_number, scan_parameters, scan_via, text_of
from sbc.sip.uri import format_host_port

if cython.compiled:
    from cython.cimports.sbc.sip.uri import SipUri, read_uri
else:
    from sbc.sip.uri import SipUri, read_uri

if TYPE_CHECKING:
    from sbc.sip.message import Message

__all__ = [
    "COMPACT_FORMS",
    "LIST_HEADERS",
    "SPELLINGS",
    "TOKEN",
    "CSeq",
    "NameAddr",
    "Via",
    "canonical_name",
    "format_parameters",
    "parse_contacts",
    "parse_parameters",
    "quote",
    "split_commas",
    "unquote",
]

TOKEN = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]+")


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def split_commas(text: str) -> list[str]:
    """The values of a comma list, trimmed; commas within quotes and angle brackets do not separate."""
    data = _raw(text)
    values = []
    start = 0
    while start <= len(data):
        comma = find_comma(data, start, len(data))
        values.append(text_of(data, start, comma).strip())
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
    """`;name=value;name`: names in lower case, values as spelled with their quotes. MalformedMessage if it is not."""
    data = _raw(text)
    parameters = scan_parameters(data, 0, len(data))
    if parameters is None:
        raise MalformedMessage(f"Malformed {header} parameters", header=header)
    return parameters


def format_parameters(parameters: dict[str, str | None]) -> str:
    """The opposite of `parse_parameters`."""
    return "".join(f";{name}" if value is None else f";{name}={value}" for name, value in parameters.items())


@cython.cclass
class Via:
    """One Via value (RFC 3261 s.20.42). Treat as immutable: the message keeps and shares it.

    `transport` is in upper case, `host` without brackets around an IPv6 address, `port` None when absent. Parameter
    names are in lower case, None stands for a parameter without a value.
    """

    transport: str
    host: str
    port: object
    parameters: dict

    def __init__(self, transport: str, host: str, port: object, parameters: dict) -> None:
        self.transport = transport
        self.host = host
        self.port = port
        self.parameters = parameters

    @classmethod
    def parse(cls, text: str) -> Via:
        """Read one value. MalformedMessage when it is not a Via."""
        data = _raw(text)
        parts = scan_via(data, 0, len(data))
        if parts is None:
            raise MalformedMessage("Malformed Via", header="Via")
        return cls(*parts)

    @property
    def sent_by(self) -> str:
        """`host[:port]` as it stands, lower case, an IPv6 address in brackets."""
        return format_host_port(self.host, self.port).lower()

    @property
    def branch(self) -> str:
        """The branch parameter, "" when there is none (RFC 2543)."""
        branch = self.parameters.get("branch")
        return "" if branch is None else branch

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


@cython.cclass
class NameAddr:
    """`"Display" <uri>;parameters`: From, To, Contact, Route, Record-Route, Refer-To (RFC 3261 s.20.10, 20.20).

    `display_name` is unquoted. `uri_text` is the URI as spelled; `uri` reads it.
    """

    display_name: str
    uri_text: str
    parameters: dict
    _uri: SipUri

    def __init__(self, uri_text: str, parameters: dict[str, str | None] | None = None, display_name: str = "") -> None:
        self.display_name = display_name
        self.uri_text = uri_text
        self.parameters = {} if parameters is None else parameters
        self._uri = None

    @classmethod
    def parse(cls, text: str, header: str = "address") -> NameAddr:
        """Read one value. MalformedMessage (naming `header`) when it is neither a name-addr nor an addr-spec."""
        data = _raw(text)
        address = scan_address(data, 0, len(data))
        if address is None:
            raise MalformedMessage(f"Malformed {header}", header=header)
        name_start, name_end, uri_start, uri_end, parameters_start = address
        parameters = scan_parameters(data, parameters_start, len(data))
        if parameters is None:
            raise MalformedMessage(f"Malformed {header} parameters", header=header)
        return cls(text_of(data, uri_start, uri_end), parameters, unquote(text_of(data, name_start, name_end)))

    @property
    def uri(self) -> SipUri:
        """The URI. MalformedMessage when it is broken, or (416) when it is not sip or sips."""
        return self.read_uri()

    @cython.ccall
    def read_uri(self) -> SipUri:
        """`uri`, for those that are compiled."""
        if self._uri is None:
            self._uri = read_uri(self.uri_text)
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
    """All Contact values, or "*".

    MalformedMessage when one is broken, or when "*" does not stand alone (s.10.3 item 6: it must).
    """
    values = message.get_all("contact")
    if values == ["*"]:
        return "*"
    return [NameAddr.parse(value, "Contact") for value in values]


class CSeq:
    """Number and method (RFC 3261 s.20.16)."""

    __slots__ = ("number", "method")

    def __init__(self, number: int, method: str) -> None:
        self.number = number
        self.method = method

    @classmethod
    def parse(cls, text: str) -> CSeq:
        """Read a value. MalformedMessage when it is not a CSeq, or when its number is not below 2**31."""
        number, _, method = " ".join(text.split()).partition(" ")
        value = scan_number(_raw(number), 0, len(_raw(number)), MAX_CSEQ)
        if value == -2:
            raise MalformedMessage("CSeq number too large", header="CSeq")
        if value < 0 or not TOKEN.fullmatch(method):
            raise MalformedMessage("Malformed CSeq", header="CSeq")
        return cls(value, method)

    def __str__(self) -> str:
        return f"{self.number} {self.method}"
