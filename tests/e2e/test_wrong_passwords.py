"""A wrong password in one phone is not the other phones' trouble, nor the server's."""

from __future__ import annotations

import time

from tests.e2e.peers import Peers
from tests.e2e.peers.process import wait_until
from tests.e2e.peers.site import ALTERNATING, Case, PhoneSite, kinds

WRONG = Case("same", "alternating", label="wrong")
POLL = 0.5

TRIES = 2
"""Wrong passwords that a server may see of a phone in an hour. Of more than three it would see the others later."""


def test_wrong_password_is_not_tried_again_and_again(peers: Peers) -> None:
    """V16: a server sees so many wrong passwords of a phone in an hour; the other phones of its address stay registered.

    One more line of every phone has a wrong password, and a phone of its own tries with one twice a second. All phones here
    have one address.
    """
    site = PhoneSite(
        peers, {**{kind: [ALTERNATING, WRONG] for kind in kinds()}, "stubborn": [WRONG]},
        settings=f"wrong_password_tries = {TRIES}",
        passwords={f"{kind}-{WRONG}": "wrong" for kind in [*kinds(), "stubborn"]},
    )  # fmt: skip
    wrong = [account for account, case in site.case_of.items() if case == WRONG]
    right = {account: servers for account, servers in site.at_both().items() if account not in wrong}
    site.switch_on()
    wait_until(lambda: not site.missing(right), "every phone with the right password is registered at both servers", 40)
    stubborn = f"stubborn-{WRONG}"

    def refused() -> int:
        return sum(refusal.startswith(stubborn) for refusal in site.refusals())

    many = refused() + 4 * TRIES
    while refused() < many:
        assert site.missing(right) == []
        time.sleep(POLL)
    assert [refusal for refusal in site.refusals() if refusal.partition(":")[0] in right] == []
    for server in site.servers:
        for account in wrong:
            seen = [line for line in server.received("REGISTER") if f" user {account} " in line]
            tries = [line for line in seen if line.endswith(f" credentials {account}")]
            assert len(tries) <= TRIES, (server.name, account, tries)
            assert len(seen) <= 2 * TRIES, (server.name, account, seen)
    tries = [line for line in site.primary.received("REGISTER") if line.endswith(f" credentials {stubborn}")]
    assert len(tries) == TRIES
    told = [row for row in site.sbc.status()["registrations"]["rejected"] if row["aor"].startswith(f"sip:{stubborn}@")]
    assert [row["wrong_passwords"] for row in told if row["server"] == "primary"] == [TRIES]
