"""The tables about the appliance itself: its sockets, its files, whom it asks and believes.

Each function reads one table. What only shows when tables are compared is in `sbc.config.rules`.
"""

from __future__ import annotations

import socket
from pathlib import Path

from sbc.config.kinds import (
    dns_server,
    file_below,
    folder_below,
    host_and_port,
    ip_address,
    list_of,
    number,
    one_of,
    or_none,
    seconds,
    text,
)
from sbc.config.model import MOST_WORKERS, Appliance, Credentials, Dns, Http, Listen, TimersConfig, TlsClient, Uplink
from sbc.config.reader import Table

LISTEN_TRANSPORTS = ("udp", "tcp", "tls")
SIDES = ("both", "phones", "servers")
DEFAULT_STATE_DIR = Path("/var/lib/sbc")
DEFAULT_HTTP_PORT = 9464

_RESOLVERS = list_of(dns_server, '["192.0.2.53", "192.0.2.54:5353"]', or_empty=True)

_REFERENCES = list_of(dns_server, '["192.0.2.53", "192.0.2.80:80"]', or_empty=True)


def read_appliance(table: Table, folder: Path) -> Appliance:
    appliance = Appliance(
        name=table.get("name", text, socket.gethostname(), origin="default (the machine's host name)"),
        state_dir=table.get("state_dir", folder_below(folder), DEFAULT_STATE_DIR),
        workers=table.get("workers", number(0, MOST_WORKERS), 1),
        drain=table.get("drain", seconds(0, 86400), 30.0),
    )
    table.finish()
    return appliance


def read_listen(table: Table, folder: Path) -> Listen:
    transport = table.get("transport", one_of(*LISTEN_TRANSPORTS))
    needs_certificate = transport == "tls"
    listen = Listen(
        transport=transport or "udp",
        address=table.get("address", ip_address) or "",
        port=table.get("port", number(0, 65535), 5061 if needs_certificate else 5060),
        side=table.get("side", one_of(*SIDES), "both"),
        advertise=table.get("advertise", or_none(host_and_port, ""), ""),
        certificate=table.get("certificate", or_none(file_below(folder)), None),
        key=table.get("key", or_none(file_below(folder)), None),
    )
    for key in ("certificate", "key"):
        if needs_certificate and table.values.get(key, "") == "":
            table.document.error((*table.path, key), "nothing", 'a PEM file, because transport is "tls"')
        if transport and not needs_certificate and table.values.get(key):
            table.document.warn((*table.path, key), f"only TLS uses it; this socket speaks {transport}")
    table.finish()
    return listen


def read_http(table: Table) -> Http:
    http = Http(
        address=table.get("address", ip_address, "127.0.0.1"),
        port=table.get("port", number(0, 65535), DEFAULT_HTTP_PORT),
    )
    table.finish()
    return http


def read_dns(table: Table) -> Dns:
    dns = Dns(
        servers=table.get("servers", _RESOLVERS, (), origin="default (the system's)"),
        requery=table.get("requery", seconds(5, 86400, or_zero="by TTL"), 0.0),
    )
    table.finish()
    return dns


def read_timers(table: Table) -> TimersConfig:
    timers = TimersConfig(
        t1=table.get("t1", seconds(0, above=True), 0.5),
        t2=table.get("t2", seconds(0, above=True), 4.0),
        t4=table.get("t4", seconds(0, above=True), 5.0),
        trying=table.get("trying", seconds(0, 0.2), 0.1),
    )
    if timers.t2 < timers.t1:
        table.document.error((*table.path, "t2"), f"{timers.t2:g}", f"at least t1, which is {timers.t1:g}")
    table.finish()
    return timers


def read_tls(table: Table, folder: Path) -> TlsClient:
    tls = TlsClient(
        ca=table.get("ca", or_none(file_below(folder)), None, origin="default (the system's)"),
        certificate=table.get("certificate", or_none(file_below(folder)), None),
        key=table.get("key", or_none(file_below(folder)), None),
    )
    if table.values.get("certificate") and not table.values.get("key"):
        table.document.error((*table.path, "key"), "nothing", "the PEM file with the key to `certificate`")
    if table.values.get("key") and not table.values.get("certificate"):
        table.document.error((*table.path, "certificate"), "nothing", "the PEM file with the certificate to `key`")
    table.finish()
    return tls


def read_uplink(table: Table) -> Uplink:
    uplink = Uplink(
        reference=table.get("reference", _REFERENCES, (), origin="default (the gateway towards the servers)"),
    )
    table.finish()
    return uplink


def read_credentials(table: Table, folder: Path) -> Credentials:
    credentials = Credentials(file=table.get("file", or_none(file_below(folder)), None))
    table.finish()
    return credentials
