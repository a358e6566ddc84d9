"""An answer to a challenge goes to the server that has challenged, and to no other (pitfalls D8, D9): `Pins`.

Two things tell which one that is: the nonce in the answer, and that a request comes again with the next CSeq (RFC 3261 22.2)
soon after it was challenged, whatever it shows. What of a request's credentials a server may see is kept in an `Answers`,
with the request's route.

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1.
"""

from __future__ import annotations

import re

import cython

from sbc.nonces import ANSWERED_BY, mark_stale
from sbc.sip.headers import unquote

if cython.compiled:
    from cython.cimports.sbc.location.candidate import Candidate
    from cython.cimports.sbc.nonces import Nonces
    from cython.cimports.sbc.sip.message import Request, Response
    from cython.cimports.sbc.sip.scanner import AUTHORIZATION, PROXY_AUTHORIZATION
else:
    from sbc.location.candidate import Candidate
    from sbc.nonces import Nonces
    from sbc.sip.message import Request, Response
    from sbc.sip.scanner import AUTHORIZATION, PROXY_AUTHORIZATION

COMPILED = bool(cython.compiled)

RETRY_WITHIN = 32.0
"""Seconds from a challenge to the request that answers it; people do not type a password in between (D9)."""

_RETRY_WITHIN = cython.declare(cython.double, RETRY_WITHIN)
_MOST_CHALLENGED = 10_000

CREDENTIALS = tuple(ANSWERED_BY.values())

_DIGEST = re.compile(r"\s*digest\s+", re.IGNORECASE)
# The nonce, or a quoted string: what looks like a nonce in it is none.
_NONCE = re.compile(r'(?<![\w-])nonce\s*=\s*("(?:[^"\\]|\\.)*"|[^\s,"]+)|"(?:[^"\\]|\\.)*"', re.IGNORECASE)


@cython.final
@cython.freelist(8)
@cython.cclass
class Answers:
    """The credentials in one request, as (value, nonce, issuers), None without any; the nonce is "" where they are no Digest answer
    that can be read. `challenger` is the server that has
    challenged this request, None when none has."""

    shown: list
    challenger: Candidate

    @cython.cfunc
    def withhold(self, request: Request, candidate: Candidate, is_first: cython.bint):
        """Leave on a request for this server only the answers to its own challenges; what nobody is known to have asked
        for, or cannot be read, only where the request goes first."""
        if self.shown is None:
            return
        refused: list = [value for value, _, issuers in self.shown if not _may_see(issuers, candidate, is_first)]
        if refused:
            for name in CREDENTIALS:
                values = request.get_all(name)
                kept = [value for value in values if value not in refused]
                if len(kept) < len(values):
                    request.set_all(name, kept)

    @cython.cfunc
    def has_answered(self, candidate: Candidate) -> cython.bint:
        """Did the request show an answer to a challenge of that server, or what may be one?"""
        if self.shown is not None:
            for _, nonce, issuers in self.shown:
                if candidate in issuers or not nonce:
                    return True
        return False


@cython.cfunc
def _may_see(issuers: tuple, candidate: Candidate, is_first: cython.bint) -> cython.bint:
    return candidate in issuers if issuers else is_first


@cython.cfunc
def forget_credentials(request: Request):
    """For a server that needs none, or a phone that must not see them."""
    for name in CREDENTIALS:
        request.remove(name)


@cython.final
@cython.cclass
class _Challenged:
    """A request that was challenged, known by its Call-ID and From tag."""

    candidate: Candidate
    method_code: cython.int
    cseq: cython.longlong
    at: cython.double


@cython.final
@cython.cclass
class Pins:
    """Who has challenged whom. Told `now` in seconds; bounded in number and time."""

    nonces: Nonces
    _challenged: dict

    def __init__(self, nonces: Nonces) -> None:
        self.nonces = nonces
        self._challenged: dict[tuple[bytes, bytes], _Challenged] = {}  # the oldest first

    @cython.cfunc
    def answers_in(self, request: Request, now: cython.double) -> Answers:
        """None for the usual request: it shows no credentials, and nobody has challenged it."""
        retried: Candidate = self._challenger_of_retry(request, now) if self._challenged else None
        shown: list = None
        if request.may_have(AUTHORIZATION | PROXY_AUTHORIZATION):
            shown = self._shown_in(request, now)
        if retried is None and shown is None:
            return None
        answers: Answers = Answers.__new__(Answers)
        answers.shown = shown
        answers.challenger = retried
        return answers

    def _shown_in(self, request: Request, now: float) -> list[tuple[str, str, tuple[Candidate, ...]]] | None:
        found = []
        for name in CREDENTIALS:
            for value in request.get_all(name):
                nonce = nonce_in(value) or ""
                found.append((value, nonce, self.nonces.issuers_of(nonce, now) if nonce else ()))
        return found or None

    @cython.cfunc
    def _challenger_of_retry(self, request: Request, now: cython.double) -> Candidate:
        challenged: _Challenged = self._challenged.get((request.call_id_bytes(), request.from_tag_bytes()))
        if (
            challenged is None
            or now - challenged.at > _RETRY_WITHIN
            or request.method_code != challenged.method_code
            or request.cseq_number() <= challenged.cseq
        ):
            return None
        return challenged.candidate

    def challenger(self, answers: Answers, working: Candidate | None, now: float) -> Candidate | None:
        """The server whose challenge a request outside of dialogs answers; None when it answers none of a call.

        A nonce that came with a REGISTER says nothing of where calls go: with several registrars the phone has the last
        one's, not the best one's.
        """
        if answers.challenger is not None:
            return answers.challenger
        first: Candidate | None = None
        for _, nonce, issuers in answers.shown or ():
            candidate = self.nonces.asked_in_call(nonce, now)
            if candidate is not None and working in issuers:
                return working
            first = first or candidate
        return first

    @cython.cfunc
    def challenged(
        self, request: Request, response: Response, candidate: Candidate, is_stale: cython.bint, now: cython.double
    ):
        """That server has answered it with 401 or 407. `is_stale`: it was never shown an answer to a challenge of its own."""
        self.nonces.learn(response, candidate, now)
        if is_stale:
            mark_stale(response)
        challenged: _Challenged = _Challenged.__new__(_Challenged)
        challenged.candidate = candidate
        challenged.method_code = request.method_code
        challenged.cseq = request.cseq_number()
        challenged.at = now
        key = (request.call_id_bytes(), request.from_tag_bytes())
        self._challenged.pop(key, None)
        self._challenged[key] = challenged
        oldest: _Challenged
        while True:
            key = next(iter(self._challenged))
            oldest = self._challenged[key]
            if now - oldest.at <= _RETRY_WITHIN and len(self._challenged) <= _MOST_CHALLENGED:
                break
            del self._challenged[key]


@cython.ccall
def nonce_in(credentials: str) -> str:
    """The nonce of a Digest answer; None for another scheme."""
    scheme = _DIGEST.match(credentials)
    if scheme is not None:
        for found in _NONCE.finditer(credentials, scheme.end()):
            if found[1] is not None:
                return unquote(found[1])
    return None
