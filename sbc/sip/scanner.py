"""Walking over the bytes of a message without making objects of them (RFC 3261 sections 7 and 25).

Nothing here raises: a position of -1 says that the bytes do not follow the grammar, and the caller knows which header it
was. All functions take `start` and `end` with 0 <= start <= end <= len(data), and touch no byte outside.
"""

from __future__ import annotations


def find_comma(data: bytes, start: int, end: int) -> int:
    """Where the first comma outside quoted strings and angle brackets is; `end` when there is none."""
    quoted = False
    brackets = False
    position = start
    while position < end:
        octet = data[position]
        if quoted:
            if octet == 0x5C:  # a backslash takes the next octet with it
                position += 1
            elif octet == 0x22:
                quoted = False
        elif octet == 0x22:
            quoted = not brackets
        elif octet == 0x3C:
            brackets = True
        elif octet == 0x3E:
            brackets = False
        elif octet == 0x2C and not brackets:
            return position
        position += 1
    return end
