"""What became of one attempt: a value, never an invented response.

A 408 that a server sent is `Answered(408)`, a server that stayed silent is `TimedOut`; no code below decides on a
response that we made up ourselves. Nobody changes an outcome once it is made.

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1: every request has one.
"""

from __future__ import annotations

import cython

NONE_GIVEN = cython.declare(cython.int, -1)
"""`retry_after` of an answer without a Retry-After."""

_CLASSES = cython.declare(tuple, tuple(f"status_{number}xx" for number in range(10)))


@cython.cclass
class Outcome:
    """One of those below.

    `label` is the `outcome` of `sbc_attempts_total`, `cause` that of `sbc_failovers_total`. `highest_provisional` is the
    highest 1xx seen before on this branch, 0 for none: a server that rang is alive, and no ringing call moves.
    """

    label: str
    cause: str
    highest_provisional: cython.int

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))


@cython.cclass
class Answered(Outcome):
    """A response came. For `AttemptPlan.record` a final one; health also learns from provisional ones.

    `retry_after`: seconds of the Retry-After header, NONE_GIVEN when there was none.
    """

    status: cython.int
    retry_after: cython.int

    def __init__(self, status: int, retry_after: int | None = None, highest_provisional: int = 0) -> None:
        self.status = status
        self.retry_after = NONE_GIVEN if retry_after is None else retry_after
        self.highest_provisional = highest_provisional
        self.label = self.cause = _CLASSES[status // 100]

    def __str__(self) -> str:
        return f"answered {self.status}"

    def __repr__(self) -> str:
        return f"Answered({self.status}, {self.retry_after}, {self.highest_provisional})"


@cython.cfunc
def new_answered(status: cython.int, retry_after: cython.int, highest_provisional: cython.int) -> Answered:
    """The same as `Answered(...)`, for those that are compiled: no arguments are packed. Status 100 to 699."""
    answered: Answered = Answered.__new__(Answered)
    answered.status = status
    answered.retry_after = retry_after
    answered.highest_provisional = highest_provisional
    answered.label = answered.cause = _CLASSES[status // 100]
    return answered


@cython.cclass
class TimedOut(Outcome):
    """No answer until the attempt's time was over.

    `sends`: how often the request went out. Over TCP and TLS, which retransmit nothing, say `Attempt.sends`: it is the
    same silence.
    """

    sends: cython.int

    def __init__(self, sends: int = 1, highest_provisional: int = 0) -> None:
        self.sends = sends
        self.highest_provisional = highest_provisional
        self.label = self.cause = "timeout"

    def __str__(self) -> str:
        return f"no answer to {self.sends} send{'s' if self.sends != 1 else ''}"

    def __repr__(self) -> str:
        return f"TimedOut({self.sends}, {self.highest_provisional})"


@cython.cclass
class TransportFailed(Outcome):
    """The request could not be delivered: ICMP, refused or reset connection, TLS error.

    `cause`: icmp, unreachable, refused, reset, tls, connect_timeout ... `soft` makes it worth one bad result and no more;
    `unreachable` always is: host or net unreachable is a router's opinion, not the server's refusal (D16).
    """

    is_soft: cython.bint

    def __init__(self, cause: str, soft: bool = False, highest_provisional: int = 0) -> None:
        self.is_soft = soft or cause == "unreachable"
        self.highest_provisional = highest_provisional
        self.label = self.cause = cause

    def __str__(self) -> str:
        return f"transport failed: {self.cause}"

    def __repr__(self) -> str:
        return f"TransportFailed({self.cause!r}, {self.is_soft}, {self.highest_provisional})"


@cython.cclass
class FoundDown(Outcome):
    """Another request noticed meanwhile that this server is dead; this one stopped waiting for it.

    `cause`: what the other request saw.
    """

    def __init__(self, cause: str = "timeout") -> None:
        self.highest_provisional = 0
        self.label = "found_down"
        self.cause = cause

    def __str__(self) -> str:
        return f"found down by another request ({self.cause})"

    def __repr__(self) -> str:
        return f"FoundDown({self.cause!r})"


@cython.cclass
class NotRegistered(Outcome):
    """The request was not sent, because the server did not take the REGISTER that had to come before it (Y30, F7)."""

    def __init__(self) -> None:
        self.highest_provisional = 0
        self.label = self.cause = "not_registered"

    def __str__(self) -> str:
        return "the phone could not be registered there"

    def __repr__(self) -> str:
        return "NotRegistered()"


@cython.cclass
class Cancelled(Outcome):
    """The caller gave up, or another branch won."""

    def __init__(self) -> None:
        self.highest_provisional = 0
        self.label = self.cause = "cancelled"

    def __str__(self) -> str:
        return "cancelled"

    def __repr__(self) -> str:
        return "Cancelled()"
