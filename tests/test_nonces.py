"""Who has challenged whom, and whether an answer is new."""

from __future__ import annotations

import importlib.machinery
import os

import pytest

from sbc import nonces as module
from sbc.location.candidate import Candidate
from sbc.nonces import LIFETIME, Nonces, mark_stale, with_stale
from sbc.sip.digest import Credentials
from sbc.sip.message import Response

P = Candidate("192.0.2.1", 5060, "udp")
F = Candidate("192.0.2.2", 5060, "udp")
PURE = os.environ.get("SBC_PURE_PYTHON") == "1"


def challenge(nonce: str, method: str = "REGISTER") -> Response:
    headers = [("CSeq", f"1 {method}"), ("WWW-Authenticate", f'Digest realm="r", nonce="{nonce}"')]
    return Response.create(401, None, headers)


def shown(count: int, *, user: str = "alice", cnonce: str = "c", qop: str = "auth") -> Credentials:
    return Credentials(user, "r", "n", "sip:d", "0", cnonce=cnonce, nc=count, qop=qop)


def test_module_is_what_was_asked_for():
    suffixes = importlib.machinery.SOURCE_SUFFIXES if PURE else importlib.machinery.EXTENSION_SUFFIXES
    assert module.__file__.endswith(tuple(suffixes))
    assert module.COMPILED is not PURE
    assert PURE or not hasattr(Nonces(), "__dict__")


def test_nonce_is_known_for_an_hour_after_its_last_use():
    """D9."""
    nonces = Nonces()
    nonces.learn(challenge("n"), P, 0.0)
    assert P == nonces.issuer("n", LIFETIME - 1)
    assert None is nonces.issuer("n", LIFETIME)
    nonces.used("n", LIFETIME - 1)
    assert P == nonces.issuer("n", 2 * LIFETIME - 2)


def test_old_nonces_are_forgotten():
    nonces = Nonces()
    for number in range(10):
        nonces.learn(challenge(f"n{number}"), P, number * LIFETIME / 5)
    assert 5 == len(nonces)


def test_flood_of_nonces_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "_MOST", 10)
    nonces = Nonces()
    for number in range(100):
        nonces.learn(challenge(f"n{number}"), P, 0.0)
    assert 10 == len(nonces)
    assert P == nonces.issuer("n99", 0.0)


def test_same_nonce_from_another_candidate_belongs_to_both():
    """They are one server, reached in two ways: either takes the answer."""
    nonces = Nonces()
    nonces.learn(challenge("n"), P, 0.0)
    nonces.learn(challenge("n"), F, 1.0)
    assert (F, P) == nonces.issuers_of("n", 1.0)
    assert F == nonces.issuer("n", 1.0)
    nonces.learn(challenge("n"), P, 2.0)
    assert (F, P) == nonces.issuers_of("n", 2.0)
    assert () == nonces.issuers_of("n", 2.0 + LIFETIME)
    nonces.learn(challenge("n"), P, 2.0 + LIFETIME)
    assert (P,) == nonces.issuers_of("n", 2.0 + LIFETIME)


def test_a_nonce_that_the_store_kept_is_known():
    nonces = Nonces()
    nonces.remember("n", P, 0.0)
    assert not nonces.is_first_use(shown(99), 1.0), "it may have been overheard before the restart"
    assert (P,) == nonces.issuers_of("n", 1.0)
    assert None is nonces.asked_in_call("n", 1.0)


def test_a_nonce_of_a_registration_is_none_of_a_call():
    """With several registrars a phone has the nonce of the last one that challenged it: calls must not follow it there."""
    nonces = Nonces()
    nonces.learn(challenge("n"), P, 0.0)
    assert (None, {P}) == (nonces.asked_in_call("n", 0.0), nonces.issuers)
    nonces.learn(challenge("n", "INVITE"), F, 0.0)
    assert (F, {P}) == (nonces.asked_in_call("n", 0.0), nonces.issuers)


def test_next_nonce_of_a_call_is_known():
    """RFC 7616 3.5."""
    nonces = Nonces()
    headers = [("CSeq", "2 MESSAGE"), ("Proxy-Authentication-Info", 'qop=auth, nextnonce="n\\\\2"')]
    nonces.learn(Response.create(200, None, headers), P, 0.0)
    assert P == nonces.asked_in_call("n\\2", 0.0)


def test_a_count_is_fresh_once():
    nonces = Nonces()
    nonces.learn(challenge("n"), P, 0.0)
    assert [True, False, True, False] == [nonces.is_fresh("n", count, 1.0) for count in (1, 1, 5, 4)]
    nonces.learn(challenge("n"), P, 2.0)
    nonces.learn(challenge("n"), F, 2.0)
    assert not nonces.is_fresh("n", 5, 2.0)
    assert not nonces.is_fresh("unknown", 1, 2.0)


def test_without_count_an_answer_is_fresh_once():
    nonces = Nonces()
    nonces.learn(challenge("n"), P, 0.0)
    assert [True, False] == [nonces.is_fresh("n", 0, 1.0), nonces.is_fresh("n", 0, 1.0)]


@pytest.mark.parametrize("other", [{"user": "bob"}, {"cnonce": "d"}], ids=["another account", "the same account"])
def test_phones_that_share_a_nonce_do_not_lock_each_other_out(other):
    """Kamailio's is one for all that it challenges within a second, and both count from 1."""
    nonces = Nonces()
    nonces.learn(challenge("n"), P, 0.0)
    assert [True, True] == [nonces.is_first_use(shown(1), 1.0), nonces.is_first_use(shown(1, **other), 1.0)]
    assert [False, False] == [nonces.is_first_use(shown(1), 1.0), nonces.is_first_use(shown(1, **other), 1.0)]
    assert [True, True] == [nonces.is_first_use(shown(2), 1.0), nonces.is_first_use(shown(2, **other), 1.0)]


def test_without_qop_nobody_counts_on_what_the_digest_does_not_cover():
    """cnonce and nc can be added to an overheard answer at will."""
    nonces = Nonces()
    nonces.learn(challenge("n"), P, 0.0)
    answers = [shown(1, qop=""), shown(2, qop="", cnonce="x"), shown(1, qop="", user="bob")]
    assert [True, False, True] == [nonces.is_first_use(each, 1.0) for each in answers]


def test_senders_of_one_nonce_are_bounded(monkeypatch):
    """And a forgotten answer is not believed again."""
    monkeypatch.setattr(module, "_MOST_SENDERS", 3)
    nonces = Nonces()
    nonces.learn(challenge("n"), P, 0.0)
    for number in range(10):
        assert nonces.is_first_use(shown(number + 1, cnonce=str(number)), 1.0)
    assert [False] * 10 == [nonces.is_first_use(shown(number + 1, cnonce=str(number)), 1.0) for number in range(10)]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('Digest realm="a, stale=false", nonce="n"', 'Digest realm="a, stale=false", nonce="n", stale=true'),
        ('Digest realm="r",stale=FALSE,nonce="n"', 'Digest realm="r",nonce="n", stale=true'),
        ('Digest stale=true, realm="r", nonce="n"', 'Digest stale=true, realm="r", nonce="n"'),
        ('Digest\tstale=false,realm="r", nonce="n"', 'Digest\trealm="r", nonce="n", stale=true'),
        ('Bearer realm="r"', 'Bearer realm="r"'),
    ],
)
def test_stale(before, after):
    """One stale=true, and all else as it was."""
    assert after == with_stale(before)


def test_stale_in_all_challenges():
    response = challenge("a")
    response.append("WWW-Authenticate", 'Digest realm="r", nonce="b", algorithm=SHA-256')
    response.append("Proxy-Authenticate", 'Digest realm="r", nonce="c"')
    mark_stale(response)
    both = [*response.get_all("WWW-Authenticate"), *response.get_all("Proxy-Authenticate")]
    assert [True] * 3 == [value.endswith(", stale=true") for value in both]
