"""Which worker made a branch: the first letter of the word that tells the runs of a process apart (`Branches`)."""

from __future__ import annotations

from secrets import token_hex

from sbc.proxy.validation import BOOT_WORD, boot_of

_LETTERS = "0123456789abcdefghijklmnopqrstuv"

MOST_WORKERS = len(_LETTERS)


def boot_word(worker: int) -> str:
    """A new one for this worker."""
    return _LETTERS[worker] + token_hex(BOOT_WORD)[: BOOT_WORD - 1]


def worker_of(branch: str) -> int | None:
    """Who made it, when one of the workers did. Anybody can write a branch, so this is a guess that may cost a datagram."""
    boot = boot_of(branch)
    place = _LETTERS.find(boot[0]) if len(boot) == BOOT_WORD else -1
    return place if place >= 0 else None
