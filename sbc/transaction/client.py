"""Client transactions: one request of ours on one flow, until nothing more can come back (RFC 3261 s.17.1, RFC 6026).

Two machines, each a table: INVITE (figure 5, with the Accepted state of RFC 6026) and everything else
(figure 6). Which server to try, and what an answer means, is decided by the transaction user.

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1.
"""

from __future__ import annotations

from enum import IntEnum

import cython

from sbc.sip.errors import LocalError
from sbc.transaction.hop_by_hop import ack_for_failure, cancel_for
from sbc.transaction.machine import Transitions

if cython.compiled:
    from cython.cimports.sbc.flow import Flow
    from cython.cimports.sbc.sip.message import Request, Response
    from cython.cimports.sbc.sip.scanner import CANCEL, INVITE
    from cython.cimports.sbc.transaction.interface import ClientTransactionUser, Unheard
    from cython.cimports.sbc.transaction.ledger import Ledger
    from cython.cimports.sbc.transaction.machine import Machine, Table
else:
    from sbc.flow import Flow
    from sbc.sip.message import Request, Response
    from sbc.sip.scanner import CANCEL, INVITE
    from sbc.transaction.interface import ClientTransactionUser, Unheard
    from sbc.transaction.ledger import Ledger
    from sbc.transaction.machine import Machine, Table

COMPILED = bool(cython.compiled)


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


class Action(IntEnum):
    """What a step of either machine does: the method of the same name."""

    IGNORE = 1
    REPORT = 2
    PROCEED = 3
    ACCEPT = 4
    COMPLETE = 5
    RETRANSMIT = 6
    RETRANSMIT_SLOWLY = 7
    END = 8
    TIME_OUT = 9
    FAIL = 10
    CANCEL = 11
    PROCEED_AND_CANCEL = 12
    ACKNOWLEDGE = 13
    ABANDON = 14
    ABANDON_SILENTLY = 15
    CANCEL_LATE = 16
    REPORT_LATE = 17
    COMPLETE_LATE = 18


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

_SAME_INSTANT = cython.declare(cython.double, 0.001)
"""Seconds. A retransmission so near to the giving up falls together with it, and is not sent."""

_PROVISIONAL = cython.declare(cython.int, Input.PROVISIONAL)
_SUCCESS = cython.declare(cython.int, Input.SUCCESS)
_FAILURE = cython.declare(cython.int, Input.FAILURE)
_CANCEL = cython.declare(cython.int, Input.CANCEL)
_TERMINATE = cython.declare(cython.int, Input.TERMINATE)
_TRANSPORT_FAILED = cython.declare(cython.int, Input.TRANSPORT_FAILED)
_TIMER_A = cython.declare(cython.int, Input.TIMER_A)
_TIMER_B = cython.declare(cython.int, Input.TIMER_B)
_TIMER_D = cython.declare(cython.int, Input.TIMER_D)
_TIMER_E = cython.declare(cython.int, Input.TIMER_E)
_TIMER_F = cython.declare(cython.int, Input.TIMER_F)
_TIMER_K = cython.declare(cython.int, Input.TIMER_K)
_TIMER_M = cython.declare(cython.int, Input.TIMER_M)
_TIMER_CANCELLED = cython.declare(cython.int, Input.TIMER_CANCELLED)
_TIMER_ABANDONED = cython.declare(cython.int, Input.TIMER_ABANDONED)
_GIVE_UP = cython.declare(cython.int, Input.GIVE_UP)
_TO_IGNORE = cython.declare(cython.int, Action.IGNORE)
_TO_REPORT = cython.declare(cython.int, Action.REPORT)
_TO_PROCEED = cython.declare(cython.int, Action.PROCEED)
_TO_ACCEPT = cython.declare(cython.int, Action.ACCEPT)
_TO_COMPLETE = cython.declare(cython.int, Action.COMPLETE)
_TO_RETRANSMIT = cython.declare(cython.int, Action.RETRANSMIT)
_TO_RETRANSMIT_SLOWLY = cython.declare(cython.int, Action.RETRANSMIT_SLOWLY)
_TO_END = cython.declare(cython.int, Action.END)
_TO_TIME_OUT = cython.declare(cython.int, Action.TIME_OUT)
_TO_FAIL = cython.declare(cython.int, Action.FAIL)
_TO_CANCEL = cython.declare(cython.int, Action.CANCEL)
_TO_PROCEED_AND_CANCEL = cython.declare(cython.int, Action.PROCEED_AND_CANCEL)
_TO_ACKNOWLEDGE = cython.declare(cython.int, Action.ACKNOWLEDGE)
_TO_ABANDON = cython.declare(cython.int, Action.ABANDON)
_TO_ABANDON_SILENTLY = cython.declare(cython.int, Action.ABANDON_SILENTLY)
_TO_CANCEL_LATE = cython.declare(cython.int, Action.CANCEL_LATE)
_TO_REPORT_LATE = cython.declare(cython.int, Action.REPORT_LATE)
_TO_COMPLETE_LATE = cython.declare(cython.int, Action.COMPLETE_LATE)


@cython.cclass
class ClientTransaction(Machine):
    """What both machines share. `TransactionLayer.send_request` starts it and finds it again.

    Its request and its user are let go as soon as nothing can need them: a user usually holds its transaction, and such
    a ring would have to wait for the garbage collector.
    """

    user: ClientTransactionUser
    branch: str
    started: cython.double
    provisional_seen: cython.bint
    _data: bytes  # what is to be repeated: the request, or the ACK of a failure
    _give_up_at: cython.double
    _constant_interval: cython.double
    _interval: cython.double

    @cython.cfunc
    def _begin(
        self,
        layer: Ledger,
        request: Request,
        flow: Flow,
        user: ClientTransactionUser,
        branch: str,
        timeout: cython.double,
        interval: cython.double,
    ):
        data: bytes = request.to_bytes(flow.reliable)
        self._begin_ready(layer, request.method, request.method_code, data, flow, user, branch, timeout, interval)
        self._request = request  # as sent, our Via on top

    @cython.cfunc
    def _begin_ready(
        self,
        layer: Ledger,
        method: str,
        method_code: cython.int,
        data: bytes,
        flow: Flow,
        user: ClientTransactionUser,
        branch: str,
        timeout: cython.double,
        interval: cython.double,
    ):
        """The same for a request that is written already."""
        self.unarmed()
        self.layer = layer
        self.flow = flow
        self.method = method
        self.method_code = method_code
        self._request = None
        self._event = 0
        self.user = user
        self.branch = branch
        self.started = layer.queue.now()
        self.provisional_seen = False
        self._data = data
        self._give_up_at = self.started + timeout
        self._constant_interval = interval
        self._interval = interval if interval > 0 else layer.t1

    @cython.ccall
    def response_received(self, response: Response):
        """A response whose branch and method are ours."""
        status: cython.int = response._status
        if status < 200:
            self._take(_PROVISIONAL, response)
        elif status < 300:
            self._take(_SUCCESS, response)
        else:
            self._take(_FAILURE, response)

    @cython.ccall
    def transport_failed(self, cause: str):
        """What we sent did not reach the server."""
        self._take(_TRANSPORT_FAILED, cause)

    @cython.ccall
    def give_up(self):
        """Wait no longer, as if its time were over, but without a word to the user. Only before any response."""
        self._take(_GIVE_UP, None)

    @cython.ccall
    def terminate(self):
        """Forget it, silently and at once. What still comes is stray; nobody ACKs or cancels it."""
        self._take(_TERMINATE, None)

    # Actions of both machines.

    @cython.cfunc
    def _report(self, response: Response):
        self.user.response_received(self, response)

    @cython.cfunc
    def _end(self):
        self.disarm()
        self.user = None
        self._data = None
        _forget(self)

    @cython.cfunc
    def _time_out(self):
        user: ClientTransactionUser = self.user
        self._end()
        user.timed_out(self)

    @cython.cfunc
    def _fail(self, cause: str):
        user: ClientTransactionUser = self.user
        self._end()
        user.transport_failed(self, cause)

    @cython.cfunc
    def _report_and_let_go(self, user: ClientTransactionUser, response: Response):
        """The last that the user hears. While it hears it, it may still look at the request."""
        self.user = None
        try:
            user.response_received(self, response)
        finally:
            self._request = None

    # Waiting for a response.

    @cython.cfunc
    def _wait_for_response(self, now: cython.double, again: cython.int, over: cython.int):
        """Until the next send; or until we give up, when that comes first or where the transport retransmits."""
        if self.flow.reliable or now + self._interval > self._give_up_at - _SAME_INSTANT:
            self._event = over
            self.layer.queue.arm_at(self, self._give_up_at)
        else:
            self._event = again
            self.layer.queue.arm(self, now, self._interval)

    @cython.cfunc
    def _send_again(self):
        self.layer.count_retransmission(self.flow, self.method_code)
        self.flow.send(self._data)


@cython.cfunc
def _remember(transaction: ClientTransaction):
    layer: Ledger = transaction.layer
    if transaction.method_code == CANCEL:
        layer._cancels[transaction.branch] = transaction
    else:
        layer.clients.add(transaction.branch, transaction)
        if transaction.method_code == INVITE:
            layer.invite_clients += 1
    if transaction.flow.reliable:
        layer._on_connections.setdefault(transaction.flow, {})[transaction] = None


@cython.cfunc
def _forget(transaction: ClientTransaction):
    layer: Ledger = transaction.layer
    if transaction.method_code == CANCEL:
        del layer._cancels[transaction.branch]
    else:
        layer.clients.remove(transaction.branch)
        if transaction.method_code == INVITE:
            layer.invite_clients -= 1
    if transaction.flow.reliable:
        others: dict = layer._on_connections[transaction.flow]
        del others[transaction]
        if not others:
            del layer._on_connections[transaction.flow]


@cython.cclass
class InviteClientTransaction(ClientTransaction):
    """One INVITE to one next hop."""

    _cancel_sent: cython.bint

    @cython.ccall
    def cancel(self):
        """Send a CANCEL, now or after the first provisional; none after a final response (s.9.1)."""
        self._take(_CANCEL, None)

    @cython.cfunc
    def _act(self, action: cython.int, what: object):
        if action == _TO_PROCEED:
            self._proceed(what)
        elif action == _TO_ACCEPT:
            self._accept(what)
        elif action == _TO_END:
            self._end()
        elif action == _TO_REPORT:
            self._report(what)
        elif action == _TO_COMPLETE:
            self._complete(what)
        elif action == _TO_RETRANSMIT:
            self._retransmit()
        elif action == _TO_ACKNOWLEDGE:
            self.flow.send(self._data)
        elif action == _TO_CANCEL:
            self._cancel()
        elif action == _TO_PROCEED_AND_CANCEL:
            self._proceed_and_cancel(what)
        elif action == _TO_TIME_OUT:
            self._time_out()
        elif action == _TO_FAIL:
            self._fail(what)
        elif action == _TO_ABANDON:
            self._abandon()
        elif action == _TO_ABANDON_SILENTLY:
            self._abandon_silently()
        elif action == _TO_CANCEL_LATE:
            self._cancel_late(what)
        elif action == _TO_REPORT_LATE:
            self._report_late(what)
        elif action == _TO_COMPLETE_LATE:
            self._complete_late(what)
        elif action != _TO_IGNORE:
            raise LocalError(f"an INVITE does not {Action(action).name}")

    @cython.cfunc
    def _retransmit(self):
        # s.17.1.1.2: A doubles without cap; only E is capped at T2.
        self._interval = self._constant_interval if self._constant_interval > 0 else 2 * self._interval
        self._wait_for_response(self.layer.queue.now(), _TIMER_A, _TIMER_B)
        self._send_again()

    @cython.cfunc
    def _proceed(self, response: Response):
        self.disarm()
        self._data = None
        self.provisional_seen = True
        self.user.response_received(self, response)

    @cython.cfunc
    def _proceed_and_cancel(self, response: Response):
        self.disarm()
        self._data = None
        self.provisional_seen = True
        self._cancel()
        self.user.response_received(self, response)

    @cython.cfunc
    def _cancel(self):
        if self._send_cancel():
            self._wait(self.layer.timer_b, _TIMER_CANCELLED)

    @cython.cfunc
    def _send_cancel(self) -> cython.bint:
        """One CANCEL in the life of the INVITE; False when it has been sent before.

        It goes on the flow and with the branch of the INVITE, in a transaction of its own (s.9.1).
        """
        if self._cancel_sent:
            return False
        self._cancel_sent = True
        start_non_invite(
            self.layer, cancel_for(self._request), self.flow, _UNHEARD, self.branch, self.layer.timer_b, 0.0, -1.0
        )
        return True

    @cython.cfunc
    def _accept(self, response: Response):
        self._wait(self.layer.timer_m, _TIMER_M)
        self._data = None
        try:
            self.user.response_received(self, response)
        finally:
            self._request = None  # but the user will want the other 2xx

    @cython.cfunc
    def _complete(self, response: Response):
        user: ClientTransactionUser = self.user
        self._refused(response)
        self._report_and_let_go(user, response)

    @cython.cfunc
    def _refused(self, response: Response):
        self._data = ack_for_failure(self._request, response).to_bytes(self.flow.reliable)
        self.flow.send(self._data)
        if self.flow.reliable:
            self._take(_TIMER_D, None)
        else:
            self._wait(self.layer.timer_d, _TIMER_D)

    @cython.cfunc
    def _abandon_silently(self):
        self._data = None
        self.user = None
        self._wait(self.layer.timer_b, _TIMER_ABANDONED)

    @cython.cfunc
    def _abandon(self):
        user: ClientTransactionUser = self.user
        self._abandon_silently()
        user.timed_out(self)

    @cython.cfunc
    def _cancel_late(self, response: Response):
        self._send_cancel()
        self._report_late(response)

    @cython.cfunc
    def _report_late(self, response: Response):
        self._wait(self.layer.timer_b, _TIMER_ABANDONED)
        self.layer.user.stray_response_received(response, self.flow)

    @cython.cfunc
    def _complete_late(self, response: Response):
        self._refused(response)
        self._request = None
        self.layer.user.stray_response_received(response, self.flow)


@cython.cclass
class NonInviteClientTransaction(ClientTransaction):
    """One request other than INVITE and ACK to one next hop."""

    _proceeding_timeout: cython.double  # below 0 when a provisional changes nothing

    @cython.cfunc
    def _act(self, action: cython.int, what: object):
        if action == _TO_COMPLETE:
            self._complete(what)
        elif action == _TO_END:
            self._end()
        elif action == _TO_PROCEED:
            self._proceed(what)
        elif action == _TO_REPORT:
            self._report(what)
        elif action == _TO_RETRANSMIT:
            interval: cython.double = self._constant_interval
            self._retransmit(interval if interval > 0 else min(2 * self._interval, self.layer.t2))
        elif action == _TO_RETRANSMIT_SLOWLY:
            self._retransmit(self.layer.t2)
        elif action == _TO_TIME_OUT:
            self._time_out()
        elif action == _TO_FAIL:
            self._fail(what)
        elif action != _TO_IGNORE:
            raise LocalError(f"a request other than INVITE does not {Action(action).name}")

    @cython.cfunc
    def _retransmit(self, interval: cython.double):
        self._interval = interval
        self._wait_for_response(self.layer.queue.now(), _TIMER_E, _TIMER_F)
        self._send_again()

    @cython.cfunc
    def _proceed(self, response: Response):
        self.provisional_seen = True
        if self._proceeding_timeout >= 0:
            self._allow(self._proceeding_timeout)
        self.user.response_received(self, response)

    @cython.cfunc
    def _allow(self, timeout: cython.double):
        """It is given up so many seconds after its start. A retransmission that is to come before stays where it is."""
        self._give_up_at = self.started + timeout
        if self._event == _TIMER_F:
            self._interval = self.layer.t2
            self._wait_for_response(self.layer.queue.now(), _TIMER_E, _TIMER_F)
        elif self._give_up_at < self.due:
            self._event = _TIMER_F
            self.layer.queue.arm_at(self, self._give_up_at)

    @cython.cfunc
    def _complete(self, response: Response):
        user: ClientTransactionUser = self.user
        if self.flow.reliable:
            self._take(_TIMER_K, None)
        else:
            self._wait(self.layer.timer_k, _TIMER_K)
            self._data = None
        self._report_and_let_go(user, response)


_UNHEARD = cython.declare(Unheard, Unheard())
_INVITE = Table("client transaction", INVITE_TRANSITIONS, State, Input, Action)
_NON_INVITE = Table("client transaction", NON_INVITE_TRANSITIONS, State, Input, Action)
_CALLING = cython.declare(cython.int, State.CALLING)
_TRYING = cython.declare(cython.int, State.TRYING)


@cython.cfunc
def start_invite(
    layer: Ledger,
    request: Request,
    flow: Flow,
    user: ClientTransactionUser,
    branch: str,
    timeout: cython.double,
    interval: cython.double,
) -> InviteClientTransaction:
    """Send the INVITE, our Via on top of it (s.17.1.1.2)."""
    transaction: InviteClientTransaction = InviteClientTransaction.__new__(InviteClientTransaction)
    transaction._begin(layer, request, flow, user, branch, timeout, interval)
    transaction._cancel_sent = False
    transaction._table = _INVITE
    transaction._state = _CALLING
    _remember(transaction)
    transaction._wait_for_response(transaction.started, _TIMER_A, _TIMER_B)
    flow.send(transaction._data)
    return transaction


@cython.cfunc
def start_non_invite(
    layer: Ledger,
    request: Request,
    flow: Flow,
    user: ClientTransactionUser,
    branch: str,
    timeout: cython.double,
    interval: cython.double,
    proceeding_timeout: cython.double,
) -> NonInviteClientTransaction:
    """Send any other request, our Via on top of it (s.17.1.2.2).

    After a provisional it may take `proceeding_timeout` seconds from its start instead of `timeout`: the server is alive.
    Below 0 it makes no difference.
    """
    data: bytes = request.to_bytes(flow.reliable)
    transaction: NonInviteClientTransaction = start_ready(
        layer, request.method, request.method_code, data, flow, user, branch, timeout, interval, proceeding_timeout
    )
    transaction._request = request
    return transaction


@cython.cfunc
def start_ready(
    layer: Ledger,
    method: str,
    method_code: cython.int,
    data: bytes,
    flow: Flow,
    user: ClientTransactionUser,
    branch: str,
    timeout: cython.double,
    interval: cython.double,
    proceeding_timeout: cython.double,
) -> NonInviteClientTransaction:
    """The same for a request that is written already, our Via with that branch on top."""
    transaction: NonInviteClientTransaction = NonInviteClientTransaction.__new__(NonInviteClientTransaction)
    transaction._begin_ready(layer, method, method_code, data, flow, user, branch, timeout, interval)
    transaction._proceeding_timeout = proceeding_timeout
    transaction._table = _NON_INVITE
    transaction._state = _TRYING
    _remember(transaction)
    transaction._wait_for_response(transaction.started, _TIMER_E, _TIMER_F)
    flow.send(transaction._data)
    return transaction
