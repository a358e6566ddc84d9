"""What the running appliance sees, on a terminal: servers as the PIVOT phone shows them, phones, recent events.

`P1:1 172.29.102.138 up*` is rank, priority, address and state; the asterisk marks the candidate that gets new requests
now (bulletin PIVOT, "The list of candidate call servers").
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import Any, Protocol, TextIO
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, build_opener

from sbc.observe.story import printable

DEFAULT_PORTS = {"udp": 5060, "tcp": 5060, "tls": 5061}
EVENTS_SHOWN = 8
PHONES_SHOWN = 100
PATIENCE = 5.0  # seconds for the answer of our own appliance


class HttpAddress(Protocol):
    """Where the appliance serves its status."""

    address: str
    port: int


class Configuration(Protocol):
    """What we need of the configuration."""

    http: HttpAddress | None


def print_status(
    config: Configuration, *, as_json: bool = False, out: TextIO | None = None, errors: TextIO | None = None
) -> int:
    """Print what the appliance with this configuration sees. Exit status: 0, or 1 when it does not run."""
    out = out or sys.stdout
    status = asked(config, "/status.json" + ("?phones=all" if as_json else ""), errors or sys.stderr)
    if status is None:
        return 1
    if as_json:
        json.dump(status, out, indent=2)
        out.write("\n")
    else:
        out.write(render(status, time.time()))
    return 0


def asked(config: Configuration, path: str, errors: TextIO) -> Any:
    """The JSON that the running appliance has there; None, and said why, when it does not run."""
    if config.http is None:
        print("sbc: the configuration has no [http] table, so the appliance cannot be asked", file=errors)
        return None
    url = f"http://{_reachable(config.http.address)}:{config.http.port}{path}"
    try:
        # No proxy, whatever the environment says: the appliance is ours.
        with build_opener(ProxyHandler({})).open(url, timeout=PATIENCE) as answer:
            return json.load(answer)
    except HTTPError as error:
        said = error.read(1000).decode("utf-8", "replace").strip() or error.reason
        print(f"sbc: {url} answers {error.code}: {printable(said)}", file=errors)
        return None
    except (URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        print(f"sbc: not running: no status from {url}: {reason}", file=errors)
        return None


def render(status: Mapping[str, Any], wall_now: float) -> str:
    """The whole status as text for a terminal, ending in a newline."""
    lines = [_appliance_line(status.get("appliance", {})), *_network_lines(status.get("network", {}))]
    for group in status.get("groups", ()):
        lines += ["", *_group_lines(group, wall_now)]
    lines += ["", *_resync_lines(status.get("registrations", {})), *_phone_lines(status.get("registrations", {}))]
    recent = status.get("events", ())[:EVENTS_SHOWN]
    if recent:
        lines += ["", "Last events, newest first:"]
        lines += [f"  {clock_time(event['at'], wall_now)}  {event['text']}" for event in recent]
    return "\n".join(map(printable, lines)) + "\n"


def candidate_row(candidate: Mapping[str, Any]) -> str:
    """`P1:1 172.29.102.138 up*`. The port and the transport are shown where they are not the usual ones."""
    star = "*" if candidate.get("working") else ""
    return f"P{candidate['rank']}:{candidate['priority']} {shown_address(candidate)} {candidate['state']}{star}"


def shown_address(candidate: Mapping[str, Any]) -> str:
    """The address as the PIVOT display has it, and no more than is needed to tell two candidates apart."""
    address, port, transport = candidate["address"], candidate["port"], candidate["transport"]
    usual_port = port == DEFAULT_PORTS.get(transport)
    if not usual_port:
        address = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    return address if transport == "udp" else f"{address};{transport}"


def in_words(seconds: float) -> str:
    """A length of time as people say it, with the two units that matter."""
    whole = max(0, int(seconds))
    for size, unit, lesser_size, lesser in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // lesser_size
            return f"{whole // size} {unit} {rest} {lesser}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def _appliance_line(appliance: Mapping[str, Any]) -> str:
    readiness = "serving phones" if appliance.get("ready") else "not serving phones"
    workers = appliance.get("workers", ())
    ready = sum(bool(worker.get("ready")) for worker in workers)
    return (
        f"{appliance.get('name', '?')}: sbc {appliance.get('version', '?')}, {readiness},"
        f" running for {in_words(appliance.get('uptime_seconds', 0))}"
        + (f", {ready} of {len(workers)} workers" if workers else "")
    )


_NETWORK_WORDS = {
    "link_down": "OUR OWN LINK IS DOWN: servers are frozen, nothing is judged and nothing moves",
    "uplink_down": "THE UPLINK IS DOWN: no server can be reached, and none is preferred to another for that",
    "dns_down": "name servers do not answer: the addresses that were known go on being used",
}


def _network_lines(network: Mapping[str, Any]) -> list[str]:
    """Nothing on a good day."""
    if network.get("state", "up") == "up":
        return []
    why = f" ({network['reason']})" if network.get("reason") else ""
    return [f"Network: {_NETWORK_WORDS.get(network['state'], network['state'])}{why}"]


def _redundancy(group: Mapping[str, Any]) -> str:
    """The gauge says that one server may fail. What the PIVOT phone calls set up is more: every candidate up, and phones
    registered (V27)."""
    if not group.get("redundancy_ready"):
        return "NO REDUNDANCY: fewer than two candidates are up"
    if not group.get("every_candidate_up", True):
        return "redundancy is ready, but not every candidate is up"
    if not group.get("redundancy_set_up", True):
        return "redundancy is ready, but no phone is registered"
    return "redundancy is ready"


def _group_lines(group: Mapping[str, Any], wall_now: float) -> list[str]:
    ready = _redundancy(group)
    survival = ", SURVIVAL: the site telephones on its own" if group.get("survival") else ""
    domains = ", ".join(group.get("domains", ()))
    lines = [f"Group {group['name']} ({domains}; profile {group.get('profile', '?')}): {ready}{survival}"]
    rows = [
        (candidate_row(candidate), server, candidate)
        for server in group.get("servers", ())
        for candidate in server.get("candidates", ())
    ]
    width = max((len(row) for row, _, _ in rows), default=0)
    for row, server, candidate in rows:
        name = server["name"] + ("" if server.get("register", True) else " (no registration)")
        since = candidate.get("since")
        when = f" since {clock_time(since, wall_now)}" if since else ""
        why = f": {candidate['reason']}" if candidate.get("reason") else ""
        lines.append(f"  {row:<{width}}  {name}{when}{why}")
    for server in group.get("servers", ()):
        if not server.get("candidates"):
            lines.append(f"  P{server['rank']}  {server['name']}: no address known yet (DNS)")
    if group.get("working_because"):
        since = f" since {clock_time(group['working_since'], wall_now)}" if group.get("working_since") else ""
        lines.append(f"  New requests go to {group.get('working') or 'no server'}{since}: {group['working_because']}")
    for kind in group.get("phones", ()):
        lines.append(f"  Phones of profile {kind['kind']}: new requests go to {kind.get('working') or 'no server'}")
    return lines


def _resync_lines(registrations: Mapping[str, Any]) -> list[str]:
    """Nothing on a good day."""
    lines = []
    for resync in registrations.get("resyncs", ()):
        lines.append(f"{resync['group']}: {resync['server']} {_why_resync(resync)}: {how_far(resync)}")
    return lines


def _why_resync(resync: Mapping[str, Any]) -> str:
    if resync.get("commanded"):
        return "gets its registrations again, as commanded (sbc resync)"
    return "is back and gets its registrations again" if resync["returned"] else "gets the phones of a server that failed"


def how_far(resync: Mapping[str, Any]) -> str:
    """Of an entry of `registrations.resyncs`."""
    left = "1 phone" if resync["left"] == 1 else f"{resync['left']} phones"
    if resync["phase"] == "holding":
        return f"begins in {in_words(resync['starts_in'])} if it stays up, {left} to go"
    if resync["phase"] == "canary":
        return f"one phone is tried before all others, {left} to go"
    by_phones = resync["left_to_phones"]
    own = f" ({by_phones} of them with a REGISTER of their own)" if by_phones else ""
    removals = f", {resync['removals']} removals before them" if resync["removals"] else ""
    return (
        f"{resync['done']} done, {left} to go{own}{removals}; at most {resync['rate']:g} REGISTERs a second, at least"
        f" {in_words(resync['seconds_left'])} more"
    )


def _phone_lines(registrations: Mapping[str, Any]) -> list[str]:
    phones = registrations.get("phones", ())
    numbers = ""
    if "phones_everywhere" in registrations:
        numbers = f", {registrations['phones_everywhere']} registered everywhere, {registrations['phones_nowhere']} nowhere"
    lines = [f"Phones: {registrations.get('bindings', 0)} contacts known{numbers}"]
    in_trouble_first = sorted(phones, key=_is_well)
    for phone in in_trouble_first[:PHONES_SHOWN]:
        at = ", ".join(map(_standing, phone.get("servers", ())))
        profile = f"  ({phone['profile']})" if phone.get("profile") else ""
        learned = f"  [{phone['method']}: {phone['method_reason']}]" if phone.get("method_reason") else ""
        alone = f"  LEFT ALONE for {in_words(phone['quarantined_for'])}" if phone.get("quarantined_for") else ""
        overdue = f"  EXPECTED {in_words(phone['overdue_for'])} ago, and did not come" if phone.get("overdue_for") else ""
        lines.append(f"  {phone['aor']}  {at}{profile}{learned}{alone}{overdue}")
    left_out = registrations.get("phones_left_out", 0) + max(0, len(phones) - PHONES_SHOWN)
    if left_out:
        lines.append(f"  and {left_out} more")
    for each in registrations.get("rejected", ())[:PHONES_SHOWN]:
        lines.append(f"  {each['aor']} at {each['host']}  {wrong_passwords(each)} for {each['server']} within an hour")
    for each in registrations.get("quarantine", ())[:PHONES_SHOWN]:
        lines.append(f"  {each['aor']} at {each['host']}  left alone for {in_words(each['for'])}: {each['reason']}")
    return lines


def wrong_passwords(entry: Mapping[str, Any]) -> str:
    """Of an entry of `registrations.rejected`."""
    return "1 wrong password" if entry["wrong_passwords"] == 1 else f"{entry['wrong_passwords']} wrong passwords"


def _is_well(phone: Mapping[str, Any]) -> bool:
    servers = phone.get("servers", ())
    return bool(servers) and all(entry["state"] == "registered" for entry in servers) and not phone.get("quarantined_for")


def _standing(entry: Mapping[str, Any]) -> str:
    """`primary registered for 50 min (alternating)`, `fallback failed: wrong password, next try in 4 min`."""
    said = f"{entry['server']} {entry['state']}"
    if entry["state"] == "registered":
        said += f" for {in_words(entry['expires_in'])}" if entry.get("expires_in") is not None else ""
        return f"{said} ({entry['method']})" if entry.get("method") else said
    if entry.get("reason"):
        said += f": {entry['reason']}"
    return f"{said}, next try in {in_words(entry['retry_in'])}" if entry.get("retry_in") else said


def clock_time(at: float, wall_now: float) -> str:
    """The time of day; with the date when it is not today's."""
    moment = time.localtime(at)
    today = time.localtime(wall_now)[:3] == moment[:3]
    return time.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M", moment)


def _reachable(address: str) -> str:
    """The address to ask: an appliance that listens everywhere listens on loopback too."""
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)  # noqa: S104 (compared, not bound)
    return f"[{address}]" if ":" in address else address
