"""Extensions of SIP that a server is offered in a REGISTER, and those that it has refused: `Extensions`.

Two are offered: `path`, where the administrator wants it (RFC 3327), and `gruu`, when the phone asks for it and names its
instance (RFC 5627). `outbound` (RFC 5626) is not: a server would count on flows to the phone and on STUN towards it, and a
phone that hears of no `outbound` in the answer does without. So its `reg-id` stays here too, which means nothing without.

A server that says 420 to what it was offered is asked again at once without, and for a day not offered it again (D25).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sbc.events import ExtensionRefused
from sbc.location.candidate import Candidate
from sbc.registration.contacts import TOKEN_PARAMETER
from sbc.sip.errors import MalformedMessage
from sbc.sip.headers import NameAddr
from sbc.sip.message import Response

REMEMBERED_FOR = 86400.0
"""Seconds; the server may have another configuration by then."""


class Extensions:
    """What the servers of one group were offered and have refused. Told `now`, in seconds."""

    def __init__(self, group: str, report: Callable[[object], object]) -> None:
        self._group = group
        self._report = report
        self._refused: dict[tuple[Candidate, str], float] = {}  # until when; no more than the configured servers have

    def welcome(self, candidate: Candidate, tags: Iterable[str], now: float) -> tuple[str, ...]:
        """Those of the option tags that this server has not refused."""
        refused = self._refused
        return tuple(tag for tag in tags if refused.get((candidate, tag), 0.0) <= now)

    def refuse(self, server: str, candidate: Candidate, offered: Iterable[str], response: Response, now: float) -> bool:
        """Learn from a 420. False when it is about nothing that was offered."""
        unsupported = {tag.lower() for tag in response.get_all("Unsupported")}
        refused = [tag for tag in offered if tag in unsupported]
        for tag in refused:
            self._refused[candidate, tag] = now + REMEMBERED_FOR
            self._report(ExtensionRefused(self._group, server, str(candidate), tag))
        return bool(refused)


def gruu_in(response: Response, token: str, with_temporary: bool) -> str:
    """The GRUUs that a 2xx gives to our contact with that token, as parameters for the phone's own Contact; "" without any.

    The public one is made of the address-of-record and the phone's instance, and so the same at each server. A temporary one
    is known to the server that made it only.
    """
    for value in response.get_all("Contact"):
        if f"{TOKEN_PARAMETER}={token}" not in value:
            continue
        try:
            parameters = NameAddr.parse(value, "Contact").parameters
        except MalformedMessage:
            continue
        names = ("pub-gruu", "temp-gruu") if with_temporary else ("pub-gruu",)
        return "".join(f";{name}={parameters[name]}" for name in names if parameters.get(name))
    return ""
