"""One order of words, and everybody ends up with the last one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sbc.workers.verdicts import Hearing, Record, Word

P1 = ("office", "192.0.2.1:5060;udp")
WORKING = ("office", "")


def test_only_what_is_new_is_news():
    """Two workers may see the same server die in the same instant; it is one event."""
    record = Record()
    assert record.take(Word(P1, ("down", 1.0), 0, 1))
    assert not record.take(Word(P1, ("down", 1.1), 1, 1))
    assert record.take(Word(P1, ("up", 2.0), 1, 2))


def test_the_newest_word_is_what_a_new_worker_is_told():
    record = Record()
    record.take(Word(P1, ("down", 1.0), 0, 1))
    record.take(Word(WORKING, ("192.0.2.2:5060;udp", 1.0), 0, 2))
    record.take(Word(P1, ("up", 2.0), 1, 1))
    assert [("up", 2.0), ("192.0.2.2:5060;udp", 1.0)] == [word.value for word in record.all()]


def test_a_worker_hears_the_others():
    hearing = Hearing(0)
    assert hearing.hear(Word(P1, ("down", 1.0), 1, 1))
    assert ["down"] == [word.gist for word in hearing.heard_of("office")]
    assert [] == hearing.heard_of("elsewhere")


def test_who_has_spoken_is_deaf_until_the_own_word_comes_round():
    """What it hears until then was said before its own, which will stand."""
    hearing = Hearing(0)
    own = hearing.speak(P1, ("up", 2.0))
    assert not hearing.hear(Word(P1, ("down", 1.0), 1, 1))
    assert [] == hearing.heard_of("office")
    assert not hearing.hear(own)
    assert hearing.hear(Word(P1, ("down", 3.0), 1, 2))


def test_about_other_things_it_listens():
    hearing = Hearing(0)
    hearing.speak(P1, ("up", 2.0))
    assert hearing.hear(Word(WORKING, ("192.0.2.2:5060;udp", 1.0), 1, 1))


@given(st.lists(st.tuples(st.sampled_from(["speak", "post", "relay"]), st.integers(0, 2)), max_size=60))
def test_all_end_up_with_the_same(steps):
    """Whatever is said, and however long it is on its way: when all has arrived, everybody believes the last word."""
    record, hearings = Record(), [Hearing(worker) for worker in range(3)]
    believes: list[object] = [None] * 3
    to_record: list[list[Word]] = [[] for _ in hearings]
    to_worker: list[list[Word]] = [[] for _ in hearings]
    said = 0

    def post(worker: int) -> None:
        if to_record[worker]:
            word = to_record[worker].pop(0)
            record.take(word)
            for queue in to_worker:
                queue.append(word)

    def relay(worker: int) -> None:
        if to_worker[worker]:
            word = to_worker[worker].pop(0)
            if hearings[worker].hear(word):
                believes[worker] = word.value

    for step, worker in steps:
        if step == "speak":
            said += 1
            believes[worker] = (f"state {said}", float(said))
            to_record[worker].append(hearings[worker].speak(P1, believes[worker]))
        elif step == "post":
            post(worker)
        else:
            relay(worker)
    for worker in range(3):
        while to_record[worker]:
            post(worker)
    for worker in range(3):
        while to_worker[worker]:
            relay(worker)
    last = [word.value for word in record.all()] or [None]
    assert last * 3 == believes
