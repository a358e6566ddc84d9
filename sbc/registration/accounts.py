"""Accounts that a server refuses, apart from servers that fail (V16): `waits`, `Accounts`.

A server that says 403 or 404 to a registration, or 401 to credentials, is alive, and right about one phone: its health is not
touched, and the phone goes on at the other servers. What is remembered is the phone's `Upstream` there: `failed`, why, how many
refusals in a row, and when it may be tried again. That is RFC 5626 4.5: base * 2^refusals seconds, at most half an hour, of
which 50 to 100 % by lot are waited. Until then nobody tries it, neither the appliance by itself nor with a REGISTER of the phone,
for servers lock accounts. Three things end the wait before its time, because somebody may have mended the account:

* the phone begins anew, with another Call-ID, as it does when it has been set up or started again;
* it shows credentials of another user name;
* the password file has another password for it than before.

A phone that has no server left is asked for all the same: it is the one that should hear of the refusal. How often a wrong
password may be shown at all is for `rejections`.

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1: it is asked for every REGISTER.
"""

from __future__ import annotations

import random

import cython

from sbc.redundancy.settings import GroupSettings
from sbc.registration.bindings import FAILED

if cython.compiled:
    from cython.cimports.sbc.registration.bindings import Binding, Upstream
else:
    from sbc.registration.bindings import Binding, Upstream

LONGEST_AFTER_REFUSAL = 1800.0
"""Seconds between two tries of an account that is refused, also where `register_retry_max` is shorter."""

_FAILED = cython.declare(str, FAILED)


@cython.ccall
def waits(upstream: Upstream, now: cython.double) -> cython.bint:
    """Is the account refused there, and its next try not due?"""
    return upstream.state == _FAILED and now < upstream.retry_at


@cython.ccall
def begins_anew(binding: Binding, call_id: str, username: str) -> cython.bint:
    """May a phone that says so in its REGISTER have another account, or password, than the one that was refused?

    `binding`: what is known of it; `username`: of the credentials that it shows, "" without any.
    """
    if binding.call_id != call_id:
        return True
    return username != "" and binding.username != "" and username != binding.username


@cython.cclass
class Accounts:
    """What becomes of an account with each word of a server. Told `now`."""

    _rng: object

    def __init__(self, rng: random.Random | None = None) -> None:
        self._rng = rng or random.Random()

    @cython.ccall
    def refused(self, upstream: Upstream, settings: object, least: cython.double, now: cython.double):
        """The server has refused it; `least` seconds must be waited. A refusal that comes while it waits, for want of another
        server, makes the wait no longer."""
        if upstream.retry_at <= now:
            upstream.failures += 1
            upstream.retry_at = now + max(least, self._wait(settings, upstream.failures))

    def _wait(self, settings: GroupSettings, times: int) -> float:
        longest = max(settings.register_retry_max, LONGEST_AFTER_REFUSAL)
        return back_off(settings.register_retry_base, longest, times, self._rng)

    def changed(self, upstream: Upstream, retry_at: float) -> None:
        """It may be another account by now: what was refused says nothing of it, but it is not tried before that."""
        upstream.failures = 0
        upstream.retry_at = retry_at

    @cython.ccall
    def accepted(self, upstream: Upstream):
        """The server has registered it."""
        upstream.failures = 0
        upstream.retry_at = 0.0


def back_off(base: float, longest: float, times: int, rng: random.Random) -> float:
    """Seconds after so many failures in a row, RFC 5626 4.5: base * 2^failures up to a maximum, 50 to 100 % by lot."""
    return min(longest, base * 2.0 ** min(times, 20)) * rng.uniform(0.5, 1.0)
