"""TLS (RFC 3261 26.2, RFC 5922): whom we believe, who we are, and what is wrong with a certificate. TLS 1.2 and up.

`Trust` is our side of connections to servers, `OwnCertificate` that of one listening socket. Both read their files anew when
told to (SIGHUP); connections that are open stay.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL, crypto
from service_identity import CertificateError, VerificationError
from service_identity.hazmat import DNS_ID, URI_ID, DNSPattern, IPAddress_ID, URIPattern, verify_service_identity
from service_identity.pyopenssl import extract_patterns
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator
from zope.interface import implementer

Judge = Callable[[Any], str | None]

_FAULTS = {
    9: "its certificate is not valid yet",
    10: "its certificate has expired",
    18: "its certificate is signed by itself alone, and not among those of [tls] ca",
    19: "its certificate comes from an authority that is not in [tls] ca",
    20: "its certificate comes from an authority that is not in [tls] ca",
    21: "its certificate comes without that of its authority",
    23: "its certificate was revoked",
    26: "its certificate is not for servers",
}
"""X509_V_ERR_..., openssl-verification-options(1)."""


class TlsFilesError(Exception):
    """A certificate, key or authority cannot be used."""


class Trust:
    """Towards servers. Raises TlsFilesError when a file cannot be used. `ca` None: whom the system believes."""

    def __init__(self, ca: Path | None = None, certificate: Path | None = None, key: Path | None = None) -> None:
        self.load(ca, certificate, key)

    def load(self, ca: Path | None, certificate: Path | None, key: Path | None) -> None:
        """Use these files from now on. On TlsFilesError those before stay."""
        context = _context()
        try:
            if ca is not None:
                context.load_verify_locations(str(ca))
            else:
                context.set_default_verify_paths()
        except SSL.Error as error:
            raise TlsFilesError(f"{ca} holds no certificates that can be read") from error
        if certificate is not None and key is not None:
            _use(context, certificate, key)
        context.set_verify(SSL.VERIFY_PEER, _note_fault)
        self._context = context
        self.has_own_certificate = certificate is not None

    def judge_of(self, identities: Sequence[Sequence[str]]) -> Judge:
        """Looks at the certificate of a server that has one name of each of these lists."""

        def judge(certificate: Any) -> str | None:
            wrong = (wrong_name(certificate, names) for names in identities)
            return next((each for each in wrong if each is not None), None)

        return judge

    def creator(self, names: Sequence[str]) -> _Creator:
        """For Twisted."""
        return _Creator(self._context, names)


@implementer(IOpenSSLClientConnectionCreator)
class _Creator:
    def __init__(self, context: SSL.Context, names: Sequence[str]) -> None:
        self._context = context
        self._name = next((name for name in names if not _is_ip_address(name)), None)

    def clientConnectionForTLS(self, tls: Any) -> SSL.Connection:  # noqa: N802 (Twisted's name)
        connection = SSL.Connection(self._context, None)
        connection.set_app_data(tls)
        if self._name is not None:  # RFC 6066 3: names only
            connection.set_tlsext_host_name(self._name.rstrip(".").encode("idna"))
        return connection


@implementer(IOpenSSLServerConnectionCreator)
class OwnCertificate:
    """Of a listening socket. Raises TlsFilesError when the files cannot be used."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = (certificate, key)
        self._context = self._made()

    def load(self) -> None:
        """Read the files again: certificates are renewed while we run. On TlsFilesError those before stay."""
        self._context = self._made()

    def _made(self) -> SSL.Context:
        context = _context()
        _use(context, *self._files)
        return context

    def serverConnectionForTLS(self, tls: Any) -> SSL.Connection:  # noqa: N802 (Twisted's name)
        return SSL.Connection(self._context, None)


def _context() -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)  # thousands of phones are silent nearly all the time
    # No sessions are kept: connections live for days.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    return context


def _use(context: SSL.Context, certificate: Path, key: Path) -> None:
    try:
        context.use_certificate_chain_file(str(certificate))
    except SSL.Error as error:
        raise TlsFilesError(f"{certificate} holds no certificate that can be read") from error
    try:
        load_pem_private_key(key.read_bytes(), None)  # OpenSSL would ask for a password on the terminal
        context.use_privatekey_file(str(key))
        context.check_privatekey()
    except (SSL.Error, ValueError, TypeError) as error:  # TypeError: it has a password
        raise TlsFilesError(f"{key} holds no key to {certificate}") from error


def _note_fault(connection: SSL.Connection, certificate: crypto.X509, fault: int, depth: int, ok: int) -> bool:
    """OpenSSL's verdict on each certificate of a chain. What is wrong is told by whoever sees the connection end."""
    if not ok:
        inner = getattr(connection.get_app_data(), "wrappedProtocol", None)
        if inner is not None:
            inner.tls_fault = _FAULTS.get(fault, f"its certificate cannot be verified (fault {fault} of OpenSSL)")
    return bool(ok)


def sip_domain(name: str) -> str:
    """The SIP domain that a server's name belongs to: that of an SRV record has labels for service and protocol before it,
    which no certificate has (RFC 5922 4: what DNS was asked for is the identity, and not what it answered)."""
    while name.startswith("_") and "." in name:
        name = name.partition(".")[2]
    return name


def wrong_name(certificate: Any, names: Sequence[str]) -> str | None:
    """What is wrong with the name in a certificate; None when it is one of `names` (RFC 5922 7.1, 7.2).

    A SIP URI in the subjectAltName counts before all DNS names; the subject's common name never does, nor does a wildcard.
    """
    if certificate is None:
        return "it shows no certificate"
    try:
        patterns = extract_patterns(certificate)
    except Exception as error:  # noqa: BLE001 (whatever a stranger writes into his certificate)
        return f"the names in its certificate cannot be read: {error}"
    if not patterns:
        return "its certificate names nobody (it has no subjectAltName)"
    of_sip = [each for each in patterns if isinstance(each, URIPattern) and each.protocol_pattern in (b"sip", b"sips")]
    exact = [each for each in patterns if not _is_wildcard(each)]
    for name in names:
        try:
            if _is_ip_address(name):
                wanted: list[Any] = [IPAddress_ID(name)]
            else:
                bare = name.rstrip(".")
                wanted = [URI_ID(f"sip:{bare}") if of_sip else DNS_ID(bare)]
            verify_service_identity(of_sip if of_sip and not _is_ip_address(name) else exact, wanted, [])
        except (CertificateError, VerificationError, ValueError):
            continue
        return None
    rule = " (a wildcard fits no SIP server, RFC 5922 7.2)" if len(exact) < len(patterns) else ""
    return f"its certificate is for {_shown(patterns)}{rule}, not for {' or '.join(names)}"


def _is_wildcard(pattern: Any) -> bool:
    return isinstance(pattern, DNSPattern) and b"*" in pattern.pattern


def _shown(patterns: Sequence[Any]) -> str:
    shown = []
    for pattern in patterns:
        value = getattr(pattern, "pattern", None)
        if isinstance(pattern, URIPattern):
            value = pattern.protocol_pattern + b":" + pattern.dns_pattern.pattern
        shown.append(value.decode("ascii", "replace") if isinstance(value, bytes) else str(value))
    return ", ".join(shown[:5])


def _is_ip_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
