"""What is known of the servers, told by whoever found it out, in one order that all agree on.

A worker acts at once on what it sees and tells the supervisor; the supervisor keeps the newest word on each subject and
tells it to all, the sender included. So all hear the same words in the same order, and the last one stands everywhere. Only
a worker that has spoken itself, and has not heard its own word yet, does not listen: its word comes later in that order
than all it hears until then.

Subjects are the health of one candidate of a group, the working server of a group, how long a candidate that flaps must be
well before anything returns to it, whether a server that has come back knows all phones of one process again, and the network
around us.
"""

from __future__ import annotations

from typing import NamedTuple

Subject = tuple[str, str]
"""(group, candidate), (group, "") for the working server of the group, (group, "/KIND") for that of a kind of phones,
(group, "flap " + candidate), (group, "incomplete " + number of the process + " " + server), or `NETWORK`."""

FLAP = "flap "
INCOMPLETE = "incomplete "
NETWORK: Subject = ("", "network")


class Word(NamedTuple):
    """One verdict."""

    subject: Subject
    value: tuple
    """Of a candidate: the fields of a `HealthWord`. Of a group: the working candidate, and since when. Of a flap: what
    tells it from others, and the hold. Of an incomplete server: whether it is one. Of the network: its state, the reason, and the names of the groups that are frozen."""
    speaker: int
    serial: int
    """Counts what this speaker has said."""

    @property
    def gist(self) -> str:
        """What makes a difference to operators: the state, or the working candidate."""
        return self.value[0]


class Record:
    """The supervisor's: the newest word on each subject."""

    def __init__(self) -> None:
        self._words: dict[Subject, Word] = {}

    def take(self, word: Word) -> bool:
        """This is the newest now. True when it says something new: two workers may find out the same at once."""
        known = self._words.get(word.subject)
        self._words[word.subject] = word
        return known is None or known.gist != word.gist

    def all(self) -> list[Word]:
        """For a worker that begins."""
        return list(self._words.values())


class Hearing:
    """A worker's: which words to act on."""

    def __init__(self, worker: int) -> None:
        self._worker = worker
        self._serial = 0
        self._spoken: dict[Subject, int] = {}
        self._heard: dict[Subject, Word] = {}

    def speak(self, subject: Subject, value: tuple) -> Word:
        """The word to tell the supervisor."""
        self._serial += 1
        self._spoken[subject] = self._serial
        return Word(subject, value, self._worker, self._serial)

    def hear(self, word: Word) -> bool:
        """True when it is to be acted on here."""
        self._heard[word.subject] = word
        awaited = self._spoken.get(word.subject)
        if awaited is None:
            return True
        if word.speaker == self._worker and word.serial == awaited:
            del self._spoken[word.subject]
        return False

    def heard_of(self, group: str) -> list[Word]:
        """The last words about a group, for when its candidates become known later than the words."""
        return [word for word in self._heard.values() if word.subject[0] == group and word.subject not in self._spoken]
