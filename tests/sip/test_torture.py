"""The torture messages of RFC 4475 and RFC 5118: each accepted, or refused with this status for this reason.

The files are the RFCs' messages octet for octet. "Refused" here is what a proxy says before it thinks of routing; what
the RFCs leave to the proxy core (Max-Forwards 0, Proxy-Require), to a registrar or to an endpoint is accepted by the
parser.
"""

from pathlib import Path

import pytest

from sbc.sip.errors import MalformedMessage
from sbc.sip.headers import parse_contacts
from sbc.sip.message import Request, Response, parse

DATA = Path(__file__).parent.parent / "data" / "torture"

ACCEPTED = {
    # RFC 4475 s.3.1.1, valid messages
    "wsinv": "folds and white space everywhere",
    "intmeth": "every character that a token, a quoted string and a user part may hold",
    "esc01": "escapes in URIs are kept",
    "escnull": "%00 in a user part",
    "esc02": "% in a method and a header name is no escape: an unknown method, an unknown header",
    "lwsdisp": "no blank between display name and bracket",
    "longreq": "long values within our limits",
    "dblreq": "a second request in the same datagram is ignored (RFC 3261 s.18.3)",
    "semiuri": "a semicolon in the user part",
    "transports": "unknown transports in Via",
    "mpart01": "a binary body",
    "unreason": "a reason phrase in UTF-8",
    "noreason": "an empty reason phrase",
    # s.3.1.2, invalid messages that harm nobody when they are passed on
    "baddate": "a proxy does not look at Date",
    "regbadct": "the registrar refuses the Contact, see below",
    "badaspec": "blanks within the brackets; the RFC allows to be liberal",
    # s.3.2 to 3.4, well-formed messages with something to decide above the parser
    "badbranch": "a branch of the cookie alone: matched by the rules of RFC 2543",
    "unksm2": "To, From and Contact with schemes that we do not know",
    "bext01": "420 is for the proxy core",
    "invut": "415 is for the endpoint",
    "regaut01": "the registrar decides on the unknown scheme",
    "bcast": "a response for somebody else is dropped by the Via check",
    "zeromf": "483 is for the proxy core",
    "cparam01": "an unknown parameter of the Contact header",
    "cparam02": "an unknown parameter of the Contact URI",
    "regescrt": "a Route in the Contact URI",
    "sdp01": "406 is for the endpoint",
    "inv2543": "RFC 2543: no branch, no From tag, no Max-Forwards, no Content-Length",
    # RFC 5118
    "ipv6-good": "s.4.1: an IPv6 reference",
    "port-ambiguous": "s.4.3: 5070 is the end of the address",
    "port-unambiguous": "s.4.4: an address and a port",
    "via-received-param-with-delim": "s.4.5: received with brackets",
    "via-received-param-no-delim": "s.4.5: received without brackets",
    "mult-ip-in-header": "s.4.7: both address families in Via",
    "mult-ip-in-sdp": "s.4.8; the RFC counts 181 octets of a body of 189, the rest is cut off",
    "ipv4-mapped-ipv6": "s.4.9; the RFC counts 236 octets of a body of 245, the rest is cut off",
    "ipv6-correct-abnf-2-colons": "s.4.10",
}

# name -> (status, header at fault, can be answered, why)
REFUSED = {
    # RFC 4475 s.3.1.2, invalid messages
    "badinv01": (400, "Via", False, "empty parameters in Via; without a Via there is no way back for an answer"),
    "clerr": (400, "Content-Length", True, "Content-Length says more than the datagram holds"),
    "ncl": (400, "Content-Length", True, "a negative Content-Length"),
    "scalar02": (400, "CSeq", True, "numbers too large"),
    "scalarlg": (400, "CSeq", False, "numbers too large in a response, which nobody can answer"),
    "quotbal": (400, "To", True, "a quote is not closed"),
    "ltgtruri": (400, "", True, "brackets around the Request-URI"),
    "lwsruri": (400, "", True, "a blank in the Request-URI"),
    "lwsstart": (400, "", True, "two blanks in the start line"),
    "trws": (400, "", True, "blanks at the end of the start line"),
    "escruri": (400, "", True, "headers in the Request-URI"),
    "baddn": (400, "From", True, "a comma in a display name without quotes"),
    "badvers": (505, "", True, "version 7.0"),
    "mismatch01": (400, "CSeq", True, "CSeq has another method"),
    "mismatch02": (400, "CSeq", True, "CSeq has another method, and ours is unknown; the RFC allows 400 or 501"),
    "bigcode": (400, "", False, "a status code larger than 699"),
    # s.3.3
    "insuf": (400, "From", False, "From, To and Call-ID are missing, so there is nothing to answer with"),
    "unkscm": (416, "", True, "an unknown scheme in the Request-URI"),
    "novelsc": (416, "", True, "a known scheme that is not SIP in the Request-URI"),
    "multi01": (400, "CSeq", True, "headers that must be single come twice"),
    "mcl01": (400, "Content-Length", True, "two Content-Lengths"),
    # RFC 5118
    "ipv6-bad": (400, "", True, "s.4.2: an IPv6 address without brackets"),
    "ipv6-bug-abnf-3-colons": (400, "", True, "s.4.10: three colons, allowed only by a slip in RFC 3261's grammar"),
    "ipv6-in-sdp": (
        400,
        "Content-Length",
        True,
        "s.4.6: meant to be valid, but the RFC counts 268 octets of a body of 251",
    ),
}


def read(name: str) -> Request | Response:
    """Parse, and ask for what a proxy asks for before it routes."""
    message = parse((DATA / f"{name}.dat").read_bytes())
    if isinstance(message, Request):
        assert message.uri is not None
    return message


def test_every_file_has_a_row():
    """No message is in the folder without a verdict, and none is missing."""
    assert {path.stem for path in DATA.glob("*.dat")} == ACCEPTED.keys() | REFUSED.keys()
    assert not ACCEPTED.keys() & REFUSED.keys()


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted(name):
    """Accepted, and written back octet for octet."""
    data = (DATA / f"{name}.dat").read_bytes()
    message = read(name)
    assert data.startswith(message.to_bytes())
    assert parse(message.to_bytes()).items() == message.items()


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    """Refused with the status and the header at fault, and answerable where the answer can find its way."""
    status, header, answerable, _ = REFUSED[name]
    with pytest.raises(MalformedMessage) as caught:
        read(name)
    assert (status, header) == (caught.value.status_hint, caught.value.header)
    assert answerable == (caught.value.request is not None)


@pytest.mark.parametrize("name", [name for name, row in REFUSED.items() if row[2]])
def test_answer_to_refused(name):
    """The answer to a refused request carries its Via, From, To, Call-ID and CSeq lines as they came."""
    with pytest.raises(MalformedMessage) as caught:
        read(name)
    request = caught.value.request
    answer = Response.for_request(request, caught.value.status_hint, caught.value.reason, to_tag="t").to_bytes()
    assert answer.startswith(b"SIP/2.0 %d %s\r\n" % (caught.value.status_hint, caught.value.reason.encode()))
    for header in ("via", "from", "call-id", "cseq"):
        lines = [line for line in request.data.split(b"\r\n") if line.lower().startswith(header.encode())]
        assert all(line in answer for line in lines)


def test_wsinv_is_understood():
    """What the white space of 3.1.1.1 hides."""
    message = read("wsinv")
    assert "1918181833n" == message.to_tag
    assert "98asjd8" == message.from_tag
    assert 'J Rosenberg \\"' == message.from_.display_name
    assert (9, "INVITE") == (message.cseq, message.cseq_method)
    assert ("UDP", "192.0.2.2", "390skdjuw") == (
        message.top_via.transport,
        message.top_via.host,
        message.top_via.branch,
    )
    assert 3 == len(message.get_all("Via"))
    assert "0068" == message.get("Max-Forwards")
    assert "newfangled value continued newfangled value" == message.get("newfangledheader")
    assert ";;,,;;,;" == message.get("UnknownHeaderWithUnusualValue")
    contacts = parse_contacts(message)
    assert {"newparam": "newvalue", "secondparam": None, "q": "0.33"} == contacts[0].parameters
    assert "" == message.get("Subject")


def test_intmeth_is_understood():
    """What the odd characters of 3.1.1.2 mean."""
    message = read("intmeth")
    assert "!interesting-Method0123456789_*+`.%indeed'~" == message.method == message.cseq_method
    assert "BEL:\x07 NUL:\x00 DEL:\x7f" == message.to.display_name
    assert "_token~1'+`*%!-." == message.from_tag
    assert '"работающий"' == message.from_.parameters["fromparam''~+*_!.-%"]
    assert "example.com" == message.uri.host
    assert "&it+has=1,weird!*pas$wo~d_too.(doesn't-it)" == message.uri.password
    assert "\ufeff大停電" == message.get("extensionHeader-!.%*+_`'~")


def test_escaped_header_name_is_another_header():
    """C%6Fntact is not Contact (3.1.1.5)."""
    assert ["<sip:alias1@host1.example.com>", "<sip:alias3@host3.example.com>"] == read("esc02").get_all("Contact")


def test_register_with_question_mark_outside_of_brackets():
    """3.1.2.13: a Contact with a question mark needs brackets."""
    with pytest.raises(MalformedMessage) as caught:
        parse_contacts(read("regbadct"))
    assert "Contact" == caught.value.header


def test_contact_parameters_of_header_and_of_uri():
    """3.3.12 and 3.3.13: without brackets the parameter belongs to the header, within them to the URI."""
    (outside,) = parse_contacts(read("cparam01"))
    (inside,) = parse_contacts(read("cparam02"))
    assert ({"unknownparam": None}, {}) == (outside.parameters, outside.uri.parameters)
    assert ({}, {"unknownparam": None}) == (inside.parameters, inside.uri.parameters)


def test_binary_body_survives():
    """3.1.1.11: 553 octets, of which many are not text."""
    message = read("mpart01")
    assert 553 == len(message.body)
    assert message.body.endswith(b"\xd0\x05\r\n--7a9cbec02ceef655--\r\n")
