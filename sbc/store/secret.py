"""The file of the secret: `SecretFile`.

Kept apart from the database, so that a corrupt database does not end the calls that hold our cookies. Without a file the
secret lasts as long as the process, which is an `Alarm`; it is written as soon as that can be done.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from sbc.events import Alarm, Report

SECRET_NAME = "secret.key"
SECRET_BYTES = 32
_CONSEQUENCE = "calls will not survive a restart"


class SecretFile:
    """32 random bytes, made at the first start and the same ever after."""

    def __init__(self, path: Path, report: Report) -> None:
        self._path = path
        self._report = report
        self._secret: bytes | None = None

    def secret(self) -> bytes:
        """As it is on disk; made and written when there is none."""
        if self._secret is None:
            try:
                self._secret = self._read()
            except OSError as error:
                self._secret = secrets.token_bytes(SECRET_BYTES)
                self._report(Alarm("secret", f"cannot read {self._path}: {error.strerror}; {_CONSEQUENCE}"))
                return self._secret
        if self._secret is None:
            try:
                self._secret = self._written(secrets.token_bytes(SECRET_BYTES))
            except OSError as error:
                self._secret = secrets.token_bytes(SECRET_BYTES)
                self._report(Alarm("secret", f"cannot write {self._path}: {error.strerror}; {_CONSEQUENCE}"))
        return self._secret

    def keep(self) -> None:
        """The file may have gone, or never been there: the contacts at the servers and the calls rest on what we have."""
        if self._secret is None or self._path.exists():
            return
        try:
            if self._written(self._secret) == self._secret:
                self._report(Alarm("secret", f"{self._path} was missing and is written again"))
        except OSError:
            pass  # the database, in the same folder, tells that nothing can be written

    def _read(self) -> bytes | None:
        """None when there is none."""
        try:
            secret = self._path.read_bytes()
        except FileNotFoundError:
            return None
        if len(secret) >= SECRET_BYTES:
            return secret
        self._path.unlink()  # cut short by a full disk
        return None

    def _written(self, secret: bytes) -> bytes:
        """What is on disk then: another process of ours may have been quicker."""
        # Under another name first: whoever reads the file reads a whole secret.
        draft = self._path.with_name(f"{SECRET_NAME}.{secrets.token_hex(4)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            try:
                if os.write(descriptor, secret) < len(secret):
                    raise OSError(28, "No space left on device")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            try:
                os.link(draft, self._path)
            except FileExistsError:
                return self._read() or secret
        finally:
            draft.unlink()
        return secret
