"""A phone's Contact and the one that we write at the servers in its place (RFC 3261 10.2.1; pitfall D25).

Servers get `<sip:USER@us;gw-tok=TOKEN>` with the phone's own header parameters; the phone gets its own value back
byte for byte, but for `expires`. Several phones may have the same number, so only the token says which one a call is
for.
"""

from __future__ import annotations

import functools
import hashlib
import re

from sbc.sip.errors import MalformedMessage
from sbc.sip.headers import NameAddr, format_parameters, parse_parameters
from sbc.sip.message import Message, Request, Response
from sbc.sip.uri import SipUri

TOKEN_PARAMETER = "gw-tok"
MAX_CONTACTS = 10
"""Of one REGISTER; a phone has one, two with a second transport."""

_TOKEN_BYTES = 13  # 26 letters; every server keeps and repeats them
_LONGEST = 2**32 - 1  # RFC 3261 20.19: delta-seconds
# These bind a Contact to a flow or an instance at a registrar that talks to the phone itself (RFC 5626, 5627).
_NOT_PASSED_ON = ("expires", "reg-id", "ob", "pub-gruu", "temp-gruu", "temp-gruu-cookie")

_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")

# `"Display" <uri>` up to its parameters: what is quoted or in brackets has none.
_BEFORE_PARAMETERS = re.compile(r'\s*(?:"(?:[^"\\]|\\.)*"\s*)?[^"<;]*<[^>]*>|[^;]*', re.DOTALL)


# What nearly all phones write: an address that is in its one spelling already, and nothing that has to be read.
_NUMBER = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_PORT = r"(?:[1-9][0-9]{0,3}|[1-5][0-9]{4})"
_PLAIN_CONTACT = re.compile(rf"<(sip:[A-Za-z0-9._+-]+@{_NUMBER}(?:\.{_NUMBER}){{3}}(?::{_PORT})?)>")
_PLAIN_TO = re.compile(r"<(sip:([A-Za-z0-9._+-]+)@[a-z0-9-]+(?:\.[a-z0-9-]*[a-z])+)>")
_PLAIN_EXPIRES = re.compile(r";expires=([0-9]{1,9})")


class Contact:
    """A contact that a phone wants registered, or removed with `expires` 0. Treat as immutable."""

    __slots__ = ("token", "text", "uri", "expires", "parameters")

    def __init__(self, token: str, text: str, uri: str, expires: int | None, parameters: str) -> None:
        self.token = token
        self.text = text
        """As the phone spelled it."""
        self.uri = uri
        self.expires = expires
        """What the phone asks for it; None when it leaves the time to the server."""
        self.parameters = parameters
        """Those of its header parameters that go on to the servers, as they stand in a header."""

    def at_server(self, user: str, our_host_port: str, expires: int) -> str:
        """Our Contact for it, as a header value."""
        userinfo = f"{user}@" if user else ""
        uri = f"sip:{userinfo}{our_host_port};{TOKEN_PARAMETER}={self.token}"
        return f"<{uri}>;expires={expires}{self.parameters}"


class TokenMaker:
    """Tokens that nobody can guess and that are the same each time.

    Made from the secret of this appliance rather than drawn by lot, a contact keeps its token even when the store was
    lost, so that a REGISTER after that renews the binding at the server and does not add a second one that rings too.
    """

    def __init__(self, secret: bytes) -> None:
        self._keyed = hashlib.blake2b(key=secret[:64], digest_size=_TOKEN_BYTES, person=b"contact")

    def token(self, aor: str, contact_uri: str, instance: str) -> str:
        digest = self._keyed.copy()
        digest.update(f"{aor}\n{contact_uri}\n{instance}".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


def read_contacts(request: Request, aor: str, tokens: TokenMaker) -> list[Contact] | None:
    """The contacts of a REGISTER, [] for a query, None for `Contact: *`. MalformedMessage when they are not allowed."""
    default = read_expires(request.get("Expires"))
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


def read_contact(text: str, aor: str, tokens: TokenMaker, default_expires: int | None = None) -> Contact:
    """One Contact value of a phone."""
    plain = _PLAIN_CONTACT.fullmatch(text)
    if plain is not None:
        return Contact(tokens.token(aor, plain[1], ""), text, plain[1], default_expires, "")
    address = NameAddr.parse(text, "Contact")
    uri = SipUri.parse(address.uri_text)
    if not uri.host:
        raise MalformedMessage("Malformed Contact", header="Contact")
    parameters = address.parameters
    token = tokens.token(aor, _in_one_spelling(uri), parameters.get("+sip.instance") or "")
    expires = read_expires(parameters.get("expires")) if "expires" in parameters else default_expires
    passed_on = ""
    if parameters:
        passed_on = format_parameters({name: parameters[name] for name in parameters if name not in _NOT_PASSED_ON})
    return Contact(token, text, address.uri_text, expires, passed_on)


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


def aor_of(uri: SipUri) -> str:
    """The address-of-record in its one spelling: `sip:user@host`, no port, no parameters (10.3 item 5)."""
    user = uri.user_unescaped
    if not user.isprintable():
        user = uri.user or ""
    return f"sip:{user}@{uri.host.lower()}" if user else f"sip:{uri.host.lower()}"


def aor_of_register(request: Request) -> str:
    """The address-of-record of a REGISTER: its To."""
    plain = _PLAIN_TO.fullmatch(request.get("To") or "")
    return plain[1] if plain is not None else aor_of(request.to.uri)


def user_of_register(request: Request) -> str:
    """The user part of its To as spelled, "" without one."""
    plain = _PLAIN_TO.fullmatch(request.get("To") or "")
    return plain[2] if plain is not None else request.to.uri.user or ""


def canonical_aor(text: str) -> str:
    """`text` in that spelling; unchanged when it is not a SIP URI."""
    try:
        return aor_of(SipUri.parse(text))
    except MalformedMessage:
        return text


def granted(response: Response, token: str, asked: int) -> int:
    """The seconds for which a 2xx registered the contact with that token (10.2.1.1)."""
    values = response.get_all("Contact")
    ours = f"{TOKEN_PARAMETER}={token}"
    # A server that does not keep URI parameters gives back one Contact; there is no other it could be.
    mine = values[0] if len(values) == 1 else None
    for value in values:
        if ours in value:
            mine = value
            break
    if mine is not None:
        tail = mine[_end_of_address(mine) :]
        plain = _PLAIN_EXPIRES.fullmatch(tail)
        if plain is not None:
            return int(plain[1])
        try:
            parameters = parse_parameters(tail, "Contact") if tail else {}
        except MalformedMessage:
            parameters = {}
        seconds = read_expires(parameters.get("expires"))
        if seconds is not None:
            return seconds
    seconds = read_expires(response.get("Expires"))
    return asked if seconds is None else seconds


def with_parameter(text: str, name: str, value: str) -> str:
    """The header value with that parameter set, every other byte as it was."""
    end = _end_of_address(text)
    tail = text[end:]
    if '"' not in tail and name not in tail.lower():
        return f"{text.rstrip()};{name}={value}"
    found = False

    def replace(match: re.Match[str]) -> str:
        nonlocal found
        if match[1] is None:
            return match[0]  # a quoted string: what looks like a parameter in it is none
        found = True
        return f"{match[1]}={value}"

    tail = _parameter(name).sub(replace, tail)
    return f"{text[:end]}{tail}" if found else f"{text.rstrip()};{name}={value}"


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
