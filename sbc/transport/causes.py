"""Why a connection could not be made, or ended: one word for metrics and decisions, and a sentence for the log.

refused, reset, connect_timeout, tls, unreachable and timeout are the causes of `TransportFailed` (P17, F2, table D6).
"""

from __future__ import annotations

import errno

from OpenSSL import SSL
from twisted.internet import error

REFUSED = "refused"
BROKEN = "reset"
CONNECT_TIMEOUT = "connect_timeout"
UNREACHABLE = "unreachable"
TIMEOUT = "timeout"
TLS = "tls"

_UNREACHABLE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EACCES, errno.EPERM)


def cause_of(exception: BaseException, *, in_handshake: bool = False) -> tuple[str, str]:
    """The cause, and the sentence. `in_handshake`: it was connected, and TLS was about to begin."""
    if isinstance(exception, SSL.Error):
        return TLS, f"TLS failed: {_reason_of(exception)}"
    if isinstance(exception, error.TimeoutError | error.UserError):
        return CONNECT_TIMEOUT, "it did not accept the connection in time"
    if isinstance(exception, error.ConnectionRefusedError):
        return REFUSED, "it refused the connection"
    code = _code_of(exception)
    if isinstance(exception, error.NoRouteError | error.ConnectBindError) or code in _UNREACHABLE:
        return UNREACHABLE, f"it cannot be reached: {exception}"
    if code == errno.ETIMEDOUT:
        connected = isinstance(exception, error.ConnectionLost)
        return (TIMEOUT if connected else CONNECT_TIMEOUT), "it acknowledges nothing"
    if isinstance(exception, error.ConnectError) and not isinstance(exception, error.ConnectionLost):
        return UNREACHABLE, f"it cannot be reached: {exception}"
    if in_handshake:
        return TLS, "TLS failed: it hung up during the handshake"
    if isinstance(exception, error.ConnectionDone):
        return BROKEN, "it closed the connection"
    return BROKEN, "it broke the connection"


def _code_of(exception: BaseException) -> int | None:
    code = getattr(exception, "osError", None)
    if isinstance(code, int):
        return code
    # Twisted's ConnectionLost keeps the errno only in its words, or in what it wraps.
    for argument in exception.args:
        if isinstance(argument, OSError):
            return argument.errno
        if isinstance(argument, int):
            return argument
    return None


def _reason_of(exception: SSL.Error) -> str:
    """OpenSSL's own words, without its file names."""
    entries = exception.args[0] if exception.args and isinstance(exception.args[0], list) else []
    return "; ".join(entry[-1] for entry in entries if entry and entry[-1]) or type(exception).__name__
