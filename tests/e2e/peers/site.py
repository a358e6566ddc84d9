"""A site with a phone of each kind that can be had, at two registrars that want passwords, behind one `sbc run`."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tests.e2e.peers.accounts import DOMAIN, Line
from tests.e2e.peers.appliance import QUICK_PROBES, Sbc, htdigest_line
from tests.e2e.peers.baresip import Baresip
from tests.e2e.peers.linphone import Linphone
from tests.e2e.peers.pjsua import Pjsua
from tests.e2e.peers.process import Program, free_port
from tests.e2e.peers.sipp import SippDeskPhone
from tests.e2e.peers.twinkle import Twinkle

if TYPE_CHECKING:
    from tests.e2e.peers import Peers

OTHER_REALMS = "realms.local"
"""The domain for which the two servers challenge in two realms: the domain's own, and another."""

TRUSTED = "trusted.local"
"""The domain for which the fallback takes the appliance's word."""

REALMS = {"primary": OTHER_REALMS, "fallback": "another.local"}

DOMAINS = {"same": DOMAIN, "different": OTHER_REALMS, "trusted": TRUSTED}


class Softphone(Protocol):
    """What a test wants of a phone."""

    name: str
    port: int

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def shows_registered(self, line: Line) -> bool: ...

    def refusals(self, line: Line) -> list[str]: ...

    def dial(self, name: str, timeout: float = ..., domain: str = ...) -> None: ...

    def hang_up(self, timeout: float = ...) -> None: ...


@dataclass(frozen=True)
class Case:
    """How the servers challenge a line, and what the appliance makes of it."""

    realms: str
    """A key of DOMAINS."""

    method: str
    """One of challenge_method; "own", where the credentials file has the account; or "trusted"."""

    @property
    def domain(self) -> str:
        return DOMAINS[self.realms]

    def __str__(self) -> str:
        return f"{self.realms}-{self.method}"


ALTERNATING = Case("same", "alternating")
ALTERNATING_REALMS = Case("different", "alternating")
OWN_REALMS = Case("different", "own")


Maker = Callable[[str, Path, list[Line]], list[Softphone]]


def _one(phone: Callable[[str, Path, list[Line]], Softphone]) -> Maker:
    """One phone with all lines."""
    return lambda name, folder, lines: [phone(name, folder, lines)]


def _each(showing: bool) -> Maker:
    """A SIPp for each line."""
    return lambda name, folder, lines: [SippDeskPhone(line.name, folder, line, showing=showing) for line in lines]


PHONES: dict[str, Maker] = {
    "baresip": _one(lambda name, folder, lines: Baresip(name, folder, lines=lines)),
    "linphone": _one(Linphone),
    "pjsua": _one(Pjsua),
    "twinkle": _one(Twinkle),
    "sipp": _each(showing=False),
    "sippshow": _each(showing=True),
}

MULTIPLE_REALMS = ("baresip", "pjsua", "sipp", "sippshow", "twinkle")
"""The phones that answer the challenge of a second realm, as they are set up here: at a refresh, one after the other."""


def kinds() -> list[str]:
    """The phones that this machine has."""
    absent = {
        "linphone": shutil.which(Linphone.PROGRAM) is None,
        "twinkle": shutil.which(Twinkle.PROGRAM) is None,
        "pjsua": not Pjsua.installed(),
    }
    return [kind for kind in PHONES if not absent.get(kind)]


class PhoneSite:
    """Two registrars, the appliance without passwords but for "own", and each kind of phone with a line for each case.

    `longest`: seconds that the registrars grant. Names of accounts are `baresip-same-alternating`.
    """

    def __init__(
        self, peers: Peers, cases: Iterable[Case], *, longest: int = 14, short_grant: int = 6, group: str = "",
        only: Iterable[str] = (), passwords: dict[str, str] | None = None,
    ) -> None:  # fmt: skip
        self._peers = peers
        self.cases = list(cases)
        self.kinds = [kind for kind in kinds() if not only or kind in only]
        self.longest = longest
        self.primary, self.fallback = (
            peers.kamailio(name, forgetful=True, longest=longest, more_realms=REALMS[name], trusting=name == "fallback")
            for name in REALMS
        )
        self.sbc = self._start_sbc(f"min_expires = 5\nshort_grant = {short_grant}\n{group}")
        self.phones: dict[str, Softphone] = {}
        self.lines: dict[str, Line] = {}
        self.case_of: dict[str, Case] = {}
        self._passwords = passwords or {}

    @property
    def servers(self) -> tuple[Program, ...]:
        return self.primary, self.fallback

    def switch_on(self) -> None:
        """Start the phones."""
        for kind in self.kinds:
            lines = []
            for case in self.cases:
                name = f"{kind}-{case}"
                lines.append(Line(name, self.sbc.proxy(), domain=case.domain, expires=60, password=self._passwords.get(name, "")))
                self.lines[name], self.case_of[name] = lines[-1], case
            started = PHONES[kind](kind, self._peers.folder, lines)
            for phone in started:
                self._peers.started(phone)
            for number, line in enumerate(lines):
                self.phones[line.name] = started[number % len(started)]

    def missing(self, expected: dict[str, tuple[str, ...]]) -> list[str]:
        """Accounts that should be registered at these servers (by name) and are not, or not with our contact."""
        at = {server.name: server.all_contacts() for server in (self.primary, self.fallback) if server.running}
        port = f":{self.sbc.port}"
        return [
            f"{account} at {server}: {at[server].get(account)}"
            for account, servers in expected.items()
            for server in servers
            if not any(port in contact for contact in at[server].get(account, ()))
        ]

    def refusals(self) -> Iterator[str]:
        """What the phones say of registrations that failed, all of it."""
        for account, phone in self.phones.items():
            for refusal in phone.refusals(self.lines[account]):
                yield f"{account}: {refusal}"

    def _start_sbc(self, settings: str) -> Sbc:
        folder = self._peers.folder
        listen, http_port = free_port(), free_port()
        credentials = folder / "phones.htdigest"
        text = [f'[appliance]\nname = "site"\nstate_dir = "{folder}/state"\n[[listen]]\ntransport = "udp"\n'
                f'address = "127.0.0.1"\nport = {listen}\n[http]\naddress = "127.0.0.1"\nport = {http_port}\n']
        own = []
        for realms in dict.fromkeys(case.realms for case in self.cases):
            text.append(f'[[group]]\nname = "{realms}"\ndomains = ["{DOMAINS[realms]}"]\nregistration = "concurrent"\n'
                        f'{QUICK_PROBES}\n{settings}')
            for server in (self.primary, self.fallback):
                trusted = "trusted = true\n" if realms == "trusted" and server is self.fallback else ""
                text.append(f'[[group.server]]\nname = "{server.name}"\naddress = "{server.address}"\nport = {server.port}\n'
                            f'transport = "udp"\n{trusted}')
            for case in self.cases:
                if case.realms != realms:
                    continue
                if case.method == "own":
                    challenged = set(REALMS.values()) if realms == "different" else {DOMAIN}
                    own += [htdigest_line(f"{kind}-{case}", "md5", realm) for kind in self.kinds for realm in sorted(challenged)]
                elif case.method != "trusted":
                    text.append(f'[[group.phones]]\naors = ["*-{case}"]\nchallenge_method = "{case.method}"\n')
        if own:
            credentials.write_text("".join(own))
            text.append(f'[credentials]\nfile = "{credentials}"\n')
        return self._peers.started(Sbc(folder, "".join(text), {"127.0.0.1": listen}, http_port))
