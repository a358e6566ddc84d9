"""A valid configuration, ready to be used: one frozen dataclass per table of the file.

`GroupSettings` and `ServerSettings` are the property of `sbc.redundancy.settings`, because they are what its decisions
are made of. Paths are absolute: relative ones in the file are meant from the folder of the file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from sbc.config.errors import ConfigWarning
from sbc.config.toml_lines import Path as TomlPath
from sbc.redundancy.settings import GroupSettings

MOST_WORKERS = 32


class Endpoint(NamedTuple):
    """An IP address and a port."""

    address: str
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


def cores_for_us() -> int:
    """Those that this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except OSError:
        return os.cpu_count() or 1


@dataclass(frozen=True)
class Appliance:
    """`[appliance]`: this box."""

    name: str
    """On the status page and in `sbc_build_info`. Default: the machine's host name."""
    state_dir: Path
    """Folder of the embedded store."""
    workers: int
    """Processes that share the load; 0 = one per core."""
    drain: float
    """Seconds that a stopping appliance gives to what is under way."""

    @property
    def processes(self) -> int:
        """`workers`, with the number of cores for 0."""
        return self.workers or min(cores_for_us(), MOST_WORKERS)


@dataclass(frozen=True)
class Listen:
    """`[[listen]]`: one socket."""

    transport: str
    """udp | tcp | tls"""
    address: str
    """An IP address of this machine; 0.0.0.0 or :: for all of them."""
    port: int
    """0: the system chooses, at each start anew."""
    side: str
    """both | phones | servers"""
    advertise: str
    """host:port that we write into Via, Record-Route and Contact; empty: the socket's own."""
    certificate: Path | None
    key: Path | None

    def __str__(self) -> str:
        return f"{self.transport} {Endpoint(self.address, self.port)}"


def address_families(listens: Iterable[Listen]) -> list[str]:
    """What to ask DNS for, A, AAAA or both: the kinds of address that these sockets can reach servers at."""
    return sorted({"AAAA" if ":" in listen.address else "A" for listen in listens if listen.side != "phones"})


def spoken(listens: Iterable[Listen]) -> list[str]:
    """The transports that we speak towards servers, where DNS has the choice: those of these sockets, and TCP, for which
    one is opened beside UDP. TLS only where an administrator has said who we are."""
    own = {listen.transport for listen in listens if listen.side != "phones"}
    return sorted(own | {"tcp"}) if own else []


@dataclass(frozen=True)
class Http:
    """`[http]`: status page, metrics, health."""

    address: str
    port: int


@dataclass(frozen=True)
class Dns:
    """`[dns]`: whom we ask for names."""

    servers: tuple[Endpoint, ...]
    """Empty: the system's."""
    requery: float
    """Seconds after which names are asked for again; 0 = by TTL."""


@dataclass(frozen=True)
class TimersConfig:
    """`[timers]`, seconds (RFC 3261 table 4)."""

    t1: float
    t2: float
    t4: float
    trying: float
    """Until an INVITE gets 100; 0 = at once."""


@dataclass(frozen=True)
class TlsClient:
    """`[tls]`: TLS towards the servers."""

    ca: Path | None
    """Whom we believe; None: the system's."""
    certificate: Path | None
    key: Path | None


@dataclass(frozen=True)
class Uplink:
    """`[uplink]`: who tells a dead uplink from dead servers."""

    reference: tuple[Endpoint, ...]
    """Hosts beyond the uplink that accept or refuse a TCP connection; empty: the gateway towards the servers."""


@dataclass(frozen=True)
class Credentials:
    """`[credentials]`: what lets the appliance answer digest challenges itself."""

    file: Path | None


@dataclass(frozen=True)
class Running:
    """What a command needs to find the running appliance: a part of `Config`, with its names. Of the two tables one was read."""

    path: Path
    appliance: Appliance
    http: Http | None


@dataclass(frozen=True)
class Config:
    """Everything, checked."""

    path: Path
    appliance: Appliance
    listens: tuple[Listen, ...]
    http: Http | None
    """None: nothing listens for HTTP."""
    dns: Dns
    timers: TimersConfig
    groups: tuple[GroupSettings, ...]
    tls: TlsClient
    credentials: Credentials
    uplink: Uplink
    provenance: Mapping[TomlPath, str] = field(compare=False)
    """Where each value came from: `sbc.toml:12`, `profile yealink: ...`, `default`."""
    warnings: tuple[ConfigWarning, ...] = field(compare=False)
