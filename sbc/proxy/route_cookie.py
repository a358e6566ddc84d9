"""What an in-dialog request needs to find its way, signed, inside our own Record-Route (pitfall D21).

Both ends of a dialog send our Record-Route back to us as a Route with every request. It names the server of the dialog and
the address of the phone, so nothing about dialogs must be remembered: after a restart of the process, or at the other
appliance of a pair that shares the key, the BYE of a running call goes the right way.

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1. What was signed and verified
lately is remembered by `own_routes`.
"""

from __future__ import annotations

import base64
import hmac
import struct
from hashlib import blake2b
from ipaddress import ip_address

import cython

if cython.compiled:
    from cython.cimports.sbc.location.candidate import Candidate
    from cython.cimports.sbc.proxy.network import PhoneAddress
else:
    from sbc.location.candidate import Candidate
    from sbc.proxy.network import PhoneAddress

COMPILED = bool(cython.compiled)

PARAMETER = "gw"
"""The URI parameter that carries the cookie."""

_VERSION = 1
_TRANSPORTS = ("udp", "tcp", "tls")
_LONGEST = 72
"""Characters of a cookie for two IPv6 addresses; longer ones are forged."""

_MAC_BYTES = 9  # 72 bits: guessing one at line rate takes longer than any appliance lives
_PORTS = struct.Struct("!BHHH")


@cython.cclass
class RouteCookie:
    """The two ends of a dialog as this appliance sees them; immutable.

    `groups` and `groups_epoch` are a slot for `sides`: who serves the candidate, and since when that is so.
    """

    candidate: Candidate
    phone: PhoneAddress
    groups: list
    groups_epoch: cython.long

    def __init__(self, candidate: Candidate, phone: PhoneAddress) -> None:
        self.candidate = candidate
        self.phone = phone
        self.groups = None
        self.groups_epoch = 0

    def sign(self, key: bytes) -> str:
        """The cookie as a URI parameter value: about 40 characters for IPv4, 72 for IPv6."""
        return _sign(self.candidate, self.phone, key)

    @staticmethod
    def verify(text: str, key: bytes) -> RouteCookie | None:
        """The cookie behind `text`; None when this key did not sign it, whatever it is."""
        return _verify(text, key) if len(text) <= _LONGEST else None

    @cython.cfunc
    @cython.exceptval(check=False)
    def same_as(self, other: RouteCookie) -> cython.bint:
        """`==`, for those that are compiled."""
        return self is other or (
            other is not None and self.candidate.same_as(other.candidate) and self.phone.same_as(other.phone)
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RouteCookie) and self.same_as(other)

    def __hash__(self) -> int:
        return hash((self.candidate, self.phone))

    def __repr__(self) -> str:
        return f"RouteCookie({self.candidate!r}, {self.phone!r})"


def _sign(candidate: Candidate, phone: PhoneAddress, key: bytes) -> str:
    server, host = ip_address(candidate.address), ip_address(phone.host.partition("%")[0])
    kinds = (
        _VERSION << 6
        | _TRANSPORTS.index(candidate.transport) << 4
        | _TRANSPORTS.index(phone.transport) << 2
        | (server.version == 6) << 1
        | (host.version == 6)
    )
    body = _PORTS.pack(kinds, candidate.port, phone.port, phone.local_port) + server.packed + host.packed
    return base64.urlsafe_b64encode(body + _mac(body, key)).rstrip(b"=").decode()


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
