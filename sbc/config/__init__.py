"""Configuration: a TOML file to frozen dataclasses, or every error at once with file, line, key, found and expected.

toml_lines  which line each value stands on
reader      a document, table by table, with errors and origins noted on the way
kinds       what a single value may be
tables      the tables about the appliance itself
groups      groups and servers on top of their profile
rules       what only shows when tables are compared; warnings
contradictions  warnings about settings that contradict each other or their profile
files       what the files named in it hold
expanded    the whole as text, each value with where it came from

Start with `load`; commands that only talk to the running appliance with `load_running`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sbc.config import files, rules
from sbc.config.errors import ConfigError, ConfigErrors, ConfigWarning
from sbc.config.expanded import expanded
from sbc.config.groups import read_groups
from sbc.config.model import (
    Appliance,
    Config,
    Credentials,
    Dns,
    Endpoint,
    Http,
    Listen,
    Running,
    TimersConfig,
    TlsClient,
    Uplink,
)
from sbc.config.reader import Document
from sbc.config.tables import (
    read_appliance,
    read_credentials,
    read_dns,
    read_http,
    read_listen,
    read_timers,
    read_tls,
    read_uplink,
)

__all__ = [
    "DEFAULT_PATHS",
    "Appliance",
    "Config",
    "ConfigError",
    "ConfigErrors",
    "ConfigWarning",
    "Credentials",
    "Dns",
    "Endpoint",
    "Http",
    "Listen",
    "Running",
    "TimersConfig",
    "TlsClient",
    "Uplink",
    "default_path",
    "expanded",
    "load",
    "load_running",
]

DEFAULT_PATHS = (Path("/etc/sbc/sbc.toml"), Path("conf/sbc.toml"))
"""Where the configuration is looked for when nobody says; the first that exists."""


def default_path() -> Path:
    """The configuration file to use when none is named; raises ConfigErrors when there is none."""
    for path in DEFAULT_PATHS:
        if path.exists():
            return path
    expected = " or ".join(str(path) for path in DEFAULT_PATHS) + ", or the option -c FILE"
    raise ConfigErrors([ConfigError("sbc", 0, "", "no configuration file", expected)])


def load_running(path: Path | str, table: str) -> Running:
    """What tells where the running appliance is, from a file in which something else may be broken. `table`: the one that is
    needed, "appliance" for its state_dir or "http". Raises ConfigErrors when that cannot be read."""
    document = Document(Path(path), only=(table,))
    root = document.root
    appliance = read_appliance(root.table("appliance"), document.path.parent)
    http_table = root.table("http")
    http = read_http(http_table) if "http" in root else None
    needed = {"appliance": ("appliance", "appliance.state_dir"), "http": ("http", "http.address", "http.port")}[table]
    errors = [error for error in document.errors if error.key in needed]
    if errors:
        raise ConfigErrors(errors)
    return Running(document.path, appliance, http)


def load(path: Path | str) -> Config:
    """Read and check a configuration file. Raises ConfigErrors with everything that is wrong."""
    document = Document(Path(path))
    folder = document.path.parent
    root = document.root
    appliance = read_appliance(root.table("appliance"), folder)
    listens = tuple(read_listen(table, folder) for table in root.tables("listen"))
    http_table = root.table("http")
    http = read_http(http_table) if "http" in root else None
    dns = read_dns(root.table("dns"))
    timers = read_timers(root.table("timers"))
    groups = read_groups(root.tables("group"))
    tls = read_tls(root.table("tls"), folder)
    credentials = read_credentials(root.table("credentials"), folder)
    uplink = read_uplink(root.table("uplink"))
    root.finish()

    files.check_listen_files(document, listens)
    files.check_tls_files(document, tls)
    files.check_credentials_file(document, credentials)
    config = Config(
        path=document.path,
        appliance=appliance,
        listens=listens,
        http=http,
        dns=dns,
        timers=timers,
        groups=groups,
        tls=tls,
        credentials=credentials,
        uplink=uplink,
        provenance=document.provenance,
        warnings=(),
    )
    rules.check(document, config)
    if document.errors:
        raise ConfigErrors(document.errors)
    return replace(config, warnings=tuple(sorted(document.warnings, key=lambda warning: warning.line)))
