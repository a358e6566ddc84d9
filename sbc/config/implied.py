"""Sockets that follow from a configuration without being written there (RFC 3261 18.2.1)."""

from __future__ import annotations

from dataclasses import replace

from sbc.config.model import Config, Listen
from sbc.redundancy.settings import ServerSettings


def places_of_implied_tcp(config: Config) -> list[int]:
    """The UDP sockets, by their places in `config.listens`, that want TCP beside them: on the same address and port.

    "For any port and interface that a server listens on for UDP, it MUST listen on that same port and interface for TCP."
    Here only where a server may be reached by TCP and no `[[listen]]` says where it reaches us.
    """
    if not any(may_use_tcp(server) for group in config.groups for server in group.servers):
        return []
    towards_servers = [(place, listen) for place, listen in enumerate(config.listens) if listen.side != "phones"]
    families = {":" in listen.address for _, listen in towards_servers if listen.transport == "tcp"}
    return [
        place for place, listen in towards_servers if listen.transport == "udp" and (":" in listen.address) not in families
    ]


def tcp_beside(listen: Listen) -> Listen:
    """What would have been written for it. Phones keep to the sockets that they were told of: here they are refused."""
    return replace(listen, transport="tcp", side="servers")


def may_use_tcp(server: ServerSettings) -> bool:
    """Could a request go to this server by TCP? Where DNS says so, too."""
    return server.transport not in ("udp", "tls") or server.large_requests == "tcp"
