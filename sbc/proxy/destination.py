"""Where a request goes (RFC 3261 16.4 and 16.5): to a server of a group, to a phone, or no further.

The order of the questions: does our own Record-Route say it (a request inside a dialog)? does the token in the
Request-URI say it (a server calls a phone)? is it for us? which group serves the domain?

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import cython

from sbc.proxy.own_routes import CONTACT_TOKEN
from sbc.proxy.route_cookie import PARAMETER
from sbc.proxy.validation import NotServed, Refused
from sbc.sip.errors import MalformedMessage
from sbc.sip.headers import NameAddr

if cython.compiled:
    from cython.cimports.sbc.flow import Flow
    from cython.cimports.sbc.location.candidate import Candidate
    from cython.cimports.sbc.proxy.network import Network, PhoneAddress, phone_behind
    from cython.cimports.sbc.proxy.own_routes import OwnRoutes, ReadRoute
    from cython.cimports.sbc.proxy.route_cookie import RouteCookie
    from cython.cimports.sbc.proxy.sides import Origin, Sides
    from cython.cimports.sbc.redundancy.group import ServerGroup
    from cython.cimports.sbc.sip.head import OTHER_SCHEME, TEL_SCHEME, URN_SCHEME
    from cython.cimports.sbc.sip.message import Request
    from cython.cimports.sbc.sip.remembered import Remembered
    from cython.cimports.sbc.sip.scanner import OPTIONS, PROXY_REQUIRE, REGISTER, ROUTE, VIA
else:
    from sbc.flow import Flow
    from sbc.location.candidate import Candidate
    from sbc.proxy.network import Network, PhoneAddress, phone_behind
    from sbc.proxy.own_routes import OwnRoutes, ReadRoute
    from sbc.proxy.route_cookie import RouteCookie
    from sbc.proxy.sides import Origin, Sides
    from sbc.redundancy.group import ServerGroup
    from sbc.sip.head import OTHER_SCHEME, TEL_SCHEME, URN_SCHEME
    from sbc.sip.message import Request
    from sbc.sip.remembered import Remembered
    from sbc.sip.scanner import OPTIONS, PROXY_REQUIRE, REGISTER, ROUTE, VIA

COMPILED = bool(cython.compiled)

_MOST_TARGETS = 16384
"""Request-URIs kept: the Contacts of the phones and the numbers they call."""

_LONGEST_REMEMBERED = 256
"""Octets of a Request-URI that is kept; anybody may send longer ones, and nobody shall fill the memory with them."""


@cython.final
@cython.freelist(32)
@cython.cclass
class ToServers:
    """To the servers of a group, as its plan says.

    `phone` sent it: what the servers' requests in this dialog come back to. `first` is the dialog's own server, asked before
    all others. `peer` is the phone at the other end, where the call leads back through us to one of this site.
    """

    group: ServerGroup
    phone: PhoneAddress
    first: Candidate
    in_dialog: cython.bint
    peer: PhoneAddress


@cython.final
@cython.freelist(32)
@cython.cclass
class ToPhone:
    """To one phone. `candidate` is the server that sent it.

    `request_uri` is the phone's own Contact, where the server knows only the one we gave it; else None.
    """

    phone: PhoneAddress
    candidate: Candidate
    group: ServerGroup
    request_uri: str


@cython.final
@cython.freelist(32)
@cython.cclass
class ToUs:
    """For the appliance itself: OPTIONS, or a REGISTER for `group`."""

    group: ServerGroup


Destination = ToServers | ToPhone | ToUs


@cython.final
@cython.cclass
class Target:
    """What a Request-URI says: phones call the same numbers, and servers the same phones, again and again.

    `is_number`: a telephone number or an emergency service, which names no host. `is_pass`: it has the shape of our own
    Record-Route, put there by a strict router. `token` is that of a Contact we gave to servers. `group` serves its host.
    """

    is_number: cython.bint
    has_user: cython.bint
    is_pass: cython.bint
    token: str
    group: ServerGroup
    _uri: object  # SipUri | None
    _ours: cython.bint
    _epoch: cython.long


@cython.cclass
class Destinations:
    """Finds the destination of a request.

    `registrar` knows the phones' bindings (`binding_for_token`, `bindings_for_aor`).
    """

    _sides: Sides
    _registrar: object
    _network: Network
    _own_routes: OwnRoutes
    _by_domain: dict
    _targets: Remembered
    _path_token: str  # of the request whose Routes were taken off last

    def __init__(
        self, groups: Iterable[ServerGroup], sides: Sides, registrar: object, network: Network, own_routes: OwnRoutes
    ) -> None:
        groups = tuple(groups)
        self._sides = sides
        self._registrar = registrar
        self._network = network
        self._own_routes = own_routes
        self._targets = Remembered(_MOST_TARGETS)
        self._path_token = None
        self._by_domain: dict[str, ServerGroup] = {}
        for group in groups:
            for domain in group.settings.domains:
                self._by_domain.setdefault(domain.lower(), group)
        for group in groups:
            # A phone that was given the server's address instead of a domain is served as well.
            for server in group.settings.servers:
                for address in server.addresses:
                    self._by_domain.setdefault(address.lower(), group)

    @cython.ccall
    def find(self, request: Request, flow: Flow) -> object:  # Destination
        """Where it goes. Takes our own Route values off the request. Raises Refused (403, 404, 481) and MalformedMessage."""
        return self.reach(self.target_of(request), request, flow)

    @cython.cfunc
    def reach(self, target: Target, request: Request, flow: Flow) -> object:  # Destination
        """`find` for who has asked for the target already.

        A socket whose `side` is servers is none for strangers, nor for phones. Only whoever has a Route that we have signed is
        part of a call: it may come from a server that DNS does not name any more.
        """
        cookies: list = None
        path_token: str = None
        if request.may_have(ROUTE):
            self._path_token = None
            cookies = self._take_our_routes(target, request)
            path_token = self._path_token
        origin: Origin = self._sides.server_of(flow)
        if cookies is not None:
            return self._by_cookie(target, request, cookies, flow, origin)
        if target.is_pass:  # and has perhaps been replaced
            target = self.target_of(request)
        if origin is None and flow.side == "servers" and not self._only_asks(request, target):
            raise Refused(403, "Source Address Is Not A Configured Server")
        if origin is not None and path_token is not None and not target.token:
            return self._by_path(request, path_token, origin)
        if self._is_ours(target):
            return self._for_us(request, target, origin)
        if origin is not None:
            raise Refused(404, "No Such Phone Here")
        group: ServerGroup = self._group_for(request, target)
        if group is None:
            if flow.side != "phones" and self._sides.is_server_host(flow.remote[0]):
                raise Refused(403, "Source Address Is Not A Configured Server")
            raise NotServed(next(iter(_hosts_of(request.to, request.from_)), ""))
        in_dialog: cython.bint = request.has_to_tag()
        if request.method_code == REGISTER:
            return to_us(group)
        if request.method_code == OPTIONS and not in_dialog and not target.has_user:
            return to_us(group)  # the phone asks whether its server is there: for the phone, that is us
        return to_servers(group, phone_behind(flow), None, in_dialog, None)

    @cython.cfunc
    def _only_asks(self, request: Request, target: Target) -> cython.bint:
        """An OPTIONS for us: anybody may know that we are there, on a socket for servers too."""
        if request.method_code != OPTIONS:
            return False
        return self._is_ours(target) or not (target.has_user or request.has_to_tag())

    def asks_for_unknown_phone(self, request: Request, flow: Flow) -> bool:
        """True for a server's request outside of dialogs for a phone that is not registered here.

        Of several processes that share a port another may know it. Changes nothing about the request.
        """
        origin: Origin = self._sides.server_of(flow)
        if origin is None:
            return False
        route: ReadRoute = self._own_routes.top_of(request)
        if route is not None:
            if route.has_cookie:
                # Inside a dialog the cookie says it all, to anyone; but a connection is at one of them.
                return route.ours and route.cookie is not None and self._has_lost(route.cookie.phone, request)
            if route.ours and route.token is not None:
                return self._registrar.binding_for_token(route.token) is None
        target: Target = self.target_of(request)
        if not self._is_ours(target):
            return False
        if target.token:
            return self._registrar.binding_for_token(target.token) is None
        return target.has_user and self._newest_binding(request, origin.groups) is None

    @cython.cfunc
    def is_question_to_us(self, request: Request, flow: Flow) -> cython.bint:
        """True for an OPTIONS that we can answer at a glance: a phone asks whether its server is there, or anybody whether
        we are. False also for whatever takes a second look."""
        if (
            request.has_to_tag()
            or request.may_have(ROUTE | PROXY_REQUIRE)
            or request.hops_left() == 0
            or not request.has_one(VIA)
        ):
            return False
        try:
            target: Target = self.target_of(request)
        except (Refused, MalformedMessage):
            return False
        if target.token is not None:
            return False
        from_phone: cython.bint = self._sides.server_of(flow) is None
        if self._is_ours(target):
            return from_phone or not target.has_user
        return from_phone and not target.has_user and target.group is not None

    @cython.cfunc
    def target_of(self, request: Request) -> Target:
        """What its Request-URI says (16.3 items 1 and 2). Raises Refused (416), and MalformedMessage when it is broken."""
        known: Target = request.request_uri_in(self._targets)
        return self._new_target(request) if known is None else known

    @cython.cfunc
    def _new_target(self, request: Request) -> Target:
        if request.scheme == OTHER_SCHEME:
            raise Refused(416)
        target: Target = Target.__new__(Target)
        target.is_number = request.scheme == TEL_SCHEME or request.scheme == URN_SCHEME  # urn:service:sos, RFC 5031
        target.has_user = target.is_number
        target.is_pass = False
        target.token = None
        target.group = None
        target._uri = None
        target._ours = False
        target._epoch = 0
        if not target.is_number:
            uri = target._uri = request.read_uri()
            target.has_user = bool(uri.user)
            target.is_pass = PARAMETER in uri.parameters and "lr" in uri.parameters
            target.token = uri.parameters.get(CONTACT_TOKEN)
            target.group = self._by_domain.get(uri.host.lower())
        uri_bytes: bytes = request.request_uri_bytes()
        if len(uri_bytes) <= _LONGEST_REMEMBERED:
            self._targets.keep(uri_bytes, target)
        return target

    @cython.cfunc
    def _is_ours(self, target: Target) -> cython.bint:
        """Does it name the appliance?"""
        if target._epoch != self._network.epoch:
            target._ours = not target.is_number and self._network.is_ours(target._uri)
            target._epoch = self._network.epoch
        return target._ours

    @cython.cfunc
    def _group_for(self, request: Request, target: Target) -> ServerGroup:
        """The group that serves the Request-URI's host, or else the To host; None when nobody does."""
        if target.group is not None:
            return target.group
        # A telephone number names no host, so there the caller's own domain decides.
        named = (request.to, request.from_) if target.is_number else (request.to,)
        for host in _hosts_of(*named):
            if host in self._by_domain:
                return self._by_domain[host]
        return self._by_domain.get("*")

    # -- inside dialogs --------------------------------------------------------------------------------------------------

    @cython.cfunc
    def _take_our_routes(self, target: Target, request: Request) -> list:
        """16.4: take the Route values that name us off the top. Returns their cookies, one for each pass through here; None
        when there is none.

        A strict router before us has put our Record-Route into the Request-URI and the target into the last Route.
        """
        cookies: list = None
        route: ReadRoute
        if target.is_pass and request.has("Route") and self._is_ours(target):
            cookies = []
            self._untangle_strict_route(request, cookies)
        while True:
            route = self._own_routes.top_of(request)
            if route is None or not route.ours:
                break
            request.drop_first(ROUTE)
            if route.token is not None:
                self._path_token = route.token
            if route.has_cookie:
                if route.cookie is None:
                    raise Refused(403, "Route Not Signed By This Appliance")
                # Two lines with one cookie are one pass: we record-route on both sides when these differ.
                if cookies is None:
                    cookies = [route.cookie]
                elif not _has(cookies, route.cookie):
                    cookies.append(route.cookie)
        return cookies or None

    @cython.cfunc
    def _untangle_strict_route(self, request: Request, cookies: list):
        cookie = self._own_routes.cookie_in(request.uri)
        if cookie is not None:
            cookies.append(cookie)
        routes = request.get_all("Route")
        request.request_uri = NameAddr.parse(routes[-1], "Route").uri_text
        request.remove("Route")
        for route in routes[:-1]:
            request.append("Route", route)

    @cython.cfunc
    def _by_cookie(self, target: Target, request: Request, cookies: list, flow: Flow, origin: Origin) -> object:  # Destination
        cookie: RouteCookie = cookies[0]
        from_server: cython.bint = origin is not None or not self._looks_like_phone(cookie, flow)
        if len(cookies) > 1 and not from_server:
            # The servers between two passes did not record-route: the second pass leads straight to the other phone.
            cookie = cookies[len(cookies) - 1]
            from_server = True
        groups: list = self._sides.groups_of(cookie)
        if from_server:
            phone: PhoneAddress = cookie.phone
            if phone.transport != "udp" and self._network.to_phone(phone) is None:
                phone = self._connected_again(phone, request)
            return to_phone(phone, cookie.candidate, groups[0] if groups else None, self._contact_behind(target))
        group: ServerGroup = groups[0] if len(groups) == 1 else self._group_of_dialog(request, groups)
        if group is None:
            raise Refused(481, "The Server Of This Dialog Is No Longer Configured")
        return to_servers(group, phone_behind(flow), cookie.candidate, True, self._peer_behind(request))

    @cython.cfunc
    def _contact_behind(self, target: Target) -> str:
        """The phone's own spelling of a Contact of ours; None for any other Request-URI. Inside a dialog a server puts ours in
        when it translates a GRUU (RFC 5627 6)."""
        binding = self._registrar.binding_for_token(target.token) if target.token and self._is_ours(target) else None
        return None if binding is None else binding.contact_uri

    def _has_lost(self, phone: PhoneAddress, request: Request) -> bool:
        """True for a phone whose connection is not here."""
        if phone.transport == "udp" or self._network.to_phone(phone) is not None:
            return False
        return self._connected_again(phone, request) is phone

    def _connected_again(self, phone: PhoneAddress, request: Request) -> PhoneAddress:
        """A phone's connection broke during the call, and it has registered over another one since (RFC 5626 4.2)."""
        binding = self._registrar.binding_with_contact(phone.transport, phone.host, request.request_uri)
        if binding is None:
            return phone
        return PhoneAddress(binding.transport, binding.host, binding.port, binding.local_port)

    @cython.cfunc
    def _peer_behind(self, request: Request) -> PhoneAddress:
        """Behind the servers' Routes our own comes again when the other end is a phone of this site; else None."""
        if request.place_of(ROUTE) < 0:
            return None
        route: ReadRoute
        for value in request.get_all("Route"):
            route = self._own_routes.read(value.encode("utf-8", "surrogateescape"))
            if route.has_cookie and route.ours:
                return route.cookie.phone if route.cookie is not None else None
        return None

    def _group_of_dialog(self, request: Request, groups: list[ServerGroup]) -> ServerGroup | None:
        """Whose servers take over when the dialog's own is dead: of the groups that have it, the one of the phone's domain.

        None has it when DNS names other addresses by now. The call is still there, so the phone's domain decides alone.
        """
        named = [
            self._by_domain[host] for host in _hosts_of(request.from_, request.to) if host in self._by_domain
        ]
        if not groups:
            return named[0] if named else self._by_domain.get("*")
        return next((group for group in named if group in groups), groups[0])

    @cython.cfunc
    def _looks_like_phone(self, cookie: RouteCookie, flow: Flow) -> cython.bint:
        """Not from a known server's port. The phone's own address decides; after that, its host (it may have a new port)."""
        port: cython.int = flow.remote[1]
        if cookie.phone.port == port and cookie.phone.host == flow.remote[0]:
            return True
        return flow.side == "phones" or flow.remote[0] != cookie.candidate.address

    # -- to one of our own addresses -------------------------------------------------------------------------------------

    @cython.cfunc
    def _for_us(self, request: Request, target: Target, origin: Origin) -> object:  # Destination
        if origin is None:
            if target.token is not None:
                raise Refused(403, "Only Servers May Use This Contact")
            if request.method_code == OPTIONS:
                return to_us(None)
            if request.method_code == REGISTER and (group := self._group_for(request, target)) is not None:
                return to_us(group)
            raise Refused(481 if request.has_to_tag() else 404)
        if target.token:
            binding = self._registrar.binding_for_token(target.token)
        else:
            binding = self._newest_binding(request, origin.groups)
        if binding is None:
            if request.method_code == OPTIONS and not target.token:
                return to_us(None)
            raise Refused(404, "No Such Phone Here")
        phone = PhoneAddress(binding.transport, binding.host, binding.port, binding.local_port)
        return to_phone(phone, origin.candidate, origin.groups[0], binding.contact_uri)

    def _by_path(self, request: Request, token: str, origin: Origin) -> object:  # Destination
        """Our Path says which phone it is (RFC 3327). The Request-URI stays where it is a GRUU, which the phone knows for its
        own (RFC 5627); anything else is no name that the phone has for itself."""
        binding = self._registrar.binding_for_token(token)
        if binding is None:
            raise Refused(404, "No Such Phone Here")
        uri = None if request.scheme in (TEL_SCHEME, URN_SCHEME) else request.read_uri()
        is_gruu = uri is not None and "gr" in uri.parameters
        phone = PhoneAddress(binding.transport, binding.host, binding.port, binding.local_port)
        return to_phone(phone, origin.candidate, origin.groups[0], None if is_gruu else binding.contact_uri)

    def _newest_binding(self, request: Request, groups: Iterable[ServerGroup]):
        """A server that was configured to send calls to `number@appliance` instead of a registered Contact."""
        user = request.uri.user
        if not user:
            return None
        for group in groups:
            for domain in group.settings.domains:
                bindings = self._registrar.bindings_for_aor(f"sip:{user}@{domain}")
                if bindings:
                    return max(bindings, key=lambda binding: binding.expires_at)
        return None


@cython.cfunc
def _has(cookies: list, wanted: RouteCookie) -> cython.bint:
    cookie: RouteCookie
    for cookie in cookies:  # noqa: SIM110 (compiled, this makes no generator)
        if cookie.same_as(wanted):
            return True
    return False


@cython.cfunc
def to_servers(
    group: ServerGroup, phone: PhoneAddress, first: Candidate, in_dialog: cython.bint, peer: PhoneAddress
) -> ToServers:
    destination: ToServers = ToServers.__new__(ToServers)
    destination.group = group
    destination.phone = phone
    destination.first = first
    destination.in_dialog = in_dialog
    destination.peer = peer
    return destination


@cython.cfunc
def to_phone(phone: PhoneAddress, candidate: Candidate, group: ServerGroup, request_uri: str) -> ToPhone:
    destination: ToPhone = ToPhone.__new__(ToPhone)
    destination.phone = phone
    destination.candidate = candidate
    destination.group = group
    destination.request_uri = request_uri
    return destination


@cython.cfunc
def to_us(group: ServerGroup) -> ToUs:
    destination: ToUs = ToUs.__new__(ToUs)
    destination.group = group
    return destination


def _hosts_of(*addresses: NameAddr) -> Iterator[str]:
    """In lower case; an address without a host (tel:) gives none."""
    for address in addresses:
        try:
            yield address.uri.host.lower()
        except MalformedMessage:
            continue
