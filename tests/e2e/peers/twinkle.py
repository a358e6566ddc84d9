"""twinkle, a real phone, without a sound card or a desktop: twinkle-console; its files are templates in ../twinkle."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from pathlib import Path

from tests.e2e.peers.accounts import DOMAIN, Line
from tests.e2e.peers.process import Program, free_port, wait_until

TEMPLATES = Path(__file__).parent.parent / "twinkle"


class Twinkle(Program):
    """A phone with these lines, that takes every call. It calls out by the first of them."""

    TAKES_COMMANDS = True
    PROGRAM = "twinkle-console"

    def __init__(self, name: str, folder: Path, lines: Sequence[Line]) -> None:
        home = folder / f"{name}.home"
        settings = home / ".twinkle"
        settings.mkdir(parents=True)
        self.address = "127.0.0.1"
        self.port = free_port()
        system = string.Template((TEMPLATES / "twinkle.sys").read_text())
        (settings / "twinkle.sys").write_text(system.substitute(port=self.port, media=free_port()))
        for line in lines:
            (settings / f"{line.name}.cfg").write_text(line.written(TEMPLATES / "account"))
        super().__init__(name, [self.PROGRAM, *(f"{line.name}.cfg" for line in lines)], folder)
        self._environment = {**self._environment, "HOME": str(home)}

    def start(self) -> None:
        super().start()
        self.type("auto_answer -a on")

    def shows_registered(self, line: Line) -> bool:
        told = re.findall(rf"^{re.escape(line.name)}[:,].*registration (succeeded|failed)", self.text(), re.MULTILINE)
        return told[-1:] == ["succeeded"]

    def refusals(self, line: Line) -> list[str]:
        """What the phone has said so far of registrations that failed."""
        return re.findall(rf"^{re.escape(line.name)}[:,].*registration failed.*", self.text(), re.MULTILINE)

    def dial(self, name: str, timeout: float = 10.0, domain: str = DOMAIN) -> None:
        """Call an extension and wait until it has answered."""
        self._type_and_wait(f"call sip:{name}@{domain}", "far end answered call", timeout)

    def hang_up(self, timeout: float = 40.0) -> None:
        self._type_and_wait("bye", "call ended", timeout)

    def _type_and_wait(self, command: str, words: str, timeout: float) -> None:
        before = self.text().count(words)
        self.type(command)
        wait_until(lambda: self.text().count(words) > before, f"twinkle {self.name}: {words}", timeout)
