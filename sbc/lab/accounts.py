"""What a call server knows: who may register (`Accounts`), and where they are (`LocationTable`).

RFC 3261 section 10.3 and RFC 7616 as a registrar sees them. Nothing here sends or waits; the wall clock is told,
because bindings outlive the process in a file, as they do in a real call server's database.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from sbc.sip.digest import Challenge, Credentials, ha1, verify
from sbc.sip.errors import MalformedMessage
from sbc.sip.message import Request


class Accounts:
    """Users with passwords, and the nonces that were handed out to them.

    A nonce of another server, or of this one before its restart, is simply unknown: the request is challenged again
    without `stale=true`. Most registrars do it so, and it is the hard case for what stands between them and the phone.
    """

    def __init__(self, realm: str, passwords: dict[str, str], algorithm: str = "MD5") -> None:
        self.realm = realm
        self._passwords = passwords
        self._algorithm = algorithm
        self._nonces: dict[str, int] = {}  # nonce -> highest nonce count seen; kept for good, a lab does not live long

    def knows(self, user: str) -> bool:
        return user in self._passwords

    def challenge(self) -> str:
        """A new challenge, as the value of a WWW-Authenticate or Proxy-Authenticate header."""
        nonce = secrets.token_hex(16)
        self._nonces[nonce] = 0
        return str(Challenge(realm=self.realm, nonce=nonce, algorithm=self._algorithm, qop=("auth",)))

    def authenticated_user(self, request: Request, header: str) -> str | None:
        """Who proved to be who in `header` (Authorization or Proxy-Authorization); None asks for a challenge."""
        for value in request.get_all(header):
            try:
                credentials = Credentials.parse(value)
            except MalformedMessage:
                continue
            if credentials.realm == self.realm and self._accept(credentials, request):
                return credentials.username
        return None

    def _accept(self, credentials: Credentials, request: Request) -> bool:
        password = self._passwords.get(credentials.username)
        last_count = self._nonces.get(credentials.nonce)
        if password is None or last_count is None:
            return False
        if credentials.qop and credentials.nc <= last_count:
            return False  # RFC 7616 s.3.4: a nonce count is used once, or the request is a replay
        secret = ha1(credentials.username, self.realm, password, self._algorithm)
        if not verify(credentials, secret, request.method, request.body):
            return False
        self._nonces[credentials.nonce] = max(last_count, credentials.nc or 0)
        return True


@dataclass
class Binding:
    """One contact of one user."""

    user: str
    contact: str
    """The contact's URI as it was registered."""
    expires_at: float
    """Wall clock."""
    call_id: str
    cseq: int


class OutOfOrder(Exception):
    """A REGISTER with the Call-ID of a known binding and no higher CSeq (RFC 3261 section 10.3 step 7)."""


class LocationTable:
    """Where the users are. With a file, the answer survives a `kill -9`."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._bindings: dict[tuple[str, str], Binding] = {}
        if file is not None and file.exists():
            for fields in json.loads(file.read_text()):
                binding = Binding(**fields)
                self._bindings[binding.user, binding.contact] = binding

    def contacts(self, user: str, now: float) -> list[Binding]:
        """The live contacts of a user, the freshest first."""
        live = [b for b in self._bindings.values() if b.user == user and b.expires_at > now]
        return sorted(live, key=lambda binding: binding.expires_at, reverse=True)

    def bind(self, binding: Binding, now: float) -> None:
        """Add or refresh; a binding that ends now is removed. Raises OutOfOrder and then changes nothing."""
        key = (binding.user, binding.contact)
        known = self._bindings.get(key)
        if known and known.expires_at > now and known.call_id == binding.call_id and known.cseq >= binding.cseq:
            raise OutOfOrder
        if binding.expires_at > now:
            self._bindings[key] = binding
        else:
            self._bindings.pop(key, None)
        self._save()

    def unbind_all(self, user: str) -> None:
        self._bindings = {key: binding for key, binding in self._bindings.items() if binding.user != user}
        self._save()

    def _save(self) -> None:
        if self._file is None:
            return
        draft = self._file.with_suffix(".new")
        draft.write_text(json.dumps([asdict(binding) for binding in self._bindings.values()], indent=1))
        draft.replace(self._file)
