"""Phones that register, answer challenges and refresh as real SIP stacks were seen to do (shared measurements with one, two and
stale challenges), and registrars that remember what they hold."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, replace

from sbc.sip import digest
from sbc.sip.digest import Challenge, Credentials
from sbc.sip.headers import NameAddr
from sbc.sip.message import Request, Response
from tests.helpers.scripted_servers import Phone, PhoneFlow, Site, accept


@dataclass(frozen=True)
class Stack:
    """How a stack behaves.

    `answers` of several challenges in one 401: "all", "last" or "first". `second`: does it answer a challenge behind the first
    answer of an attempt: "always", "stale" (when it says stale=true), "never". `realms`: "any", "first" (the first that it ever
    met), or the realm that the account is bound to. `of_realms`: which of several challenges of different realms in one 401 it
    looks at: "all", "last", "none". `agent`: its User-Agent. `unasked`: it shows the last nonce at the next refresh. `nextnonce`: it uses
    one that was announced. `most`: answers in one attempt. `early`: a refresh comes as soon after each long grant that follows a
    short one. `again`: seconds until the next attempt after a failed one.
    """

    name: str
    answers: str = "last"
    second: str = "always"
    realms: str = "any"
    of_realms: str = "all"
    agent: str = ""
    unasked: bool = False
    nextnonce: bool = False
    most: int = 12
    refresh: str = "90 %"
    early: float = 0.0
    again: float = 300.0

    def refresh_after(self, granted: float, rng: random.Random) -> float:
        if self.refresh == "90 %":
            return granted * 0.9
        if self.refresh == "5 s before":
            return max(granted - 5.0, granted / 2)
        return granted * rng.uniform(0.3, 0.75)


BARESIP = Stack("baresip", answers="all", again=60.0)
LINPHONE = Stack("linphone", second="never", realms="first", of_realms="none", unasked=True, most=1, again=60.0)
PJSUA = Stack("pjsua", most=3, refresh="5 s before", early=10.0)
TWINKLE = Stack("twinkle", of_realms="last", second="stale", refresh="5 s before")
SOFIA = Stack("sofia", of_realms="none", second="stale", unasked=True, nextnonce=True, most=3, refresh="irregular")
STACKS = [BARESIP, LINPHONE, PJSUA, TWINKLE, SOFIA]


def bound(stack: Stack, realm: str) -> Stack:
    """The same with an account for that realm only."""
    return replace(stack, name=f"{stack.name} bound", realms=realm)


class StackPhone(Phone):
    """Lives by itself once it is switched on; `failures` are the times at which it showed a failed registration."""

    def __init__(self, site: Site, stack: Stack, *, wanted: int = 3600, passwords: dict[str, str] | None = None, **who) -> None:
        super().__init__(site, **who)
        self.stack, self.wanted, self.passwords = stack, wanted, passwords or {}
        self.flow = _LivingFlow(self)
        self.agent = stack.agent
        self.failures: list[float] = []
        self.grants: list[tuple[float, int]] = []
        self.shown: list[str] = []
        """The nonce of each answer it gave, in order."""
        self.messages = 0
        self.switched_on = False
        self.removed = False
        self._going = ""
        self._rng = random.Random(7)
        self._first_realm = ""
        self._last: Challenge | None = None
        self._answered = 0
        self._timer = None

    def switch_on(self) -> None:
        self.switched_on = True
        self._attempt()

    def switch_off(self) -> None:
        """Without a word, as when its power fails."""
        self.switched_on = False
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def unregister(self, contact: str = "") -> None:
        """It says good-bye; `removed` when it has been told that it is gone."""
        self.switch_off()
        self.switched_on = True
        self.removed = False
        self.wanted = 0
        self._going = contact
        self._attempt()

    def restart(self) -> None:
        """It begins anew: another Call-ID, and it knows no nonce."""
        self.switch_off()
        self.call_id += "'"
        self.cseq = 0
        self._last = None
        self.switch_on()

    def _later(self, seconds: float) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = self.site.clock.callLater(seconds, self._attempt)

    def _attempt(self) -> None:
        self._answered = 0
        lines = []
        if self.stack.unasked and self._last is not None:
            lines.append(self._answer(self._last))
        self._send(lines)

    def _send(self, lines: list[str]) -> None:
        self.messages += 1
        self.register(*lines, expires=self.wanted, contact=self._going)

    def _answer(self, challenge: Challenge) -> str:
        count = self.nonce_counts[challenge.nonce] = self.nonce_counts.get(challenge.nonce, 0) + 1
        password = self.passwords.get(challenge.realm, self.password)
        ha1 = digest.ha1(self.user, challenge.realm, password, challenge.algorithm)
        self.shown.append(challenge.nonce)
        return f"Authorization: {digest.answer(challenge, ha1, self.user, 'REGISTER', 'sip:example.com', count, 'phonecnonce', b'')}"

    def responded(self, response: Response) -> None:
        if not self.switched_on or response.status < 200:
            return
        if response.cseq != self.cseq:
            return
        if response.status == 200:
            self._registered(response)
        elif response.status == 401:
            self._challenged([Challenge.parse(value) for value in response.get_all("WWW-Authenticate")])
        else:
            self._failed()

    def _registered(self, response: Response) -> None:
        if self.wanted == 0:
            self.removed = True
            return
        mine = [value for value in response.get_all("Contact") if value.startswith(self.contact)]
        assert 1 == len(mine), f"the phone's Contact is not there as it was: {response.get_all('Contact')}"
        granted = int(NameAddr.parse(mine[0]).parameters["expires"])
        was_short = bool(self.grants) and self.grants[-1][1] <= 10 < granted
        self.grants.append((self.site.clock.seconds(), granted))
        announced = response.get("Authentication-Info")
        if announced and self.stack.nextnonce and self._last is not None:
            self._last = replace(self._last, nonce=announced.split('"')[1])
        early = was_short and self.stack.early
        self._later(self.stack.early if early else self.stack.refresh_after(granted, self._rng))

    def _challenged(self, challenges: list[Challenge]) -> None:
        stale = any(challenge.stale for challenge in challenges)
        if self._answered and (self.stack.second == "never" or (self.stack.second == "stale" and not stale)):
            self._last = challenges[-1]
            self._failed()
            return
        chosen = self._chosen(challenges)
        if not chosen or self._answered >= self.stack.most:
            self._failed()
            return
        self._answered += 1
        self._last = chosen[-1]
        self._send([self._answer(challenge) for challenge in chosen])

    def _chosen(self, challenges: list[Challenge]) -> list[Challenge]:
        if not self._first_realm:
            self._first_realm = challenges[0].realm
        if len({challenge.realm for challenge in challenges}) > 1:
            looked_at = {"all": challenges, "last": challenges[-1:], "none": []}[self.stack.of_realms]
            return [one for one in looked_at if self.stack.realms in ("any", one.realm)]
        realm = self._first_realm if self.stack.realms == "first" else self.stack.realms
        if realm != "any":
            challenges = [challenge for challenge in challenges if challenge.realm == realm]
        return challenges if self.stack.answers == "all" else challenges[-1:] if self.stack.answers == "last" else challenges[:1]

    def _failed(self) -> None:
        self.failures.append(self.site.clock.seconds())
        if self.wanted:
            self._later(self.stack.again)


class _LivingFlow(PhoneFlow):
    """Hands each answer to the phone a moment later."""

    def __init__(self, phone: StackPhone) -> None:
        super().__init__(remote=phone.flow.remote, clock=phone.site.clock)
        self._phone = phone

    def send(self, data: bytes) -> None:
        super().send(data)
        self.clock.callLater(0.002, self._phone.responded, self.sent[-1][1])


class Keeper:
    """A registrar that challenges with a new nonce each time, and remembers until when it holds which contact.

    `one_time`: a nonce is good for one answer. `lifetime`: seconds in which it is good. `announces`: each success names the
    next nonce. Foreign nonces are counted in `foreign`, wrong passwords in `wrong`: nothing of another server may come here.
    """

    def __init__(
        self, site: Site, name: str, *, realm: str = "example.com", password: str = "secret", granted: int | None = None,
        algorithm: str = "MD5", qop: bool = True, one_time: bool = False, lifetime: float = 1e9, announces: bool = False,
        stale: bool = False,
    ) -> None:  # fmt: skip
        self.clock, self.name, self.realm, self.password, self.granted = site.clock, name, realm, password, granted
        self.algorithm, self.qop, self.one_time, self.lifetime = algorithm, qop, one_time, lifetime
        self.announces, self.stale = announces, stale
        self.held: dict[str, float] = {}
        """Contact -> until when."""
        self.gaps: list[tuple[float, float]] = []
        """(from, until) in which a contact that had been held was not."""
        self.foreign: list[str] = []
        self.wrong = 0
        self.accepted = 0
        self.requests = 0
        self._numbers = itertools.count(1)
        self._issued: dict[str, tuple[float, int]] = {}

    def __call__(self, request: Request) -> Response:
        self.requests += 1
        value = request.get("Authorization")
        assert len(request.get_all("Authorization")) <= 1, "one answer for one challenge"
        stale = False
        if value is not None:
            credentials = Credentials.parse(value)
            verdict = self._check(credentials, request)
            if verdict == "good":
                return self._hold(request)
            stale = self.stale and verdict == "old"
        return Response.for_request(request, 401, to_tag="server", headers=[("WWW-Authenticate", self._challenge(stale))])

    def _nonce(self) -> str:
        nonce = f"{self.name}-{next(self._numbers)}"
        self._issued[nonce] = (self.clock.seconds(), 0)
        return nonce

    def _challenge(self, stale: bool) -> str:
        value = f'Digest realm="{self.realm}", nonce="{self._nonce()}", algorithm={self.algorithm}'
        return value + (', qop="auth"' if self.qop else "") + (", stale=true" if stale else "")

    def _check(self, credentials: Credentials, request: Request) -> str:
        if credentials.nonce not in self._issued:
            self.foreign.append(credentials.nonce)
            return "foreign"
        at, highest = self._issued[credentials.nonce]
        count = credentials.nc or 1
        if self.clock.seconds() - at > self.lifetime or (self.one_time and highest) or (self.qop and count <= highest):
            return "old"
        self._issued[credentials.nonce] = (at, max(count, highest))
        ha1 = digest.ha1(credentials.username, self.realm, self.password, self.algorithm)
        if not digest.verify(credentials, ha1, request.method, request.body):
            self.wrong += 1
            return "wrong"
        return "good"

    def _hold(self, request: Request) -> Response:
        self.accepted += 1
        answer = accept(self.granted)(request)
        if self.announces:
            answer.append("Authentication-Info", f'nextnonce="{self._nonce()}", qop=auth')
        now = self.clock.seconds()
        contact = NameAddr.parse(request.get("Contact"))
        if contact.parameters["expires"] == "0":
            self.held.pop(contact.uri_text, None)
            return answer
        before = self.held.get(contact.uri_text)
        if before is not None and before < now:
            self.gaps.append((before, now))
        given = NameAddr.parse(answer.get("Contact")).parameters["expires"]
        self.held[contact.uri_text] = now + int(given)
        return answer

    def holds_one(self) -> bool:
        return any(until > self.clock.seconds() for until in self.held.values())
