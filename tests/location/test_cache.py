"""DnsCache: how long an answer is good, and what happens after that."""

import pytest

from sbc.location.cache import DnsCache
from sbc.location.records import Address, Failed, Found, Question, Srv, from_text, question_from_text, to_text

NAME = Question("pbx.example", "A")
ONE = (Address("192.0.2.1"),)
OTHER = (Address("192.0.2.2"),)


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
    assert 100.0 + refresh == pytest.approx(cache.refresh_at(NAME))


@pytest.mark.parametrize(("ttl", "refresh"), [(0, 28.8), (36, 28.8), (100, 80), (7200, 240)])
def test_negative_answers_are_kept_36_to_300_s(ttl, refresh):
    """S15, D17."""
    cache = DnsCache()
    cache.put(NAME, Found((), ttl), 0.0)
    assert refresh == pytest.approx(cache.refresh_at(NAME))


def test_requery_overrides_the_ttl():
    """V28: about every two hours."""
    cache = DnsCache(requery=7200)
    cache.put(NAME, Found(ONE, 60), 0.0)
    assert 7200 == cache.refresh_at(NAME)
    assert not cache.is_stale(NAME, 7199)


@pytest.mark.parametrize("failure", [Failed("timeout"), Failed("servfail")])
def test_old_answer_stays_when_nobody_answers(failure):
    """RFC 8767, D17: without limit; and the question is repeated."""
    cache = DnsCache()
    cache.put(NAME, Found(ONE, 60), 0.0)
    for at in range(48, 100000, 1000):
        cache.put(NAME, failure, float(at))
        assert ONE == cache.records(NAME)
        assert at + 10 == cache.refresh_at(NAME)
    assert cache.is_stale(NAME, 100000.0)


def test_failure_without_an_old_answer_counts_as_nothing():
    """S22: so that the procedure goes on to the next step."""
    cache = DnsCache()
    cache.put(NAME, Failed("timeout"), 0.0)
    assert () == cache.records(NAME)
    assert not cache.is_stale(NAME, 0.0)


def test_new_answer_replaces_the_old():
    cache = DnsCache()
    cache.put(NAME, Found(ONE, 60), 0.0)
    cache.put(NAME, Found(OTHER, 60), 48.0)
    assert OTHER == cache.records(NAME)
    assert not cache.is_stale(NAME, 100.0)


def test_remembered_answer_is_used_and_asked_again_at_once():
    cache = DnsCache()
    cache.remember(NAME, Found(ONE, 3600), 50.0)
    assert (ONE, 50.0, True) == (cache.records(NAME), cache.refresh_at(NAME), cache.is_stale(NAME, 50.0))


def test_time_to_live_is_that_of_the_first_to_expire():
    cache, srv = DnsCache(), Question("_sip._udp.pbx.example", "SRV")
    cache.put(NAME, Found(ONE, 60), 0.0)
    cache.put(srv, Found((Srv(1, 1, 5060, "pbx.example"),), 300), 0.0)
    assert 50.0 == cache.time_to_live([srv, NAME], 10.0)
    assert cache.time_to_live([], 10.0) is None


def test_answers_as_text_and_back():
    found = Found((Srv(1, 2, 5060, "a.example"), Srv(2, 2, 5061, "b.example")), 300.0)
    question = Question("_sip._udp.pbx.example", "SRV")
    assert found == from_text(question, to_text(found))
    assert question == question_from_text(str(question))


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"ttl": 1, "records": [{"x": 1}]}', '{"ttl": "x", "records": []}'])
def test_text_that_is_not_ours_is_ignored(text):
    assert from_text(NAME, text) is None
    assert question_from_text("MX example") is None
