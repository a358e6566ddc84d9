"""A desk phone: it registers with digest, calls, rings, answers and hangs up, and notes when each of these happened.

It knows one server, as legacy phones do: everything it starts is sent there. Refreshes, authentication, the repeated
200 of an answered call (RFC 3261 section 13.3.1.4) and the ACK to each copy of it (13.2.2.4) are the phone's own work;
the rest is the transaction layer's.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from sbc.clock import Delayed
from sbc.lab.dialog import MAX_FORWARDS, Dialog
from sbc.lab.endpoint import Address, Endpoint, address_of
from sbc.sip.digest import Challenge, answer, ha1, supported
from sbc.sip.errors import MalformedMessage
from sbc.sip.headers import NameAddr, parse_contacts
from sbc.sip.message import Request, Response
from sbc.transaction.interface import ClientTransactionUser, TransactionUser
from sbc.transaction.matching import new_branch

ALLOW = ("Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS, NOTIFY")
_SDP_TYPE = ("Content-Type", "application/sdp")
_REFRESH_AT = 0.9  # of what the registrar granted
_MOST_CHALLENGES = 2  # answers to one request: the second one is for a stale nonce, or for another server's


class RequestFailed(Exception):
    """A request of the phone was refused, or nobody answered it. `status` is None when no final answer came."""

    def __init__(self, text: str, status: int | None = None) -> None:
        super().__init__(text)
        self.status = status


class Moment:
    """Something that happens once. Any number may wait for it, before or after; `at` is when it happened."""

    def __init__(self) -> None:
        self.at: float | None = None
        self._failure: Exception | None = None
        self._value: Any = None
        self._waiting: list[Deferred] = []

    @property
    def settled(self) -> bool:
        """It came, or it will never come."""
        return self.at is not None or self._failure is not None

    def wait(self) -> Deferred:
        """Fires with the value, or fails with the reason why it will never come."""
        waiter: Deferred = Deferred()
        if self.at is not None:
            waiter.callback(self._value)
        elif self._failure is not None:
            waiter.errback(self._failure)
        else:
            self._waiting.append(waiter)
        return waiter

    def come(self, now: float, value: Any = None) -> None:
        """It happened. A second time changes nothing."""
        if self.settled:
            return
        self.at = now
        self._value = value
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.called:
                waiter.callback(value)

    def fail(self, failure: Exception) -> None:
        """It will not happen."""
        if self.settled:
            return
        self._failure = failure
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.called:
                waiter.errback(failure)


class Phone(TransactionUser):
    """One line of one phone. `server` is its outbound proxy: where it sends whatever it starts.

    After `answer_after` seconds of ringing it answers by itself; None lets it ring. `busy` makes it refuse. `incoming`
    is called with each call that rings.
    """

    def __init__(
        self, endpoint: Endpoint, user: str, domain: str, password: str, server: Address, *, expires: int = 3600
    ) -> None:
        self.endpoint = endpoint
        self.user = user
        self.domain = domain
        self.aor = f"sip:{user}@{domain}"
        self.server = server
        self.expires = expires
        self.contact = f"<sip:{user}@{endpoint.flow_to(server).contact}>"
        self.answer_after: float | None = 0.0
        self.busy = False
        self.incoming: Callable[[Call], None] = lambda call: None
        self.calls: list[Call] = []
        self.registered_until: float | None = None
        """Monotonic; None while not registered."""
        self.registrations = 0
        """REGISTERs that were accepted."""
        self._password = password
        self._nonce_counts: dict[str, int] = {}
        self._register_call_id = new_token()
        self._register_cseq = 0
        self._refresh: Delayed | None = None
        endpoint.layer.user = self

    @property
    def clock(self):
        return self.endpoint.clock

    # -- registration ------------------------------------------------------------------------------------------------

    def register(self) -> Deferred:
        """Register, and from then on refresh. Fires with the seconds granted; fails with RequestFailed."""
        return self._register([("Contact", self.contact), ("Expires", str(self.expires))]).addCallback(self._registered)

    def unregister(self) -> Deferred:
        """Remove our contact (Expires 0)."""
        self._stop_refreshing()
        return self._register([("Contact", self.contact), ("Expires", "0")])

    def look_up(self) -> Deferred:
        """Ask the registrar what it holds for this user: a REGISTER without Contact. Fires with a list of NameAddr."""
        return self._register([]).addCallback(parse_contacts)

    def _register(self, headers: list[tuple[str, str]]) -> Deferred:
        self._register_cseq += 1
        request = Request.create(
            "REGISTER",
            f"sip:{self.domain}",
            [
                MAX_FORWARDS,
                ("From", f"<{self.aor}>;tag={new_token()}"),
                ("To", f"<{self.aor}>"),
                ("Call-ID", self._register_call_id),
                ("CSeq", f"{self._register_cseq} REGISTER"),
                *headers,
            ],
        )
        done: Deferred = Deferred()
        exchange = Exchange(self, request, self.server, done.callback, done.errback)
        exchange.send()

        def keep_cseq(result):
            self._register_cseq = max(self._register_cseq, exchange.request.cseq)
            return result

        return done.addBoth(keep_cseq).addCallback(_accepted)

    def _registered(self, response: Response) -> int:
        ours = NameAddr.parse(self.contact).uri
        for contact in parse_contacts(response):
            if contact.uri.equivalent(ours):
                granted = int(contact.parameters.get("expires") or response.get("Expires") or self.expires)
                break
        else:
            raise RequestFailed("the 200 to REGISTER does not list our contact", response.status)
        self._stop_refreshing()
        self.registrations += 1
        self.registered_until = self.clock.seconds() + granted
        self._refresh = self.clock.callLater(granted * _REFRESH_AT, self._refresh_registration)
        return granted

    def _refresh_registration(self) -> None:
        self.register().addErrback(lambda failure: setattr(self, "registered_until", None))

    def _stop_refreshing(self) -> None:
        if self._refresh is not None and self._refresh.active():
            self._refresh.cancel()
        self._refresh = None
        self.registered_until = None

    def switch_off(self) -> None:
        """Forget the registration without a word, as when the plug is pulled."""
        self._stop_refreshing()

    # -- calls -------------------------------------------------------------------------------------------------------

    def call(self, callee: str) -> Call:
        """Dial a user of our domain. The call's moments tell what became of it."""
        call = Call(self, callee)
        self.calls.append(call)
        invite = Request.create(
            "INVITE",
            f"sip:{callee}@{self.domain}",
            [
                MAX_FORWARDS,
                ("From", f"<{self.aor}>;tag={new_token()}"),
                ("To", f"<sip:{callee}@{self.domain}>"),
                ("Call-ID", new_token()),
                ("CSeq", "1 INVITE"),
                ("Contact", self.contact),
                ALLOW,
                _SDP_TYPE,
            ],
            self._sdp(),
        )
        call.place(invite)
        return call

    def credentials_for(self, request: Request, refusal: Response) -> tuple[str, str] | None:
        """The header that answers the first challenge we understand; None when there is none."""
        asked, shown = (
            ("WWW-Authenticate", "Authorization")
            if refusal.status == 401
            else ("Proxy-Authenticate", "Proxy-Authorization")
        )
        for value in refusal.get_all(asked):
            challenge = Challenge.parse(value)
            if not supported(challenge):
                continue
            count = self._nonce_counts[challenge.nonce] = self._nonce_counts.get(challenge.nonce, 0) + 1
            secret = ha1(self.user, challenge.realm, self._password, challenge.algorithm)
            credentials = answer(
                challenge, secret, self.user, request.method, request.request_uri, count, new_token(), request.body
            )
            return shown, str(credentials)
        return None

    def _sdp(self) -> bytes:
        host, port = self.endpoint.local
        family = "IP6" if ":" in host else "IP4"
        lines = (
            "v=0",
            f"o={self.user} 1 1 IN {family} {host}",
            "s=-",
            f"c=IN {family} {host}",
            "t=0 0",
            f"m=audio {port + 1 if port < 65535 else port - 1} RTP/AVP 0",
            "a=rtpmap:0 PCMU/8000",
        )
        return "".join(line + "\r\n" for line in lines).encode()

    # -- TransactionUser: what comes in ------------------------------------------------------------------------------

    def request_received(self, transaction, request: Request) -> None:
        if request.method in ("OPTIONS", "NOTIFY", "INFO", "UPDATE") and not request.to_tag:
            transaction.respond(Response.for_request(request, 200, headers=[ALLOW]))
        elif request.to_tag:
            self._in_dialog(transaction, request)
        elif request.method != "INVITE":
            transaction.respond(Response.for_request(request, 405, headers=[ALLOW]))
        elif any(call.was_made_by(request) for call in self.calls):
            # RFC 3261 s.8.2.2.2: the same call by a second way
            transaction.respond(Response.for_request(request, 482))
        elif self.busy:
            transaction.respond(Response.for_request(request, 486))
        else:
            self._ring(transaction, request)

    def _ring(self, transaction, invite: Request) -> None:
        call = Call(self, invite.from_.uri.user or "", invite, transaction)
        self.calls.append(call)
        call.ring()
        self.incoming(call)
        if self.answer_after is not None:
            self.clock.callLater(self.answer_after, call.answer)

    def _in_dialog(self, transaction, request: Request) -> None:
        call = self._call_of(request)
        if call is None:
            transaction.respond(Response.for_request(request, 481))
        elif request.method == "BYE":
            transaction.respond(Response.for_request(request, 200))
            call.ended_by_peer()
        elif request.method == "INVITE":
            headers = [("Contact", self.contact), _SDP_TYPE]
            call.say_200(transaction, Response.for_request(request, 200, headers=headers, body=self._sdp()))
        else:
            transaction.respond(Response.for_request(request, 200))

    def ack_received(self, request: Request, flow) -> None:
        call = self._call_of(request)
        if call is not None:
            call.acked()

    def cancel_received(self, invite, request: Request) -> None:
        for call in self.calls:
            if call.invite_transaction is invite:
                call.cancelled()

    def stray_response_received(self, response: Response, flow) -> None:
        pass

    def server_transaction_ended(self, transaction) -> None:
        pass

    def _call_of(self, request: Request) -> Call | None:
        for call in self.calls:
            if call.dialog is not None and call.dialog.includes(request):
                return call
        return None


class Call:
    """One call, as one of the two phones sees it.

    `ringing`, `answered` and `ended` are Moments; the first two fail with RequestFailed when the call came to nothing.
    """

    def __init__(self, phone: Phone, peer: str, invite: Request | None = None, transaction=None) -> None:
        self.phone = phone
        self.peer = peer
        self.started = phone.clock.seconds()
        self.ringing = Moment()
        self.answered = Moment()
        self.ended = Moment()
        self.bye_status: int | None = None
        """What our BYE was answered; None: we sent none, or nobody answered."""
        self.hung_up_by_peer = False
        self.dialog: Dialog | None = None
        self.path: list[Address] = []
        """The proxies that stay in the call's way (Record-Route), from our side to the peer's."""
        self.invite_transaction = transaction
        self._invite = invite
        self._exchange: Exchange | None = None
        self._tag = new_token()
        self._wants_to_end = False
        self._repeat_200: Delayed | None = None

    @property
    def post_dial_delay(self) -> float | None:
        """Seconds from dialling to the ringing tone, or to the answer when nothing rang before."""
        heard = self.ringing.at if self.ringing.at is not None else self.answered.at
        return None if heard is None else heard - self.started

    def hang_up(self) -> Deferred:
        """End the call from this side: CANCEL, refusal or BYE. Fires when it has ended."""
        if self.ended.settled:
            pass
        elif self.dialog is not None:
            self._send_bye(self.dialog)
        elif self._exchange is not None:
            self._wants_to_end = True
            self._exchange.cancel()
        elif self.invite_transaction is not None:
            self.reject(603)
        return self.ended.wait()

    # -- the caller's side -------------------------------------------------------------------------------------------

    def place(self, invite: Request) -> None:
        self._exchange = Exchange(self.phone, invite, self.phone.server, self._response_received, self._failed)
        self._exchange.send()

    def _response_received(self, response: Response) -> None:
        now = self.phone.clock.seconds()
        if 100 < response.status < 200:
            self.ringing.come(now)
        elif 200 <= response.status < 300:
            self._picked_up(response, now)
        elif response.status >= 300:
            self._failed(RequestFailed(f"{response.status} {response.reason}", response.status))

    def _picked_up(self, response: Response, now: float) -> None:
        invite = self._exchange.request
        dialog = Dialog.of_caller(invite, response)
        if self.dialog is not None and self.dialog.remote_tag != dialog.remote_tag:
            self._send_ack(dialog, invite)  # a second phone answered: RFC 3261 s.13.2.2.4
            self._send_bye(dialog)
            return
        if self.dialog is None:
            self.dialog = dialog
            self.path = _addresses(dialog.route_set)
            self.answered.come(now, self)
            self.ringing.come(now)
        self._send_ack(dialog, invite)
        if self._wants_to_end:
            self._wants_to_end = False
            self._send_bye(dialog)

    def _failed(self, failure: Exception) -> None:
        self.ringing.fail(failure)
        self.answered.fail(failure)
        self.ended.come(self.phone.clock.seconds())

    def _send_ack(self, dialog: Dialog, invite: Request) -> None:
        endpoint = self.phone.endpoint
        endpoint.layer.send_stateless(dialog.ack(invite), endpoint.flow_to(dialog.next_hop()), new_branch())

    # -- the called side ---------------------------------------------------------------------------------------------

    def was_made_by(self, invite: Request) -> bool:
        ours = self._invite
        return (
            ours is not None
            and ours.call_id == invite.call_id
            and ours.from_tag == invite.from_tag
            and ours.cseq == invite.cseq
        )

    def ring(self) -> None:
        self.invite_transaction.respond(self._answer(180))
        self.ringing.come(self.phone.clock.seconds())

    def answer(self) -> None:
        """Pick up. Nothing when the caller has given up meanwhile."""
        if self.answered.settled or self.ended.settled:
            return
        ok = self._answer(200, _SDP_TYPE, body=self.phone._sdp())
        self.dialog = Dialog.of_callee(self._invite, ok)
        self.path = _addresses(self.dialog.route_set)
        self.say_200(self.invite_transaction, ok)
        self.answered.come(self.phone.clock.seconds(), self)

    def reject(self, status: int = 486) -> None:
        self.invite_transaction.respond(self._answer(status))
        self._failed(RequestFailed(f"refused with {status}", status))

    def say_200(self, transaction, ok: Response) -> None:
        """Send a 200 to INVITE, again and again until the ACK comes (section 13.3.1.4)."""
        timers = self.phone.endpoint.timers
        give_up_at = self.phone.clock.seconds() + 64 * timers.t1

        def say(interval: float) -> None:
            if self.phone.clock.seconds() >= give_up_at:
                self.hang_up()
                return
            transaction.respond(ok)
            self._repeat_200 = self.phone.clock.callLater(interval, say, min(2 * interval, timers.t2))

        self.acked()
        say(timers.t1)

    def acked(self) -> None:
        if self._repeat_200 is not None and self._repeat_200.active():
            self._repeat_200.cancel()
        self._repeat_200 = None

    def cancelled(self) -> None:
        if not self.answered.settled:
            self.reject(487)

    def _answer(self, status: int, *headers: tuple[str, str], body: bytes = b"") -> Response:
        return Response.for_request(
            self._invite,
            status,
            to_tag=self._tag,
            headers=[("Contact", self.phone.contact), ALLOW, *headers],
            body=body,
            copy_record_route=True,
        )

    # -- both sides --------------------------------------------------------------------------------------------------

    def ended_by_peer(self) -> None:
        self.hung_up_by_peer = True
        self.acked()
        self.ended.come(self.phone.clock.seconds())

    def _send_bye(self, dialog: Dialog) -> None:
        self.acked()

        def answered(response: Response) -> None:
            if response.status >= 200:
                self.bye_status = response.status
                self.ended.come(self.phone.clock.seconds())

        def unanswered(failure: Exception) -> None:
            self.ended.come(self.phone.clock.seconds())

        Exchange(self.phone, dialog.request("BYE"), dialog.next_hop(), answered, unanswered).send()


class Exchange(ClientTransactionUser):
    """One request of a phone and what comes back; a challenge is answered by sending it again with credentials.

    `received` gets every response but the challenges that we answered, `failed` a RequestFailed when nobody answers.
    """

    def __init__(
        self,
        phone: Phone,
        request: Request,
        next_hop: Address,
        received: Callable[[Response], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self.request = request
        """As last sent, without our Via."""
        self._phone = phone
        self._flow = phone.endpoint.flow_to(next_hop)
        self._received = received
        self._failed = failed
        self._challenges = 0
        self._transaction = None

    def send(self) -> None:
        self._transaction = self._phone.endpoint.layer.send_request(self.request, self._flow, self)

    def cancel(self) -> None:
        self._phone.endpoint.layer.cancel(self._transaction)

    def response_received(self, transaction, response: Response) -> None:
        if response.status in (401, 407) and self._challenges < _MOST_CHALLENGES and self._try_again(response):
            return
        if self.request.method == "INVITE" or response.status >= 200:
            self._received(response)

    def _try_again(self, refusal: Response) -> bool:
        try:
            header = self._phone.credentials_for(self.request, refusal)
        except MalformedMessage:
            header = None
        if header is None:
            return False
        self._challenges += 1
        again = self.request.copy()
        again.set("CSeq", f"{self.request.cseq + 1} {self.request.method}")
        again.set(*header)
        self.request = again
        self.send()
        return True

    def timed_out(self, transaction) -> None:
        self._failed(RequestFailed(f"no answer to {self.request.method}"))

    def transport_failed(self, transaction, cause: str) -> None:
        self._failed(RequestFailed(f"{self.request.method} could not be delivered: {cause}"))


def new_token() -> str:
    """For tags, Call-IDs and cnonces: 64 random bits."""
    return secrets.token_hex(8)


def _accepted(response: Response) -> Response:
    if not 200 <= response.status < 300:
        raise RequestFailed(f"{response.status} {response.reason}", response.status)
    return response


def _addresses(routes: list[str]) -> list[Address]:
    return [address_of(NameAddr.parse(route).uri) for route in routes]
