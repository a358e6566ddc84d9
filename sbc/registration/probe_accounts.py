"""In whose name a server is asked by REGISTER whether it would have the phones back (F10, Y34): `ProbeAccounts`.

An account of our own nobody has, and a made-up one would look like an attack to the server. So it is that of a phone of the
group: one whose password the credentials file knows, so that the answer can be a 200; else any, so that it is a challenge,
which proves that the server is there. Such a REGISTER has no Contact: it asks which contacts there are and changes none
(RFC 3261 10.2.3), so no phone rings twice for it and none is forgotten.

An account whose answer to the challenge was refused is not used again with its password: servers lock accounts (D8).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple, Protocol

from sbc.registration.bindings import Binding
from sbc.registration.own_digest import answerable
from sbc.sip.digest import HtdigestFile
from sbc.sip.errors import MalformedMessage
from sbc.sip.message import Request, Response
from sbc.sip.uri import SipUri, format_host_port

_MOST_LOOKED_AT = 1000
"""Phones of a group among which one with a password is looked for."""


class Account(NamedTuple):
    """The phone in whose name we ask."""

    aor: str
    """`sip:alice@example.com`"""
    domain: str
    username: str
    """For the digest."""


class Phones(Protocol):
    """What we read of the registrar."""

    bindings: Iterable[Binding]
    credentials: HtdigestFile | None


class ProbeAccounts:
    """Chooses among the phones that are known at this moment."""

    def __init__(self, phones: Phones) -> None:
        self._phones = phones
        self._refused: set[tuple[str, str]] = set()

    def account(self, group: str) -> Account | None:
        """None while no phone of that group is known."""
        file = self._phones.credentials
        with_password = {user for user, _ in file.users} if file is not None else set()
        other: Account | None = None
        of_group = (binding for binding in self._phones.bindings if binding.group == group)
        for binding in islice(of_group, _MOST_LOOKED_AT if with_password else 1):
            account = _account_of(binding)
            if account is None:
                continue
            if account.username in with_password and (group, account.aor) not in self._refused:
                return account
            other = other or account
        return other

    def authorization(self, group: str, account: Account, response: Response, request: Request) -> tuple[str, str] | None:
        """Header and value that answer the challenge in `response` to `request`; None when we cannot, or must not."""
        if (group, account.aor) in self._refused:
            return None
        own = answerable(response, self._phones.credentials, account.username)
        return own.authorization(request, self._phones.credentials) if own is not None else None

    def refused(self, group: str, account: Account) -> None:
        """The server did not take that answer."""
        self._refused.add((group, account.aor))


def _account_of(binding: Binding) -> Account | None:
    try:
        uri = SipUri.parse(binding.aor)
    except MalformedMessage:
        return None
    host = format_host_port(uri.host, uri.port)
    return Account(binding.aor, host, binding.username or uri.user_unescaped)
