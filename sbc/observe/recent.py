"""The last facts worth telling, for the status page: a ring that a flood of phones cannot wash out.

After a power cut a thousand phones register within a minute. The failover just before them is what the administrator
looks for, so facts that say the same of different phones become one entry with a number.

Compiled when installed (Cython's pure Python mode), because every new registration comes by here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cython

from sbc import events
from sbc.observe.story import ALL_METHODS, NEVER_NOTABLE, NO_NAMES, ServerNames, Story, in_words, tell

if cython.compiled:
    from cython.cimports.sbc.events import Listener, RegistrationChanged
    from cython.cimports.sbc.observe.story import became
else:
    from sbc.events import Listener, RegistrationChanged
    from sbc.observe.story import became

KEPT = 50
MERGE_WITHIN = 300.0  # seconds after its first fact that an entry still takes in others of its kind
MOST_TOLD_APART = 10_000
"""Phones of one entry: anybody can make up names, and is not to take memory without end."""


@cython.cclass
class Entry:
    """One line of the list: `count` facts, between `first_at` and `last_at` by the wall clock; where they are about phones, so many
    phones.

    `last` is the last fact, while nobody has asked for its story: in a flood of phones only that of the last one is told.
    `group`, `server` and `new` are those of the RegistrationChanged that an entry counts, "" of others. `phones` has the hashes of
    their names, as long as others may come; None where facts are counted.
    """

    first_at: cython.double
    last_at: cython.double
    story: object
    count: cython.longlong
    last: object
    group: str
    server: str
    new: str
    phones: set

    def __init__(self, at: float, story: Story, fact: object) -> None:
        self.first_at = self.last_at = at
        self.story = story
        self.count = 1
        self.last = None
        self.group = self.server = self.new = ""
        self.phones = {hash(story.phone)} if story.phone else None
        if isinstance(fact, RegistrationChanged):
            self.group, self.server, self.new = fact.group, fact.server, became(fact)

    @cython.cfunc
    def note(self, phone: str):
        """One more fact, of that phone."""
        if self.phones is None:
            self.count += 1
        elif len(self.phones) < MOST_TOLD_APART:
            self.phones.add(hash(phone))
            self.count = len(self.phones)

    def text(self) -> str:
        if self.count == 1:
            return self.story.text
        are_more = self.story.phone and self.count >= MOST_TOLD_APART
        return self.story.several.replace("{count}", f"{self.count} or more" if are_more else str(self.count))


@dataclass(frozen=True, slots=True)
class Switch:
    """The last time that a group's new requests moved to another candidate."""

    at: float
    to_candidate: str
    because: str


@cython.cclass
class RecentEvents(Listener):
    """A `Report` that remembers the last 50 notable facts and, for each group, its last failover or failback."""

    _names: object
    _wall_clock: object
    _entries: object
    _floods: list
    _switches: dict

    def __init__(
        self, wall_clock: Callable[[], float], names: ServerNames = NO_NAMES, *, kept: int = KEPT
    ) -> None:
        self._names = names
        self._wall_clock = wall_clock
        self._entries: deque[Entry] = deque(maxlen=kept)
        self._floods: list[Entry] = []
        """Of the entries those that count phones, the newest first."""
        self._switches: dict[str, Switch] = {}

    @cython.ccall
    def hear(self, event: object):
        if not isinstance(event, RegistrationChanged) or not self._is_one_more(event):
            self._hear_another(event)

    @cython.cfunc
    def _is_one_more(self, event: RegistrationChanged) -> cython.bint:
        """Whether there is an entry already, which then counts it."""
        entry: Entry
        now: cython.double = self._wall_clock()
        new: str = became(event)
        for entry in self._floods:
            if (
                entry.new == new
                and entry.server == event.server
                and entry.group == event.group
                and now - entry.first_at < MERGE_WITHIN
            ):
                entry.note(event.aor)
                entry.last_at = now
                entry.last = event
                return True
        return False

    def _hear_another(self, event: object) -> None:
        if type(event) in NEVER_NOTABLE:
            return
        now = self._wall_clock()
        if isinstance(event, events.FailedOver | events.FailedBack) and event.phones:
            pass  # the group's own phones go on as they did
        elif isinstance(event, events.FailedOver) and event.method == ALL_METHODS:
            because = f"{self._names.named(event.group, event.from_candidate)} failed: {in_words(event.cause)}"
            self._switches[event.group] = Switch(now, event.to_candidate, because)
        elif isinstance(event, events.FailedBack):
            self._switches[event.group] = Switch(now, event.to_candidate, in_words(event.cause))
        story = tell(event, self._names)
        if story is not None and story.notable:
            self._remember(story, now, event)

    def _remember(self, story: Story, now: float, event: object) -> None:
        entry: Entry
        if story.several:
            for entry in self._entries:
                if now - entry.first_at >= MERGE_WITHIN:
                    entry.phones = None
                elif entry.story.key == story.key:
                    entry.note(story.phone)
                    entry.last_at = now
                    entry.story = story
                    return
        self._entries.append(Entry(now, story, event))
        self._floods = [each for each in self._entries if each.new]
        self._floods.reverse()

    def switch(self, group: str) -> Switch | None:
        """The last failover or failback of this group; None since the start."""
        return self._switches.get(group)

    def describe(self) -> list[dict[str, Any]]:
        """The newest first; `at` in seconds since 1970."""
        for entry in self._entries:
            if entry.last is not None:
                entry.story = tell(entry.last, self._names) or entry.story
                entry.last = None
        newest_first = sorted(self._entries, key=lambda entry: entry.last_at)[::-1]
        return [
            {
                "at": entry.last_at,
                "first_at": entry.first_at,
                "count": entry.count,
                "level": entry.story.level,
                "group": entry.story.group,
                "text": entry.text(),
            }
            for entry in newest_first
        ]
