"""Messages out of a stream: RFC 3261 section 18.3, RFC 5626 section 4.4.1."""

import pytest

from sbc.sip.errors import MalformedMessage
from sbc.sip.framing import StreamFramer

ONE = b"OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP h\r\nContent-Length: 5\r\n\r\nhello"
TWO = b"BYE sip:a@b SIP/2.0\r\nl:\r\n  0\r\nVia: SIP/2.0/TCP h\r\n\r\n"
BODY_WITH_HEADER = b"INFO sip:a@b SIP/2.0\r\nContent-length :0022\r\n\r\nx\r\nContent-Length: 9\r\n"


def fed(*pieces: bytes) -> tuple[list[bytes], StreamFramer]:
    framer = StreamFramer()
    messages = []
    for piece in pieces:
        messages += framer.feed(piece)
    return messages, framer


@pytest.mark.parametrize("stream", [[ONE], [TWO], [BODY_WITH_HEADER], [ONE, TWO, BODY_WITH_HEADER, ONE]])
def test_whole_and_octet_by_octet(stream):
    """However the network cuts it, the messages are the same."""
    whole = b"".join(stream)
    assert stream == fed(whole)[0]
    assert stream == fed(*(whole[i : i + 1] for i in range(len(whole))))[0]
    for cut in range(len(whole)):
        assert stream == fed(whole[:cut], whole[cut:])[0]


def test_trailing_octets_wait():
    """What belongs to the next message is kept for it."""
    messages, framer = fed(ONE + TWO[:10])
    assert [ONE] == messages
    assert 10 == framer.pending
    assert [TWO] == framer.feed(TWO[10:])
    assert 0 == framer.pending


class TestKeepalives:
    def test_ping(self):
        messages, framer = fed(b"\r\n\r\n" + ONE + b"\r\n\r\n\r\n\r\n" + TWO)
        assert [ONE, TWO] == messages
        assert (3, 0) == framer.take_keepalives()
        assert (0, 0) == framer.take_keepalives()

    def test_ping_in_pieces(self):
        _, framer = fed(*(b"\r\n\r\n"[i : i + 1] for i in range(4)))
        assert (1, 0) == framer.take_keepalives()

    def test_ping_whose_first_half_was_taken_as_a_pong(self):
        _, framer = fed(b"\r\n")
        assert (0, 1) == framer.take_keepalives()
        framer.feed(b"\r\n")
        assert (1, 0) == framer.take_keepalives()

    def test_pong(self):
        messages, framer = fed(b"\r\n", ONE, b"\r\n")
        assert [ONE] == messages
        assert (0, 2) == framer.take_keepalives()

    def test_half_an_empty_line_is_nothing_yet(self):
        _, framer = fed(b"\r")
        assert (0, 0) == framer.take_keepalives()
        assert [ONE] == framer.feed(b"\n" + ONE)


class TestErrors:
    @pytest.mark.parametrize(
        "header",
        [
            b"",
            b"Content-Length: x\r\n",
            b"Content-Length:\r\n",
            b"Content-Length: -1\r\n",
            b"Content-Length: 5\r\nl: 6\r\n",
        ],
    )
    def test_content_length(self, header):
        """Missing, broken or contradictory: where the next message begins is unknown."""
        with pytest.raises(MalformedMessage) as caught:
            fed(b"OPTIONS sip:a@b SIP/2.0\r\n" + header + b"Via: SIP/2.0/TCP h\r\n\r\nhello")
        assert "Content-Length" == caught.value.header

    def test_same_length_twice_is_the_parser_s_to_refuse(self):
        """The stream can be followed."""
        message = ONE.replace(b"Content-Length: 5\r\n", b"Content-Length: 5\r\nl: 5\r\n")
        assert [message] == fed(message)[0]

    @pytest.mark.parametrize("length", [b"65535", b"99999999999999999999999999999999999999"])
    def test_too_large_body(self, length):
        with pytest.raises(MalformedMessage) as caught:
            fed(ONE.replace(b"Length: 5", b"Length: " + length))
        assert 513 == caught.value.status_hint

    def test_endless_headers(self):
        """Refused while it grows, not only at its end."""
        framer = StreamFramer(limit=1000)
        framer.feed(b"x" * 1000)
        with pytest.raises(MalformedMessage) as caught:
            framer.feed(b"x")
        assert 513 == caught.value.status_hint

    def test_other_header_names_are_not_content_length(self):
        """`X-Content-Length` and a value that looks like the header."""
        message = b"OPTIONS sip:a@b SIP/2.0\r\nX-Content-Length: 9\r\nX: y\r\n l: 8\r\nContent-Length: 0\r\n\r\n"
        assert [message] == fed(message)[0]
