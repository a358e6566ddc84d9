"""The registrar servers of a group, as far as a REGISTER asks about them: `Targets`.

Settings are for people to read and for configuration files to be compared with; here is what of them concerns every
REGISTER, in the fields of a compiled class. A changed configuration makes new groups, and so new targets.

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import cython

from sbc.redundancy.settings import GroupSettings, ServerSettings
from sbc.registration.extensions import Extensions

if cython.compiled:
    from cython.cimports.sbc.redundancy.group import ServerGroup
else:
    from sbc.redundancy.group import ServerGroup


_LONGEST_LEAST = cython.declare(cython.longlong, 86400)
"""Seconds. RFC 3261 10.3 allows a server to insist on an hour at most; whatever is beyond a day is a mistake."""


def _nobody(fact: object) -> None:
    pass


@cython.cclass
class Target:
    """One server. `series` is its part of our Call-IDs and From tags: the same after a restart, and in no Call-ID of
    another server (pitfall D10)."""

    settings: object
    name: str
    rank: cython.long
    series: str
    registers: cython.bint
    path: cython.bint
    trusted: cython.bint
    realm: str  # of its last challenge to anybody; "" = not known
    _longest: cython.longlong
    _least: cython.longlong  # seconds: the Min-Expires of its last 423; 0 = it has never said one

    def __init__(self, settings: ServerSettings, group: GroupSettings) -> None:
        self.settings = settings
        self.name = settings.name
        self.rank = settings.rank
        self.registers = settings.register
        self.path = settings.path
        self.trusted = settings.trusted
        self.realm = ""
        self.series = f"{zlib.crc32(settings.name.encode()):08x}"
        self._longest = min(settings.expires, group.max_expires or settings.expires)
        self._least = 0

    @cython.cfunc
    def insists_on(self, least: cython.longlong):
        """It has said 423, with that Min-Expires (seconds): less is asked of it no more, until the next start or reload."""
        self._least = min(least, _LONGEST_LEAST)

    @cython.cfunc
    def time_to_ask(self, targets: Targets, wanted: cython.longlong) -> cython.longlong:
        """Seconds to ask for: what the phone wants (below 0: it does not say), within what the administrator allows,
        but not so little that the server refuses it. An answer to a challenge covers nonce, method and URI only, so other
        seconds than the phone's leave it good."""
        if wanted == 0:
            return 0
        if wanted < 0 or targets.phone_expires > 0:  # then the phone's rhythm is none of theirs
            wanted = self._longest
        if wanted < targets._min_expires:
            wanted = targets._min_expires
        return max(wanted if wanted < self._longest else self._longest, self._least)


@cython.cclass
class Targets:
    """The servers of one group, and what the group's settings say of its REGISTERs."""

    group: ServerGroup
    group_name: str
    servers: list
    registrars: list  # of them those where phones are registered
    asked: list  # those with which a REGISTER begins: all registrars, or, one after the other, the first
    register_wait: cython.double
    wrong_password_tries: cython.long
    goal: str  # the server where phones are to be registered now; "" with concurrent registration: at all of them
    concurrent: cython.bint
    refresh_check: str  # which refreshes that nothing changes are answered without a server: off | source | credentials
    extensions: object
    # How phones answer the challenges of several servers, and what they are granted (`sbc.redundancy.settings`).
    challenge_method: str
    shared_nonce: cython.bint
    one_realm: tuple  # in lower case
    short_grant: cython.double
    phone_expires: cython.longlong
    _actions: object
    _min_expires: cython.longlong

    def __init__(self, group: ServerGroup, report: Callable[[object], object] = _nobody) -> None:
        settings = group.settings
        self.group = group
        self.group_name = group.name
        self.servers: list[Target] = [Target(server, settings) for server in settings.servers]
        registrars = [target for target in self.servers if target.settings.register]
        self.registrars: list[Target] = registrars
        self.asked: list[Target] = registrars if settings.registration == "concurrent" else registrars[:1]
        self.register_wait = settings.register_wait
        self.wrong_password_tries = settings.wrong_password_tries
        self.goal = ""
        self.concurrent = settings.registration == "concurrent"
        self.refresh_check = settings.refresh_check
        self.extensions = Extensions(group.name, report)
        self.challenge_method = settings.challenge_method
        self.shared_nonce = settings.shared_nonce
        self.one_realm = tuple(pattern.lower() for pattern in settings.one_realm)
        self.short_grant = settings.short_grant
        self.phone_expires = settings.phone_expires
        self._actions = settings.status_failover.get("REGISTER", {})
        self._min_expires = settings.min_expires

    @cython.cfunc
    def named(self, name: str) -> Target:
        """The server of that name, None without one."""
        target: Target
        for target in self.servers:
            if target.name == name:
                return target
        return None

    @cython.cfunc
    def time_to_tell(self, granted: cython.longlong, wanted: cython.longlong) -> cython.longlong:
        """Seconds for the phone of those that the servers granted, when it wants so many (below 0: it does not say)."""
        if self.phone_expires == 0 or granted <= 0:
            return granted
        if 0 < wanted < self.phone_expires:
            return min(granted, max(wanted, self._min_expires))
        return min(granted, self.phone_expires)

    @cython.cfunc
    def may_move_on(self, status: cython.int) -> cython.bint:
        """May another server be asked after this refusal (table D6)?"""
        return self._actions.get(str(status), "return") != "return"
