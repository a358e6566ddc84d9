"""A site with a phone of each kind that can be had, at two registrars that want passwords, behind one `sbc run`."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tests.e2e.peers.accounts import DOMAIN, Line
from tests.e2e.peers.appliance import QUICK_PROBES, Sbc, htdigest_line
from tests.e2e.peers.baresip import Baresip
from tests.e2e.peers.capture import Capture
from tests.e2e.peers.kamailio import Kamailio
from tests.e2e.peers.linphone import Linphone
from tests.e2e.peers.pjsua import Pjsua
from tests.e2e.peers.process import free_port
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

    label: str = ""
    """In the accounts' names in place of the method, where one method stands for two cases."""

    @property
    def domain(self) -> str:
        return DOMAINS[self.realms]

    def __str__(self) -> str:
        return f"{self.realms}-{self.label or self.method}"


ALTERNATING = Case("same", "alternating")
ALTERNATING_REALMS = Case("different", "alternating")
OWN_REALMS = Case("different", "own")


Maker = Callable[[str, Path, Sequence[Line]], list[Softphone]]
"""Name, folder and lines -> the phone of each line."""


def _with_all_lines(make: Callable[[str, Path, Sequence[Line]], Softphone], most: int = 99) -> Maker:
    """One phone for all lines, or for as many as it can have."""

    def phones(name: str, folder: Path, lines: Sequence[Line]) -> list[Softphone]:
        each = []
        for first in range(0, len(lines), most):
            its_own = lines[first : first + most]
            each += [make(f"{name}{first or ''}", folder, its_own)] * len(its_own)
        return each

    return phones


def _with_one_line(scenario: str) -> Maker:
    """A phone for each line."""
    return lambda name, folder, lines: [SippDeskPhone(line.name, folder, line, scenario) for line in lines]


PHONES: dict[str, Maker] = {
    "baresip": _with_all_lines(lambda name, folder, lines: Baresip(name, folder, lines=lines)),
    "linphone": _with_all_lines(Linphone),
    "pjsua": _with_all_lines(Pjsua, most=8),
    "twinkle": _with_all_lines(Twinkle),
    "bound": _with_all_lines(lambda name, folder, lines: Pjsua(name, folder, lines, lines[0].domain), most=8),
    "sipp": _with_one_line("phone"),
    "sippshow": _with_one_line("phone_showing"),
    "stubborn": _with_one_line("stubborn"),
}

WELL_BEHAVED = tuple(kind for kind in PHONES if kind not in ("stubborn", "bound"))
"""Those that are there to be registered wherever they can. "bound" is PJSIP with passwords for the realm of its domain only."""

METHODS = ("serial", "aggregate", "first-only")
"""Those that have to be asked for."""

ANSWERS_EVERY_REALM = ("baresip", "pjsua", "sipp", "twinkle")
"""The phones that are asked for the answer to another realm at a refresh, and give it. linphone knows one realm only, and of
sippshow, which shows its last answer unasked as linphone does, the same is believed."""


def kinds() -> list[str]:
    """The phones that this machine has, for staying registered."""
    absent = {
        "linphone": shutil.which(Linphone.PROGRAM) is None,
        "twinkle": shutil.which(Twinkle.PROGRAM) is None,
        "pjsua": not Pjsua.installed(),
    }
    return [kind for kind in WELL_BEHAVED if not absent.get(kind)]


class PhoneSite:
    """Two registrars, the appliance, which knows passwords for "own" only, and each kind of phone with a line for each case.

    `lines`: the kinds of phones and their cases. `longest`: seconds that the registrars grant. `settings`: more lines of
    every group. `passwords`: wrong ones, by account. Names of accounts are like `baresip-same-alternating`.
    """

    def __init__(
        self, peers: Peers, lines: Mapping[str, Sequence[Case]], *, longest: int = 16, short_grant: int = 5,
        settings: str = "", passwords: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self._peers = peers
        self.longest = longest
        self.cases = list(dict.fromkeys(case for cases in lines.values() for case in cases))
        self.primary, self.fallback = (
            peers.kamailio(name, forgetful=True, longest=longest, more_realms=REALMS[name], trusting=name == "fallback")
            for name in REALMS
        )
        listen, http_port = free_port(), free_port()
        # Grants of seconds, so that twenty refreshes are two minutes.
        self._settings = f"min_expires = 5\nshort_grant = {short_grant}\n{settings}\n"
        text = self._configuration(listen, http_port, list(lines))
        self.sbc = peers.started(Sbc(peers.folder, text, {"127.0.0.1": listen}, http_port))
        self.phones: dict[str, Softphone] = {}
        self.lines: dict[str, Line] = {}
        self.case_of: dict[str, Case] = {}
        for kind, cases in lines.items():
            accounts = [f"{kind}-{case}" for case in cases]
            its_lines = [
                Line(name, self.sbc.proxy(), domain=case.domain, password=(passwords or {}).get(name, ""))
                for name, case in zip(accounts, cases, strict=True)
            ]
            self.lines |= zip(accounts, its_lines, strict=True)
            self.case_of |= zip(accounts, cases, strict=True)
            self.phones |= zip(accounts, PHONES[kind](kind, peers.folder, its_lines), strict=True)

    @property
    def servers(self) -> tuple[Kamailio, Kamailio]:
        return self.primary, self.fallback

    def capture(self) -> Capture:
        """From now on: what goes to and fro, with the phones under the name `phone`."""
        names = {self.sbc.port: "sbc", **{server.port: server.name for server in self.servers}}
        return self._peers.capture(names | {phone.port: "phone" for phone in self.phones.values()})

    def switch_on(self) -> None:
        """Start the phones."""
        for phone in dict.fromkeys(self.phones.values()):
            self._peers.started(phone)

    def at_both(self) -> dict[str, tuple[str, ...]]:
        """Where every account should be."""
        return {account: tuple(REALMS) for account in self.phones}

    def missing(self, expected: Mapping[str, Sequence[str]]) -> list[str]:
        """Accounts that should be registered at these servers (by name) and are not, or not with the appliance's address."""
        here = {server.name: server.all_contacts() for server in self.servers if server.running}
        at_ours = f":{self.sbc.port}"
        return [
            f"{account} at {server}"
            for account, servers in expected.items()
            for server in servers
            if not any(at_ours in contact for contact in here[server].get(account, ()))
        ]

    def refusals(self) -> list[str]:
        """What the phones have said of registrations that failed."""
        return [
            f"{account}: {refusal}"
            for account, phone in self.phones.items()
            for refusal in phone.refusals(self.lines[account])
        ]

    def row(self, account: str) -> dict[str, Any]:
        """The account's row on the status page."""
        rows = self.sbc.status()["registrations"]["phones"]
        [found] = [row for row in rows if row["aor"].startswith(f"sip:{account}@")]
        return found

    def _configuration(self, listen: int, http_port: int, kinds: list[str]) -> str:
        text = [f'[appliance]\nname = "site"\nstate_dir = "{self._peers.folder}/state"\n',
                f'[[listen]]\ntransport = "udp"\naddress = "127.0.0.1"\nport = {listen}\n',
                f'[http]\naddress = "127.0.0.1"\nport = {http_port}\n']
        for realms in dict.fromkeys(case.realms for case in self.cases):
            text.append(f'[[group]]\nname = "{realms}"\ndomains = ["{DOMAINS[realms]}"]\nregistration = "concurrent"\n'
                        f'{QUICK_PROBES}\n{self._settings}')
            for server in self.servers:
                trusted = "trusted = true\n" if realms == "trusted" and server is self.fallback else ""
                text.append(f'[[group.server]]\nname = "{server.name}"\naddress = "{server.address}"\nport = {server.port}\n'
                            f'transport = "udp"\n{trusted}')
            text += [
                f'[[group.phones]]\naors = ["*-{case}"]\nchallenge_method = "{case.method}"\n{self._settings}'
                for case in self.cases if case.realms == realms and case.method in METHODS
            ]
        known = [
            htdigest_line(f"{kind}-{case}", "md5", realm)
            for case in self.cases if case.method == "own"
            for realm in (REALMS.values() if case.realms == "different" else [DOMAIN])
            for kind in kinds
        ]
        if known:
            credentials = self._peers.folder / "phones.htdigest"
            credentials.write_text("".join(known))
            text.append(f'[credentials]\nfile = "{credentials}"\n')
        return "".join(text)
