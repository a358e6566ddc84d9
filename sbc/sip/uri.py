"""SIP and SIPS URIs: RFC 3261 section 19.1.

Parts are kept as they were spelled, escapes included; only the scheme and parameter names are lower-cased, because
their case means nothing. What an escape stands for matters in one place, the comparison of two URIs.
"""

from __future__ import annotations

import re

import cython

from sbc.sip.errors import MalformedMessage
from sbc.sip.scanner import scan_host_port

# RFC 3261 s.25.1: unreserved, user-unreserved and escaped; the password may hold fewer of them, which nobody minds.
_USER = re.compile(r"(?:[A-Za-z0-9\-_.!~*'()&=+$,;?/]|%[0-9A-Fa-f]{2})+")
_PASSWORD = re.compile(r"(?:[A-Za-z0-9\-_.!~*'()&=+$,]|%[0-9A-Fa-f]{2})*")
_PARAMETER = re.compile(r"(?:[A-Za-z0-9\-_.!~*'()\[\]/:&+$]|%[0-9A-Fa-f]{2})+")
_HEADERS = re.compile(r"(?:[A-Za-z0-9\-_.!~*'()\[\]/?:+$&=]|%[0-9A-Fa-f]{2})+")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+\-.]*")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_RESERVED = frozenset(";/?:@&=+$,")

# `read` remembers so many URIs of at most so many characters: a site has some thousand phones and numbers.
_REMEMBERED = 4096
_LONGEST_REMEMBERED = 256
_known = cython.declare(dict, {})

# RFC 3261 s.19.1.4: present in one URI only, these make two URIs different.
_COMPARED_PARAMETERS = ("user", "ttl", "method", "maddr", "transport")


def parse_host_port(text: str) -> tuple[str, int | None] | None:
    """`host[:port]` as (host, port), an IPv6 reference without its brackets; None when it is no hostport (s.25.1)."""
    data = text.encode("utf-8", "surrogateescape")
    return None if any(octet <= 0x20 for octet in data) else scan_host_port(data, 0, len(data))


def format_host_port(host: str, port: int | None) -> str:
    """The opposite of `parse_host_port`."""
    bracketed = f"[{host}]" if ":" in host else host
    return bracketed if port is None else f"{bracketed}:{port}"


@cython.cclass
class SipUri:
    """A `sip:` or `sips:` URI. Treat as immutable; `with_` makes a changed one.

    `host` has no brackets around an IPv6 address. `user` and `password` are None when absent. `parameters` maps
    lower-case names to values as spelled, None for a parameter without a value, in order. `headers` is what follows
    the "?".
    """

    scheme: str
    user: str
    password: str
    host: str
    port: object
    parameters: dict
    headers: str

    def __init__(
        self,
        host: str,
        port: int | None = None,
        *,
        scheme: str = "sip",
        user: str | None = None,
        password: str | None = None,
        parameters: dict[str, str | None] | None = None,
        headers: str = "",
    ) -> None:
        self.scheme = scheme
        self.user = user
        self.password = password
        self.host = host
        self.port = port
        self.parameters = {} if parameters is None else parameters
        self.headers = headers

    @classmethod
    def parse(cls, text: str) -> SipUri:
        """Read a URI. MalformedMessage with 416 for another scheme than sip and sips, with 400 for a broken one."""
        scheme, colon, rest = text.partition(":")
        scheme = scheme.lower()
        if not colon or not _SCHEME.fullmatch(scheme):
            raise MalformedMessage("Malformed URI")
        if scheme not in ("sip", "sips"):
            raise MalformedMessage("Unsupported URI Scheme", status_hint=416)
        user, password, rest = cls._split_userinfo(rest)
        rest, question, headers = rest.partition("?")
        if question and not _HEADERS.fullmatch(headers):
            raise MalformedMessage("Malformed URI headers")
        host_port, *pieces = rest.split(";")
        host = parse_host_port(host_port)
        if host is None:
            raise MalformedMessage("Malformed URI host")
        return cls(
            host[0],
            host[1],
            scheme=scheme,
            user=user,
            password=password,
            parameters=cls._parse_parameters(pieces),
            headers=headers,
        )

    @classmethod
    def read(cls, text: str) -> SipUri:
        """`parse`, with the same object for the same text: the URIs of phones, servers and numbers come again and again."""
        return read_uri(text)

    @staticmethod
    def _split_userinfo(rest: str) -> tuple[str | None, str | None, str]:
        # An "@" is allowed nowhere else in a URI, and the user part may hold ";" and "?": look for the "@" first.
        userinfo, at, after = rest.partition("@")
        if not at:
            return None, None, rest
        user, colon, password = userinfo.partition(":")
        if not _USER.fullmatch(user) or not _PASSWORD.fullmatch(password):
            raise MalformedMessage("Malformed URI user")
        return user, password if colon else None, after

    @staticmethod
    def _parse_parameters(pieces: list[str]) -> dict[str, str | None]:
        parameters: dict[str, str | None] = {}
        for piece in pieces:
            name, equals, value = piece.partition("=")
            name = name.lower()
            if not _PARAMETER.fullmatch(name) or (equals and not _PARAMETER.fullmatch(value)):
                raise MalformedMessage("Malformed URI parameter")
            if name in parameters:
                raise MalformedMessage("Repeated URI parameter")  # s.19.1.1: any given name must not appear twice
            parameters[name] = value if equals else None
        return parameters

    @property
    def is_sips(self) -> bool:
        return self.scheme == "sips"

    @property
    def host_port(self) -> str:
        """`host[:port]`, with brackets around an IPv6 address."""
        return format_host_port(self.host, self.port)

    @property
    def transport(self) -> str:
        """The transport parameter in lower case, "" when there is none."""
        return (self.parameters.get("transport") or "").lower()

    @property
    def user_unescaped(self) -> str:
        """The user part with its escapes resolved, "" without a user: for lookups, never for writing."""
        return _unescape(self.user or "")

    def with_(self, **changes: object) -> SipUri:
        """A copy with other values for the named attributes."""
        uri = SipUri(
            self.host,
            self.port,
            scheme=self.scheme,
            user=self.user,
            password=self.password,
            parameters=dict(self.parameters),
            headers=self.headers,
        )
        for name, value in changes.items():
            setattr(uri, name, value)
        return uri

    def __str__(self) -> str:
        text = [self.scheme, ":"]
        if self.user is not None:
            text.append(self.user)
            if self.password is not None:
                text += (":", self.password)
            text.append("@")
        text.append(self.host_port)
        for name, value in self.parameters.items():
            text.append(f";{name}" if value is None else f";{name}={value}")
        if self.headers:
            text += ("?", self.headers)
        return "".join(text)

    def __repr__(self) -> str:
        return f"SipUri.parse({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        """The same spelling but for case that means nothing; `equivalent` is the RFC's comparison."""
        return isinstance(other, SipUri) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def equivalent(self, other: SipUri) -> bool:
        """Do both name the same resource, by the rules of RFC 3261 section 19.1.4?"""
        return (
            self.scheme == other.scheme
            and _comparable_user(self.user) == _comparable_user(other.user)
            and _comparable_user(self.password) == _comparable_user(other.password)
            and self.host.lower() == other.host.lower()
            and self.port == other.port
            and self._parameters_match(other)
            and _comparable_headers(self.headers) == _comparable_headers(other.headers)
        )

    def _parameters_match(self, other: SipUri) -> bool:
        for name in self.parameters.keys() | other.parameters.keys():
            if name in self.parameters and name in other.parameters:
                if _comparable(self.parameters[name]) != _comparable(other.parameters[name]):
                    return False
            elif name in _COMPARED_PARAMETERS:
                return False
        return True


@cython.ccall
def read_uri(text: str) -> SipUri:
    """`SipUri.read`, for those that are compiled."""
    known: SipUri = _known.get(text)
    if known is None:
        known = SipUri.parse(text)
        if len(text) <= _LONGEST_REMEMBERED:
            if len(_known) >= _REMEMBERED:
                _known.clear()  # seldom, and it costs no more than to read them once more
            _known[text] = known
    return known


def _unescape(text: str) -> str:
    if "%" not in text:
        return text
    raw = text.encode("utf-8", "surrogateescape")
    octets = re.sub(rb"%([0-9A-Fa-f]{2})", lambda match: bytes([int(match[1], 16)]), raw)
    return octets.decode("utf-8", "surrogateescape")


def _comparable_user(text: str | None) -> str | None:
    """Escapes of ordinary characters resolved, those of reserved ones kept: "%40" is not "@" (s.19.1.4)."""
    if text is None or "%" not in text:
        return text

    def resolve(match: re.Match[str]) -> str:
        character = chr(int(match[1], 16))
        ordinary = " " <= character <= "~" and character not in _RESERVED
        return character if ordinary else match[0].upper()

    return _ESCAPE.sub(resolve, text)


def _comparable(text: str | None) -> str | None:
    resolved = _comparable_user(text)
    return None if resolved is None else resolved.lower()


def _comparable_headers(headers: str) -> frozenset[str | None]:
    return frozenset(_comparable(header) for header in headers.split("&")) if headers else frozenset()
