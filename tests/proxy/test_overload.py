"""More than we can carry (D29)."""

from __future__ import annotations

from sbc.proxy.overload import Overload
from tests.helpers.network import request


def test_sheds_in_order():
    """OPTIONS, SUBSCRIBE, REGISTER, INVITE; and never what is not new work."""
    overload = Overload()
    order = []
    for lateness in (0.0, 0.4, 0.8, 1.5, 3.0):
        overload.lateness = lateness
        order.append([method for method in ("OPTIONS", "SUBSCRIBE", "REGISTER", "INVITE", "BYE") if overload.sheds(method)])
    assert order == [
        [],
        ["OPTIONS"],
        ["OPTIONS", "SUBSCRIBE"],
        ["OPTIONS", "SUBSCRIBE", "REGISTER"],
        ["OPTIONS", "SUBSCRIBE", "REGISTER", "INVITE"],
    ]


def test_one_hiccup_is_no_overload():
    overload = Overload()
    overload.note(0.4)
    assert not overload.sheds("OPTIONS")
    for _ in range(10):
        overload.note(0.4)
    assert overload.sheds("OPTIONS")
    for _ in range(10):
        overload.note(0.0)
    assert not overload.sheds("OPTIONS")


def test_new_calls_get_503_and_dialogs_go_on(site):
    """503 is our own shedding, with a random Retry-After; a BYE is never refused."""
    site.proxy.overload.lateness = 5.0
    site.receive(request("INVITE"), site.phone)
    refused = site.last(site.phone, 503)
    assert 30 <= int(refused.get("Retry-After")) <= 90
    site.receive(request("ACK", to_tag=refused.to_tag), site.phone)
    site.receive(request("BYE", to_tag="t", branch="z9hG4bKbye"), site.phone)
    site.answer(site.primary, site.last(site.primary, "BYE"), 200)


def test_draining_refuses_new_calls_only(site):
    site.proxy.draining = True
    site.receive(request("INVITE"), site.phone)
    refused = site.last(site.phone, 503)
    site.receive(request("ACK", to_tag=refused.to_tag), site.phone)
    site.receive(request("OPTIONS", uri="sip:example.com", branch="z9hG4bKo"), site.phone)
    assert site.phone.summary()[-1] == 200
