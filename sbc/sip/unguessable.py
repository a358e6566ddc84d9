"""Random words for branches and tags (RFC 3261 sections 8.1.1.7 and 19.3), for little.

Asking the kernel costs more than all else about a word, so it is asked for many at once. They are as hard to guess as
those of `secrets`; none is given twice, and a forked process asks anew.

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1.
"""

from __future__ import annotations

import os

import cython

COMPILED = bool(cython.compiled)

_STOCK_BYTES = 4096

_stock = cython.declare(str, "")
_used = cython.declare(cython.Py_ssize_t, 0)


@cython.ccall
def hex_word(digits: cython.Py_ssize_t) -> str:
    """So many hexadecimal digits, 4 random bits each."""
    global _stock, _used
    if _used + digits > len(_stock):
        _stock, _used = os.urandom(_STOCK_BYTES).hex(), 0
    word: str = _stock[_used : _used + digits]
    _used += digits
    return word


def _forget() -> None:
    global _stock, _used
    _stock, _used = "", 0


os.register_at_fork(after_in_child=_forget)
