"""Digest access authentication: RFC 7616, with SIP's changes in RFC 3261 section 22.4 and RFC 8760.

`Challenge` and `Credentials` are the two header values, `answer` makes the second from the first, `verify` checks one,
and `HtdigestFile` holds HA1 values so that no password is ever needed. A HA1 is as good as a password for its realm:
nothing here writes one into a message or a log.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sbc.sip.errors import LocalError, MalformedMessage
from sbc.sip.headers import quote, unquote

# RFC 8760 s.2: MD5 is kept for the phones that know nothing else. The value is the hash and the digits of its HA1.
_ALGORITHMS = {"MD5": (hashlib.md5, 32), "SHA-256": (hashlib.sha256, 64)}
_SESSION = "-sess"

_PARAMETER = re.compile(r"""\s*([A-Za-z0-9\-.!%*_+`'~]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^\s,"]*)\s*(?:,|$)""", re.DOTALL)


def _parse_scheme(value: str, header: str) -> dict[str, str]:
    """`Digest name=value, ...` to lower-case names and unquoted values."""
    scheme, rest = [*value.split(None, 1), "", ""][:2]
    if scheme.lower() != "digest":
        raise MalformedMessage(f"{header} is not Digest", header=header)
    parameters: dict[str, str] = {}
    rest = rest.strip()
    position = 0
    while position < len(rest):
        if rest[position] in ", \t":  # an empty list element, RFC 9110 s.5.6.1
            position += 1
            continue
        match = _PARAMETER.match(rest, position)
        if match is None or match[1].lower() in parameters:
            raise MalformedMessage(f"Malformed {header}", header=header)
        parameters[match[1].lower()] = unquote(match[2])
        position = match.end()
    return parameters


def _hash_name(algorithm: str) -> str:
    """The key into `_ALGORITHMS` for an algorithm as spelled on the wire, with or without -sess; "" when unknown."""
    name = algorithm.upper().removesuffix(_SESSION.upper())
    return name if name in _ALGORITHMS else ""


def _hash(algorithm: str, text: str) -> str:
    name = _hash_name(algorithm)
    if not name:
        raise LocalError(f"digest algorithm {algorithm!r} is not supported")
    return _ALGORITHMS[name][0](text.encode("utf-8", "surrogateescape")).hexdigest()


def _is_session(algorithm: str) -> bool:
    return algorithm.lower().endswith(_SESSION)


@dataclass(frozen=True)
class Challenge:
    """The value of a WWW-Authenticate or Proxy-Authenticate header. `qop` is empty for a server of RFC 2069."""

    realm: str
    nonce: str
    algorithm: str = "MD5"
    qop: tuple[str, ...] = ()
    opaque: str | None = None
    stale: bool = False

    @classmethod
    def parse(cls, value: str) -> Challenge:
        """Read a value. MalformedMessage when it is not a Digest challenge with realm and nonce."""
        parameters = _parse_scheme(value, "WWW-Authenticate")
        if "realm" not in parameters or not parameters.get("nonce"):
            raise MalformedMessage("Challenge without realm or nonce", header="WWW-Authenticate")
        return cls(
            realm=parameters["realm"],
            nonce=parameters["nonce"],
            algorithm=parameters.get("algorithm", "MD5"),
            qop=tuple(option.strip().lower() for option in parameters.get("qop", "").split(",") if option.strip()),
            opaque=parameters.get("opaque"),
            stale=parameters.get("stale", "").lower() == "true",
        )

    def with_stale(self) -> Challenge:
        """The same challenge saying that only the nonce was at fault: phones then answer without asking their user."""
        return replace(self, stale=True)

    def __str__(self) -> str:
        # RFC 7616 s.3.3: realm, nonce, opaque and qop are quoted; algorithm and stale are not.
        parts = [f"realm={quote(self.realm)}", f"nonce={quote(self.nonce)}"]
        if self.opaque is not None:
            parts.append(f"opaque={quote(self.opaque)}")
        if self.stale:
            parts.append("stale=true")
        parts.append(f"algorithm={self.algorithm}")
        if self.qop:
            parts.append(f'qop="{",".join(self.qop)}"')
        return "Digest " + ", ".join(parts)


@dataclass(frozen=True)
class Credentials:
    """The value of an Authorization or Proxy-Authorization header. Without qop `nc` is None and `qop` is ""."""

    username: str
    realm: str
    nonce: str
    uri: str
    response: str
    algorithm: str = "MD5"
    cnonce: str = ""
    nc: int | None = None
    qop: str = ""
    opaque: str | None = None

    @classmethod
    def parse(cls, value: str) -> Credentials:
        """Read a value. MalformedMessage when it is not Digest, or something is missing or broken."""
        header = "Authorization"
        parameters = _parse_scheme(value, header)
        for name in ("username", "realm", "nonce", "uri", "response"):
            if name not in parameters:
                raise MalformedMessage(f"{header} without {name}", header=header)
        qop = parameters.get("qop", "").lower()
        nc = parameters.get("nc")
        if nc is not None and not re.fullmatch(r"[0-9A-Fa-f]{1,8}", nc):
            raise MalformedMessage(f"Malformed nc in {header}", header=header)
        if qop and (nc is None or not parameters.get("cnonce")):
            raise MalformedMessage(f"{header} with qop, without cnonce or nc", header=header)
        return cls(
            username=parameters["username"],
            realm=parameters["realm"],
            nonce=parameters["nonce"],
            uri=parameters["uri"],
            response=parameters["response"].lower(),
            algorithm=parameters.get("algorithm", "MD5"),
            cnonce=parameters.get("cnonce", ""),
            nc=None if nc is None else int(nc, 16),
            qop=qop,
            opaque=parameters.get("opaque"),
        )

    def __str__(self) -> str:
        parts = [
            f"username={quote(self.username)}",
            f"realm={quote(self.realm)}",
            f"nonce={quote(self.nonce)}",
            f"uri={quote(self.uri)}",
            f'response="{self.response}"',
            f"algorithm={self.algorithm}",
        ]
        if self.cnonce:
            parts.append(f"cnonce={quote(self.cnonce)}")
        if self.opaque is not None:
            parts.append(f"opaque={quote(self.opaque)}")
        if self.qop:  # RFC 7616 s.3.4: qop and nc are not quoted
            parts.append(f"qop={self.qop}")
        if self.nc is not None:
            parts.append(f"nc={self.nc:08x}")
        return "Digest " + ", ".join(parts)

    def __repr__(self) -> str:
        return f"<Credentials of {self.username!r} in {self.realm!r}, nc={self.nc}>"


def ha1(username: str, realm: str, password: str, algorithm: str = "MD5") -> str:
    """H(username:realm:password) in hexadecimal, as a htdigest file keeps it. `-sess` makes no difference here."""
    return _hash(algorithm, f"{username}:{realm}:{password}")


def supported(challenge: Challenge) -> bool:
    """Can `answer` answer it? Only if we know its algorithm and one of its qop options."""
    return bool(_hash_name(challenge.algorithm)) and (not challenge.qop or _choose_qop(challenge.qop) != "")


def _choose_qop(offered: tuple[str, ...]) -> str:
    return next((qop for qop in ("auth", "auth-int") if qop in offered), "")


def _response(
    algorithm: str, user_ha1: str, nonce: str, nc: int | None, cnonce: str, qop: str, method: str, uri: str, body: bytes
) -> str:
    """RFC 7616 s.3.4.1; without qop the form of RFC 2069, which s.22.4 of RFC 3261 keeps."""
    secret = _hash(algorithm, f"{user_ha1}:{nonce}:{cnonce}") if _is_session(algorithm) else user_ha1
    request = f"{method}:{uri}"
    if qop == "auth-int":
        request += ":" + _ALGORITHMS[_hash_name(algorithm)][0](body).hexdigest()
    hashed_request = _hash(algorithm, request)
    if not qop:
        return _hash(algorithm, f"{secret}:{nonce}:{hashed_request}")
    return _hash(algorithm, f"{secret}:{nonce}:{nc or 0:08x}:{cnonce}:{qop}:{hashed_request}")


def answer(
    challenge: Challenge,
    ha1: str,
    username: str,
    method: str,
    uri: str,
    nc: int,
    cnonce: str,
    body: bytes = b"",
) -> Credentials:
    """The credentials that answer `challenge`. `ha1` must be of its algorithm; `nc` counts uses of its nonce from 1.

    LocalError when the challenge is not `supported`.
    """
    if not supported(challenge):
        raise LocalError(f"challenge with algorithm {challenge.algorithm!r} and qop {challenge.qop!r} is not supported")
    qop = _choose_qop(challenge.qop)
    with_cnonce = bool(qop) or _is_session(challenge.algorithm)
    return Credentials(
        username=username,
        realm=challenge.realm,
        nonce=challenge.nonce,
        uri=uri,
        response=_response(challenge.algorithm, ha1, challenge.nonce, nc, cnonce, qop, method, uri, body),
        algorithm=challenge.algorithm,
        cnonce=cnonce if with_cnonce else "",
        nc=nc if qop else None,
        qop=qop,
        opaque=challenge.opaque,
    )


def verify(credentials: Credentials, ha1: str, method: str, body: bytes = b"") -> bool:
    """Did the sender know `ha1`? Says nothing of the nonce: whether it is ours and fresh is for the caller to know."""
    if not _hash_name(credentials.algorithm) or credentials.qop not in ("", "auth", "auth-int"):
        return False
    expected = _response(
        credentials.algorithm,
        ha1,
        credentials.nonce,
        credentials.nc,
        credentials.cnonce,
        credentials.qop,
        method,
        credentials.uri,
        body,
    )
    return hmac.compare_digest(expected.encode(), credentials.response.encode("utf-8", "surrogateescape"))


MOST_WRONG_LINES = 20
"""Of a htdigest file, that are told one by one; a file of another kind has as many as it has lines."""

_SAID_IN_ONE_LINE = 3  # of them, where there is one line for all: in the log


class HtdigestError(Exception):
    """Lines of the credentials file that cannot be used: FILE:LINE and what was expected. Never shows a HA1."""

    def __init__(self, path: Path, wrong: Sequence[tuple[int, str]]) -> None:
        """`wrong`: each line's number, 0 for the file as a whole, and what was expected there."""
        said = [f"{path}:{line}: {expected}" if line else f"{path}: {expected}" for line, expected in wrong[:_SAID_IN_ONE_LINE]]
        left = len(wrong) - len(said)
        if left:
            said.append(f"and {left} more, which `sbc check` tells")
        super().__init__("; ".join(said))
        self.path = path
        self.wrong = tuple(wrong)


class HtdigestFile:
    """User, realm and HA1 of accounts, as Apache's htdigest writes them: `user:realm:HA1`, one account a line.

    32 hexadecimal digits are a HA1 of MD5, 64 one of SHA-256; a user may have a line of each. Empty lines and lines
    that begin with "#" are skipped. The realm may hold colons.
    """

    def __init__(self, path: Path, accounts: dict[tuple[str, str, str], str], stamp: tuple[int, int, int]) -> None:
        self.path = path
        self._accounts = accounts
        self._stamp = stamp
        self._users: frozenset[str] = frozenset()
        self._users_of: object = None  # the accounts that they are of

    @classmethod
    def load(cls, path: Path | str) -> HtdigestFile:
        """Read the file. HtdigestError names all lines that are wrong, OSError is left to the caller."""
        path = Path(path)
        stamp = _stamp_of(path)
        return cls(path, _read_accounts(path), stamp)

    @property
    def users(self) -> frozenset[tuple[str, str]]:
        """(user, realm) of all accounts."""
        return frozenset((user, realm) for user, realm, _ in self._accounts)

    def knows(self, user: str) -> bool:
        """Has that user an account, in any realm?"""
        if self._users_of is not self._accounts:
            self._users_of = self._accounts
            self._users = frozenset(user for user, _, _ in self._accounts)
        return user in self._users

    def find(self, user: str, realm: str, algorithm: str = "MD5") -> str | None:
        """The HA1, None when the file has none for that algorithm."""
        return self._accounts.get((user, realm, _hash_name(algorithm)))

    def changed_since(self, before: HtdigestFile | None) -> frozenset[str]:
        """The users of whom this file has an HA1 that the one before had not."""
        known = before._accounts if before is not None else {}
        return frozenset(key[0] for key, ha1 in self._accounts.items() if known.get(key) != ha1)

    def reload_if_changed(self) -> bool:
        """Read the file again if it is not the one that was read; True when it was.

        When it is broken or gone the accounts stay as they were, and HtdigestError or OSError says why.
        """
        stamp = _stamp_of(self.path)
        if stamp == self._stamp:
            return False
        self._accounts = _read_accounts(self.path)
        self._stamp = stamp
        return True

    def __repr__(self) -> str:
        return f"<HtdigestFile {self.path}: {len(self._accounts)} lines>"


def _stamp_of(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size, status.st_ino


def _read_accounts(path: Path) -> dict[tuple[str, str, str], str]:
    algorithms = {digits: name for name, (_, digits) in _ALGORITHMS.items()}
    accounts: dict[tuple[str, str, str], str] = {}
    try:
        lines = path.read_text("utf-8").splitlines()
    except UnicodeDecodeError:
        raise HtdigestError(path, [(0, "expected a text file in UTF-8")]) from None
    wrong: list[tuple[int, str]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        user, _, rest = line.rstrip().partition(":")
        realm, _, digest = rest.rpartition(":")
        algorithm = algorithms.get(len(digest))
        if not user or not realm or algorithm is None or not re.fullmatch(r"[0-9A-Fa-f]+", digest):
            wrong.append((number, "expected user:realm:HA1 with 32 (MD5) or 64 (SHA-256) hexadecimal digits"))
        elif (user, realm, algorithm) in accounts:
            wrong.append((number, f"expected one {algorithm} line for each user and realm; this is another one"))
        else:
            accounts[user, realm, algorithm] = digest.lower()
    if wrong:
        raise HtdigestError(path, wrong)
    return accounts
