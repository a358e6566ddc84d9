"""PJSIP, the stack of many phones, as a phone without a sound card: ../pjsua/phone.py."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.e2e.peers.accounts import DOMAIN, Line, password_of
from tests.e2e.peers.process import Program, free_port, wait_until

PHONE = Path(__file__).parent.parent / "pjsua/phone.py"


class Pjsua(Program):
    """A phone with these lines, that takes every call. It calls out by the first of them. `realm`: the one that it has
    passwords for."""

    TAKES_COMMANDS = True
    MODULE = "pjsua2"

    def __init__(self, name: str, folder: Path, lines: Sequence[Line], realm: str = "*") -> None:
        self.address = "127.0.0.1"
        self.port = free_port()
        accounts = [
            f"{line.name}:{line.domain}:{line.password or password_of(line.name)}:{line.proxy}:{line.expires}:{realm}"
            for line in lines
        ]
        super().__init__(name, [sys.executable, str(PHONE), str(self.port), *accounts], folder)

    @classmethod
    def installed(cls) -> bool:
        """There is no wheel for every processor and every Python."""
        return importlib.util.find_spec(cls.MODULE) is not None

    def shows_registered(self, line: Line) -> bool:
        return self._statuses(line)[-1:] == ["200"]

    def refusals(self, line: Line) -> list[str]:
        """What the phone has said so far of registrations that failed."""
        return [status for status in self._statuses(line) if status != "200"]

    def dial(self, name: str, timeout: float = 10.0, domain: str = DOMAIN) -> None:
        """Call an extension and wait until it has answered."""
        self._type_and_wait(f"call 0 sip:{name}@{domain}", "call CONFIRMED", timeout)

    def hang_up(self, timeout: float = 40.0) -> None:
        self._type_and_wait("hangup", "call DISCONNECTED", timeout)

    def _type_and_wait(self, command: str, words: str, timeout: float) -> None:
        before = self.text().count(words)
        self.type(command)
        wait_until(lambda: self.text().count(words) > before, f"pjsua {self.name}: {words}", timeout)

    def _statuses(self, line: Line) -> list[str]:
        return re.findall(rf"^registration {re.escape(line.name)} (\d+)", self.text(), re.MULTILINE)
