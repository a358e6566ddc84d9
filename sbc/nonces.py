"""Whose challenge does a phone answer? `Nonces`, for registrations and calls alike. (Pitfalls D8, D9.)

A server accepts only nonces of its own, and an answer made for one server can at another only fail, and may lock the
account. So each nonce that passes is remembered with the candidates that issued it; several, because one server may be
reached in several ways, and servers may share a secret. Kamailio's nonce is the same for all that it challenges within a
second, on every transport.

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import cython

from sbc.sip.digest import Challenge, Credentials
from sbc.sip.errors import MalformedMessage
from sbc.sip.headers import unquote

if cython.compiled:
    from cython.cimports.sbc.location.candidate import Candidate
    from cython.cimports.sbc.sip.message import Message, Response
    from cython.cimports.sbc.sip.scanner import REGISTER
else:
    from sbc.location.candidate import Candidate
    from sbc.sip.message import Message, Response
    from sbc.sip.scanner import REGISTER

COMPILED = bool(cython.compiled)

LIFETIME = 3600.0
"""Seconds after its last use in which a nonce is known (D9)."""

ANSWERED_BY = {"WWW-Authenticate": "Authorization", "Proxy-Authenticate": "Proxy-Authorization"}

_LIFETIME = cython.declare(cython.double, LIFETIME)
_NEVER = cython.declare(cython.longlong, 2**62)  # above every count
_MOST = 100_000
"""Nonces; a flood of requests must not fill the memory, and the oldest goes first."""
_MOST_SENDERS = 10_000
"""Of one nonce: all phones of a site may be challenged within a second."""

_ANNOUNCING = ("Authentication-Info", "Proxy-Authentication-Info")
_SCHEME = re.compile(r"\s*\S*\s*")
_NEXT_NONCE = re.compile(r'\bnextnonce\s*=\s*("(?:[^"\\]|\\.)*")', re.IGNORECASE)  # RFC 7616 3.5


@cython.final
@cython.cclass
class _Issue:
    """`candidates` are all that issued it, the last first; `asked_in_call` the last of them that challenged anything but a
    REGISTER with it. `shown` has the highest count of each sender; of those that it has forgotten none was above `floor`."""

    candidates: tuple
    asked_in_call: Candidate
    used_at: cython.double
    shown: dict
    floor: cython.longlong


@cython.final
@cython.cclass
class Nonces:
    """nonce -> the candidates that issued it. Told `now`, in seconds."""

    issuers: set
    _issues: dict

    def __init__(self) -> None:
        self.issuers: set[Candidate] = set()
        """All that have ever challenged a REGISTER."""
        self._issues: dict[str, _Issue] = {}  # least recently used first

    def __len__(self) -> int:
        return len(self._issues)

    @cython.ccall
    def learn(self, response: Response, candidate: Candidate, now: cython.double):
        """Remember the nonces of a challenge, and a next one announced with a success."""
        in_call: cython.bint = response.cseq_code() != REGISTER
        for _, challenge in challenges(response):
            self._remember(challenge.nonce, candidate, now, in_call)
            if not in_call:
                self.issuers.add(candidate)
        announced: str = announced_nonce(response)
        if announced:
            self._remember(announced, candidate, now, in_call)

    @cython.ccall
    def remember(self, nonce: str, candidate: Candidate, now: cython.double):
        """That candidate has issued it for a REGISTER, as the store says. What has been shown with it is not known any more, so
        no answer to it `is_fresh`."""
        self._remember(nonce, candidate, now, False)
        issue: _Issue = self._issues[nonce]
        issue.floor = _NEVER

    @cython.cfunc
    def _remember(self, nonce: str, candidate: Candidate, now: cython.double, in_call: cython.bint):
        issues: dict = self._issues
        issue: _Issue = issues.pop(nonce, None)
        if issue is None or now - issue.used_at >= _LIFETIME:
            issue = _Issue.__new__(_Issue)
            issue.candidates = (candidate,)
            issue.asked_in_call = None
            issue.shown = None
            issue.floor = 0
        elif candidate not in issue.candidates:
            issue.candidates = (candidate, *issue.candidates)
        issue.used_at = now
        if in_call:
            issue.asked_in_call = candidate
        issues[nonce] = issue
        self._forget_old(now)

    @cython.cfunc
    def _forget_old(self, now: cython.double):
        issues: dict = self._issues
        oldest: _Issue
        while issues:
            nonce = next(iter(issues))
            oldest = issues[nonce]
            if len(issues) <= _MOST and now - oldest.used_at < _LIFETIME:
                break
            del issues[nonce]

    @cython.cfunc
    def _find(self, nonce: str, now: cython.double) -> _Issue:
        """None when it is not known, or no longer."""
        issue: _Issue = self._issues.get(nonce)
        return issue if issue is not None and now - issue.used_at < _LIFETIME else None

    @cython.ccall
    def used(self, nonce: str, now: cython.double):
        """A server accepted an answer to it: it is good for another while."""
        issue: _Issue = self._issues.pop(nonce, None)
        if issue is not None and now - issue.used_at < _LIFETIME:
            issue.used_at = now
            self._issues[nonce] = issue

    @cython.ccall
    def issuers_of(self, nonce: str, now: cython.double) -> tuple:  # tuple[Candidate, ...]
        """All that issued it, the last first; none when it is not known, or no longer."""
        issue: _Issue = self._find(nonce, now)
        return () if issue is None else issue.candidates

    @cython.ccall
    def issuer(self, nonce: str, now: cython.double) -> Candidate:
        """The last that issued it; None when it is not known, or no longer."""
        issue: _Issue = self._find(nonce, now)
        return None if issue is None else issue.candidates[0]

    @cython.ccall
    def asked_in_call(self, nonce: str, now: cython.double) -> Candidate:
        """The last that challenged anything but a REGISTER with it; None when nobody did."""
        issue: _Issue = self._find(nonce, now)
        return None if issue is None else issue.asked_in_call

    def is_first_use(self, credentials: Credentials, now: float) -> bool:
        """`is_fresh` for an answer that has been verified.

        Phones that were given one nonce are told apart by their user and by the cnonce that each has drawn. An address would
        not do: who overheard an answer would be a new sender at his own. Nor does anything that the digest does not cover,
        as cnonce and nc without qop.
        """
        if not credentials.qop:
            return self.is_fresh(credentials.nonce, 0, now, credentials.username)
        sender = f"{credentials.username}\n{credentials.cnonce}"
        return self.is_fresh(credentials.nonce, credentials.nc or 0, now, sender)

    def is_fresh(self, nonce: str, count: int, now: float, sender: str = "") -> bool:
        """Is this the first time that this sender shows the nonce with that count or a higher one? Then it counts as shown.

        Who overheard an answer can repeat it but not make the next (RFC 7616 3.4, nc). Without qop the count is 0 and
        an answer is believed once.
        """
        issue: _Issue = self._find(nonce, now)
        if issue is None:
            return False
        count = max(count, 1)
        if issue.shown is None:
            issue.shown = {}
        known = issue.shown.pop(sender, issue.floor)
        is_fresh = count > known
        issue.shown[sender] = max(count, known)  # moves to the end
        while len(issue.shown) > _MOST_SENDERS:
            issue.floor = max(issue.floor, issue.shown.pop(next(iter(issue.shown))))
        return is_fresh


def challenges(response: Response) -> Iterator[tuple[str, Challenge]]:
    """(header name, challenge) for each Digest challenge in a response, in its order."""
    for name in ANSWERED_BY:
        for value in response.get_all(name):
            try:
                yield name, Challenge.parse(value)
            except MalformedMessage:
                continue  # another scheme: not ours to answer


def announced_nonce(response: Response) -> str:
    """The nonce that a success announces for the next time (RFC 7616 3.5), "" without one."""
    for name in _ANNOUNCING:
        announced = _NEXT_NONCE.search(response.get(name) or "")
        if announced:
            return unquote(announced[1])
    return ""


def is_stale(response: Response) -> bool:
    """Does it say that the password may be right, and only the nonce is old?"""
    return any(challenge.stale for _, challenge in challenges(response))


def realm_of(response: Response) -> str:
    """Of its first challenge, "" without one."""
    return next((challenge.realm for _, challenge in challenges(response)), "")


def shown_credentials(message: Message) -> list[tuple[str, str, Credentials]]:
    """(header name, value as spelled, credentials) for each Digest answer in a request."""
    found: list[tuple[str, str, Credentials]] = []
    for name in ANSWERED_BY.values():
        for value in message.get_all(name):
            try:
                found.append((name, value, Credentials.parse(value)))
            except MalformedMessage:
                continue
    return found


def mark_stale(response: Response) -> None:
    """stale=true in all its challenges."""
    for name in ANSWERED_BY:
        values = response.get_all(name)
        if values:
            response.set_all(name, [with_stale(value) for value in values])


def with_stale(value: str) -> str:
    """A challenge with stale=true: the password was not wrong, only the nonce was another server's.

    It decides whether some phones (twinkle, sofia) try again at all. Every other byte stays.
    """
    try:
        challenge = Challenge.parse(value)
    except MalformedMessage:
        return value
    if challenge.stale:
        return value
    head = value[: _SCHEME.match(value).end()]
    pieces = [piece for piece in _pieces(value[len(head) :]) if not piece.strip().lower().startswith("stale")]
    return f"{head}{','.join(pieces)}, stale=true"


def _pieces(text: str) -> Iterator[str]:
    """Split at commas outside quotes."""
    start, quoted, escaped = 0, False, False
    for position, character in enumerate(text):
        if escaped:
            escaped = False
        elif quoted and character == "\\":
            escaped = True
        elif character == '"':
            quoted = not quoted
        elif character == "," and not quoted:
            yield text[start:position]
            start = position + 1
    yield text[start:]
