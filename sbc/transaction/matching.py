# cython: boundscheck=False, wraparound=False
# (Places are compared with the number of places before they are used, and never count from the end.)
"""Under which key a message finds its transaction (RFC 3261 sections 17.1.3 and 17.2.3), and how ICMP errors do.

A client transaction is found by the branch alone, which says where it is; a server transaction by some bytes or, for RFC
2543 elements, by a tuple. The layer owns the dictionary of the latter.

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1.
"""

from __future__ import annotations

import re

import cython

from sbc.sip.errors import LocalError

if cython.compiled:
    from cython.cimports.sbc.sip.message import Request
    from cython.cimports.sbc.sip.unguessable import hex_word
else:
    from sbc.sip.message import Request
    from sbc.sip.unguessable import hex_word

COMPILED = bool(cython.compiled)

MAGIC_COOKIE = "z9hG4bK"
"""A branch that starts so is unique by promise (s.8.1.1.7); others come from RFC 2543 elements."""

ServerKey = bytes | tuple[str, ...]

_PLACES = cython.declare(cython.Py_ssize_t, 6)
"""Digits of a place: 16 million transactions."""

_RANDOM_DIGITS = 16


def new_branch() -> str:
    """A branch that nobody can guess: 96 random bits, so that a forged response or ICMP error finds nothing."""
    return MAGIC_COOKIE + hex_word(24)


@cython.cclass
class ClientTable:
    """Live client transactions by branch, without hashing: a branch made here has the place of its transaction in it.

    A branch is the magic cookie, ten digits of the proxy's own (16.6 item 8), `boot`, which tells this process from those
    before it and beside it, the place, and 64 random bits: who has not seen it can neither forge a response nor an ICMP error.
    Branches made elsewhere are looked up in a dictionary.
    """

    boot: str
    _length: cython.Py_ssize_t  # of a branch made here
    _place_at: cython.Py_ssize_t  # and where in it the place stands
    _transactions: list  # None where a place is free
    _branches: list  # the branch of each
    _middles: list  # boot and place as text
    _free: list
    _named: dict  # {branch: transaction}
    _offered: str  # the branch made last

    def __init__(self, boot: str) -> None:
        self.boot = boot
        self._place_at = 17 + len(boot)
        self._length = self._place_at + _PLACES + _RANDOM_DIGITS
        self._transactions = []
        self._branches = []
        self._middles = []
        self._free = []
        self._named = {}
        self._offered = None

    def __len__(self) -> int:
        return len(self._transactions) - len(self._free) + len(self._named)

    def live(self) -> list:
        """All of them."""
        return [transaction for transaction in self._transactions if transaction is not None] + list(self._named.values())

    @cython.ccall
    def new_branch(self, mark: cython.ulonglong) -> str:
        """A branch for the transaction that is added next. `mark` is 40 bits."""
        place: cython.Py_ssize_t
        if not self._free:
            place = len(self._transactions)
            self._transactions.append(None)
            self._branches.append(None)
            self._middles.append(f"{self.boot}{place:06x}")
            self._free.append(place)
        place = self._free[len(self._free) - 1]
        middle: str = self._middles[place]
        self._offered = f"z9hG4bK{mark:010x}{middle}{hex_word(_RANDOM_DIGITS)}"
        return self._offered

    @cython.cfunc
    def add(self, branch: str, transaction: object):
        """From now on it is found. LocalError when another one has this branch."""
        if branch is self._offered:
            self._offered = None
            place: cython.Py_ssize_t = self._free.pop()
            self._transactions[place] = transaction
            self._branches[place] = branch
        elif self.find(branch) is None:
            self._named[branch] = transaction
        else:
            raise LocalError(f"branch {branch} is in use by another transaction")

    @cython.cfunc
    def remove(self, branch: str):
        """It is over. It must be there."""
        place: cython.Py_ssize_t = self._place_of(branch)
        if place < 0:
            del self._named[branch]
            return
        self._transactions[place] = None
        self._branches[place] = None
        self._free.append(place)

    @cython.cfunc
    def find(self, branch: str) -> object:
        """The transaction with this branch, or None."""
        place: cython.Py_ssize_t = self._place_of(branch)
        if place >= 0:
            return self._transactions[place]
        return self._named.get(branch) if self._named else None

    @cython.cfunc
    @cython.exceptval(check=False)
    def _place_of(self, branch: str) -> cython.Py_ssize_t:
        """Where the transaction with this branch is; -1 when at no place."""
        if len(branch) != self._length:
            return -1
        place: cython.Py_ssize_t = 0
        digit: cython.Py_UCS4
        at: cython.Py_ssize_t
        for at in range(self._place_at, self._place_at + _PLACES):
            digit = branch[at]
            if "0" <= digit <= "9":
                place = 16 * place + (ord(digit) - ord("0"))
            elif "a" <= digit <= "f":
                place = 16 * place + (ord(digit) - ord("a") + 10)
            else:
                return -1
        if place >= len(self._branches):
            return -1
        known: str = self._branches[place]
        return place if known is not None and known == branch else -1


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
