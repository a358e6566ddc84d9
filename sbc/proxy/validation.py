# cython: boundscheck=False, wraparound=False
# (Digits are written into forms that are long enough.)
"""RFC 3261 16.3: what must not be forwarded, and with which answer it ends.

The parser has already refused what is not SIP. A proxy does not look at Require; an unknown method is forwarded like any
other.

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1.
"""

from __future__ import annotations

import cython

if cython.compiled:
    from cython.cimports.sbc.sip.message import Request
    from cython.cimports.sbc.sip.scanner import PROXY_REQUIRE, VIA
else:
    from sbc.sip.message import Request
    from sbc.sip.scanner import PROXY_REQUIRE, VIA

COMPILED = bool(cython.compiled)

MAGIC_COOKIE = "z9hG4bK"
"""RFC 3261 8.1.1.7."""

MAX_FORWARDS = 70
"""RFC 3261 8.1.1.6, and what we write where a phone sends none (16.6 item 3)."""

_LOOP_MASK = cython.declare(cython.ulonglong, (1 << 40) - 1)
_WORD = cython.declare(cython.ulonglong, (1 << 64) - 1)


class Refused(Exception):  # noqa: N818 (a decision, raised from deep inside it)
    """The request ends here with this answer."""

    def __init__(self, status: int, reason: str | None = None, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason
        self.headers = headers


class NotServed(Refused):
    """No group serves that domain."""

    def __init__(self, domain: str) -> None:
        super().__init__(403, "Domain Not Served Here")
        self.domain = domain


@cython.cfunc
def hops_left(request: Request) -> cython.int:
    """Max-Forwards, 70 where it is absent."""
    value: cython.int = request.hops_left()
    return 70 if value < 0 else value


@cython.ccall
def check(request: Request):
    """16.3 items 3 and 5 (1 and 2, about the Request-URI, are the destination's). Raises Refused."""
    if hops_left(request) == 0:
        raise Refused(483)
    if request.may_have(PROXY_REQUIRE) and (unsupported := request.get_all("Proxy-Require")):
        raise Refused(420, headers=tuple([("Unsupported", option) for option in unsupported]))


BOOT_WORD = 6
"""Characters of `boot` in a branch."""

BOOT_PLACE = len(MAGIC_COOKIE) + 10
"""Where it begins there."""


def boot_of(branch: str) -> str:
    """The `boot` of the process that made this branch, when one of ours did."""
    return branch[BOOT_PLACE : BOOT_PLACE + BOOT_WORD]


_DIGITS = cython.declare(bytes, b"0123456789abcdef")
_LOOP_DIGITS = cython.declare(cython.int, 10)
_REPEATABLE_DIGITS = cython.declare(cython.int, 16)
_TAG_DIGITS = cython.declare(cython.int, 12)


@cython.cfunc
def _write(text: bytearray, start: cython.Py_ssize_t, digits: cython.int, number: cython.ulonglong):
    """So many hexadecimal digits of `number`, its lowest, into `text`, which is long enough. A hundred times cheaper than to
    format them, and every message has some."""
    while digits > 0:
        digits -= 1
        text[start + digits] = _DIGITS[number & 15]
        number >>= 4


@cython.cclass
class Branches:
    """What the proxy puts into the branch parameters of what it sends, behind the magic cookie: the loop hash.

    16.6 item 8: one part of the branch is a hash over what decides the request's way; when a request comes back with our
    hash unchanged it is in a loop, and with another one it only passes twice (a call from one phone to another of the same
    site). The hash is keyed, so nobody can make a request look like a loop.
    """

    _boot: str
    _serial: cython.ulonglong
    _parameter: bytearray  # forms to be filled in, so that a text is made in one go
    _repeatable: bytearray
    _tag: bytearray

    def __init__(self, boot: str) -> None:
        self._boot = boot
        self._serial = 0
        cookie = MAGIC_COOKIE.encode()
        self._parameter = bytearray(b"branch=" + cookie + bytes(_LOOP_DIGITS))
        self._repeatable = bytearray(cookie + bytes(_LOOP_DIGITS) + boot.encode() + bytes(_REPEATABLE_DIGITS))
        self._tag = bytearray(_TAG_DIGITS)

    @cython.ccall
    def new(self, request: Request) -> str:
        """A branch for a request without a transaction. (Transactions: `sbc.transaction.branches`.)"""
        self._serial += 1
        mark: cython.ulonglong = self.loop_hash(request)
        return f"z9hG4bK{mark:010x}{self._boot}{self._serial:x}"

    @cython.cfunc
    def check_loop(self, request: Request):
        """16.3 item 4. Raises Refused 482."""
        if request.has_one(VIA):
            return  # straight from a phone or server: it cannot have passed here before
        _write(self._parameter, 14, _LOOP_DIGITS, request.way_hash())
        ours: str = self._parameter.decode("ascii")
        for via in request.get_all("Via"):
            if ours in via:
                raise Refused(482)

    @cython.cfunc
    def stateless(self, request: Request) -> str:
        """16.11: for an ACK the branch must be the same for every retransmission, so it is made from the one received."""
        _write(self._repeatable, 7, _LOOP_DIGITS, request.way_hash())
        repeatable: cython.ulonglong = hash(request.branch_text()) & _WORD
        _write(self._repeatable, len(self._repeatable) - _REPEATABLE_DIGITS, _REPEATABLE_DIGITS, repeatable)
        return self._repeatable.decode("ascii")

    @cython.cfunc
    def tag(self, request: Request) -> str:
        """Our To tag in responses to this request (8.2.6.2): the same for each repetition, and for the ACK to a failure,
        without remembering it."""
        # The hash of octets is keyed anew in every process, so nobody outside can tell what another sender will get.
        mark: cython.ulonglong = hash(request.call_id_bytes()) & _WORD
        sender: cython.ulonglong = hash(request.from_tag_bytes()) & _WORD
        _write(self._tag, 0, _TAG_DIGITS, (mark ^ (sender >> 7)) + request.cseq_number())
        return self._tag.decode("ascii")

    @cython.cfunc
    def has_tag(self, ack: Request) -> cython.bint:
        """Is this the ACK to a response that had our To tag?"""
        to_tag: str = ack.to_tag_text()
        return len(to_tag) == _TAG_DIGITS and to_tag == self.tag(ack)

    @cython.cfunc
    def loop_hash(self, request: Request) -> cython.ulonglong:
        # It is keyed anew in every process, and a loop comes round faster than a process.
        return request.way_hash() & _LOOP_MASK
