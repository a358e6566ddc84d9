"""What all transactions of a layer share: the live ones by their keys, the time, the delays, the user.

It is the part of the layer that the machines know; the rest of the layer knows the machines. Compiled when installed
(Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1.
"""

from __future__ import annotations

import cython

from sbc.sip.scanner import NUMBERED_METHODS

if cython.compiled:
    from cython.cimports.sbc.clock import TimerQueue
    from cython.cimports.sbc.flow import Flow
    from cython.cimports.sbc.transaction.branches import ClientTable
    from cython.cimports.sbc.transaction.interface import TransactionUser
else:
    from sbc.clock import TimerQueue
    from sbc.flow import Flow
    from sbc.transaction.branches import ClientTable
    from sbc.transaction.interface import TransactionUser

COMPILED = bool(cython.compiled)

_SIDES = cython.declare(tuple, ("phones", "servers", "both"))
_METHODS = cython.declare(tuple, tuple([name or "other" for name in NUMBERED_METHODS]))
"""Those that have a number are counted under their own name, so that no sender can make a label."""


@cython.cclass
class Ledger:
    """The base of `TransactionLayer`."""

    clock: object
    timers: object
    user: TransactionUser
    _retransmissions: list  # by side and method
    queue: TimerQueue  # the clock, or one of our own upon it
    clients: ClientTable  # but the CANCELs: they have the branch of their INVITE
    _cancels: dict
    _servers: dict  # {key of `matching.server_key`: transaction}
    _on_connections: dict  # {reliable flow: {client transaction: None}}, so that a lost connection finds its own at once
    invite_clients: cython.Py_ssize_t  # how many of the live ones
    invite_servers: cython.Py_ssize_t
    t1: cython.double
    t2: cython.double
    timer_b: cython.double
    timer_d: cython.double
    timer_g: cython.double
    timer_h: cython.double
    timer_i: cython.double
    timer_j: cython.double
    timer_k: cython.double
    timer_l: cython.double
    timer_m: cython.double
    invite_trying: cython.double
    non_invite_trying: cython.double

    @cython.cfunc
    def open(self, clock: object, timers: object, user: TransactionUser, boot: str):
        self.clock = clock
        self.queue = clock if isinstance(clock, TimerQueue) else TimerQueue(clock)
        self.timers = timers
        self.user = user
        self._retransmissions = [0] * (len(_SIDES) * len(_METHODS))
        self.clients = ClientTable(boot)
        self._cancels = {}
        self._servers = {}
        self._on_connections = {}
        self.invite_clients = 0
        self.invite_servers = 0
        self.t1 = timers.t1
        self.t2 = timers.t2
        self.timer_b = timers.b
        self.timer_d = timers.d
        self.timer_g = timers.g
        self.timer_h = timers.h
        self.timer_i = timers.i
        self.timer_j = timers.j
        self.timer_k = timers.k
        self.timer_l = timers.l
        self.timer_m = timers.m
        self.invite_trying = timers.invite_trying
        self.non_invite_trying = timers.non_invite_trying
        # The longest first: most transactions are in the states that only absorb.
        for delay in (
            self.timer_b, self.timer_d, self.timer_h, self.timer_j, self.timer_l, self.timer_m, self.timer_i, self.timer_k,
            self.t1, self.timer_g, self.non_invite_trying, self.invite_trying, 2 * self.t1, self.t2,
        ):  # fmt: skip
            if delay > 0.0:
                self.queue.lane(delay)

    @cython.cfunc
    def count_retransmission(self, flow: Flow, method_code: cython.int):
        """One message was sent once more."""
        place: cython.Py_ssize_t = _SIDES.index(self.user.side_of(flow)) * len(_METHODS) + method_code
        self._retransmissions[place] += 1

    @property
    def retransmissions(self) -> dict[tuple[str, str], int]:
        """Messages sent once more, by a timer or because the peer repeated its request: {(side, method): number}."""
        pairs = [(side, method) for side in _SIDES for method in _METHODS]
        return {pair: number for pair, number in zip(pairs, self._retransmissions, strict=True) if number}
