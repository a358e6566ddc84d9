"""The two requests that a hop makes by itself, both shaped by an INVITE: the ACK to a failure, and the CANCEL."""

from __future__ import annotations

from sbc.sip.message import Request, Response


def ack_for_failure(invite: Request, response: Response) -> Request:
    """The ACK to a final response of 300 or more (RFC 3261 s.17.1.1.3).

    All from the INVITE as it was sent, but the To with the response's tag. The branch is the INVITE's: for the server
    it belongs to the same transaction.
    """
    return _follow_up("ACK", invite, to=response.get("To") or invite.get("To") or "")


def cancel_for(invite: Request) -> Request:
    """The CANCEL of an INVITE as it was sent (RFC 3261 s.9.1): same Request-URI, To, branch and CSeq number."""
    return _follow_up("CANCEL", invite, to=invite.get("To") or "")


def _follow_up(method: str, invite: Request, to: str) -> Request:
    # Only our Via: what the hops before us put below it is not for this request.
    headers = [("Via", invite.get("Via") or "")]
    headers += [("Route", route) for route in invite.get_all("Route")]
    headers += [
        ("Max-Forwards", "70"),
        ("From", invite.get("From") or ""),
        ("To", to),
        ("Call-ID", invite.call_id),
        ("CSeq", f"{invite.cseq} {method}"),
    ]
    return Request.create(method, invite.request_uri, headers)
