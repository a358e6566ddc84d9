"""All sockets of the appliance together: which one to use towards whom, and which addresses are our own."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any

from sbc.flow import Flow
from sbc.location.candidate import Candidate
from sbc.sip.errors import MalformedMessage
from sbc.sip.uri import SipUri
from sbc.transport.addresses import canonical_host, local_address_towards
from sbc.transport.dialled import Dialler
from sbc.transport.tcp import StreamTransport
from sbc.transport.udp import UdpTransport

DEFAULT_PORTS = {"udp": 5060, "tcp": 5060, "tls": 5061}  # RFC 3261 19.1.2

_EPHEMERAL = 32768
"""Ports from here on the kernel gives to connections that bind none (ip_local_port_range); nobody listens there for long."""

_MOST_REMEMBERED = 4096
"""Hosts and ports of URIs, which senders choose."""

Transport = UdpTransport | StreamTransport


class Listeners:
    """The transports of every `[[listen]]`, in the order of the configuration, and the connections that we make.

    Without a `dialler` only UDP leads to servers.
    """

    def __init__(self, transports: Iterable[Transport] = (), dialler: Dialler | None = None) -> None:
        self.dialler = dialler
        self._transports: list[Transport] = []
        self._facing: dict[tuple[str, bool, str], list[Any]] = {}
        """By transport, whether it is IPv6, and the side that it faces."""
        self._ours: dict[tuple[str, int | None], bool] = {}
        """What `is_ours` has found out, until our addresses may have changed."""
        for transport in transports:
            self.add(transport)

    def add(self, transport: Transport) -> None:
        self._transports.append(transport)
        self._ours.clear()
        transport.own_addresses_forgotten = self._ours.clear
        for side in ("phones", "servers") if transport.side == "both" else (transport.side,):
            key = (transport.name, transport.family == socket.AF_INET6, side)
            self._facing.setdefault(key, []).append(transport)

    def __iter__(self):
        return iter(self._transports)

    def flow_to_server(self, candidate: Candidate) -> Flow | None:
        """The flow to a server, from the first socket of its family that may face servers; None when there is none.

        Of several, the first that has the address from which the kernel goes there. A connection can be made without a
        socket that listens for its transport, as long as some socket of that family may face servers.
        """
        is_ipv6 = ":" in candidate.address
        usable = self._facing.get((candidate.transport, is_ipv6, "servers"))
        if candidate.transport == "udp":
            return _nearest(usable, candidate.address).flow_to(candidate.address, candidate.port) if usable else None
        if self.dialler is None:
            return None
        if usable:
            return self._dialled(candidate, "servers", _nearest(usable, candidate.address))
        others = self._facing.get(("udp", is_ipv6, "servers")) or [
            transport for (_, ipv6, side), known in self._facing.items() if ipv6 == is_ipv6 and side == "servers"
            for transport in known
        ]  # fmt: skip
        if not others:
            return None
        nearest = _nearest(others, candidate.address)
        host = local_address_towards(candidate.address) if nearest.is_wildcard else nearest.local[0]
        return self.dialler.flow_without_listener(candidate, host)

    def _dialled(self, candidate: Candidate, side: str, listener: Any) -> Flow:
        assert self.dialler is not None
        source = "" if listener.is_wildcard else listener.local[0]
        return self.dialler.flow_to(candidate, side, listener.sent_by(candidate.address), listener.local, source)

    def flow_to_phone(self, transport_name: str, host: str, port: int, local_port: int) -> Flow | None:
        """The flow to a phone's address, from the socket that it knows (RFC 3581: the port it sent to); None without any.

        When no socket has that port any more (the configuration changed), the first that may face phones. Several have it
        where phones are in more than one network: then the one in theirs. Over TCP and TLS: its connection; None when that
        is closed, for one that it has made cannot be made by us (`flow_to_contact`).
        """
        usable = self._facing.get((transport_name, ":" in host, "phones"))
        if transport_name != "udp":
            return self._connection_of(usable or (), transport_name, host, port)
        if not usable:
            return None
        if len(usable) > 1:
            usable = [transport for transport in usable if transport.local[1] == local_port] or usable
        return _nearest(usable, host).flow_to(host, port)

    def _connection_of(self, usable: Iterable[Any], transport_name: str, host: str, port: int) -> Flow | None:
        for transport in usable:
            flow = transport.flow_to(host, port)
            if flow is not None:
                return flow
        return self.dialler.existing(transport_name, host, port) if self.dialler is not None else None

    def flow_to_contact(self, transport_name: str, host: str, contact: str) -> Flow | None:
        """A new connection to a phone at `host`, whose own is closed, to the URI of its Contact; None when it cannot be.

        RFC 3261 wants the Contact to be where a phone listens, but many write there the end of a connection that is closed
        by now, or an address behind a NAT: RFC 5626 (section 1) was made for them. So we connect only when the Contact names
        the very address that the phone has, and no port of the kind that connections get. Not with TLS: a phone has no
        certificate to be known by (RFC 5626 4.2). Nobody can make us connect to another host than his own.
        """
        if transport_name != "tcp" or self.dialler is None:
            return None
        try:
            uri = SipUri.parse(contact)
        except MalformedMessage:
            return None
        port = uri.port or DEFAULT_PORTS["tcp"]
        named = (uri.parameters.get("transport") or "tcp").lower()
        if uri.scheme != "sip" or named != "tcp" or canonical_host(uri.host) != host or port >= _EPHEMERAL:
            return None
        usable = self._facing.get(("tcp", ":" in host, "phones"))
        return self._dialled(Candidate(host, port, "tcp"), "phones", _nearest(usable, host)) if usable else None

    def is_ours(self, host: str, port: int | None) -> bool:
        """True when a URI with this host and port names this appliance."""
        ours = self._ours.get((host, port))
        if ours is None:
            if len(self._ours) >= _MOST_REMEMBERED:
                self._ours.clear()
            ours = any(
                transport.answers_to(host, port or DEFAULT_PORTS[transport.name]) for transport in self._transports
            )
            self._ours[host, port] = ours
        # Not remembered: these come and go.
        return ours or (port is not None and self.dialler is not None and self.dialler.answers_to(host, port))

    def stop(self) -> None:
        for transport in self._transports:
            transport.stop()
        if self.dialler is not None:
            self.dialler.stop()


def _nearest(transports: list[Any], host: str) -> Any:
    if len(transports) == 1:
        return transports[0]
    return next((transport for transport in transports if transport.leads_to(host)), transports[0])
