"""Keeps the candidates of every configured server at hand: `Locator`.

`candidates` only reads; a call never waits for a lookup (P21: "the timeout mechanism can cause long delays ... before
the phone call proceeds"; D17). Behind it, questions are asked when the procedure wants them and again before they
expire, and `on_change` tells when a list has become another one. A list that was found once is not given up for an
empty one: DNS that fails, or forgets a name, takes no server away from a site.

It waits on a clock and asks through a function, so it knows neither Twisted nor a DNS library; see `resolver`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sbc.clock import Clock, Delayed
from sbc.events import DnsLookup, Report
from sbc.location.cache import DnsCache
from sbc.location.candidate import Candidate
from sbc.location.procedure import Located, SrvOrder, Target, descending, locate, weighted_share
from sbc.location.records import Failed, Found, Question, Result, from_text, question_from_text, to_text

Ask = Callable[[Question, Callable[[Question, Result], None]], None]
"""Ask a DNS server and call back later, on the thread of the clock, with the result."""

OnChange = Callable[[str, list[Candidate], float | None], None]
"""`on_change(key, candidates, ttl)`: the list of that server is another one now."""


class DnsMemory(Protocol):
    """Where the last good answers outlive the process. Texts are ours alone."""

    def load(self) -> dict[str, str]: ...

    def save(self, answers: Mapping[str, str]) -> None: ...


class NoMemory:
    """For tests, and where nothing may be written."""

    def load(self) -> dict[str, str]:
        return {}

    def save(self, answers: Mapping[str, str]) -> None:
        pass


@dataclass(slots=True)
class _Watched:
    """One configured server."""

    target: Target
    srv_order: SrvOrder
    on_change: OnChange
    located: Located
    candidates: tuple[Candidate, ...] = ()


class Locator:
    """Names to candidates, for as long as it is not stopped."""

    def __init__(
        self,
        clock: Clock,
        ask: Ask,
        report: Report,
        *,
        memory: DnsMemory | None = None,
        requery: float = 0.0,
        families: Sequence[str] = ("A", "AAAA"),
        salt: str = "",
    ) -> None:
        """`families`: A, AAAA, or both, as our sockets can reach. `salt`: spreads appliances over SRV weights."""
        self._clock = clock
        self._ask = ask
        self._report = report
        self._memory: DnsMemory = memory if memory is not None else NoMemory()
        self._families = families
        self._salt = salt
        self._cache = DnsCache(requery)
        self._watched: dict[str, _Watched] = {}
        self._asked: set[Question] = set()
        self._timer: Delayed | None = None
        self._stopped = False
        now = clock.seconds()
        for text, answer in self._memory.load().items():
            question = question_from_text(text)
            found = from_text(question, answer) if question else None
            if question and found:
                self._cache.remember(question, found, now)

    def watch(self, key: str, target: Target, on_change: OnChange, *, srv_weight: str = "rfc2782") -> None:
        """Find this server's candidates, now and ever after. `key` names it in `candidates` and `on_change`.

        What is known without a question (an IP address, answers kept from before) is told before this returns.
        """
        order = descending if srv_weight == "descending" else weighted_share(self._salt)
        self._watched[key] = _Watched(target, order, on_change, Located((), (), ()))
        self._evaluate(self._watched[key], key)
        self._ask_what_is_due()

    def forget(self, key: str) -> None:
        """The server is no longer configured."""
        self._watched.pop(key, None)
        needed = {question for watched in self._watched.values() for question in watched.located.used}
        self._cache.keep_only(needed.__contains__)

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
                text = ", ".join(map(str, records)) or "nothing"
                text += " (stale)" if self._cache.is_stale(question, now) else ""
            lines.append(f"{question}: {text}")
        lines.append("candidates: " + (", ".join(map(str, watched.candidates)) or "none"))
        return "\n".join(lines)

    def _evaluate(self, watched: _Watched, key: str) -> None:
        watched.located = locate(
            watched.target, self._cache.records, srv_order=watched.srv_order, families=self._families
        )
        found = watched.located.candidates
        if not found or (watched.located.wanted and watched.candidates):
            return  # nothing, or only a part of it: what was there stays
        if _same(found, watched.candidates):
            return
        watched.candidates = found
        ttl = self._cache.time_to_live(watched.located.used, self._clock.seconds())
        watched.on_change(key, list(found), ttl)

    def _ask_what_is_due(self) -> None:
        if self._stopped:
            return
        now = self._clock.seconds()
        later = []
        for question in {question for watched in self._watched.values() for question in watched.located.used}:
            at = self._cache.refresh_at(question)
            if question in self._asked:
                continue
            if at is None or at <= now:
                self._asked.add(question)
                self._ask(question, self._answered)
            else:
                later.append(at)
        self._arm(min(later, default=None), now)

    def _arm(self, at: float | None, now: float) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None if at is None else self._clock.callLater(max(0.0, at - now), self._ask_what_is_due)

    def _answered(self, question: Question, result: Result) -> None:
        self._asked.discard(question)
        if self._stopped:
            return
        now = self._clock.seconds()
        self._cache.put(question, result, now)
        self._report(DnsLookup(question.rrtype, self._result_word(question, result)))
        if isinstance(result, Found) and result.records:
            self._memory.save({str(question): to_text(result)})
        for key, watched in list(self._watched.items()):
            if question in watched.located.used:
                self._evaluate(watched, key)
        self._ask_what_is_due()

    def _result_word(self, question: Question, result: Result) -> str:
        if isinstance(result, Failed):
            return "stale" if self._cache.records(question) else result.result
        return "ok" if result.records else "negative"


def _same(one: Sequence[Candidate], other: Sequence[Candidate]) -> bool:
    """Equal also in what `Candidate` does not compare."""
    return [(c, c.priority, c.weight) for c in one] == [(c, c.priority, c.weight) for c in other]
