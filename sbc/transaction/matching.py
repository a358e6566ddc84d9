"""Under which key a message finds its transaction (RFC 3261 sections 17.1.3 and 17.2.3), and how ICMP errors do.

A client transaction is found by the branch alone (`ext/branches.pyx`), a server transaction by some bytes or, for RFC 2543
elements, by a tuple.

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1.
"""

from __future__ import annotations

import re

import cython

from sbc.sip.unguessable import hex_word

if cython.compiled:
    from cython.cimports.sbc.sip.message import Request
else:
    from sbc.sip.message import Request

COMPILED = bool(cython.compiled)

MAGIC_COOKIE = "z9hG4bK"
"""A branch that starts so is unique by promise (s.8.1.1.7); others come from RFC 2543 elements."""

ServerKey = bytes | tuple[str, ...]


def new_branch() -> str:
    """A branch that nobody can guess: 96 random bits, so that a forged response or ICMP error finds nothing."""
    return MAGIC_COOKIE + hex_word(24)


@cython.ccall
def server_key(request: Request, method: str) -> object:  # ServerKey
    """The key of `request`'s server transaction, as if its method were `method` (ACK and CANCEL look for their INVITE).

    The sent-by belongs to it: two phones of one model, started in the same second, chose the same branch.
    """
    key: bytes = request.transaction_key(method)
    if key is not None:
        return key
    # The To tag cannot be part of an INVITE's key, because its ACK carries the one of our response (`is_ack_of`
    # compares that).
    to_tag = "" if method == "INVITE" else request.to_tag
    return (
        request.get("Via") or "",
        request.request_uri,
        request.call_id,
        str(request.cseq),
        request.from_tag,
        to_tag,
        method,
    )


@cython.ccall
def from_rfc2543(key: object) -> cython.bint:
    """True when the branch alone did not identify the transaction."""
    return isinstance(key, tuple)


# Our own Via is the first one of what we sent. The character after the branch must have been quoted too: else the
# branch may be cut off. A router need not quote more than 8 octets of the UDP packet (RFC 792); most send much more
# (RFC 1812 s.4.3.2.3).
_QUOTED_REQUEST = re.compile(
    rb"([A-Za-z0-9.!%*_+`'~-]+) [^\r\n]+ SIP/2\.0\r\n"
    rb"(?:[^\r\n]+\r\n)*?"
    rb"(?:Via|v)[ \t]*:[^\r\n,]*?;[ \t]*branch[ \t]*=[ \t]*([^;,\s]+)[;,\s]",
    re.IGNORECASE,
)


def quoted_client_key(quoted: bytes) -> tuple[str, str] | None:
    """Branch and method of what an ICMP error quotes; None for a response, a stump, or no SIP at all."""
    match = _QUOTED_REQUEST.match(quoted)
    if match is None:
        return None
    method, branch = match.groups()
    return (branch.decode("utf-8", "surrogateescape"), method.decode("ascii"))
