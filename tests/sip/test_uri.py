"""SIP URIs: RFC 3261 section 19.1."""

import pytest

from sbc.sip.errors import MalformedMessage
from sbc.sip.uri import SipUri, format_host_port, parse_host_port


@pytest.mark.parametrize(
    "text",
    [
        "sip:alice@atlanta.com",
        "sip:alice:secretword@atlanta.com;transport=tcp",
        "sips:alice@atlanta.com?subject=project%20x&priority=urgent",
        "sip:+1-212-555-1212:1234@gateway.com;user=phone",
        "sips:1212@gateway.com",
        "sip:alice@192.0.2.4",
        "sip:atlanta.com;method=REGISTER?to=alice%40atlanta.com",
        "sip:alice;day=tuesday@atlanta.com",
        "sip:user@[2001:db8::1]:5070;lr",
        "sip:[2001:db8::1]",
        "sip:host;lr;Odd-Name=A%20b".lower(),
    ],
)
def test_examples_survive(text):
    """The examples of section 19.1.3 and more come back as they were."""
    assert text == str(SipUri.parse(text))


def test_parts():
    """Every part is where it belongs; an IPv6 host has no brackets."""
    uri = SipUri.parse("SIPS:al%69ce:pw@[2001:db8::1]:5061;Transport=TCP;lr?X=y")
    assert ("sips", "al%69ce", "pw", "2001:db8::1", 5061) == (
        uri.scheme,
        uri.user,
        uri.password,
        uri.host,
        uri.port,
    )
    assert ({"transport": "TCP", "lr": None}, "X=y", "tcp") == (uri.parameters, uri.headers, uri.transport)
    assert uri.is_sips
    assert "alice" == uri.user_unescaped
    assert "[2001:db8::1]:5061" == uri.host_port


def test_no_user_is_not_an_empty_user():
    """`user` is None without "@"."""
    assert SipUri.parse("sip:example.com").user is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sip",
        "sip:",
        "sip:@example.com",
        "sip:a@b@c",
        "sip:a b@c",
        "sip:a@",
        "sip:a@b:",
        "sip:a@b:port",
        "sip:a@b:65536",
        "sip:a@b:123456",
        "sip:a@-b",
        "sip:a@[::1",
        "sip:a@[host]",
        "sip:a@2001:db8::1",
        "sip:a@[1:::2]",
        "sip:a@[1::2::3]",
        "sip:a@b;",
        "sip:a@b;=x",
        "sip:a@b;x=1;X=2",
        "sip:a@b?",
        "sip:a%4@b",
        "<sip:a@b>",
        "sip:a@b\r\nEvil: yes",
        "sip:a@b\n",
        "sip:é@b",
        "sip:a@b:５",
    ],
)
def test_malformed(text):
    """Broken URIs are refused with 400."""
    with pytest.raises(MalformedMessage) as caught:
        SipUri.parse(text)
    assert 400 == caught.value.status_hint


@pytest.mark.parametrize("text", ["tel:+12125551212", "http://example.com", "soap.beep://192.0.2.103:3002"])
def test_other_schemes(text):
    """Another scheme is 416, not 400."""
    with pytest.raises(MalformedMessage) as caught:
        SipUri.parse(text)
    assert 416 == caught.value.status_hint


def test_with():
    """`with_` changes a copy."""
    uri = SipUri.parse("sip:a@b;lr")
    changed = uri.with_(host="::1", port=5060, parameters={**uri.parameters, "gw-tok": "x"})
    assert "sip:a@[::1]:5060;lr;gw-tok=x" == str(changed)
    assert "sip:a@b;lr" == str(uri)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtlanTa.CoM;Transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
        ("sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;security=on"),
        (
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
        ),
        (
            "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
        ),
    ],
)
def test_equivalent(one, other):
    """The equivalent pairs of section 19.1.4."""
    assert SipUri.parse(one).equivalent(SipUri.parse(other))
    assert SipUri.parse(other).equivalent(SipUri.parse(one))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
        ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
        ("sip:a%40b@c", "sip:a%41b@c"),
        ("sip:a@c", "sips:a@c"),
        ("sip:a:p@c", "sip:a@c"),
        ("sip:c", "sip:a@c"),
    ],
)
def test_not_equivalent(one, other):
    """The different pairs of section 19.1.4, and a reserved character that is not its escape."""
    assert not SipUri.parse(one).equivalent(SipUri.parse(other))
    assert not SipUri.parse(other).equivalent(SipUri.parse(one))


def test_host_port():
    """`parse_host_port` and `format_host_port` are opposites."""
    for text in ("example.com", "example.com:5060", "[::1]", "[::1]:5060", "192.0.2.1:1"):
        assert text == format_host_port(*parse_host_port(text))
    for text in ("", ":5060", "a b", "[::1", "::1", "a:", "a: 1"):
        assert parse_host_port(text) is None
