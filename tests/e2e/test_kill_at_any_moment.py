"""`kill -9` at ten moments while phones register, refresh, answer one server after the other, and de-register.

The phones and both registrars live here, in a reactor of their own, so that every answer of the registrars is seen; the
appliance is a process. It has the passwords of half of the phones; the others answer one registrar after the other
(alternating, D8). The primary is dead for a part of the time.

What must hold: no registrar refuses a CSeq (D10); a contact that the phone was told is registered is known after the restart; a
call from each living registrar that has the contact reaches the phone; and what a phone has removed is removed in the end
wherever the appliance can do that, also at the primary that was dead (D13).
"""

from __future__ import annotations

import random
import time

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.selectreactor import SelectReactor

from sbc.lab.accounts import Accounts
from sbc.lab.endpoint import listen
from sbc.lab.phone import Phone
from sbc.lab.server import CallServer
from tests.e2e.peers import Peers
from tests.e2e.peers.accounts import DOMAIN, password_of

pytestmark = pytest.mark.alone

KILLS = 10
PRIMARY_DIES_BEFORE, PRIMARY_RETURNS_BEFORE = 4, 7  # kills
NAMES = [f"phone{number}" for number in range(6)]
WITH_PASSWORDS = NAMES[3:]
TAKES_LONG = 15.0  # seconds until something that has to happen has happened, on a slow machine

GROUP = """\
probe_interval = 1
probe_interval_down = 1
probe_timeout = 1
fall = 1
rise = 1
failback_hold = 1
resync_hold = 0
retry_counts = 1
min_expires = 5
short_grant = 5
refresh_check = "off"
register_wait = 0.3"""


class Registrar:
    """A call server whose answers are remembered: `(method, status)`."""

    def __init__(self, reactor, name: str) -> None:
        self.name = name
        self.address = "127.0.0.1"
        self.endpoint = listen(reactor, self.address)
        self.port = self.endpoint.local[1]
        self.answers: list[tuple[str, int]] = []
        passwords = {user: password_of(user) for user in NAMES}
        self.server = CallServer(self.endpoint, Accounts(DOMAIN, passwords), challenge_calls=False)
        self.server.tell = self._note
        self.caller = Phone(listen(reactor, self.address), "caller", DOMAIN, "", (self.address, self.port))

    def _note(self, request, status: int) -> None:
        self.answers.append((request.method, status))

    def has(self, user: str) -> bool:
        return bool(self.server.locations.contacts(user, time.time()))


class Actor:
    """A phone that is never still: it refreshes, removes itself and comes back. `told` is what it was told last."""

    def __init__(self, site: Site, user: str) -> None:
        self._site = site
        self.phone = Phone(listen(site.reactor, "127.0.0.1"), user, DOMAIN, password_of(user), site.proxy, expires=60)
        self.user = user
        self.told = "nothing"
        """nothing | registered | removed"""
        self.busy = False
        self.pause = False
        self._act()

    def _act(self) -> None:
        rng = self._site.rng
        if self.pause:
            self._site.reactor.callLater(0.02, self._act)
            return
        self.busy = True
        removes = self.told == "registered" and rng.random() < 0.15
        done: Deferred = self.phone.unregister() if removes else self.phone.register()
        done.addCallbacks(self._answered, self._failed, callbackArgs=["removed" if removes else "registered"])

    def _answered(self, _, told: str) -> None:
        self.phone._stop_refreshing()  # it has a rhythm of its own here
        self.told = told
        self._next()

    def _failed(self, failure) -> None:
        self._site.failures.append((self.user, failure.value.status))
        self._next()

    def _next(self) -> None:
        self.busy = False
        self._site.reactor.callLater(self._site.rng.uniform(0.02, 0.4), self._act)


class Site:
    def __init__(self, peers: Peers, seed: int) -> None:
        self.rng = random.Random(seed)
        self.reactor = SelectReactor()
        self.reactor.seconds = time.monotonic
        self.registrars = [Registrar(self.reactor, name) for name in ("primary", "fallback")]
        self.sbc = peers.sbc(self.registrars, group=GROUP, accounts=tuple(WITH_PASSWORDS))
        self.proxy = ("127.0.0.1", self.sbc.port)
        self.failures: list[tuple[str, int | None]] = []
        self.actors = [Actor(self, user) for user in NAMES]

    def run(self, seconds: float) -> None:
        self.until(lambda: False, "", seconds, must=False)

    def until(self, condition, what: str, seconds: float = TAKES_LONG, must: bool = True) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                assert not must, f"{what}: did not happen within {seconds:g} s"
                return
            self.reactor.iterate(0.005)

    def pause(self) -> None:
        """The phones finish what they do, and do nothing more."""
        for actor in self.actors:
            actor.pause = True
        self.until(lambda: not any(actor.busy for actor in self.actors), "the phones are answered", 40)

    def go_on(self) -> None:
        for actor in self.actors:
            actor.pause = False

    @property
    def living(self) -> list[Registrar]:
        return [registrar for registrar in self.registrars if not registrar.endpoint.deaf]

    def call_everybody(self) -> int:
        """From each registrar, whoever is registered there. Returns how many calls that were."""
        calls = [
            (registrar, actor, registrar.caller.call(actor.user))
            for registrar in self.living
            for actor in self.actors
            if registrar.has(actor.user) and actor.told == "registered"
        ]
        self.until(lambda: all(call.answered.settled for _, _, call in calls), "calls are answered")
        for registrar, actor, call in calls:
            assert call.answered.at is not None, f"{actor.user} cannot be reached from the {registrar.name}"
            call.hang_up()
        self.until(lambda: all(call.ended.settled for _, _, call in calls), "calls end")
        return len(calls)

    def known(self) -> set[str]:
        phones = self.sbc.status()["registrations"]["phones"]
        return {phone["aor"].removeprefix("sip:").partition("@")[0] for phone in phones}

    def end(self) -> None:
        for delayed in self.reactor.getDelayedCalls():
            delayed.cancel()
        self.reactor.removeAll()


@pytest.fixture
def site(peers: Peers):
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    made = Site(peers, seed)
    yield made
    made.end()


def test_no_moment_for_a_kill_loses_anything(site: Site) -> None:
    """Ten of them, drawn by lot; the seed is printed."""
    site.until(lambda: all(actor.told == "registered" for actor in site.actors), "all phones register")
    calls, moments = 0, []
    for kill in range(KILLS):
        if kill == PRIMARY_DIES_BEFORE:
            site.registrars[0].endpoint.deaf = True
        if kill == PRIMARY_RETURNS_BEFORE:
            site.registrars[0].endpoint.deaf = False
        moment = site.rng.uniform(0.05, 1.2)
        site.run(moment)
        told = {actor.user: actor.told for actor in site.actors if not actor.busy}
        busy = sum(actor.busy for actor in site.actors)
        site.sbc.kill()
        site.sbc.start()
        # Who was told something has not asked anew yet, or is asking now; so nothing but the disk tells this.
        known = site.known()
        lost = {user for user, was in told.items() if was == "registered"} - known
        assert not lost, f"kill {kill}: these are forgotten"
        back = {user for user, was in told.items() if was == "removed"} & known
        assert not back, f"kill {kill}: these had been removed"
        calls += site.call_everybody()
        moments.append(f"{moment:.2f} s ({busy} under way)")
        site.until(lambda: not any(actor.busy for actor in site.actors), "the phones are answered", must=False, seconds=1)
    site.pause()
    calls += site.call_everybody()
    gone = [actor.user for actor in site.actors if actor.told == "removed" and actor.user in WITH_PASSWORDS]
    for registrar in site.registrars:
        site.until(lambda r=registrar: not any(map(r.has, gone)), f"{gone} are removed at the {registrar.name}", 10)
    refused = [
        (registrar.name, *answer)
        for registrar in site.registrars
        for answer in registrar.answers
        if answer[0] == "REGISTER" and answer[1] not in (200, 401)
    ]
    print(f"killed after {', '.join(moments)}; {calls} calls; phones were refused {site.failures}")
    assert [] == refused
    assert "Traceback" not in site.sbc.text()
