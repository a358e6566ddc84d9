"""Phones whose domain no group serves."""

from __future__ import annotations

from sbc.events import DomainNotServed
from sbc.observe.story import tell
from sbc.proxy.unserved import MOST, MOST_OF_HOST, WINDOW, Unserved
from sbc.sip.message import parse
from tests.helpers.network import request


def test_a_domain_that_no_group_serves_leaves_a_trace(site) -> None:
    """One for each domain and host, of whatever it sends again and again."""
    for number, (user, domain) in enumerate([("a", "wrong.example"), ("b", "wrong.example"), ("a", "other.example")]):
        for attempt in range(3):
            branch = f"z9hG4bK{number}{attempt}"
            sent = request("REGISTER", uri="sip:example.com", branch=branch, call_id=branch).to_bytes()
            sent = sent.replace(b"bob@", f"{user}@".encode()).replace(b"example.com", domain.encode())
            site.receive(parse(sent), site.phone)
    assert [403] * 9 == site.phone.summary()
    assert [
        DomainNotServed("REGISTER", "wrong.example", "192.0.2.50"), DomainNotServed("REGISTER", "other.example", "192.0.2.50"),
    ] == [fact for fact in site.facts if isinstance(fact, DomainNotServed)]  # fmt: skip


def test_its_story() -> None:
    story = tell(DomainNotServed("REGISTER", "wrong.example", "192.0.2.50"))
    assert story is not None and story.notable
    assert story.text == (
        "phone at 192.0.2.50 asks for domain wrong.example, which no group serves: its REGISTER gets 403 Domain Not Served Here;"
        " the domain of its account is to be one of `domains` in [[group]]"
    )


def noted(entries) -> list[tuple[str, str]]:
    facts: list[DomainNotServed] = []
    unserved = Unserved(facts.append)
    for domain, host, now in entries:
        unserved.note("REGISTER", domain, host, now)
    return [(fact.domain, fact.host) for fact in facts]


def test_a_flood_of_strangers_fills_neither_log_nor_memory() -> None:
    facts: list[DomainNotServed] = []
    unserved = Unserved(facts.append)
    for number in range(5000):
        unserved.note("INVITE", f"{number}.example" * 100, f"host{number}", 1.0)
    assert MOST == len(facts) == len(unserved._told)
    assert max(len(fact.domain) for fact in facts) == 100


def test_one_host_does_not_hide_the_others() -> None:
    told = noted([(f"{number}.example", "192.0.2.66", 1.0) for number in range(50)] + [("wrong.example", "192.0.2.50", 2.0)])
    assert MOST_OF_HOST + 1 == len(told) and ("wrong.example", "192.0.2.50") == told[-1]


def test_told_again_after_a_while() -> None:
    assert 2 == len(noted([("wrong.example", "h", at) for at in (1.0, WINDOW, WINDOW + 1.0, WINDOW + 2.0)]))
