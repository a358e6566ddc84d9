"""DNS questions and what their answers say, in our own words: nothing here knows a DNS library."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields


@dataclass(frozen=True, slots=True)
class Question:
    """What to ask a DNS server."""

    name: str
    """Lower case, without the dot at the end."""
    rrtype: str
    """NAPTR | SRV | A | AAAA"""

    def __str__(self) -> str:
        return f"{self.rrtype} {self.name}"

    @staticmethod
    def of(name: str, rrtype: str) -> Question:
        """A question in canonical spelling: names are equal whatever their case (RFC 4343), and S20: a dot at the end
        of a target is legal."""
        return Question(name.lower().rstrip("."), rrtype)


@dataclass(frozen=True, slots=True)
class Naptr:
    """RFC 3403, as far as RFC 3263 uses it."""

    order: int
    preference: int
    flags: str
    service: str
    replacement: str
    regexp: str = ""
    """Y40: "always empty". Kept so that one can be told that it is ignored."""

    def __str__(self) -> str:
        regexp = f', regexp "{self.regexp}"' if self.regexp else ""
        return (
            f'order {self.order}, preference {self.preference}, flag "{self.flags}", service "{self.service}"{regexp},'
            f" replacement {self.replacement or '.'}"
        )


@dataclass(frozen=True, slots=True)
class Srv:
    """RFC 2782."""

    priority: int
    weight: int
    port: int
    target: str

    def __str__(self) -> str:
        return f"priority {self.priority}, weight {self.weight}, port {self.port}, target {self.target or '.'}"


@dataclass(frozen=True, slots=True)
class Address:
    """The one field of A and AAAA."""

    address: str

    def __str__(self) -> str:
        return self.address


Record = Naptr | Srv | Address
_KINDS: dict[str, type] = {"NAPTR": Naptr, "SRV": Srv, "A": Address, "AAAA": Address}


@dataclass(frozen=True, slots=True)
class Found:
    """A DNS server answered: these records, or none of that type (name unknown, or no data)."""

    records: tuple[Record, ...]
    ttl: float
    """Seconds it is good for; of a negative answer the one that its SOA gives."""


@dataclass(frozen=True, slots=True)
class Failed:
    """Nobody answered, or said SERVFAIL, REFUSED or NOTIMP: nothing was learnt (S22)."""

    result: str
    """timeout | servfail"""


Result = Found | Failed


def to_text(found: Found) -> str:
    """For the store."""
    return json.dumps({"ttl": found.ttl, "records": [asdict(record) for record in found.records]})


def from_text(question: Question, text: str) -> Found | None:
    """The inverse of `to_text`; None for what cannot be read, which is then simply asked for again."""
    try:
        table = json.loads(text)
        kind = _KINDS[question.rrtype]
        records = tuple(kind(**values) for values in table["records"])
        return Found(records, float(table["ttl"])) if all(map(_is_sound, records)) else None
    except (ValueError, TypeError, KeyError):
        return None


def _is_sound(record: Record) -> bool:
    return all(type(getattr(record, entry.name)).__name__ == entry.type for entry in fields(record))


def question_from_text(text: str) -> Question | None:
    """The inverse of `str(question)`."""
    rrtype, _, name = text.partition(" ")
    return Question(name, rrtype) if rrtype in _KINDS and name else None
