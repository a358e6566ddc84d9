"""A small call server: registrar (RFC 3261 section 10) and Record-Routing proxy (section 16) for one domain.

Enough of a PBX to put a redundancy proxy to the test: it challenges registrations and calls, sends a call to the
freshest contact of the callee, stays in the call's way, and keeps its bindings in a file if given one. Two of them
make a pair when each is told the other's address (`also`): then one takes over the calls of the other, because what a
call needs is in its Route headers.

Runs by itself: python -m sbc.lab.server --listen 127.0.0.1:5070 --realm office.example --user alice:secret
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from sbc.lab.accounts import Accounts, Binding, LocationTable, OutOfOrder
from sbc.lab.endpoint import Address, Endpoint, address_of, listen
from sbc.sip.errors import MalformedMessage
from sbc.sip.headers import NameAddr, parse_contacts
from sbc.sip.message import Request, Response
from sbc.sip.uri import SipUri, format_host_port, parse_host_port
from sbc.transaction.interface import ClientTransactionUser, TransactionUser
from sbc.transaction.matching import new_branch

READY = "lab server ready:"
_DEFAULT_EXPIRES = 3600
_ALLOW = ("Allow", "REGISTER, INVITE, ACK, CANCEL, BYE, OPTIONS")


class CallServer(TransactionUser):
    """The call server on one endpoint. `report` is told one line per request that it decided about."""

    def __init__(
        self,
        endpoint: Endpoint,
        accounts: Accounts,
        locations: LocationTable | None = None,
        *,
        also: Iterable[Address] = (),
        challenge_calls: bool = True,
        min_expires: int = 0,
        wall_clock: Callable[[], float] = time.time,
        report: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.endpoint = endpoint
        self.locations = locations or LocationTable()
        self._accounts = accounts
        self._own_addresses = {endpoint.local, *also}
        self._challenge_calls = challenge_calls
        self._min_expires = min_expires
        self._wall_clock = wall_clock
        self._report = report
        self._relays: dict[object, _Relay] = {}  # INVITE server transaction -> the branch behind it, until it has ended
        endpoint.layer.user = self

    # -- TransactionUser ---------------------------------------------------------------------------------------------

    def request_received(self, transaction, request: Request) -> None:
        """Raises MalformedMessage, which the transaction layer answers."""
        if request.to_tag:
            self._relay(transaction, request.copy())
        elif request.method == "REGISTER":
            self._register(transaction, request)
        elif request.method == "OPTIONS":
            self._respond(transaction, request, 200, _ALLOW)
        else:
            self._connect(transaction, request)

    def ack_received(self, request: Request, flow) -> None:
        """The ACK to a 2xx: passed on without a transaction (section 16.11)."""
        onward = request.copy()
        self._spend_hop(onward)
        flow_onward = self.endpoint.flow_to(self._next_hop(onward))
        self.endpoint.layer.send_stateless(onward, flow_onward, new_branch())

    def cancel_received(self, invite, request: Request) -> None:
        relay = self._relays.get(invite)
        if relay is not None:
            relay.cancel()

    def stray_response_received(self, response: Response, flow) -> None:
        pass

    def server_transaction_ended(self, transaction) -> None:
        self._relays.pop(transaction, None)

    # -- registrar ---------------------------------------------------------------------------------------------------

    def _register(self, transaction, request: Request) -> None:
        user = request.to.uri.user or ""
        proven = self._accounts.authenticated_user(request, "Authorization")
        if proven is None:
            self._respond(transaction, request, 401, ("WWW-Authenticate", self._accounts.challenge()))
        elif proven != user:
            self._respond(transaction, request, 403)
        else:
            status, *headers = self._update_bindings(user, request)
            self._respond(transaction, request, status, *headers)

    def _update_bindings(self, user: str, request: Request) -> tuple:
        """Section 10.3 steps 6 to 8. Returns the status and the headers of the answer."""
        now = self._wall_clock()
        contacts = parse_contacts(request)
        asked = _seconds(request.get("Expires"), _DEFAULT_EXPIRES)
        if contacts == "*":
            if asked != 0:
                return (400,)
            self.locations.unbind_all(user)
            return (200,)
        lifetimes = [_seconds(contact.parameters.get("expires"), asked) for contact in contacts]
        if any(0 < lifetime < self._min_expires for lifetime in lifetimes):
            return 423, ("Min-Expires", str(self._min_expires))
        try:
            for contact, lifetime in zip(contacts, lifetimes, strict=True):
                binding = Binding(user, contact.uri_text, now + lifetime, request.call_id, request.cseq)
                self.locations.bind(binding, now)
        except OutOfOrder:
            return (400,)
        return 200, *(
            ("Contact", f"<{binding.contact}>;expires={round(binding.expires_at - now)}")
            for binding in self.locations.contacts(user, now)
        )

    # -- proxy -------------------------------------------------------------------------------------------------------

    def _connect(self, transaction, request: Request) -> None:
        """A request that starts something: to the callee's freshest contact."""
        if request.method == "INVITE":
            transaction.respond(Response.for_request(request, 100))
        if self._challenge_calls and self._accounts.authenticated_user(request, "Proxy-Authorization") is None:
            self._respond(transaction, request, 407, ("Proxy-Authenticate", self._accounts.challenge()))
            return
        callee = request.uri.user or ""
        bindings = self.locations.contacts(callee, self._wall_clock())
        if not bindings:
            self._respond(transaction, request, 480 if self._accounts.knows(callee) else 404)
            return
        onward = request.copy()
        onward.request_uri = bindings[0].contact
        onward.remove("Proxy-Authorization")
        onward.prepend("Record-Route", f"<sip:{format_host_port(*self.endpoint.local)};lr>")
        self._relay(transaction, onward)

    def _relay(self, transaction, onward: Request) -> None:
        self._spend_hop(onward)
        relay = _Relay(self, transaction, onward)
        if onward.method == "INVITE":
            self._relays[transaction] = relay
        relay.send(self._next_hop(onward))

    def _next_hop(self, onward: Request) -> Address:
        """Where the request goes (section 16.6), after the Routes that name us, or our twin, are taken off."""
        while (route := onward.get("Route")) is not None:
            address = address_of(NameAddr.parse(route).uri)
            if address not in self._own_addresses:
                return address
            onward.pop_first("Route")
        return address_of(SipUri.parse(onward.request_uri))

    def _spend_hop(self, onward: Request) -> None:
        left = _seconds(onward.get("Max-Forwards"), 70)
        if left == 0:
            raise MalformedMessage("Too many hops", header="Max-Forwards", status_hint=483)
        onward.set("Max-Forwards", str(left - 1))

    def _respond(self, transaction, request: Request, status: int, *headers: tuple[str, str]) -> None:
        transaction.respond(Response.for_request(request, status, headers=headers))
        self.tell(request, status)

    def tell(self, request: Request, status: int) -> None:
        self._report(f"{request.method} {request.from_.uri.user or '-'} -> {request.to.uri.user or '-'}: {status}")


class _Relay(ClientTransactionUser):
    """One request on its way through the server, and its answers on their way back."""

    def __init__(self, server: CallServer, transaction, onward: Request) -> None:
        self._server = server
        self._transaction = transaction
        self._request = transaction.request
        self._onward = onward
        self._branch = None

    def send(self, next_hop: Address) -> None:
        endpoint = self._server.endpoint
        self._branch = endpoint.layer.send_request(self._onward, endpoint.flow_to(next_hop), self)

    def cancel(self) -> None:
        self._server.endpoint.layer.cancel(self._branch)

    def response_received(self, transaction, response: Response) -> None:
        if response.status == 100:
            return  # hop by hop (section 16.7 step 2)
        back = response.copy()
        back.pop_first("Via")
        self._transaction.respond(back)
        if response.status >= 200:
            self._server.tell(self._request, response.status)

    def timed_out(self, transaction) -> None:
        # RFC 4320 s.4.2: a 408 to anything but INVITE could only come too late.
        if self._onward.method == "INVITE":
            self._end(408)

    def transport_failed(self, transaction, cause: str) -> None:
        self._end(480)

    def _end(self, status: int) -> None:
        self._transaction.respond(Response.for_request(self._request, status))
        self._server.tell(self._request, status)


def _seconds(text: str | None, default: int) -> int:
    """A header's number; the default when it is absent or not a number (section 10.2.1.1 for expires)."""
    return int(text) if text is not None and text.isascii() and text.isdigit() else default


def _address(text: str) -> Address:
    parsed = parse_host_port(text)
    if parsed is None or parsed[1] is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not ADDRESS:PORT")
    return parsed[0], parsed[1]


def _user(text: str) -> tuple[str, str]:
    name, colon, password = text.partition(":")
    if not name or not colon:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME:PASSWORD")
    return name, password


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m sbc.lab.server", description="A small call server, to play with.")
    parser.add_argument("--listen", type=_address, required=True, metavar="ADDRESS:PORT", help="port 0: any free one")
    parser.add_argument("--realm", required=True, help="of the digest challenges")
    parser.add_argument("--user", type=_user, action="append", default=[], metavar="NAME:PASSWORD", help="repeatable")
    parser.add_argument("--algorithm", choices=("MD5", "SHA-256"), default="MD5", help="of the digest; default MD5")
    parser.add_argument("--also", type=_address, action="append", default=[], metavar="ADDRESS:PORT",
                        help="the twin whose calls this server can carry on; repeatable")  # fmt: skip
    parser.add_argument("--bindings", type=Path, metavar="FILE", help="keep the registrations here, over a restart")
    parser.add_argument("--min-expires", type=int, default=0, metavar="SECONDS", help="shorter registrations get 423")
    parser.add_argument("--open-calls", action="store_true", help="do not challenge calls")
    parser.add_argument("--silent", action="store_true", help="hold the port and never answer")
    options = parser.parse_args(arguments)

    from twisted.internet import reactor

    reactor.seconds = time.monotonic  # a wall clock that steps must not move a timer
    endpoint = listen(reactor, *options.listen)
    endpoint.deaf = options.silent
    CallServer(
        endpoint,
        Accounts(options.realm, dict(options.user), options.algorithm),
        LocationTable(options.bindings),
        also=options.also,
        challenge_calls=not options.open_calls,
        min_expires=options.min_expires,
        report=lambda line: print(line, flush=True),
    )
    print(READY, format_host_port(*endpoint.local), flush=True)
    reactor.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
