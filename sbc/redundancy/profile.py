"""Vendor profiles: files of conf/profiles/ that say how a group behaves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Profile:
    name: str
    path: Path
    group: dict[str, object]
    """GroupSettings fields that it sets (status_failover already merged over ours)."""
    server: dict[str, object]
    """ServerSettings fields that it sets for every server of the group."""
    provenance: dict[str, str]
    """key ("rise", "server.retry_counts") -> the comment behind the value: bulletin section and rule, or "ours: ..."."""


class ProfileError(Exception):
    """A profile cannot be used. `str` names file, line, key, what was found and what was expected."""


def profile_names() -> list[str]: ...


def load_profile(name: str) -> Profile: ...
