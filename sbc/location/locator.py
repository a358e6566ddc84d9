"""Keeps the candidates of every configured server at hand: `Locator`.

`candidates` only reads; a call never waits for a lookup (P21: "the timeout mechanism can cause long delays ... before
the phone call proceeds"; D17). Behind it, questions are asked when the procedure wants them and again before they
expire, and `on_change` tells when a list has become another one. A list that was found once is not given up for an
empty one: DNS that fails, or forgets a name, takes no server away from a site.

Whenever the answers lead to candidates, those that were used, the negative ones too, are kept for the next start: they
lead there again, in the same way and without a question that must be waited for. What leads nowhere any more is forgotten,
here and there: the names behind an SRV record may change every minute.

It waits on a clock and asks through a function, so it knows neither Twisted nor a DNS library; see `resolver`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from sbc.clock import Clock, Delayed
from sbc.events import Alarm, DnsLookup, Report
from sbc.location.cache import DnsCache, Freshness
from sbc.location.candidate import Candidate
from sbc.location.procedure import TRANSPORTS, Located, SrvOrder, Target, locate, srv_order
from sbc.location.records import Failed, Found, Question, Result, from_text, question_from_text, to_text

Ask = Callable[[Question, Callable[[Question, Result], None]], None]
"""Ask a DNS server and call back later, on the thread of the clock, with the result."""

OnChange = Callable[[str, list[Candidate], float | None], None]
"""`on_change(key, candidates, ttl)`: the list of that server is another one now, or good for another time. `ttl`: the
shortest time to live of the answers behind it, in seconds (Y26); None where nothing was asked."""


class DnsMemory(Protocol):
    """Where the last good answers outlive the process. Texts are ours alone."""

    def load(self) -> dict[str, str]: ...

    def save(self, answers: Mapping[str, str]) -> None: ...

    def forget(self, questions: Collection[str]) -> None: ...


class NoMemory:
    """For tests, and where nothing may be written."""

    def load(self) -> dict[str, str]:
        return {}

    def save(self, answers: Mapping[str, str]) -> None:
        pass

    def forget(self, questions: Collection[str]) -> None:
        pass


@dataclass(slots=True)
class _Watched:
    """One configured server."""

    target: Target
    srv_order: SrvOrder
    freshness: Freshness
    on_change: OnChange
    located: Located = Located((), (), ())
    candidates: tuple[Candidate, ...] = ()
    ttl: float | None = None
    led_here: tuple[Question, ...] = ()
    """The questions whose answers last led to a complete list: they would again, after a restart, while others fail."""

    def freshness_now(self) -> Freshness:
        """While nothing is found there is no list that a `requery` could leave in peace."""
        return self.freshness if self.candidates else replace(self.freshness, requery=0.0)


class Locator:
    """Names to candidates, for as long as it is not stopped."""

    def __init__(
        self,
        clock: Clock,
        ask: Ask,
        report: Report,
        *,
        memory: DnsMemory | None = None,
        families: Sequence[str] = ("A", "AAAA"),
        transports: Collection[str] = TRANSPORTS,
        salt: str = "",
    ) -> None:
        """`families`: A, AAAA, or both, as our sockets can reach, and `transports` what they speak. `salt`: spreads
        appliances over SRV weights."""
        self._clock = clock
        self._ask = ask
        self._report = report
        self._memory: DnsMemory = memory if memory is not None else NoMemory()
        self._families = families
        self._transports = transports
        self._salt = salt
        self._cache = DnsCache()
        self._watched: dict[str, _Watched] = {}
        self._asked: set[Question] = set()
        self._unanswered: set[Question] = set()
        """What nobody answers, and whose last answers are in use."""
        self._saved: dict[Question, Found] = {}
        self._timer: Delayed | None = None
        self._stopped = False
        now = clock.seconds()
        for text, answer in self._memory.load().items():
            question = question_from_text(text)
            found = from_text(question, answer) if question else None
            if question and found:
                self._cache.remember(question, found, now)
                self._saved[question] = found

    def watch(
        self,
        key: str,
        target: Target,
        on_change: OnChange,
        *,
        srv_weight: str = "rfc2782",
        freshness: Freshness = Freshness(),  # noqa: B008 (it cannot be changed)
    ) -> None:
        """Find this server's candidates, now and ever after. `key` names it in `candidates` and `on_change`.

        What is known without a question (an IP address, answers kept from before) is told before this returns.
        """
        before = self._watched.get(key)
        watched = _Watched(target, srv_order(srv_weight, self._salt), freshness, on_change)
        self._watched[key] = watched
        self._evaluate(watched, key)
        if before is not None and not watched.candidates and _same_place(before.target, target):
            watched.candidates, watched.ttl, watched.led_here = before.candidates, before.ttl, before.led_here
            if watched.candidates:
                on_change(key, list(watched.candidates), watched.ttl)
        self._ask_what_is_due()

    def forget(self, key: str) -> None:
        """The server is no longer configured."""
        self._watched.pop(key, None)
        self._forget_what_is_not_needed()

    def candidates(self, key: str) -> list[Candidate]:
        """What is known now; empty until the first answer. Never waits."""
        watched = self._watched.get(key)
        return list(watched.candidates) if watched else []

    def stop(self) -> None:
        """Ask no more. Answers still under way are dropped."""
        self._stopped = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def explain(self, key: str) -> str:
        """Which answers lead to this server's candidates, one line each (S21)."""
        watched = self._watched.get(key)
        if watched is None:
            return f"{key}: not watched"
        now = self._clock.seconds()
        lines = []
        for question in watched.located.used:
            records = self._cache.records(question)
            if records is None:
                text = "not answered yet"
            else:
                text = "; ".join(map(str, records)) or "nothing"
                text += " (stale)" if self._cache.is_stale(question, now, watched.freshness) else ""
            lines.append(f"{question}: {text}")
        lines.append("candidates: " + (", ".join(map(str, watched.candidates)) or "none"))
        return "\n".join(lines)

    def _evaluate(self, watched: _Watched, key: str) -> None:
        located = watched.located = locate(
            watched.target,
            self._cache.records,
            srv_order=watched.srv_order,
            families=self._families,
            transports=self._transports,
        )
        found = located.candidates
        if not found or not located.settled or (located.wanted and watched.candidates):
            return  # nothing, or only a part of it: what was there stays
        if not located.wanted:
            watched.led_here = located.used
            self._save(located.used)
        ttl = self._cache.shortest_ttl(located.used, watched.freshness)
        if _same(found, watched.candidates) and ttl == watched.ttl:
            return
        watched.candidates, watched.ttl = found, ttl
        watched.on_change(key, list(found), ttl)

    def _save(self, questions: Sequence[Question]) -> None:
        """Keep these answers for the next start. A TTL alone is no news: the disk would be written all the time."""
        news = {}
        for question in questions:
            entry = self._cache.entry(question)
            before = self._saved.get(question)
            if entry is not None and (before is None or before.records != entry.records):
                news[question] = Found(entry.records, entry.ttl)
        if news:
            self._saved.update(news)
            self._memory.save({str(question): to_text(found) for question, found in news.items()})

    def _forget_what_is_not_needed(self) -> None:
        """Not from within `watch`: at the start the servers are watched one by one, and all of them may be remembered."""
        used = {question for watched in self._watched.values() for question in watched.located.used}
        needed = used.union(*(watched.led_here for watched in self._watched.values()))
        self._cache.keep_only(needed.__contains__)
        gone = [question for question in self._saved if question not in needed]
        if gone:
            for question in gone:
                del self._saved[question]
            self._memory.forget([str(question) for question in gone])
        self._unanswered &= used  # nothing else is asked again

    def _ask_what_is_due(self) -> None:
        if self._stopped:
            return
        now = self._clock.seconds()
        later = []
        for question, at in self._due_times().items():
            if question in self._asked:
                continue
            if at is None or at <= now:
                self._asked.add(question)
                self._ask(question, self._answered)
            else:
                later.append(at)
        self._arm(min(later, default=None), now)

    def _due_times(self) -> dict[Question, float | None]:
        """When to ask each question that somebody needs; None: it never was."""
        times: dict[Question, float | None] = {}
        for watched in self._watched.values():
            freshness = watched.freshness_now()
            for question in watched.located.used:
                at = self._cache.refresh_at(question, freshness)
                known = times.get(question, at)
                times[question] = at if at is None or known is None else min(at, known)
        return times

    def _arm(self, at: float | None, now: float) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None if at is None else self._clock.callLater(max(0.0, at - now), self._ask_what_is_due)

    def _answered(self, question: Question, result: Result) -> None:
        self._asked.discard(question)
        if self._stopped:
            return
        self._cache.put(question, result, self._clock.seconds())
        word = self._result_word(question, result)
        self._report(DnsLookup(question.rrtype, word))
        was_out = bool(self._unanswered)
        self._note_outage(question, result, word == "stale")
        for key, watched in list(self._watched.items()):
            if question in watched.located.used:
                self._evaluate(watched, key)
        self._forget_what_is_not_needed()
        if was_out and not self._unanswered:
            self._report(Alarm("dns", "DNS answers again"))
        self._ask_what_is_due()

    def _result_word(self, question: Question, result: Result) -> str:
        if isinstance(result, Failed):
            return "stale" if self._cache.records(question) else result.result
        return "ok" if result.records else "negative"

    def _note_outage(self, question: Question, result: Result, stale: bool) -> None:
        """Told once when it begins, and once when it is over. A DNS server that cannot serve NAPTR at all is none (S22)."""
        if stale and isinstance(result, Failed):
            if not self._unanswered:
                what = "no DNS server answers" if result.result == "timeout" else "DNS servers refuse to answer"
                self._report(Alarm("dns", f"{what} ({question}); what was last known stays in use"))
            self._unanswered.add(question)
        else:
            self._unanswered.discard(question)


def _same(one: Sequence[Candidate], other: Sequence[Candidate]) -> bool:
    """Equal also in what `Candidate` does not compare."""
    return [(c, c.priority, c.weight, c.place) for c in one] == [(c, c.priority, c.weight, c.place) for c in other]


def _same_place(one: Target, other: Target) -> bool:
    return (one.address, one.port, one.transport) == (other.address, other.port, other.transport)
