"""The last answer to each DNS question, how long it is good, and what remains of it after that (D17, RFC 8767).

Requests read from here and never wait. An answer is asked for again when 80 % of its TTL are over; when nobody answers
then, the old one stays, without limit, and the question is repeated. Negative answers are kept as well (S15), for a
shorter time. Pure: told `now`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sbc.location.records import Failed, Found, Question, Record, Result

REFRESH_AT = 0.8
"""Share of the TTL after which an answer is asked for again, in the background."""
POSITIVE_LIMITS = (5.0, 86400.0)
"""Seconds. The floor is for TTL 0, which would mean to ask without end; the ceiling for a mistake of years."""
NEGATIVE_LIMITS = (36.0, 300.0)
"""Seconds; 36 is what the 84-Series logs show (S15)."""
RETRY_AFTER_FAILURE = 10.0
"""Seconds until a question that nobody answered is asked again."""


@dataclass(slots=True)
class Entry:
    """What is known about one question."""

    records: tuple[Record, ...]
    refresh_at: float
    """When to ask again."""
    expires_at: float
    """After that it is stale, and still used."""


class DnsCache:
    """Answers by question."""

    def __init__(self, requery: float = 0.0) -> None:
        """`requery` > 0: ask again after so many seconds, whatever the TTL says (PIVOT: 7200, V28)."""
        self._requery = requery
        self._entries: dict[Question, Entry] = {}

    def records(self, question: Question) -> Sequence[Record] | None:
        """The records, fresh or stale, or none where nothing could be learnt; None when it was never asked."""
        entry = self._entries.get(question)
        return None if entry is None else entry.records

    def put(self, question: Question, result: Result, now: float) -> None:
        """Keep an answer, or note that there was none and keep what was there before."""
        if isinstance(result, Failed):
            entry = self._entries.setdefault(question, Entry((), now, now))
            entry.refresh_at = now + RETRY_AFTER_FAILURE
            return
        shortest, longest = POSITIVE_LIMITS if result.records else NEGATIVE_LIMITS
        ttl = min(max(result.ttl, shortest), longest)
        refresh_after = ttl * REFRESH_AT
        if result.records and self._requery > 0:
            ttl = refresh_after = self._requery
        self._entries[question] = Entry(result.records, now + refresh_after, now + ttl)

    def remember(self, question: Question, found: Found, now: float) -> None:
        """Take over an answer from before the restart: good enough to start with, and stale at once."""
        self._entries.setdefault(question, Entry(found.records, now, now))

    def is_stale(self, question: Question, now: float) -> bool:
        """True when the answer in use is older than its TTL."""
        entry = self._entries.get(question)
        return entry is not None and bool(entry.records) and now >= entry.expires_at

    def refresh_at(self, question: Question) -> float | None:
        """When to ask again; None when it was never asked."""
        entry = self._entries.get(question)
        return None if entry is None else entry.refresh_at

    def time_to_live(self, questions: Sequence[Question], now: float) -> float | None:
        """Seconds until the first of these answers with records expires; None without any."""
        entries = [self._entries[question] for question in questions if question in self._entries]
        return min((max(0.0, entry.expires_at - now) for entry in entries if entry.records), default=None)

    def keep_only(self, wanted: Callable[[Question], bool]) -> None:
        """Forget the questions that nobody needs any more."""
        self._entries = {question: entry for question, entry in self._entries.items() if wanted(question)}
