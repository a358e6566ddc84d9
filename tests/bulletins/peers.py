"""Whom the appliance meets on the wire: scripted call servers, the lab's phones, a name server with a zone."""

from __future__ import annotations

from collections.abc import Callable

from sbc.lab.dialog import MAX_FORWARDS, Dialog
from sbc.lab.endpoint import Address, Endpoint
from sbc.lab.phone import Call, Exchange, new_token
from sbc.lab.phone import Phone as LabPhone
from sbc.location.records import Address as AddressRecord
from sbc.location.records import Failed, Found, Naptr, Question, Record, Srv
from sbc.sip.headers import parse_contacts
from sbc.sip.message import Request, Response
from sbc.transaction.interface import ClientTransactionUser, TransactionUser
from sbc.transaction.matching import new_branch
from tests.bulletins.wire import Wire
from tests.helpers.scripted_servers import DigestRegistrar, Reply, accept, refuse
from tests.lab.network import outcome

DOMAIN = "pbx.example"


def endpoint_at(wire: Wire, name: str, local: Address) -> Endpoint:
    endpoint = Endpoint(wire.clock, local, lambda data, remote: wire.send(data, local, remote))
    wire.plug_in(name, local, endpoint.datagram_received)
    return endpoint


class Server(TransactionUser):
    """A call server that accepts everything at once, until it is told to do something else."""

    def __init__(self, wire: Wire, name: str, address: Address) -> None:
        self.name, self.address = name, address
        self.registered: dict[str, str] = {}
        """Contact by address-of-record, as the phones' REGISTERs have left it."""
        self._wire = wire
        self._replies: dict[str, Reply] = {}
        self._ignored: set[str] = set()
        self._endpoint = endpoint_at(wire, name, address)
        self._endpoint.layer.user = self
        wire.plug_in(name, address, self._datagram_received)

    # -- what may become of it -------------------------------------------------------------------------------------------

    def falls_silent(self) -> None:
        """It hangs, or the cable is out: nothing comes back."""
        self._endpoint.deaf = True
        self._wire.hanging.add(self.address)

    def closes_its_port(self) -> None:
        """The process is gone: the host answers with ICMP port unreachable."""
        self._wire.refuse(self.address)

    def ignores(self, method: str) -> None:
        """Requests of that method are lost on it, as if it were silent; it answers all others."""
        self._ignored.add(method)

    def recovers(self) -> None:
        """It is as it was at first."""
        self._endpoint.deaf = False
        self._wire.hanging.discard(self.address)
        self._ignored.clear()
        self._wire.refuse(self.address, False)
        self._replies.clear()

    def answers(self, method: str, reply: int | Reply) -> None:
        """From now on requests of that method get this status, or what this function makes of them."""
        self._replies[method] = refuse(reply) if isinstance(reply, int) else reply

    def _datagram_received(self, data: bytes, source: Address) -> None:
        if data.partition(b" ")[0].decode() not in self._ignored:
            self._endpoint.datagram_received(data, source)

    def asks_for_passwords(self) -> None:
        """REGISTERs are challenged."""
        self.answers("REGISTER", DigestRegistrar(DOMAIN, {"alice": "secret"}, f"nonce of {self.name}", qop=False))

    # -- what it does by itself ------------------------------------------------------------------------------------------

    def calls(self, aor: str) -> IncomingCall:
        """An INVITE for a phone, to the Contact that is registered here."""
        return IncomingCall(self, aor)

    # -- TransactionUser -------------------------------------------------------------------------------------------------

    def request_received(self, transaction, request: Request) -> None:
        reply = self._replies.get(request.method)
        if reply is None:
            reply = self._registers if request.method == "REGISTER" else self._accepts
        response = reply(request)
        assert response is not None
        if request.method == "REGISTER" and response.status < 300:
            self._remember(request)
        transaction.respond(response)

    def ack_received(self, request: Request, flow) -> None:
        pass

    def cancel_received(self, invite, request: Request) -> None:
        invite.respond(Response.for_request(invite.request, 487, to_tag=self.name))

    def stray_response_received(self, response: Response, flow) -> None:
        pass

    def server_transaction_ended(self, transaction) -> None:
        pass

    def _registers(self, request: Request) -> Response:
        return accept()(request)

    def _accepts(self, request: Request) -> Response:
        contact = ("Contact", f"<sip:callee@{self.address[0]}:{self.address[1]}>")
        return Response.for_request(request, 200, to_tag=self.name, headers=[contact], copy_record_route=True)

    def _remember(self, register: Request) -> None:
        aor = register.to.uri_text
        for contact in parse_contacts(register):
            if contact.parameters.get("expires", register.get("Expires")) == "0":
                self.registered.pop(aor, None)
            else:
                self.registered[aor] = contact.uri_text

    @property
    def endpoint(self) -> Endpoint:
        return self._endpoint


class IncomingCall(ClientTransactionUser):
    """A call from a server to a phone. `status` is that of the last response."""

    def __init__(self, server: Server, aor: str) -> None:
        self.status: int | None = None
        self._server = server
        target = server.registered[aor]
        self._invite = Request.create(
            "INVITE",
            target,
            [
                MAX_FORWARDS,
                ("From", f"<sip:caller@{DOMAIN}>;tag={new_token()}"),
                ("To", f"<{aor}>"),
                ("Call-ID", new_token()),
                ("CSeq", "1 INVITE"),
                ("Contact", f"<sip:caller@{server.address[0]}:{server.address[1]}>"),
            ],
        )
        host = parse_contacts(Request.create("INVITE", target, [("Contact", f"<{target}>")]))[0].uri
        self._endpoint = server.endpoint
        self._endpoint.layer.send_request(self._invite, self._endpoint.flow_to((host.host, host.port or 5060)), self)

    def response_received(self, transaction, response: Response) -> None:
        self.status = response.status
        if 200 <= response.status < 300:
            dialog = Dialog.of_caller(self._invite, response)
            self._endpoint.layer.send_stateless(
                dialog.ack(self._invite), self._endpoint.flow_to(dialog.next_hop()), new_branch()
            )

    def timed_out(self, transaction) -> None:
        self.status = 408

    def transport_failed(self, transaction, cause: str) -> None:
        self.status = 503


class Phone(LabPhone):
    """The lab's phone, told to do one thing at a time. What became of it is seen on the wire."""

    def registers(self) -> list:
        """REGISTER, and from then on refresh. The list holds what came of it, once something has."""
        return outcome(self.register())

    def unregisters(self) -> list:
        return outcome(self.unregister())

    def calls_somebody(self) -> Call:
        """INVITE, and pick up when it is answered."""
        call = self.call("bob")
        for moment in (call.ringing, call.answered):
            outcome(moment.wait())
        return call

    def hangs_up(self, call: Call) -> None:
        outcome(call.hang_up())

    def sends(self, method: str, *headers: tuple[str, str], from_: str = "") -> list[int]:
        """A request of its own, outside of calls. The list holds the final status, once it has come; None: no answer."""
        answers: list[int | None] = []
        request = Request.create(
            method,
            f"sip:{self.user}@{self.domain}",
            [
                MAX_FORWARDS,
                ("From", from_ or f"<{self.aor}>;tag={new_token()}"),
                ("To", f"<{self.aor}>"),
                ("Call-ID", new_token()),
                ("CSeq", f"1 {method}"),
                ("Contact", self.contact),
                *headers,
            ],
        )
        Exchange(
            self, request, self.server, lambda response: answers.append(response.status), lambda _: answers.append(None)
        ).send()
        return answers


class NameServer:
    """Answers from a zone, written as in the bulletins: name, type, data.

    `resolver` stands in the place of `sbc.location.resolver.Resolver`. While `dead`, questions wait for two seconds and
    then nobody has answered.
    """

    ttl = 3600.0
    negative_ttl = 36.0
    """Of the SOA record."""

    def __init__(self, wire: Wire, zone: str = "") -> None:
        self.dead = False
        self._wire = wire
        self._answers: dict[Question, tuple[Record, ...]] = {}
        self.holds(zone)

    def holds(self, zone: str) -> None:
        """From now on this is what it knows."""
        self._answers.clear()
        for line in zone.splitlines():
            if line.strip():
                name, rrtype, *data = line.split()
                question = Question.of(name, rrtype)
                self._answers[question] = (*self._answers.get(question, ()), _record(rrtype, data))

    def resolver(self, *_arguments, **_options) -> NameServer:
        return self

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass

    def ask(self, question: Question, answered: Callable) -> None:
        self._wire.note_question(str(question))
        if self.dead:
            self._wire.clock.callLater(2.0, answered, question, Failed("timeout"))
        else:
            records = self._answers.get(question, ())
            found = Found(records, self.ttl if records else self.negative_ttl)
            self._wire.clock.callLater(0.0, answered, question, found)


def _record(rrtype: str, data: list[str]) -> Record:
    if rrtype == "NAPTR":
        order, preference, flags, service, replacement = data
        return Naptr(int(order), int(preference), flags.strip('"'), service.strip('"'), replacement)
    if rrtype == "SRV":
        priority, weight, port, target = data
        return Srv(int(priority), int(weight), int(port), target)
    return AddressRecord(data[0])
