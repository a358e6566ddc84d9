"""Socket addresses: raw (as the kernel writes them), as host and port, and as written in SIP."""

from __future__ import annotations

import socket
import struct
from functools import lru_cache
from ipaddress import ip_address

_PORT = struct.Struct("!H")


def raw_address(host: str, port: int) -> bytes:
    """`struct sockaddr_in` or `sockaddr_in6` for an IP literal. Raises ValueError when `host` is not one."""
    address = ip_address(host)
    if address.version == 4:
        return struct.pack("=H", socket.AF_INET) + _PORT.pack(port) + address.packed + bytes(8)
    zone = address.scope_id or "0"
    scope = int(zone) if zone.isdigit() else socket.if_nametoindex(zone)
    return struct.pack("=H", socket.AF_INET6) + _PORT.pack(port) + bytes(4) + address.packed + struct.pack("=I", scope)


def host_and_port(raw: bytes) -> tuple[str, int]:
    """The other way round; IPv6 without brackets, a link-local one with its scope."""
    (family,) = struct.unpack_from("=H", raw)
    (port,) = _PORT.unpack_from(raw, 2)
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, raw[4:8]), port
    host = socket.inet_ntop(socket.AF_INET6, raw[8:24])
    (scope,) = struct.unpack_from("=I", raw, 24)
    return (f"{host}%{scope}" if scope else host), port


def written(host: str, port: int) -> str:
    """`host:port` with brackets around IPv6 (RFC 3261 25.1, RFC 5118)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def local_address_towards(host: str) -> str:
    """The address of ours that the kernel would use to reach `host`: what a socket bound to the wildcard must write.

    No packet is sent: connecting a datagram socket only looks up the route. Without a route, the loopback address.
    """
    try:
        return _source_towards(host)
    except OSError:
        # Not remembered: after a power cut we may be up before the network is.
        return "::1" if ":" in host else "127.0.0.1"


@lru_cache(maxsize=65536)
def _source_towards(host: str) -> str:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((host, 9))
        return probe.getsockname()[0]


def is_loopback(host: str) -> bool:
    """True for an IP literal that never leaves this machine. Raises ValueError for anything else than a literal."""
    return ip_address(host).is_loopback


@lru_cache(maxsize=4096)
def is_local_address(host: str) -> bool:
    """True when `host` is an IP literal of this machine: only such an address can be bound."""
    try:
        ip_address(host)
    except ValueError:
        return False  # a name: bind() would ask DNS for it, and every call would wait for the answer
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((host, 0))
    except OSError:
        return False
    return True


def forget_own_addresses() -> None:
    """Look again: DHCP, or the peer of a pair, may have given this machine other addresses."""
    _source_towards.cache_clear()
    is_local_address.cache_clear()


def canonical_host(host: str) -> str:
    """A host of a URI as it can be compared: names in lower case, an IPv6 address in its one spelling (RFC 5952)."""
    if ":" not in host:
        return host.lower()
    try:
        return str(ip_address(host))
    except ValueError:
        return host.lower()
