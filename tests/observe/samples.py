"""A status.json as the running appliance gives it, in the states that an administrator meets."""

from __future__ import annotations

from typing import Any

WALL_NOW = 1_790_000_000.0


def candidate(
    address: str, state: str = "up", *, rank: int = 1, priority: int = 1, port: int = 5060, transport: str = "udp",
    working: bool = False, reason: str = "answered OPTIONS with 200", age: float = 7500.0,
) -> dict[str, Any]:
    shown = f"[{address}]" if ":" in address else address
    return {
        "candidate": f"{shown}:{port};{transport}",
        "address": address,
        "port": port,
        "transport": transport,
        "rank": rank,
        "priority": priority,
        "state": state,
        "since": WALL_NOW - age,
        "reason": reason,
        "working": working,
    }


def group(name: str, *servers: tuple[str, list[dict[str, Any]]], **changes: Any) -> dict[str, Any]:
    """A group of named servers, ranked as they are given."""
    rows = [row for _, candidates in servers for row in candidates]
    in_use = [row["candidate"] for row in rows if row["working"]]
    return {
        "name": name,
        "profile": "recommended",
        "domains": ["testdomain.local"],
        "working": in_use[0] if in_use else None,
        "redundancy_ready": sum(row["state"] == "up" for row in rows) >= 2,
        "survival": False,
        "servers": [
            {"name": server, "rank": rank, "register": True, "candidates": candidates}
            for rank, (server, candidates) in enumerate(servers, start=1)
        ],
    } | changes


def status(*groups: dict[str, Any], phones: list[dict[str, Any]] | None = None, **changes: Any) -> dict[str, Any]:
    phones = phones or []
    return {
        "appliance": {
            "name": "branch-42",
            "version": "0.1.0",
            "started": WALL_NOW - 273_000,
            "uptime_seconds": 273_000.0,
            "ready": True,
        },
        "groups": list(groups),
        "registrations": {"bindings": len(phones), "servers": {}, "phones": phones},
        "survival": {"active": False},
        "transactions": {},
    } | changes


def phone(number: int, **state_of: str) -> dict[str, Any]:
    """A phone with its registration state at each server."""
    return {
        "aor": f"sip:{number}@testdomain.local",
        "contact": f"sip:{number}@192.168.1.{number % 250}:5060",
        "source": f"192.168.1.{number % 250}:5060",
        "expires_in": 1800 + number % 60,
        "servers": [
            {
                "server": server,
                "state": state,
                "expires_in": 3000,
                "reason": "403 Forbidden" if state == "failed" else "",
            }
            for server, state in state_of.items()
        ],
    }


def resync(server: str, **changes: Any) -> dict[str, Any]:
    """A server that gets its phones again."""
    return {
        "group": "office", "server": server, "phase": "paced", "returned": True, "commanded": False, "starts_in": 0,
        "seconds": 31.0, "seconds_left": 30, "done": 120, "left": 380, "left_to_phones": 0, "removals": 0, "rate": 12.5,
    } | changes


ALL_WELL = status(
    group(
        "office",
        ("primary", [candidate("172.29.102.138", working=True)]),
        ("fallback", [candidate("172.29.102.139", rank=2)]),
    ),
    phones=[phone(2001, primary="registered", fallback="registered")],
)

ON_THE_FALLBACK = status(
    group(
        "office",
        ("primary", [candidate("172.29.102.138", "down", reason="no answer to 4 sends of INVITE", age=312)]),
        ("fallback", [candidate("172.29.102.139", rank=2, working=True)]),
        working_since=WALL_NOW - 312,
        working_because="172.29.102.138:5060;udp failed: no answer came in time",
    ),
    phones=[
        phone(2001, primary="registered", fallback="registered"),
        phone(2002, primary="failed", fallback="registered"),
        phone(2003, primary="unregistered", fallback="unregistered"),
    ],
)

NOTHING_ANSWERS = status(
    group(
        "office",
        ("primary", [candidate("172.29.102.138", "down", reason="no answer to 4 sends of INVITE", age=900)]),
        ("fallback", [candidate("172.29.102.139", "down", rank=2, reason="port unreachable (ICMP)", age=80)]),
    )
)
