"""Which phones, by which method, and what it costs: `python -m tests.e2e.phones_table` measures all of it in two minutes.

Every kind of phone that this machine has, with a line for each method, at two Kamailio registrars that grant 16 s, behind
one `sbc run`. The messages are counted on the wire.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.peers import Peers
from tests.e2e.peers.capture import Capture
from tests.e2e.peers.site import Case, PhoneSite, kinds

METHODS = ("alternating", "serial", "aggregate", "first-only", "own")
CASES = [*(Case(realms, method) for realms in ("same", "different") for method in METHODS), Case("trusted", "trusted")]
SECONDS = 80
"""How long messages are counted, once phones have had the time to register."""

SETTLE = 30
"""Seconds in which they must have done so."""


@dataclass(frozen=True)
class Cost:
    """What an account's registrations took in the time of the capture."""

    account: str
    case: Case
    at: tuple[str, ...]
    """The servers that have it."""

    refusals: int
    """Registrations that failed, as the phone itself shows."""

    refreshes: int
    """Registrations that the phone saw accepted."""

    messages: dict[str, int]
    """REGISTERs and answers, with the phone and each server."""

    @property
    def phone(self) -> str:
        return self.account.split("-", 1)[0]

    def each(self, peer: str) -> str:
        """Messages a refresh."""
        return f"{self.messages[peer] / self.refreshes:.1f}" if self.refreshes else "-"


def costs(site: PhoneSite, capture: Capture) -> list[Cost]:
    """For every account, since the capture's `begin`."""
    registered = {server.name: server.all_contacts() for server in site.servers}
    seen = capture.seen_by_account("REGISTER")
    found = []
    for account, case in site.case_of.items():
        told = [message for _, message in seen.get(account, [])]
        found.append(Cost(
            account, case,
            at=tuple(name for name, contacts in registered.items() if contacts.get(account)),
            refusals=len(site.phones[account].refusals(site.lines[account])),
            refreshes=told.count("200 REGISTER > phone"),
            messages={peer: sum(message.endswith(f" {peer}") for message in told) for peer in ("phone", *registered)},
        ))  # fmt: skip
    return found


def lines(table: list[Cost]) -> Iterator[str]:
    """As Markdown. Messages are those of one refresh, on average."""
    yield "| method | realms | phone | registered at | failures shown | messages: phone | primary | fallback |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for cost in table:
        servers = " and ".join(cost.at) or "none"
        counts = " | ".join(cost.each(peer) for peer in cost.messages)
        yield f"| {cost.case.method} | {cost.case.realms} | {cost.phone} | {servers} | {cost.refusals} | {counts} |"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        peers = Peers(Path(folder))
        try:
            site = PhoneSite(peers, {kind: CASES for kind in kinds()})
            capture = site.capture()
            site.switch_on()
            time.sleep(SETTLE)
            capture.begin()
            time.sleep(SECONDS)
            table = sorted(costs(site, capture), key=lambda cost: (CASES.index(cost.case), cost.phone))
        finally:
            peers.close()
    print("\n".join(lines(table)))


if __name__ == "__main__":
    main()
