"""A phone's Contact and the one that we write at the servers in its place (RFC 3261 10.2.1; pitfall D25).

Servers get `<sip:USER@us;gw-tok=TOKEN>` with the phone's own header parameters; the phone gets its own value back
byte for byte, but for `expires`. Several phones may have the same number, so only the token says which one a call is
for.
"""

from __future__ import annotations

import functools
import hashlib
import re

import cython

from sbc.redundancy.phones import LONGEST_AGENT
from sbc.sip.errors import MalformedMessage
from sbc.sip.headers import NameAddr, format_parameters
from sbc.sip.uri import SipUri

if cython.compiled:
    from cython.cimports.sbc.sip.message import Message, Request, Response
    from cython.cimports.sbc.sip.scanner import CONTACT, EXPIRES, TO, scan_number, scan_parameters, scan_plain_expires, text_of
    from cython.cimports.sbc.sip.writer import Writer
else:
    from sbc.sip.message import Message, Request, Response
    from sbc.sip.scanner import CONTACT, EXPIRES, TO, scan_number, scan_parameters, scan_plain_expires, text_of
    from sbc.sip.writer import Writer

TOKEN_PARAMETER = "gw-tok"
MAX_CONTACTS = 10
"""Of one REGISTER; a phone has one, two with a second transport."""

_TOKEN_BYTES = 13  # 26 letters; every server keeps and repeats them
_LONGEST = cython.declare(cython.longlong, 2**32 - 1)  # RFC 3261 20.19: delta-seconds
NO_TIME = -1
"""In the place of seconds, where the phone leaves them to the server."""
_NO_TIME = cython.declare(cython.longlong, NO_TIME)
# These bind a Contact to a flow or an instance at a registrar that talks to the phone itself (RFC 5626, 5627).
_NOT_PASSED_ON = ("expires", "reg-id", "ob", "pub-gruu", "temp-gruu", "temp-gruu-cookie")

_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")

_TOKEN_EQUALS = cython.declare(bytes, f";{TOKEN_PARAMETER}=".encode())

# `"Display" <uri>` up to its parameters: what is quoted or in brackets has none.
_BEFORE_PARAMETERS = re.compile(r'\s*(?:"(?:[^"\\]|\\.)*"\s*)?[^"<;]*<[^>]*>|[^;]*', re.DOTALL)


# What nearly all phones write: an address that is in its one spelling already, and nothing that has to be read. The
# octets of its user and of its host, by their value: 1 may stand there.
_PLAIN_USER = cython.declare(bytes, bytes(chr(octet).isalnum() and octet < 128 or octet in b"._+-" for octet in range(256)))
_PLAIN_HOST = cython.declare(bytes, bytes(octet in b"abcdefghijklmnopqrstuvwxyz0123456789-." for octet in range(256)))


@cython.cclass
class Contact:
    """A contact that a phone wants registered, or removed with `expires` 0. Treat as immutable.

    `text` is the value as the phone spelled it; `expires` is what it asks for it, NO_TIME when it leaves that to the server;
    `parameters` are those of its header parameters that go on to the servers, as they stand in a header.
    """

    token: str
    text: str
    expires: cython.longlong
    parameters: str
    _is_plain: cython.bint  # `text` is an address in brackets and no more
    _names_its_time: cython.bint  # `expires` stands in `text`
    _before_time: bytes  # what comes before and after the seconds in the answer to the phone; None: not needed so far
    _after_time: bytes

    def __init__(self, token: str, text: str, expires: int, parameters: str, names_its_time: bool = False) -> None:
        self.token = token
        self.text = text
        self.expires = expires
        self.parameters = parameters
        self._is_plain = False
        self._names_its_time = names_its_time
        self._before_time = None
        self._after_time = None

    @property
    def uri(self) -> str:
        return NameAddr.parse(self.text, "Contact").uri_text

    @cython.cfunc
    def asking(self, default_expires: cython.longlong) -> Contact:
        """The same value in a REGISTER that has this Expires."""
        if self._names_its_time or self.expires == default_expires:
            return self
        other: Contact = Contact.__new__(Contact)
        other.token = self.token
        other.text = self.text
        other.expires = default_expires
        other.parameters = self.parameters
        other._is_plain = self._is_plain
        other._names_its_time = False
        other._before_time = self._before_time
        other._after_time = self._after_time
        return other

    def at_server(self, user: str, our_host_port: str, expires: int) -> str:
        """Our Contact for it, as a header value."""
        writer = Writer()
        writer.text(f"<sip:{user}@" if user else "<sip:")
        self.write_behind_user(writer, our_host_port, expires)
        return writer.written().decode("utf-8", "surrogateescape")

    @cython.cfunc
    def write_behind_user(self, writer: Writer, our_host_port: str, expires: cython.longlong):
        """Our Contact for it from its host on."""
        writer.text(our_host_port)
        writer.octets(_TOKEN_EQUALS)
        writer.text(self.token)
        writer.octets(b">;expires=")
        writer.number(expires)
        if self.parameters:
            writer.text(self.parameters)

    @cython.cfunc
    def write_line(self, writer: Writer, seconds: cython.longlong, gruu: str):
        """For the answer to the phone: its own value with the time that is left, and its GRUU parameters ("" = none)."""
        writer.octets(b"Contact: ")
        self._write_with_time(writer, seconds)
        if gruu:
            writer.text(gruu)
        writer.octets(b"\r\n")

    @cython.cfunc
    def _write_with_time(self, writer: Writer, seconds: cython.longlong):
        if self._is_plain:
            writer.text(self.text)
            writer.octets(b";expires=")
            writer.number(seconds)
            return
        if self._before_time is None:
            before, after = around_parameter(self.text, "expires")
            self._before_time = before.encode("utf-8", "surrogateescape")
            self._after_time = after.encode("utf-8", "surrogateescape")
        writer.octets(self._before_time)
        writer.number(seconds)
        writer.octets(self._after_time)


@cython.cclass
class TokenMaker:
    """Tokens that nobody can guess and that are the same each time.

    Made from the secret of this appliance rather than drawn by lot, a contact keeps its token even when the store was
    lost, so that a REGISTER after that renews the binding at the server and does not add a second one that rings too.
    """

    _keyed: object

    def __init__(self, secret: bytes) -> None:
        self._keyed = hashlib.blake2b(key=secret[:64], digest_size=_TOKEN_BYTES, person=b"contact")

    @cython.ccall
    def token(self, aor: str, contact_uri: str, instance: str) -> str:
        digest = self._keyed.copy()
        digest.update(f"{aor}\n{contact_uri}\n{instance}".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


@cython.cfunc
def only_contact(message: Message) -> str:
    """The Contact value of a message that has exactly one; else None."""
    return message.value_of(CONTACT) if message.has_one(CONTACT) else None


@cython.cfunc
def first_to_register(contacts: list) -> Contact:
    """The first that is not to be removed; None without one."""
    contact: Contact
    for contact in contacts:
        if contact.expires != 0:
            return contact
    return None


@cython.cfunc
def agent_of(request: Request) -> str:
    """Its User-Agent, as far as it is looked at; "" without one."""
    return (request.get("User-Agent") or "")[:LONGEST_AGENT]


@cython.cfunc
def time_asked(message: Message) -> cython.longlong:
    """The seconds of its Expires header, NO_TIME without one."""
    try:
        return message.number_of(EXPIRES, _LONGEST)  # -1 without one, as NO_TIME
    except MalformedMessage:
        return seconds_of(message.value_of(EXPIRES))  # 20.19: what is no number is as if absent


def read_contacts(request: Request, aor: str, tokens: TokenMaker) -> list[Contact] | None:
    """The contacts of a REGISTER, [] for a query, None for `Contact: *`. MalformedMessage when they are not allowed."""
    default = time_asked(request)
    values = request.get_all("Contact")
    if "*" in values:
        # 10.3 item 6
        if len(values) > 1 or default != 0:
            raise MalformedMessage("Contact: * Needs Expires: 0 and Nothing Else", header="Contact")
        return None
    if len(values) > MAX_CONTACTS:
        raise MalformedMessage("Too Many Contacts", header="Contact")
    contacts = [read_contact(value, aor, tokens, default) for value in values]
    if len(contacts) > 1:
        contacts = list({contact.token: contact for contact in contacts}.values())  # the last of two equal ones counts
    return contacts


@cython.ccall
def read_contact(
    text: str, aor: str, tokens: TokenMaker, default_expires: cython.longlong = _NO_TIME
) -> Contact:
    """One Contact value of a phone."""
    contact: Contact = _plain_contact(text, aor, tokens, default_expires)
    return _read_any(text, aor, tokens, default_expires) if contact is None else contact


@cython.cfunc
def _plain_contact(text: str, aor: str, tokens: TokenMaker, default_expires: cython.longlong) -> Contact:
    """What nearly all phones write; None for anything else."""
    if not text.isascii():
        return None
    spelled: bytes = text.encode("ascii")
    last: cython.Py_ssize_t = len(spelled) - 1
    if last < 2 or spelled[0] != 0x3C or spelled[last] != 0x3E or _plain_address(spelled, 1, last, True) < 0:
        return None
    contact: Contact = Contact(tokens.token(aor, text[1:last], ""), text, default_expires, "")
    contact._is_plain = True
    return contact


def _read_any(text: str, aor: str, tokens: TokenMaker, default_expires: int) -> Contact:
    address = NameAddr.parse(text, "Contact")
    uri = SipUri.parse(address.uri_text)
    if not uri.host:
        raise MalformedMessage("Malformed Contact", header="Contact")
    parameters = address.parameters
    token = tokens.token(aor, _in_one_spelling(uri), parameters.get("+sip.instance") or "")
    names_its_time = "expires" in parameters
    expires = seconds_of(parameters["expires"]) if names_its_time else default_expires
    passed_on = ""
    if parameters:
        passed_on = format_parameters({name: parameters[name] for name in parameters if name not in _NOT_PASSED_ON})
    return Contact(token, text, expires, passed_on, names_its_time)


@cython.cfunc
def _plain_address(
    data: bytes, start: cython.Py_ssize_t, end: cython.Py_ssize_t, may_have_port: cython.bint
) -> cython.Py_ssize_t:
    """Where the "@" is in `sip:user@host[:port]` when nobody who means the same would spell it otherwise; else -1."""
    octets: cython.p_const_uchar = data
    user: cython.p_const_uchar = _PLAIN_USER
    host: cython.p_const_uchar = _PLAIN_HOST
    at: cython.Py_ssize_t = start + 4
    if end < at or not data.startswith(b"sip:", start):
        return -1
    while at < end and user[octets[at]]:
        at += 1
    if at == start + 4 or at + 1 >= end or octets[at] != 0x40 or octets[at + 1] < 0x30:  # 0x30: neither "-" nor "."
        return -1
    place: cython.Py_ssize_t = at + 1
    while place < end and host[octets[place]]:
        place += 1
    if place == end:
        return at
    # A port without leading zeros, of five digits at most.
    if not may_have_port or octets[place] != 0x3A or place + 1 == end or octets[place + 1] == 0x30:
        return -1
    return at if 0 < scan_number(data, place + 1, end, 65535) else -1


def _in_one_spelling(uri: SipUri) -> str:
    """The same text for all spellings of a contact's URI that mean the same (RFC 3261 10.3 item 7, 19.1.4)."""
    userinfo = ""
    if uri.user is not None:
        userinfo = uri.user if uri.password is None else f"{uri.user}:{uri.password}"
        if "%" in userinfo:
            userinfo = _ESCAPE.sub(_unescaped_if_plain, userinfo)
        userinfo += "@"
    parameters = uri.parameters
    if len(parameters) > 1:
        parameters = dict(sorted(parameters.items()))
    question = "?" if uri.headers else ""
    return f"{uri.scheme}:{userinfo}{uri.host_port.lower()}{format_parameters(parameters).lower()}{question}{uri.headers}"


def _unescaped_if_plain(escape: re.Match[str]) -> str:
    character = chr(int(escape[1], 16))
    return character if character.isascii() and (character.isalnum() or character in "-_.!~*'()") else escape[0].upper()


def read_expires(text: str | None) -> int | None:
    """Seconds of an Expires header or expires parameter; None when absent or not a number (20.19: as if absent)."""
    if text is None or not text.isascii() or not text.isdigit():
        return None
    return min(int(text[:11]), _LONGEST)


def seconds_of(text: str | None) -> int:
    """The same, with NO_TIME for None."""
    seconds = read_expires(text)
    return NO_TIME if seconds is None else seconds


def aor_of(uri: SipUri) -> str:
    """The address-of-record in its one spelling: `sip:user@host`, no port, no parameters (10.3 item 5)."""
    user = uri.user_unescaped
    if not user.isprintable():
        user = uri.user or ""
    return f"sip:{user}@{uri.host.lower()}" if user else f"sip:{uri.host.lower()}"


@cython.ccall
def address_of_record(request: Request) -> tuple:  # tuple[str, str]
    """The address-of-record of a REGISTER, and the user part as spelled, "" without one: both of its To."""
    value: bytes = request.value_bytes(TO)
    last: cython.Py_ssize_t = len(value) - 1
    at: cython.Py_ssize_t
    if last > 1 and value[0] == 0x3C and value[last] == 0x3E:
        at = _plain_address(value, 1, last, False)
        if at >= 0:
            aor: str = text_of(value, 1, last)
            return aor, aor[4 : at - 1]
    uri = request.to.uri
    return aor_of(uri), uri.user or ""


def canonical_aor(text: str) -> str:
    """`text` in that spelling; unchanged when it is not a SIP URI."""
    try:
        return aor_of(SipUri.parse(text))
    except MalformedMessage:
        return text


@cython.ccall
def granted(response: Response, token: str, asked: cython.longlong) -> cython.longlong:
    """The seconds for which a 2xx registered the contact with that token (10.2.1.1)."""
    seconds: cython.longlong = -2
    if response.has_one(CONTACT):
        # A server that does not keep URI parameters gives back one Contact; there is no other it could be.
        seconds = scan_plain_expires(response.value_bytes(CONTACT))
    if seconds == -2:
        seconds = _time_for(response, token)
    if seconds == _NO_TIME:
        seconds = time_asked(response)
    return asked if seconds == _NO_TIME else seconds


@cython.cfunc
def _time_for(response: Response, token: str) -> cython.longlong:
    """What its Contact says, NO_TIME when it says nothing."""
    values = response.get_all("Contact")
    ours = f"{TOKEN_PARAMETER}={token}"
    mine = values[0] if len(values) == 1 else None
    for value in values:
        if ours in value:
            mine = value
            break
    if mine is not None:
        tail: bytes = mine[_end_of_address(mine) :].encode("utf-8", "surrogateescape")
        parameters = scan_parameters(tail, 0, len(tail)) if tail else None
        return _NO_TIME if parameters is None else seconds_of(parameters.get("expires"))
    return _NO_TIME


def with_parameter(text: str, name: str, value: str) -> str:
    """The header value with that parameter set, every other byte as it was."""
    before, after = around_parameter(text, name)
    return f"{before}{value}{after}"


def around_parameter(text: str, name: str) -> tuple[str, str]:
    """What stands before and after the value of that parameter; where there is none, it is to be the last one."""
    end = _end_of_address(text)
    tail = text[end:]
    if '"' in tail or name in tail.lower():
        for match in _parameter(name).finditer(tail):
            if match[1] is not None:  # else a quoted string: what looks like a parameter in it is none
                return f"{text[:end]}{tail[: match.start()]}{match[1]}=", tail[match.end() :]
    return f"{text.rstrip()};{name}=", ""


@functools.cache
def _parameter(name: str) -> re.Pattern[str]:
    """That parameter, or a quoted string."""
    pattern = rf'"(?:[^"\\]|\\.)*"|(;\s*{re.escape(name)})\s*(?:=\s*[^;"\s]*|(?=[;\s]|$))'
    return re.compile(pattern, re.IGNORECASE | re.DOTALL)


def _end_of_address(text: str) -> int:
    """Where the header parameters begin."""
    if text.startswith("<"):
        return text.find(">") + 1
    before = _BEFORE_PARAMETERS.match(text)
    return before.end() if before else 0


def option_tags_without(message: Message, header: str, unwanted: frozenset[str]) -> list[str] | None:
    """The option tags of that header without some; None when there is nothing to take away."""
    tags = message.get_all(header)
    kept = [tag for tag in tags if tag.lower() not in unwanted]
    return kept if len(kept) != len(tags) else None
