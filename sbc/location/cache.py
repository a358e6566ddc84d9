"""The last answer to each DNS question, how long it is good, and what remains of it after that (D17, RFC 8767).

Requests read from here and never wait. An answer is asked for again when 80 % of its TTL are over; when nobody answers
then, the old one stays, without limit, and the question is repeated. Negative answers are kept as well (S15), for a
shorter time. Pure: told `now`.

One answer serves all who need it. How long it is good is for each of them to say (`Freshness`): groups may differ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

from sbc.location.records import Failed, Found, Question, Record, Result

REFRESH_AT = 0.8
"""Share of the TTL after which an answer is asked for again, in the background."""
SHORTEST_TTL = 5.0
"""Seconds: the floor for TTL 0, which would mean to ask without end."""
LONGEST_TTL = 86400.0
"""Seconds: the ceiling for a mistake of years."""
NEGATIVE_LIMITS = (36.0, 300.0)
"""Seconds; 36 is what the 84-Series logs show (S15)."""
RETRY_AFTER_FAILURE = 10.0
"""Seconds until a question that nobody answered is asked again."""


@dataclass(frozen=True, slots=True)
class Freshness:
    """How long answers are good for one who needs them, in seconds."""

    floor: float = SHORTEST_TTL
    ceiling: float = LONGEST_TTL
    requery: float = 0.0
    """> 0: ask again after so long, whatever the TTL says (PIVOT: 7200, V28)."""

    def ttl(self, entry: Entry) -> float:
        """How long the answer is good; what DNS says, within the limits."""
        shortest, longest = (self.floor, self.ceiling) if entry.records else NEGATIVE_LIMITS
        return min(max(entry.ttl, shortest), longest)

    def refresh_at(self, entry: Entry) -> float:
        """When to ask again."""
        if entry.retry_at is not None:
            return entry.retry_at
        return entry.answered_at + (self.requery if self.requery > 0 else REFRESH_AT * self.ttl(entry))

    def expires_at(self, entry: Entry) -> float:
        """After that the answer is stale, and still used."""
        return entry.answered_at + max(self.ttl(entry), self.requery)


@dataclass(slots=True)
class Entry:
    """What is known about one question."""

    records: tuple[Record, ...]
    ttl: float
    """As DNS gave it; of a negative answer that of its SOA."""
    answered_at: float
    retry_at: float | None = None
    """Set when the last attempt learnt nothing, and for what was remembered."""


class DnsCache:
    """Answers by question."""

    def __init__(self) -> None:
        self._entries: dict[Question, Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def entry(self, question: Question) -> Entry | None:
        """None when it was never asked."""
        return self._entries.get(question)

    def records(self, question: Question) -> Sequence[Record] | None:
        """The records, fresh or stale, or none where nothing could be learnt; None when it was never asked."""
        entry = self._entries.get(question)
        return None if entry is None else entry.records

    def put(self, question: Question, result: Result, now: float) -> None:
        """Keep an answer, or note that there was none and keep what was there before."""
        if isinstance(result, Failed):
            entry = self._entries.setdefault(question, Entry((), 0.0, now))
            entry.retry_at = now + RETRY_AFTER_FAILURE
        else:
            self._entries[question] = Entry(result.records, result.ttl, now)

    def remember(self, question: Question, found: Found, now: float) -> None:
        """Take over an answer from before the restart: good enough to start with, and to be asked again at once."""
        self._entries.setdefault(question, Entry(found.records, found.ttl, -inf, retry_at=now))

    def is_stale(self, question: Question, now: float, freshness: Freshness) -> bool:
        """True when the answer in use is older than its TTL."""
        entry = self._entries.get(question)
        return entry is not None and bool(entry.records) and now >= freshness.expires_at(entry)

    def refresh_at(self, question: Question, freshness: Freshness) -> float | None:
        """When to ask again; None when it was never asked."""
        entry = self._entries.get(question)
        return None if entry is None else freshness.refresh_at(entry)

    def shortest_ttl(self, questions: Sequence[Question], freshness: Freshness) -> float | None:
        """That of the answers with records, in seconds; None without any."""
        entries = [self._entries[question] for question in questions if question in self._entries]
        return min((freshness.ttl(entry) for entry in entries if entry.records), default=None)

    def keep_only(self, wanted: Callable[[Question], bool]) -> None:
        """Forget the questions that nobody needs any more."""
        for question in [question for question in self._entries if not wanted(question)]:
            del self._entries[question]
