"""A proxy between a recording phone side and a recording server side, on a fake clock."""

from __future__ import annotations

import pytest

from sbc.flow import AtHand
from sbc.location.candidate import Candidate
from sbc.proxy.core import Proxy
from sbc.proxy.edge import Edge
from sbc.redundancy.group import ServerGroup
from sbc.redundancy.settings import GroupSettings, ServerSettings
from sbc.sip.message import Request, Response, parse
from sbc.transaction.layer import TransactionLayer
from sbc.transaction.timers import Timers
from tests.helpers.clock import FakeClock
from tests.helpers.network import FakeFlow

PHONE_SIDE = ("192.0.2.1", 5060)
SERVER_SIDE = ("198.51.100.1", 5060)
PRIMARY = Candidate("198.51.100.10", 5060, "udp")
FALLBACK = Candidate("198.51.100.20", 5060, "udp")
KEY = b"k" * 32


class Binding:
    """What the registrar keeps of a phone, as far as the proxy asks."""

    def __init__(self, token: str, contact_uri: str, host: str, port: int, transport: str = "udp") -> None:
        self.token = token
        self.contact_uri = contact_uri
        self.transport = transport
        self.host = host
        self.port = port
        self.local_port = PHONE_SIDE[1]
        self.expires_at = 1.0


class FakeRegistrar:
    def __init__(self) -> None:
        self.bindings: dict[str, Binding] = {}
        self.by_aor: dict[str, list[Binding]] = {}
        self.registers: list[Request] = []
        self.incomplete: dict[str, frozenset[str]] = {}

    def register_received(self, transaction, request, group) -> None:
        self.registers.append(request)
        transaction.respond(Response.for_request(request, 200))

    def kind_of_sender(self, group, request, flow):
        return group.phones_of(request.get("User-Agent") or "", flow.remote[0], "")

    def binding_for_token(self, token):
        return self.bindings.get(token)

    def binding_with_contact(self, transport, host, contact_uri):
        for binding in self.bindings.values():
            if (binding.transport, binding.host, binding.contact_uri) == (transport, host, contact_uri):
                return binding
        return None

    def bindings_for_aor(self, aor):
        return self.by_aor.get(aor, [])


class Site:
    """The proxy and its surroundings. Flows are made on demand and remember what was sent on them."""

    def __init__(self, trying: float = 0.0, **group_changes) -> None:
        """`trying`: seconds until an INVITE gets 100."""
        self.clock = FakeClock()
        self.facts: list[object] = []
        self.flows: dict[tuple, FakeFlow] = {}
        self.connected: set[tuple[str, int]] = set()
        """Phones whose TCP connection is open."""
        self.listening: dict[str, tuple[str, int]] = {}
        """Contacts of phones that can be connected to, and where that leads."""
        self.layer = TransactionLayer(self.clock, Timers(invite_trying=trying))
        self.registrar = FakeRegistrar()
        self.settings = GroupSettings(
            name="office",
            domains=("example.com",),
            servers=(
                ServerSettings("primary", PRIMARY.address, rank=1, port=5060),
                ServerSettings("fallback", FALLBACK.address, rank=2, port=5060),
            ),
            **group_changes,
        )
        self.group = ServerGroup(self.settings, (0.5, 4.0), self.facts.append, self.clock.seconds())
        self.group.update_candidates("primary", [PRIMARY], self.clock.seconds())
        self.group.update_candidates("fallback", [FALLBACK], self.clock.seconds())
        self.proxy = self.new_proxy()
        # Their times count from here.
        assert self.primary.sent == self.fallback.sent == self.phone.sent == []

    def new_proxy(self, at_hand: AtHand | None = None, **changes) -> Proxy:
        """A proxy as after a start of the process: only the key is the same."""
        proxy = Proxy(
            clock=self.clock,
            layer=self.layer,
            flows=self,
            groups=[self.group],
            registrar=self.registrar,
            is_ours=lambda host, port: (host, port or 5060) in (PHONE_SIDE, SERVER_SIDE),
            key=KEY,
            name="branch-42",
            report=self.facts.append,
            **changes,
        )
        self.layer.user = proxy
        self.edge = Edge(proxy, self.facts.append, at_hand)
        return proxy

    # FlowFinder

    def flow_to_server(self, candidate: Candidate) -> FakeFlow:
        return self.flow(candidate.address, candidate.port, "servers", candidate.transport)

    def flow_to_phone(self, transport_name: str, host: str, port: int, local_port: int) -> FakeFlow | None:
        if transport_name != "udp" and (host, port) not in self.connected:
            return None
        return self.flow(host, port, "phones", transport_name)

    def flow_to_contact(self, transport_name: str, host: str, contact: str) -> FakeFlow | None:
        where = self.listening.get(contact)
        return None if where is None else self.flow(*where, "phones", transport_name)

    def flow(self, host: str, port: int, side: str, transport: str = "udp") -> FakeFlow:
        key = (host, port, transport)
        if key not in self.flows:
            local = PHONE_SIDE if side == "phones" else SERVER_SIDE
            self.flows[key] = FakeFlow(self.clock, transport, side=side, local=local, remote=(host, port))
        return self.flows[key]

    @property
    def primary(self) -> FakeFlow:
        return self.flow_to_server(PRIMARY)

    @property
    def fallback(self) -> FakeFlow:
        return self.flow_to_server(FALLBACK)

    @property
    def phone(self) -> FakeFlow:
        return self.flow("192.0.2.50", 5060, "phones")

    def receive(self, message: Request | Response, flow: FakeFlow) -> None:
        """As the transport does it."""
        data = message.to_bytes()
        if self.edge.answered_unread(data, flow):
            return
        message = parse(data)
        if isinstance(message, Request):
            message.note_source(*flow.remote)
        self.edge.message_received(message, flow)

    def answer(self, flow: FakeFlow, sent: Request, status: int, *, to_tag="callee", headers=(), contact=True) -> Response:
        """The peer behind `flow` answers a request that it got from us."""
        extra = [("Contact", f"<sip:bob@{flow.remote[0]}:{flow.remote[1]}>")] if contact and status < 300 else []
        response = Response.for_request(
            sent, status, to_tag=to_tag, headers=[*extra, *headers], copy_record_route=True
        )
        self.receive(response, flow)
        return response

    def last(self, flow: FakeFlow, what: str | int) -> Request | Response:
        """The newest message of that method or status sent on a flow."""
        for _, message in reversed(flow.sent):
            if what == (message.method if isinstance(message, Request) else message.status):
                return message
        raise AssertionError(f"no {what} among {flow.summary()}")


@pytest.fixture
def site(request):
    """Ends with all transactions over, and then no timer may be left. Arguments of `Site` may come by `parametrize`."""
    made = Site(**getattr(request, "param", {}))
    yield made
    made.clock.advance(400)
    assert made.layer.transactions == dict.fromkeys(made.layer.transactions, 0)
    assert made.proxy.under_way == 0
    assert made.clock.pending == 0
