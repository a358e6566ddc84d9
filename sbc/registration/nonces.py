"""Whose challenge does a phone answer? (Pitfalls D8, D9.)

A server accepts only nonces of its own, and an answer made for one server can at another only fail, and may lock the
account. So each nonce that passes is remembered with the candidate that issued it; with each of them where one server is
reached in several ways. Kamailio's nonce is the same for all that it challenges within a second, on every transport.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from sbc.location.candidate import Candidate
from sbc.sip.digest import Challenge, Credentials
from sbc.sip.errors import MalformedMessage
from sbc.sip.headers import unquote
from sbc.sip.message import Message, Response

LIFETIME = 3600.0
"""Seconds after its last use in which a nonce is known (D9)."""

ANSWERED_BY = {"WWW-Authenticate": "Authorization", "Proxy-Authenticate": "Proxy-Authorization"}

_ANNOUNCING = ("Authentication-Info", "Proxy-Authentication-Info")
_NEXT_NONCE = re.compile(r'\bnextnonce\s*=\s*("(?:[^"\\]|\\.)*")', re.IGNORECASE)  # RFC 7616 3.5
_MOST = 100_000  # a flood of REGISTERs must not fill the memory; the oldest goes first


class _Issue:
    __slots__ = ("candidates", "used_at", "highest_count")

    def __init__(self, candidates: tuple[Candidate, ...], now: float) -> None:
        self.candidates = candidates  # the last first
        self.used_at = now
        self.highest_count = 0


class Nonces:
    """nonce -> the candidates that issued it. Told `now`."""

    def __init__(self) -> None:
        self._issues: dict[str, _Issue] = {}  # least recently used first
        self.issuers: set[Candidate] = set()
        """All that have ever challenged."""

    def __len__(self) -> int:
        return len(self._issues)

    def learn(self, response: Response, candidate: Candidate, now: float) -> None:
        """Remember the nonces of a challenge, and a next one announced with a success."""
        for _, challenge in challenges(response):
            self._remember(challenge.nonce, candidate, now)
        announced = self.announced(response)
        if announced:
            self._remember(announced, candidate, now)

    def _remember(self, nonce: str, candidate: Candidate, now: float) -> None:
        issues = self._issues
        self.issuers.add(candidate)
        known = issues.pop(nonce, None)
        if known is None or now - known.used_at >= LIFETIME:
            issues[nonce] = _Issue((candidate,), now)
        elif candidate in known.candidates:
            known.used_at = now
            issues[nonce] = known
        else:
            issues[nonce] = _Issue((candidate, *known.candidates), now)
        while issues:
            oldest = next(iter(issues))
            if len(issues) <= _MOST and now - issues[oldest].used_at < LIFETIME:
                break
            del issues[oldest]

    @staticmethod
    def announced(response: Response) -> str:
        """The nonce that a success announces for the next time (RFC 7616 3.5), "" without one."""
        for name in _ANNOUNCING:
            announced = _NEXT_NONCE.search(response.get(name) or "")
            if announced:
                return unquote(announced[1])
        return ""

    def used(self, nonce: str, now: float) -> None:
        """The server accepted an answer to it: it is good for another while."""
        issue = self._issues.get(nonce)
        if issue is not None:
            self._remember(nonce, issue.candidates[0], now)

    def issuers_of(self, nonce: str, now: float) -> tuple[Candidate, ...]:
        """All that issued it, the last first; none when it is not known, or no longer."""
        issue = self._issues.get(nonce)
        return issue.candidates if issue is not None and now - issue.used_at < LIFETIME else ()

    def issuer(self, nonce: str, now: float) -> Candidate | None:
        """The last that issued it; None when it is not known, or no longer."""
        issuers = self.issuers_of(nonce, now)
        return issuers[0] if issuers else None

    def is_fresh(self, nonce: str, count: int, now: float) -> bool:
        """Is this the first time that the nonce is shown with that count or a higher one? Then it counts as shown.

        Who overheard an answer can repeat it but not make the next (RFC 7616 3.4, nc). Without qop the count is 0 and
        an answer is believed once.
        """
        issue = self._issues.get(nonce)
        if issue is None or now - issue.used_at >= LIFETIME or max(count, 1) <= issue.highest_count:
            return False
        issue.highest_count = max(count, 1)
        return True


def challenges(response: Response) -> Iterator[tuple[str, Challenge]]:
    """(header name, challenge) for each Digest challenge in a response, in its order."""
    for name in ANSWERED_BY:
        for value in response.get_all(name):
            try:
                yield name, Challenge.parse(value)
            except MalformedMessage:
                continue  # another scheme: not ours to answer


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


def is_stale(response: Response) -> bool:
    """Does it say that the password may be right, and only the nonce is old?"""
    return any(challenge.stale for _, challenge in challenges(response))


def realm_of(response: Response) -> str:
    """Of its first challenge, "" without one."""
    return next((challenge.realm for _, challenge in challenges(response)), "")


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
    head, scheme_blank, rest = value.partition(" ")
    pieces = [piece for piece in _pieces(rest) if not piece.strip().lower().startswith("stale")]
    return f"{head}{scheme_blank}{','.join(pieces)}, stale=true"


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
