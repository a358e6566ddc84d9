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
            document.error(("tls", "ca"), f'"{tls.ca}", which holds none', "a PEM file with certificates")


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
        document.warn(("credentials", "file"), f"{credentials.file} knows no user: no challenge can be answered with it")


def _check_pair(document: Document, table: TomlPath, certificate: Path, key: Path) -> None:
    certificate_path, key_path = (*table, "certificate"), (*table, "key")
    try:
        loaded = crypto.load_certificate(crypto.FILETYPE_PEM, certificate.read_bytes())
    except crypto.Error:
        document.error(certificate_path, f'"{certificate}", which holds none', "a PEM file with a certificate")
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        fits_not = "KEY_VALUES_MISMATCH" in str(error)
        found = f'"{key}", which ' + ("belongs to another certificate" if fits_not else "holds no key that can be read")
        document.error(key_path, found, f"a PEM file with the key to {certificate}, without a password")
        return
    if loaded.has_expired():
        document.warn(certificate_path, f"{certificate} has expired: peers that check it will refuse the connection")


def _no_password() -> str:
    """Without this OpenSSL would ask on the terminal."""
    return ""
