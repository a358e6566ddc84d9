"""What a call leaves behind: next to nothing while its transactions absorb repetitions, and no work for the collector."""

import gc
import tracemalloc

import pytest

from sbc.clock import Timer
from sbc.proxy.response_context import ResponseContext, Route
from sbc.sip.message import Message
from tests.helpers.network import request
from tests.proxy.test_core import connect, in_dialog, invite


@pytest.fixture
def no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def ours(*kinds):
    return [thing for thing in gc.get_objects() if isinstance(thing, kinds or (Timer, Message, ResponseContext, Route))]


def whole_call(site):
    sent, routes = connect(site)
    site.receive(in_dialog("BYE", sent, routes=routes), site.phone)
    site.answer(site.primary, site.last(site.primary, "BYE"), 200)


def refused_call(site):
    site.receive(invite(), site.phone)
    site.answer(site.primary, site.last(site.primary, "INVITE"), 486)
    site.receive(request("ACK", to_tag="callee"), site.phone)


def moved_call(site):
    site.receive(invite(), site.phone)
    site.clock.advance(8)
    site.answer(site.fallback, site.last(site.fallback, "INVITE"), 200)


def cancelled_call(site):
    site.receive(invite(), site.phone)
    site.answer(site.primary, site.last(site.primary, "INVITE"), 180)
    site.receive(request("CANCEL"), site.phone)
    site.answer(site.primary, site.last(site.primary, "INVITE"), 487)


def cancelled_call_of_a_dead_server(site):
    site.receive(invite(), site.phone)
    site.receive(request("CANCEL"), site.phone)


def call_that_nobody_answers(site):
    site.receive(invite(), site.phone)


def call_that_rings_too_long(site):
    site.receive(invite(), site.phone)
    site.answer(site.primary, site.last(site.primary, "INVITE"), 180)


STORIES = [
    whole_call, refused_call, moved_call, cancelled_call, cancelled_call_of_a_dead_server, call_that_nobody_answers,
    call_that_rings_too_long,
]  # fmt: skip


def forget_what_was_sent(site):
    for flow in site.flows.values():
        flow.take()
        flow.datagrams.clear()


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_nothing_is_left_for_the_collector(site, no_collector, story):
    """Reference counting alone frees everything once the timers have run out."""
    before = len(ours())
    story(site)
    assert len(ours()) > before
    site.clock.advance(400)
    forget_what_was_sent(site)
    assert len(ours()) == before


def test_little_is_left_of_an_answered_call(site, no_collector):
    """For half a minute repetitions are absorbed and passed on; the messages and the plan are not needed for that."""
    before = len(ours(Message, Route))
    connect(site)
    forget_what_was_sent(site)
    assert len(ours(Message, Route)) == before


def test_a_repeated_2xx_still_reaches_the_caller(site):
    """RFC 6026: both ends repeat until the ACK is there."""
    connect(site)
    sent = site.last(site.primary, "INVITE")
    site.phone.take()
    site.clock.advance(20)
    site.answer(site.primary, sent, 200)
    site.answer(site.primary, sent, 200, to_tag="other-fork")
    assert site.phone.summary() == [200, 200]


def test_long_addresses_are_not_remembered(site):
    """What is known of a Request-URI or Route is kept for the next time, but senders must not be able to fill the memory."""
    tracemalloc.start()
    try:
        for number in range(100):
            message = request(
                "MESSAGE", uri=f"sip:{number}{'x' * 30_000}@elsewhere.example", call_id=f"{number}",
                branch=f"z9hG4bK{number}",
            )
            message.set("To", "<sip:nobody@elsewhere.example>")
            message.set("Route", f"<sip:{number}{'y' * 7_000}@203.0.113.9;lr>")
            site.receive(message, site.phone)
            assert site.phone.summary() == [403]
            forget_what_was_sent(site)
        site.clock.advance(40)
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown < 1_000_000
