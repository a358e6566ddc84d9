"""In whose name we ask a server whether it takes registrations (F10, Y34)."""

import pytest

from sbc.registration.bindings import Binding, Bindings
from sbc.registration.probe_accounts import ProbeAccounts
from sbc.sip.digest import HtdigestFile, ha1
from sbc.sip.message import Request, Response


class Phones:
    def __init__(self, file, *phones):
        self.credentials = file
        self.bindings = Bindings()
        for number, (group, aor, username) in enumerate(phones):
            self.bindings.add(Binding(str(number), group, aor, "<sip:x@192.0.2.9>", username=username))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "phones"
    path.write_text(f"bob:example.com:{ha1('bob', 'example.com', 'secret')}\n")
    return HtdigestFile.load(path)


def challenge():
    request = Request.create(
        "REGISTER", "sip:example.com",
        [("Via", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1"), ("From", "<sip:bob@example.com>;tag=1"),
         ("To", "<sip:bob@example.com>"), ("Call-ID", "1"), ("CSeq", "1 REGISTER")],
    )  # fmt: skip
    headers = [("WWW-Authenticate", 'Digest realm="example.com", nonce="n", qop="auth"')]
    return request, Response.for_request(request, 401, headers=headers)


def test_a_phone_of_the_group_whose_password_is_known_comes_first(file):
    phones = Phones(
        file, ("lobby", "sip:bob@example.com", "bob"), ("office", "sip:alice@example.com", "alice"),
        ("office", "sip:bob@example.com", "bob"),
    )  # fmt: skip
    account = ProbeAccounts(phones).account("office")
    assert ("sip:bob@example.com", "example.com", "bob") == account


def test_else_any_phone_of_the_group(file):
    phones = Phones(file, ("office", "sip:alice@example.com:5070", ""))
    assert ("sip:alice@example.com:5070", "example.com:5070", "alice") == ProbeAccounts(phones).account("office")
    assert "alice" == ProbeAccounts(Phones(None, ("office", "sip:alice@[2001:db8::1]", ""))).account("office").username


def test_nobody_without_a_phone(file):
    assert ProbeAccounts(Phones(file, ("lobby", "sip:bob@example.com", "bob"))).account("office") is None
    assert ProbeAccounts(Phones(None, ("office", "tel:+15551234", ""))).account("office") is None


def test_the_challenge_is_answered_with_the_known_password(file):
    accounts = ProbeAccounts(Phones(file, ("office", "sip:bob@example.com", "bob")))
    request, response = challenge()
    name, value = accounts.authorization("office", accounts.account("office"), response, request)
    assert "Authorization" == name
    assert 'username="bob"' in value and 'uri="sip:example.com"' in value


def test_d8_a_refused_one_is_asked_without_its_password(file):
    accounts = ProbeAccounts(Phones(file, ("office", "sip:bob@example.com", "bob")))
    account = accounts.account("office")
    accounts.refused("office", account)
    request, response = challenge()
    assert account == accounts.account("office")
    assert accounts.authorization("office", account, response, request) is None
