"""Client transactions: one request of ours on one flow, until nothing more can come back (RFC 3261 s.17.1, RFC 6026).

Two machines, each a table: INVITE (figure 5, with the Accepted state of RFC 6026) and everything else
(figure 6). Which server to try, and what an answer means, is decided by the transaction user.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

from sbc.clock import Delayed
from sbc.sip.errors import LocalError
from sbc.sip.message import Request, Response
from sbc.transaction.hop_by_hop import ack_for_failure
from sbc.transaction.machine import Transitions, bind, stop

if TYPE_CHECKING:
    from sbc.transaction.interface import ClientTransactionUser, Flow
    from sbc.transaction.layer import TransactionLayer

# IntEnum because its members hash at the speed of integers: every message looks its row up.


class State(IntEnum):
    """Of both client machines."""

    CALLING = 1  # INVITE sent, nothing came back (s.17.1.1.2)
    CALLING_CANCELLED = 2  # the same, and a CANCEL waits for the first provisional (s.9.1)
    TRYING = 3  # non-INVITE sent, nothing came back (s.17.1.2.2)
    PROCEEDING = 4  # a provisional came
    COMPLETED = 5  # the final response came (INVITE: 300 or more); absorbs its repetitions
    ACCEPTED = 6  # INVITE: a 2xx came, more may, of other forks (RFC 6026 s.7.2)
    ABANDONED = 7  # ours: the user gave the INVITE up, the server may still answer it
    TERMINATED = 8


class Input(IntEnum):
    """What can happen to a client transaction."""

    PROVISIONAL = 1  # a 1xx
    SUCCESS = 2  # a 2xx
    FAILURE = 3  # 300 or more
    CANCEL = 4  # the user wants the INVITE cancelled
    TERMINATE = 5  # the user wants to hear no more of it
    TRANSPORT_FAILED = 6  # s.17.1.4
    TIMER_A = 7  # INVITE retransmission
    TIMER_B = 8  # INVITE given up
    TIMER_D = 9  # INVITE: no more repeated failures expected
    TIMER_E = 10  # non-INVITE retransmission
    TIMER_F = 11  # non-INVITE given up
    TIMER_K = 12  # non-INVITE: no more repeated responses expected
    TIMER_M = 13  # RFC 6026: no more 2xx expected
    TIMER_CANCELLED = 14  # 64*T1 after the CANCEL without a final response (s.9.1)
    TIMER_ABANDONED = 15  # 64*T1 after the last event of an abandoned INVITE
    GIVE_UP = 16  # the user waits no longer: another request found the server dead


# An INVITE. Three things are not in figure 5:
#
# * a CANCEL may only follow a provisional; asked for earlier it waits (CALLING_CANCELLED), and the INVITE is
#   retransmitted meanwhile, for without a provisional nobody knows that it arrived;
# * Timer B may be far shorter than 64*T1, because another server waits to be tried. The silent one may only have been
#   slow: it is not heard any more as far as the user is concerned (its responses are stray), but it gets the CANCEL
#   when it rings late and the ACK when it refuses late. A late 2xx is the user's business: it makes a dialog;
# * a transport failure after a provisional or a final response changes nothing. The server was alive; its final
#   response can come over a connection of its own (s.18.2.2), and a lost ACK will be asked for by repeating the
#   response.
INVITE_TRANSITIONS: Transitions = {
    (State.CALLING, Input.TIMER_A): (State.CALLING, "retransmit"),
    (State.CALLING, Input.TIMER_B): (State.ABANDONED, "abandon"),
    (State.CALLING, Input.PROVISIONAL): (State.PROCEEDING, "proceed"),
    (State.CALLING, Input.SUCCESS): (State.ACCEPTED, "accept"),
    (State.CALLING, Input.FAILURE): (State.COMPLETED, "complete"),
    (State.CALLING, Input.CANCEL): (State.CALLING_CANCELLED, "ignore"),
    (State.CALLING, Input.GIVE_UP): (State.ABANDONED, "abandon_silently"),
    (State.CALLING, Input.TERMINATE): (State.TERMINATED, "end"),
    (State.CALLING, Input.TRANSPORT_FAILED): (State.TERMINATED, "fail"),
    #
    (State.CALLING_CANCELLED, Input.TIMER_A): (State.CALLING_CANCELLED, "retransmit"),
    (State.CALLING_CANCELLED, Input.TIMER_B): (State.ABANDONED, "abandon"),
    (State.CALLING_CANCELLED, Input.PROVISIONAL): (State.PROCEEDING, "proceed_and_cancel"),
    (State.CALLING_CANCELLED, Input.SUCCESS): (State.ACCEPTED, "accept"),
    (State.CALLING_CANCELLED, Input.FAILURE): (State.COMPLETED, "complete"),
    (State.CALLING_CANCELLED, Input.CANCEL): (State.CALLING_CANCELLED, "ignore"),
    (State.CALLING_CANCELLED, Input.GIVE_UP): (State.ABANDONED, "abandon_silently"),
    (State.CALLING_CANCELLED, Input.TERMINATE): (State.TERMINATED, "end"),
    (State.CALLING_CANCELLED, Input.TRANSPORT_FAILED): (State.TERMINATED, "fail"),
    #
    (State.PROCEEDING, Input.PROVISIONAL): (State.PROCEEDING, "report"),
    (State.PROCEEDING, Input.SUCCESS): (State.ACCEPTED, "accept"),
    (State.PROCEEDING, Input.FAILURE): (State.COMPLETED, "complete"),
    (State.PROCEEDING, Input.CANCEL): (State.PROCEEDING, "cancel"),
    (State.PROCEEDING, Input.TERMINATE): (State.TERMINATED, "end"),
    (State.PROCEEDING, Input.TRANSPORT_FAILED): (State.PROCEEDING, "ignore"),
    (State.PROCEEDING, Input.TIMER_CANCELLED): (State.TERMINATED, "time_out"),
    #
    (State.ACCEPTED, Input.PROVISIONAL): (State.ACCEPTED, "ignore"),
    (State.ACCEPTED, Input.SUCCESS): (State.ACCEPTED, "report"),
    (State.ACCEPTED, Input.FAILURE): (State.ACCEPTED, "ignore"),
    (State.ACCEPTED, Input.CANCEL): (State.ACCEPTED, "ignore"),
    (State.ACCEPTED, Input.TERMINATE): (State.TERMINATED, "end"),
    (State.ACCEPTED, Input.TRANSPORT_FAILED): (State.ACCEPTED, "ignore"),
    (State.ACCEPTED, Input.TIMER_M): (State.TERMINATED, "end"),
    #
    (State.COMPLETED, Input.PROVISIONAL): (State.COMPLETED, "ignore"),
    (State.COMPLETED, Input.SUCCESS): (State.COMPLETED, "ignore"),
    (State.COMPLETED, Input.FAILURE): (State.COMPLETED, "acknowledge"),
    (State.COMPLETED, Input.CANCEL): (State.COMPLETED, "ignore"),
    (State.COMPLETED, Input.TERMINATE): (State.TERMINATED, "end"),
    (State.COMPLETED, Input.TRANSPORT_FAILED): (State.COMPLETED, "ignore"),
    (State.COMPLETED, Input.TIMER_D): (State.TERMINATED, "end"),
    #
    (State.ABANDONED, Input.PROVISIONAL): (State.ABANDONED, "cancel_late"),
    (State.ABANDONED, Input.SUCCESS): (State.ABANDONED, "report_late"),
    (State.ABANDONED, Input.FAILURE): (State.COMPLETED, "complete_late"),
    (State.ABANDONED, Input.CANCEL): (State.ABANDONED, "ignore"),
    (State.ABANDONED, Input.TERMINATE): (State.TERMINATED, "end"),
    (State.ABANDONED, Input.TRANSPORT_FAILED): (State.ABANDONED, "ignore"),
    (State.ABANDONED, Input.TIMER_ABANDONED): (State.TERMINATED, "end"),
    # The user may ask once more in the instant of the end.
    (State.TERMINATED, Input.CANCEL): (State.TERMINATED, "ignore"),
    (State.TERMINATED, Input.TERMINATE): (State.TERMINATED, "ignore"),
    (State.TERMINATED, Input.TRANSPORT_FAILED): (State.TERMINATED, "ignore"),
}

# Any other request. There is no way to take it back, and 2xx is a final response like the others.
NON_INVITE_TRANSITIONS: Transitions = {
    (State.TRYING, Input.TIMER_E): (State.TRYING, "retransmit"),
    (State.TRYING, Input.TIMER_F): (State.TERMINATED, "time_out"),
    (State.TRYING, Input.PROVISIONAL): (State.PROCEEDING, "proceed"),
    (State.TRYING, Input.SUCCESS): (State.COMPLETED, "complete"),
    (State.TRYING, Input.FAILURE): (State.COMPLETED, "complete"),
    (State.TRYING, Input.GIVE_UP): (State.TERMINATED, "end"),
    (State.TRYING, Input.TERMINATE): (State.TERMINATED, "end"),
    (State.TRYING, Input.TRANSPORT_FAILED): (State.TERMINATED, "fail"),
    #
    (State.PROCEEDING, Input.TIMER_E): (State.PROCEEDING, "retransmit_slowly"),
    (State.PROCEEDING, Input.TIMER_F): (State.TERMINATED, "time_out"),
    (State.PROCEEDING, Input.PROVISIONAL): (State.PROCEEDING, "report"),
    (State.PROCEEDING, Input.SUCCESS): (State.COMPLETED, "complete"),
    (State.PROCEEDING, Input.FAILURE): (State.COMPLETED, "complete"),
    (State.PROCEEDING, Input.TERMINATE): (State.TERMINATED, "end"),
    (State.PROCEEDING, Input.TRANSPORT_FAILED): (State.TERMINATED, "fail"),
    # The user has its answer; an error that comes now is about a retransmission that crossed it.
    (State.COMPLETED, Input.PROVISIONAL): (State.COMPLETED, "ignore"),
    (State.COMPLETED, Input.SUCCESS): (State.COMPLETED, "ignore"),
    (State.COMPLETED, Input.FAILURE): (State.COMPLETED, "ignore"),
    (State.COMPLETED, Input.TERMINATE): (State.TERMINATED, "end"),
    (State.COMPLETED, Input.TRANSPORT_FAILED): (State.COMPLETED, "ignore"),
    (State.COMPLETED, Input.TIMER_K): (State.TERMINATED, "end"),
    #
    (State.TERMINATED, Input.TERMINATE): (State.TERMINATED, "ignore"),
    (State.TERMINATED, Input.TRANSPORT_FAILED): (State.TERMINATED, "ignore"),
}

_SAME_INSTANT = 0.001
"""Seconds. A retransmission so near to the giving up falls together with it, and is not sent."""


class ClientTransaction:
    """What both machines share. Made by `TransactionLayer.send_request`, which starts it and finds it again."""

    __slots__ = (
        "layer",
        "request",
        "flow",
        "user",
        "branch",
        "method",
        "started",
        "provisional_seen",
        "state",
        "_data",
        "_give_up_at",
        "_constant_interval",
        "_interval",
    )

    KIND: tuple[str, str]
    """(side, kind) as the gauge of live transactions names it."""
    _ROWS: dict[tuple[Any, Any], tuple[Any, Any]]

    def __init__(
        self,
        layer: TransactionLayer,
        request: Request,
        flow: Flow,
        user: ClientTransactionUser,
        branch: str,
        timeout: float,
        interval: float,
    ) -> None:
        self.layer = layer
        self.request = request  # as sent, our Via on top
        self.flow = flow
        self.user = user
        self.branch = branch
        self.method = request.method
        self.state: State
        self.started: float = layer.clock.seconds()
        self.provisional_seen = False
        self._data: bytes = request.to_bytes(flow.reliable)
        self._give_up_at: float = self.started + timeout
        self._constant_interval = interval
        self._interval = interval or layer.timers.t1

    def response_received(self, response: Response) -> None:
        """A response whose branch and method are ours."""
        status = response.status
        if status < 200:
            self._take(Input.PROVISIONAL, response)
        elif status < 300:
            self._take(Input.SUCCESS, response)
        else:
            self._take(Input.FAILURE, response)

    def transport_failed(self, cause: str) -> None:
        """What we sent did not reach the server."""
        self._take(Input.TRANSPORT_FAILED, cause)

    def give_up(self) -> None:
        """Wait no longer, as if its time were over, but without a word to the user. Only before any response."""
        self._take(Input.GIVE_UP)

    def terminate(self) -> None:
        """Forget it, silently and at once. What still comes is stray; nobody ACKs or cancels it."""
        self._take(Input.TERMINATE)

    def _take(self, event: Input, what: Any = None) -> None:
        row = self._ROWS.get((self.state, event))
        if row is None:
            raise LocalError(f"{self.method} client transaction: {event.name} while {self.state.name}")
        self.state, action = row
        action(self, what)

    # Actions of both machines.

    def _ignore(self, what: Any) -> None:
        pass

    def _report(self, response: Response) -> None:
        self.user.response_received(self, response)

    def _end(self, what: Any) -> None:
        self._stop_timers()
        self.layer.client_ended(self)

    def _time_out(self, what: Any) -> None:
        self._end(None)
        self.user.timed_out(self)

    def _fail(self, cause: str) -> None:
        self._end(None)
        self.user.transport_failed(self, cause)

    # Timers.

    def _after(self, delay: float, event: Input) -> Delayed:
        return self.layer.clock.callLater(delay, self._take, event)

    def _next_retransmission(self, event: Input) -> Delayed | None:
        """The timer of the next send; None when we will have given up by then, or where the transport retransmits."""
        if self.flow.reliable or self.layer.clock.seconds() + self._interval > self._give_up_at - _SAME_INSTANT:
            return None
        return self._after(self._interval, event)

    def _send_again(self) -> None:
        self.layer.count_retransmission(self.flow, self.method)
        self.flow.send(self._data)

    def _stop_timers(self) -> None:
        raise NotImplementedError


class InviteClientTransaction(ClientTransaction):
    """One INVITE to one next hop."""

    __slots__ = ("_timer_a", "_timer_b", "_timer_end", "_cancel_sent")

    KIND = ("client", "invite")

    def start(self) -> None:
        """Send the INVITE (s.17.1.1.2)."""
        self.state = State.CALLING
        self._cancel_sent = False
        self._timer_a = self._next_retransmission(Input.TIMER_A)
        self._timer_b: Delayed | None = self._after(self._give_up_at - self.started, Input.TIMER_B)
        self._timer_end: Delayed | None = None  # the one that ends the present state: D, M, or one of ours
        self.flow.send(self._data)

    def cancel(self) -> None:
        """Send a CANCEL, now or after the first provisional; none after a final response (s.9.1)."""
        self._take(Input.CANCEL)

    def _retransmit(self, what: Any) -> None:
        # s.17.1.1.2: A doubles without cap; only E is capped at T2.
        self._interval = self._constant_interval or 2 * self._interval
        self._timer_a = self._next_retransmission(Input.TIMER_A)
        self._send_again()

    def _proceed(self, response: Response) -> None:
        self._stop_timers()
        self.provisional_seen = True
        self.user.response_received(self, response)

    def _proceed_and_cancel(self, response: Response) -> None:
        self._stop_timers()
        self.provisional_seen = True
        self._cancel(None)
        self.user.response_received(self, response)

    def _cancel(self, what: Any) -> None:
        if self._send_cancel():
            self._end_state_after(self.layer.timers.b, Input.TIMER_CANCELLED)

    def _send_cancel(self) -> bool:
        """One CANCEL in the life of the INVITE; False when it has been sent before."""
        if self._cancel_sent:
            return False
        self._cancel_sent = True
        self.layer.send_cancel(self)
        return True

    def _accept(self, response: Response) -> None:
        self._stop_timers()
        self._end_state_after(self.layer.timers.m, Input.TIMER_M)
        self.user.response_received(self, response)

    def _complete(self, response: Response) -> None:
        self._refused(response)
        self.user.response_received(self, response)

    def _refused(self, response: Response) -> None:
        self._stop_timers()
        self._acknowledge(response)
        self._end_state_after(0.0 if self.flow.reliable else self.layer.timers.d, Input.TIMER_D)

    def _acknowledge(self, response: Response) -> None:
        self.flow.send(ack_for_failure(self.request, response).to_bytes(self.flow.reliable))

    def _abandon_silently(self, what: Any) -> None:
        self._stop_timers()
        self._end_state_after(self.layer.timers.b, Input.TIMER_ABANDONED)

    def _abandon(self, what: Any) -> None:
        self._abandon_silently(what)
        self.user.timed_out(self)

    def _cancel_late(self, response: Response) -> None:
        self._send_cancel()
        self._report_late(response)

    def _report_late(self, response: Response) -> None:
        stop(self._timer_end)
        self._end_state_after(self.layer.timers.b, Input.TIMER_ABANDONED)
        self.layer.stray_response(response, self.flow)

    def _complete_late(self, response: Response) -> None:
        self._refused(response)
        self.layer.stray_response(response, self.flow)

    def _end_state_after(self, delay: float, event: Input) -> None:
        if delay == 0.0:
            self._take(event)
        else:
            self._timer_end = self._after(delay, event)

    def _stop_timers(self) -> None:
        stop(self._timer_a)
        stop(self._timer_b)
        stop(self._timer_end)


class NonInviteClientTransaction(ClientTransaction):
    """One request other than INVITE and ACK to one next hop."""

    __slots__ = ("_timer_e", "_timer_f", "_timer_k", "_proceeding_timeout")

    KIND = ("client", "non-invite")

    def start(self, proceeding_timeout: float | None = None) -> None:
        """Send the request (s.17.1.2.2).

        After a provisional it may take `proceeding_timeout` seconds from its start instead of `timeout`: the server
        is alive.
        """
        self.state = State.TRYING
        self._proceeding_timeout = proceeding_timeout
        self._timer_e = self._next_retransmission(Input.TIMER_E)
        self._timer_f: Delayed | None = self._after(self._give_up_at - self.started, Input.TIMER_F)
        self._timer_k: Delayed | None = None
        self.flow.send(self._data)

    def _retransmit(self, what: Any) -> None:
        self._interval = self._constant_interval or min(2 * self._interval, self.layer.timers.t2)
        self._timer_e = self._next_retransmission(Input.TIMER_E)
        self._send_again()

    def _retransmit_slowly(self, what: Any) -> None:
        self._interval = self.layer.timers.t2
        self._timer_e = self._next_retransmission(Input.TIMER_E)
        self._send_again()

    def _proceed(self, response: Response) -> None:
        self.provisional_seen = True
        if self._proceeding_timeout is not None:
            self._allow(self._proceeding_timeout)
        self.user.response_received(self, response)

    def _allow(self, timeout: float) -> None:
        self._give_up_at = self.started + timeout
        stop(self._timer_f)
        self._timer_f = self._after(max(0.0, self._give_up_at - self.layer.clock.seconds()), Input.TIMER_F)
        if self._timer_e is None or not self._timer_e.active():
            self._interval = self.layer.timers.t2
            self._timer_e = self._next_retransmission(Input.TIMER_E)

    def _complete(self, response: Response) -> None:
        self._stop_timers()
        if self.flow.reliable:
            self._take(Input.TIMER_K)
        else:
            self._timer_k = self._after(self.layer.timers.k, Input.TIMER_K)
        self.user.response_received(self, response)

    def _stop_timers(self) -> None:
        stop(self._timer_e)
        stop(self._timer_f)
        stop(self._timer_k)


InviteClientTransaction._ROWS = bind(INVITE_TRANSITIONS, InviteClientTransaction)
NonInviteClientTransaction._ROWS = bind(NON_INVITE_TRANSITIONS, NonInviteClientTransaction)
