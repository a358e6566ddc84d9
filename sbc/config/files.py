"""What the files named in the configuration hold: certificates that fit their keys, authorities, digest credentials."""

from __future__ import annotations

import ssl
from pathlib import Path

from OpenSSL import crypto

from sbc.config.model import Credentials, Listen, TlsClient
from sbc.config.reader import Document
from sbc.config.toml_lines import Path as TomlPath


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
    """Every broken line is an error of the credentials file itself. What is in it is never shown."""
    if credentials.file is None:
        return
    from sbc.sip.digest import HtdigestError, HtdigestFile

    try:
        known = HtdigestFile.load(credentials.file)
    except HtdigestError as error:
        document.error(("credentials", "file"), f'"{error}"', "user:realm:HA1 in each line")
        return
    if not known.users:
        document.warn(("credentials", "file"), "no user in it: no challenge can be answered")


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
