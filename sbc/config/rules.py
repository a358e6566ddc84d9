"""What only shows when tables are compared: names used twice, sockets that collide, servers out of reach.
And the warnings: settings that work, but otherwise than they look.

A rule looks only at tables without errors of their own: a value that stands in for a wrong one proves nothing.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import fields

from sbc.config import contradictions
from sbc.config.groups import SERVER_FIELD
from sbc.config.kinds import is_ip_address, split_port
from sbc.config.model import Config, Endpoint, Listen, cores_for_us
from sbc.config.reader import Document
from sbc.config.toml_lines import Path as TomlPath
from sbc.location import procedure
from sbc.redundancy.schedule import Timing, give_up
from sbc.redundancy.settings import GroupSettings, ServerSettings

DEFAULT_PORTS = {**procedure.DEFAULT_PORTS, "tcp-preferred": 5060, "dns-naptr": 5060}  # S7

PHONE_PATIENCE = 31
"""Seconds in which a request other than INVITE must be answered: 64*T1 of the phone, less one (pitfall D1)."""

_ANY = ("0.0.0.0", "::")  # noqa: S104 (compared, not bound)


def check(document: Document, config: Config) -> None:
    """Apply every rule; errors and warnings go to the document."""
    _check_listens(document, config)
    _check_group_names(document, config)
    for position, group in enumerate(config.groups):
        path: TomlPath = ("group", position)
        _check_group(document, path, group)
        for place, server in enumerate(group.servers):
            server_path = (*path, "server", place)
            if document.sound(server_path):
                _check_reach(document, config, server_path, server)
                _warn_server(document, server_path, server)
        if document.sound(path):
            _warn_group(document, path, group)
            _warn_failback(document, path, group)
            _warn_never_tried(document, config, path, group)
    _warn_workers(document, config)
    contradictions.warn(document, config)
    if config.http and document.sound(("http",)) and not _is_loopback(config.http.address):
        document.warn(
            ("http", "address"),
            f"everyone who reaches {config.http.address} can read names and addresses of phones; there is no password",
        )


def _warn_workers(document: Document, config: Config) -> None:
    workers, cores = config.appliance.workers, cores_for_us()
    if workers > cores and document.sound(("appliance", "workers")):
        text = f"{workers} workers on {cores} cores: more of them cost more and serve no more phones"
        document.warn(("appliance", "workers"), text)


def _check_listens(document: Document, config: Config) -> None:
    sound = [
        (("listen", position), listen)
        for position, listen in enumerate(config.listens)
        if document.sound(("listen", position))
    ]
    for position, (path, listen) in enumerate(sound):
        for earlier_path, earlier in sound[:position]:
            if _collide(listen, earlier):
                expected = f"an address and port not taken by {earlier} in line {document.line(earlier_path)}"
                document.error((*path, "port"), f"{listen}", expected)
        if listen.port == 0:
            document.warn((*path, "port"), "the system chooses a free port at every start; phones cannot know it")
        http = config.http
        if http and _collide(Listen("tcp", http.address, http.port, "both", "", None, None), listen):
            expected = f"an address and port not taken by {listen} in line {document.line(path)}"
            document.error(("http", "port"), f"{http.port}", expected)
    if len(sound) < len(config.listens):
        return
    for side in ("phones", "servers"):
        if sound and all(listen.side not in (side, "both") for _, listen in sound):
            document.error(("listen",), f"no socket for {side}", f'one [[listen]] with side = "{side}" or "both"')


def _check_group_names(document: Document, config: Config) -> None:
    names: dict[str, TomlPath] = {}
    domains: dict[str, TomlPath] = {}
    for position, group in enumerate(config.groups):
        path: TomlPath = ("group", position)
        _once(document, names, group.name, (*path, "name"), "a name of its own for each group")
        written = document.elements((*path, "domains"))
        if not document.written((*path, "domains")):
            written = [((*path, SERVER_FIELD), domain) for domain in group.domains]
        for domain_path, domain in written:
            if isinstance(domain, str) and document.sound(domain_path):
                _once(document, domains, domain.lower(), domain_path, "each domain once, in one group")


def _check_group(document: Document, path: TomlPath, group: GroupSettings) -> None:
    names: dict[str, TomlPath] = {}
    places: dict[tuple[str, int, str], ServerSettings] = {}
    for position, server in enumerate(group.servers):
        server_path = (*path, "server", position)
        _once(document, names, server.name, (*server_path, "name"), "a name of its own for each server of the group")
        twin = places.setdefault((server.address, server.port, server.transport), server)
        if twin is not server and document.sound(server_path):
            text = f'the same address, port and transport as server "{twin.name}": when one is dead, so is the other'
            document.warn((*server_path, "address"), text)
    if group.servers and document.sound((*path, "server")) and not any(server.register for server in group.servers):
        expected = "at least one server where phones can register (register = true)"
        document.error((*path, "server"), "register = false at all of them", expected)
    if group.dns_ttl_ceiling < group.dns_ttl_floor and document.sound(path):
        expected = f"at least dns_ttl_floor, which is {group.dns_ttl_floor:g}"
        document.error((*path, "dns_ttl_ceiling"), f"{group.dns_ttl_ceiling:g}", expected)
    if 0 < group.max_expires < group.min_expires and document.sound((*path, "max_expires")):
        expected = f"at most max_expires, which is {group.max_expires}"
        document.error((*path, "min_expires"), f"{group.min_expires}", expected)


def _warn_group(document: Document, path: TomlPath, group: GroupSettings) -> None:
    addresses = [address for server in group.servers for address in server.addresses]
    if len(addresses) == 1 and is_ip_address(addresses[0]):
        document.warn((*path, "server"), "one server with one address: there is nothing to fail over to")
    if len(group.servers) > 2 and group.registration == "concurrent":  # P10
        count = len(group.servers)
        text = f"{count} servers, and each phone is registered at all of them: {count} times the load"
        document.warn((*path, "server"), text)
    if document.written((*path, "dns_requery")) and group.dns_requery and all(map(is_ip_address, addresses)):
        document.warn((*path, "dns_requery"), "no server of this group has a name: DNS is not asked")
    if group.probe_timeout > group.probe_interval_down:
        text = f"{group.probe_timeout:g} s, longer than the {group.probe_interval_down:g} s between two of them"
        document.warn((*path, "probe_timeout"), text)


def _warn_never_tried(document: Document, config: Config, path: TomlPath, group: GroupSettings) -> None:
    """Servers so far down the list that a request other than INVITE is over before their turn comes (pitfall D1)."""
    timing = Timing(config.timers.t1, config.timers.t2)
    spent = 0.0
    for position, server in enumerate(group.servers):
        if spent >= PHONE_PATIENCE:
            text = (
                f"when the servers above are silent they use up {spent:g} s, and phones wait 32 s for the answer"
                f' to anything but an INVITE: server "{server.name}" is then not tried'
            )
            document.warn((*path, "server", position), text)
            return
        spent += give_up(server.retry_counts, "BYE", timing, group.retry_timeout, server.retry_time)


def _check_reach(document: Document, config: Config, path: TomlPath, server: ServerSettings) -> None:
    """A socket towards the servers must have the server's kind of IP address, and for UDP there must be one."""
    if server.transport == "dns-naptr" or not document.sound(("listen",)):
        return
    for address in server.addresses:
        if _names_us(config.listens, server, address):
            expected = "a call server; this is our own socket, and requests would run in a circle"
            document.error((*path, "address"), f"{Endpoint(address, _port(server))}", expected)
            return
    towards_servers = [listen for listen in config.listens if listen.side != "phones"]
    for transport in _spoken_with(server):
        own = [listen for listen in towards_servers if listen.transport == transport]
        # A connection can be made without a socket that listens; datagrams need one to leave from.
        usable = own if transport == "udp" else towards_servers
        if not usable:
            found = f'"{server.transport}"'
            expected = f'a transport with a [[listen]] whose side is "both" or "servers"; none is {transport}'
            document.error((*path, "transport"), found, expected)
            return
        for address in filter(is_ip_address, server.addresses):
            if all(_family(listen.address) != _family(address) for listen in usable):
                version = ipaddress.ip_address(address).version
                kind = "udp socket" if transport == "udp" else "socket"
                expected = f"an address that a [[listen]] can reach: no {kind} towards servers is IPv{version}"
                document.error((*path, "address"), f'"{address}"', expected)
                return
        if transport == "tls" and not own:
            text = (
                "no tls [[listen]] faces servers, so this one can send calls only over connections that we have made:"
                " after a restart, not before the phones have registered again"
            )
            document.warn((*path, "transport"), text)


def _spoken_with(server: ServerSettings) -> tuple[str, ...]:
    return ("tcp", "udp") if server.transport == "tcp-preferred" else (server.transport,)


def _warn_server(document: Document, path: TomlPath, server: ServerSettings) -> None:
    names = [address for address in server.addresses if not is_ip_address(address)]
    srv_names = [name for name in names if procedure.transport_of_srv_name(name)]
    transports = _spoken_with(server)
    if srv_names and server.port:  # S6, V8
        text = (
            f"with a port given {srv_names[0]} is looked up as a host, and not as the SRV record that it names; port = 0"
            " asks for that"
        )
        document.warn((*path, "port"), text)
    elif server.transport == "dns-naptr" and server.port and names:
        document.warn(  # Y10, Y11, Y32, S6
            (*path, "port"),
            f"with a port given only A and AAAA are asked for {names[0]}: no NAPTR, no SRV, transport udp;"
            " port = 0 finds them",
        )
    if server.transport != "dns-naptr" and document.value((*path, "port")) == 0 and names and not srv_names:
        document.warn(  # S5, S8
            (*path, "port"),
            f"with port 0 and transport {server.transport} the SRV records of"
            f" {procedure.SRV_PREFIXES[transports[0]]}.{names[0]} are asked for, then A and AAAA with port {_port(server)};"
            " no NAPTR, although some manuals say that only dns-naptr makes a phone ask DNS",
        )
    for name in srv_names:
        transport = procedure.transport_of_srv_name(name)
        if server.transport != "dns-naptr" and transport != transports[0] and not server.port:
            text = f"{name} names servers that speak {transport}: that is used, and not {server.transport}"
            document.warn((*path, "transport"), text)
    if document.written((*path, "naptr_build")) and (server.transport != "dns-naptr" or server.port or not names):  # Y21
        text = "only used with transport dns-naptr, port 0 and a name, when NAPTR gives nothing"
        document.warn((*path, "naptr_build"), text)
    if document.written((*path, "failback_timeout")) and server.failback_mode != "duration" and server.failback_timeout:
        text = f'only failback_mode = "duration" uses it; the mode here is "{server.failback_mode}"'
        document.warn((*path, "failback_timeout"), text)
    if server.failback_mode == "duration" and not server.failback_timeout:
        text = "0: new requests return to this server only when the one in use fails"
        document.warn((*path, "failback_mode"), f"with failback_timeout {text}")


def _warn_failback(document: Document, path: TomlPath, group: GroupSettings) -> None:
    """Keys about coming back that do nothing together with others."""
    if group.load_balancing:
        for position, server in enumerate(group.servers):
            if document.written((*path, "server", position, "failback_mode")) and server.failback_mode != "never":
                text = "load_balancing: the servers of the group are equals, and nothing returns by itself"
                document.warn((*path, "server", position, "failback_mode"), text)
    if group.probe_method == "options" and _is_chosen(document, (*path, "register_probe_interval"), GroupSettings):
        text = 'only probe_method = "register" uses it; here it is "options"'
        document.warn((*path, "register_probe_interval"), text)
    if group.probe_method == "register" and group.load_balancing:
        document.warn((*path, "probe_method"), "load_balancing: no server is better, so all are asked by OPTIONS")
    for position, server in enumerate(group.servers):
        server_path = (*path, "server", position)
        window_is_chosen = _is_chosen(document, (*server_path, "failback_window"), ServerSettings)
        if server.failback_mode != "scheduled" and window_is_chosen:
            text = f'only failback_mode = "scheduled" uses it; the mode here is "{server.failback_mode}"'
            document.warn((*server_path, "failback_window"), text)
        if server.failback_mode == "dns-ttl" and all(is_ip_address(each.address) for each in group.servers):
            text = "no server of the group has a name, so nothing has a TTL: it returns only when the one in use fails"
            document.warn((*server_path, "failback_mode"), text)


def _is_chosen(document: Document, path: TomlPath, cls: type) -> bool:
    """True when that key is written, and not with its default."""
    (default,) = [entry.default for entry in fields(cls) if entry.name == path[-1]]
    return document.written(path) and document.value(path) != default


def _once(document: Document, seen: dict[str, TomlPath], name: str, path: TomlPath, expected: str) -> None:
    if not name:  # an error of its own already
        return
    if name in seen:
        document.error(path, f'"{name}", as in line {document.line(seen[name])}', expected)
    else:
        seen[name] = path


def _collide(one: Listen, other: Listen) -> bool:
    """Two sockets that the system would not open together. TCP and TLS are one kind to it."""
    same_kind = (one.transport == "udp") == (other.transport == "udp")
    return same_kind and one.port == other.port != 0 and _overlap(one.address, other.address)


def _overlap(one: str, other: str) -> bool:
    return _family(one) == _family(other) and (one == other or one in _ANY or other in _ANY)


def _names_us(listens: Iterable[Listen], server: ServerSettings, address: str) -> bool:
    for listen in listens:
        if listen.transport not in _spoken_with(server):
            continue
        ours = {(listen.address, listen.port), split_port(listen.advertise)}
        if listen.address in _ANY and is_ip_address(address) and _is_loopback(address):
            ours.add((address, listen.port))
        if (address, _port(server)) in ours:
            return True
    return False


def _port(server: ServerSettings) -> int:
    return server.port or DEFAULT_PORTS[server.transport]


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback
