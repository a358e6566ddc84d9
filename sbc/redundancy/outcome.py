"""What became of one attempt: a value, never an invented response.

A 408 that a server sent is `Answered(408)`, a server that stayed silent is `TimedOut`; no code below decides on a
response that we made up ourselves.

Each outcome has a `label` (the `outcome` of `sbc_attempts_total`) and a `cause` (that of `sbc_failovers_total`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import cython


@cython.cclass
@dataclass(frozen=True)
class Answered:
    """A response came. For `AttemptPlan.record` a final one; health also learns from provisional ones."""

    status: int
    retry_after: int | None = None
    """Seconds of the Retry-After header, when there was one."""
    highest_provisional: int = 0
    """The highest 1xx seen before on this branch, 0 for none. A server that rang is alive: no ringing call moves."""

    @property
    def label(self) -> str:
        return f"status_{self.status // 100}xx"

    @property
    def cause(self) -> str:
        return self.label

    def __str__(self) -> str:
        return f"answered {self.status}"


@cython.cclass
@dataclass(frozen=True)
class TimedOut:
    """No answer until the attempt's time was over."""

    sends: int = 1
    """How often the request went out. Over TCP and TLS, which retransmit nothing, say `Attempt.sends`: it is the same
    silence."""
    highest_provisional: int = 0
    """As for `Answered`."""

    label: ClassVar[str] = "timeout"
    cause: ClassVar[str] = "timeout"

    def __str__(self) -> str:
        return f"no answer to {self.sends} send{'s' if self.sends != 1 else ''}"


@cython.cclass
@dataclass(frozen=True)
class TransportFailed:
    """The request could not be delivered: ICMP, refused or reset connection, TLS error."""

    cause: str
    """icmp | unreachable | refused | reset | tls | connect_timeout | ..."""
    soft: bool = False
    """True makes it worth one bad result and no more; `unreachable` always is."""
    highest_provisional: int = 0
    """As for `Answered`."""

    @property
    def label(self) -> str:
        return self.cause

    @property
    def is_soft(self) -> bool:
        """Host or net unreachable is a router's opinion, not the server's refusal (D16)."""
        return self.soft or self.cause == "unreachable"

    def __str__(self) -> str:
        return f"transport failed: {self.cause}"


@cython.cclass
@dataclass(frozen=True)
class FoundDown:
    """Another request noticed meanwhile that this server is dead; this one stopped waiting for it."""

    cause: str = "timeout"
    """What the other request saw."""

    label: ClassVar[str] = "found_down"

    def __str__(self) -> str:
        return f"found down by another request ({self.cause})"


@cython.cclass
@dataclass(frozen=True)
class Cancelled:
    """The caller gave up, or another branch won."""

    label: ClassVar[str] = "cancelled"
    cause: ClassVar[str] = "cancelled"

    def __str__(self) -> str:
        return "cancelled"


Outcome = Answered | TimedOut | TransportFailed | FoundDown | Cancelled
