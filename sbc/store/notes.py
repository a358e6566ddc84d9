"""The file of a journal: `Notes`. One line after the other, each with its checksum.

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1: every new registration is
noted before the phone has its answer.
"""

from __future__ import annotations

import contextlib
import os
import zlib

import cython

COMPILED = bool(cython.compiled)

_LARGEST = cython.declare(cython.longlong, 64_000_000)
"""Bytes of a journal that the database does not take; beyond them only memory keeps what is new."""

_crc32 = cython.declare(object, zlib.crc32)


@cython.cclass
class Notes:
    """`_file` is the descriptor, below 0 while there is no file; `_size` the bytes in it, all in whole lines."""

    _file: cython.int
    _size: cython.longlong

    @cython.ccall
    def note(self, line: bytes) -> cython.bint:
        """See `RegistrationStore.note`."""
        if self._file < 0 or self._size > _LARGEST:
            return False
        checksum: cython.uint = _crc32(line)
        ending: str = f"\t{checksum:08x}\n"
        text: bytes = line + ending.encode("ascii")
        length: cython.Py_ssize_t = len(text)
        written: cython.Py_ssize_t = 0
        try:
            written = os.write(self._file, text)
        except OSError:
            pass
        if written == length:
            self._size += length
            return True
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, self._size)  # half a line would spoil the next one
        return False
