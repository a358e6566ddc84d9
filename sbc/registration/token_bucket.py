"""How fast REGISTERs may come to a server that has come back: `TokenBucket`."""

from __future__ import annotations

_BURST = 0.2  # of a second's tokens, less one, may be taken at once: no second sees a fifth too many
_LITTLE = 1e-9


class TokenBucket:
    """`rate` tokens in a second, of which no more than `depth` are kept, but at least `least`, which are taken together. It may
    be in debt."""

    __slots__ = ("rate", "least", "depth", "_tokens", "_at", "_full_since")

    def __init__(self, rate: float, now: float, least: int = 1) -> None:
        self.rate = rate
        self.least = least
        self.depth = _depth(rate, least)
        self._tokens = float(least)
        self._at = self._full_since = now

    def set_rate(self, rate: float, now: float, least: int) -> None:
        if rate == self.rate and least == self.least:
            return
        self._fill(now)
        more = max(0, least - self.least)
        self.rate = rate
        self.least = least
        self.depth = _depth(rate, least)
        self._put(self._tokens + more, now)

    def take(self, now: float) -> bool:
        """`least` of them, if they are there."""
        self._fill(now)
        if self.least - self._tokens > _LITTLE:
            return False
        self._tokens -= self.least
        return True

    def spend(self, number: int, now: float) -> None:
        """They are gone, whether there are any or not; below 0 they are given back."""
        self._fill(now)
        self._put(self._tokens - number, now)

    def next_at(self, now: float) -> float:
        """When there will be `least`."""
        self._fill(now)
        lacking = self.least - self._tokens
        return now if lacking <= _LITTLE else now + lacking / self.rate

    def full_at(self, now: float) -> float:
        """When no more will be kept, or since when that is so."""
        self._fill(now)
        return self._full_since if self._is_full() else now + (self.depth - self._tokens) / self.rate

    def _is_full(self) -> bool:
        return self._tokens >= self.depth - _LITTLE

    def _fill(self, now: float) -> None:
        if not self._is_full():
            self._put(self._tokens + (now - self._at) * self.rate, self._at + (self.depth - self._tokens) / self.rate)
        self._at = now

    def _put(self, tokens: float, full_since: float) -> None:
        was_full = self._is_full()
        self._tokens = min(self.depth, tokens)
        if not was_full and self._is_full():
            self._full_since = full_since


def _depth(rate: float, least: int) -> float:
    return max(float(least), _BURST * rate - 1.0)
