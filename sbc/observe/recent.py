"""The last facts worth telling, for the status page: a ring that a flood of phones cannot wash out.

After a power cut a thousand phones register within a minute. The failover just before them is what the administrator
looks for, so facts that say the same of different phones become one entry with a number.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sbc import events
from sbc.observe.story import ALL_METHODS, NEVER_NOTABLE, NO_NAMES, ServerNames, Story, flood_key, in_words, tell

KEPT = 50
MERGE_WITHIN = 300.0  # seconds after its first fact that an entry still takes in others of its kind


@dataclass(slots=True)
class Entry:
    """One line of the list."""

    first_at: float
    """Wall clock."""
    last_at: float
    story: Story
    count: int = 1
    last: object = None
    """The last fact, while nobody has asked for its story: in a flood of phones only that of the last one is told."""

    def text(self) -> str:
        if self.count == 1:
            return self.story.text
        return self.story.several.replace("{count}", str(self.count))


@dataclass(frozen=True, slots=True)
class Switch:
    """The last time that a group's new requests moved to another candidate."""

    at: float
    to_candidate: str
    because: str


class RecentEvents:
    """A `Report` that remembers the last 50 notable facts and, for each group, its last failover or failback."""

    def __init__(
        self, wall_clock: Callable[[], float], names: ServerNames = NO_NAMES, *, kept: int = KEPT
    ) -> None:
        self._names = names
        self._wall_clock = wall_clock
        self._entries: deque[Entry] = deque(maxlen=kept)
        self._switches: dict[str, Switch] = {}

    def __call__(self, event: object) -> None:
        if type(event) in NEVER_NOTABLE:
            return
        now = self._wall_clock()
        if self._is_one_more(event, now):
            return
        if isinstance(event, events.FailedOver) and event.method == ALL_METHODS:
            because = f"{self._names.named(event.group, event.from_candidate)} failed: {in_words(event.cause)}"
            self._switches[event.group] = Switch(now, event.to_candidate, because)
        elif isinstance(event, events.FailedBack):
            self._switches[event.group] = Switch(now, event.to_candidate, in_words(event.cause))
        story = tell(event, self._names)
        if story is not None and story.notable:
            self._remember(story, now)

    def _is_one_more(self, event: object, now: float) -> bool:
        """Whether its kind comes in floods and has an entry already, which then counts it."""
        key = flood_key(event)
        if key is not None:
            for entry in self._entries:
                if entry.story.key == key and now - entry.first_at < MERGE_WITHIN:
                    entry.count += 1
                    entry.last_at = now
                    entry.last = event
                    return True
        return False

    def _remember(self, story: Story, now: float) -> None:
        if story.several:
            for entry in self._entries:
                if entry.story.key == story.key and now - entry.first_at < MERGE_WITHIN:
                    entry.count += 1
                    entry.last_at = now
                    entry.story = story
                    return
        self._entries.append(Entry(now, now, story))

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
