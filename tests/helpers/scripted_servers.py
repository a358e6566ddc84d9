"""Registrar servers and phones that live on a `FakeClock`: no sockets, the real transaction layer in between."""

from __future__ import annotations

from collections.abc import Callable

from sbc.clock import TimerQueue
from sbc.flow import Flow
from sbc.location.candidate import Candidate
from sbc.redundancy.group import ServerGroup
from sbc.redundancy.outcome import Answered, TransportFailed
from sbc.redundancy.profile import load_profile
from sbc.redundancy.settings import GroupSettings, ServerSettings
from sbc.registration.registrar import Registrar
from sbc.sip import digest
from sbc.sip.digest import Challenge, Credentials
from sbc.sip.headers import NameAddr, parse_contacts
from sbc.sip.message import Request, Response, parse
from sbc.store.interface import BindingRow, NoNotes, RegistrationRow, RemovalRow
from sbc.transaction import Timers, TransactionLayer, TransactionUser
from tests.helpers.clock import FakeClock

Reply = Callable[[Request], Response | None]


OURS = ("198.51.100.1", 5060)
"""Where the appliance is."""


class ServerFlow(Flow):
    """The way to one server: what is sent on it reaches the server at once, unless the server cannot be reached."""

    def __init__(self, server: ScriptedServer) -> None:
        remote = (server.candidate.address, server.candidate.port)
        super().__init__("udp", "servers", "198.51.100.1:5060", OURS, remote)
        self._server = server

    def send(self, data: bytes) -> None:
        self._server.received(parse(data), self)


class ScriptedServer:
    """A call server that does what its `reply` says, `delay` seconds after each request, and remembers all requests.

    `requests` holds each request once, as (seconds since the start, request); `sends` counts every datagram.
    """

    def __init__(self, clock: FakeClock, name: str, address: str) -> None:
        self.clock = clock
        self.name = name
        self.candidate = Candidate(address, 5060, "udp")
        self.reply: Reply = accept()
        self.delay = 0.001
        self.unreachable = False
        self.requests: list[tuple[float, Request]] = []
        self.sends: list[float] = []
        self.layer: TransactionLayer | None = None
        self._start = clock.seconds()
        self._answers: dict[str, Response | None] = {}

    def received(self, request: Request | Response, flow: ServerFlow) -> None:
        assert isinstance(request, Request) and self.layer is not None
        now = self.clock.seconds() - self._start
        self.sends.append(now)
        branch = request.top_via.branch
        if self.unreachable:
            self.clock.callLater(0.0, self._icmp, branch)
            return
        if branch not in self._answers:
            self.requests.append((now, request))
            self._answers[branch] = self.reply(request)
        answer = self._answers[branch]
        if answer is not None:
            self.clock.callLater(self.delay, self._answer, answer, flow)

    def _answer(self, answer: Response, flow: ServerFlow) -> None:
        response = parse(answer.to_bytes())
        assert isinstance(response, Response) and self.layer is not None
        self.layer.response_received(response, flow)

    def _icmp(self, branch: str) -> None:
        assert self.layer is not None
        transaction = self.layer.client_for(branch, "REGISTER")
        if transaction is not None:
            transaction.transport_failed("icmp")

    @property
    def last(self) -> Request:
        return self.requests[-1][1]

    @property
    def authorizations(self) -> list[str | None]:
        """The Authorization of each request, None where there was none."""
        return [request.get("Authorization") for _, request in self.requests]


# What a server may do


def accept(expires: int | None = None, *headers: tuple[str, str]) -> Reply:
    """200 with the contacts asked for; `expires` seconds instead of what was asked."""

    def reply(request: Request) -> Response:
        lines = []
        for contact in parse_contacts(request):
            assert isinstance(contact, NameAddr)
            asked = contact.parameters.get("expires") or request.get("Expires") or "3600"
            if asked != "0":
                lines.append(("Contact", f"<{contact.uri_text}>;expires={asked if expires is None else expires}"))
        return Response.for_request(request, 200, to_tag="server", headers=[*lines, *headers])

    return reply


def refuse(status: int, reason: str | None = None, *headers: tuple[str, str]) -> Reply:
    return lambda request: Response.for_request(request, status, reason, to_tag="server", headers=headers)


def silent(request: Request) -> None:
    """A server that listens and never answers."""


class DigestRegistrar:
    """Challenges, checks the answer with the real arithmetic, and accepts nonces of its own only."""

    def __init__(
        self,
        realm: str,
        passwords: dict[str, str],
        nonce: str,
        *,
        algorithm: str = "MD5",
        qop: bool = True,
        granted: int | None = None,
        stale: bool = False,
        status: int = 401,
    ) -> None:
        self.realm, self.passwords, self.nonce = realm, passwords, nonce
        self.algorithm, self.qop, self.stale, self.status = algorithm, qop, stale, status
        self.granted = granted
        self.counts: list[int] = []
        """nc of each answer that was accepted."""

    def challenge(self, stale: bool = False) -> tuple[str, str]:
        value = f'Digest realm="{self.realm}", nonce="{self.nonce}", algorithm={self.algorithm}'
        value += ', qop="auth"' if self.qop else ""
        value += ", stale=true" if stale else ""
        return ("WWW-Authenticate" if self.status == 401 else "Proxy-Authenticate", value)

    def __call__(self, request: Request) -> Response:
        name = "Authorization" if self.status == 401 else "Proxy-Authorization"
        value = request.get(name)
        stale = False
        if value is not None:
            credentials = Credentials.parse(value)
            if credentials.nonce == self.nonce and self.accepts(credentials, request):
                self.counts.append(credentials.nc or 0)
                return accept(self.granted)(request)
            stale = self.stale and credentials.nonce != self.nonce
        return Response.for_request(request, self.status, to_tag="server", headers=[self.challenge(stale)])

    def accepts(self, credentials: Credentials, request: Request) -> bool:
        password = self.passwords.get(credentials.username)
        if password is None or (self.qop and (credentials.nc or 0) <= max(self.counts, default=0)):
            return False
        ha1 = digest.ha1(credentials.username, self.realm, password, self.algorithm)
        return digest.verify(credentials, ha1, request.method, request.body)


# The phone's side


class PhoneFlow(Flow):
    """The way back to a phone: collects what it is sent."""

    def __init__(self, remote: tuple[str, int] = ("203.0.113.7", 5062), clock: FakeClock | None = None) -> None:
        super().__init__("udp", "phones", "198.51.100.1:5060", OURS, remote)
        self.sent: list[tuple[float, Response]] = []
        self.clock = clock

    def move(self, remote: tuple[str, int]) -> None:
        """The phone has another address."""
        super().__init__("udp", "phones", "198.51.100.1:5060", OURS, remote)

    def send(self, data: bytes) -> None:
        message = parse(data)
        assert isinstance(message, Response)
        self.sent.append((self.clock.seconds() if self.clock is not None else 0.0, message))


class MemoryStore(NoNotes):
    """A store without a disk; `log` tells the order of things."""

    def __init__(self) -> None:
        self.bindings: dict[str, BindingRow] = {}
        self.registrations: dict[tuple[str, str], RegistrationRow] = {}
        self.removals: dict[tuple[str, str], RemovalRow] = {}
        self.log: list[str] = []

    def secret(self) -> bytes:
        return b"0123456789abcdef0123456789abcdef"

    def load_registrations(self):
        return list(self.bindings.values()), list(self.registrations.values())

    def load_removals(self):
        return list(self.removals.values())

    def save_registrations(self, bindings, registrations, removed=(), removals=(), heard=()) -> None:
        self.log.append("saved")
        for token in removed:
            self.bindings.pop(token, None)
            for key in [key for key in self.registrations if key[0] == token]:
                del self.registrations[key]
        self.bindings.update((row.token, row) for row in bindings)
        self.registrations.update(((row.token, row.server), row) for row in registrations)
        for key in heard:
            self.removals.pop(key, None)
        self.removals.update(((row.token, row.server), row) for row in removals)


class Phone:
    """A phone that registers with whatever Call-ID, CSeq and headers a test wants."""

    def __init__(
        self, site: Site, user: str = "alice", password: str = "secret", port: int = 5062, host: str = "203.0.113.7"
    ) -> None:
        self.site = site
        self.user, self.password = user, password
        self.flow = PhoneFlow(remote=(host, port), clock=site.clock)
        self.contact = f'"Alice" <sip:{user}@{host}:{port};line=1>;q=0.5;+sip.instance="<urn:uuid:{port}>"'
        self.cseq = 0
        self.call_id = f"call-{user}-{port}"
        self.nonce_counts: dict[str, int] = {}
        self.agent = "Test Phone 1.0"
        self._sends = 0

    def register(
        self,
        *lines: str,
        contact: str | None = "",
        expires: int | None = 3600,
        cseq: int | None = None,
        authorization: str | None = None,
        branch: str = "",
    ) -> str:
        """Send a REGISTER; returns its branch. `contact` None sends none, "" the phone's own."""
        self.cseq = self.cseq + 1 if cseq is None else cseq
        self._sends += 1
        branch = branch or f"z9hG4bK-{self.user}-{self.flow.remote[1]}-{self._sends}"
        headers = [
            "REGISTER sip:example.com SIP/2.0",
            f"Via: SIP/2.0/UDP {self.flow.remote[0]}:{self.flow.remote[1]};branch={branch};rport",
            "Route: <sip:198.51.100.1;lr>",
            "Max-Forwards: 69",
            f'From: "Alice" <sip:{self.user}@example.com>;tag=phone;epid=12',
            f"To: <sip:{self.user}@example.com>",
            f"Call-ID: {self.call_id}",
            f"CSeq: {self.cseq} REGISTER",
            f"User-Agent: {self.agent}",
            "Supported: path, replaces",
            "Content-Length: 0",
        ]
        if contact is not None:
            headers.append(f"Contact: {contact or self.contact}")
        if expires is not None:
            headers.append(f"Expires: {expires}")
        if authorization is not None:
            headers.append(authorization)
        data = "\r\n".join([*headers, *lines, "", ""]).encode("utf-8", "surrogateescape")
        self.site.receive(data, self.flow)
        return branch

    def answer_to(self, response: Response, password: str | None = None, username: str | None = None) -> str:
        """The Authorization line for the (last) challenge of a response."""
        proxy = response.status == 407
        challenge = Challenge.parse(response.get_all("Proxy-Authenticate" if proxy else "WWW-Authenticate")[-1])
        count = self.nonce_counts[challenge.nonce] = self.nonce_counts.get(challenge.nonce, 0) + 1
        username = username or self.user
        ha1 = digest.ha1(username, challenge.realm, password or self.password, challenge.algorithm)
        uri = "sip:example.com"
        credentials = digest.answer(challenge, ha1, username, "REGISTER", uri, count, "phonecnonce", b"")
        return f"{'Proxy-' if proxy else ''}Authorization: {credentials}"

    @property
    def answers(self) -> list[int]:
        """The status of each final response so far."""
        return [response.status for _, response in self.flow.sent if response.status >= 200]

    @property
    def last(self) -> Response:
        return self.flow.sent[-1][1]


class Site(TransactionUser):
    """An appliance in front of scripted servers: the real layer, group and registrar."""

    def __init__(
        self,
        *,
        clock: FakeClock | None = None,
        servers: int = 2,
        credentials=None,
        store=None,
        wall: float = 1.7e9,
        profile: str = "",
        of_servers: dict[str, dict] | None = None,
        **settings,
    ) -> None:
        """`settings` are those of the group over the profile's; `of_servers` the same for servers, by name."""
        loaded = load_profile(profile) if profile else None
        of_group, of_all = (loaded.group, loaded.server) if loaded else ({}, {})
        self.clock = clock or FakeClock()
        self.wall = wall - self.clock.seconds()
        self.events: list[object] = []
        names = ["primary", "fallback", "third", "fourth"][:servers]
        self.servers = [
            ScriptedServer(self.clock, name, f"192.0.2.{number}") for number, name in enumerate(names, start=1)
        ]
        configured = tuple(
            ServerSettings(**{
                **of_all, "name": name, "address": server.candidate.address, "rank": rank, "port": 5060,
                "transport": "udp", **(of_servers or {}).get(name, {}),
            })  # fmt: skip
            for rank, (name, server) in enumerate(zip(names, self.servers, strict=True), start=1)
        )
        if profile:
            of_group = {**of_group, "profile": profile}
        ours = {} if profile else {"resync_hold": 0}  # who tests the hold says so
        of_group = {**ours, **of_group, "name": "office", "servers": configured, "domains": ("example.com",), **settings}
        group_settings = GroupSettings(**of_group)
        self.queue = TimerQueue(self.clock)
        timers = Timers()
        self.layer = TransactionLayer(self.queue, timers, self)
        self.group = ServerGroup(group_settings, (timers.t1, timers.t2), self.events.append, self.clock.seconds())
        for server in self.servers:
            server.layer = self.layer
            self.group.update_candidates(server.name, [server.candidate], self.clock.seconds())
        self.store = MemoryStore() if store is None else store
        self._flows = {server.candidate: ServerFlow(server) for server in self.servers}
        self.registrar = Registrar(
            self.layer, self.queue, self.wall_clock, self.store, credentials, self._flows.get, self.events.append
        )
        self.registrar.restore()
        self.registrar.set_groups([self.group])

    def wall_clock(self) -> float:
        return self.wall + self.clock.seconds()

    def server(self, name: str) -> ScriptedServer:
        return next(server for server in self.servers if server.name == name)

    @property
    def primary(self) -> ScriptedServer:
        return self.servers[0]

    @property
    def fallback(self) -> ScriptedServer:
        return self.servers[1]

    def take_down(self, server: ScriptedServer) -> None:
        """Make it known to be down, as a probe would."""
        self.group.observe(server.candidate, TransportFailed("icmp"), self.clock.seconds(), "OPTIONS")

    def recover(self, server: ScriptedServer) -> None:
        """Make it known to be up, as so many probes would."""
        for _ in range(self.group.settings.rise):
            self.group.observe(server.candidate, Answered(200), self.clock.seconds(), "OPTIONS")

    def state(self, server: str, user: str = "alice") -> str | None:
        """How the (first) contact of a phone stands at a server."""
        bindings = self.registrar.bindings_for_aor(f"sip:{user}@example.com")
        upstream = bindings[0].upstream(server) if bindings else None
        return upstream.state if upstream is not None else None

    def receive(self, data: bytes, flow: Flow) -> None:
        """What a phone sends, as the transport and the edge do it."""
        answer = self.registrar.refreshes.answer_to(data, flow)
        if answer is not None:
            flow.send(answer)
            return
        request = parse(data)
        assert isinstance(request, Request)
        request.note_source(*flow.remote)
        self.layer.request_received(request, flow)

    # TransactionUser

    def request_received(self, transaction, request) -> None:
        self.registrar.register_received(transaction, request, self.group)

    def stray_response_received(self, response, flow) -> None:
        self.events.append(("stray", response.status))

    def server_transaction_ended(self, transaction) -> None:
        pass
