"""What an in-dialog request needs to find its way, signed, inside our own Record-Route (pitfall D21).

Both ends of a dialog send our Record-Route back to us as a Route with every request. It names the server of the dialog and
the address of the phone, so nothing about dialogs must be remembered: after a restart of the process, or at the other
appliance of a pair that shares the key, the BYE of a running call goes the right way.
"""

from __future__ import annotations

import base64
import hmac
import struct
from functools import lru_cache
from hashlib import blake2b
from ipaddress import ip_address
from typing import NamedTuple

from sbc.location.candidate import Candidate

PARAMETER = "gw"
"""The URI parameter that carries the cookie."""

_VERSION = 1
_TRANSPORTS = ("udp", "tcp", "tls")
_REMEMBERED = 8192
"""Cookies kept in both directions: a phone calls more than once from its address, and a dialog sends its cookie twice."""

_LONGEST = 72
"""Characters of a cookie for two IPv6 addresses; longer ones are forged and must not fill what is remembered."""

_MAC_BYTES = 9  # 72 bits: guessing one at line rate takes longer than any appliance lives
_PORTS = struct.Struct("!BHHH")


class PhoneAddress(NamedTuple):
    """Where a phone was when it sent or answered the dialog's first request."""

    transport: str
    host: str
    port: int
    local_port: int
    """The port of ours that the phone talks to."""


class RouteCookie(NamedTuple):
    """The two ends of a dialog as this appliance sees them."""

    candidate: Candidate
    phone: PhoneAddress

    def sign(self, key: bytes) -> str:
        """The cookie as a URI parameter value: about 40 characters for IPv4, 72 for IPv6."""
        return _sign(self, key)

    @classmethod
    def verify(cls, text: str, key: bytes) -> RouteCookie | None:
        """The cookie behind `text`; None when this key did not sign it, whatever it is."""
        return _verify(text, key) if len(text) <= _LONGEST else None


@lru_cache(_REMEMBERED)
def _sign(cookie: RouteCookie, key: bytes) -> str:
    server, phone = ip_address(cookie.candidate.address), ip_address(cookie.phone.host.partition("%")[0])
    kinds = (
        _VERSION << 6
        | _TRANSPORTS.index(cookie.candidate.transport) << 4
        | _TRANSPORTS.index(cookie.phone.transport) << 2
        | (server.version == 6) << 1
        | (phone.version == 6)
    )
    body = (
        _PORTS.pack(kinds, cookie.candidate.port, cookie.phone.port, cookie.phone.local_port) + server.packed + phone.packed
    )
    return base64.urlsafe_b64encode(body + _mac(body, key)).rstrip(b"=").decode()


@lru_cache(_REMEMBERED)
def _verify(text: str, key: bytes) -> RouteCookie | None:
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return None
    body, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
    if not hmac.compare_digest(_mac(body, key), mac) or len(body) < _PORTS.size or body[0] >> 6 != _VERSION:
        return None
    kinds, server_port, phone_port, local_port = _PORTS.unpack_from(body)
    server_end = _PORTS.size + (16 if kinds & 2 else 4)
    server, phone = ip_address(body[_PORTS.size : server_end]), ip_address(body[server_end:])
    return RouteCookie(
        Candidate(str(server), server_port, _TRANSPORTS[kinds >> 4 & 3]),
        PhoneAddress(_TRANSPORTS[kinds >> 2 & 3], str(phone), phone_port, local_port),
    )


def _mac(body: bytes, key: bytes) -> bytes:
    return blake2b(body, key=key, digest_size=_MAC_BYTES).digest()
