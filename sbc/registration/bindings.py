"""What is known of the phones: their contacts, and how each stands registered at each server.

Times are monotonic seconds; on disk they are wall clock (`sbc.store.interface`). Compiled, because there may be ten
thousand of them: a C structure takes half the memory.
"""

from __future__ import annotations

from collections.abc import Iterator

import cython

from sbc.sip.headers import NameAddr
from sbc.store.interface import BindingRow, RegistrationRow

if cython.compiled:
    from cython.cimports.sbc.flow import Flow
    from cython.cimports.sbc.registration.contacts import Contact
else:
    from sbc.flow import Flow
    from sbc.registration.contacts import Contact

UNREGISTERED = "unregistered"
REGISTERING = "registering"
REGISTERED = "registered"
FAILED = "failed"
"""The server answers, but refuses this account (PIVOT: "failed"): 403 or 404, or 401 to credentials."""


_REGISTERED = cython.declare(str, REGISTERED)


@cython.cclass
class Question:
    """What a server wants the phone to answer."""

    credentials: object  # the password file with which we could not
    realm: str
    announced: str  # the next nonce that was announced to the phone with a success (RFC 7616 3.5); "" = none

    def __init__(self, credentials: object, realm: str) -> None:
        self.credentials = credentials
        self.realm = realm
        self.announced = ""


@cython.cclass
class Upstream:
    """One contact at one server: the series of our REGISTERs and what came of them."""

    server: str
    state: str
    reason: str  # why it is not registered, for people
    expires_at: cython.double  # when the registration lapses; only while registered
    cseq: cython.longlong
    digest: object  # the challenge that we have answered ourselves (`OwnDigest`), to be answered again without being asked
    registered_at: cython.double  # when it last accepted it; 0: before a restart
    candidate: object  # the address of the server that has it; None: not known
    nonce: str  # the last one that the phone answered there and that was accepted; "" when it never had to
    due_at: cython.double  # from then on the phone's next refresh is passed on to it; 0: the next one in any case
    # The account that it refuses (V16): when it may be tried again, and how many refusals in a row there were.
    retry_at: cython.double
    failures: cython.int
    wants_phone: cython.bint  # it has challenged, and only the phone could answer
    question: Question  # its last challenge to the phone; None: not known, as after a restart

    def __init__(self, server: str, cseq: int = 0) -> None:
        self.server = server
        self.state = UNREGISTERED
        self.reason = ""
        self.expires_at = 0.0
        self.cseq = cseq
        self.digest = None
        self.registered_at = 0.0
        self.candidate = None
        self.nonce = ""
        self.due_at = 0.0
        self.retry_at = 0.0
        self.failures = 0
        self.wants_phone = False
        self.question = None


@cython.ccall
def gives_up_realm(upstream: Upstream) -> cython.bint:
    """Is the phone not to be asked for an answer there, because it answers only another realm (`turns`)? Then `retry_at` is when
    it may be asked again if it begins anew."""
    return upstream.retry_at > 0.0 and upstream.failures == 0


@cython.cclass
class Binding:
    """A phone's contact, and where it is."""

    token: str
    group: str
    aor: str
    contact: str  # the phone's Contact value, byte for byte
    agent: str  # its User-Agent, where that may tell its kind (`redundancy.phones`); None when nobody has looked
    username: str  # the digest user name that it proved to be, "" when no server ever asked
    method: str  # how it can be asked by several servers, where that was learned; "" = as it is configured
    method_reason: str  # why, for people
    # Call-ID and CSeq of the phone's last accepted REGISTER (10.3 item 7).
    call_id: str
    cseq: cython.longlong
    # Where its REGISTER came from, and so where requests for it go (RFC 3581).
    transport: str
    host: str
    port: cython.int
    # Our socket that it was received on.
    local_host: str
    local_port: cython.int
    granted: cython.double
    expires_at: cython.double
    quiet_until: cython.double  # until then no server needs to hear of a refresh that changes nothing; 0 = of the next one
    # Seconds for which it is kept longer than that: the renewal that the store has missed may have granted them.
    grace: cython.double
    # Seconds for which the servers have it longer than the phone was told, which so comes by more often.
    spare: cython.double
    rota: object  # whose turn it is (`rota.Rota`); None as long as not several servers want the phone's own answer
    queued_for: cython.double  # when the expiry queue will look at it next; 0 = it is not in the queue
    unsaved: cython.bint  # something about it has changed that the store does not know; its times do not count
    refresh: object  # its last REGISTER, where it may be answered without looking into it (`refreshes.Refresh`)
    extras: object  # what a server's answer said besides (`refreshes.Extras`); None: nothing
    upstreams: tuple  # an `Upstream` for each server that was ever told
    gruu: str  # the GRUUs that its phone was given, as parameters of its Contact, "" without any (RFC 5627)
    read: Contact  # `contact` as it was read the last time; None when it has to be read

    def __init__(
        self,
        token: str,
        group: str,
        aor: str,
        contact: str,
        *,
        username: str = "",
        call_id: str = "",
        cseq: int = 0,
        transport: str = "udp",
        host: str = "",
        port: int = 0,
        local_host: str = "",
        local_port: int = 0,
        granted: float = 0.0,
        expires_at: float = 0.0,
        agent: str | None = None,
        method: str = "",
        method_reason: str = "",
    ) -> None:
        self.token = token
        self.group = group
        self.aor = aor
        self.contact = contact
        self.agent = agent
        self.username = username
        self.method = method
        self.method_reason = method_reason
        self.call_id = call_id
        self.cseq = cseq
        self.transport = transport
        self.host = host
        self.port = port
        self.local_host = local_host
        self.local_port = local_port
        self.granted = granted
        self.expires_at = expires_at
        self.quiet_until = 0.0
        self.grace = 0.0
        self.spare = 0.0
        self.rota = None
        self.queued_for = 0.0
        self.unsaved = False
        self.refresh = None
        self.extras = None
        self.upstreams = ()
        self.gruu = ""
        self.read = None

    @property
    def contact_uri(self) -> str:
        """The URI in the Contact: the Request-URI of calls for the phone."""
        return NameAddr.parse(self.contact, "Contact").uri_text

    def upstream(self, server: str) -> Upstream | None:
        """How it stands at that server, None when that server was never told."""
        return self.at(server)

    @cython.cfunc
    def at(self, server: str) -> Upstream:
        """`upstream`, for those that are compiled."""
        upstream: Upstream
        for upstream in self.upstreams:
            if upstream.server == server:
                return upstream
        return None

    def next_lapse(self) -> float:
        """When the first of its registrations, or it itself, expires."""
        return self.lapses_at()

    @cython.cfunc
    def lapses_at(self) -> cython.double:
        """`next_lapse`, for those that are compiled."""
        first: cython.double = self.expires_at + self.spare + self.grace
        upstream: Upstream
        for upstream in self.upstreams:
            if upstream.expires_at < first and upstream.state == _REGISTERED:
                first = upstream.expires_at
        return first

    def rows(self, wall_offset: float) -> tuple[BindingRow, list[RegistrationRow]]:
        """As it is stored. `wall_offset`: wall clock less monotonic clock."""
        row = BindingRow(
            self.token, self.group, self.aor, self.contact, self.username, self.call_id, self.cseq, self.transport,
            self.host, self.port, self.local_host, self.local_port, self.granted + self.spare,
            self.expires_at + self.spare + wall_offset, self.agent, self.method, self.method_reason,
        )  # fmt: skip
        return row, [self.upstream_row(upstream, wall_offset) for upstream in self.upstreams]

    def upstream_row(self, upstream: Upstream, wall_offset: float) -> RegistrationRow:
        expires_at = upstream.expires_at + wall_offset if upstream.state == REGISTERED else 0.0
        candidate = "" if upstream.candidate is None else str(upstream.candidate)
        retry_at = upstream.retry_at + wall_offset if upstream.retry_at else 0.0
        return RegistrationRow(
            self.token, upstream.server, upstream.state, upstream.reason, expires_at, upstream.nonce, candidate, retry_at,
            upstream.failures,
        )  # fmt: skip


@cython.cclass
class Bindings:
    """All bindings, by token and by address-of-record; those of connections also by transport and host."""

    _by_token: dict
    _last: Binding  # the one that was found last: in the course of a REGISTER it is looked for again and again
    _by_aor: dict
    _connected: dict

    def __init__(self) -> None:
        self._by_token: dict[str, Binding] = {}
        self._last = None
        # Most have one contact: the binding itself, a list only where there are several.
        self._by_aor: dict[str, Binding | list[Binding]] = {}
        self._connected: dict[tuple[str, str], dict[str, Binding]] = {}

    def __len__(self) -> int:
        return len(self._by_token)

    def __iter__(self) -> Iterator[Binding]:
        return iter(self._by_token.values())

    def get(self, token: str) -> Binding | None:
        return self.find(token)

    @cython.cfunc
    def find(self, token: str) -> Binding:
        """`get`, for those that are compiled."""
        if self._last is not None and self._last.token is token:
            return self._last
        found: Binding = self._by_token.get(token)
        if found is not None:
            self._last = found
        return found

    def of_aor(self, aor: str) -> list[Binding]:
        """The contacts of an address-of-record (as `contacts.aor_of` spells it), oldest first."""
        found = self._by_aor.get(aor, [])
        return list(found) if isinstance(found, list) else [found]

    @cython.cfunc
    def number(self, aor: str) -> cython.Py_ssize_t:
        """How many contacts an address-of-record has."""
        found = self._by_aor.get(aor)
        return 0 if found is None else len(found) if isinstance(found, list) else 1

    @cython.cfunc
    def is_alone(self, binding: Binding) -> cython.bint:
        """Is it the only contact of its address-of-record?"""
        return self._by_aor.get(binding.aor) is binding

    @cython.cfunc
    def spelled(self, aor: str, contact: str) -> Binding:
        """The one of that address-of-record whose phone spelled its Contact exactly so the last time, or None."""
        found = self._by_aor.get(aor)
        binding: Binding
        if isinstance(found, list):
            for binding in found:
                if binding.contact == contact:
                    return binding
        elif found is not None:
            binding = found
            if binding.contact == contact:
                return binding
        return None

    @cython.ccall
    def add(self, binding: Binding):
        """A new one; there must be none with its token."""
        self._by_token[binding.token] = binding
        self._last = binding
        self._arrive(binding)
        present = self._by_aor.get(binding.aor)
        if present is None:
            self._by_aor[binding.aor] = binding
        elif isinstance(present, list):
            present.append(binding)
        else:
            self._by_aor[binding.aor] = [present, binding]

    @cython.ccall
    def remove(self, binding: Binding):
        del self._by_token[binding.token]
        self._last = None
        self._leave(binding)
        left = [other for other in self.of_aor(binding.aor) if other is not binding]
        if left:
            self._by_aor[binding.aor] = left if len(left) > 1 else left[0]
        else:
            del self._by_aor[binding.aor]

    @cython.cfunc
    def move(
        self, binding: Binding, transport: str, host: str, port: cython.int, local_host: str, local_port: cython.int
    ):
        """The phone is elsewhere now; the binding must have been added."""
        self._leave(binding)
        binding.transport = transport
        binding.host, binding.port = host, port
        binding.local_host, binding.local_port = local_host, local_port
        self._arrive(binding)

    @cython.cfunc
    def _arrive(self, binding: Binding):
        if binding.transport != "udp":
            self._connected.setdefault((binding.transport, binding.host), {})[binding.token] = binding

    @cython.cfunc
    def _leave(self, binding: Binding):
        if binding.transport != "udp":
            place = (binding.transport, binding.host)
            there: dict = self._connected.get(place)
            if there is not None:
                there.pop(binding.token, None)
                if not there:
                    del self._connected[place]

    def connected_at(self, transport: str, host: str) -> list[Binding]:
        """Those that came over a connection of that transport from that host."""
        return list(self._connected.get((transport, host), {}).values())


@cython.cfunc
def is_from(binding: Binding, flow: Flow) -> cython.bint:
    """Is the phone where it was?"""
    port: cython.int = flow.remote[1]
    return port == binding.port and flow.remote[0] == binding.host and flow.transport == binding.transport
