"""RFC 3261 16.3: what must not be forwarded, and with which answer it ends.

The parser has already refused what is not SIP. A proxy does not look at Require; an unknown method is forwarded like any
other.
"""

from __future__ import annotations

from sbc.sip.message import Request

MAGIC_COOKIE = "z9hG4bK"
"""RFC 3261 8.1.1.7."""

MAX_FORWARDS = 70
"""RFC 3261 8.1.1.6, and what we write where a phone sends none (16.6 item 3)."""

_SCHEMES = ("sip", "sips", "tel", "urn")  # urn:service:sos calls for help (RFC 5031)
_LOOP_MASK = (1 << 40) - 1
_STATELESS_MASK = (1 << 64) - 1


class Refused(Exception):  # noqa: N818 (a decision, raised from deep inside it)
    """The request ends here with this answer."""

    def __init__(self, status: int, reason: str | None = None, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason
        self.headers = headers


def max_forwards(request: Request) -> int:
    """The header's value, 70 where it is absent."""
    value = request.max_forwards
    return MAX_FORWARDS if value < 0 else value


def check(request: Request) -> None:
    """16.3 items 2, 3 and 5. Raises Refused; MalformedMessage when the Request-URI cannot be read at all."""
    scheme = request.request_uri.partition(":")[0].lower()
    if scheme not in _SCHEMES:
        raise Refused(416)
    if scheme in ("sip", "sips"):
        request.uri  # noqa: B018 (16.3 item 1: raises when it cannot be read)
    if max_forwards(request) == 0:
        raise Refused(483)
    unsupported = request.get_all("Proxy-Require")
    if unsupported:
        raise Refused(420, headers=tuple(("Unsupported", option) for option in unsupported))


class Branches:
    """Makes the branch parameters of what we send: magic cookie, loop hash, serial number.

    16.6 item 8: one part of the branch is a hash over what decides the request's way; when a request comes back with our
    hash unchanged it is in a loop, and with another one it only passes twice (a call from one phone to another of the same
    site). The hash is keyed, so nobody can make a request look like a loop.
    """

    def __init__(self, boot: str) -> None:
        self._boot = boot
        self._serial = 0

    def new(self, request: Request) -> str:
        """The branch for one more attempt of this request."""
        self._serial += 1
        return f"{MAGIC_COOKIE}{self._loop_hash(request)}{self._boot}{self._serial:x}"

    def check_loop(self, request: Request) -> None:
        """16.3 item 4. Raises Refused 482."""
        vias = request.get_all("Via")
        if len(vias) < 2:
            return  # straight from a phone or server: it cannot have passed here before
        ours = f"branch={MAGIC_COOKIE}{self._loop_hash(request)}"
        if any(ours in via for via in vias):
            raise Refused(482)

    def stateless(self, request: Request) -> str:
        """16.11: for an ACK the branch must be the same for every retransmission, so it is made from the one received."""
        repeatable = hash(request.top_via.branch) & _STATELESS_MASK
        return f"{MAGIC_COOKIE}{self._loop_hash(request)}{self._boot}{repeatable:016x}"

    def _loop_hash(self, request: Request) -> str:
        parts = (
            request.request_uri,
            request.call_id,
            request.from_tag,
            request.to_tag,
            request.cseq,
            request.get("Route") or "",
        )
        # Python's hash of text is keyed anew in every process, and a loop comes round faster than a process.
        return f"{hash(parts) & _LOOP_MASK:010x}"
