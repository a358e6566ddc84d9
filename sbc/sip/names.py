"""Header names: compact forms, lists, and the spelling that RFCs use (RFC 3261 s.7.3, 20 and the IANA registry)."""

from __future__ import annotations

# RFC 3261 s.7.3.3 and the registry of compact forms.
COMPACT_FORMS = {
    "a": "Accept-Contact",
    "b": "Referred-By",
    "c": "Content-Type",
    "d": "Request-Disposition",
    "e": "Content-Encoding",
    "f": "From",
    "i": "Call-ID",
    "j": "Reject-Contact",
    "k": "Supported",
    "l": "Content-Length",
    "m": "Contact",
    "n": "Identity-Info",
    "o": "Event",
    "r": "Refer-To",
    "s": "Subject",
    "t": "To",
    "u": "Allow-Events",
    "v": "Via",
    "x": "Session-Expires",
    "y": "Identity",
}

# Headers whose grammar is a comma list: several lines, and one line with commas, mean the same (s.7.3.1).
# The challenges and credentials of digest are not among them: their commas separate parameters.
_LISTS = """
    Accept Accept-Contact Accept-Encoding Accept-Language Accept-Resource-Priority Alert-Info Allow Allow-Events
    Call-Info Contact Content-Encoding Content-Language Diversion Error-Info Feature-Caps Geolocation History-Info
    In-Reply-To P-Asserted-Identity P-Associated-URI P-Preferred-Identity P-Visited-Network-ID Path Proxy-Require Reason
    Record-Route Recv-Info Reject-Contact Request-Disposition Require Resource-Priority Route Security-Client
    Security-Server Security-Verify Service-Route Supported Trigger-Consent Unsupported Via Warning
"""
_OTHERS = """
    Authentication-Info Authorization Call-ID Content-Disposition Content-Length Content-Type CSeq Date Event Expires
    Flow-Timer From Identity Identity-Info Info-Package Join Max-Forwards MIME-Version Min-Expires Min-SE Organization
    P-Access-Network-Info P-Charging-Vector P-Early-Media Priority Privacy Proxy-Authenticate Proxy-Authentication-Info
    Proxy-Authorization RAck Refer-Sub Refer-To Referred-By Replaces Reply-To Retry-After RSeq Server Session-Expires
    SIP-ETag SIP-If-Match Subject Subscription-State Target-Dialog Timestamp To User-Agent WWW-Authenticate
"""

SPELLINGS = {spelling.lower(): spelling for spelling in (_LISTS + _OTHERS).split()}
LIST_HEADERS = frozenset(spelling.lower() for spelling in _LISTS.split())


def canonical_name(name: str) -> str:
    """The long form of a header name in lower case: the key under which all its spellings are found."""
    lowered = name.lower()
    long_form = COMPACT_FORMS.get(lowered)
    return lowered if long_form is None else long_form.lower()
