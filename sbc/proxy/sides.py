"""Who sent it: a call server of one of the groups, or anybody else, who is treated as a phone, or refused on a socket that
is there for servers only (`destination`).

A server is known by the address that requests to it go to. UDP has no other sign, so there the port must fit too: phones
and servers may share a host. Over TCP and TLS the source port says nothing and the host decides. Servers that send from
further addresses are listed in the group's `sources`.

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import cython

from sbc.proxy.network import new_epoch
from sbc.redundancy.group import ServerGroup

if cython.compiled:
    from cython.cimports.sbc.flow import Flow
    from cython.cimports.sbc.location.candidate import Candidate
    from cython.cimports.sbc.proxy.route_cookie import RouteCookie
else:
    from sbc.flow import Flow
    from sbc.location.candidate import Candidate
    from sbc.proxy.route_cookie import RouteCookie

COMPILED = bool(cython.compiled)


@cython.final
@cython.cclass
class Origin:
    """A server that sent something, and the groups that it serves, at least one: several customers may share one server."""

    candidate: Candidate
    groups: tuple

    def __init__(self, candidate: Candidate, groups: tuple[ServerGroup, ...]) -> None:
        self.candidate = candidate
        self.groups = groups


@cython.cclass
class Sides:
    """Reads the groups' candidates; `refresh` after they changed."""

    _groups: tuple
    _by_address: dict
    _by_host: dict
    _listed: dict
    _networks: list
    _epoch: cython.long  # of what the slots of flows and cookies remember; another one from each `refresh` on

    def __init__(self, groups: Iterable[ServerGroup] = ()) -> None:
        self._groups = tuple(groups)
        self._by_address: dict[tuple[str, int], Origin] = {}
        self._by_host: dict[str, Origin] = {}
        self._listed: dict[Candidate, Candidate] = {}
        self._networks: list[tuple[IPv4Network | IPv6Network, ServerGroup]] = []
        self.refresh()

    @cython.ccall
    def refresh(self):
        """Learn the groups' candidates anew."""
        self._by_address.clear()
        self._by_host.clear()
        self._listed.clear()
        self._networks.clear()
        self._epoch = new_epoch()
        for group in self._groups:
            for _server, candidate in group.candidates():
                self._listed.setdefault(candidate, candidate)
                address = (candidate.address, candidate.port)
                self._by_address[address] = _also_of(self._by_address.get(address), candidate, group)
                self._by_host[address[0]] = _also_of(self._by_host.get(address[0]), candidate, group)
            self._networks += [(ip_network(network, strict=False), group) for network in group.settings.sources]

    @cython.ccall
    def server_of(self, flow: Flow) -> Origin:
        """The server behind a flow; None for a phone. The flow remembers it: it is asked twice for every message."""
        if flow.origin_epoch != self._epoch:
            flow.origin = self._find_server_of(flow)
            flow.origin_epoch = self._epoch
        return flow.origin

    @cython.cfunc
    def _find_server_of(self, flow: Flow) -> Origin:
        if flow.side == "phones":
            return None
        host, port = flow.remote
        origin = self._by_address.get((host, port))
        if origin is not None:
            return origin
        if flow.transport != "udp" and host in self._by_host:
            return self._by_host[host]
        return self._from_sources(host, port, flow.transport) if self._networks else None

    def is_server_host(self, host: str) -> bool:
        """True when some server has this IP address."""
        return host in self._by_host

    @cython.cfunc
    def groups_of(self, cookie: RouteCookie) -> list:  # list[ServerGroup]
        """The groups that held this cookie's candidate at the last `refresh`."""
        if cookie.groups_epoch != self._epoch:
            cookie.groups = [group for group in self._groups if group.owner(cookie.candidate) is not None]
            # The very object that plans give out, which is then found everywhere at a glance.
            cookie.candidate = self._listed.get(cookie.candidate, cookie.candidate)
            cookie.groups_epoch = self._epoch
        return cookie.groups

    def _from_sources(self, host: str, port: int, transport: str) -> Origin | None:
        address = ip_address(host.partition("%")[0])
        groups = tuple(group for network, group in self._networks if address in network)
        # Answers and in-dialog requests go back to where this came from.
        return Origin(Candidate(host, port, transport), groups) if groups else None


def _also_of(known: Origin | None, candidate: Candidate, group: ServerGroup) -> Origin:
    if known is None:
        return Origin(candidate, (group,))
    return known if group in known.groups else Origin(known.candidate, (*known.groups, group))
