"""The turns of the event loop, for the two things that take part in nearly all of them: a UDP socket and the timers.

`Turns` serves anything and goes through Python for it. Compiled, this one knows a `UdpTransport` and a `TimerQueue` when it sees
them, and calls them directly. Uncompiled it changes nothing, and is never called.

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1.
"""

from __future__ import annotations

import cython

if cython.compiled:
    from cython.cimports.sbc.clock import TimerQueue
    from cython.cimports.sbc.transport._turns import Turns
    from cython.cimports.sbc.transport.udp import UdpTransport
else:
    from sbc.clock import TimerQueue
    from sbc.transport._turns import Turns
    from sbc.transport.udp import UdpTransport

COMPILED = bool(cython.compiled)


@cython.cclass
class QuickTurns(Turns):
    """`Turns` that take the short way to what they know. `drive` is how they learn of the timers."""

    _queue: TimerQueue

    def drive(self, timers: object) -> None:
        """Run these from now on."""
        self.timers = timers
        self._queue = timers

    @cython.cfunc
    def _read(self, reader: object) -> object:
        if isinstance(reader, UdpTransport):
            transport: UdpTransport = reader
            transport.doRead()
        else:
            reader.doRead()

    @cython.cfunc
    def _begin(self, now: cython.double) -> object:
        self._queue._stands_at = now

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _end(self) -> cython.double:
        return self._queue.finish_turn()
