"""The timer letters of RFC 3261 table 4 and RFC 6026, from one set of T1, T2, T4.

All in seconds. D, I, J and K are what they are over UDP; over a reliable transport the machines take 0 for them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timers:
    """One set of values; two sets may be in use at once, nothing is global."""

    t1: float = 0.5
    """Round trip estimate (s.17.1.1.1)."""
    t2: float = 4.0
    """The longest interval between retransmissions of a non-INVITE request, or of a failure to INVITE (s.17.1.2.2)."""
    t4: float = 5.0
    """The longest time a message stays in the network (s.17.1.2.2)."""
    invite_trying: float = 0.2
    """An INVITE without any answer of the transaction user gets 100 after so long, 200 ms at most (s.17.2.1); 0: at once."""

    @property
    def a(self) -> float:
        """First INVITE retransmission; doubles without cap (s.17.1.1.2)."""
        return self.t1

    @property
    def b(self) -> float:
        """INVITE client gives up (s.17.1.1.2)."""
        return 64 * self.t1

    @property
    def c(self) -> float:
        """A proxied INVITE rings no longer than this; the RFC wants more than 3 minutes (s.16.6 step 11)."""
        return 181.0

    @property
    def d(self) -> float:
        """INVITE client absorbs repeated failures; at least 32 s (s.17.1.1.2)."""
        return max(32.0, 64 * self.t1)

    @property
    def e(self) -> float:
        """First non-INVITE retransmission; doubles up to T2 (s.17.1.2.2)."""
        return self.t1

    @property
    def f(self) -> float:
        """Non-INVITE client gives up (s.17.1.2.2)."""
        return 64 * self.t1

    @property
    def g(self) -> float:
        """First retransmission of a failure to INVITE; doubles up to T2 (s.17.2.1)."""
        return self.t1

    @property
    def h(self) -> float:
        """INVITE server stops waiting for the ACK (s.17.2.1)."""
        return 64 * self.t1

    @property
    def i(self) -> float:
        """INVITE server absorbs repeated ACKs (s.17.2.1)."""
        return self.t4

    @property
    def j(self) -> float:
        """Non-INVITE server absorbs repeated requests (s.17.2.2)."""
        return 64 * self.t1

    @property
    def k(self) -> float:
        """Non-INVITE client absorbs repeated responses (s.17.1.2.2)."""
        return self.t4

    @property
    def l(self) -> float:  # noqa: E743 (the RFC's letter)
        """INVITE server stays Accepted (RFC 6026 s.7.1)."""
        return 64 * self.t1

    @property
    def m(self) -> float:
        """INVITE client stays Accepted (RFC 6026 s.7.2)."""
        return 64 * self.t1

    @property
    def non_invite_trying(self) -> float:
        """Any other request gets 100 when the sender's Timer E is first reset to T2, and not before (RFC 4320 s.4.1).

        3.5 s with the usual values: E fires at 0.5, 1.5, 3.5, and there it becomes 4 s.
        """
        fired, interval = self.t1, self.t1
        while 2 * interval < self.t2:
            interval *= 2
            fired += interval
        return fired
