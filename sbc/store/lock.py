"""One appliance for one state directory: `StateLock`.

Two that write into the same one would each take the other's phones for their own. The lock is the kernel's (flock on a file there),
so it ends with the process, however that ends, and nothing is left behind that would stop the next one. With several workers the
process that starts them holds it for all.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from pathlib import Path

from sbc.events import Alarm, Report

NAME = "lock"

PATIENCE = 2.0
"""Seconds for one that was killed a moment ago: it holds the lock until the last of it is gone."""

_LOOK_EVERY = 0.05


class StateTaken(Exception):  # noqa: N818 (told to an operator under this name)
    """Another appliance runs with this state directory."""


class StateLock:
    """Taken when made, for the life of the process or until `release`. Raises StateTaken.

    Where there can be no lock, on a disk that is read-only or has no locks, phones are served all the same, and an alarm says so.
    """

    def __init__(self, state_dir: Path, report: Report, *, patience: float = PATIENCE) -> None:
        self._file: int | None = None
        try:
            self._file = _opened(state_dir)
            self._take(state_dir, patience)
        except OSError as error:
            text = f"{state_dir / NAME}: {error.strerror or error}; another appliance with this state_dir would not be noticed"
            report(Alarm("store", text))
            self.release()
        except StateTaken:
            self.release()
            raise

    def _take(self, state_dir: Path, patience: float) -> None:
        assert self._file is not None
        until = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    who = f"another appliance{_holder(self._file)}"
                    raise StateTaken(f"{state_dir} is in use by {who}: each needs its own state_dir") from None
            time.sleep(_LOOK_EVERY)
        with contextlib.suppress(OSError):  # a full disk, or one that is read-only: the lock holds all the same
            os.truncate(self._file, 0)
            os.pwrite(self._file, b"%d\n" % os.getpid(), 0)

    def release(self) -> None:
        """The next one may have it. Also without a lock."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _opened(state_dir: Path) -> int:
    state_dir.mkdir(parents=True, exist_ok=True)
    path = state_dir / NAME
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _holder(file: int) -> str:
    """` (process 4711)`; nothing when it has not said so."""
    with contextlib.suppress(OSError, ValueError):
        return f" (process {int(os.pread(file, 20, 0))})"
    return ""
