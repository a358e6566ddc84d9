"""Our Record-Route lines: written on requests that open a dialog, and known again when they come back as Routes.

A dialog brings the same Route with each of its requests, and a phone the same lines with each of its calls, so both are made
and read once. Where the two sides of the box are different sockets there is one line for each (RFC 5658).

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1.
"""

from __future__ import annotations

import cython

from sbc.proxy.route_cookie import PARAMETER
from sbc.sip.headers import NameAddr
from sbc.sip.uri import SipUri

if cython.compiled:
    from cython.cimports.sbc.flow import Flow
    from cython.cimports.sbc.location.candidate import Candidate
    from cython.cimports.sbc.proxy.network import Network, PhoneAddress
    from cython.cimports.sbc.proxy.route_cookie import RouteCookie
    from cython.cimports.sbc.sip.head import SIPS_SCHEME
    from cython.cimports.sbc.sip.lines import OwnLine, new_line
    from cython.cimports.sbc.sip.message import Request
    from cython.cimports.sbc.sip.remembered import Remembered
    from cython.cimports.sbc.sip.scanner import INVITE, NOTIFY, REFER, ROUTE, SUBSCRIBE
else:
    from sbc.flow import Flow
    from sbc.location.candidate import Candidate
    from sbc.proxy.network import Network, PhoneAddress
    from sbc.proxy.route_cookie import RouteCookie
    from sbc.sip.head import SIPS_SCHEME
    from sbc.sip.lines import OwnLine, new_line
    from sbc.sip.message import Request
    from sbc.sip.remembered import Remembered
    from sbc.sip.scanner import INVITE, NOTIFY, REFER, ROUTE, SUBSCRIBE

COMPILED = bool(cython.compiled)

CONTACT_TOKEN = "gw-tok"
"""The URI parameter of the Contact that we give to servers for a phone, and of the Path (pitfall D25)."""

_MOST_READ = 16384
"""Route values kept: two for each phone that is in a call or was lately."""

_LONGEST_REMEMBERED = 512
"""Octets of a Route value that is kept."""

_MOST_WRITTEN = 8192


@cython.final
@cython.cclass
class ReadRoute:
    """What a Route value says: is it ours (as of an epoch), does it bring a cookie, and which (None when it is forged).

    `token` is that of a Path which we have given to a server for a contact, None in all others.
    """

    ours: cython.bint
    has_cookie: cython.bint
    cookie: RouteCookie
    token: str
    _uri: object
    _epoch: cython.long


@cython.final
@cython.cclass
class _Written:
    """Our Record-Route lines for one pair of flows."""

    candidate: Candidate
    phone: PhoneAddress
    inner: Flow
    outer: Flow
    lines: list


@cython.cclass
class OwnRoutes:
    """`key` signs the cookies in them."""

    _key: bytes
    _network: Network
    _read: Remembered
    _written: dict
    _epoch: cython.long  # of `_written`

    def __init__(self, key: bytes, network: Network) -> None:
        self._key = key
        self._network = network
        self._read = Remembered(_MOST_READ)
        self._written: dict[tuple[Flow, Flow], _Written] = {}
        self._epoch = 0

    @cython.cfunc
    def read(self, value: bytes) -> ReadRoute:
        """Raises MalformedMessage when it is no Route value."""
        known: ReadRoute = self._read.get(value)
        return self._of_today(self._read_now(value) if known is None else known)

    @cython.cfunc
    def top_of(self, request: Request) -> ReadRoute:
        """`read` for the first Route of a request; None without one."""
        known: ReadRoute = request.first_in(ROUTE, self._read)
        if known is None:
            value: bytes = request.first_bytes(ROUTE)
            if value is None:
                return None
            known = self._read_now(value)
        return self._of_today(known)

    @cython.cfunc
    def _read_now(self, value: bytes) -> ReadRoute:
        uri = NameAddr.parse(value.decode("utf-8", "surrogateescape"), "Route").uri
        return self._remember(value, uri, self.cookie_in(uri))

    @cython.cfunc
    def _of_today(self, known: ReadRoute) -> ReadRoute:
        """Whose it is depends on where we are."""
        if known._epoch != self._network.epoch:
            known._epoch = self._network.epoch
            known.ours = self._network.is_ours(known._uri)
        return known

    @cython.cfunc
    def _line(self, flow: Flow, cookie: RouteCookie) -> OwnLine:
        """Our Record-Route on one side; when it comes back it need not be read."""
        value: str = f"<sip:{flow.contact};lr;{PARAMETER}={cookie.sign(self._key)}>"
        self._remember(value.encode(), SipUri.read(value[1:-1]), cookie)
        return new_line("Record-Route", value)

    @cython.cfunc
    def _remember(self, value: bytes, uri: object, cookie: RouteCookie) -> ReadRoute:
        known: ReadRoute = ReadRoute.__new__(ReadRoute)
        known._uri = uri
        known._epoch = 0
        known.ours = False
        known.has_cookie = PARAMETER in uri.parameters
        known.cookie = cookie
        known.token = uri.parameters.get(CONTACT_TOKEN)
        # A forged one is not kept: the next will be another. Nor is a long one: senders shall not fill the memory.
        if (cookie is not None or not known.has_cookie) and len(value) <= _LONGEST_REMEMBERED:
            self._read.keep(value, known)
        return known

    @cython.cfunc
    def cookie_in(self, uri: object) -> RouteCookie:  # (uri: SipUri)
        """None without one, and when it is not signed with our key."""
        text = uri.parameters.get(PARAMETER)
        return RouteCookie.verify(text, self._key) if text else None

    @cython.cfunc
    def put_on(self, request: Request, candidate: Candidate, phone: PhoneAddress, inner: Flow, outer: Flow):
        """On a request that may open a dialog (RFC 3261 12, RFC 6665, RFC 3515).

        `outer` is where it leaves, `inner` where it came in.
        """
        # A NOTIFY has a To tag and opens a dialog all the same, when it overtakes the 200 to the SUBSCRIBE (RFC 6665 4.3).
        if request.method_code == NOTIFY or (
            (request.method_code == INVITE or request.method_code == SUBSCRIBE or request.method_code == REFER)
            and not request.has_to_tag()
        ):
            self._put_lines_on(request, candidate, phone, inner, outer)

    @cython.cfunc
    def _put_lines_on(self, request: Request, candidate: Candidate, phone: PhoneAddress, inner: Flow, outer: Flow):
        line: OwnLine
        lines: list
        if request.scheme == SIPS_SCHEME:
            lines = self._lines_for_sips(RouteCookie(candidate, phone), inner, outer)
        else:
            lines = self._lines(candidate, phone, inner, outer)
        for line in lines:
            request.put_first(line)

    def _lines_for_sips(self, cookie: RouteCookie, inner: Flow, outer: Flow) -> list[OwnLine]:
        """16.6 item 4: a `sips:` request gets a `sips:` Record-Route, and who has sent it insists on that. On a side without
        TLS nobody could use one."""
        lines = []
        for flow in (inner, outer):
            scheme, contact = ("sips", flow.contact.partition(";")[0]) if flow.transport == "tls" else ("sip", flow.contact)
            lines.append(new_line("Record-Route", f"<{scheme}:{contact};lr;{PARAMETER}={cookie.sign(self._key)}>"))
        return lines

    @cython.cfunc
    def _lines(self, candidate: Candidate, phone: PhoneAddress, inner: Flow, outer: Flow) -> list:
        known: _Written = phone.written
        if known is not None and known.candidate is candidate and known.inner is inner and known.outer is outer:
            return known.lines  # a phone calls again, by the same server
        pair = (inner, outer)
        if self._epoch != self._network.epoch:
            self._epoch = self._network.epoch
            self._written.clear()  # flows may have been forgotten; they must not live on here
        known = self._written.get(pair)
        if known is None or not known.candidate.same_as(candidate) or not known.phone.same_as(phone):
            known = _Written.__new__(_Written)
            known.candidate = candidate
            # A copy without its slots: what a phone's address leads to must not lead back to it.
            known.phone = PhoneAddress(phone.transport, phone.host, phone.port, phone.local_port)
            known.inner = inner
            known.outer = outer
            cookie = RouteCookie(candidate, phone)
            known.lines = [self._line(inner, cookie)]
            if outer.contact != inner.contact:
                known.lines.append(self._line(outer, cookie))
            if len(self._written) >= _MOST_WRITTEN:
                self._written.clear()
            self._written[pair] = known
        phone.written = known
        return known.lines
