"""D18 at real registrars: one that has lost its registrations without having been seen dead, `sbc resync`, and calls meanwhile."""

from __future__ import annotations

import subprocess
import sys
import time

from tests.e2e.peers import Peers
from tests.e2e.peers.appliance import RARE_PROBES
from tests.e2e.peers.process import wait_until
from tests.e2e.peers.sipp import SippPhone
from tests.e2e.test_workers import bindings, call

PHONES = [f"phone{number}" for number in range(16)]
LEAST = 6
RATE = 3.0


def resync(peers: Peers, server: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sbc", "resync", "-c", str(peers.folder / "sbc.toml"), "--server", server, *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


def phones_at_both_workers(peers: Peers, sbc) -> list[SippPhone]:
    """Some phones, and so many more that each worker has one."""
    phones: list[SippPhone] = []
    for name in PHONES:
        phones.append(peers.sipp_phone(name, sbc.proxy()))
        phones[-1].register()
        if len(phones) >= LEAST and all(bindings(sbc)):
            return phones
    raise AssertionError(f"all of {len(PHONES)} phones came to one worker")


def test_sbc_resync_of_a_server_that_came_back_empty(peers: Peers) -> None:
    """Between two probes, so nobody has seen it dead: the command has all phones of both workers registered there again, at the rate
    that was given; calls by the other server go on, and nobody is registered anew there."""
    primary, fallback = peers.kamailio("primary", forgetful=True), peers.kamailio("fallback")
    sbc = peers.sbc([primary, fallback], accounts=tuple(PHONES), workers=2, group=RARE_PROBES)
    phones = phones_at_both_workers(peers, sbc)
    names = {phone.name for phone in phones}
    for server in (primary, fallback):
        wait_until(lambda server=server: server.all_contacts().keys() == names, f"all phones are registered at {server.name}")
    primary.kill()
    primary.start()
    assert {} == primary.all_contacts()

    refused = resync(peers, "nonesuch")
    assert (1, {}) == (refused.returncode, primary.all_contacts())
    assert "there is no server nonesuch, only primary, fallback" in refused.stdout + refused.stderr

    before = {server.name: len(server.received("REGISTER")) for server in (primary, fallback)}
    begun = time.monotonic()
    told = resync(peers, "primary", "--rate", f"{RATE:g}")
    assert 0 == told.returncode, told.stdout + told.stderr
    assert f"{len(phones)} phones" in told.stdout
    carol = peers.sipp_phone("carol", f"127.0.0.1:{fallback.port}")
    call(carol, phones[0])
    call(phones[0], phones[1])
    assert primary.all_contacts().keys() < names, "the calls came in the course of it"
    wait_until(lambda: primary.all_contacts().keys() == names, "all phones are registered at the primary again", 30)
    seconds = time.monotonic() - begun
    sent = len(primary.received("REGISTER")) - before["primary"]
    # Each worker has its share of the rate, and begins with a phone, which takes two.
    assert len(names) <= sent <= RATE * 1.2 * seconds + 4
    assert before["fallback"] == len(fallback.received("REGISTER"))
    assert [] == [row for row in sbc.status()["registrations"]["resyncs"] if row["left"]]
    assert "Traceback" not in sbc.text()
