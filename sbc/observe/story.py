"""Facts as sentences for people: who, what, why. The log and the list of recent events speak with the same words.

Reasons may quote a server's own words (a reason phrase), so control characters are taken out here, once.

Compiled when installed (Cython's pure Python mode), because every new registration is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import cython

from sbc import events

if cython.compiled:
    from cython.cimports.sbc.events import RegistrationChanged
else:
    from sbc.events import RegistrationChanged

DEBUG, INFO, WARNING, ERROR = "debug", "info", "warning", "error"

ALL_METHODS = "*"
"""The method of a failover that moved all new requests of a group, rather than one request."""

_CAUSES = {
    "timeout": "no answer came in time",
    "icmp": "its host or port is unreachable (ICMP)",
    "refused": "it refused the connection",
    "reset": "it broke the connection",
    "connect_timeout": "it did not accept the connection in time",
    "tls": "its TLS handshake failed",
    "status_5xx": "it answered with a server error (5xx)",
    "not_registered": "the phone could not be registered there first",
    "found_down": "another request found it dead",
    "probe": "probes find it well again",
    "new-requests": "new requests go to the best server first",
    "dns-ttl": "the DNS records ran out and were asked anew",
    "registration": "a registration there succeeded again",
    "duration": "the failback time is over",
    "working-failed": "the server in use failed",
    "scheduled": "its hours have come",
    "manual": "an administrator asked for it",
}


@dataclass(frozen=True, slots=True)
class Story:
    """One fact, told."""

    level: str
    """debug | info | warning | error"""
    text: str
    key: tuple[str, ...]
    """Facts with the same key tell the same thing of different phones or calls."""
    group: str = ""
    several: str = ""
    """How to say it of many: `{count}` stands for their number. Empty: each is told on its own."""
    notable: bool = True
    """Whether it belongs into the list of recent events, beside failovers."""


class Group(Protocol):
    """What we read of a server group."""

    name: str

    def candidates(self) -> Sequence[tuple[Any, Any]]:
        """Pairs of server settings (`.name`) and candidate."""


class ServerNames:
    """The configured name of a server beside the address that a fact speaks of.

    `groups` is walked when asked, so a live view stays true. Addresses of no known server are left as they are.
    """

    def __init__(self, groups: Iterable[Group] = ()) -> None:
        self._groups = groups

    def named(self, group: str, candidate: str) -> str:
        """`primary (192.0.2.1:5060;udp)`."""
        for each in self._groups:
            if each.name == group:
                for settings, address in each.candidates():
                    if str(address) == candidate:
                        return f"{settings.name} ({candidate})"
        return candidate


NO_NAMES = ServerNames()


def tell(event: object, names: ServerNames = NO_NAMES) -> Story | None:
    """The story of a fact; None for facts that are numbers only."""
    narrator = _NARRATORS.get(type(event))
    return narrator(event, names) if narrator is not None else None


def line_of(event: object, names: ServerNames = NO_NAMES) -> tuple[str, str] | None:
    """Level and text of its story."""
    story = tell(event, names)
    return None if story is None else (story.level, story.text)


def is_for_debug(event: object) -> bool:
    """Whether the story of this fact is told at debug level only, or not at all. Asked for every call, so that no
    story is made which nobody wants to hear."""
    rule = _FOR_DEBUG.get(type(event))
    return rule is not None and rule(event)


def in_words(cause: str) -> str:
    """A cause label as an administrator would say it."""
    return _CAUSES.get(cause, cause)


def _server_state(event: events.ServerStateChanged, names: ServerNames) -> Story:
    return Story(
        level=WARNING if event.new == "down" else INFO,
        text=printable(
            f"{event.group}: server {event.server} ({event.candidate}) is {event.new}, was {event.old}: {event.reason}"
        ),
        key=("state", event.group, event.candidate, event.new),
        group=event.group,
    )


def _failed_over(event: events.FailedOver, names: ServerNames) -> Story:
    way = (
        f"from {names.named(event.group, event.from_candidate)} to {names.named(event.group, event.to_candidate)},"
        f" {'all new requests' if event.method == ALL_METHODS else event.method}{_of_phones(event.phones)}:"
        f" {in_words(event.cause)}"
    )
    return Story(
        level=WARNING,
        text=printable(f"{event.group}: failover {way}"),
        key=("failover", event.group, event.method, event.from_candidate, event.to_candidate, event.cause, event.phones),
        group=event.group,
        several=printable(f"{event.group}: {{count}} failovers {way}"),
    )


def _failed_back(event: events.FailedBack, names: ServerNames) -> Story:
    return Story(
        level=INFO,
        text=printable(
            f"{event.group}: new requests{_of_phones(event.phones)} return"
            f" from {names.named(event.group, event.from_candidate)}"
            f" to {names.named(event.group, event.to_candidate)}: {in_words(event.cause)}"
        ),
        key=("failback", event.group, event.from_candidate, event.to_candidate, event.phones),
        group=event.group,
    )


def _flapped(event: events.ServerFlapped, names: ServerNames) -> Story:
    return Story(
        level=WARNING,
        text=printable(
            f"{event.group}: server {event.server} ({event.candidate}) flaps: it failed soon after new requests had"
            f" returned to it, and must be well for {event.hold:g} s before they do again"
        ),
        key=("flap", event.group, event.candidate),
        group=event.group,
    )


_SAID_OF_NETWORK = {
    "up": "the network to the servers is well again",
    "link_down": "our own link is down; servers are not judged, and everything stays as it is",
    "uplink_down": "the site has lost its uplink; no server can be reached, and none is preferred to another for that",
    "dns_down": "name servers do not answer; the addresses that were known go on being used",
}


def _network(event: events.NetworkStateChanged, names: ServerNames) -> Story:
    said = _SAID_OF_NETWORK.get(event.new, f"the network is {event.new}")
    return Story(
        level=INFO if event.new == "up" else ERROR if event.new == "uplink_down" else WARNING,
        text=printable(f"network: {said} ({event.reason})"),
        key=("network", event.new),
    )


def _of_phones(kind: str) -> str:
    return f" of phones of profile {kind}" if kind else ""


_SAID_OF_PHONE = cython.declare(
    dict,
    {
        "registered": "is registered at",
        "registering": "is registering at",
        "unregistered": "is no longer registered at",
        "failed": "could not register at",
    },
)
_NAMES = cython.declare(dict, {})
_LEVEL_OF_STATE = cython.declare(dict, {"registering": DEBUG, "failed": WARNING})


@cython.ccall
def level_of_registration(event: RegistrationChanged) -> str:
    """The level of its story."""
    return _LEVEL_OF_STATE.get(event.new, INFO)


@cython.ccall
def text_of_registration(event: RegistrationChanged) -> str:
    """The text of its story, without the rest of it: every phone has such lines."""
    said: str = _SAID_OF_PHONE.get(event.new)
    if said is None:
        said = printable(f"is {event.new} at")
    group: str = _printable_name(event.group)
    text: str = f"{group}: phone {printable(event.aor)} {said} server {_printable_name(event.server)}"
    return f"{text}: {printable(event.reason)}" if event.reason else text


def _registration(event: events.RegistrationChanged, names: ServerNames) -> Story:
    said_of_many = {
        "registered": "were registered at",
        "registering": "began to register at",
        "unregistered": "are no longer registered at",
        "failed": "could not register at",
    }.get(event.new, f"became {event.new} at")
    why = f": {event.reason}" if event.reason else ""
    return Story(
        level=level_of_registration(event),
        text=text_of_registration(event),
        key=("registration", event.group, event.server, event.new),
        group=event.group,
        several=printable(
            f"{event.group}: {{count}} phones {said_of_many} server {event.server}, the last was {event.aor}{why}"
        ),
        notable=event.new != "registering",
    )


def _registration_left_out(event: events.RegistrationLeftOut, names: ServerNames) -> Story:
    what = f"to server {event.server} without a registration there"
    return Story(
        level=INFO,
        text=printable(f"{event.group}: {event.method} of phone {event.aor} goes {what}: it {event.reason}"),
        key=("left out", event.group, event.server, event.method),
        group=event.group,
        several=printable(f"{event.group}: {{count}} {event.method} went {what}, the last of {event.aor}: it {event.reason}"),
        notable=False,
    )


def _removal_left_out(event: events.RemovalLeftOut, names: ServerNames) -> Story:
    until = f"until it lapses there in {event.lapses_in:.0f} s: it {event.reason}"
    return Story(
        level=INFO,
        text=printable(f"{event.group}: phone {event.aor} has removed itself, and stays registered at server {event.server} {until}"),
        key=("removal left out", event.group, event.server),
        group=event.group,
        several=printable(
            f"{event.group}: {{count}} phones have removed themselves, and stay registered at server {event.server} until they"
            f" lapse there: it {event.reason}; the last was {event.aor}"
        ),
        notable=False,
    )


def _resynchronised(event: events.Resynchronised, names: ServerNames) -> Story:
    return Story(
        level=INFO,
        text=printable(
            f"{event.group}: server {event.server} has its registrations again, {event.phones} in {event.seconds:.0f} s"
        ),
        key=("resynchronised", event.group, event.server),
        group=event.group,
    )


def _quarantined(event: events.PhoneQuarantined, names: ServerNames) -> Story:
    for_so_long = f"left alone for {event.seconds:g} s"
    return Story(
        level=WARNING,
        text=printable(
            f"{event.group}: phone {event.aor} at {event.host} ({event.contact}) registers in a loop, and is {for_so_long}:"
            f" {event.reason}"
        ),
        key=("quarantine", event.group),
        group=event.group,
        several=printable(
            f"{event.group}: {{count}} phones registered in a loop, and were {for_so_long}, the last was {event.aor} at"
            f" {event.host}: {event.reason}"
        ),
    )


def _extension_refused(event: events.ExtensionRefused, names: ServerNames) -> Story:
    return Story(
        level=INFO,
        text=printable(
            f"{event.group}: server {event.server} ({event.candidate}) does not take the extension {event.extension}, and is"
            " registered at without it"
        ),
        key=("extension", event.group, event.candidate, event.extension),
        group=event.group,
    )


def _attempt(event: events.AttemptEnded, names: ServerNames) -> Story:
    return Story(
        level=DEBUG if is_for_debug(event) else INFO,
        text=printable(
            f"{event.group}: {event.method} at server {event.server} ({event.candidate}) ended after"
            f" {event.duration:.3f} s: {in_words(event.outcome)}"
        ),
        key=("attempt", event.group, event.candidate, event.method, event.outcome),
        group=event.group,
        notable=False,
    )


def _probe(event: events.ProbeEnded, names: ServerNames) -> Story:
    return Story(
        level=DEBUG,
        text=printable(
            f"{event.group}: {event.method} probe at server {event.server} ({event.candidate}) ended after"
            f" {event.duration:.3f} s: {in_words(event.outcome)}"
        ),
        key=("probe", event.group, event.candidate, event.outcome),
        group=event.group,
        notable=False,
    )


def _late(event: events.LateResponse, names: ServerNames) -> Story:
    done = {
        "forwarded": "it was passed to the phone, because no other answer had been",
        "acked_and_byed": "it was acknowledged and hung up again, because the call had been connected elsewhere",
        "dropped": "it was dropped",
    }.get(event.action, event.action)
    return Story(
        level=INFO,
        text=printable(f"a late answer to {event.method} came from a server already given up: {done}"),
        key=("late", event.method, event.action),
        several=printable(f"{{count}} late answers to {event.method} came from servers already given up: {done}"),
    )


def _malformed(event: events.MalformedReceived, names: ServerNames) -> Story:
    # Debug: anyone can send such datagrams, and must not be able to fill the log. The metric counts them.
    return Story(
        level=DEBUG,
        text=printable(f"a message over {event.transport} is not acceptable SIP: {event.reason}"),
        key=("malformed", event.transport, event.reason),
        notable=False,
    )


def _dns(event: events.DnsLookup, names: ServerNames) -> Story:
    return Story(
        level=DEBUG if is_for_debug(event) else INFO,
        text=printable(f"DNS lookup of type {event.rrtype}: {event.result}"),
        key=("dns", event.rrtype, event.result),
        notable=False,
    )


def _alarm(event: events.Alarm, names: ServerNames) -> Story:
    text = printable(f"{event.subject}: {event.text}")
    return Story(level=ERROR, text=text, key=("alarm", event.subject, event.text))


@cython.cfunc
def _printable_name(name: str) -> str:
    """`printable`, for the names of groups and servers, which are few."""
    known: str = _NAMES.get(name)
    if known is None:
        known = _NAMES[name] = printable(name)
    return known


@cython.ccall
def printable(text: str) -> str:
    """One line that shows as it is: no control characters, no halves of surrogate pairs."""
    # Nearly always plain ASCII: seven times as quick as to look up what Unicode says of each character.
    character: cython.Py_UCS4
    for character in text:
        if not " " <= character <= "~":
            break
    else:
        return text
    if text.isprintable():
        return text
    return "".join([each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text])


_NARRATORS: dict[type, Callable[[Any, ServerNames], Story]] = {
    events.ServerStateChanged: _server_state,
    events.FailedOver: _failed_over,
    events.FailedBack: _failed_back,
    events.ServerFlapped: _flapped,
    events.NetworkStateChanged: _network,
    events.RegistrationChanged: _registration,
    events.RegistrationLeftOut: _registration_left_out,
    events.RemovalLeftOut: _removal_left_out,
    events.Resynchronised: _resynchronised,
    events.PhoneQuarantined: _quarantined,
    events.ExtensionRefused: _extension_refused,
    events.AttemptEnded: _attempt,
    events.ProbeEnded: _probe,
    events.LateResponse: _late,
    events.MalformedReceived: _malformed,
    events.DnsLookup: _dns,
    events.Alarm: _alarm,
}

NEVER_NOTABLE = frozenset(
    (events.AttemptEnded, events.CallSetUp, events.ProbeEnded, events.MalformedReceived, events.DnsLookup)
)
"""Facts whose stories are never `notable`."""

_FOR_DEBUG: dict[type, Callable[[Any], bool]] = {
    events.AttemptEnded: lambda event: event.outcome in events.EVERYDAY_OUTCOMES,
    events.CallSetUp: lambda event: True,
    events.ProbeEnded: lambda event: True,
    events.RegistrationChanged: lambda event: event.new == "registering",
    events.MalformedReceived: lambda event: True,
    # Negative too: to ask for NAPTR where there is none is the ordinary way to an address (RFC 3263 4.1).
    events.DnsLookup: lambda event: event.result in ("ok", "negative"),
}
