"""The credentials that a phone shows in one REGISTER: whose challenges they answer, and whether they prove anything (`Shown`).

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1.
"""

from __future__ import annotations

import cython

from sbc.nonces import shown_credentials
from sbc.registration.own_digest import is_proof
from sbc.sip.digest import HtdigestFile

if cython.compiled:
    from cython.cimports.sbc.location.candidate import Candidate
    from cython.cimports.sbc.nonces import Nonces
    from cython.cimports.sbc.redundancy.group import ServerGroup
    from cython.cimports.sbc.registration.bindings import Binding, Bindings, Upstream
    from cython.cimports.sbc.registration.contacts import Contact
    from cython.cimports.sbc.sip.message import Request
    from cython.cimports.sbc.sip.scanner import AUTHORIZATION, PROXY_AUTHORIZATION
else:
    from sbc.location.candidate import Candidate
    from sbc.nonces import Nonces
    from sbc.redundancy.group import ServerGroup
    from sbc.registration.bindings import Binding, Bindings, Upstream
    from sbc.registration.contacts import Contact
    from sbc.sip.message import Request
    from sbc.sip.scanner import AUTHORIZATION, PROXY_AUTHORIZATION

COMPILED = bool(cython.compiled)


@cython.cclass
class Shown:
    """`entries`: (header, value as spelled, credentials) of each; at least one. `spent`: a nonce with which the phone has been
    refused already; it is no answer any more, and shown to nobody again."""

    entries: list
    spent: str
    _nonces: Nonces

    def __init__(self, entries: list, nonces: Nonces) -> None:
        self.entries = entries
        self.spent = ""
        self._nonces = nonces

    @cython.cfunc
    def are_for(self, candidate: Candidate, now: cython.double) -> list:
        """(header, value) of those that answer a challenge of that candidate."""
        return [
            (name, value)
            for name, value, shown in self.entries
            if shown.nonce != self.spent and candidate in self._nonces.issuers_of(shown.nonce, now)
        ]

    @cython.cfunc
    def issued(self, nonce: str, candidate: Candidate, now: cython.double) -> cython.bint:
        """Is that nonce one of that candidate's?"""
        return candidate in self._nonces.issuers_of(nonce, now)

    @cython.cfunc
    def are_for_group(self, group: ServerGroup, now: cython.double) -> list:
        """(header, value) of the first that answers a challenge of any server of the group."""
        for name, value, shown in self.entries:
            for candidate in self._nonces.issuers_of(shown.nonce, now):
                if group.owner(candidate) is not None:
                    return [(name, value)]
        return []

    @cython.cfunc
    def issuers(self, group: ServerGroup, now: cython.double) -> list:
        """The settings of the servers that issued their nonces."""
        found = [self._nonces.issuers_of(shown.nonce, now) for _, _, shown in self.entries]
        return [group.owner(candidate) for candidates in found for candidate in candidates]

    @cython.cfunc
    def is_new_to(
        self, upstream: Upstream | None, name: str, group: ServerGroup, now: cython.double
    ) -> cython.bint:
        """Do they answer a challenge of that server which it has not accepted an answer to before?

        Some phones show the nonce that was accepted last, or the next one that was announced with it, without being asked
        (linphone, sofia): that is no answer to anything, and when it is refused, the nonce is old and not the password wrong.
        """
        for _, _, shown in self.entries:
            if shown.nonce == self.spent or _is_last_of(shown.nonce, upstream):
                continue
            for candidate in self._nonces.issuers_of(shown.nonce, now):
                owner = group.owner(candidate)
                if owner is not None and owner.name == name:
                    return True
        return False

    @cython.cfunc
    def is_last_of(self, upstream: Upstream | None) -> cython.bint:
        """Do they name the nonce with which that server accepted the phone the last time, or the next one that it announced?"""
        for _, _, shown in self.entries:
            if _is_last_of(shown.nonce, upstream):
                return True
        return False

    @cython.cfunc
    def accepted_by(self, candidate: Candidate, now: cython.double) -> object:
        """Those with which that candidate has just let the phone in; None when they are for another one."""
        for _, _, shown in self.entries:
            if candidate in self._nonces.issuers_of(shown.nonce, now):
                self._nonces.used(shown.nonce, now)
                return shown
        return None

    @cython.cfunc
    def proven_name(
        self, file: HtdigestFile | None, request: Request, contacts: list, bindings: Bindings, now: cython.double
    ) -> str:
        """Our own check: the digest fits the password file, and answers a challenge that one of our servers issued. The user
        name, None when it does not.

        It tells who the phone is. That this user may register this address-of-record is the servers' to say, so it
        counts only where that is plain: the same name, or a name with which a server has accepted this contact before.
        """
        found: str = None
        for _, _, credentials in self.entries:
            if self._nonces.issuer(credentials.nonce, now) is None:
                continue
            if not _is_own_account(credentials.username, request, contacts, bindings):
                continue
            if not is_proof(credentials, file, request):
                continue
            if self._nonces.is_first_use(credentials, now):
                found = credentials.username
        return found


@cython.cfunc
def _is_last_of(nonce: str, upstream: Upstream | None) -> cython.bint:
    if upstream is None:
        return False
    return nonce == upstream.nonce or (upstream.question is not None and nonce == upstream.question.announced)


@cython.cfunc
def _is_own_account(username: str, request: Request, contacts: list, bindings: Bindings) -> cython.bint:
    contact: Contact
    binding: Binding
    if username == request.to.uri.user_unescaped:
        return True
    for contact in contacts:
        binding = bindings.find(contact.token)
        if binding is None or binding.username != username:
            return False
    return len(contacts) > 0


@cython.cfunc
def shown_in(request: Request, nonces: Nonces) -> Shown:
    """None when it shows none."""
    if not request.may_have(AUTHORIZATION | PROXY_AUTHORIZATION):
        return None
    entries = shown_credentials(request)
    return Shown(entries, nonces) if entries else None
