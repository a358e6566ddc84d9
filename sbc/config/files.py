"""What the files named in the configuration hold: certificates that fit their keys, authorities, digest credentials."""

from __future__ import annotations

import ssl
import stat
from pathlib import Path

from OpenSSL import crypto

from sbc.config.errors import ConfigError
from sbc.config.model import Credentials, Listen, TlsClient
from sbc.config.reader import Document, key_of
from sbc.config.toml_lines import Path as TomlPath
from sbc.sip.digest import MOST_WRONG_LINES, HtdigestError, HtdigestFile


def check_listen_files(document: Document, listens: tuple[Listen, ...]) -> None:
    for position, listen in enumerate(listens):
        if listen.transport == "tls" and listen.certificate and listen.key:
            _check_pair(document, ("listen", position), listen.certificate, listen.key)


def check_tls_files(document: Document, tls: TlsClient) -> None:
    if tls.certificate and tls.key:
        _check_pair(document, ("tls",), tls.certificate, tls.key)
    if tls.ca:
        try:
            ssl.create_default_context(cafile=tls.ca)
        except (ssl.SSLError, OSError):
            found = f'"{document.value(("tls", "ca"))}", which holds none'
            document.error(("tls", "ca"), found, "a PEM file with certificates")


def check_credentials_file(document: Document, credentials: Credentials) -> None:
    """Each broken line is an error in the credentials file itself, but of very many only the first. What stands in it is never
    shown."""
    if credentials.file is None:
        return
    path = ("credentials", "file")
    try:
        known = HtdigestFile.load(credentials.file)
    except HtdigestError as error:
        shown_file = str(document.path.parent / document.value(path))
        for line, text in error.wrong[:MOST_WRONG_LINES]:
            expected = text.removeprefix("expected ")
            document.errors.append(ConfigError(shown_file, line, key_of(path), "another line", expected))
        more = error.wrong[MOST_WRONG_LINES:]
        if more:
            found = f"{len(more)} more wrong lines from here on"
            document.errors.append(ConfigError(shown_file, more[0][0], key_of(path), found, "a file that htdigest has made"))
        return
    if not known.users:
        document.warn(path, "no user in it: no challenge can be answered")
    if credentials.file.stat().st_mode & stat.S_IROTH:
        document.warn(path, "everyone on this machine can read it, and it is worth as much as the passwords: chmod 600")


def _check_pair(document: Document, table: TomlPath, certificate: Path, key: Path) -> None:
    certificate_path, key_path = (*table, "certificate"), (*table, "key")
    try:
        loaded = crypto.load_certificate(crypto.FILETYPE_PEM, certificate.read_bytes())
    except crypto.Error:
        found = f'"{document.value(certificate_path)}", which holds none'
        document.error(certificate_path, found, "a PEM file with a certificate")
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        fits_not = "KEY_VALUES_MISMATCH" in str(error)
        reason = "which belongs to another certificate" if fits_not else "which holds no key that can be read"
        expected = f'a PEM file with the key to "{document.value(certificate_path)}", without a password'
        document.error(key_path, f'"{document.value(key_path)}", {reason}', expected)
        return
    if loaded.has_expired():
        document.warn(certificate_path, "it has expired: peers that look will refuse the connection")


def _no_password() -> str:
    """Without this OpenSSL would ask on the terminal."""
    return ""
