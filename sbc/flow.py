"""What transports and those above them have in common: a way to one peer, and who gets what comes in.

It stands beside the clock because all of them know it and none of them is above the others. A class rather than a protocol:
it is touched several times for every message, and in compiled code a field of a known class is one machine instruction.

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1.
"""

from __future__ import annotations

import cython

COMPILED = bool(cython.compiled)


@cython.cclass
class Flow:
    """One remote address seen through one socket of ours, or one connection. Subclasses say in `send` how.

    `transport` is udp, tcp or tls; `side` says who is out there: phones, servers, or both where one socket serves both.
    `local` and `remote` are (host, port). `via` is protocol and sent-by for our Via, `contact` where we are reached over it,
    for Record-Route and Contact: host:port, and `;transport=tcp` for tcp and tls. A flow that is `gone` is none for new
    requests: it was one connection that is closed, and whatever is sent over it fails, or has been replaced (`dialled`).
    """

    transport: str
    reliable: cython.bint
    gone: cython.bint
    side: str
    via: str
    via_start: bytes
    contact: str
    local: tuple
    remote: tuple
    # What the proxy has found out about it, so that it need not look it up for every message.
    origin: object
    origin_epoch: cython.long
    phone_address: object

    def __init__(
        self, transport: str, side: str, sent_by: str, local: tuple[str, int], remote: tuple[str, int], *, alias: bool = False
    ) -> None:
        """`alias`: the peer may send its requests for `sent_by` over this connection (RFC 5923 5)."""
        self.transport = transport
        self.reliable = transport != "udp"
        self.gone = False
        self.side = side
        self.local = local
        self.remote = remote
        self.via = f"SIP/2.0/{transport.upper()} {sent_by}"
        self.via_start = f"Via: {self.via};rport;{'alias;' if alias else ''}branch=".encode("ascii")
        """Our Via line up to the branch; rport wants the answer where it was sent from (RFC 3581 3)."""
        self.contact = f"{sent_by};transport={transport}" if self.reliable else sent_by
        self.origin = None
        self.origin_epoch = 0
        self.phone_address = None

    @cython.ccall
    def send(self, data: bytes) -> object:
        """Send one message. Never raises and never calls back from inside: failures are reported to the layer later."""
        raise NotImplementedError


@cython.cclass
class AtHand:
    """Who may have the answer to a request at hand, so that it need not be read, and nothing be remembered for it."""

    @cython.ccall
    def answer_to(self, data: bytes, flow: Flow) -> bytes:
        """The whole answer to this message. None where this one has no such answer, also because it is no such request. A
        repetition of the request gets the same (RFC 3261 8.2.7)."""
        return None


@cython.cclass
class Receiver:
    """What a transport calls when something arrives; the proxy's edge and the transaction layer stand behind it."""

    @cython.ccall
    @cython.exceptval(-1, check=True)
    def answered_unread(self, data: bytes, flow: Flow) -> cython.bint:
        """Asked for each message before anything is done for it. True when it has its answer, and that was all."""
        return False

    @cython.ccall
    def message_received(self, message: object, flow: Flow) -> object:  # (message: Request | Response, flow: Flow)
        """A well-formed request or response."""
        raise NotImplementedError

    @cython.ccall
    def malformed_received(self, error: object, flow: Flow) -> object:  # (error: MalformedMessage, flow: Flow)
        """Not acceptable; `error.request` is set when it can be answered."""
        raise NotImplementedError

    @cython.ccall
    def datagram_failed(self, quoted: bytes, cause: str) -> object:
        """The start of a datagram of ours that could not be delivered."""
        raise NotImplementedError

    @cython.ccall
    def flow_failed(self, flow: Flow, cause: str) -> object:
        """A connection could not be made, or broke: what waits for an answer on it waits in vain."""
        raise NotImplementedError
