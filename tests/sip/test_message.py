"""Requests and responses: reading, editing, writing. RFC 3261 sections 7, 8.1.1, 8.2.6, 18.3."""

import pytest

from sbc.sip import limits
from sbc.sip.errors import LocalError, MalformedMessage
from sbc.sip.message import Request, Response, ok_to, parse, trying_to

INVITE = (
    b"INVITE sip:bob@biloxi.example.com SIP/2.0\r\n"
    b"v: SIP/2.0/UDP pc33.example.com:5066;branch=z9hG4bK776asdhds;rport , SIP/2.0/TCP old;branch=z9hG4bKold\r\n"
    b"Via: SIP/2.0/UDP older;branch=z9hG4bKolder\r\n"
    b"Max-Forwards: 70\r\n"
    b"rOUTE: <sip:p1,x;lr>,  <sip:p2;lr>\r\n"
    b'From: "Alice, A." <sip:alice@atlanta.example.com>;tag=1928301774\r\n'
    b"To:\t<sip:bob@biloxi.example.com>\r\n"
    b"i: a84b4c76e66710@pc33.example.com\r\n"
    b"CSeq: 314159 INVITE\r\n"
    b"X-Odd-One:  left\r\n"
    b"   right \r\n"
    b'WWW-Authenticate: Digest realm="a", nonce="b"\r\n'
    b"Supported: path, gruu\r\n"
    b"k: timer,,\r\n"
    b"X-Latin: caf\xe9\r\n"
    b"Content-Length: 4\r\n"
    b"\r\n"
    b"body"
)


def edited(old: bytes, new: bytes) -> bytes:
    assert INVITE.count(old) == 1
    return INVITE.replace(old, new)


@pytest.fixture
def request_():
    return parse(INVITE)


def lines(message):
    return message.to_bytes().partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]


class TestReading:
    def test_values_that_everyone_asks_for(self, request_):
        assert ("INVITE", "sip:bob@biloxi.example.com") == (request_.method, request_.request_uri)
        assert ("a84b4c76e66710@pc33.example.com", 314159, "INVITE") == (
            request_.call_id,
            request_.cseq,
            request_.cseq_method,
        )
        assert ("1928301774", "") == (request_.from_tag, request_.to_tag)
        assert ("pc33.example.com:5066", "z9hG4bK776asdhds") == (request_.top_via.sent_by, request_.top_via.branch)
        assert ("Alice, A.", "sip:bob@biloxi.example.com") == (request_.from_.display_name, request_.to.uri_text)
        assert ("bob", b"body", INVITE) == (request_.uri.user, request_.body, request_.data)

    def test_kept_objects_are_the_same(self, request_):
        """Asked twice, read once."""
        assert request_.top_via is request_.top_via
        assert request_.from_ is request_.from_
        assert request_.uri is request_.uri

    def test_get(self, request_):
        """The first value; long, compact and odd spellings are one header."""
        assert "SIP/2.0/UDP pc33.example.com:5066;branch=z9hG4bK776asdhds;rport" == request_.get("VIA")
        assert "<sip:p1,x;lr>" == request_.get("Route")
        assert "left right" == request_.get("x-odd-one")
        assert "path" == request_.get("k")
        assert request_.get("Expires") is None

    def test_get_all(self, request_):
        """Comma lists and several lines are one list, where the grammar is a list."""
        assert ["z9hG4bK776asdhds", "z9hG4bKold", "z9hG4bKolder"] == [
            via.partition("branch=")[2].partition(";")[0] for via in request_.get_all("Via")
        ]
        assert ["path", "gruu", "timer"] == request_.get_all("Supported")
        assert ['Digest realm="a", nonce="b"'] == request_.get_all("WWW-Authenticate")
        assert [] == request_.get_all("Expires")

    def test_has(self, request_):
        assert request_.has("call-id")
        assert not request_.has("Expires")

    def test_items(self, request_):
        """Names as spelled, in order, values unfolded."""
        assert ("rOUTE", "<sip:p1,x;lr>,  <sip:p2;lr>") == request_.items()[3]
        assert ("X-Odd-One", "left right") == request_.items()[8]

    def test_unknown_octets_survive(self, request_):
        """Latin-1 in a value is no UTF-8, and comes back as it was."""
        value = request_.get("X-Latin")
        request_.set("X-Copy", value)
        assert b"X-Copy: caf\xe9" in request_.to_bytes()

    def test_response(self):
        response = parse(INVITE.replace(b"INVITE sip:bob@biloxi.example.com SIP/2.0", b"sip/2.0 183 Session Progress"))
        assert isinstance(response, Response)
        assert (183, "Session Progress") == (response.status, response.reason)
        assert response.is_provisional
        assert not response.is_final

    def test_empty_lines_before_the_start_line(self):
        """RFC 3261 section 7.5; and they are not passed on."""
        assert INVITE == parse(b"\r\n\r\n" + INVITE).to_bytes()

    def test_what_follows_the_body_is_ignored(self):
        """Section 18.3."""
        assert INVITE == parse(INVITE + b"more").to_bytes()

    def test_without_content_length_the_body_is_the_rest(self):
        message = parse(edited(b"Content-Length: 4\r\n", b"") + b" and more")
        assert b"body and more" == message.body

    def test_methods_are_case_sensitive(self):
        """Section 7.1: `invite` is another method."""
        assert "invite" == parse(INVITE.replace(b"INVITE", b"invite")).method


class TestMalformed:
    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\r\n",
            b"\r\n\r\n",
            b"\0",
            b"SIP/",
            b"hello",
            b"\r",
            b"\n\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"INVITE sip:a@b\r\n\r\n",
            b"SIP/2.0\r\n\r\n",
            b"SIP/2.0 200\r\n\r\n",
            b"SIP/2.0 20 OK\r\n\r\n",
            b"SIP/2.0 2000 OK\r\n\r\n",
            b"SIP/2.0 700 OK\r\n\r\n",
            b"SIP/2.0 099 OK\r\n\r\n",
            INVITE[: INVITE.index(b"CSeq")],
            INVITE.replace(b"\r\n", b"\n"),
        ],
    )
    def test_nothing_to_answer(self, data):
        """What is not SIP is refused without a request to answer."""
        with pytest.raises(MalformedMessage) as caught:
            parse(data)
        assert caught.value.request is None

    @pytest.mark.parametrize(
        ("old", "new", "header"),
        [
            (b"CSeq: 314159 INVITE", b"CSeq: 314159 BYE", "CSeq"),
            (b"CSeq: 314159 INVITE", b"CSeq: 314159INVITE", "CSeq"),
            (b"CSeq: 314159 INVITE", b"CSeq: INVITE", "CSeq"),
            (b"CSeq: 314159 INVITE", b"CSeq: 2147483648 INVITE", "CSeq"),
            (b"CSeq: 314159 INVITE", b"CSeq: 99999999999999999999999999 INVITE", "CSeq"),
            (b"CSeq: 314159 INVITE", b"CSeq: -1 INVITE", "CSeq"),
            (b"CSeq: 314159 INVITE", b"CSeq:", "CSeq"),
            (b"Max-Forwards: 70", b"Max-Forwards: 256", "Max-Forwards"),
            (b"Max-Forwards: 70", b"Max-Forwards: seventy", "Max-Forwards"),
            (b"Max-Forwards: 70", b"Max-Forwards:", "Max-Forwards"),
            (b"Content-Length: 4", b"Content-Length: 5", "Content-Length"),
            (b"Content-Length: 4", b"Content-Length: +4", "Content-Length"),
            (b"Content-Length: 4", b"Content-Length: 99999999999999999999999", "Content-Length"),
            (b"Content-Length: 4", b"Content-Length: 4\r\nl: 4", "Content-Length"),
            (b"Max-Forwards: 70", b"To: <sip:c@d>", "To"),
            (b"i: a84b", b"i: a84b b", "Call-ID"),
            (b"i: a84b4c76e66710@pc33.example.com", b"i:", "Call-ID"),
            (b";tag=1928301774", b";tag=1;tag=2", "From"),
            (b'"Alice, A." <', b'"Alice, A. <', "From"),
            (b"To:\t<sip:bob@biloxi.example.com>", b"To:\t", "To"),
            (b"X-Odd-One: ", b"X-Odd-One ", ""),
            (b"X-Odd-One", b"", ""),
            (b"X-Odd-One:  left\r\n", b"X-Odd-One:  left\r", ""),
            (b"X-Odd-One:  left\r\n", b"X-Odd-One:  left\n", ""),
            (b"X-Odd-One:", b"X(Odd)One:", ""),
        ],
    )
    def test_answerable(self, old, new, header):
        """Refused with 400, naming the header, and with the request to answer."""
        with pytest.raises(MalformedMessage) as caught:
            parse(edited(old, new))
        assert (400, header) == (caught.value.status_hint, caught.value.header)
        assert isinstance(caught.value.request, Request)
        answer = Response.for_request(caught.value.request, 400, caught.value.reason)
        assert answer.to_bytes().startswith(b"SIP/2.0 400 ")

    def test_cut_off_below_what_an_answer_needs(self):
        """A datagram that lost its end after the five headers can still be answered."""
        with pytest.raises(MalformedMessage) as caught:
            parse(INVITE.partition(b"\r\n\r\n")[0])
        assert ("Headers without end", "INVITE") == (caught.value.reason, caught.value.request.method)

    @pytest.mark.parametrize("header", [b"From", b"To", b"CSeq", b"i", b"v"])
    def test_missing_header(self, header):
        """Without one of the five nothing can be copied into an answer (the second Via is the top one then)."""
        data = b"\r\n".join(line for line in INVITE.split(b"\r\n") if not line.startswith(header + b":"))
        if header == b"v":
            assert "older" == parse(data).top_via.host
            return
        with pytest.raises(MalformedMessage) as caught:
            parse(data)
        assert caught.value.reason.startswith("Missing ")
        assert caught.value.request is None

    def test_top_via_must_be_read(self):
        with pytest.raises(MalformedMessage) as caught:
            parse(edited(b"v: SIP/2.0/UDP pc33.example.com:5066", b"v: SIP/2.0/UDP pc33.example.com:x"))
        assert ("Via", None) == (caught.value.header, caught.value.request)

    def test_lower_vias_are_not_ours_to_judge(self):
        assert parse(edited(b"Via: SIP/2.0/UDP older;", b"Via: whatever;;"))

    def test_ack_is_never_answered(self):
        data = INVITE.replace(b"INVITE", b"ACK").replace(b"Max-Forwards: 70", b"Max-Forwards: x")
        with pytest.raises(MalformedMessage) as caught:
            parse(data)
        assert caught.value.request is None

    def test_version(self):
        """505 comes before whatever else is wrong."""
        with pytest.raises(MalformedMessage) as caught:
            parse(INVITE.replace(b"com SIP/2.0\r\n", b"com SIP/3.0\r\n", 1).replace(b"70", b"x"))
        assert (505, "INVITE") == (caught.value.status_hint, caught.value.request.method)

    def test_first_fault_is_the_one_named(self):
        with pytest.raises(MalformedMessage) as caught:
            parse(edited(b"Max-Forwards: 70", b"X-Odd One: 1\r\nTo: <sip:x@y>"))
        assert "Malformed header line" == caught.value.reason

    def test_unsupported_scheme_is_found_when_asked_for(self, request_):
        request = parse(INVITE.replace(b"INVITE sip:bob@", b"INVITE tel:bob@"))
        with pytest.raises(MalformedMessage) as caught:
            request.uri  # noqa: B018
        assert (416, request) == (caught.value.status_hint, caught.value.request)

    def test_headers_in_the_request_uri(self):
        request = parse(edited(b"INVITE sip:bob@biloxi.example.com", b"INVITE sip:bob@biloxi.example.com?x=y"))
        with pytest.raises(MalformedMessage):
            request.uri  # noqa: B018


class TestLimits:
    def test_message(self):
        filler = limits.MAX_MESSAGE - len(edited(b"Content-Length: 4\r\n", b""))
        data = edited(b"Content-Length: 4\r\n", b"") + b"x" * filler
        assert data == parse(data).to_bytes()
        with pytest.raises(MalformedMessage) as caught:
            parse(data + b"x")
        assert 513 == caught.value.status_hint

    def test_header_line(self):
        room = limits.MAX_HEADER_LINE - len(b"X-Long: \r\n")
        assert parse(edited(b"Max-Forwards: 70", b"X-Long: " + b"x" * room))
        with pytest.raises(MalformedMessage):
            parse(edited(b"Max-Forwards: 70", b"X-Long: x" + b"x" * room))

    def test_header_lines(self):
        room = limits.MAX_HEADER_LINES - len(lines(parse(INVITE))) + 1
        assert parse(edited(b"Max-Forwards: 70\r\n", b"Max-Forwards: 70\r\n" + b"X: y\r\n" * (room - 1)))
        with pytest.raises(MalformedMessage):
            parse(edited(b"Max-Forwards: 70\r\n", b"Max-Forwards: 70\r\n" + b"X: y\r\n" * (room + 1)))


class TestEditing:
    def test_untouched_is_byte_for_byte(self, request_):
        assert INVITE == request_.to_bytes()

    def test_set_in_place(self, request_):
        request_.set("max-forwards", "69")
        assert edited(b"Max-Forwards: 70", b"max-forwards: 69") == request_.to_bytes()

    def test_set_drops_the_other_lines(self, request_):
        request_.set("Via", "SIP/2.0/UDP new;branch=z9hG4bKnew")
        assert b"Via: SIP/2.0/UDP new;branch=z9hG4bKnew" == lines(request_)[0]
        assert b"Max-Forwards: 70" == lines(request_)[1]
        assert "z9hG4bKnew" == request_.top_via.branch

    def test_set_absent_appends(self, request_):
        request_.set("Expires", "60")
        assert b"Expires: 60" == lines(request_)[-1]

    def test_set_all(self, request_):
        request_.set_all("Supported", ["a", "b"])
        assert [b"Supported: a", b"Supported: b", b"X-Latin: caf\xe9"] == lines(request_)[11:14]
        request_.set_all("Supported", [])
        assert not request_.has("Supported")

    def test_prepend(self, request_):
        """Above the first line of that name; where there is none, below the Vias, which stay on top."""
        request_.prepend("Via", "SIP/2.0/UDP us;branch=z9hG4bKus")
        assert b"Via: SIP/2.0/UDP us;branch=z9hG4bKus" == lines(request_)[0]
        request_.prepend("Route", "<sip:us;lr>")
        assert [b"Route: <sip:us;lr>", b"rOUTE: <sip:p1,x;lr>,  <sip:p2;lr>"] == lines(request_)[4:6]
        request_.prepend("Record-Route", "<sip:us;lr>")
        assert b"Record-Route: <sip:us;lr>" == lines(request_)[3]
        assert "z9hG4bKus" == request_.top_via.branch

    def test_append_and_remove(self, request_):
        request_.append("Supported", "x")
        assert b"Supported: x" == lines(request_)[-1]
        request_.remove("k")
        assert not request_.has("Supported")
        assert b"X-Latin: caf\xe9" == lines(request_)[11]

    def test_pop_first(self, request_):
        """The rest of the line stays byte for byte; the line goes with its last value."""
        assert "SIP/2.0/UDP pc33.example.com:5066;branch=z9hG4bK776asdhds;rport" == request_.pop_first("Via")
        assert b"v: SIP/2.0/TCP old;branch=z9hG4bKold" == lines(request_)[0]
        assert "z9hG4bKold" == request_.top_via.branch
        assert "SIP/2.0/TCP old;branch=z9hG4bKold" == request_.pop_first("Via")
        assert b"Via: SIP/2.0/UDP older;branch=z9hG4bKolder" == lines(request_)[0]
        assert "<sip:p1,x;lr>" == request_.pop_first("Route")
        assert "<sip:p2;lr>" == request_.pop_first("Route")
        assert request_.pop_first("Route") is None

    def test_replace_first(self, request_):
        request_.replace_first("Via", "SIP/2.0/UDP h;branch=z9hG4bKh;received=192.0.2.1")
        assert (
            b"v: SIP/2.0/UDP h;branch=z9hG4bKh;received=192.0.2.1, SIP/2.0/TCP old;branch=z9hG4bKold"
            == lines(request_)[0]
        )
        assert "192.0.2.1" == request_.top_via.received
        request_.replace_first("Path", "<sip:x>")
        assert b"Path: <sip:x>" == lines(request_)[-1]

    @pytest.mark.parametrize(
        ("name", "value", "attribute", "expected"),
        [
            ("Call-ID", "new", "call_id", "new"),
            ("CSeq", "2 INVITE", "cseq", 2),
            ("From", "<sip:a@b>;tag=f", "from_tag", "f"),
            ("t", "<sip:a@b>;tag=t", "to_tag", "t"),
        ],
    )
    def test_kept_values_follow_edits(self, request_, name, value, attribute, expected):
        getattr(request_, attribute)
        request_.set(name, value)
        assert expected == getattr(request_, attribute)

    def test_request_uri(self, request_):
        assert "bob" == request_.uri.user
        request_.request_uri = "sip:carol@chicago.example.com"
        assert "carol" == request_.uri.user
        assert (
            edited(b"INVITE sip:bob@biloxi.example.com", b"INVITE sip:carol@chicago.example.com") == request_.to_bytes()
        )

    def test_body(self, request_):
        request_.body = b"longer body"
        assert edited(b"Content-Length: 4\r\n\r\nbody", b"Content-Length: 11\r\n\r\nlonger body") == request_.to_bytes()
        assert b"longer body" == request_.body

    def test_copy_is_its_own(self, request_):
        copy = request_.copy()
        copy.pop_first("Via")
        copy.set("Max-Forwards", "1")
        copy.body = b""
        copy.request_uri = "sip:x"
        assert INVITE == request_.to_bytes()
        assert ("z9hG4bK776asdhds", "z9hG4bKold") == (request_.top_via.branch, copy.top_via.branch)
        assert copy.copy().to_bytes() == copy.to_bytes()

    def test_stream_needs_content_length(self):
        message = parse(edited(b"Content-Length: 4\r\n", b""))
        assert b"Content-Length" not in message.to_bytes()
        assert b"\r\nContent-Length: 4\r\n\r\nbody" in message.to_bytes(stream=True)
        assert b"Content-Length" not in message.to_bytes()
        assert INVITE == parse(INVITE).to_bytes(stream=True)

    @pytest.mark.parametrize("method", ["set", "append", "prepend", "replace_first"])
    @pytest.mark.parametrize("text", ["a\r\nEvil: 1", "a\n", "\r"])
    def test_line_breaks_are_refused(self, request_, method, text):
        """A value cannot smuggle in a header."""
        with pytest.raises(LocalError):
            getattr(request_, method)("Route", text)
        with pytest.raises(LocalError):
            request_.request_uri = text
        assert INVITE == request_.to_bytes()

    @pytest.mark.parametrize("name", ["", "a b", "a:", "a\r\nb", "ä"])
    def test_header_names_are_tokens(self, request_, name):
        with pytest.raises(LocalError):
            request_.append(name, "x")


class TestCreate:
    def test_request(self):
        request = Request.create(
            "OPTIONS",
            "sip:a@b",
            [
                ("Via", "SIP/2.0/UDP h;branch=z9hG4bK1"),
                ("From", "<sip:x@y>;tag=1"),
                ("To", "<sip:a@b>"),
                ("Call-ID", "c"),
                ("CSeq", "1 OPTIONS"),
            ],
            b"hi",
        )
        assert request.data is None
        again = parse(request.to_bytes())
        assert ("OPTIONS", "c", 1, "1", b"hi") == (again.method, again.call_id, again.cseq, again.from_tag, again.body)
        assert "2" == again.get("Content-Length")

    def test_response(self):
        assert b"SIP/2.0 404 Not Found\r\nContent-Length: 0\r\n\r\n" == Response.create(404, None, []).to_bytes()
        assert b"SIP/2.0 499 Request Failure\r\n" in Response.create(499, None, []).to_bytes()

    def test_missing_header_of_our_own(self):
        with pytest.raises(MalformedMessage):
            Request.create("OPTIONS", "sip:a@b", []).call_id  # noqa: B018


class TestResponses:
    """RFC 3261 section 8.2.6."""

    def test_copied_headers(self, request_):
        response = Response.for_request(request_, 404, to_tag="ours", headers=[("Warning", '399 sbc "x"')])
        assert (
            b"SIP/2.0 404 Not Found\r\n"
            b"v: SIP/2.0/UDP pc33.example.com:5066;branch=z9hG4bK776asdhds;rport , "
            b"SIP/2.0/TCP old;branch=z9hG4bKold\r\n"
            b"Via: SIP/2.0/UDP older;branch=z9hG4bKolder\r\n"
            b'From: "Alice, A." <sip:alice@atlanta.example.com>;tag=1928301774\r\n'
            b"To:\t<sip:bob@biloxi.example.com>;tag=ours\r\n"
            b"i: a84b4c76e66710@pc33.example.com\r\n"
            b"CSeq: 314159 INVITE\r\n"
            b'Warning: 399 sbc "x"\r\n'
            b"Content-Length: 0\r\n"
            b"\r\n"
        ) == response.to_bytes()
        assert INVITE == request_.to_bytes()

    def test_to_tag(self, request_):
        """A tag in every response but 100, random when none is given, and never a second one."""
        assert "" == Response.for_request(request_, 100).to_tag
        assert "" != Response.for_request(request_, 180).to_tag
        assert Response.for_request(request_, 180).to_tag != Response.for_request(request_, 180).to_tag
        in_dialog = parse(edited(b"To:\t<sip:bob@biloxi.example.com>", b"To: <sip:bob@biloxi.example.com>;tag=theirs"))
        assert "theirs" == Response.for_request(in_dialog, 200, to_tag="ours").to_tag

    @pytest.mark.parametrize(
        "to",
        [b"To:\t<sip:bob@biloxi.example.com>", b"To: <sip:bob@biloxi.example.com>;tag=theirs", b"t: sip:bob@b.example \t"],
    )
    def test_in_one_pass_it_is_the_same(self, to):
        """The answers that most senders get are not put together as messages first."""
        request = parse(edited(b"To:\t<sip:bob@biloxi.example.com>", to + b"\r\nTimestamp: 54"))
        request.note_source("192.0.2.7", 5062)
        assert Response.for_request(request, 100).to_bytes() == trying_to(request)
        ok = Response.for_request(request, 200, to_tag="ours", headers=[("Allow", "INVITE"), ("Supported", "path")])
        assert ok.to_bytes() == ok_to(request, "ours", b"Allow: INVITE\r\nSupported: path\r\nContent-Length: 0\r\n\r\n")

    def test_record_route_when_asked_for(self):
        request = parse(edited(b"Max-Forwards: 70", b"Record-Route: <sip:p;lr>\r\nMax-Forwards: 70"))
        assert not Response.for_request(request, 200).has("Record-Route")
        assert "<sip:p;lr>" == Response.for_request(request, 200, copy_record_route=True).get("Record-Route")

    def test_timestamp_in_100(self):
        """Section 8.2.6.1."""
        request = parse(edited(b"Max-Forwards: 70", b"Timestamp: 54\r\nMax-Forwards: 70"))
        assert "54" == Response.for_request(request, 100).get("Timestamp")
        assert not Response.for_request(request, 180).has("Timestamp")

    def test_status_and_reason_can_be_changed(self):
        response = parse(
            INVITE.replace(b"INVITE sip:bob@biloxi.example.com SIP/2.0", b"SIP/2.0 503 Service Unavailable")
        )
        response.status = 500
        response.reason = "Server Internal Error"
        assert response.to_bytes().startswith(b"SIP/2.0 500 Server Internal Error\r\nv: SIP/2.0/UDP")

    def test_repr_is_the_start_line(self, request_):
        assert "<INVITE sip:bob@biloxi.example.com SIP/2.0>" == repr(request_)


@pytest.mark.parametrize("reason", ["\rOK", "O\nK", "OK\r"])
def test_line_break_in_the_reason_phrase_is_refused(reason):
    """s.25.1: it would become a header when the phrase is written again."""
    data = f"SIP/2.0 200 {reason}\r\nVia: SIP/2.0/UDP h\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: c\r\nCSeq: 1 X\r\n\r\n"
    with pytest.raises(MalformedMessage):
        parse(data.encode())


def test_copy_without_some_headers():
    """All lines of these names are gone, what was read of them too; the original stays."""
    request = parse(
        b"REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nv: SIP/2.0/UDP b;branch=z9hG4bK2\r\n"
        b"From: <sip:a@example.com>;tag=1\r\nTo: <sip:a@example.com>\r\nCall-ID: c\r\nCSeq: 1 REGISTER\r\n"
        b"Max-Forwards: 7\r\nX-Own: 1\r\nContent-Length: 0\r\n\r\n"
    )
    before = request.to_bytes()
    copy = request.copy_without(frozenset(("via", "cseq", "max-forwards")))
    assert ["From", "To", "Call-ID", "X-Own", "Content-Length"] == [name for name, _ in copy.items()]
    assert -1 == copy.max_forwards
    copy.append("CSeq", "2 REGISTER")
    assert (2, 1) == (copy.cseq, request.cseq)
    assert before == request.to_bytes()
