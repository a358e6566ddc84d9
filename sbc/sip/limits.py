"""The sizes beyond which a message is refused instead of parsed. Each one bounds the work a single sender can cause."""

from __future__ import annotations

# The largest UDP payload is 65,507 bytes, so no datagram is refused for its size; a stream may not send more either.
MAX_MESSAGE = 65_535

# An INVITE through ten proxies with Record-Route has some 60 lines; RFC 4475's longest message has 34 Via lines.
MAX_HEADER_LINES = 256

# One line with its folds. The longest seen are Identity (about 1,500) and comma lists of Record-Route (about 3,000).
MAX_HEADER_LINE = 8_192

# RFC 3261 s.8.1.1.5: a CSeq number must be less than 2**31.
MAX_CSEQ = 2**31 - 1

# RFC 3261 s.20.22: Max-Forwards is in the range 0 to 255.
MAX_MAX_FORWARDS = 255

# RFC 3261 s.20.19: Expires is a number between 0 and 2**32 - 1.
MAX_EXPIRES = 2**32 - 1

# Digits of any number we read at all, leading zeros included: more can only be meant to hurt.
MAX_DIGITS = 20
