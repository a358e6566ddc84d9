"""What is written in the course of a REGISTER: to the servers (`Template`), and to the phone.

Every octet that is the same for all servers is put together once, in one piece of bytes; a REGISTER for one of them is a few
parts of it with what is that server's in between.

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1. The types of the fields are
in written.pxd.
"""

from __future__ import annotations

import cython

from sbc.registration.contacts import TOKEN_PARAMETER, around_parameter, option_tags_without

if cython.compiled:
    from cython.cimports.sbc.flow import Flow
    from cython.cimports.sbc.registration.contacts import Contact
    from cython.cimports.sbc.registration.leg import Leg
    from cython.cimports.sbc.registration.targets import Target
    from cython.cimports.sbc.sip.lines import Name, name_of
    from cython.cimports.sbc.sip.message import Request, Response
    from cython.cimports.sbc.sip.scanner import (
        AUTHORIZATION,
        CALL_ID,
        CONTACT,
        CONTENT_LENGTH,
        CONTENT_TYPE,
        CSEQ,
        EXPIRES,
        FROM,
        MAX_FORWARDS,
        PATH,
        PROXY_AUTHORIZATION,
        RECORD_ROUTE,
        REQUIRE,
        ROUTE,
        SERVICE_ROUTE,
        SUPPORTED,
        TO,
        VIA,
    )
    from cython.cimports.sbc.sip.writer import Writer
else:
    from sbc.flow import Flow
    from sbc.registration.contacts import Contact
    from sbc.registration.leg import Leg
    from sbc.registration.targets import Target
    from sbc.sip.lines import Name, name_of
    from sbc.sip.message import Request, Response
    from sbc.sip.scanner import (
        AUTHORIZATION,
        CALL_ID,
        CONTACT,
        CONTENT_LENGTH,
        CONTENT_TYPE,
        CSEQ,
        EXPIRES,
        FROM,
        MAX_FORWARDS,
        PATH,
        PROXY_AUTHORIZATION,
        RECORD_ROUTE,
        REQUIRE,
        ROUTE,
        SERVICE_ROUTE,
        SUPPORTED,
        TO,
        VIA,
    )
    from sbc.sip.writer import Writer

COMPILED = bool(cython.compiled)

# Between the phone and us only, or made anew for each server.
_NOT_KEPT = cython.declare(
    cython.int,
    VIA | ROUTE | RECORD_ROUTE | PATH | AUTHORIZATION | PROXY_AUTHORIZATION | CONTACT | EXPIRES
    | FROM | CALL_ID | CSEQ | MAX_FORWARDS,
)
# What a phone may promise about a Contact of its own, and we not about ours (RFC 5626, 5627, 3327).
OPTION_TAGS_OF_A_CONTACT = frozenset(("outbound", "gruu", "path"))
# Of a server's answer: ours to write, or true only between the server and us.
_NOT_RETURNED = cython.declare(
    cython.int,
    VIA | FROM | TO | CALL_ID | CSEQ | CONTACT | EXPIRES | CONTENT_LENGTH | CONTENT_TYPE | MAX_FORWARDS
    | RECORD_ROUTE | PATH | SERVICE_ROUTE,
)
# The same, for headers without a bit.
_OF_THE_BODY = ("Content-Encoding", "Content-Disposition", "Content-Language", "MIME-Version")
_NOT_RETURNED_EITHER = cython.declare(tuple, tuple(name_of(name) for name in _OF_THE_BODY))
_ABOUT_CREDENTIALS = cython.declare(
    tuple, tuple(name_of(name) for name in ("Authentication-Info", "Proxy-Authentication-Info"))
)
_WRITER = cython.declare(Writer, Writer())  # nobody holds it for longer than one message


@cython.final
@cython.cclass
class Template:
    """The phone's REGISTER in a dress of ours (D10), without what differs from server to server."""

    contacts: list
    # What is the same everywhere, and where its parts end: the request line; from the end of our branch to the tag of From;
    # the rest of From, up to the Call-ID; what stands in the Call-ID between start and server; our Contact up to our host.
    _common: bytes
    _start_line: cython.Py_ssize_t
    _kept: cython.Py_ssize_t
    _behind_tag: cython.Py_ssize_t
    _call_id: cython.Py_ssize_t
    _contact: cython.Py_ssize_t
    _body: bytes
    _has_length: cython.bint
    _token: str
    asks_for_gruu: cython.bint

    @cython.cfunc
    def begin(self, request: Request, contacts: list, user: str, token: str):
        """Made of the phone's request; `user` is that of our Contact, `token` names the series."""
        self.contacts = contacts
        self._token = token
        received: bytes = request.data  # None for a request of our own
        self.asks_for_gruu = (
            request.may_have(SUPPORTED) and received is not None and received.find(b"gruu") >= 0
            and wants_gruu(request, contacts)
        )  # fmt: skip
        self._body = request.get_body()
        self._has_length = request.may_have(CONTENT_LENGTH)
        writer: Writer = _WRITER
        writer.begin()
        writer.octets(b"REGISTER ")
        writer.request_uri(request)
        writer.octets(b" SIP/2.0\r\n")
        self._start_line = writer.length()
        # RFC 7332: made anew or not, it has come so far. Two appliances that are each other's servers come to an end.
        hops: cython.int = request.hops_left()
        writer.octets(b"\r\n")
        writer.other_lines(_without_promises(request), _NOT_KEPT)
        writer.octets(b"Max-Forwards: ")
        writer.number(70 if hops < 0 else max(0, hops - 1))
        writer.octets(b"\r\nFrom: ")
        if writer.before_from_tag(request):
            self._kept = writer.length()
            writer.behind_from_tag(request)
        else:
            before, after = around_parameter(request.value_of(FROM), "tag")
            writer.text(before)
            self._kept = writer.length()
            writer.text(after)
        writer.octets(b"\r\nCall-ID: ")
        self._behind_tag = writer.length()
        writer.octets(b"-")
        writer.text(token)
        writer.octets(b"-")
        self._call_id = writer.length()
        writer.octets(b"Contact: <sip:")
        if user:
            writer.text(user)
            writer.octets(b"@")
        self._contact = writer.length()
        self._common = writer.written()

    @cython.cfunc
    def register_at(
        self, leg: Leg, branch: str, boot: str, cseq: cython.longlong, credentials: list | None
    ) -> bytes:
        """The REGISTER for the server where that leg is. `boot` tells this run's Call-IDs and tags from those before it."""
        flow: Flow = leg.flow
        target: Target = leg.target
        common: bytes = self._common
        contact: Contact
        longest: cython.longlong = 0
        wanted: cython.longlong
        place: cython.Py_ssize_t
        writer: Writer = _WRITER
        writer.begin()
        writer.part(common, 0, self._start_line)
        writer.octets(flow.via_start)
        writer.text(branch)
        writer.part(common, self._start_line, self._kept)
        writer.text(boot)
        writer.text(target.series)
        writer.part(common, self._kept, self._behind_tag)
        writer.text(boot)
        writer.part(common, self._behind_tag, self._call_id)
        writer.text(target.series)
        writer.octets(b"\r\nCSeq: ")
        writer.number(cseq)
        writer.octets(b" REGISTER\r\n")
        for place in range(len(self.contacts)):
            contact = self.contacts[place]
            wanted = leg.asked_for(place)
            if wanted > longest:
                longest = wanted
            writer.part(common, self._call_id, self._contact)
            contact.write_behind_user(writer, flow.contact, wanted)
            writer.octets(b"\r\n")
        if self.contacts:
            writer.octets(b"Expires: ")
            writer.number(longest)
            writer.octets(b"\r\n")
        if target.path or self.asks_for_gruu:
            self._write_extensions(writer, leg)
        if credentials is not None:
            for name, value in credentials:
                writer.text(f"{name}: {value}\r\n")
        if flow.reliable and not self._has_length:
            writer.text(f"Content-Length: {len(self._body)}\r\n")  # 20.14
        writer.octets(b"\r\n")
        writer.octets(self._body)
        return writer.written()


    @cython.cfunc
    def _write_extensions(self, writer: Writer, leg: Leg):
        """Offer the server what it may want and has not refused."""
        tags = []
        if leg.target.path and self.contacts:
            tags.append("path")
        if self.asks_for_gruu:
            tags.append("gruu")
        leg.offered = leg._exchange.targets.extensions.welcome(leg.candidate, tags, leg._now())
        if leg.offered:
            writer.text(f"Supported: {', '.join(leg.offered)}\r\n")
        if "path" in leg.offered:
            # RFC 3327 5.2. Without the tag some servers refuse the header.
            writer.text(f"Path: <sip:{leg.flow.contact};lr;{TOKEN_PARAMETER}={self._token}>\r\n")


@cython.cfunc
def new_template(request: Request, contacts: list, user: str, token: str) -> Template:
    template: Template = Template.__new__(Template)
    template.begin(request, contacts, user, token)
    return template


def wants_gruu(request: Request, contacts: list[Contact]) -> bool:
    """RFC 5627 4.1: the tag, and an instance."""
    tags = [tag.lower() for tag in request.get_all("Supported")]
    return "gruu" in tags and any("+sip.instance" in contact.parameters for contact in contacts)


@cython.cfunc
def _without_promises(request: Request) -> Request:
    """The request without the option tags that a phone may say of its own Contact only; often there are none."""
    if request.may_have(SUPPORTED):
        request = _without_tags(request, "Supported")
    if request.may_have(REQUIRE):
        request = _without_tags(request, "Require")
    return request


@cython.cfunc
def _without_tags(request: Request, name: str) -> Request:
    kept = option_tags_without(request, name, OPTION_TAGS_OF_A_CONTACT)
    if kept is None:
        return request
    request = request.copy()
    if kept:
        request.set(name, ", ".join(kept))
    else:
        request.remove(name)
    return request


@cython.cfunc
def take_over(answer: Response, response: Response, showed_credentials: cython.bint):
    """Tell the phone what a server has said, but for what is ours to say, or true only between the server and us; of
    credentials only when they were the phone's."""
    if response.take_others(answer, _NOT_RETURNED) > 0:
        _drop(response, _NOT_RETURNED_EITHER)
        if not showed_credentials:
            _drop(response, _ABOUT_CREDENTIALS)


@cython.cfunc
def _drop(response: Response, names: tuple):
    name: Name
    for name in names:
        response.drop_named(name)
