"""Via, name-addr, CSeq, comma lists and quoting: RFC 3261 sections 20 and 25."""

import pytest

from sbc.sip.errors import MalformedMessage
from sbc.sip.headers import CSeq, NameAddr, Via, canonical_name, parse_contacts, quote, split_commas, unquote
from sbc.sip.message import Request


def test_canonical_name():
    """Case means nothing, and a compact form is its long form."""
    assert "via" == canonical_name("v") == canonical_name("VIA")
    assert "call-id" == canonical_name("I")
    assert "x-unknown" == canonical_name("X-Unknown")


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a, b ,c", ["a", "b", "c"]),
        ('"a, \\", b" <sip:x,y@z>, c', ['"a, \\", b" <sip:x,y@z>', "c"]),
        ("", [""]),
        ("a,", ["a", ""]),
        ('"never closed, a', ['"never closed, a']),
    ],
)
def test_split_commas(text, values):
    """Commas within quotes and brackets do not separate."""
    assert values == split_commas(text)


@pytest.mark.parametrize("text", ["", "plain", 'a "b" \\c', "\\", "ü"])
def test_quote(text):
    """What is quoted comes back."""
    assert text == unquote(quote(text))


class TestVia:
    """RFC 3261 section 20.42."""

    def test_parts(self):
        via = Via.parse(
            "SIP / 2.0 / udp first.example.com : 4000 ;ttl=16 ; maddr=224.2.0.1 ;branch=z9hG4bKa7c6a8dlze.1"
        )
        assert ("UDP", "first.example.com", 4000, "z9hG4bKa7c6a8dlze.1") == (
            via.transport,
            via.host,
            via.port,
            via.branch,
        )
        assert {"ttl": "16", "maddr": "224.2.0.1", "branch": "z9hG4bKa7c6a8dlze.1"} == via.parameters
        assert "first.example.com:4000" == via.sent_by

    def test_rport(self):
        """RFC 3581: asked for without a value, answered with one."""
        via = Via.parse("SIP/2.0/UDP [2001:db8::1]:5060;branch=z9hG4bK1;rport")
        assert via.wants_rport
        assert via.rport is None
        filled = via.with_parameters(received="192.0.2.7", rport="4711")
        assert (4711, "192.0.2.7", "[2001:db8::1]:5060") == (filled.rport, filled.received, filled.sent_by)
        assert "SIP/2.0/UDP [2001:db8::1]:5060;branch=z9hG4bK1;rport=4711;received=192.0.2.7" == str(filled)
        assert via.rport is None

    @pytest.mark.parametrize("received", ["2001:db8::9:255", "[2001:db8::9:255]"])
    def test_received_ipv6(self, received):
        """RFC 5118 section 4.5: with and without brackets."""
        assert "2001:db8::9:255" == Via.parse(f"SIP/2.0/UDP h;received={received}").received

    def test_no_branch(self):
        """RFC 2543."""
        assert "" == Via.parse("SIP/2.0/UDP h").branch

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "SIP/2.0/UDP",
            "SIP/2.0 h",
            "SIP/2.0/UDPh;branch=x",
            "HTTP/2.0/UDP h",
            "SIP/2.0/UDP h;",
            "SIP/2.0/UDP h;;branch=x",
            "SIP/2.0/UDP h;branch=x;branch=y",
            "SIP/2.0/UDP h:99999",
            "SIP/2.0/UDP h:5060 x",
            'SIP/2.0/UDP h;x="never closed',
            "SIP/2.0/UDP ::1",
            "SIP/2.0/UDP h, SIP/2.0/UDP i",
        ],
    )
    def test_malformed(self, text):
        with pytest.raises(MalformedMessage) as caught:
            Via.parse(text)
        assert "Via" == caught.value.header


class TestNameAddr:
    """RFC 3261 sections 20.10 and 20.20."""

    @pytest.mark.parametrize(
        ("text", "name", "uri", "parameters"),
        [
            ('"A. G. Bell" <sip:agb@bell.com>;tag=a48s', "A. G. Bell", "sip:agb@bell.com", {"tag": "a48s"}),
            (
                "sip:+12125551212@server.example.com;tag=887s",
                "",
                "sip:+12125551212@server.example.com",
                {"tag": "887s"},
            ),
            (
                "Anonymous <sip:c8oqz84zk7z@privacy.org>;tag=hyh8",
                "Anonymous",
                "sip:c8oqz84zk7z@privacy.org",
                {"tag": "hyh8"},
            ),
            (
                '<sip:a@b;lr;x=1>;Q=0.5;+sip.instance="<urn:x>"',
                "",
                "sip:a@b;lr;x=1",
                {"q": "0.5", "+sip.instance": '"<urn:x>"'},
            ),
            ('"\\"x\\" <y>, z"<sip:a@b>', '"x" <y>, z', "sip:a@b", {}),
            ("Two Words <tel:+1>", "Two Words", "tel:+1", {}),
            ("<sip:a@b> ; tag = 1", "", "sip:a@b", {"tag": "1"}),
            ("< sip:a@b >", "", "sip:a@b", {}),
            ("<sip:a@b>;epid=00;TAG=base64==/+", "", "sip:a@b", {"epid": "00", "tag": "base64==/+"}),
        ],
    )
    def test_parts(self, text, name, uri, parameters):
        address = NameAddr.parse(text)
        assert (name, uri, parameters) == (address.display_name, address.uri_text, address.parameters)
        again = NameAddr.parse(str(address))
        assert (name, uri, parameters) == (again.display_name, again.uri_text, again.parameters)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "alice",
            '"never closed <sip:a@b>',
            '"name" sip:a@b',
            "<sip:a@b",
            "sip:a@b>",
            "<sip:a@b>x",
            "<>",
            "<sip:a b@c>",
            "a, b <sip:a@b>",
            "sip:a@b?x=y",
            "sip:a,b@c",
            "<sip:a@b>;tag=1;tag=2",
            "<sip:a@b>;",
            "<sip:a@b> <sip:c@d>",
        ],
    )
    def test_malformed(self, text):
        with pytest.raises(MalformedMessage) as caught:
            NameAddr.parse(text, "To")
        assert "To" == caught.value.header

    def test_uri_is_read_when_asked_for(self):
        """A URI that we cannot read is no fault of the header."""
        address = NameAddr.parse("<tel:+1>;tag=x")
        assert "x" == address.tag
        with pytest.raises(MalformedMessage):
            address.uri  # noqa: B018


class TestContacts:
    """RFC 3261 section 10.3."""

    def request(self, *contacts):
        return Request.create("REGISTER", "sip:example.com", [("Contact", contact) for contact in contacts])

    def test_lists(self):
        contacts = parse_contacts(self.request('"x, y" <sip:a@b>;q=1, <sip:c@d>', "sip:e@f;expires=5"))
        assert ["sip:a@b", "sip:c@d", "sip:e@f"] == [contact.uri_text for contact in contacts]
        assert "5" == contacts[2].parameters["expires"]

    def test_star(self):
        assert "*" == parse_contacts(self.request("*"))

    def test_none(self):
        assert [] == parse_contacts(self.request())

    def test_star_is_alone(self):
        with pytest.raises(MalformedMessage):
            parse_contacts(self.request("*", "<sip:a@b>"))


class TestCSeq:
    """RFC 3261 sections 8.1.1.5 and 20.16."""

    def test_parse(self):
        assert "4711 INVITE" == str(CSeq.parse(" 0004711 \t INVITE"))

    @pytest.mark.parametrize(
        "text", ["", "1", "INVITE", "1 IN VITE", "-1 INVITE", "2147483648 BYE", "1INVITE", "１ BYE"]
    )
    def test_malformed(self, text):
        with pytest.raises(MalformedMessage):
            CSeq.parse(text)
