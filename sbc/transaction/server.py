"""Server transactions: one request of a peer and our responses, until it cannot be repeated any more.

RFC 3261 s.17.2, RFC 6026, RFC 4320. Two machines, each a table: INVITE (figure 7, with RFC 6026's Accepted state) and
everything else (figure 8). They absorb repeated requests and repeat our responses; the transaction user makes these.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

from sbc.clock import Delayed
from sbc.sip.errors import LocalError
from sbc.sip.message import Request, Response
from sbc.transaction.machine import Transitions, bind, stop
from sbc.transaction.matching import ServerKey, from_rfc2543

if TYPE_CHECKING:
    from sbc.transaction.interface import Flow
    from sbc.transaction.layer import TransactionLayer


class State(IntEnum):
    """Of both server machines."""

    TRYING = 1  # non-INVITE: nothing sent back (s.17.2.2)
    PROCEEDING = 2  # INVITE: no final response sent; non-INVITE: 100 sent
    COMPLETED = 3  # final response sent (INVITE: 300 or more, waits for its ACK)
    ACCEPTED = 4  # INVITE: 2xx sent (RFC 6026 s.7.1)
    CONFIRMED = 5  # INVITE: ACK came, its repetitions are absorbed
    TERMINATED = 6


class Input(IntEnum):
    """What can happen to a server transaction."""

    REQUEST = 1  # the request once more
    ACK = 2  # an ACK of the same branch
    PROVISIONAL = 3  # the user responds with 1xx
    SUCCESS = 4  # the user responds with 2xx
    FAILURE = 5  # the user responds with 300 or more
    TIMER_TRYING = 6  # the user was silent too long: 100 is due (s.17.2.1; RFC 4320 s.4.1)
    TIMER_G = 7  # INVITE: repeat the failure
    TIMER_H = 8  # INVITE: no ACK will come
    TIMER_I = 9  # INVITE: no more ACKs expected
    TIMER_J = 10  # non-INVITE: no more repeated requests expected
    TIMER_L = 11  # RFC 6026: no more repeated INVITEs, no more 2xx of the user


# An INVITE. What the user says after a failure is discarded; after a 2xx it may send that or another 2xx again, and
# gets the ACKs. An ACK before any final response belongs to nothing.
INVITE_TRANSITIONS: Transitions = {
    (State.PROCEEDING, Input.REQUEST): (State.PROCEEDING, "repeat"),
    (State.PROCEEDING, Input.ACK): (State.PROCEEDING, "ignore"),
    (State.PROCEEDING, Input.PROVISIONAL): (State.PROCEEDING, "provide"),
    (State.PROCEEDING, Input.SUCCESS): (State.ACCEPTED, "accept"),
    (State.PROCEEDING, Input.FAILURE): (State.COMPLETED, "refuse"),
    (State.PROCEEDING, Input.TIMER_TRYING): (State.PROCEEDING, "send_trying"),
    #
    (State.ACCEPTED, Input.REQUEST): (State.ACCEPTED, "ignore"),
    (State.ACCEPTED, Input.ACK): (State.ACCEPTED, "pass_ack"),
    (State.ACCEPTED, Input.PROVISIONAL): (State.ACCEPTED, "ignore"),
    (State.ACCEPTED, Input.SUCCESS): (State.ACCEPTED, "send"),
    (State.ACCEPTED, Input.FAILURE): (State.ACCEPTED, "ignore"),
    (State.ACCEPTED, Input.TIMER_L): (State.TERMINATED, "end"),
    #
    (State.COMPLETED, Input.REQUEST): (State.COMPLETED, "repeat"),
    (State.COMPLETED, Input.ACK): (State.CONFIRMED, "confirm"),
    (State.COMPLETED, Input.PROVISIONAL): (State.COMPLETED, "ignore"),
    (State.COMPLETED, Input.SUCCESS): (State.COMPLETED, "ignore"),
    (State.COMPLETED, Input.FAILURE): (State.COMPLETED, "ignore"),
    (State.COMPLETED, Input.TIMER_G): (State.COMPLETED, "repeat_by_timer"),
    (State.COMPLETED, Input.TIMER_H): (State.TERMINATED, "end"),
    #
    (State.CONFIRMED, Input.REQUEST): (State.CONFIRMED, "ignore"),
    (State.CONFIRMED, Input.ACK): (State.CONFIRMED, "ignore"),
    (State.CONFIRMED, Input.PROVISIONAL): (State.CONFIRMED, "ignore"),
    (State.CONFIRMED, Input.SUCCESS): (State.CONFIRMED, "ignore"),
    (State.CONFIRMED, Input.FAILURE): (State.CONFIRMED, "ignore"),
    (State.CONFIRMED, Input.TIMER_I): (State.TERMINATED, "end"),
    #
    (State.TERMINATED, Input.PROVISIONAL): (State.TERMINATED, "ignore"),
    (State.TERMINATED, Input.SUCCESS): (State.TERMINATED, "ignore"),
    (State.TERMINATED, Input.FAILURE): (State.TERMINATED, "ignore"),
}

# Any other request. RFC 4320 s.4.1 allows it a single provisional, 100, and none before the sender's Timer E has
# reached T2: that one we send ourselves, so the user's provisionals go nowhere. Repeated final responses of the user
# are discarded (s.17.2.2).
NON_INVITE_TRANSITIONS: Transitions = {
    (State.TRYING, Input.REQUEST): (State.TRYING, "ignore"),
    (State.TRYING, Input.PROVISIONAL): (State.TRYING, "ignore"),
    (State.TRYING, Input.SUCCESS): (State.COMPLETED, "complete"),
    (State.TRYING, Input.FAILURE): (State.COMPLETED, "complete"),
    (State.TRYING, Input.TIMER_TRYING): (State.PROCEEDING, "send_trying"),
    #
    (State.PROCEEDING, Input.REQUEST): (State.PROCEEDING, "repeat"),
    (State.PROCEEDING, Input.PROVISIONAL): (State.PROCEEDING, "ignore"),
    (State.PROCEEDING, Input.SUCCESS): (State.COMPLETED, "complete"),
    (State.PROCEEDING, Input.FAILURE): (State.COMPLETED, "complete"),
    #
    (State.COMPLETED, Input.REQUEST): (State.COMPLETED, "repeat"),
    (State.COMPLETED, Input.PROVISIONAL): (State.COMPLETED, "ignore"),
    (State.COMPLETED, Input.SUCCESS): (State.COMPLETED, "ignore"),
    (State.COMPLETED, Input.FAILURE): (State.COMPLETED, "ignore"),
    (State.COMPLETED, Input.TIMER_J): (State.TERMINATED, "end"),
    #
    (State.TERMINATED, Input.PROVISIONAL): (State.TERMINATED, "ignore"),
    (State.TERMINATED, Input.SUCCESS): (State.TERMINATED, "ignore"),
    (State.TERMINATED, Input.FAILURE): (State.TERMINATED, "ignore"),
}


class ServerTransaction:
    """What both machines share. Made by the layer when a new request comes."""

    __slots__ = (
        "layer",
        "key",
        "request",
        "flow",
        "state",
        "final_status",
        "_last_sent",
        "_to_tag_sent",
        "_timer_trying",
    )

    KIND: tuple[str, str]
    """(side, kind) as the gauge of live transactions names it."""
    _ROWS: dict[tuple[Any, Any], tuple[Any, Any]]
    _FIRST_STATE: State

    def __init__(self, layer: TransactionLayer, key: ServerKey, request: Request, flow: Flow) -> None:
        self.layer = layer
        self.key = key
        self.request = request
        self.flow = flow
        self.state = self._FIRST_STATE
        self.final_status: int | None = None
        self._last_sent: bytes | None = None
        self._to_tag_sent = ""
        self._timer_trying: Delayed | None = None

    def respond(self, response: Response) -> None:
        """Send a response, as far as this transaction may still send it; else it is discarded."""
        status = response.status
        if status < 200:
            self._take(Input.PROVISIONAL, response)
        elif status < 300:
            self._take(Input.SUCCESS, response)
        else:
            self._take(Input.FAILURE, response)

    def request_repeated(self) -> None:
        """The same request came again."""
        self._take(Input.REQUEST)

    def await_response(self, trying_after: float) -> None:
        """The user has seen the request: send 100 by ourselves when it has sent nothing for so many seconds."""
        if self._last_sent is None:
            self._timer_trying = self.layer.clock.callLater(trying_after, self._take, Input.TIMER_TRYING)

    def _take(self, event: Input, what: Any = None) -> None:
        row = self._ROWS.get((self.state, event))
        if row is None:
            raise LocalError(f"{self.request.method} server transaction: {event.name} while {self.state.name}")
        self.state, action = row
        action(self, what)

    # Actions of both machines.

    def _ignore(self, what: Any) -> None:
        pass

    def _send(self, response: Response) -> None:
        self._last_sent = response.to_bytes(self.flow.reliable)
        if from_rfc2543(self.key):
            self._to_tag_sent = response.to_tag
        self.flow.send(self._last_sent)

    def _send_final(self, response: Response) -> None:
        stop(self._timer_trying)
        self.final_status = response.status
        self._send(response)

    def _send_trying(self, what: Any) -> None:
        self._send(Response.for_request(self.request, 100))

    def _repeat(self, what: Any) -> None:
        """The peer repeats its request: our response, if there was one, got lost."""
        if self._last_sent is not None:
            self.layer.count_retransmission(self.flow, self.request.method)
            self.flow.send(self._last_sent)

    def _end(self, what: Any) -> None:
        self._stop_timers()
        self.layer.server_ended(self)

    def _after(self, delay: float, event: Input) -> Delayed | None:
        """The timer of `event`; without a delay it happens right now."""
        if delay == 0.0:
            self._take(event)
            return None
        return self.layer.clock.callLater(delay, self._take, event)

    def _stop_timers(self) -> None:
        raise NotImplementedError


class InviteServerTransaction(ServerTransaction):
    """One INVITE that came to us."""

    __slots__ = ("_timer_g", "_timer_h", "_timer_end", "_interval_g")

    KIND = ("server", "invite")
    _FIRST_STATE = State.PROCEEDING

    def __init__(self, layer: TransactionLayer, key: ServerKey, request: Request, flow: Flow) -> None:
        super().__init__(layer, key, request, flow)
        self._timer_g: Delayed | None = None
        self._timer_h: Delayed | None = None
        self._timer_end: Delayed | None = None  # I or L
        self._interval_g = 0.0

    def is_ack_of(self, ack: Request) -> bool:
        """True for an ACK to what we sent, where the key leaves the To tag open (s.17.2.3, RFC 2543 elements)."""
        return not from_rfc2543(self.key) or ack.to_tag == self._to_tag_sent

    def ack_received(self, ack: Request, flow: Flow) -> None:
        """An ACK that matches: to our failure, or to a 2xx by an element that keeps the branch for it."""
        self._take(Input.ACK, (ack, flow))

    def _provide(self, response: Response) -> None:
        stop(self._timer_trying)
        self._send(response)

    def _accept(self, response: Response) -> None:
        self._send_final(response)
        self._timer_end = self._after(self.layer.timers.l, Input.TIMER_L)

    def _pass_ack(self, received: tuple[Request, Flow]) -> None:
        self.layer.ack_for_user(*received)

    def _refuse(self, response: Response) -> None:
        self._send_final(response)
        timers = self.layer.timers
        self._timer_h = self._after(timers.h, Input.TIMER_H)
        if not self.flow.reliable:
            self._interval_g = timers.g
            self._timer_g = self._after(self._interval_g, Input.TIMER_G)

    def _repeat_by_timer(self, what: Any) -> None:
        self._interval_g = min(2 * self._interval_g, self.layer.timers.t2)
        self._timer_g = self._after(self._interval_g, Input.TIMER_G)
        self._repeat(None)

    def _confirm(self, what: Any) -> None:
        self._stop_timers()
        self._timer_end = self._after(0.0 if self.flow.reliable else self.layer.timers.i, Input.TIMER_I)

    def _stop_timers(self) -> None:
        stop(self._timer_trying)
        stop(self._timer_g)
        stop(self._timer_h)
        stop(self._timer_end)


class NonInviteServerTransaction(ServerTransaction):
    """One request other than INVITE and ACK that came to us."""

    __slots__ = ("_timer_j",)

    KIND = ("server", "non-invite")
    _FIRST_STATE = State.TRYING

    def __init__(self, layer: TransactionLayer, key: ServerKey, request: Request, flow: Flow) -> None:
        super().__init__(layer, key, request, flow)
        self._timer_j: Delayed | None = None

    def _complete(self, response: Response) -> None:
        self._send_final(response)
        self._timer_j = self._after(0.0 if self.flow.reliable else self.layer.timers.j, Input.TIMER_J)

    def _stop_timers(self) -> None:
        stop(self._timer_trying)
        stop(self._timer_j)


InviteServerTransaction._ROWS = bind(INVITE_TRANSITIONS, InviteServerTransaction)
NonInviteServerTransaction._ROWS = bind(NON_INVITE_TRANSITIONS, NonInviteServerTransaction)
