"""DnsCache: how long an answer is good, and what happens after that."""

import pytest

from sbc.location.cache import DnsCache, Freshness
from sbc.location.records import Address, Failed, Found, Question, Srv, from_text, question_from_text, to_text

NAME = Question("pbx.example", "A")
ONE = (Address("192.0.2.1"),)
OTHER = (Address("192.0.2.2"),)
USUAL = Freshness()


def test_never_asked_is_not_nothing():
    cache = DnsCache()
    assert cache.records(NAME) is None
    cache.put(NAME, Found((), 60), 0.0)
    assert () == cache.records(NAME)


@pytest.mark.parametrize(
    ("ttl", "refresh"), [(100, 80), (0, 4), (3, 4), (5, 4), (36, 28.8), (86400, 69120), (10**9, 69120)]
)
def test_asked_again_at_80_percent_of_the_ttl(ttl, refresh):
    """D17: floor 5 s for TTL 0, ceiling one day."""
    cache = DnsCache()
    cache.put(NAME, Found(ONE, ttl), 100.0)
    assert 100.0 + refresh == pytest.approx(cache.refresh_at(NAME, USUAL))


@pytest.mark.parametrize(("ttl", "refresh"), [(0, 28.8), (36, 28.8), (100, 80), (7200, 240)])
def test_negative_answers_are_kept_36_to_300_s(ttl, refresh):
    """S15, D17."""
    cache = DnsCache()
    cache.put(NAME, Found((), ttl), 0.0)
    assert refresh == pytest.approx(cache.refresh_at(NAME, USUAL))


def test_requery_overrides_the_ttl():
    """V28: about every two hours; for those who want it so."""
    cache, two_hours = DnsCache(), Freshness(requery=7200)
    cache.put(NAME, Found(ONE, 60), 0.0)
    assert (7200, 48) == (cache.refresh_at(NAME, two_hours), cache.refresh_at(NAME, USUAL))
    assert not cache.is_stale(NAME, 7199, two_hours)
    assert cache.is_stale(NAME, 7199, USUAL)


def test_floor_and_ceiling_are_settable():
    """X12, D17: profile floor/ceiling."""
    cache, own = DnsCache(), Freshness(floor=30, ceiling=600)
    cache.put(NAME, Found(ONE, 0), 0.0)
    assert 24 == cache.refresh_at(NAME, own)
    cache.put(NAME, Found(ONE, 86400), 0.0)
    assert 480 == cache.refresh_at(NAME, own)
    cache.put(NAME, Found((), 86400), 0.0)
    assert 240 == cache.refresh_at(NAME, own)  # a negative answer has limits of its own


@pytest.mark.parametrize("failure", [Failed("timeout"), Failed("servfail")])
def test_old_answer_stays_when_nobody_answers(failure):
    """RFC 8767, D17: without limit; and the question is repeated."""
    cache = DnsCache()
    cache.put(NAME, Found(ONE, 60), 0.0)
    for at in range(48, 100000, 1000):
        cache.put(NAME, failure, float(at))
        assert ONE == cache.records(NAME)
        assert at + 10 == cache.refresh_at(NAME, USUAL)
    assert cache.is_stale(NAME, 100000.0, USUAL)


def test_failure_without_an_old_answer_counts_as_nothing():
    """S22: so that the procedure goes on to the next step."""
    cache = DnsCache()
    cache.put(NAME, Failed("timeout"), 0.0)
    assert () == cache.records(NAME)
    assert not cache.is_stale(NAME, 0.0, USUAL)


def test_new_answer_replaces_the_old():
    cache = DnsCache()
    cache.put(NAME, Found(ONE, 60), 0.0)
    cache.put(NAME, Found(OTHER, 60), 48.0)
    assert OTHER == cache.records(NAME)
    assert not cache.is_stale(NAME, 100.0, USUAL)


def test_remembered_answer_is_used_and_asked_again_at_once():
    cache = DnsCache()
    cache.remember(NAME, Found(ONE, 3600), 50.0)
    assert (ONE, 50.0, True) == (cache.records(NAME), cache.refresh_at(NAME, USUAL), cache.is_stale(NAME, 50.0, USUAL))


def test_shortest_ttl_of_a_chain():
    """Y26: what dns-ttl failback goes by. Negative answers do not count."""
    cache, srv, naptr = DnsCache(), Question("_sip._udp.pbx.example", "SRV"), Question("pbx.example", "NAPTR")
    cache.put(NAME, Found(ONE, 60), 0.0)
    cache.put(srv, Found((Srv(1, 1, 5060, "pbx.example"),), 300), 0.0)
    cache.put(naptr, Found((), 40), 0.0)
    assert 60.0 == cache.shortest_ttl([naptr, srv, NAME], USUAL)
    assert cache.shortest_ttl([naptr], USUAL) is None


def test_answers_as_text_and_back():
    found = Found((Srv(1, 2, 5060, "a.example"), Srv(2, 2, 5061, "b.example")), 300.0)
    question = Question("_sip._udp.pbx.example", "SRV")
    assert found == from_text(question, to_text(found))
    assert Found((), 36.0) == from_text(question, to_text(Found((), 36.0)))
    assert question == question_from_text(str(question))


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"ttl": 1, "records": [{"x": 1}]}', '{"ttl": "x", "records": []}'])
def test_text_that_is_not_ours_is_ignored(text):
    assert from_text(NAME, text) is None
    assert question_from_text("MX example") is None


def test_text_with_a_wrong_field_is_ignored():
    """A priority that is no number would end the walk with an exception, at the start of the appliance."""
    question = Question("_sip._udp.pbx.example", "SRV")
    good = to_text(Found((Srv(1, 2, 5060, "a.example"),), 300.0))
    assert from_text(question, good) is not None
    for found, wrong in (('"priority": 1', '"priority": "1"'), ('"a.example"', "null"), ("5060", "50.5")):
        assert found in good
        assert from_text(question, good.replace(found, wrong)) is None
