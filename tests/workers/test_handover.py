"""Parcels between workers."""

from __future__ import annotations

import pytest
from twisted.internet.epollreactor import EPollReactor

from sbc.workers.handover import FAILED, MOVED, REQUEST, RESPONSE, Inbox, Neighbours, Parcel
from sbc.workers.sockets import _mailbox


@pytest.fixture
def mailboxes():
    made = [_mailbox() for _ in range(3)]
    yield made
    for each in (each for mailbox in made for each in mailbox):
        each.close()


def received(mailboxes, worker: int) -> list[Parcel]:
    found = []
    while True:
        try:
            found.append(Parcel.unpacked(mailboxes[worker][0].recv(70_000)))
        except BlockingIOError:
            return found


def neighbours(mailboxes, me: int) -> Neighbours:
    return Neighbours(me, [outlet for _, outlet in mailboxes])


@pytest.mark.parametrize("source", [b"", b"x" * 16, b"y" * 28])
def test_a_parcel_arrives_as_it_was(source):
    parcel = Parcel(REQUEST, 2, 1 << 31, source, b"INVITE sip:bob@example.com SIP/2.0\r\n\r\n\xff")
    assert parcel == Parcel.unpacked(parcel.packed())


def test_the_circle(mailboxes):
    """The next of the last is the first."""
    assert [1, 2, 0] == [neighbours(mailboxes, worker).next_for(0) for worker in range(3)]


def test_the_circle_ends_when_all_were_asked(mailboxes):
    last = neighbours(mailboxes, 1)
    assert [2, 0, 2, None] == [last.next_for(seen) for seen in (0b000, 0b100, 0b001, 0b101)]


def test_who_is_gone_is_asked_last(mailboxes):
    """The phones of the others are called meanwhile; its own wait for its successor."""
    mine = neighbours(mailboxes, 0)
    mine.gone = frozenset({1})
    assert [2, 1, None] == [mine.next_for(seen) for seen in (0b000, 0b100, 0b110)]
    mine.gone = frozenset({1, 2})
    assert 1 == mine.next_for(0)


def test_a_move_is_told_to_all_others(mailboxes):
    neighbours(mailboxes, 1).tell_moved("token")
    told = [[parcel.data for parcel in received(mailboxes, worker)] for worker in range(3)]
    assert [[b"token"], [], [b"token"]] == told


def test_messages_are_counted_by_kind(mailboxes):
    mine = neighbours(mailboxes, 0)
    mine.hand_to(1, Parcel(RESPONSE, 0, 1, b"a", b"b"))
    mine.hand_to(1, Parcel(REQUEST, 0, 1, b"a", b"b"))
    mine.hand_to(2, Parcel(MOVED, 0, 0, b"", b"t"))
    mine.hand_to(2, Parcel(FAILED, 0, 1, b"icmp", b"INVITE"))
    assert {"request": 1, "response": 1, "icmp": 1} == mine.handed_over


def test_a_neighbour_that_does_not_read_loses_datagrams_and_nobody_waits(mailboxes):
    """As on the network. What is there when it reads again is the oldest, in order."""
    mine = neighbours(mailboxes, 0)
    sent = 0
    while not mine.dropped:
        mine.hand_to(1, Parcel(REQUEST, 0, 1, b"a", b"%d" % sent + bytes(1000)))
        sent += 1
        assert sent < 100_000
    kept = received(mailboxes, 1)
    assert 100 < len(kept) == mine.handed_over["request"]
    assert list(range(len(kept))) == [int(parcel.data.rstrip(b"\0")) for parcel in kept]


def test_what_came_before_it_lived_is_there(mailboxes):
    """A worker that is started again reads what its predecessor left."""
    neighbours(mailboxes, 0).hand_to(1, Parcel(REQUEST, 0, 1, b"a", b"b"))
    reactor, found = EPollReactor(), []
    inbox = Inbox(reactor, mailboxes[1][0], found.append)
    inbox.start()
    reactor.doIteration(1)
    assert [b"b"] == [parcel.data for parcel in found]
    inbox.stop()
    reactor.removeAll()
