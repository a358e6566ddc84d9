"""Which server issued a nonce: an answer to a challenge must go to the one who asked (pitfall D9).

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1.
"""

from __future__ import annotations

from collections import OrderedDict

import cython

from sbc.sip.digest import Challenge, Credentials
from sbc.sip.errors import MalformedMessage

if cython.compiled:
    from cython.cimports.sbc.location.candidate import Candidate
    from cython.cimports.sbc.sip.message import Request, Response
    from cython.cimports.sbc.sip.scanner import AUTHORIZATION, PROXY_AUTHORIZATION
else:
    from sbc.location.candidate import Candidate
    from sbc.sip.message import Request, Response
    from sbc.sip.scanner import AUTHORIZATION, PROXY_AUTHORIZATION

COMPILED = bool(cython.compiled)

LIFETIME = 3600.0
"""Seconds; servers accept a nonce for minutes at most, phones reuse one as long as it is accepted."""

_MOST = 100_000  # a site's phones times a day's challenges; the oldest goes first

CHALLENGE_HEADERS = ("WWW-Authenticate", "Proxy-Authenticate")
CREDENTIAL_HEADERS = ("Authorization", "Proxy-Authorization")


@cython.cclass
class NoncePins:
    """nonce -> candidate, bounded in number and time. Told `now` in seconds."""

    _pins: object

    def __init__(self) -> None:
        self._pins: OrderedDict[str, tuple[Candidate, float]] = OrderedDict()

    @cython.ccall
    def learn(self, response: Response, candidate: Candidate, now: cython.double):
        """Remember the nonces of a 401 or 407."""
        for name in CHALLENGE_HEADERS:
            for value in response.get_all(name):
                try:
                    nonce = Challenge.parse(value).nonce
                except MalformedMessage:
                    continue  # not a Digest challenge: nothing to remember
                self._pins[nonce] = (candidate, now)
                self._pins.move_to_end(nonce)
        while len(self._pins) > _MOST:
            self._pins.popitem(last=False)

    @cython.ccall
    def issuer(self, request: Request, now: cython.double) -> Candidate:
        """The server whose challenge this request answers; None when it answers none that we know."""
        if not request.may_have(AUTHORIZATION | PROXY_AUTHORIZATION):
            return None
        for name in CREDENTIAL_HEADERS:
            for value in request.get_all(name):
                try:
                    pin = self._pins.get(Credentials.parse(value).nonce)
                except MalformedMessage:
                    continue
                if pin is not None and now - pin[1] < LIFETIME:
                    return pin[0]
        return None

    @cython.ccall
    def withhold(self, request: Request, candidate: Candidate, now: cython.double):
        """Take the answers to other servers' challenges off a request for this one (D8): here they can only fail, and too
        many wrong ones lock an account. An answer to a nonce that we do not know stays."""
        if not request.may_have(AUTHORIZATION | PROXY_AUTHORIZATION):
            return
        for name in CREDENTIAL_HEADERS:
            values = request.get_all(name)
            kept = [value for value in values if self._may_see(value, candidate, now)]
            if len(kept) < len(values):
                request.set_all(name, kept)

    @cython.cfunc
    def _may_see(self, credentials: str, candidate: Candidate, now: cython.double) -> cython.bint:
        try:
            pin = self._pins.get(Credentials.parse(credentials).nonce)
        except MalformedMessage:
            return True
        return pin is None or candidate.same_as(pin[0]) or now - pin[1] >= LIFETIME


def mark_stale(response: Response) -> None:
    """Add stale=true to the challenges: the phone's password was not wrong, only its nonce was another server's.

    Without it some phones give up at the second challenge (baresip and twinkle for INVITE, twinkle and sofia for REGISTER).
    """
    for name in CHALLENGE_HEADERS:
        values = response.get_all(name)
        if values:
            response.set_all(name, [_stale(value) for value in values])


def _stale(value: str) -> str:
    try:
        challenge = Challenge.parse(value)
    except MalformedMessage:
        return value
    return value if challenge.stale else f"{value}, stale=true"
