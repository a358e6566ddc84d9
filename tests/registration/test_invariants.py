"""Whatever servers and phones do, these things hold: random sites, each from its seed."""

from __future__ import annotations

import random

import pytest

from sbc.sip.digest import Credentials
from tests.helpers.scripted_servers import DigestRegistrar, Phone, accept, refuse, silent

USERS = {"alice": "secret"}


def behaviour(rng: random.Random, nonce: str):
    return rng.choice(
        [
            accept(rng.choice([None, 60, 600])),
            silent,
            refuse(rng.choice([403, 404, 408, 423, 500, 503, 603])),
            *[DigestRegistrar("example.com", USERS, nonce, stale=rng.random() < 0.5)] * 4,
        ]
    )


@pytest.mark.parametrize("seed", range(300))
def test_invariants(make_site, password_file, seed):
    """Every REGISTER is answered once, in time, with a status that a phone may see; no server sees an answer to
    another's challenge; without the password file no answer is ours; and within a Call-ID the CSeq grows."""
    rng = random.Random(seed)
    file = password_file(("alice", "example.com", "secret")) if rng.random() < 0.5 else None
    registration = rng.choice(["concurrent", "successive"])
    site = make_site(credentials=file, servers=rng.choice([1, 2, 3]), registration=registration)
    phone = Phone(site, password=rng.choice(["secret", "secret", "wrong"]))
    for step in range(1, rng.randrange(3, 9)):
        for server in site.servers:
            if rng.random() < 0.4:
                server.reply = behaviour(rng, f"{server.name}-{step}")
                server.delay = rng.choice([0.001, 0.1, 1.0, 3.0])
                server.unreachable = rng.random() < 0.15
            if rng.random() < 0.1:
                site.take_down(server)
        authorization = None
        challenged = bool(phone.flow.sent) and phone.last.status == 401
        if challenged and rng.random() < 0.9:
            authorization = phone.answer_to(phone.last)
        arrival = site.clock.seconds()
        phone.register(expires=rng.choice([0, 60, 3600, 3600]), authorization=authorization)
        site.clock.advance(31.5)
        assert step == len(phone.answers)
        at, answer = phone.flow.sent[-1]
        assert at - arrival <= 31.0 + 1e-6
        assert answer.status not in (408, 503)
        site.clock.advance(rng.choice([0.0, 30.0, 400.0]))
    for server in site.servers:
        for value in filter(None, server.authorizations):
            assert Credentials.parse(value).nonce.startswith(server.name)
        if file is None:
            assert all("phonecnonce" in value for value in filter(None, server.authorizations))
        series: dict[str, int] = {}
        for _, request in server.requests:
            assert request.cseq > series.get(request.call_id, 0)
            series[request.call_id] = request.cseq
