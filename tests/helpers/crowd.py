"""Thousands of phones and their registrars on a `FakeClock`. They say what `stacks` and `scripted_servers` say, but from templates,
and read only what they need: the appliance between them is the real one, and takes most of the time."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from hashlib import md5

from sbc.flow import Flow
from sbc.sip.message import parse
from tests.helpers.scripted_servers import OURS, Site

REALM = "example.com"
PASSWORD = "secret"
_URI = "sip:example.com"

_LINES = re.compile(rb"\r\n(Via|From|To|Call-ID|CSeq|Contact|Expires|Authorization): ([^\r]*)")
_BRANCH = re.compile(rb"branch=([^;\s]+)")
_CONTACT = re.compile(rb"<([^>]+)>.*?;expires=(\d+)")
_USER = re.compile(rb"<sip:([^@]+)@")
_NONCE = re.compile(rb'nonce="([^"]+)"')
_ANSWER = re.compile(rb'[ ,](username|nonce|response|cnonce|nc|uri)="?([^",]+)')
_ANSWER_LINES = (b"Via", b"From", b"To", b"Call-ID", b"CSeq")


def _hex(text: str) -> str:
    return md5(text.encode()).hexdigest()


_HA2 = _hex(f"REGISTER:{_URI}")


def _response(ha1: str, nonce: str, count: str, cnonce: str, ha2: str = _HA2) -> str:
    return _hex(f"{ha1}:{nonce}:{count}:{cnonce}:auth:{ha2}")


class CrowdServer(Flow):
    """A registrar that challenges everybody, each time with a new nonce that is good once, and grants `granted` seconds at most; and
    the way to it.

    `requests`: (seconds since the start, user) of each. It takes the place of a server of the site.
    """

    def __init__(self, site: Site, name: str, granted: int) -> None:
        candidate = site.server(name).candidate
        super().__init__("udp", "servers", "198.51.100.1:5060", OURS, (candidate.address, candidate.port))
        site._flows[candidate] = self
        self.site, self.name, self.granted = site, name, granted
        self.unreachable = False
        self.requests: list[tuple[float, str]] = []
        self.wrong = 0
        self.held: dict[str, float] = {}
        """User -> until when."""
        self._nonces: set[str] = set()
        self._number = 0

    def forget_all(self) -> None:
        self.held.clear()
        self._nonces.clear()

    def holding(self) -> int:
        """So many users."""
        now = self.site.clock.seconds()
        return sum(until > now for until in self.held.values())

    def send(self, data: bytes) -> None:
        lines = dict(_LINES.findall(data))
        clock = self.site.clock
        if self.unreachable:
            clock.callLater(0.0, self._icmp, _BRANCH.search(lines[b"Via"])[1].decode())
            return
        user = _USER.search(lines[b"To"])[1].decode()
        self.requests.append((clock.seconds(), user))
        clock.callLater(0.001, self._answer, b"".join(self._reply(lines, user)))

    def _reply(self, lines: dict[bytes, bytes], user: str) -> list[bytes]:
        is_good = b"Authorization" in lines and self._is_good(lines[b"Authorization"])
        found = [b"SIP/2.0 200 OK" if is_good else b"SIP/2.0 401 Unauthorized"]
        for name in _ANSWER_LINES:
            found += (b"\r\n", name, b": ", lines[name])
            if name == b"To":
                found.append(b";tag=server")
        if is_good:
            contact = _CONTACT.search(lines[b"Contact"])
            uri, asked = contact.groups() if contact else (lines[b"Contact"].split(b">")[0][1:], lines[b"Expires"])
            seconds = min(int(asked), self.granted)
            self.held[user] = self.site.clock.seconds() + seconds
            found.append(b"\r\nContact: <%b>;expires=%d" % (uri, seconds))
        else:
            self._number += 1
            nonce = f"{self.name}{self._number}"
            self._nonces.add(nonce)
            found.append(b'\r\nWWW-Authenticate: Digest realm="%b", nonce="%b", algorithm=MD5, qop="auth"' % (
                REALM.encode(), nonce.encode(),
            ))  # fmt: skip
        found.append(b"\r\nContent-Length: 0\r\n\r\n")
        return found

    def _is_good(self, value: bytes) -> bool:
        said = {name: found.decode() for name, found in _ANSWER.findall(value)}
        nonce = said[b"nonce"]
        if nonce not in self._nonces:
            return False
        self._nonces.remove(nonce)
        ha1 = _hex(f"{said[b'username']}:{REALM}:{PASSWORD}")
        ha2 = _hex(f"REGISTER:{said[b'uri']}")
        is_good = _response(ha1, nonce, said[b"nc"], said[b"cnonce"], ha2) == said[b"response"]
        self.wrong += not is_good
        return is_good

    def _answer(self, data: bytes) -> None:
        self.site.layer.response_received(parse(data), self)

    def _icmp(self, branch: str) -> None:
        transaction = self.site.layer.client_for(branch, "REGISTER")
        if transaction is not None:
            transaction.transport_failed("icmp")


def before_the_end(granted: float, rng: random.Random) -> float:
    return max(granted - 5.0, granted / 2)


def at_nine_tenths(granted: float, rng: random.Random) -> float:
    return granted * 0.9


def irregularly(granted: float, rng: random.Random) -> float:
    return granted * rng.uniform(0.3, 0.75)


RHYTHMS = (at_nine_tenths, before_the_end, irregularly)


class CrowdPhone(Flow):
    """Lives by itself once it is switched on; `failures` are the times at which it showed a failed registration. `unasked`: it shows
    the last nonce at the next refresh."""

    def __init__(
        self, site: Site, user: str, host: str, port: int, *, rhythm: Callable[[float, random.Random], float], wanted: int,
        unasked: bool = False,
    ) -> None:  # fmt: skip
        super().__init__("udp", "phones", "198.51.100.1:5060", OURS, (host, port))
        self.site, self.user = site, user
        self.failures: list[float] = []
        self.messages = 0
        self._rhythm, self._unasked = rhythm, unasked
        self._rng = random.Random(user)
        self._ha1 = _hex(f"{user}:{REALM}:{PASSWORD}")
        self._nonce, self._count = "", 0
        self._answered = 0
        self._is_on = False
        self._timer = None
        self._contact = re.compile(rb"<sip:%b@%b:%d>[^\r]*;expires=(\d+)" % (user.encode(), host.encode(), port))
        self._template = (
            f"REGISTER {_URI} SIP/2.0\r\nVia: SIP/2.0/UDP {host}:{port};branch=z9hG4bK{user}-%d;rport\r\nMax-Forwards: 70\r\n"
            f"From: <sip:{user}@example.com>;tag=phone\r\nTo: <sip:{user}@example.com>\r\nCall-ID: {user}@{host}\r\n"
            f"CSeq: %d REGISTER\r\nContact: <sip:{user}@{host}:{port}>\r\nExpires: {wanted}\r\n%sContent-Length: 0\r\n\r\n"
        )

    def switch_on(self) -> None:
        self._is_on = True
        self._attempt()

    def switch_off(self) -> None:
        """Without a word, as when its power fails."""
        self._is_on = False
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _attempt(self) -> None:
        self._answered = 0
        self._register(self._authorization() if self._unasked and self._nonce else "")

    def _register(self, line: str) -> None:
        self.messages += 1
        data = self._template % (self.messages, self.messages, line)
        self.site.receive(data.encode(), self)

    def _authorization(self) -> str:
        self._count += 1
        count = f"{self._count:08x}"
        return (
            f'Authorization: Digest username="{self.user}", realm="{REALM}", nonce="{self._nonce}", uri="{_URI}", qop=auth,'
            f' nc={count}, cnonce="crowd", algorithm=MD5, response="{_response(self._ha1, self._nonce, count, "crowd")}"\r\n'
        )

    def send(self, data: bytes) -> None:
        self.site.clock.callLater(0.002, self._responded, data)

    def _responded(self, data: bytes) -> None:
        if not self._is_on or b"\r\nCSeq: %d R" % self.messages not in data:
            return
        status = int(data[8:11])
        if status == 200:
            granted = int(self._contact.search(data)[1])
            self._later(self._rhythm(granted, self._rng))
        elif status == 401 and self._answered < 3:
            self._answered += 1
            self._nonce, self._count = _NONCE.search(data)[1].decode(), 0
            self._register(self._authorization())
        elif status > 200:
            self.failures.append(self.site.clock.seconds())
            self._later(60.0)

    def _later(self, seconds: float) -> None:
        self._timer = self.site.clock.callLater(seconds, self._attempt)
