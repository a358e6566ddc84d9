"""Server transactions: one request of a peer and our responses, until it cannot be repeated any more.

RFC 3261 s.17.2, RFC 6026, RFC 4320. Two machines, each a table: INVITE (figure 7, with RFC 6026's Accepted state) and
everything else (figure 8). They absorb repeated requests and repeat our responses; the transaction user makes these.

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1.
"""

from __future__ import annotations

from enum import IntEnum

import cython

from sbc.sip.errors import LocalError
from sbc.transaction.machine import Transitions

if cython.compiled:
    from cython.cimports.sbc.flow import Flow
    from cython.cimports.sbc.sip.message import Request, Response, trying_to
    from cython.cimports.sbc.sip.scanner import CANCEL, INVITE
    from cython.cimports.sbc.transaction.ledger import Ledger
    from cython.cimports.sbc.transaction.machine import Machine, Table
    from cython.cimports.sbc.transaction.matching import from_rfc2543
else:
    from sbc.flow import Flow
    from sbc.sip.message import Request, Response, trying_to
    from sbc.sip.scanner import CANCEL, INVITE
    from sbc.transaction.ledger import Ledger
    from sbc.transaction.machine import Machine, Table
    from sbc.transaction.matching import from_rfc2543

COMPILED = bool(cython.compiled)


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
    REFUSAL = 12  # INVITE: the user responds with 300 or more, and will again if asked again (s.8.2.7)


class Action(IntEnum):
    """What a step of either machine does: the method of the same name."""

    IGNORE = 1
    PROVIDE = 2
    ACCEPT = 3
    COMPLETE = 4
    END = 5
    REPEAT = 6
    REFUSE = 7
    CONFIRM = 8
    SEND_TRYING = 9
    PASS_ACK = 10
    SEND_SUCCESS = 11
    REPEAT_BY_TIMER = 12
    REFUSE_AND_FORGET = 13


# An INVITE. What the user says after a failure is discarded; after a 2xx it may send that or another 2xx again, and
# gets the ACKs. An ACK before any final response belongs to nothing.
INVITE_TRANSITIONS: Transitions = {
    (State.PROCEEDING, Input.REQUEST): (State.PROCEEDING, "repeat"),
    (State.PROCEEDING, Input.ACK): (State.PROCEEDING, "ignore"),
    (State.PROCEEDING, Input.PROVISIONAL): (State.PROCEEDING, "provide"),
    (State.PROCEEDING, Input.SUCCESS): (State.ACCEPTED, "accept"),
    (State.PROCEEDING, Input.FAILURE): (State.COMPLETED, "refuse"),
    (State.PROCEEDING, Input.TIMER_TRYING): (State.PROCEEDING, "send_trying"),
    (State.PROCEEDING, Input.REFUSAL): (State.TERMINATED, "refuse_and_forget"),
    #
    (State.ACCEPTED, Input.REQUEST): (State.ACCEPTED, "ignore"),
    (State.ACCEPTED, Input.ACK): (State.ACCEPTED, "pass_ack"),
    (State.ACCEPTED, Input.PROVISIONAL): (State.ACCEPTED, "ignore"),
    (State.ACCEPTED, Input.SUCCESS): (State.ACCEPTED, "send_success"),
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


_REQUEST = cython.declare(cython.int, Input.REQUEST)
_ACK = cython.declare(cython.int, Input.ACK)
_PROVISIONAL = cython.declare(cython.int, Input.PROVISIONAL)
_SUCCESS = cython.declare(cython.int, Input.SUCCESS)
_FAILURE = cython.declare(cython.int, Input.FAILURE)
_TIMER_TRYING = cython.declare(cython.int, Input.TIMER_TRYING)
_TIMER_G = cython.declare(cython.int, Input.TIMER_G)
_TIMER_H = cython.declare(cython.int, Input.TIMER_H)
_TIMER_I = cython.declare(cython.int, Input.TIMER_I)
_TIMER_J = cython.declare(cython.int, Input.TIMER_J)
_TIMER_L = cython.declare(cython.int, Input.TIMER_L)
_REFUSAL = cython.declare(cython.int, Input.REFUSAL)
_TO_IGNORE = cython.declare(cython.int, Action.IGNORE)
_TO_PROVIDE = cython.declare(cython.int, Action.PROVIDE)
_TO_ACCEPT = cython.declare(cython.int, Action.ACCEPT)
_TO_COMPLETE = cython.declare(cython.int, Action.COMPLETE)
_TO_END = cython.declare(cython.int, Action.END)
_TO_REPEAT = cython.declare(cython.int, Action.REPEAT)
_TO_REFUSE = cython.declare(cython.int, Action.REFUSE)
_TO_CONFIRM = cython.declare(cython.int, Action.CONFIRM)
_TO_SEND_TRYING = cython.declare(cython.int, Action.SEND_TRYING)
_TO_PASS_ACK = cython.declare(cython.int, Action.PASS_ACK)
_TO_SEND_SUCCESS = cython.declare(cython.int, Action.SEND_SUCCESS)
_TO_REPEAT_BY_TIMER = cython.declare(cython.int, Action.REPEAT_BY_TIMER)
_TO_REFUSE_AND_FORGET = cython.declare(cython.int, Action.REFUSE_AND_FORGET)


@cython.cclass
class ServerTransaction(Machine):
    """What both machines share. Made by the layer when a new request comes."""

    key: object
    _last_sent: bytes  # for repetitions; None before the first response and when none will be repeated
    _to_tag_sent: str
    _final_status: cython.int

    @cython.cfunc
    def _begin(self, layer: Ledger, key: object, request: Request, flow: Flow):
        """From now on the layer finds it."""
        self.unarmed()
        self.layer = layer
        self.flow = flow
        self.method = request.method
        self.method_code = request.method_code
        self.context = None
        self._request = request
        self._event = 0
        self.key = key
        self._last_sent = None
        self._to_tag_sent = ""
        self._final_status = 0
        layer._servers[key] = self

    @property
    def final_status(self) -> int | None:
        """Of the final response that was sent."""
        return self._final_status if self._final_status else None

    @cython.ccall
    def respond(self, response: Response):
        """Send a response, as far as this transaction may still send it; else it is discarded."""
        status: cython.int = response._status
        if status < 200:
            self._take(_PROVISIONAL, response)
        elif status < 300:
            self._take(_SUCCESS, response)
        else:
            self._take(_FAILURE, response)

    @cython.ccall
    def refuse(self, response: Response):
        """`respond`, for a failure that the same request would get again."""
        self.respond(response)

    @cython.cfunc
    def request_repeated(self):
        """The same request came again."""
        self._take(_REQUEST, None)

    @cython.cfunc
    def await_response(self, trying_after: cython.double):
        """The user has seen the request: send 100 by ourselves when it has sent nothing for so many seconds."""
        if self._last_sent is None and self._final_status == 0:
            if trying_after <= 0.0:
                self._take(_TIMER_TRYING, None)
            else:
                self._wait(trying_after, _TIMER_TRYING)

    # Actions of both machines.

    @cython.cfunc
    def _send(self, response: Response):
        self._last_sent = response.to_bytes(self.flow.reliable)
        if from_rfc2543(self.key):
            self._to_tag_sent = response.to_tag
        self.flow.send(self._last_sent)

    @cython.cfunc
    def _send_trying(self):
        self._last_sent = trying_to(self._request)
        self.flow.send(self._last_sent)

    @cython.cfunc
    def _send_final(self, response: Response):
        self.disarm()
        self._final_status = response._status
        self._send(response)
        self._request = None

    @cython.cfunc
    def _repeat(self):
        """The peer repeats its request: our response, if there was one, got lost."""
        if self._last_sent is not None:
            self.layer.count_retransmission(self.flow, self.method_code)
            self.flow.send(self._last_sent)

    @cython.cfunc
    def _end(self):
        self.disarm()
        self._last_sent = None
        layer: Ledger = self.layer
        del layer._servers[self.key]
        if self.method_code == INVITE:
            layer.invite_servers -= 1
        elif self.method_code == CANCEL:
            return  # the user has never heard of it
        layer.user.server_transaction_ended(self)


@cython.cclass
class InviteServerTransaction(ServerTransaction):
    """One INVITE that came to us."""

    _interval: cython.double
    _give_up_at: cython.double

    @cython.cfunc
    def is_ack_of(self, ack: Request) -> cython.bint:
        """True for an ACK to what we sent, where the key leaves the To tag open (s.17.2.3, RFC 2543 elements)."""
        return not from_rfc2543(self.key) or ack.to_tag == self._to_tag_sent

    @cython.ccall
    def refuse(self, response: Response):
        """`respond`, for a failure that the same request would get again, with the same To tag.

        Then nothing need be remembered of it (s.8.2.7): a sender that does not hear us repeats its INVITE, as long as it has
        heard nothing. Otherwise anybody could have us repeat the failure eleven times, to whom he says that he is. The ACK
        comes to the user.
        """
        if self._last_sent is None and self._final_status == 0:
            self._take(_REFUSAL, response)
        else:
            self.respond(response)

    @cython.cfunc
    def ack_received(self, ack: Request, flow: Flow):
        """An ACK that matches: to our failure, or to a 2xx by an element that keeps the branch for it."""
        self._take(_ACK, (ack, flow))

    @cython.cfunc
    def _act(self, action: cython.int, what: object):
        if action == _TO_PROVIDE:
            self._provide(what)
        elif action == _TO_ACCEPT:
            self._accept(what)
        elif action == _TO_END:
            self._end()
        elif action == _TO_REFUSE:
            self._refuse(what)
        elif action == _TO_CONFIRM:
            self._confirm()
        elif action == _TO_REPEAT:
            self._repeat()
        elif action == _TO_PASS_ACK:
            ack, flow = what
            self.layer.user.ack_received(ack, flow)
        elif action == _TO_SEND_TRYING:
            self._send_trying()
        elif action == _TO_SEND_SUCCESS:
            self._send_success(what)
        elif action == _TO_REPEAT_BY_TIMER:
            self._repeat_by_timer()
        elif action == _TO_REFUSE_AND_FORGET:
            self._send_final(what)
            self._end()
        elif action != _TO_IGNORE:
            raise LocalError(f"an INVITE does not {Action(action).name}")

    @cython.cfunc
    def _provide(self, response: Response):
        self.disarm()
        self._send(response)

    @cython.cfunc
    def _accept(self, response: Response):
        self._send_final(response)
        self._last_sent = None
        self._wait(self.layer.timer_l, _TIMER_L)

    @cython.cfunc
    def _send_success(self, response: Response):
        self._send(response)
        self._last_sent = None

    @cython.cfunc
    def _refuse(self, response: Response):
        self._send_final(response)
        if self.flow.reliable:
            self._wait(self.layer.timer_h, _TIMER_H)
        else:
            now: cython.double = self.layer.queue.now()
            self._give_up_at = now + self.layer.timer_h
            self._interval = self.layer.timer_g
            self._wait_for_ack(now)

    @cython.cfunc
    def _wait_for_ack(self, now: cython.double):
        """Until the failure is repeated; or until no ACK will come any more, when that is first."""
        if now + self._interval < self._give_up_at:
            self._event = _TIMER_G
            self.layer.queue.arm(self, now, self._interval)
        else:
            self._event = _TIMER_H
            self.layer.queue.arm_at(self, self._give_up_at)

    @cython.cfunc
    def _repeat_by_timer(self):
        self._interval = min(2 * self._interval, self.layer.t2)
        self._wait_for_ack(self.layer.queue.now())
        self._repeat()

    @cython.cfunc
    def _confirm(self):
        self._last_sent = None
        if self.flow.reliable:
            self._take(_TIMER_I, None)
        else:
            self._wait(self.layer.timer_i, _TIMER_I)


@cython.cclass
class NonInviteServerTransaction(ServerTransaction):
    """One request other than INVITE and ACK that came to us."""

    @cython.cfunc
    def _act(self, action: cython.int, what: object):
        if action == _TO_COMPLETE:
            self._complete(what)
        elif action == _TO_END:
            self._end()
        elif action == _TO_REPEAT:
            self._repeat()
        elif action == _TO_SEND_TRYING:
            self._send_trying()
        elif action != _TO_IGNORE:
            raise LocalError(f"a request other than INVITE does not {Action(action).name}")

    @cython.cfunc
    def _complete(self, response: Response):
        self._send_final(response)
        if self.flow.reliable:
            self._take(_TIMER_J, None)
        else:
            self._wait(self.layer.timer_j, _TIMER_J)


_INVITE = Table("server transaction", INVITE_TRANSITIONS, State, Input, Action)
_NON_INVITE = Table("server transaction", NON_INVITE_TRANSITIONS, State, Input, Action)
_PROCEEDING = cython.declare(cython.int, State.PROCEEDING)
_TRYING = cython.declare(cython.int, State.TRYING)


@cython.cfunc
def start_invite_server(layer: Ledger, key: object, request: Request, flow: Flow) -> InviteServerTransaction:
    """An INVITE that no live transaction knows."""
    transaction: InviteServerTransaction = InviteServerTransaction.__new__(InviteServerTransaction)
    transaction._begin(layer, key, request, flow)
    transaction._interval = 0.0
    transaction._give_up_at = 0.0
    transaction._table = _INVITE
    transaction._state = _PROCEEDING
    layer.invite_servers += 1
    return transaction


@cython.cfunc
def start_non_invite_server(layer: Ledger, key: object, request: Request, flow: Flow) -> NonInviteServerTransaction:
    """Any other request that none knows."""
    transaction: NonInviteServerTransaction = NonInviteServerTransaction.__new__(NonInviteServerTransaction)
    transaction._begin(layer, key, request, flow)
    transaction._table = _NON_INVITE
    transaction._state = _TRYING
    return transaction
