"""Where a request goes (RFC 3261 16.4 and 16.5): to a server of a group, to a phone, or no further.

The order of the questions: does our own Record-Route say it (a request inside a dialog)? does the token in the
Request-URI say it (a server calls a phone)? is it for us? which group serves the domain?

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import cython

from sbc.flow import Flow
from sbc.proxy.route_cookie import PARAMETER, PhoneAddress, RouteCookie
from sbc.proxy.validation import Refused
from sbc.redundancy.group import ServerGroup
from sbc.sip.errors import MalformedMessage
from sbc.sip.headers import NameAddr
from sbc.sip.uri import SipUri

if cython.compiled:
    from cython.cimports.sbc.proxy.sides import Sides
    from cython.cimports.sbc.sip.message import Request
    from cython.cimports.sbc.sip.scanner import ROUTE
else:
    from sbc.proxy.sides import Sides
    from sbc.sip.message import Request
    from sbc.sip.scanner import ROUTE

COMPILED = bool(cython.compiled)

CONTACT_TOKEN = "gw-tok"
"""The URI parameter of the Contact that we give to servers for a phone (pitfall D25)."""

_MOST_FLOWS = 65536


@cython.cclass
@dataclass(frozen=True)
class ToServers:
    """To the servers of a group, as its plan says."""

    group: object  # ServerGroup
    phone: object  # PhoneAddress
    """Who sent it: what the servers' requests in this dialog come back to."""
    first: object = None  # Candidate
    """The dialog's own server, asked before all others."""
    in_dialog: cython.bint = False
    peer: object = None  # PhoneAddress
    """The phone at the other end, where the call leads back through us to one of this site."""


@cython.cclass
@dataclass(frozen=True)
class ToPhone:
    """To one phone."""

    phone: object  # PhoneAddress
    candidate: object  # Candidate
    """The server that sent it."""
    group: object  # ServerGroup | None
    request_uri: str = None
    """The phone's own Contact, where the server knows only the one we gave it."""


@cython.cclass
@dataclass(frozen=True)
class ToUs:
    """For the appliance itself: OPTIONS, or a REGISTER for `group`."""

    group: object = None  # ServerGroup


Destination = ToServers | ToPhone | ToUs


@cython.cclass
class Destinations:
    """Finds the destination of a request.

    `is_ours(host, port)` tells our own addresses; `registrar` knows the phones' bindings (`binding_for_token`,
    `bindings_for_aor`); `key` signs the route cookies.
    """

    _sides: Sides
    _registrar: object
    _is_ours: object
    _key: bytes
    _by_domain: dict
    _phones: dict

    def __init__(
        self,
        groups: Iterable[ServerGroup],
        sides: Sides,
        registrar: object,
        is_ours: Callable[[str, int | None], bool],
        key: bytes,
    ) -> None:
        groups = tuple(groups)
        self._sides = sides
        self._registrar = registrar
        self._is_ours = is_ours
        self._key = key
        self._phones: dict[Flow, PhoneAddress] = {}
        self._by_domain: dict[str, ServerGroup] = {}
        for group in groups:
            for domain in group.settings.domains:
                self._by_domain.setdefault(domain.lower(), group)
        for group in groups:
            # A phone that was given the server's address instead of a domain is served as well.
            for server in group.settings.servers:
                self._by_domain.setdefault(server.address.lower(), group)

    @cython.ccall
    def find(self, request: Request, flow: object) -> object:  # (request: Request, flow: Flow) -> Destination
        """Where it goes. Takes our own Route values off the request. Raises Refused (403, 404, 481) and MalformedMessage."""
        cookies: list = self._take_our_routes(request)
        origin = self._sides.server_of(flow)
        if cookies:
            return self._by_cookie(request, cookies, flow, origin)
        if not _is_number(request):
            uri = request.uri
            if self._is_ours(uri.host, uri.port):
                return self._for_us(request, origin)
        if origin is not None:
            raise Refused(404, "No Such Phone Here")
        group = self.group_for(request)
        if group is None:
            if flow.side != "phones" and self._sides.is_server_host(flow.remote[0]):
                raise Refused(403, "Source Address Is Not A Configured Server")
            raise Refused(403, "Domain Not Served Here")
        if request.method == "REGISTER":
            return ToUs(group)
        if request.method == "OPTIONS" and not request.to_tag and not _has_user(request):
            return ToUs(group)  # the phone asks whether its server is there: for the phone, that is us
        return ToServers(group, self._phone_address(flow), None, request.to_tag != "", None)

    def asks_for_unknown_phone(self, request: Request, flow: Flow) -> bool:
        """True for a server's request outside of dialogs for a phone that is not registered here.

        Of several processes that share a port another may know it. Changes nothing about the request.
        """
        origin = self._sides.server_of(flow)
        if origin is None or _is_number(request):
            return False
        route = request.first_of(ROUTE)
        if route is not None and PARAMETER in read_route(route).parameters:
            return False  # inside a dialog: the cookie says it all, to anyone
        uri = request.uri
        if not self._is_ours(uri.host, uri.port):
            return False
        token = uri.parameters.get(CONTACT_TOKEN)
        if token:
            return self._registrar.binding_for_token(token) is None
        return bool(uri.user) and self._newest_binding(request, origin.groups) is None

    @cython.ccall
    def group_for(self, request: Request) -> object:  # ServerGroup | None
        """The group that serves the Request-URI's host, or else the To host; None when nobody does."""
        if not _is_number(request):
            group = self._by_domain.get(request.uri.host.lower())
            if group is not None:
                return group
        for host in _named_hosts(request):
            if host in self._by_domain:
                return self._by_domain[host]
        return self._by_domain.get("*")

    # -- inside dialogs --------------------------------------------------------------------------------------------------

    @cython.cfunc
    def _take_our_routes(self, request: Request) -> list:
        """16.4: take the Route values that name us off the top. Returns their cookies, one for each pass through here.

        A strict router before us has put our Record-Route into the Request-URI and the target into the last Route.
        """
        cookies: list = []
        if not request.may_have(ROUTE):
            return cookies
        if PARAMETER in request._request_uri and self._strict_router_was_here(request):
            self._untangle_strict_route(request, cookies)
        top: str = request.first_of(ROUTE)
        while top is not None:
            uri = read_route(top)
            if not self._is_ours(uri.host, uri.port):
                break
            request.drop_first(ROUTE)
            if PARAMETER in uri.parameters:
                cookie = self._cookie_in(uri)
                if cookie is None:
                    raise Refused(403, "Route Not Signed By This Appliance")
                # Two lines with one cookie are one pass: we record-route on both sides when these differ.
                if cookie not in cookies:
                    cookies.append(cookie)
            top = request.first_of(ROUTE)
        return cookies

    def _strict_router_was_here(self, request: Request) -> bool:
        if not request.has("Route"):
            return False
        uri = request.uri
        return PARAMETER in uri.parameters and "lr" in uri.parameters and self._is_ours(uri.host, uri.port)

    @cython.cfunc
    def _untangle_strict_route(self, request: Request, cookies: list):
        cookie = self._cookie_in(request.uri)
        if cookie is not None:
            cookies.append(cookie)
        routes = request.get_all("Route")
        request.request_uri = NameAddr.parse(routes[-1], "Route").uri_text
        request.remove("Route")
        for route in routes[:-1]:
            request.append("Route", route)

    def _cookie_in(self, uri: SipUri) -> RouteCookie | None:
        text = uri.parameters.get(PARAMETER)
        return RouteCookie.verify(text, self._key) if text else None

    @cython.cfunc
    def _by_cookie(self, request: Request, cookies: list, flow: object, origin: object) -> object:  # Destination
        cookie = cookies[0]
        from_server = origin is not None or not self._looks_like_phone(cookie, flow)
        if len(cookies) > 1 and not from_server:
            # The servers between two passes did not record-route: the second pass leads straight to the other phone.
            cookie, from_server = cookies[-1], True
        groups: list = self._sides.groups_of(cookie.candidate)
        if from_server:
            return ToPhone(cookie.phone, cookie.candidate, groups[0] if groups else None)
        group = self._group_of_dialog(request, groups)
        if group is None:
            raise Refused(481, "The Server Of This Dialog Is No Longer Configured")
        return ToServers(group, self._phone_address(flow), cookie.candidate, True, self._peer_behind(request))

    @cython.cfunc
    def _phone_address(self, flow: object) -> object:  # (flow: Flow) -> PhoneAddress
        """The address behind a flow, as the cookie keeps it."""
        known = self._phones.get(flow)
        if known is None:
            if len(self._phones) >= _MOST_FLOWS:
                self._phones.clear()
            known = self._phones[flow] = phone_address(flow)
        return known

    @cython.cfunc
    def _peer_behind(self, request: Request) -> object:  # PhoneAddress | None
        """Behind the servers' Routes our own comes again when the other end is a phone of this site."""
        if request.first_of(ROUTE) is None:
            return None
        for route in request.get_all("Route"):
            uri = read_route(route)
            if PARAMETER in uri.parameters and self._is_ours(uri.host, uri.port):
                cookie = self._cookie_in(uri)
                return cookie.phone if cookie is not None else None
        return None

    def _group_of_dialog(self, request: Request, groups: list[ServerGroup]) -> ServerGroup | None:
        """Whose servers take over when the dialog's own is dead: of the groups that have it, the one of the phone's domain.

        None has it when DNS names other addresses by now. The call is still there, so the phone's domain decides alone.
        """
        if len(groups) == 1:
            return groups[0]
        named = [
            self._by_domain[host] for host in _hosts_of(request.from_, request.to) if host in self._by_domain
        ]
        if not groups:
            return named[0] if named else self._by_domain.get("*")
        return next((group for group in named if group in groups), groups[0])

    @staticmethod
    def _looks_like_phone(cookie: RouteCookie, flow: Flow) -> bool:
        """Not from a known server's port. The phone's own address decides; after that, its host (it may have a new port)."""
        if flow.remote == (cookie.phone.host, cookie.phone.port):
            return True
        return flow.side == "phones" or flow.remote[0] != cookie.candidate.address

    # -- to one of our own addresses -------------------------------------------------------------------------------------

    def _for_us(self, request: Request, origin) -> Destination:
        token = request.uri.parameters.get(CONTACT_TOKEN)
        if origin is None:
            if token is not None:
                raise Refused(403, "Only Servers May Use This Contact")
            if request.method == "OPTIONS":
                return ToUs()
            if request.method == "REGISTER" and (group := self.group_for(request)) is not None:
                return ToUs(group)
            raise Refused(481 if request.to_tag else 404)
        binding = self._registrar.binding_for_token(token) if token else self._newest_binding(request, origin.groups)
        if binding is None:
            if request.method == "OPTIONS" and not token:
                return ToUs()
            raise Refused(404, "No Such Phone Here")
        phone = PhoneAddress(binding.transport, binding.host, binding.port, binding.local_port)
        return ToPhone(phone, origin.candidate, origin.group, binding.contact_uri)

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


@lru_cache(4096)
def read_route(value: str) -> SipUri:
    """The URI of a Route value. A dialog sends the same one with each of its requests."""
    return NameAddr.parse(value, "Route").uri


def phone_address(flow: Flow) -> PhoneAddress:
    """The address behind a flow, as the cookie keeps it."""
    return PhoneAddress(flow.transport, flow.remote[0], flow.remote[1], flow.local[1])


@cython.cfunc
def _is_number(request: Request) -> cython.bint:
    """A telephone number or an emergency service: it names no host."""
    return not request._request_uri.startswith("sip:") and request._request_uri.lower().startswith(("tel:", "urn:"))


def _named_hosts(request: Request) -> Iterator[str]:
    """Hosts that may select the group. A telephone number has none, so there the caller's own domain decides."""
    if _is_number(request):
        yield from _hosts_of(request.to, request.from_)
    else:
        yield request.uri.host.lower()
        yield from _hosts_of(request.to)


def _hosts_of(*addresses: NameAddr) -> Iterator[str]:
    """In lower case; an address without a host (tel:) gives none."""
    for address in addresses:
        try:
            yield address.uri.host.lower()
        except MalformedMessage:
            continue


def _has_user(request: Request) -> bool:
    return _is_number(request) or bool(request.uri.user)
