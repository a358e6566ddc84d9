"""Answering a server's challenge ourselves, where the password file knows the account (pitfall D8, method 1).

The file holds HA1 = hash(user:realm:password), good for its realm and algorithm only.
"""

from __future__ import annotations

import secrets

from sbc.nonces import ANSWERED_BY, challenges, realm_of
from sbc.sip import digest
from sbc.sip.digest import Challenge, Credentials, HtdigestFile
from sbc.sip.message import Request, Response


class OwnDigest:
    """A challenge that we can answer, and how often we have (RFC 7616 3.4: nc grows with each use of a nonce)."""

    __slots__ = ("header", "challenge", "username", "count", "proven")

    def __init__(self, header: str, challenge: Challenge, username: str) -> None:
        self.header = header
        """Authorization or Proxy-Authorization."""
        self.challenge = challenge
        self.username = username
        self.count = 0
        self.proven = False
        """The server has accepted an answer to it."""

    def authorization(self, request: Request, file: HtdigestFile) -> tuple[str, str] | None:
        """Header and value of our answer, for a request with the method, Request-URI and body of this one. None when the
        file no longer knows the account."""
        challenge = self.challenge
        ha1 = file.find(self.username, challenge.realm, challenge.algorithm)
        if ha1 is None:
            return None
        self.count += 1
        credentials = digest.answer(
            challenge,
            ha1,
            self.username,
            request.method,
            request.request_uri,
            self.count,
            secrets.token_hex(8),
            request.body,
        )
        return self.header, str(credentials)


def answerable(response: Response, file: HtdigestFile | None, username: str) -> OwnDigest | None:
    """The first challenge of the response that the file lets us answer for that user (RFC 8760 2.4: topmost first)."""
    if file is None:
        return None
    for name, challenge in challenges(response):
        if digest.supported(challenge) and file.find(username, challenge.realm, challenge.algorithm) is not None:
            return OwnDigest(ANSWERED_BY[name], challenge, username)
    return None


WRONG_IN_PHONE = "wrong password in the phone"

_LONGEST_REALM = 60  # characters, of a server's own words


def wrong_line(response: Response, username: str) -> str:
    """For people: that server has not accepted what the password file made us answer for that user."""
    return f"wrong password in [credentials], line {username}:{realm_of(response)[:_LONGEST_REALM]}"


def is_proof(credentials: Credentials, file: HtdigestFile | None, request: Request) -> bool:
    """Does this answer show that the phone knows the account's password? Whether it is fresh is for `Nonces` to say."""
    if file is None:
        return False
    ha1 = file.find(credentials.username, credentials.realm, credentials.algorithm)
    return ha1 is not None and digest.verify(credentials, ha1, request.method, request.body)
