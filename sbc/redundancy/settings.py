"""What an administrator may decide about a group of servers: every key of `[[group]]` and `[[group.server]]`.

The field is the key, its default is ours, and its metadata is the range. Configuration and profiles check values with
`expectation`, so a range is written once. Times are seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any

from sbc.redundancy import window

REGISTRATIONS = ("concurrent", "successive", "single")
FAILBACK_MODES = ("new-requests", "dns-ttl", "registration", "duration", "probe", "scheduled", "manual", "never")
PROBE_METHODS = ("options", "register", "register-when-successive")
SERVER_TRANSPORTS = ("udp", "tcp", "tls", "tcp-preferred", "dns-naptr")
SRV_TRANSPORTS = ("udp", "tcp", "tls")
SRV_WEIGHTS = ("rfc2782", "descending")
LARGE_REQUESTS = ("udp", "tcp")
REMOVALS = ("at-once", "at-renewal")
CHALLENGE_METHODS = ("alternating", "serial", "aggregate", "first-only")
REFRESH_CHECKS = ("off", "source", "credentials")
REGISTER_BEFORE = ("INVITE", "BYE", "SUBSCRIBE", "PUBLISH", "MESSAGE", "REFER")

STATUS_ACTIONS = ("next", "next-unless-ringing", "next-if-early", "next-server", "return")
"""What an answer means for the request (table D6):

next                 try the next candidate
next-unless-ringing  the same, but not after a 101 to 199: the call has begun to ring
next-if-early        only within the first 5 s and without any 1xx: the server speaks, not the callee's phone
next-server          skip this server's other candidates (they share its accounts), try the next server
return               the phone gets this answer
"""

STATUS_HEALTH = ("up", "suspect", "held", "none")
"""What an answer says about the server (last column of D6):

up       it answers
suspect  one bad result
held     down for Retry-After
none     says nothing
"""

_COMMON: Mapping[str, str] = {"500": "next", "502": "next", "503": "next", "504": "next", "430": "next"}

DEFAULT_STATUS_FAILOVER: Mapping[str, Mapping[str, str]] = MappingProxyType({
    "INVITE": {
        "500": "next-unless-ringing", "502": "next-unless-ringing", "503": "next-unless-ringing",
        "504": "next-unless-ringing", "408": "next-if-early", "430": "next-unless-ringing",
    },
    "REGISTER": {**_COMMON, "408": "next", "403": "next-server", "404": "next-server"},
    "in-dialog": dict(_COMMON),
    "*": {**_COMMON, "408": "next"},
})
"""Table D6. Rows are methods, `in-dialog` for every request inside a dialog (BYE always is), `*` for the rest.
A status that is not listed is returned to the phone: 401 and 407, 480, 486, 6xx above all."""

DEFAULT_STATUS_HEALTH: Mapping[str, str] = MappingProxyType(
    {"503": "held", "500": "suspect", "502": "suspect", "504": "suspect", "408": "none"}
)
"""Table D6, last column. A status that is not listed proves that the server is up."""


def _range(low: float, high: float, *, also: tuple[float, ...] = (), unit: str = "") -> dict[str, Any]:
    return {"low": low, "high": high, "also": also, "unit": unit}


def _choice(*choices: str) -> dict[str, Any]:
    return {"choices": choices}


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """One `[[group.server]]`: a configured entry, which DNS may expand to several candidates."""

    name: str
    """For people, metrics and the dialog cookie; unique in its group."""
    address: str
    """Name or IP address; IPv6 without brackets. Several with commas between them are tried in this order (S13); the name of
    an SRV record is asked for as it is (V8)."""
    rank: int = field(default=1, metadata=_range(1, 64))
    """Position in the list, 1 first: P1, P2 ... Not a key; counted from the order in the file."""
    port: int = field(default=0, metadata=_range(0, 65535))
    """0 = find by DNS (SRV, and NAPTR with transport dns-naptr); given = A and AAAA only (Y10, Y11, S6)."""
    transport: str = field(default="udp", metadata=_choice(*SERVER_TRANSPORTS))
    """udp | tcp | tls | tcp-preferred (each address over TCP, then over UDP, S11) | dns-naptr."""
    naptr_build: str = field(default="udp", metadata=_choice(*SRV_TRANSPORTS))
    """For dns-naptr with port 0: whose SRV is asked for when NAPTR gives nothing (Y21; S17: udp)."""
    expires: int = field(default=3600, metadata=_range(30, 2147483647, unit="s"))
    """Registration time asked for at this server (Y18)."""
    retry_counts: int = field(default=3, metadata=_range(0, 20))
    """Retransmissions before the next candidate is tried: first send + N (Y19, table a.0)."""
    retry_time: float = field(default=0.0, metadata=_range(0.5, 32, also=(0,), unit="s"))
    """Seconds until the next candidate is tried, with retransmissions as RFC 3261 has them (F6, Fanvil V2: "specific
    time"); 0 = by `retry_counts`."""
    register: bool = True
    """False: never registered at and never the working server, still tried for calls when all above are down (P8)."""
    register_on_enable: bool = False
    """Other requests of a phone go to this server only after a REGISTER of that phone was accepted there (Y30). As
    `register_before` for all methods; without effect where `register` is false."""
    failback_mode: str = field(default="new-requests", metadata=_choice(*FAILBACK_MODES))
    """What lets new requests return to this server after it failed (Y24 to Y28). See `redundancy.failback`."""
    failback_window: str = "02:00-04:00"
    """For `scheduled`: from when to when, by the local time of the machine. See `redundancy.window`."""
    failback_timeout: int = field(default=0, metadata=_range(60, 65535, also=(0,), unit="s"))
    """For `duration`: seconds after the failover; 0 = not before the server in use fails (Y29)."""
    trusted: bool = False
    """The server takes our REGISTERs without a password, because it knows our address or our TLS certificate: no credentials
    are ever sent there (D8, method 3). It lets in whomever no other server has refused: with concurrent registration nobody
    who was not accepted elsewhere as long as a server lives that asks for passwords; one after the other, whoever comes while it is
    the working server, or when the one before it does not answer."""
    path: bool = False
    """Write a Path header, with Supported: path, into REGISTERs for this server (RFC 3327). A server that answers 420 gets
    none from then on (D25). False: it finds the way by the Contact that we write, which every server understands."""
    large_requests: str = field(default="udp", metadata=_choice(*LARGE_REQUESTS))
    """Requests over 1300 bytes to a server on UDP: udp = as all others, in fragments; tcp = by TCP, and by UDP when it does
    not take TCP (RFC 3261 18.1.1, D27). Ours: Asterisk and Kamailio also stay with UDP unless told, because a firewall that
    knows nothing of TCP makes the call wait."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """The names and IP addresses in `address`; `Candidate.place` says by which one a candidate was found."""
        return tuple(part.strip() for part in self.address.split(","))


@dataclass(frozen=True, slots=True)
class GroupSettings:
    """One `[[group]]`: the list of servers that a phone would hold for one line."""

    name: str
    servers: tuple[ServerSettings, ...]
    """In order of rank; at least one."""
    domains: tuple[str, ...] = ()
    """Request-URI or To hosts that select this group, in lower case; "*" takes the rest."""
    profile: str = "recommended"
    """The file of conf/profiles/ that the values came from."""
    registration: str = field(default="concurrent", metadata=_choice(*REGISTRATIONS))
    """concurrent: at all registrar servers at once; successive: at one at a time; single: at one only, and leave it
    before the next (X1)."""
    probe_interval: float = field(default=30, metadata=_range(1, 86400, unit="s"))
    """Between OPTIONS while a server is up."""
    probe_interval_down: float = field(default=10, metadata=_range(1, 86400, unit="s"))
    """Between OPTIONS while it is not."""
    probe_timeout: float = field(default=4, metadata=_range(0.1, 32, unit="s"))
    """An OPTIONS unanswered so long is a bad result (D15)."""
    fall: int = field(default=2, metadata=_range(1, 100))
    """Bad results in a row that make a server down. Each unanswered send is one; transport errors do it at once."""
    rise: int = field(default=3, metadata=_range(1, 100))
    """Good results in a row that make a down server up."""
    failback_hold: float = field(default=60, metadata=_range(0, 86400, unit="s"))
    """Seconds that a server must have been up before anything moves back to it (D18)."""
    flap_damping: bool = False
    """A server that fails within 5 min of its return must be up twice as long before the next one (D19)."""
    load_balancing: bool = False
    """The servers are equals: the one in use is kept until it fails, then the next in the list, round and round (V4, V30)."""
    probe_method: str = field(default="options", metadata=_choice(*PROBE_METHODS))
    """How servers better than the one in use are asked (F3, Y23): by OPTIONS as all others, or by a REGISTER of ours."""
    register_probe_interval: float = field(default=120, metadata=_range(10, 2147483647, unit="s"))
    """Between those REGISTERs, 10 to 2147483647 s (Y23; Fanvil 1800, F17). Unanswered, the next one comes 64*T1 later (F11)."""
    register_wait: float = field(default=2.0, metadata=_range(0, 30, unit="s"))
    """How long the answer to a REGISTER waits for the primary once another server has answered (D11)."""
    deregister_on_failback: bool = True
    """With successive and single registration: on the return to a better server the phone is removed at the one that it
    leaves, before it is registered at the better one (V3, D20). False: what it leaves is kept until it expires (P23).
    Concurrent registration keeps all of them (P13)."""
    register_before: tuple[str, ...] = field(default=(), metadata={"items": REGISTER_BEFORE})
    """Requests with these methods go to a server only after the phone is registered there: REGISTER, its 200, then the
    request (F7, F8). Where only the phone knows the password, the request is sent all the same (D22)."""
    register_retry_base: float = field(default=30, metadata=_range(1, 120, unit="s"))
    """What the appliance registers itself is tried again after a failure (RFC 5626 4.5): `n` failures in a row bring a
    wait of base * 2^n seconds, at most `register_retry_max`, of which 50 to 100 % are waited. 60 with a maximum of 60
    gives the 30 to 60 s of P11; the range of the Polycom guide is 10 to 120."""
    register_retry_max: float = field(default=1800, metadata=_range(1, 86400, unit="s"))
    """Longest such wait (RFC 5626 4.5: 1800; the range of the Polycom guide is 60 to 1800)."""
    srv_weight: str = field(default="rfc2782", metadata=_choice(*SRV_WEIGHTS))
    """Among equal SRV priorities: rfc2782 = weighted random order; descending = highest weight first (Y42, S9)."""
    dns_requery: float = field(default=0, metadata=_range(5, 86400, also=(0,), unit="s"))
    """Ask DNS again after so long, whatever the TTL says (PIVOT: 7200, V28); 0 = as `[dns]` requery says."""
    dns_ttl_floor: float = field(default=5, metadata=_range(1, 3600, unit="s"))
    """An answer is good for at least so long, whatever its TTL says (D17)."""
    dns_ttl_ceiling: float = field(default=86400, metadata=_range(60, 604800, unit="s"))
    """An answer is good for at most so long (D17)."""
    dns_removed: str = field(default="at-once", metadata=_choice(*REMOVALS))
    """When new requests leave a working server that DNS no longer names: at-once; at-renewal = when it has accepted the
    renewal of a registration, `probe_interval` after the change or later, or when it fails (V29)."""
    retry_timeout: float = field(default=0.0, metadata=_range(0, 65.535, unit="s"))
    """Constant interval between retransmissions (Polycom retryTimeOut); 0 = the RFC 3261 schedule."""
    status_failover: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: DEFAULT_STATUS_FAILOVER)
    """Method -> status -> action (`STATUS_ACTIONS`), table D6. Rows given in a file replace ours status by status."""
    status_health: Mapping[str, str] = field(default_factory=lambda: DEFAULT_STATUS_HEALTH)
    """Status -> meaning for the server's health (`STATUS_HEALTH`)."""
    bye_failover: bool = True
    """A BYE whose server is dead goes to the others (Fanvil F8, D22)."""
    method_servers: Mapping[str, str] = field(default_factory=dict)
    """Method -> "first": these requests go to the rank 1 server only (P6: SUBSCRIBE and PUBLISH)."""
    skip_down: bool = True
    """Known-down servers get no request while another one is left (V22). False: every request tries them in order."""
    sources: tuple[str, ...] = ()
    """Further addresses (CIDR) that the group's servers send from."""
    max_expires: int = field(default=0, metadata=_range(30, 2147483647, also=(0,), unit="s"))
    """Cap of the registration time granted to phones; 0 = none (PIVOT 300, V15)."""
    min_expires: int = field(default=60, metadata=_range(0, 86400, unit="s"))
    """Shortest registration time granted to phones (423 below). Where several servers want the phone's own answer by turns, what
    they grant is shared among these, and may be less."""
    challenge_method: str = field(default="alternating", metadata=_choice(*CHALLENGE_METHODS))
    """How a phone answers the challenges of several servers when its password is not in `[credentials]` (D8): alternating =
    one server's at a time, the next one's when it refreshes; serial = the next one's at once; aggregate = all in one answer;
    first-only = the first server's, and it is registered there alone. A phone that is seen to stop goes on with the next of
    them: from serial and aggregate to alternating, from there to first-only; that is remembered, for a day (`registration.rota`)."""
    short_grant: int = field(default=10, metadata=_range(5, 60, unit="s"))
    """alternating: the time that a phone is granted while another server still has to challenge it. At 3 s some phones never
    come again."""
    one_realm: tuple[str, ...] = ("*linphone*", "*belle-sip*")
    """Patterns with the wildcards of a shell, of which one fits the User-Agent of phones that answer the first realm that they met
    and no other, and give up when asked: servers of another realm never challenge them (measured with linphone 5.1)."""
    shared_nonce: bool = False
    """The servers take each other's nonces (one nonce secret, or none is checked): the phone's answer goes to all of them."""
    phone_expires: int = field(default=0, metadata=_range(30, 86400, also=(0,), unit="s"))
    """Longest registration time granted to phones as long as their servers grant more: how often they refresh here, while the
    servers see their own rhythm. 0 = as the servers grant."""
    refresh_check: str = field(default="source", metadata=_choice(*REFRESH_CHECKS))
    """When a refresh that nothing changes, while no server has to hear of it, is answered by the appliance itself: off = never;
    source = it comes from the address, port and transport of the one that a server accepted, with the same Contact and
    Call-ID and a higher CSeq; credentials = it shows a valid digest as well."""
    wrong_password_tries: int = field(default=10, metadata=_range(1, 1000))
    """REGISTERs with credentials that a server does not accept which are passed on to it in an hour, for each phone and
    address-of-record. The next ones are answered here: servers lock accounts."""
    quarantine: float = field(default=300, metadata=_range(10, 86400, unit="s"))
    """How long a phone is left alone that sends REGISTERs in a loop: it gets an answer from here, no server hears of it."""
    resync_rate: float = field(default=0, metadata=_range(0.1, 10000, also=(0,), unit="/s"))
    """Most REGISTERs in a second that a server gets which has come back (D18): a phone that it challenges takes two. 0 = all of
    its phones within five minutes, but at least 5, and up to four times as many while it answers quickly. Halved when the
    server fails or is slow, and risen again. With several workers, all together."""
    resync_hold: float = field(default=30, metadata=_range(0, 3600, unit="s"))
    """Seconds that a server must have been up again before it is sent registrations that it may have lost (D18)."""
    importance: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Class of phones -> patterns, of which one fits its user@host, or its user when they have no @. The classes come one after
    the other when a server has come back, then the rest (D18)."""
    phones: tuple[PhonesSettings, ...] = ()
    """Those of the group's phones that use its servers in another way; the first that fits a phone counts."""

    @property
    def asks_by_register(self) -> bool:
        """Whether `probe_method` means REGISTER here."""
        is_successive = self.registration != "concurrent"
        return self.probe_method == "register" or (self.probe_method == "register-when-successive" and is_successive)


@dataclass(frozen=True, slots=True)
class PhonesSettings:
    """One `[[group.phones]]`: some of a group's phones, and how they use its servers. See `redundancy.phones`."""

    settings: GroupSettings
    """Their profile with its overrides, on the group's own servers. Its `phones` are empty."""
    user_agent: tuple[str, ...] = ()
    """Patterns with the wildcards of a shell, of which one fits the phone's User-Agent; empty: any."""
    addresses: tuple[str, ...] = ()
    """Networks (CIDR), of which one holds the address that the phone's requests come from; empty: any."""
    aors: tuple[str, ...] = ()
    """Patterns, of which one fits its user@host, or its user when they have no @; empty: any."""


PHONES_MATCH = ("user_agent", "addresses", "aors")
"""Keys of `[[group.phones]]` that say which phones; at least one, and all that are given must fit."""

OF_THE_WHOLE_GROUP = {
    GroupSettings: frozenset({
        "name", "domains", "profile", "sources", "probe_interval", "probe_interval_down", "probe_timeout", "fall", "rise",
        "status_health", "srv_weight", "dns_requery", "dns_ttl_floor", "dns_ttl_ceiling", "dns_removed", "shared_nonce",
        "resync_rate", "resync_hold", "importance",
    }),
    ServerSettings: frozenset({
        "name", "address", "port", "transport", "naptr_build", "large_requests", "register", "trusted", "path",
    }),
}
"""Keys that hold for every phone of a group: who its servers are, and how it is found out whether they live. A server is
watched once, however many kinds of phones use it."""

NOT_KEYS = {ServerSettings: ("rank",), GroupSettings: ("servers", "phones")}
"""Fields that no file may set directly."""


def keys(cls: type) -> tuple[str, ...]:
    """The keys that a file may set for GroupSettings or ServerSettings."""
    return tuple(entry.name for entry in fields(cls) if entry.name not in NOT_KEYS.get(cls, ()))


def expectation(cls: type, key: str, value: object) -> str | None:
    """None when `value` is fine for that key as TOML gives it; otherwise what was expected, in words."""
    entry = {entry.name: entry for entry in fields(cls)}[key]
    kind = str(entry.type)
    if "choices" in entry.metadata:
        choices = entry.metadata["choices"]
        return None if value in choices else "one of " + ", ".join(choices)
    if key == "status_failover":
        return _status_failover_expectation(value)
    if key == "status_health":
        return _status_map_expectation(value, STATUS_HEALTH)
    if key == "method_servers":
        fine = isinstance(value, Mapping) and all(isinstance(k, str) and v == "first" for k, v in value.items())
        return None if fine else 'a table of method = "first"'
    if key == "importance":
        fine = isinstance(value, Mapping) and all(
            isinstance(patterns, list | tuple) and patterns and all(isinstance(text, str) and text for text in patterns)
            for patterns in value.values()
        )
        return None if fine else "a table of class = [pattern, ...]"
    if key == "failback_window":
        return window.expectation(value)
    if kind == "bool":
        return None if isinstance(value, bool) else "true or false"
    if kind.startswith("tuple"):
        fine = isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
        items = entry.metadata.get("items")
        if items is None:
            return None if fine else "a list of strings"
        fine = fine and all(item in items for item in value)
        return None if fine else "a list of methods, each one of " + ", ".join(items)
    if kind == "str":
        return None if isinstance(value, str) and value else "a string that is not empty"
    return _number_expectation(entry.metadata, kind == "int", value)


def _number_expectation(metadata: Mapping[str, Any], whole: bool, value: object) -> str | None:
    low, high, also = metadata["low"], metadata["high"], metadata["also"]
    fine = not isinstance(value, bool) and isinstance(value, int if whole else int | float)
    if fine and (value in also or low <= value <= high):
        return None
    unit = f" {metadata['unit']}" if metadata["unit"] else ""
    extra = "".join(f"{extra:g} or " for extra in also)
    low_text, high_text = (f"{bound:g}" if bound < 1e6 else str(bound) for bound in (low, high))
    return f"{extra}{'a whole number' if whole else 'a number'} from {low_text} to {high_text}{unit}"


def _status_map_expectation(value: object, allowed: tuple[str, ...]) -> str | None:
    fine = isinstance(value, Mapping) and all(
        isinstance(status, str) and status.isdigit() and 300 <= int(status) <= 699 and action in allowed
        for status, action in value.items()
    )
    return None if fine else "a table of status (300 to 699) = " + " | ".join(allowed)


def _status_failover_expectation(value: object) -> str | None:
    if not isinstance(value, Mapping):
        return "a table of method = {status = action}"
    for rows in value.values():
        wrong = _status_map_expectation(rows, STATUS_ACTIONS)
        if wrong:
            return wrong
    return None


def merged_status_failover(
    base: Mapping[str, Mapping[str, str]], override: Mapping[str, Mapping[str, str]]
) -> dict[str, dict[str, str]]:
    """Table D6 with some of its cells replaced: what a profile or a group says about single statuses."""
    merged = {method: dict(rows) for method, rows in base.items()}
    for method, rows in override.items():
        merged.setdefault(method, {}).update(rows)
    return merged
