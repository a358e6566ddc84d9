"""Settings that contradict each other, their profile, or what a bulletin warns of. Each warning says what will happen.

Nothing here is an error: a site may have its reasons. What a profile says by itself is its vendor's business, so most of
this looks only at what the file says.
"""

from __future__ import annotations

from sbc.config.model import Config
from sbc.config.reader import Document
from sbc.config.toml_lines import Path as TomlPath
from sbc.redundancy.profile import ProfileError, load_profile
from sbc.redundancy.settings import PHONES_MATCH, GroupSettings, PhonesSettings, ServerSettings

LOST = {
    "SUBSCRIBE": "shared lines, presence, busy lamps, message waiting",
    "PUBLISH": "telling others their presence",
}
"""What users miss at a server that does not get these requests (Y3, P2, P6)."""


def warn(document: Document, config: Config) -> None:
    """All of it, for all groups without errors."""
    for position, group in enumerate(config.groups):
        path: TomlPath = ("group", position)
        if not document.sound(path):
            continue
        _warn_use(document, config, path, group, [(*path, "server", place) for place in range(len(group.servers))])
        _warn_first_server(document, path, group)
        for place, entry in enumerate(group.phones):
            entry_path = (*path, "phones", place)
            _warn_use(document, config, entry_path, entry.settings, [entry_path] * len(group.servers))
            _warn_entry(document, path, group, place)


def lost_features(group: GroupSettings) -> str:
    """What the phones cannot do while the first server is down (P26, 4: "educate users"); "" when all goes on."""
    methods = sorted(method for method, servers in group.method_servers.items() if servers == "first")
    if len(group.servers) < 2 or not methods:
        return ""
    features = [LOST[method] for method in methods if method in LOST]
    missing = f" ({', '.join(features)})" if features else ""
    return f"while server {group.servers[0].name} is down, phones cannot use {', '.join(methods)}{missing}"


def _warn_use(
    document: Document, config: Config, path: TomlPath, settings: GroupSettings, server_paths: list[TomlPath]
) -> None:
    """How some phones use the servers of their group."""
    _warn_registration(document, config, path, settings)
    if 0 < settings.max_expires and document.written((*path, "expires")):
        expires = document.value((*path, "expires"))
        if isinstance(expires, int) and expires > settings.max_expires:
            text = f"phones are registered for {settings.max_expires} s, as max_expires says, and not for {expires} s"
            document.warn((*path, "expires"), text)
    unused: dict[TomlPath, ServerSettings] = {}
    for server, server_path in zip(settings.servers, server_paths, strict=True):
        for where in (server_path, path):
            if server.retry_time and document.written((*where, "retry_counts")):
                unused.setdefault(where, server)
    for where, server in unused.items():  # F6
        text = f"retry_time decides: a silent server is left after {server.retry_time:g} s, however often it was asked"
        document.warn((*where, "retry_counts"), text)


def _warn_registration(document: Document, config: Config, path: TomlPath, settings: GroupSettings) -> None:
    registrars = [server for server in settings.servers if server.register]
    here = (*path, "registration") if document.written((*path, "registration")) else (*path, "profile")
    if settings.registration == "concurrent" and len(registrars) > 1:
        if _says_its_profile(document, settings.profile, "registration") == "single":  # X1, V11
            text = (
                f"profile {settings.profile} registers a phone at one server only; now each phone is registered at"
                f" {len(registrars)} servers at once, and servers that know of each other may let it ring twice"
            )
            document.warn(here, text)
        elif all(server.failback_mode == "never" for server in registrars):  # S1
            text = (
                "the servers are equals (nothing ever fails back), and each phone is registered at all of them at once:"
                ' servers that know of each other may pass it to and fro; registration = "single" avoids that'
            )
            document.warn(here, text)
    if settings.registration != "concurrent" and document.written((*path, "register_wait")):
        text = f"only concurrent registration uses it; it is {settings.registration} here"
        document.warn((*path, "register_wait"), text)
    first = [*settings.register_before] or ["requests" for server in settings.servers if server.register_on_enable][:1]
    if first and settings.registration != "concurrent" and config.credentials.file is None:  # F7, F8, Y30, D22
        key = "register_before" if settings.register_before else "register_on_enable"
        text = (
            f"{', '.join(first)} after a failover go to the next server before the phone is registered there, where it asks"
            " for a password: only [credentials] would let the appliance register the phone first"
        )
        document.warn((*path, key) if document.written((*path, key)) else (*path, "profile"), text)


def _warn_first_server(document: Document, path: TomlPath, group: GroupSettings) -> None:
    if not group.servers or group.servers[0].register:
        return
    text = (
        "phones are not registered at the first server, so it is never the one in use, and new requests begin further down"
        " the list"
    )
    methods = [method for method, servers in group.method_servers.items() if servers == "first"]
    if methods:
        text += f"; {', '.join(sorted(methods))} go to it all the same, as method_servers says"
    document.warn((*path, "server", 0, "register"), text)  # P7, P8


def _warn_entry(document: Document, path: TomlPath, group: GroupSettings, place: int) -> None:
    entry = group.phones[place]
    entry_path = (*path, "phones", place)
    for before in range(place):
        if _covers(group.phones[before], entry):
            line = document.line((*path, "phones", before))
            document.warn(entry_path, f"never used: the entry in line {line} fits all phones that this one does")
            return
    if "*" in group.domains:
        return
    for pattern in entry.aors:
        host = pattern.rpartition("@")[2].lower()
        if "@" in pattern and not set("*?[") & set(host) and host not in group.domains:
            text = f"fits nobody: {host} is not among the domains of the group"
            document.warn((*entry_path, "aors"), text)


def _covers(one: PhonesSettings, other: PhonesSettings) -> bool:
    return all(_is_wider(getattr(one, key), getattr(other, key)) for key in PHONES_MATCH)


def _is_wider(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    return not one or "*" in one or (bool(other) and set(other) <= set(one))


def _says_its_profile(document: Document, name: str, key: str) -> object:
    try:
        return load_profile(name, document.path.parent).group.get(key)
    except ProfileError:
        return None  # an error of its own already
