"""The OPTIONS that we send (D15, PIVOT V17, V18, V21), and the REGISTERs (Y23, Y34, F3, F10, F11)."""

from __future__ import annotations

from collections import namedtuple

import pytest

from sbc.events import ProbeEnded, ServerStateChanged
from sbc.proxy.prober import Prober
from sbc.redundancy.outcome import TransportFailed
from sbc.sip.message import Request
from tests.proxy.conftest import PRIMARY, Site


@pytest.fixture
def probed():
    """Its prober runs; stopped at the end, when nothing may be left."""
    site = Site(probe_interval=30, probe_interval_down=10, probe_timeout=4, fall=2, rise=3)
    prober = Prober(site.clock, site.layer, site, site.group, site.facts.append)
    prober.start()
    yield site
    prober.stop()
    site.clock.advance(60)
    assert site.clock.pending == 0


def answer_all(site, flow, status: int) -> None:
    for _, message in list(flow.sent):
        site.answer(flow, message, status)
    flow.take()


def states(site, server: str) -> list[tuple[str, str]]:
    return [(fact.old, fact.new) for fact in site.facts if isinstance(fact, ServerStateChanged) and fact.server == server]


def test_probe_is_a_valid_options(probed):
    """V21: "a valid OPTIONS"."""
    probed.clock.advance(31)
    sent = probed.last(probed.primary, "OPTIONS")
    assert sent.request_uri == "sip:198.51.100.10:5060"
    assert sent.get("Max-Forwards") == "70"
    assert sent.get("From").startswith("<sip:198.51.100.1:5060>;tag=")
    answer_all(probed, probed.primary, 200)
    answer_all(probed, probed.fallback, 200)


def test_answer_brings_up_and_silence_down(probed):
    """fall = 2: two unanswered OPTIONS of 4 s each; other servers are not concerned."""
    for _ in range(40):
        probed.clock.advance(1)
        answer_all(probed, probed.fallback, 200)
    assert states(probed, "fallback") == [("unknown", "up")]
    assert states(probed, "primary") == [("unknown", "down")]
    outcomes = {fact.outcome for fact in probed.facts if isinstance(fact, ProbeEnded) and fact.server == "primary"}
    assert outcomes == {"timeout"}


def test_recovery_takes_rise_good_answers(probed):
    for _ in range(40):
        probed.clock.advance(1)
        answer_all(probed, probed.fallback, 200)
    for _ in range(60):
        probed.clock.advance(1)
        answer_all(probed, probed.fallback, 200)
        answer_all(probed, probed.primary, 405)  # any answer below 500 is a sign of life (V17)
    assert states(probed, "primary") == [("unknown", "down"), ("down", "up")]


def test_icmp_brings_down_at_once(probed):
    probed.clock.advance(35)
    sent = probed.last(probed.primary, "OPTIONS")
    probed.edge.datagram_failed(sent.to_bytes(), "icmp")
    assert states(probed, "primary") == [("unknown", "down")]


# REGISTER


class Accounts:
    """One phone, whose password opens the primary or does not."""

    Account = namedtuple("Account", "aor domain")

    def __init__(self) -> None:
        self.known = self.Account("sip:alice@example.com", "example.com")
        self.password = True
        self.refusals: list[str] = []

    def account(self, group):
        assert group == "office"
        return self.known

    def authorization(self, group, account, response, request):
        assert "Digest" in response.get("WWW-Authenticate")
        return ("Authorization", f'Digest uri="{request.request_uri}"') if self.password else None

    def refused(self, group, account):
        self.refusals.append(account.aor)


@pytest.fixture
def seeking():
    """The primary is dead and the fallback in use; the fallback's probes are answered in `pass_time`."""
    site = Site(
        probe_interval=30, probe_interval_down=10, probe_timeout=4, fall=2, rise=1, failback_hold=3600,
        probe_method="register", register_probe_interval=120, registration="successive",
    )  # fmt: skip
    site.accounts = Accounts()
    site.group.observe(PRIMARY, TransportFailed("icmp"), site.clock.seconds(), "INVITE")
    prober = Prober(site.clock, site.layer, site, site.group, site.facts.append, site.accounts)
    prober.start()
    yield site
    prober.stop()
    site.clock.advance(60)
    assert site.clock.pending == 0


def pass_time(site, seconds: float, answer=None) -> None:
    """`answer(site, request)` for what is sent to the primary."""
    seen = len(site.primary.sent)
    for _ in range(int(seconds * 2)):
        site.clock.advance(0.5)
        for _, message in site.fallback.sent:
            site.answer(site.fallback, message, 200)
        site.fallback.take()
        while seen < len(site.primary.sent):
            seen += 1
            if answer is not None:
                answer(site, site.primary.sent[seen - 1][1])


def registers(site) -> list[tuple[float, Request]]:
    """What went to the primary, seconds after the failover."""
    assert {message.method for _, message in site.primary.sent} <= {"REGISTER"}
    return list(site.primary.sent)


def challenge(site, request):
    site.answer(site.primary, request, 401, headers=[("WWW-Authenticate", 'Digest realm="example.com", nonce="n"')])


def test_f3_a_register_dialog_of_its_own(seeking):
    """F3, F10: own Call-ID, own From tag, own CSeq that grows; no Contact, so it registers nobody."""
    pass_time(seeking, 300, lambda site, request: site.answer(site.primary, request, 404))
    first, second = (message for _, message in registers(seeking))
    for message in (first, second):
        assert "sip:example.com" == message.request_uri
        assert "<sip:alice@example.com>" == message.get("To")
        assert message.get("From").startswith("<sip:alice@example.com>;tag=")
        assert message.get("Contact") is None
    assert ["1 REGISTER", "2 REGISTER"] == [first.get("CSeq"), second.get("CSeq")]
    assert (first.get("Call-ID"), first.get("From")) == (second.get("Call-ID"), second.get("From"))


def test_f11_repeated_until_64_t1_then_the_timer_restarts(seeking):
    """F11, Y23: sends at 0, 0.5, 1.5, 3.5, then every 4 s for 32 s; the next one comes 120 s after that."""
    pass_time(seeking, 280)
    times = [round(at, 1) for at, _ in registers(seeking)]
    one = [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert [120 + at for at in one] == times[:11]
    assert 272 == times[11]
    assert 2 == len({message.get("CSeq") for _, message in registers(seeking)[:12]})


def test_y23_an_answered_one_comes_every_interval(seeking):
    pass_time(seeking, 370, lambda site, request: site.answer(site.primary, request, 403))
    assert [120, 240, 360] == [round(at) for at, _ in registers(seeking)]


def test_y34_a_challenge_is_answered_once_and_the_200_counts_as_accepted(seeking):
    """Y34, F10: what brings new requests back in failback mode `registration`."""

    def registrar(site, request):
        if request.get("Authorization"):
            site.answer(site.primary, request, 200)
        else:
            challenge(site, request)

    pass_time(seeking, 125, registrar)
    asked, again = (message for _, message in registers(seeking)[:2])
    assert ("1 REGISTER", "2 REGISTER") == (asked.get("CSeq"), again.get("CSeq"))
    assert asked.get("Call-ID") == again.get("Call-ID")
    assert seeking.group.health(PRIMARY).registered_at is not None


def test_d8_a_refused_password_is_not_shown_again(seeking):
    """Servers lock accounts; and it is an answer all the same, so the server is there."""
    pass_time(seeking, 130, lambda site, request: challenge(site, request))
    assert 2 == len(registers(seeking))
    assert ["sip:alice@example.com"] == seeking.accounts.refusals
    assert seeking.group.health(PRIMARY).state.value == "up"
    assert seeking.group.health(PRIMARY).registered_at is None


def test_without_the_password_the_challenge_is_the_answer(seeking):
    seeking.accounts.password = False
    pass_time(seeking, 130, lambda site, request: challenge(site, request))
    assert 1 == len(registers(seeking))
    assert seeking.group.health(PRIMARY).state.value == "up"
    ended = [fact for fact in seeking.facts if isinstance(fact, ProbeEnded) and fact.server == "primary"]
    assert [("REGISTER", "status_4xx")] == [(fact.method, fact.outcome) for fact in ended]


def test_without_any_phone_it_is_an_options_after_all(seeking):
    seeking.accounts.known = None
    pass_time(seeking, 125, lambda site, request: site.answer(site.primary, request, 200))
    assert ["OPTIONS"] == [message.method for _, message in seeking.primary.sent]
    assert seeking.group.health(PRIMARY).state.value == "up"


def test_v20_questions_that_wait_when_the_link_goes_down_are_dropped(seeking):
    """No answer could come, and the silence says nothing."""
    seeking.clock.advance(121)
    assert seeking.layer.transactions["client", "non-invite"] > 0
    seeking.group.set_link(False, seeking.clock.seconds())
    seeking.clock.advance(1.5)
    assert seeking.layer.transactions["client", "non-invite"] == 0
    before = len(seeking.primary.sent)
    seeking.clock.advance(300)
    assert before == len(seeking.primary.sent)
    seeking.group.set_link(True, seeking.clock.seconds())
    pass_time(seeking, 2, lambda site, request: site.answer(site.primary, request, 404))
    assert before < len(seeking.primary.sent)
