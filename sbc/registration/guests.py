"""Phones that the appliance does not know, at a server that has come back (pitfall D18): `Guests`.

After a long outage registrations have lapsed, and phones come by of which nobody here has heard. Their REGISTERs count at the
server as all others do. Anybody can send such a REGISTER, so they get only a part of the pace as long as known phones wait, and
what these leave. Of that no host gets more than a part before one of its phones was accepted, and one at a time from where a phone
was let in and was not accepted.

They wait for no hold and no canary: nobody else registers them.

Told `now`, it sends nothing. Ordinary Python: only what comes by while a server is resynchronised is asked for here.
"""

from __future__ import annotations

import ipaddress
import math
from collections import deque

from sbc.registration.token_bucket import TokenBucket

SHARE = 0.25
"""Of the pace, while known phones wait."""

_OF_HOST = 0.25  # of the guests' places, for one host whose phones were not accepted yet
_LEAST_OF_HOST = 3  # places
_DOUBTED_FOR = 300.0  # seconds after one of a host was not accepted
_KNOCKS_FOR = 90.0  # seconds, the longest after which one that was sent away comes again


class _Guest:
    """One that was let through."""

    __slots__ = ("host", "until", "may_answer")

    def __init__(self, host: str, until: float) -> None:
        self.host = host
        self.until = until
        self.may_answer = True
        """The challenge that it probably gets."""


class Guests:
    """`keeps`: seconds for which a place is kept for the answer to a challenge."""

    def __init__(self, rate: float, now: float, keeps: float) -> None:
        self.accepted = 0
        """So many are known by now."""
        self.sent_away_at = -math.inf
        """When there was no place for one, the last time."""
        self._keeps = keeps
        self._bucket = TokenBucket(rate, now)
        self._let_in: dict[str, _Guest] = {}  # by token of the contact
        self._by_time: deque[tuple[float, str]] = deque()
        self._of_host: dict[str, int] = {}
        self._doubted: dict[str, float] = {}  # host -> until when

    def set_pace(self, rate: float, now: float, cost: int) -> None:
        """`rate`: REGISTERs in a second; each guest takes `cost`."""
        self._bucket.set_rate(rate, now, cost)

    def may_answer(self, token: str, host: str, now: float) -> bool:
        """Is one REGISTER more expected of it?"""
        guest = self._let_in.get(token)
        return guest is not None and guest.host == _site(host) and guest.may_answer and now < guest.until

    def answers(self, token: str) -> None:
        """One that may."""
        self._let_in[token].may_answer = False

    def is_welcome(self, host: str, now: float) -> bool:
        """May there be another one from that host?"""
        self._forget_old(now)
        site = _site(host)
        places = self._keeps * self._bucket.rate / self._bucket.least
        most = 1.0 if self._doubted.get(site, now) > now else max(_LEAST_OF_HOST, _OF_HOST * places)
        return self._of_host.get(site, 0) < most

    def has_place(self, now: float) -> bool:
        """Of those that are for guests."""
        return self._bucket.next_at(now) <= now

    def are_knocking(self, now: float) -> bool:
        """Is there a place of theirs, and will one that was sent away come again soon?"""
        return now - self.sent_away_at < _KNOCKS_FOR and self.has_place(now)

    def let_in(self, token: str, host: str, now: float) -> None:
        """It takes a place of theirs; where there is none, one that known phones have left."""
        self._leave(token)
        self._bucket.take(now)
        site = _site(host)
        self._let_in[token] = _Guest(site, now + self._keeps)
        self._of_host[site] = self._of_host.get(site, 0) + 1
        self._by_time.append((now + self._keeps, token))

    def become_known(self, token: str) -> bool:
        """A server has accepted it. False: it was no guest."""
        guest = self._let_in.get(token)
        if guest is None:
            return False
        self._leave(token)
        self._doubted.pop(guest.host, None)
        self.accepted += 1
        return True

    def _leave(self, token: str) -> None:
        guest = self._let_in.pop(token, None)
        if guest is not None:
            self._of_host[guest.host] -= 1
            if not self._of_host[guest.host]:
                del self._of_host[guest.host]

    def _forget_old(self, now: float) -> None:
        while self._by_time and self._by_time[0][0] <= now:
            until, token = self._by_time.popleft()
            guest = self._let_in.get(token)
            if guest is not None and guest.until == until:
                self._leave(token)
                self._doubted.pop(guest.host, None)  # to the end of the dictionary
                self._doubted[guest.host] = until + _DOUBTED_FOR
        while self._doubted and (first := next(iter(self._doubted))) and self._doubted[first] <= now:
            del self._doubted[first]


def _site(host: str) -> str:
    """The addresses that one sender has: one in IPv4, 2^64 in IPv6."""
    if ":" not in host:
        return host
    return str(ipaddress.IPv6Network((host.partition("%")[0], 64), strict=False))
